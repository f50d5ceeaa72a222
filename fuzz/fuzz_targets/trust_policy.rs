//! Trust policies and revocation lists: any text. Nothing may panic; without a signature nothing is admitted.
//! `cargo +nightly fuzz run trust_policy`
#![no_main]

use base::Timestamp;
use integrity::trust::{Facts, Inspection, Policy, Revocations, Stage, Verdict, evaluate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let list = Revocations::parse(data).ok();
    let Ok(policy) = Policy::parse(data) else { return };
    let facts = Facts {
        model: "vision-1",
        stage: Stage::Load,
        signatures: &[],
        release: Some(u64::MAX),
        bom: None,
        inspection: Some(Inspection { verdict: Verdict::Load, risks: Default::default() }),
        files: &[],
        datasets: &[],
        stored_floor: 0,
    };
    assert!(!evaluate(&policy, list.as_ref(), &facts, Timestamp::from_millis(1_800_000_000_000)).admit);
});
