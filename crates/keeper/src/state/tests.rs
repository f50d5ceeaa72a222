use super::*;

fn config(state: &Path, mode: &str) -> Config {
    let text = format!(
        "version = 1\nmode = \"{mode}\"\nnode = \"n\"\nstate = \"{}\"\nprograms = \"/p\"\n\
         [users]\nkeeper = 1\ncontrol = 2\ngateway = 3\nrelay = 4\noperator = 0\n\
         [gateway]\nlisten = \"127.0.0.1:0\"\n[jobs]\n",
        state.display()
    );
    Config::parse("t", &text).unwrap()
}

#[test]
fn dev_makes_its_key_once_and_production_never_does_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let production = config(dir.path(), "production");
    assert!(matches!(State::open(&production, false), Err(KeeperError::NoRootKey(_))));
    drop(State::open(&production, true).unwrap());
    assert!(matches!(State::open(&production, true), Err(KeeperError::Initialised(_))));
    drop(State::open(&production, false).unwrap());
    let dev = config(dir.path(), "dev");
    assert!(matches!(State::open(&dev, false), Err(KeeperError::Mode { .. })));

    let dir = tempfile::tempdir().unwrap();
    let dev = config(dir.path(), "dev");
    drop(State::open(&dev, false).unwrap());
    let first = fs::read(dir.path().join("keeper/root.key")).unwrap();
    drop(State::open(&dev, false).unwrap());
    assert_eq!(fs::read(dir.path().join("keeper/root.key")).unwrap(), first);
    assert_eq!(first.len(), 32);
    assert!(matches!(State::open(&config(dir.path(), "production"), false), Err(KeeperError::Mode { .. })));
}

#[test]
fn a_lost_root_key_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let dev = config(dir.path(), "dev");
    drop(State::open(&dev, false).unwrap());
    fs::remove_file(dir.path().join("keeper/root.key")).unwrap();
    assert!(matches!(State::open(&dev, false), Err(KeeperError::NoRootKey(_))));
    assert!(!dir.path().join("keeper/root.key").exists());
}

#[test]
fn one_keeper_at_a_time_and_no_key_that_others_can_read() {
    let dir = tempfile::tempdir().unwrap();
    let dev = config(dir.path(), "dev");
    let first = State::open(&dev, false).unwrap();
    assert!(matches!(State::open(&dev, false), Err(KeeperError::Running(_))));
    drop(first);
    let key = dir.path().join("keeper/root.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(State::open(&dev, false), Err(KeeperError::Open { .. })));
}
