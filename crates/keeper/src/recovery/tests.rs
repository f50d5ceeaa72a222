use audit::Signer;
use ops::recovery::HOLDERS_MAX;

use super::*;

/// A holder with their code.
struct Person {
    name: &'static str,
    signer: Signer,
}

fn person(name: &'static str, seed: u8) -> Person {
    Person { name, signer: Signer::new("recovery", &[seed; 32]).unwrap() }
}

impl Person {
    fn holder(&self) -> Holder {
        Holder { name: Text::clip(self.name), key: *self.signer.verifier().public() }
    }

    fn proof(&self, act: &Act, challenge: &[u8; 32]) -> Proof {
        Proof {
            holder: Text::clip(self.name),
            signature: self.signer.sign_raw(&signed_bytes(act, challenge)),
        }
    }
}

fn holders(of: &[&Person]) -> List<Holder, HOLDERS_MAX> {
    List::new(of.iter().map(|person| person.holder()).collect()).unwrap()
}

fn safe() -> Safe {
    Safe { since_ms: 1, by: Text::clip("operator"), reason: Text::clip("a drill") }
}

fn leave() -> Act {
    Act::Leave { reason: Text::clip("it is over") }
}

fn open(seconds: u32) -> Act {
    Act::Open { reason: Text::clip("locked out"), seconds }
}

fn window(ends_ms: u64) -> Window {
    Window { holder: Text::clip("ada"), reason: Text::clip("locked out"), since_ms: 1, ends_ms }
}

/// A node whose codes are held by these.
fn sealed(dir: &std::path::Path, by: &[&Person]) -> Recovery {
    let mut recovery = Recovery::open(dir.to_path_buf()).unwrap();
    let act = Act::Seal { holders: holders(by) };
    recovery.check(&act, &[]).unwrap();
    recovery.seal(holders(by)).unwrap();
    recovery
}

/// What the state says the next act is signed under.
fn proofs(recovery: &Recovery, act: &Act, by: &[&Person]) -> Vec<Proof> {
    let challenge = recovery.state().challenge;
    by.iter().map(|person| person.proof(act, &challenge)).collect()
}

fn try_it(recovery: &mut Recovery, act: &Act, by: &[&Person]) -> Result<Vec<String>, KeeperError> {
    let proofs = proofs(recovery, act, by);
    recovery.check(act, &proofs)
}

#[test]
fn safe_mode_and_its_holders_outlive_a_restart_and_a_window_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let (ada, bob) = (person("ada", 1), person("bob", 2));
    let mut recovery = sealed(dir.path(), &[&ada, &bob]);
    assert!(recovery.enter(safe()).unwrap());
    assert!(!recovery.enter(safe()).unwrap());
    recovery.open_window(window(u64::MAX), u64::MAX);
    let mut again = Recovery::open(dir.path().to_path_buf()).unwrap();
    assert!(again.is_safe() && !again.is_open(0));
    assert_eq!(again.state().safe, Some(safe()));
    assert_eq!(again.state().holders, recovery.state().holders);
    assert_eq!(try_it(&mut again, &leave(), &[&ada, &bob]).unwrap(), ["ada", "bob"]);
    again.leave().unwrap();
    assert!(!Recovery::open(dir.path().to_path_buf()).unwrap().is_safe());
}

#[test]
fn safe_mode_is_left_by_two_holders_and_by_nobody_less() {
    let dir = tempfile::tempdir().unwrap();
    let (ada, bob, eve) = (person("ada", 1), person("bob", 2), person("eve", 3));
    let mut recovery = sealed(dir.path(), &[&ada, &bob]);
    recovery.enter(safe()).unwrap();
    let by: [&[&Person]; 6] =
        [&[], &[&ada], &[&ada, &ada], &[&ada, &eve], &[&eve, &eve], &[&ada, &bob, &eve]];
    for few in by {
        assert!(try_it(&mut recovery, &leave(), few).is_err(), "{}", few.len());
        assert!(recovery.is_safe());
    }
    // The name of one with the code of another.
    let challenge = recovery.state().challenge;
    let stolen = Proof { holder: Text::clip("bob"), ..ada.proof(&leave(), &challenge) };
    let own = ada.proof(&leave(), &challenge);
    assert!(recovery.check(&leave(), &[own, stolen]).is_err());
    assert!(try_it(&mut recovery, &leave(), &[&ada, &bob]).is_ok());
}

#[test]
fn what_was_signed_is_good_once_and_for_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (ada, bob) = (person("ada", 1), person("bob", 2));
    let mut recovery = sealed(dir.path(), &[&ada, &bob]);
    recovery.enter(safe()).unwrap();
    let signed = proofs(&recovery, &leave(), &[&ada, &bob]);
    // For another act, by whoever carries it.
    assert!(recovery.check(&open(60), &signed).is_err());
    // That used the challenge up, so it is not good for its own act any more.
    assert!(recovery.check(&leave(), &signed).is_err());
    let signed = proofs(&recovery, &leave(), &[&ada, &bob]);
    assert!(recovery.check(&leave(), &signed).is_ok());
    assert!(recovery.check(&leave(), &signed).is_err());
    // Of another node, or of this one before a restart.
    let signed = proofs(&recovery, &leave(), &[&ada, &bob]);
    let mut again = Recovery::open(dir.path().to_path_buf()).unwrap();
    assert!(again.check(&leave(), &signed).is_err());
}

#[test]
fn each_act_has_states_in_which_it_is_legal() {
    let dir = tempfile::tempdir().unwrap();
    let (ada, bob) = (person("ada", 1), person("bob", 2));
    let fresh = || Recovery::open(tempfile::tempdir().unwrap().path().to_path_buf()).unwrap();
    // Before there are codes nothing is opened or left, not even without signatures.
    let mut none = fresh();
    none.kept.safe = Some(safe());
    assert!(none.check(&leave(), &[]).is_err());
    assert!(none.check(&open(60), &[]).is_err());
    // And nobody makes codes to leave it with.
    assert!(none.check(&Act::Seal { holders: holders(&[&ada, &bob]) }, &[]).is_err());

    let mut recovery = sealed(dir.path(), &[&ada, &bob]);
    assert!(try_it(&mut recovery, &leave(), &[&ada, &bob]).is_err(), "left what it is not in");
    for seconds in [0, WINDOW_MIN_S - 1, WINDOW_MAX_S + 1, u32::MAX] {
        assert!(try_it(&mut recovery, &open(seconds), &[&ada]).is_err(), "{seconds}");
    }
    for seconds in [WINDOW_MIN_S, WINDOW_MAX_S] {
        assert!(try_it(&mut recovery, &open(seconds), &[&ada]).is_ok(), "{seconds}");
    }
    recovery.enter(safe()).unwrap();
    recovery.open_window(window(1000), 1000);
    assert!(try_it(&mut recovery, &open(60), &[&ada]).is_err(), "opened twice");
    let seal = Act::Seal { holders: holders(&[&ada, &bob]) };
    assert!(try_it(&mut recovery, &seal, &[&ada, &bob]).is_err(), "sealed in safe mode");
}

#[test]
fn codes_are_replaced_by_two_who_hold_them() {
    let dir = tempfile::tempdir().unwrap();
    let (ada, bob, eve) = (person("ada", 1), person("bob", 2), person("eve", 3));
    let mut recovery = sealed(dir.path(), &[&ada, &bob]);
    let act = Act::Seal { holders: holders(&[&bob, &eve]) };
    assert!(recovery.check(&act, &[]).is_err());
    assert!(try_it(&mut recovery, &act, &[&bob]).is_err());
    assert!(try_it(&mut recovery, &act, &[&bob, &eve]).is_err());
    assert!(try_it(&mut recovery, &act, &[&ada, &bob]).is_ok());
    let twice = Holder { name: Text::clip("bob"), ..ada.holder() };
    let (named, keyed) =
        (vec![bob.holder(), twice], vec![ada.holder(), Holder { key: ada.holder().key, ..bob.holder() }]);
    for bad in [vec![], vec![ada.holder()], named, keyed] {
        let act = Act::Seal { holders: List::new(bad).unwrap() };
        assert!(try_it(&mut recovery, &act, &[&ada, &bob]).is_err());
    }
}

#[test]
fn a_window_ends_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut recovery = sealed(dir.path(), &[&person("ada", 1), &person("bob", 2)]);
    recovery.enter(safe()).unwrap();
    recovery.open_window(window(1000), 1000);
    assert!(recovery.is_open(999) && recovery.expire(999).is_none());
    assert!(!recovery.is_open(1000));
    assert_eq!(recovery.expire(1000), Some(window(1000)));
    assert!(recovery.expire(1000).is_none() && recovery.is_safe());
}

#[test]
fn what_cannot_be_read_is_not_taken_for_normal() {
    let dir = tempfile::tempdir().unwrap();
    let mut recovery = sealed(dir.path(), &[&person("ada", 1), &person("bob", 2)]);
    recovery.enter(safe()).unwrap();
    let path = dir.path().join(FILE);
    let whole = std::fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert!(Recovery::open(dir.path().to_path_buf()).is_err(), "{cut} of {}", whole.len());
    }
    std::fs::write(&path, &whole).unwrap();
    assert!(Recovery::open(dir.path().to_path_buf()).unwrap().is_safe());
}

#[test]
fn with_the_machine_it_is_left_without_codes_and_the_next_start_tells_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut recovery = sealed(dir.path(), &[&person("ada", 1), &person("bob", 2)]);
    assert!(recovery.leave_offline().is_err(), "left what it is not in");
    recovery.enter(safe()).unwrap();
    recovery.leave_offline().unwrap();
    let mut again = Recovery::open(dir.path().to_path_buf()).unwrap();
    assert!(!again.is_safe() && again.left_offline() && again.state().holders.is_empty());
    again.told_offline().unwrap();
    assert!(!Recovery::open(dir.path().to_path_buf()).unwrap().left_offline());
}
