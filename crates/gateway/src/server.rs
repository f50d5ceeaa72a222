//! The listener and the life of the process.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use base::config::Config;
use base::id::EventId;
use net::ca::{NodeCa, Purpose};
use net::identity::LaterKnown;
use net::lease::Leases;
use net::listener::{Bounds, Listener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use crate::error::GatewayError;
use crate::limits::{
    BODY_BUDGET_KIB, CONNECTIONS_MAX, DRAIN_TIMEOUT, HANDSHAKE_TIMEOUT, HEADER_MAX, HEADER_TIMEOUT,
    HEADERS_MAX,
};
use crate::policy::Policies;
use crate::record::Recorder;
use crate::refused::Refused;
use crate::{clock, push, routes};

/// What clients may hold. Many of them may come through one address, so that has no share of its own.
const BOUNDS: Bounds = Bounds {
    connections: CONNECTIONS_MAX,
    of_one: CONNECTIONS_MAX,
    handshake: HANDSHAKE_TIMEOUT,
    head: HEADER_TIMEOUT,
    head_bytes: HEADER_MAX,
    head_fields: HEADERS_MAX,
    drain: DRAIN_TIMEOUT,
};

/// How often the counts of refused access are looked at.
const REFUSED_CHECK: Duration = Duration::from_secs(1);

/// What every request sees.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) policies: Policies,
    pub(crate) leases: Leases,
    /// Services that keys may be bound to.
    pub(crate) services: Arc<LaterKnown>,
    pub(crate) recorder: Recorder,
    pub(crate) refused: Refused,
    /// Memory for bodies, in KiB.
    pub(crate) memory: Semaphore,
    pub(crate) answered: AtomicU64,
    pub(crate) refusals: AtomicU64,
}

/// Whose the process is in which a gateway runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// The gateway's own: it gives up the network, but for its listener, for good.
    Own,
    /// Somebody's who goes on to connect, as a test does. Nothing of the product runs it so.
    Shared,
}

/// Serves until SIGTERM or SIGINT, then ends what is under way and returns.
///
/// # Errors
/// [`GatewayError`], before anything is served.
pub fn run(config: Config, process: Process) -> Result<(), GatewayError> {
    if process == Process::Own {
        // While there is one thread. It is called, and calls nobody by the network.
        host::seal::connects_nowhere()?;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(GatewayError::System)?;
    let result = runtime.block_on(serve(config, process));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(config: Config, process: Process) -> Result<(), GatewayError> {
    let file = |path: std::path::PathBuf| move |source| GatewayError::File { path, source };
    let dir = config.gateway_dir();
    let ca = NodeCa::open(Purpose::Gateway, &dir, &config.node, config.mode, clock::now())?;
    let services = Arc::new(LaterKnown::default());
    let clients: Arc<dyn net::identity::ClientCertVerifier> = Arc::clone(&services) as _;
    let listener =
        Listener::bind(&config.gateway.listen, &[&config.node], ca, Some(clients), clock::now, BOUNDS)
            .await?;
    let address = listener.address();
    if process == Process::Own {
        // No other socket of the network will be made.
        host::seal::makes_no_sockets()?;
    }

    let recorder = Recorder::start(config.keeper_socket()).map_err(GatewayError::System)?;
    let policy_socket = push::bind(&config.gateway_socket()).map_err(file(config.gateway_socket()))?;
    let listen_file = dir.join("listen");
    net::ca::replace(&listen_file, format!("{address}\n").as_bytes(), 0o644)
        .map_err(file(listen_file.clone()))?;

    let shared = Arc::new(Shared {
        config,
        policies: Policies::default(),
        leases: Leases::new(EventId::new(clock::now(), clock::random()).bits(), clock::tick),
        services,
        recorder,
        refused: Refused::default(),
        memory: Semaphore::new(BODY_BUDGET_KIB),
        answered: AtomicU64::new(0),
        refusals: AtomicU64::new(0),
    });
    let pushes = tokio::spawn(push::serve(policy_socket, Arc::clone(&shared)));
    let counts = tokio::spawn(tell_refused(Arc::clone(&shared)));
    let mut terminate = signal(SignalKind::terminate()).map_err(GatewayError::System)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(GatewayError::System)?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let asked = Arc::clone(&shared);
    listener.serve(stop, move |client, request| routes::answer(Arc::clone(&asked), client, request)).await;
    counts.abort();
    for event in shared.refused.rest() {
        shared.recorder.soon(event);
    }
    // Answers were given: their records must not end with this process.
    shared.recorder.drained().await;
    pushes.abort();
    Ok(())
}

/// Hands over the counts of refused access as their windows end.
async fn tell_refused(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(REFUSED_CHECK).await;
        for event in shared.refused.due(clock::now()) {
            shared.recorder.soon(event);
        }
    }
}
