//! `strongroom dataset`.

use std::collections::BTreeMap;

use super::import::{What, import};
use crate::args::DatasetCommand;
use crate::error::{CliError, Failure};
use crate::exit::Exit;
use crate::output::{Answer, Column, Kind, View, bytes, printable};
use crate::session::Session;

const LIST: &[Column] = &[
    Column::new("name", "NAME", Kind::Plain),
    Column::new("version", "VERSION", Kind::Plain),
    Column::new("digest", "DIGEST", Kind::Digest),
    Column::new("file_count", "FILES", Kind::Plain),
    Column::new("bytes", "SIZE", Kind::Bytes),
    Column::new("created", "CREATED", Kind::Time),
];

const FILES: &[Column] = &[
    Column::new("path", "PATH", Kind::Plain),
    Column::new("size", "SIZE", Kind::Bytes),
    Column::new("format", "FORMAT", Kind::Plain),
    Column::new("records", "RECORDS", Kind::Plain),
    Column::new("unit", "OF", Kind::Plain),
    Column::new("columns", "COLUMNS", Kind::Plain),
    Column::new("digest", "DIGEST", Kind::Digest),
];

/// Runs it.
pub(crate) fn run(session: &Session, command: DatasetCommand) -> Result<Answer, Failure> {
    match command {
        DatasetCommand::Import { name, path, tenant } => {
            let scope = session.scope(&tenant)?;
            let (_, made) = import(session, &scope, What::Dataset, name.as_str(), &path)?;
            let api::Imported::Dataset(set) = made else {
                let reason = "the commit did not make a data set".to_owned();
                return Err(CliError::Answer { what: "import.commit".into(), reason }.into());
            };
            let hint = format!(
                "{}@{} holds {} files, {}, sealed; see it with `strongroom dataset show {}@{} --tenant {}`",
                set.name,
                set.version,
                set.files.len(),
                bytes(set.bytes),
                set.name,
                set.version,
                set.tenant
            );
            Ok(shown(&set).hint(hint))
        }
        DatasetCommand::List { tenant } => {
            let scope = session.scope(&tenant)?;
            let items: Vec<api::Dataset> = scope.client.list(&scope.route(&["datasets"]))?;
            let empty = "no data set yet; import one with `strongroom dataset import NAME PATH`";
            Ok(Answer::list("strongroom.dataset.list/1", &items, LIST, empty))
        }
        DatasetCommand::Show(thing) => {
            let scope = session.scope(&thing.tenant)?;
            let path = scope.thing("datasets", &thing.thing.name, thing.thing.version, &[]);
            let set: api::Dataset = scope.client.get(&path)?;
            Ok(shown(&set))
        }
        DatasetCommand::Diff { from, to, tenant } => {
            let scope = session.scope(&tenant)?;
            let version = to.version.map_or_else(|| "latest".to_owned(), |v| v.to_string());
            let rest = ["diff", to.name.as_str(), &version];
            let path = scope.thing("datasets", &from.name, from.version, &rest);
            Ok(difference(&scope.client.get(&path)?))
        }
        DatasetCommand::Verify(thing) => {
            let scope = session.scope(&thing.tenant)?;
            let path = scope.thing("datasets", &thing.thing.name, thing.thing.version, &["verify"]);
            Ok(verification(&scope.client.act(&path)?))
        }
    }
}

/// Files that are printed for people; all of them are in `-o json`, `csv` and `jsonl`.
const SHOWN_MAX: usize = 50;

/// A version of a data set: totals, then its files.
fn shown(set: &api::Dataset) -> Answer {
    let list = |all: &BTreeMap<String, u64>| {
        let words: Vec<String> = all.iter().map(|(what, n)| format!("{n} {}", printable(what))).collect();
        if words.is_empty() { "none told".to_owned() } else { words.join(", ") }
    };
    let mut text = format!(
        "{}@{} of {}\n  digest   {}\n  files    {}, {}\n  formats  {}\n  records  {}\n",
        set.name,
        set.version,
        set.tenant,
        set.digest,
        set.files.len(),
        bytes(set.bytes),
        list(&set.formats),
        list(&set.records),
    );
    if set.rules.is_none() {
        text.push_str("  imported before files were recognised; import it again to have them counted\n");
    }
    if !set.accepted.is_empty() {
        text.push_str(&format!("  accepted by the trust policy: {}\n", printable(&set.accepted.join(", "))));
    }
    text.push_str(&format!("  created  {}\n", set.created));
    for file in set.files.iter().take(SHOWN_MAX) {
        text.push_str(&format!("    {}\n", line(file)));
    }
    let more = set.files.len().saturating_sub(SHOWN_MAX);
    if more > 0 {
        text.push_str(&format!("    and {more} more: see them with `-o csv`\n"));
    }
    Answer::of(api::to_json(set), View::Text { text, rows: "files", columns: FILES })
}

/// A file in one line.
fn line(file: &api::File) -> String {
    let mut line = format!("{}: {}", printable(&file.path), bytes(file.size));
    if let Some(format) = &file.format {
        line.push_str(&format!(", {}", printable(format)));
    }
    if let (Some(records), Some(unit)) = (file.records, &file.unit) {
        line.push_str(&format!(", {records} {}", printable(unit)));
    }
    if let Some(columns) = file.columns {
        line.push_str(&format!(", {columns} columns"));
    }
    for note in file.carries.iter().chain(&file.notes) {
        line.push_str(&format!("; {}", printable(note)));
    }
    line
}

/// What differs between two versions.
fn difference(diff: &api::DatasetDiff) -> Answer {
    let mut text = format!("{} to {}\n", printable(&diff.from), printable(&diff.to));
    let [was, is] = diff.bytes;
    text.push_str(&format!(
        "  {} added, {} removed, {} changed, {} renamed, {} unchanged; {} to {}\n",
        diff.added.len(),
        diff.removed.len(),
        diff.changed.len(),
        diff.renamed.len(),
        diff.unchanged,
        bytes(was),
        bytes(is),
    ));
    for (unit, [was, is]) in &diff.records {
        text.push_str(&format!("  {}: {was} to {is}\n", printable(unit)));
    }
    let mut lines: Vec<String> = Vec::new();
    lines.extend(diff.added.iter().map(|file| format!("+ {}", line(file))));
    lines.extend(diff.removed.iter().map(|file| format!("- {}", line(file))));
    lines.extend(diff.changed.iter().map(|c| format!("~ {} (was {})", line(&c.to), line(&c.from))));
    lines
        .extend(diff.renamed.iter().map(|r| format!("> {} is now {}", printable(&r.from), printable(&r.to))));
    for line in lines.iter().take(SHOWN_MAX) {
        text.push_str(&format!("  {line}\n"));
    }
    let more = lines.len().saturating_sub(SHOWN_MAX);
    if more > 0 {
        text.push_str(&format!("  and {more} more: see them with `-o json`\n"));
    }
    Answer::text(api::to_json(diff), text)
}

/// A verification: verdict first, then each check; exit 3 unless everything agreed.
pub(super) fn verification(result: &api::Verification) -> Answer {
    const COLUMNS: &[Column] = &[
        Column::new("name", "CHECK", Kind::Plain),
        Column::new("ok", "OK", Kind::Plain),
        Column::new("detail", "SEEN", Kind::Plain),
    ];
    let api::Verification { subject, verified, checks } = result;
    let mut text = format!("{} {subject}\n", if *verified { "✓ verified" } else { "✗ not verified" });
    for check in checks {
        let mark = if check.ok { "✓ ok  " } else { "✗ fail" };
        text.push_str(&format!("  {mark}  {}: {}\n", check.name, check.detail));
    }
    let view = View::Text { text, rows: "checks", columns: COLUMNS };
    Answer::of(api::to_json(result), view).exit(if *verified { Exit::Done } else { Exit::No })
}
