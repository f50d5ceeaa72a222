//! No input makes the inspector panic, and no truncation of a file passes as the file.

use std::sync::LazyLock;

use proptest::prelude::*;
use strongroom_inspect::{Limits, Verdict, inspect_bytes, inspect_pickle};

use crate::archives::{bzip2, gzip, plain, tar};
use crate::keras::framework;
use crate::support::{Torch, message, npy, number, onnx, safetensors, zip};

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    static SEEDS: LazyLock<Vec<(&'static str, Vec<u8>)>> = LazyLock::new(make_seeds);
    SEEDS.clone()
}

fn make_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let array = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", &[0; 8]);
    let tensor = [number(1, 2), number(2, 1), message(8, b"w"), message(9, &[0; 8])].concat();
    vec![
        ("m.pt", Torch::default().file()),
        ("m.pkl", Torch::default().pickle()),
        ("m.pkl", b"\x80\x04\x95\x0c\0\0\0\0\0\0\0}\x94\x8c\x01a\x94K\x01s.".to_vec()),
        ("m.safetensors", safetensors(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, &[0; 8])),
        ("m.npz", zip(&[crate::support::entry("a.npy", &array)])),
        ("m.npy", array),
        ("m.onnx", onnx(&message(5, &tensor))),
        ("m.pt", crate::policies::legacy_file()),
        ("m.joblib", crate::policies::joblib_file()),
        ("m.tar", tar(&[plain("a.json", b"{}"), plain("b.pkl", b"\x80\x04N.")])),
        ("m.7z", crate::sevenz::made("lzma2")),
        ("m.7z", crate::sevenz::made("copy")),
        ("m.json.gz", gzip(b"{}")),
        ("m.pkl.bz2", bzip2(b"\x80\x04N.")),
        ("m.json.xz", include_bytes!("data/json.xz").to_vec()),
        ("m.json.zst", include_bytes!("data/json.zst").to_vec()),
        ("m.json.lz4", include_bytes!("data/json.lz4").to_vec()),
        ("m.json", br#"{"a":[1,2.5e3,"x\u00fc",null,true],"b":{}}"#.to_vec()),
        ("m.gguf", crate::gguf::good()),
        ("m.keras", framework("load/mixed-False.keras")),
        ("m.h5", framework("policy/mixed-False.h5")),
        ("m.pb", framework("refuse/nested.pb")),
        ("variables.index", framework("policy/module/variables/variables.index")),
        ("m.tflite", framework("load/dense.tflite")),
        ("m.ubj", framework("load/xgb-names.ubj")),
        ("m.json", framework("load/xgb-names.json")),
        ("m.txt", framework("load/lgb-categories.txt")),
        ("m.jinja", TEMPLATE.to_vec()),
        ("tokenizer_config.json", [br#"{"chat_template":""#, TEMPLATE, br#""}"#].concat()),
    ]
}

const TEMPLATE: &[u8] = b"{% macro m(x, y=1) %}{% for k in x if k %}{{ x[k]|tojson }}{% endfor %}{% endmacro %}{% set ns = namespace(i=0) %}{{ m(messages[ns.i]['role'], y='a' ~ 'b') if a is not none else -1 }}{# c #}";

#[test]
fn no_truncation_of_a_binary_file_loads() {
    for (name, bytes) in seeds() {
        for len in 1..bytes.len() {
            let report = inspect_bytes(name, &bytes[..len], &Limits::default());
            // A cut text may be a shorter text, a cut message a shorter message; each then has to say so by its own
            // rules.
            if ![".onnx", ".pb", ".jinja", ".txt"].iter().any(|end| name.ends_with(end)) {
                assert_eq!(report.verdict, Verdict::Refuse, "{name} cut to {len}: {report:?}");
            }
        }
    }
}

#[test]
fn no_flipped_bit_of_a_zip_header_passes() {
    let bytes = Torch::default().file();
    let data = u32::from_le_bytes(bytes[bytes.len() - 6..bytes.len() - 2].try_into().unwrap());
    let mut passed = Vec::new();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            if inspect_bytes("m.pt", &flipped, &Limits::default()).verdict == Verdict::Load {
                passed.push(at);
            }
        }
    }
    // Versions, times and internal attributes are not part of a member's meaning; all else is.
    let directory = usize::try_from(data).unwrap();
    let neutral = |at: usize| {
        let in_record = |start: usize, fields: &[std::ops::Range<usize>]| {
            at >= start && fields.iter().any(|field| field.contains(&(at - start)))
        };
        let locals: Vec<usize> = positions(&bytes, b"PK\x03\x04");
        let centrals: Vec<usize> = positions(&bytes, b"PK\x01\x02");
        locals.iter().any(|start| in_record(*start, &[4..6, 10..14]))
            || centrals.iter().any(|start| in_record(*start, &[4..8, 12..16, 36..42]))
    };
    for at in passed {
        assert!(neutral(at), "flip at {at} passed (directory at {directory})");
    }
}

fn positions(bytes: &[u8], magic: &[u8]) -> Vec<usize> {
    (0..bytes.len()).filter(|at| bytes[*at..].starts_with(magic)).collect()
}

fn mutated() -> impl Strategy<Value = (usize, Vec<(usize, u8)>, usize)> {
    (0..seeds().len(), prop::collection::vec((any::<usize>(), any::<u8>()), 0..8), any::<usize>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn mutations_never_panic((seed, edits, cut) in mutated()) {
        let (name, mut bytes) = seeds().swap_remove(seed);
        for (at, value) in edits {
            let len = bytes.len();
            bytes[at % len] = value;
        }
        if cut % 4 == 0 {
            bytes.truncate(cut % (bytes.len() + 1));
        }
        for hint in [name, "", "m.pkl"] {
            let report = inspect_bytes(hint, &bytes, &Limits::default());
            prop_assert_eq!(
                report.verdict == Verdict::Refuse,
                report.findings.iter().any(|finding| finding.severity > strongroom_inspect::Severity::Risk)
            );
        }
    }

    #[test]
    fn opcode_soup_never_panics(bytes in prop::collection::vec(prop::sample::select(
        b".()01]}abcdehijlopqrstu\x80\x81\x85\x88\x8a\x8c\x90\x91\x92\x93\x94\x95\x96NKUXBQRIJ\n\x00\x01\x02\x04".to_vec()
    ), 0..200)) {
        inspect_pickle(&bytes, &Limits::default());
    }

    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 9..200)) {
        let report = inspect_bytes("", &bytes, &Limits::default());
        let plain = std::str::from_utf8(&bytes).is_ok();
        prop_assert!(plain || report.verdict == Verdict::Refuse);
    }
}
