//! Killed, torn, full and tampered with.

use std::sync::Mutex;
use std::time::Duration;

use audit::frame::{self, Frame, Next};
use link::KeeperError;
use ops::event::{Event, EventKind, Outcome, Phase};
use ops::keeper::Role;

use crate::support::{Node, event, markers, names};

#[test]
fn thousands_of_entries_of_many_clients_are_durable_and_verify() {
    let node = Node::new();
    let keeper = node.start();
    let acknowledged = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for t in 0..8 {
            let (keeper, acknowledged) = (&keeper, &acknowledged);
            scope.spawn(move || {
                let client = keeper.client(Role::Control);
                for i in 0..20 {
                    let names: Vec<String> = (0..32).map(|k| format!("{t}-{i}-{k}")).collect();
                    let first = client.append(names.iter().map(|n| event(n)).collect()).unwrap();
                    acknowledged.lock().unwrap().push((first, names));
                }
            });
        }
    });
    keeper.kill();
    let found = markers(&node.entries());
    for (first, names) in acknowledged.into_inner().unwrap() {
        for (name, index) in names.iter().zip(first..) {
            assert_eq!(&found[usize::try_from(index).unwrap()], name);
        }
    }
    let _keeper = node.start();
    let report = node.verified(8 * 20 * 32);
    assert!(report.is_intact());
}

#[test]
fn no_acknowledged_entry_is_lost_in_kills() {
    let node = Node::new();
    let mut acknowledged: Vec<(u64, String)> = Vec::new();
    for round in 0..25u64 {
        let keeper = node.start();
        let seen = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for t in 0..3 {
                let client = keeper.client(Role::Control);
                let seen = &seen;
                scope.spawn(move || {
                    for i in 0.. {
                        let name = format!("{round}-{t}-{i}");
                        match client.append(vec![event(&name)]) {
                            Ok(index) => seen.lock().unwrap().push((index, name)),
                            Err(KeeperError::Link(_)) => return,
                            Err(other) => panic!("{other}"),
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(15 + round * 7 % 60));
            keeper.kill();
        });
        acknowledged.extend(seen.into_inner().unwrap());
    }
    assert!(acknowledged.len() > 100, "only {} were acknowledged", acknowledged.len());
    let keeper = node.start();
    let found = markers(&node.entries());
    for (index, name) in &acknowledged {
        assert_eq!(&found[usize::try_from(*index).unwrap()], name, "index {index}");
    }
    node.verified(u64::try_from(found.len()).unwrap());
    drop(keeper);
}

/// The bytes of the only segment and where its frames end.
fn segment(node: &Node) -> (std::path::PathBuf, Vec<u8>, Vec<usize>) {
    let path = node.log().join(audit::segment::file_name(audit::LeafIndex::new(0)));
    let bytes = std::fs::read(&path).unwrap();
    let (mut at, mut ends) = (0, vec![0]);
    while let Next::Frame(_, after) = frame::next(&bytes, at) {
        at = after;
        ends.push(after);
    }
    (path, bytes, ends)
}

#[test]
fn an_unacknowledged_tail_is_dropped_and_said() {
    let node = Node::new();
    let keeper = node.start();
    keeper.client(Role::Control).append(vec![event("kept")]).unwrap();
    node.verified(2);
    keeper.kill();
    let (path, mut bytes, ends) = segment(&node);
    let end = *ends.last().unwrap();
    // A commit that was being written: two entries, the second cut in the middle, no checkpoint.
    let mut tail = Vec::new();
    frame::put(&mut tail, Frame::Entry(b"{\"never\":\"acknowledged\"}"));
    let whole = tail.len();
    frame::put(&mut tail, Frame::Entry(&[b'x'; 300]));
    bytes[end..end + whole + 100].copy_from_slice(&tail[..whole + 100]);
    std::fs::write(&path, &bytes).unwrap();

    let keeper = node.start();
    let entries = node.entries();
    assert!(markers(&entries).contains(&"kept".to_owned()));
    let dropped =
        entries.iter().find(|e| e["unmapped"]["strongroom"]["event"] == "log.tail_dropped").unwrap();
    assert_eq!(dropped["unmapped"]["strongroom"]["details"]["entries"], "1");
    assert_eq!(dropped["unmapped"]["strongroom"]["details"]["bytes"], (whole + 100).to_string());
    keeper.client(Role::Control).append(vec![event("after")]).unwrap();
    node.verified(u64::try_from(entries.len()).unwrap() + 1);
}

#[test]
fn damage_to_acknowledged_entries_is_a_tamper_alarm() {
    let node = Node::new();
    let keeper = node.start();
    for i in 0..5 {
        keeper.client(Role::Control).append(vec![event(&format!("e{i}"))]).unwrap();
    }
    node.verified(6);
    // The keeper's own head is written last.
    std::thread::sleep(Duration::from_millis(100));
    keeper.kill();
    let (path, good, ends) = segment(&node);
    let refused = |bytes: &[u8], what: &str| {
        std::fs::write(&path, bytes).unwrap();
        let output = node.refused();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{what}: {text}");
        assert!(text.contains("tamper alarm") && text.contains("SR-KPR-0010"), "{what}: {text}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{what}: evidence was changed");
    };
    let end = *ends.last().unwrap();
    for at in [10, ends[2] + 20, end - 30] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        refused(&bytes, "a flipped bit");
    }
    let mut bytes = good.clone();
    bytes[ends[ends.len() - 3]..end].fill(0);
    refused(&bytes, "the last commit cut off");
    let mut bytes = good.clone();
    bytes[..end].fill(0);
    refused(&bytes, "emptied");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(node.refused().status.code(), Some(4));
    // The true bytes again, and it starts.
    std::fs::write(&path, &good).unwrap();
    drop(node.start());
}

#[test]
fn open_intents_are_closed_as_unknown() {
    let node = Node::new();
    let keeper = node.start();
    let at = |phase, outcome, correlation| {
        Event::new(EventKind::JobStart, phase, outcome, 1, correlation).tenant("acme")
    };
    let client = keeper.client(Role::Control);
    client
        .append(vec![
            at(Phase::Intent, Outcome::Unknown, 1),
            at(Phase::Intent, Outcome::Unknown, 2),
            at(Phase::Outcome, Outcome::Success, 1),
        ])
        .unwrap();
    keeper.kill();
    drop(node.start());
    let closed: Vec<_> = node
        .entries()
        .into_iter()
        .filter(|e| e["unmapped"]["strongroom"]["phase"] == "outcome" && e["status_code"] == "unknown")
        .collect();
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0]["metadata"]["correlation_uid"], base::id::CorrelationId::from_bits(2).to_string());
    assert_eq!(closed[0]["metadata"]["tenant_uid"], "acme");
    // And only once.
    let before = node.entries().len();
    drop(node.start());
    assert_eq!(node.entries().len(), before + 1);
}

#[test]
fn lost_or_changed_tiles_are_rebuilt() {
    let node = Node::new();
    let keeper = node.start();
    let client = keeper.client(Role::Control);
    for _ in 0..20 {
        client.append((0..32).map(|i| event(&i.to_string())).collect()).unwrap();
    }
    node.verified(641);
    keeper.kill();
    std::fs::write(node.log().join("tile/0/000"), [0; 8192]).unwrap();
    std::fs::remove_file(node.log().join("tile/entries/001")).unwrap();
    let _keeper = node.start();
    node.verified(642);
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    // A log on a file system with room for one segment and little more, in a mount namespace of its own.
    let node = Node::new();
    let script =
        "mkdir -p \"$1/log\" && mount -t tmpfs -o size=66m none \"$1/log\" && exec \"$2\" --config \"$3\"";
    let mut command = std::process::Command::new("unshare");
    command.args(["-rm", "--", "sh", "-c", script, "sh"]);
    command.arg(node.path("state")).arg(env!("CARGO_BIN_EXE_strongroom-keeper")).arg(node.path("node.toml"));
    // Inside a user namespace the test's user is root to itself; outside, credentials are the same.
    let text = std::fs::read_to_string(node.path("node.toml")).unwrap();
    let uid = rustix::process::geteuid().as_raw();
    std::fs::write(node.path("node.toml"), text.replace(&format!(" = {uid}\n"), " = 0\n")).unwrap();
    let keeper = node.start_with(command);
    let log = format!("/proc/{}/root{}", keeper.child.id(), node.log().display());
    let log = std::path::Path::new(&log);

    let client = keeper.client(Role::Control);
    let large = |name: &str| {
        let mut event = event(name).because(&"r".repeat(1000));
        for i in 0..20 {
            event = event.detail(&format!("k{i}"), &"v".repeat(1000));
        }
        event
    };
    let mut acknowledged = 0u64;
    let refused = loop {
        match client.append(vec![large("a"), large("b")]) {
            Ok(first) => acknowledged = first + 2,
            Err(KeeperError::Refused { code, detail }) => break (code, detail),
            Err(other) => panic!("{other}"),
        }
        assert!(acknowledged < 10_000, "the disk never filled");
    };
    assert_eq!(refused.0, "SR-KPR-0012");
    assert!(refused.1.contains("nothing was done"), "{}", refused.1);
    // An operation that must be logged is refused as well, once its smaller entry does not fit either.
    let denied = loop {
        match client.sign(ops::keeper::SignKind::Model, base::sha256(b"x"), "", "", 0) {
            Ok((_, index)) => acknowledged = index + 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 20_000, "the disk never filled");
    };
    assert!(matches!(denied, KeeperError::Refused { code, .. } if code == "SR-KPR-0012"));
    // What was acknowledged is there, and nothing else.
    let status = |client: &link::KeeperClient| match client.call(&ops::keeper::Request::Status {}).unwrap() {
        ops::keeper::Response::Status { log_size, .. } => log_size,
        other => panic!("{other:?}"),
    };
    assert_eq!(status(&client), acknowledged);

    // With room again it goes on where it was. A larger limit is what an operator gives it.
    let mut remount = std::process::Command::new("nsenter");
    remount.arg(format!("--user=/proc/{}/ns/user", keeper.child.id()));
    remount.arg(format!("--mount=/proc/{}/ns/mnt", keeper.child.id()));
    remount.args(["--preserve-credentials", "mount", "-o", "remount,size=400m"]).arg(node.log());
    assert!(remount.status().unwrap().success());
    assert_eq!(client.append(vec![large("again")]).unwrap(), acknowledged);
    for _ in 0..1000 {
        let report = audit::verify::verify(&crate::support::Dir(log.to_path_buf()), None, None);
        if let Ok(report) = report
            && report.is_intact()
            && report.size.get() == acknowledged + 1
        {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the log did not verify after the disk had room again");
}

#[test]
fn the_log_says_when_the_keeper_started() {
    let node = Node::new();
    drop(node.start());
    drop(node.start());
    assert_eq!(names(&node.entries()), ["node.start", "component.start"]);
}
