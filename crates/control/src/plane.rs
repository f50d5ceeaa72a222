//! The management plane on the network: the same API as on the local socket, over TLS 1.3.
//!
//! Nobody who comes this way is the operator: a caller is who its key or its client certificate says.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use base::Timestamp;
use base::config::Config;
use base::names::Name;
use login::passkey::Site;
use net::ca::{NodeCa, Purpose};
use net::identity::{IdentityError, Services};
use net::listener::{Bounds, Listener};

use crate::clock::now;
use crate::http::{LEAVE_WAIT, Peer, respond};
use crate::node::Node;
use crate::{Fail, RunError};

/// What clients may hold, and for how long. Bodies are bounded where requests are read, on both ways alike.
const BOUNDS: Bounds = Bounds {
    // Each may hold a read buffer of `head_bytes` and TLS records of at most 16 KiB either way: 25 MiB in all.
    connections: 512,
    // Eight addresses together can fill the plane, one cannot.
    of_one: 64,
    handshake: Duration::from_secs(5),
    head: Duration::from_secs(10),
    head_bytes: 16 * 1024,
    head_fields: 64,
    drain: LEAVE_WAIT,
};

/// What the rest of control knows of the plane.
#[derive(Debug)]
pub(crate) struct Plane {
    /// `https://` address.
    pub(crate) url: String,
    /// Certificate authority of the listener, in PEM: whom clients trust.
    pub(crate) authority: String,
    /// The authority of services, workloads and the node.
    pub(crate) services: Arc<Services>,
    /// The site that passkeys are made for, or why there is none.
    pub(crate) site: Result<Site, &'static str>,
}

/// The authority of services, workloads and the node. It is there without a plane, too: jobs are known by it elsewhere.
pub(crate) fn authority(config: &Config) -> Result<Arc<Services>, Fail> {
    let name: Name = config.node.parse().map_err(|e| Fail::internal("the node's name cannot be", e))?;
    Services::open(&config.control_dir().join("services"), &name, config.mode, now())
        .map(Arc::new)
        .map_err(|e: IdentityError| Fail::explained(500, &e))
}

/// Listens where the configuration says, with an authority of the plane's own, and says so in files for its clients.
pub(crate) async fn open(
    config: &Config,
    services: &Arc<Services>,
) -> Result<Option<(Plane, Listener)>, RunError> {
    let dir = config.management_dir();
    let told = config.management_listen_file();
    // The last run's address would look like this run's.
    match std::fs::remove_file(&told) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Fail::storage("the address of the last run could not be removed", error).into());
        }
        _ => {}
    }
    let Some(management) = &config.management else { return Ok(None) };
    let ca = NodeCa::open(Purpose::Management, &dir, &config.node, config.mode, now())
        .map_err(|e| Fail::explained(500, &e))?;
    let authority = ca.pem().to_owned();
    let clock: fn() -> Timestamp = now;
    let host = config.passkey_host();
    let known_as: Vec<&str> = std::iter::once(&*config.node).chain(host).collect();
    let listener =
        Listener::bind(&management.listen, &known_as, ca, Some(services.verifier()), clock, BOUNDS)
            .await
            .map_err(RunError::Listen)?;
    let address = listener.address();
    let site = match host {
        Ok(host) => {
            let title = format!("Strongroom {}", config.node);
            Ok(Site::new(&title, host, address.port()).map_err(|e| Fail::explained(500, &e))?)
        }
        Err(why) => Err(why),
    };
    net::ca::replace(&told, format!("{address}\n").as_bytes(), 0o644)
        .map_err(|e| Fail::storage("the address of the management plane could not be told", e))?;
    Ok(Some((
        Plane { url: format!("https://{address}"), authority, services: Arc::clone(services), site },
        listener,
    )))
}

/// Serves until `stop` resolves.
pub(crate) async fn serve(node: Arc<Node>, listener: Listener, stop: impl Future<Output = ()>) {
    let service = move |client, request: hyper::Request<hyper::body::Incoming>| {
        respond(Arc::clone(&node), Peer::Remote(client), request.map(Body::new))
    };
    listener.serve(stop, service).await;
}
