//! LightGBM models as text. `cargo +nightly fuzz run lightgbm`
#![no_main]

use inspect::{Limits, Verdict, inspect_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let report = inspect_bytes("m.txt", input, &Limits::default());
    assert!(report.verdict != Verdict::Refuse || report.tensors.is_empty());
});
