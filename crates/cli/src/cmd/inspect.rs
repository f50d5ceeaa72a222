//! `strongroom model inspect`: each file is read by a process of its own that can do nothing else.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base::Explain;
use inspect::{Limits, Verdict, inspect_bytes};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::args::InspectChildArgs;
use crate::clock::Stopwatch;
use crate::confined;
use crate::error::{CliError, Failure};
use crate::exit::Exit;
use crate::output::{Answer, Column, Kind, View, bytes, printable};
use crate::session::Session;
use crate::walk::{Entry, open, walk};

/// Longest report: 64 findings, and a million tensors of which only the number is told.
const REPORT_MAX: u64 = 4 << 20;
/// Wall time of a child; its CPU time is bounded by itself.
const WALL: Duration = Duration::from_secs(3600);

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

/// What the child says of one file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    format: String,
    verdict: String,
    digest: String,
    tensors: usize,
    all_finite: Option<bool>,
    risks: Vec<String>,
    findings: Vec<Found>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Found {
    code: String,
    severity: String,
    offset: u64,
    explanation: String,
    remedy: String,
}

impl Said {
    /// The verdict; a word that is none refuses.
    fn verdict(&self) -> Verdict {
        [Verdict::Load, Verdict::LoadWithPolicy]
            .into_iter()
            .find(|verdict| verdict.as_str() == self.verdict)
            .unwrap_or(Verdict::Refuse)
    }

    fn refused(error: &CliError) -> Self {
        let found = Found {
            code: error.code().to_owned(),
            severity: "malformed".to_owned(),
            offset: 0,
            explanation: base::error::chain(error),
            remedy: error.help().unwrap_or_default().to_owned(),
        };
        Self {
            format: "unknown".to_owned(),
            verdict: Verdict::Refuse.as_str().to_owned(),
            digest: String::new(),
            tensors: 0,
            all_finite: None,
            risks: Vec::new(),
            findings: vec![found],
        }
    }
}

/// Inspects a file or every file of a directory; exit 3 unless all may be loaded.
pub(crate) fn run(_: &Session, path: &Path) -> Result<Answer, Failure> {
    let files = walk(path, &[])?;
    let mut rows = Vec::new();
    let mut text = String::new();
    let mut verdict = Verdict::Load;
    for entry in &files {
        // What cannot be inspected is not vouched for.
        let said = inspect(entry).unwrap_or_else(|error| Said::refused(&error));
        verdict = verdict.max(said.verdict());
        text.push_str(&lines(entry, &said));
        rows.push(json!({
            "path": entry.name,
            "size": entry.size,
            "format": said.format,
            "verdict": said.verdict,
            "digest": said.digest,
            "tensors": said.tensors,
            "all_finite": said.all_finite,
            "risks": said.risks,
            "findings": said.findings,
        }));
    }
    let load = verdict == Verdict::Load;
    let mark = if load { "✓" } else { "✗" };
    text.push_str(&format!("{mark} {}: {}\n", verdict.as_str(), path.display()));
    let json = json!({
        "schema": "strongroom.model.inspection/1",
        "subject": path.display().to_string(),
        "verdict": verdict.as_str(),
        "rule_set": inspect::RULE_SET,
        "files": rows,
    });
    let view = View::Text { text, rows: "files", columns: COLUMNS };
    Ok(Answer::of(json, view).exit(if load { Exit::Done } else { Exit::No }))
}

fn lines(entry: &Entry, said: &Said) -> String {
    let mark = if said.verdict == Verdict::Load.as_str() { "✓" } else { "✗" };
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
    if !said.risks.is_empty() {
        out.push_str(&format!("    risks that a policy has to accept: {}\n", said.risks.join(", ")));
    }
    for Found { code, severity, offset, explanation, remedy } in &said.findings {
        out.push_str(&format!("    {code} {severity} at byte {offset}: {}\n", printable(explanation)));
        out.push_str(&format!("      help: {remedy}\n"));
    }
    out
}

/// Runs the confined child over one file.
fn inspect(entry: &Entry) -> Result<Said, CliError> {
    let failed = |reason: String| CliError::Inspector { path: entry.path.clone(), reason };
    if entry.size > confined::FILE_MAX {
        return Err(failed(format!("files above {} are not inspected", bytes(confined::FILE_MAX))));
    }
    let file = open(&entry.path)?;
    let program = std::env::current_exe().map_err(CliError::file("find", Path::new("this program")))?;
    let mut child = Command::new(program)
        .args([confined::COMMAND, "--", &entry.name, &entry.size.to_string()])
        .env_clear()
        .current_dir("/")
        .stdin(file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    let mut report = Vec::new();
    let read = child.stdout.take().map(|out| out.take(REPORT_MAX).read_to_end(&mut report));
    let status = reap(&mut child).map_err(&failed)?;
    if let Some(Err(error)) = read {
        return Err(failed(error.to_string()));
    }
    if !status.success() {
        let how = match (status.signal(), status.code()) {
            (Some(signal), _) => format!("it was ended by signal {signal}: over its limit of memory or time"),
            (None, code) => format!("it ended with status {}", code.unwrap_or(-1)),
        };
        return Err(failed(how));
    }
    serde_json::from_slice(&report).map_err(|e| failed(e.to_string()))
}

/// Waits for the end of a child that closed its output.
fn reap(child: &mut Child) -> Result<std::process::ExitStatus, String> {
    let watch = Stopwatch::start();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if watch.elapsed() > WALL => {
                child.kill().map_err(|e| e.to_string())?;
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// The child itself.
pub(crate) fn child(args: &InspectChildArgs) -> Result<Exit, Failure> {
    let failed =
        |e: std::io::Error| CliError::Inspector { path: args.name.clone().into(), reason: e.to_string() };
    confined::confine(args.size).map_err(failed)?;
    let content = confined::read_input(args.size).map_err(failed)?;
    let report = inspect_bytes(&args.name, &content, &Limits::default());
    let said = Said {
        format: report.format.as_str().to_owned(),
        verdict: report.verdict.as_str().to_owned(),
        digest: base::sha256(&content).hex(),
        tensors: report.tensors.len(),
        all_finite: report.all_finite,
        risks: report.risks().map(|risk| risk.as_str().to_owned()).collect(),
        findings: report
            .findings
            .into_iter()
            .map(|f| Found {
                code: f.code.to_owned(),
                severity: f.severity.as_str().to_owned(),
                offset: f.offset,
                explanation: f.explanation,
                remedy: f.remedy.to_owned(),
            })
            .collect(),
    };
    let bytes = serde_json::to_vec(&said).unwrap_or_default();
    confined::write_output(&bytes).map_err(failed)?;
    Ok(Exit::Done)
}
