//! Whether the network leads to root on the host: judged from facts that the caller read (AC-1).
//!
//! Each check says what it saw to be in order, or what is wrong and what to change, or why it could not be made.
//! Together they pass only if every one of them was made and saw nothing wrong.

mod engines;
mod processes;
pub mod sshd;
mod tables;

pub use engines::{EngineSocket, engines};
pub use processes::{Held, Holders, Process, asked, network_sockets, other_doors, sessions};
pub use tables::{BadTable, Sockets, listeners};

use crate::{Outcome, Status};

/// Findings shown of one check; the rest are counted.
pub const SHOWN_MAX: usize = 8;

/// What is wrong and what to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was seen.
    pub seen: String,
    /// What to change.
    pub change: String,
}

impl Finding {
    fn new(seen: impl Into<String>, change: impl Into<String>) -> Self {
        Self { seen: seen.into(), change: change.into() }
    }
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// It was made, and this is what was in order.
    Clean(String),
    /// Something is wrong; never empty.
    Found(Vec<Finding>),
    /// It could not be made, and why.
    Unknown(String),
}

impl Checked {
    /// Found if there are findings, else clean.
    fn of(findings: Vec<Finding>, clean: impl FnOnce() -> String) -> Self {
        if findings.is_empty() { Self::Clean(clean()) } else { Self::Found(findings) }
    }
}

/// One verdict of all checks, each with its name.
pub fn judge(checks: &[(&str, Checked)]) -> Outcome {
    let (mut evidence, mut wrong, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for (name, checked) in checks {
        match checked {
            Checked::Clean(seen) => evidence.push(format!("{name}: in order: {seen}")),
            Checked::Unknown(why) => {
                evidence.push(format!("{name}: not known: {why}"));
                unknown.push(format!("{name}: {why}"));
            }
            Checked::Found(findings) => {
                for Finding { seen, change } in findings.iter().take(SHOWN_MAX) {
                    evidence.push(format!("{name}: {seen}; to change: {change}"));
                }
                if let Some(more) = findings.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
                    evidence.push(format!("{name}: {more} more like these"));
                }
                wrong.extend(findings);
            }
        }
    }
    let (status, reason) = match (wrong.split_first(), unknown.is_empty()) {
        (Some((first, rest)), _) => {
            let more = match rest.len() {
                0 => String::new(),
                n => format!(" (and {n} more, in the evidence)"),
            };
            (Status::Fail, format!("{}; to change: {}{more}", first.seen, first.change))
        }
        (None, false) => (Status::Unknown, unknown.join("; ")),
        (None, true) if checks.is_empty() => (Status::Unknown, "nothing was looked at".to_owned()),
        (None, true) => {
            (Status::Pass, "nothing that the network reaches was seen to lead to root".to_owned())
        }
    };
    Outcome { status, reason, evidence }
}

#[cfg(test)]
mod tests;
