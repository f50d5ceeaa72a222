use base::sha256;
use proptest::prelude::*;

use super::*;

fn files(n: u8) -> Digest {
    sha256(&[n])
}

#[test]
fn each_state_takes_its_own_step_alone() {
    let stages = [
        Stage::Quarantined,
        Stage::Sourced,
        Stage::Inspected,
        Stage::Described,
        Stage::Accepted,
        Stage::Approved,
        Stage::Admitted,
        Stage::Refused,
    ];
    for (place, stage) in stages.into_iter().enumerate() {
        let state = State { stage, manifest: files(1) };
        for (number, step) in Step::ALL.into_iter().enumerate() {
            let came = next(state, Event::Pass(step, files(1)), Acceptance::Require);
            let other = next(state, Event::Pass(step, files(2)), Acceptance::Require);
            let waived = next(state, Event::Waive(step, files(1)), Acceptance::Waive);
            assert_eq!(came.is_ok(), place == number, "{stage:?} {step:?}");
            assert!(other.is_err(), "{stage:?} {step:?} for other files");
            assert_eq!(waived.is_ok(), place == number && step == Step::Accept, "{stage:?} {step:?} waived");
            assert!(next(state, Event::Waive(step, files(1)), Acceptance::Require).is_err());
            if let Ok(state) = came {
                assert_eq!(state, State { stage: stages[place + 1], manifest: files(1) });
            }
        }
    }
}

#[test]
fn an_end_is_an_end_and_other_files_begin_anew() {
    for (end, why) in [(Stage::Refused, NotNow::Refused), (Stage::Admitted, NotNow::Admitted)] {
        let state = State { stage: end, manifest: files(1) };
        for event in [Event::Refuse, Event::Replace(files(1)), Event::Replace(files(2))] {
            assert_eq!(next(state, event, Acceptance::Waive), Err(why));
        }
    }
    let state = State { stage: Stage::Approved, manifest: files(1) };
    assert_eq!(next(state, Event::Replace(files(1)), Acceptance::Require), Ok(state));
    assert_eq!(next(state, Event::Replace(files(2)), Acceptance::Require), Ok(State::new(files(2))));
    let refused = next(state, Event::Refuse, Acceptance::Require).unwrap();
    assert_eq!(refused.stage, Stage::Refused);
}

fn event() -> impl Strategy<Value = Event> {
    let step = prop::sample::select(Step::ALL.to_vec());
    let digest = (0u8..3).prop_map(files);
    prop_oneof![
        12 => (step.clone(), digest.clone()).prop_map(|(s, d)| Event::Pass(s, d)),
        3 => (step, digest.clone()).prop_map(|(s, d)| Event::Waive(s, d)),
        1 => Just(Event::Refuse),
        2 => digest.prop_map(Event::Replace),
    ]
}

/// The events of a whole way, with others thrown in: random ones alone would hardly ever get there.
fn history() -> impl Strategy<Value = Vec<Event>> {
    let way = prop::collection::vec((prop::bool::weighted(0.9), prop::option::weighted(0.3, event())), 6..12);
    (way, 0u8..3).prop_map(|(way, n)| {
        let mut steps = Step::ALL.into_iter().cycle();
        let mut all = vec![Event::Replace(files(n))];
        for (takes, other) in way {
            all.extend(other);
            let step = steps.next().unwrap();
            if takes {
                all.push(Event::Pass(step, files(n)));
            }
        }
        all
    })
}

proptest! {
    /// No order of events leads to `Admitted` unless each step succeeded, in order, for the same files, after the last
    /// change of the files.
    #[test]
    fn nothing_is_admitted_without_every_step(
        events in prop_oneof![history(), prop::collection::vec(event(), 0..60)],
        waivable in any::<bool>(),
    ) {
        let acceptance = if waivable { Acceptance::Waive } else { Acceptance::Require };
        let mut state = State::new(files(0));
        // What a bookkeeper who knows nothing of stages would note.
        let (mut passed, mut refused): (Vec<Step>, bool) = (Vec::new(), false);
        for event in events {
            let Ok(after) = next(state, event, acceptance) else { continue };
            prop_assert!(!refused, "{event:?} was taken after a refusal");
            match event {
                Event::Pass(step, manifest) => {
                    prop_assert_eq!(manifest, state.manifest);
                    passed.push(step);
                }
                Event::Waive(step, manifest) => {
                    prop_assert!(waivable && step == Step::Accept && manifest == state.manifest);
                    passed.push(step);
                }
                Event::Refuse => refused = true,
                Event::Replace(manifest) if manifest != state.manifest => passed.clear(),
                Event::Replace(_) => {}
            }
            state = after;
            prop_assert_eq!(state.stage == Stage::Refused, refused);
            if state.stage == Stage::Admitted {
                prop_assert_eq!(&passed[..], &Step::ALL[..]);
            }
        }
    }
}
