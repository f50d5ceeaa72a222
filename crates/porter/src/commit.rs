//! When a change in `checkpoints` is a commit (training.md section 3): a state machine over events and time.

use std::collections::BTreeMap;

use ops::porter::CommitRule;

use crate::limits;

/// What is sealed together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unit {
    /// The files directly in `checkpoints`.
    Files,
    /// One directory in it, with everything below.
    Directory(String),
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Something else than the following.
    Touched,
    /// It was moved to its name.
    MovedIn,
    /// A writer closed it.
    Closed,
}

/// Names that frameworks write last.
const MARKERS: [&str; 6] = [
    "COMMIT",
    "_SUCCESS",
    "commit_success.txt",
    ".metadata",
    "latest_checkpointed_iteration.txt",
    "trainer_state.json",
];
/// Parts of names that are not final.
const UNFINISHED: [&str; 3] = [".tmp", ".orbax-checkpoint-tmp", ".incomplete"];

/// Whether a name directly in `checkpoints` is one that a finished checkpoint may have.
pub(crate) fn is_final(name: &str) -> bool {
    !name.starts_with('.') && !UNFINISHED.iter().any(|part| name.contains(part))
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    rule: CommitRule,
    due_ms: u64,
    since_ms: u64,
}

/// What waits to be tried.
#[derive(Debug)]
pub(crate) struct Commits {
    quiet_ms: u64,
    pending: BTreeMap<Unit, Pending>,
}

impl Commits {
    pub(crate) fn new(quiet_ms: u64) -> Self {
        Self { quiet_ms, pending: BTreeMap::new() }
    }

    /// The unit that a path belongs to; none for unfinished names.
    pub(crate) fn unit(path: &str, is_directory: bool) -> Option<Unit> {
        let (first, below) = path.split_once('/').map_or((path, ""), |(first, below)| (first, below));
        if !is_final(first) {
            return None;
        }
        Some(if below.is_empty() && !is_directory { Unit::Files } else { Unit::Directory(first.to_owned()) })
    }

    /// Something happened.
    pub(crate) fn change(&mut self, path: &str, is_directory: bool, change: Change, now_ms: u64) {
        let Some(unit) = Self::unit(path, is_directory) else { return };
        let name = path.rsplit('/').next().unwrap_or(path);
        let top = !path.contains('/');
        let rule = match change {
            Change::MovedIn if top => CommitRule::Rename,
            Change::MovedIn | Change::Closed if MARKERS.contains(&name) => CommitRule::Marker,
            _ => CommitRule::Lease,
        };
        self.mark(unit, rule, now_ms);
    }

    /// A unit changed, told by this rule.
    pub(crate) fn mark(&mut self, unit: Unit, rule: CommitRule, now_ms: u64) {
        if self.pending.len() >= limits::PENDING_MAX && !self.pending.contains_key(&unit) {
            return;
        }
        let quiet_ms = self.quiet_ms;
        let entry = self.pending.entry(unit).or_insert(Pending { rule, due_ms: now_ms, since_ms: now_ms });
        if rule == CommitRule::Lease {
            let starved = entry.since_ms.saturating_add(quiet_ms.saturating_mul(limits::STARVED_QUIETS));
            entry.due_ms = now_ms.saturating_add(quiet_ms).min(starved);
        } else {
            entry.due_ms = now_ms;
        }
        entry.rule = rule;
    }

    /// Tries again later; a unit that waited for long is tried often, since its writer leaves short gaps only.
    pub(crate) fn again(&mut self, unit: &Unit, rule: CommitRule, since_ms: u64, wait_ms: u64, now_ms: u64) {
        let starved = now_ms.saturating_sub(since_ms) > self.quiet_ms.saturating_mul(limits::STARVED_QUIETS);
        let wait = if starved { (wait_ms / 20).max(1) } else { wait_ms };
        let due_ms = now_ms.saturating_add(wait);
        self.pending.entry(unit.clone()).or_insert(Pending { rule, due_ms, since_ms });
    }

    /// Tries again after a quiet time.
    pub(crate) fn again_quiet(&mut self, unit: &Unit, rule: CommitRule, since_ms: u64, now_ms: u64) {
        self.again(unit, rule, since_ms, self.quiet_ms, now_ms);
    }

    /// Whether a unit waits.
    pub(crate) fn waits(&self, unit: &Unit) -> bool {
        self.pending.contains_key(unit)
    }

    /// Takes what is due, or everything if `all`: unit, rule, and since when it waits.
    pub(crate) fn take_due(&mut self, now_ms: u64, all: bool) -> Option<(Unit, CommitRule, u64)> {
        let unit = self
            .pending
            .iter()
            .filter(|(_, p)| all || p.due_ms <= now_ms)
            .min_by_key(|(_, p)| p.due_ms)
            .map(|(unit, _)| unit.clone())?;
        let pending = self.pending.remove(&unit)?;
        Some((unit, pending.rule, pending.since_ms))
    }

    /// Milliseconds until something is due.
    pub(crate) fn wait_ms(&self, now_ms: u64) -> Option<u64> {
        self.pending.values().map(|p| p.due_ms.saturating_sub(now_ms)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_due_only_once_it_is_quiet() {
        let mut commits = Commits::new(1000);
        commits.change("last.pt", false, Change::Touched, 0);
        commits.change("last.pt", false, Change::Closed, 500);
        assert_eq!(commits.take_due(1400, false), None);
        assert_eq!(commits.take_due(1500, false), Some((Unit::Files, CommitRule::Lease, 0)));
        assert_eq!(commits.take_due(9999, false), None);
    }

    #[test]
    fn a_file_that_is_never_quiet_is_tried_all_the_same() {
        let mut commits = Commits::new(1000);
        let mut tried = 0;
        for now in (0..20_000).step_by(100) {
            commits.change("last.pt", false, Change::Touched, now);
            if let Some((unit, rule, since)) = commits.take_due(now, false) {
                tried += 1;
                commits.again(&unit, rule, since, 1000, now);
            }
        }
        assert!(tried > 50, "{tried}");
    }

    #[test]
    fn a_rename_or_a_marker_is_due_at_once_and_an_unfinished_name_never() {
        let mut commits = Commits::new(1000);
        commits.change("step-5", true, Change::MovedIn, 10);
        let directory = Unit::Directory("step-5".into());
        assert_eq!(commits.take_due(10, false), Some((directory.clone(), CommitRule::Rename, 10)));
        commits.change("step-5/a/_SUCCESS", false, Change::Closed, 20);
        assert_eq!(commits.take_due(20, false), Some((directory, CommitRule::Marker, 20)));
        commits.change("step-5/a/weights", false, Change::Closed, 20);
        assert_eq!(commits.take_due(20, false), None);
        for name in [".hidden", "x.tmp", "5.orbax-checkpoint-tmp-1", "y.incomplete"] {
            commits.take_due(0, true);
            commits.change(name, false, Change::MovedIn, 30);
            assert_eq!(commits.take_due(9999, true), None, "{name}");
        }
    }
}
