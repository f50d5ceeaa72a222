//! **What.** Linux: sandboxes, porters, control groups, memory-backed mounts, system-call filters, and what of
//! these the host offers.
//!
//! **Why.** A tenant's program must neither see nor reach anything of the node or of other tenants, must end as
//! a whole by one act, and what is enforced must be read back, not believed (controls IS-1 to IS-12, IN-3, DP-4).
//!
//! **Where.** Called by the warden (sandboxes, porters, services), by the porter (leases, inherited descriptors), by
//! control, gateway and relay (what they give up) and by tests. It must never import a core, parse bytes of a tenant, or hold a key.
//!
//! **Invariants.** The only crate with `unsafe`, and that only in `sys`. Processes are forked only from a
//! single-threaded process. All limits are written before the process that they bind exists. A protection counts
//! as enforced only after it was read back or tried.

pub mod cgroup;
pub mod channel;
mod confine;
pub mod error;
pub mod facts;
mod init;
mod launch;
pub mod limits;
pub mod mounts;
pub mod peer;
pub mod porter;

pub mod probe;
pub mod program;
pub mod release;
pub mod report;

mod rootfs;
pub mod sandbox;
pub mod seal;
pub mod seccomp;
pub mod service;
mod single;
pub mod sockets;
mod sys;

pub use error::HostError;
pub use launch::{end, reap};
pub use single::{die_with_parent, enter_user_namespace, keep_needed_capabilities, restart_machine};
pub use sys::{
    Lease, Process, lease, prefer_huge_pages, set_lease, set_lease_signal, signal_fd, take_inherited,
};
