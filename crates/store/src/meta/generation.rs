//! The generation: what binds the database to the audit log, so that neither can be set back alone
//! (`trust.md` section 9).

use base::wire::Writer;
use base::{Digest, sha256};
use rusqlite::{Connection, OptionalExtension as _};

use crate::error::StoreError;

/// The state of the database as the audit log knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    /// How many security-relevant transactions there were.
    pub g: u64,
    /// SHA-256 over the previous hash and the change; zeros at 0.
    pub hash: Digest,
    /// Where the last one stands in the log; none at 0, or before it was appended.
    pub log_index: Option<u64>,
}

/// How database and log compare when the database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreement {
    /// Same generation, same hash.
    Same,
    /// A crash came between the log and the commit: finish the change, or record that it was aborted.
    LogAheadByOne,
    /// The database was set back: safe mode.
    DatabaseSetBack {
        /// By how many transactions.
        by: u64,
    },
    /// The database is ahead of the log: tampered with, or the log was set back.
    LogSetBack {
        /// By how many transactions.
        by: u64,
    },
    /// Same generation, other history.
    Forked,
}

impl Generation {
    /// The generation after a change of this digest.
    pub fn next(&self, change: &Digest) -> Self {
        let mut w = Writer::new();
        w.digest(&self.hash).digest(change);
        Self { g: self.g.saturating_add(1), hash: sha256(&w.finish()), log_index: None }
    }

    /// Compares what the database says (`self`) with the last generation in the log, (0, zeros) if it has none.
    pub fn compare(&self, log_g: u64, log_hash: &Digest) -> Agreement {
        match (log_g.checked_sub(self.g), self.g.checked_sub(log_g)) {
            (Some(0), _) if self.hash == *log_hash => Agreement::Same,
            (Some(0), _) => Agreement::Forked,
            (Some(1), _) => Agreement::LogAheadByOne,
            (Some(by), _) => Agreement::DatabaseSetBack { by },
            (None, by) => Agreement::LogSetBack { by: by.unwrap_or(0) },
        }
    }
}

pub(super) fn read(conn: &Connection) -> Result<Generation, StoreError> {
    let row = conn
        .query_row("SELECT g, hash, log_index FROM generation WHERE one = 1", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 32]>(1)?, row.get::<_, Option<i64>>(2)?))
        })
        .optional()
        .map_err(StoreError::db("read the generation"))?;
    let (g, hash, log_index) = row.ok_or(StoreError::DatabaseDamaged)?;
    let number = |v: i64| u64::try_from(v).map_err(|_| StoreError::DatabaseDamaged);
    Ok(Generation {
        g: number(g)?,
        hash: Digest::from_bytes(hash),
        log_index: log_index.map(number).transpose()?,
    })
}

pub(super) fn write(conn: &Connection, next: &Generation) -> Result<(), StoreError> {
    let number = |v: u64| i64::try_from(v).map_err(|_| StoreError::RecordTooLarge { kind: "generation" });
    let changed = conn
        .execute(
            "UPDATE generation SET g = ?1, hash = ?2, log_index = ?3 WHERE one = 1",
            (number(next.g)?, next.hash.as_bytes(), next.log_index.map(number).transpose()?),
        )
        .map_err(StoreError::db("write the generation"))?;
    if changed == 1 { Ok(()) } else { Err(StoreError::DatabaseDamaged) }
}
