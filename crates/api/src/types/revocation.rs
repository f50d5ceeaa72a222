//! Wire types of what is not to be used any more.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Document, shape};

wire! {
    /// What is not to be used any more.
    "strongroom.revocation/1" pub struct Revocation {
        /// Root digest of a model, manifest digest of a data set, or SHA-256 of a file, in hex.
        digest: String,
        /// model, dataset, file.
        kind: String,
        /// Which, for people.
        subject: String,
        /// Why.
        reason: String,
        /// By whom.
        by: String,
        /// Since when.
        since: String,
        /// Endpoints that were taken out of service by it, in the answer to the request that did.
        #[serde(default)]
        withdrawn: Vec<String>,
    }
}

request! {
    /// Takes something out of use: one of these.
    pub struct RevocationCreate {
        /// A version of a model, `NAME@VERSION`.
        #[serde(default)]
        model: Option<String>,
        /// A version of a data set, `NAME@VERSION`.
        #[serde(default)]
        dataset: Option<String>,
        /// A file, by its SHA-256 in hex, whatever it is a part of.
        #[serde(default)]
        file: Option<String>,
        /// Why, for the log.
        #[schemars(with = "shape::Reason")]
        reason: String,
    }

    /// Lets something be used again.
    pub struct RevocationLift {
        /// Why, for the log.
        #[schemars(with = "shape::Reason")]
        reason: String,
    }
}
