//! Starting a program of the platform by descriptor: the new process waits for its groups, confines itself,
//! places its descriptors and becomes the program. Failures are told on a socket that a good exec closes.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::cgroup::Group;
use crate::channel;
use crate::confine::{Failure, Step, at};
use crate::error::HostError;
use crate::init::final_descriptors;
use crate::limits::{INIT_MESSAGE_MAX, SETUP_MS};
use crate::program::Program;
use crate::sys::{self, Process};

/// Numbers from here upward are out of the way of what a program is given.
const ASIDE: RawFd = 200;

/// Of helpers; sandboxes have 500 (proc_pid_oom_score_adj(5)).
const OOM_SCORE_ADJ: &str = "700";

/// What is started.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) program: &'a Program,
    pub(crate) argv: &'a [CString],
    pub(crate) env: &'a [CString],
    /// Descriptors that it gets as 0, 1, 2 and so on.
    pub(crate) fds: &'a [BorrowedFd<'a>],
    /// Other descriptors that `confine` needs.
    pub(crate) needed: Vec<RawFd>,
    /// `CLONE_NEW*`.
    pub(crate) namespaces: i32,
    pub(crate) group: Option<&'a Group>,
}

impl Launch<'_> {
    /// Starts it; `confine` runs in the new process and gets the program's descriptor.
    pub(crate) fn start(
        &self,
        confine: impl Fn(BorrowedFd<'_>) -> Step,
        filter: impl Fn() -> Step,
    ) -> Result<Process, HostError> {
        let (socket, theirs) = channel::pair().map_err(HostError::at("make a socket pair"))?;
        let birthplace = self.group.map(Group::birthplace).transpose()?.flatten();
        let into = birthplace.as_ref().map(AsFd::as_fd);
        let child = || match aside(theirs.as_fd()) {
            Err(_) => 126,
            Ok(socket) => {
                let (step, error) = match self.become_program(&socket, &confine, &filter) {
                    Ok(failure) | Err(failure) => failure,
                };
                let mut said = format!("{step}\0{error}").into_bytes();
                said.truncate(INIT_MESSAGE_MAX);
                // If the warden has gone there is nobody to tell.
                let _gone = channel::send(&socket, &said, &[]);
                126
            }
        };
        let process = sys::fork(self.namespaces, into, child).map_err(HostError::at("clone3"))?;
        drop(theirs);
        match self.release(&socket, &process) {
            Ok(()) => Ok(process),
            Err(error) => {
                end(&process);
                Err(error)
            }
        }
    }

    fn release(&self, socket: &OwnedFd, process: &Process) -> Result<(), HostError> {
        if let Some(group) = self.group {
            group.add(process.pid)?;
            // Where the whole machine lacks memory, what fills a mount ends before what runs in it.
            std::fs::write(format!("/proc/{}/oom_score_adj", process.pid), OOM_SCORE_ADJ)
                .map_err(HostError::at("say what ends first when memory lacks"))?;
        }
        channel::send(socket, b"G", &[]).map_err(HostError::at("let the program go on"))?;
        if !channel::wait_readable(socket, SETUP_MS).map_err(HostError::at("wait for the program"))? {
            return Err(HostError::Timeout { what: "the new program", limit_ms: SETUP_MS });
        }
        match channel::receive(socket).map_err(HostError::at("hear from the program"))? {
            None => Ok(()),
            Some((said, _)) => {
                let said = String::from_utf8_lossy(&said);
                let (step, reason) = said.split_once('\0').unwrap_or((&said, ""));
                Err(HostError::Setup { step: step.to_owned(), reason: reason.to_owned() })
            }
        }
    }

    /// In the new process; returns only if something failed.
    fn become_program(
        &self,
        socket: &OwnedFd,
        confine: impl Fn(BorrowedFd<'_>) -> Step,
        filter: impl Fn() -> Step,
    ) -> Step<Failure> {
        let program = aside(self.program.file())?;
        let mut keep = vec![socket.as_raw_fd(), program.as_raw_fd()];
        keep.extend(self.fds.iter().map(AsRawFd::as_raw_fd));
        keep.extend(&self.needed);
        sys::close_except(&keep).map_err(at("close what is not ours"))?;
        match channel::receive(socket).map_err(at("wait for the warden"))? {
            Some((message, _)) if message == b"G" => {}
            _ => return Err(("wait for the warden", std::io::ErrorKind::ConnectionAborted.into())),
        }
        confine(program.as_fd())?;
        final_descriptors(self.fds, &[program.as_fd(), socket.as_fd()])?;
        sys::reset_signals().map_err(at("reset signals"))?;
        filter()?;
        Ok(("execute the program", sys::execveat(program.as_fd(), self.argv, self.env)))
    }
}

fn aside(fd: BorrowedFd<'_>) -> Step<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, ASIDE).map_err(at("move a descriptor aside"))
}

/// Ends a process and reaps it.
pub fn end(process: &Process) {
    // It may have ended by itself, which is as good.
    let _gone = rustix::process::pidfd_send_signal(&process.pidfd, rustix::process::Signal::KILL);
    let _reaped = sys::reap(process.pid, true);
}

/// Reaps a process that has ended; its exit code, or none if a signal ended it.
///
/// # Errors
/// The kernel's.
pub fn reap(process: &Process) -> Result<Option<u8>, HostError> {
    let reaped = sys::reap(process.pid, true).map_err(HostError::at("reap a process"))?;
    let status = reaped.map_or(0, |(_, ended)| ended.status);
    Ok(if status & 0x7f == 0 { u8::try_from((status >> 8) & 0xff).ok() } else { None })
}
