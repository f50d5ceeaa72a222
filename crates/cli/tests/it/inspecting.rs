//! `model inspect` as people run it on a laptop: many files, other forms of the answer, signed receipts.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use serde_json::Value;

const EVIL: &[u8] = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.";
const OWN: &[u8] = b"\x80\x02cmine\nNet\n)\x81}b.";

fn run(home: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
    command.args(args).env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&output.stderr)))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// safetensors of `len` bytes of data.
fn weights(len: usize) -> Vec<u8> {
    let header = format!(r#"{{"w":{{"dtype":"U8","shape":[{len}],"data_offsets":[0,{len}]}}}}"#);
    let mut file = u64::try_from(header.len()).unwrap().to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend(std::iter::repeat_n(7_u8, len));
    file
}

#[test]
fn every_file_of_a_directory_gets_its_own_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    fs::create_dir(&model).unwrap();
    for at in 0..300 {
        fs::write(model.join(format!("{at:03}.json")), format!("{{\"a\":{at}}}")).unwrap();
    }
    fs::write(model.join("evil.pkl"), EVIL).unwrap();
    fs::write(model.join("own.pkl"), OWN).unwrap();
    // Read through without being kept, and kept.
    fs::write(model.join("large.safetensors"), weights(20 << 20)).unwrap();
    fs::write(model.join("middle.safetensors"), weights(9 << 20)).unwrap();
    // Where a reader of HDF5 looks for a file behind something else, far behind the header.
    let mut hidden = weights(20 << 20);
    hidden[16 << 20..][..8].copy_from_slice(b"\x89HDF\r\n\x1a\n");
    fs::write(model.join("hidden.safetensors"), hidden).unwrap();
    let done = run(dir.path(), &["-o", "json", "model", "inspect", path(&model)]);
    assert_eq!(done.status.code(), Some(3), "{}", text(&done.stderr));
    let report = json(&done);
    assert_eq!(report["verdict"], "refuse");
    let files = report["files"].as_array().unwrap();
    assert_eq!(files.len(), 305);
    for file in files {
        let name = file["path"].as_str().unwrap();
        let verdict = match name {
            "evil.pkl" | "hidden.safetensors" => "refuse",
            "own.pkl" => "load-with-policy",
            _ => "load",
        };
        assert_eq!(file["verdict"], verdict, "{file:#}");
        let content = fs::read(model.join(name)).unwrap();
        assert_eq!(file["digest"], base::sha256(&content).hex(), "{name}");
    }
    let own = files.iter().find(|file| file["path"] == "own.pkl").unwrap();
    assert_eq!(own["globals"][0], "mine.Net");
    let shown = run(dir.path(), &["model", "inspect", path(&model.join("own.pkl"))]);
    assert!(text(&shown.stdout).contains("and lists exactly: mine.Net"), "{}", text(&shown.stdout));
}

#[test]
fn what_is_missing_or_asked_wrongly_is_told_by_the_exit() {
    let dir = tempfile::tempdir().unwrap();
    let code = |args: &[&str]| run(dir.path(), args).status.code();
    assert_eq!(code(&["model", "inspect", path(&dir.path().join("none"))]), Some(1));
    assert_eq!(code(&["model", "inspect"]), Some(2));
    assert_eq!(code(&["model", "inspect", "x", "--receipt", "r.json"]), Some(2), "a receipt needs a key");
    let rules = run(dir.path(), &["-o", "json", "model", "inspect", "--rules"]);
    assert_eq!(rules.status.code(), Some(0));
    let rules = json(&rules);
    let items = rules["items"].as_array().unwrap();
    assert_eq!(items.len(), inspect::RULES.len());
    assert!(items.iter().all(|rule| !rule["remedy"].as_str().unwrap().is_empty()));
}

#[test]
fn findings_are_valid_sarif() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    fs::create_dir(&model).unwrap();
    fs::write(model.join("evil file.pkl"), EVIL).unwrap();
    fs::write(model.join("own.pkl"), OWN).unwrap();
    let out = dir.path().join("findings.sarif");
    let done = run(dir.path(), &["model", "inspect", path(&model), "--sarif", path(&out)]);
    assert_eq!(done.status.code(), Some(3));
    let check = |file: &Path| {
        let python = std::env::var_os("STRONGROOM_TEST_PYTHON")
            .map_or_else(|| root().join("../../.venv/bin/python"), PathBuf::from);
        let script = root().join("tests/check_sarif.py");
        let output = Command::new(&python).arg(script).arg(file).output();
        output.unwrap_or_else(|e| panic!("{}: {e}; `make test` sets it up", python.display()))
    };
    let checked = check(&out);
    assert!(checked.status.success(), "{}", text(&checked.stdout));
    let mut log: Value = serde_json::from_slice(&fs::read(&out).unwrap()).unwrap();
    let results = log["runs"][0]["results"].as_array().unwrap();
    assert!(results.iter().any(|result| result["ruleId"] == "SR-INS-0010" && result["level"] == "error"));
    assert!(results.iter().any(|result| result["ruleId"] == "SR-INS-0200" && result["level"] == "warning"));
    let uri = &results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!(uri, "evil%20file.pkl");
    // A check that cannot fail proves nothing.
    log["runs"][0]["results"][0]["level"] = "terrible".into();
    fs::write(&out, log.to_string()).unwrap();
    assert!(!check(&out).status.success());
}

#[test]
fn a_receipt_binds_the_verdict_to_digest_rules_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("own.pkl");
    fs::write(&model, OWN).unwrap();
    let out = dir.path().join("receipt.json");
    let key = root().join("tests/data/test.key.pem");
    let args = ["model", "inspect", path(&model), "--receipt", path(&out), "--key", path(&key)];
    assert_eq!(
        run(dir.path(), &args).status.code(),
        Some(3),
        "the receipt says what it is, also of a refusal"
    );
    let envelope = fs::read(&out).unwrap();
    let public = fs::read(root().join("tests/data/test.pub.pem")).unwrap();
    let statement = integrity::dsse::open_statement(&envelope, &public).unwrap();
    assert_eq!(statement["subject"][0]["digest"]["sha256"], base::sha256(OWN).hex());
    let predicate = &statement["predicate"];
    assert_eq!(predicate["inspection"]["verdict"], "load-with-policy");
    assert_eq!(predicate["rule_set"], inspect::RULE_SET);
    for digest in ["rules_digest", "limits_digest"] {
        assert_eq!(predicate[digest].as_str().unwrap().len(), 64, "{digest}");
    }
    let other = fs::read(root().join("tests/data/other.pub.pem")).unwrap();
    assert!(integrity::dsse::open_statement(&envelope, &other).is_err());
    let mut forged: Value = serde_json::from_slice(&envelope).unwrap();
    let payload =
        base64::engine::general_purpose::STANDARD.decode(forged["payload"].as_str().unwrap()).unwrap();
    let payload = text(&payload).replace("load-with-policy", "load");
    forged["payload"] = base64::engine::general_purpose::STANDARD.encode(payload).into();
    assert!(integrity::dsse::open_statement(forged.to_string().as_bytes(), &public).is_err());
    fs::write(dir.path().join("no.pem"), "no key").unwrap();
    let wrong = dir.path().join("no.pem");
    let args = ["model", "inspect", path(&model), "--receipt", path(&out), "--key", path(&wrong)];
    assert_eq!(run(dir.path(), &args).status.code(), Some(1));
}

/// The confined process, spoken to by somebody else: no order makes it open anything, and a file that is not as long
/// as was said is no report.
#[test]
fn the_confined_process_reads_only_what_it_is_handed() {
    use std::os::fd::AsFd;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.json");
    fs::write(&file, "{}").unwrap();
    let speak = |size: u64| {
        let (ours, theirs) = link::Conn::pair().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_strongroom"))
            .arg0("strongroom")
            .args(["inspect-child", "--", "1024"])
            .stdin(std::os::fd::OwnedFd::from(theirs))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let order = format!(r#"{{"name":"x.json","size":{size},"numbers":false}}"#);
        ours.send(order.as_bytes(), &[fs::File::open(&file).unwrap().as_fd()]).unwrap();
        drop(ours);
        child.wait_with_output().unwrap()
    };
    let good = speak(2);
    assert!(good.status.success());
    assert_eq!(good.stdout[0], b'r');
    for size in [1, 3, 1 << 40] {
        let bad = speak(size);
        assert!(!bad.status.success() && bad.stdout.is_empty(), "{size}");
    }
}
