//! Wire types of trust policies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Document, shape};

wire! {
    /// A version of a tenant's trust policy.
    "strongroom.trust-policy.version/1" pub struct TrustPolicy {
        /// Its number.
        version: u64,
        /// Whether the keeper's signature over it verifies; the newest that does not admits nothing.
        verified: bool,
        /// SHA-256 of its canonical form.
        digest: Option<String>,
        /// Who put it into force.
        by: String,
        /// When.
        applied: String,
        /// Why.
        reason: String,
        /// As it was written; not in lists.
        #[serde(default)]
        text: Option<String>,
        /// Endpoints that were taken out of service by it, in the answer to the request that did.
        #[serde(default)]
        withdrawn: Vec<String>,
    }

    /// What a trust policy would say of one model.
    "strongroom.trust-opinion/1" pub struct TrustOpinion {
        /// `NAME@VERSION`.
        model: String,
        /// Whether it would be admitted.
        admitted: bool,
        /// Whether it is served now.
        served: bool,
        /// Who signed, or everything that stands against it, with stable codes.
        reasons: Vec<String>,
    }

    /// What a trust policy would say of every registered model.
    "strongroom.trust-opinions/1" pub struct TrustOpinions {
        /// SHA-256 of the policy's canonical form.
        digest: String,
        /// Of each model.
        items: Vec<TrustOpinion>,
    }
}

request! {
    /// Puts a trust policy into force.
    pub struct TrustApply {
        /// The policy, in TOML or JSON.
        #[schemars(with = "shape::PolicyText")]
        text: String,
        /// Why, for the log.
        #[schemars(with = "shape::Reason")]
        reason: String,
    }

    /// Asks what a trust policy would say.
    pub struct TrustCheck {
        /// The policy, in TOML or JSON.
        #[schemars(with = "shape::PolicyText")]
        text: String,
    }

    /// Adds a signature to a model.
    pub struct ModelCountersign {
        /// The signature file in OpenSSF Model Signing format.
        #[schemars(with = "shape::PolicyText")]
        bundle: String,
    }
}
