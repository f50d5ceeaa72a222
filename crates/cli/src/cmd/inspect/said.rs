//! What a confined process says of one file.

use base::Explain;
use inspect::{Finding, Verdict};
use serde::{Deserialize, Serialize};

use crate::error::CliError;

/// A report as it crosses from the confined process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    pub(super) format: String,
    pub(super) verdict: String,
    pub(super) digest: String,
    pub(super) tensors: usize,
    pub(super) all_finite: Option<bool>,
    pub(super) risks: Vec<String>,
    pub(super) globals: Vec<String>,
    pub(super) findings: Vec<Found>,
}

/// One finding.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Found {
    pub(super) code: String,
    pub(super) severity: String,
    pub(super) offset: u64,
    pub(super) explanation: String,
    pub(super) remedy: String,
}

impl From<Finding> for Found {
    fn from(finding: Finding) -> Self {
        Self {
            code: finding.code.to_owned(),
            severity: finding.severity.as_str().to_owned(),
            offset: finding.offset,
            explanation: finding.explanation,
            remedy: finding.remedy.to_owned(),
        }
    }
}

impl Said {
    /// The verdict; a word that is none refuses.
    pub(super) fn verdict(&self) -> Verdict {
        [Verdict::Load, Verdict::LoadWithPolicy]
            .into_iter()
            .find(|verdict| verdict.as_str() == self.verdict)
            .unwrap_or(Verdict::Refuse)
    }

    /// What cannot be inspected is not vouched for.
    pub(super) fn refused(error: &CliError) -> Self {
        let found = Found {
            code: error.code().to_owned(),
            severity: "malformed".to_owned(),
            offset: 0,
            explanation: base::error::chain(error),
            remedy: error.help().unwrap_or_default().to_owned(),
        };
        Self {
            format: "unknown".to_owned(),
            verdict: Verdict::Refuse.as_str().to_owned(),
            digest: String::new(),
            tensors: 0,
            all_finite: None,
            risks: Vec::new(),
            globals: Vec::new(),
            findings: vec![found],
        }
    }
}
