//! What can go wrong with what is kept.

use std::io;

use base::{Explain, Fault, Retry};
use vault::SefError;

/// The store could not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk or quota is full. What was begun is undone.
    #[error("no space left to {action}")]
    Full {
        /// What was being done.
        action: &'static str,
    },
    /// The operating system refused.
    #[error("cannot {action}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The source of an import failed.
    #[error("cannot read what is to be imported")]
    Source(#[source] io::Error),
    /// The destination of an opened object failed.
    #[error("cannot hand on what was opened")]
    Sink(#[source] io::Error),
    /// A sealed file was refused.
    #[error(transparent)]
    Sealed(#[from] SefError),
    /// There is no such object.
    #[error("object `{name}` is not in the store")]
    Missing {
        /// Its name.
        name: String,
    },
    /// More bytes than allowed.
    #[error("content has more than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// Another process has the store open.
    #[error("the store is in use by another process")]
    InUse,
    /// The key does not open the database, or the file is not one.
    #[error("the metadata database does not open with this key")]
    DatabaseKey,
    /// A page of the database was altered.
    #[error("the metadata database was altered or damaged")]
    DatabaseDamaged,
    /// The database refused.
    #[error("cannot {action}")]
    Database {
        /// What was being done.
        action: &'static str,
        /// Why not.
        #[source]
        source: rusqlite::Error,
    },
    /// Made by a newer release.
    #[error("the metadata database has schema {found}, this release knows up to {known}")]
    SchemaNewer {
        /// What it has.
        found: i64,
        /// What this release knows.
        known: i64,
    },
    /// The row exists already.
    #[error("{kind} `{key}` exists already")]
    Exists {
        /// What kind of record.
        kind: &'static str,
        /// Its key.
        key: String,
    },
    /// The row was changed or removed since it was read.
    #[error("{kind} `{key}` was changed meanwhile")]
    Changed {
        /// What kind of record.
        kind: &'static str,
        /// Its key.
        key: String,
    },
    /// A record of another owner was offered.
    #[error("a {kind} of another tenant was offered")]
    OtherTenant {
        /// What kind of record.
        kind: &'static str,
    },
    /// A stored record does not read.
    #[error("a stored {kind} does not read")]
    Record {
        /// What kind of record.
        kind: &'static str,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// A stored record has a version that this release does not know.
    #[error("a stored {kind} has version {found}, this release knows {known}")]
    RecordVersion {
        /// What kind of record.
        kind: &'static str,
        /// What it has.
        found: u32,
        /// What this release knows.
        known: u32,
    },
    /// A number or text that does not fit.
    #[error("a {kind} is too large to be kept")]
    RecordTooLarge {
        /// What kind of record.
        kind: &'static str,
    },
    /// A cursor that was not made by this list.
    #[error("the cursor is not one that this list gave")]
    Cursor,
}

impl StoreError {
    /// An error of the file system while doing `action`.
    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { action },
            _ => Self::Io { action, source },
        }
    }

    /// The same for a raw call.
    pub(crate) fn os(action: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::io(action)(errno.into())
    }

    /// An error of the database while doing `action`.
    pub(crate) fn db(action: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full { action },
            Some(rusqlite::ErrorCode::NotADatabase) => Self::DatabaseKey,
            Some(rusqlite::ErrorCode::DatabaseCorrupt) => Self::DatabaseDamaged,
            _ => Self::Database { action, source },
        }
    }
}

impl Explain for StoreError {
    fn code(&self) -> &'static str {
        match self {
            Self::Full { .. } => "SR-STO-0001",
            Self::Io { .. } => "SR-STO-0002",
            Self::Source(_) => "SR-STO-0003",
            Self::Sink(_) => "SR-STO-0004",
            Self::Sealed(sealed) => sealed.code(),
            Self::Missing { .. } => "SR-STO-0005",
            Self::TooLarge { .. } => "SR-STO-0006",
            Self::InUse => "SR-STO-0007",
            Self::DatabaseKey => "SR-STO-0008",
            Self::DatabaseDamaged => "SR-STO-0009",
            Self::Database { .. } => "SR-STO-0010",
            Self::SchemaNewer { .. } => "SR-STO-0011",
            Self::Exists { .. } => "SR-STO-0012",
            Self::Changed { .. } => "SR-STO-0013",
            Self::OtherTenant { .. } => "SR-STO-0014",
            Self::Record { .. } => "SR-STO-0015",
            Self::RecordVersion { .. } => "SR-STO-0016",
            Self::RecordTooLarge { .. } => "SR-STO-0017",
            Self::Cursor => "SR-STO-0018",
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Sealed(sealed) => sealed.fault(),
            Self::TooLarge { .. }
            | Self::Source(_)
            | Self::Exists { .. }
            | Self::Changed { .. }
            | Self::RecordTooLarge { .. }
            | Self::Cursor => Fault::Caller,
            Self::OtherTenant { .. } => Fault::Platform,
            Self::Sink(_) => Fault::Peer,
            _ => Fault::Operator,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Changed { .. } => Retry::Immediately,
            _ => Retry::Never,
        }
    }

    fn help(&self) -> Option<base::Help> {
        Some(match self {
            Self::Sealed(sealed) => return sealed.help(),
            Self::Full { .. } => {
                "free space on the file system of the state directory, then try again; nothing half-done is left"
            }
            Self::Io { .. } => {
                "check the state directory's file system and its owner; `strongroom doctor` lists what is wrong"
            }
            Self::Source(_) => "check the file or connection that is imported, then import again",
            Self::Sink(_) => "the receiver went away; ask again",
            Self::Missing { .. } => "restore the object from a backup",
            Self::TooLarge { .. } => "import less, or raise the limit",
            Self::InUse => "stop the other node that uses this state directory",
            Self::DatabaseKey => "start with the key set that belongs to this state directory",
            Self::DatabaseDamaged => {
                "restore the database from a backup, and look for who writes to the state directory"
            }
            Self::Database { .. } => {
                "check the state directory's file system; `strongroom doctor` lists what is wrong"
            }
            Self::SchemaNewer { .. } => "start the release that made this state directory, or a newer one",
            Self::Exists { .. } => "choose another name",
            Self::Changed { .. } => "look at it again, then repeat the change",
            Self::OtherTenant { .. } => "report this as a defect",
            Self::Record { .. } | Self::RecordVersion { .. } => {
                "start the release that wrote it, or restore a backup"
            }
            Self::RecordTooLarge { .. } => "use fewer files or shorter names",
            Self::Cursor => "start the list again without `after`",
        })
    }
}
