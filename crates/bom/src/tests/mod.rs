//! The record as a whole: against the schema, against itself, against a false declaration.

mod sample;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base::{Digest, jcs, sha256};
use serde_json::{Value, json};

use crate::*;
use sample::{full, minimal};

fn files(bom: &ModelBom) -> BTreeMap<String, Digest> {
    bom.model.files.iter().map(|f| (f.path.clone(), f.digest)).collect()
}

fn problems(bom: &ModelBom, value: &Value) -> Vec<Problem> {
    check(value, &bom.model.root_digest, &files(bom))
}

/// The strict validator of `cyclonedx-python-lib`, in the Python environment that `scripts/install-deps.sh` makes.
fn validate(value: &Value) -> Result<(), String> {
    const PROGRAM: &str = "import sys\n\
        from cyclonedx.schema import SchemaVersion\n\
        from cyclonedx.validation.json import JsonStrictValidator\n\
        e = JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read())\n\
        sys.exit(0 if e is None else repr(e)[:2000])\n";
    let python = std::env::var_os("STRONGROOM_TEST_PYTHON").map_or_else(
        || {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
            root.join(".venv/bin/python")
        },
        PathBuf::from,
    );
    let mut child = Command::new(&python)
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}; run scripts/install-deps.sh", python.display()));
    child.stdin.take().unwrap().write_all(value.to_string().as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}

#[test]
fn the_strict_validator_accepts_full_and_minimal_records() {
    for bom in [full(), minimal()] {
        validate(&to_cyclonedx_1_6(&bom)).unwrap();
    }
    // And can refuse: a task without its id.
    let mut value = to_cyclonedx_1_6(&full());
    value["formulation"][0]["workflows"][0]["tasks"][0].as_object_mut().unwrap().remove("uid");
    assert!(validate(&value).is_err());
}

#[test]
fn records_are_consistent_and_canonical() {
    for bom in [full(), minimal()] {
        let value = to_cyclonedx_1_6(&bom);
        assert_eq!(problems(&bom, &value), []);
        assert_eq!(jcs::to_vec(&value), jcs::to_vec(&to_cyclonedx_1_6(&bom.clone())));
    }
    // The order in which files and packages were found does not show.
    let mut shuffled = full();
    shuffled.model.files.reverse();
    if let Some(job) = &mut shuffled.job {
        job.environment.packages.reverse();
        job.code.files.reverse();
    }
    assert_eq!(to_cyclonedx_1_6(&shuffled), to_cyclonedx_1_6(&full()));
}

#[test]
fn every_observable_field_is_in_the_record_with_its_origin() {
    let text = to_cyclonedx_1_6(&full()).to_string();
    for wanted in [
        "urn:uuid:00010203-0405-4607-8809-0a0b0c0d0e0f",
        "\"value\":\"cpus=observed\"",
        "\"value\":\"license=declared by acme\"",
        "\"name\":\"strongroom:unknown\",\"value\":\"git-commit\"",
        "\"value\":\"kernel=7:",
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10",
        "pkg:pypi/torch@1.13.1",
        "\"strongroom:cause\",\"value\":\"killed\"",
        "resumed from checkpoint 1; checkpoint 2 rejected: tag does not verify; 40 steps done again; continuation: bit-exact",
        "\"name\":\"lr\",\"value\":\"0.1\"",
        "strongroom:image-pinned",
    ] {
        assert!(text.contains(wanted), "{wanted}");
    }
    for secret in ["hunter2", "s3cr3t"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[test]
fn every_broken_reference_digest_time_and_order_is_found() {
    type Edit = fn(&mut Value);
    let edits: [(&str, Edit); 34] = [
        ("format", |v| v["specVersion"] = "1.5".into()),
        ("serial", |v| v["serialNumber"] = "urn:uuid:0".into()),
        ("version", |v| v["version"] = 0.into()),
        ("dangling-reference", |v| v["dependencies"][0]["ref"] = "x".into()),
        ("dangling-reference", |v| v["dependencies"][0]["dependsOn"][0] = "x".into()),
        ("dangling-reference", |v| v["annotations"][0]["subjects"][0] = "x".into()),
        ("dangling-reference", |v| v["compositions"][0]["assemblies"][0] = "x".into()),
        ("dangling-reference", |v| {
            model(v)["modelCard"]["modelParameters"]["datasets"][0]["ref"] = "x".into();
        }),
        ("dangling-reference", |v| task(v, 0)["inputs"][0]["resource"]["ref"] = "x".into()),
        ("dangling-reference", |v| task(v, 1)["outputs"][0]["resource"]["ref"] = "x".into()),
        ("duplicate-reference", |v| v["components"][1]["bom-ref"] = "model".into()),
        ("cycle", |v| {
            let back = json!({"ref": "operating-system", "dependsOn": ["code"]});
            v["dependencies"].as_array_mut().unwrap().push(back);
        }),
        ("digest", |v| v["components"][1]["hashes"][0]["content"] = "ABCD".into()),
        ("digest", |v| v["components"][1]["hashes"][0]["alg"] = "MD5".into()),
        ("digest", |v| edit_property(model(v), "signer-key-fingerprint", "x")),
        ("model", |v| model(v)["type"] = "library".into()),
        ("root-digest", |v| model(v)["hashes"][0]["content"] = sha256(b"other").hex().into()),
        ("files", |v| drop(model(v)["components"].as_array_mut().unwrap().pop())),
        ("files", |v| model(v)["components"][0]["name"] = "other.onnx".into()),
        ("files", |v| model(v)["components"][0]["hashes"][0]["content"] = sha256(b"other").hex().into()),
        ("time", |v| v["metadata"]["timestamp"] = "2020-01-01T00:00:00.000Z".into()),
        ("time", |v| task(v, 0)["timeEnd"] = "yesterday".into()),
        ("time", |v| {
            let start = task(v, 1)["timeStart"].clone();
            task(v, 1)["timeStart"] = task(v, 1)["timeEnd"].clone();
            task(v, 1)["timeEnd"] = start;
        }),
        ("segments", |v| task(v, 1)["timeStart"] = task(v, 0)["timeStart"].clone()),
        ("segments", |v| workflow(v)["tasks"].as_array_mut().unwrap().reverse()),
        ("segments", |v| workflow(v)["timeEnd"] = workflow(v)["timeStart"].clone()),
        ("resumed-from", |v| edit_property(task(v, 1), "resumed-from", &sha256(b"other").hex())),
        ("resumed-from", |v| {
            // The rejected checkpoint of the first segment: sealed there, and not to be resumed from.
            let rejected = component(v, "checkpoint:2")["hashes"][0]["content"].as_str().unwrap().to_owned();
            edit_property(task(v, 1), "resumed-from", &rejected);
        }),
        ("checkpoint-chain", |v| {
            edit_property(component(v, "checkpoint:2"), "checkpoint:previous", &sha256(b"other").hex());
        }),
        ("marks", |v| {
            let unknown = json!({"name": "strongroom:unknown", "value": "license"});
            model(v)["properties"].as_array_mut().unwrap().push(unknown);
        }),
        ("complete", |v| {
            let at =
                v["compositions"].as_array().unwrap().iter().position(|c| c["aggregate"] == "incomplete");
            v["compositions"][at.unwrap()]["aggregate"] = "complete".into();
        }),
        ("roles", |v| {
            let train = v["components"][1]["hashes"].clone();
            v["components"][2]["hashes"] = train;
        }),
        ("resumed-from", |v| task(v, 0)["outputs"] = json!([])),
        ("root-of-files", |v| {
            model(v)["components"][0]["hashes"][0]["content"] = sha256(b"other").hex().into();
        }),
    ];
    let bom = full();
    for (i, (rule, edit)) in edits.into_iter().enumerate() {
        let mut value = to_cyclonedx_1_6(&bom);
        edit(&mut value);
        let found = problems(&bom, &value);
        assert!(found.iter().any(|p| p.rule == rule), "edit {i}: no `{rule}` in {found:?}");
    }
}

fn model(value: &mut Value) -> &mut Value {
    &mut value["components"][0]
}

fn component<'v>(value: &'v mut Value, name: &str) -> &'v mut Value {
    value["components"].as_array_mut().unwrap().iter_mut().find(|c| c["bom-ref"] == name).unwrap()
}

fn workflow(value: &mut Value) -> &mut Value {
    &mut value["formulation"][0]["workflows"][0]
}

fn task(value: &mut Value, at: usize) -> &mut Value {
    &mut workflow(value)["tasks"][at]
}

fn edit_property(object: &mut Value, name: &str, to: &str) {
    let name = format!("strongroom:{name}");
    let list = object["properties"].as_array_mut().unwrap();
    list.iter_mut().find(|p| p["name"] == name.as_str()).unwrap()["value"] = to.into();
}

#[test]
fn files_of_the_model_that_the_record_does_not_list_are_found() {
    let bom = full();
    let mut files = files(&bom);
    files.insert("planted.bin".into(), sha256(b""));
    let found = check(&to_cyclonedx_1_6(&bom), &bom.model.root_digest, &files);
    assert!(matches!(found.as_slice(), [Problem { rule: "files", what }] if what.contains("planted.bin")));
}

#[test]
fn the_list_of_files_is_bound_to_the_root_without_the_model_at_hand() {
    let bom = full();
    let mut value = to_cyclonedx_1_6(&bom);
    assert_eq!(check_record(&value, &bom.model.root_digest), []);
    model(&mut value)["components"].as_array_mut().unwrap().pop();
    let found = check_record(&value, &bom.model.root_digest);
    assert!(matches!(found.as_slice(), [Problem { rule: "root-of-files", .. }]), "{found:?}");
}

#[test]
fn a_checkpoint_may_be_rejected_after_it_was_resumed_from() {
    let mut bom = full();
    let checkpoint = &mut bom.job.as_mut().unwrap().checkpoints[0];
    (checkpoint.state, checkpoint.reason) = (CheckpointState::Rejected, "destroyed later".into());
    assert_eq!(problems(&bom, &to_cyclonedx_1_6(&bom)), []);
}

#[test]
fn what_is_reported_twice_is_one_entry() {
    let mut bom = full();
    let mut again = bom.metrics[0].clone();
    again.value = Fact::declared("0.92", "the program");
    bom.metrics.push(again);
    bom.datasets.push(bom.datasets[0].clone());
    let job = bom.job.as_mut().unwrap();
    job.environment.packages.push(job.environment.packages[0].clone());
    let value = to_cyclonedx_1_6(&bom);
    assert_eq!(problems(&bom, &value), []);
    validate(&value).unwrap();
    assert!(value.to_string().contains("0.92") && !value.to_string().contains("0.91"));
}

#[test]
fn false_declarations_become_conflicts_and_overwrite_nothing() {
    let mut bom = full();
    let before = to_cyclonedx_1_6(&bom);
    let fields = [
        "environment.image",
        "environment.pinned",
        "environment.kernel",
        "environment.os",
        "environment.python",
        "hardware.cpu_model",
        "hardware.cpus",
        "hardware.memory_bytes",
        "hardware.threads",
        "hyperparameter.lr",
        "job.seed",
        "resource.cpu-seconds",
        "model.parameters",
    ];
    for field in fields {
        assert_eq!(bom.merge_declared(field, "a lie", "mallory"), Ok(Outcome::Conflict), "{field}");
    }
    let after = to_cyclonedx_1_6(&bom);
    let text = after.to_string();
    assert_eq!(
        text.matches("=declared by mallory: a lie").count(),
        fields.len() + 2,
        "in both segments two of them"
    );
    assert!(!text.contains("\"value\":\"a lie\""));
    // What was observed is as it was: without the conflicts the two records are equal.
    let mut stripped = after;
    strip_conflicts(&mut stripped);
    assert_eq!(stripped, before);
    assert_eq!(problems(&bom, &to_cyclonedx_1_6(&bom)), []);
    validate(&to_cyclonedx_1_6(&bom)).unwrap();
}

fn strip_conflicts(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.retain(|item| item["name"] != "strongroom:conflict");
            items.iter_mut().for_each(strip_conflicts);
        }
        Value::Object(members) => members.values_mut().for_each(strip_conflicts),
        _ => {}
    }
}

#[test]
fn unknown_fields_can_be_declared_and_nonsense_cannot() {
    let mut bom = full();
    assert_eq!(bom.merge_declared("code.git_commit", "0123abc", "acme"), Ok(Outcome::Kept));
    assert_eq!(
        bom.merge_declared("dataset.fashion.mnist.origin", "https://example.org/", "acme"),
        Ok(Outcome::Kept)
    );
    for bad in ["", "model", "model.root_digest", "dataset.none.license", "job.id", "segments.1"] {
        assert_eq!(bom.merge_declared(bad, "x", "acme"), Err(UnknownField(bad.into())), "{bad}");
    }
}

#[test]
fn the_gate_opens_for_a_full_record_and_names_what_is_missing() {
    let mut bom = full();
    assert_eq!(gate(&bom, Tier::Observed), []);
    let missing: Vec<String> = gate(&bom, Tier::Full).into_iter().map(|m| m.field).collect();
    assert_eq!(missing, ["code.git_commit"]);
    assert_eq!(tier(&bom), Some(Tier::Observed));
    bom.merge_declared("code.git_commit", "0123abc", "acme").unwrap();
    assert_eq!(tier(&bom), Some(Tier::Full));
}

#[test]
fn each_field_of_the_gate_closes_it_alone() {
    type Edit = fn(&mut ModelBom);
    fn job(bom: &mut ModelBom) -> &mut Job {
        bom.job.as_mut().unwrap()
    }
    let edits: [(&str, Edit); 26] = [
        ("serial", |b| b.serial = 0),
        ("version", |b| b.version = 0),
        ("previous", |b| b.version = 2),
        ("tool_version", |b| b.tool_version.clear()),
        ("node", |b| b.node.clear()),
        ("tenant", |b| b.tenant.clear()),
        ("audit", |b| b.audit.clear()),
        ("model.name", |b| b.model.version.clear()),
        ("model.files", |b| b.model.files.clear()),
        ("signer", |b| b.signer = None),
        ("inspections", |b| drop(b.inspections.pop())),
        ("inspections", |b| b.inspections[0].verdict = "load-with-policy".into()),
        ("inspections", |b| {
            (b.inspections[0].verdict, b.inspections[0].accepted) =
                ("refuse".into(), Some("policy 1".into()));
        }),
        ("datasets", |b| b.datasets.retain(|d| d.role == Role::Test)),
        ("dataset.fashion.mnist.files", |b| b.datasets[0].files = 0),
        ("job", |b| (b.job, b.model.base) = (None, None)),
        ("job.id", |b| job(b).submitted_by.clear()),
        ("job.command", |b| job(b).command.clear()),
        ("code.files", |b| job(b).code.files.clear()),
        ("job.commit_rule", |b| job(b).commit_rule.clear()),
        ("environment.packages", |b| job(b).environment.packages.clear()),
        ("job.segments", |b| drop(job(b).segments.pop())),
        ("job.decisions", |b| job(b).decisions.clear()),
        ("environment.kernel", |b| job(b).environment.kernel = Fact::Unknown),
        ("environment.image", |b| job(b).environment.image = Fact::declared("host", "acme")),
        ("hardware.cpus", |b| job(b).hardware.cpus = Fact::observed("", "warden")),
    ];
    for (field, edit) in edits {
        let mut bom = full();
        edit(&mut bom);
        let missing: Vec<String> = gate(&bom, Tier::Observed).into_iter().map(|m| m.field).collect();
        assert_eq!(missing, [field]);
        assert_eq!(tier(&bom), None);
    }
    // A run without data is a whole record of what was seen, and not of what people must tell.
    let mut without = full();
    without.datasets.clear();
    assert_eq!(tier(&without), Some(Tier::Observed));
    assert!(gate(&without, Tier::Full).iter().any(|m| m.field == "datasets"));
    for field in ["license", "purpose", "producer", "accountable", "architecture", "task"] {
        let mut bom = full();
        bom.merge_declared("code.git_commit", "0123abc", "acme").unwrap();
        bom.merge_declared(&format!("model.{field}"), "", "acme").unwrap();
        let missing: Vec<String> = gate(&bom, Tier::Full).into_iter().map(|m| m.field).collect();
        assert_eq!(missing, [format!("model.{field}")]);
    }
}

#[test]
fn the_statement_binds_the_record_to_one_model() {
    let bom = full();
    let value = to_cyclonedx_1_6(&bom);
    let payload = statement(&value, "m", &bom.model.root_digest).unwrap();
    let read = parse_statement(&serde_json::from_slice(&payload).unwrap()).unwrap();
    assert_eq!(read.root_digest, bom.model.root_digest);
    assert_eq!(read.bom_digest, bom_digest(&value).unwrap());
    assert_eq!(read.bom, value);

    let good: Value = serde_json::from_slice(&payload).unwrap();
    type Edit = fn(&mut Value);
    let edits: [Edit; 7] = [
        |s| s["_type"] = "x".into(),
        |s| s["predicateType"] = "https://slsa.dev/provenance/v1".into(),
        |s| s["subject"] = json!([]),
        |s| s["subject"][0]["digest"]["sha256"] = "00".into(),
        |s| s["subject"][0]["digest"]["sha512"] = "00".into(),
        |s| s["predicate"] = json!("bom"),
        |s| s["extra"] = 1.into(),
    ];
    for (i, edit) in edits.into_iter().enumerate() {
        let mut bad = good.clone();
        edit(&mut bad);
        assert!(parse_statement(&bad).is_err(), "{i}");
    }
}

#[test]
fn the_summary_tells_of_the_attack() {
    let text = summary(&to_cyclonedx_1_6(&full()));
    for wanted in [
        "model       acme/m 1",
        "interruption",
        "killed: signal 9",
        "resumed from checkpoint 1; checkpoint 2 rejected: tag does not verify; 40 steps done again; continuation: bit-exact",
        "later rejected: tag does not verify",
        "unknown     git-commit of code",
        "metric      accuracy on test = 0.91 (declared by the program)",
        "train.py --epochs 2 --token [redacted]",
        "gate observed",
    ] {
        assert!(text.contains(wanted), "no `{wanted}` in\n{text}");
    }
    let mut hostile = full();
    hostile.model.version = "1\u{1b}[2J\u{202e}\n".into();
    let drawn = summary(&to_cyclonedx_1_6(&hostile));
    assert!(!drawn.contains(['\u{1b}', '\u{202e}']));
    assert_eq!(drawn.lines().count(), text.lines().count());
    // A record that is none at all is still printed, not a crash.
    assert!(summary(&json!({"components": [{"type": "data"}, 1], "formulation": "x"})).contains("record"));
}

/// Every node of a record, by JSON pointer.
fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                pointers(member, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), out);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                pointers(item, &format!("{at}/{i}"), out);
            }
        }
        _ => {}
    }
}

#[test]
fn no_record_crashes_the_reader_whatever_stands_in_each_place() {
    let bom = full();
    let good = to_cyclonedx_1_6(&bom);
    let mut all = Vec::new();
    pointers(&good, "", &mut all);
    let mut silent = Vec::new();
    for pointer in &all {
        for junk in
            [json!(null), json!("\u{1b}"), json!([[{"ref": 1, "properties": 1}]]), json!({"hashes": [{}]})]
        {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = junk;
            assert!(!summary(&bad).contains('\u{1b}'));
            if problems(&bom, &bad).is_empty() {
                silent.push(pointer.as_str());
            }
        }
    }
    // Nothing that binds the record to its model and its time may be junk unnoticed.
    let file_digest = |p: &str| p.starts_with("/components/0/components/") && p.ends_with("/content");
    let binding = ["/serialNumber", "/metadata/timestamp", "/components/0/hashes/0/content"];
    let bound = |p: &&str| binding.contains(p) || file_digest(p);
    assert_eq!(all.iter().map(String::as_str).filter(bound).count(), 5);
    assert_eq!(silent.iter().copied().filter(bound).count(), 0);
}
