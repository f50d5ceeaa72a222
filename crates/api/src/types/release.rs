//! Wire types of releases of the platform.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Document, shape};

wire! {
    /// Which release of the platform is active, and what there is beside it.
    "strongroom.releases/1" pub struct Releases {
        /// The active one; none: the programs that are installed.
        #[serde(default)]
        #[schemars(with = "Option<shape::ReleaseVersion>")]
        current: Option<String>,
        /// The one before it.
        #[serde(default)]
        #[schemars(with = "Option<shape::ReleaseVersion>")]
        before: Option<String>,
        /// The one that is being activated, and has not yet come up.
        #[serde(default)]
        #[schemars(with = "Option<shape::ReleaseVersion>")]
        pending: Option<String>,
        /// The last that did not come up.
        #[serde(default)]
        #[schemars(with = "Option<shape::ReleaseVersion>")]
        returned: Option<String>,
        /// Nothing older is activated.
        #[schemars(with = "shape::ReleaseVersion")]
        floor: String,
        /// Those that are staged, the oldest first.
        items: Vec<Release>,
    }

    /// A staged release.
    "strongroom.release/1" pub struct Release {
        /// Its version.
        #[schemars(with = "shape::ReleaseVersion")]
        version: String,
        /// active, before, pending, staged.
        state: String,
        /// Once it was active, nothing older than this is.
        #[schemars(with = "shape::ReleaseVersion")]
        floor: String,
        /// SHA-256 of its manifest.
        #[schemars(with = "shape::Sha256")]
        manifest: String,
    }

    /// A program that was uploaded for the next release to be staged.
    "strongroom.release.file/1" pub struct ReleaseFile {
        /// Which.
        program: String,
        /// Its bytes.
        bytes: u64,
        /// Their SHA-256.
        #[schemars(with = "shape::Sha256")]
        digest: String,
    }
}

request! {
    /// Stages the programs that were uploaded.
    pub struct ReleaseStage {
        /// The manifest, as it was signed.
        #[schemars(with = "shape::ReleaseText")]
        manifest: String,
        /// Its signatures: lines of a key and a signature, in hex.
        #[schemars(with = "shape::ReleaseText")]
        signatures: String,
    }

    /// Activates a release, or the one before.
    pub struct ReleaseActivate {
        /// Why, for the log.
        #[schemars(with = "shape::Reason")]
        reason: String,
        /// Whether jobs and endpoints that are under way are ended with the node.
        #[serde(default)]
        stop_jobs: bool,
    }
}
