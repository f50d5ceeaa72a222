//! The error contract: every public error says whose fault it is, whether to retry, its stable code and
//! the next step.

use std::time::Duration;

/// Who can mend the failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The caller sent something that cannot be accepted.
    Caller,
    /// Another process or machine misbehaved.
    Peer,
    /// The machine or its configuration is at fault.
    Operator,
    /// A defect of the platform.
    Platform,
}

/// Whether the same call may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It will fail again.
    Never,
    /// It may succeed after this time.
    After(Duration),
    /// It may succeed at once.
    Immediately,
}

/// The next step: a sentence, in which commands stand in back-ticks.
pub type Help = &'static str;

/// Implemented by every public error.
pub trait Explain: std::error::Error {
    /// Stable code, `SR-<AREA>-<NNNN>`; append-only, listed in `docs/errors.md`.
    fn code(&self) -> &'static str;

    /// Whose fault it is.
    fn fault(&self) -> Fault {
        Fault::Caller
    }

    /// Whether to try again.
    fn retry(&self) -> Retry {
        Retry::Never
    }

    /// The next step; its commands parse with our own command line (tested).
    fn help(&self) -> Option<Help> {
        None
    }
}

/// The message of an error and of all its sources, joined by `: `, for edges that print one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
