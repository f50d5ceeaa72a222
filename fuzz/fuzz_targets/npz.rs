//! Archives of arrays of NumPy. `cargo +nightly fuzz run npz`
#![no_main]

use inspect::{Limits, Verdict, inspect_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let report = inspect_bytes("m.npz", input, &Limits::default());
    assert_eq!(report.verdict == Verdict::Load, report.findings.is_empty());
});
