//! Configurations as JSON: the first byte picks the name, the rest is the file. `cargo +nightly fuzz run config`
#![no_main]

use inspect::{Limits, Verdict, inspect_bytes};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 5] = [
    "config.json",
    "tokenizer_config.json",
    "model_index.json",
    "modules.json",
    "model.safetensors.index.json",
];

fuzz_target!(|input: &[u8]| {
    let Some((first, bytes)) = input.split_first() else { return };
    let name = NAMES[usize::from(*first) % NAMES.len()];
    let report = inspect_bytes(name, bytes, &Limits::default());
    assert_eq!(report.verdict == Verdict::Load, report.findings.is_empty());
});
