//! A gateway with what stands around it: a keeper, a model, a policy.
//!
//! The keeper is stood in for by [`RecordingKeeper`], which only answers `Hello` and `Append` and keeps the events:
//! here the question is what the gateway hands over and when, not what the keeper does with it.

#![allow(dead_code, reason = "not every test file uses all of it")]

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base::config::Config;
use base::id::KeyId;
use link::{Conn, Listener};
use net::apikey::ApiKey;
use net::block_on;
use net::https::{Target, post};
use ops::event::{Event, EventKind};
use ops::inference::{
    DType, FRAME_HEADER, Metadata, Request as Ask, Response as Answer, Tensor, TensorSpec, frame_len,
    from_frame, to_frame,
};
use ops::keeper::{Request, Response};
use ops::lease::{Grant, Grants};
use ops::snapshot::{Endpoint, Key, MacKey, Snapshot};
use ops::{List, Text};

const NODE_KEY: [u8; 32] = [42; 32];
pub(crate) const INFER: &str = "/v2/models/m/infer";

#[derive(Default)]
pub(crate) struct RecordingKeeper {
    events: Mutex<Vec<Event>>,
    open: Mutex<Vec<Conn>>,
}

impl RecordingKeeper {
    /// Listens; to be called again after [`Self::die`].
    pub(crate) fn listen(self: &Arc<Self>, path: &Path) {
        let listener = Listener::bind(path, 0o666).unwrap();
        let keeper = Arc::clone(self);
        std::thread::spawn(move || {
            while let Ok((conn, _)) = listener.accept() {
                keeper.open.lock().unwrap().push(conn.try_clone().unwrap());
                let keeper = Arc::clone(&keeper);
                std::thread::spawn(move || keeper.serve(&conn));
            }
        });
    }

    fn serve(&self, conn: &Conn) {
        while let Ok((bytes, _)) = conn.recv(ops::MESSAGE_MAX, 0) {
            let answer = match ops::from_bytes::<Request>(&bytes).unwrap() {
                Request::Hello { .. } => Response::Welcome {},
                Request::Append { events } => {
                    let mut all = self.events.lock().unwrap();
                    let first = u64::try_from(all.len()).unwrap();
                    all.extend(events.into_inner());
                    Response::Appended { first }
                }
                other => panic!("the gateway asked {other:?}"),
            };
            if conn.send(&ops::to_bytes(&answer), &[]).is_err() {
                return;
            }
        }
    }

    /// Is gone: its socket and every connection with it.
    pub(crate) fn die(&self, path: &Path) {
        std::fs::remove_file(path).unwrap();
        self.open.lock().unwrap().drain(..).for_each(|conn| conn.shutdown());
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, kind: EventKind) -> usize {
        self.events().iter().filter(|event| event.kind == kind).count()
    }
}

pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        drop(self.0.wait());
    }
}

/// The built program beside this test's own.
pub(crate) fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join(name);
    assert!(program.exists(), "build it first: cargo build --workspace ({})", program.display());
    program
}

#[expect(clippy::disallowed_methods, reason = "a test waits for real processes")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let start = now();
    while start.elapsed() < Duration::from_secs(20) {
        if let Some(value) = ready() {
            return value;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("no {what}");
}

/// What answers.
pub(crate) enum Model {
    /// `strongroom-runtime` with a model of torch.
    Torch,
    /// A thread that takes any row of numbers as `x` and gives its first as `y`.
    Row,
}

pub(crate) struct Node {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) config: Config,
    pub(crate) keeper: Option<Arc<RecordingKeeper>>,
    pub(crate) gateway: Option<Process>,
    pub(crate) target: Target,
    pub(crate) ca: String,
    /// How many bytes of answers are granted in all.
    pub(crate) cap: Arc<AtomicU64>,
    _runtime: Option<Process>,
}

impl Node {
    /// With the gateway as a thread of the test.
    pub(crate) fn start(model: &Model, with_keeper: bool) -> Self {
        Self::with(model, with_keeper, |config, _| {
            std::thread::spawn(move || {
                strongroom_gateway::run(config, strongroom_gateway::Process::Shared).unwrap();
            });
            None
        })
    }

    /// With the gateway as the real process.
    pub(crate) fn process(model: &Model) -> Self {
        Self::with(model, true, |_, file| {
            let mut command = Command::new(program("strongroom"));
            Some(Process(command.args(["gateway", "--config"]).arg(file).spawn().unwrap()))
        })
    }

    fn with(
        model: &Model,
        with_keeper: bool,
        gateway: impl FnOnce(Config, &Path) -> Option<Process>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(dir.path()).unwrap());
        let text = format!(
            "version = 1\nmode = \"dev\"\nnode = \"dev\"\nstate = \"{0}\"\nprograms = \"{0}\"\n[users]\nkeeper = {uid}\n\
             control = {uid}\ngateway = {uid}\nrelay = {uid}\noperator = {uid}\n[gateway]\nlisten = \"127.0.0.1:0\"\n[jobs]\n",
            dir.path().display()
        );
        let config = Config::parse("test", &text).unwrap();
        let file = dir.path().join("strongroom.toml");
        std::fs::write(&file, text).unwrap();
        std::fs::create_dir_all(config.endpoints_dir()).unwrap();
        let listener = UnixListener::bind(config.endpoints_dir().join("end_1.sock")).unwrap();
        let runtime = match model {
            Model::Torch => Some(torch(listener, dir.path())),
            Model::Row => {
                std::thread::spawn(move || rows(&listener));
                None
            }
        };
        let keeper = with_keeper.then(Arc::<RecordingKeeper>::default);
        if let Some(keeper) = &keeper {
            keeper.listen(&config.keeper_socket());
        }
        let gateway = gateway(config.clone(), &file);
        let address: SocketAddr = until("listen file", || {
            std::fs::read_to_string(config.gateway_dir().join("listen")).ok()?.trim().parse().ok()
        });
        let ca = std::fs::read_to_string(config.ca_file()).unwrap();
        let target = Target::new(address, "localhost", &ca).unwrap();
        let cap = Arc::new(AtomicU64::new(u64::MAX));
        let (socket, most) = (config.gateway_socket(), Arc::clone(&cap));
        std::thread::spawn(move || grant(&socket, &most));
        Self { dir, config, keeper, gateway, target, ca, cap, _runtime: runtime }
    }

    pub(crate) fn push(
        &self,
        generation: u64,
        keys: Vec<Key>,
    ) -> Result<ops::snapshot::Ack, net::push::PushError> {
        let snapshot = Snapshot {
            generation,
            expires_ms: u64::MAX,
            key_mac_key: MacKey(NODE_KEY),
            services: Text::default(),
            keys: List::new(keys).unwrap(),
            endpoints: List::new(vec![endpoint(1, "acme"), endpoint(2, "globex")]).unwrap(),
        };
        block_on(net::push::push(&self.config.gateway_socket(), snapshot)).unwrap()
    }

    /// Waits until the gateway has its line to the keeper, which it takes up beside everything else.
    pub(crate) fn settle(&self) {
        let ready =
            || block_on(net::https::request(&self.target, net::Call::get("/v2/health/ready"))).unwrap();
        until("line of the gateway to the keeper", || (ready().unwrap().status == 200).then_some(()));
    }

    pub(crate) fn infer(&self, key: &str, path: &str, body: &str) -> (u16, String, Option<String>) {
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        block_on(async {
            let reply = post(&self.target, path, &headers, body.as_bytes().to_vec()).await.unwrap();
            let (status, receipt) = (reply.status, reply.header("strongroom-receipt").map(str::to_owned));
            (status, String::from_utf8(reply.bytes(1 << 24).await.unwrap()).unwrap(), receipt)
        })
        .unwrap()
    }
}

/// The real runtime, with the listener as descriptor 3, as the warden does.
fn torch(listener: UnixListener, dir: &Path) -> Process {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/tests/export_model.py");
    let done = Command::new("/usr/bin/python3").arg(script).arg(dir).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg("exec 3<&0 0</dev/null; exec \"$0\" serve --model \"$1\" --name m");
    command.arg(program("strongroom-runtime")).arg(dir.join("model"));
    Process(command.stdin(Stdio::from(OwnedFd::from(listener))).spawn().unwrap())
}

fn rows(listener: &UnixListener) {
    while let Ok((stream, _)) = listener.accept() {
        std::thread::spawn(move || row(stream));
    }
}

fn row(mut stream: UnixStream) -> std::io::Result<()> {
    let spec = |name: &str| TensorSpec {
        name: Text::clip(name),
        dtype: DType::Fp32,
        shape: List::new(vec![None]).unwrap(),
    };
    loop {
        let mut header = [0; FRAME_HEADER];
        stream.read_exact(&mut header)?;
        let mut body = vec![0; frame_len(header).unwrap()];
        stream.read_exact(&mut body)?;
        let answer = match from_frame::<Ask>(&body).unwrap() {
            Ask::Describe {} => Answer::Described {
                metadata: Metadata {
                    name: Text::clip("m"),
                    inputs: List::new(vec![spec("x")]).unwrap(),
                    outputs: List::new(vec![spec("y")]).unwrap(),
                },
            },
            Ask::Infer { tensors } => {
                let first = tensors.first().unwrap().bytes().get(..4).unwrap().to_vec();
                let y = Tensor::new("y", DType::Fp32, vec![1], first).unwrap();
                Answer::Outputs { tensors: List::new(vec![y]).unwrap() }
            }
        };
        stream.write_all(&to_frame(&answer).unwrap())?;
    }
}

/// Bytes that a key is granted ahead.
const LEASE: u64 = 4096;

/// Grants keys what they lack, as control does, until so many bytes are granted.
fn grant(socket: &Path, most: &AtomicU64) {
    let (mut seq, mut boot, mut granted, mut grants) = (0, 0, 0u64, Vec::new());
    while socket.exists() {
        seq += 1;
        let said = Grants { seq, boot, grants: List::clip(std::mem::take(&mut grants)) };
        let Ok(uses) = block_on(net::push::lease(socket, said)).unwrap() else {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        boot = uses.boot;
        for told in uses.uses.iter().filter(|told| told.asked > told.left || told.left < LEASE / 2) {
            let need = told.asked.saturating_sub(told.left);
            let room = most.load(Ordering::SeqCst) - granted;
            let bytes = if need > room { 0 } else { need.max(LEASE).min(room) };
            let low = if bytes < LEASE { 0 } else { LEASE / 2 };
            grants.push(Grant { key: told.key, bytes, low, refused: need > room });
            granted += bytes;
        }
    }
}

fn endpoint(id: u128, tenant: &str) -> Endpoint {
    Endpoint {
        id,
        tenant: Text::clip(tenant),
        name: Text::clip(if id == 1 { "m" } else { "theirs" }),
        socket: Text::clip(&format!("end_{id}.sock")),
        model_digest: base::sha256(b"model"),
        bom_digest: base::sha256(b"bom"),
        model: Text::clip("m"),
        version: Text::clip("1"),
        body_max: 64 * 1024,
    }
}

pub(crate) fn api_key(id: u128) -> ApiKey {
    ApiKey::new(KeyId::from_bits(id), [u8::try_from(id).unwrap(); 32])
}

pub(crate) fn stored(id: u128, per_minute: u32) -> Key {
    Key {
        id,
        mac: api_key(id).mac(&NODE_KEY),
        tenant: Text::clip("acme"),
        service: Text::default(),
        endpoint: 1,
        expires_ms: 0,
        revoked: false,
        requests_per_minute: per_minute,
        concurrency: 4,
    }
}

pub(crate) fn code(text: &str) -> String {
    let problem: serde_json::Value = serde_json::from_str(text).unwrap();
    assert!(problem["request_id"].as_str().unwrap().starts_with("evt_"), "{text}");
    problem["code"].as_str().unwrap().to_owned()
}
