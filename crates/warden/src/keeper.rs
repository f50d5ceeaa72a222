//! The warden's line to the keeper: learns its receipt key, and tells it how each order ended. Never waits in
//! the main loop: an outcome is sent when the line is idle and its answer is taken when it is there.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use link::Conn;
use ops::event::Event;
use ops::keeper::{BATCH_MAX, Request, Response, Role};
use ops::{List, MESSAGE_MAX};

use crate::clock::now_ms;
use crate::error::WardenError;
use crate::limits::{KEEPER_TIMEOUT, OUTCOMES_MAX};
use crate::receipts::KeeperIdentity;

/// The line.
#[derive(Debug)]
pub(crate) struct KeeperLine {
    socket: PathBuf,
    conn: Option<Conn>,
    /// Outcomes in order; the first `in_flight` are sent and not yet answered.
    queue: VecDeque<Event>,
    in_flight: usize,
    sent_ms: u64,
    lost: u64,
}

impl KeeperLine {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket, conn: None, queue: VecDeque::new(), in_flight: 0, sent_ms: 0, lost: 0 }
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
        self.conn = Some(conn);
        self.in_flight = 0;
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
        if self.in_flight > 0 {
            let limit = u64::try_from(KEEPER_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
            if now_ms().saturating_sub(self.sent_ms) > limit {
                self.drop_line();
            }
            return;
        }
        let Some(conn) = &self.conn else { return };
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
        match conn.send(&message, &[]) {
            Ok(()) => {
                self.in_flight = count;
                self.sent_ms = now_ms();
            }
            Err(_) => self.drop_line(),
        }
    }

    /// Takes the answer that is there.
    pub(crate) fn readable(&mut self) {
        let answer = self.conn.as_ref().map(|conn| conn.recv(MESSAGE_MAX, 0));
        match answer.map(|a| a.map(|(bytes, _)| ops::from_bytes::<Response>(&bytes))) {
            // An outcome that the keeper refuses would be refused again: it counts as told.
            Some(Ok(Ok(Response::Appended { .. } | Response::Refused { .. }))) if self.in_flight > 0 => {
                self.queue.drain(..self.in_flight.min(self.queue.len()));
                self.in_flight = 0;
            }
            _ => self.drop_line(),
        }
    }

    /// What was not answered is sent again on the next line.
    pub(crate) fn drop_line(&mut self) {
        self.conn = None;
        self.in_flight = 0;
    }

    /// Tells what is left before the node ends, within the time-out.
    pub(crate) fn drain(&mut self) {
        while self.is_up() && !self.queue.is_empty() {
            if self.in_flight == 0 {
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
