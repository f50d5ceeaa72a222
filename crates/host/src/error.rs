//! Why the host could not do what was asked.

use std::io;

use base::{Explain, Fault, Help, Retry};

/// An act on the host failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// A system call failed.
    #[error("{step}")]
    Os {
        /// What was being done.
        step: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A mount cannot become read-only: somebody still has a file of it open for writing or mapped writable.
    #[error("the input is still open for writing, so it cannot be made read-only")]
    Busy,
    /// A mandatory limit cannot be set.
    #[error("the host has no {controller} limit for processes; without it nothing is started")]
    NoLimit {
        /// The missing controller.
        controller: &'static str,
    },
    /// The new process failed while it confined itself.
    #[error("sandbox set-up stopped at `{step}`: {reason}")]
    Setup {
        /// What it was doing.
        step: String,
        /// The kernel's answer.
        reason: String,
    },
    /// The new process did not answer in time.
    #[error("{what} did not answer within {limit_ms} ms")]
    Timeout {
        /// Who.
        what: &'static str,
        /// How long it had.
        limit_ms: u64,
    },
    /// Processes are left after a kill.
    #[error("processes of the run are still alive {limit_ms} ms after the kill")]
    Unkillable {
        /// How long it had.
        limit_ms: u64,
    },
    /// A value that no sandbox can have.
    #[error("{0}")]
    Invalid(String),
}

impl HostError {
    /// For `map_err` at a system call: the step that failed.
    pub fn at<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Os { step, source: source.into() }
    }
}

impl Explain for HostError {
    fn code(&self) -> &'static str {
        match self {
            Self::Os { .. } => "SR-HST-0001",
            Self::Busy => "SR-HST-0002",
            Self::NoLimit { .. } => "SR-HST-0003",
            Self::Setup { .. } => "SR-HST-0004",
            Self::Timeout { .. } => "SR-HST-0005",
            Self::Unkillable { .. } => "SR-HST-0006",
            Self::Invalid(_) => "SR-HST-0007",
        }
    }
    fn fault(&self) -> Fault {
        match self {
            Self::Busy | Self::Timeout { .. } => Fault::Peer,
            Self::Invalid(_) => Fault::Caller,
            _ => Fault::Operator,
        }
    }
    fn retry(&self) -> Retry {
        match self {
            Self::Busy | Self::Timeout { .. } => Retry::Immediately,
            _ => Retry::Never,
        }
    }
    fn help(&self) -> Option<Help> {
        Some("run `strongroom doctor` to see what this host offers")
    }
}
