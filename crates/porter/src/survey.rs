//! What an unpacked image is: the digest of its tree, and the packages that it says it holds.

use std::collections::HashMap;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use base::Digest;
use image::packages::{self, Package};
use image::tree::{Node, TreeHasher};
use ops::porter::HashResult;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};

use crate::{PorterError, hash, limits, tree};

/// One name in the tree.
struct Found {
    path: String,
    kind: FileType,
    executable: bool,
    /// Its number, where it has several names.
    shared: Option<u64>,
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
            let several = kind == FileType::RegularFile && stat.st_nlink > 1;
            let shared = several.then_some(stat.st_ino);
            found.push(Found { path: child, kind, executable: stat.st_mode & 0o111 != 0, shared });
        }
    }
    check_top(&found)?;
    found.sort_unstable_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    Ok(found)
}

/// What the sandbox could not show is said now, and not when a job starts.
fn check_top(found: &[Found]) -> Result<(), PorterError> {
    let below = |prefix: &str| {
        found.iter().filter(|f| f.path.strip_prefix(prefix).is_some_and(|rest| !rest.contains('/'))).count()
    };
    if below("") <= image::limits::TOP && below("opt/") <= image::limits::TOP {
        return Ok(());
    }
    let limit = u64::try_from(image::limits::TOP).unwrap_or(u64::MAX);
    Err(image::ImageError::Limit { what: "names at its top or in `/opt`", limit }.into())
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
    // A file with many names is read once.
    let mut known: HashMap<u64, (u64, Digest)> = HashMap::new();
    for Found { path, kind, executable, shared } in &found {
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
                let (size, digest) = match shared.and_then(|number| known.get(&number)) {
                    Some(content) => *content,
                    None => hash::content(open(root, path)?.as_fd(), path, &mut buffer)?,
                };
                if let Some(number) = shared {
                    known.insert(*number, (size, digest));
                }
                bytes = bytes.saturating_add(size);
                hasher.add(path, &Node::File { size, digest, executable: *executable })?;
            }
        }
    }
    let files = u32::try_from(found.len()).unwrap_or(u32::MAX);
    Ok(HashResult { manifest: hasher.finish(), files, bytes })
}

/// What an image says of itself.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// Its system: id and name for people.
    pub(crate) system: Option<(String, String)>,
    /// Its packages, sorted.
    pub(crate) packages: Vec<Package>,
}

/// Reads what an image says of itself.
pub(crate) fn said(root: BorrowedFd<'_>) -> Result<Said, PorterError> {
    let mut said = Said::default();
    let mut bytes_left = image::limits::PACKAGE_LIST_BYTES;
    for found in walk(root)? {
        said.packages.extend(packages::python(&found.path));
        let read: fn(&str) -> Vec<Package> = match found.path.as_str() {
            packages::DPKG => packages::dpkg,
            packages::APK | packages::APK_MERGED => packages::apk,
            path if path.starts_with(packages::DPKG_PARTS) && !path.ends_with(".md5sums") => {
                packages::dpkg_part
            }
            _ => {
                check_count(&said.packages)?;
                continue;
            }
        };
        if found.kind == FileType::RegularFile {
            let text = text(root, &found.path, bytes_left)?;
            bytes_left = bytes_left.saturating_sub(u64::try_from(text.len()).unwrap_or(u64::MAX));
            said.packages.extend(read(&text));
            check_count(&said.packages)?;
        }
    }
    said.packages.sort();
    said.packages.dedup();
    for path in packages::OS_RELEASE {
        if said.system.is_none() {
            // It may be a link, which a system with this root would follow inside it.
            let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            if let Ok(file) = rustix::fs::openat2(root, path, flags, Mode::empty(), how) {
                let mut bytes = Vec::new();
                let read = std::fs::File::from(file).take(limits::OS_RELEASE_BYTES).read_to_end(&mut bytes);
                said.system = read.ok().and_then(|_| packages::os_release(&String::from_utf8_lossy(&bytes)));
            }
        }
    }
    Ok(said)
}

fn check_count(packages: &[Package]) -> Result<(), PorterError> {
    if packages.len() <= image::limits::PACKAGES {
        return Ok(());
    }
    let limit = u64::try_from(image::limits::PACKAGES).unwrap_or(u64::MAX);
    Err(image::ImageError::Limit { what: "packages", limit }.into())
}

fn text(root: BorrowedFd<'_>, path: &str, most: u64) -> Result<String, PorterError> {
    let mut bytes = Vec::new();
    let read = std::fs::File::from(open(root, path)?).take(most.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|source| PorterError::Io { doing: "reading", path: path.to_owned(), source })?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
        let limit = image::limits::PACKAGE_LIST_BYTES;
        return Err(image::ImageError::Limit { what: "bytes in lists of packages", limit }.into());
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn open(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, PorterError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    tree::open(root, path, flags, Mode::empty()).map_err(PorterError::io("opening", path))
}
