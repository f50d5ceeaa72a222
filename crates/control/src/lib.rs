//! **What.** `strongroom serve`: the API of a node, its registry of tenants, data, jobs, models, endpoints and
//! keys, and the supervision of what runs.
//!
//! **Why.** It parses what people and programs send and owns the state, so it has no privilege and no
//! key-encryption key: whoever breaks in can ask the keeper and the warden for closed operations, each logged
//! before it happens (controls AC-3, AC-5, AU-1, TR-1, TR-2, MB-1).
//!
//! **Where.** Started by the warden through the command line, under a user of its own. Entry point [`run`]; requests
//! go through `http`, jobs live in `jobs`. It must never parse a tenant's bytes: that is the porter's.
//!
//! **Invariants.** Every effect on an asset is an intent in the log, then the effect, then its outcome. What was
//! answered as done is durable. A tenant's request never reads another tenant's rows. A model is served only after
//! signature, Model BoM and bytes were verified.

mod auditlog;
mod auth;
mod boms;
mod clock;
mod datasets;
mod egress;
mod egresses;
mod endpoints;
mod fail;
mod hostfacts;
mod http;
mod images;
mod imports;
mod inspection;
mod intake;
mod jobs;
mod keeper;
mod keygroups;
mod keys;
mod log;
mod machine;
mod models;
mod node;
mod people;
mod plane;
mod policies;
mod posture;
mod recognition;
mod recovery;
mod relay;
mod releases;
mod revocations;
mod rollback;
mod run;
mod services;
mod shares;
mod status;
mod tenants;
mod trust;
mod warden;
mod workloads;

use std::sync::Arc;
use std::time::Duration;

use base::config::Config;
use ops::event::{Event, EventKind, Outcome, Phase};
use store::ObjectStore;
use store::records::{Object, Tenant};
use store::{PageRequest, StoreError};

pub use fail::Fail;

use crate::clock::now;
use crate::keeper::Keeper;
use crate::node::{Node, PublicKeys, correlation, local_key, open_meta, store_fail};
use crate::plane::Plane;
use crate::warden::Warden;

/// How long the keeper may take to come up.
const KEEPER_WAIT_MS: u64 = 10_000;
/// Threads for requests that wait for disks and other processes.
const REQUEST_THREADS: usize = 64;

/// Why `strongroom serve` ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The node's state could not be opened, or another process is missing.
    #[error("{}", .0.line())]
    Start(Fail),
    /// The socket could not be served.
    #[error("the API socket `{path}` cannot be served")]
    Socket {
        /// Where.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The management plane cannot listen.
    #[error(transparent)]
    Listen(net::listener::ListenError),
}

impl From<Fail> for RunError {
    fn from(fail: Fail) -> Self {
        Self::Start(fail)
    }
}

impl base::Explain for RunError {
    fn code(&self) -> &'static str {
        match self {
            Self::Start(_) => "SR-CTL-0020",
            Self::Socket { .. } => "SR-CTL-0021",
            Self::Listen(inner) => inner.code(),
        }
    }
    fn fault(&self) -> base::Fault {
        base::Fault::Operator
    }
    fn help(&self) -> Option<base::Help> {
        Some("see what is missing with `strongroom doctor`")
    }
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// [`RunError`].
pub fn run(config: Config) -> Result<(), RunError> {
    // While there is one thread. What listens makes no connections: those that it needs, the relay makes for it.
    let connects_nowhere = host::seal::connects_nowhere().map_err(|e| Fail::explained(500, &e))?;
    vault::sef::self_test().map_err(|e| Fail::explained(500, &e))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(REQUEST_THREADS)
        .enable_all()
        .build()
        .map_err(|source| RunError::Socket { path: "runtime".to_owned(), source })?;
    let services = plane::authority(&config)?;
    let (plane, network) = runtime.block_on(plane::open(&config, &services))?.unzip();
    // Its listener is bound, and no other socket of the network will be made.
    host::seal::makes_no_sockets().map_err(|e| Fail::explained(500, &e))?;
    let node = Arc::new(open(config, services, plane, connects_nowhere)?);
    announce(&node)?;
    sweep(&node)?;
    let granter = Arc::clone(&node);
    thread("relay-bytes", move || egress::keep_granting(&granter, egress::Sender::Relay))?;
    let renewer = Arc::clone(&node);
    thread("workload-certificates", move || workloads::keep_certified(&renewer))?;
    let restorer = Arc::clone(&node);
    // In safe mode there is no gateway, and nothing of a tenant goes on.
    if node.recovery.began_safe {
        thread("rest", move || {
            jobs::rest(&restorer);
            endpoints::rest(&restorer);
        })?;
    } else {
        let pusher = Arc::clone(&node);
        thread("gateway-policy", move || endpoints::keep_pushing(&pusher))?;
        let granter = Arc::clone(&node);
        thread("gateway-bytes", move || egress::keep_granting(&granter, egress::Sender::Gateway))?;
        thread("restore", move || {
            jobs::restore(&restorer);
            endpoints::restore(&restorer);
        })?;
    }
    if node.config.release.is_some() {
        let told = Arc::clone(&node);
        thread("release", move || releases::confirm(&told))?;
    }
    let path = node.config.control_socket();
    let socket = |source| RunError::Socket { path: path.display().to_string(), source };
    runtime.block_on(async {
        // What stands there is of a process that has ended: the warden starts one control at a time.
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(socket(error));
        }
        let listener = tokio::net::UnixListener::bind(&path).map_err(socket)?;
        // Who may do what is decided for each request; the socket itself only has to be reachable.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        std::fs::set_permissions(&path, mode).map_err(socket)?;
        log::line("serve", "ready");
        let told = Arc::clone(&node);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let leave = async move {
            shutdown().await;
            told.leaving.store(true, std::sync::atomic::Ordering::Release);
            drop(stop);
        };
        let remote = network.map(|network| {
            // It ends when the other end is dropped.
            let stop = async { stopped.await.unwrap_or_default() };
            tokio::spawn(plane::serve(Arc::clone(&node), network, stop))
        });
        let local = http::serve(Arc::clone(&node), listener, leave).await.map_err(socket);
        if let Some(remote) = remote {
            // Its requests had the same time to end.
            drop(remote.await);
        }
        local
    })?;
    // Requests that still wait for a job's events do not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(2));
    Ok(())
}

async fn shutdown() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Fail> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
        .map_err(|e| Fail::internal("no thread to start with", e))
}

fn open(
    config: Config,
    services: Arc<net::identity::Services>,
    plane: Option<Plane>,
    connects_nowhere: bool,
) -> Result<Node, Fail> {
    let keeper = Keeper::new(config.keeper_socket());
    let since = now();
    while let Err(fail) = keeper.status() {
        if now().millis_since(since) > KEEPER_WAIT_MS {
            return Err(fail);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let relay = Arc::new(relay::Relay::new(config.relay_socket()));
    let oidc = people::Oidc::open(&config, &relay)?;
    let dir = config.control_dir();
    let meta = open_meta(&keeper, &dir)?;
    rollback::check(&keeper, &meta, &dir)?;
    keeper.bind(meta.generation());
    let key_mac_key = ops::snapshot::MacKey(local_key(&keeper, &dir.join("api-keys.key"), "API key hashes")?);
    let (objects, swept) = ObjectStore::open(&dir.join("store")).map_err(store_fail)?;
    if swept > 0 {
        log::line("store", &format!("{swept} unfinished objects of an earlier run were removed"));
    }
    let keys = public_keys(&config)?;
    let recovery = recovery::Recovery::open(&keeper)?;
    let policies = policies::InForce::open(&meta, &keys.policy_pem)?;
    policies.report(&keeper)?;
    Ok(Node {
        warden: Warden::new(config.warden_socket()),
        keeper,
        meta,
        objects,
        facts: hostfacts::observe(),
        keys,
        key_mac_key,
        policies,
        recovery,
        refusals: auth::RefusalLog::default(),
        services,
        plane,
        imports: imports::Imports::default(),
        jobs: jobs::Jobs::default(),
        endpoints: endpoints::Endpoints::default(),
        posture: posture::LastRun::default(),
        granting: egress::Granting::default(),
        relaying: egress::Granting::default(),
        relay,
        connects_nowhere,
        gate: http::Gate::default(),
        rates: http::Rates::default(),
        repeats: http::Repeats::default(),
        seen: people::Seen::default(),
        logins: people::Attempts::default(),
        ceremonies: people::Ceremonies::default(),
        oidc,
        placing: node::Placing::default(),
        uploads: releases::Uploads::default(),
        surveys: std::sync::Mutex::default(),
        recognitions: recognition::Turns::default(),
        groups: keygroups::Groups::default(),
        registering: std::sync::Mutex::default(),
        leaving: std::sync::atomic::AtomicBool::new(false),
        config,
    })
}

fn public_keys(config: &Config) -> Result<PublicKeys, Fail> {
    let read = |name: &str| {
        std::fs::read(config.log_dir().join(name))
            .map_err(|e| Fail::unavailable(format!("the keeper has not published `{name}`"), e))
    };
    let pem = |name: &str| {
        String::from_utf8(read(name)?).map_err(|e| Fail::internal(format!("`{name}` is not PEM"), e))
    };
    let raw = read("checkpoint.pub")?;
    let text = String::from_utf8_lossy(&raw);
    let checkpoint = base::digest::unhex(text.trim())
        .and_then(|bytes| bytes.try_into().ok())
        .or_else(|| raw.clone().try_into().ok())
        .ok_or_else(|| Fail::internal("`checkpoint.pub` is not an Ed25519 key", "length"))?;
    Ok(PublicKeys {
        model_pem: pem("oms.pem")?,
        bom_pem: pem("bom.pem")?,
        policy_pem: pem("policy.pem")?,
        checkpoint,
    })
}

fn announce(node: &Node) -> Result<(), Fail> {
    let event = Event::new(
        EventKind::ComponentStart,
        Phase::Observed,
        Outcome::Success,
        now().as_millis(),
        correlation()?,
    )
    .asset("component", "control", None)
    .detail("version", env!("CARGO_PKG_VERSION"));
    node.keeper.append(event).map(drop)
}

/// Removes objects that no record names: they were placed and never acknowledged, and nobody has their keys.
fn sweep(node: &Node) -> Result<(), Fail> {
    let mut known = std::collections::BTreeSet::new();
    let mut request = PageRequest::default();
    loop {
        let page = node.meta.read(|tx| tx.list_all::<Object>(&request)).map_err(store_fail)?;
        known.extend(page.items.iter().map(|s| s.record.name));
        match page.next {
            Some(next) => request.after = Some(next),
            None => break,
        }
    }
    let unknown: Vec<_> =
        node.objects.names().map_err(store_fail)?.into_iter().filter(|name| !known.contains(name)).collect();
    let tenants = node.meta.read(|tx| tx.count_all::<Tenant>()).map_err(store_fail)?;
    if tenants == 0 && !unknown.is_empty() {
        return Err(Fail::internal(
            "the store has objects and the metadata database knows no tenant: it was lost or replaced",
            format!("{} objects; restore `metadata.db` from a backup", unknown.len()),
        ));
    }
    for name in unknown {
        match node.objects.discard(&name) {
            Ok(()) => log::line("store", &format!("object {name} was never acknowledged and is removed")),
            Err(StoreError::Missing { .. }) => {}
            Err(error) => return Err(store_fail(error)),
        }
    }
    Ok(())
}
