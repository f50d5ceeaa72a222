//! Who signed, as far as the method says.

use base::{Digest, Timestamp};

/// Whoever made a signature that verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signer {
    /// The holder of a key (method `key`).
    Key {
        /// The OMS fingerprint of the public key: SHA-256 of its PEM text.
        key: Digest,
    },
    /// The subject of a certificate (method `certificate`).
    Certificate(CertificateSigner),
    /// An identity that a Sigstore authority certified (method `sigstore`).
    Sigstore(SigstoreSigner),
}

/// The subject of a certificate whose path ends at a root of the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSigner {
    /// The OMS fingerprint of the certified key.
    pub key: Digest,
    /// SHA-256 of the certificate.
    pub certificate: Digest,
    /// SHA-256 of each certificate above it, the root last.
    pub issuers: Vec<Digest>,
    /// The subject's distinguished name (RFC 4514).
    pub subject: String,
    /// E-mail addresses, URIs and DNS names of the subject.
    pub names: Vec<String>,
    /// The time at which every certificate of the path was within its validity.
    pub at: Timestamp,
    /// Whether that time is of a trusted timestamp, and not of the caller's clock.
    pub timestamped: bool,
}

/// An identity with the provider that vouches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigstoreSigner {
    /// The OMS fingerprint of the certified key, which was used once.
    pub key: Digest,
    /// SHA-256 of the certificate.
    pub certificate: Digest,
    /// The subject: an e-mail address or a URI.
    pub identity: String,
    /// The OpenID provider that vouched for it.
    pub issuer: String,
    /// When the log or a timestamp says that it was signed.
    pub at: Timestamp,
}

impl Signer {
    /// The OMS fingerprint of the key that made the signature.
    pub const fn key(&self) -> Digest {
        match self {
            Self::Key { key } => *key,
            Self::Certificate(signer) => signer.key,
            Self::Sigstore(signer) => signer.key,
        }
    }

    /// The name of the method.
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Key { .. } => "key",
            Self::Certificate(_) => "certificate",
            Self::Sigstore(_) => "sigstore",
        }
    }
}
