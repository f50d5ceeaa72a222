//! Exit codes: the one promise that scripts read.

use std::process::{ExitCode, Termination};

/// How a command ended; `strongroom help exit-codes` prints this table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// Could not run.
    Failed,
    /// The command line is wrong.
    Usage,
    /// Ran fine, and the answer is no: denied, not verified, posture failed.
    No,
    /// The caller is not known.
    NotAuthenticated,
    /// The node did not answer.
    Unreachable,
    /// Refused by safe mode.
    SafeMode,
    /// The world changed since the plan was made.
    Conflict,
    /// Interrupted.
    Interrupted,
}

/// Every code with its meaning, in the order of codes.
pub(crate) const TABLE: &[(Exit, &str)] = &[
    (Exit::Done, "done"),
    (Exit::Failed, "failed (could not run)"),
    (Exit::Usage, "usage: the command line is wrong"),
    (Exit::No, "ran fine, the answer is no: denied, not there, not verified, refused, posture failed"),
    (Exit::NotAuthenticated, "not authenticated"),
    (Exit::Unreachable, "the node is unreachable or did not answer in time"),
    (Exit::SafeMode, "refused by safe mode"),
    (Exit::Conflict, "conflict: it exists already, or has changed since you looked"),
    (Exit::Interrupted, "interrupted"),
];

impl Exit {
    /// The number that the shell sees.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::No => 3,
            Self::NotAuthenticated => 4,
            Self::Unreachable => 5,
            Self::SafeMode => 6,
            Self::Conflict => 7,
            Self::Interrupted => 130,
        }
    }

    /// What an HTTP status of the API means for the caller. A thing that is hidden and a thing that is not
    /// there give the same code, as they give the same status.
    pub(crate) const fn from_status(status: u16) -> Self {
        match status {
            401 => Self::NotAuthenticated,
            403 | 404 | 422 => Self::No,
            409 | 412 => Self::Conflict,
            502..=504 | 408 => Self::Unreachable,
            _ => Self::Failed,
        }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_all_listed() {
        let codes: std::collections::BTreeSet<u8> = TABLE.iter().map(|(e, _)| e.code()).collect();
        assert_eq!(codes.len(), 9);
        assert_eq!(TABLE.len(), 9);
    }

    #[test]
    fn hidden_and_absent_look_the_same() {
        assert_eq!(Exit::from_status(403), Exit::from_status(404));
        assert_eq!(Exit::from_status(401), Exit::NotAuthenticated);
    }
}
