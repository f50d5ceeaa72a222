//! **What.** The tamper-evident audit log as pure functions: OCSF entries, an RFC 9162 Merkle tree, C2SP
//! tiles, signed checkpoints, proofs, the segment format, and the offline verification of a copied log.
//!
//! **Why.** Whoever owns the machine must not be able to change what was recorded without being found out, and
//! anyone must be able to check that without trusting the operator (controls AU-1, AU-2, AU-8, AU-12).
//!
//! **Where.** The keeper writes with it; control and the command line read and verify with it. It must never
//! import a file system, clock or source of randomness: files come through [`verify::ReadFile`], times and
//! random bytes as values.
//!
//! **Invariants.** Equal events with equal stamps are equal bytes. A proof that verifies is one that the RFC's
//! algorithm accepts. A leaf's position and a tree's size are different types. No input makes it panic or
//! allocate more than the input warrants.

pub mod checkpoint;
pub mod ecdsa;
pub mod entry;
pub mod frame;
mod json;
pub mod limits;
pub mod note;
pub mod ocsf;
pub mod proof;
pub mod prove;
pub mod segment;
pub mod tile;
pub mod tree;
pub mod verify;

pub use checkpoint::{Checkpoint, CheckpointError, origin};
pub use entry::{Stamp, encode};
pub use note::{NoteError, Signer, VerifierKey};
pub use tree::{Frontier, LeafIndex, TreeSize, leaf_hash};
