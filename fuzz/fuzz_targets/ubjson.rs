//! XGBoost models as UBJSON. `cargo +nightly fuzz run ubjson`
#![no_main]

use inspect::{Limits, Severity, inspect_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let report = inspect_bytes("x.ubj", input, &Limits::default());
    let worst = report.findings.iter().map(|finding| finding.severity).max();
    assert!(report.tensors.is_empty() || worst <= Some(Severity::Risk));
});
