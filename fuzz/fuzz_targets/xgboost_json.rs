//! XGBoost models as JSON. `cargo +nightly fuzz run xgboost_json`
#![no_main]

use inspect::{Limits, Verdict, inspect_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let report = inspect_bytes("m.json", input, &Limits::default());
    assert!(report.verdict != Verdict::Refuse || report.tensors.is_empty());
});
