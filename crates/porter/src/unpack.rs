//! Unpacking layers of an image into a mount: what a layer has replaces what lower layers had, and nothing that a
//! layer says leads out of the mount. Links are followed as a system with this root would (`RESOLVE_IN_ROOT`).

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use base::Digest;
use image::path::{Whiteout, is_platform, whiteout};
use image::tar::{Entry, Kind};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::layer::Layer;
use crate::{PorterError, limits, tree};

/// What all layers of an image may come to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Unpacked {
    /// Entries that were made, those that a later layer replaced included.
    pub(crate) entries: u32,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// Unpacks one layer above what is there. On failure the mount is of no use.
pub(crate) fn layer(
    root: BorrowedFd<'_>,
    layer: &mut Layer<'_>,
    unpacked: &mut Unpacked,
    max_bytes: u64,
) -> Result<(), PorterError> {
    let mut above = Above { root, made: HashSet::new(), buffer: vec![0; limits::STEP_BYTES] };
    while let Some(entry) = layer.next()? {
        if entry.path.is_empty() || is_platform(&entry.path) {
            continue;
        }
        if let Some(whiteout) = whiteout(&entry.path)? {
            above.remove(&whiteout)?;
            continue;
        }
        unpacked.entries = unpacked.entries.saturating_add(1);
        if unpacked.entries > image::limits::ENTRIES {
            let limit = u64::from(image::limits::ENTRIES);
            return Err(image::ImageError::Limit { what: "files, directories and links", limit }.into());
        }
        if let Kind::File { size, .. } = entry.kind {
            // Before a byte is written: an archive of a few bytes can claim any size.
            unpacked.bytes = unpacked.bytes.saturating_add(size);
            if unpacked.bytes > max_bytes {
                return Err(image::ImageError::Limit { what: "unpacked bytes", limit: max_bytes }.into());
            }
        }
        above.put(&entry, layer)?;
    }
    Ok(())
}

/// A layer that is being put above others.
struct Above<'a> {
    root: BorrowedFd<'a>,
    /// Digests of the paths that this layer made: whiteouts concern only what was there before.
    made: HashSet<Digest>,
    buffer: Vec<u8>,
}

impl Above<'_> {
    fn put(&mut self, entry: &Entry, layer: &mut Layer<'_>) -> Result<(), PorterError> {
        let path = entry.path.as_str();
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.directory(above)?;
        self.made.insert(base::sha256(path.as_bytes()));
        let is_directory = entry.kind == Kind::Directory;
        if !clear(parent.as_fd(), name, is_directory).map_err(PorterError::io("replacing", path))? {
            return Ok(());
        }
        let making = PorterError::io("making", path);
        match &entry.kind {
            Kind::Directory => rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)).map_err(making),
            Kind::Symlink { target } => rustix::fs::symlinkat(target.as_str(), &parent, name).map_err(making),
            Kind::Hardlink { target } => self.hardlink(target, parent.as_fd(), name, path),
            Kind::File { executable, .. } => {
                let mode = Mode::from_raw_mode(if *executable { 0o555 } else { 0o444 });
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&parent, name, flags, mode).map_err(making)?;
                let mut at = 0u64;
                loop {
                    let count = layer.read(&mut self.buffer)?;
                    if count == 0 {
                        return Ok(());
                    }
                    let part = self.buffer.get(..count).unwrap_or_default();
                    tree::write_at(file.as_fd(), part, at).map_err(PorterError::io("writing", path))?;
                    at = at.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
                }
            }
        }
    }

    /// A second name of a file that the image has.
    fn hardlink(
        &self,
        target: &str,
        parent: BorrowedFd<'_>,
        name: &str,
        path: &str,
    ) -> Result<(), PorterError> {
        let refuse = |what| PorterError::Image(image::ImageError::Entry { path: path.to_owned(), what });
        let (above, target_name) = target.rsplit_once('/').unwrap_or(("", target));
        let source = self.look(above).map_err(|_| refuse("a second name of a file that is not there"))?;
        let found = rustix::fs::statat(&source, target_name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = found.map_err(|_| refuse("a second name of a file that is not there"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(refuse("a second name of something that is no file"));
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
    fn directory(&mut self, path: &str) -> Result<OwnedFd, PorterError> {
        match self.look(path) {
            Err(Errno::NOENT) => {}
            other => return other.map_err(PorterError::io("opening directory", path)),
        }
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            let prefix = path.get(..end).unwrap_or_default();
            if !matches!(self.look(prefix), Err(Errno::NOENT)) {
                continue;
            }
            let (above, name) = prefix.rsplit_once('/').unwrap_or(("", prefix));
            let parent = self.look(above).map_err(PorterError::io("opening directory", above))?;
            rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))
                .map_err(PorterError::io("making directory", prefix))?;
            self.made.insert(base::sha256(prefix.as_bytes()));
        }
        self.look(path).map_err(PorterError::io("opening directory", path))
    }

    /// Removes what lower layers have at a place; what is not there needs no removing.
    fn remove(&self, whiteout: &Whiteout) -> Result<(), PorterError> {
        let (Whiteout::Path(path) | Whiteout::Inside(path)) = whiteout;
        if is_platform(path) {
            return Ok(());
        }
        let failed = PorterError::io("removing", path);
        let result = match whiteout {
            Whiteout::Path(path) if self.made.contains(&base::sha256(path.as_bytes())) => Ok(()),
            Whiteout::Path(path) => {
                let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
                self.look(above).and_then(|parent| clear(parent.as_fd(), name, false)).map(|_| ())
            }
            Whiteout::Inside(path) => self.look(path).and_then(|inside| {
                for name in names(inside.as_fd())? {
                    let child = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                    if !self.made.contains(&base::sha256(child.as_bytes())) {
                        clear(inside.as_fd(), &name, false)?;
                    }
                }
                Ok(())
            }),
        };
        match result {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            other => other.map_err(failed),
        }
    }
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
    if depth > image::limits::DEPTH.saturating_mul(2) {
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
