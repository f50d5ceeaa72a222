//! The warden's line to the keeper: learns its receipt key, and tells it how each order ended. Never waits in
//! the main loop: an outcome is sent when the line is idle and its answer is taken when it is there.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use link::Conn;
use ops::event::Event;
use ops::keeper::{BATCH_MAX, Request, Response, Role};
use ops::recovery::State;
use ops::{List, MESSAGE_MAX};

use crate::clock::now_ms;
use crate::error::WardenError;
use crate::limits::{KEEPER_TIMEOUT, MODE_EVERY_MS, OUTCOMES_MAX};
use crate::receipts::KeeperIdentity;

/// The line.
#[derive(Debug)]
pub(crate) struct KeeperLine {
    socket: PathBuf,
    conn: Option<Conn>,
    /// Outcomes in order; the first of them may be sent and not yet answered.
    queue: VecDeque<Event>,
    in_flight: InFlight,
    sent_ms: u64,
    lost: u64,
    /// Where the node stands, as the keeper said last.
    state: Option<State>,
    asked_ms: u64,
}

/// What was sent and is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InFlight {
    Nothing,
    /// So many outcomes.
    Outcomes(usize),
    /// The question where the node stands.
    Recovery,
}

impl KeeperLine {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            conn: None,
            queue: VecDeque::new(),
            in_flight: InFlight::Nothing,
            sent_ms: 0,
            lost: 0,
            state: None,
            asked_ms: 0,
        }
    }

    /// Connects to the keeper that runs as `pid` under `uid`, and asks who it is.
    ///
    /// # Errors
    /// It is not up yet, or somebody else answers.
    pub(crate) fn connect(&mut self, pid: i32, uid: u32) -> Result<KeeperIdentity, WardenError> {
        let conn = Conn::connect(&self.socket)?;
        conn.set_timeout(Some(KEEPER_TIMEOUT))?;
        let peer = conn.peer()?;
        if peer.pid != pid || peer.uid != uid {
            return Err(WardenError::Config("another process answers on the keeper's socket".to_owned()));
        }
        ask(&conn, &Request::Hello { role: Role::Warden })?;
        let Response::Status { boot_id, receipt_key, .. } = ask(&conn, &Request::Status {})? else {
            return Err(WardenError::Config("the keeper gave an answer of another kind".to_owned()));
        };
        let Response::Recovery { state } = ask(&conn, &Request::Recovery {})? else {
            return Err(WardenError::Config("the keeper gave an answer of another kind".to_owned()));
        };
        self.state = Some(state);
        self.asked_ms = now_ms();
        self.conn = Some(conn);
        self.in_flight = InFlight::Nothing;
        Ok(KeeperIdentity { boot_id, receipt_key })
    }

    /// Whether there is a line.
    pub(crate) fn is_up(&self) -> bool {
        self.conn.is_some()
    }

    /// The socket, while an answer is awaited or the end of the keeper may show.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.conn.as_ref().map(AsFd::as_fd)
    }

    /// Where the node stands: safe mode and break-glass, as the keeper said last.
    pub(crate) fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// When that is asked again; none while an answer is awaited.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        let idle = self.is_up() && self.in_flight == InFlight::Nothing;
        idle.then(|| self.asked_ms.saturating_add(MODE_EVERY_MS))
    }

    /// Outcomes that were not yet answered.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Queues an outcome.
    pub(crate) fn tell(&mut self, event: Event) {
        if self.queue.len() < OUTCOMES_MAX {
            self.queue.push_back(event);
        } else {
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// Sends what waits, if the line is idle; drops a line that does not answer.
    pub(crate) fn flush(&mut self) {
        if self.in_flight != InFlight::Nothing {
            let limit = u64::try_from(KEEPER_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
            if now_ms().saturating_sub(self.sent_ms) > limit {
                self.drop_line();
            }
            return;
        }
        let Some(conn) = &self.conn else { return };
        // Before what waits: a flood of outcomes does not hide that the node entered safe mode.
        if self.due_ms().is_some_and(|due| now_ms() >= due) {
            self.asked_ms = now_ms();
            let sent = conn.send(&ops::to_bytes(&Request::Recovery {}), &[]);
            return self.sent(sent.is_ok(), InFlight::Recovery);
        }
        if self.queue.is_empty() {
            return;
        }
        if self.lost > 0
            && let Some(first) = self.queue.front_mut()
        {
            *first = first.clone().detail("outcomes_lost", &self.lost.to_string());
            self.lost = 0;
        }
        // As many as fit one message: halve until it does; one event always fits.
        let mut count = self.queue.len().min(BATCH_MAX);
        let message = loop {
            let events = List::clip(self.queue.iter().take(count).cloned().collect());
            let message = ops::to_bytes(&Request::Append { events });
            if message.len() <= MESSAGE_MAX || count <= 1 {
                break message;
            }
            count /= 2;
        };
        let sent = conn.send(&message, &[]);
        self.sent(sent.is_ok(), InFlight::Outcomes(count));
    }

    fn sent(&mut self, sent: bool, what: InFlight) {
        if !sent {
            return self.drop_line();
        }
        self.in_flight = what;
        self.sent_ms = now_ms();
    }

    /// Takes the answer that is there.
    pub(crate) fn readable(&mut self) {
        let answer = self.conn.as_ref().map(|conn| conn.recv(MESSAGE_MAX, 0));
        let answer = answer.map(|a| a.map(|(bytes, _)| ops::from_bytes::<Response>(&bytes)));
        match (std::mem::replace(&mut self.in_flight, InFlight::Nothing), answer) {
            // An outcome that the keeper refuses would be refused again: it counts as told.
            (
                InFlight::Outcomes(count),
                Some(Ok(Ok(Response::Appended { .. } | Response::Refused { .. }))),
            ) => {
                self.queue.drain(..count.min(self.queue.len()));
            }
            (InFlight::Recovery, Some(Ok(Ok(Response::Recovery { state })))) => self.state = Some(state),
            _ => self.drop_line(),
        }
    }

    /// What was not answered is sent again on the next line.
    pub(crate) fn drop_line(&mut self) {
        self.conn = None;
        self.in_flight = InFlight::Nothing;
    }

    /// Tells what is left before the node ends, within the time-out.
    pub(crate) fn drain(&mut self) {
        while self.is_up() && !self.queue.is_empty() {
            if self.in_flight == InFlight::Nothing {
                self.flush();
            } else {
                self.readable();
            }
        }
    }
}

/// One question and its answer.
fn ask(conn: &Conn, request: &Request) -> Result<Response, WardenError> {
    conn.send(&ops::to_bytes(request), &[])?;
    let (bytes, _) = conn.recv(MESSAGE_MAX, 0)?;
    ops::from_bytes(&bytes).map_err(|e| WardenError::Config(format!("the keeper's answer: {e}")))
}
