//! What control reads of the host for the probe of AC-1: processes, tables of sockets, sshd's files, sockets of
//! container engines. Control has no privilege; what it may not read stays unknown. The one thing that only privilege
//! can see, which process holds which socket, the warden tells.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ops::List;
use ops::warden::{Operation, Response, SOCKET_PIDS_MAX};
use posture::root::sshd::{self, Files, Source, Start, Unread};
use posture::root::{
    Checked, EngineSocket, Held, Holders, Process, Sockets, asked, engines, judge, listeners,
    network_sockets, other_doors, sessions,
};

use crate::Fail;
use crate::node::{Node, correlation};

/// The pid namespace that the kernel starts with (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
const FIRST_PIDS: &str = "pid:[4026531836]";
/// Most processes; the kernel's own limit is 4,194,304, hosts have thousands.
const PROCESSES_MAX: usize = 131_072;
/// Longest file about one process: `status` has some 1.5 KiB, a command line is cut.
const PROCESS_BYTES: u64 = 64 * 1024;
/// Longest table of sockets: 200,000 lines of 150 bytes.
const TABLE_BYTES: u64 = 32 << 20;
/// Longest file of sshd's configuration.
const CONFIG_BYTES: u64 = 1 << 20;
/// Entries of one folder that a pattern is compared with.
const FOLDER_MAX: usize = 4096;
/// `PF_KTHREAD` in the flags of `stat` (include/linux/sched.h).
const KERNEL_THREAD: u64 = 0x0020_0000;
/// Where engines listen. Those of one user, below `/run/user`, are not root's.
const ENGINES: [&str; 7] = [
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/podman/podman.sock",
    "/run/buildkit/buildkitd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/cri-dockerd.sock",
];

/// Looks at everything and judges it.
pub(super) fn remote_root(node: &Node) -> posture::Outcome {
    let processes = processes();
    let sockets = tables();
    let (below, own) = match (&processes, &sockets) {
        (Ok(all), Ok(sockets)) => with_sockets(node, all, sockets),
        (Err(why), _) | (_, Err(why)) => (Checked::Unknown(why.clone()), Checked::Unknown(why.clone())),
    };
    let running = processes.as_ref().map_err(Clone::clone).and_then(|all| servers(all));
    judge(&[
        ("sshd", running.map_or_else(Checked::Unknown, |running| sshd::check(&running, &mut Disk))),
        (
            "other logins",
            processes.as_ref().map_or_else(|why| Checked::Unknown(why.clone()), |all| other_doors(all)),
        ),
        ("processes", below),
        ("listeners", sockets.as_ref().map_or_else(|why| Checked::Unknown(why.clone()), listeners)),
        ("engines", engine_sockets()),
        ("node", own),
    ])
}

/// The checks that need to know who holds which socket.
fn with_sockets(node: &Node, all: &[Process], sockets: &Sockets) -> (Checked, Checked) {
    let warden = rustix::process::getppid().and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok());
    let is_keeper = |p: &&Process| Some(p.parent) == warden && p.uids == [node.config.users.keeper; 4];
    let mut keepers = all.iter().filter(is_keeper).map(|p| p.pid);
    let own = match (warden, keepers.next(), keepers.next()) {
        (Some(warden), Some(keeper), None) => Some([("warden", warden), ("keeper", keeper)]),
        _ => None,
    };
    let mut pids = asked(all);
    pids.extend(own.iter().flatten().map(|(_, pid)| *pid));
    let holders = match holders(node, &pids) {
        Ok(holders) => holders,
        Err(fail) => {
            let why =
                || Checked::Unknown(format!("the warden does not tell who holds sockets: {}", fail.line()));
            return (why(), why());
        }
    };
    let own = own.map_or_else(
        || {
            let why = "the warden and the keeper cannot be told apart: they have no users of their own";
            Checked::Unknown(why.to_owned())
        },
        |own| network_sockets(&own, &holders),
    );
    (sessions(all, &holders, sockets), own)
}

fn holders(node: &Node, pids: &BTreeSet<u32>) -> Result<Holders, Fail> {
    let (pids, mut all) = (pids.iter().copied().collect::<Vec<u32>>(), Holders::default());
    for some in pids.chunks(SOCKET_PIDS_MAX) {
        let operation = Operation::Sockets { pids: List::clip(some.to_vec()) };
        match node.warden.order(&node.keeper, operation, correlation()?, "", "platform")?.0 {
            Response::Sockets { sockets, hidden } => {
                all.held.extend(sockets.iter().map(|s| Held { pid: s.pid, fd: s.fd, inode: s.inode }));
                all.hidden.extend(hidden.iter());
            }
            _ => return Err(Fail::internal("the warden gave an answer of another kind", "sockets")),
        }
    }
    Ok(all)
}

/// Every process of the host, or why not all can be seen.
fn processes() -> Result<Vec<Process>, String> {
    let namespace = fs::read_link("/proc/self/ns/pid").map_err(|e| format!("/proc cannot be read: {e}"))?;
    if namespace != Path::new(FIRST_PIDS) {
        return Err(
            "the node runs in a pid namespace of its own, from which the host's processes are not seen"
                .to_owned(),
        );
    }
    let own_users =
        fs::read_to_string("/proc/self/uid_map").map_err(|e| format!("/proc cannot be read: {e}"))?;
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").map_err(|e| format!("/proc cannot be read: {e}"))? {
        let name = entry.map_err(|e| format!("/proc cannot be read: {e}"))?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        match process(pid, &own_users) {
            Ok(process) => all.push(process),
            Err(error) if gone(&error) => {}
            Err(error) => return Err(format!("process {pid} cannot be read: {error}")),
        }
        if all.len() > PROCESSES_MAX {
            return Err(format!("there are more than {PROCESSES_MAX} processes"));
        }
    }
    // `hidepid` shows each user its own only.
    match all.iter().any(|process| process.pid == 1) {
        true => Ok(all),
        false => {
            Err("the host hides the processes of other users (mount option `hidepid` of /proc)".to_owned())
        }
    }
}

fn gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

fn process(pid: u32, own_users: &str) -> io::Result<Process> {
    let text = |file: &str| read(Path::new(&format!("/proc/{pid}/{file}")), PROCESS_BYTES);
    let (stat, status) = (text("stat")?, text("status")?);
    if has_ended(&stat, &status) {
        return Err(ErrorKind::NotFound.into());
    }
    let users = text("uid_map")?;
    parse(pid, &stat, &status, users != own_users)
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "the kernel's text has another form"))
}

/// Whether it is a zombie, which runs nothing and holds nothing until its parent has asked how it ended. One whose first
/// thread has ended while others run is not.
fn has_ended(stat: &str, status: &str) -> bool {
    let state = stat.rsplit_once(')').and_then(|(_, tail)| tail.split_whitespace().next());
    let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")).map(str::trim);
    state == Some("Z") && threads.is_none_or(|count| count == "1")
}

/// `PID (NAME) STATE PPID PGRP SESSION TTY TPGID FLAGS ...`; the name may hold anything, so the last bracket counts.
fn parse(pid: u32, stat: &str, status: &str, own_users: bool) -> Option<Process> {
    let (head, tail) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let mut fields = tail.split_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let flags: u64 = fields.nth(4)?.parse().ok()?;
    // Of a field that stands twice the first counts: the kernel escapes what a process may choose, its name.
    let field = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let uids: Vec<u32> = field("Uid")?.split_whitespace().map_while(|id| id.parse().ok()).collect();
    let set = |key: &str| u64::from_str_radix(field(key)?.trim(), 16).ok();
    Some(Process {
        pid,
        parent,
        uids: uids.try_into().ok()?,
        capabilities: set("CapEff")? | set("CapPrm")? | set("CapAmb")?,
        name: name.to_owned(),
        kernel: flags & KERNEL_THREAD != 0,
        own_users,
    })
}

/// How each sshd that listens was started.
fn servers(all: &[Process]) -> Result<Vec<Start>, String> {
    let is_sshd = |p: &&Process| p.name == "sshd";
    let sshds: BTreeSet<u32> = all.iter().filter(is_sshd).map(|p| p.pid).collect();
    let mut starts = Vec::new();
    for process in all.iter().filter(is_sshd).filter(|p| !sshds.contains(&p.parent)) {
        let path = format!("/proc/{}/cmdline", process.pid);
        match read(Path::new(&path), PROCESS_BYTES) {
            // What is left of a server that has ended serves its connection, and listens no more.
            Ok(line) if line.starts_with("sshd: ") && !line.contains("[listener]") => {}
            // sshd writes one text of several words over its command line.
            Ok(line) => starts.push(Start::from_words(line.split(|c: char| c == '\0' || c.is_whitespace()))),
            Err(error) if gone(&error) => {}
            Err(error) => return Err(format!("{path} cannot be read: {error}")),
        }
    }
    Ok(starts)
}

/// The sockets of the network in which the host's first process is.
fn tables() -> Result<Sockets, String> {
    let mut sockets = Sockets::default();
    for name in ["tcp", "tcp6", "udp", "udp6"] {
        let path = format!("/proc/1/net/{name}");
        match read(Path::new(&path), TABLE_BYTES) {
            Ok(table) => sockets.add(&table).map_err(|error| format!("{path}: {error}"))?,
            // A kernel without IPv6.
            Err(error) if error.kind() == ErrorKind::NotFound && name.ends_with('6') => {}
            Err(error) => return Err(format!("{path} cannot be read: {error}")),
        }
    }
    Ok(sockets)
}

fn engine_sockets() -> Checked {
    let mut found = Vec::new();
    for path in ENGINES {
        match fs::metadata(path) {
            Ok(meta) => found.push(EngineSocket {
                path: path.to_owned(),
                mode: meta.mode() & 0o7777,
                uid: meta.uid(),
                gid: meta.gid(),
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(_) if for_root_alone(Path::new(path)) => {}
            Err(error) => return Checked::Unknown(format!("{path} cannot be looked at: {error}")),
        }
    }
    engines(&found, ENGINES.len())
}

/// Whether some folder on the way can be entered by root alone.
fn for_root_alone(path: &Path) -> bool {
    let closed = |folder: &Path| {
        fs::metadata(folder)
            .is_ok_and(|m| m.uid() == 0 && m.mode() & 0o001 == 0 && (m.gid() == 0 || m.mode() & 0o010 == 0))
    };
    path.ancestors().skip(1).any(closed)
}

/// A whole text, at most `max` bytes.
fn read(path: &Path, max: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it has more than {max} bytes")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// sshd's files, as control may read them.
struct Disk;

impl Files for Disk {
    fn named(&mut self, pattern: &str) -> Result<Vec<Source>, Unread> {
        let mut sources = Vec::new();
        for path in expand(pattern)? {
            let shown = path.display().to_string();
            let unread = |why: String| {
                Unread(format!(
                    "{shown} cannot be read ({why}); let control's user read it, it holds no secret"
                ))
            };
            // What is no file, such as a pipe, might never end.
            let text = match fs::metadata(&path) {
                Ok(meta) if meta.is_file() => read(&path, CONFIG_BYTES).map_err(|e| unread(e.to_string()))?,
                Ok(meta) if meta.is_dir() => continue,
                Ok(_) => return Err(unread("it is no file".to_owned())),
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(unread(error.to_string())),
            };
            sources.push(Source { path: shown, text });
        }
        Ok(sources)
    }
}

/// The paths that a pattern names, in the order of their names.
fn expand(pattern: &str) -> Result<Vec<PathBuf>, Unread> {
    let refuse = || {
        Unread(format!("the pattern `{}` of sshd's configuration is not worked out", pattern.escape_debug()))
    };
    let mut paths = vec![PathBuf::from("/")];
    for part in pattern.strip_prefix('/').ok_or_else(refuse)?.split('/').filter(|part| !part.is_empty()) {
        if !part.contains(['*', '?', '[', '\\']) {
            paths.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let mut next = Vec::new();
        for folder in &paths {
            let unread = |e: io::Error| Unread(format!("{} cannot be listed: {e}", folder.display()));
            let entries = match fs::read_dir(folder) {
                Ok(entries) => entries,
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    continue;
                }
                Err(error) => return Err(unread(error)),
            };
            let mut names = Vec::new();
            for entry in entries {
                let name = entry.map_err(unread)?.file_name().into_string().map_err(|_| refuse())?;
                if sshd::matches(part, &name).ok_or_else(refuse)? {
                    names.push(name);
                }
                if names.len() > FOLDER_MAX {
                    return Err(refuse());
                }
            }
            names.sort();
            next.extend(names.into_iter().map(|name| folder.join(name)));
        }
        paths = next;
        if paths.len() > FOLDER_MAX {
            return Err(refuse());
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests;
