//! What the node's own processes with listeners give up for the rest of their life: new ways to the network.
//!
//! A new socket is refused by a system-call filter. A connection that was accepted could be taken apart and connected
//! elsewhere (connect(2), `AF_UNSPEC`), which no filter can see: that is refused by Landlock.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus,
};

use crate::error::HostError;
use crate::seccomp::{Sealed, sealed};
use crate::sys;

/// The first ABI that has TCP.
const LANDLOCK: ABI = ABI::V4;
/// What libc reads to resolve names, and what it loads for that.
const RESOLVER: [&str; 6] = ["/etc", "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/run/systemd/resolve"];

/// Nothing of this thread, nor what it starts, connects by TCP from here on; for a process that has one thread yet. Whether
/// the kernel enforces that.
///
/// # Errors
/// The kernel offers it and refuses it.
pub fn connects_nowhere() -> Result<bool, HostError> {
    no_new_privileges()?;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessNet::ConnectTcp)
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(|e| HostError::at("forbid connections")(std::io::Error::other(e)))?;
    Ok(status.ruleset == RulesetStatus::FullyEnforced)
}

/// No thread of this process makes a socket that is not local from here on, executes anything, or looks into another
/// process.
///
/// # Errors
/// The kernel refuses the filter.
pub fn makes_no_sockets() -> Result<(), HostError> {
    no_new_privileges()?;
    sys::seccomp_all_threads(&sealed(Sealed::Local)).map_err(HostError::at("forbid sockets"))
}

/// What the relay gives up when its socket is bound, while it has one thread: files but those by which names are resolved,
/// writing any, listening, executing. Whether the kernel enforces what is about files.
///
/// # Errors
/// The kernel refuses.
pub fn relays_only() -> Result<bool, HostError> {
    no_new_privileges()?;
    let failed = |e: landlock::RulesetError| HostError::at("forbid files")(std::io::Error::other(e));
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))
        .and_then(|r| r.handle_access(AccessNet::BindTcp))
        .and_then(Ruleset::create)
        .map_err(failed)?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    for place in RESOLVER {
        // A host has some of them.
        if let Ok(opened) = PathFd::new(place) {
            rules = rules.add_rule(PathBeneath::new(opened, read)).map_err(failed)?;
        }
    }
    let status = rules.restrict_self().map_err(failed)?;
    sys::seccomp_all_threads(&sealed(Sealed::Relay)).map_err(HostError::at("forbid sockets"))?;
    Ok(status.ruleset == RulesetStatus::FullyEnforced)
}

fn no_new_privileges() -> Result<(), HostError> {
    rustix::thread::set_no_new_privs(true).map_err(HostError::at("set no_new_privs"))
}
