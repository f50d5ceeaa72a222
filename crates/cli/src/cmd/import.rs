//! Bringing files into the node: begin, stream each file, commit.

use std::path::Path;

use serde_json::Value;

use crate::error::{CliError, Failure};
use crate::progress::Progress;
use crate::session::{Scope, Session};
use crate::walk::{open, walk};

/// What is imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Dataset,
    Code,
}

impl What {
    /// The word of the API.
    const fn word(self) -> &'static str {
        match self {
            Self::Dataset => "dataset",
            Self::Code => "code",
        }
    }

    /// Names left out of it: what a version-control system and the interpreter put beside code.
    const fn skipped(self) -> &'static [&'static str] {
        match self {
            Self::Code => &[".git", "__pycache__"],
            Self::Dataset => &[],
        }
    }
}

/// Imports all regular files below `path` under `name`; gives the import's id and what the commit made.
/// Until the commit nothing of it is visible.
pub(super) fn import(
    session: &Session,
    scope: &Scope,
    what: What,
    name: &str,
    path: &Path,
) -> Result<(String, api::Imported), Failure> {
    let files = walk(path, what.skipped())?;
    let total = files.iter().map(|f| f.size).fold(0u64, u64::saturating_add);
    let begin =
        api::ImportBegin { kind: what.word().to_owned(), name: name.to_owned(), digest: None, intake: None };
    let import: api::Import = scope.client.create(&scope.route(&["imports"]), &begin)?;
    let progress = Progress::new(session.progress, &format!("{} {name}", what.word()), total);
    for entry in &files {
        let file = open(&entry.path)?;
        let now = file.metadata().map_err(CliError::file("read", &entry.path))?.len();
        if now != entry.size {
            return Err(CliError::Changed(entry.path.clone()).into());
        }
        let mut segments = vec!["imports", import.id.as_str(), "files"];
        segments.extend(entry.name.split('/'));
        scope.client.upload(&scope.route(&segments), file, &entry.path, entry.size, &progress)?;
    }
    progress.finish();
    let made = commit(scope, &import.id)?;
    Ok((import.id, made))
}

/// Makes what was uploaded visible.
pub(super) fn commit(scope: &Scope, import: &str) -> Result<api::Imported, Failure> {
    let mut made: Value = scope.client.complete(&scope.route(&["imports", import, "commit"]))?;
    if let Value::Object(map) = &mut made {
        // Every answer names its schema; the rest is one of four things.
        map.remove("schema");
    }
    serde_json::from_value(made)
        .map_err(|e| CliError::Answer { what: "import.commit".to_owned(), reason: e.to_string() }.into())
}
