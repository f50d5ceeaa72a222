//! Safe mode, break-glass and recovery codes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Document, shape};

wire! {
    /// Where the node stands.
    "strongroom.safe-mode/1" pub struct SafeMode {
        /// Name of the node.
        #[schemars(with = "shape::Name")]
        node: String,
        /// Whether it is in safe mode: no key of a tenant is in use, and nothing of a tenant runs.
        safe: bool,
        /// Whether what runs is what runs in this mode; false for the moment in which it changes.
        settled: bool,
        /// Since when.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<shape::Time>")]
        since: Option<String>,
        /// Who entered it, as in events.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The open window of break-glass.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        break_glass: Option<BreakGlass>,
        /// Who holds recovery codes; empty before they are made.
        holders: Vec<String>,
        /// What holders sign the next act under, 64 hex digits.
        #[schemars(with = "shape::Sha256")]
        challenge: String,
    }
}

/// An open window of break-glass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BreakGlass {
    /// Who opened it.
    #[schemars(with = "shape::Name")]
    pub holder: String,
    /// Why.
    pub reason: String,
    /// When.
    #[schemars(with = "shape::Time")]
    pub since: String,
    /// When it ends by itself.
    #[schemars(with = "shape::Time")]
    pub ends: String,
}

/// Somebody who holds a recovery code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// Their name.
    #[schemars(with = "shape::Name")]
    pub name: String,
    /// The Ed25519 key whose seed comes from their code, 64 hex digits.
    #[schemars(with = "shape::Sha256")]
    pub key: String,
}

/// A holder's signature of an act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Who signs.
    #[schemars(with = "shape::Name")]
    pub holder: String,
    /// Ed25519, 128 hex digits.
    #[schemars(with = "shape::Signature")]
    pub signature: String,
}

request! {
    /// Enters safe mode.
    pub struct SafeModeEnter {
        /// Why, for the log.
        #[schemars(with = "shape::Reason")]
        reason: String,
        /// Even if there are no recovery codes: then it is left with the node down alone.
        #[serde(default)]
        even_unsealed: bool,
    }

    /// Leaves safe mode.
    pub struct SafeModeLeave {
        /// Why, for the log.
        #[schemars(with = "shape::Reason")]
        reason: String,
        /// Of two holders or more.
        proofs: Vec<Proof>,
    }

    /// Makes these the holders of recovery codes.
    pub struct BreakGlassSeal {
        /// Two or more, 16 at most.
        holders: Vec<Holder>,
        /// Of two holders before; none the first time.
        #[serde(default)]
        proofs: Vec<Proof>,
    }

    /// Opens break-glass; the node enters safe mode.
    pub struct BreakGlassOpen {
        /// Why, for the log.
        #[schemars(with = "shape::Reason")]
        reason: String,
        /// How long, 60 to 14,400 seconds.
        seconds: u32,
        /// Of one holder.
        proofs: Vec<Proof>,
    }
}
