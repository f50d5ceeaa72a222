//! The node's own processes (keeper, control, gateway): each under its own user, without capabilities.

use std::ffi::CString;
use std::os::fd::BorrowedFd;

use rustix::process::{Resource, Rlimit};

use crate::confine::{self, Step, at};
use crate::error::HostError;
use crate::launch::Launch;
use crate::program::Program;
use crate::sys::Process;

/// Starts a program of the platform; it dies with this process.
///
/// `user` is none where all processes share one user (no root). `fds` become 0, 1, 2 and so on.
///
/// # Errors
/// [`HostError`]; nothing of it is left running then.
pub fn start(
    program: &Program,
    argv: &[CString],
    env: &[CString],
    user: Option<u32>,
    fds: &[BorrowedFd<'_>],
) -> Result<Process, HostError> {
    let launch = Launch { program, argv, env, fds, needed: Vec::new(), namespaces: 0, group: None };
    launch.start(|_program| confine(user), || Ok(()))
}

/// A session of its own, no core dumps, its own user, nothing to gain by exec.
fn confine(user: Option<u32>) -> Step {
    rustix::process::setsid().map_err(at("start a session"))?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none).map_err(at("forbid core dumps"))?;
    confine::become_user(user)?;
    confine::harden()
}
