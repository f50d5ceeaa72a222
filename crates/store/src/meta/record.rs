//! What a record is: a kind with a table, an owner, a key and JSON.

use base::digest::{hex, unhex};
use base::names::Name;
use rusqlite::types::{ToSqlOutput, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::StoreError;
use crate::limits::{CURSOR_MAX, RECORD_MAX};

/// A kind of record.
pub trait Record: Serialize + DeserializeOwned {
    /// Where it is kept.
    const KIND: Kind;
    /// Version of the JSON; a record of another version is not read.
    const V: u32;
    /// The natural key.
    type Key: Key;

    /// The tenant that owns it; none for the platform's own.
    fn owner(&self) -> Option<&Name>;

    /// Its key.
    fn key(&self) -> Self::Key;
}

/// A record whose key is unique over all tenants, so that it can be found before its owner is known.
pub trait GloballyKeyed: Record {}

/// Table and key columns; only the constants of this crate exist.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub(crate) table: &'static str,
    pub(crate) columns: &'static [&'static str],
}

impl Kind {
    /// The columns of the primary key.
    pub(super) fn with_owner(self) -> Vec<&'static str> {
        let mut columns = vec!["owner"];
        columns.extend(self.columns);
        columns
    }
}

/// A key: one value for each key column, in order.
pub trait Key {
    /// The values.
    fn parts(&self) -> Vec<Part>;
}

/// A value of a key column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A text column.
    Text(String),
    /// An integer column.
    Number(u64),
}

impl Key for String {
    fn parts(&self) -> Vec<Part> {
        vec![Part::Text(self.clone())]
    }
}

macro_rules! text_keys {
    ($($t:ty),*) => {$(
        impl Key for $t {
            fn parts(&self) -> Vec<Part> {
                vec![Part::Text(self.to_string())]
            }
        }
    )*};
}
text_keys!(
    Name,
    base::id::JobId,
    base::id::EndpointId,
    base::id::KeyId,
    base::id::ReceiptId,
    base::id::SessionId,
    base::id::ApprovalId,
    vault::KeyScope,
    base::Digest
);

impl Key for u64 {
    fn parts(&self) -> Vec<Part> {
        vec![Part::Number(*self)]
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    fn parts(&self) -> Vec<Part> {
        let mut parts = self.0.parts();
        parts.extend(self.1.parts());
        parts
    }
}

impl rusqlite::ToSql for Part {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Text(text) => text.to_sql(),
            Self::Number(n) => {
                let n = i64::try_from(*n).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
                Ok(ToSqlOutput::Owned(Value::Integer(n)))
            }
        }
    }
}

/// The primary key of a record: its owner and key.
pub(super) fn all_parts<R: Record>(record: &R) -> Vec<Part> {
    let mut parts = vec![Part::Text(record.owner().map(|name| name.as_str().to_owned()).unwrap_or_default())];
    parts.extend(record.key().parts());
    parts
}

/// `a = ?first AND b = ?first+1`.
pub(super) fn equal(columns: &[&str], first: usize) -> String {
    let conditions: Vec<_> = (first..).zip(columns).map(|(i, column)| format!("{column} = ?{i}")).collect();
    conditions.join(" AND ")
}

/// For messages: `a/b`.
pub(super) fn shown(parts: &[Part]) -> String {
    let text = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::Number(n) => n.to_string(),
    };
    parts.iter().map(text).collect::<Vec<_>>().join("/")
}

/// The cursor after a row: hex of the JSON list of its owner and key. Callers treat it as opaque.
pub(super) fn cursor(parts: &[Part]) -> String {
    let values = parts.iter().map(|part| match part {
        Part::Text(text) => serde_json::Value::from(text.as_str()),
        Part::Number(n) => serde_json::Value::from(*n),
    });
    hex(serde_json::Value::from_iter(values).to_string().as_bytes())
}

/// Reads a cursor with `len` parts.
pub(super) fn read_cursor(text: &str, len: usize) -> Result<Vec<Part>, StoreError> {
    if text.len() > CURSOR_MAX {
        return Err(StoreError::Cursor);
    }
    let bytes = unhex(text).ok_or(StoreError::Cursor)?;
    let values: Vec<serde_json::Value> = serde_json::from_slice(&bytes).map_err(|_| StoreError::Cursor)?;
    let parts: Option<Vec<Part>> = values
        .iter()
        .map(|value| match value {
            serde_json::Value::String(text) => Some(Part::Text(text.clone())),
            other => other.as_u64().filter(|n| i64::try_from(*n).is_ok()).map(Part::Number),
        })
        .collect();
    parts.filter(|parts| parts.len() == len).ok_or(StoreError::Cursor)
}

#[derive(serde::Serialize)]
struct Sheet<'a, R> {
    v: u32,
    r: &'a R,
}

#[derive(serde::Deserialize)]
struct Version {
    v: u32,
}

#[derive(serde::Deserialize)]
struct SheetOf<R> {
    r: R,
}

/// The JSON of a record with its version.
pub(super) fn encode<R: Record>(record: &R) -> Result<String, StoreError> {
    let kind = R::KIND.table;
    let text = serde_json::to_string(&Sheet { v: R::V, r: record })
        .map_err(|source| StoreError::Record { kind, source })?;
    if text.len() > RECORD_MAX {
        return Err(StoreError::RecordTooLarge { kind });
    }
    Ok(text)
}

/// Reads [`encode`]'s JSON; the version first, so that a record of a newer release says so.
pub(super) fn decode<R: Record>(text: &str) -> Result<R, StoreError> {
    let kind = R::KIND.table;
    let wrong = |source| StoreError::Record { kind, source };
    let Version { v } = serde_json::from_str(text).map_err(wrong)?;
    if v != R::V {
        return Err(StoreError::RecordVersion { kind, found: v, known: R::V });
    }
    let SheetOf { r } = serde_json::from_str(text).map_err(wrong)?;
    Ok(r)
}
