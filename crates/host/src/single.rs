//! What the warden does to itself at its start.

use std::fs;
use std::io;

use rustix::process::Signal;
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};

use crate::error::HostError;
use crate::sys;

/// Ends this process when the one that started it ends.
///
/// # Errors
/// The starter has already gone.
pub fn die_with_parent() -> Result<(), HostError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(HostError::at("set the death signal"))?;
    match rustix::process::getppid() {
        Some(parent) if parent != rustix::process::Pid::INIT => Ok(()),
        _ => Err(HostError::at("look for the starter")(io::Error::from(io::ErrorKind::NotFound))),
    }
}

/// What the warden needs as root, and keeps: namespaces, mounts and groups; users of new processes and their
/// bounding sets; owners and modes of the state; signals; reading back what is enforced on other users' processes.
const KEPT: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SYS_PTRACE);

/// As root: gives up every capability that the warden does not need, for itself and all that it starts, and for ever:
/// no program that any of them executes gains a privilege, set-user-id or not. `restarts` is whether it may start the
/// machine again ([`restart_machine`]).
///
/// # Errors
/// The kernel's.
pub fn keep_needed_capabilities(restarts: bool) -> Result<(), HostError> {
    let needed = if restarts { KEPT.union(CapabilitySet::SYS_BOOT) } else { KEPT };
    rustix::thread::clear_ambient_capability_set().map_err(HostError::at("clear ambient capabilities"))?;
    for one in (0..63u32).filter_map(|bit| 1u64.checked_shl(bit)).map(CapabilitySet::from_bits_retain) {
        // An error means past the last capability of this kernel.
        if !needed.contains(one) && rustix::thread::capability_is_in_bounding_set(one).unwrap_or(false) {
            rustix::thread::remove_capability_from_bounding_set(one)
                .map_err(HostError::at("narrow the bounding set"))?;
        }
    }
    let held = rustix::thread::capabilities(None).map_err(HostError::at("read own capabilities"))?;
    let kept = held.permitted.intersection(needed);
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(HostError::at("give up capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(HostError::at("set no_new_privs"))
}

/// Writes everything that is only in memory to the disks, then starts the machine again at once, without asking any
/// process to end: whoever calls this has done so. In a pid namespace of its own it ends that namespace (reboot(2)).
///
/// # Errors
/// The kernel's; on success nothing returns.
pub fn restart_machine() -> Result<(), HostError> {
    rustix::fs::sync();
    rustix::system::reboot(rustix::system::RebootCommand::Restart)
        .map_err(HostError::at("start the machine again"))
}

/// Without root: enters a user namespace in which this one user keeps its number, and a mount namespace, so that
/// sandboxes can be made. Returns user and group.
///
/// # Errors
/// The host does not let ordinary users make user namespaces.
pub fn enter_user_namespace() -> Result<(u32, u32), HostError> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)
        .map_err(HostError::at("enter a user namespace"))?;
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{uid} {uid} 1")),
        ("gid_map", format!("{gid} {gid} 1")),
    ] {
        fs::write(format!("/proc/self/{file}"), text).map_err(HostError::at("map the user"))?;
    }
    rustix::thread::set_no_new_privs(true).map_err(HostError::at("set no_new_privs"))?;
    Ok((uid, gid))
}
