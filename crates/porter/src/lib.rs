//! **What.** The porter: one process per run, in the run's own user, that opens sealed inputs into the run's
//! mounts, and snapshots, inspects and seals what the job commits.
//!
//! **Why.** The bytes that were verified are the bytes that are mapped, plaintext never reaches a disk, and a
//! job's checkpoints are out of its own reach within a second (controls DP-1, TR-1, TR-2, IS-3). The job holds
//! no key and needs no library of ours.
//!
//! **Where.** Started by the warden, without network and capabilities; speaks with control over one inherited
//! socket ([`ops::porter`]). The only privilege it has is being the owner of the job's files, which a read lease
//! needs. It must never link a network stack, the store or an async runtime.
//!
//! **Invariants.** No path of a job is followed through a link or out of its directory. A snapshot is taken only
//! while read leases prove that nobody writes, and is discarded if one is broken. What does not pass inspection
//! is never sealed. A data key is drawn for one file and handed over once. Nothing that a job does blocks it for
//! longer than one read of 1 MiB, or makes this process hold more than its limits.

mod clock;
mod commit;
pub mod error;
mod fill;
pub mod hash;
mod layer;
pub mod limits;
mod recognise;
mod run;
mod seal;
mod snapshot;
mod steps;
pub mod survey;
mod teller;
mod tree;
mod unpack;
mod watch;

pub use error::PorterError;
pub use run::{Options, run};
