//! OpenSSF Model Signing (OMS) v1.0, method `key`, SHA-256.
//!
//! To sign: [`statement`] lists the files, [`crate::dsse::to_sign`] is the digest for whoever holds the key,
//! [`bundle`] puts the signature in its file; [`sign_with_pem`] does all three with a key file. To verify:
//! [`verify`], or [`open`] and then one of the checks of [`Signed`] when the statement decides what is hashed.

mod bundle;
mod name;
mod statement;
mod verify;

pub use bundle::{bundle, open, sign_with_pem};
pub use statement::{Method, Resource, Statement, root_digest, statement};
pub use verify::{Signed, Verified, verify};

/// `mediaType` that is written, and the other spelling of the same version that is read.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
pub(crate) const MEDIA_TYPE_OTHER: &str = "application/vnd.dev.sigstore.bundle+json;version=0.3";

/// Type of the in-toto statement.
pub(crate) const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// Type of the OMS predicate.
pub(crate) const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";

/// What a signer leaves out of a model's directory, at its top level only.
pub const DEFAULT_IGNORED: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];

#[cfg(test)]
mod tests;
