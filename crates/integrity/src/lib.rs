//! **What.** Model signatures (OpenSSF Model Signing v1.0, method `key`), DSSE envelopes, and the strict JSON
//! reader that both stand on.
//!
//! **Why.** A model is verified before use, by signature and by the digest of every file (controls "AI models
//! must be verified before use", "verify not tampered with before starting"). It stops a changed, added,
//! missing or renamed file, an edited statement, a signature of another key, and the defects of the
//! reference implementation (shards that cannot be verified, ignored paths that stay loadable, duplicate
//! JSON members read two ways).
//!
//! **Where.** Called by control and the warden to verify, by the keeper to sign, and by the command line on
//! plain files. It must never read a file, a clock or randomness: the caller walks the directory without
//! following links, refuses anything that is not a regular file, and passes names and digests.
//!
//! **Invariants.** Nothing of a statement is believed before its signature verified over the exact decoded
//! bytes. The key is the caller's; nothing in a bundle can choose another. Only SHA-256 statements verify.
//! A file that the statement does not list is never in the verified view.

pub mod dsse;
mod error;
pub mod json;
mod key;
mod limits;
pub mod oms;

pub use error::{Difference, SignError, VerifyError};
pub use json::JsonError;
pub use key::{Curve, KeyError, PrivateKey, PublicKey};
