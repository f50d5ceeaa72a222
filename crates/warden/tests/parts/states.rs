//! The states of a run, and in which of them each order is legal. A new order does not compile before it has its row.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use base::release::Version;
use link::{Client, Conn};
use ops::diagnostics::{Service, ServiceState};
use ops::release::SignedManifest;
use ops::warden::{Call, EndCause, Operation, Response, Signal};
use ops::{Blob, List};

use super::control::{Control, exit, ready, start, start_porter, text};

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is none, or it was destroyed.
    Absent,
    /// Its porter runs, its inputs are not frozen.
    Filling,
    /// Every input is frozen.
    Ready,
    /// Its workload runs.
    Running,
    /// Its workload is frozen.
    Frozen,
    /// Its workload has ended.
    Ended,
}

const STATES: [State; 6] =
    [State::Absent, State::Filling, State::Ready, State::Running, State::Frozen, State::Ended];

/// In which of [`STATES`] the order is legal.
fn legal(operation: &Operation) -> [bool; 6] {
    match operation {
        Operation::Probe {}
        | Operation::Sockets { .. }
        | Operation::CollectDiagnostics {}
        | Operation::ListReleases {}
        | Operation::Destroy { .. } => [true; 6],
        // Never here: this is a node for development.
        Operation::Reboot { .. }
        | Operation::StageRelease { .. }
        | Operation::ActivateRelease { .. }
        | Operation::ReturnRelease { .. }
        | Operation::ConfirmRelease { .. } => [false; 6],
        Operation::StartPorter { .. } => [true, false, false, false, false, false],
        Operation::FreezeMount { .. } => [false, true, false, false, false, false],
        Operation::Start { .. } => [false, false, true, false, false, false],
        Operation::Signal { .. } => [false, false, false, true, false, false],
        Operation::Freeze { .. }
        | Operation::Thaw { .. }
        | Operation::Kill { .. }
        | Operation::Report { .. } => [false, false, false, true, true, false],
        Operation::Counters { .. } => [false, true, true, true, true, true],
        Operation::HashMount { .. } => [false, false, true, true, true, true],
    }
}

/// One of each order, for this run.
fn orders(run: u128) -> Vec<Operation> {
    let all = vec![
        Operation::Probe {},
        start_porter(run, b"verified"),
        Operation::FreezeMount { run, input: 0 },
        start(run, "sleep 600", 60),
        Operation::Signal { run, signal: Signal::Term },
        Operation::Freeze { run },
        Operation::Thaw { run },
        Operation::Kill { run },
        Operation::Destroy { run },
        Operation::Report { run },
        Operation::Counters { run },
        Operation::Sockets { pids: List::clip(vec![std::process::id()]) },
        Operation::CollectDiagnostics {},
        Operation::Reboot { stop_runs: true },
        Operation::StageRelease {
            signed: SignedManifest { manifest: Blob::new(Vec::new()).unwrap(), signatures: List::default() },
        },
        Operation::ActivateRelease { version: Version::default(), stop_runs: true },
        Operation::ReturnRelease { stop_runs: true },
        Operation::ConfirmRelease { version: Version::default() },
        Operation::ListReleases {},
        Operation::HashMount { run, input: 0 },
    ];
    assert_eq!(
        all.iter().map(Operation::tag).collect::<Vec<_>>(),
        Operation::TAGS,
        "an order is not in the table"
    );
    all
}

/// What must stay open while a run is in its state.
type Kept = (Option<Conn>, Vec<OwnedFd>);

/// Brings a run into a state.
fn bring(control: &Control, run: u128, state: State) -> Kept {
    match state {
        State::Absent => (None, Vec::new()),
        State::Filling => {
            let porter = Conn::from_fd(control.done(start_porter(run, b"verified")).remove(0)).unwrap();
            assert_eq!(text(&porter), "filled");
            (Some(porter), Vec::new())
        }
        State::Ready => (Some(ready(control, run)), Vec::new()),
        State::Running | State::Frozen => {
            let porter = ready(control, run);
            let pipe = control.done(start(run, "sleep 600", 60));
            if state == State::Frozen {
                assert!(matches!(control.bare(Operation::Freeze { run }).0, Response::Done {}));
            }
            (Some(porter), pipe)
        }
        State::Ended => {
            let porter = ready(control, run);
            let end = exit(control.done(start(run, "exit 0", 60)));
            assert_eq!((end.cause, end.code), (EndCause::Exited, 0));
            (Some(porter), Vec::new())
        }
    }
}

fn give(control: &Control, operation: Operation) -> Response {
    match operation.needs_receipt() {
        true => control.order(operation).0,
        false => control.bare(operation).0,
    }
}

/// Every order in every state: those that are not legal one after another, which leave the run as it is, and each legal
/// one on a run of its own.
pub(super) fn judge(control: &Control) {
    let mut run = 1000u128;
    for (at, state) in STATES.into_iter().enumerate() {
        if state == State::Frozen && !super::separated() {
            continue;
        }
        run += 1;
        let kept = bring(control, run, state);
        let (legal, not): (Vec<Operation>, Vec<Operation>) =
            orders(run).into_iter().partition(|order| legal(order)[at]);
        for order in not {
            let name = order.name();
            let expected = match name {
                "reboot" => "SR-WRD-0020",
                _ if name.ends_with("_release") => "SR-REL-0009",
                _ => "SR-WRD-0002",
            };
            match give(control, order) {
                Response::Refused { code, .. } => assert_eq!(&*code, expected, "{name} while {state:?}"),
                other => panic!("{name} while {state:?}: {other:?}"),
            }
        }
        control.done(Operation::Destroy { run });
        drop(kept);
        for name in legal.iter().map(Operation::name) {
            run += 1;
            let kept = bring(control, run, state);
            let order = orders(run).into_iter().find(|order| order.name() == name).unwrap();
            let answer = give(control, order);
            assert!(!matches!(answer, Response::Refused { .. }), "{name} while {state:?}: {answer:?}");
            control.done(Operation::Destroy { run });
            drop(kept);
        }
    }
    sockets(control);
    diagnostics(control);
    strays();
}

/// Descriptors belong to one order alone: with any other they are none.
fn strays() {
    let client =
        || Client::connect(&super::state().join("run/warden.sock"), Duration::from_secs(20)).unwrap();
    let probe = ops::to_bytes(&Call { correlation: 1, receipt: None, operation: Operation::Probe {} });
    let null = std::fs::File::open("/dev/null").unwrap();
    assert!(client().call(&probe, &[null.as_fd()], 0).is_err(), "it was answered");
    assert!(client().call(&probe, &[], 0).is_ok(), "the control");
}

/// Runs are told by kind and state, the node's processes by what the kernel says of them.
fn diagnostics(control: &Control) {
    let look = || match give(control, Operation::CollectDiagnostics {}) {
        Response::Diagnostics { seen } => seen,
        other => panic!("{other:?}"),
    };
    for state in STATES {
        if state == State::Frozen && !super::separated() {
            continue;
        }
        let kept = bring(control, 5000, state);
        let seen = look();
        let told: Vec<_> = seen.runs.iter().map(|r| (r.kind.name(), r.state.name(), r.count)).collect();
        let mounts = (seen.mounts.frozen, seen.mounts.filling);
        let expected = match state {
            State::Absent => (vec![], (0, 0)),
            State::Filling => (vec![("training", "filling", 1)], (0, 2)),
            State::Ready => (vec![("training", "ready", 1)], (2, 0)),
            State::Running => (vec![("training", "running", 1)], (2, 0)),
            State::Frozen => (vec![("training", "frozen", 1)], (2, 0)),
            State::Ended => (vec![("training", "ended", 1)], (2, 0)),
        };
        assert_eq!((told, mounts), expected, "while {state:?}");
        assert!(
            matches!(state, State::Running | State::Frozen) == (seen.workload_processes > 0)
                || !super::separated()
        );
        control.done(Operation::Destroy { run: 5000 });
        drop(kept);
    }
    let seen = look();
    let own = seen.services.iter().find(|s| s.service == Service::Control).unwrap();
    let process = own.process.as_ref().unwrap();
    assert_eq!((process.pid, own.state), (std::process::id(), ServiceState::Running));
    assert_eq!((process.uid, process.capabilities), (rustix::process::geteuid().as_raw(), 0));
    assert!(process.no_new_privileges);
    let names: Vec<_> = seen.services.iter().map(|s| s.service.name()).collect();
    assert_eq!(names, ["warden", "keeper", "control", "gateway", "relay"]);
    let warden = seen.services.iter().next().unwrap().process.as_ref().unwrap();
    assert!(!super::separated() || warden.bounding.count_ones() == 10, "{:x}", warden.bounding);
    assert_eq!(seen.programs.len(), 5);
    // Every program but the warden's is this test's own.
    let digest = base::sha256(&std::fs::read(std::env::current_exe().unwrap()).unwrap());
    let same = seen.programs.iter().filter(|p| p.digest == digest).count();
    assert_eq!(same, 4);
    assert_eq!(seen.places.len(), 3);
}

/// The one order that looks at others: this process holds a socket that was never bound, which nobody else can see.
fn sockets(control: &Control) {
    let own = std::process::id();
    let look = |pids: Vec<u32>| match give(control, Operation::Sockets { pids: List::clip(pids) }) {
        Response::Sockets { sockets, hidden } => (sockets.into_inner(), hidden.into_inner()),
        other => panic!("{other:?}"),
    };
    assert_eq!(look(vec![own]).0, []);
    let held = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let (seen, hidden) = look(vec![own, u32::MAX]);
    // Without root nobody looks into a process that another started.
    assert!(hidden.is_empty() || !super::separated());
    if hidden.is_empty() {
        let seen: Vec<_> = seen.iter().map(|s| (s.pid, &*s.protocol)).collect();
        assert_eq!(seen, [(own, "UDP")]);
    }
    drop(held);
}
