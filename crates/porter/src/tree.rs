//! Directories of a job, whose every name is untrusted: nothing is followed through a link or out of its root.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::PorterError;
use crate::limits;

/// A plain file below a root, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Relative path with `/`.
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) mtime_ms: u64,
    /// Inode, size, and times to the nanosecond: equal means unchanged.
    pub(crate) version: [u64; 6],
}

impl Entry {
    fn of(path: String, stat: &Stat) -> Self {
        let number = |v: i64| u64::try_from(v).unwrap_or(0);
        let size = number(stat.st_size);
        let (seconds, nanos) = (number(stat.st_mtime), stat.st_mtime_nsec);
        let mtime_ms = seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000);
        let version = [stat.st_ino, size, seconds, nanos, number(stat.st_ctime), stat.st_ctime_nsec];
        Self { path, size, mtime_ms, version }
    }
}

/// What people may see of a name that a job chose.
pub(crate) fn printable(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

/// Opens below `dir`: no links, no other mounts, no way out.
pub(crate) fn open(dir: BorrowedFd<'_>, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let how = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    // The kernel says "again" when a rename elsewhere raced with the look-up.
    for _ in 0..16 {
        match rustix::fs::openat2(dir, path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, mode, how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Opens a directory below `dir`.
pub(crate) fn open_dir(dir: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    open(dir, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

/// Opens a file for reading and makes sure that it is a plain one with one name; never waits.
pub(crate) fn open_file(dir: BorrowedFd<'_>, path: &str) -> Result<(OwnedFd, Entry), PorterError> {
    let doing = "opening";
    let fd = open(dir, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty()).map_err(
        |errno| if errno == Errno::LOOP { kind(path, "a link") } else { PorterError::io(doing, path)(errno) },
    )?;
    let stat = rustix::fs::fstat(&fd).map_err(PorterError::io("looking at", path))?;
    plain(path, &stat)?;
    Ok((fd, Entry::of(path.to_owned(), &stat)))
}

fn kind(path: &str, what: &'static str) -> PorterError {
    PorterError::Kind { path: path.to_owned(), what }
}

fn plain(path: &str, stat: &Stat) -> Result<(), PorterError> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if stat.st_nlink == 1 => Ok(()),
        FileType::RegularFile => Err(kind(path, "a file with several names (hard links)")),
        FileType::Symlink => Err(kind(path, "a link")),
        FileType::Fifo => Err(kind(path, "a pipe")),
        FileType::Socket => Err(kind(path, "a socket")),
        FileType::Directory => Err(kind(path, "a directory")),
        _ => Err(kind(path, "a device")),
    }
}

/// What one name in a directory is.
#[derive(Debug)]
pub(crate) enum Named {
    File(Entry),
    Directory(String),
    /// Neither; why not.
    Other(PorterError),
}

/// The names of one directory, in order. `prefix` is its path below the root, empty or ending in `/`.
pub(crate) fn list(dir: BorrowedFd<'_>, prefix: &str) -> Result<Vec<Named>, PorterError> {
    let reading = "reading directory";
    let mut names = Vec::new();
    // The warden gives mounts as `O_PATH`, which cannot be read themselves.
    let readable = open_dir(dir, ".").map_err(PorterError::io(reading, prefix))?;
    for entry in Dir::read_from(&readable).map_err(PorterError::io(reading, prefix))? {
        let entry = entry.map_err(PorterError::io(reading, prefix))?;
        let bytes = entry.file_name().to_bytes();
        if bytes == b"." || bytes == b".." {
            continue;
        }
        if names.len() >= limits::WALK_FILES_MAX {
            return Err(limit(prefix, "names in a directory", limits::WALK_FILES_MAX));
        }
        let Ok(name) = std::str::from_utf8(bytes) else {
            names.push(Named::Other(kind(
                &format!("{prefix}{}", String::from_utf8_lossy(bytes)),
                "not UTF-8",
            )));
            continue;
        };
        let path = format!("{prefix}{name}");
        if path.len() > limits::PATH_MAX {
            return Err(limit(&path, "length of a path", limits::PATH_MAX));
        }
        let stat = match rustix::fs::statat(dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            // Gone since it was listed.
            Err(Errno::NOENT) => continue,
            other => other.map_err(PorterError::io("looking at", &path))?,
        };
        names.push(match plain(&path, &stat) {
            Ok(()) => Named::File(Entry::of(path, &stat)),
            Err(_) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Named::Directory(path),
            Err(error) => Named::Other(error),
        });
    }
    Ok(names)
}

fn limit(path: &str, what: &'static str, limit: usize) -> PorterError {
    PorterError::Limit { path: path.to_owned(), what, limit: u64::try_from(limit).unwrap_or(u64::MAX) }
}

/// Every file below `root`/`start` (all of it if empty), sorted by path bytes; anything but directories and plain
/// files with one name is refused.
pub(crate) fn walk(root: BorrowedFd<'_>, start: &str, files_max: usize) -> Result<Vec<Entry>, PorterError> {
    let mut files = Vec::new();
    let mut open_paths = vec![start.to_owned()];
    while let Some(path) = open_paths.pop() {
        let (fd, prefix);
        let dir = if path.is_empty() {
            prefix = String::new();
            root
        } else {
            fd = open_dir(root, &path).map_err(PorterError::io("opening directory", &path))?;
            prefix = format!("{path}/");
            fd.as_fd()
        };
        for named in list(dir, &prefix)? {
            match named {
                Named::File(entry) => files.push(entry),
                Named::Directory(path) if path.split('/').count() > limits::DEPTH_MAX => {
                    return Err(limit(&path, "depth of directories", limits::DEPTH_MAX));
                }
                Named::Directory(path) => open_paths.push(path),
                Named::Other(error) => return Err(error),
            }
            if files.len() > files_max || open_paths.len() > limits::WALK_FILES_MAX {
                return Err(limit(&path, "files", files_max));
            }
        }
    }
    files.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    Ok(files)
}

/// Whether a path that control named may be made: relative, plain, short, not deep.
pub(crate) fn check_path(path: &str) -> Result<(), PorterError> {
    let good = !path.is_empty()
        && path.len() <= limits::PATH_MAX
        && !path.contains('\0')
        && path.split('/').all(|part| !matches!(part, "" | "." | "..") && part.len() <= 255)
        && path.split('/').count() <= limits::DEPTH_MAX;
    if good { Ok(()) } else { Err(PorterError::Path(path.to_owned())) }
}

/// Makes an empty file that did not exist, and the directories above it.
pub(crate) fn create(root: BorrowedFd<'_>, path: &str, mode: u32) -> Result<OwnedFd, PorterError> {
    check_path(path)?;
    for (at, _) in path.match_indices('/') {
        let above = path.get(..at).unwrap_or_default();
        make_dir(root, above).map_err(PorterError::io("making directory", above))?;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    open(root, path, flags, Mode::from_raw_mode(mode)).map_err(PorterError::io("making", path))
}

/// One directory whose parent exists; it may exist.
fn make_dir(root: BorrowedFd<'_>, path: &str) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(0o755);
    let made = match path.rsplit_once('/') {
        None => rustix::fs::mkdirat(root, path, mode),
        Some((parent, name)) => rustix::fs::mkdirat(open_dir(root, parent)?, name, mode),
    };
    match made {
        Err(Errno::EXIST) => open_dir(root, path).map(|_| ()),
        other => other,
    }
}

/// Removes a file below `root`.
pub(crate) fn remove(root: BorrowedFd<'_>, path: &str) -> Result<(), Errno> {
    match path.rsplit_once('/') {
        None => rustix::fs::unlinkat(root, path, AtFlags::empty()),
        Some((parent, name)) => rustix::fs::unlinkat(open_dir(root, parent)?, name, AtFlags::empty()),
    }
}

/// Removes everything below `dir`, whatever it is; links are removed, not followed.
pub(crate) fn empty(dir: BorrowedFd<'_>, depth: usize) -> Result<(), PorterError> {
    let doing = "emptying";
    if depth > limits::DEPTH_MAX {
        return Err(limit("", "depth of directories", limits::DEPTH_MAX));
    }
    for entry in Dir::read_from(dir).map_err(PorterError::io(doing, ""))? {
        let entry = entry.map_err(PorterError::io(doing, ""))?;
        let name = entry.file_name();
        let bytes = name.to_bytes();
        if bytes == b"." || bytes == b".." {
            continue;
        }
        let shown = name.to_string_lossy();
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(PorterError::io(doing, &shown)(errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let below =
            rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(PorterError::io(doing, &shown))?;
        empty(below.as_fd(), depth.saturating_add(1))?;
        rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR).map_err(PorterError::io(doing, &shown))?;
    }
    Ok(())
}

/// Reads at an offset until the buffer is full or the file ends; how much was read.
pub(crate) fn read_at(fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0usize;
    while let Some(space) = buffer.get_mut(filled..).filter(|s| !s.is_empty()) {
        let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
        match rustix::io::pread(fd, space, at) {
            Ok(0) => break,
            Ok(count) => filled = filled.saturating_add(count),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(filled)
}

/// Writes all of `bytes` at an offset.
pub(crate) fn write_at(fd: BorrowedFd<'_>, mut bytes: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(fd, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                bytes = bytes.get(count..).unwrap_or_default();
                offset = offset.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
