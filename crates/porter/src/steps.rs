//! Which training step a checkpoint is of: from the file itself where it says so, else from what the job had told
//! when the file was written. Always a claim of the job.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use inspect::limits::STEP_KEYS;

use crate::limits;
use crate::seal::Inspected;
use crate::snapshot::Copied;

/// Steps that the job told, with when.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<VecDeque<(u64, u64)>>);

impl Told {
    /// The job told a step.
    pub(crate) fn add(&self, unix_ms: u64, step: u64) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= limits::STEPS_MAX {
            told.pop_front();
        }
        told.push_back((unix_ms, step));
    }

    /// The last step told when the clock stood at `unix_ms`.
    fn at(&self, unix_ms: u64) -> Option<u64> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = unix_ms.saturating_add(limits::STEP_SLACK_MS);
        told.iter().rev().find(|(at, _)| *at <= limit).map(|(_, step)| *step)
    }
}

/// The step of a checkpoint: a JSON file inside, what inspection found in a torch file, the number at the end of a
/// name, or what was told.
pub(crate) fn of(files: &[Copied], inspected: &[Inspected], told: &Told) -> Option<u64> {
    let newest = files.iter().map(|f| f.mtime_ms).max()?;
    files
        .iter()
        .filter(|f| f.path.ends_with(".json"))
        .find_map(|f| from_json(&f.bytes))
        .or_else(|| inspected.iter().find_map(|found| found.step))
        .or_else(|| files.iter().find_map(|f| from_name(&f.path)))
        .or_else(|| told.at(newest))
}

fn from_json(bytes: &[u8]) -> Option<u64> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    STEP_KEYS.iter().find_map(|key| value.get(key)?.as_u64())
}

/// The number at the end of a directory's or file's name: `checkpoint-500/model.bin`, `epoch_3.pt`.
fn from_name(path: &str) -> Option<u64> {
    let first = path.split('/').next()?;
    let stem = if path.contains('/') { first } else { first.split('.').next()? };
    let digits: String = stem.chars().rev().take_while(char::is_ascii_digit).take(18).collect();
    digits.chars().rev().collect::<String>().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_found_where_scripts_keep_them() {
        assert_eq!(from_json(br#"{"global_step": 12, "step": 3}"#), Some(12));
        assert_eq!(from_name("checkpoint-500/model.bin"), Some(500));
        assert_eq!(from_name("epoch_3.pt"), Some(3));
        assert_eq!(from_name("last.pt"), None);
    }

    #[test]
    fn what_was_told_counts_only_from_before_the_file_was_written() {
        let told = Told::default();
        told.add(1000, 20);
        told.add(3000, 40);
        let file = |mtime_ms| vec![Copied { path: "last.pt".into(), mtime_ms, bytes: vec![] }];
        assert_eq!(of(&file(2000), &[], &told), Some(20));
        assert_eq!(of(&file(5000), &[], &told), Some(40));
        assert_eq!(of(&file(500), &[], &told), None);
    }
}
