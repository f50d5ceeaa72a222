//! Trust policy of a tenant: whose signatures count for which models, how many, and what else must hold.
//!
//! Everything is a value. A caller reads a [`Policy`] (and, if it asks for one, a [`Revocations`] list), opens each
//! signature file with [`Policy::open`], gathers [`Facts`], and asks [`evaluate`], which says yes or no with every
//! reason. The answer depends on nothing else: not on the order of anything, not on a clock, not on an earlier
//! answer. [`next_floor`] says how far a release raises the floor below which no older one is admitted.

mod datasets;
mod decide;
mod document;
mod error;
mod pattern;
mod policy;
mod revocations;

pub use datasets::Datasets;
pub use decide::{
    Decision, Facts, Inspection, Reason, Stage, Verdict, against_content, evaluate, next_floor,
};
pub use error::TrustError;
pub use pattern::Pattern;
pub use policy::{Credential, Policy, Principal, Rule};
pub use revocations::{Entry, Kind, REVOCATIONS_TYPE, Revocations};

/// A policy with every part explained.
pub const EXAMPLE: &str = include_str!("example.toml");

#[cfg(test)]
mod tests;
