use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::Duration;

use link::{Client, Conn, KeeperClient};
use ops::event::{Event, EventKind, Outcome, Phase};
use ops::keeper::Role;
use ops::warden::{
    Call, EndCause, EnvVar, Exit, FeatureState, Image, Input, InputKind, Limits, Operation, Profile, Program,
    Response, RunKind,
};
use ops::{List, Text};

use super::porter::manifest;

const TIMEOUT: Duration = Duration::from_secs(20);

pub(super) struct Control {
    keeper: KeeperClient,
    warden: Client,
}

impl Control {
    /// Gives an order with a receipt.
    pub(super) fn order(&self, operation: Operation) -> (Response, Vec<OwnedFd>) {
        let digest = base::sha256(&ops::to_bytes(&operation));
        let event = Event::new(EventKind::WardenOrder, Phase::Intent, Outcome::Unknown, 0, 1);
        let receipt = self.keeper.authorise(digest, event).unwrap();
        self.send(&Call { correlation: 1, receipt: Some(receipt), operation })
    }

    pub(super) fn bare(&self, operation: Operation) -> (Response, Vec<OwnedFd>) {
        self.send(&Call { correlation: 1, receipt: None, operation })
    }

    fn send(&self, call: &Call) -> (Response, Vec<OwnedFd>) {
        let (bytes, fds) = self.warden.call(&ops::to_bytes(call), &[], ops::FDS_MAX).unwrap();
        (ops::from_bytes(&bytes).unwrap(), fds)
    }

    pub(super) fn done(&self, operation: Operation) -> Vec<OwnedFd> {
        let name = operation.name();
        match self.order(operation) {
            (Response::Done {}, fds) => fds,
            (other, _) => panic!("{name}: {other:?}"),
        }
    }
}

#[track_caller]
fn refused(answer: (Response, Vec<OwnedFd>), code: &str) {
    match answer.0 {
        Response::Refused { code: got, detail } => assert_eq!(&*got, code, "{detail}"),
        other => panic!("not refused: {other:?}"),
    }
    assert!(answer.1.is_empty());
}

pub(super) fn start_porter(run: u128, expected: &[u8]) -> Operation {
    let input = |kind| Input { kind, bytes: 4096, files: 1, manifest: manifest(expected) };
    Operation::StartPorter {
        run,
        tenant: Text::clip("acme"),
        kind: RunKind::Training,
        limits: Limits {
            memory_bytes: 256 << 20,
            image_bytes: 0,
            cpu_milli: 1000,
            pids: 64,
            scratch_bytes: 16 << 20,
        },
        inputs: List::clip(vec![
            input(InputKind::Code {}),
            input(InputKind::Channel { name: Text::clip("training") }),
        ]),
    }
}

pub(super) fn start(run: u128, script: &str, wall_time_s: u32) -> Operation {
    let env = EnvVar { name: Text::clip("PATH"), value: Text::clip("/usr/bin") };
    Operation::Start {
        run,
        image: Image::Host {},
        program: Program::Command { argv: List::clip(["sh", "-c", script].map(Text::clip).to_vec()) },
        env: List::clip(vec![env]),
        cwd: Text::clip("/opt/ml/code"),
        profile: Profile::Training,
        wall_time_s,
        egress: false,
    }
}

pub(super) fn text(conn: &Conn) -> String {
    String::from_utf8(conn.recv(4096, 0).unwrap().0).unwrap()
}

pub(super) fn exit(pipe: Vec<OwnedFd>) -> Exit {
    let file = std::fs::File::from(pipe.into_iter().next().unwrap());
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut { file }, &mut bytes).unwrap();
    ops::from_bytes(&bytes).unwrap()
}

/// Porter started and both inputs frozen.
pub(super) fn ready(control: &Control, run: u128) -> Conn {
    let mut fds = control.done(start_porter(run, b"verified"));
    let porter = Conn::from_fd(fds.remove(0)).unwrap();
    porter.set_timeout(Some(TIMEOUT)).unwrap();
    assert_eq!(text(&porter), "filled");
    control.done(Operation::FreezeMount { run, input: 0 });
    control.done(Operation::FreezeMount { run, input: 1 });
    porter
}

fn judge() {
    let run_dir = super::state().join("run");
    let control = Control {
        keeper: KeeperClient::connect(&run_dir.join("keeper.sock"), Role::Control, TIMEOUT).unwrap(),
        warden: Client::connect(&run_dir.join("warden.sock"), TIMEOUT).unwrap(),
    };
    assert_eq!(rustix::process::geteuid().as_raw(), super::config().users.control);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    assert!(status.contains("CapEff:\t0000000000000000") && status.contains("NoNewPrivs:\t1"));

    // Without a receipt, or with a used one, nothing happens.
    refused(control.bare(start_porter(1, b"verified")), "SR-WRD-0001");
    let (Response::Features { features }, _) = control.bare(Operation::Probe {}) else {
        panic!("no features")
    };
    assert!(features.iter().any(|f| &*f.name == "landlock" && f.state == FeatureState::Enforced));

    super::states::judge(&control);
    whole_life(&control);
    serving(&control);
    other_ends(&control);
}

/// Starts a run that serves the endpoint; gives the pipe on which its end will be told.
fn serve(control: &Control, run: u128) -> Vec<OwnedFd> {
    let model = Input { kind: InputKind::Model {}, bytes: 4096, files: 1, manifest: manifest(b"verified") };
    let mut fds = control.done(Operation::StartPorter {
        run,
        tenant: Text::clip("acme"),
        kind: RunKind::Serving,
        limits: Limits {
            memory_bytes: 256 << 20,
            image_bytes: 0,
            cpu_milli: 1000,
            pids: 64,
            scratch_bytes: 0,
        },
        inputs: List::clip(vec![model]),
    });
    let porter = Conn::from_fd(fds.remove(0)).unwrap();
    assert_eq!(text(&porter), "filled");
    control.done(Operation::FreezeMount { run, input: 0 });
    control.done(Operation::Start {
        run,
        image: Image::Host {},
        program: Program::Runtime { endpoint: super::runtime::ENDPOINT, name: Text::clip("digits") },
        env: List::default(),
        cwd: Text::clip("/"),
        profile: Profile::Inference,
        wall_time_s: 20,
        egress: false,
    })
}

/// An endpoint that only the gateway reaches; its program is the platform's own, by descriptor.
fn serving(control: &Control) {
    let end = exit(serve(control, 5));
    let reached = std::fs::read_dir(super::state().join("run/endpoints")).is_ok();
    assert!(!reached || !super::separated(), "control sees the endpoints");
    assert_eq!((end.cause, end.code), (EndCause::Exited, 21), "{end:?}");

    // What a control that was killed left behind is ended by the next that serves at the same socket, and a run that
    // was never started by the end of its porter.
    assert!(matches!(control.bare(Operation::Counters { run: 5 }).0, Response::Counters { .. }));
    let second = serve(control, 6);
    refused(control.bare(Operation::Counters { run: 5 }), "SR-WRD-0002");
    let third = serve(control, 7);
    assert_eq!(exit(second).cause, EndCause::Signalled, "the former server lives on");
    refused(control.bare(Operation::Counters { run: 6 }), "SR-WRD-0002");
    control.done(Operation::Destroy { run: 7 });
    assert_eq!(exit(third).cause, EndCause::Signalled);
    drop(control.done(start_porter(8, b"verified")));
    let gone = || matches!(control.bare(Operation::Counters { run: 8 }).0, Response::Refused { .. });
    let waited = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        gone()
    });
    assert!(waited, "a run without a porter keeps its place");
}

/// A run from its porter to its end.
fn whole_life(control: &Control) {
    let mut fds = control.done(start_porter(1, b"verified"));
    let porter = Conn::from_fd(fds.remove(0)).unwrap();
    porter.set_timeout(Some(TIMEOUT)).unwrap();
    assert_eq!(text(&porter), "filled");
    refused(control.order(start_porter(1, b"verified")), "SR-WRD-0002");
    refused(control.order(start(1, "true", 10)), "SR-WRD-0002");
    control.done(Operation::FreezeMount { run: 1, input: 0 });
    refused(control.order(Operation::FreezeMount { run: 1, input: 0 }), "SR-WRD-0002");
    refused(control.order(Operation::FreezeMount { run: 1, input: 9 }), "SR-WRD-0002");
    control.done(Operation::FreezeMount { run: 1, input: 1 });
    refused(control.bare(Operation::HashMount { run: 1, input: 9 }), "SR-WRD-0002");
    assert!(matches!(control.bare(Operation::HashMount { run: 1, input: 0 }).0, Response::Done {}));
    refused(control.order(start(1, "no-such-program-at-all", 0)), "SR-WRD-0003");
    let mut pinned = start(1, "true", 10);
    if let Operation::Start { image, .. } = &mut pinned {
        *image = Image::Pinned {};
    }
    refused(control.order(pinned), "SR-WRD-0003");
    let mut two = start_porter(9, b"verified");
    if let Operation::StartPorter { inputs, .. } = &mut two {
        let one = Input { kind: InputKind::Image {}, bytes: 4096, files: 1, manifest: manifest(b"x") };
        *inputs = List::clip(vec![one.clone(), one]);
    }
    refused(control.order(two), "SR-WRD-0003");
    let script = "cat data /opt/ml/input/data/training/data; echo x > /opt/ml/model/m; exit 3";
    let pipe = control.done(start(1, script, 30));
    refused(control.order(start(1, "true", 10)), "SR-WRD-0002");
    let end = exit(pipe);
    assert_eq!((end.cause, end.code), (EndCause::Exited, 3));
    assert_eq!(text(&porter), "printed verifiedverified");
    control.done(Operation::Destroy { run: 1 });
    assert!(porter.recv(64, 0).is_err(), "the porter lives on");
}

/// Wrong bytes, kill, wall time, freeze, report.
fn other_ends(control: &Control) {
    let mut fds = control.done(start_porter(2, b"other bytes"));
    let porter = Conn::from_fd(fds.remove(0)).unwrap();
    assert_eq!(text(&porter), "filled");
    refused(control.order(Operation::FreezeMount { run: 2, input: 0 }), "SR-WRD-0004");
    refused(control.order(start(2, "true", 10)), "SR-WRD-0002");
    control.done(Operation::Destroy { run: 2 });

    let porter = ready(control, 3);
    let pipe = control.done(start(3, "sleep 600", 30));
    let (Response::Features { features }, _) = control.bare(Operation::Report { run: 3 }) else {
        panic!("report")
    };
    // Without root some protections cannot be: then they must be reported so, and no other may be missing.
    let missing =
        ["user.own_range", "memory.noswap", "limit.memory", "limit.pids", "limit.cpu", "limit.devices"];
    for feature in features.iter() {
        let may_miss = !super::separated() && missing.contains(&&*feature.name);
        assert_eq!(feature.state != FeatureState::Enforced, may_miss, "{} {}", feature.name, feature.detail);
    }
    if super::separated() {
        assert!(matches!(
            control.bare(Operation::Counters { run: 3 }).0,
            Response::Counters { pids: 2.., .. }
        ));
        assert!(matches!(control.bare(Operation::Freeze { run: 3 }).0, Response::Done {}));
        control.done(Operation::Thaw { run: 3 });
    }
    assert!(matches!(control.bare(Operation::Kill { run: 3 }).0, Response::Done {}));
    let end = exit(pipe);
    assert_eq!((end.cause, end.code), (EndCause::Signalled, 9));
    control.done(Operation::Destroy { run: 3 });
    drop(porter);

    let _porter = ready(control, 4);
    let end = exit(control.done(start(4, "sleep 600", 1)));
    assert_eq!(end.cause, EndCause::WallTime);
    // Left to the end of the node.
}

/// Control gives its orders and writes its verdict; gateway and relay do nothing.
pub(crate) fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("gateway") {
        super::runtime::ask();
        std::thread::sleep(Duration::from_secs(3600));
        return ExitCode::SUCCESS;
    }
    if std::env::args().nth(1).as_deref() == Some("relay") {
        std::thread::sleep(Duration::from_secs(3600));
        return ExitCode::SUCCESS;
    }
    let verdict = super::state().join("control/verdict");
    let judged = std::panic::catch_unwind(judge);
    let said = if judged.is_ok() { "ok" } else { "an assertion of control failed" };
    let fresh = verdict.with_extension("new");
    std::fs::write(&fresh, said).unwrap();
    std::fs::rename(fresh, verdict).unwrap();
    std::thread::sleep(Duration::from_secs(3600));
    ExitCode::SUCCESS
}
