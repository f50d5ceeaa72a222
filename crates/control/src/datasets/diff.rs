//! How one version of a data set differs from another: by path and digest of its files alone.

use std::collections::{BTreeMap, BTreeSet};

use api::{DatasetDiff, File, FileChange, FileRename};
use base::names::Name;
use store::records::Dataset;

use super::{find, totals, wire_files};
use crate::Fail;
use crate::node::Node;

/// A data set, and its version; 0 is the newest.
type Which = (Name, u64);

pub(crate) fn diff(node: &Node, tenant: &Name, from: &Which, to: &Which) -> Result<DatasetDiff, Fail> {
    let (from, to) = (find(node, tenant, &from.0, from.1)?, find(node, tenant, &to.0, to.1)?);
    Ok(between(&from, &to))
}

fn between(from: &Dataset, to: &Dataset) -> DatasetDiff {
    let by_path = |record: &Dataset| -> BTreeMap<String, File> {
        wire_files(record).into_iter().map(|file| (file.path.clone(), file)).collect()
    };
    let (old, mut new) = (by_path(from), by_path(to));
    let (mut removed, mut changed, mut unchanged) = (Vec::new(), Vec::new(), 0u64);
    for (path, was) in old {
        match new.remove(&path) {
            None => removed.push(was),
            Some(is) if is.digest == was.digest && is.size == was.size => {
                unchanged = unchanged.saturating_add(1);
            }
            Some(is) => changed.push(FileChange { path, from: was, to: is }),
        }
    }
    let mut added: Vec<File> = new.into_values().collect();
    let renamed = renames(&mut removed, &mut added);
    let counts = |record: &Dataset| record.contents.as_ref().map(totals).unwrap_or_default().0;
    let (was, is) = (counts(from), counts(to));
    let units: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let count = |counts: &BTreeMap<String, u64>, unit: &str| counts.get(unit).copied().unwrap_or(0);
    let records = units
        .into_iter()
        .map(|unit| (unit.clone(), [count(&was, unit), count(&is, unit)]))
        .filter(|(_, [was, is])| was != is);
    DatasetDiff {
        from: format!("{}@{}", from.name, from.version),
        to: format!("{}@{}", to.name, to.version),
        same: from.manifest_digest == to.manifest_digest,
        records: records.collect(),
        added,
        removed,
        changed,
        renamed,
        unchanged,
        bytes: [from.bytes, to.bytes],
    }
}

/// Takes what has only another path out of both lists, each file once, in the order of the paths.
fn renames(removed: &mut Vec<File>, added: &mut Vec<File>) -> Vec<FileRename> {
    let mut free: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in added.iter().rev() {
        free.entry(file.digest.clone()).or_default().push(file.path.clone());
    }
    let mut renamed = Vec::new();
    let mut taken = BTreeSet::new();
    removed.retain(|file| {
        let Some(to) = free.get_mut(&file.digest).and_then(Vec::pop) else { return true };
        taken.insert(to.clone());
        renamed.push(FileRename { from: file.path.clone(), to, digest: file.digest.clone() });
        false
    });
    added.retain(|file| !taken.contains(&file.path));
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(version: u64, files: &[(&str, &[u8])]) -> Dataset {
        let file = |(path, content): &(&str, &[u8])| store::records::File {
            path: (*path).to_owned(),
            size: u64::try_from(content.len()).unwrap(),
            digest: base::sha256(content),
            media: None,
        };
        let files: Vec<_> = files.iter().map(file).collect();
        Dataset {
            tenant: "acme".parse().unwrap(),
            name: "d".parse().unwrap(),
            version,
            manifest_digest: super::super::manifest(&files),
            bytes: files.iter().map(|f| f.size).sum(),
            files,
            created_ms: 0,
            contents: None,
        }
    }

    #[test]
    fn each_file_is_in_one_part_of_the_difference() {
        let one = set(1, &[("a", b"1"), ("b", b"2"), ("c", b"3"), ("d", b"4"), ("e", b"4")]);
        let two = set(2, &[("a", b"1"), ("b", b"9"), ("f", b"4"), ("g", b"7")]);
        let diff = between(&one, &two);
        let paths = |files: &[File]| files.iter().map(|f| f.path.clone()).collect::<Vec<_>>();
        assert!(!diff.same);
        assert_eq!(diff.unchanged, 1);
        assert_eq!(diff.changed.iter().map(|c| c.path.as_str()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(diff.renamed.iter().map(|r| (&*r.from, &*r.to)).collect::<Vec<_>>(), [("d", "f")]);
        assert_eq!(paths(&diff.removed), ["c", "e"]);
        assert_eq!(paths(&diff.added), ["g"]);
        assert!(between(&one, &one).same);
        assert_eq!(between(&one, &one).unchanged, 5);
    }
}
