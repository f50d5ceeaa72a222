//! **What.** The key hierarchy and the sealed file format SEF: how every tenant byte at rest is encrypted,
//! named, and bound to the key, the scope and the content that its reader expects.
//!
//! **Why.** Models, data sets and checkpoints stay confidential and unaltered on storage that nobody trusts
//! (controls DP-1 to DP-4): whoever holds the disk learns sizes only, and a flipped bit, a cut, an appended
//! byte, a reordered chunk, a splice of two files or a file under another key is refused before one byte of it
//! is used. Whoever holds one object's key can open that object and nothing else.
//!
//! **Where.** [`sef`] is used by `store` (objects in a directory) and by the porter (a job's mounts and
//! checkpoints); [`keys`] by the keeper. Format and key schedule are `design/trust.md` sections 5.1 and 6. It
//! must never do I/O, read a clock or draw randomness: salts, nonces and fresh keys are parameters. It is one
//! of the few crates that may import a cipher.
//!
//! **Invariants.** No plaintext leaves an [`sef::Opener`] before the tag of its chunk, and before that the
//! header as a whole, verified. A [`keys::FreshDek`] seals once: sealing consumes it. Key types have no
//! `Clone`, and their `Debug` prints no byte of them. Memory is bounded by two chunks and the tag table.

pub mod keys;
pub mod limits;
pub mod scope;
pub mod sef;

pub use keys::{AddressKey, Dek, FreshDek, GroupKey, Kek, ObjectName, WrappedKey};
pub use scope::KeyScope;
pub use sef::{ChunkSize, Content, Opener, Sealed, Sealer, SefError};
