//! A directory as a root file system: what is in it, its digest, and the archive in which it travels. Links are part
//! of it and never followed; devices, pipes and sockets are refused.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{Digest, Hasher};
use image::path::{clean, is_platform, whiteout};
use image::tar::{END, Entry, Kind, header, padding};
use image::tree::{Node, TreeHasher};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};

use crate::error::{CliError, Failure};
use crate::exit::Exit;
use crate::progress::Progress;

/// Bytes read at once while a file is hashed.
const STEP: usize = 1 << 20;

/// One name in the tree.
#[derive(Debug, Clone)]
struct Item {
    entry: Entry,
    /// Bytes and executable bit, where it is a file, by whichever name.
    file: Option<(u64, bool)>,
}

/// A tree that was walked.
#[derive(Debug, Clone)]
pub(crate) struct Rootfs {
    root: PathBuf,
    /// The directory itself: everything is opened below it, and no link is followed.
    directory: Arc<OwnedFd>,
    items: Vec<Item>,
}

fn refuse(error: &image::ImageError) -> Failure {
    Failure::explain(error, Exit::Failed)
}

/// Opens below a directory without following a link, whoever changes the tree meanwhile.
fn open(directory: &OwnedFd, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat2(directory, if path.is_empty() { "." } else { path }, flags, Mode::empty(), how)?)
}

impl Rootfs {
    /// Walks a directory. What is in `/dev`, `/proc`, `/run`, `/sys`, `/tmp` and `/opt/ml` is left out: the sandbox has
    /// its own.
    ///
    /// # Errors
    /// It cannot be read, or holds what no image may.
    pub(crate) fn walk(root: &Path) -> Result<Self, Failure> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(root, flags, Mode::empty());
        let directory = directory.map_err(|errno| CliError::file("open", root)(errno))?;
        let mut items = Vec::new();
        let mut waiting = vec![String::new()];
        while let Some(path) = waiting.pop() {
            let shown = root.join(&path);
            let reading = |errno: rustix::io::Errno| CliError::file("read", &shown)(errno);
            let inside =
                open(&directory, &path, OFlags::DIRECTORY).map_err(CliError::file("read", &shown))?;
            for entry in Dir::read_from(&inside).map_err(reading)? {
                let entry = entry.map_err(reading)?;
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                let raw = [path.as_bytes(), b"/", name.to_bytes()].concat();
                let child = clean(&raw).map_err(|e| refuse(&e))?;
                if is_platform(&child) {
                    continue;
                }
                if whiteout(&child).map_err(|e| refuse(&e))?.is_some() {
                    let why = "names that begin with `.wh.` remove things from images";
                    return Err(refuse(&image::ImageError::Path { path: child, why }));
                }
                let most = image::limits::ENTRIES;
                if items.len() >= usize::try_from(most).unwrap_or(usize::MAX) {
                    let reason = format!("more than {most} files, directories and links");
                    return Err(CliError::TooMany { path: root.to_owned(), reason }.into());
                }
                let stat = rustix::fs::statat(&inside, name, AtFlags::SYMLINK_NOFOLLOW).map_err(reading)?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    waiting.push(child.clone());
                }
                let (kind, file) = kind(&inside, name, &stat, &root.join(&child))?;
                // Times are no part of a directory's digest, so all are one time.
                let entry = Entry { path: child, kind, mtime: 0 };
                items.push((Item { entry, file }, (stat.st_dev, stat.st_ino, stat.st_nlink)));
            }
        }
        if items.is_empty() {
            return Err(CliError::Empty(root.to_owned()).into());
        }
        items.sort_by(|(a, _), (b, _)| a.entry.path.as_bytes().cmp(b.entry.path.as_bytes()));
        Ok(Self { root: root.to_owned(), directory: Arc::new(directory), items: name_once(items) })
    }

    /// The digest of its tree.
    ///
    /// # Errors
    /// A file cannot be read, or changes meanwhile.
    pub(crate) fn digest(&self, progress: &Progress) -> Result<Digest, Failure> {
        let mut hasher = TreeHasher::default();
        let mut buffer = vec![0; STEP];
        for item in &self.items {
            let path = item.entry.path.as_str();
            let node = match (&item.entry.kind, item.file) {
                (Kind::Directory, _) => Node::Directory,
                (Kind::Symlink { target }, _) => Node::Symlink { target: target.as_bytes() },
                (_, file) => {
                    let (expected, executable) = file.unwrap_or_default();
                    let (size, digest) =
                        content(&self.directory, path, &self.root.join(path), &mut buffer, progress)?;
                    if size != expected {
                        return Err(CliError::Changed(self.root.join(path)).into());
                    }
                    Node::File { size, digest, executable }
                }
            };
            hasher.add(path, &node).map_err(|e| refuse(&e))?;
        }
        Ok(hasher.finish())
    }

    /// Bytes of its files, each counted once for each name.
    pub(crate) fn bytes(&self) -> u64 {
        self.items.iter().filter_map(|item| item.file).map(|(size, _)| size).fold(0, u64::saturating_add)
    }

    /// How many names it has.
    pub(crate) fn entries(&self) -> usize {
        self.items.len()
    }

    /// Bytes of its archive.
    ///
    /// # Errors
    /// A name that no archive holds.
    pub(crate) fn archive_len(&self) -> Result<u64, Failure> {
        let mut len = u64::try_from(END.len()).unwrap_or(0);
        for item in &self.items {
            let blocks = header(&item.entry).map_err(|e| refuse(&e))?.len();
            len = len.saturating_add(u64::try_from(blocks).unwrap_or(u64::MAX));
            if let Kind::File { size, .. } = item.entry.kind {
                let padding = u64::try_from(padding(size)).unwrap_or(0);
                len = len.saturating_add(size).saturating_add(padding);
            }
        }
        Ok(len)
    }

    /// Its archive, as a stream.
    pub(crate) fn archive(self) -> Archive {
        Archive {
            directory: self.directory,
            items: self.items.into_iter(),
            blocks: Cursor::default(),
            file: None,
            is_ended: false,
        }
    }

    /// The directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}

/// A file with several names is stored once; its other names refer to the first.
fn name_once(items: Vec<(Item, (u64, u64, u64))>) -> Vec<Item> {
    let mut first: HashMap<(u64, u64), String> = HashMap::new();
    let mut out = Vec::with_capacity(items.len());
    for (mut item, (dev, ino, names)) in items {
        if item.file.is_some() && names > 1 {
            match first.get(&(dev, ino)) {
                Some(target) => item.entry.kind = Kind::Hardlink { target: target.clone() },
                None => drop(first.insert((dev, ino), item.entry.path.clone())),
            }
        }
        out.push(item);
    }
    out
}

/// What a name in a directory is.
fn kind(
    directory: &OwnedFd,
    name: &CStr,
    stat: &Stat,
    shown: &Path,
) -> Result<(Kind, Option<(u64, bool)>), Failure> {
    let refuse = |what| Failure::from(CliError::NotRegular { path: shown.to_owned(), what });
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Ok((Kind::Directory, None)),
        FileType::RegularFile => {
            let file = (u64::try_from(stat.st_size).unwrap_or(0), stat.st_mode & 0o111 != 0);
            Ok((Kind::File { size: file.0, executable: file.1 }, Some(file)))
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(directory, name, Vec::new());
            let target = target.map_err(|errno| CliError::file("read", shown)(errno))?;
            let target = target.into_string().map_err(|_| refuse("a link whose target is not UTF-8"))?;
            Ok((Kind::Symlink { target }, None))
        }
        _ => Err(refuse("a device, pipe or socket")),
    }
}

fn content(
    directory: &OwnedFd,
    below: &str,
    path: &Path,
    buffer: &mut [u8],
    progress: &Progress,
) -> Result<(u64, Digest), Failure> {
    let mut file = File::from(open(directory, below, OFlags::empty()).map_err(CliError::file("open", path))?);
    let mut hasher = Hasher::new();
    let mut size = 0u64;
    loop {
        let count = file.read(buffer).map_err(CliError::file("read", path))?;
        if count == 0 {
            return Ok((size, hasher.finish()));
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        size = size.saturating_add(count);
        progress.add(count);
    }
}

/// An archive that is read as it is made. A file that is shorter than it was is an error; one that is longer is cut,
/// and then the digest differs.
#[derive(Debug)]
pub(crate) struct Archive {
    directory: Arc<OwnedFd>,
    items: std::vec::IntoIter<Item>,
    blocks: Cursor<Vec<u8>>,
    file: Option<(io::Take<File>, u64)>,
    is_ended: bool,
}

impl Read for Archive {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.blocks.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            if let Some((file, size)) = &mut self.file {
                let count = file.read(buffer)?;
                if count > 0 {
                    return Ok(count);
                }
                if file.limit() > 0 {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file became shorter"));
                }
                self.blocks = Cursor::new(vec![0; padding(*size)]);
                self.file = None;
                continue;
            }
            match self.items.next() {
                Some(item) => {
                    let blocks = header(&item.entry).map_err(io::Error::other)?;
                    self.blocks = Cursor::new(blocks);
                    if let Kind::File { size, .. } = item.entry.kind {
                        let file = File::from(open(&self.directory, &item.entry.path, OFlags::empty())?);
                        self.file = Some((file.take(size), size));
                    }
                }
                None if self.is_ended => return Ok(0),
                None => {
                    self.is_ended = true;
                    self.blocks = Cursor::new(END.to_vec());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_is_archived_as_it_is_and_a_second_name_once() {
        let dir = tempfile::tempdir().unwrap();
        for directory in ["usr/bin", "dev", "opt/ml"] {
            fs::create_dir_all(dir.path().join(directory)).unwrap();
        }
        for file in ["usr/bin/tool", "dev/x", "opt/ml/x"] {
            fs::write(dir.path().join(file), "x".repeat(600)).unwrap();
        }
        fs::set_permissions(dir.path().join("usr/bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
        fs::hard_link(dir.path().join("usr/bin/tool"), dir.path().join("usr/bin/zool")).unwrap();
        std::os::unix::fs::symlink("usr/bin", dir.path().join("bin")).unwrap();
        let rootfs = Rootfs::walk(dir.path()).unwrap();
        let shown: Vec<_> =
            rootfs.items.iter().map(|i| (i.entry.path.as_str(), i.entry.kind.clone())).collect();
        assert_eq!(
            shown,
            [
                ("bin", Kind::Symlink { target: "usr/bin".into() }),
                ("opt", Kind::Directory),
                ("usr", Kind::Directory),
                ("usr/bin", Kind::Directory),
                ("usr/bin/tool", Kind::File { size: 600, executable: true }),
                ("usr/bin/zool", Kind::Hardlink { target: "usr/bin/tool".into() }),
            ]
        );
        let len = rootfs.archive_len().unwrap();
        let mut bytes = Vec::new();
        rootfs.clone().archive().read_to_end(&mut bytes).unwrap();
        assert_eq!(u64::try_from(bytes.len()).unwrap(), len);
        // Another reader takes it the same way.
        let other = tempfile::tempdir().unwrap();
        let path = other.path().join("archive.tar");
        fs::write(&path, &bytes).unwrap();
        let list = std::process::Command::new("tar").arg("-tvf").arg(&path).output().unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        assert!(
            list.contains("usr/bin/zool link to usr/bin/tool") && list.contains("bin -> usr/bin"),
            "{list}"
        );
    }

    #[test]
    fn what_no_image_may_hold_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Rootfs::walk(dir.path()).is_err(), "empty");
        fs::write(dir.path().join(".wh.x"), "").unwrap();
        assert_eq!(Rootfs::walk(dir.path()).unwrap_err().code, "SR-IMG-0001");
        fs::remove_file(dir.path().join(".wh.x")).unwrap();
        let fifo = dir.path().join("f");
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(Rootfs::walk(dir.path()).is_err(), "a pipe");
    }
}
