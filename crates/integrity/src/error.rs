//! Why a signature was refused, or could not be made.

use base::Digest;

use crate::json::JsonError;
use crate::key::KeyError;
use crate::limits::QUOTE_MAX;
use crate::x509::CertificateError;

/// One file that is not as signed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// Listed in the statement, not there.
    Missing {
        /// Its signed name.
        name: String,
    },
    /// There, with other content.
    Changed {
        /// Its name.
        name: String,
    },
    /// There, not listed and not ignored.
    Extra {
        /// Its name.
        name: String,
    },
    /// A directory without a file, which no signature can cover.
    EmptyDirectory {
        /// Its name.
        name: String,
    },
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing { name } => write!(f, "file `{}` is signed but missing", quote(name)),
            Self::Changed { name } => write!(f, "file `{}` is not as it was signed", quote(name)),
            Self::Extra { name } => write!(f, "file `{}` is not covered by the signature", quote(name)),
            Self::EmptyDirectory { name } => {
                write!(f, "directory `{}` is empty, which no signature covers", quote(name))
            }
        }
    }
}

/// A signature that is not accepted, in the order of the checks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The bundle, envelope or payload is not strict JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The public key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A certificate, a revocation list or a timestamp is not believed.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Signed by another method than the one asked for.
    #[error("signed by method `{found}`, asked for `{asked}`")]
    OtherMethod {
        /// The method of the bundle.
        found: &'static str,
        /// The caller's.
        asked: &'static str,
    },
    /// A member is missing, has another type, or must not be there.
    #[error("the signature file is malformed: {0}")]
    Malformed(String),
    /// Another format or version.
    #[error("{what} is `{found}`, which is not read here")]
    WrongType {
        /// Which member.
        what: &'static str,
        /// What it says.
        found: String,
    },
    /// A standard form that this release does not verify.
    #[error("{0} is not supported here")]
    NotSupported(String),
    /// The bundle names another key than the caller's.
    #[error("signed with another key: the signature names key {named}, yours is {yours}")]
    OtherKey {
        /// Fingerprint in the bundle.
        named: String,
        /// Fingerprint of the caller's key.
        yours: String,
    },
    /// The signature does not verify over the payload with the caller's key.
    #[error("signature does not match")]
    Signature,
    /// The signed statement breaks a rule of the format.
    #[error("the signed statement is invalid: {0}")]
    Statement(String),
    /// The root digest is not that of the listed resources.
    #[error("the signed statement is inconsistent: its resources hash to {computed}, it says {stated}")]
    RootDigest {
        /// What the resources hash to.
        computed: Digest,
        /// What the statement says.
        stated: Digest,
    },
    /// Files are not as signed; at least one, sorted by name.
    #[error("{}", describe(.0))]
    Files(Vec<Difference>),
    /// The caller measured a file in another way than the statement says.
    #[error("file `{name}` was not measured in the way that was signed")]
    Unmeasured {
        /// Its name.
        name: String,
    },
}

fn describe(all: &[Difference]) -> String {
    let first = all.first().map(ToString::to_string).unwrap_or_default();
    match all.len().saturating_sub(1) {
        0 => first,
        more => format!("{first}; {more} more not as signed"),
    }
}

impl base::Explain for VerifyError {
    fn code(&self) -> &'static str {
        match self {
            Self::Json(_) => "SR-INT-0001",
            Self::Malformed(_) => "SR-INT-0002",
            Self::WrongType { .. } => "SR-INT-0003",
            Self::NotSupported(_) => "SR-INT-0004",
            Self::Key(_) => "SR-INT-0005",
            Self::Certificate(error) => error.code(),
            Self::OtherMethod { .. } => "SR-INT-0006",
            Self::OtherKey { .. } => "SR-INT-0011",
            Self::Signature => "SR-INT-0012",
            Self::Statement(_) => "SR-INT-0013",
            Self::RootDigest { .. } => "SR-INT-0014",
            Self::Files(_) => "SR-INT-0015",
            Self::Unmeasured { .. } => "SR-INT-0016",
        }
    }
    fn fault(&self) -> base::Fault {
        match self {
            Self::Key(_) | Self::NotSupported(_) | Self::OtherMethod { .. } => base::Fault::Caller,
            Self::Unmeasured { .. } => base::Fault::Platform,
            _ => base::Fault::Peer,
        }
    }
    fn help(&self) -> Option<base::Help> {
        Some(match self {
            Self::Json(_) | Self::Malformed(_) | Self::WrongType { .. } => {
                "the signature file is damaged or of another kind; get it again from whoever signed it"
            }
            Self::NotSupported(_) => {
                "ask the signer for an OpenSSF Model Signing v1.0 bundle over the files themselves"
            }
            Self::Key(_) => "pass the PEM file of an EC public key on P-256, P-384 or P-521",
            Self::Certificate(error) => return error.help(),
            Self::OtherMethod { .. } => {
                "pass the method that was used with `strongroom model verify --method`, and whom you trust for it"
            }
            Self::OtherKey { .. } => "pass the public key of the signer whom you mean to trust",
            Self::Signature | Self::Statement(_) | Self::RootDigest { .. } => {
                "do not use the file; get it and its signature again from the signer"
            }
            Self::Files(_) => {
                "do not load the model; get the named files again, or sign what is there yourself"
            }
            Self::Unmeasured { .. } => {
                "verify again; if it fails again, report it with `strongroom --version`"
            }
        })
    }
}

/// A statement that cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The model has no file.
    #[error("there is no file to sign")]
    Empty,
    /// More files than a statement may list.
    #[error("{0} files are too many for one statement")]
    TooMany(usize),
    /// The model has no name.
    #[error("the model has no name")]
    NoName,
    /// A name that the format cannot carry.
    #[error("file name `{name}` cannot be signed: {why}")]
    Name {
        /// The name.
        name: String,
        /// Which rule it breaks.
        why: &'static str,
    },
    /// A name twice, or a file under a path that is to be ignored.
    #[error("file `{name}` {why}")]
    Conflict {
        /// The name.
        name: String,
        /// What it conflicts with.
        why: &'static str,
    },
    /// The private key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The certificate is of another key than the one that signs.
    #[error("the certificate of `{subject}` is not of this private key")]
    OtherKey {
        /// Whose certificate.
        subject: String,
    },
    /// The signing operation failed, or gave a signature that does not verify.
    #[error("the signature could not be made")]
    Signature,
}

impl base::Explain for SignError {
    fn code(&self) -> &'static str {
        match self {
            Self::Empty | Self::TooMany(_) => "SR-INT-0021",
            Self::NoName => "SR-INT-0022",
            Self::Name { .. } | Self::Conflict { .. } => "SR-INT-0023",
            Self::Key(_) => "SR-INT-0005",
            Self::Certificate(error) => error.code(),
            Self::OtherKey { .. } => "SR-INT-0025",
            Self::Signature => "SR-INT-0024",
        }
    }
    fn fault(&self) -> base::Fault {
        match self {
            Self::Signature => base::Fault::Platform,
            _ => base::Fault::Caller,
        }
    }
    fn help(&self) -> Option<base::Help> {
        Some(match self {
            Self::Empty | Self::TooMany(_) => "pass the directory that holds the model's files",
            Self::NoName => "pass a directory that has a name",
            Self::Name { .. } | Self::Conflict { .. } => "rename or remove the file, then sign again",
            Self::Key(_) => "pass an unencrypted PEM file of an EC private key on P-256, P-384 or P-521",
            Self::Certificate(error) => return error.help(),
            Self::OtherKey { .. } => "pass the private key to which the certificate belongs",
            Self::Signature => "sign again; if it fails again, check the key with `strongroom doctor`",
        })
    }
}

/// A text from outside as it may stand in a message: escaped and cut.
pub(crate) fn quote(text: &str) -> String {
    let mut out: String = text.chars().take(QUOTE_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(QUOTE_MAX).is_some() {
        out.push('…');
    }
    out
}
