//! Checkpoints of torch. `cargo +nightly fuzz run torch_zip`
#![no_main]

use inspect::{Limits, Verdict, inspect_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let report = inspect_bytes("m.pt", input, &Limits::default());
    assert!(report.verdict != Verdict::Refuse || report.tensors.is_empty());
});
