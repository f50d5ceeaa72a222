//! `TensorFlow` Lite models: of the real converter, and spoiled in one place.

use strongroom_inspect::{Format, Limits, Risk, Verdict, inspect_bytes};

use crate::keras::framework;
use crate::support::{inspect, loads, refused};

const BAD: &str = "SR-INS-0120";
const OPERATOR: &str = "SR-INS-0121";
const GAP: &str = "SR-INS-0124";

#[test]
fn ordinary_models_load() {
    let report = loads("dense", "m.tflite", &framework("load/dense.tflite"));
    assert_eq!(report.format, Format::Tflite);
    assert_eq!(report.all_finite, Some(true));
    let shapes: Vec<_> = report.tensors.iter().map(|tensor| tensor.shape.clone()).collect();
    assert!(shapes.contains(&vec![8, 4]), "{shapes:?}");
}

#[test]
fn operators_of_others_need_a_policy_or_are_refused() {
    let bytes = framework("policy/custom.tflite");
    let report = inspect("m.tflite", &bytes);
    assert_eq!(report.verdict, Verdict::LoadWithPolicy, "{report:?}");
    assert_eq!(report.risks().collect::<Vec<_>>(), [Risk::TfliteCustomOperator]);
    refused("flex", "m.tflite", &framework("refuse/flex.tflite"), OPERATOR);
    // The same operator by another prefix is the application's own.
    let mut renamed = framework("refuse/flex.tflite");
    let places: Vec<usize> = (0..renamed.len()).filter(|at| renamed[*at..].starts_with(b"Flex")).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| renamed[at..at + 4].copy_from_slice(b"flex"));
    assert_eq!(inspect("m.tflite", &renamed).verdict, Verdict::LoadWithPolicy);
}

#[test]
fn spoiled_models_are_refused() {
    let good = framework("load/dense.tflite");
    let at = |place: usize, to: &[u8]| {
        let mut bytes = good.clone();
        bytes[place..place + to.len()].copy_from_slice(to);
        bytes
    };
    let root = u32::from_le_bytes(good[..4].try_into().unwrap()) as usize;
    let samples: Vec<(&str, Vec<u8>, &str)> = vec![
        ("root beyond the file", at(0, &u32::MAX.to_le_bytes()), BAD),
        ("root of zero", at(0, &[0; 4]), BAD),
        ("root that is not aligned", at(0, &[root.to_le_bytes()[0] + 1]), BAD),
        ("fields beyond the file", at(root, &i32::MIN.to_le_bytes()), BAD),
        ("fields at no distance", at(root, &[0; 4]), BAD),
        ("cut in half", good[..good.len() / 2].to_vec(), BAD),
        ("payload at the end", [good.clone(), vec![7; 2_000]].concat(), GAP),
        ("header alone", b"\x08\0\0\0TFL3".to_vec(), BAD),
        ("other identifier", at(4, b"TFL2"), "SR-INS-0002"),
    ];
    for (what, bytes, code) in samples {
        refused(what, "m.tflite", &bytes, code);
    }
    let archive = crate::support::zip(&[crate::support::entry("a", b"b")]);
    refused("archive at the end", "m.tflite", &[good.clone(), archive].concat(), "SR-INS-0003");
    refused("another name", "m.onnx", &good, "SR-INS-0002");
}

/// Each byte is set to others: no panic, and no more tensors than the file has room for.
#[test]
fn no_mutation_panics() {
    for name in ["load/dense.tflite", "policy/custom.tflite", "refuse/flex.tflite"] {
        let good = framework(name);
        for place in 0..good.len() {
            for value in [0, 1, 0x10, 0x7f, 0xff] {
                let mut bytes = good.clone();
                bytes[place] = value;
                let report = inspect_bytes("m.tflite", &bytes, &Limits::default());
                assert!(report.tensors.len() <= good.len());
            }
            inspect("m.tflite", &good[..place]);
        }
    }
}
