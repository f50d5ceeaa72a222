//! A TLS 1.3 listener for HTTP/1.1: renews its certificate, bounds what clients may hold, and ends in order.

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::Timestamp;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::ca::{CaError, NodeCa, Renewing};
use crate::limits::{ACCEPT_PAUSE, RENEW_CHECK};
use crate::timed::Timed;
use crate::tls::server_config_renewing;

/// What clients may hold, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections at once; beyond that they wait in the kernel's queue.
    pub connections: usize,
    /// Connections at once of one IPv4 address or one IPv6 /64; beyond that they are closed unanswered.
    pub of_one: usize,
    /// A TLS handshake must be complete within this time.
    pub handshake: Duration,
    /// A request's head must be complete within this time; also how long an idle connection is kept.
    pub head: Duration,
    /// Longest request head, in bytes; at least 8 KiB.
    pub head_bytes: usize,
    /// Most header fields of a request.
    pub head_fields: usize,
    /// Requests under way may take this long after the order to end.
    pub drain: Duration,
}

/// A listener cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address.
    #[error("cannot listen on `{address}`")]
    Bind {
        /// Which.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its certificate.
    #[error("cannot make the listener's certificate")]
    Ca(#[from] CaError),
    /// The TLS library.
    #[error("cannot configure TLS")]
    Tls(#[from] crate::tls::TlsError),
}

impl base::Explain for ListenError {
    fn code(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "SR-NET-0050",
            Self::Ca(inner) => inner.code(),
            Self::Tls(inner) => inner.code(),
        }
    }
    fn fault(&self) -> base::Fault {
        base::Fault::Operator
    }
    fn help(&self) -> Option<base::Help> {
        Some("see what the machine lacks with `strongroom doctor`")
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// The certificate that it presented, verified in the handshake.
    pub certificate: Option<CertificateDer<'static>>,
}

/// A socket that listens, with its certificate.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    config: Arc<rustls::ServerConfig>,
    renewal: Renewal,
    bounds: Bounds,
}

impl Listener {
    /// Listens on `listen` (address and port; port 0 lets the kernel choose) with certificates of `ca` for that
    /// address, the loopback names and `known_as`. With `clients`, certificates of clients are asked for and checked.
    ///
    /// # Errors
    /// [`ListenError`].
    pub async fn bind(
        listen: &str,
        known_as: &[&str],
        ca: NodeCa,
        clients: Option<Arc<dyn ClientCertVerifier>>,
        clock: fn() -> Timestamp,
        bounds: Bounds,
    ) -> Result<Self, ListenError> {
        let refuse = |source| ListenError::Bind { address: listen.to_owned(), source };
        let socket = TcpListener::bind(listen).await.map_err(refuse)?;
        let address = socket.local_addr().map_err(refuse)?;
        let names = names(known_as, address);
        let now = clock();
        let certificate = Renewing::new(ca.issue(&names, now)?, now);
        let config = server_config_renewing(Arc::clone(&certificate) as _, clients)?;
        let renewal = Renewal { ca, certificate, names, clock };
        Ok(Self { socket, address, config, renewal, bounds })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` resolves; what is under way then has [`Bounds::drain`] to end, and is cut after that.
    pub async fn serve<S, F, B>(self, stop: impl Future<Output = ()>, service: S)
    where
        S: Fn(Arc<Client>, Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Self { socket, config, renewal, bounds, .. } = self;
        let (leave, left) = watch::channel(false);
        let places = Places::new(bounds);
        let acceptor = TlsAcceptor::from(config);
        let accept = async {
            loop {
                // Beyond the limit, connections wait in the kernel's queue.
                let Ok(place) = Arc::clone(&places.all).acquire_owned().await else { return };
                let Ok((stream, peer)) = socket.accept().await else {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                };
                let Some(seat) = places.seat(peer.ip(), place) else { continue };
                let connection =
                    serve_one((stream, seat), acceptor.clone(), bounds, service.clone(), left.clone());
                drop(tokio::spawn(connection));
            }
        };
        tokio::select! {
            () = accept => {}
            () = renewal.run() => {}
            () = stop => {}
        }
        drop(socket);
        leave.send_replace(true);
        let all = u32::try_from(bounds.connections).unwrap_or(u32::MAX);
        // What is not done by then is cut with the runtime.
        drop(tokio::time::timeout(bounds.drain, places.all.acquire_many(all)).await);
    }
}

/// What the certificate vouches for: the address listened on, the loopback names and those that it is known by.
fn names(known_as: &[&str], address: SocketAddr) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    names.extend(known_as.iter().map(|&name| name.to_owned()));
    let ip = address.ip();
    if !ip.is_unspecified() {
        names.push(ip.to_string());
    }
    names.sort();
    names.dedup();
    names
}

/// Replaces the certificate before it ends.
#[derive(Debug)]
struct Renewal {
    ca: NodeCa,
    certificate: Arc<Renewing>,
    names: Vec<String>,
    clock: fn() -> Timestamp,
}

impl Renewal {
    async fn run(self) {
        loop {
            tokio::time::sleep(RENEW_CHECK).await;
            let now = (self.clock)();
            // A failure is tried again a minute later; 20 minutes of validity are left for that.
            if self.certificate.is_due(now)
                && let Ok(fresh) = self.ca.issue(&self.names, now)
            {
                self.certificate.replace(fresh, now);
            }
        }
    }
}

/// One connection. Errors end it and concern nobody else.
async fn serve_one<S, F, B>(
    (stream, seat): (TcpStream, Seat),
    acceptor: TlsAcceptor,
    bounds: Bounds,
    service: S,
    mut left: watch::Receiver<bool>,
) where
    S: Fn(Arc<Client>, Request<Incoming>) -> F + Send,
    F: Future<Output = Response<B>> + Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let handshake = acceptor.accept(Timed::new(stream));
    let Ok(Ok(stream)) = tokio::time::timeout(bounds.handshake, handshake).await else { return };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).cloned();
    let client = Arc::new(Client { address: seat.address, certificate });
    let service = service_fn(move |request| {
        let answer = service(Arc::clone(&client), request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(bounds.head)
            .max_headers(bounds.head_fields)
            .max_buf_size(bounds.head_bytes)
            .serve_connection(TokioIo::new(stream), service)
    );
    tokio::select! {
        ended = connection.as_mut() => drop(ended),
        _ = left.changed() => {
            connection.as_mut().graceful_shutdown();
            drop(connection.await);
        }
    }
    drop(seat);
}

/// The places for connections: in all, and of one client.
#[derive(Debug)]
struct Places {
    all: Arc<Semaphore>,
    of_one: usize,
    held: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A place that is taken; given back when it is dropped.
#[derive(Debug)]
struct Seat {
    address: IpAddr,
    held: Arc<Mutex<HashMap<IpAddr, usize>>>,
    _place: OwnedSemaphorePermit,
}

fn locked(held: &Mutex<HashMap<IpAddr, usize>>) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What counts as one client: an IPv4 address, or the /64 that one IPv6 subscriber has (RFC 6177).
pub fn one(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

impl Places {
    fn new(bounds: Bounds) -> Self {
        Self {
            all: Arc::new(Semaphore::new(bounds.connections)),
            of_one: bounds.of_one,
            held: Arc::default(),
        }
    }

    /// A seat for this client, unless it has all that one may have.
    fn seat(&self, address: IpAddr, place: OwnedSemaphorePermit) -> Option<Seat> {
        let mut held = locked(&self.held);
        let count = held.entry(one(address)).or_default();
        if *count >= self.of_one {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Seat { address, held: Arc::clone(&self.held), _place: place })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut held = locked(&self.held);
        let key = one(self.address);
        match held.get_mut(&key) {
            Some(count) if *count > 1 => *count = count.saturating_sub(1),
            _ => drop(held.remove(&key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(connections: usize, of_one: usize) -> Places {
        let second = Duration::from_secs(1);
        Places::new(Bounds {
            connections,
            of_one,
            handshake: second,
            head: second,
            head_bytes: 8192,
            head_fields: 8,
            drain: second,
        })
    }

    fn take(places: &Places, address: &str) -> Option<Seat> {
        let place = Arc::clone(&places.all).try_acquire_owned().unwrap();
        places.seat(address.parse().unwrap(), place)
    }

    #[test]
    fn one_client_cannot_take_the_places_of_others() {
        let places = places(8, 2);
        let seats = [take(&places, "192.0.2.1"), take(&places, "192.0.2.1")];
        assert!(seats.iter().all(Option::is_some));
        assert!(take(&places, "192.0.2.1").is_none());
        assert!(take(&places, "::ffff:192.0.2.1").is_none(), "the same address in its other form");
        let other = take(&places, "192.0.2.2");
        assert!(other.is_some());
        assert_eq!(places.all.available_permits(), 5, "who is turned away holds no place");
        drop((seats, other));
        assert_eq!(places.all.available_permits(), 8);
        assert!(locked(&places.held).is_empty(), "nothing is kept of who is gone");
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_client() {
        let places = places(8, 1);
        let first = take(&places, "2001:db8:0:1::1");
        assert!(first.is_some() && take(&places, "2001:db8:0:1:ffff::2").is_none());
        assert!(take(&places, "2001:db8:0:2::1").is_some());
    }
}
