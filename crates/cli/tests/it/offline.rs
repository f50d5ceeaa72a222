//! The program as its users run it, on plain files and without a node: exit codes, streams and output forms.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Runs the program where no node can be found.
fn run(home: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_strongroom"))
        .args(args)
        .env_clear()
        .env("HOME", home)
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A model of two files.
fn model(dir: &Path) -> PathBuf {
    let model = dir.join("model");
    fs::create_dir_all(model.join("sub")).unwrap();
    let header = br#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let mut file = u64::try_from(header.len()).unwrap().to_le_bytes().to_vec();
    file.extend_from_slice(header);
    file.extend_from_slice(&[0; 8]);
    fs::write(model.join("sub/w.safetensors"), file).unwrap();
    fs::write(model.join("config.json"), "{\"layers\": 2}\n").unwrap();
    model
}

fn path(p: &Path) -> &str {
    p.to_str().unwrap()
}

#[test]
fn without_a_node_a_command_says_so_in_the_form_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let human = run(dir.path(), &["tenant", "list"]);
    assert_eq!(code(&human), 5);
    assert!(human.stdout.is_empty());
    let said = text(&human.stderr);
    assert!(said.starts_with("error[SR-CLI-0002]: ") && said.contains("\n  help: "), "{said}");

    let machine = run(dir.path(), &["-o", "json", "tenant", "list"]);
    assert!(machine.stdout.is_empty(), "in JSON mode an error leaves standard output empty");
    let error: serde_json::Value = serde_json::from_slice(&machine.stderr).unwrap();
    assert_eq!((error["code"].as_str(), error["exit"].as_u64()), (Some("SR-CLI-0002"), Some(5)));
}

#[test]
fn wrong_usage_is_exit_2_with_a_suggestion_and_json_where_asked() {
    let dir = tempfile::tempdir().unwrap();
    let human = run(dir.path(), &["tenent", "list"]);
    assert_eq!(code(&human), 2);
    assert!(text(&human.stderr).contains("tenant"), "{}", text(&human.stderr));
    let machine = run(dir.path(), &["tenant", "create", "Not A Name", "-o", "json"]);
    assert_eq!(code(&machine), 2);
    let error: serde_json::Value = serde_json::from_slice(&machine.stderr).unwrap();
    assert_eq!(error["code"], "SR-CLI-0001");
}

#[test]
fn a_signed_model_verifies_and_every_change_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path());
    let signature = dir.path().join("model.sig");
    let (sig, m) = (path(&signature), path(&model));
    let (private, public, other) = (data("test.key.pem"), data("test.pub.pem"), data("other.pub.pem"));
    let signed = run(
        dir.path(),
        &["model", "sign", m, "--signature", sig, "--method", "key", "--private-key", path(&private)],
    );
    assert_eq!(code(&signed), 0, "{}", text(&signed.stderr));
    let verify = |key: &Path, more: &[&str]| {
        let mut args = vec!["-o", "json", "model", "verify", m, "--signature", sig, "--method", "key"];
        args.extend(["--public-key", path(key)]);
        args.extend(more);
        run(dir.path(), &args)
    };
    let good = verify(&public, &[]);
    assert_eq!((code(&good), json(&good)["verified"].as_bool()), (0, Some(true)));
    assert_eq!(code(&verify(&other, &[])), 3, "another key");

    fs::write(model.join("extra.txt"), "x").unwrap();
    let extra = verify(&public, &[]);
    assert_eq!(code(&extra), 3);
    assert!(json(&extra)["differences"][0].as_str().unwrap().contains("extra.txt"));
    let ignored = verify(&public, &["--ignore-paths", "extra.txt"]);
    assert_eq!((code(&ignored), json(&ignored)["ignored"][0].as_str()), (0, Some("extra.txt")));
    let missing = verify(&public, &["--ignore-paths", "extra.txt", "config.json"]);
    assert_eq!(code(&missing), 3, "a signed file cannot be left out");
    fs::remove_file(model.join("extra.txt")).unwrap();

    fs::write(model.join("config.json"), "{\"layers\": 3}\n").unwrap();
    let changed = verify(&public, &[]);
    assert_eq!(code(&changed), 3);
    assert!(json(&changed)["differences"][0].as_str().unwrap().contains("config.json"));

    std::os::unix::fs::symlink("/etc/passwd", model.join("link")).unwrap();
    let link = verify(&public, &[]);
    assert_ne!(code(&link), 0, "a link is never followed");
}

#[test]
fn a_signature_within_the_directory_signs_all_but_itself() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path());
    let signature = model.join("model.sig");
    let (private, public) = (data("test.key.pem"), data("test.pub.pem"));
    let args =
        ["model", "sign", path(&model), "--signature", path(&signature), "--private-key", path(&private)];
    assert_eq!(code(&run(dir.path(), &args)), 0);
    let args =
        ["model", "verify", path(&model), "--signature", path(&signature), "--public-key", path(&public)];
    let good = run(dir.path(), &args);
    assert_eq!(code(&good), 0, "{}", text(&good.stdout));
}

#[test]
fn the_inspector_loads_what_it_understands_and_refuses_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path());
    let good = run(dir.path(), &["-o", "json", "model", "inspect", path(&model)]);
    let report = json(&good);
    assert_eq!((code(&good), report["verdict"].as_str()), (0, Some("load")), "{report:#}");
    assert_eq!(report["files"][1]["format"], "safetensors");
    assert_eq!(report["files"][1]["all_finite"], serde_json::Value::Null, "looked at only when asked");
    let numbers = run(dir.path(), &["-o", "json", "model", "inspect", path(&model), "--numbers"]);
    assert_eq!(json(&numbers)["files"][1]["all_finite"], true);

    let evil = dir.path().join("evil.pt");
    fs::write(&evil, b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.").unwrap();
    let bad = run(dir.path(), &["-o", "json", "model", "inspect", path(&evil)]);
    assert_eq!(code(&bad), 3);
    let first = &json(&bad)["files"][0]["findings"][0];
    assert!(first["code"].as_str().unwrap().starts_with("SR-INS-"), "{first}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_strongroom");
    let shell = format!("{program} explain --all | head -n 1; exit ${{PIPESTATUS[0]}}");
    let done = Command::new("/bin/bash").args(["-c", &shell]).env("HOME", dir.path()).output().unwrap();
    assert_eq!(code(&done), 0, "{}", text(&done.stderr));
    assert!(done.stderr.is_empty());
}

#[test]
fn a_key_file_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    fs::write(&key, "sr_x\n").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let args = ["--state", path(dir.path()), "--key-file", path(&key), "-o", "json", "whoami"];
    let refused = run(dir.path(), &args);
    assert_eq!(code(&refused), 4);
    let error: serde_json::Value = serde_json::from_slice(&refused.stderr).unwrap();
    assert_eq!(error["code"], "SR-CLI-0011");
}

#[test]
fn a_log_that_is_none_and_a_key_that_is_none_are_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let none = run(dir.path(), &["-o", "json", "audit", "verify", path(dir.path()), "--key", "not+a+key"]);
    assert_eq!(code(&none), 1, "{}", text(&none.stderr));
    let explained = run(dir.path(), &["explain", "sr-cli-0002"]);
    assert_eq!(code(&explained), 0);
    assert_eq!(code(&run(dir.path(), &["explain", "SR-NOTHING"])), 3);
}

#[test]
fn help_starts_with_examples_and_the_exit_codes_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let help = run(dir.path(), &["job", "run", "--help"]);
    assert!(text(&help.stdout).starts_with("Examples:\n"), "{}", text(&help.stdout));
    let codes = run(dir.path(), &["-o", "csv", "help", "exit-codes"]);
    assert!(text(&codes.stdout).starts_with("code,meaning\r\n0,done\r\n1,"), "{}", text(&codes.stdout));
}
