//! **What.** What a node keeps on disk: sealed objects in a directory, and records in one encrypted database.
//!
//! **Why.** Every acknowledged write survives a crash, nothing half-done is visible, and no file holds a byte of
//! a tenant's plaintext (controls DP-1 to DP-4, RE-6, IS-1). Storage is not trusted: objects are verified when
//! they are opened, pages of the database when they are read, and one tenant's query cannot return another's
//! rows because the tenant is part of every question.
//!
//! **Where.** Used by control only. [`objects`] puts `vault`'s sealed files into a directory, [`meta`] puts
//! [`records`] into SQLCipher. Keys, salts and times are parameters. It must never import tokio, a network stack
//! or a cipher of its own.
//!
//! **Invariants.** An object is written once: staged, flushed, renamed into place without replacing, its
//! directory flushed; only then may it be acknowledged. A stage that was not committed leaves no file. A change
//! of records is one transaction, flushed before it is acknowledged. Rows carry a revision, and an update names
//! the one that it has seen.

pub mod error;
pub mod limits;
pub mod meta;
pub mod objects;
pub mod records;

pub use error::StoreError;
pub use meta::{Agreement, Current, Generation, MetaStore, Page, PageRequest, Stored, Tx};
pub use objects::{Commit, Import, ObjectStore, Seal, SefReader, Stage, Staged};
