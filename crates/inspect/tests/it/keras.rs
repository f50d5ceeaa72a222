//! Keras archives and HDF5: files of the real libraries, and what is spoiled in them.

use strongroom_inspect::{Format, Limits, Risk, Verdict, inspect_bytes};

use crate::support::{Entry, entry, inspect, loads, refused, zip};

const CODE: &str = "SR-INS-0104";
const PATH: &str = "SR-INS-0105";
const BAD: &str = "SR-INS-0110";
const OUTSIDE: &str = "SR-INS-0111";
const MEMBER: &str = "SR-INS-0118";

pub(crate) fn framework(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/frameworks/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn weights() -> Vec<u8> {
    framework("policy/mixed-False.weights.h5")
}

const METADATA: &[u8] = br#"{"keras_version": "3.15.1", "date_saved": "2026-11-23@22:00:00"}"#;

fn members(config: &str) -> Vec<Entry> {
    vec![
        entry("metadata.json", METADATA),
        entry("config.json", config.as_bytes()),
        entry("model.weights.h5", &weights()),
    ]
}

fn layer(class: &str, module: &str, config: &str) -> String {
    format!(r#"{{"module":{module},"class_name":"{class}","config":{config},"registered_name":null}}"#)
}

fn model(layer: &str) -> String {
    format!(
        r#"{{"module":"keras","class_name":"Sequential","config":{{"name":"s","layers":[{layer}]}},"registered_name":null,"build_config":{{"input_shape":[null,4]}}}}"#
    )
}

const DENSE: &str = r#"{"module":"keras.layers","class_name":"Dense","config":{"name":"dense","units":2,"activation":"relu","kernel_initializer":{"module":"keras.initializers","class_name":"GlorotUniform","config":{"seed":null},"registered_name":null}},"registered_name":null}"#;

#[test]
fn ordinary_archives_load() {
    let real = loads("real", "m.keras", &framework("load/mixed-False.keras"));
    assert_eq!(real.format, Format::Keras);
    assert!(!real.tensors.is_empty(), "the data sets of the weights are listed");
    loads("built", "m.keras", &zip(&members(&model(DENSE))));
    let mut with_asset = members(&model(DENSE));
    with_asset.push(entry("assets/layers/string_lookup/vocabulary.txt", b"a\nb\n"));
    loads("with a vocabulary", "m.keras", &zip(&with_asset));
    let lookup = layer("StringLookup", r#""keras.layers""#, r#"{"vocabulary":["a","b"]}"#);
    loads("with a list of words", "m.keras", &zip(&members(&model(&lookup))));
    loads("as JSON", "model.json", model(DENSE).as_bytes());
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of samples")]
fn hostile_configurations_are_refused() {
    let layers = r#""keras.layers""#;
    let samples = [
        (
            "lambda",
            layer("Lambda", layers, r#"{"function":{"class_name":"__lambda__","config":{"code":"4wEA"}}}"#),
            CODE,
        ),
        ("lambda without a module", layer("Lambda", "null", "{}"), CODE),
        (
            "lambda value",
            layer("Dense", layers, r#"{"activation":{"class_name":"__lambda__","config":{"code":"4wEA"}}}"#),
            CODE,
        ),
        ("function", layer("function", r#""builtins""#, r#""eval""#), CODE),
        (
            "function as an activation",
            layer(
                "Dense",
                layers,
                r#"{"activation":{"module":"builtins","class_name":"function","config":"my_fn","registered_name":"my_fn"}}"#,
            ),
            CODE,
        ),
        ("system", layer("system", r#""os""#, "{}"), CODE),
        ("listed class of another module", layer("Dense", r#""evil""#, "{}"), CODE),
        ("module with a listed beginning", layer("Dense", r#""keras.layers.evil""#, "{}"), CODE),
        ("module with listed case", layer("Dense", r#""Keras.layers""#, "{}"), CODE),
        ("utility", layer("get_file", r#""keras.utils""#, r#"{"origin":"x"}"#), CODE),
        ("source of a utility", layer("get_file", r#""keras.src.utils.file_utils""#, "{}"), CODE),
        ("torch", layer("TorchModuleWrapper", layers, "{}"), CODE),
        ("saved model", layer("TFSMLayer", layers, r#"{"filepath":"x"}"#), CODE),
        ("jax", layer("JaxLayer", layers, "{}"), CODE),
        (
            "own package",
            r#"{"module":null,"class_name":"Own","config":{},"registered_name":"own>Own"}"#.to_owned(),
            CODE,
        ),
        (
            "registered under another name",
            r#"{"module":"keras.layers","class_name":"Dense","config":{},"registered_name":"Evil"}"#
                .to_owned(),
            CODE,
        ),
        (
            "class that is a number",
            r#"{"module":"keras.layers","class_name":1,"config":{}}"#.to_owned(),
            CODE,
        ),
        ("module without a class", r#"{"module":"os","config":{}}"#.to_owned(), CODE),
        ("unsafe flag", layer("Dense", layers, r#"{"enable_unsafe_deserialization":true}"#), CODE),
        ("safe mode off", layer("Dense", layers, r#"{"safe_mode":false}"#), CODE),
        ("custom objects", layer("Dense", layers, r#"{"custom_objects":{"a":"b"}}"#), CODE),
        ("type", layer("__typespec__", r#""tensorflow""#, "{}"), CODE),
        (
            "wrapped",
            layer("TimeDistributed", layers, &format!(r#"{{"layer":{}}}"#, layer("Lambda", layers, "{}"))),
            CODE,
        ),
        ("vocabulary file", layer("StringLookup", layers, r#"{"vocabulary":"/etc/passwd"}"#), PATH),
        ("vocabulary file nearby", layer("TextVectorization", layers, r#"{"vocabulary":"words.txt"}"#), PATH),
        ("address", layer("Dense", layers, r#"{"name":"https://evil.example/x"}"#), PATH),
        ("file address", layer("Dense", layers, r#"{"a":"file:///etc/passwd"}"#), PATH),
        ("path upwards", layer("Dense", layers, r#"{"a":"x/../../y"}"#), PATH),
        ("absolute path", layer("Dense", layers, r#"{"a":"/etc/passwd"}"#), PATH),
        ("drive", layer("Dense", layers, r#"{"a":"C:\\x"}"#), PATH),
    ];
    for (what, config, code) in samples {
        refused(what, "m.keras", &zip(&members(&model(&config))), code);
        refused(
            what,
            "m.keras",
            &zip(&members(&config)),
            if what.contains("module without") || what.contains("number") { CODE } else { code },
        );
        // The same as a bare configuration.
        refused(what, "model.json", model(&config).as_bytes(), code);
    }
    refused("real lambda", "m.keras", &framework("refuse/lambda.keras"), CODE);
    refused("no object", "m.keras", &zip(&members(r#"{"a":1}"#)), CODE);
    refused(
        "repeated key",
        "m.keras",
        &zip(&members(r#"{"class_name":"Sequential","class_name":"Lambda","config":{}}"#)),
        "SR-INS-0061",
    );
}

#[test]
fn members_that_keras_does_not_write_are_refused() {
    let good = || members(&model(DENSE));
    for (what, extra) in [
        ("script", entry("run.py", b"print(1)")),
        ("second weights", entry("other.h5", &weights())),
        ("pickle among assets", entry("assets/x.pkl", b"\x80\x04N.")),
        ("script among assets", entry("assets/x", b"#!/bin/sh\n")),
        ("beside the assets", entry("assetsx/y", b"a")),
    ] {
        let mut entries = good();
        entries.push(extra);
        refused(what, "m.keras", &zip(&entries), MEMBER);
    }
    let mut up = good();
    up.push(entry("assets/../../x", b"a"));
    refused("path upwards", "m.keras", &zip(&up), "SR-INS-0033");
    for missing in 0..3 {
        let mut entries = good();
        let name = entries.remove(missing).name;
        let code = if name == "config.json" { "SR-INS-0002" } else { MEMBER };
        refused(&name, "m.keras", &zip(&entries), code);
    }
    let mut entries = good();
    entries[0].data = br#"{"keras_version":"3","code":"x"}"#.to_vec();
    refused("metadata with more", "m.keras", &zip(&entries), MEMBER);
    let mut entries = good();
    entries[2].data = b"\x80\x04N.".to_vec();
    refused("weights that are a pickle", "m.keras", &zip(&entries), MEMBER);
    for (file, code) in
        [("external-link", OUTSIDE), ("external-data", OUTSIDE), ("virtual", OUTSIDE), ("lzf", "SR-INS-0112")]
    {
        let bytes = framework(&format!("refuse/{file}.h5"));
        let mut entries = good();
        entries[2].data.clone_from(&bytes);
        refused(file, "m.keras", &zip(&entries), code);
        refused(file, "m.h5", &bytes, code);
    }
}

#[test]
fn bare_hdf5_needs_a_policy() {
    for name in ["mixed-False.weights.h5", "mixed-False.h5"] {
        let report = inspect("m.h5", &framework(&format!("policy/{name}")));
        assert_eq!((report.verdict, report.format), (Verdict::LoadWithPolicy, Format::Hdf5), "{report:?}");
        assert_eq!(report.risks().collect::<Vec<_>>(), [Risk::Hdf5]);
        assert!(!report.tensors.is_empty());
    }
    refused("lambda", "m.h5", &framework("refuse/lambda.h5"), CODE);
}

/// Puts bytes in place of others of the same length, all of them.
fn patched(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut out = bytes.to_vec();
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "{} is not there", from.escape_ascii());
    places.into_iter().for_each(|at| out[at..at + to.len()].copy_from_slice(to));
    out
}

#[test]
fn hdf5_that_is_not_what_it_states_is_refused() {
    let good = framework("policy/mixed-False.h5");
    let at = |place: usize, to: &[u8]| {
        let mut bytes = good.clone();
        bytes[place..place + to.len()].copy_from_slice(to);
        bytes
    };
    let huge = u64::MAX / 2;
    let samples: Vec<(&str, Vec<u8>, &str)> = vec![
        ("version of the superblock", at(8, &[9]), BAD),
        ("width of offsets", at(13, &[4]), BAD),
        ("base address", at(24, &[1]), BAD),
        ("end of the file", at(40, &huge.to_le_bytes()), BAD),
        ("driver", at(48, &[0; 8]), OUTSIDE),
        ("root beyond the file", at(64, &huge.to_le_bytes()), BAD),
        ("root in the superblock", at(64, &[8, 0, 0, 0, 0, 0, 0, 0]), BAD),
        ("trailing bytes", [good.clone(), b"payload".to_vec()].concat(), BAD),
        ("trees without a signature", patched(&good, b"TREE", b"TREF"), BAD),
        ("trees of chunks for groups", patched(&good, b"TREE\0", b"TREE\x01"), BAD),
        ("heaps without a signature", patched(&good, b"HEAP", b"HEAQ"), BAD),
        ("symbols without a signature", patched(&good, b"SNOD", b"SNOE"), BAD),
        ("class that is not listed", patched(&good, b"\"Dense\"", b"\"Evil_\""), CODE),
        (
            "configuration that is no JSON",
            patched(&good, b"{\"class_name\": \"Sequential\"", b"{\"class_name\"; \"Sequential\""),
            BAD,
        ),
    ];
    for (what, bytes, code) in samples {
        refused(what, "m.h5", &bytes, code);
    }
    for place in [512, 1024, 4096] {
        let behind = [vec![b' '; place], good.clone()].concat();
        refused("behind something", "m.txt", &behind, "SR-INS-0003");
        refused("behind something", "", &behind, "SR-INS-0003");
    }
}

#[test]
fn no_mutation_of_hdf5_panics_and_no_cut_passes() {
    let good = framework("policy/mixed-False.weights.h5");
    for len in (1..good.len()).step_by(7) {
        let report = inspect("m.h5", &good[..len]);
        assert_eq!(report.verdict, Verdict::Refuse, "cut to {len}");
    }
    let limits = Limits { measure: false, ..Limits::default() };
    for place in 0..good.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = good.clone();
            bytes[place] = value;
            let report = inspect_bytes("m.h5", &bytes, &limits);
            assert_ne!(report.verdict, Verdict::Load, "byte {place} set to {value}");
        }
    }
}
