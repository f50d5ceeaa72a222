//! A blocking client: one question, one answer.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ops::Codec;

use crate::{Conn, LinkError, PACKET_MAX};

/// Asks one question at a time over one connection. Threads that share it take turns.
#[derive(Debug)]
pub struct Client {
    conn: Conn,
    /// Held for one question and its answer; the flag is set when a call failed half-way.
    failed: Mutex<bool>,
}

impl Client {
    /// Connects; each call may take `timeout` for sending and as long for the answer.
    ///
    /// # Errors
    /// As [`Conn::connect`].
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, LinkError> {
        Self::over(Conn::connect(path)?, timeout)
    }

    /// Uses an existing connection.
    ///
    /// # Errors
    /// A zero timeout.
    pub fn over(conn: Conn, timeout: Duration) -> Result<Self, LinkError> {
        conn.set_timeout(Some(timeout))?;
        Ok(Self { conn, failed: Mutex::new(false) })
    }

    /// Sends an encoded question and returns the encoded answer with at most `max_fds` descriptors.
    ///
    /// # Errors
    /// What [`Conn::send`] and [`Conn::recv`] say. After an error in receiving, every later call is
    /// [`LinkError::Poisoned`].
    pub fn call(
        &self,
        question: &[u8],
        fds: &[BorrowedFd<'_>],
        max_fds: usize,
    ) -> Result<(Vec<u8>, Vec<OwnedFd>), LinkError> {
        // A thread that panicked inside left the connection half-way: same as failed.
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if *failed {
            return Err(LinkError::Poisoned);
        }
        match self.conn.send(question, fds) {
            // Refused before anything was sent.
            Err(error @ (LinkError::Size { .. } | LinkError::Descriptors { .. })) => return Err(error),
            other => {
                *failed = true;
                other?;
            }
        }
        let answer = self.conn.recv(PACKET_MAX, max_fds)?;
        *failed = false;
        Ok(answer)
    }

    /// Asks with a typed question and takes a typed answer, without descriptors.
    ///
    /// # Errors
    /// As [`Client::call`]; [`LinkError::Message`] if the answer is of another kind.
    pub fn ask<Q: Codec, A: Codec>(&self, question: &Q) -> Result<A, LinkError> {
        let (answer, _) = self.call(&ops::to_bytes(question), &[], 0)?;
        Ok(ops::from_bytes(&answer)?)
    }

    /// Whether the connection can still be used.
    pub fn is_usable(&self) -> bool {
        !*self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
