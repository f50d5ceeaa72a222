//! Where to resume (training.md section 5): walk from the trusted head backwards and take the newest version
//! that passes every check.
//!
//! A state machine without I/O: [`Resume::step`] says which check of which version is needed next, the caller
//! does it and answers. What needs no I/O (chain, verdict, time, contract, values) is decided here.

use std::collections::BTreeMap;

use base::{Digest, Explain, Timestamp};

use crate::contract::Contract;
use crate::manifest::{Continuation, Manifest};
use crate::monitor::{Verdict, tensor_set_difference};

#[cfg(test)]
mod tests;

/// The checks, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// It stands on the chain that ends at the trusted head, each version one more than its predecessor.
    Chain,
    /// The signature over its manifest's digest.
    Signature,
    /// Neither suspect nor quarantined.
    Verdict,
    /// Committed before the attack-aware limit.
    BeforeLimit,
    /// Code, configuration, command, environment, packages and data are those of now.
    Contract,
    /// Every file opens, with the size and digest that the manifest names.
    Open,
    /// Every file is of an allowed format and may be loaded.
    Format,
    /// All floats finite; names, types and shapes of tensors equal the predecessor's.
    Values,
}

impl Check {
    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Signature => "signature",
            Self::Verdict => "verdict",
            Self::BeforeLimit => "before-limit",
            Self::Contract => "contract",
            Self::Open => "open",
            Self::Format => "format",
            Self::Values => "values",
        }
    }
}

/// One stored version, as control finds it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The version under which it is stored.
    pub version: u64,
    /// The stored manifest bytes; `None` if they are gone.
    pub manifest: Option<Vec<u8>>,
    /// Set aside after it was sealed, and why.
    pub quarantined: Option<String>,
}

/// What the audit log says about the chain.
#[derive(Debug, Clone, Default)]
pub struct Trusted {
    /// Digest of each version's manifest, as logged when it was committed. The highest is the head.
    pub digests: BTreeMap<u64, Digest>,
}

/// Conditions of a resume.
#[derive(Debug, Clone)]
pub struct Conditions {
    /// What holds now, with channels hashed now.
    pub contract: Contract,
    /// Resume only from what was committed before this time, if an attack is known.
    pub before: Option<Timestamp>,
    /// Hardware now, as in [`Manifest::hardware`].
    pub hardware: Vec<(String, String)>,
}

/// A version that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The version.
    pub version: u64,
    /// The check that it failed.
    pub check: Check,
    /// How.
    pub detail: String,
}

/// The end of the search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The job never sealed one: start at the beginning.
    FromStart,
    /// Resume from this one.
    Chosen {
        /// The version.
        version: u64,
        /// Its training step.
        step: Option<u64>,
        /// What the continuation is worth.
        continuation: Continuation,
        /// Newer ones that were not taken, newest first.
        rejected: Vec<Rejected>,
    },
    /// No version passes: the job is held, and its owner decides.
    None {
        /// All of them, newest first.
        rejected: Vec<Rejected>,
    },
}

/// What the caller has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Do this check of this version and [`Resume::answer`].
    Need {
        /// The version.
        version: u64,
        /// One of `Signature`, `Open`, `Format`.
        check: Check,
    },
    /// Done.
    Decided(Decision),
}

/// An answer that was not asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no answer was due for check `{}` of checkpoint version {version}", check.name())]
pub struct NotAsked {
    version: u64,
    check: Check,
}

impl Explain for NotAsked {
    fn code(&self) -> &'static str {
        "SR-TRN-0020"
    }
    fn fault(&self) -> base::Fault {
        base::Fault::Platform
    }
    fn help(&self) -> Option<base::Help> {
        Some("this is a defect; start the job again with `strongroom job resume JOB`")
    }
}

/// The checks that the caller does.
const ASKED: [Check; 3] = [Check::Signature, Check::Open, Check::Format];

/// The search for a version to resume from.
#[derive(Debug)]
pub struct Resume {
    conditions: Conditions,
    trusted: Trusted,
    /// Every version known, newest first.
    versions: Vec<u64>,
    manifests: BTreeMap<u64, Manifest>,
    problems: BTreeMap<u64, (Check, String)>,
    quarantined: BTreeMap<u64, String>,
    at: usize,
    /// How many of [`ASKED`] the present version has passed.
    passed: usize,
    rejected: Vec<Rejected>,
    /// Whether the head itself is among the candidates.
    decided: Option<Decision>,
}

impl Resume {
    /// Starts a search. Versions that the log knows and the store does not have are rejected as missing, those
    /// that the log does not know as not on the chain.
    pub fn new(trusted: Trusted, candidates: Vec<Candidate>, conditions: Conditions) -> Self {
        let mut versions: Vec<u64> = trusted.digests.keys().copied().collect();
        versions.extend(candidates.iter().map(|c| c.version));
        versions.sort_unstable_by(|a, b| b.cmp(a));
        versions.dedup();
        let mut resume = Self {
            conditions,
            trusted,
            versions,
            manifests: BTreeMap::new(),
            problems: BTreeMap::new(),
            quarantined: BTreeMap::new(),
            at: 0,
            passed: 0,
            rejected: Vec::new(),
            decided: None,
        };
        for candidate in candidates {
            resume.take(candidate);
        }
        resume
    }

    /// Reads a candidate, and keeps it only if it is what the log names.
    fn take(&mut self, candidate: Candidate) {
        let version = candidate.version;
        if let Some(reason) = candidate.quarantined {
            self.quarantined.insert(version, reason);
        }
        let problem = match (candidate.manifest, self.trusted.digests.get(&version)) {
            (_, None) => Some("the audit log has no such version".to_owned()),
            (None, Some(_)) => Some("its manifest is missing".to_owned()),
            (Some(bytes), Some(digest)) if Manifest::digest_of(&bytes) != *digest => {
                Some("its manifest is not the one that was logged".to_owned())
            }
            (Some(bytes), Some(_)) => match Manifest::from_bytes(&bytes) {
                Err(error) => Some(error.to_string()),
                Ok(manifest) if manifest.version != version => {
                    Some(format!("its manifest says version {}", manifest.version))
                }
                Ok(manifest) => {
                    // Two candidates of one version cannot both have the logged digest and differ.
                    self.manifests.insert(version, manifest);
                    None
                }
            },
        };
        if let Some(problem) = problem {
            self.problems.entry(version).or_insert((Check::Chain, problem));
        }
    }

    /// What to do next. Asking again without an answer gives the same.
    pub fn step(&mut self) -> Step {
        loop {
            if let Some(decision) = &self.decided {
                return Step::Decided(decision.clone());
            }
            let Some(version) = self.versions.get(self.at).copied() else {
                let rejected = std::mem::take(&mut self.rejected);
                self.decided = Some(if self.versions.is_empty() {
                    Decision::FromStart
                } else {
                    Decision::None { rejected }
                });
                continue;
            };
            match self.examine(version) {
                Ok(Some(check)) => return Step::Need { version, check },
                Ok(None) => self.choose(version),
                Err((check, detail)) => self.reject(version, check, detail),
            }
        }
    }

    /// The result of a check that [`Resume::step`] asked for; `Err` says why it failed.
    ///
    /// # Errors
    /// [`NotAsked`].
    pub fn answer(&mut self, version: u64, check: Check, result: Result<(), String>) -> Result<(), NotAsked> {
        match self.step() {
            Step::Need { version: v, check: c } if v == version && c == check => {}
            Step::Need { .. } | Step::Decided(_) => return Err(NotAsked { version, check }),
        }
        match result {
            Ok(()) => self.passed = self.passed.saturating_add(1),
            Err(detail) => self.reject(version, check, detail),
        }
        Ok(())
    }

    /// The next check to ask for, `None` if all passed, or the one that failed. Checks run in their order; those
    /// after an unanswered one wait for it.
    fn examine(&self, version: u64) -> Result<Option<Check>, (Check, String)> {
        let manifest = self.chain(version)?;
        let asked = ASKED.get(self.passed).copied();
        if asked == Some(Check::Signature) {
            return Ok(asked);
        }
        self.verdict(version, manifest)?;
        let differences = manifest.contract.differences(&self.conditions.contract);
        if !differences.is_empty() {
            return Err((Check::Contract, differences.join("; ")));
        }
        if asked.is_some() {
            return Ok(asked);
        }
        self.values(version, manifest)?;
        Ok(None)
    }

    fn chain(&self, version: u64) -> Result<&Manifest, (Check, String)> {
        if let Some((check, detail)) = self.problems.get(&version) {
            return Err((*check, detail.clone()));
        }
        let Some(manifest) = self.manifests.get(&version) else {
            return Err((Check::Chain, "the log has it and the store does not".into()));
        };
        let before = version.checked_sub(1).and_then(|v| self.trusted.digests.get(&v)).copied();
        if manifest.prev != before {
            return Err((Check::Chain, "it does not follow the version before it".into()));
        }
        Ok(manifest)
    }

    fn verdict(&self, version: u64, manifest: &Manifest) -> Result<(), (Check, String)> {
        if let Some(reason) = self.quarantined.get(&version) {
            return Err((Check::Verdict, format!("quarantined: {reason}")));
        }
        if manifest.monitor == Verdict::Suspect {
            return Err((Check::Verdict, format!("suspect: {}", manifest.monitor_findings.join("; "))));
        }
        match self.conditions.before {
            Some(limit) if manifest.committed_at >= limit => {
                Err((Check::BeforeLimit, format!("committed at {}, limit {limit}", manifest.committed_at)))
            }
            _ => Ok(()),
        }
    }

    fn values(&self, version: u64, manifest: &Manifest) -> Result<(), (Check, String)> {
        if let Some(file) = manifest.files.iter().find(|f| f.all_finite == Some(false)) {
            return Err((Check::Values, format!("`{}` has a float that is not finite", file.path)));
        }
        let before = version.checked_sub(1).and_then(|v| self.manifests.get(&v));
        let difference =
            before.map(|b| tensor_set_difference(&b.tensors, &manifest.tensors)).unwrap_or_default();
        if difference.is_empty() { Ok(()) } else { Err((Check::Values, difference)) }
    }

    fn choose(&mut self, version: u64) {
        let manifest = self.manifests.get(&version);
        self.decided = Some(Decision::Chosen {
            version,
            step: manifest.and_then(|m| m.step),
            continuation: manifest
                .map_or(Continuation::Unknown, |m| Continuation::of(&m.hardware, &self.conditions.hardware)),
            rejected: std::mem::take(&mut self.rejected),
        });
    }

    fn reject(&mut self, version: u64, check: Check, detail: String) {
        self.rejected.push(Rejected { version, check, detail });
        self.at = self.at.saturating_add(1);
        self.passed = 0;
    }
}
