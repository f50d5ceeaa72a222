//! Who may ask for what, and what comes back.

use base::{Digest, sha256};
use link::{Conn, KeeperError};
use ops::event::{Event, EventKind, Outcome, Phase};
use ops::keeper::{Generation, Request, Response, Role, Scope, SignKind};
use ops::receipt::Receipt;
use ops::{Key32, Text, from_bytes, to_bytes};
use proptest::test_runner::{Config, TestRunner};

use crate::support::{Dir, Node, event, names};

fn tenant(name: &str) -> Scope {
    Scope::tenant(&name.parse().unwrap())
}

fn code<T: std::fmt::Debug>(result: Result<T, KeeperError>) -> String {
    match result.unwrap_err() {
        KeeperError::Refused { code, .. } => code,
        other => panic!("{other}"),
    }
}

fn unwrap_request(scope: &Scope, name: Digest, blob: [u8; 60]) -> Request {
    let (actor, purpose) = (Text::clip("job:x"), Text::clip("open inputs"));
    Request::Unwrap { scope: scope.clone(), name, blob, kek_version: 1, actor, purpose, correlation: 9 }
}

#[test]
fn a_key_is_wrapped_released_and_logged_first() {
    let node = Node::new();
    let keeper = node.start();
    let client = keeper.client(Role::Control);
    let (scope, digest) = (tenant("acme"), sha256(b"plaintext"));
    assert_eq!(code(client.object_name(scope.clone(), digest)), "SR-KPR-0019");
    assert_eq!(client.create_scope(scope.clone(), 1).unwrap(), 1);
    assert_eq!(client.create_scope(scope.clone(), 1).unwrap(), 1);
    let wrapped =
        client.call(&Request::Wrap { scope: scope.clone(), dek: Key32::new(&[0x5a; 32]), digest }).unwrap();
    let Response::Wrapped { name, kek_version: 1, blob } = wrapped else { panic!("{wrapped:?}") };
    assert_eq!(client.object_name(scope.clone(), digest).unwrap(), name);

    let released = client.call(&unwrap_request(&scope, name, blob)).unwrap();
    let Response::Unwrapped { dek, index } = released else { panic!("{released:?}") };
    assert_eq!(dek, Key32::new(&[0x5a; 32]));
    // When the answer is here, the entry is on the disk.
    let entries = node.entries();
    let entry = &entries[usize::try_from(index).unwrap()];
    assert_eq!(entry["unmapped"]["strongroom"]["event"], "key.release");
    assert_eq!(entry["unmapped"]["strongroom"]["sender"]["role"], "keeper");

    // Another tenant's scope, another object's name, a changed blob: refused, and each refusal is an entry.
    client.create_scope(tenant("globex"), 1).unwrap();
    let mut changed = blob;
    changed[20] ^= 1;
    for request in [
        unwrap_request(&tenant("globex"), name, blob),
        unwrap_request(&scope, sha256(b"other"), blob),
        unwrap_request(&scope, name, changed),
    ] {
        assert_eq!(code(client.call(&request)), "SR-KEY-0001");
    }
    let refused = node.entries().iter().filter(|e| e["status_code"] == "refused").count();
    assert_eq!(refused, 3);

    // The keys are the same after a restart, and none of them is in the state directory in the clear.
    keeper.kill();
    let keeper = node.start();
    let client = keeper.client(Role::Control);
    let again = client.call(&unwrap_request(&scope, name, blob)).unwrap();
    assert!(matches!(again, Response::Unwrapped { dek, .. } if dek == Key32::new(&[0x5a; 32])));
    node.verified(1);
}

/// The log refuses while the keeper may write no more than its file sizes now: no keys without an entry, and asking
/// again once it takes entries tells of them.
#[test]
fn a_scope_that_could_not_be_logged_is_not_made_and_is_logged_when_it_is_asked_for_again() {
    let node = Node::new();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" --config \"$1\""]);
    command.arg(env!("CARGO_BIN_EXE_strongroom-keeper")).arg(node.path("node.toml"));
    let keeper = node.start_with(command);
    let client = keeper.client(Role::Control);
    for _ in 0..8 {
        client.append((0..32).map(|i| event(&format!("filling {i}"))).collect()).unwrap();
    }
    let limit = |bytes: &str| {
        let done = std::process::Command::new("prlimit")
            .arg(format!("--pid={}", keeper.child.id()))
            .arg(format!("--fsize={bytes}"))
            .status()
            .unwrap();
        assert!(done.success());
    };
    // The key set is a kilobyte, the log far beyond 64 KiB.
    limit("65536:unlimited");
    assert_eq!(code(client.create_scope(tenant("acme"), 7)), "SR-KPR-0012");
    assert_eq!(
        code(client.object_name(tenant("acme"), sha256(b"x"))),
        "SR-KPR-0019",
        "keys without an entry"
    );
    limit("unlimited:unlimited");
    client.create_scope(tenant("acme"), 7).unwrap();
    client.create_scope(tenant("acme"), 7).unwrap();
    let made: Vec<_> = node
        .entries()
        .iter()
        .filter(|e| e["unmapped"]["strongroom"]["event"] == "key_scope.create")
        .map(|e| e["unmapped"]["strongroom"]["phase"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(made, ["intent", "outcome"]);
}

#[test]
fn the_budget_of_a_tenant_ends_its_releases_and_nobody_elses() {
    let node = Node::new();
    let keeper = node.start();
    let client = keeper.client(Role::Control);
    let mut made = Vec::new();
    for name in ["acme", "globex"] {
        client.create_scope(tenant(name), 1).unwrap();
        let wrap = Request::Wrap { scope: tenant(name), dek: Key32::new(&[1; 32]), digest: sha256(b"p") };
        let Response::Wrapped { name, blob, .. } = client.call(&wrap).unwrap() else { panic!() };
        made.push((name, blob));
    }
    let first = unwrap_request(&tenant("acme"), made[0].0, made[0].1);
    // Concurrent clients, so that the group commit keeps this short.
    let refused = std::sync::atomic::AtomicU32::new(0);
    let released = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let client = keeper.client(Role::Control);
                for _ in 0..230 {
                    match client.call(&first) {
                        Ok(_) => released.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
                        Err(KeeperError::Refused { code, .. }) if code == "SR-KPR-0021" => {
                            refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
                        }
                        Err(other) => panic!("{other}"),
                    };
                }
            });
        }
    });
    assert_eq!((released.into_inner(), refused.into_inner()), (3600, 80));
    let other = unwrap_request(&tenant("globex"), made[1].0, made[1].1);
    client.call(&other).unwrap();
    let names = names(&node.entries());
    assert_eq!(names.iter().filter(|n| *n == "key.budget_exhausted").count(), 80);
}

#[test]
fn signatures_and_receipts_verify_with_the_published_keys_and_are_logged() {
    let node = Node::new();
    let keeper = node.start();
    let client = keeper.client(Role::Control);
    let digest = sha256(b"what is signed");
    let unhex = |name: &str| -> [u8; 32] {
        let text = std::fs::read_to_string(node.log().join(name)).unwrap();
        base::digest::unhex(text.trim()).unwrap().try_into().unwrap()
    };
    let kinds = [(SignKind::Model, "oms.pem"), (SignKind::Bom, "bom.pem"), (SignKind::Policy, "policy.pem")];
    let mut keys = std::collections::BTreeSet::new();
    for (kind, file) in kinds {
        let (signature, index) = client.sign(kind, digest, "acme", "m", 3).unwrap();
        let pem = std::fs::read_to_string(node.log().join(file)).unwrap();
        openssl_verifies(&node, &pem, &signature, b"what is signed");
        assert!(keys.insert(pem), "{file} is the key of another purpose too");
        let entry = &node.entries()[usize::try_from(index).unwrap()];
        assert_eq!(entry["unmapped"]["strongroom"]["asset"]["digest"], digest.hex());
    }
    let (signature, _) = client.sign(SignKind::Checkpoint, digest, "acme", "c", 3).unwrap();
    let mut message = ops::keeper::CHECKPOINT_CONTEXT.to_vec();
    message.extend_from_slice(digest.as_bytes());
    assert!(audit::note::verify_raw(&unhex("checkpoint.pub"), &message, &signature));

    let operation = sha256(b"operation");
    let intent = Event::new(EventKind::WardenOrder, Phase::Intent, Outcome::Unknown, 1, 4);
    let receipt = client.authorise(operation, intent.clone()).unwrap();
    let Response::Status { receipt_key, boot_id, separated, key_provider, .. } =
        client.call(&Request::Status {}).unwrap()
    else {
        panic!()
    };
    assert!(!separated && key_provider.contains("simulated"));
    assert_eq!((receipt_key, receipt.boot_id), (unhex("receipt.pub"), boot_id));
    let since_boot = || {
        let now = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = now.split(' ').next().unwrap().parse().unwrap();
        std::time::Duration::from_secs_f64(seconds)
    };
    let ends = std::time::Duration::from_millis(receipt.expires_ms);
    let lifetime = std::time::Duration::from_millis(ops::receipt::LIFETIME_MS);
    // The file tells hundredths of a second.
    let slack = std::time::Duration::from_millis(20);
    assert!(ends > since_boot() && ends <= since_boot() + lifetime + slack, "{ends:?}");
    let signed = Receipt::signed_bytes(receipt.index, receipt.expires_ms, &operation, &boot_id);
    assert!(audit::note::verify_raw(&receipt_key, &signed, &receipt.signature));
    let entry = &node.entries()[usize::try_from(receipt.index).unwrap()];
    assert_eq!(entry["unmapped"]["strongroom"]["details"]["operation"], operation.hex());
    let outcome = Event { phase: Phase::Outcome, ..intent };
    assert_eq!(code(client.authorise(operation, outcome)), "SR-KPR-0022");
}

/// `openssl`, which shares no code with us, takes the key and the signature.
fn openssl_verifies(node: &Node, pem: &str, signature: &[u8], message: &[u8]) {
    let (key, sig, data) = (node.path("k.pem"), node.path("s"), node.path("d"));
    std::fs::write(&key, pem).unwrap();
    std::fs::write(&sig, signature).unwrap();
    std::fs::write(&data, message).unwrap();
    let run = |data: &std::path::Path| {
        let mut command = std::process::Command::new("openssl");
        command.args(["dgst", "-sha256", "-verify"]).arg(&key).arg("-signature").arg(&sig).arg(data);
        command.output().unwrap().status.success()
    };
    assert!(run(&data));
    std::fs::write(&data, b"something else").unwrap();
    assert!(!run(&data));
}

#[test]
fn roles_get_what_is_theirs() {
    let node = Node::new();
    let keeper = node.start();
    for role in [Role::Gateway, Role::Warden] {
        let client = keeper.client(role);
        assert_eq!(code(client.create_scope(tenant("acme"), 1)), "SR-KPR-0013");
        for kind in [SignKind::Model, SignKind::Policy] {
            assert_eq!(code(client.sign(kind, sha256(b"x"), "", "", 0)), "SR-KPR-0013");
        }
        assert_eq!(code(client.append(vec![event("not theirs")])), "SR-KPR-0014");
    }
    let forged = Event::new(EventKind::KeyRelease, Phase::Outcome, Outcome::Success, 1, 1);
    assert_eq!(code(keeper.client(Role::Control).append(vec![forged])), "SR-KPR-0014");
    let inference = Event::new(EventKind::Inference, Phase::Observed, Outcome::Success, 1, 1);
    keeper.client(Role::Gateway).append(vec![inference]).unwrap();
    assert!(!names(&node.entries()).contains(&"key.release".to_owned()));
}

/// What control's threads tell comes in any order: the newest counts, also after a restart, and nobody else tells one.
#[test]
fn the_newest_generation_of_the_metadata_outlives_a_kill() {
    let node = Node::new();
    let keeper = node.start();
    let generation = |g: u64| Generation { g, hash: sha256(&g.to_le_bytes()) };
    let bound = |g| Request::AppendBound {
        events: ops::List::clip(vec![event(&format!("at {g}"))]),
        generation: generation(g),
    };
    let newest =
        |keeper: &crate::support::Running| match keeper.client(Role::Control).call(&Request::Bound {}) {
            Ok(Response::Bound { generation }) => generation,
            other => panic!("{other:?}"),
        };
    assert_eq!(newest(&keeper), None);
    let client = keeper.client(Role::Control);
    for g in [4, 57, 12] {
        client.call(&bound(g)).unwrap();
    }
    client.append(vec![event("without one")]).unwrap();
    assert_eq!(code(keeper.client(Role::Gateway).call(&bound(99))), "SR-KPR-0013");
    assert_eq!(newest(&keeper), Some(generation(57)));
    keeper.kill();
    let keeper = node.start();
    assert_eq!(newest(&keeper), Some(generation(57)));
    let entry = node.entries().into_iter().find(|e| e["unmapped"]["strongroom"]["asset"]["id"] == "at 57");
    assert_eq!(entry.unwrap()["unmapped"]["strongroom"]["generation"]["g"], 57);
    node.verified(1);
}

/// Every request that there is, from the fuzzer's corpus, which a test of `ops` keeps complete.
#[test]
fn nothing_is_answered_before_hello_and_not_twice() {
    let node = Node::new();
    let keeper = node.start();
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/ops");
    let mut asked = Vec::new();
    for entry in std::fs::read_dir(corpus).unwrap().flatten() {
        if !entry.file_name().to_string_lossy().starts_with("keeper-request-") {
            continue;
        }
        let request: Request = from_bytes(&std::fs::read(entry.path()).unwrap()[1..]).unwrap();
        if matches!(request, Request::Hello { .. }) {
            continue;
        }
        asked.push(request.tag());
        let conn = Conn::connect(keeper.socket()).unwrap();
        conn.send(&to_bytes(&request), &[]).unwrap();
        let answer: Response = from_bytes(&conn.recv(ops::MESSAGE_MAX, 0).unwrap().0).unwrap();
        assert!(
            matches!(&answer, Response::Refused { code, .. } if code.as_str() == "SR-KPR-0016"),
            "{answer:?}"
        );
        assert!(conn.recv(10, 0).is_err(), "the connection goes on");
    }
    asked.sort_unstable();
    assert_eq!(asked, Request::TAGS[1..]);
    let forged = node.entries().iter().any(|e| e["unmapped"]["strongroom"]["asset"]["id"] == "m/1");
    assert!(!forged, "an event of the corpus is in the log");
    let client = keeper.client(Role::Control);
    assert_eq!(code(client.call(&Request::Hello { role: Role::Warden })), "SR-KPR-0016");
}

#[test]
fn hostile_messages_are_refused_and_harm_nobody() {
    let node = Node::new();
    let keeper = node.start();
    let good = keeper.client(Role::Control);
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let bytes = proptest::collection::vec(proptest::num::u8::ANY, 1..2000);
    runner
        .run(&(bytes, proptest::bool::ANY), |(bytes, greeted)| {
            let conn = Conn::connect(keeper.socket()).unwrap();
            conn.set_timeout(Some(crate::support::TIMEOUT)).unwrap();
            if greeted {
                conn.send(&to_bytes(&Request::Hello { role: Role::Control }), &[]).unwrap();
                conn.recv(ops::MESSAGE_MAX, 0).unwrap();
            }
            conn.send(&bytes, &[]).unwrap();
            // An answer that can be read, and only a refusal unless the bytes happened to be a request.
            let (answer, _) = conn.recv(ops::MESSAGE_MAX, 0).unwrap();
            let answer: Response = from_bytes(&answer).unwrap();
            let refused = matches!(answer, Response::Refused { .. });
            proptest::prop_assert!(refused || from_bytes::<Request>(&bytes).is_ok());
            Ok(())
        })
        .unwrap();
    good.append(vec![event("still here")]).unwrap();
    // More connections than there are places: the rest is turned away, those that are in go on.
    let crowd: Vec<_> = (0..100).map(|_| Conn::connect(keeper.socket()).unwrap()).collect();
    good.append(vec![event("and here")]).unwrap();
    drop(crowd);
}

#[test]
fn dev_and_production_never_share_a_state_directory() {
    let node = Node::new();
    node.start().kill();
    let first = node.entries().remove(0);
    assert_eq!(first["unmapped"]["strongroom"]["event"], "node.start");
    assert_eq!(first["unmapped"]["strongroom"]["details"]["mode"], "dev");
    assert!(
        std::fs::read_to_string(node.log().join("vkey"))
            .unwrap()
            .starts_with("dev.strongroom.local/audit/n+")
    );
    node.configure("production");
    let output = node.refused();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    // Here all users are the same, which production refuses first; the unit tests of `state` cover the marker.
    assert!(text.contains("SR-KPR-0008"), "{text}");
}

#[test]
fn evidence_can_be_made_from_the_published_files() {
    let node = Node::new();
    let keeper = node.start();
    let first =
        keeper.client(Role::Control).append((0..32).map(|i| event(&format!("e{i}"))).collect()).unwrap();
    node.verified(first + 32);
    let key = std::fs::read_to_string(node.log().join("vkey")).unwrap().parse().unwrap();
    let evidence = audit::prove::prove(&Dir(node.log()), &key, audit::LeafIndex::new(first + 31)).unwrap();
    assert!(String::from_utf8(evidence.entry).unwrap().contains("\"id\":\"e31\""));
}
