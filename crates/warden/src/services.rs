//! The node's own processes: started by descriptor under their own users, started again when they end, given up
//! when they do not stay up.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use base::config::Config;
use host::Process;
use host::program::Program;
use ops::diagnostics::ServiceState;

use crate::clock::now_ms;
use crate::error::WardenError;
use crate::limits::{BACK_OFF_MS, BREAKER_MS, BREAKER_RESTARTS, LEAVE_MS};

/// One process of the node.
#[derive(Debug)]
pub(crate) struct Service {
    /// Its name in events and of its log.
    pub(crate) name: &'static str,
    argv: Vec<CString>,
    user: u32,
    separated: bool,
    log: PathBuf,
    process: Option<Process>,
    /// When it is started again.
    again_ms: Option<u64>,
    pause_ms: u64,
    restarts: Vec<u64>,
    /// How it is meant to be.
    wanted: Wanted,
    /// When it is killed, after it was asked to leave.
    kill_ms: Option<u64>,
}

/// How a process of the node is meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// Running.
    Up,
    /// Running anew: it is ending, and that is no failure.
    Anew,
    /// Not running.
    Down,
}

/// What became of a process that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// It is started again in this many milliseconds.
    Again(u64),
    /// It stays down.
    GivenUp,
    /// It was meant to end; if it is to run it is started again at once.
    Meant,
}

impl Service {
    pub(crate) fn new(
        name: &'static str,
        words: &[&str],
        user: u32,
        separated: bool,
        config: &Config,
    ) -> Result<Self, WardenError> {
        let argv = words
            .iter()
            .map(|word| {
                CString::new(*word).map_err(|_| WardenError::Config("a path has a zero byte".to_owned()))
            })
            .collect::<Result<_, _>>()?;
        let log = config.state.join("logs").join(format!("{name}.log"));
        Ok(Self {
            name,
            argv,
            user,
            separated,
            log,
            process: None,
            again_ms: None,
            pause_ms: BACK_OFF_MS.0,
            restarts: Vec::new(),
            wanted: Wanted::Up,
            kill_ms: None,
        })
    }

    /// Starts it.
    ///
    /// # Errors
    /// It cannot be executed.
    pub(crate) fn start(&mut self, program: &Program) -> Result<i32, WardenError> {
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
        let null = rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())
            .map_err(host::HostError::at("open /dev/null"))?;
        let log = open_log(&self.log)?;
        let user = self.separated.then_some(self.user);
        let process =
            host::service::start(program, &self.argv, &[], user, &[null.as_fd(), log.as_fd(), log.as_fd()])?;
        let pid = process.pid;
        self.process = Some(process);
        self.again_ms = None;
        Ok(pid)
    }

    /// Its pidfd while it runs.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.process.as_ref().map(|p| p.pidfd.as_fd())
    }

    /// Its process id while it runs.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.process.as_ref().map(|p| p.pid)
    }

    /// Its user.
    pub(crate) fn user(&self) -> u32 {
        self.user
    }

    /// It has ended: reaps it and decides what follows.
    pub(crate) fn ended(&mut self) -> (Option<u8>, After) {
        let code = self.process.take().and_then(|p| host::reap(&p).ok().flatten());
        self.kill_ms = None;
        let after = match self.wanted {
            Wanted::Up => self.back_off(),
            Wanted::Down => After::Meant,
            Wanted::Anew => {
                self.bring();
                After::Meant
            }
        };
        (code, after)
    }

    /// It is to run, from its beginning: if it runs it is asked to leave, and started when it has.
    pub(crate) fn renew(&mut self) {
        if self.process.is_none() {
            return self.bring();
        }
        self.wanted = Wanted::Anew;
        self.leave(false);
        self.kill_ms = Some(now_ms().saturating_add(LEAVE_MS));
    }

    /// It is not to run.
    pub(crate) fn end(&mut self) {
        self.wanted = Wanted::Down;
        self.again_ms = None;
        self.leave(true);
    }

    fn bring(&mut self) {
        self.wanted = Wanted::Up;
        self.again_ms = Some(now_ms());
    }

    /// Kills what was asked to leave and did not in its time.
    pub(crate) fn tend(&mut self) {
        if self.kill_ms.is_some_and(|at| now_ms() >= at) {
            self.leave(true);
        }
    }

    /// Plans the next start.
    pub(crate) fn back_off(&mut self) -> After {
        let now = now_ms();
        self.restarts.retain(|at| now.saturating_sub(*at) < BREAKER_MS);
        if self.restarts.is_empty() {
            self.pause_ms = BACK_OFF_MS.0;
        }
        if self.restarts.len() >= BREAKER_RESTARTS {
            self.again_ms = None;
            return After::GivenUp;
        }
        self.restarts.push(now);
        let pause = self.pause_ms;
        self.pause_ms = pause.saturating_mul(2).min(BACK_OFF_MS.1);
        self.again_ms = Some(now.saturating_add(pause));
        After::Again(pause)
    }

    /// When it is to be started again.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        self.again_ms
    }

    /// Whether it runs, and if not, what follows.
    pub(crate) fn state(&self) -> ServiceState {
        match (&self.process, self.again_ms, self.wanted) {
            (Some(_), ..) => ServiceState::Running,
            (None, _, Wanted::Down) => ServiceState::Down,
            (None, Some(_), _) => ServiceState::Waiting,
            (None, None, _) => ServiceState::GivenUp,
        }
    }

    /// How often it was started again within [`BREAKER_MS`].
    pub(crate) fn restarted(&self) -> usize {
        let now = now_ms();
        self.restarts.iter().filter(|at| now.saturating_sub(**at) < BREAKER_MS).count()
    }

    /// Asks it to leave; `kill` does not ask.
    pub(crate) fn leave(&self, kill: bool) {
        let signal = if kill { rustix::process::Signal::KILL } else { rustix::process::Signal::TERM };
        if let Some(process) = &self.process {
            // It may be leaving already.
            let _gone = rustix::process::pidfd_send_signal(&process.pidfd, signal);
        }
    }

    /// Reaps it if it ended within the time.
    pub(crate) fn wait(&mut self, limit_ms: u64) -> bool {
        let Some(process) = &self.process else { return true };
        let ended = host::channel::wait_readable(&process.pidfd, limit_ms).unwrap_or(false);
        if ended && let Some(process) = self.process.take() {
            let _code = host::reap(&process);
        }
        ended
    }
}

/// Opens a log to append.
pub(crate) fn open_log(path: &std::path::Path) -> Result<OwnedFd, WardenError> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0))
        .open(path)
        .map_err(host::HostError::at("open a log"))?;
    Ok(file.into())
}
