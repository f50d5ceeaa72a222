//! The warden's socket: takes orders from control, checks their receipts in one place, answers, and tells the
//! keeper how each ended.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};

use base::Explain;
use base::release::PROGRAMS;
use link::{Conn, LinkError, Listener};
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use ops::warden::{Call, Operation, Response};
use ops::{MESSAGE_MAX, Text};

use crate::clock::{boot_ms, wall_ms};
use crate::error::WardenError;
use crate::keeper::KeeperLine;
use crate::limits::CONNECTIONS_MAX;
use crate::machine::Performers;
use crate::receipts::Receipts;
use crate::runs::{Asked, Reply};

/// Connections by number.
#[derive(Debug)]
pub(crate) struct Server {
    listener: Listener,
    connections: BTreeMap<u64, Connection>,
    next: u64,
}

/// One connection; it is not read while an answer to it is pending.
#[derive(Debug)]
struct Connection {
    conn: Conn,
    waits: bool,
}

/// Who may speak.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speaker {
    /// Control's user.
    pub(crate) uid: u32,
    /// The process that the warden started as control.
    pub(crate) pid: Option<i32>,
}

impl Server {
    pub(crate) fn new(listener: Listener) -> Self {
        Self { listener, connections: BTreeMap::new(), next: 0 }
    }

    /// The listening socket.
    pub(crate) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Connections to wait for.
    pub(crate) fn waits(&self) -> Vec<(BorrowedFd<'_>, u64)> {
        self.connections.iter().filter(|(_, c)| !c.waits).map(|(id, c)| (c.conn.as_fd(), *id)).collect()
    }

    /// Takes a new connection; says why if it is refused.
    pub(crate) fn accept(&mut self, speaker: Speaker) -> Result<(), String> {
        let (conn, peer) = self.listener.accept().map_err(|e| base::error::chain(&e))?;
        // The process that we started cannot have been replaced under its number: we have not reaped it.
        if peer.uid != speaker.uid || Some(peer.pid) != speaker.pid {
            return Err(format!(
                "refused a connection of user {} process {}: only control may order",
                peer.uid, peer.pid
            ));
        }
        if self.connections.len() >= CONNECTIONS_MAX {
            return Err("refused a connection: there are too many".to_owned());
        }
        self.next = self.next.saturating_add(1);
        self.connections.insert(self.next, Connection { conn, waits: false });
        Ok(())
    }

    /// Reads one order and performs it. Says what is worth a line.
    pub(crate) fn readable(
        &mut self,
        id: u64,
        receipts: &mut Receipts,
        mut performers: Performers<'_>,
        keeper: &mut KeeperLine,
    ) -> Option<String> {
        let connection = self.connections.get_mut(&id)?;
        let (call, files) = match connection.conn.recv(MESSAGE_MAX, PROGRAMS.len()) {
            Ok((bytes, files)) => (ops::from_bytes::<Call>(&bytes), files),
            Err(LinkError::Closed) => {
                self.connections.remove(&id);
                return None;
            }
            Err(error) => {
                self.connections.remove(&id);
                return Some(format!("closed a connection: {}", base::error::chain(&error)));
            }
        };
        let call = match call {
            Ok(call) if files.is_empty() || matches!(call.operation, Operation::StageRelease { .. }) => call,
            other => {
                self.connections.remove(&id);
                let why = other.err().map_or_else(|| "descriptors with it".to_owned(), |e| e.to_string());
                let why = format!("closed a connection: it sent what is no order: {why}");
                keeper.tell(undecodable(&why));
                return Some(why);
            }
        };
        let asked = Asked { connection: id, correlation: call.correlation };
        let reply = receipts
            .admit(&call, boot_ms())
            .and_then(|()| performers.perform(&call.operation, files, asked, keeper.waiting()));
        let name = call.operation.name();
        let run = run_of(&call.operation);
        match reply {
            Ok(Reply::Later) => {
                connection.waits = true;
                None
            }
            Ok(Reply::Now(response, fds)) => {
                if changes(&call.operation) {
                    keeper.tell(outcome(asked, name, run, None));
                }
                self.send(id, &response, &fds.iter().map(AsFd::as_fd).collect::<Vec<_>>());
                None
            }
            Err(error) => {
                keeper.tell(outcome(asked, name, run, Some(&error)));
                self.send(id, &refused(&error), &[]);
                Some(format!("refused {name}: {}", base::error::chain(&error)))
            }
        }
    }

    /// Answers an order that took its time.
    pub(crate) fn answer(
        &mut self,
        asked: Asked,
        name: &'static str,
        run: Option<u128>,
        result: Result<Response, WardenError>,
        keeper: &mut KeeperLine,
    ) -> Option<String> {
        if let Some(connection) = self.connections.get_mut(&asked.connection) {
            connection.waits = false;
        }
        keeper.tell(outcome(asked, name, run, result.as_ref().err()));
        match result {
            Ok(response) => {
                self.send(asked.connection, &response, &[]);
                None
            }
            Err(error) => {
                self.send(asked.connection, &refused(&error), &[]);
                Some(format!("refused {name}: {}", base::error::chain(&error)))
            }
        }
    }

    /// A peer that does not take its answer loses its connection.
    fn send(&mut self, id: u64, response: &Response, fds: &[BorrowedFd<'_>]) {
        let failed =
            self.connections.get(&id).is_some_and(|c| c.conn.send(&ops::to_bytes(response), fds).is_err());
        if failed {
            self.connections.remove(&id);
        }
    }
}

fn refused(error: &WardenError) -> Response {
    Response::Refused { code: Text::clip(error.code()), detail: Text::clip(&base::error::chain(error)) }
}

/// Whether the order changed anything, and so has an outcome to tell.
fn changes(operation: &Operation) -> bool {
    !matches!(
        operation,
        Operation::Probe {}
            | Operation::Report { .. }
            | Operation::Counters { .. }
            | Operation::Sockets { .. }
            | Operation::CollectDiagnostics {}
            | Operation::ListReleases {}
    )
}

fn run_of(operation: &Operation) -> Option<u128> {
    match operation {
        Operation::Probe {}
        | Operation::Sockets { .. }
        | Operation::CollectDiagnostics {}
        | Operation::Reboot { .. }
        | Operation::StageRelease { .. }
        | Operation::ActivateRelease { .. }
        | Operation::ReturnRelease { .. }
        | Operation::ConfirmRelease { .. }
        | Operation::ListReleases {} => None,
        Operation::StartPorter { run, .. }
        | Operation::FreezeMount { run, .. }
        | Operation::Start { run, .. }
        | Operation::Signal { run, .. }
        | Operation::Freeze { run }
        | Operation::Thaw { run }
        | Operation::Kill { run }
        | Operation::Destroy { run }
        | Operation::Report { run }
        | Operation::Counters { run }
        | Operation::HashMount { run, .. } => Some(*run),
    }
}

/// What the keeper is told of an order.
fn outcome(asked: Asked, name: &str, run: Option<u128>, error: Option<&WardenError>) -> Event {
    let (result, severity) = match error {
        None => (Outcome::Success, Severity::Informational),
        // Of a release: somebody brought what those who are trusted did not sign.
        Some(WardenError::Receipt(_) | WardenError::Release(_)) => (Outcome::Refused, Severity::High),
        Some(WardenError::Digest { .. }) => (Outcome::Failure, Severity::High),
        Some(
            WardenError::State { .. }
            | WardenError::Invalid(_)
            | WardenError::NotIts(_)
            | WardenError::UnderWay(_),
        ) => (Outcome::Refused, Severity::Low),
        Some(_) => (Outcome::Failure, Severity::Medium),
    };
    let id = run.map(|bits| base::id::RunId::from_bits(bits).to_string()).unwrap_or_default();
    let event = Event::new(EventKind::WardenOrder, Phase::Outcome, result, wall_ms(), asked.correlation)
        .asset("run", &id, None)
        .severity(severity)
        .detail("operation", name);
    match error {
        None => event,
        Some(error) => event.because(&base::error::chain(error)).detail("code", error.code()),
    }
}

fn undecodable(why: &str) -> Event {
    Event::new(EventKind::AccessRefuse, Phase::Observed, Outcome::Refused, wall_ms(), 0)
        .asset("node", "warden", None)
        .severity(Severity::High)
        .because(why)
}
