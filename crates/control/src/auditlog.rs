//! The audit log as control reads it: search, proofs, receipts, export. Control cannot write these files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::shape::{PAGE_DEFAULT, SEARCH_TEXT_MAX};
use api::{Entries, LogFiles, Receipt};
use audit::checkpoint::Checkpoint;
use audit::prove::{prove, read_entries};
use audit::verify::{ReadError, ReadFile};
use audit::{LeafIndex, TreeSize, VerifierKey};
use base::id::ReceiptId;
use base::names::Name;
use ops::event::{Event, EventKind, Outcome, Phase};
use store::StoreError;
use store::records::Receipt as Record;

use crate::Fail;
use crate::auth::{By, Principal};
use crate::clock::now;
use crate::node::{Node, correlation, store_fail};

/// Largest file of a log: 256 entries of 65,535 bytes with their lengths.
const FILE_MAX: u64 = 256 * 65_537;
/// Most entries looked at for one answer.
const SCAN_MAX: u64 = 50_000;
/// How old a receipt may be and not yet be in the log, in milliseconds: batches are a second, and some.
const PENDING_MS: u64 = 5000;
/// Events that a Model BoM refers to.
const EVIDENCE_KINDS: [&str; 12] = [
    "job.submit",
    "job.start",
    "job.interrupt",
    "job.resume",
    "checkpoint.quarantine",
    "checkpoint.restore",
    "model.inspect",
    "key.sign",
    "intake.begin",
    "intake.step",
    "intake.evaluate",
    "intake.approve",
];
/// Most references of one Model BoM.
const EVIDENCE_MAX: usize = 200;
/// Entries read from disk at once.
const STEP: u64 = 256;
/// Longest wait for the newest entries to be searchable, in milliseconds: the keeper publishes them 20 ms after they
/// are durable, and where it cannot, it tries again each second.
const PUBLISH_WAIT_MS: u64 = 300;

/// The log's directory, read-only.
#[derive(Debug, Clone)]
pub(crate) struct LogDir(PathBuf);

impl LogDir {
    pub(crate) fn of(node: &Node) -> Self {
        Self(node.config.log_dir())
    }

    /// The signed head, checked with the log's key.
    pub(crate) fn head(&self) -> Result<(Checkpoint, VerifierKey), Fail> {
        let key = self.need("vkey")?;
        let key = String::from_utf8_lossy(&key)
            .trim()
            .parse::<VerifierKey>()
            .map_err(|e| Fail::explained(500, &e))?;
        let head = Checkpoint::open(&self.need("checkpoint")?, &key).map_err(|e| Fail::explained(500, &e))?;
        Ok((head, key))
    }

    /// The signed head, once it covers `entries`, or as it is when they were waited for long enough.
    fn head_of(&self, entries: u64) -> Result<Checkpoint, Fail> {
        let since = now();
        loop {
            let (head, _) = self.head()?;
            if head.size.get() >= entries || now().millis_since(since) >= PUBLISH_WAIT_MS {
                return Ok(head);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn need(&self, path: &str) -> Result<Vec<u8>, Fail> {
        self.read(path)
            .map_err(|e| Fail::storage("the audit log cannot be read", e))?
            .ok_or_else(|| Fail::unavailable("the audit log is not there yet", path))
    }
}

impl ReadFile for LogDir {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ReadError> {
        let fail = |reason: String| ReadError { path: path.to_owned(), reason };
        if !Path::new(path).components().all(|c| matches!(c, Component::Normal(_))) {
            return Err(fail("is not a path within the log".to_owned()));
        }
        // The segments are the keeper's own; what others read and export is the tiles.
        if path.starts_with("seg-") {
            return Ok(None);
        }
        let file = match File::open(self.0.join(path)) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(fail(e.to_string())),
        };
        let mut bytes = Vec::new();
        file.take(FILE_MAX.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| fail(e.to_string()))?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_MAX {
            return Err(fail(format!("is longer than {FILE_MAX} bytes")));
        }
        Ok(Some(bytes))
    }
}

/// What an entry must be to be found.
struct Filter<'a> {
    tenant: Option<&'a str>,
    kind: Option<&'a str>,
    correlation: Option<&'a str>,
    text: Option<&'a str>,
}

impl Filter<'_> {
    fn takes(&self, bytes: &[u8], parsed: &audit::entry::Parsed) -> bool {
        self.tenant.is_none_or(|t| t == parsed.tenant)
            && self.kind.is_none_or(|k| {
                parsed.event == k || parsed.event.strip_prefix(k).is_some_and(|r| r.starts_with('.'))
            })
            && self.correlation.is_none_or(|c| c == parsed.correlation)
            && self.text.is_none_or(|t| String::from_utf8_lossy(bytes).contains(t))
    }
}

/// Searches the log, oldest first. A tenant sees its own entries only. The answer says how much of the log it covers.
pub(crate) fn search(
    node: &Arc<Node>,
    principal: &Principal,
    query: &BTreeMap<String, String>,
) -> Result<Entries, Fail> {
    for name in ["kind", "correlation", "text"] {
        if query.get(name).is_some_and(|v| v.is_empty() || v.chars().count() > SEARCH_TEXT_MAX) {
            return Err(Fail::invalid(format!("`{name}` has 1 to {SEARCH_TEXT_MAX} characters")));
        }
    }
    let number = |name: &str| {
        query
            .get(name)
            .map(|v| v.parse::<u64>().map_err(|_| Fail::invalid(format!("`{name}` is a number"))))
            .transpose()
    };
    let log = LogDir::of(node);
    // What is durable, as the keeper says: the tiles that a search reads lag behind on a full disk.
    let durable = node.keeper.status()?.log_size;
    let head = log.head_of(durable)?;
    let limit = query.get("limit").map_or(Ok(PAGE_DEFAULT), |text| crate::http::limit(text))?;
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    let from = match number("last")? {
        Some(last) => head.size.get().saturating_sub(last.min(SCAN_MAX)),
        None => number("from")?.unwrap_or(0),
    };
    let asked = query.get("tenant").map(String::as_str);
    let tenant = match principal.confined_to() {
        Some(own) if asked.is_some_and(|a| a != own) => {
            return Err(Fail::not_found("tenant", asked.unwrap_or("")));
        }
        Some(own) => Some(own),
        None if asked.is_some_and(|a| a.parse::<Name>().is_err()) => {
            return Err(Fail::invalid("`tenant` is not a name"));
        }
        None => asked,
    };
    let get = |name: &str| query.get(name).map(String::as_str);
    let filter = Filter { tenant, kind: get("kind"), correlation: get("correlation"), text: get("text") };
    let found =
        Entries { log_entries: durable.max(head.size.get()), ..scan(&log, head.size, from, limit, &filter)? };
    let event =
        Event::new(EventKind::LogRead, Phase::Outcome, Outcome::Success, now().as_millis(), correlation()?)
            .tenant(tenant.unwrap_or(""))
            .by(principal)
            .asset("log", &head.origin, None)
            .detail("from", &from.to_string())
            .detail("to", &found.searched_to.to_string())
            .detail("entries", &found.entries.len().to_string());
    node.keeper.append(event)?;
    Ok(found)
}

fn scan(log: &LogDir, size: TreeSize, from: u64, limit: u64, filter: &Filter<'_>) -> Result<Entries, Fail> {
    let found = |entries, at: u64| Entries {
        entries,
        searched_to: at,
        next: (at < size.get()).then_some(at),
        log_entries: size.get(),
        searchable_entries: size.get(),
    };
    let mut at = from.min(size.get());
    let stop = size.get().min(at.saturating_add(SCAN_MAX));
    let mut entries = Vec::new();
    while at < stop {
        let batch = read_entries(log, size, LeafIndex::new(at), STEP.min(stop.saturating_sub(at)))
            .map_err(|e| Fail::explained(500, &e))?;
        for bytes in batch {
            at = at.saturating_add(1);
            let Some(parsed) = audit::entry::parse(&bytes) else { continue };
            if filter.takes(&bytes, &parsed) {
                let value =
                    serde_json::from_slice(&bytes).map_err(|e| Fail::internal("an entry is not JSON", e))?;
                entries.push(value);
                if u64::try_from(entries.len()).unwrap_or(u64::MAX) >= limit {
                    return Ok(found(entries, at));
                }
            }
        }
    }
    Ok(found(entries, at))
}

/// Entries of a tenant about one asset of it, newest part of the log only: event and phase, index, fingerprint
/// (SHA-256 of the entry). What another tenant had logged that merely names the asset is no evidence about it.
pub(crate) fn evidence(
    node: &Node,
    tenant: &str,
    asset: &str,
) -> Result<Vec<(String, u64, base::Digest)>, Fail> {
    let log = LogDir::of(node);
    let head = log.head_of(node.keeper.status()?.log_size)?;
    let mut at = head.size.get().saturating_sub(SCAN_MAX);
    let mut found = Vec::new();
    while at < head.size.get() {
        let batch =
            read_entries(&log, head.size, LeafIndex::new(at), STEP).map_err(|e| Fail::explained(500, &e))?;
        for bytes in batch {
            let about = audit::entry::parse(&bytes)
                .filter(|p| p.tenant == tenant && p.phase != "intent")
                .filter(|p| EVIDENCE_KINDS.contains(&p.event.as_str()))
                .filter(|_| String::from_utf8_lossy(&bytes).contains(asset));
            if let Some(parsed) = about {
                found.push((parsed.event, at, base::sha256(&bytes)));
            }
            at = at.saturating_add(1);
        }
    }
    found.truncate(EVIDENCE_MAX);
    Ok(found)
}

/// The newest entry of a kind that is taken, in the newest part of the log: its index and itself.
pub(crate) fn newest(
    node: &Node,
    kind: &str,
    takes: impl Fn(&serde_json::Value) -> bool,
) -> Result<Option<(u64, serde_json::Value)>, Fail> {
    let log = LogDir::of(node);
    let size = log.head_of(node.keeper.status()?.log_size)?.size;
    let first = size.get().saturating_sub(SCAN_MAX);
    let mut end = size.get();
    while end > first {
        let begin = end.saturating_sub(STEP).max(first);
        let batch = read_entries(&log, size, LeafIndex::new(begin), end.saturating_sub(begin))
            .map_err(|e| Fail::explained(500, &e))?;
        let entries: Vec<(u64, _)> = (begin..end).zip(batch).collect();
        for (at, bytes) in entries.into_iter().rev() {
            if audit::entry::parse(&bytes).is_some_and(|parsed| parsed.event == kind) {
                let entry =
                    serde_json::from_slice(&bytes).map_err(|e| Fail::internal("an entry is not JSON", e))?;
                if takes(&entry) {
                    return Ok(Some((at, entry)));
                }
            }
        }
        end = begin;
    }
    Ok(None)
}

/// The files that make up the log as of now, the checkpoint last.
pub(crate) fn files(node: &Arc<Node>, principal: &Principal) -> Result<LogFiles, Fail> {
    let log = LogDir::of(node);
    let event =
        Event::new(EventKind::LogExport, Phase::Intent, Outcome::Unknown, now().as_millis(), correlation()?)
            .by(principal)
            .asset("log", "audit", None);
    node.keeper.append(event)?;
    let (head, _) = log.head()?;
    let mut paths = vec!["vkey".to_owned()];
    let mut level = 0u8;
    loop {
        let width = audit::tile::width_at(level, head.size);
        if width == 0 {
            break;
        }
        for n in 0..width.div_ceil(STEP) {
            let tile = audit::tile::tile_width(level, n, head.size);
            paths.push(audit::tile::hash_path(level, n, tile));
            if level == 0 {
                paths.push(audit::tile::entries_path(n, tile));
            }
        }
        level = level.saturating_add(1);
    }
    paths.push("checkpoint".to_owned());
    Ok(LogFiles { paths, size: head.size.get() })
}

/// One file of the log.
pub(crate) fn file(node: &Arc<Node>, path: &str) -> Result<Vec<u8>, Fail> {
    let public = path == "checkpoint" || path == "vkey" || path.starts_with("tile/");
    let read = if public { LogDir::of(node).read(path) } else { Ok(None) };
    read.map_err(|e| Fail::storage("the audit log cannot be read", e))?
        .ok_or_else(|| Fail::not_found("file of the log", path))
}

/// What a receipt of an inference leads to.
pub(crate) fn receipt(node: &Arc<Node>, principal: &Principal, id: &str) -> Result<Receipt, Fail> {
    let id: ReceiptId = id.parse().map_err(|_| Fail::not_found("receipt", id))?;
    index_new(node)?;
    let stored = node.meta.read(|tx| tx.find::<Record>(&id)).map_err(store_fail)?;
    let visible =
        stored.filter(|s| principal.confined_to().is_none_or(|own| own == s.record.tenant.as_str()));
    // Answers are logged within a second; until then a receipt of any caller is pending, existing or not.
    let age_ms =
        (id.bits() >> 80).try_into().map_or(u64::MAX, |at: u64| now().as_millis().saturating_sub(at));
    if visible.is_none() && age_ms < PENDING_MS {
        return Ok(Receipt {
            id: id.to_string(),
            state: "pending".to_owned(),
            index: None,
            model_digest: None,
            bom_digest: None,
            checkpoint: None,
            proof: Vec::new(),
            entry: None,
        });
    }
    let Some(record) = visible.map(|s| s.record) else {
        return Err(Fail::not_found("receipt", &id.to_string())
            .help("an answer's receipt is logged within a second; try again"));
    };
    let log = LogDir::of(node);
    let (_, key) = log.head()?;
    let evidence =
        prove(&log, &key, LeafIndex::new(record.log_index)).map_err(|e| Fail::explained(500, &e))?;
    let entry: serde_json::Value =
        serde_json::from_slice(&evidence.entry).map_err(|e| Fail::internal("an entry is not JSON", e))?;
    let asset = entry.pointer("/unmapped/strongroom/asset");
    let of = |name: &str| asset.and_then(|a| a.get(name)).and_then(|v| v.as_str()).map(str::to_owned);
    Ok(Receipt {
        id: id.to_string(),
        state: "logged".to_owned(),
        index: Some(record.log_index),
        model_digest: of("digest"),
        bom_digest: of("bom_digest"),
        checkpoint: Some(String::from_utf8_lossy(&evidence.checkpoint).into_owned()),
        proof: evidence.proof_text().lines().map(str::to_owned).collect(),
        entry: Some(entry),
    })
}

/// How far receipts are indexed; restarted from the beginning with control, as the index is derived.
static INDEXED: std::sync::Mutex<u64> = std::sync::Mutex::new(0);

/// Indexes the receipts in entries that are new since the last look.
fn index_new(node: &Node) -> Result<(), Fail> {
    let log = LogDir::of(node);
    let (head, _) = log.head()?;
    let mut at = INDEXED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    while *at < head.size.get() {
        let batch =
            read_entries(&log, head.size, LeafIndex::new(*at), STEP).map_err(|e| Fail::explained(500, &e))?;
        let records: Vec<Record> =
            batch.iter().zip(*at..).filter_map(|(bytes, index)| record(bytes, index)).collect();
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        if !records.is_empty() {
            node.meta
                .transaction(|tx| {
                    for record in &records {
                        match tx.of(&record.tenant).insert(record) {
                            Ok(()) | Err(StoreError::Exists { .. }) => {}
                            Err(error) => return Err(error),
                        }
                    }
                    Ok::<_, StoreError>(())
                })
                .map_err(store_fail)?;
        }
        *at = at.saturating_add(count.max(1));
    }
    Ok(())
}

fn record(bytes: &[u8], index: u64) -> Option<Record> {
    let parsed = audit::entry::parse(bytes)?;
    if parsed.event != EventKind::Inference.name() {
        return None;
    }
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let own = value.pointer("/unmapped/strongroom")?;
    let details = own.get("details")?;
    let tenant: Name = parsed.tenant.parse().ok()?;
    Some(Record {
        tenant,
        id: details.get("receipt")?.as_str()?.parse().ok()?,
        endpoint: details.get("endpoint")?.as_str()?.parse().ok()?,
        log_index: index,
    })
}
