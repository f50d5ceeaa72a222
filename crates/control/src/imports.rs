//! Imports: files come one by one, each sealed in one pass; nothing is visible before the commit.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use api::{ImportBegin, Imported, IntakeBegin};
use base::names::Name;
use base::{Digest, Timestamp};
use ops::event::{Event, EventKind, Outcome, Phase};
use store::records::{File, ImageForm};
use vault::KeyScope;

use crate::auth::{By, Principal};
use crate::clock::{now, random};
use crate::http::{BodyReader, Repeat};
use crate::node::{Node, correlation};
use crate::{Fail, datasets, images, intake};

/// Imports that one tenant may have open at once: none can use up those of another.
const OPEN_MAX: usize = 64;
/// An import that nobody touches for this long is dropped.
const IDLE_MS: u64 = 30 * 60 * 1000;
/// And for this long, where the tenant has [`OPEN_MAX`] of them: its client has left.
const IDLE_FULL_MS: u64 = 60 * 1000;
/// Most files of one import.
pub(crate) const FILES_MAX: usize = 100_000;
/// Most bytes of the paths of one import together: they stand in the record of the data set and in those of its jobs.
const NAMES_MAX: usize = 16 << 20;
/// Largest file: the sealed format holds 2^32 chunks of 1 MiB; a terabyte is far below and far above any disk here.
const FILE_BYTES_MAX: u64 = 1 << 40;
/// Longest path, in bytes.
const PATH_MAX: usize = 1024;
/// What to do with more files than that.
const PACK: &str = "pack small files into archives that the job opens (tar, zip, npz), then import those";
/// Deepest path.
const DEPTH_MAX: usize = 32;

/// The imports that are open.
#[derive(Debug, Default)]
pub(crate) struct Imports(Mutex<HashMap<String, Session>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Dataset,
    Code,
    Model,
    Image(ImageForm),
}

#[derive(Debug)]
struct Session {
    tenant: Name,
    kind: Kind,
    name: Name,
    /// Of an image: what pins it.
    pin: Option<Digest>,
    /// Of a model: what is said of it.
    said: Option<IntakeBegin>,
    /// The request that began it, and the one that committed its code, if they may be sent once more.
    requests: [Option<Repeat>; 2],
    touched: Timestamp,
    busy: bool,
    committed: bool,
    files: BTreeMap<String, File>,
    /// Bytes of their paths.
    names: usize,
}

pub(crate) fn begin(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    request: &ImportBegin,
) -> Result<api::Import, Fail> {
    node.tenant(tenant)?;
    let kind = match request.kind.as_str() {
        "dataset" => Kind::Dataset,
        "code" => Kind::Code,
        "model" => Kind::Model,
        "image-directory" => Kind::Image(ImageForm::Directory),
        "image-oci" => Kind::Image(ImageForm::Oci),
        other => {
            return Err(Fail::invalid(format!(
                "`{}` cannot be imported: dataset, code, model, image-directory, image-oci",
                crate::fail::printable(other)
            )));
        }
    };
    let name: Name =
        request.name.parse().map_err(|e: base::names::NameError| Fail::invalid(e.to_string()))?;
    let pin = match (&kind, &request.digest) {
        (Kind::Image(_), Some(text)) => Some(images::digest(text)?),
        (Kind::Image(_), None) => return Err(Fail::invalid("an image is imported under its digest")),
        (_, None) => None,
        (_, Some(_)) => return Err(Fail::invalid("only an image is imported under a digest")),
    };
    let said = request.intake.clone();
    match (&kind, &said) {
        (Kind::Model, Some(said)) => intake::check(node, tenant, said)?,
        (Kind::Model, None) => {
            return Err(Fail::invalid(
                "a model that was made elsewhere says where it is from: `intake.source`",
            )
            .help("write `strongroom model import NAME PATH --source TEXT`"));
        }
        (_, Some(_)) => return Err(Fail::invalid("only a model goes through an intake")),
        (_, None) => {}
    }
    let id = base::digest::hex(&random::<16>()?);
    let time = now();
    let mut open = node.imports.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = repeated(&open, tenant, principal.repeat.as_ref())? {
        return Ok(api::Import { id: known });
    }
    make_room(&mut open, tenant, time)?;
    let session = Session {
        tenant: tenant.clone(),
        kind,
        name,
        pin,
        said,
        requests: [principal.repeat.clone(), None],
        touched: time,
        busy: false,
        committed: false,
        files: BTreeMap::new(),
        names: 0,
    };
    open.insert(id.clone(), session);
    Ok(api::Import { id })
}

/// The open import that the same request began before.
fn repeated(
    open: &HashMap<String, Session>,
    tenant: &Name,
    repeat: Option<&Repeat>,
) -> Result<Option<String>, Fail> {
    let Some(repeat) = repeat else { return Ok(None) };
    for (id, session) in open.iter().filter(|(_, s)| s.tenant == *tenant) {
        for known in session.requests.iter().flatten() {
            if known.is(repeat)? {
                return Ok(Some(id.clone()));
            }
        }
    }
    Ok(None)
}

/// Drops what nobody touches any more; fails if the tenant has too many others.
fn make_room(open: &mut HashMap<String, Session>, tenant: &Name, time: Timestamp) -> Result<(), Fail> {
    open.retain(|_, s| s.busy || time.millis_since(s.touched) < IDLE_MS);
    let count = |open: &HashMap<String, Session>| open.values().filter(|s| s.tenant == *tenant).count();
    if count(open) >= OPEN_MAX {
        open.retain(|_, s| s.tenant != *tenant || s.busy || time.millis_since(s.touched) < IDLE_FULL_MS);
    }
    if count(open) >= OPEN_MAX {
        return Err(Fail::conflict(format!("{OPEN_MAX} imports are open; commit them or wait")));
    }
    Ok(())
}

impl Imports {
    /// Ends an import: it is committed, or a part of it failed.
    fn close(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Lets `change` have one import of this tenant; another tenant's is not found.
    fn with<T>(
        &self,
        tenant: &Name,
        id: &str,
        change: impl FnOnce(&mut Session) -> Result<T, Fail>,
    ) -> Result<T, Fail> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let session = open.get_mut(id).filter(|s| s.tenant == *tenant);
        let session = session.ok_or_else(|| Fail::not_found("import", id))?;
        session.touched = now();
        change(session)
    }

    /// The files of committed code, for the job that names it; it can be named once.
    pub(crate) fn take_code(&self, tenant: &Name, id: &str) -> Result<Vec<File>, Fail> {
        let files = self.with(tenant, id, |s| {
            if s.kind != Kind::Code || !s.committed {
                return Err(Fail::invalid("this import is not committed code"));
            }
            Ok(s.files.values().cloned().collect())
        })?;
        self.close(id);
        Ok(files)
    }
}

pub(crate) fn file(
    node: &Arc<Node>,
    tenant: &Name,
    id: &str,
    path: &str,
    mut body: BodyReader,
) -> Result<api::File, Fail> {
    check_path(path)?;
    node.imports.with(tenant, id, |s| {
        if s.committed || s.busy {
            return Err(Fail::conflict("this import takes no file now"));
        }
        if s.files.len() >= FILES_MAX {
            return Err(Fail::too_large(format!("an import has at most {FILES_MAX} files")).help(PACK));
        }
        if s.names.saturating_add(path.len()) > NAMES_MAX {
            let reason = format!("the paths of an import have at most {NAMES_MAX} bytes together");
            return Err(Fail::too_large(reason).help(PACK));
        }
        if s.files.contains_key(path) {
            return Err(Fail::conflict(format!(
                "this import has a file `{}` already",
                crate::fail::printable(path)
            )));
        }
        s.busy = true;
        Ok(())
    })?;
    let scope = KeyScope::Tenant(tenant.clone());
    let sealed = node.seal(&scope, &mut body, FILE_BYTES_MAX);
    let sealed = sealed.inspect_err(|_| node.imports.close(id))?;
    node.imports.with(tenant, id, |s| {
        s.busy = false;
        let file = File { path: path.to_owned(), size: sealed.len, digest: sealed.digest, media: None };
        s.files.insert(path.to_owned(), file);
        s.names = s.names.saturating_add(path.len());
        Ok(())
    })?;
    let file = node.imports.with(tenant, id, |s| Ok(s.files.get(path).cloned()))?;
    let file = file.ok_or_else(|| Fail::not_found("file", path))?;
    Ok(wire_file(&file))
}

pub(crate) fn commit(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    id: &str,
) -> Result<Imported, Fail> {
    {
        let open = node.imports.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = repeated(&open, tenant, principal.repeat.as_ref())? {
            return Ok(Imported::Code(api::Import { id: known }));
        }
    }
    let (kind, name, pin, said, files) = node.imports.with(tenant, id, |s| {
        if s.committed || s.busy {
            return Err(Fail::conflict("this import cannot be committed now"));
        }
        if s.files.is_empty() {
            return Err(Fail::invalid("an import without files cannot be committed")
                .help("name a file or a directory with at least one file in it"));
        }
        s.busy = true;
        Ok((s.kind, s.name.clone(), s.pin, s.said.clone(), s.files.values().cloned().collect::<Vec<_>>()))
    })?;
    let result = match kind {
        Kind::Dataset => datasets::create(node, principal, tenant, &name, files).map(Imported::Dataset),
        Kind::Model => {
            let said = said.ok_or_else(|| Fail::invalid("a model says where it is from"))?;
            intake::begin(node, principal, tenant, &name, files, said).map(Box::new).map(Imported::Intake)
        }
        Kind::Image(form) => {
            let pin = pin.ok_or_else(|| Fail::invalid("an image is imported under its digest"))?;
            images::import(node, principal, tenant, &name, form, pin, &files).map(Imported::Image)
        }
        Kind::Code => code(node, principal, tenant, &name, &files, id).map(Imported::Code),
    };
    // Committed code waits for the job that names it; everything else is over now.
    if matches!(result, Ok(Imported::Code(_))) {
        node.imports.with(tenant, id, |s| {
            s.busy = false;
            s.committed = true;
            let [_, commit] = &mut s.requests;
            commit.clone_from(&principal.repeat);
            Ok(())
        })?;
    } else {
        node.imports.close(id);
    }
    result
}

fn code(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    name: &Name,
    files: &[File],
    id: &str,
) -> Result<api::Import, Fail> {
    let digest = datasets::manifest(files);
    let event = Event::new(
        EventKind::DatasetImport,
        Phase::Observed,
        Outcome::Success,
        now().as_millis(),
        correlation()?,
    )
    .tenant(tenant.as_str())
    .by(principal)
    .asset("code", name.as_str(), Some(digest))
    .detail("files", &files.len().to_string());
    node.keeper.append(event)?;
    Ok(api::Import { id: id.to_owned() })
}

/// A relative path of plain components; nothing that a file system or another tool could read in two ways.
pub(crate) fn check_path(path: &str) -> Result<(), Fail> {
    let plain = |c: &str| {
        !c.is_empty() && c != "." && c != ".." && !c.chars().any(char::is_control) && !c.contains('\\')
    };
    let depth = path.split('/').count();
    if path.len() <= PATH_MAX && depth <= DEPTH_MAX && path.split('/').all(plain) {
        Ok(())
    } else {
        Err(Fail::invalid(format!(
            "`{}` is not a path that can be imported: relative, at most {PATH_MAX} bytes and {DEPTH_MAX} levels, no `.` or `..`, no control characters or backslashes",
            crate::fail::printable(path)
        )))
    }
}

/// A file as the API shows it.
pub(crate) fn wire_file(file: &File) -> api::File {
    api::File {
        path: file.path.clone(),
        size: file.size,
        digest: file.digest.hex(),
        format: file.media.clone(),
        records: None,
        unit: None,
        columns: None,
        carries: Vec::new(),
        notes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::{IDLE_FULL_MS, IDLE_MS, Kind, OPEN_MAX, Session, check_path, make_room};
    use base::Timestamp;

    #[test]
    fn a_tenant_fills_its_own_room_only_and_what_is_left_alone_makes_room() {
        let [acme, globex]: [base::names::Name; 2] = ["acme", "globex"].map(|name| name.parse().unwrap());
        let at = Timestamp::from_millis(IDLE_MS * 2);
        let mut open: HashMap<String, Session> = (0..OPEN_MAX)
            .map(|i| {
                let session = Session {
                    tenant: acme.clone(),
                    kind: Kind::Dataset,
                    name: acme.clone(),
                    pin: None,
                    said: None,
                    requests: [None, None],
                    touched: at,
                    busy: i == 0,
                    committed: false,
                    files: BTreeMap::new(),
                    names: 0,
                };
                (i.to_string(), session)
            })
            .collect();
        assert!(make_room(&mut open, &acme, at).is_err());
        assert!(make_room(&mut open, &acme, at.plus_millis(IDLE_FULL_MS - 1)).is_err());
        make_room(&mut open, &globex, at.plus_millis(IDLE_FULL_MS)).unwrap();
        assert_eq!(open.len(), OPEN_MAX, "another tenant takes nothing away");
        make_room(&mut open, &acme, at.plus_millis(IDLE_FULL_MS)).unwrap();
        assert_eq!(open.len(), 1, "the one under way stays");
    }

    #[test]
    fn only_plain_relative_paths_are_taken() {
        for good in ["a", "a/b.c", "train-images-idx3-ubyte.gz", "ä/ö"] {
            assert!(check_path(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            "../a",
            "a/./b",
            "a\\b",
            "a\nb",
            "a\0",
            &"a/".repeat(33),
            &"a".repeat(1025),
        ] {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
    }
}
