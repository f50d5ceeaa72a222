//! What a new process does to itself before it runs a program: limits, ids, capabilities, Landlock.

use std::io;
use std::os::fd::AsFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::sys;

/// `PR_SET_MEMORY_MERGE`: no page of this process is merged with another's (KSM).
const PR_SET_MEMORY_MERGE: i32 = 67;
/// Highest capability that could exist in a 64-bit set.
const CAPABILITIES: u32 = 63;

/// The step that failed and why.
pub(crate) type Failure = (&'static str, io::Error);
/// The result of a step.
pub(crate) type Step<T = ()> = Result<T, Failure>;

/// For `map_err`: names the step.
pub(crate) fn at<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Failure {
    move |error| (step, error.into())
}

/// Resource limits; none is ever raised.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rlimits {
    pub(crate) files: u64,
    pub(crate) processes: u64,
    pub(crate) file_bytes: u64,
    pub(crate) locked_bytes: u64,
}

/// Lowers each limit, hard and soft; a lower inherited hard limit stays.
pub(crate) fn rlimits(limits: &Rlimits) -> Step {
    let lower = |resource: Resource, value: u64| {
        let hard = rustix::process::getrlimit(resource).maximum.map_or(value, |hard| hard.min(value));
        rustix::process::setrlimit(resource, Rlimit { current: Some(hard), maximum: Some(hard) })
    };
    for (resource, value) in [
        (Resource::Core, 0),
        (Resource::Msgqueue, 0),
        (Resource::Rtprio, 0),
        (Resource::Nice, 0),
        (Resource::Nofile, limits.files),
        (Resource::Nproc, limits.processes),
        (Resource::Fsize, limits.file_bytes),
        (Resource::Memlock, limits.locked_bytes),
    ] {
        lower(resource, value).map_err(at("lower a resource limit"))?;
    }
    Ok(())
}

/// Becomes `uid` and gives up every capability; verified, since a set that stays is an escape.
pub(crate) fn become_user(id: Option<u32>) -> Step {
    if let Some(id) = id {
        let (uid, gid) = (rustix::fs::Uid::from_raw(id), rustix::fs::Gid::from_raw(id));
        rustix::thread::set_thread_groups(&[]).map_err(at("leave all groups"))?;
        rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(at("change group"))?;
        drop_bounding_set()?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(at("change user"))?;
    } else {
        drop_bounding_set()?;
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).map_err(at("drop capabilities"))?;
    let left = rustix::thread::capabilities(None).map_err(at("read back capabilities"))?;
    if left != sets || bounding_set_left() {
        return Err(("read back capabilities", io::ErrorKind::PermissionDenied.into()));
    }
    Ok(())
}

fn drop_bounding_set() -> Step {
    rustix::thread::clear_ambient_capability_set().map_err(at("clear ambient capabilities"))?;
    for bit in 0..CAPABILITIES {
        let Some(one) = one(bit) else { break };
        match rustix::thread::capability_is_in_bounding_set(one) {
            Ok(true) => rustix::thread::remove_capability_from_bounding_set(one)
                .map_err(at("drop the bounding set"))?,
            Ok(false) => {}
            // Past the last capability of this kernel.
            Err(_) => break,
        }
    }
    Ok(())
}

/// The set of one capability.
fn one(bit: u32) -> Option<CapabilitySet> {
    1u64.checked_shl(bit).map(CapabilitySet::from_bits_retain)
}

fn bounding_set_left() -> bool {
    (0..CAPABILITIES)
        .filter_map(one)
        .any(|one| rustix::thread::capability_is_in_bounding_set(one).unwrap_or(false))
}

/// No new privileges, no merged pages, dies with its parent. After the change of user, which clears the last.
pub(crate) fn harden() -> Step {
    rustix::thread::set_no_new_privs(true).map_err(at("set no_new_privs"))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(at("set the death signal"))?;
    // Kernels before 6.4 have neither the switch nor per-process merging: nothing to switch off.
    let _unsupported = sys::prctl(PR_SET_MEMORY_MERGE, 0);
    Ok(())
}

/// What Landlock grants below one open file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    /// Read, list and execute.
    ReadExecute,
    /// Read and list.
    Read,
    /// Everything but executing.
    Write,
    /// Read and write an existing file, as a device node.
    ReadWriteFile,
    /// Execute and read this file.
    ExecuteFile,
}

/// The Landlock ABI that this crate asks for; an older kernel enforces what it knows, and that is reported.
const LANDLOCK: ABI = ABI::V6;

impl Grant {
    fn rights(self) -> BitFlags<AccessFs> {
        match self {
            Self::ReadExecute => AccessFs::from_read(LANDLOCK),
            Self::Read => AccessFs::ReadFile | AccessFs::ReadDir,
            Self::Write => AccessFs::from_all(LANDLOCK) & !AccessFs::Execute,
            Self::ReadWriteFile => AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev,
            Self::ExecuteFile => AccessFs::ReadFile | AccessFs::Execute,
        }
    }
}

/// A grant below a path that is opened now, or below an open descriptor.
#[derive(Debug)]
pub(crate) enum Place<'a> {
    /// A path in the sandbox.
    Path(&'a str),
    /// An open file or directory.
    Fd(std::os::fd::BorrowedFd<'a>),
}

/// Binds this process: only the granted places, no TCP but to the port `connect`, no signals to or abstract sockets of outsiders.
/// Returns the status that the kernel gave: 2 fully, 1 partly, 0 not enforced.
pub(crate) fn landlock(grants: &[(Place<'_>, Grant)], connect: Option<u16>) -> Step<u8> {
    let failed = |error: &dyn std::error::Error| io::Error::other(error.to_string());
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))
        .and_then(|r| r.handle_access(AccessNet::from_all(LANDLOCK)))
        .and_then(|r| r.scope(Scope::from_all(LANDLOCK)))
        .and_then(Ruleset::create)
        .map_err(|e| ("make the Landlock rules", failed(&e)))?;
    if let Some(port) = connect {
        rules = rules
            .add_rule(NetPort::new(port, AccessNet::ConnectTcp))
            .map_err(|e| ("add a Landlock rule", failed(&e)))?;
    }
    for (place, grant) in grants {
        let added = match place {
            Place::Path(path) => {
                let opened = PathFd::new(path).map_err(|e| ("open a place for Landlock", failed(&e)))?;
                rules.add_rule(PathBeneath::new(opened, grant.rights()))
            }
            Place::Fd(fd) => rules.add_rule(PathBeneath::new(fd.as_fd(), grant.rights())),
        };
        rules = added.map_err(|e| ("add a Landlock rule", failed(&e)))?;
    }
    let status = rules.restrict_self().map_err(|e| ("enter Landlock", failed(&e)))?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => 2,
        RulesetStatus::PartiallyEnforced => 1,
        RulesetStatus::NotEnforced => 0,
    })
}
