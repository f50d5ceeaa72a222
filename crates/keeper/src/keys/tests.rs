use super::*;

fn state(dir: &Path) -> State {
    let text = format!(
        "version = 1\nmode = \"dev\"\nnode = \"n\"\nstate = \"{}\"\nprograms = \"/p\"\n\
         [users]\nkeeper = 1\ncontrol = 2\ngateway = 3\nrelay = 4\noperator = 0\n\
         [gateway]\nlisten = \"127.0.0.1:0\"\n[jobs]\n",
        dir.display()
    );
    State::open(&base::config::Config::parse("t", &text).unwrap(), false).unwrap()
}

fn fingerprint(set: &KeySet, scope: &KeyScope) -> (u64, [u8; 32], [u8; 32]) {
    let keys = set.scope(scope).unwrap();
    (keys.version, keys.kek.expose(|k| *k), keys.address.expose(|k| *k))
}

#[test]
fn keys_survive_and_a_job_needs_its_tenant() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(dir.path());
    let tenant: KeyScope = "acme".parse().unwrap();
    let job = KeyScope::Job("acme".parse().unwrap(), base::id::JobId::from_bits(7));
    let mut set = KeySet::open(&state).unwrap();
    assert!(matches!(set.create(&state, &job), Err(KeeperError::NoScope(_))));
    assert_eq!(set.create(&state, &tenant).unwrap(), Some(1));
    assert_eq!(set.create(&state, &tenant).unwrap(), None);
    assert_eq!(set.create(&state, &job).unwrap(), Some(1));
    let before =
        (fingerprint(&set, &tenant), fingerprint(&set, &job), set.signing(Signing::Bom, |k| *k).unwrap());
    assert_ne!(before.0.1, before.1.1);
    drop(set);
    let set = KeySet::open(&state).unwrap();
    let after =
        (fingerprint(&set, &tenant), fingerprint(&set, &job), set.signing(Signing::Bom, |k| *k).unwrap());
    assert_eq!(before, after);
    // None of the keys stands in the file.
    let file = std::fs::read(dir.path().join("keeper/keys")).unwrap();
    for key in [before.0.1, before.0.2, before.1.1, before.1.2, before.2] {
        assert!(!file.windows(32).any(|w| w == key));
    }
}

#[test]
fn a_cut_record_is_set_aside_and_damage_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(dir.path());
    let mut set = KeySet::open(&state).unwrap();
    let first: KeyScope = "a".parse().unwrap();
    set.create(&state, &first).unwrap();
    let keys = fingerprint(&set, &first);
    let path = dir.path().join("keeper/keys");
    let whole = std::fs::read(&path).unwrap();
    set.create(&state, &"b".parse().unwrap()).unwrap();
    let longer = std::fs::read(&path).unwrap();
    drop(set);
    for cut in whole.len() + 1..longer.len() {
        std::fs::write(&path, &longer[..cut]).unwrap();
        let set = KeySet::open(&state).unwrap();
        assert_eq!(fingerprint(&set, &first), keys);
        assert!(set.scope(&"b".parse().unwrap()).is_err());
        drop(set);
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }
    for at in (0..whole.len() - 200).step_by(7) {
        let mut bytes = longer.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(KeySet::open(&state).is_err(), "byte {at}");
    }
}
