//! The whole inspector: the first byte picks the name, the rest is the file.
//! `cargo +nightly fuzz run inspect_bytes`
#![no_main]

use inspect::{Limits, Severity, Verdict, inspect_bytes};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 8] = ["", "m.pt", "m.pkl", "m.safetensors", "m.npy", "m.npz", "m.onnx", "m.json"];

fuzz_target!(|input: &[u8]| {
    let Some((first, bytes)) = input.split_first() else { return };
    let name = NAMES[usize::from(*first) % NAMES.len()];
    let limits = Limits { pickle_opcodes: 1 << 20, zip_inflated: 64 << 20, ..Limits::default() };
    let report = inspect_bytes(name, bytes, &limits);
    let worst = report.findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Notice);
    let verdict = match worst {
        Severity::Notice => Verdict::Load,
        Severity::Risk => Verdict::LoadWithPolicy,
        _ => Verdict::Refuse,
    };
    assert_eq!(report.verdict, verdict);
    assert!(verdict != Verdict::Load || report.risks().next().is_none());
});
