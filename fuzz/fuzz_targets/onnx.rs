//! ONNX models. `cargo +nightly fuzz run onnx`
#![no_main]

use inspect::{Limits, Verdict, inspect_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let report = inspect_bytes("m.onnx", input, &Limits::default());
    assert!(report.verdict != Verdict::Refuse || report.tensors.is_empty());
    assert!(report.verdict != Verdict::Load || report.risks().next().is_none());
});
