//! Which training step a checkpoint is of: from the file itself where it says so, else from what the job had told
//! when the file was written. Always a claim of the job.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::limits;
use crate::snapshot::Copied;

/// What every member of a zip archive begins with (APPNOTE 4.3.7).
const LOCAL_HEADER: &[u8] = b"PK\x03\x04";
/// Keys under which scripts keep their step.
const KEYS: [&str; 3] = ["global_step", "step", "iteration"];

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

/// The step of a checkpoint: a JSON file inside, the pickle of a torch file, the number at the end of a name, or
/// what was told.
pub(crate) fn of(files: &[Copied], told: &Told) -> Option<u64> {
    let newest = files.iter().map(|f| f.mtime_ms).max()?;
    files
        .iter()
        .filter(|f| f.path.ends_with(".json"))
        .find_map(|f| from_json(&f.bytes))
        .or_else(|| files.iter().find_map(|f| from_pickle(&f.bytes)))
        .or_else(|| files.iter().find_map(|f| from_name(&f.path)))
        .or_else(|| told.at(newest))
}

fn from_json(bytes: &[u8]) -> Option<u64> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    KEYS.iter().find_map(|key| value.get(key)?.as_u64())
}

/// The number at the end of a directory's or file's name: `checkpoint-500/model.bin`, `epoch_3.pt`.
fn from_name(path: &str) -> Option<u64> {
    let first = path.split('/').next()?;
    let stem = if path.contains('/') { first } else { first.split('.').next()? };
    let digits: String = stem.chars().rev().take_while(char::is_ascii_digit).take(18).collect();
    digits.chars().rev().collect::<String>().parse().ok()
}

/// The integer that a pickle of protocol 2 sets under one of the keys: `X key, put n, INT`, or `get n, INT` where
/// the text stands earlier. Only a reading of well-known patterns: nothing is executed.
fn from_pickle(bytes: &[u8]) -> Option<u64> {
    let head = bytes.get(..limits::STEP_SCAN.min(bytes.len()))?;
    if !head.starts_with(LOCAL_HEADER) {
        return None;
    }
    // The pickle is the first member; in the tensors after it any bytes may stand.
    let rest = head.get(LOCAL_HEADER.len()..).unwrap_or_default();
    let end = rest.windows(LOCAL_HEADER.len()).position(|w| w == LOCAL_HEADER).unwrap_or(rest.len());
    let pickle = rest.get(..end)?;
    KEYS.iter().find_map(|key| pickled(pickle, key))
}

fn pickled(head: &[u8], key: &str) -> Option<u64> {
    let mut pattern = vec![b'X'];
    pattern.extend_from_slice(&u32::try_from(key.len()).ok()?.to_le_bytes());
    pattern.extend_from_slice(key.as_bytes());
    let mut found = None;
    let mut references: Vec<Vec<u8>> = Vec::new();
    let mut at = 0usize;
    while let Some(rest) = head.get(at..).filter(|r| !r.is_empty()) {
        let known = references.iter().find(|r| rest.starts_with(r)).map(Vec::len);
        let after = if rest.starts_with(&pattern) {
            let (len, reference) = put(rest.get(pattern.len()..)?)?;
            if references.len() < 8 {
                references.push(reference);
            }
            Some(pattern.len().saturating_add(len))
        } else {
            known
        };
        match after {
            Some(len) => {
                found = integer(rest.get(len..)?).or(found);
                at = at.saturating_add(len);
            }
            None => at = at.saturating_add(1),
        }
    }
    found
}

/// A memo put, as its length and the get that refers to it.
fn put(rest: &[u8]) -> Option<(usize, Vec<u8>)> {
    match rest {
        [b'q', n, ..] => Some((2, vec![b'h', *n])),
        [b'r', a, b, c, d, ..] => Some((5, vec![b'j', *a, *b, *c, *d])),
        _ => None,
    }
}

fn integer(rest: &[u8]) -> Option<u64> {
    match rest {
        [b'K', n, ..] => Some(u64::from(*n)),
        [b'M', a, b, ..] => Some(u64::from(u16::from_le_bytes([*a, *b]))),
        [b'J', a, b, c, d, ..] => u64::try_from(i32::from_le_bytes([*a, *b, *c, *d])).ok(),
        _ => None,
    }
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
        assert_eq!(from_pickle(b"PK\x03\x04X\x04\0\0\0stepq\x07ccollections..h\x07M\x2c\x01"), Some(300));
        assert_eq!(from_pickle(b"PK\x03\x04X\x04\0\0\0stepr\x07\x01\0\0K\x09"), Some(9));
        assert_eq!(from_pickle(b"PK\x03\x04X\x04\0\0\0stepq"), None);
        // What looks like a later value, inside the tensors, is none.
        let tensors = b"PK\x03\x04X\x04\0\0\0stepq\x07M\x2c\x01PK\x03\x04h\x07K\x38";
        assert_eq!(from_pickle(tensors), Some(300));
    }

    #[test]
    fn what_was_told_counts_only_from_before_the_file_was_written() {
        let told = Told::default();
        told.add(1000, 20);
        told.add(3000, 40);
        let file = |mtime_ms| vec![Copied { path: "last.pt".into(), mtime_ms, bytes: vec![] }];
        assert_eq!(of(&file(2000), &told), Some(20));
        assert_eq!(of(&file(5000), &told), Some(40));
        assert_eq!(of(&file(500), &told), None);
    }
}
