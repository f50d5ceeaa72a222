//! Helpers of the platform that touch a tenant's bytes, `strongroom-porter` above all: in the run's own user,
//! groups and namespaces, without network and capabilities, and with the descriptors that they are given.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::cgroup::Group;
use crate::confine::{self, Grant, Place, Rlimits, Step, at};
use crate::error::HostError;
use crate::launch::Launch;
use crate::limits::PORTER_PIDS;
use crate::program::Program;
use crate::rootfs::{Prepared, Shown};
use crate::sandbox::Ids;
use crate::seccomp::{Filter, Profile};
use crate::sys::Process;

/// Namespaces of a helper; it keeps the warden's user namespace, where its user is unprivileged.
const NAMESPACES: i32 =
    libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
/// The loader of dynamically linked programs, the one file of `/usr` that a helper may execute.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// What a helper may do in a directory that it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nothing of the sort: it is not a directory.
    NotADirectory,
    /// Read below it.
    Read,
    /// Read and write below it.
    Write,
}

/// What a helper is made of.
#[derive(Debug)]
pub struct Spec<'a> {
    /// The run's ids; it gets the workload's.
    pub ids: Ids,
    /// What runs.
    pub program: &'a Program,
    /// Name and arguments.
    pub argv: Vec<CString>,
    /// Descriptors that it gets as 0, 1, 2 and so on.
    pub fds: Vec<(BorrowedFd<'a>, Reach)>,
}

/// Starts a helper in a group whose limits are already written.
///
/// # Errors
/// [`HostError`]; nothing of it is left running then.
pub fn start(spec: &Spec<'_>, group: &Group) -> Result<Process, HostError> {
    let root = Prepared::host(spec.ids.inner(), Shown { cpus: 1, memory_bytes: 0 })?;
    let filter = Filter::new(Profile::Porter);
    let fds: Vec<BorrowedFd<'_>> = spec.fds.iter().map(|(fd, _)| *fd).collect();
    let launch = Launch {
        program: spec.program,
        argv: &spec.argv,
        env: &[],
        fds: &fds,
        needed: root.descriptors().collect(),
        namespaces: NAMESPACES,
        group: Some(group),
    };
    let load = || filter.load().map_err(|e| ("load the system-call filter", io::Error::other(e.to_string())));
    launch.start(|program| confine(spec, &root, program), load)
}

/// Sees only its own root, is the run's user, and reaches only what it was given.
fn confine(spec: &Spec<'_>, root: &Prepared, program: BorrowedFd<'_>) -> Step {
    root.enter()?;
    rustix::system::sethostname(b"porter").map_err(at("set the host name"))?;
    confine::rlimits(&Rlimits {
        files: 4096,
        processes: u64::from(PORTER_PIDS).saturating_mul(4),
        file_bytes: u64::MAX,
        locked_bytes: 1 << 20,
    })?;
    confine::become_user(matches!(spec.ids, Ids::Slot { .. }).then(|| spec.ids.inner()))?;
    confine::harden()?;
    let mut grants = vec![
        (Place::Path("/usr"), Grant::Read),
        (Place::Path("/etc"), Grant::Read),
        (Place::Path("/proc"), Grant::Read),
        (Place::Path("/dev"), Grant::ReadWriteFile),
        (Place::Path(LOADER), Grant::ExecuteFile),
        (Place::Fd(program), Grant::ExecuteFile),
    ];
    grants.extend(spec.fds.iter().filter_map(|(fd, reach)| match reach {
        Reach::NotADirectory => None,
        Reach::Read => Some((Place::Fd(fd.as_fd()), Grant::Read)),
        Reach::Write => Some((Place::Fd(fd.as_fd()), Grant::Write)),
    }));
    confine::landlock(&grants, None).map(|_status| ())
}
