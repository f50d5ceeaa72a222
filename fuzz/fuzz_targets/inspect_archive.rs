//! Archives, compressed files, legacy torch, joblib and skops: the first byte picks the name, the rest is the file.
//! `cargo +nightly fuzz run inspect_archive`
#![no_main]

use inspect::{Limits, TAIL, Verdict, head_len, inspect_bytes, inspect_head};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 8] =
    ["m.tar", "m.json.xz", "m.joblib", "m.pt", "m.skops", "m.zip", "m.tar.gz", "m.safetensors"];

fuzz_target!(|input: &[u8]| {
    let Some((first, bytes)) = input.split_first() else { return };
    let name = NAMES[usize::from(*first) % NAMES.len()];
    let limits =
        Limits { pickle_opcodes: 1 << 20, zip_inflated: 16 << 20, measure: false, ..Limits::default() };
    let report = inspect_bytes(name, bytes, &limits);
    // An archive is never a model by itself, and what needs a policy names its risks.
    assert!(report.verdict != Verdict::Load || report.risks().next().is_none());
    assert!(report.verdict != Verdict::LoadWithPolicy || report.risks().next().is_some());
    // The first bytes of a file never tell another verdict than all of it.
    if let Some(head) = head_len(bytes).and_then(|len| bytes.get(..usize::try_from(len).ok()?)) {
        let tail = &bytes[bytes.len().saturating_sub(TAIL)..];
        let len = u64::try_from(bytes.len()).unwrap();
        if let Some(part) = inspect_head(name, head, len, tail, &limits) {
            assert_eq!(part, report);
        }
    }
});
