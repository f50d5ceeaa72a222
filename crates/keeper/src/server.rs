//! Connections: one thread each, one request at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use link::{Conn, LinkError, Listener, PeerCred};
use ops::MESSAGE_MAX;
use ops::keeper::{Request, Response};
use zeroize::Zeroize;

use crate::error::KeeperError;
use crate::limits::{CONNECTIONS_MAX, SEND_TIMEOUT};
use crate::policy;
use crate::service::{Peer, Service, refusal};

/// Serves for ever.
///
/// # Errors
/// The socket fails.
pub(crate) fn run(listener: &Listener, service: &Arc<Service>) -> Result<(), KeeperError> {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let (conn, cred) = match listener.accept() {
            Ok(accepted) => accepted,
            // Gone before it was accepted.
            Err(LinkError::Closed | LinkError::TimedOut) => continue,
            Err(error) => return Err(error.into()),
        };
        if !policy::may_connect(cred.uid, &service.config().users, service.own_uid()) {
            // Dropping the connection tells the peer.
            continue;
        }
        let slot = Slot::take(&open);
        let (Some(slot), Ok(())) = (slot, conn.set_timeout(Some(SEND_TIMEOUT))) else {
            // Dropping the connection tells the peer.
            continue;
        };
        let service = Arc::clone(service);
        let serving = std::thread::Builder::new().name("serve".to_owned()).spawn(move || {
            let _slot = slot;
            serve(&conn, cred, &service);
        });
        if serving.is_err() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// One of the [`CONNECTIONS_MAX`] connections; given back on drop.
struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn take(open: &Arc<AtomicUsize>) -> Option<Self> {
        let taken = open.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
            (n < CONNECTIONS_MAX).then_some(n.saturating_add(1))
        });
        taken.ok().map(|_| Self(Arc::clone(open)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Serves one connection until it ends or misbehaves.
fn serve(conn: &Conn, cred: PeerCred, service: &Service) {
    let mut peer = None;
    loop {
        let mut message = match conn.recv(MESSAGE_MAX, 0) {
            Ok((message, _)) => message,
            // Silence is allowed once a peer has said who it is.
            Err(LinkError::TimedOut) if peer.is_some() => continue,
            Err(_) => return,
        };
        let request = ops::from_bytes::<Request>(&message);
        message.zeroize();
        let (response, go_on) = match (request, peer) {
            (Err(error), _) => (refusal(&error.into()), false),
            (Ok(Request::Hello { role }), None) => {
                match policy::role_of(cred.uid, role, &service.config().users, service.own_uid()) {
                    Ok(role) => {
                        peer = Some(Peer { role, uid: cred.uid });
                        (Response::Welcome {}, true)
                    }
                    Err(error) => (refusal(&error), false),
                }
            }
            (Ok(_), None) => (refusal(&KeeperError::Hello), false),
            (Ok(request), Some(peer)) => (service.answer(peer, request), true),
        };
        let mut bytes = ops::to_bytes(&response);
        // A key in it is wiped with it.
        drop(response);
        let sent = conn.send(&bytes, &[]);
        bytes.zeroize();
        if sent.is_err() || !go_on {
            return;
        }
    }
}
