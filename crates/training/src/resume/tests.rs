use super::*;
use crate::manifest::tests::sample;
use proptest::prelude::*;

/// A chain of `n` versions and what the log says of it.
fn chain(n: u64, change: impl Fn(&mut Manifest)) -> (Trusted, Vec<Candidate>) {
    let mut trusted = Trusted::default();
    let mut candidates = vec![];
    let mut prev = None;
    for version in 1..=n {
        let mut manifest = sample(version, prev);
        change(&mut manifest);
        let bytes = manifest.to_bytes().unwrap();
        let digest = Manifest::digest_of(&bytes);
        trusted.digests.insert(version, digest);
        candidates.push(Candidate { version, manifest: Some(bytes), quarantined: None });
        prev = Some(digest);
    }
    (trusted, candidates)
}

fn conditions() -> Conditions {
    let sample = sample(1, None);
    Conditions { contract: sample.contract, before: None, hardware: sample.hardware }
}

/// Runs the search; `fails` says which asked checks fail. Returns the decision and every question.
fn run(mut resume: Resume, fails: impl Fn(u64, Check) -> bool) -> (Decision, Vec<(u64, Check)>) {
    let mut asked = vec![];
    loop {
        match resume.step() {
            Step::Decided(decision) => return (decision, asked),
            Step::Need { version, check } => {
                asked.push((version, check));
                let result = if fails(version, check) { Err("no".to_owned()) } else { Ok(()) };
                resume.answer(version, check, result).unwrap();
            }
        }
    }
}

fn chosen(decision: &Decision) -> Option<u64> {
    match decision {
        Decision::Chosen { version, .. } => Some(*version),
        _ => None,
    }
}

fn rejected(decision: &Decision) -> Vec<(u64, Check)> {
    match decision {
        Decision::Chosen { rejected, .. } | Decision::None { rejected } => {
            rejected.iter().map(|r| (r.version, r.check)).collect()
        }
        Decision::FromStart => vec![],
    }
}

#[test]
fn an_untouched_chain_gives_its_head_after_three_questions() {
    let (trusted, candidates) = chain(4, |_| {});
    let (decision, asked) = run(Resume::new(trusted, candidates, conditions()), |_, _| false);
    assert_eq!(asked, [(4, Check::Signature), (4, Check::Open), (4, Check::Format)]);
    let expected = Decision::Chosen {
        version: 4,
        step: Some(400),
        continuation: Continuation::BitExact,
        rejected: vec![],
    };
    assert_eq!(decision, expected);
}

#[test]
fn a_job_without_checkpoints_starts_at_the_beginning() {
    let (decision, _) = run(Resume::new(Trusted::default(), vec![], conditions()), |_, _| false);
    assert_eq!(decision, Decision::FromStart);
}

#[test]
fn a_tampered_object_is_refused_and_the_next_older_is_taken() {
    let (trusted, candidates) = chain(3, |_| {});
    let (decision, _) =
        run(Resume::new(trusted, candidates, conditions()), |v, c| v == 3 && c == Check::Open);
    assert_eq!(chosen(&decision), Some(2));
    assert_eq!(rejected(&decision), [(3, Check::Open)]);
}

#[test]
fn a_changed_missing_swapped_or_replayed_manifest_is_not_on_the_chain() {
    type Tamper = fn(&mut Vec<Candidate>);
    let tampers: [Tamper; 5] = [
        |c| {
            if let Some(bytes) = &mut c[2].manifest {
                bytes[40] ^= 1;
            }
        },
        |c| c[2].manifest = None,
        |c| {
            c.remove(2);
        },
        |c| c[2].manifest = c[1].manifest.clone(),
        |c| c[2].manifest = Some(sample(3, None).to_bytes().unwrap()),
    ];
    for tamper in tampers {
        let (trusted, mut candidates) = chain(3, |_| {});
        tamper(&mut candidates);
        let (decision, asked) = run(Resume::new(trusted, candidates, conditions()), |_, _| false);
        assert_eq!(rejected(&decision), [(3, Check::Chain)]);
        assert_eq!(chosen(&decision), Some(2));
        assert!(asked.iter().all(|(v, _)| *v == 2));
    }
}

#[test]
fn a_version_that_the_log_does_not_know_is_never_taken() {
    let (mut trusted, candidates) = chain(3, |_| {});
    trusted.digests.remove(&3);
    let (decision, _) = run(Resume::new(trusted, candidates, conditions()), |_, _| false);
    assert_eq!(chosen(&decision), Some(2));
}

#[test]
fn a_changed_contract_refuses_every_version_without_opening_one() {
    let (trusted, candidates) = chain(3, |_| {});
    let mut changed = conditions();
    changed.contract.data[0].manifest = base::sha256(b"swapped");
    let (decision, asked) = run(Resume::new(trusted, candidates, changed), |_, _| false);
    assert_eq!(rejected(&decision), [(3, Check::Contract), (2, Check::Contract), (1, Check::Contract)]);
    assert!(asked.iter().all(|(_, c)| *c == Check::Signature));
}

#[test]
fn quarantined_suspect_and_late_versions_are_skipped() {
    let (trusted, mut candidates) = chain(5, |m| {
        if m.version == 4 {
            m.monitor = Verdict::Suspect;
        }
    });
    candidates[4].quarantined = Some("incident".into());
    let mut before = conditions();
    before.before = Some(Timestamp::from_millis(3000));
    let (decision, _) = run(Resume::new(trusted, candidates, before), |_, _| false);
    assert_eq!(rejected(&decision), [(5, Check::Verdict), (4, Check::Verdict), (3, Check::BeforeLimit)]);
    assert_eq!(chosen(&decision), Some(2));
}

#[test]
fn other_tensors_than_the_predecessor_or_a_nan_are_refused() {
    let (trusted, candidates) = chain(3, |m| {
        if m.version == 3 {
            m.tensors.pop();
        }
        if m.version == 2 {
            m.files[0].all_finite = Some(false);
        }
    });
    let (decision, _) = run(Resume::new(trusted, candidates, conditions()), |_, _| false);
    assert_eq!(rejected(&decision), [(3, Check::Values), (2, Check::Values)]);
}

#[test]
fn other_hardware_is_said() {
    let (trusted, candidates) = chain(1, |_| {});
    let mut other = conditions();
    other.hardware = vec![("cpu_model".into(), "y".into())];
    let (decision, _) = run(Resume::new(trusted, candidates, other), |_, _| false);
    assert!(matches!(decision, Decision::Chosen { continuation: Continuation::NumericallyEquivalent, .. }));
}

#[test]
fn an_answer_that_was_not_asked_for_is_an_error() {
    let (trusted, candidates) = chain(2, |_| {});
    let mut resume = Resume::new(trusted, candidates, conditions());
    assert!(resume.answer(2, Check::Open, Ok(())).is_err());
    assert!(resume.answer(1, Check::Signature, Ok(())).is_err());
    resume.answer(2, Check::Signature, Ok(())).unwrap();
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Damage {
    None,
    Manifest,
    Missing,
    Quarantine,
    Suspect,
    Late,
    Asked(Check),
    Nan,
}

fn damage() -> impl Strategy<Value = Damage> {
    use Damage::*;
    prop_oneof![
        4 => Just(None), 1 => Just(Manifest), 1 => Just(Missing), 1 => Just(Quarantine), 1 => Just(Suspect),
        1 => Just(Late), 1 => Just(Asked(Check::Signature)), 1 => Just(Asked(Check::Open)),
        1 => Just(Asked(Check::Format)), 1 => Just(Nan),
    ]
}

proptest! {
    /// "The chosen one is the newest that passes all checks", and so a rejected version is never chosen, and every
    /// newer version is recorded with the check that it failed.
    #[test]
    fn the_chosen_version_is_the_newest_undamaged_one(damages in proptest::collection::vec(damage(), 1..12)) {
        let of = |version: u64| damages[usize::try_from(version - 1).unwrap()];
        let (trusted, mut candidates) = chain(damages.len() as u64, |m| match of(m.version) {
            Damage::Suspect => m.monitor = Verdict::Suspect,
            Damage::Late => m.committed_at = Timestamp::from_millis(1_000_000),
            Damage::Nan => m.files[0].all_finite = Some(false),
            _ => {}
        });
        for candidate in &mut candidates {
            match of(candidate.version) {
                Damage::Manifest => candidate.manifest.as_mut().unwrap()[7] ^= 1,
                Damage::Missing => candidate.manifest = None,
                Damage::Quarantine => candidate.quarantined = Some("q".into()),
                _ => {}
            }
        }
        let mut limits = conditions();
        limits.before = Some(Timestamp::from_millis(900_000));
        let (decision, asked) =
            run(Resume::new(trusted, candidates, limits), |v, c| of(v) == Damage::Asked(c));
        let newest = (1..=damages.len() as u64).rev().find(|v| of(*v) == Damage::None);
        prop_assert_eq!(chosen(&decision), newest);
        let skipped: Vec<u64> = rejected(&decision).iter().map(|(v, _)| *v).collect();
        let expected: Vec<u64> = ((newest.unwrap_or(0) + 1)..=damages.len() as u64).rev().collect();
        prop_assert_eq!(skipped, expected);
        // No key is asked for, for a version that was already refused.
        for (version, check) in asked {
            if check == Check::Open {
                prop_assert!(matches!(of(version), Damage::None | Damage::Nan | Damage::Asked(Check::Open | Check::Format)));
            }
        }
    }
}
