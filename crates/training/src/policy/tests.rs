use super::*;
use proptest::prelude::*;

fn failed() -> Ending {
    Ending::Failed("signal 9 ended the job".into())
}

#[test]
fn the_breaker_holds_a_job_that_fails_without_progress() {
    let mut restarts = Restarts::new();
    let mut now = Timestamp::from_millis(0);
    let mut waits = vec![];
    for _ in 0..5 {
        match restarts.ended(&failed(), now, u16::MAX / 2) {
            Next::Restart { after_ms } => waits.push(after_ms),
            other => panic!("{other:?}"),
        }
        now = now.plus_millis(10_000);
    }
    assert!(waits.windows(2).all(|w| w[0] < w[1]), "{waits:?}");
    assert!(matches!(restarts.ended(&failed(), now, 0), Next::Hold { .. }));
    restarts.sealed();
    assert!(matches!(restarts.ended(&failed(), now, 0), Next::Restart { after_ms: 750 }));
    assert_eq!(restarts.total(), 6);
}

#[test]
fn failures_that_are_far_apart_do_not_hold_a_job() {
    let mut restarts = Restarts::new();
    for i in 0..20 {
        let now = Timestamp::from_millis(i * limits::BREAKER_WINDOW_MS / 3);
        assert!(matches!(restarts.ended(&failed(), now, 7), Next::Restart { .. }));
    }
}

#[test]
fn silence_becomes_an_alarm_only_past_the_promise() {
    let policy = CheckpointPolicy { required: true, max_lost_seconds: Some(30), keep: 3 };
    let at = Timestamp::from_millis;
    assert_eq!(overdue_s(policy, at(0), at(30_999)), None);
    assert_eq!(overdue_s(policy, at(0), at(31_000)), Some(1));
    assert_eq!(overdue_s(CheckpointPolicy { max_lost_seconds: None, ..policy }, at(0), at(u64::MAX)), None);
}

proptest! {
    #[test]
    fn retention_keeps_at_least_two_good_and_the_newest(
        flags in proptest::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 0..60),
        keep in 2u32..8,
    ) {
        let versions: Vec<Kept> = (1u64..)
            .zip(&flags)
            .map(|(version, (good, first, pinned))| Kept {
                version, good: *good, first_after_resume: *first, pinned: *pinned,
            })
            .collect();
        let gone = removable(&versions, keep);
        let stay: Vec<&Kept> = versions.iter().filter(|k| !gone.contains(&k.version)).collect();
        let good = versions.iter().filter(|k| k.good).count();
        prop_assert!(stay.iter().filter(|k| k.good).count() >= good.min(2));
        prop_assert!(versions.iter().rev().take(keep as usize).all(|k| !gone.contains(&k.version)));
        prop_assert!(versions.iter().filter(|k| k.pinned || k.first_after_resume).all(|k| !gone.contains(&k.version)));
        // Applying it twice removes nothing more.
        let left: Vec<Kept> = stay.into_iter().copied().collect();
        prop_assert!(removable(&left, keep).is_empty());
    }

    #[test]
    fn a_wait_is_never_longer_than_the_limit(n in 0u64..4, jitter in any::<u16>()) {
        let mut restarts = Restarts::new();
        for i in 0..=n {
            if let Next::Restart { after_ms } = restarts.ended(&failed(), Timestamp::from_millis(i), jitter) {
                prop_assert!((750..=limits::BACKOFF_MAX_MS).contains(&after_ms));
            }
        }
    }
}
