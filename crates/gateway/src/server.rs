//! The listener and the life of the process.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use base::config::Config;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use net::ca::{NodeCa, Renewing};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::error::GatewayError;
use crate::limits::{
    BODY_BUDGET_KIB, CONNECTIONS_MAX, DRAIN_TIMEOUT, HANDSHAKE_TIMEOUT, HEADER_MAX, HEADER_TIMEOUT,
    HEADERS_MAX,
};
use crate::policy::Policies;
use crate::record::Recorder;
use crate::refused::Refused;
use crate::timed::Timed;
use crate::{clock, push, routes};

/// How often the certificate's age is looked at.
const RENEW_CHECK: Duration = Duration::from_secs(60);

/// How often the counts of refused access are looked at.
const REFUSED_CHECK: Duration = Duration::from_secs(1);

/// What every request sees.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) policies: Policies,
    pub(crate) recorder: Recorder,
    pub(crate) refused: Refused,
    /// Memory for bodies, in KiB.
    pub(crate) memory: Semaphore,
    pub(crate) answered: AtomicU64,
    pub(crate) refusals: AtomicU64,
}

/// Serves until SIGTERM or SIGINT, then ends what is under way and returns.
///
/// # Errors
/// [`GatewayError`], before anything is served.
pub fn run(config: Config) -> Result<(), GatewayError> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(GatewayError::System)?;
    let result = runtime.block_on(serve(config));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(config: Config) -> Result<(), GatewayError> {
    let file = |path: std::path::PathBuf| move |source| GatewayError::File { path, source };
    let dir = config.gateway_dir();
    let ca = NodeCa::open(&dir, &config.node, config.mode, clock::now())?;
    let listener = TcpListener::bind(&config.gateway.listen)
        .await
        .map_err(|source| GatewayError::Listen { address: config.gateway.listen.clone(), source })?;
    let address = listener.local_addr().map_err(GatewayError::System)?;
    let names = names(&config, address);
    let now = clock::now();
    let certificate = Renewing::new(ca.issue(&names, now)?, now);
    let acceptor = TlsAcceptor::from(net::tls::server_config_renewing(Arc::clone(&certificate) as _)?);

    let recorder = Recorder::start(config.keeper_socket()).map_err(GatewayError::System)?;
    let policy_socket = push::bind(&config.gateway_socket()).map_err(file(config.gateway_socket()))?;
    let listen_file = dir.join("listen");
    net::ca::replace(&listen_file, format!("{address}\n").as_bytes(), 0o644)
        .map_err(file(listen_file.clone()))?;

    let shared = Arc::new(Shared {
        config,
        policies: Policies::default(),
        recorder,
        refused: Refused::default(),
        memory: Semaphore::new(BODY_BUDGET_KIB),
        answered: AtomicU64::new(0),
        refusals: AtomicU64::new(0),
    });
    let pushes = tokio::spawn(push::serve(policy_socket, Arc::clone(&shared)));
    let counts = tokio::spawn(tell_refused(Arc::clone(&shared)));
    let renewal = tokio::spawn(renew(ca, certificate, names));
    let mut terminate = signal(SignalKind::terminate()).map_err(GatewayError::System)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(GatewayError::System)?;
    let (stop, stopped) = watch::channel(false);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::select! {
        () = accept(&listener, &acceptor, &shared, &places, &stopped) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    drop(listener);
    stop.send_replace(true);
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    // What is not done by then is cut.
    drop(tokio::time::timeout(DRAIN_TIMEOUT, places.acquire_many(all)).await);
    counts.abort();
    for event in shared.refused.rest() {
        shared.recorder.soon(event);
    }
    // Answers were given: their records must not end with this process.
    shared.recorder.drained().await;
    pushes.abort();
    renewal.abort();
    Ok(())
}

/// What the certificate vouches for: the address listened on, and the loopback names.
fn names(config: &Config, address: SocketAddr) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), config.node.clone()];
    let ip = address.ip();
    if !ip.is_unspecified() {
        names.push(ip.to_string());
    }
    names.sort();
    names.dedup();
    names
}

async fn renew(ca: NodeCa, certificate: Arc<Renewing>, names: Vec<String>) {
    loop {
        tokio::time::sleep(RENEW_CHECK).await;
        let now = clock::now();
        // A failure is tried again a minute later; 20 minutes of validity are left for that.
        if certificate.is_due(now)
            && let Ok(fresh) = ca.issue(&names, now)
        {
            certificate.replace(fresh, now);
        }
    }
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

async fn accept(
    listener: &TcpListener,
    acceptor: &TlsAcceptor,
    shared: &Arc<Shared>,
    places: &Arc<Semaphore>,
    stopped: &watch::Receiver<bool>,
) {
    loop {
        // Beyond the limit, connections wait in the kernel's queue.
        let Ok(place) = Arc::clone(places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let client = Client { stream, peer: peer.ip(), place };
                let connection =
                    serve_connection(client, acceptor.clone(), Arc::clone(shared), stopped.clone());
                drop(tokio::spawn(connection));
            }
            // Out of descriptors, most likely: wait for some to be given back.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// One connection.
struct Client {
    stream: TcpStream,
    peer: IpAddr,
    place: OwnedSemaphorePermit,
}

/// One client. Errors end its connection and concern nobody else.
async fn serve_connection(
    client: Client,
    acceptor: TlsAcceptor,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) {
    let Client { stream, peer, place } = client;
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let handshake = acceptor.accept(Timed::new(stream));
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await else { return };
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, io::Error>(routes::answer(shared, peer, request).await) }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEADER_MAX)
            .serve_connection(TokioIo::new(stream), service)
    );
    tokio::select! {
        ended = connection.as_mut() => drop(ended),
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            drop(connection.await);
        }
    }
    drop(place);
}
