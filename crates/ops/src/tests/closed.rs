//! The closed sets: one message of each kind, so that the tests of the codec and the fuzzer leave none out. A new
//! operation fails here until it has its message.

use std::collections::BTreeSet;
use std::path::Path;

use base::Digest;

use super::event;
use crate::keeper::{self, Generation, Role, Scope, SignKind};
use crate::lease::{Grant, Grants, Use, Uses};
use crate::receipt::Receipt;
use crate::recovery::{Act, Holder, Proof, Safe, State, Window};
use crate::relay::{self, Answer, Destination, Egress, Order, Purpose, Reach};
use crate::warden::{
    Call, EnvVar, Feature, FeatureState, HeldSocket, Image, Input, InputKind, Limits, Operation, Profile,
    Program, RunKind, Signal,
};
use crate::{Blob, Codec, Key32, List, Text, from_bytes, to_bytes, warden};

fn digest() -> Digest {
    base::sha256(b"x")
}

fn operations() -> Vec<Operation> {
    let input = |kind| Input { kind, bytes: 4096, files: 1, manifest: digest() };
    let limits =
        Limits { memory_bytes: 1 << 28, image_bytes: 1, cpu_milli: 1000, pids: 64, scratch_bytes: 1 << 20 };
    let argv = List::clip(vec![Text::clip("python3"), Text::clip("main.py")]);
    vec![
        Operation::Probe {},
        Operation::StartPorter {
            run: 1,
            tenant: Text::clip("acme"),
            kind: RunKind::Training,
            limits,
            inputs: List::clip(vec![
                input(InputKind::Code {}),
                input(InputKind::Config {}),
                input(InputKind::Channel { name: Text::clip("training") }),
                input(InputKind::Model {}),
                input(InputKind::Image {}),
            ]),
        },
        Operation::FreezeMount { run: 1, input: 2 },
        Operation::Start {
            run: 1,
            image: Image::Host {},
            program: Program::Command { argv },
            env: List::clip(vec![EnvVar { name: Text::clip("SM_HPS"), value: Text::clip("{}") }]),
            cwd: Text::clip("/opt/ml/code"),
            profile: Profile::Training,
            wall_time_s: 60,
            egress: true,
        },
        Operation::Signal { run: 1, signal: Signal::Usr1 },
        Operation::Freeze { run: 1 },
        Operation::Thaw { run: 1 },
        Operation::Kill { run: 1 },
        Operation::Destroy { run: 1 },
        Operation::Report { run: 1 },
        Operation::Counters { run: 1 },
        Operation::Sockets { pids: List::clip(vec![1, 70_000]) },
        Operation::CollectDiagnostics {},
        Operation::Reboot { stop_runs: true },
        Operation::StageRelease { signed: signed() },
        Operation::ActivateRelease { version: version(), stop_runs: false },
        Operation::ReturnRelease { stop_runs: false },
        Operation::ConfirmRelease { version: version() },
        Operation::ListReleases {},
        Operation::HashMount { run: 1, input: 2 },
    ]
}

fn calls() -> Vec<Call> {
    let receipt =
        Receipt { index: 9, expires_ms: 60_000, operation: digest(), boot_id: [1; 16], signature: [2; 64] };
    let call = |operation: Operation| {
        let receipt = operation.needs_receipt().then(|| receipt.clone());
        Call { correlation: 7, receipt, operation }
    };
    operations().into_iter().map(call).collect()
}

fn warden_answers() -> Vec<warden::Response> {
    let feature =
        Feature { name: Text::clip("landlock"), state: FeatureState::Enforced, detail: Text::clip("tried") };
    let socket = HeldSocket { pid: 1, fd: 3, inode: 9, protocol: Text::clip("TCPv6") };
    vec![
        warden::Response::Done {},
        warden::Response::Features { features: List::clip(vec![feature]) },
        warden::Response::Counters { memory_peak_bytes: 1, cpu_ms: 2, pids: 3 },
        warden::Response::Refused { code: Text::clip("SR-WRD-0001"), detail: Text::clip("why") },
        warden::Response::Sockets { sockets: List::clip(vec![socket]), hidden: List::clip(vec![2]) },
        warden::Response::Diagnostics { seen: diagnostics(1) },
        warden::Response::Releases { releases: releases(1) },
    ]
}

fn version() -> base::release::Version {
    base::release::Version { major: 1, minor: 2, patch: u32::MAX }
}

fn signed() -> crate::release::SignedManifest {
    let signature = crate::release::ReleaseSignature { key: [1; 32], signature: [2; 64] };
    crate::release::SignedManifest {
        manifest: Blob::new(b"strongroom release 1\n".to_vec()).unwrap(),
        signatures: List::clip(vec![signature]),
    }
}

fn releases(count: usize) -> crate::release::Releases {
    let facts = crate::release::ReleaseFacts { version: version(), floor: version(), manifest: digest() };
    let state = crate::release::ReleaseState {
        current: Some(version()),
        before: None,
        pending: Some(version()),
        returned: None,
        floor: version(),
    };
    crate::release::Releases { state, staged: List::clip(vec![facts; count]) }
}

/// What the warden sees, with so many of each thing.
fn diagnostics(count: usize) -> crate::diagnostics::Diagnostics {
    use crate::diagnostics::*;
    let process = ProcessFacts {
        pid: u32::MAX,
        uid: 890_001,
        gid: 890_001,
        capabilities: 1,
        bounding: u64::MAX,
        no_new_privileges: true,
        seccomp: 2,
        threads: 9,
        resident_bytes: u64::MAX,
    };
    let service = ServiceFacts {
        service: Service::Keeper,
        state: ServiceState::Running,
        restarts: 1,
        process: Some(process),
    };
    let run = RunCount { kind: warden::RunKind::Serving, state: RunState::Frozen, count: 3 };
    let controller = ControllerFacts { controller: Controller::Memory, hierarchy: Hierarchy::V2 };
    let place = PlaceFacts {
        place: Place::Log,
        file_system: FileSystem::Ext,
        total_bytes: u64::MAX,
        free_bytes: 1,
        free_files: 1,
        read_only: false,
        nosuid: true,
        noexec: false,
    };
    let program = ProgramFacts { program: Program::Warden, digest: digest() };
    Diagnostics {
        programs: List::clip(vec![program; count]),
        services: List::clip(vec![service; count]),
        separated: true,
        runs: List::clip(vec![run; count]),
        runs_max: 60,
        workload_processes: 4,
        mounts: MountFacts { frozen: 1, filling: 2, input_bytes: 3, scratches: 4 },
        groups: GroupFacts { controllers: List::clip(vec![controller; count]), kill: true, groups: 1 },
        places: List::clip(vec![place; count]),
        outcomes_waiting: 0,
    }
}

fn requests() -> Vec<keeper::Request> {
    let scope = Scope { tenant: Text::clip("acme"), job: Some(4) };
    let events = List::clip(vec![event(); 2]);
    vec![
        keeper::Request::Hello { role: Role::Control },
        keeper::Request::Status {},
        keeper::Request::Append { events: events.clone() },
        keeper::Request::CreateScope { scope: scope.clone(), correlation: 1 },
        keeper::Request::Wrap { scope: scope.clone(), dek: Key32::new(&[3; 32]), digest: digest() },
        keeper::Request::Unwrap {
            scope: scope.clone(),
            name: digest(),
            blob: [4; 60],
            kek_version: 1,
            actor: Text::clip("job:x"),
            purpose: Text::clip("open inputs"),
            correlation: 1,
        },
        keeper::Request::Sign {
            kind: SignKind::Bom,
            digest: digest(),
            tenant: Text::clip("acme"),
            subject: Text::clip("m@1"),
            correlation: 1,
        },
        keeper::Request::Authorise { operation: digest(), event: event() },
        keeper::Request::ObjectName { scope, digest: digest() },
        keeper::Request::AppendBound { events, generation: Generation { g: 1, hash: digest() } },
        keeper::Request::Bound {},
        keeper::Request::Recovery {},
        keeper::Request::EnterSafe {
            reason: Text::clip("a drill"),
            actor: Text::clip("operator"),
            correlation: 1,
        },
        keeper::Request::Recover {
            act: Act::Seal { holders: List::clip(vec![Holder { name: Text::clip("ada"), key: [5; 32] }]) },
            proofs: List::clip(vec![Proof { holder: Text::clip("bob"), signature: [6; 64] }]),
            actor: Text::clip("operator"),
            correlation: 1,
        },
        keeper::Request::CloseWindow { actor: Text::clip("operator"), correlation: 1 },
    ]
}

fn keeper_answers() -> Vec<keeper::Response> {
    let receipt =
        Receipt { index: 9, expires_ms: 60_000, operation: digest(), boot_id: [1; 16], signature: [2; 64] };
    vec![
        keeper::Response::Welcome {},
        keeper::Response::Status {
            log_size: 1,
            log_root: digest(),
            boot_id: [1; 16],
            receipt_key: [2; 32],
            log_key: Text::clip("n+1+x"),
            key_provider: Text::clip("file (software)"),
            separated: true,
        },
        keeper::Response::Appended { first: 1 },
        keeper::Response::ScopeReady { kek_version: 1 },
        keeper::Response::Wrapped { name: digest(), kek_version: 1, blob: [4; 60] },
        keeper::Response::Unwrapped { dek: Key32::new(&[5; 32]), index: 1 },
        keeper::Response::Signed { signature: Blob::new(vec![6; 70]).unwrap(), index: 1 },
        keeper::Response::Authorised { receipt },
        keeper::Response::Named { name: digest() },
        keeper::Response::Refused { code: Text::clip("SR-KEY-0001"), detail: Text::clip("why") },
        keeper::Response::Bound { generation: Some(Generation { g: 1, hash: digest() }) },
        keeper::Response::Recovery {
            state: State {
                safe: Some(Safe { since_ms: 1, by: Text::clip("operator"), reason: Text::clip("a drill") }),
                window: Some(Window {
                    holder: Text::clip("ada"),
                    reason: Text::clip("locked out"),
                    since_ms: 2,
                    ends_ms: 3,
                }),
                holders: List::clip(vec![Text::clip("ada")]),
                challenge: [7; 32],
            },
        },
    ]
}

fn relay_orders() -> Vec<Order> {
    let to = Destination { host: Text::clip("hub.example"), port: 443, reach: Reach::Public };
    let egress = Egress { key: 7, name: Text::clip("hub"), to, authority: Some(Text::clip("PEM")) };
    let grant = Grant { key: 7, bytes: 1 << 20, low: 1 << 19, refused: false };
    vec![
        Order::Connect { purpose: Purpose::Login, host: Text::clip("id.example"), port: 443 },
        Order::Open {
            run: 1,
            tenant: Text::clip("acme"),
            actor: Text::clip("job:job_1"),
            egresses: List::clip(vec![egress]),
        },
        Order::Close { run: 1 },
        Order::Revoke { key: 7 },
        Order::Lease { grants: Grants { seq: 1, boot: 2, grants: List::clip(vec![grant]) } },
        Order::Identify { run: 1 },
        Order::Certify { run: 1, certificate: Text::clip("PEM") },
    ]
}

fn relay_answers() -> Vec<Answer> {
    let used = Use { key: 7, epoch: 1, used: 2, left: 3, asked: 4 };
    vec![
        Answer::Done {},
        Answer::Refused { code: Text::clip("SR-RLY-0001"), detail: Text::clip("why") },
        Answer::Uses { uses: Uses { boot: 2, seq: 1, uses: List::clip(vec![used]) } },
        Answer::Asked { request: Text::clip("PEM") },
    ]
}

#[test]
fn the_largest_orders_to_the_relay_fit_a_message() {
    let to = Destination { host: Text::clip(&"h".repeat(253)), port: 443, reach: Reach::Node };
    let authority = Some(Text::clip(&"p".repeat(relay::AUTHORITY_MAX)));
    let egress = Egress { key: u128::MAX, name: Text::clip(&"n".repeat(63)), to, authority };
    let open = Order::Open {
        run: u128::MAX,
        tenant: Text::clip(&"t".repeat(63)),
        actor: Text::clip(&"a".repeat(128)),
        egresses: List::clip(vec![egress; relay::EGRESSES_MAX]),
    };
    assert!(to_bytes(&open).len() <= crate::MESSAGE_MAX);
    let used = Use { key: u128::MAX, epoch: u64::MAX, used: 1, left: 1, asked: 1 };
    let uses = Uses { boot: 1, seq: 1, uses: List::clip(vec![used; relay::LEASES_MAX]) };
    assert!(to_bytes(&Answer::Uses { uses }).len() <= crate::MESSAGE_MAX);
    let grant = Grant { key: u128::MAX, bytes: 1, low: 1, refused: true };
    let grants = Grants { seq: 1, boot: 1, grants: List::clip(vec![grant; relay::LEASES_MAX]) };
    assert!(to_bytes(&Order::Lease { grants }).len() <= crate::MESSAGE_MAX);
}

/// Name, first byte of a fuzzer's input (`fuzz/fuzz_targets/ops.rs`), and each message with its tag.
type Kind = (&'static str, u8, Vec<(u8, Vec<u8>)>);

fn kinds() -> Vec<Kind> {
    fn of<T: Codec>(all: &[T], tag: impl Fn(&T) -> u8) -> Vec<(u8, Vec<u8>)> {
        all.iter().map(|message| (tag(message), to_bytes(message))).collect()
    }
    vec![
        ("warden-call", 0, of(&calls(), |call| call.operation.tag())),
        ("warden-answer", 1, of(&warden_answers(), warden::Response::tag)),
        ("keeper-request", 2, of(&requests(), keeper::Request::tag)),
        ("keeper-answer", 3, of(&keeper_answers(), keeper::Response::tag)),
        ("relay-order", 8, of(&relay_orders(), Order::tag)),
        ("relay-answer", 9, of(&relay_answers(), Answer::tag)),
    ]
}

#[test]
fn every_kind_of_message_is_here() {
    let closed: [&[u8]; 6] = [
        Operation::TAGS,
        warden::Response::TAGS,
        keeper::Request::TAGS,
        keeper::Response::TAGS,
        Order::TAGS,
        Answer::TAGS,
    ];
    for ((name, _, messages), tags) in kinds().iter().zip(closed) {
        let here: BTreeSet<u8> = messages.iter().map(|(tag, _)| *tag).collect();
        assert_eq!(here, tags.iter().copied().collect(), "{name}");
        assert_eq!(messages.len(), tags.len(), "{name}: one each");
    }
}

/// Reads a message of the kind, and writes it again.
fn again(kind: u8, bytes: &[u8]) -> Option<Vec<u8>> {
    match kind {
        0 => from_bytes::<Call>(bytes).ok().map(|m| to_bytes(&m)),
        1 => from_bytes::<warden::Response>(bytes).ok().map(|m| to_bytes(&m)),
        2 => from_bytes::<keeper::Request>(bytes).ok().map(|m| to_bytes(&m)),
        8 => from_bytes::<Order>(bytes).ok().map(|m| to_bytes(&m)),
        9 => from_bytes::<Answer>(bytes).ok().map(|m| to_bytes(&m)),
        _ => from_bytes::<keeper::Response>(bytes).ok().map(|m| to_bytes(&m)),
    }
}

/// No message has two encodings: a receipt is for the bytes of an operation.
#[test]
fn each_message_has_one_encoding_and_no_prefix_of_it_is_one() {
    for (name, kind, messages) in kinds() {
        for (tag, bytes) in messages {
            assert_eq!(again(kind, &bytes), Some(bytes.clone()), "{name} {tag}");
            assert!(bytes.len() <= crate::MESSAGE_MAX);
            for end in 0..bytes.len() {
                assert_eq!(again(kind, &bytes[..end]), None, "{name} {tag} cut at {end}");
            }
            assert_eq!(again(kind, &[&bytes[..], &[0]].concat()), None, "{name} {tag} extended");
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut changed = bytes.clone();
                    changed[at] ^= 1 << bit;
                    let read = again(kind, &changed);
                    assert!(read.is_none_or(|read| read == changed), "{name} {tag}: bit {bit} of byte {at}");
                }
            }
        }
    }
}

#[test]
fn tags_that_are_not_in_the_set_are_refused() {
    let version = to_bytes(&Operation::Probe {})[0];
    for tag in (0..=u8::MAX).filter(|tag| !Operation::TAGS.contains(tag)) {
        // Whatever follows: an operation without fields, or with many.
        for rest in [0, 16, 17, 200] {
            let bytes = [&[version, tag][..], &vec![0; rest]].concat();
            assert!(from_bytes::<Operation>(&bytes).is_err(), "tag {tag}");
        }
    }
    for tag in (0..=u8::MAX).filter(|tag| !keeper::Request::TAGS.contains(tag)) {
        assert!(from_bytes::<keeper::Request>(&[version, tag]).is_err(), "tag {tag}");
    }
}

/// The keeper signs for these purposes, each with a key of its own, and for no other.
#[test]
fn a_signature_is_for_a_purpose_of_the_set() {
    let sign = |kind| {
        let (tenant, subject) = (Text::clip(""), Text::clip("x"));
        to_bytes(&keeper::Request::Sign { kind, digest: digest(), tenant, subject, correlation: 1 })
    };
    let (one, other) = (sign(SignKind::Model), sign(SignKind::Policy));
    let place = one.iter().zip(&other).position(|(a, b)| a != b).unwrap();
    assert_eq!(SignKind::ALL, [SignKind::Model, SignKind::Bom, SignKind::Checkpoint, SignKind::Policy]);
    for tag in 0..=u8::MAX {
        let mut bytes = one.clone();
        bytes[place] = tag;
        assert_eq!(from_bytes::<keeper::Request>(&bytes).is_ok(), (1..=4).contains(&tag), "{tag}");
    }
}

/// What acts first, and what only reads, needs no receipt; everything else does, and so does what comes later.
#[test]
fn these_operations_need_no_receipt_and_no_other() {
    let free: Vec<&str> = operations().iter().filter(|o| !o.needs_receipt()).map(Operation::name).collect();
    assert_eq!(
        free,
        [
            "probe",
            "freeze",
            "kill",
            "report",
            "counters",
            "sockets",
            "collect_diagnostics",
            "list_releases",
            "hash_mount"
        ]
    );
}

#[test]
fn the_largest_answers_fit_a_message() {
    let socket =
        HeldSocket { pid: u32::MAX, fd: u32::MAX, inode: u64::MAX, protocol: Text::clip(&"x".repeat(16)) };
    let sockets = List::new(vec![socket; warden::SOCKETS_MAX]).unwrap();
    let hidden = List::new(vec![u32::MAX; warden::SOCKET_PIDS_MAX]).unwrap();
    let pids = List::new(vec![u32::MAX; warden::SOCKET_PIDS_MAX]).unwrap();
    assert!(to_bytes(&warden::Response::Sockets { sockets, hidden }).len() <= crate::MESSAGE_MAX);
    assert!(to_bytes(&Operation::Sockets { pids }).len() <= crate::MESSAGE_MAX / 2);
    let releases = releases(64);
    assert!(to_bytes(&warden::Response::Releases { releases }).len() <= crate::MESSAGE_MAX);
    let mut largest = signed();
    largest.manifest = Blob::new(vec![0; base::release::MANIFEST_MAX]).unwrap();
    let signature = largest.signatures.iter().next().unwrap().clone();
    largest.signatures = List::clip(vec![signature; 64]);
    assert!(to_bytes(&Operation::StageRelease { signed: largest }).len() <= crate::MESSAGE_MAX / 2);
    let seen = diagnostics(64);
    assert!(to_bytes(&warden::Response::Diagnostics { seen }).len() <= crate::MESSAGE_MAX);
}

/// The fuzzer begins with a message of each kind. `STRONGROOM_WRITE_CORPUS=1` writes those that are missing or stale.
#[test]
fn the_corpus_of_the_fuzzer_has_each_message() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/ops");
    for (name, kind, messages) in kinds() {
        for (tag, bytes) in messages {
            let path = folder.join(format!("{name}-{tag:02}"));
            let seed = [&[kind][..], &bytes].concat();
            if std::env::var_os("STRONGROOM_WRITE_CORPUS").is_some() {
                std::fs::write(&path, &seed).unwrap();
            }
            assert_eq!(std::fs::read(&path).ok(), Some(seed), "{}", path.display());
        }
    }
}
