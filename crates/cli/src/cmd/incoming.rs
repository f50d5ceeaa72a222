//! The files of a model that was made elsewhere, in whatever form it came: a file, a directory, a snapshot of a Hugging
//! Face cache, an OCI image layout, an archive. Nothing outside the given path is read, and nothing is unpacked to a
//! name on this disk: the files of an archive are read where they stand in it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::Digest;
use image::tar::{Kind, Reader, Step};
use serde_json::Value;

use super::sign::read_bounded;
use crate::error::{CliError, Failure};
use crate::walk::{self, DEPTH_MAX, FILES_MAX, NAMES_MAX};

/// Bytes of a block of an archive.
const BLOCK: usize = 512;
/// Largest document of a layout.
const DOCUMENT_MAX: u64 = 4 << 20;
/// Layers of a model in a layout.
const LAYERS_MAX: usize = 10_000;
/// Most bytes that a compressed archive is unpacked to.
const UNPACKED_MAX: u64 = 256 << 30;
/// Most bytes that one byte of it may become, beyond the first MiB.
const RATIO_MAX: u64 = 200;
/// The name by which an artefact's layer says what file it is (OCI image specification, "Annotations").
const TITLE: &str = "org.opencontainers.image.title";

/// One file of the model.
#[derive(Debug)]
pub(super) struct Part {
    /// Its name in the model.
    pub(super) name: String,
    /// Where it is, for messages and to be opened.
    pub(super) path: PathBuf,
    /// Where it begins there.
    pub(super) from: u64,
    /// Its bytes.
    pub(super) size: u64,
    /// What it must be, where something says so.
    digest: Option<Digest>,
    /// The unpacked archive that it is in, which has no name.
    held: Option<Arc<File>>,
    /// Whether it is all of the file there.
    whole: bool,
}

impl Part {
    /// Opens it; a link in its place is refused.
    pub(super) fn open(&self) -> Result<File, Failure> {
        if let Some(held) = &self.held {
            return Ok(again(held, &self.path)?);
        }
        let file = walk::open(&self.path)?;
        let now = file.metadata().map_err(CliError::file("read", &self.path))?.len();
        if self.whole && now != self.size {
            return Err(CliError::Changed(self.path.clone()).into());
        }
        Ok(file)
    }

    /// Compares what the node received with what it was to be.
    pub(super) fn arrived(&self, answer: &[u8]) -> Result<(), Failure> {
        let Some(wanted) = &self.digest else { return Ok(()) };
        let received: Option<api::File> = serde_json::from_slice(answer).ok();
        match received.is_some_and(|file| file.digest == wanted.hex()) {
            true => Ok(()),
            false => Err(content(&self.path, "its content is not what its digest says")),
        }
    }
}

fn content(path: &Path, reason: impl Into<String>) -> Failure {
    CliError::Content { path: path.to_owned(), reason: reason.into() }.into()
}

/// Another descriptor of an unnamed file, with a place of its own in it.
fn again(file: &File, path: &Path) -> Result<File, CliError> {
    use std::os::fd::AsRawFd;
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(CliError::file("open", path))
}

/// The files of the model, sorted by name.
pub(super) fn parts(path: &Path) -> Result<Vec<Part>, Failure> {
    let meta = fs::metadata(path).map_err(CliError::file("read", path))?;
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_ascii_lowercase();
    let mut parts = if meta.is_dir() && path.join("oci-layout").is_file() {
        layout(path)?
    } else if meta.is_dir() {
        match snapshot(path)? {
            Some(parts) => parts,
            None => plain(path)?,
        }
    } else if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
        let held = Arc::new(gunzip(path)?);
        archive(&mut again(&held, path)?, path, Some(&held))?
    } else if name.ends_with(".tar") {
        archive(&mut walk::open(path)?, path, None)?
    } else {
        plain(path)?
    };
    parts.sort_by(|a, b| a.name.cmp(&b.name));
    let names = parts.iter().map(|p| p.name.len()).fold(0, usize::saturating_add);
    if parts.len() > FILES_MAX || names > NAMES_MAX {
        let reason = format!("more than {FILES_MAX} files, or {NAMES_MAX} bytes of names");
        return Err(CliError::TooMany { path: path.to_owned(), reason }.into());
    }
    if parts.is_empty() {
        return Err(CliError::Empty(path.to_owned()).into());
    }
    let mut seen = BTreeSet::new();
    match parts.iter().find(|p| !seen.insert(p.name.as_str())) {
        Some(twice) => Err(content(path, format!("it has `{}` twice", twice.name.escape_debug()))),
        None => Ok(parts),
    }
}

fn plain(path: &Path) -> Result<Vec<Part>, Failure> {
    let whole = |e: walk::Entry| Part {
        name: e.name,
        path: e.path,
        from: 0,
        size: e.size,
        digest: None,
        held: None,
        whole: true,
    };
    Ok(walk::walk(path, &[])?.into_iter().map(whole).collect())
}

/// A snapshot directory of a Hugging Face cache: `snapshots/REVISION` beside `blobs`, whose files are links to blobs of
/// the same repository. A link to anywhere else is refused.
fn snapshot(path: &Path) -> Result<Option<Vec<Part>>, Failure> {
    let full = fs::canonicalize(path).map_err(CliError::file("read", path))?;
    let Some(repository) = full.parent().filter(|p| p.file_name().is_some_and(|n| n == "snapshots")) else {
        return Ok(None);
    };
    let Some(blobs) = repository.parent().map(|r| r.join("blobs")) else { return Ok(None) };
    if !fs::symlink_metadata(&blobs).is_ok_and(|meta| meta.is_dir()) {
        return Ok(None);
    }
    let mut parts = Vec::new();
    let mut waiting = vec![(full.clone(), String::new(), 0usize)];
    while let Some((directory, prefix, depth)) = waiting.pop() {
        if depth > DEPTH_MAX || parts.len() > FILES_MAX {
            let reason = format!("deeper than {DEPTH_MAX} directories, or more than {FILES_MAX} files");
            return Err(CliError::TooMany { path: path.to_owned(), reason }.into());
        }
        for entry in fs::read_dir(&directory).map_err(CliError::file("read", &directory))? {
            let entry = entry.map_err(CliError::file("read", &directory))?;
            let at = entry.path();
            let name = entry
                .file_name()
                .into_string()
                .map_err(|_| CliError::NotRegular { path: at.clone(), what: "not named in UTF-8" })?;
            let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            let kind = entry.file_type().map_err(CliError::file("read", &at))?;
            if kind.is_dir() {
                waiting.push((at, name, depth.saturating_add(1)));
                continue;
            }
            let blob = if kind.is_symlink() { walk::blob_of(&at, &blobs)? } else { at };
            let file = walk::open(&blob)?;
            let size = file.metadata().map_err(CliError::file("read", &blob))?.len();
            parts.push(Part { name, path: blob, from: 0, size, digest: None, held: None, whole: true });
        }
    }
    Ok(Some(parts))
}

/// An OCI image layout that holds a model: each layer a file by its title, or one layer that is an archive.
fn layout(path: &Path) -> Result<Vec<Part>, Failure> {
    let (_, index) = document(path, &path.join("index.json"), None)?;
    let listed = array(&index, "manifests");
    let [one] = listed.as_slice() else {
        return Err(content(path, format!("the layout has {} manifests; a model has one", listed.len())));
    };
    let (digest, _) = descriptor(path, one)?;
    let (at, manifest) = document(path, &blob_path(path, &digest), Some(&digest))?;
    let layers = array(&manifest, "layers");
    if layers.is_empty() || layers.len() > LAYERS_MAX {
        return Err(content(&at, format!("a model has 1 to {LAYERS_MAX} layers")));
    }
    let mut parts = Vec::new();
    for layer in &layers {
        let (digest, size) = descriptor(&at, layer)?;
        let blob = blob_path(path, &digest);
        let title = layer.get("annotations").and_then(|a| a.get(TITLE)).and_then(Value::as_str);
        let kind = layer.get("mediaType").and_then(Value::as_str).unwrap_or_default();
        match title {
            Some(title) => parts.push(Part {
                name: relative(&at, title)?,
                path: blob,
                from: 0,
                size,
                digest: Some(digest),
                held: None,
                whole: true,
            }),
            None if layers.len() == 1 && kind.contains("tar") => {
                let mut file = walk::open(&blob)?;
                if hashed(&mut file, &blob)? != digest {
                    return Err(content(&blob, "its content is not what its digest says"));
                }
                if kind.contains("zstd") {
                    return Err(content(&blob, "a layer compressed by Zstandard is not read here"));
                }
                if !kind.contains("gzip") {
                    file.seek(SeekFrom::Start(0)).map_err(CliError::file("read", &blob))?;
                    return archive(&mut file, &blob, None);
                }
                let held = Arc::new(gunzip(&blob)?);
                return archive(&mut again(&held, &blob)?, &blob, Some(&held));
            }
            None => return Err(content(&at, format!("a layer without the annotation `{TITLE}`"))),
        }
    }
    Ok(parts)
}

fn array(value: &Value, name: &str) -> Vec<Value> {
    value.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// A document of a layout, strictly read, and what it must be.
fn document(layout: &Path, path: &Path, digest: Option<&Digest>) -> Result<(PathBuf, Value), Failure> {
    drop(walk::open(path)?);
    let bytes = read_bounded(path, DOCUMENT_MAX)?;
    if digest.is_some_and(|wanted| base::sha256(&bytes) != *wanted) {
        return Err(content(path, "its content is not what its digest says"));
    }
    let value = integrity::json::parse(&bytes).map_err(|e| content(layout, e.to_string()))?;
    Ok((path.to_owned(), value))
}

fn descriptor(path: &Path, value: &Value) -> Result<(Digest, u64), Failure> {
    let digest = value.get("digest").and_then(Value::as_str).and_then(|d| d.strip_prefix("sha256:"));
    let digest = digest.and_then(|d| d.parse::<Digest>().ok());
    let size = value.get("size").and_then(Value::as_u64);
    digest.zip(size).ok_or_else(|| content(path, "a descriptor without a SHA-256 digest and a size"))
}

fn blob_path(layout: &Path, digest: &Digest) -> PathBuf {
    layout.join("blobs/sha256").join(digest.hex())
}

/// A name that stays within the model.
fn relative(path: &Path, name: &str) -> Result<String, Failure> {
    let plain = |c: &str| {
        !c.is_empty() && c != "." && c != ".." && !c.contains('\\') && !c.chars().any(char::is_control)
    };
    match name.split('/').all(plain) {
        true => Ok(name.to_owned()),
        false => Err(content(path, format!("the name `{}` is not plain and relative", name.escape_debug()))),
    }
}

fn hashed(file: &mut File, path: &Path) -> Result<Digest, Failure> {
    let mut hasher = base::Hasher::new();
    let mut piece = vec![0u8; 1 << 20];
    loop {
        match file.read(&mut piece).map_err(CliError::file("read", path))? {
            0 => return Ok(hasher.finish()),
            len => hasher.update(piece.get(..len).unwrap_or_default()),
        }
    }
}

/// The files of an archive, each by where its bytes stand. Links, devices and pipes are refused.
fn archive(file: &mut File, path: &Path, held: Option<&Arc<File>>) -> Result<Vec<Part>, Failure> {
    let bad = |e: image::ImageError| content(path, e.to_string());
    let len = file.seek(SeekFrom::End(0)).map_err(CliError::file("read", path))?;
    let (mut reader, mut at, mut parts) = (Reader::default(), 0u64, Vec::new());
    let mut block = [0u8; BLOCK];
    while at < len {
        file.seek(SeekFrom::Start(at)).map_err(CliError::file("read", path))?;
        file.read_exact(&mut block).map_err(CliError::file("read", path))?;
        at = at.saturating_add(BLOCK as u64);
        match reader.block(&block).map_err(bad)? {
            Step::Next => {}
            Step::End => return zeros(file, path, parts),
            Step::Extension(size) => {
                let size_read =
                    usize::try_from(size).map_err(|_| content(path, "an extension is too long"))?;
                let mut bytes = vec![0u8; size_read];
                file.read_exact(&mut bytes).map_err(CliError::file("read", path))?;
                reader.extension(&bytes).map_err(bad)?;
                at = after(at, size);
            }
            Step::Entry(entry) => match entry.kind {
                Kind::Directory => {}
                Kind::File { size, .. } => {
                    if at.checked_add(size).is_none_or(|end| end > len) {
                        return Err(content(path, "it ends within a file"));
                    }
                    if parts.len() >= FILES_MAX {
                        let reason = format!("more than {FILES_MAX} files");
                        return Err(CliError::TooMany { path: path.to_owned(), reason }.into());
                    }
                    parts.push(Part {
                        name: relative(path, &entry.path)?,
                        path: path.to_owned(),
                        from: at,
                        size,
                        digest: None,
                        held: held.cloned(),
                        whole: false,
                    });
                    at = after(at, size);
                }
                _ => {
                    let reason = format!("`{}` in it is a link or a device", entry.path.escape_debug());
                    return Err(content(path, reason));
                }
            },
        }
    }
    reader.finish().map_err(bad)?;
    Ok(parts)
}

/// Where the next block is after so many bytes.
const fn after(at: u64, size: u64) -> u64 {
    at.saturating_add(size.div_ceil(BLOCK as u64).saturating_mul(BLOCK as u64))
}

/// Nothing may follow the end of an archive but padding.
fn zeros(file: &mut File, path: &Path, parts: Vec<Part>) -> Result<Vec<Part>, Failure> {
    let mut rest = Vec::new();
    let most = image::limits::END_BYTES;
    file.take(most.saturating_add(1)).read_to_end(&mut rest).map_err(CliError::file("read", path))?;
    let fits = u64::try_from(rest.len()).unwrap_or(u64::MAX) <= most && rest.iter().all(|b| *b == 0);
    if fits { Ok(parts) } else { Err(content(path, "something follows the end of the archive")) }
}

/// The archive unpacked to a file without a name, which goes with this process.
fn gunzip(path: &Path) -> Result<File, Failure> {
    let source = walk::open(path)?;
    let len = source.metadata().map_err(CliError::file("read", path))?.len();
    let most = len.saturating_mul(RATIO_MAX).saturating_add(1 << 20).min(UNPACKED_MAX);
    let directory = std::env::temp_dir();
    let flags = rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let made = rustix::fs::open(&directory, flags, mode).map_err(CliError::file("write", &directory))?;
    let mut unpacked = File::from(made);
    let mut stream = flate2::bufread::GzDecoder::new(std::io::BufReader::new(source));
    let mut piece = vec![0u8; 1 << 20];
    let mut written = 0u64;
    loop {
        let read =
            stream.read(&mut piece).map_err(|e| content(path, format!("it is not gzip, or is cut: {e}")))?;
        if read == 0 {
            break;
        }
        written = written.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        if written > most {
            return Err(content(path, format!("it unpacks to more than {most} bytes")));
        }
        unpacked
            .write_all(piece.get(..read).unwrap_or_default())
            .map_err(CliError::file("write", &directory))?;
    }
    // A second stream after the first would be read by some and not by others.
    let mut rest = [0u8; 1];
    match stream.into_inner().read(&mut rest) {
        Ok(0) => Ok(unpacked),
        _ => Err(content(path, "something follows the end of the compressed data")),
    }
}

#[cfg(test)]
mod tests;
