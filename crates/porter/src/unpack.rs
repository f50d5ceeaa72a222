//! Unpacking layers of an image into a mount: what a layer has replaces what lower layers had, and nothing that a
//! layer says leads out of the mount. Links are followed as a system with this root would (`RESOLVE_IN_ROOT`).

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use image::path::{Whiteout, is_platform, whiteout};
use image::tar::{Entry, Kind};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::layer::Layer;
use crate::{PorterError, limits, tree};

/// What all layers of an image come to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Unpacked {
    /// Names that were made or passed over, those that a later layer replaced and directories above them included.
    pub(crate) entries: u32,
    /// Bytes of files, those that were passed over included.
    pub(crate) bytes: u64,
}

impl Unpacked {
    fn entry(&mut self) -> Result<(), PorterError> {
        self.entries = self.entries.saturating_add(1);
        if self.entries <= image::limits::ENTRIES {
            return Ok(());
        }
        let limit = u64::from(image::limits::ENTRIES);
        Err(image::ImageError::Limit { what: "files, directories and links", limit }.into())
    }

    /// Before a byte is written: an archive of a few bytes can claim any size.
    fn content(&mut self, size: u64, max_bytes: u64) -> Result<(), PorterError> {
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes <= max_bytes {
            return Ok(());
        }
        Err(image::ImageError::Limit { what: "unpacked bytes", limit: max_bytes }.into())
    }
}

/// Unpacks one layer above what is there. On failure the mount is of no use.
pub(crate) fn layer(
    root: BorrowedFd<'_>,
    layer: &mut Layer<'_>,
    unpacked: &mut Unpacked,
    max_bytes: u64,
) -> Result<(), PorterError> {
    let mut above = Above { root, made: HashSet::new(), buffer: vec![0; limits::STEP_BYTES] };
    // Links of an image lead there, and nothing below them is shown.
    for place in image::path::PLATFORM {
        above.directory(place, unpacked)?;
    }
    while let Some(entry) = layer.next()? {
        unpacked.entry()?;
        if let Kind::File { size, .. } = entry.kind {
            unpacked.content(size, max_bytes)?;
        }
        if entry.path.is_empty() || is_platform(&entry.path) {
            continue;
        }
        match whiteout(&entry.path)? {
            Some(whiteout) => above.remove(&whiteout)?,
            None => above.put(&entry, layer, unpacked)?,
        }
    }
    Ok(())
}

/// A name in a directory, by the directory's number: the same whichever links led there. A memory-backed file system
/// gives no number twice.
type Made = (u64, String);

/// A layer that is being put above others.
struct Above<'a> {
    root: BorrowedFd<'a>,
    /// What this layer made: whiteouts concern only what lower layers have, in whichever order they stand.
    made: HashSet<Made>,
    buffer: Vec<u8>,
}

impl Above<'_> {
    fn put(
        &mut self,
        entry: &Entry,
        layer: &mut Layer<'_>,
        unpacked: &mut Unpacked,
    ) -> Result<(), PorterError> {
        let path = entry.path.as_str();
        if entry.kind == Kind::Special {
            return Err(refused(path, "a device or pipe"));
        }
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.directory(above, unpacked)?;
        let is_directory = entry.kind == Kind::Directory;
        let is_free =
            clear(parent.as_fd(), name, is_directory).map_err(|errno| failed("replacing", path, errno))?;
        self.remember(parent.as_fd(), name).map_err(PorterError::io("looking at", path))?;
        if !is_free {
            return Ok(());
        }
        let making = |errno| failed("making", path, errno);
        match &entry.kind {
            Kind::Directory => rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)).map_err(making),
            Kind::Symlink { target } => {
                rustix::fs::symlinkat(target.as_str(), &parent, name).map_err(making)?;
                set_time(parent.as_fd(), name, entry.mtime).map_err(making)
            }
            Kind::Hardlink { target } => self.hardlink(target, parent.as_fd(), name, path),
            Kind::Special => Err(refused(path, "a device or pipe")),
            Kind::File { executable, .. } => {
                let mode = Mode::from_raw_mode(if *executable { 0o555 } else { 0o444 });
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&parent, name, flags, mode).map_err(making)?;
                let mut at = 0u64;
                loop {
                    let count = layer.read(&mut self.buffer)?;
                    if count == 0 {
                        break;
                    }
                    let part = self.buffer.get(..count).unwrap_or_default();
                    tree::write_at(file.as_fd(), part, at).map_err(PorterError::io("writing", path))?;
                    at = at.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
                }
                set_time(parent.as_fd(), name, entry.mtime).map_err(making)
            }
        }
    }

    fn remember(&mut self, directory: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
        let number = rustix::fs::fstat(directory)?.st_ino;
        self.made.insert((number, name.to_owned()));
        Ok(())
    }

    /// A second name of a file that the image has.
    fn hardlink(
        &self,
        target: &str,
        parent: BorrowedFd<'_>,
        name: &str,
        path: &str,
    ) -> Result<(), PorterError> {
        let refuse = |what| refused(path, what);
        let (above, target_name) = target.rsplit_once('/').unwrap_or(("", target));
        let source = self.look(above).map_err(|_| refuse("a second name of a file that is not there"))?;
        let found = rustix::fs::statat(&source, target_name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = found.map_err(|_| refuse("a second name of a file that is not there"))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(refuse("a second name of a directory"));
        }
        rustix::fs::linkat(&source, target_name, parent, name, AtFlags::empty())
            .map_err(PorterError::io("making", path))
    }

    /// An open directory of the image, with links followed inside the root only.
    fn look(&self, path: &str) -> Result<OwnedFd, Errno> {
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = if path.is_empty() { "." } else { path };
        rustix::fs::openat2(self.root, path, flags, Mode::empty(), how)
    }

    /// As [`Self::look`]; what is missing of the path is made.
    fn directory(&mut self, path: &str, unpacked: &mut Unpacked) -> Result<OwnedFd, PorterError> {
        match self.look(path) {
            Err(Errno::NOENT) => {}
            other => return other.map_err(|errno| failed("opening directory", path, errno)),
        }
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            let prefix = path.get(..end).unwrap_or_default();
            if !matches!(self.look(prefix), Err(Errno::NOENT)) {
                continue;
            }
            unpacked.entry()?;
            let (above, name) = prefix.rsplit_once('/').unwrap_or(("", prefix));
            let parent = self.look(above).map_err(|errno| failed("opening directory", above, errno))?;
            rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))
                .map_err(|errno| failed("making directory", prefix, errno))?;
            self.remember(parent.as_fd(), name).map_err(PorterError::io("looking at", prefix))?;
        }
        self.look(path).map_err(|errno| failed("opening directory", path, errno))
    }

    /// Removes what lower layers have at a place, and nothing of this layer's; what is not there needs no removing.
    fn remove(&self, whiteout: &Whiteout) -> Result<(), PorterError> {
        let (Whiteout::Path(path) | Whiteout::Inside(path)) = whiteout else { return Ok(()) };
        if is_platform(path) {
            return Ok(());
        }
        let result = match whiteout {
            Whiteout::Inside(_) => {
                self.look(path).and_then(|inside| self.prune_inside(inside.as_fd(), 0)).map(|_| ())
            }
            _ => {
                let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
                self.look(above).and_then(|parent| self.prune(parent.as_fd(), name, 0)).map(|_| ())
            }
        };
        match result {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            other => other.map_err(PorterError::io("removing", path)),
        }
    }

    /// Removes a name unless this layer made it or something below it; whether it stays.
    fn prune(&self, parent: BorrowedFd<'_>, name: &str, depth: usize) -> Result<bool, Errno> {
        if depth > limits::PRUNE_DEPTH {
            return Err(Errno::LOOP);
        }
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let number = rustix::fs::fstat(parent)?.st_ino;
        let mut stays = self.made.contains(&(number, name.to_owned()));
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            if !stays {
                rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            }
            return Ok(stays);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        stays |= self.prune_inside(directory.as_fd(), depth.saturating_add(1))?;
        if !stays {
            rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?;
        }
        Ok(stays)
    }

    /// As [`Self::prune`] for everything in a directory; whether something stays.
    fn prune_inside(&self, directory: BorrowedFd<'_>, depth: usize) -> Result<bool, Errno> {
        let mut stays = false;
        for name in names(directory)? {
            stays |= self.prune(directory, &name, depth)?;
        }
        Ok(stays)
    }
}

fn refused(path: &str, what: &'static str) -> PorterError {
    PorterError::Image(image::ImageError::Entry { path: path.to_owned(), what })
}

/// What the file system answers to an archive that contradicts itself is the archive's fault, all else the node's.
fn failed(doing: &'static str, path: &str, errno: Errno) -> PorterError {
    match errno {
        Errno::EXIST | Errno::NOTDIR | Errno::ISDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::MLINK => {
            refused(path, "in the way of another entry, or below what is no directory")
        }
        errno => PorterError::io(doing, path)(errno),
    }
}

/// Sets the time of last change, so that it is the same in every run; caches of interpreters compare it.
fn set_time(parent: BorrowedFd<'_>, name: &str, seconds: u64) -> Result<(), Errno> {
    let time = Timespec { tv_sec: i64::try_from(seconds).unwrap_or(0), tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)
}

/// Gives every directory one time: theirs is otherwise the moment of unpacking.
pub(crate) fn settle(root: BorrowedFd<'_>, name: &str, depth: usize) -> Result<(), Errno> {
    if depth > limits::PRUNE_DEPTH {
        return Err(Errno::LOOP);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(root, name, flags, Mode::empty())?;
    for child in names(directory.as_fd())? {
        let stat = rustix::fs::statat(&directory, child.as_str(), AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            settle(directory.as_fd(), &child, depth.saturating_add(1))?;
        }
    }
    set_time(root, name, 0)
}

/// Removes what stands at a name, with all below it; a directory stays where a directory comes. Whether there is
/// something to make now.
fn clear(parent: BorrowedFd<'_>, name: &str, keep_directory: bool) -> Result<bool, Errno> {
    let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(true),
        other => other?,
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
        return Ok(true);
    }
    if keep_directory {
        return Ok(false);
    }
    empty(parent, name, 0)?;
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?;
    Ok(true)
}

/// Removes everything in a directory that this process made.
fn empty(parent: BorrowedFd<'_>, name: &str, depth: usize) -> Result<(), Errno> {
    if depth > limits::PRUNE_DEPTH {
        return Err(Errno::LOOP);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for child in names(directory.as_fd())? {
        let stat = rustix::fs::statat(&directory, child.as_str(), AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            empty(directory.as_fd(), &child, depth.saturating_add(1))?;
            rustix::fs::unlinkat(&directory, child.as_str(), AtFlags::REMOVEDIR)?;
        } else {
            rustix::fs::unlinkat(&directory, child.as_str(), AtFlags::empty())?;
        }
    }
    Ok(())
}

/// Names in a directory that this process made: all are UTF-8.
fn names(directory: BorrowedFd<'_>) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_str().map_err(|_| Errno::ILSEQ)?;
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
