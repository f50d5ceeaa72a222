//! Data sets: named, versioned, pinned by the digest of their manifest.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{Check, Page, Verification};
use base::Digest;
use base::names::Name;
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use store::records::{Content, Contents, Dataset, File};
use store::{PageRequest, StoreError, Tx};
use training::contract::{TreeFile, tree_digest};
use vault::KeyScope;

use crate::auth::{By, Principal};
use crate::clock::now;
use crate::imports::wire_file;
use crate::keygroups::{KeyRing, Use};
use crate::node::{Node, correlation, store_fail, time};
use crate::{Fail, recognition};

mod diff;

pub(crate) use diff::diff;

/// Formats and kinds of records that one entry of the log tells.
const TOLD_MAX: usize = 16;

/// Manifest digest of files.
pub(crate) fn manifest(files: &[File]) -> Digest {
    let files: Vec<_> =
        files.iter().map(|f| TreeFile { path: f.path.clone(), size: f.size, digest: f.digest }).collect();
    tree_digest(&files)
}

/// Registers a version. The same content as the newest version is that version.
pub(crate) fn create(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    name: &Name,
    mut files: Vec<File>,
) -> Result<api::Dataset, Fail> {
    let digest = manifest(&files);
    let bytes = files.iter().map(|f| f.size).fold(0, u64::saturating_add);
    if bytes == 0 {
        return Err(Fail::invalid("a data set without a single byte cannot be imported"));
    }
    let cor = correlation()?;
    let contents = recognition::recognise(node, principal, (tenant, name), &files, cor)?;
    for (file, content) in files.iter_mut().zip(&contents.files) {
        file.media = Some(content.format.clone());
    }
    let at = now().as_millis();
    let event = Event::new(EventKind::DatasetImport, Phase::Intent, Outcome::Unknown, at, cor)
        .tenant(tenant.as_str())
        .by(principal)
        .asset("dataset", name.as_str(), Some(digest))
        .detail("files", &files.len().to_string())
        .detail("bytes", &bytes.to_string());
    let event = content_details(event, &contents);
    let record = node.keeper.audited_with(
        event,
        || {
            node.meta
                .transaction(|tx| {
                    let rows = tx.of(tenant);
                    let last = rows.last_under::<Dataset, _, _>(name)?;
                    if let Some(last) = last.as_ref().filter(|l| l.record.manifest_digest == digest) {
                        made(principal, tx, &last.record)?;
                        return Ok(last.record.clone());
                    }
                    let version = last.map_or(1, |l| l.record.version.saturating_add(1));
                    let record = Dataset {
                        tenant: tenant.clone(),
                        name: name.clone(),
                        version,
                        manifest_digest: digest,
                        files,
                        bytes,
                        created_ms: at,
                        contents: Some(contents),
                    };
                    rows.insert(&record)?;
                    made(principal, tx, &record)?;
                    Ok::<_, StoreError>(record)
                })
                .map_err(store_fail)
        },
        |event, record| event.detail("version", &record.version.to_string()),
    )?;
    Ok(wire(&record))
}

/// What the log says of what the files are.
fn content_details(event: Event, contents: &Contents) -> Event {
    let (records, formats) = totals(contents);
    let line = |all: &BTreeMap<String, u64>| {
        let words: Vec<String> = all.iter().take(TOLD_MAX).map(|(what, n)| format!("{n} {what}")).collect();
        words.join(", ")
    };
    let event = event.detail("formats", &line(&formats)).detail("records", &line(&records));
    match contents.policy {
        Some(policy) => {
            event.detail("accepted", &contents.accepted.join(" ")).detail("trust_policy", &policy.to_string())
        }
        None => event,
    }
}

/// Records by what they are, and files by format.
pub(crate) fn totals(contents: &Contents) -> (BTreeMap<String, u64>, BTreeMap<String, u64>) {
    let (mut records, mut formats) = (BTreeMap::new(), BTreeMap::new());
    for file in &contents.files {
        let of_format: &mut u64 = formats.entry(file.format.clone()).or_default();
        *of_format = of_format.saturating_add(1);
        if let Some(count) = file.records.filter(|_| !file.unit.is_empty()) {
            let all: &mut u64 = records.entry(file.unit.clone()).or_default();
            *all = all.saturating_add(count);
        }
    }
    (records, formats)
}

fn made(principal: &Principal, tx: &Tx<'_>, record: &Dataset) -> Result<(), StoreError> {
    principal.made(tx, &format!("dataset/{}/{}", record.name, record.version))
}

/// One version; 0 is the newest.
pub(crate) fn find(node: &Node, tenant: &Name, name: &Name, version: u64) -> Result<Dataset, Fail> {
    let stored = node
        .meta
        .read(|tx| match version {
            0 => tx.of(tenant).last_under::<Dataset, _, _>(name),
            v => tx.of(tenant).get::<Dataset>(&(name.clone(), v)),
        })
        .map_err(store_fail)?;
    let shown = if version == 0 { name.to_string() } else { format!("{name}@{version}") };
    Ok(stored.ok_or_else(|| Fail::not_found("data set", &shown))?.record)
}

pub(crate) fn show(node: &Arc<Node>, tenant: &Name, name: &Name, version: u64) -> Result<api::Dataset, Fail> {
    Ok(wire(&find(node, tenant, name, version)?))
}

pub(crate) fn list(node: &Node, tenant: &Name, page: &PageRequest) -> Result<Page<api::Dataset>, Fail> {
    node.tenant(tenant)?;
    let page = node.meta.read(|tx| tx.of(tenant).list::<Dataset>(page)).map_err(store_fail)?;
    // A data set may have 100,000 files: a list says how many, the data set itself which.
    let short = |record: &Dataset| api::Dataset { files: Vec::new(), ..wire(record) };
    Ok(Page { items: page.items.iter().map(|s| short(&s.record)).collect(), next: page.next })
}

/// Opens every file and compares it with its digest.
pub(crate) fn verify(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    name: &Name,
    version: u64,
) -> Result<Verification, Fail> {
    let record = find(node, tenant, name, version)?;
    let subject = format!("{name}@{}", record.version);
    let correlation = correlation()?;
    let checks = verify_files(
        node,
        &KeyScope::Tenant(tenant.clone()),
        &record.files,
        &principal.actor(),
        correlation,
    )?;
    let verified = checks.iter().all(|c| c.ok) && manifest(&record.files) == record.manifest_digest;
    let outcome = if verified { Outcome::Success } else { Outcome::Failure };
    let severity = if verified { Severity::Informational } else { Severity::High };
    let event = Event::new(EventKind::DatasetVerify, Phase::Outcome, outcome, now().as_millis(), correlation)
        .tenant(tenant.as_str())
        .by(principal)
        .asset("dataset", &subject, Some(record.manifest_digest))
        .severity(severity)
        .because(
            &checks
                .iter()
                .filter(|c| !c.ok)
                .map(|c| format!("{}: {}", c.name, c.detail))
                .collect::<Vec<_>>()
                .join("; "),
        );
    node.keeper.append(event)?;
    Ok(Verification { subject, verified, checks })
}

/// Opens and reads each sealed file to its end: every tag, and the digest of what was read.
pub(crate) fn verify_files(
    node: &Node,
    scope: &KeyScope,
    files: &[File],
    actor: &str,
    correlation: u128,
) -> Result<Vec<Check>, Fail> {
    check_files(node, scope, files, (actor, correlation), content_of)
}

/// Opens each sealed file, whose header says what it holds, and reads none of it.
pub(crate) fn open_files(
    node: &Node,
    scope: &KeyScope,
    files: &[File],
    actor: &str,
    correlation: u128,
) -> Result<Vec<Check>, Fail> {
    check_files(node, scope, files, (actor, correlation), |_, _| Ok(()))
}

fn check_files(
    node: &Node,
    scope: &KeyScope,
    files: &[File],
    (actor, correlation): (&str, u128),
    content: impl Fn(&store::SefReader, &Digest) -> Result<(), Fail>,
) -> Result<Vec<Check>, Fail> {
    let (mut checks, mut ring) = (Vec::new(), KeyRing::default());
    for file in files {
        let purpose = format!("verify {}", file.path);
        let result = node
            .reader(scope, &file.digest, &mut ring, Use { actor, purpose: &purpose, correlation })
            .and_then(|reader| content(&reader, &file.digest));
        checks.push(match result {
            Ok(()) => Check { name: file.path.clone(), ok: true, detail: format!("sha256 {}", file.digest) },
            Err(fail) if fail.is_about_bytes() || fail.status == 404 => {
                Check { name: file.path.clone(), ok: false, detail: fail.line() }
            }
            // What the keeper or the disk could not do says nothing about the file.
            Err(fail) => return Err(fail),
        });
    }
    Ok(checks)
}

/// Reads an object to its end. Its tags say that nobody changed what was sealed; who sealed it only claimed the digest,
/// so the content is compared with it too.
fn content_of(reader: &store::SefReader, wanted: &Digest) -> Result<(), Fail> {
    let mut hashed = Hashed(base::Hasher::new());
    reader.copy_to(&mut hashed).map_err(store_fail)?;
    let found = hashed.0.finish();
    if found == *wanted {
        Ok(())
    } else {
        Err(Fail::explained(422, &vault::SefError::WrongContent).because(format!("the content is {found}")))
    }
}

struct Hashed(base::Hasher);

impl std::io::Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn wire(record: &Dataset) -> api::Dataset {
    let (records, formats) = record.contents.as_ref().map(totals).unwrap_or_default();
    api::Dataset {
        tenant: record.tenant.to_string(),
        name: record.name.to_string(),
        version: record.version,
        digest: record.manifest_digest.hex(),
        bytes: record.bytes,
        file_count: u64::try_from(record.files.len()).unwrap_or(u64::MAX),
        records,
        formats,
        accepted: record.contents.as_ref().map(|contents| contents.accepted.clone()).unwrap_or_default(),
        rules: record.contents.as_ref().map(|contents| contents.rules.clone()),
        files: wire_files(record),
        created: time(record.created_ms),
    }
}

/// Its files, with what they were recognised as.
pub(crate) fn wire_files(record: &Dataset) -> Vec<api::File> {
    let contents = record.contents.iter().flat_map(|contents| &contents.files).map(Some);
    let contents = contents.chain(std::iter::repeat(None));
    let one = |(file, content): (&File, Option<&Content>)| {
        let file = wire_file(file);
        let Some(content) = content else { return file };
        api::File {
            records: content.records,
            unit: Some(content.unit.clone()).filter(|unit| !unit.is_empty()),
            columns: content.columns,
            carries: content.carries.clone(),
            notes: content.notes.clone(),
            ..file
        }
    };
    record.files.iter().zip(contents).map(one).collect()
}

#[cfg(test)]
mod tests {
    use store::objects::{Seal, Staged};
    use vault::{ChunkSize, Content, Dek, FreshDek};

    use super::*;

    #[test]
    fn content_that_was_sealed_under_another_digest_is_not_verified() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = store::ObjectStore::open(dir.path()).unwrap();
        let scope: KeyScope = "acme".parse().unwrap();
        let claim = |content: Content| {
            let mut import = store
                .import(Seal {
                    scope: scope.clone(),
                    dek: FreshDek::take(&mut [3; 32]),
                    salt: [4; 32],
                    chunk: ChunkSize::default(),
                    content,
                    limit_bytes: 1 << 20,
                })
                .unwrap();
            import.read_from(&mut b"what is in it".as_slice()).unwrap();
            let Staged { stage, digest, .. } = import.finish().unwrap();
            let reader = stage.reader(&Dek::take(&mut [3; 32]), &scope, &digest).unwrap();
            reader.verify_all().unwrap();
            content_of(&reader, &digest)
        };
        assert!(claim(Content::Unknown).is_ok());
        let lie = claim(Content::Known(base::sha256(b"what it is said to be"))).unwrap_err();
        assert!(lie.is_about_bytes());
    }
}
