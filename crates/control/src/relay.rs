//! The relay as control sees it: the only way of this process to the network.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use link::{Client, LinkError};
use ops::Text;
use ops::lease::{Grants, Uses};
use ops::relay::{Answer, Order, Purpose};

use crate::Fail;

/// The relay answers within this time: a name and a connection have five seconds each, an exchange about bytes five.
const ANSWER_WAIT: Duration = Duration::from_secs(15);

/// The relay.
#[derive(Debug)]
pub(crate) struct Relay {
    socket: PathBuf,
    /// The connection on which bytes are granted.
    granting: Mutex<Option<Client>>,
}

impl Relay {
    /// Connects when it is needed: the relay may start later, and again.
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket, granting: Mutex::default() }
    }

    /// A stream that leads to this host and port, over which the relay passes bytes on.
    pub(crate) fn connect(&self, purpose: Purpose, host: &str, port: u16) -> Result<OwnedFd, Fail> {
        let host = Text::new(host).map_err(|e| Fail::unavailable("a host's name is too long", e))?;
        let client = Client::connect(&self.socket, ANSWER_WAIT).map_err(|e| down(&e))?;
        let order = ops::to_bytes(&Order::Connect { purpose, host, port });
        let (answer, files) = client.call(&order, &[], 1).map_err(|e| down(&e))?;
        match (read(&answer)?, files.into_iter().next()) {
            (Answer::Done {}, Some(stream)) => Ok(stream),
            _ => Err(other()),
        }
    }

    /// Grants bytes, and gives what became of those before.
    pub(crate) fn lease(&self, grants: Grants) -> Result<Uses, Fail> {
        let mut slot = self.granting.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match slot.take().filter(Client::is_usable) {
            Some(client) => client,
            None => Client::connect(&self.socket, ANSWER_WAIT).map_err(|e| down(&e))?,
        };
        let (answer, _) =
            client.call(&ops::to_bytes(&Order::Lease { grants }), &[], 0).map_err(|e| down(&e))?;
        *slot = Some(client);
        match read(&answer)? {
            Answer::Uses { uses } => Ok(uses),
            _ => Err(other()),
        }
    }
}

/// An answer that is no refusal.
fn read(answer: &[u8]) -> Result<Answer, Fail> {
    match ops::from_bytes(answer) {
        Ok(Answer::Refused { code, detail }) => Err(Fail {
            status: 503,
            code: code.as_str().to_owned(),
            ..Fail::refused("SR-RLY-0001", detail.as_str().to_owned())
        }),
        Ok(answer) => Ok(answer),
        Err(error) => Err(Fail::internal("the relay's answer cannot be read", error)),
    }
}

fn down(error: &LinkError) -> Fail {
    Fail::unavailable("the relay cannot be reached, so nothing leaves the node", base::error::chain(error))
}

fn other() -> Fail {
    Fail::internal("the relay gave an answer of another kind", "relay")
}
