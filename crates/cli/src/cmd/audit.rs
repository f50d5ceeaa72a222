//! `strongroom audit`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use audit::limits::TILE_LEVELS;
use audit::verify::{End, KeyTrust, ReadError, ReadFile, VerifyError, verify};
use audit::{Checkpoint, NoteError, VerifierKey, tile};
use base::{Explain, Timestamp};
use serde_json::{Value, json};

use super::model::{below, new_directory, write_new};
use super::sign::{member, read_bounded};
use crate::args::{AuditCommand, SearchArgs};
use crate::client::{Client, encode, route_file};
use crate::error::{CliError, Failure};
use crate::exit::Exit;
use crate::output::{Answer, Column, Format, Kind, View, printable};
use crate::progress::say;
use crate::session::Session;

/// Largest file of a log that is read: a segment is 64 MiB.
const LOG_FILE_MAX: u64 = 128 << 20;
/// Largest key or checkpoint file.
const SMALL_MAX: u64 = 64 << 10;
/// Entries asked for at once: as many as the node gives.
const PAGE: u32 = 1000;
/// How often an export follows a log that grows.
const EXPORT_TRIES: u32 = 20;
/// How often the length of the log is looked at.
const TAIL_EVERY: Duration = Duration::from_millis(500);
/// And where the newest entries cannot be searched yet.
const TAIL_LATE: Duration = Duration::from_secs(5);

const ENTRIES: &[Column] = &[
    Column::new("unmapped.strongroom.index", "INDEX", Kind::Plain),
    Column::new("time", "TIME", Kind::Plain),
    Column::new("unmapped.strongroom.event", "EVENT", Kind::Plain),
    Column::new("unmapped.strongroom.phase", "PHASE", Kind::Plain),
    Column::new("unmapped.strongroom.outcome", "OUTCOME", Kind::State),
    Column::new("metadata.tenant_uid", "TENANT", Kind::Plain),
    Column::new("unmapped.strongroom.actor", "ACTOR", Kind::Plain),
    Column::new("unmapped.strongroom.asset.id", "ASSET", Kind::Plain),
    Column::new("status_detail", "WHY", Kind::Plain),
];

const REPORT: &[Column] = &[
    Column::new("origin", "LOG", Kind::Plain),
    Column::new("verified", "VERIFIED", Kind::Plain),
    Column::new("entries", "ENTRIES", Kind::Plain),
    Column::new("root", "ROOT", Kind::Digest),
    Column::new("key_trust", "KEY FROM", Kind::Plain),
    Column::new("end", "END", Kind::Plain),
    Column::new("reason", "REASON", Kind::Plain),
    Column::new("findings", "FINDINGS", Kind::Count),
];

/// Runs it; `None` where the result was printed as it came.
pub(crate) fn run(session: &Session, command: AuditCommand) -> Result<Option<Answer>, Failure> {
    match command {
        AuditCommand::Search(args) => search(session, &args).map(Some),
        AuditCommand::Tail(args) => tail(session, &args).map(|()| None),
        AuditCommand::Verify { path, key, at_least } => {
            verify_copy(&path, key.as_deref(), at_least.as_deref()).map(Some)
        }
        AuditCommand::Export { directory } => export(session, &directory).map(Some),
    }
}

/// The route of a search. The node narrows by kind, tenant and text; what comes back is matched exactly here.
fn query(args: &SearchArgs, from: u64) -> String {
    let kind = args.kind.as_deref().map(|kind| kind.trim_end_matches('.').to_owned());
    let text = args.asset.clone().or_else(|| args.text.clone());
    let pairs = [("kind", &kind), ("tenant", &args.tenant), ("text", &text)];
    let mut path = format!("/audit/entries?from={from}&limit={PAGE}");
    for (name, value) in pairs {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", encode(value)));
        }
    }
    path
}

fn matches(args: &SearchArgs, entry: &Value) -> bool {
    let is = |wanted: &Option<String>, test: &dyn Fn(&str) -> bool| wanted.as_deref().is_none_or(test);
    let at = |pointer| member(entry, pointer);
    let kind = at("/unmapped/strongroom/event");
    is(&args.kind, &|k| kind == k || (k.ends_with('.') && kind.starts_with(k)))
        && is(&args.tenant, &|t| at("/metadata/tenant_uid") == t)
        && is(&args.asset, &|a| at("/unmapped/strongroom/asset/id").contains(a))
        && is(&args.text, &|t| entry.to_string().contains(t))
        && is(&args.outcome, &|o| at("/unmapped/strongroom/outcome") == o)
}

fn search(session: &Session, args: &SearchArgs) -> Result<Answer, Failure> {
    let client = session.client()?;
    let mut found: std::collections::VecDeque<Value> = std::collections::VecDeque::new();
    let (mut from, mut dropped) = (args.from.unwrap_or(0), false);
    let (searched, log, hidden) = loop {
        let page: api::Entries = client.get(&query(args, from))?;
        let hidden = hidden(&page);
        for entry in page.entries.into_iter().filter(|entry| matches(args, entry)) {
            found.push_back(entry);
            if args.limit > 0 && found.len() > args.limit {
                found.pop_front();
                dropped = true;
            }
        }
        match page.next {
            Some(next) if next > from => from = next,
            _ => break (page.searched_to, page.log_entries, hidden),
        }
    };
    let items: Vec<Value> = found.into_iter().collect();
    let mut answer = Answer::list("strongroom.audit.entries/1", &items, ENTRIES, "no entry matches");
    if let Value::Object(map) = &mut answer.json {
        map.insert("searched_to".to_owned(), searched.into());
        map.insert("more".to_owned(), dropped.into());
        map.insert("log_entries".to_owned(), log.into());
        map.insert("not_searchable".to_owned(), hidden.into());
    }
    if session.style.format == Format::Text && session.style.fields.is_empty() {
        let text: String = items.iter().map(line).collect();
        let text = if text.is_empty() { "no entry matches\n".to_owned() } else { text };
        answer.view = View::Text { text, rows: "items", columns: ENTRIES };
    }
    let more = if dropped { "; the newest of them are shown, see more with --limit" } else { "" };
    if hidden > 0 {
        say(&not_searchable(hidden));
    }
    Ok(answer.hint(format!("searched {searched} of {log} entries{more}")))
}

/// The newest entries that are in the log and that the search could not see.
const fn hidden(page: &api::Entries) -> u64 {
    page.log_entries.saturating_sub(page.searchable_entries)
}

fn not_searchable(hidden: u64) -> String {
    let (entries, are) = if hidden == 1 { ("entry", "is") } else { ("entries", "are") };
    format!(
        "warning: the {hidden} newest {entries} of the log {are} durable but not yet searchable: is the disk full? see `strongroom doctor`"
    )
}

/// An entry for people.
fn line(entry: &Value) -> String {
    let own = |name: &str| member(entry, &format!("/unmapped/strongroom/{name}")).to_owned();
    let index = entry.pointer("/unmapped/strongroom/index").and_then(Value::as_u64).unwrap_or(0);
    let time = entry.get("time").and_then(Value::as_u64).map(|t| Timestamp::from_millis(t).to_string());
    let why = member(entry, "/status_detail");
    let text = format!(
        "{index:>6}  {}  {:<22}  {:<8}  {:<8}  {}  {}  {}{}",
        time.unwrap_or_default(),
        own("event"),
        own("phase"),
        own("outcome"),
        member(entry, "/metadata/tenant_uid"),
        own("actor"),
        own("asset/id"),
        if why.is_empty() { String::new() } else { format!("  {why}") },
    );
    printable(&text).replace('\n', " ") + "\n"
}

/// Follows the log. Reading it is itself an entry, which is not shown unless asked for, and not read again.
fn tail(session: &Session, args: &SearchArgs) -> Result<(), Failure> {
    let client = session.client()?;
    let shows_reads = args.kind.as_deref().is_some_and(|kind| kind.starts_with("log"));
    let wanted = |entry: &Value| {
        matches(args, entry) && (shows_reads || member(entry, "/unmapped/strongroom/event") != "log.read")
    };
    let size = || client.get::<api::Status>("/status").map(|status| status.log_size);
    let mut from = args.from.map_or_else(size, Ok)?;
    let (mut known, mut told) = (None, 0);
    loop {
        let now = size()?;
        if now <= from || known.is_some_and(|known| now <= known) {
            std::thread::sleep(TAIL_EVERY);
            continue;
        }
        let page: api::Entries = client.get(&query(args, from))?;
        for entry in page.entries.iter().filter(|entry| wanted(entry)) {
            let text = match session.style.format {
                Format::Text | Format::Plain | Format::Csv => line(entry),
                Format::Json | Format::Jsonl => format!("{entry}\n"),
            };
            let mut out = std::io::stdout().lock();
            match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                other => other.map_err(CliError::file("write", Path::new("standard output")))?,
            }
        }
        from = page.next.unwrap_or(page.searched_to).max(from);
        // The read just made stands at the end of the log now.
        known = page.next.is_none().then(|| page.searched_to.saturating_add(1));
        let hidden = hidden(&page);
        if hidden > 0 {
            if told == 0 {
                say(&not_searchable(hidden));
            }
            // They appear without a new entry, and each look makes one: seldom, until the disk has room.
            known = None;
            std::thread::sleep(TAIL_LATE);
        }
        told = hidden;
    }
}

/// Writes a copy of the log up to one signed head. The head is taken first and decides which files belong to the
/// copy, since the log grows meanwhile; where a file of an older head is gone by then, the copy starts over.
fn export(session: &Session, directory: &Path) -> Result<Answer, Failure> {
    let client = session.client()?;
    // Announces the export, which is itself an entry.
    let announced: api::LogFiles = client.get("/audit/files")?;
    let status: api::Status = client.get("/status")?;
    new_directory(directory)?;
    let mut tries = 0;
    let (size, count) = loop {
        let note = client.bytes(&route_file(&["audit", "files"], "checkpoint"))?;
        let head = Checkpoint::unchecked(&note).map_err(|e| Failure::explain(&e, Exit::Failed))?;
        tries += 1;
        let copied =
            if head.size.get() < announced.size { Ok(None) } else { copy(&client, directory, &head) };
        match copied {
            Ok(Some(count)) => {
                write_new(&directory.join("checkpoint"), &note)?;
                break (head.size.get(), count.saturating_add(1));
            }
            Ok(None) if tries < EXPORT_TRIES => std::thread::sleep(TAIL_EVERY),
            Ok(None) => {
                let reason = "the log grew faster than it could be copied".to_owned();
                return Err(CliError::Answer { what: "audit.files".to_owned(), reason }.into());
            }
            Err(failure) => return Err(failure),
        }
    };
    write_new(&directory.join("vkey"), format!("{}\n", status.log_key).as_bytes())?;
    let json = json!({
        "schema": "strongroom.audit.export/1",
        "directory": directory.display().to_string(),
        "files": count.saturating_add(1),
        "entries": size,
        "key": status.log_key,
    });
    let shown = directory.display();
    let text = format!("✓ exported {size} entries in {count} files to {shown}\n  key  {}\n", status.log_key);
    let hint = format!("check it on any machine: strongroom audit verify {shown} --key '{}'", status.log_key);
    Ok(Answer::of(json, View::Text { text, rows: "", columns: &[] })
        .hint(hint)
        .hint("keep key and `checkpoint` elsewhere: with them a later cut or change cannot hide"))
}

/// Fetches the tiles and entries of a head; gives their number, or `None` where one is not there any more.
fn copy(client: &Client, directory: &Path, head: &Checkpoint) -> Result<Option<usize>, Failure> {
    let mut count = 0usize;
    for name in paths(head) {
        let to = below(directory, &name)?;
        if to.exists() {
            continue;
        }
        let bytes = match client.bytes(&route_file(&["audit", "files"], &name)) {
            Ok(bytes) => bytes,
            Err(failure) if failure.exit == Exit::No => return Ok(None),
            Err(failure) => return Err(failure),
        };
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).map_err(CliError::file("create", parent))?;
        }
        write_new(&to, &bytes)?;
        count = count.saturating_add(1);
    }
    Ok(Some(count))
}

/// The files of a log of this size (C2SP tlog-tiles).
fn paths(head: &Checkpoint) -> Vec<String> {
    let mut paths = Vec::new();
    for level in 0..TILE_LEVELS {
        let mut n = 0;
        loop {
            let width = tile::tile_width(level, n, head.size);
            if width == 0 {
                break;
            }
            paths.push(tile::hash_path(level, n, width));
            if level == 0 {
                paths.push(tile::entries_path(n, width));
            }
            n = n.saturating_add(1);
        }
    }
    paths
}

/// A log directory on disk.
struct Copy(PathBuf);

impl ReadFile for Copy {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ReadError> {
        let full = self.0.join(path);
        match std::fs::symlink_metadata(&full) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            _ => {
                let failed = |reason: String| ReadError { path: path.to_owned(), reason };
                let file = crate::walk::open(&full).map_err(|e| failed(base::error::chain(&e)))?;
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(&mut std::io::Read::take(file, LOG_FILE_MAX), &mut bytes)
                    .map_err(|e| failed(e.to_string()))?;
                Ok(Some(bytes))
            }
        }
    }
}

/// The key as text, or from a file that holds it.
fn key(text: &str) -> Result<VerifierKey, Failure> {
    let refuse = |error: NoteError| Failure::explain(&error, Exit::Failed);
    if text.contains('+') && !Path::new(text).exists() {
        return text.trim().parse().map_err(refuse);
    }
    let bytes = read_bounded(Path::new(text), SMALL_MAX)?;
    String::from_utf8_lossy(&bytes).trim().parse().map_err(refuse)
}

fn verify_copy(path: &Path, vkey: Option<&str>, at_least: Option<&Path>) -> Result<Answer, Failure> {
    let key = vkey.map(key).transpose()?;
    let kept = at_least.map(|file| read_bounded(file, SMALL_MAX)).transpose()?;
    let report = match verify(&Copy(path.to_owned()), key, kept.as_deref()) {
        Ok(report) => report,
        // Nothing that is signed wrongly is verified; a directory that cannot be read is no answer at all.
        Err(error @ (VerifyError::Head(_) | VerifyError::Kept(_))) => return Ok(not_verified(path, &error)),
        Err(error) => return Err(Failure::explain(&error, Exit::Failed)),
    };
    let end = match report.end {
        End::ProvenTo(size) => format!("proven to {size}"),
        End::NotProven => "not proven".to_owned(),
    };
    let intact = report.is_intact();
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|f| {
            json!({
                "first": f.first.to_string(),
                "last": f.last.to_string(),
                "what": f.what.text(),
                "file": f.file,
                "message": f.to_string(),
            })
        })
        .collect();
    let json = json!({
        "schema": "strongroom.audit.verification/1",
        "origin": report.origin,
        "verified": intact,
        "entries": report.size.to_string().parse::<u64>().unwrap_or(0),
        "root": report.root.hex(),
        "key": report.key.to_string(),
        "key_trust": match report.key_trust { KeyTrust::Given => "given", KeyTrust::FromCopy => "from the copy" },
        "end": end,
        "first_bad": report.first_bad().map(ToString::to_string),
        "findings": findings,
    });
    let text = format!("{report}\n");
    let exit = if intact { Exit::Done } else { Exit::No };
    Ok(Answer::of(json, View::Text { text, rows: "", columns: REPORT }).exit(exit))
}

fn not_verified(path: &Path, error: &VerifyError) -> Answer {
    let reason = base::error::chain(error);
    let json = json!({
        "schema": "strongroom.audit.verification/1",
        "origin": path.display().to_string(),
        "verified": false,
        "code": error.code(),
        "reason": reason,
        "end": "not proven",
        "findings": [],
    });
    if let Some(help) = error.help() {
        say(&format!("help: {help}"));
    }
    let text = format!("✗ not verified {}: {reason} [{}]\n", path.display(), error.code());
    Answer::of(json, View::Text { text, rows: "", columns: REPORT }).exit(Exit::No)
}
