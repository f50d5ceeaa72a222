//! **What.** Model signatures (OpenSSF Model Signing v1.0 by keys and by certificates of private authorities), DSSE
//! envelopes, and the strict readers of JSON and X.509 that they stand on.
//!
//! **Why.** A model is verified before use, by signature and by the digest of every file (controls "AI models
//! must be verified before use", "verify not tampered with before starting"). It stops a changed, added,
//! missing or renamed file, an edited statement, a signature of another key, a certificate that is expired, revoked
//! or meant for something else, and the defects of the reference implementation (expired certificates that verify,
//! shards that cannot be verified, ignored paths that stay loadable, duplicate JSON members read two ways).
//!
//! **Where.** Called by control and the warden to verify, by the keeper to sign, and by the command line on
//! plain files. It must never read a file, a clock or randomness: the caller walks the directory without
//! following links, refuses anything that is not a regular file, and passes names and digests.
//!
//! **Invariants.** Nothing of a statement is believed before its signature verified over the exact decoded
//! bytes. The key or the root is the caller's; nothing in a bundle can choose another. Certificates count at the
//! caller's time, or at one that a trusted timestamp proves.
//! A file that the statement does not list is never in the verified view.

pub mod dsse;
mod error;
pub mod intake;
pub mod json;
mod key;
mod limits;
pub mod oms;
pub mod trust;
mod x509;

pub use error::{Difference, SignError, VerifyError};
pub use json::JsonError;
pub use key::{Curve, KeyError, PrivateKey, PublicKey};
pub use x509::{Certificate, CertificateError, CertificateTrust, Crl};
