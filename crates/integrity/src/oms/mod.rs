//! OpenSSF Model Signing (OMS) v1.0: methods `key`, `certificate` and `sigstore`, all its hashes, files and shards.
//!
//! To sign: read each file once through [`Measure`], put what came out in a [`Draft`], and sign that with
//! [`sign_with_key`] or [`sign_with_certificate`]; or, where another process holds the key, [`statement`],
//! [`crate::dsse::to_sign`] and [`bundle()`]. To verify: [`open_with`], then measure the files as
//! [`Statement::serialization`] says and [`Signed::check`]; [`verify`] does both with SHA-256 digests at hand.
//! To sign or verify anew what has hardly changed: [`reuse`].

mod bundle;
mod draft;
mod hash;
mod measure;
mod name;
pub mod reuse;
mod signer;
mod statement;
mod verify;

pub use bundle::{
    Trust, bundle, open, open_sigstore, open_with, sign_with_certificate, sign_with_key, sign_with_pem,
};
pub use draft::{Draft, root_digest, statement};
pub use hash::{FileDigest, FileHasher, HashType};
pub use measure::{Measure, Measured, Method, Serialization};
pub use signer::{CertificateSigner, Signer, SigstoreSigner};
pub use statement::{Resource, Statement};
pub use verify::{Present, Signed, Unsigned, Verified, verify};

/// Forms of the format that are refused unless a caller asks for them. The platform's own policy asks for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accept {
    /// What the reference wrote for shards up to version 1.1.1: `shard_size` as `1000.0`, and the size in the
    /// names of hashes.
    pub legacy_shards: bool,
    /// A signer who followed symbolic links.
    pub symlinks: bool,
}

/// `mediaType` that is written, and the other spelling of the same version that is read.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
pub(crate) const MEDIA_TYPE_OTHER: &str = "application/vnd.dev.sigstore.bundle+json;version=0.3";

/// Type of the in-toto statement.
pub(crate) const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// Type of the OMS predicate.
pub(crate) const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";

/// What the reference calls the file of a model that is one file and no directory. Such a file is passed to
/// [`Signed::check`] under this name if the statement has it; the specification names it by its own name, as we do.
pub const SINGLE: &str = ".";

/// What a signer leaves out of a model's directory, at its top level only.
pub const DEFAULT_IGNORED: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];

#[cfg(test)]
mod tests;
