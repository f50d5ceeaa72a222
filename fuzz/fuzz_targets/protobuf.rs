//! Protobuf formats: the first byte picks the name, and with it what the file beside a SavedModel would be.
//! `cargo +nightly fuzz run protobuf`
#![no_main]

use inspect::{Limits, Verdict, inspect_bytes};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 6] =
    ["", "saved_model.pb", "fingerprint.pb", "keras_metadata.pb", "variables.index", "tokenizer.model"];

fuzz_target!(|input: &[u8]| {
    let Some((first, bytes)) = input.split_first() else { return };
    let name = NAMES[usize::from(*first) % NAMES.len()];
    let report = inspect_bytes(name, bytes, &Limits::default());
    assert!(report.verdict != Verdict::Load || report.risks().next().is_none());
});
