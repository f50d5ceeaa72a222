//! `strongroom image`.

use std::fs;
use std::path::Path;

use base::Digest;
use base::names::Name;
use image::oci::{Blob, Index, Manifest};

use super::import::commit;
use crate::args::ImageCommand;
use crate::error::{CliError, Failure};
use crate::exit::Exit;
use crate::output::{Answer, Column, Kind, bytes};
use crate::progress::Progress;
use crate::rootfs::Rootfs;
use crate::session::{Scope, Session};

/// The code with which the node says that it has no such thing.
pub(super) const NOT_FOUND: &str = "SR-CTL-0001";

const LIST: &[Column] = &[
    Column::new("digest", "DIGEST", Kind::Digest),
    Column::new("name", "NAME", Kind::Plain),
    Column::new("form", "FORM", Kind::Plain),
    Column::new("entries", "ENTRIES", Kind::Plain),
    Column::new("bytes", "SIZE", Kind::Bytes),
    Column::new("package_count", "PACKAGES", Kind::Plain),
    Column::new("created", "CREATED", Kind::Time),
];

const SHOW: &[Column] = &[
    Column::new("tenant", "TENANT", Kind::Plain),
    Column::new("digest", "DIGEST", Kind::Plain),
    Column::new("name", "NAME", Kind::Plain),
    Column::new("form", "FORM", Kind::Plain),
    Column::new("system", "SYSTEM (AS IT SAYS)", Kind::Plain),
    Column::new("tree", "TREE", Kind::Digest),
    Column::new("entries", "ENTRIES", Kind::Plain),
    Column::new("bytes", "SIZE", Kind::Bytes),
    Column::new("stored_bytes", "STORED", Kind::Bytes),
    Column::new("layers", "LAYERS", Kind::Count),
    Column::new("created", "CREATED", Kind::Time),
];

const DIGEST: &[Column] = &[
    Column::new("image", "IMAGE", Kind::Plain),
    Column::new("form", "FORM", Kind::Plain),
    Column::new("platform", "PLATFORM", Kind::Plain),
];

/// What an image is given as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Directory,
    Oci,
}

impl Form {
    /// What is at this path: a layout says so itself (OCI image specification, `oci-layout`).
    fn of(path: &Path) -> Result<Self, Failure> {
        if path.join("oci-layout").is_file() {
            return Ok(Self::Oci);
        }
        let usage = |what: String, help: String| {
            let mut failure: Failure = CliError::Usage(what).into();
            failure.help = Some(help);
            failure
        };
        let shown = path.display();
        if path.is_file() {
            let help =
                format!("make a layout of it: `skopeo copy docker-archive:{shown} oci:layout`, or unpack it");
            return Err(usage(
                format!("`{shown}` is a file; an image is a directory or an OCI layout"),
                help,
            ));
        }
        // What `docker save` and `skopeo copy dir:` write is an image too, and no root file system.
        if path.join("manifest.json").is_file() && !path.join("usr").exists() && !path.join("bin").exists() {
            let help = format!("make a layout of it: `skopeo copy dir:{shown} oci:layout`");
            return Err(usage(format!("`{shown}` is an image in a form that is not taken"), help));
        }
        Ok(Self::Directory)
    }

    /// As in a job file.
    const fn word(self) -> &'static str {
        match self {
            Self::Directory => "dir",
            Self::Oci => "oci",
        }
    }
}

/// Runs it.
pub(crate) fn run(session: &Session, command: ImageCommand) -> Result<Answer, Failure> {
    match command {
        ImageCommand::Digest { path } => {
            let form = Form::of(&path)?;
            let found = match form {
                Form::Directory => vec![(directory_digest(session, &path)?.1, "linux/amd64".to_owned())],
                Form::Oci => listed(&path)?,
            };
            let rows: Vec<serde_json::Value> = found
                .iter()
                .map(|(digest, platform)| {
                    serde_json::json!({
                        "image": reference(form, &path, digest), "form": form.word(),
                        "digest": format!("sha256:{digest}"), "platform": platform,
                    })
                })
                .collect();
            let hint = "write it in a job file: image = \"…\"".to_owned();
            Ok(Answer::list("strongroom.image.digest/1", &rows, DIGEST, "no image").hint(hint))
        }
        ImageCommand::Import { path, name, digest, tenant } => {
            let scope = session.scope(&tenant)?;
            let form = Form::of(&path)?;
            let name = match name {
                Some(name) => name,
                None => name_of(&path)?,
            };
            let pin = match (form, digest) {
                (Form::Directory, None) => directory_digest(session, &path)?.1,
                (_, Some(text)) => parse(&text)?,
                (Form::Oci, None) => only(&path)?,
            };
            let image = bring(session, &scope, form, &path, &name, pin)?;
            let hint = format!(
                "{} files and directories, {}, sealed; write in a job file: image = \"{}\"",
                image.entries,
                bytes(image.bytes),
                reference(form, &path, &pin)
            );
            Ok(Answer::record(&image, SHOW).hint(hint))
        }
        ImageCommand::List { tenant } => {
            let scope = session.scope(&tenant)?;
            let items: Vec<api::Image> = scope.client.list(&scope.route(&["images"]))?;
            let empty = "no image yet; import one with `strongroom image import PATH`";
            Ok(Answer::list("strongroom.image.list/1", &items, LIST, empty))
        }
        ImageCommand::Show { digest, tenant } => {
            let scope = session.scope(&tenant)?;
            let image: api::Image = scope.client.get(&scope.route(&["images", &digest]))?;
            let hint = format!(
                "{} packages, as it says; list them with `-o json --fields packages`",
                image.package_count
            );
            Ok(Answer::record(&image, SHOW).hint(hint))
        }
    }
}

fn reference(form: Form, path: &Path, digest: &Digest) -> String {
    // A job file's paths are relative to the file: this one means the same everywhere.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    format!("{}:{}@sha256:{digest}", form.word(), path.display())
}

fn parse(text: &str) -> Result<Digest, Failure> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    hex.parse().map_err(|_| CliError::Usage(format!("`{text}` is no digest: write sha256:HEX")).into())
}

/// A name from the last part of a path.
fn name_of(path: &Path) -> Result<Name, Failure> {
    let full = path.canonicalize().map_err(CliError::file("read", path))?;
    let last = full.file_name().and_then(|n| n.to_str()).unwrap_or("image");
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = last.chars().take(60).map(plain).collect();
    name.trim_matches('-').parse().or_else(|_| "image".parse()).map_err(|_| {
        CliError::Usage("this path gives no name; name the image with `--name`".to_owned()).into()
    })
}

fn directory_digest(session: &Session, path: &Path) -> Result<(Rootfs, Digest), Failure> {
    let rootfs = Rootfs::walk(path)?;
    let progress = Progress::new(session.progress, "hash", rootfs.bytes());
    let digest = rootfs.digest(&progress)?;
    progress.finish();
    Ok((rootfs, digest))
}

/// Imports an image under its digest; the node compares.
pub(super) fn bring(
    session: &Session,
    scope: &Scope,
    form: Form,
    path: &Path,
    name: &Name,
    pin: Digest,
) -> Result<api::Image, Failure> {
    let kind = match form {
        Form::Directory => "image-directory",
        Form::Oci => "image-oci",
    };
    let begin = api::ImportBegin {
        kind: kind.to_owned(),
        name: name.to_string(),
        digest: Some(format!("sha256:{pin}")),
        intake: None,
    };
    match form {
        Form::Directory => {
            let rootfs = Rootfs::walk(path)?;
            let len = rootfs.archive_len()?;
            let import: api::Import = scope.client.create(&scope.route(&["imports"]), &begin)?;
            let shown = format!("image {name}, {} entries", rootfs.entries());
            let progress = Progress::new(session.progress, &shown, len);
            let route = scope.route(&["imports", &import.id, "files", "rootfs.tar"]);
            let root = rootfs.root().to_owned();
            scope.client.upload(&route, rootfs.archive(), &root, len, &progress)?;
            progress.finish();
            imported(scope, &import.id)
        }
        Form::Oci => {
            let manifest_path = blob_path(path, &pin);
            let manifest = Manifest::parse(&document(&manifest_path)?)
                .map_err(|e| Failure::explain(&e, Exit::Failed))?;
            let blobs: Vec<Blob> = std::iter::once(manifest.config)
                .chain(manifest.layers.iter().map(|(blob, _)| *blob))
                .collect();
            let total = blobs.iter().map(|blob| blob.size).fold(0, u64::saturating_add);
            let import: api::Import = scope.client.create(&scope.route(&["imports"]), &begin)?;
            let progress = Progress::new(session.progress, &format!("image {name}"), total);
            let mut sent = std::collections::BTreeSet::new();
            let mut send = |from: &Path, to: &str, size: Option<u64>| -> Result<(), Failure> {
                let file = blob(from)?;
                let len = file.metadata().map_err(CliError::file("read", from))?.len();
                if size.is_some_and(|size| size != len) {
                    return Err(CliError::Changed(from.to_owned()).into());
                }
                if !sent.insert(to.to_owned()) {
                    return Ok(());
                }
                let mut segments = vec!["imports", import.id.as_str(), "files"];
                segments.extend(to.split('/'));
                scope.client.upload(&scope.route(&segments), file, from, len, &progress).map(drop)
            };
            send(&manifest_path, "manifest.json", None)?;
            for blob in &blobs {
                send(&blob_path(path, &blob.digest), &format!("blobs/{}", blob.digest), Some(blob.size))?;
            }
            progress.finish();
            imported(scope, &import.id)
        }
    }
}

fn imported(scope: &Scope, import: &str) -> Result<api::Image, Failure> {
    match commit(scope, import)? {
        api::Imported::Image(image) => Ok(image),
        _ => {
            let reason = "the commit did not make an image".to_owned();
            Err(CliError::Answer { what: "import.commit".into(), reason }.into())
        }
    }
}

/// Where a layout keeps a blob.
fn blob_path(layout: &Path, digest: &Digest) -> std::path::PathBuf {
    layout.join("blobs/sha256").join(digest.hex())
}

/// Opens a blob. Some tools keep links in a layout; what a blob holds is told by its digest, not by its place.
fn blob(path: &Path) -> Result<fs::File, Failure> {
    let file = fs::File::open(path).map_err(CliError::file("open", path))?;
    if file.metadata().map_err(CliError::file("read", path))?.is_file() {
        return Ok(file);
    }
    Err(CliError::NotRegular { path: path.to_owned(), what: "not a regular file" }.into())
}

/// A document of a layout, read whole.
fn document(path: &Path) -> Result<Vec<u8>, Failure> {
    let file = blob(path)?;
    let len = file.metadata().map_err(CliError::file("read", path))?.len();
    if len > u64::try_from(image::limits::DOCUMENT_BYTES).unwrap_or(u64::MAX) {
        let reason = format!("a document of more than {} bytes", image::limits::DOCUMENT_BYTES);
        return Err(CliError::TooMany { path: path.to_owned(), reason }.into());
    }
    Ok(fs::read(path).map_err(CliError::file("read", path))?)
}

/// The images of a layout, those of an index in it too: digest and platform.
fn listed(layout: &Path) -> Result<Vec<(Digest, String)>, Failure> {
    let parse = |path: &Path| Index::parse(&document(path)?).map_err(|e| Failure::explain(&e, Exit::Failed));
    let mut found = Vec::new();
    for item in parse(&layout.join("index.json"))?.manifests {
        if item.is_index {
            for inner in parse(&blob_path(layout, &item.blob.digest))?.manifests {
                found.push((inner.blob.digest, inner.platform.unwrap_or_else(|| "unknown".to_owned())));
            }
        } else {
            found.push((item.blob.digest, item.platform.unwrap_or_else(|| "unknown".to_owned())));
        }
    }
    Ok(found)
}

/// The one image of a layout that this platform could run.
fn only(layout: &Path) -> Result<Digest, Failure> {
    let found = listed(layout)?;
    let mine: Vec<_> =
        found.iter().filter(|(_, platform)| matches!(platform.as_str(), "linux/amd64" | "unknown")).collect();
    match mine.as_slice() {
        [(digest, _)] => Ok(*digest),
        _ => {
            let what =
                format!("the layout has {} images to choose from; name one with `--digest`", mine.len());
            let mut failure: Failure = CliError::Usage(what).into();
            failure.help = Some(format!("see them with `strongroom image digest {}`", layout.display()));
            Err(failure)
        }
    }
}
