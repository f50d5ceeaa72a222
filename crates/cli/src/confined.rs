//! The confined half of `model inspect`: a process that reads one file on standard input, may allocate a
//! bounded amount, and can open, connect to, start or write nothing.

use std::io::{Read, Write};

use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};
use rustix::process::{Resource, Rlimit, setrlimit};

/// Name of the hidden command.
pub(crate) const COMMAND: &str = "inspect-child";
/// Address space beside the file: the limits of `inspect` allow a memo and nodes of this order.
const SPACE_BYTES: u64 = 512 << 20;
/// CPU time for the first bytes; the limit on pickle opcodes (2.5 s) and slow machines fit in it.
const CPU_SECONDS: u64 = 30;
/// CPU time grows with the file: at least 16 MiB a second, measuring included.
const CPU_BYTES_A_SECOND: u64 = 16 << 20;
/// Largest file that is inspected: it is held in memory.
pub(crate) const FILE_MAX: u64 = 64 << 30;

/// Gives up everything that reading standard input does not need.
///
/// # Errors
/// A limit cannot be set. Landlock is used as far as the kernel has it.
pub(crate) fn confine(size: u64) -> std::io::Result<()> {
    let limit = |resource, value| {
        setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })
            .map_err(std::io::Error::from)
    };
    limit(Resource::As, size.saturating_add(SPACE_BYTES))?;
    limit(Resource::Cpu, CPU_SECONDS.saturating_add(size / CPU_BYTES_A_SECOND))?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Nproc, 0)?;
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
    // Standard input, output and error are open already; from here on nothing else can be.
    limit(Resource::Nofile, 3)
}

/// Reads standard input, whole: exactly `size` bytes.
///
/// # Errors
/// It is shorter or longer.
pub(crate) fn read_input(size: u64) -> std::io::Result<Vec<u8>> {
    let capacity = usize::try_from(size).map_err(std::io::Error::other)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(capacity.saturating_add(1)).map_err(std::io::Error::other)?;
    std::io::stdin().lock().take(size.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() == capacity {
        Ok(bytes)
    } else {
        Err(std::io::Error::other("the file changed while it was read"))
    }
}

/// Writes the report.
///
/// # Errors
/// Nobody reads it.
pub(crate) fn write_output(report: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(report)?;
    out.flush()
}
