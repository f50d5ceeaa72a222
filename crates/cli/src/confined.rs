//! The confined half of `model inspect`: a process that is handed open files one after the other, may allocate a
//! bounded amount, and can open, connect to, start or write nothing.

use std::os::fd::AsFd;

use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Name of the hidden command.
pub(crate) const COMMAND: &str = "inspect-child";
/// Address space beside the file: the limits of `inspect` allow a memo and nodes of this order.
const SPACE_BYTES: u64 = 512 << 20;
/// CPU time for the first bytes of a file; the limit on pickle opcodes (2.5 s) and slow machines fit in it.
const CPU_SECONDS: u64 = 30;
/// CPU time grows with the file: at least 16 MiB a second, measuring included.
const CPU_BYTES_A_SECOND: u64 = 16 << 20;
/// CPU time of a process for all files that it is handed.
const CPU_SECONDS_ALL: u64 = 3_600;
/// Largest file that is inspected: it is held in memory.
pub(crate) const FILE_MAX: u64 = 64 << 30;
/// Standard input, output and error, the copy of the first that is read, and one file.
const DESCRIPTORS: u64 = 5;

fn limit(resource: Resource, current: u64, maximum: u64) -> std::io::Result<()> {
    let limit = Rlimit { current: Some(current), maximum: Some(maximum) };
    setrlimit(resource, limit).map_err(std::io::Error::from)
}

/// Gives up everything that files of at most `largest` bytes do not need.
///
/// # Errors
/// A limit cannot be set. Landlock is used as far as the kernel has it.
pub(crate) fn confine(largest: u64) -> std::io::Result<()> {
    let space = largest.saturating_add(SPACE_BYTES);
    limit(Resource::As, space, space)?;
    let seconds = CPU_SECONDS_ALL.saturating_add(largest / CPU_BYTES_A_SECOND);
    limit(Resource::Cpu, seconds, seconds)?;
    for resource in [Resource::Core, Resource::Fsize, Resource::Nproc] {
        limit(resource, 0, 0)?;
    }
    rustix::thread::set_no_new_privs(true)?;
    let abi = ABI::V6;
    // No rule is added: nothing may be opened, bound, connected to or signalled.
    let restricted = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .and_then(|r| r.handle_access(AccessNet::from_all(abi)))
        .and_then(|r| r.scope(Scope::from_all(abi)))
        .and_then(|r| r.create())
        .and_then(landlock::RulesetCreated::restrict_self);
    restricted.map_err(std::io::Error::other)?;
    limit(Resource::Nofile, DESCRIPTORS, DESCRIPTORS)
}

/// Allots CPU time to one file, counted from now. At its end the kernel ends the process.
///
/// # Errors
/// The limit cannot be set.
pub(crate) fn allot(used_seconds: u64, size: u64) -> std::io::Result<()> {
    let maximum = getrlimit(Resource::Cpu).maximum.unwrap_or(CPU_SECONDS_ALL);
    let seconds = CPU_SECONDS.saturating_add(size / CPU_BYTES_A_SECOND).saturating_add(used_seconds);
    limit(Resource::Cpu, seconds.min(maximum), maximum)
}

/// The socket on which files are handed over: standard input.
///
/// # Errors
/// It is no such socket.
pub(crate) fn inbox() -> std::io::Result<link::Conn> {
    let fd = std::io::stdin().as_fd().try_clone_to_owned()?;
    link::Conn::from_fd(fd).map_err(std::io::Error::other)
}
