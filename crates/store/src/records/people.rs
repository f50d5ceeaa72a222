//! Parts of the records of people.

use base::Digest;
use serde::{Deserialize, Serialize};

/// Who a person is to an OpenID provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The provider.
    pub issuer: String,
    /// The person, in its words.
    pub subject: String,
}

/// A link by which a person may enrol a passkey, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// Keyed hash of the secret in the link.
    pub mac: Digest,
    /// When it ends, Unix milliseconds.
    pub ends_ms: u64,
}

/// What was decided on a request for approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decided {
    /// By whom, as in events.
    pub by: String,
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// Whether they approve.
    pub approved: bool,
    /// Why.
    pub reason: Option<String>,
}
