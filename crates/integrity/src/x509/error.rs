//! Why a certificate, a revocation list or a timestamp is not believed.

use base::Timestamp;

/// A certificate path that is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// It cannot be read.
    #[error("not {what} that is read here")]
    Malformed {
        /// What it was taken for.
        what: &'static str,
    },
    /// It holds a critical extension that is not understood.
    #[error("critical extension {oid} is not understood")]
    Critical {
        /// Its object identifier.
        oid: String,
    },
    /// No path leads from the certificate to a root of the caller.
    #[error("no path from `{subject}` to a trusted root: {why}")]
    NoPath {
        /// Whose certificate.
        subject: String,
        /// What stood in the way.
        why: String,
    },
    /// Before its validity.
    #[error("the certificate of `{subject}` is not valid before {from} (asked for {at})")]
    NotYet {
        /// Whose certificate.
        subject: String,
        /// Its first moment.
        from: Timestamp,
        /// The time in question.
        at: Timestamp,
    },
    /// After its validity.
    #[error("the certificate of `{subject}` expired at {until} (asked for {at})")]
    Expired {
        /// Whose certificate.
        subject: String,
        /// Its last second.
        until: Timestamp,
        /// The time in question.
        at: Timestamp,
    },
    /// It is not meant for this.
    #[error("the certificate of `{subject}` cannot be used: {why}")]
    Use {
        /// Whose certificate.
        subject: String,
        /// What it lacks.
        why: &'static str,
    },
    /// Its issuer took it back.
    #[error("the certificate of `{subject}` was revoked at {since}")]
    Revoked {
        /// Whose certificate.
        subject: String,
        /// Since when.
        since: Timestamp,
    },
    /// Nothing current says that it was not taken back.
    #[error("whether the certificate of `{subject}` was revoked is not known: {why}")]
    RevocationUnknown {
        /// Whose certificate.
        subject: String,
        /// What is missing.
        why: String,
    },
    /// A timestamp over the signature that is not believed.
    #[error("the timestamp is not accepted: {why}")]
    Timestamp {
        /// Which rule it breaks.
        why: String,
    },
    /// Another subject than the one asked for.
    #[error("signed by `{found}`, not by `{wanted}`")]
    Identity {
        /// Who signed.
        found: String,
        /// Who was to have signed.
        wanted: String,
    },
    /// The evidence of a Sigstore bundle does not hold.
    #[error("the Sigstore evidence is not accepted: {why}")]
    Sigstore {
        /// What was wrong.
        why: String,
    },
}

impl base::Explain for CertificateError {
    fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } | Self::Critical { .. } => "SR-INT-0031",
            Self::NoPath { .. } => "SR-INT-0032",
            Self::NotYet { .. } | Self::Expired { .. } => "SR-INT-0033",
            Self::Use { .. } => "SR-INT-0034",
            Self::Revoked { .. } => "SR-INT-0035",
            Self::RevocationUnknown { .. } => "SR-INT-0036",
            Self::Timestamp { .. } => "SR-INT-0037",
            Self::Identity { .. } => "SR-INT-0038",
            Self::Sigstore { .. } => "SR-INT-0039",
        }
    }
    fn fault(&self) -> base::Fault {
        base::Fault::Peer
    }
    fn help(&self) -> Option<base::Help> {
        Some(match self {
            Self::Malformed { .. } | Self::Critical { .. } => {
                "pass certificates and revocation lists in PEM or DER, as the authority publishes them"
            }
            Self::NoPath { .. } => {
                "pass the root of the signer's authority with `strongroom model verify --certificate-chain`"
            }
            Self::NotYet { .. } | Self::Expired { .. } => {
                "ask for a signature with a current certificate, or one with a timestamp, and pass `--tsa-roots`"
            }
            Self::Use { .. } => "ask the signer for a certificate that is meant to sign code",
            Self::Revoked { .. } => "do not use the file; ask the signer for one signed with another key",
            Self::RevocationUnknown { .. } => {
                "get the current revocation list of each authority and pass it with `--crl`"
            }
            Self::Timestamp { .. } => {
                "pass the root of the timestamp authority with `--tsa-roots`, or ask for a new timestamp"
            }
            Self::Identity { .. } => {
                "pass the identity of the signer whom you mean to trust with `--identity`"
            }
            Self::Sigstore { .. } => {
                "pass the trusted root of the Sigstore instance with `--trust-config`, or get the bundle again"
            }
        })
    }
}
