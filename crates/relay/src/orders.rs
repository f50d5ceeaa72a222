//! Orders of control: one thread for each of its connections, one order at a time.

use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base::Explain;
use base::config::Config;
use link::{Conn, Listener, PACKET_MAX};
use net::workload::Identity;
use ops::Text;
use ops::relay::{Answer, Destination, Egress, LOGIN_KEY, Order, PROBE_KEY, Purpose, Reach};
use tokio::runtime::Handle;

use crate::error::RelayError;
use crate::limits::ORDERERS_MAX;
use crate::table::{Run, Who};
use crate::{Shared, ask, flow, say};

/// Takes orders for as long as this process lives.
pub(crate) fn serve(shared: &Arc<Shared>, listener: &Listener, handle: &Handle) {
    let (serving, mut next) = (Arc::new(AtomicUsize::new(0)), 0u64);
    loop {
        let (conn, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                say(&base::error::chain(&error));
                std::thread::sleep(std::time::Duration::from_millis(100));
                continue;
            }
        };
        if peer.uid != shared.config.users.control {
            continue;
        }
        let place = Served(Arc::clone(&serving));
        if serving.fetch_add(1, Ordering::AcqRel) >= ORDERERS_MAX {
            say("control has as many connections to the relay as it may");
            continue;
        }
        next = next.saturating_add(1);
        let (by, shared, handle) = (next, Arc::clone(shared), handle.clone());
        let thread = std::thread::Builder::new().name("order".to_owned()).spawn(move || {
            converse(&shared, &conn, by, &handle);
            shared.table.close_of(by);
            drop(place);
        });
        if let Err(error) = thread {
            say(&format!("no thread for an order: {error}"));
        }
    }
}

struct Served(Arc<AtomicUsize>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Until the other side ends it, or says what is no order.
fn converse(shared: &Arc<Shared>, conn: &Conn, by: u64, handle: &Handle) {
    while let Ok((message, files)) = conn.recv(PACKET_MAX, 1) {
        let Ok(order) = ops::from_bytes::<Order>(&message) else {
            say("what came from control is no order");
            return;
        };
        let (answer, file) = match perform(shared, order, files, by, handle) {
            Ok(done) => done,
            Err(error) => {
                let detail = Text::clip(&base::error::chain(&error));
                (Answer::Refused { code: Text::clip(error.code()), detail }, None)
            }
        };
        let files: Vec<BorrowedFd<'_>> = file.iter().map(|file| file.as_fd()).collect();
        if conn.send(&ops::to_bytes(&answer), &files).is_err() {
            return;
        }
    }
}

fn perform(
    shared: &Arc<Shared>,
    order: Order,
    files: Vec<OwnedFd>,
    by: u64,
    handle: &Handle,
) -> Result<(Answer, Option<OwnedFd>), RelayError> {
    let takes = usize::from(matches!(order, Order::Open { .. }));
    if files.len() != takes {
        return Err(RelayError::Order("the order comes with another number of descriptors"));
    }
    match order {
        Order::Connect { purpose, host, port } => {
            let who = own(&shared.config, purpose, &host, port)?;
            let stream = handle.block_on(connect(shared, who))?;
            Ok((Answer::Done {}, Some(stream)))
        }
        Order::Open { run, tenant, actor, egresses } => {
            let Some(listener) = files.into_iter().next() else {
                return Err(RelayError::Order("the order comes without a socket"));
            };
            let _within = handle.enter();
            let egresses = egresses.into_inner();
            shared.table.add(run, &shared.leases, &egresses, || {
                let listener = listening(listener)?;
                let task = tokio::spawn(ask::accept(Arc::clone(shared), run, listener));
                let (tenant, actor) = (tenant.as_str().to_owned(), actor.as_str().to_owned());
                let (identity, listening) = (Arc::default(), task.abort_handle());
                Ok(Run { by, tenant, actor, egresses: egresses.clone(), identity, listening })
            })?;
            Ok((Answer::Done {}, None))
        }
        Order::Close { run } => {
            shared.table.close(run);
            Ok((Answer::Done {}, None))
        }
        Order::Revoke { key } => {
            shared.table.revoke(key);
            Ok((Answer::Done {}, None))
        }
        Order::Lease { grants } => {
            let uses = handle.block_on(shared.leases.exchange(grants, &shared.table));
            Ok((Answer::Uses { uses }, None))
        }
        Order::Identify { run } => {
            let request = named(shared, run)?.ask()?;
            let request = Text::new(request).map_err(|_| RelayError::Order("a request is too long"))?;
            Ok((Answer::Asked { request }, None))
        }
        Order::Certify { run, certificate } => {
            named(shared, run)?.take(&certificate)?;
            Ok((Answer::Done {}, None))
        }
    }
}

/// Who a run is, where the relay speaks in its name.
fn named(shared: &Shared, run: u128) -> Result<Arc<Identity>, RelayError> {
    shared.table.identity(run).ok_or(RelayError::Order("the run has no egress in its name"))
}

/// A socket that listens on the loopback of its own network, and no other.
fn listening(socket: OwnedFd) -> Result<tokio::net::TcpListener, RelayError> {
    const NOT: RelayError = RelayError::Order("the descriptor is no socket that listens on a loopback");
    let kind = rustix::net::sockopt::socket_type(&socket).map_err(|_| NOT)?;
    let listens = rustix::net::sockopt::socket_acceptconn(&socket).map_err(|_| NOT)?;
    let listener = TcpListener::from(socket);
    let loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    if kind != rustix::net::SocketType::STREAM || !listens || !loopback {
        return Err(NOT);
    }
    let set_up = RelayError::at("listen for a sandbox");
    listener.set_nonblocking(true).map_err(set_up)?;
    tokio::net::TcpListener::from_std(listener).map_err(RelayError::at("listen for a sandbox"))
}

/// What control itself wants, if the configuration of the node says so.
fn own(config: &Config, purpose: Purpose, host: &Text<253>, port: u16) -> Result<Who, RelayError> {
    let (name, key, allowed) = match purpose {
        Purpose::Login => {
            let known = config.login.oidc.as_ref().map(base::config::Oidc::destinations).unwrap_or_default();
            ("login", LOGIN_KEY, known.iter().any(|(of, at)| of.eq_ignore_ascii_case(host) && *at == port))
        }
        Purpose::Probe => ("probe", PROBE_KEY, is_listener(config, host, port)),
    };
    if !allowed {
        return Err(RelayError::NotOpen(format!(
            "{host}:{port}, which the configuration does not name (`hosts` below `[login.oidc]`)"
        )));
    }
    // The configuration is the operator's own word, also about what is near.
    let to = Destination { host: host.clone(), port, reach: Reach::Node };
    let egress = Egress { key, name: Text::clip(name), to, authority: None };
    let actor = format!("platform:{name}");
    Ok(Who { run: None, tenant: String::new(), actor, egress, identity: None })
}

/// Whether it is where one of the planes listens; where the kernel chose the port, any port of that address.
fn is_listener(config: &Config, host: &str, port: u16) -> bool {
    let Ok(asked) = host.parse::<std::net::IpAddr>() else { return false };
    let listens = [Some(&config.gateway.listen), config.management.as_ref().map(|m| &m.listen)];
    let parsed = listens.into_iter().flatten().filter_map(|text| text.parse::<std::net::SocketAddr>().ok());
    let mut parsed = parsed;
    parsed.any(|own| own.ip() == asked && (own.port() == port || own.port() == 0))
}

/// Connects, and gives the other end of a stream over which bytes are passed on.
async fn connect(shared: &Arc<Shared>, who: Who) -> Result<OwnedFd, RelayError> {
    let opened = flow::open(shared, who).await?;
    let pair = || -> std::io::Result<_> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((tokio::net::UnixStream::from_std(ours)?, theirs))
    };
    match pair() {
        Ok((ours, theirs)) => {
            let shared = Arc::clone(shared);
            tokio::spawn(async move { opened.carry(&shared, ours).await });
            Ok(theirs.into())
        }
        Err(error) => {
            opened.carry_nothing(shared).await;
            Err(RelayError::at("make a stream")(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_is_connected_to_what_the_configuration_names() {
        let text = "version = 1\nmode = \"dev\"\nnode = \"n\"\nstate = \"/s\"\nprograms = \"/p\"\n[users]\nkeeper = 1\n\
            control = 2\ngateway = 3\nrelay = 4\noperator = 0\n[gateway]\nlisten = \"127.0.0.1:8443\"\n\
            [management]\nlisten = \"127.0.0.2:0\"\n[jobs]\n[login.oidc]\nissuer = \"https://id.example.org/x\"\n\
            client_id = \"c\"\nsecond_factor = \"provider\"\nhosts = [\"keys.example.org:8443\"]\n";
        let config = Config::parse("f", text).unwrap();
        for (purpose, host, port, allowed) in [
            (Purpose::Login, "id.example.org", 443, true),
            (Purpose::Login, "ID.example.org", 443, true),
            (Purpose::Login, "id.example.org", 80, false),
            (Purpose::Login, "keys.example.org", 8443, true),
            (Purpose::Login, "keys.example.org", 443, false),
            (Purpose::Login, "example.org", 443, false),
            (Purpose::Login, "127.0.0.1", 8443, false),
            (Purpose::Probe, "127.0.0.1", 8443, true),
            (Purpose::Probe, "127.0.0.1", 22, false),
            (Purpose::Probe, "127.0.0.2", 22, true),
            (Purpose::Probe, "127.0.0.3", 8443, false),
            (Purpose::Probe, "localhost", 8443, false),
            (Purpose::Probe, "id.example.org", 443, false),
        ] {
            assert_eq!(own(&config, purpose, &Text::clip(host), port).is_ok(), allowed, "{host}:{port}");
        }
    }
}
