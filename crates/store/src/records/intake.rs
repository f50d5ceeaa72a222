//! Parts of the record of an intake.

use std::collections::BTreeSet;

use base::Digest;
use base::id::JobId;
use base::names::Name;
use serde::{Deserialize, Serialize};

/// A signature that came with a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// The signature, JSON as it came.
    pub bundle: String,
    /// The public key that it is to verify with, PEM; without one the tenant's trust policy says who may have signed.
    #[serde(default)]
    pub key: Option<String>,
    /// SHA-256 of the signer's key, once the signature verified over exactly these files.
    pub verified: Option<Digest>,
    /// Whom the trust policy knew the signer as.
    #[serde(default)]
    pub principals: BTreeSet<String>,
}

/// The model of which another is a next version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Based {
    /// Its name.
    pub name: Name,
    /// Its version.
    pub version: u64,
    /// Its OMS root digest.
    pub root_digest: Digest,
    /// Files whose digests are taken over with the objects that hold them.
    pub reused: BTreeSet<String>,
}

/// What somebody says of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// What.
    pub value: String,
    /// Who, as in events.
    pub by: String,
}

/// What is asked of a model's behaviour: stated before it is measured, and not changed after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Criterion {
    /// The number that a job is to report.
    pub metric: String,
    /// Whether it may not be below `threshold`; if not, it may not be above.
    pub at_least: bool,
    /// The bound.
    pub threshold: f64,
    /// Who stated it, as in events.
    pub by: String,
    /// When, Unix milliseconds.
    pub at_ms: u64,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// The job.
    pub job: JobId,
    /// Who submitted it, as in events.
    pub by: String,
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// Digest of its code.
    pub code: Digest,
    /// Digests of the data that it read, by channel.
    pub data: Vec<(String, Digest)>,
    /// The number that it reported, as it wrote it; none until it is done, or where it reported none.
    pub value: Option<String>,
    /// How it ended; none until then.
    pub ended: Option<String>,
}

/// A step that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntakeStep {
    /// Which.
    pub step: String,
    /// By whom, as in events.
    pub by: String,
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// What was found.
    pub detail: String,
}
