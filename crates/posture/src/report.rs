//! The state of all controls.

use std::collections::BTreeMap;
use std::fmt;

use crate::{Catalogue, PostureError};

/// Name and version of the JSON form: `{"schema", "controls": [{"id", "status", "reason", "evidence"}]}`.
pub const SCHEMA: &str = "strongroom.posture/1";

/// The reason of a row for which there is no result.
pub const NO_PROBE: &str = "no probe for this control runs on this node";

/// The state of one control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// A probe ran on the live platform and saw it hold.
    Pass,
    /// A probe ran and saw it not hold.
    Fail,
    /// Only a person can check it.
    Manual,
    /// It is about something that this node does not have.
    NotApplicable,
    /// Nothing was seen.
    Unknown,
}

impl Status {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 5] = [Self::Pass, Self::Fail, Self::Manual, Self::NotApplicable, Self::Unknown];

    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Manual => "manual",
            Self::NotApplicable => "not_applicable",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The state.
    pub status: Status,
    /// Why, in one sentence.
    pub reason: String,
    /// What was seen: probe names, log entries, digests. A pass has at least one.
    pub evidence: Vec<String>,
}

impl Outcome {
    /// The result for a control that nothing looked at.
    pub fn unknown() -> Self {
        Self { status: Status::Unknown, reason: NO_PROBE.to_owned(), evidence: Vec::new() }
    }
}

/// One control and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The control's id.
    pub id: String,
    /// The control's statement.
    pub statement: String,
    /// Its state.
    pub outcome: Outcome,
}

/// How many controls are in each state; the sum is the number of controls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Controls that were seen to hold.
    pub pass: usize,
    /// Controls that were seen not to hold.
    pub fail: usize,
    /// Controls for a person to check.
    pub manual: usize,
    /// Controls about something that is not here.
    pub not_applicable: usize,
    /// Controls of which nothing was seen.
    pub unknown: usize,
}

impl Counts {
    /// The sum.
    pub fn total(self) -> usize {
        let Self { pass, fail, manual, not_applicable, unknown } = self;
        pass + fail + manual + not_applicable + unknown
    }
}

/// The state of every control, in the order of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posture {
    rows: Vec<Row>,
}

impl Posture {
    /// Puts results beside their controls; a control without a result is unknown.
    ///
    /// # Errors
    /// A result for a control that does not exist, a pass without evidence, a result without a reason.
    pub fn from_results(
        catalogue: &Catalogue,
        mut results: BTreeMap<String, Outcome>,
    ) -> Result<Self, PostureError> {
        let mut rows = Vec::with_capacity(catalogue.controls().len());
        for control in catalogue.controls() {
            let outcome = results.remove(&control.id).unwrap_or_else(Outcome::unknown);
            if outcome.reason.trim().is_empty() {
                return Err(PostureError::NoReason(control.id.clone()));
            }
            if outcome.status == Status::Pass && !outcome.evidence.iter().any(|item| !item.trim().is_empty())
            {
                return Err(PostureError::NoEvidence(control.id.clone()));
            }
            rows.push(Row { id: control.id.clone(), statement: control.statement.clone(), outcome });
        }
        match results.pop_first() {
            Some((id, _)) => Err(PostureError::UnknownControl(id)),
            None => Ok(Self { rows }),
        }
    }

    /// The rows, one for each control.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// How many are in each state.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for row in &self.rows {
            match row.outcome.status {
                Status::Pass => counts.pass += 1,
                Status::Fail => counts.fail += 1,
                Status::Manual => counts.manual += 1,
                Status::NotApplicable => counts.not_applicable += 1,
                Status::Unknown => counts.unknown += 1,
            }
        }
        counts
    }

    /// A table for people: one line for each control, then the counts.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        let id_width = self.rows.iter().map(|row| row.id.len()).max().unwrap_or(0);
        let status_width = Status::ALL.iter().map(|status| status.as_str().len()).max().unwrap_or(0);
        for Row { id, outcome, .. } in &self.rows {
            let Outcome { status, reason, evidence } = outcome;
            let seen =
                if evidence.is_empty() { String::new() } else { format!(" [{}]", evidence.join("; ")) };
            out.push_str(&format!("{id:id_width$}  {:status_width$}  {reason}{seen}\n", status.as_str()));
        }
        let counts = self.counts();
        out.push_str(&format!(
            "\n{} controls: {} pass, {} fail, {} manual, {} not applicable, {} unknown\n",
            counts.total(),
            counts.pass,
            counts.fail,
            counts.manual,
            counts.not_applicable,
            counts.unknown
        ));
        out
    }
}
