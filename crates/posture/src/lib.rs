//! **What.** The catalogue of 108 controls and the state of each: pass, fail, manual, not applicable or
//! unknown, with a reason and the evidence.
//!
//! **Why.** A statement about security is worth what was seen when it was checked. Every control of this
//! independent catalogue, based on public descriptions of TS 104 033, has a row in every report, and the
//! row says `unknown` until a probe on the live platform says more.
//!
//! **Where.** Used by `control`, which runs the probes, and by `xtask`, which writes `docs/controls`. A core
//! crate: it runs no probe, reads no file and no clock. [`root`] judges facts of the host that `control` read.
//!
//! **Invariants.** A report has one row for each control of the catalogue, in its order, and no other. A
//! result for an unknown id is refused. `Pass` without evidence cannot be built.

mod catalogue;
mod report;
pub mod root;

pub use catalogue::{CONTROL_COUNT, Catalogue, Control};
pub use report::{Counts, NO_PROBE, Outcome, Posture, Row, SCHEMA, Status};

/// Why a catalogue or a report could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostureError {
    /// The built-in catalogue does not parse or is not complete.
    #[error("catalogue of controls is broken: {0}")]
    Catalogue(String),
    /// A result names a control that the catalogue does not have.
    #[error("control `{0}` is not in the catalogue")]
    UnknownControl(String),
    /// A result passes without evidence.
    #[error("control `{0}` cannot pass without evidence")]
    NoEvidence(String),
    /// A result has no reason.
    #[error("result of control `{0}` has no reason")]
    NoReason(String),
}

impl base::Explain for PostureError {
    fn code(&self) -> &'static str {
        match self {
            Self::Catalogue(_) => "SR-POS-0001",
            Self::UnknownControl(_) => "SR-POS-0002",
            Self::NoEvidence(_) => "SR-POS-0003",
            Self::NoReason(_) => "SR-POS-0004",
        }
    }

    fn fault(&self) -> base::Fault {
        base::Fault::Platform
    }

    fn help(&self) -> Option<base::Help> {
        Some("this is a defect of the platform; `strongroom posture show` prints the last complete report")
    }
}

#[cfg(test)]
mod tests;
