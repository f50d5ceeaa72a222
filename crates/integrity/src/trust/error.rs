//! Why a document of trust is not taken.

use crate::error::VerifyError;
use crate::json::JsonError;

/// A policy or revocation list that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// Larger than the limit.
    #[error("a document of {len} bytes, limit {limit}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// Neither strict TOML nor strict JSON of the right form.
    #[error("not a document of this kind: {0}")]
    Form(String),
    /// JSON that is not strict.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A value that breaks a rule.
    #[error("{place}: {why}")]
    Value {
        /// Where.
        place: String,
        /// Which rule.
        why: String,
    },
    /// The signature around a revocation list does not hold.
    #[error("the revocation list is not signed as it must be: {0}")]
    Signature(VerifyError),
    /// Older than one that is known, or another under the same number.
    #[error("revocation list {offered} does not replace {known}")]
    Rollback {
        /// The number of the list at hand.
        known: u64,
        /// The number of the other.
        offered: u64,
    },
}

impl TrustError {
    pub(crate) fn value(place: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Value { place: place.into(), why: why.into() }
    }
}

impl base::Explain for TrustError {
    fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } | Self::Form(_) | Self::Json(_) => "SR-INT-0041",
            Self::Value { .. } => "SR-INT-0042",
            Self::Signature(_) => "SR-INT-0043",
            Self::Rollback { .. } => "SR-INT-0044",
        }
    }
    fn fault(&self) -> base::Fault {
        match self {
            Self::Signature(_) | Self::Rollback { .. } => base::Fault::Peer,
            _ => base::Fault::Caller,
        }
    }
    fn help(&self) -> Option<base::Help> {
        Some(match self {
            Self::TooLong { .. } | Self::Form(_) | Self::Json(_) => {
                "`strongroom trust policy example` prints a policy with every part explained"
            }
            Self::Value { .. } => {
                "change it there, then check again with `strongroom trust policy check FILE`"
            }
            Self::Signature(_) => "get the list again from whoever issues it",
            Self::Rollback { .. } => {
                "pass the newest list, whose number is higher than that of all before it"
            }
        })
    }
}
