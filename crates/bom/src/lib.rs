//! **What.** The Model Bill of Materials: how a model was made, as the platform saw it, with a CycloneDX 1.6
//! writer, referential checks, a completeness gate and its in-toto statement.
//!
//! **Why.** A model can be traced to its data, code, environment, hardware and run, interruptions and rejected
//! checkpoints included, and no model is served without that record (requirements MB-1 to MB-6, MB-10). It
//! stops a record that is silent on what happened, a claim that passes for an observation, and a record of
//! one model that is shown for another.
//!
//! **Where.** Control fills [`ModelBom`] and stores what [`to_cyclonedx_1_6`] returns inside a DSSE envelope
//! that the keeper signs; the envelope itself is the business of `integrity`. The command line reads, checks
//! and prints. It must never read a clock or draw randomness: times and the serial number are fields.
//!
//! **Invariants.** Every fact is observed, declared, unknown or not applicable, and says by whom. A
//! declaration never replaces an observation. The same record gives the same bytes. Values of variables and
//! arguments whose name or form looks like a secret are never written.

mod attest;
mod check;
mod cyclonedx;
mod fact;
mod gate;
mod model;
mod redact;
mod summary;

pub use attest::{AttestError, PREDICATE_TYPE, VerifiedBom, bom_digest, parse_statement, statement};
pub use check::{Problem, check, check_record};
pub use cyclonedx::to_cyclonedx_1_6;
pub use fact::{Conflict, Evidence, Fact, Mark};
pub use gate::{Missing, Tier, gate, tier};
pub use model::{
    Base, Cause, Checkpoint, CheckpointState, Code, Dataset, Decision, Environment, FileEntry, Hardware,
    Inspection, Job, Metric, Model, ModelBom, Outcome, Package, PackageSource, Rejected, Role, Segment,
    Signer, Tensor, UnknownField,
};
pub use redact::{command, environment_value};
pub use summary::summary;

#[cfg(test)]
mod tests;
