//! The gateway from the outside: real TLS, real keys, a real model process, and what must be refused.
//!
//! The keeper is stood in for by `RecordingKeeper`, which only answers `Hello` and `Append` and keeps the events:
//! here the question is what the gateway hands over and when, not what the keeper does with it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    reason = "a test ends by panicking"
)]

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base::config::Config;
use base::id::{KeyId, ReceiptId};
use link::Listener;
use net::apikey::ApiKey;
use net::https::{Target, connect, post, request};
use net::{Call, block_on};
use ops::event::{Event, EventKind};
use ops::keeper::{Request, Response};
use ops::snapshot::{Endpoint, Key, MacKey, Snapshot};
use ops::{List, Text};

const NODE_KEY: [u8; 32] = [42; 32];

#[derive(Default)]
struct RecordingKeeper(Mutex<Vec<Event>>);

impl RecordingKeeper {
    fn start(path: &Path) -> Arc<Self> {
        let this = Arc::new(Self::default());
        let listener = Listener::bind(path, 0o666).unwrap();
        let keeper = Arc::clone(&this);
        std::thread::spawn(move || {
            while let Ok((conn, _)) = listener.accept() {
                while let Ok((bytes, _)) = conn.recv(ops::MESSAGE_MAX, 0) {
                    let answer = match ops::from_bytes::<Request>(&bytes).unwrap() {
                        Request::Hello { .. } => Response::Welcome {},
                        Request::Append { events } => {
                            let mut all = keeper.0.lock().unwrap();
                            let first = u64::try_from(all.len()).unwrap();
                            all.extend(events.into_inner());
                            Response::Appended { first }
                        }
                        other => panic!("the gateway asked {other:?}"),
                    };
                    conn.send(&ops::to_bytes(&answer), &[]).unwrap();
                }
            }
        });
        this
    }

    fn count(&self, kind: EventKind) -> usize {
        self.0.lock().unwrap().iter().filter(|event| event.kind == kind).count()
    }
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The built program beside this test's own.
fn runtime_program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join("strongroom-runtime");
    assert!(program.exists(), "build it first: cargo build -p strongroom-runtime ({})", program.display());
    program
}

struct Node {
    dir: tempfile::TempDir,
    config: Config,
    keeper: Option<Arc<RecordingKeeper>>,
    _runtime: Process,
    target: Target,
}

#[expect(clippy::disallowed_methods, reason = "a test waits for real processes")]
fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        if let Some(value) = ready() {
            return value;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("no {what}");
}

impl Node {
    fn start(with_keeper: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(dir.path()).unwrap());
        let text = format!(
            "version = 1\nmode = \"dev\"\nnode = \"dev\"\nstate = \"{0}\"\nprograms = \"{0}\"\n[users]\nkeeper = {uid}\n\
             control = {uid}\ngateway = {uid}\noperator = {uid}\n[gateway]\nlisten = \"127.0.0.1:0\"\n[jobs]\n",
            dir.path().display()
        );
        let config = Config::parse("test", &text).unwrap();
        std::fs::create_dir_all(config.endpoints_dir()).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/tests/export_model.py");
        let done = Command::new("/usr/bin/python3").arg(script).arg(dir.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let listener = UnixListener::bind(config.endpoints_dir().join("end_1.sock")).unwrap();
        let runtime = Command::new("/bin/sh")
            .arg("-c")
            .arg("exec 3<&0 0</dev/null; exec \"$0\" serve --model \"$1\" --name m")
            .arg(runtime_program())
            .arg(dir.path().join("model"))
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .spawn()
            .unwrap();
        let keeper = with_keeper.then(|| RecordingKeeper::start(&config.keeper_socket()));
        let running = config.clone();
        std::thread::spawn(move || strongroom_gateway::run(running).unwrap());
        let address: SocketAddr = until("listen file", || {
            std::fs::read_to_string(config.gateway_dir().join("listen")).ok()?.trim().parse().ok()
        });
        let ca = std::fs::read_to_string(config.ca_file()).unwrap();
        let target = Target::new(address, "localhost", &ca).unwrap();
        Self { dir, config, keeper, _runtime: Process(runtime), target }
    }

    fn push(&self, generation: u64, keys: Vec<Key>) -> Result<ops::snapshot::Ack, net::push::PushError> {
        let snapshot = Snapshot {
            generation,
            expires_ms: u64::MAX,
            key_mac_key: MacKey(NODE_KEY),
            keys: List::new(keys).unwrap(),
            endpoints: List::new(vec![endpoint(1, "acme"), endpoint(2, "globex")]).unwrap(),
        };
        block_on(net::push::push(&self.config.gateway_socket(), &snapshot)).unwrap()
    }

    fn infer(&self, key: &str, path: &str, body: &str) -> (u16, String, Option<String>) {
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

fn api_key(id: u128) -> ApiKey {
    ApiKey::new(KeyId::from_bits(id), [u8::try_from(id).unwrap(); 32])
}

fn stored(id: u128, per_minute: u32) -> Key {
    Key {
        id,
        mac: api_key(id).mac(&NODE_KEY),
        tenant: Text::clip("acme"),
        endpoint: 1,
        expires_ms: 0,
        revoked: false,
        requests_per_minute: per_minute,
        concurrency: 4,
    }
}

fn body(batch: usize, data: &str) -> String {
    format!(
        "{{\"id\":\"r1\",\"inputs\":[{{\"name\":\"input\",\"shape\":[{batch},1,8,8],\"datatype\":\"FP32\",\"data\":{data}}}]}}"
    )
}

const INFER: &str = "/v2/models/m/infer";

fn code(text: &str) -> String {
    let problem: serde_json::Value = serde_json::from_str(text).unwrap();
    assert!(problem["request_id"].as_str().unwrap().starts_with("evt_"), "{text}");
    problem["code"].as_str().unwrap().to_owned()
}

#[test]
fn answers_are_the_models_and_everything_else_is_refused() {
    let node = Node::start(true);
    let keeper = node.keeper.as_ref().unwrap();
    until("keeper", || block_on(request(&node.target, Call::get("/v2/health/live"))).unwrap().ok());
    let key = api_key(1).text();
    let cases: serde_json::Value =
        serde_json::from_slice(&std::fs::read(node.dir.path().join("cases.json")).unwrap()).unwrap();
    let case = &cases[1];
    let good = body(2, &case["input"].to_string());

    let (status, text, _) = node.infer(&key, INFER, &good);
    assert_eq!((status, code(&text).as_str()), (503, "SR-GWY-0100"), "no policy, no answer");
    let mut revoked = stored(3, 600);
    revoked.revoked = true;
    let keys = vec![stored(1, 6000), stored(2, 2), revoked];
    assert_eq!(node.push(5, keys.clone()).unwrap().generation, 5);
    assert!(node.push(5, keys).is_err(), "an old generation is refused");

    let (status, text, receipt) = node.infer(&key, INFER, &good);
    assert_eq!(status, 200, "{text}");
    assert_eq!(keeper.count(EventKind::InferenceAdmit), 1, "admission is durable before the answer");
    let receipt: ReceiptId = receipt.unwrap().parse().unwrap();
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    let ours = answer["outputs"][0]["data"].as_array().unwrap();
    let torch = case["logits"].as_array().unwrap();
    assert_eq!(ours.len(), torch.len());
    for (ours, torch) in ours.iter().zip(torch) {
        assert!((ours.as_f64().unwrap() - torch.as_f64().unwrap()).abs() < 1e-5);
    }
    until("record within a second", || (keeper.count(EventKind::Inference) == 1).then_some(()));
    let number = receipt.bits();
    assert!(keeper.0.lock().unwrap().iter().all(|event| event.correlation == number));

    let other = api_key(9).text();
    let forged = ApiKey::new(KeyId::from_bits(1), [0; 32]).text();
    let zeros = format!("[{}]", vec!["0"; 64].join(","));
    let nested = format!("[[{}]]", vec![format!("[{}]", ["0"; 8].join(",")); 8].join(","));
    assert_eq!(node.infer(&key, INFER, &body(1, &format!("[{nested}]"))).0, 200, "no: {nested}");
    for (key, path, sent, status, want) in [
        (other.as_str(), INFER, good.clone(), 401, "SR-GWY-0102"),
        (&forged, INFER, good.clone(), 401, "SR-GWY-0102"),
        (&api_key(3).text(), INFER, good.clone(), 401, "SR-GWY-0102"),
        ("", INFER, good.clone(), 401, "SR-GWY-0102"),
        (&key, "/v2/models/theirs/infer", good.clone(), 404, "SR-GWY-0103"),
        (&key, "/v2/models/none/infer", good.clone(), 404, "SR-GWY-0103"),
        (&key, "/v2/models/m/versions/2/infer", good.clone(), 404, "SR-GWY-0103"),
        (&key, "/v2/repository/index", good.clone(), 404, "SR-GWY-0103"),
        (&key, INFER, "x".repeat(65 * 1024), 413, "SR-GWY-0106"),
        (&key, INFER, "{".to_owned(), 400, "SR-GWY-0108"),
        (&key, INFER, String::new(), 400, "SR-GWY-0108"),
        (&key, INFER, body(2, &zeros), 400, "SR-GWY-0108"),
        (&key, INFER, body(0, "[]"), 400, "SR-GWY-0108"),
        (&key, INFER, body(1, "[[1],[2,3]]"), 400, "SR-GWY-0108"),
        (&key, INFER, body(1, "[1,true]"), 400, "SR-GWY-0108"),
        (&key, INFER, body(1, &zeros.replacen('0', "1e40", 1)), 400, "SR-GWY-0108"),
        (&key, INFER, body(1, &"[".repeat(10_000)), 400, "SR-GWY-0108"),
        (&key, INFER, good.replace("FP32", "FP64"), 400, "SR-GWY-0108"),
        (&key, INFER, good.replacen("\"id\"", "\"odd\"", 1), 400, "SR-GWY-0108"),
        (&key, INFER, good.replacen("{\"id\"", "{\"id\":\"a\",\"id\"", 1), 400, "SR-GWY-0108"),
        (&key, INFER, good.replace("[2,1,8,8]", "[2,1,8,-8]"), 400, "SR-GWY-0108"),
        (&key, INFER, good.replace("[2,1,8,8]", "[18446744073709551615,1,8,8]"), 400, "SR-GWY-0108"),
    ] {
        let (got, text, receipt) = node.infer(key, path, &sent);
        let start: String = sent.chars().take(60).collect();
        assert_eq!((got, code(&text).as_str()), (status, want), "{path} {start} {text}");
        assert_eq!(receipt, None);
    }

    let few = api_key(2).text();
    let statuses: Vec<u16> = (0..3).map(|_| node.infer(&few, INFER, &good).0).collect();
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(node.push(6, vec![stored(2, 600)]).unwrap().generation, 6);
    assert_eq!(node.infer(&key, INFER, &good).0, 401, "a key that left the policy is gone at once");
    tls(&node);
}

/// What the listener says to other versions, other authorities and no TLS at all.
fn tls(node: &Node) {
    let group = block_on(connect(&node.target)).unwrap().unwrap().1;
    assert_eq!(group, Some(net::tls::NamedGroup::X25519MLKEM768));
    let address = node.target.address.to_string();
    let openssl = |version: &str| {
        Command::new("openssl")
            .args(["s_client", "-connect", &address, version, "-verify_return_error", "-CAfile"])
            .arg(node.config.ca_file())
            .stdin(Stdio::null())
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(openssl("-tls1_3"));
    assert!(!openssl("-tls1_2"));
    let dir = tempfile::tempdir().unwrap();
    let now = base::Timestamp::from_millis(1_795_400_000_000);
    let stranger = net::ca::NodeCa::open(dir.path(), "dev", base::config::Mode::Dev, now).unwrap();
    let wrong = Target::new(node.target.address, "localhost", stranger.pem()).unwrap();
    assert!(block_on(connect(&wrong)).unwrap().is_err());
    let mut elsewhere = node.target.clone();
    elsewhere.name = "example.org".to_owned();
    assert!(block_on(connect(&elsewhere)).unwrap().is_err());
    let mut plain = std::net::TcpStream::connect(node.target.address).unwrap();
    plain.write_all(b"GET /v2 HTTP/1.1\r\n\r\n").unwrap();
    let mut all = Vec::new();
    let _ = plain.read_to_end(&mut all);
    assert!(!all.starts_with(b"HTTP"), "a plaintext request is not answered");
    assert!(net::ca::NodeCa::open(dir.path(), "dev", base::config::Mode::Production, now).is_err());
}

#[test]
fn without_the_audit_log_nothing_is_served() {
    let node = Node::start(false);
    node.push(1, vec![stored(1, 60)]).unwrap();
    let (status, text, _) = node.infer(&api_key(1).text(), INFER, &body(1, "[]"));
    assert_eq!((status, code(&text).as_str()), (503, "SR-GWY-0101"));
}
