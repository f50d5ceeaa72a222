//! Records in one SQLCipher database: pages encrypted and authenticated, write-ahead log, flushed at each commit.
//!
//! ```text
//! store.transaction(|tx| {
//!     let mut job = tx.of(&tenant).get::<Job>(&id)?;     // the tenant is part of every question
//!     job.record.state = JobState::Stopped;
//!     tx.of(&tenant).update(&job)                        // refused if it was changed since
//! })
//! ```

mod generation;
mod record;
mod rows;
mod schema;

pub use generation::{Agreement, Current, Generation};
pub use record::{GloballyKeyed, Key, Kind, Part, Record};
pub use rows::Rows;

use std::fmt::Write as _;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::Secret;
use base::names::Name;
use rusqlite::{
    Connection, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior, params_from_iter,
};
use zeroize::Zeroizing;

use crate::error::StoreError;
use crate::limits::{BUSY_TIMEOUT_MS, PAGE_MAX};
use record::{all_parts, cursor, decode, equal, read_cursor};

/// The metadata database. One connection; transactions of threads wait for each other.
#[derive(Debug)]
pub struct MetaStore {
    conn: Mutex<Connection>,
    current: Current,
}

/// A record as it stands, with the revision that an update must name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<R> {
    /// Counts updates, from 1.
    pub rev: u64,
    /// The record.
    pub record: R,
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, Default)]
pub struct PageRequest {
    /// Go on after this cursor, as given by [`Page::next`].
    pub after: Option<String>,
    /// At most so many, and never more than [`PAGE_MAX`]; 0 stands for that.
    pub limit: usize,
}

/// A part of a list, in the order of the key.
#[derive(Debug, Clone)]
pub struct Page<R> {
    /// The records.
    pub items: Vec<Stored<R>>,
    /// Where to go on; none at the end.
    pub next: Option<String>,
}

impl MetaStore {
    /// Opens the database at `path` under `key`, making it if it is absent.
    ///
    /// # Errors
    /// [`StoreError::DatabaseKey`] for another key, [`StoreError::DatabaseDamaged`], [`StoreError::SchemaNewer`],
    /// [`StoreError::Full`], [`StoreError::Io`].
    pub fn open(path: &Path, key: &Secret<[u8; 32]>) -> Result<Self, StoreError> {
        let db = || StoreError::db("open the metadata database");
        let io = || StoreError::io("make the metadata database");
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io())?;
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(io())?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut conn = Connection::open_with_flags(path, flags).map_err(db())?;
        let mut pragma = Zeroizing::new(String::with_capacity(128));
        pragma.push_str("PRAGMA key = \"x'");
        key.expose(|key| key.iter().try_for_each(|byte| write!(pragma, "{byte:02x}"))).unwrap_or_default();
        pragma.push_str("'\"; PRAGMA cipher_log_level = NONE;");
        conn.execute_batch(&pragma).map_err(db())?;
        conn.execute_batch("SELECT count(*) FROM sqlite_master;").map_err(db())?;
        // Temporary tables and spills stay in memory: SQLCipher does not encrypt them.
        conn.execute_batch(
            "PRAGMA temp_store = MEMORY; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             PRAGMA trusted_schema = OFF; PRAGMA foreign_keys = ON; PRAGMA cell_size_check = ON;",
        )
        .map_err(db())?;
        conn.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS)).map_err(db())?;
        schema::migrate(&mut conn)?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io())?;
        let current = Current::new(generation::read(&conn)?);
        Ok(Self { conn: Mutex::new(conn), current })
    }

    /// Reads a consistent state; changes that `body` makes are dropped.
    ///
    /// # Errors
    /// What `body` says; [`StoreError::Database`].
    pub fn read<T, E: From<StoreError>>(&self, body: impl FnOnce(&Tx<'_>) -> Result<T, E>) -> Result<T, E> {
        let mut conn = self.conn();
        let tx = begin(&mut conn, TransactionBehavior::Deferred)?;
        body(&tx)
    }

    /// Runs `body` as one transaction, durable when this returns; on an error nothing of it remains. It counts up the
    /// generation.
    ///
    /// # Errors
    /// What `body` says; [`StoreError::Full`], [`StoreError::Database`].
    pub fn transaction<T, E: From<StoreError>>(
        &self,
        body: impl FnOnce(&Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.change(0, body)
    }

    /// The present generation, to be compared with the log's at start and told with what is logged.
    pub fn generation(&self) -> Current {
        self.current.clone()
    }

    /// Counts on from `beyond`: an operator takes an older database as the newest that there is.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Database`].
    pub fn go_on_from(&self, beyond: u64) -> Result<Generation, StoreError> {
        self.change(beyond, |_| Ok::<_, StoreError>(()))?;
        Ok(self.current.get())
    }

    fn change<T, E: From<StoreError>>(
        &self,
        beyond: u64,
        body: impl FnOnce(&Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut conn = self.conn();
        let tx = begin(&mut conn, TransactionBehavior::Immediate)?;
        let value = body(&tx)?;
        let next = generation::advance(&tx.0, beyond)?;
        tx.0.commit().map_err(StoreError::db("commit a change"))?;
        self.current.set(next);
        Ok(value)
    }

    /// Reads every page and compares it with its authentication code, and the structure with itself.
    ///
    /// # Errors
    /// [`StoreError::DatabaseDamaged`].
    pub fn verify(&self) -> Result<(), StoreError> {
        let conn = self.conn();
        for pragma in ["cipher_integrity_check", "integrity_check"] {
            let db = || StoreError::db("verify the metadata database");
            let mut rows = conn.prepare(&format!("PRAGMA {pragma}")).map_err(db())?;
            let mut rows = rows.query([]).map_err(db())?;
            while let Some(row) = rows.next().map_err(db())? {
                if row.get::<_, String>(0).map_err(db())? != "ok" {
                    return Err(StoreError::DatabaseDamaged);
                }
            }
        }
        Ok(())
    }

    fn conn(&self) -> MutexGuard<'_, Connection> {
        // INVARIANT: a panic inside a transaction rolled it back when it was dropped.
        self.conn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn begin(conn: &mut Connection, behavior: TransactionBehavior) -> Result<Tx<'_>, StoreError> {
    conn.transaction_with_behavior(behavior).map(Tx).map_err(StoreError::db("begin a transaction"))
}

/// A transaction.
#[derive(Debug)]
pub struct Tx<'c>(Transaction<'c>);

impl Tx<'_> {
    /// The rows of one tenant, and no others.
    pub fn of<'t>(&'t self, tenant: &'t Name) -> Rows<'t> {
        Rows::new(self, tenant.as_str())
    }

    /// The platform's own rows.
    pub fn platform(&self) -> Rows<'_> {
        Rows::new(self, "")
    }

    /// Finds a record by an id that is unique over all tenants: to learn whose it is. An answer to a tenant must
    /// be read through [`Tx::of`].
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Record`].
    pub fn find<R: GloballyKeyed>(&self, key: &R::Key) -> Result<Option<Stored<R>>, StoreError> {
        let sql = format!("SELECT rev, doc FROM {} WHERE {}", R::KIND.table, equal(R::KIND.columns, 1));
        self.one(&sql, &key.parts())
    }

    /// Lists the rows of every owner, by owner and key: for the platform's own work and for operators, never to
    /// answer a tenant.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`], [`StoreError::Record`].
    pub fn list_all<R: Record>(&self, page: &PageRequest) -> Result<Page<R>, StoreError> {
        self.list(Vec::new(), &R::KIND.with_owner(), page)
    }

    /// Counts the rows of every owner.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn count_all<R: Record>(&self) -> Result<u64, StoreError> {
        self.count(&format!("SELECT count(*) FROM {}", R::KIND.table), &[])
    }

    fn count(&self, sql: &str, params: &[Part]) -> Result<u64, StoreError> {
        let count: i64 = self
            .0
            .query_row(sql, params_from_iter(params), |row| row.get(0))
            .map_err(StoreError::db("count records"))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    fn one<R: Record>(&self, sql: &str, params: &[Part]) -> Result<Option<Stored<R>>, StoreError> {
        let row: Option<(i64, String)> = self
            .0
            .prepare(sql)
            .and_then(|mut s| {
                s.query_row(params_from_iter(params), |row| Ok((row.get(0)?, row.get(1)?))).optional()
            })
            .map_err(StoreError::db("read a record"))?;
        row.map(|(rev, doc)| stored(rev, &doc)).transpose()
    }

    /// Rows whose first columns equal `fixed`, ordered by the others, after the cursor.
    fn list<R: Record>(
        &self,
        fixed: Vec<Part>,
        columns: &[&str],
        page: &PageRequest,
    ) -> Result<Page<R>, StoreError> {
        let (same, rest) = columns.split_at_checked(fixed.len()).unwrap_or((columns, &[]));
        let mut sql = format!("SELECT rev, doc FROM {}", R::KIND.table);
        let mut conditions = Vec::new();
        let mut params = fixed;
        if !same.is_empty() {
            conditions.push(equal(same, 1));
        }
        if let Some(after) = &page.after {
            let first = params.len().saturating_add(1);
            params.extend(read_cursor(after, rest.len())?);
            let places: Vec<_> = (first..).take(rest.len()).map(|i| format!("?{i}")).collect();
            conditions.push(format!("({}) > ({})", rest.join(", "), places.join(", ")));
        }
        if !conditions.is_empty() {
            sql.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
        }
        let limit = if page.limit == 0 { PAGE_MAX } else { page.limit.min(PAGE_MAX) };
        sql.push_str(&format!(" ORDER BY {} LIMIT {}", rest.join(", "), limit.saturating_add(1)));

        let db = || StoreError::db("list records");
        let mut statement = self.0.prepare(&sql).map_err(db())?;
        let mut rows = statement.query(params_from_iter(&params)).map_err(db())?;
        let mut items: Vec<Stored<R>> = Vec::new();
        while let Some(row) = rows.next().map_err(db())? {
            if items.len() == limit {
                let next = items.last().map(|last| cursor(&last_parts(&last.record, rest.len())));
                return Ok(Page { items, next });
            }
            let (rev, doc): (i64, String) = row.get(0).and_then(|rev| Ok((rev, row.get(1)?))).map_err(db())?;
            items.push(stored(rev, &doc)?);
        }
        Ok(Page { items, next: None })
    }
}

fn stored<R: Record>(rev: i64, doc: &str) -> Result<Stored<R>, StoreError> {
    let rev = u64::try_from(rev).map_err(|_| StoreError::DatabaseDamaged)?;
    Ok(Stored { rev, record: decode(doc)? })
}

fn last_parts<R: Record>(record: &R, n: usize) -> Vec<Part> {
    let mut parts = all_parts(record);
    parts.split_off(parts.len().saturating_sub(n))
}

#[cfg(test)]
mod tests;
