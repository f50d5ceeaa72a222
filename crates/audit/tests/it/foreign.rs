//! Programs that share no code with ours: a verifier written from the specifications, the published OCSF schema,
//! and another implementation of the Merkle tree.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::support::{entries, log};

/// The Python with the packages of the tests: `STRONGROOM_TEST_PYTHON`, or the one that `make test` sets up.
fn python() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::env::var_os("STRONGROOM_TEST_PYTHON").map_or_else(|| root.join(".venv/bin/python"), PathBuf::from)
}

fn run(script: &str, args: &[&std::ffi::OsStr]) -> Output {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let python = python();
    let output = Command::new(&python).arg(script).args(args).output();
    output.unwrap_or_else(|e| panic!("{}: {e}; `make test` sets it up", python.display()))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn an_independent_verifier_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let all = entries(700, "x");
    let files = log(&all, 13, true);
    files.write_to(dir.path());
    let output = run("verify_log.py", &[dir.path().as_os_str()]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("700 entries"), "{}", said(&output));

    // One bit of one entry, in the bundle: it sees that too.
    let mut changed = files;
    let bundle = changed.0.get_mut("tile/entries/001").unwrap();
    bundle[100] ^= 1;
    changed.write_to(dir.path());
    let output = run("verify_log.py", &[dir.path().as_os_str()]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
}

#[test]
fn every_kind_of_event_is_valid_by_the_published_schema() {
    let dir = tempfile::tempdir().unwrap();
    let mut lines = Vec::new();
    for entry in crate::support::entries_of_every_kind() {
        lines.extend_from_slice(&entry);
        lines.push(b'\n');
    }
    let file = dir.path().join("entries.jsonl");
    std::fs::write(&file, lines).unwrap();
    let output = run("check_ocsf.py", &[file.as_os_str()]);
    assert!(output.status.success(), "{}", said(&output));
    // A check that cannot fail proves nothing: an entry with a field that its class lacks is refused.
    std::fs::write(&file, b"{\"class_uid\":6003,\"nonsense\":1}\n").unwrap();
    assert!(!run("check_ocsf.py", &[file.as_os_str()]).status.success());
}
