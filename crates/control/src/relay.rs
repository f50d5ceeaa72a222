//! The relay as control sees it: the only way of this process to the network.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::names::Name;
use base::{ByteSize, Timestamp};
use link::{Client, LinkError};
use ops::lease::{Grants, Uses};
use ops::relay::{Answer, Egress, Order, Purpose};
use ops::{List, Text};

use crate::Fail;

/// The relay answers within this time: a name and a connection have five seconds each, an exchange about bytes five.
const ANSWER_WAIT: Duration = Duration::from_secs(15);

/// The relay.
#[derive(Debug)]
pub(crate) struct Relay {
    socket: PathBuf,
    /// The connection on which bytes are granted.
    granting: Mutex<Option<Client>>,
    /// The connection over which egresses are opened to runs, and with which they end.
    line: Mutex<Line>,
    /// Whose the keys of egresses are that were opened.
    owners: Mutex<BTreeMap<u128, Named>>,
}

/// Tenant and name of an egress, and the cap on it alone.
type Named = (Name, String, Option<ByteSize>);

/// What is open over a connection: a relay that starts anew is told again.
#[derive(Debug, Default)]
struct Line {
    client: Option<Client>,
    open: BTreeMap<u128, Opened>,
}

/// Egresses of a run, and the socket on which it asks for them.
#[derive(Debug)]
struct Opened {
    tenant: Text<63>,
    actor: Text<128>,
    egresses: Vec<Egress>,
    socket: OwnedFd,
    /// When this relay was given a certificate for it; none: not yet.
    certified: Option<Timestamp>,
}

impl Opened {
    /// Whether the relay speaks in its name somewhere.
    fn is_named(&self) -> bool {
        self.egresses.iter().any(|egress| egress.authority.is_some())
    }

    fn tell(&self, client: &Client, run: u128) -> Result<(), Fail> {
        let order = Order::Open {
            run,
            tenant: self.tenant.clone(),
            actor: self.actor.clone(),
            egresses: List::clip(self.egresses.clone()),
        };
        done(client, &order, &[self.socket.as_fd()])
    }
}

impl Line {
    /// Connects if that is needed, and then says again all that is open.
    fn up(&mut self, socket: &Path) -> Result<&Client, Fail> {
        let client = match self.client.take().filter(Client::is_usable) {
            Some(client) => client,
            None => {
                let client = Client::connect(socket, ANSWER_WAIT).map_err(|e| down(&e))?;
                for (run, opened) in &mut self.open {
                    opened.certified = None;
                    opened.tell(&client, *run)?;
                }
                client
            }
        };
        Ok(self.client.insert(client))
    }
}

/// An order that is done, or why not.
fn done(client: &Client, order: &Order, files: &[BorrowedFd<'_>]) -> Result<(), Fail> {
    let (answer, _) = client.call(&ops::to_bytes(order), files, 0).map_err(|e| down(&e))?;
    match read(&answer)? {
        Answer::Done {} => Ok(()),
        _ => Err(other()),
    }
}

impl Relay {
    /// Connects when it is needed: the relay may start later, and again.
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket, granting: Mutex::default(), line: Mutex::default(), owners: Mutex::default() }
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

    /// Opens egresses to a run, each with the cap on it alone.
    pub(crate) fn open(
        &self,
        run: u128,
        (tenant, actor): (&str, &str),
        egresses: Vec<(Egress, Option<ByteSize>)>,
        socket: OwnedFd,
    ) -> Result<(), Fail> {
        let of: Name = tenant.parse().map_err(|e| Fail::internal("a tenant's name cannot be", e))?;
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        for (egress, cap) in &egresses {
            owners.insert(egress.key, (of.clone(), egress.name.as_str().to_owned(), *cap));
        }
        drop(owners);
        let egresses = egresses.into_iter().map(|(egress, _)| egress).collect();
        let (tenant, actor) = (Text::clip(tenant), Text::clip(actor));
        let opened = Opened { tenant, actor, egresses, socket, certified: None };
        let mut line = self.line();
        let told = line.up(&self.socket).and_then(|client| opened.tell(client, run));
        if told.is_ok() {
            line.open.insert(run, opened);
        }
        told
    }

    /// Runs in whose name the relay speaks somewhere and that have no certificate there that was made within these times: with
    /// tenant and actor.
    pub(crate) fn uncertified(&self, (since, now): (Timestamp, Timestamp)) -> Vec<(u128, String, String)> {
        let line = self.line();
        let due = line.open.iter().filter(|(_, opened)| {
            opened.is_named() && opened.certified.is_none_or(|at| at < since || now < at)
        });
        due.map(|(run, o)| (*run, o.tenant.as_str().to_owned(), o.actor.as_str().to_owned())).collect()
    }

    /// Gives a run a certificate for a key that the relay makes. `issue` makes it of the relay's request. What is not open
    /// any more needs none.
    pub(crate) fn certify(
        &self,
        run: u128,
        issue: impl FnOnce(&str) -> Result<(String, Timestamp), Fail>,
    ) -> Result<(), Fail> {
        let mut line = self.line();
        if !line.open.get(&run).is_some_and(Opened::is_named) {
            return Ok(());
        }
        let certified = line.up(&self.socket).and_then(|client| {
            let order = ops::to_bytes(&Order::Identify { run });
            let (answer, _) = client.call(&order, &[], 0).map_err(|e| down(&e))?;
            let Answer::Asked { request } = read(&answer)? else { return Err(other()) };
            let (pem, at) = issue(&request)?;
            let certificate = Text::new(pem).map_err(|e| Fail::internal("a certificate is too long", e))?;
            done(client, &Order::Certify { run, certificate }, &[])?;
            Ok(at)
        })?;
        if let Some(opened) = line.open.get_mut(&run) {
            opened.certified = Some(certified);
        }
        Ok(())
    }

    /// Ends everything of a run.
    pub(crate) fn close(&self, run: u128) {
        let mut line = self.line();
        line.open.remove(&run);
        let told = line.up(&self.socket).and_then(|client| done(client, &Order::Close { run }, &[]));
        if let Err(fail) = told {
            // What was opened over it ends with it.
            line.client = None;
            crate::log::line("relay", &format!("a run could not be closed: {}", fail.line()));
        }
    }

    /// Ends an egress for every run.
    pub(crate) fn revoke(&self, key: u128) -> Result<(), Fail> {
        let mut line = self.line();
        for opened in line.open.values_mut() {
            opened.egresses.retain(|egress| egress.key != key);
        }
        let told = line.up(&self.socket).and_then(|client| done(client, &Order::Revoke { key }, &[]));
        if told.is_err() {
            line.client = None;
        }
        told
    }

    /// Whose the key of an egress is.
    pub(crate) fn owner(&self, key: u128) -> Option<Named> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says again what is open, if anything is: the relay may be another than before.
    fn mend(&self) -> Result<(), Fail> {
        let mut line = self.line();
        line.client = None;
        if line.open.is_empty() { Ok(()) } else { line.up(&self.socket).map(drop) }
    }

    /// Grants bytes, and gives what became of those before.
    pub(crate) fn lease(&self, grants: Grants) -> Result<Uses, Fail> {
        let mut slot = self.granting.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match slot.take().filter(Client::is_usable) {
            Some(client) => client,
            None => {
                let client = Client::connect(&self.socket, ANSWER_WAIT).map_err(|e| down(&e))?;
                // Perhaps another relay than before, which knows of nothing.
                self.mend()?;
                client
            }
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
