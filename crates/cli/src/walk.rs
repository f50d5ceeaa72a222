//! The regular files below a path, found without following a link.
//!
//! Paths are checked again when they are opened (`O_NOFOLLOW`), so a file that becomes a link in between is
//! refused and not followed.

use std::fs::{self, File, FileType};
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

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
    /// Whether no part of the path may be a link: it was made of a link's words.
    pub(crate) exact: bool,
}

impl Entry {
    /// Opens the file as it was found; a link in its place is refused.
    ///
    /// # Errors
    /// It is not a regular file any more, or cannot be read.
    pub(crate) fn open(&self) -> Result<File, CliError> {
        if self.exact { open_exact(&self.path) } else { open(&self.path) }
    }
}

/// Something of a set that is no file, by its name, and why it is not read.
#[derive(Debug)]
pub(crate) struct Odd {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) why: CliError,
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
        files.push(Entry { name: name.to_owned(), path: root.to_owned(), size: meta.len(), exact: false });
    } else if meta.is_dir() {
        let mut refused = |odd: Odd| Err(odd.why);
        descend(root, "", 0, skip, &mut files, &mut refused)?;
    } else {
        return Err(refuse(root, meta.file_type()));
    }
    if files.is_empty() {
        return Err(CliError::Empty(root.to_owned()));
    }
    in_order(root, files)
}

fn in_order(root: &Path, mut files: Vec<Entry>) -> Result<Vec<Entry>, CliError> {
    let names = files.iter().map(|f| f.name.len()).fold(0, usize::saturating_add);
    if names > NAMES_MAX {
        let reason = format!("names of {names} bytes together, at most {NAMES_MAX}");
        return Err(CliError::TooMany { path: root.to_owned(), reason });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// The files below `root` as a user has them: a link of a snapshot of a Hugging Face cache is the blob of the same
/// repository that it names; whatever else is no file is told and not followed.
///
/// # Errors
/// Nothing there at all; too many; a directory that cannot be read.
pub(crate) fn survey(root: &Path) -> Result<(Vec<Entry>, Vec<Odd>), CliError> {
    if !fs::metadata(root).map_err(CliError::file("read", root))?.is_dir() {
        return Ok((
            linked_file(root)?.map_or_else(|| walk(root, &[]), |entry| Ok(vec![entry]))?,
            Vec::new(),
        ));
    }
    let full = fs::canonicalize(root).map_err(CliError::file("read", root))?;
    let (mut files, mut blobs, mut odd) = (Vec::new(), Vec::new(), Vec::new());
    let mut told = |found: Odd| {
        if blobs.len() + odd.len() >= FILES_MAX {
            let reason = format!("more than {FILES_MAX} files");
            return Err(CliError::TooMany { path: root.to_owned(), reason });
        }
        match blob(&found) {
            Some(entry) => blobs.push(entry),
            None => odd.push(found),
        }
        Ok(())
    };
    descend(&full, "", 0, &[], &mut files, &mut told)?;
    files.append(&mut blobs);
    if files.is_empty() && odd.is_empty() {
        return Err(CliError::Empty(root.to_owned()));
    }
    Ok((in_order(root, files)?, odd))
}

/// One file of a snapshot, given by the name of its link.
fn linked_file(root: &Path) -> Result<Option<Entry>, CliError> {
    let kind = fs::symlink_metadata(root).map_err(CliError::file("read", root))?.file_type();
    let (Some(name), true) = (root.file_name().and_then(|name| name.to_str()), kind.is_symlink()) else {
        return Ok(None);
    };
    let directory = root.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = fs::canonicalize(directory).map_err(CliError::file("read", directory))?;
    let path = directory.join(name);
    Ok(blob(&Odd { name: name.to_owned(), why: refuse(&path, kind), path }))
}

/// The blob that a link of a snapshot names, where it is one: `REPOSITORY/snapshots/REVISION/..` to
/// `REPOSITORY/blobs/NAME`.
fn blob(found: &Odd) -> Option<Entry> {
    let snapshots = found.path.ancestors().find(|part| part.file_name().is_some_and(|n| n == "snapshots"))?;
    let path = blob_of(&found.path, &snapshots.parent()?.join("blobs")).ok()?;
    let size = open_exact(&path).ok()?.metadata().ok()?.len();
    Some(Entry { name: found.name.clone(), path, size, exact: true })
}

/// The blob that a link of a snapshot names: directly below `blobs`, by whichever way. By its words alone: no link on
/// the way is followed.
///
/// # Errors
/// It leads elsewhere, or is no link.
pub(crate) fn blob_of(link: &Path, blobs: &Path) -> Result<PathBuf, CliError> {
    let refuse = || CliError::NotRegular {
        path: link.to_owned(),
        what: "a link that leads out of the blobs of its repository",
    };
    let target = fs::read_link(link).map_err(CliError::file("read", link))?;
    let mut at = if target.is_absolute() {
        PathBuf::from("/")
    } else {
        link.parent().map(Path::to_owned).unwrap_or_default()
    };
    for part in target.components() {
        match part {
            Component::Normal(name) => at.push(name),
            Component::ParentDir if !at.pop() => return Err(refuse()),
            Component::ParentDir | Component::CurDir | Component::RootDir => {}
            Component::Prefix(_) => return Err(refuse()),
        }
    }
    if at.parent() == Some(blobs) && at.file_name().is_some() { Ok(at) } else { Err(refuse()) }
}

fn descend(
    dir: &Path,
    prefix: &str,
    depth: usize,
    skip: &[&str],
    out: &mut Vec<Entry>,
    odd: &mut dyn FnMut(Odd) -> Result<(), CliError>,
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
            descend(&path, &full, depth.saturating_add(1), skip, out, odd)?;
        } else if kind.is_file() {
            let size = entry.metadata().map_err(CliError::file("read", &path))?.len();
            if out.len() >= FILES_MAX {
                return Err(CliError::TooMany {
                    path: dir.to_owned(),
                    reason: format!("more than {FILES_MAX} files"),
                });
            }
            out.push(Entry { name: full, path, size, exact: false });
        } else {
            let why = refuse(&path, kind);
            odd(Odd { name: full, path, why })?;
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

/// The same, and no part of the path is a link.
fn open_exact(path: &Path) -> Result<File, CliError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let fd = rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), resolve);
    let file = File::from(fd.map_err(|errno| match errno {
        rustix::io::Errno::LOOP => CliError::NotRegular { path: path.to_owned(), what: "a symbolic link" },
        other => CliError::file("open", path)(other),
    })?);
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

    #[test]
    fn a_survey_takes_links_to_blobs_of_their_repository_and_tells_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let repository = dir.path().join("models--a--b");
        let snapshot = repository.join("snapshots/0a1b");
        fs::create_dir_all(snapshot.join("sub")).unwrap();
        fs::create_dir_all(repository.join("blobs")).unwrap();
        fs::create_dir_all(dir.path().join("models--c--d/blobs")).unwrap();
        fs::write(repository.join("blobs/one"), "{}").unwrap();
        fs::write(dir.path().join("models--c--d/blobs/one"), "other").unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, snapshot.join(name)).unwrap();
        link("../../blobs/one", "config.json");
        link("../../../blobs/one", "sub/deep.json");
        let whole = repository.join("blobs/one");
        link(whole.to_str().unwrap(), "whole.json");
        let names = |found: &[Entry]| found.iter().map(|e| e.name.clone()).collect::<Vec<_>>();
        for (root, prefix) in [(&snapshot, ""), (&repository, "snapshots/0a1b/")] {
            let (files, odd) = survey(root).unwrap();
            let wanted = ["config.json", "sub/deep.json", "whole.json"].map(|name| format!("{prefix}{name}"));
            let linked: Vec<_> = files.into_iter().filter(|e| e.exact).collect();
            assert_eq!((names(&linked), odd.len()), (wanted.to_vec(), 0));
            assert!(linked.iter().all(|e| e.size == 2 && e.open().is_ok()));
        }
        // Elsewhere, through a link, into another repository, to nothing, to itself.
        std::os::unix::fs::symlink(dir.path(), repository.join("blobs/up")).unwrap();
        std::os::unix::fs::symlink("../../secret", repository.join("blobs/again")).unwrap();
        for (at, to) in [
            "../../../secret",
            "../../blobs/up/secret",
            "../../blobs/again",
            "../../../models--c--d/blobs/one",
            "../../blobs/none",
            "odd-5",
            "../../blobs",
            "/etc/passwd",
        ]
        .iter()
        .enumerate()
        {
            link(to, &format!("odd-{at}"));
        }
        let (files, odd) = survey(&snapshot).unwrap();
        assert_eq!(names(&files), ["config.json", "sub/deep.json", "whole.json"]);
        assert_eq!(odd.len(), 8, "{odd:?}");
        assert!(
            odd.iter().all(|odd| matches!(odd.why, CliError::NotRegular { what: "a symbolic link", .. }))
        );
        // A directory that becomes a link between finding and opening is not followed.
        fs::rename(repository.join("blobs"), repository.join("moved")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("models--c--d/blobs"), repository.join("blobs")).unwrap();
        assert!(files.iter().all(|e| matches!(e.open(), Err(CliError::NotRegular { .. }))));
    }
}
