//! Processes with privilege that descend from a network session.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checked, Finding, Sockets};

/// `CAP_SYS_ADMIN` (capabilities(7)).
const SYS_ADMIN: u64 = 1 << 21;
/// OpenSSH's own programs. One whose parent is one of them serves a connection.
const SSHD: [&str; 3] = ["sshd", "sshd-session", "sshd-auth"];
/// Other servers of shells; the kernel keeps 15 bytes of a name. Each is a session, whoever its parent is.
pub(super) const SHELLS: [&str; 12] = [
    "in.telnetd",
    "telnetd",
    "in.rshd",
    "in.rlogind",
    "in.rexecd",
    "rshd",
    "rlogind",
    "rexecd",
    "dropbear",
    "mosh-server",
    "ttyd",
    "shellinaboxd",
];
/// Programs that let people in from the network by settings of their own, which are not read.
const OTHER_DOORS: [&str; 5] = ["dropbear", "lshd", "tailscaled", "teleport", "tinysshd"];
/// Of names that come from processes, so many characters are shown.
const NAME_MAX: usize = 32;

/// A process as `/proc/PID/stat` and `status` show it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its parent's; 0 where there is none.
    pub parent: u32,
    /// Real, effective, saved and file-system user.
    pub uids: [u32; 4],
    /// Its capabilities: the union of effective, permitted and ambient.
    pub capabilities: u64,
    /// The kernel's name of it.
    pub name: String,
    /// Whether it is a thread of the kernel.
    pub kernel: bool,
    /// Whether it is in a user namespace of its own, so that its capabilities are not the host's.
    pub own_users: bool,
}

impl Process {
    /// Whether it is root of the host or as good as that.
    fn is_privileged(&self) -> bool {
        let capable = self.capabilities & SYS_ADMIN != 0 && !self.own_users;
        !self.kernel && (self.uids.contains(&0) || capable)
    }

    fn is_sshd(&self) -> bool {
        SSHD.contains(&self.name.as_str())
    }

    fn shown(&self) -> String {
        let name: String = self.name.chars().take(NAME_MAX).flat_map(char::escape_debug).collect();
        format!("process {} ({name})", self.pid)
    }
}

/// Who holds which network sockets, of the processes that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holders {
    /// The sockets.
    pub held: Vec<Held>,
    /// Processes that could not be looked into.
    pub hidden: BTreeSet<u32>,
}

/// A network socket that a process holds; one that is neither unix nor netlink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The process.
    pub pid: u32,
    /// Its descriptor.
    pub fd: u32,
    /// The socket.
    pub inode: u64,
}

type Table<'a> = BTreeMap<u32, &'a Process>;

fn table(all: &[Process]) -> Table<'_> {
    all.iter().map(|process| (process.pid, process)).collect()
}

/// Everything above a process, its parent first. Ends where a race made a circle.
fn above<'a>(table: &Table<'a>, from: &Process) -> Vec<&'a Process> {
    let (mut seen, mut chain, mut next) = (BTreeSet::from([from.pid]), Vec::new(), from.parent);
    while let Some(process) = table.get(&next) {
        if !seen.insert(process.pid) {
            break;
        }
        chain.push(*process);
        next = process.parent;
    }
    chain
}

/// The processes whose network sockets must be known for [`sessions`]: those with privilege and what is above them.
pub fn asked(all: &[Process]) -> BTreeSet<u32> {
    let table = table(all);
    let privileged = all.iter().filter(|process| process.is_privileged());
    privileged.flat_map(|p| above(&table, p).into_iter().map(|a| a.pid).chain([p.pid])).collect()
}

/// Checks that no other server of logins runs than sshd, whose settings are known.
pub fn other_doors(all: &[Process]) -> Checked {
    let other = all.iter().find(|p| OTHER_DOORS.contains(&p.name.as_str()));
    match other {
        Some(other) => Checked::Unknown(format!(
            "{} lets people in by settings of its own, which are not read: use sshd, or see to it that root is refused",
            other.shown()
        )),
        None => Checked::Clean(format!("none of {} runs", OTHER_DOORS.join(", "))),
    }
}

/// Checks that nothing with privilege is below a network session: below a server of shells that serves a connection,
/// below a process that holds a connected network socket, or with such a socket as its standard input.
///
/// `holders` says this of the processes that [`asked`] names. What is found is told even if some are hidden.
pub fn sessions(all: &[Process], holders: &Holders, sockets: &Sockets) -> Checked {
    let Holders { held, hidden } = holders;
    let table = table(all);
    let connected: BTreeSet<u32> =
        held.iter().filter(|h| sockets.is_connected(h.inode)).map(|h| h.pid).collect();
    let typed: BTreeSet<u32> =
        held.iter().filter(|h| h.fd == 0 && sockets.is_connected(h.inode)).map(|h| h.pid).collect();
    let privileged: Vec<&Process> = all.iter().filter(|process| process.is_privileged()).collect();
    let mut findings = Vec::new();
    for process in &privileged {
        let chain = above(&table, process);
        // sshd serves each connection by processes of root's: these are it, and not what was started in the session.
        let own = if process.is_sshd() { chain.iter().take_while(|p| p.is_sshd()).count() } else { 0 };
        let session = chain.iter().enumerate().skip(own).find_map(|(at, above)| {
            let parent_is_sshd = chain.get(at.saturating_add(1)).is_some_and(|p| p.is_sshd());
            let serves = (above.is_sshd() && parent_is_sshd) || SHELLS.contains(&above.name.as_str());
            match () {
                () if serves => Some(format!("below {}, a network session", above.shown())),
                () if connected.contains(&above.pid) => {
                    Some(format!("below {}, which holds a network connection", above.shown()))
                }
                () => None,
            }
        });
        let own_input = || {
            let typed = typed.contains(&process.pid) && !process.is_sshd();
            typed.then(|| "with a network connection as its standard input".to_owned())
        };
        if let Some(why) = session.or_else(own_input) {
            findings.push(Finding::new(
                format!("{} has root's rights {why}", process.shown()),
                "end it; give whoever needs it a typed operation (`strongroom --help`) in place of sudo, su and set-id \
                 programs in network sessions",
            ));
        }
    }
    if let Some(first) = hidden.first().filter(|_| findings.is_empty()) {
        let name = table.get(first).map_or_else(|| format!("process {first}"), |p| p.shown());
        return Checked::Unknown(format!(
            "the kernel does not let the warden look for network connections in {} of the {} processes that have root's \
             rights or are above such, as {name}",
            hidden.len(),
            asked(all).len()
        ));
    }
    Checked::of(findings, || {
        format!(
            "{} processes, {} with root's rights, none below a network session",
            all.len(),
            privileged.len()
        )
    })
}

/// Checks that the node's own processes with privilege or keys hold no network socket, not even one that is not bound.
pub fn network_sockets(own: &[(&str, u32)], holders: &Holders) -> Checked {
    if let Some((name, pid)) = own.iter().find(|(_, pid)| holders.hidden.contains(pid)) {
        return Checked::Unknown(format!("the {name} (process {pid}) cannot be looked into"));
    }
    let mut findings = Vec::new();
    for (name, pid) in own {
        let count = holders.held.iter().filter(|h| h.pid == *pid).count();
        if count > 0 {
            findings.push(Finding::new(
                format!("the {name} (process {pid}) holds {count} network sockets"),
                "stop the node and compare its programs with those of the release: no program of it opens one there",
            ));
        }
    }
    Checked::of(findings, || {
        let names: Vec<String> = own.iter().map(|(name, pid)| format!("{name} (process {pid})")).collect();
        format!("{} hold no network socket", names.join(" and "))
    })
}
