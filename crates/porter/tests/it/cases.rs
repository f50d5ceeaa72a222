use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::Duration;

use ops::Text;
use ops::porter::{CommitRule, HashResult, Request, TicketKind};

use crate::support::{JOB_UID, Porter, SCOPE, seal};

/// Saves a real checkpoint over one file, forever; the size of the tensors varies, so that files do too.
const WRITER: &str = "
import sys, torch, time, random, os
n = 0
pause = float(sys.argv[1])
while True:
    n += 1
    width = random.randint(50, 400)
    torch.save({'step': n, 'w': torch.full((width, width), float(n)), 'b': torch.arange(n % 7 + 1)}, 'last.pt')
    time.sleep(pause)
";

/// Loads every file named on standard input, and says so.
const LOADER: &str = "
import sys, torch
good = 0
for line in sys.stdin:
    state = torch.load(line.strip())
    assert bool((state['w'] == state['step']).all()), 'torn'
    assert len(state['b']) == state['step'] % 7 + 1, 'torn'
    good += 1
print(good)
";

fn torch() -> &'static str {
    let have = std::process::Command::new("/usr/bin/python3").args(["-c", "import torch"]).status();
    assert!(have.is_ok_and(|s| s.success()), "install python3-torch: `apt-get install python3-torch`");
    "/usr/bin/python3"
}

fn load_all(porter: &Porter, contents: &[Vec<u8>]) -> usize {
    let dir = porter.root.join("load");
    fs::create_dir_all(&dir).unwrap();
    let mut names = String::new();
    for (i, content) in contents.iter().enumerate() {
        let path = dir.join(format!("{i}.pt"));
        fs::write(&path, content).unwrap();
        names.push_str(&format!("{}\n", path.display()));
    }
    let mut child = std::process::Command::new(torch())
        .args(["-c", LOADER])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(names.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success());
    String::from_utf8(out.stdout).unwrap().trim().parse().unwrap()
}

#[test]
fn every_snapshot_of_a_hammering_torch_job_loads_and_is_whole() {
    let porter = Porter::start(&["--quiet-ms", "30"]);
    porter.watch();
    let mut writer = porter.job(torch(), &["-c", WRITER, "0.02"]);
    let heard = porter.hear_until(|h| h.tickets.len() >= 50);
    writer.kill().unwrap();
    writer.wait().unwrap();
    assert_eq!(heard.malformed, [], "no half-written file may even be tried");
    let steps: Vec<u64> = heard.tickets.iter().map(|t| t.step.unwrap()).collect();
    assert!(steps.windows(2).all(|w| w[0] < w[1]), "{steps:?}");
    let mut contents = vec![];
    for ticket in &heard.tickets {
        assert_eq!((ticket.kind, ticket.rule), (TicketKind::Checkpoint, CommitRule::Lease));
        assert_eq!(ticket.files.len(), 1);
        assert_eq!(ticket.files[0].path, "last.pt");
        assert_eq!(ticket.files[0].all_finite, Some(true));
        assert_eq!(ticket.tensors.len(), 2, "{:?}", ticket.tensors);
        contents.push(ticket.files[0].content.clone());
    }
    assert_eq!(load_all(&porter, &contents), heard.tickets.len());
}

#[test]
fn a_job_killed_at_any_time_leaves_only_whole_checkpoints() {
    let porter = Porter::start(&["--quiet-ms", "20"]);
    porter.watch();
    let mut contents = vec![];
    for round in 0..8u64 {
        let mut writer = porter.job(torch(), &["-c", WRITER, "0.01"]);
        let heard = porter.hear_until(|h| !h.tickets.is_empty());
        std::thread::sleep(Duration::from_millis(round * 7));
        writer.kill().unwrap();
        writer.wait().unwrap();
        contents.extend(heard.tickets.into_iter().map(|t| t.files[0].content.clone()));
        // What the kill left behind is either whole or told to be no checkpoint; it is never sealed torn.
        porter.shell("rm -f last.pt");
    }
    let (answer, heard) = porter.collect();
    answer.unwrap();
    contents.extend(heard.tickets.into_iter().map(|t| t.files[0].content.clone()));
    assert_eq!(load_all(&porter, &contents), contents.len());
}

#[test]
fn a_rename_commits_at_once_and_unfinished_names_never() {
    let porter = Porter::start(&["--quiet-ms", "30000"]);
    porter.watch();
    porter.shell("mkdir step-7.tmp && echo '{\"global_step\": 7}' > step-7.tmp/state.json && sleep 0.1 && mv step-7.tmp step-7");
    let heard = porter.hear_until(|h| !h.tickets.is_empty());
    let ticket = &heard.tickets[0];
    assert_eq!((ticket.rule, ticket.step), (CommitRule::Rename, Some(7)));
    assert_eq!(ticket.files[0].path, "step-7/state.json");
    porter.shell("mkdir x.incomplete && echo 1 > x.incomplete/a.json; echo 1 > .hidden.json");
    assert!(porter.quiet_for(500));
    // A marker in a directory that grows in place.
    porter.shell("mkdir -p step-9/a && echo '[1]' > step-9/a/x.json && echo ok > step-9/_SUCCESS");
    let heard = porter.hear_until(|h| !h.tickets.is_empty());
    assert_eq!(heard.tickets[0].rule, CommitRule::Marker);
    let paths: Vec<&str> = heard.tickets[0].files.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(paths, ["step-9/_SUCCESS", "step-9/a/x.json"]);
}

#[test]
fn an_open_writer_is_waited_for() {
    let porter = Porter::start(&["--quiet-ms", "50"]);
    porter.watch();
    let mut writer =
        porter.job("bash", &["-c", "exec 9> open.json; echo '[1' >&9; sleep 1.2; echo ',2]' >&9"]);
    assert!(porter.quiet_for(1000), "nothing is sealed or even tried while the file is open for writing");
    writer.wait().unwrap();
    let heard = porter.hear_until(|h| !h.tickets.is_empty());
    assert_eq!(heard.tickets[0].files[0].content, b"[1\n,2]\n");
    assert_eq!(heard.malformed, []);
}

#[test]
fn links_pipes_and_second_names_are_never_followed() {
    let porter = Porter::start(&["--quiet-ms", "50"]);
    porter.watch();
    fs::write(porter.root.join("secret"), "[\"secret\"]").unwrap();
    let secret = porter.root.join("secret");
    symlink(&secret, porter.checkpoints().join("link.json")).unwrap();
    porter.shell("mkfifo pipe.json; echo 1 > one.json; ln one.json two.json; mkdir d; ln -s /etc d/up; echo 2 > d/x.json");
    porter.shell("echo '[3]' > good.json");
    let heard = porter.hear_until(|h| !h.tickets.is_empty() && h.malformed.len() >= 5);
    for ticket in &heard.tickets {
        for file in &ticket.files {
            assert_eq!(file.path, "good.json");
            assert_eq!(file.content, b"[3]\n");
        }
    }
    let said: Vec<&str> = heard.malformed.iter().map(|(path, _)| path.as_str()).collect();
    for path in ["link.json", "pipe.json", "one.json", "two.json", "d"] {
        assert!(said.contains(&path), "{path}: {said:?}");
    }
}

#[test]
fn a_huge_sparse_file_costs_nothing_and_is_refused() {
    let porter = Porter::start(&["--quiet-ms", "50"]);
    porter.watch();
    porter.shell("truncate -s 100G big.safetensors");
    let heard = porter.hear_until(|h| !h.malformed.is_empty());
    assert!(heard.malformed[0].1.contains("above the limit"), "{:?}", heard.malformed);
    assert!(porter.cpu_ms() < 2000);
}

#[test]
fn hostile_and_broken_files_are_no_checkpoints() {
    let porter = Porter::start(&["--quiet-ms", "50"]);
    porter.watch();
    let script = "import pickle, os\nclass X:\n  def __reduce__(self): return (os.system, ('true',))\npickle.dump(X(), open('evil.pt','wb'))";
    assert!(porter.job("/usr/bin/python3", &["-c", script]).wait().unwrap().success());
    let heard = porter.hear_until(|h| !h.malformed.is_empty());
    assert!(heard.tickets.is_empty());
    assert_eq!(heard.malformed[0].0, "evil.pt");
}

#[test]
fn a_full_disk_while_sealing_is_said_and_harms_nothing() {
    let porter = Porter::start(&["--quiet-ms", "50"]);
    porter.watch();
    porter.shell("echo '[1]' > a.json");
    // /dev/full: every write fails with ENOSPC.
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let (bytes, _) = porter.conn.recv(ops::MESSAGE_MAX, 0).unwrap();
    assert!(matches!(ops::from_bytes::<ops::porter::Told>(&bytes).unwrap(), ops::porter::Told::NeedStage {}));
    porter.send(&Request::Stage {}, Some(&full));
    let heard = porter.hear_until(|h| !h.malformed.is_empty());
    assert!(
        heard.malformed[0].1.contains("tried again") && heard.tickets.is_empty(),
        "{:?}",
        heard.malformed
    );
    let heard = porter.hear_until(|h| !h.tickets.is_empty());
    assert_eq!(heard.tickets[0].files[0].content, b"[1]\n");
}

#[test]
fn inputs_are_opened_into_their_mount_and_altered_ones_leave_nothing() {
    let porter = Porter::start(&[]);
    let content: Vec<u8> = (0..3_000_000u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let (file, fd, at) = seal(&porter.root, "a/b/data.bin", &content);
    assert_eq!(porter.ask(&Request::Fill { input: 0, file: file.clone() }, Some(&fd)).0, Ok((1, 3_000_000)));
    let target = porter.root.join("input/a/b/data.bin");
    assert_eq!(fs::read(&target).unwrap(), content);
    assert_eq!(fs::metadata(&target).unwrap().uid(), JOB_UID);
    // Every kind of damage: header, tags, content, length, another digest, scope, size or path.
    let sealed = fs::read(&at).unwrap();
    for (i, offset) in [8usize, 20, 60, 90, 120, 4096, 2_000_000, sealed.len() - 1].into_iter().enumerate() {
        let mut bad = sealed.clone();
        bad[offset] ^= 1;
        let path = porter.root.join("bad");
        fs::write(&path, &bad).unwrap();
        let mut request = file.clone();
        request.path = Text::new(format!("bad{i}")).unwrap();
        let (answer, _) =
            porter.ask(&Request::Fill { input: 0, file: request }, Some(&fs::File::open(&path).unwrap()));
        assert_eq!(answer.unwrap_err().0, "SR-PRT-0006", "offset {offset}");
        assert!(!porter.root.join(format!("input/bad{i}")).exists());
    }
    for path in ["../x", "/x", "a//b", "a/./b", "", "a/b/data.bin"] {
        let mut request = file.clone();
        request.path = Text::new(path).unwrap();
        assert!(porter.ask(&Request::Fill { input: 0, file: request }, Some(&fd)).0.is_err(), "{path}");
    }
    let mut request = file.clone();
    request.scope = Text::new("globex").unwrap();
    request.path = Text::new("g").unwrap();
    assert!(porter.ask(&Request::Fill { input: 0, file: request }, Some(&fd)).0.is_err());
    assert_eq!(porter.ask(&Request::FillDone { input: 0 }, None).0, Ok((1, 3_000_000)));
    assert_eq!(porter.ask(&Request::Fill { input: 0, file }, Some(&fd)).0.unwrap_err().0, "SR-PRT-0002");
}

#[test]
fn restored_files_are_not_sealed_again_and_replace_what_was_there() {
    let porter = Porter::start(&["--quiet-ms", "50"]);
    porter.shell("mkdir -p old/deep && echo x > old/deep/y && ln -s /etc/passwd old/link");
    assert!(porter.ask(&Request::RestoreBegin {}, None).0.is_ok());
    assert_eq!(fs::read_dir(porter.checkpoints()).unwrap().count(), 0);
    assert!(fs::metadata("/etc/passwd").is_ok());
    let (file, fd, _) = seal(&porter.root, "step-1/state.json", b"[1]");
    assert_eq!(porter.ask(&Request::Restore { file }, Some(&fd)).0, Ok((1, 3)));
    porter.watch();
    assert!(porter.quiet_for(500));
    porter.shell("echo '[2]' > step-1/state.json");
    let heard = porter.hear_until(|h| !h.tickets.is_empty());
    assert_eq!(heard.tickets[0].files[0].content, b"[2]\n");
}

#[test]
fn the_result_is_collected_with_output_metrics_and_failure() {
    let mut porter = Porter::start(&["--quiet-ms", "30000"]);
    porter.watch();
    porter.shell(
        "echo '{\"step\": 3, \"name\": \"loss\", \"value\": 0.25}' > ../output/metrics.jsonl; echo late > ../output/failure; \
         echo '[9]' > last.json; echo '{}' > ../model/config.json",
    );
    porter.pipe.take().unwrap().write_all(b"step 4/9 loss 0.5\n").unwrap();
    let (answer, heard) = porter.collect();
    assert_eq!(answer, Ok((1, 3)));
    let kinds: Vec<(TicketKind, CommitRule)> = heard.tickets.iter().map(|t| (t.kind, t.rule)).collect();
    assert_eq!(kinds, [(TicketKind::Checkpoint, CommitRule::Ended), (TicketKind::Model, CommitRule::Ended)]);
    assert_eq!(heard.tickets[1].files[0].path, "config.json");
    assert_eq!(heard.output, b"step 4/9 loss 0.5\n");
    assert_eq!(heard.metrics, [(3, "loss".to_owned(), "0.25".to_owned())]);
    assert_eq!(heard.failure.as_deref(), Some("late"));
    porter.send(&Request::Finish {}, None);
}

#[test]
fn a_result_with_a_link_or_a_program_is_refused() {
    for script in
        ["ln -s /etc/passwd ../model/m.json", "echo '#!/bin/sh' > ../model/run.sh", "mkfifo ../model/p"]
    {
        let porter = Porter::start(&[]);
        porter.shell(script);
        let (answer, heard) = porter.collect();
        assert!(answer.is_err(), "{script}");
        assert!(heard.tickets.is_empty());
    }
}

#[test]
fn the_hash_is_the_manifest_digest_and_refuses_links() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("b")).unwrap();
    fs::write(dir.path().join("b/x"), b"12").unwrap();
    fs::write(dir.path().join("a"), b"").unwrap();
    let hash = || {
        let out = std::process::Command::new("bash")
            .args(["-c", "exec \"$0\" hash 3<\"$1\"", env!("CARGO_BIN_EXE_strongroom-porter")])
            .arg(dir.path())
            .output()
            .unwrap();
        (out.status.success(), out.stdout)
    };
    let (ok, bytes) = hash();
    assert!(ok);
    let result: HashResult = ops::from_bytes(&bytes).unwrap();
    let file = |path: &str, content: &[u8]| training::contract::TreeFile {
        path: path.into(),
        size: content.len() as u64,
        digest: base::sha256(content),
    };
    assert_eq!(result.manifest, training::contract::tree_digest(&[file("b/x", b"12"), file("a", b"")]));
    assert_eq!((result.files, result.bytes), (2, 2));
    symlink("a", dir.path().join("c")).unwrap();
    assert!(!hash().0);
}

#[test]
fn output_without_end_does_not_stop_the_job_or_flood_control() {
    let mut porter = Porter::start(&[]);
    let mut pipe = porter.pipe.take().unwrap();
    let block = vec![b'x'; 64 * 1024];
    for _ in 0..256 {
        pipe.write_all(&block).unwrap();
    }
    drop(pipe);
    let (answer, heard) =
        porter.ask(&Request::Collect { scope: Text::new(SCOPE).unwrap(), max_bytes: 1 }, None);
    answer.unwrap();
    assert!(heard.output.len() < 4 << 20, "{}", heard.output.len());
    assert!(String::from_utf8_lossy(&heard.output).contains("left out"));
}

/// The first checkpoint is written by PyTorch, the others are the same bytes under the same name, each a checkpoint.
#[test]
#[ignore = "measures; run with --ignored --nocapture in release"]
fn what_sealing_costs() {
    let porter = Porter::start(&["--quiet-ms", "100"]);
    porter.watch();
    let script = "import torch\ntorch.save({'w': torch.randn(60, 250000)}, 'last.pt')";
    let mut spent = vec![];
    let mut bytes = 0;
    for round in 0..9 {
        let before = porter.cpu_ns();
        if round == 0 {
            assert!(porter.job(torch(), &["-c", script]).wait().unwrap().success());
        } else {
            porter.shell("cp last.pt .next; mv .next last.pt");
        }
        let heard = porter.hear_until(|h| !h.tickets.is_empty());
        assert_eq!(heard.tickets[0].tensors.len(), 1);
        bytes = heard.tickets[0].files[0].content.len() as u64;
        spent.push((porter.cpu_ns() - before) * 1000 / bytes);
    }
    spent.sort_unstable();
    let (least, median) = (spent[0], spent[spent.len() / 2]);
    println!("{bytes} bytes, {} checkpoints: median {median} ms CPU per GB, least {least}", spent.len());
}

#[test]
fn a_sealed_file_of_data_is_told_without_being_put_anywhere() {
    let porter = Porter::start(&["--quiet-ms", "30"]);
    // Several chunks, read by a format that begins at its end.
    let rows: String = (0..200_000).map(|n| format!("{n},some words\n")).collect();
    for (path, content, format, records) in [
        ("a/rows.csv", rows.as_bytes(), "csv", Some(200_000)),
        ("empty", b"".as_slice(), "empty", Some(0)),
        ("bytes", &[7; 3_000_000], "unknown", None),
    ] {
        let (file, fd, stored) = seal(&porter.root, path, content);
        let (answer, heard) = porter.ask(&Request::Recognise { file: file.clone() }, Some(&fd));
        assert_eq!(answer.unwrap(), (1, content.len() as u64));
        assert_eq!(heard.recognised, [(format.to_owned(), records)]);
        // One bit of the ciphertext is no verdict on the data.
        if content.is_empty() {
            continue;
        }
        let mut bytes = fs::read(&stored).unwrap();
        let middle = vault::sef::HEADER_LEN + content.len() / 4;
        bytes[middle.min(vault::sef::HEADER_LEN + 100_000)] ^= 1;
        fs::write(&stored, &bytes).unwrap();
        let (answer, heard) =
            porter.ask(&Request::Recognise { file }, Some(&fs::File::open(&stored).unwrap()));
        assert_eq!(answer.unwrap_err().0, "SR-PRT-0006");
        assert!(heard.recognised.is_empty());
    }
    assert!(fs::read_dir(porter.root.join("input")).unwrap().next().is_none());
}
