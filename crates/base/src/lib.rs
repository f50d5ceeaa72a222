//! **What.** The vocabulary every other crate shares: digests, ids, time as a value, sizes, secrets,
//! the error contract, length-prefixed bytes, canonical JSON and the configuration file.
//!
//! **Why.** One definition of each basic notion, so that a digest cannot be mistaken for an id and a
//! field cannot be concatenated ambiguously under a MAC (controls IN-3, DP-2, AU-2).
//!
//! **Where.** Used by every crate. It must never import another crate of ours, do I/O, read a clock or
//! draw randomness: time and random bytes are parameters.
//!
//! **Invariants.** Parsing never panics and never allocates more than its input warrants. `Secret` never
//! appears in `Debug` output. Canonical JSON of equal values is equal bytes.

pub mod config;
pub mod digest;
pub mod error;
pub mod id;
pub mod jcs;
pub mod names;
pub mod release;
pub mod secret;
pub mod size;
pub mod tensor;
pub mod time;
pub mod wire;

pub use digest::{Digest, Hasher, hmac_sha256, sha256};
pub use error::{Explain, Fault, Help, Retry};
pub use secret::Secret;
pub use size::ByteSize;
pub use tensor::TensorDigest;
pub use time::Timestamp;
