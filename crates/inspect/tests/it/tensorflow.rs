//! Graphs of `TensorFlow`: of the real library, and built piece by piece.

use strongroom_inspect::{Format, Risk, Verdict};

use crate::keras::framework;
use crate::support::{inspect, message, number, refused, varint};

const BAD: &str = "SR-INS-0106";
const OP: &str = "SR-INS-0107";
const LIMIT: &str = "SR-INS-0005";

fn node(name: &str, op: &str, inputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    let inputs: Vec<Vec<u8>> = inputs.iter().map(|input| message(3, input.as_bytes())).collect();
    let body = [message(1, name.as_bytes()), message(2, op.as_bytes()), inputs.concat(), attributes.concat()]
        .concat();
    message(1, &body)
}

fn attribute(key: &str, value: &[u8]) -> Vec<u8> {
    message(5, &[message(1, key.as_bytes()), message(2, value)].concat())
}

/// A function whose body is these nodes.
fn function(name: &str, nodes: &[Vec<u8>]) -> Vec<u8> {
    let body: Vec<u8> =
        nodes.iter().flat_map(|node| [vec![3 << 3 | 2], node[1..].to_vec()].concat()).collect();
    message(1, &[message(1, &message(1, name.as_bytes())), body].concat())
}

fn graph(nodes: &[Vec<u8>], functions: &[Vec<u8>]) -> Vec<u8> {
    [nodes.concat(), message(2, &functions.concat()), message(4, &number(1, 1))].concat()
}

fn saved(graph: &[u8], more: &[u8]) -> Vec<u8> {
    [number(1, 1), message(2, &[message(2, graph), more.to_vec()].concat())].concat()
}

fn saver(restore: &str) -> Vec<u8> {
    message(3, &[message(1, b"f:0"), message(2, b"s:0"), message(3, restore.as_bytes())].concat())
}

fn policy(what: &str, name: &str, bytes: &[u8], format: Format) {
    let report = inspect(name, bytes);
    assert_eq!((report.verdict, report.format), (Verdict::LoadWithPolicy, format), "{what}: {report:?}");
    assert_eq!(report.risks().collect::<Vec<_>>(), [Risk::SavedModel], "{what}");
}

#[test]
fn graphs_of_listed_operators_need_a_policy() {
    policy("real", "saved_model.pb", &framework("policy/module/saved_model.pb"), Format::TfSavedModel);
    policy("real, no name", "", &framework("policy/module/saved_model.pb"), Format::TfSavedModel);
    policy("frozen", "frozen.pb", &framework("policy/frozen.pb"), Format::TfGraph);
    policy("fingerprint", "fingerprint.pb", &framework("policy/module/fingerprint.pb"), Format::TfPart);
    let index = framework("policy/module/variables/variables.index");
    policy("index", "variables/variables.index", &index, Format::TfPart);
    let name = "variables/variables.data-00000-of-00001";
    policy("variables", name, &framework(&format!("policy/module/{name}")), Format::TfPart);
    let nodes = [node("a", "Placeholder", &[], &[]), node("b", "Relu", &["a"], &[])];
    policy("built", "m.pb", &graph(&nodes, &[]), Format::TfGraph);
    policy("built", "m.pb", &saved(&graph(&nodes, &[]), b""), Format::TfSavedModel);
    let call = node("c", "f_1", &["a"], &[]);
    policy(
        "function",
        "m.pb",
        &graph(&[call], &[function("f_1", &[node("x", "Exp", &[], &[])])]),
        Format::TfGraph,
    );
    let old = [
        node("x", "VariableV2", &[], &[]),
        node("save/Const", "Const", &[], &[]),
        node("save/SaveV2", "SaveV2", &["save/Const", "x"], &[]),
        node("save/RestoreV2", "RestoreV2", &["save/Const"], &[]),
        node("save/Assign", "Assign", &["x", "save/RestoreV2"], &[]),
        node("save/restore_all", "NoOp", &["^save/Assign"], &[]),
    ];
    policy(
        "saver of old",
        "saved_model.pb",
        &saved(&graph(&old, &[]), &saver("save/restore_all")),
        Format::TfSavedModel,
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of samples")]
fn operators_that_do_more_than_compute_are_refused() {
    for name in ["read", "save", "restore", "nested"] {
        refused(name, "saved_model.pb", &framework(&format!("refuse/{name}.pb")), OP);
    }
    for op in [
        "ReadFile",
        "WriteFile",
        "MatchingFiles",
        "PyFunc",
        "PyFuncStateless",
        "EagerPyFunc",
        "PrintV2",
        "ImmutableConst",
        "InitializeTableFromTextFileV2",
        "TFRecordDataset",
        "TextLineDataset",
        "LMDBReader",
        "WholeFileReaderV2",
        "DebugIdentityV2",
        "WriteSummary",
        "CreateSummaryFileWriter",
        "ImportEvent",
        "RemoteCall",
        "XlaCustomCallV2",
        "SnapshotDataset",
        "DecodeProtoV2",
        "FixedUnigramCandidateSampler",
        "Custom",
        "relu",
        "Relu ",
        "Evil>Relu",
        "",
    ] {
        let bad = node("x", op, &[], &[]);
        refused(op, "m.pb", &graph(std::slice::from_ref(&bad), &[]), OP);
        refused(op, "saved_model.pb", &saved(&graph(std::slice::from_ref(&bad), &[]), b""), OP);
        let called = graph(&[node("c", "f_1", &[], &[])], &[function("f_1", std::slice::from_ref(&bad))]);
        refused(op, "saved_model.pb", &saved(&called, b""), OP);
        // A function that nothing calls yet counts as well.
        let idle = graph(&[node("c", "NoOp", &[], &[])], &[function("g_1", &[]), function("f_1", &[bad])]);
        refused(op, "m.pb", &idle, OP);
    }
    let save = node("StatefulPartitionedCall", "__inference__traced_save_9", &["x"], &[]);
    let traced = || function("__inference__traced_save_9", &[node("s", "SaveV2", &[], &[])]);
    let tensor = |name: &str| {
        let info = message(2, &message(1, name.as_bytes()));
        let signature = message(2, &[message(1, b"y"), info].concat());
        message(5, &[message(1, b"serving_default"), message(2, &signature)].concat())
    };
    let collection = |key: &str, name: &str| {
        let list = message(1, &message(1, name.as_bytes()));
        message(4, &[message(1, key.as_bytes()), message(2, &list)].concat())
    };
    let main = |nodes: &[Vec<u8>]| graph(nodes, &[traced()]);
    let samples: Vec<(&str, Vec<u8>)> = vec![
        ("saver in a frozen graph", graph(&[node("save/SaveV2", "SaveV2", &[], &[])], &[])),
        (
            "saver in a function",
            saved(
                &graph(&[node("c", "f_1", &[], &[])], &[function("f_1", &[node("s", "SaveV2", &[], &[])])]),
                b"",
            ),
        ),
        (
            "function with a name like the saver's",
            saved(
                &graph(
                    &[node("c", "NoOp", &[], &[])],
                    &[function("__inference__traced_save_evil", &[node("s", "SaveV2", &[], &[])])],
                ),
                b"",
            ),
        ),
        (
            "node that depends on the saver",
            saved(&main(&[save.clone(), node("y", "Identity", &["StatefulPartitionedCall"], &[])]), b""),
        ),
        (
            "node that waits for the saver",
            saved(&main(&[save.clone(), node("y", "NoOp", &["^StatefulPartitionedCall"], &[])]), b""),
        ),
        (
            "signature of the saver",
            saved(&main(std::slice::from_ref(&save)), &tensor("StatefulPartitionedCall:0")),
        ),
        (
            "signature of an old saver",
            saved(&graph(&[node("save/SaveV2", "SaveV2", &[], &[])], &[]), &tensor("save/SaveV2:0")),
        ),
        (
            "what is run at start",
            saved(
                &main(std::slice::from_ref(&save)),
                &collection("saved_model_main_op", "StatefulPartitionedCall"),
            ),
        ),
        (
            "what was run at start of old",
            saved(
                &graph(&[node("save/SaveV2", "SaveV2", &[], &[])], &[]),
                &collection("legacy_init_op", "save/SaveV2"),
            ),
        ),
        (
            "restore that writes",
            saved(&graph(&[node("save/SaveV2", "SaveV2", &[], &[])], &[]), &saver("save/SaveV2")),
        ),
        (
            "restore that waits for what writes",
            saved(
                &graph(
                    &[
                        node("save/a", "MergeV2Checkpoints", &[], &[]),
                        node("save/r", "NoOp", &["^save/a"], &[]),
                    ],
                    &[],
                ),
                &saver("save/r"),
            ),
        ),
        (
            "restoring function that writes",
            saved(
                &graph(
                    &[node("c", "NoOp", &[], &[])],
                    &[function("__inference__traced_restore_9", &[node("s", "SaveV2", &[], &[])])],
                ),
                b"",
            ),
        ),
        (
            "function that calls the saver",
            saved(
                &graph(
                    &[node("c", "f_1", &[], &[])],
                    &[traced(), function("f_1", &[node("s", "__inference__traced_save_9", &[], &[])])],
                ),
                b"",
            ),
        ),
        (
            "function that is given the saver",
            saved(
                &graph(
                    &[node("c", "f_1", &[], &[])],
                    &[
                        traced(),
                        function(
                            "f",
                            &[node(
                                "s",
                                "StatefulPartitionedCall",
                                &[],
                                &[attribute("f", &message(10, &message(1, b"__inference__traced_save_9")))],
                            )],
                        ),
                    ],
                ),
                b"",
            ),
        ),
        (
            "function named like an operator",
            saved(&graph(&[node("c", "ReadFile", &[], &[])], &[function("ReadFile", &[])]), b""),
        ),
        (
            "function named like an inner operator",
            saved(&graph(&[node("c", "_Send", &[], &[])], &[function("_Send", &[])]), b""),
        ),
        (
            "function that is not there",
            saved(
                &graph(
                    &[node(
                        "c",
                        "PartitionedCall",
                        &[],
                        &[attribute("f", &message(10, &message(1, b"evil")))],
                    )],
                    &[],
                ),
                b"",
            ),
        ),
        (
            "object that gives the saver away",
            saved(&main(&[save]), &message(7, &message(1, &message(6, b"__inference__traced_save_9")))),
        ),
    ];
    for (what, bytes) in samples {
        refused(what, "saved_model.pb", &bytes, OP);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of samples")]
fn malformed_graphs_are_refused() {
    let good = graph(&[node("a", "Relu", &[], &[])], &[]);
    let asset = |name: &str| {
        saved(&good, &message(6, &[message(1, &message(1, b"t:0")), message(2, name.as_bytes())].concat()))
    };
    for name in ["../x", "/etc/passwd", "a/../../b", "C:\\x", ""] {
        refused(name, "saved_model.pb", &asset(name), "SR-INS-0101");
    }
    let metadata = |text: &str| {
        saved(
            &good,
            &message(
                7,
                &message(
                    1,
                    &message(4, &[message(1, b"_tf_keras_layer"), message(3, text.as_bytes())].concat()),
                ),
            ),
        )
    };
    refused(
        "lambda",
        "saved_model.pb",
        &metadata(r#"{"class_name":"Lambda","config":{"function":"4wEA"}}"#),
        "SR-INS-0104",
    );
    let two = message(1, &[message(1, b"a"), message(2, b"Relu"), message(2, b"ReadFile")].concat());
    let samples: Vec<(&str, Vec<u8>, &str)> = vec![
        ("two operators", two, BAD),
        (
            "unknown field of an attribute",
            graph(&[node("a", "Relu", &[], &[attribute("k", &message(60, b"x"))])], &[]),
            BAD,
        ),
        (
            "unknown field of a function",
            graph(&[node("a", "Relu", &[], &[])], &[message(1, &message(60, b"x"))]),
            BAD,
        ),
        (
            "function without a name",
            graph(&[node("a", "Relu", &[], &[])], &[message(1, &message(3, b""))]),
            BAD,
        ),
        (
            "wrong wire type",
            graph(&[node("a", "Relu", &[], &[attribute("k", &message(3, b""))[..4].to_vec()])], &[]),
            "SR-INS-0001",
        ),
        (
            "handle in a constant",
            graph(&[node("a", "Const", &[], &[attribute("value", &message(8, &message(14, b"x")))])], &[]),
            BAD,
        ),
        ("trailing bytes", [good.clone(), vec![0xff]].concat(), "SR-INS-0001"),
    ];
    for (what, bytes, code) in samples {
        refused(what, "", &bytes, code);
    }
    let nested = (0..200).fold(Vec::new(), |inner, _| {
        message(10, &message(2, &[message(1, b"k"), message(2, &inner)].concat()))
    });
    refused(
        "nested attributes",
        "",
        &graph(&[node("a", "Relu", &[], &[attribute("f", &nested)])], &[]),
        LIMIT,
    );
    for (what, name, bytes) in [
        ("fingerprint that is a text", "fingerprint.pb", b"hello".to_vec()),
        ("empty field", "fingerprint.pb", message(9, b"x")),
        ("index without its magic", "variables.index", vec![0; 64]),
        ("index that is short", "variables.index", vec![0; 8]),
        ("metadata of another kind", "keras_metadata.pb", varint(1 << 3)),
    ] {
        refused(what, name, &bytes, BAD);
    }
    let index = framework("policy/module/variables/variables.index");
    for place in 0..index.len() {
        let mut bytes = index.clone();
        bytes[place] ^= 0x55;
        assert_ne!(inspect("variables.index", &bytes).verdict, Verdict::Load);
    }
    refused("index with more", "variables.index", &[b"payload".to_vec(), index].concat(), BAD);
    refused("variables that are a program", "variables.data-00000-of-00001", b"\x7fELF\x02", "SR-INS-0066");
    let pickle = b"cos\nsystem\n(S'id'\ntR.";
    refused("variables that are a pickle", "variables.data-00000-of-00001", pickle, "SR-INS-0003");
    let lambda = message(1, &message(5, br#"{"class_name":"Lambda","config":{}}"#));
    refused("lambda in metadata", "keras_metadata.pb", &lambda, "SR-INS-0104");
}
