//! Wire types of models.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Document, File, shape};

wire! {
    /// A model.
    "strongroom.model/1" pub struct Model {
        /// Tenant.
        #[schemars(with = "shape::Name")]
        tenant: String,
        /// Name.
        #[schemars(with = "shape::Name")]
        name: String,
        /// Version, from 1.
        version: u64,
        /// registered, quarantined.
        state: String,
        /// Why, if quarantined.
        #[serde(default)]
        reason: Option<String>,
        /// OMS root digest.
        #[schemars(with = "shape::Sha256")]
        digest: String,
        /// Digest of the Model BoM.
        #[serde(default)]
        #[schemars(with = "Option<shape::Sha256>")]
        bom_digest: Option<String>,
        /// Job that made it.
        #[serde(default)]
        #[schemars(with = "Option<shape::JobId>")]
        job: Option<String>,
        /// Files.
        files: Vec<File>,
        /// Verdict of the inspection.
        verdict: String,
        /// Findings of the inspection.
        findings: Vec<String>,
        /// What a trust policy must accept for it to be used, as it names it.
        #[serde(default)]
        risks: Vec<String>,
        /// Who signed.
        signer: String,
        /// When it was registered.
        #[schemars(with = "shape::Time")]
        created: String,
        /// Names of its objects in the store.
        objects: Vec<String>,
    }
}
