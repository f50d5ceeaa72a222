//! What the files of a data set were recognised as.

use serde::{Deserialize, Serialize};

/// What a version of a data set holds, as it was recognised when it was imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contents {
    /// Version of the rules by which it was recognised.
    pub rules: String,
    /// Of each file, in the order of the files.
    pub files: Vec<Content>,
    /// What is in it that runs in the program which opens it, and that a policy accepted: `pickle`, `code`.
    pub accepted: Vec<String>,
    /// Version of the trust policy that did.
    pub policy: Option<u64>,
}

/// What one file was recognised as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// Its format.
    pub format: String,
    /// How many records it holds, if that can be told.
    pub records: Option<u64>,
    /// What a record is.
    pub unit: String,
    /// Columns of a table.
    pub columns: Option<u64>,
    /// What runs in the program that opens it: `pickle`, `code`.
    pub carries: Vec<String>,
    /// What else is to be said.
    pub notes: Vec<String>,
}
