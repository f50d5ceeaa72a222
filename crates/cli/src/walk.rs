//! The regular files below a path, found without following a link.
//!
//! Paths are checked again when they are opened (`O_NOFOLLOW`), so a file that becomes a link in between is
//! refused and not followed.

use std::fs::{self, File, FileType};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::error::CliError;

/// Most files of a set: as many as control accepts in an import, and no more than a walk holds in memory
/// (100,000 paths of at most 4 KiB are 400 MiB; in practice below 20 MiB).
pub(crate) const FILES_MAX: usize = 100_000;
/// Most bytes of the names of a set together: as many as control accepts in an import.
pub(crate) const NAMES_MAX: usize = 16 << 20;
/// Deepest directory of a set.
pub(crate) const DEPTH_MAX: usize = 64;

/// A file of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Path relative to the set, `/`-separated.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Bytes, when it was found.
    pub(crate) size: u64,
}

/// The files below `root` in the order of their names; a single file is a set of one.
///
/// # Errors
/// A link, device, pipe or socket in the set; a name that is not UTF-8; no file at all; too many.
pub(crate) fn walk(root: &Path, skip: &[&str]) -> Result<Vec<Entry>, CliError> {
    let meta = fs::metadata(root).map_err(CliError::file("read", root))?;
    let mut files = Vec::new();
    if meta.is_file() {
        let name = root.file_name().and_then(|n| n.to_str()).ok_or_else(|| not_utf8(root))?;
        files.push(Entry { name: name.to_owned(), path: root.to_owned(), size: meta.len() });
    } else if meta.is_dir() {
        descend(root, "", 0, skip, &mut files)?;
    } else {
        return Err(refuse(root, meta.file_type()));
    }
    if files.is_empty() {
        return Err(CliError::Empty(root.to_owned()));
    }
    let names = files.iter().map(|f| f.name.len()).fold(0, usize::saturating_add);
    if names > NAMES_MAX {
        let reason = format!("names of {names} bytes together, at most {NAMES_MAX}");
        return Err(CliError::TooMany { path: root.to_owned(), reason });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn descend(
    dir: &Path,
    prefix: &str,
    depth: usize,
    skip: &[&str],
    out: &mut Vec<Entry>,
) -> Result<(), CliError> {
    if depth > DEPTH_MAX {
        return Err(CliError::TooMany {
            path: dir.to_owned(),
            reason: format!("deeper than {DEPTH_MAX} directories"),
        });
    }
    for entry in fs::read_dir(dir).map_err(CliError::file("read", dir))? {
        let entry = entry.map_err(CliError::file("read", dir))?;
        let path = entry.path();
        let name = entry.file_name().into_string().map_err(|_| not_utf8(&path))?;
        if skip.contains(&name.as_str()) {
            continue;
        }
        let kind = entry.file_type().map_err(CliError::file("read", &path))?;
        let full = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        if kind.is_dir() {
            descend(&path, &full, depth.saturating_add(1), skip, out)?;
        } else if kind.is_file() {
            let size = entry.metadata().map_err(CliError::file("read", &path))?.len();
            if out.len() >= FILES_MAX {
                return Err(CliError::TooMany {
                    path: dir.to_owned(),
                    reason: format!("more than {FILES_MAX} files"),
                });
            }
            out.push(Entry { name: full, path, size });
        } else {
            return Err(refuse(&path, kind));
        }
    }
    Ok(())
}

/// Opens a file of a set for reading; a link in its place is refused.
///
/// # Errors
/// It is not a regular file any more, or cannot be read.
pub(crate) fn open(path: &Path) -> Result<File, CliError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
        rustix::io::Errno::LOOP => CliError::NotRegular { path: path.to_owned(), what: "a symbolic link" },
        other => CliError::file("open", path)(other),
    })?;
    let file = File::from(fd);
    let kind = file.metadata().map_err(CliError::file("read", path))?.file_type();
    if kind.is_file() { Ok(file) } else { Err(refuse(path, kind)) }
}

fn not_utf8(path: &Path) -> CliError {
    CliError::NotRegular { path: path.to_owned(), what: "not named in UTF-8" }
}

/// What a thing is that is neither a regular file nor a directory.
pub(crate) fn refuse(path: &Path, kind: FileType) -> CliError {
    let what = match kind {
        k if k.is_symlink() => "a symbolic link",
        k if k.is_fifo() => "a pipe",
        k if k.is_socket() => "a socket",
        k if k.is_block_device() || k.is_char_device() => "a device",
        k if k.is_dir() => "a directory",
        _ => "not a regular file",
    };
    CliError::NotRegular { path: path.to_owned(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_in_the_order_of_their_names_with_relative_paths() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("b")).unwrap();
        for name in ["b/2", "a", "b/1", "skip"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let names: Vec<_> = walk(dir.path(), &["skip"]).unwrap().into_iter().map(|e| e.name).collect();
        assert_eq!(names, ["a", "b/1", "b/2"]);
    }

    #[test]
    fn links_pipes_and_empty_sets_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(walk(dir.path(), &[]), Err(CliError::Empty(_))));
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("x")).unwrap();
        assert!(matches!(walk(dir.path(), &[]), Err(CliError::NotRegular { what: "a symbolic link", .. })));
        assert!(matches!(open(&dir.path().join("x")), Err(CliError::NotRegular { .. })));
        assert!(matches!(open(Path::new("/dev/null")), Err(CliError::NotRegular { what: "a device", .. })));
        fs::remove_file(dir.path().join("x")).unwrap();
        let fifo = dir.path().join("f");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(matches!(walk(dir.path(), &[]), Err(CliError::NotRegular { what: "a pipe", .. })));
        assert!(open(&fifo).is_err());
    }
}
