//! The rows of one owner.

use rusqlite::params_from_iter;

use super::record::{Key, Part, Record, all_parts, encode, equal, shown};
use super::{Page, PageRequest, Stored, Tx};
use crate::error::StoreError;

/// The rows of one owner inside a transaction: every statement names the owner, so no other's are reached.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'t> {
    tx: &'t Tx<'t>,
    owner: &'t str,
}

impl<'t> Rows<'t> {
    pub(super) fn new(tx: &'t Tx<'t>, owner: &'t str) -> Self {
        Self { tx, owner }
    }

    /// The record with this key.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Record`].
    pub fn get<R: Record>(&self, key: &R::Key) -> Result<Option<Stored<R>>, StoreError> {
        let columns = R::KIND.with_owner();
        let sql = format!("SELECT rev, doc FROM {} WHERE {}", R::KIND.table, equal(&columns, 1));
        self.tx.one(&sql, &self.parts(key))
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`StoreError::Exists`]; [`StoreError::OtherTenant`] for a record of another owner.
    pub fn insert<R: Record>(&self, record: &R) -> Result<(), StoreError> {
        let mut params = self.own(record)?;
        let places: Vec<_> = (1..=params.len()).map(|i| format!("?{i}")).collect();
        let doc = params.len().saturating_add(1);
        let sql = format!(
            "INSERT INTO {} ({}, rev, doc) VALUES ({}, 1, ?{doc})",
            R::KIND.table,
            R::KIND.with_owner().join(", "),
            places.join(", "),
        );
        let key = shown(&record.key().parts());
        params.push(Part::Text(encode(record)?));
        match self.run(&sql, &params) {
            Err(StoreError::Database { source, .. })
                if source.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) =>
            {
                Err(StoreError::Exists { kind: R::KIND.table, key })
            }
            other => other.map(drop),
        }
    }

    /// Replaces a record that was read before.
    ///
    /// # Errors
    /// [`StoreError::Changed`] if it has another revision by now or is gone; [`StoreError::OtherTenant`].
    pub fn update<R: Record>(&self, changed: &Stored<R>) -> Result<(), StoreError> {
        let mut params = self.own(&changed.record)?;
        let rev = params.len().saturating_add(1);
        let doc = rev.saturating_add(1);
        let sql = format!(
            "UPDATE {} SET rev = rev + 1, doc = ?{doc} WHERE {} AND rev = ?{rev}",
            R::KIND.table,
            equal(&R::KIND.with_owner(), 1),
        );
        params.push(Part::Number(changed.rev));
        params.push(Part::Text(encode(&changed.record)?));
        self.changed_one::<R>(&sql, &params, &changed.record.key())
    }

    /// Removes a record that was read before.
    ///
    /// # Errors
    /// As [`Rows::update`].
    pub fn delete<R: Record>(&self, key: &R::Key, rev: u64) -> Result<(), StoreError> {
        let mut params = self.parts(key);
        let at = params.len().saturating_add(1);
        let sql = format!(
            "DELETE FROM {} WHERE {} AND rev = ?{at}",
            R::KIND.table,
            equal(&R::KIND.with_owner(), 1),
        );
        params.push(Part::Number(rev));
        self.changed_one::<R>(&sql, &params, key)
    }

    /// The records in the order of their key.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`], [`StoreError::Record`].
    pub fn list<R: Record>(&self, page: &PageRequest) -> Result<Page<R>, StoreError> {
        self.tx.list(vec![Part::Text(self.owner.to_owned())], &R::KIND.with_owner(), page)
    }

    /// The records whose first key column is `first`: the versions of a name, the checkpoints of a job.
    ///
    /// # Errors
    /// As [`Rows::list`].
    pub fn list_under<R, A, B>(&self, first: &A, page: &PageRequest) -> Result<Page<R>, StoreError>
    where
        R: Record<Key = (A, B)>,
        A: Key,
        B: Key,
    {
        self.tx.list(self.parts(first), &R::KIND.with_owner(), page)
    }

    /// The record with the greatest key below `first`: the newest version, the head of a chain.
    ///
    /// # Errors
    /// As [`Rows::list`].
    pub fn last_under<R, A, B>(&self, first: &A) -> Result<Option<Stored<R>>, StoreError>
    where
        R: Record<Key = (A, B)>,
        A: Key,
        B: Key,
    {
        self.greatest(&self.parts(first))
    }

    /// The record with the greatest key: the newest version.
    ///
    /// # Errors
    /// As [`Rows::list`].
    pub fn last<R: Record>(&self) -> Result<Option<Stored<R>>, StoreError> {
        self.greatest(&[Part::Text(self.owner.to_owned())])
    }

    /// The record with the greatest key of those whose first columns are these.
    fn greatest<R: Record>(&self, params: &[Part]) -> Result<Option<Stored<R>>, StoreError> {
        let columns = R::KIND.with_owner();
        let (same, rest) = columns.split_at_checked(params.len()).unwrap_or((&columns, &[]));
        let order: Vec<_> = rest.iter().map(|column| format!("{column} DESC")).collect();
        let sql = format!(
            "SELECT rev, doc FROM {} WHERE {} ORDER BY {} LIMIT 1",
            R::KIND.table,
            equal(same, 1),
            order.join(", "),
        );
        self.tx.one(&sql, params)
    }

    /// How many records there are.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn count<R: Record>(&self) -> Result<u64, StoreError> {
        let sql = format!("SELECT count(*) FROM {} WHERE owner = ?1", R::KIND.table);
        self.tx.count(&sql, &[Part::Text(self.owner.to_owned())])
    }

    fn parts(&self, key: &impl Key) -> Vec<Part> {
        let mut parts = vec![Part::Text(self.owner.to_owned())];
        parts.extend(key.parts());
        parts
    }

    fn own<R: Record>(&self, record: &R) -> Result<Vec<Part>, StoreError> {
        if record.owner().map_or("", |name| name.as_str()) == self.owner {
            Ok(all_parts(record))
        } else {
            Err(StoreError::OtherTenant { kind: R::KIND.table })
        }
    }

    fn run(&self, sql: &str, params: &[Part]) -> Result<usize, StoreError> {
        self.tx
            .0
            .prepare(sql)
            .and_then(|mut s| s.execute(params_from_iter(params)))
            .map_err(StoreError::db("change a record"))
    }

    fn changed_one<R: Record>(&self, sql: &str, params: &[Part], key: &R::Key) -> Result<(), StoreError> {
        match self.run(sql, params)? {
            1 => Ok(()),
            _ => Err(StoreError::Changed { kind: R::KIND.table, key: shown(&key.parts()) }),
        }
    }
}
