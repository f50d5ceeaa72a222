//! **What.** The rules of a training job: its file, the run contract, the checkpoint chain, where to resume,
//! when to restart, what to keep, what looks wrong and how far it is.
//!
//! **Why.** Training is recovered after a failure or an attack from a checkpoint that verifies (controls TR-1 to
//! TR-4). Stops: a swapped, replayed or poisoned checkpoint, a changed data set or script, a restart loop, and a
//! job that silently stops saving.
//!
//! **Where.** Called by control (job file, resume, manifests, restarts), by the porter (metrics) and by the
//! command line (job file). It must never import an adapter or a shell, do I/O, read a clock or draw randomness.
//!
//! **Invariants.** A version that failed a check is never chosen, and the chosen one is the newest that passes
//! them all. Retention never goes below two good versions. Equal manifests are equal bytes. A job file without a
//! checkpoint policy is refused.

pub mod contract;
pub mod jobfile;
pub mod limits;
pub mod manifest;
pub mod monitor;
pub mod policy;
pub mod progress;
pub mod resume;
mod words;

pub use contract::{Contract, RunConfig};
pub use jobfile::{JobFileError, JobSpec};
pub use manifest::Manifest;
pub use resume::{Decision, Resume};
