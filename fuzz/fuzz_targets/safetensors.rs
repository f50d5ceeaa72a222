//! safetensors. `cargo +nightly fuzz run safetensors`
#![no_main]

use inspect::{Limits, Verdict, inspect_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let report = inspect_bytes("m.safetensors", input, &Limits::default());
    assert_eq!(report.verdict == Verdict::Load, report.findings.is_empty());
});
