//! A sandbox, from the outside: prepares everything, forks the first process of new namespaces, maps its ids,
//! puts it under its limits, and only then lets it go on (its side is in `init`).

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, Signal};

use crate::cgroup::Group;
use crate::channel;
use crate::confine::Rlimits;
use crate::error::HostError;
use crate::init::{self, Plan};
use crate::limits::{
    INNER_UID, SCRATCH_INODES, SETUP_MS, SHM_BYTES, SLOT_MAX, TMP_MIN_BYTES, TMP_PERCENT, UID_BASE,
    UIDS_PER_SLOT,
};
use crate::mounts::{self, Tmpfs};
use crate::program::Program;
use crate::rootfs::{Prepared, Shown};
use crate::seccomp::{Filter, Profile};
use crate::sys::{self, Process};

/// Namespaces of every sandbox; the cgroup namespace is entered once the process is in its groups.
const NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// Which ids of the host a run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// A range of its own, disjoint from every other slot's and from the host's users.
    Slot {
        /// The slot, below [`SLOT_MAX`].
        slot: u32,
    },
    /// One user, that of the node itself: a node without root. Separation by user is then not enforced.
    Single {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
    },
}

impl Ids {
    /// A slot of its own.
    ///
    /// # Errors
    /// Above [`SLOT_MAX`].
    pub fn slot(slot: u32) -> Result<Self, HostError> {
        if slot > SLOT_MAX {
            return Err(HostError::Invalid(format!("user slot {slot} is above {SLOT_MAX}")));
        }
        Ok(Self::Slot { slot })
    }

    /// The host's id of the namespace's root.
    pub fn owner(self) -> u32 {
        match self {
            Self::Slot { slot } => UID_BASE.saturating_add(slot.saturating_mul(UIDS_PER_SLOT)),
            Self::Single { uid, .. } => uid,
        }
    }

    /// The host's id of workload and porter.
    pub fn inner(self) -> u32 {
        match self {
            Self::Slot { .. } => self.owner().saturating_add(INNER_UID),
            Self::Single { uid, .. } => uid,
        }
    }

    /// `uid_map` and `gid_map` (user_namespaces(7)).
    fn maps(self) -> (String, String) {
        match self {
            Self::Slot { .. } => {
                let map = format!("0 {} {UIDS_PER_SLOT}\n", self.owner());
                (map.clone(), map)
            }
            Self::Single { uid, gid } => (format!("{INNER_UID} {uid} 1\n"), format!("{INNER_UID} {gid} 1\n")),
        }
    }
}

/// What a sandbox is made of.
#[derive(Debug)]
pub struct Spec<'a> {
    /// Its ids.
    pub ids: Ids,
    /// A frozen image as root file system; without one, the host's programs.
    pub image: Option<&'a OwnedFd>,
    /// The writable scratch, attached at `/opt/ml`.
    pub scratch: Option<&'a OwnedFd>,
    /// Frozen inputs and where below `/opt/ml` they go, as in `input/data/training`; parents are made.
    pub inputs: Vec<(&'a OwnedFd, String)>,
    /// What runs.
    pub command: Command<'a>,
    /// Its environment; nothing else is in it.
    pub env: Vec<CString>,
    /// Its working directory.
    pub cwd: CString,
    /// Standard output and error.
    pub output: BorrowedFd<'a>,
    /// Descriptors that it gets from number 3 upward.
    pub fds: Vec<BorrowedFd<'a>>,
    /// Which calls it may make.
    pub profile: Profile,
    /// CPU time, in thousandths of a CPU.
    pub cpu_milli: u32,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Scratch, in bytes; also the largest file.
    pub scratch_bytes: u64,
    /// A port of its loopback on which a socket is to listen: what it connects to by TCP, and nothing else.
    pub listens: Option<u16>,
}

/// What a sandbox runs.
#[derive(Debug)]
pub enum Command<'a> {
    /// Program and arguments; a name without `/` is looked up in the `PATH` of its environment.
    Inside(Vec<CString>),
    /// A program of the platform, mapped from the descriptor that was hashed, and its arguments.
    Platform(&'a Program, Vec<CString>),
}

/// Where a program of the platform appears in a sandbox.
const PLATFORM_PROGRAM: &str = "run/program";

/// A started sandbox.
#[derive(Debug)]
pub struct Sandbox {
    process: Process,
    socket: OwnedFd,
    landlock: u8,
    main: i32,
    listening: Option<OwnedFd>,
}

/// How a workload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Exit code, if it left by itself.
    pub code: Option<u8>,
    /// Signal, if one ended it.
    pub signal: Option<u8>,
    /// CPU time of all its processes that were waited for, in microseconds.
    pub cpu_us: u64,
    /// Largest resident set of one process, in KiB.
    pub peak_kib: u64,
}

/// Starts a sandbox in a group whose limits are already written.
///
/// # Errors
/// [`HostError`]; nothing of it is left running then.
pub fn start(spec: &Spec<'_>, group: &Group) -> Result<Sandbox, HostError> {
    let plan = plan(spec)?;
    let (socket, theirs) = channel::pair().map_err(HostError::at("make a socket pair"))?;
    let birthplace = group.birthplace()?;
    let into = birthplace.as_ref().map(AsFd::as_fd);
    let process =
        sys::fork(NAMESPACES, into, || init::run(&theirs, &plan)).map_err(HostError::at("clone3"))?;
    drop(theirs);
    let mut sandbox = Sandbox { process, socket, landlock: 0, main: 0, listening: None };
    match sandbox.release(spec.ids, group) {
        Ok(()) => Ok(sandbox),
        Err(error) => {
            sandbox.abort(group);
            Err(error)
        }
    }
}

/// Everything that the new process needs, made while it does not exist.
fn plan(spec: &Spec<'_>) -> Result<Plan, HostError> {
    let owner = spec.ids.owner();
    let shown = Shown { cpus: spec.cpu_milli.div_ceil(1000).max(1), memory_bytes: spec.memory_bytes };
    let mut root = match spec.image {
        Some(image) => Prepared::image(owner, shown, duplicate(image.as_fd())?)?,
        None => Prepared::host(owner, shown)?,
    };
    root.directory(c"dev/shm");
    root.directory(c"opt/ml");
    let tmp_bytes = (spec.scratch_bytes / 100).saturating_mul(TMP_PERCENT).max(TMP_MIN_BYTES);
    let mut writable = Vec::new();
    for (size_bytes, path) in [(tmp_bytes, c"tmp"), (SHM_BYTES, c"dev/shm")] {
        let tmpfs = Tmpfs { size_bytes, inodes: SCRATCH_INODES, mode: 0o1777, uid: owner, gid: owner };
        root.mount(tmpfs.make()?.root, path.to_owned());
        writable.push(format!("/{}", path.to_string_lossy()));
    }
    if let Some(scratch) = spec.scratch {
        root.mount(duplicate(scratch.as_fd())?, c"opt/ml".to_owned());
        writable.extend(["checkpoints", "model", "output"].map(|d| format!("/opt/ml/{d}")));
    }
    for (mount, target) in &spec.inputs {
        make_target(&mut root, spec.scratch, target)?;
        root.mount(duplicate(mount.as_fd())?, text(format!("opt/ml/{target}"))?);
    }
    let argv = match &spec.command {
        Command::Inside(argv) => argv.clone(),
        Command::Platform(program, arguments) => {
            let mount =
                mounts::clone_file(program.file()).map_err(HostError::at("map a program of the platform"))?;
            root.file(c"run/program");
            root.mount(mount, text(PLATFORM_PROGRAM.to_owned())?);
            let first = text(format!("/{PLATFORM_PROGRAM}"))?;
            std::iter::once(first).chain(arguments.iter().cloned()).collect()
        }
    };
    let training = spec.profile == Profile::Training;
    Ok(Plan {
        root,
        writable,
        argv,
        env: spec.env.clone(),
        cwd: spec.cwd.clone(),
        output: duplicate(spec.output)?,
        fds: spec.fds.iter().map(|fd| duplicate(*fd)).collect::<Result<_, _>>()?,
        filter: Filter::new(spec.profile),
        deny_write_execute: !training,
        rlimits: Rlimits {
            files: if training { 65_536 } else { 4_096 },
            processes: if training { 4_096 } else { 512 },
            file_bytes: spec.scratch_bytes.max(tmp_bytes),
            locked_bytes: 64 << 10,
        },
        listens: spec.listens,
        mapped_root: matches!(spec.ids, Ids::Slot { .. }),
    })
}

/// Makes the directory that an input is mounted on, with its parents: in the scratch, or in the root.
fn make_target(root: &mut Prepared, scratch: Option<&OwnedFd>, target: &str) -> Result<(), HostError> {
    let mut path = String::new();
    for part in target.split('/') {
        if part.is_empty() || part == "." || part == ".." || part.contains('\0') {
            return Err(HostError::Invalid(format!("`{target}` is not a place for an input")));
        }
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(part);
        match scratch {
            Some(scratch) => {
                let mode = rustix::fs::Mode::from_raw_mode(0o755);
                match rustix::fs::mkdirat(scratch, path.as_str(), mode) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(HostError::at("make a directory for an input")(error)),
                }
            }
            None => root.directory_once(&text(format!("opt/ml/{path}"))?),
        }
    }
    Ok(())
}

fn text(text: String) -> Result<CString, HostError> {
    CString::new(text).map_err(|_| HostError::Invalid("a text contains a zero byte".to_owned()))
}

fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd, HostError> {
    fd.try_clone_to_owned().map_err(HostError::at("duplicate a descriptor"))
}

impl Sandbox {
    /// Maps ids, enters the limits, lets the process go on, and waits until its program runs.
    fn release(&mut self, ids: Ids, group: &Group) -> Result<(), HostError> {
        let pid = self.process.pid;
        let (uids, gids) = ids.maps();
        for (file, value) in [("uid_map", uids), ("gid_map", gids), ("oom_score_adj", "500".to_owned())] {
            fs::write(format!("/proc/{pid}/{file}"), value)
                .map_err(HostError::at("map the ids of the sandbox"))?;
        }
        group.add(pid)?;
        channel::send(&self.socket, b"G", &[]).map_err(HostError::at("let the sandbox go on"))?;
        let what = "the new sandbox";
        if !channel::wait_readable(&self.socket, SETUP_MS).map_err(HostError::at("wait for the sandbox"))? {
            return Err(HostError::Timeout { what, limit_ms: SETUP_MS });
        }
        match channel::receive(&self.socket).map_err(HostError::at("hear from the sandbox"))? {
            Some((message, files)) => {
                self.listening = files.into_iter().next();
                self.heard(&message)
            }
            None => {
                Err(HostError::Setup { step: "start".to_owned(), reason: "the process ended".to_owned() })
            }
        }
    }

    /// The first message: started or failed.
    fn heard(&mut self, message: &[u8]) -> Result<(), HostError> {
        match message {
            [b'S', landlock, pid @ ..] => {
                self.landlock = *landlock;
                self.main = pid.try_into().map_or(0, i32::from_le_bytes);
                Ok(())
            }
            [b'F', rest @ ..] => {
                let said = String::from_utf8_lossy(rest);
                let (step, reason) = said.split_once('\0').unwrap_or((&said, ""));
                Err(HostError::Setup { step: step.to_owned(), reason: reason.to_owned() })
            }
            _ => {
                Err(HostError::Setup { step: "start".to_owned(), reason: "an undefined message".to_owned() })
            }
        }
    }

    /// Ends and reaps what was started in vain.
    fn abort(&self, group: &Group) {
        if self.kill(group).is_err() {
            return;
        }
        let _end = self.reap();
    }

    /// Readable when the first process, and with it every process of the sandbox, has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.process.pidfd.as_fd()
    }

    /// The first process, in the host's numbers.
    pub fn pid(&self) -> i32 {
        self.process.pid
    }

    /// The socket that listens on its loopback, once, where one was to.
    pub fn take_listening(&mut self) -> Option<OwnedFd> {
        self.listening.take()
    }

    /// What Landlock enforces: 2 all that was asked, 1 a part (an older kernel), 0 nothing.
    pub fn landlock(&self) -> u8 {
        self.landlock
    }

    /// Ends every process of the sandbox at once. They are gone when [`Sandbox::pidfd`] is readable.
    ///
    /// # Errors
    /// The kernel's.
    pub fn kill(&self, group: &Group) -> Result<(), HostError> {
        if group.kill() {
            return Ok(());
        }
        match rustix::process::pidfd_send_signal(&self.process.pidfd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(HostError::at("kill the sandbox")(error)),
        }
    }

    /// Collects the end; call it when [`Sandbox::pidfd`] is readable.
    ///
    /// # Errors
    /// The kernel's.
    pub fn reap(&self) -> Result<End, HostError> {
        let reaped = sys::reap(self.process.pid, true).map_err(HostError::at("reap the sandbox"))?;
        let own = reaped.map(|(_, ended)| ended).unwrap_or_default();
        let told = match channel::wait_readable(&self.socket, 0) {
            Ok(true) => channel::receive(&self.socket).ok().flatten(),
            _ => None,
        };
        let status = match told.as_ref().map(|(bytes, _)| bytes.as_slice()) {
            Some([b'X', status @ ..]) => status.try_into().map_or(own.status, i32::from_le_bytes),
            _ => own.status,
        };
        let low = u8::try_from(status & 0x7f).unwrap_or(0);
        let high = u8::try_from((status >> 8) & 0xff).unwrap_or(0);
        let (code, signal) = if low == 0 { (Some(high), None) } else { (None, Some(low)) };
        Ok(End { code, signal, cpu_us: own.cpu_us, peak_kib: own.peak_kib })
    }

    /// The workload's main process in the host's numbers, by a descriptor that cannot come to mean another.
    ///
    /// # Errors
    /// It has ended.
    pub fn main(&self, group: &Group) -> Result<(i32, OwnedFd), HostError> {
        let init = self.process.pid;
        let mut candidates = group.processes();
        if candidates.is_empty() {
            // Without groups (no root): the children of the first process.
            let listed = fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap_or_default();
            candidates.extend(listed.split_whitespace().filter_map(|n| n.parse::<i32>().ok()));
        }
        for pid in candidates {
            let Some(raw) = Pid::from_raw(pid) else { continue };
            let Ok(pidfd) = rustix::process::pidfd_open(raw, PidfdFlags::empty()) else { continue };
            // Read after the descriptor was opened: if it still matches now, the descriptor means this process.
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("");
            let inner = field("NSpid:").split_whitespace().last().and_then(|n| n.parse::<i32>().ok());
            let parent = field("PPid:").trim().parse::<i32>().ok();
            if inner == Some(self.main) && parent == Some(self.process.pid) {
                return Ok((pid, pidfd));
            }
        }
        Err(HostError::Invalid("the workload has ended".to_owned()))
    }

    /// Sends a signal to the workload's main process; USR1 only if it has a handler (it would kill it otherwise).
    ///
    /// # Errors
    /// It has ended, or has no handler.
    pub fn signal(&self, group: &Group, signal: ops::warden::Signal) -> Result<(), HostError> {
        let (pid, pidfd) = self.main(group)?;
        let signal = match signal {
            ops::warden::Signal::Term => Signal::TERM,
            ops::warden::Signal::Usr1 => Signal::USR1,
        };
        if signal == Signal::USR1 && !handles_usr1(pid) {
            return Err(HostError::Invalid("the workload does not handle USR1".to_owned()));
        }
        rustix::process::pidfd_send_signal(pidfd, signal).map_err(HostError::at("signal the workload"))
    }
}

/// Bit 9 of `SigCgt` (training.md section 2.3).
fn handles_usr1(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|l| l.strip_prefix("SigCgt:")).unwrap_or("").trim();
    u64::from_str_radix(caught, 16).is_ok_and(|mask| mask & 0x200 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_disjoint_and_bounded() {
        let (a, b) = (Ids::slot(0).unwrap(), Ids::slot(1).unwrap());
        assert_eq!(a.owner(), UID_BASE);
        assert_eq!(a.owner() + UIDS_PER_SLOT, b.owner());
        assert!(b.inner() > b.owner());
        let last = Ids::slot(SLOT_MAX).unwrap();
        assert!(u64::from(last.owner()) + u64::from(UIDS_PER_SLOT) <= u64::from(u32::MAX));
        assert!(Ids::slot(SLOT_MAX + 1).is_err());
    }
}
