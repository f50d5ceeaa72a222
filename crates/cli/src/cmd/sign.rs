//! OMS signatures on plain files: every file is read once, by two threads, and hashed as it streams by.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use base::{Digest, Explain, Hasher};
use integrity::VerifyError;
use integrity::oms::{self, Resource};
use serde_json::{Value, json};

use crate::context::write_whole;
use crate::error::{CliError, Failure};
use crate::exit::Exit;
use crate::output::{Answer, Column, Kind, View};
use crate::progress::Progress;
use crate::session::Session;
use crate::walk::{Entry, open, walk};

/// Threads that hash: one for each core of the smallest machine that is supported.
const THREADS: usize = 2;
/// Bytes read at a time: large enough that the read call costs nothing beside the hash.
const CHUNK: usize = 1 << 20;
/// Largest signature file that is read: the bound of `integrity` (64 MiB).
const SIGNATURE_MAX: u64 = 64 << 20;
/// Largest PEM file that is read.
const PEM_MAX: u64 = 64 << 10;

const COLUMNS: &[Column] = &[
    Column::new("subject", "SUBJECT", Kind::Plain),
    Column::new("verified", "VERIFIED", Kind::Plain),
    Column::new("digest", "ROOT DIGEST", Kind::Digest),
    Column::new("code", "CODE", Kind::Plain),
    Column::new("reason", "REASON", Kind::Plain),
    Column::new("differences", "DIFFERENCES", Kind::Count),
    Column::new("files", "FILES", Kind::Count),
    Column::new("ignored", "IGNORED", Kind::Count),
    Column::new("key", "KEY FINGERPRINT", Kind::Digest),
];

/// What is left out of the walk: the signature file, the named paths, and at the top what every signer leaves out.
struct Left {
    signature: Option<String>,
    ignored: Vec<String>,
}

impl Left {
    fn new(root: &Path, signature: &Path, ignore: &[PathBuf]) -> Result<Self, CliError> {
        let ignored = ignore.iter().map(|path| relative(root, path)).collect::<Result<Vec<_>, _>>()?;
        // A signature within the directory signs everything but itself.
        let canonical = |path: &Path| std::fs::canonicalize(path).ok();
        let parent =
            signature.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let inside = canonical(root)
            .zip(canonical(parent))
            .and_then(|(root, parent)| Some(parent.strip_prefix(root).ok()?.join(signature.file_name()?)))
            .and_then(|path| Some(path.to_str()?.to_owned()));
        Ok(Self { signature: inside, ignored })
    }

    /// Whether the caller leaves it out.
    fn named(&self, name: &str) -> bool {
        self.signature.as_deref() == Some(name) || self.ignored.iter().any(|path| below(name, path))
    }

    /// Whether a signer leaves it out.
    fn covers(&self, name: &str) -> bool {
        self.named(name) || oms::DEFAULT_IGNORED.iter().any(|path| below(name, path))
    }
}

/// Whether a name is a path or below it.
fn below(name: &str, path: &str) -> bool {
    name == path || name.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
}

/// A path of `--ignore-paths` relative to the model: given so, or below the model's directory.
fn relative(root: &Path, path: &Path) -> Result<String, CliError> {
    let inner = path.strip_prefix(root).unwrap_or(path);
    let plain = !inner.as_os_str().is_empty()
        && inner.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    let parts: Option<Vec<&str>> = inner
        .components()
        .filter(|c| matches!(c, Component::Normal(_)))
        .map(|c| c.as_os_str().to_str())
        .collect();
    match parts {
        Some(parts) if plain && !parts.is_empty() => Ok(parts.join("/")),
        _ => Err(CliError::Usage(format!("`{}` is not a path within `{}`", path.display(), root.display()))),
    }
}

/// Signs a directory.
pub(super) fn sign(
    session: &Session,
    root: &Path,
    signature: &Path,
    private_key: &Path,
    ignore: &[PathBuf],
) -> Result<Answer, Failure> {
    let pem = read_bounded(private_key, PEM_MAX)?;
    let left = Left::new(root, signature, ignore)?;
    let files: Vec<Entry> = walk(root, &[])?.into_iter().filter(|e| !left.covers(&e.name)).collect();
    let digests = hash_all(&files, &Progress::new(session.progress, "hash", total(&files)))?;
    let resources: Vec<Resource> =
        digests.iter().map(|(name, digest)| Resource { name: name.clone(), digest: *digest }).collect();
    let name = std::fs::canonicalize(root).ok();
    let name = name.as_deref().unwrap_or(root).file_name().and_then(|n| n.to_str()).unwrap_or("model");
    let Left { signature: inside, mut ignored } = left;
    ignored.extend(inside);
    let bundle =
        oms::sign_with_pem(&pem, name, &resources, &ignored).map_err(|e| refused(&e, Exit::Failed))?;
    write_whole(signature, &bundle, 0o644)?;
    let digest = oms::root_digest(&resources);
    let json = json!({
        "schema": "strongroom.model.signature/1",
        "subject": name,
        "digest": digest.hex(),
        "files": digests.keys().collect::<Vec<_>>(),
        "ignored": ignored,
        "signature": signature.display().to_string(),
    });
    let text = format!(
        "✓ signed {} files, root digest {digest}\n  signature  {}\n",
        files.len(),
        signature.display()
    );
    Ok(Answer::of(json, View::Text { text, rows: "", columns: COLUMNS }))
}

/// Verifies a directory against a signature file; exit 3 unless everything is as signed.
pub(super) fn verify(
    session: &Session,
    root: &Path,
    signature: &Path,
    public_key: &Path,
    ignore: &[PathBuf],
) -> Result<Answer, Failure> {
    let pem = read_bounded(public_key, PEM_MAX)?;
    let bundle = read_bounded(signature, SIGNATURE_MAX)?;
    let left = Left::new(root, signature, ignore)?;
    let subject = root.display().to_string();
    let key = integrity::PublicKey::from_pem(&pem).ok().and_then(|key| key.fingerprint().ok());
    let mut skipped = Vec::new();
    let outcome = match oms::open(&bundle, &pem) {
        Err(error) => Err(error),
        Ok(signed) => {
            // A path that the caller leaves out is not in the verified view: if it is signed, it counts as
            // missing; if it is not, it is reported.
            let (files, out): (Vec<Entry>, Vec<Entry>) =
                walk(root, &[])?.into_iter().partition(|e| !left.named(&e.name));
            skipped =
                out.into_iter().map(|e| e.name).filter(|n| left.signature.as_ref() != Some(n)).collect();
            let progress = Progress::new(session.progress, "verify", total(&files));
            match signed.statement().method {
                oms::Method::Files => signed.check_files(&hash_all(&files, &progress)?),
                oms::Method::Shards { .. } => {
                    let sizes = files.iter().map(|e| (e.name.clone(), e.size)).collect();
                    let paths: BTreeMap<&str, &Path> =
                        files.iter().map(|e| (e.name.as_str(), e.path.as_path())).collect();
                    signed.check_shards(&sizes, |name, range| hash_range(paths.get(name)?, range).ok())
                }
            }
        }
    };
    Ok(verdict(&subject, &outcome, &skipped, key))
}

fn verdict(
    subject: &str,
    outcome: &Result<oms::Verified, VerifyError>,
    skipped: &[String],
    key: Option<Digest>,
) -> Answer {
    let key = key.map(|k| k.hex());
    match outcome {
        Ok(verified) => {
            let ignored: Vec<&String> = verified.ignored.iter().chain(skipped).collect();
            let json = json!({
                "schema": "strongroom.model.verification/1",
                "subject": subject,
                "verified": true,
                "digest": verified.root_digest.hex(),
                "files": verified.files,
                "ignored": ignored,
                "differences": [],
                "key": key,
            });
            let mut text = format!(
                "✓ verified {subject}: {} files are as signed\n  root digest  {}\n",
                verified.files.len(),
                verified.root_digest
            );
            for name in &ignored {
                text.push_str(&format!("  ! not covered by the signature, never to be loaded: {name}\n"));
            }
            Answer::of(json, View::Text { text, rows: "", columns: COLUMNS })
        }
        Err(error) => {
            let differences: Vec<String> = match error {
                VerifyError::Files(all) => all.iter().map(ToString::to_string).collect(),
                _ => Vec::new(),
            };
            let json = json!({
                "schema": "strongroom.model.verification/1",
                "subject": subject,
                "verified": false,
                "code": error.code(),
                "reason": error.to_string(),
                "differences": differences,
                "key": key,
            });
            let mut text = format!("✗ not verified {subject}: {error} [{}]\n", error.code());
            for difference in &differences {
                text.push_str(&format!("  ✗ {difference}\n"));
            }
            let view = View::Text { text, rows: "", columns: COLUMNS };
            let answer = Answer::of(json, view).exit(Exit::No);
            match error.help() {
                Some(help) => answer.hint(format!("help: {help}")),
                None => answer,
            }
        }
    }
}

fn refused(error: &dyn Explain, exit: Exit) -> Failure {
    Failure::explain(error, exit)
}

fn total(files: &[Entry]) -> u64 {
    files.iter().map(|f| f.size).fold(0, u64::saturating_add)
}

/// SHA-256 of every file, by name. The largest files are taken first, so that both threads end together.
pub(super) fn hash_all(files: &[Entry], progress: &Progress) -> Result<BTreeMap<String, Digest>, CliError> {
    let mut order: Vec<&Entry> = files.iter().collect();
    order.sort_by_key(|entry| std::cmp::Reverse(entry.size));
    let next = AtomicUsize::new(0);
    let done = Mutex::new((BTreeMap::new(), None));
    let work = || {
        let mut buffer = vec![0u8; CHUNK];
        while let Some(entry) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            let digest = hash(&entry.path, &mut buffer, progress);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            match digest {
                Ok(digest) => {
                    done.0.insert(entry.name.clone(), digest);
                }
                Err(error) => {
                    done.1.get_or_insert(error);
                    return;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..THREADS.min(order.len()) {
            scope.spawn(work);
        }
        work();
    });
    progress.finish();
    let (digests, failed) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.map_or(Ok(digests), Err)
}

fn hash(path: &Path, buffer: &mut [u8], progress: &Progress) -> Result<Digest, CliError> {
    let mut file = open(path)?;
    let mut hasher = Hasher::new();
    loop {
        let count = file.read(buffer).map_err(CliError::file("read", path))?;
        if count == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
        progress.add(u64::try_from(count).unwrap_or(u64::MAX));
    }
}

/// SHA-256 of a range of a file.
fn hash_range(path: &Path, range: std::ops::Range<u64>) -> Result<Digest, CliError> {
    let at = CliError::file("read", path);
    let mut file = open(path)?;
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(range.start)).map_err(at)?;
    let mut source = file.take(range.end.saturating_sub(range.start));
    let mut hasher = Hasher::new();
    let mut buffer = vec![0u8; CHUNK];
    loop {
        let count = source.read(&mut buffer).map_err(CliError::file("read", path))?;
        if count == 0 {
            break;
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
    }
    if source.limit() == 0 { Ok(hasher.finish()) } else { Err(CliError::Changed(path.to_owned())) }
}

/// A small file, whole.
pub(super) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, CliError> {
    let file = std::fs::File::open(path).map_err(CliError::file("read", path))?;
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(CliError::file("read", path))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        let reason = format!("it is longer than {limit} bytes");
        return Err(CliError::Content { path: path.to_owned(), reason });
    }
    Ok(bytes)
}

/// The names and digests of a model's files, for callers that compare them.
pub(super) fn digests(session: &Session, root: &Path) -> Result<BTreeMap<String, Digest>, CliError> {
    let files = walk(root, &[])?;
    hash_all(&files, &Progress::new(session.progress, "hash", total(&files)))
}

/// A member of a document as text.
pub(super) fn member<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}
