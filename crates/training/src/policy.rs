//! When to start again, what to keep, and when silence is an alarm.

use std::collections::BTreeSet;

use base::Timestamp;

use crate::contract::Ending;
use crate::jobfile::CheckpointPolicy;
use crate::limits;

#[cfg(test)]
mod tests;

/// What to do after a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Collect the model and close the job.
    Finish,
    /// Start again after this many milliseconds.
    Restart {
        /// The back-off.
        after_ms: u64,
    },
    /// Leave it until its owner asks to go on.
    Rest {
        /// Why.
        reason: String,
    },
    /// Stop, alarm, and let its owner decide.
    Hold {
        /// Why.
        reason: String,
    },
}

/// The restarts of a job.
#[derive(Debug, Clone, Default)]
pub struct Restarts {
    /// Failures since the last newly sealed checkpoint.
    failures: Vec<Timestamp>,
    total: u32,
}

impl Restarts {
    /// A job that never failed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Restarts so far.
    pub const fn total(&self) -> u32 {
        self.total
    }

    /// A new checkpoint was sealed: the job makes progress, so earlier failures no longer count.
    pub fn sealed(&mut self) {
        self.failures.clear();
    }

    /// A run ended. `jitter` is a random number of the caller, so that jobs do not start in step.
    pub fn ended(&mut self, ending: &Ending, now: Timestamp, jitter: u16) -> Next {
        match ending {
            Ending::Done => Next::Finish,
            Ending::Interrupted => Next::Rest { reason: "stopped on request".into() },
            Ending::Final(reason) => Next::Hold { reason: reason.clone() },
            Ending::Requeue => {
                self.total = self.total.saturating_add(1);
                Next::Restart { after_ms: 1000 }
            }
            Ending::Failed(reason) => self.failed(reason, now, jitter),
        }
    }

    fn failed(&mut self, reason: &str, now: Timestamp, jitter: u16) -> Next {
        self.failures.retain(|at| now.millis_since(*at) <= limits::BREAKER_WINDOW_MS);
        if self.failures.len() >= limits::BREAKER_RESTARTS {
            let count = limits::BREAKER_RESTARTS;
            return Next::Hold {
                reason: format!("{reason}; {count} restarts within 10 minutes sealed no new checkpoint"),
            };
        }
        self.failures.push(now);
        self.total = self.total.saturating_add(1);
        let doublings = u32::try_from(self.failures.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let base = 1000u64.checked_shl(doublings).unwrap_or(u64::MAX).min(limits::BACKOFF_MAX_MS);
        // Up to a quarter more or less.
        let spread = base / 2;
        let shift = spread.saturating_mul(u64::from(jitter)) / u64::from(u16::MAX);
        Next::Restart { after_ms: (base - spread / 2 + shift).min(limits::BACKOFF_MAX_MS) }
    }
}

/// A sealed version, for retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The version.
    pub version: u64,
    /// Neither suspect nor quarantined nor rejected.
    pub good: bool,
    /// The first that was sealed after a resume.
    pub first_after_resume: bool,
    /// Kept whatever the rules say: evidence, or in use.
    pub pinned: bool,
}

/// The versions that may go. Stay: the newest `keep`, every tenth, the first after each resume, pinned ones, and
/// as many of the newest good ones as it takes to have two.
pub fn removable(versions: &[Kept], keep: u32) -> BTreeSet<u64> {
    let mut newest: Vec<&Kept> = versions.iter().collect();
    newest.sort_by_key(|k| std::cmp::Reverse(k.version));
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    let by_rule = |rank: usize, k: &Kept| {
        rank < keep || k.version.is_multiple_of(limits::KEEP_EVERY) || k.first_after_resume || k.pinned
    };
    let mut good = 0usize;
    let mut removable = BTreeSet::new();
    for (rank, kept) in newest.into_iter().enumerate() {
        if by_rule(rank, kept) || (kept.good && good < limits::GOOD_MIN) {
            good = good.saturating_add(usize::from(kept.good));
        } else {
            removable.insert(kept.version);
        }
    }
    removable
}

/// How many seconds a job is over its `max_lost_seconds`; `None` while it is not. `since` is when the last
/// checkpoint was sealed, or when the run started if none was since.
pub fn overdue_s(policy: CheckpointPolicy, since: Timestamp, now: Timestamp) -> Option<u64> {
    let limit = u64::from(policy.max_lost_seconds?);
    let over = (now.millis_since(since) / 1000).saturating_sub(limit);
    (over > 0).then_some(over)
}
