//! The generation: what binds the database to the audit log, so that an older copy of it is told from the newest.
//!
//! Each change of the database counts it up, in the same transaction. Whoever tells the log of a change that was made
//! also tells the generation that the database has by then. So every change whose outcome is in the log is in every
//! database that is as new as the log; one that is older was set back.

use std::sync::{Arc, Mutex, PoisonError};

use base::wire::Writer;
use base::{Digest, sha256};
use rusqlite::{Connection, OptionalExtension as _};

use crate::error::StoreError;

/// The state of the database as the audit log knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    /// How many changes there were.
    pub g: u64,
    /// SHA-256 over the previous hash and 32 random bytes; zeros at 0. Two histories of one length differ in it.
    pub hash: Digest,
}

/// How the database compares with the last generation in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// Same generation, same hash.
    Same,
    /// Changes were made whose outcome is not in the log: the process ended in between.
    Ahead {
        /// How many changes.
        by: u64,
    },
    /// The database is older than the log: it was set back.
    SetBack {
        /// By how many changes.
        by: u64,
    },
    /// Same generation, other history.
    Forked,
}

impl Generation {
    /// Compares what the database says (`self`) with the last generation in the log.
    pub fn compare(&self, logged: &Self) -> Agreement {
        match (logged.g.checked_sub(self.g), self.g.checked_sub(logged.g)) {
            (Some(0), _) if self.hash == logged.hash => Agreement::Same,
            (Some(0), _) => Agreement::Forked,
            (Some(by), _) => Agreement::SetBack { by },
            (None, by) => Agreement::Ahead { by: by.unwrap_or(0) },
        }
    }
}

/// The generation that is durable now, for any number of threads.
#[derive(Debug, Clone)]
pub struct Current(Arc<Mutex<Generation>>);

impl Current {
    pub(super) fn new(now: Generation) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    /// It.
    pub fn get(&self) -> Generation {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called with the connection locked, so generations follow each other.
    pub(super) fn set(&self, next: Generation) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = next;
    }
}

pub(super) fn read(conn: &Connection) -> Result<Generation, StoreError> {
    let row = conn
        .query_row("SELECT g, hash FROM generation WHERE one = 1", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 32]>(1)?))
        })
        .optional()
        .map_err(StoreError::db("read the generation"))?;
    let (g, hash) = row.ok_or(StoreError::DatabaseDamaged)?;
    Ok(Generation {
        g: u64::try_from(g).map_err(|_| StoreError::DatabaseDamaged)?,
        hash: Digest::from_bytes(hash),
    })
}

/// Counts up to the first generation after the present one and `beyond`, as part of a transaction.
pub(super) fn advance(conn: &Connection, beyond: u64) -> Result<Generation, StoreError> {
    let db = || StoreError::db("write the generation");
    let now = read(conn)?;
    let random: [u8; 32] = conn.query_row("SELECT randomblob(32)", [], |row| row.get(0)).map_err(db())?;
    let mut w = Writer::new();
    w.digest(&now.hash).raw(&random);
    let next = Generation { g: now.g.max(beyond).saturating_add(1), hash: sha256(&w.finish()) };
    let g = i64::try_from(next.g).map_err(|_| StoreError::RecordTooLarge { kind: "generation" })?;
    let changed = conn
        .execute("UPDATE generation SET g = ?1, hash = ?2 WHERE one = 1", (g, next.hash.as_bytes()))
        .map_err(db())?;
    if changed == 1 { Ok(next) } else { Err(StoreError::DatabaseDamaged) }
}
