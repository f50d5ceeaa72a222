//! What the warden does to itself at its start.

use std::fs;
use std::io;

use rustix::process::Signal;
use rustix::thread::UnshareFlags;

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
    Ok((uid, gid))
}
