//! CPU time that one request costs the gateway, beside nginx as a bare TLS 1.3 proxy in the same run: same client,
//! same bodies, same number of requests, rounds interleaved. The model's process and nginx's backend are threads of
//! this program, so that they cost neither side.
//!
//! `gateway_bench STRONGROOM STRONGROOM_KEEPER [REQUESTS]`; the keeper writes the real log, its CPU time is shown too.
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base::config::Config;
use base::id::KeyId;
use net::apikey::ApiKey;
use net::client::Connection;
use net::https::{Target, connect};
use net::{Call, block_on};
use ops::inference::{
    DType, FRAME_HEADER, Metadata, Request, Response, Tensor, TensorSpec, frame_len, from_frame, to_frame,
};
use ops::lease::{Grant, Grants};
use ops::snapshot::{Endpoint, Key, MacKey, Snapshot};
use ops::{List, Text};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const NODE_KEY: [u8; 32] = [42; 32];
const CLIENTS: u32 = 8;
/// Bytes of answers that the key is granted ahead, as control does.
const LEASE: u64 = 8 << 20;
const ROUNDS: u32 = 5;
const WARM_UP: u32 = 50;
/// Numbers in a request; 784 are the pixels of an MNIST image.
const SMALL: usize = 16;
const IMAGE: usize = 784;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        drop(self.0.wait());
    }
}

impl Running {
    /// CPU time of the process so far, in microseconds; the kernel counts in hundredths of a second.
    fn cpu_us(&self) -> Outcome<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let fields = stat.rsplit_once(')').ok_or("no such process")?.1;
        let ticks = fields.split_whitespace().skip(11).take(2).map(|t| t.parse::<f64>().unwrap_or(f64::NAN));
        Ok(ticks.sum::<f64>() * 10_000.0)
    }
}

fn main() -> Outcome<()> {
    let mut words = std::env::args_os().skip(1);
    let usage = "usage: gateway_bench STRONGROOM STRONGROOM_KEEPER [REQUESTS]";
    let strongroom = PathBuf::from(words.next().ok_or(usage)?);
    let keeper = PathBuf::from(words.next().ok_or(usage)?);
    let requests = words.next().map_or(Ok(4000), |n| n.to_string_lossy().parse())?;
    let dir = std::env::temp_dir().join(format!("gateway-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let outcome = measure(&strongroom, &keeper, &dir, requests);
    std::fs::remove_dir_all(&dir)?;
    outcome
}

fn measure(strongroom: &Path, keeper: &Path, dir: &Path, requests: u32) -> Outcome<()> {
    let node = Node::start(strongroom, keeper, dir)?;
    let (nginx, through_nginx) = start_nginx(dir)?;
    println!(
        "{CLIENTS} connections, {ROUNDS} interleaved rounds of {requests} requests; median of the rounds"
    );
    println!(
        "{:<34} {:>11} {:>10} {:>7} {:>11} {:>9} {:>9}",
        "CPU us a request", "strongroom", "nginx", "ratio", "(keeper)", "req/s", "goal"
    );
    let bearer = format!("Bearer {}", key().text());
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let small = body(SMALL);
    let image = body(IMAGE);
    let kinds = [
        ("model's metadata, nothing inspected", None, "<= 45"),
        ("inference of 16 numbers, inspected", Some(&small), "<= 90"),
        ("inference of an image, inspected", Some(&image), "<= 90"),
    ];
    for (name, body, goal) in kinds {
        let load = Load { headers: &headers, body, requests };
        let (mut ours, mut peers, mut log, mut rate) = (vec![], vec![], vec![], vec![]);
        for _ in 0..ROUNDS {
            let keeper_before = node.keeper.cpu_us()?;
            let (cpu, per_second) = load.run(&node.target, &node.gateway)?;
            ours.push(cpu);
            rate.push(per_second);
            log.push((node.keeper.cpu_us()? - keeper_before) / f64::from(requests));
            peers.push(load.run(&through_nginx, &nginx)?.0);
        }
        let ratio = median(ours.iter().zip(&peers).map(|(a, b)| a / b).collect());
        let (ours, peers, log, rate) = (median(ours), median(peers), median(log), median(rate));
        println!("{name:<34} {ours:>11.1} {peers:>10.1} {ratio:>7.2} {log:>11.1} {rate:>9.0} {goal:>9}");
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// Waits for what another process makes.
fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> Outcome<T> {
    for _ in 0..1000 {
        if let Some(value) = ready() {
            return Ok(value);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(format!("no {what} within 10 s").into())
}

// ---- The load ----

struct Load<'a> {
    headers: &'a [(&'a str, &'a str)],
    /// None: a `GET` of the model's metadata.
    body: Option<&'a String>,
    requests: u32,
}

impl Load<'_> {
    /// CPU microseconds of `process` for each request, and requests a second.
    fn run(&self, target: &Target, process: &Running) -> Outcome<(f64, f64)> {
        block_on(async {
            let mut connections = Vec::new();
            for _ in 0..CLIENTS {
                connections.push(connect(target).await?.0);
            }
            // One thread drives all of them, one after another in turn: the order of answers costs nothing here.
            let mut spare = Vec::new();
            for connection in connections {
                spare.push(self.calls(connection, WARM_UP).await?);
            }
            let (before, start) = (process.cpu_us()?, now());
            let each = self.requests / CLIENTS;
            let mut all = Vec::new();
            for connection in spare {
                all.push(self.calls(connection, each));
            }
            join(all).await?;
            let (cpu, seconds) = (process.cpu_us()? - before, start.elapsed().as_secs_f64());
            let count = f64::from(each * CLIENTS);
            Ok((cpu / count, count / seconds))
        })?
    }

    async fn calls(&self, mut connection: Connection, count: u32) -> Outcome<Connection> {
        for _ in 0..count {
            let call = match self.body {
                Some(body) => Call::post("/v2/models/m/infer", self.headers, body.clone().into_bytes()),
                None => Call { headers: self.headers, ..Call::get("/v2/models/m") },
            };
            let reply = connection.call(call).await?;
            if reply.status != 200 {
                return Err(format!("status {}", reply.status).into());
            }
            reply.bytes(1 << 20).await?;
        }
        Ok(connection)
    }
}

/// Runs all of them at once on this thread.
async fn join<F: Future<Output = Outcome<Connection>>>(all: Vec<F>) -> Outcome<()> {
    let mut open: Vec<_> = all.into_iter().map(|one| Some(Box::pin(one))).collect();
    std::future::poll_fn(|cx| {
        for slot in &mut open {
            let Some(one) = slot else { continue };
            match one.as_mut().poll(cx) {
                std::task::Poll::Ready(Ok(_)) => *slot = None,
                std::task::Poll::Ready(Err(error)) => return std::task::Poll::Ready(Err(error)),
                std::task::Poll::Pending => {}
            }
        }
        if open.iter().all(Option::is_none) {
            std::task::Poll::Ready(Ok(()))
        } else {
            std::task::Poll::Pending
        }
    })
    .await
}

fn body(numbers: usize) -> String {
    let data: Vec<String> = (0..numbers).map(|i| format!("0.{:03}", (i * 37) % 1000)).collect();
    format!(
        "{{\"inputs\":[{{\"name\":\"x\",\"shape\":[{numbers}],\"datatype\":\"FP32\",\"data\":[{}]}}]}}",
        data.join(",")
    )
}

fn key() -> ApiKey {
    ApiKey::new(KeyId::from_bits(1), [1; 32])
}

// ---- Our side ----

struct Node {
    keeper: Running,
    gateway: Running,
    target: Target,
}

impl Node {
    fn start(strongroom: &Path, keeper: &Path, dir: &Path) -> Outcome<Self> {
        let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(dir)?);
        let text = format!(
            "version = 1\nmode = \"dev\"\nnode = \"bench\"\nstate = \"{0}\"\nprograms = \"{0}\"\n[users]\n\
             keeper = {uid}\ncontrol = {uid}\ngateway = {uid}\nrelay = {uid}\noperator = {uid}\n[gateway]\n\
             listen = \"127.0.0.1:0\"\n[jobs]\n",
            dir.join("state").display()
        );
        let config = Config::parse("bench", &text)?;
        let file = dir.join("node.toml");
        std::fs::write(&file, text)?;
        std::fs::create_dir_all(config.endpoints_dir())?;
        let keeper = Running(Command::new(keeper).arg("--config").arg(&file).spawn()?);
        until("keeper", || link::Conn::connect(&config.keeper_socket()).ok())?;
        serve_model(&config.endpoints_dir().join("end_1.sock"))?;
        let gateway = Running(Command::new(strongroom).args(["gateway", "--config"]).arg(&file).spawn()?);
        let address: SocketAddr =
            until("gateway", || std::fs::read_to_string(config.listen_file()).ok()?.trim().parse().ok())?;
        block_on(net::push::push(&config.gateway_socket(), snapshot()?))??;
        let socket = config.gateway_socket();
        drop(std::thread::spawn(move || grant(&socket)));
        let target = Target::new(address, "localhost", &std::fs::read_to_string(config.ca_file())?)?;
        Ok(Self { keeper, gateway, target })
    }
}

fn snapshot() -> Outcome<Snapshot> {
    let endpoint = Endpoint {
        id: 1,
        tenant: Text::clip("acme"),
        name: Text::clip("m"),
        socket: Text::clip("end_1.sock"),
        model_digest: base::sha256(b"model"),
        bom_digest: base::sha256(b"bom"),
        model: Text::clip("m"),
        version: Text::clip("1"),
        body_max: 1 << 20,
    };
    let key = Key {
        id: 1,
        mac: key().mac(&NODE_KEY),
        tenant: Text::clip("acme"),
        service: Text::default(),
        endpoint: 1,
        expires_ms: 0,
        revoked: false,
        requests_per_minute: u32::MAX,
        concurrency: 64,
    };
    Ok(Snapshot {
        generation: 1,
        expires_ms: u64::MAX,
        key_mac_key: MacKey(NODE_KEY),
        services: Text::default(),
        keys: List::new(vec![key])?,
        endpoints: List::new(vec![endpoint])?,
    })
}

/// Grants the key what control does where no cap is near, as long as the gateway answers.
fn grant(socket: &Path) {
    let (mut seq, mut boot, mut grants) = (0u64, 0, Vec::new());
    loop {
        seq += 1;
        let said = Grants { seq, boot, grants: List::clip(std::mem::take(&mut grants)) };
        let Ok(Ok(uses)) = block_on(net::push::lease(socket, said)) else { return };
        boot = uses.boot;
        let lacking = uses.uses.iter().filter(|told| told.asked > told.left || told.left < LEASE / 2);
        grants.extend(lacking.map(|told| Grant {
            key: told.key,
            bytes: LEASE,
            low: LEASE / 2,
            refused: false,
        }));
    }
}

fn serve_model(path: &Path) -> Outcome<()> {
    let listener = UnixListener::bind(path)?;
    drop(std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            // A connection that breaks shows as a failed request.
            drop(std::thread::spawn(move || model(stream)));
        }
    }));
    Ok(())
}

/// Takes any row of numbers, gives ten.
fn model(mut stream: UnixStream) -> Outcome<()> {
    let spec = |name: &str, shape| -> Outcome<TensorSpec> {
        Ok(TensorSpec { name: Text::clip(name), dtype: DType::Fp32, shape: List::new(vec![shape])? })
    };
    let metadata = Metadata {
        name: Text::clip("m"),
        inputs: List::new(vec![spec("x", None)?])?,
        outputs: List::new(vec![spec("y", Some(10))?])?,
    };
    let outputs = vec![Tensor::new("y", DType::Fp32, vec![10], vec![0; 40])?];
    let outputs = to_frame(&Response::Outputs { tensors: List::new(outputs)? })?;
    let described = to_frame(&Response::Described { metadata })?;
    loop {
        let mut header = [0; FRAME_HEADER];
        stream.read_exact(&mut header)?;
        let mut message = vec![0; frame_len(header)?];
        stream.read_exact(&mut message)?;
        match from_frame::<Request>(&message)? {
            Request::Describe {} => stream.write_all(&described)?,
            Request::Infer { .. } => stream.write_all(&outputs)?,
        }
    }
}

// ---- The peer ----

/// nginx with a certificate of its own, TLS 1.3 and kept connections to its backend, as one process.
fn start_nginx(dir: &Path) -> Outcome<(Running, Target)> {
    let at = |name: &str| dir.join(name);
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "1",
        ])
        .args(["-subj", "/CN=peer", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(at("peer.key"))
        .arg("-out")
        .arg(at("peer.pem"))
        .stderr(Stdio::null())
        .status()?;
    if !made.success() {
        return Err("openssl made no certificate".into());
    }
    serve_http(&at("backend.sock"))?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let user = Command::new("id").arg("-un").output()?.stdout;
    std::fs::write(
        at("nginx.conf"),
        format!(
            "daemon off; master_process off; user {user}; pid {dir}/nginx.pid; error_log {dir}/error.log;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off; client_body_buffer_size 1m; keepalive_requests 100000000;\n\
             client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;\n\
             uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
             upstream backend {{ server unix:{dir}/backend.sock; keepalive 16; keepalive_requests 100000000; }}\n\
             server {{ listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.3;\n\
             ssl_certificate {dir}/peer.pem; ssl_certificate_key {dir}/peer.key;\n\
             location / {{ proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}\n",
            user = String::from_utf8_lossy(&user).trim(),
            dir = dir.display()
        ),
    )?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(dir).arg("-c").arg(at("nginx.conf")).stderr(Stdio::null());
    let process = Running(command.spawn()?);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    until("nginx", || std::net::TcpStream::connect(address).ok())?;
    Ok((process, Target::new(address, "localhost", &std::fs::read_to_string(at("peer.pem"))?)?))
}

fn serve_http(path: &Path) -> Outcome<()> {
    let listener = UnixListener::bind(path)?;
    drop(std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            drop(std::thread::spawn(move || backend(stream)));
        }
    }));
    Ok(())
}

/// Answers every request with a document of the size that the gateway's answers have.
fn backend(mut stream: UnixStream) -> Outcome<()> {
    let document = format!(
        "{{\"model_name\":\"m\",\"model_version\":\"1\",\"outputs\":[{{\"name\":\"y\",\"shape\":[10],\
         \"datatype\":\"FP32\",\"data\":[{}]}}]}}",
        ["0.0"; 10].join(",")
    );
    let length = document.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{document}"
    );
    let (mut have, mut block) = (Vec::new(), vec![0u8; 64 * 1024]);
    loop {
        let end = have.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(have.get(..end).unwrap_or_default()).to_ascii_lowercase();
            let length = head.split("content-length:").nth(1).and_then(|rest| rest.lines().next());
            let length: usize = length.map_or(Ok(0), |length| length.trim().parse())?;
            let whole = end + 4 + length;
            if have.len() >= whole {
                have.drain(..whole);
                stream.write_all(answer.as_bytes())?;
                continue;
            }
        }
        let read = stream.read(&mut block)?;
        if read == 0 {
            return Ok(());
        }
        have.extend_from_slice(block.get(..read).unwrap_or_default());
    }
}
