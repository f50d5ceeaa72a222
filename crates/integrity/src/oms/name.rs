//! Names of files in a statement: relative, `/` between components, nothing that could leave the directory.

use std::collections::BTreeSet;

use crate::limits::{NAME_DEPTH_MAX, NAME_MAX};

/// Which rule of OMS section "resources" the name breaks, if any. Comparison of names is byte-exact, so no
/// normalisation happens anywhere.
pub(crate) fn fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > NAME_MAX {
        Some("it is longer than 1024 bytes")
    } else if name.contains('\0') {
        Some("it contains a NUL")
    } else if name.starts_with('/') || name.ends_with('/') {
        Some("it starts or ends with `/`")
    } else if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        Some("a component is empty, `.` or `..`")
    } else if name.split('/').count() > NAME_DEPTH_MAX {
        Some("it is more than 32 levels deep")
    } else {
        None
    }
}

/// Whether `name` is one of `paths` or below one of them: one look-up for each component of the name.
pub(crate) fn covered(name: &str, paths: &BTreeSet<&str>) -> bool {
    let ancestors = name.match_indices('/').filter_map(|(at, _)| name.get(..at));
    !paths.is_empty() && ancestors.chain([name]).any(|path| paths.contains(path))
}

/// Parts of a shard name `path:start:end`: the last two components, because a path may contain colons.
/// Decimal without sign or leading zero; `start < end`.
pub(crate) fn shard(name: &str) -> Option<(&str, std::ops::Range<u64>)> {
    let (rest, end) = name.rsplit_once(':')?;
    let (path, start) = rest.rsplit_once(':')?;
    let range = decimal(start)?..decimal(end)?;
    (!range.is_empty()).then_some((path, range))
}

fn decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}
