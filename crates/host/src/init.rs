//! The first process of a sandbox, from the inside: builds its root, gives up everything, binds itself, starts
//! the workload as its child, reaps, and ends, and all processes with it, when the workload or the warden ends.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::DumpableBehavior;
use rustix::thread::UnshareFlags;

use crate::channel;
use crate::confine::{self, Failure, Grant, Place, Rlimits, Step, at};
use crate::limits::{INIT_MESSAGE_MAX, INNER_UID};
use crate::rootfs::Prepared;
use crate::seccomp::Filter;
use crate::sys;

/// `PR_SET_MDWE` and its one bit: no mapping is ever writable and executable.
const PR_SET_MDWE: i32 = 65;
/// First number to which descriptors are moved before they get their final numbers.
const ASIDE: RawFd = 100;
/// Connections of a workload that wait to be accepted.
const LISTEN_BACKLOG: i32 = 64;
/// Where a program without `/` is looked for when its environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/bin:/bin";

/// What the process needs, prepared by the warden.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) root: Prepared,
    /// Directories that the workload may write.
    pub(crate) writable: Vec<String>,
    pub(crate) argv: Vec<CString>,
    pub(crate) env: Vec<CString>,
    pub(crate) cwd: CString,
    pub(crate) output: OwnedFd,
    pub(crate) fds: Vec<OwnedFd>,
    pub(crate) filter: Filter,
    pub(crate) deny_write_execute: bool,
    pub(crate) rlimits: Rlimits,
    /// The port of its loopback on which a socket listens that the warden is given.
    pub(crate) listens: Option<u16>,
    /// Whether ids 0 and 1000 are both mapped.
    pub(crate) mapped_root: bool,
}

/// Runs as pid 1 of the sandbox; the result is its exit code.
pub(crate) fn run(socket: &OwnedFd, plan: &Plan) -> u8 {
    match set_up(socket.as_fd(), plan) {
        Ok((main, children)) => serve(socket.as_fd(), main, &children),
        Err((step, error)) => {
            let mut said = format!("F{step}\0{error}").into_bytes();
            said.truncate(INIT_MESSAGE_MAX);
            // If the warden has gone there is nobody to tell, and this process ends anyway.
            let _gone = channel::send(socket, &said, &[]);
            126
        }
    }
}

/// Everything up to the running workload: its number and a descriptor that tells of ended children.
fn set_up(socket: BorrowedFd<'_>, plan: &Plan) -> Step<(i32, OwnedFd)> {
    let mut keep: Vec<RawFd> = vec![socket.as_raw_fd(), plan.output.as_raw_fd()];
    keep.extend(plan.fds.iter().map(AsRawFd::as_raw_fd));
    keep.extend(plan.root.descriptors());
    sys::close_except(&keep).map_err(at("close what is not ours"))?;
    match channel::receive(socket).map_err(at("wait for the warden"))? {
        Some((message, _)) if message == b"G" => {}
        _ => return Err(("wait for the warden", io::ErrorKind::ConnectionAborted.into())),
    }
    if plan.mapped_root {
        let (uid, gid) = (rustix::fs::Uid::ROOT, rustix::fs::Gid::ROOT);
        rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(at("become the namespace's root"))?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(at("become the namespace's root"))?;
    }
    // In its groups since before the go: so their own leaf is the root of what it sees.
    sys::unshare(UnshareFlags::NEWCGROUP).map_err(at("enter a cgroup namespace"))?;
    plan.root.enter()?;
    rustix::system::sethostname(b"sandbox").map_err(at("set the host name"))?;
    rustix::process::chdir(plan.cwd.as_c_str()).map_err(at("enter the working directory"))?;
    let null = stdio()?;
    // While it may, and when the standard descriptors are taken: the network is this sandbox's own, with a loopback alone.
    let listening = plan.listens.map(listen).transpose()?;
    let children = sys::signal_fd(&[libc::SIGCHLD]).map_err(at("listen for children"))?;

    confine::rlimits(&plan.rlimits)?;
    confine::become_user(plan.mapped_root.then_some(INNER_UID))?;
    confine::harden()?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(at("forbid dumps"))?;
    if plan.deny_write_execute {
        // Kernels before 6.3 do not offer it; the report reads it back.
        let _unsupported = sys::prctl(PR_SET_MDWE, 1);
    }
    let mut grants =
        vec![(Place::Path("/"), Grant::ReadExecute), (Place::Path("/dev"), Grant::ReadWriteFile)];
    grants.extend(plan.writable.iter().map(|path| (Place::Path(path), Grant::Write)));
    let landlock = confine::landlock(&grants, plan.listens)?;
    plan.filter.load().map_err(|e| ("load the system-call filter", io::Error::other(e.to_string())))?;

    let main = start(plan, &null)?;
    let mut message = vec![b'S', landlock];
    message.extend_from_slice(&main.to_le_bytes());
    let given: Vec<BorrowedFd<'_>> = listening.iter().map(AsFd::as_fd).collect();
    channel::send(socket, &message, &given).map_err(at("tell the warden"))?;
    Ok((main, children))
}

/// Listens on this port of the loopback, which is switched on for it.
fn listen(port: u16) -> Step<OwnedFd> {
    sys::loopback_up().map_err(at("switch on the loopback"))?;
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(at("make a socket"))?;
    let address = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, port);
    rustix::net::bind(&socket, &address).map_err(at("bind a socket"))?;
    rustix::net::listen(&socket, LISTEN_BACKLOG).map_err(at("listen"))?;
    Ok(socket)
}

/// Standard descriptors of this process become `/dev/null`.
fn stdio() -> Step<OwnedFd> {
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(at("open /dev/null"))?;
    let aside = rustix::io::fcntl_dupfd_cloexec(&null, ASIDE).map_err(at("move a descriptor aside"))?;
    for number in 0..3 {
        sys::place(aside.as_fd(), number).map_err(at("set a standard descriptor"))?;
    }
    Ok(aside)
}

/// Forks and executes the workload; an exec that fails is told through a pipe that a good one closes.
fn start(plan: &Plan, null: &OwnedFd) -> Step<i32> {
    let (reader, writer) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(at("make a pipe"))?;
    let pid = sys::fork_plain(|| {
        let (step, error) = become_workload(plan, null, &writer);
        let said = format!("{step}\0{error}");
        // If init has gone this process is going too.
        let _gone = rustix::io::write(&writer, said.as_bytes());
        127
    })
    .map_err(at("fork the workload"))?;
    drop(writer);
    let mut buffer = [0; INIT_MESSAGE_MAX];
    let got = loop {
        match rustix::io::read(&reader, &mut buffer) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other.map_err(at("hear from the workload"))?,
        }
    };
    match buffer.get(..got) {
        None | Some([]) => Ok(pid),
        Some(said) => {
            let said = String::from_utf8_lossy(said);
            let reason = said.split_once('\0').map_or(&*said, |(_, reason)| reason);
            Err(("execute the command", io::Error::other(reason.to_owned())))
        }
    }
}

/// In the workload's process: final descriptors, then the program.
fn become_workload(plan: &Plan, null: &OwnedFd, writer: &OwnedFd) -> Failure {
    let mut fds = vec![null.as_fd(), plan.output.as_fd(), plan.output.as_fd()];
    fds.extend(plan.fds.iter().map(AsFd::as_fd));
    if let Err(failure) = final_descriptors(&fds, &[writer.as_fd()]) {
        return failure;
    }
    if let Err(error) = sys::reset_signals() {
        return ("reset signals", error);
    }
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for path in candidates(&plan.argv, &plan.env) {
        last = sys::execve(&path, &plan.argv, &plan.env);
    }
    ("execute the command", last)
}

/// Gives `fds` the numbers 0, 1, 2 and so on; every other descriptor closes at exec. `spared` are moved out of
/// the way by the caller's choice of [`ASIDE`] and need only stay open until then.
pub(crate) fn final_descriptors(fds: &[BorrowedFd<'_>], spared: &[BorrowedFd<'_>]) -> Step {
    let mut aside = Vec::new();
    for fd in fds {
        aside.push(rustix::io::fcntl_dupfd_cloexec(fd, ASIDE).map_err(at("move a descriptor aside"))?);
    }
    let last = RawFd::try_from(fds.len()).unwrap_or(RawFd::MAX);
    if spared.iter().any(|fd| fd.as_raw_fd() < last) {
        return Err(("place descriptors", io::ErrorKind::InvalidInput.into()));
    }
    for (number, fd) in (0..).zip(&aside) {
        sys::place(fd.as_fd(), number).map_err(at("place a descriptor"))?;
    }
    sys::close_on_exec_from(last).map_err(at("close other descriptors"))
}

/// Paths to try for the program.
fn candidates(argv: &[CString], env: &[CString]) -> Vec<CString> {
    let Some(program) = argv.first() else { return Vec::new() };
    if program.to_bytes().contains(&b'/') {
        return vec![program.clone()];
    }
    let path =
        env.iter().find_map(|e| e.to_bytes().strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH.as_bytes());
    path.split(|b| *b == b':')
        .filter(|d| d.starts_with(b"/"))
        .filter_map(|dir| CString::new([dir, b"/", program.to_bytes()].concat()).ok())
        .filter(|path| exists(path))
        .collect()
}

fn exists(path: &CStr) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Reaps until the workload has ended or the warden has gone.
fn serve(socket: BorrowedFd<'_>, main: i32, children: &OwnedFd) -> u8 {
    loop {
        let mut set = [PollFd::new(&socket, PollFlags::IN), PollFd::new(children, PollFlags::IN)];
        match rustix::event::poll(&mut set, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return 1,
        }
        let [warden, ended] = set.map(|fd| !fd.revents().is_empty());
        if warden {
            // The warden says nothing after the start: this is its end, and so ours.
            return 1;
        }
        if !ended {
            continue;
        }
        let mut drain = [0u8; 128];
        let _many = rustix::io::read(children, &mut drain);
        while let Ok(Some((pid, end))) = sys::reap(-1, false) {
            if pid == main {
                let mut message = vec![b'X'];
                message.extend_from_slice(&end.status.to_le_bytes());
                // If the warden has gone this process ends all the same.
                let _gone = channel::send(socket, &message, &[]);
                return 0;
            }
        }
    }
}
