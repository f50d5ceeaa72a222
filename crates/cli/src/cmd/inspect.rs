//! `strongroom model inspect`: every file is read once, by a process that can do nothing else, hashed and inspected.

mod child;
mod pool;
mod said;
mod sarif;
mod signed;

use std::path::Path;

use inspect::Verdict;
use serde_json::{Value, json};

use crate::args::InspectArgs;
use crate::context::write_whole;
use crate::error::{CliError, Failure};
use crate::exit::Exit;
use crate::output::{Answer, Column, Kind, View, bytes, printable};
use crate::progress::Progress;
use crate::session::Session;
use crate::walk::{Entry, Odd, survey};

pub(crate) use child::run as child;
use said::{Found, Said};

const COLUMNS: &[Column] = &[
    Column::new("path", "PATH", Kind::Plain),
    Column::new("format", "FORMAT", Kind::Plain),
    Column::new("verdict", "VERDICT", Kind::State),
    Column::new("size", "SIZE", Kind::Bytes),
    Column::new("digest", "DIGEST", Kind::Digest),
    Column::new("tensors", "TENSORS", Kind::Plain),
    Column::new("all_finite", "FINITE", Kind::Plain),
    Column::new("risks", "RISKS", Kind::Plain),
    Column::new("findings", "FINDINGS", Kind::Count),
];
const RULE_COLUMNS: &[Column] = &[
    Column::new("code", "CODE", Kind::Plain),
    Column::new("severity", "SEVERITY", Kind::Plain),
    Column::new("risk", "RISK", Kind::Plain),
    Column::new("title", "TITLE", Kind::Plain),
    Column::new("remedy", "REMEDY", Kind::Plain),
];
/// Names of globals that are shown to people; all of them stand in the document.
const GLOBALS_SHOWN: usize = 8;

/// A file and what was said of it.
struct Inspected {
    entry: Entry,
    said: Said,
}

/// Inspects a file or every file of a directory; exit 3 unless all may be loaded.
pub(crate) fn run(session: &Session, args: &InspectArgs) -> Result<Answer, Failure> {
    let Some(path) = &args.path else { return Ok(rules()) };
    let (files, odd) = survey(path)?;
    let total = files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.size));
    let key = args.key.as_deref().map(signed::key).transpose()?;
    let progress = Progress::new(session.progress, "inspect", total);
    let said = pool::inspect_all(&files, args.numbers, &progress);
    progress.finish();
    let mut inspected: Vec<Inspected> =
        files.into_iter().zip(said).map(|(entry, said)| Inspected { entry, said }).collect();
    inspected.extend(odd.into_iter().map(|Odd { name, path, why }| Inspected {
        said: Said::refused(&why),
        entry: Entry { name, path, size: 0, exact: false },
    }));
    inspected.sort_by(|a, b| a.entry.name.cmp(&b.entry.name));
    let verdict = inspected.iter().map(|file| file.said.verdict()).max().unwrap_or(Verdict::Refuse);
    let json = document(path, verdict, &inspected);
    if let Some(out) = &args.sarif {
        write_whole(out, &sarif::render(&inspected), 0o644)?;
    }
    if let (Some(out), Some(key)) = (&args.receipt, &key) {
        write_whole(out, &signed::receipt(key, path, &json, &inspected, args.numbers)?, 0o644)?;
    }
    let load = verdict == Verdict::Load;
    let mut text: String = inspected.iter().map(lines).collect();
    let mark = if load { "✓" } else { "✗" };
    text.push_str(&format!("{mark} {}: {}\n", verdict.as_str(), path.display()));
    let view = View::Text { text, rows: "files", columns: COLUMNS };
    Ok(Answer::of(json, view).exit(if load { Exit::Done } else { Exit::No }))
}

fn document(path: &Path, verdict: Verdict, files: &[Inspected]) -> Value {
    let rows: Vec<Value> = files
        .iter()
        .map(|Inspected { entry, said }| {
            json!({
                "path": entry.name,
                "size": entry.size,
                "format": said.format,
                "verdict": said.verdict,
                "digest": said.digest,
                "tensors": said.tensors,
                "all_finite": said.all_finite,
                "risks": said.risks,
                "globals": said.globals,
                "findings": said.findings,
            })
        })
        .collect();
    json!({
        "schema": "strongroom.model.inspection/1",
        "subject": path.display().to_string(),
        "verdict": verdict.as_str(),
        "rule_set": inspect::RULE_SET,
        "files": rows,
    })
}

/// What people read of one file.
fn lines(file: &Inspected) -> String {
    let Inspected { entry, said } = file;
    let mark = if said.verdict() == Verdict::Load { "✓" } else { "✗" };
    let finite = match said.all_finite {
        Some(true) => ", all numbers finite",
        Some(false) => ", some numbers not finite",
        None => "",
    };
    let mut out = format!(
        "{mark} {}  {}  {}, {}, {} tensors{finite}\n",
        said.verdict,
        printable(&entry.name),
        said.format,
        bytes(entry.size),
        said.tensors
    );
    if said.verdict() == Verdict::LoadWithPolicy {
        out.push_str(&format!("    loads only under a policy that accepts: {}\n", said.risks.join(", ")));
        if !said.globals.is_empty() {
            let shown: Vec<String> =
                said.globals.iter().take(GLOBALS_SHOWN).map(|name| printable(name)).collect();
            let more = said.globals.len().saturating_sub(shown.len());
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            out.push_str(&format!("    and lists exactly: {}{more}\n", shown.join(", ")));
        }
    }
    for Found { code, severity, offset, explanation, remedy } in &said.findings {
        out.push_str(&format!("    {code} {severity} at byte {offset}: {}\n", printable(explanation)));
        out.push_str(&format!("      help: {remedy}\n"));
    }
    out
}

/// Every rule, as they stand in this version.
fn rules() -> Answer {
    let mut text = String::new();
    let mut items = Vec::new();
    for rule in inspect::RULES {
        let risk = rule.risk.map(inspect::Risk::as_str);
        let named = risk.map(|risk| format!(" ({risk})")).unwrap_or_default();
        text.push_str(&format!("{} {}{named}: {}\n", rule.code, rule.severity.as_str(), rule.title));
        text.push_str(&format!("    help: {}\n", rule.remedy));
        items.push(json!({
            "code": rule.code,
            "severity": rule.severity.as_str(),
            "risk": risk,
            "title": rule.title,
            "remedy": rule.remedy,
        }));
    }
    let json = json!({ "schema": "strongroom.model.rules/1", "rule_set": inspect::RULE_SET, "items": items });
    Answer::of(json, View::Text { text, rows: "items", columns: RULE_COLUMNS })
}

/// For what a file of the caller must not be.
fn unusable(path: &Path, reason: String) -> CliError {
    CliError::Content { path: path.to_owned(), reason }
}
