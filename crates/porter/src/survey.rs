//! What an unpacked image is: the digest of its tree, and the packages that it says it holds.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use image::packages::{self, Package};
use image::tree::{Node, TreeHasher};
use ops::porter::HashResult;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use crate::{PorterError, hash, limits, tree};

/// One name in the tree.
struct Found {
    path: String,
    kind: FileType,
    executable: bool,
}

/// Every name below `root` but those of the platform's own places, in the order of path bytes.
fn walk(root: BorrowedFd<'_>) -> Result<Vec<Found>, PorterError> {
    let mut found = Vec::new();
    let mut open = vec![String::new()];
    while let Some(path) = open.pop() {
        let reading = || PorterError::io("reading directory", &path);
        let below = if path.is_empty() { "." } else { path.as_str() };
        let directory = tree::open_dir(root, below).map_err(reading())?;
        for entry in Dir::read_from(&directory).map_err(reading())? {
            let entry = entry.map_err(reading())?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            let name = entry.file_name().to_bytes();
            let raw = if path.is_empty() { name.to_vec() } else { [path.as_bytes(), b"/", name].concat() };
            let child = image::path::clean(&raw)?;
            if image::path::is_platform(&child) {
                continue;
            }
            let stat = rustix::fs::statat(&directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(reading())?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            match kind {
                FileType::Directory => open.push(child.clone()),
                FileType::RegularFile | FileType::Symlink => {}
                _ => return Err(PorterError::Kind { path: child, what: "a device, pipe or socket" }),
            }
            if found.len() >= usize::try_from(image::limits::ENTRIES).unwrap_or(usize::MAX) {
                let limit = u64::from(image::limits::ENTRIES);
                return Err(image::ImageError::Limit { what: "files, directories and links", limit }.into());
            }
            found.push(Found { path: child, kind, executable: stat.st_mode & 0o111 != 0 });
        }
    }
    found.sort_unstable_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    Ok(found)
}

/// Digest of an image's tree, as `image::tree` defines it.
///
/// # Errors
/// Something that no image holds, or a file that cannot be read.
pub fn image_digest(root: BorrowedFd<'_>) -> Result<HashResult, PorterError> {
    let mut hasher = TreeHasher::default();
    let mut buffer = vec![0u8; limits::STEP_BYTES];
    let mut bytes = 0u64;
    let found = walk(root)?;
    for Found { path, kind, executable } in &found {
        match kind {
            FileType::Directory => hasher.add(path, &Node::Directory)?,
            FileType::Symlink => {
                let (above, name) = path.rsplit_once('/').unwrap_or((".", path));
                let parent =
                    tree::open_dir(root, above).map_err(PorterError::io("opening directory", above))?;
                let target = rustix::fs::readlinkat(&parent, name, Vec::new())
                    .map_err(PorterError::io("reading link", path))?;
                hasher.add(path, &Node::Symlink { target: target.to_bytes() })?;
            }
            _ => {
                let file = open(root, path)?;
                let (size, digest) = hash::content(file.as_fd(), path, &mut buffer)?;
                bytes = bytes.saturating_add(size);
                hasher.add(path, &Node::File { size, digest, executable: *executable })?;
            }
        }
    }
    let files = u32::try_from(found.len()).unwrap_or(u32::MAX);
    Ok(HashResult { manifest: hasher.finish(), files, bytes })
}

/// The packages of an image, sorted, [`image::limits::PACKAGES`] at most.
pub(crate) fn installed(root: BorrowedFd<'_>) -> Result<Vec<Package>, PorterError> {
    let mut all: Vec<Package> = Vec::new();
    for found in walk(root)? {
        all.extend(packages::python(&found.path));
        let read: fn(&str) -> Vec<Package> = match found.path.as_str() {
            packages::DPKG => packages::dpkg,
            packages::APK | packages::APK_MERGED => packages::apk,
            _ => continue,
        };
        if found.kind == FileType::RegularFile {
            let mut text = Vec::new();
            let file = std::fs::File::from(open(root, &found.path)?);
            file.take(image::limits::PACKAGE_LIST_BYTES)
                .read_to_end(&mut text)
                .map_err(|source| PorterError::Io { doing: "reading", path: found.path.clone(), source })?;
            all.extend(read(&String::from_utf8_lossy(&text)));
        }
    }
    all.sort();
    all.dedup();
    all.truncate(image::limits::PACKAGES);
    Ok(all)
}

fn open(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, PorterError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    tree::open(root, path, flags, Mode::empty()).map_err(PorterError::io("opening", path))
}
