//! Archives of 7z: never a model by themselves. `cargo +nightly fuzz run sevenz`
#![no_main]

use inspect::{Limits, Verdict, inspect_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let report = inspect_bytes("m.7z", input, &Limits::default());
    assert_ne!(report.verdict, Verdict::Load);
});
