//! The files of a model, found and read beneath one directory: each byte once, by several threads, through no link
//! and no second file system. A file that changes between being found and having been read is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use integrity::oms::{FileDigest, FileHasher, Measured, Serialization};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::CliError;
use crate::progress::Progress;
use crate::walk::{DEPTH_MAX, FILES_MAX, NAMES_MAX};

/// Most threads that hash: one for each core, up to where disks are slower.
const THREADS_MAX: usize = 16;
/// Bytes read at a time: large enough that the read call costs nothing beside the hash.
const CHUNK: usize = 1 << 20;

/// What becomes of symbolic links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// A link refuses the model.
    Refuse,
    /// A link to a regular file is read under the link's name, wherever the file is.
    Follow,
}

/// A directory, or a single file, as it was found.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    /// Whether `root` is the one file.
    single: bool,
    /// The directory, if it is one.
    dir: Option<OwnedFd>,
    links: Links,
    /// In the order of their names.
    pub(crate) files: Vec<Found>,
    /// Directories without an entry.
    pub(crate) empty_directories: BTreeSet<String>,
}

/// Digests by file and part, and the first failure.
type Progressed = (BTreeMap<(usize, usize), FileDigest>, Option<CliError>);

/// A regular file.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Path relative to the tree, `/`-separated.
    pub(crate) name: String,
    identity: Identity,
}

/// What stays the same as long as a file is not written to: nobody but the kernel sets the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

impl Tree {
    /// Finds the files below `root`.
    ///
    /// # Errors
    /// A link (unless followed), device, pipe or socket, a file with a second name, another file system, a name that
    /// is not UTF-8, no file at all, too many.
    pub(crate) fn open(root: &Path, links: Links) -> Result<Self, CliError> {
        let meta = std::fs::metadata(root).map_err(CliError::file("read", root))?;
        let mut tree = Self {
            root: root.to_owned(),
            single: !meta.is_dir(),
            dir: None,
            links,
            files: Vec::new(),
            empty_directories: BTreeSet::new(),
        };
        if meta.is_dir() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir = rustix::fs::open(root, flags, Mode::empty()).map_err(CliError::file("open", root))?;
            tree.descend(dir.as_fd(), "", 0)?;
            tree.dir = Some(dir);
        } else {
            let name = root.file_name().and_then(|n| n.to_str()).ok_or_else(|| not_utf8(root))?.to_owned();
            let meta = tree.file(None, &name)?.1;
            tree.files.push(Found { name, identity: Identity::of(&meta) });
        }
        if tree.files.is_empty() {
            return Err(CliError::Empty(root.to_owned()));
        }
        let names = tree.files.iter().map(|f| f.name.len()).fold(0, usize::saturating_add);
        if names > NAMES_MAX {
            return Err(tree.too_many(format!("names of {names} bytes together, at most {NAMES_MAX}")));
        }
        tree.files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tree)
    }

    /// Whether it is a file and no directory.
    pub(crate) const fn is_single(&self) -> bool {
        self.single
    }

    fn too_many(&self, reason: String) -> CliError {
        CliError::TooMany { path: self.root.clone(), reason }
    }

    fn path(&self, name: &str) -> PathBuf {
        if self.single { self.root.clone() } else { self.root.join(name) }
    }

    fn descend(&mut self, dir: BorrowedFd<'_>, prefix: &str, depth: usize) -> Result<(), CliError> {
        let here = self.root.join(prefix);
        if depth > DEPTH_MAX {
            return Err(self.too_many(format!("deeper than {DEPTH_MAX} directories")));
        }
        let mut empty = true;
        let entries = rustix::fs::Dir::read_from(dir).map_err(CliError::file("read", &here))?;
        for entry in entries {
            let entry = entry.map_err(CliError::file("read", &here))?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            empty = false;
            let name = name.to_str().map_err(|_| not_utf8(&here.join(name.to_string_lossy().as_ref())))?;
            let full = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
            let at = self.root.join(&full);
            // Looked at without being opened, so that a pipe or a device does nothing.
            let found = self.beneath(dir, name, OFlags::PATH).map_err(|e| refused(&at, e))?;
            let kind = File::from(found).metadata().map_err(CliError::file("read", &at))?;
            if kind.is_dir() {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                let below = self.beneath(dir, name, flags).map_err(|e| refused(&at, e))?;
                self.descend(below.as_fd(), &full, depth.saturating_add(1))?;
                continue;
            }
            if self.files.len() >= FILES_MAX {
                return Err(self.too_many(format!("more than {FILES_MAX} files")));
            }
            // A link is read for what it leads to, where that is wanted.
            let meta = if kind.is_symlink() && self.links == Links::Follow {
                std::fs::metadata(&at).map_err(CliError::file("read", &at))?
            } else {
                kind
            };
            regular(&at, &meta)?;
            self.files.push(Found { name: full, identity: Identity::of(&meta) });
        }
        if empty && !prefix.is_empty() {
            self.empty_directories.insert(prefix.to_owned());
        }
        Ok(())
    }

    /// Opens beneath a directory of the tree: no link, no other file system.
    fn beneath(&self, dir: BorrowedFd<'_>, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let how = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat2(dir, name, flags, Mode::empty(), how)
    }

    /// Opens a file of the tree for reading.
    fn file(&self, dir: Option<BorrowedFd<'_>>, name: &str) -> Result<(File, Metadata), CliError> {
        let at = self.path(name);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let opened = match (dir, self.links) {
            (Some(dir), Links::Refuse) => self.beneath(dir, name, flags),
            (None, Links::Refuse) => {
                rustix::fs::open(&at, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            }
            (_, Links::Follow) => rustix::fs::open(&at, flags | OFlags::CLOEXEC, Mode::empty()),
        };
        let file = File::from(opened.map_err(|e| refused(&at, e))?);
        let meta = file.metadata().map_err(CliError::file("read", &at))?;
        regular(&at, &meta)?;
        Ok((file, meta))
    }

    /// Bytes of these files together.
    pub(crate) fn total(files: &[Found]) -> u64 {
        files.iter().map(|f| f.identity.size).fold(0, u64::saturating_add)
    }

    /// Reads these files of the tree once and measures them.
    ///
    /// # Errors
    /// One cannot be read, or is not as it was found.
    pub(crate) fn measure(
        &self,
        files: &[Found],
        serialization: Serialization,
        progress: &Progress,
    ) -> Result<BTreeMap<String, Measured>, CliError> {
        let mut work = Vec::new();
        for (index, file) in files.iter().enumerate() {
            let ranges = serialization.ranges(file.identity.size);
            let ranges =
                ranges.ok_or_else(|| self.too_many("more shards than a signature lists".to_owned()))?;
            work.extend(ranges.enumerate().map(|(part, range)| (index, part, range)));
        }
        // The longest first, so that all threads end together.
        work.sort_by_key(|(index, part, range)| {
            (std::cmp::Reverse(range.end.saturating_sub(range.start)), *index, *part)
        });
        let next = AtomicUsize::new(0);
        let done: Mutex<Progressed> = Mutex::default();
        let run = || {
            let mut buffer = vec![0u8; CHUNK];
            while let Some((index, part, range)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                let Some(file) = files.get(*index) else { return };
                let hasher = FileHasher::new(serialization.hash);
                let digest = self.hash(file, range.clone(), hasher, &mut buffer, progress);
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                match digest {
                    Ok(digest) => {
                        done.0.insert((*index, *part), digest);
                    }
                    Err(error) => {
                        done.1.get_or_insert(error);
                        // Nothing further is wanted.
                        next.store(work.len(), Ordering::Relaxed);
                    }
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        std::thread::scope(|scope| {
            for _ in 1..threads.min(work.len()) {
                scope.spawn(run);
            }
            run();
        });
        progress.finish();
        let (digests, failed) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = failed {
            return Err(error);
        }
        let mut out: BTreeMap<String, Measured> =
            files.iter().map(|f| (f.name.clone(), Measured::of(f.identity.size, Vec::new()))).collect();
        for ((index, _), digest) in digests {
            if let Some(measured) = files.get(index).and_then(|file| out.get_mut(&file.name)) {
                measured.digests.push(digest);
            }
        }
        Ok(out)
    }

    /// The hash of a range of a file that is as it was found, before and after.
    fn hash(
        &self,
        found: &Found,
        range: std::ops::Range<u64>,
        mut hasher: FileHasher,
        buffer: &mut [u8],
        progress: &Progress,
    ) -> Result<FileDigest, CliError> {
        let at = self.path(&found.name);
        let changed = || CliError::Changed(at.clone());
        let (file, meta) = self.file(self.dir.as_ref().map(AsFd::as_fd), &found.name)?;
        if Identity::of(&meta) != found.identity {
            return Err(changed());
        }
        let mut offset = range.start;
        while offset < range.end {
            let left = usize::try_from(range.end.saturating_sub(offset)).unwrap_or(usize::MAX);
            let most = left.min(buffer.len());
            let window = buffer.get_mut(..most).unwrap_or_default();
            let count = file.read_at(window, offset).map_err(CliError::file("read", &at))?;
            if count == 0 {
                return Err(changed());
            }
            hasher.update(window.get(..count).unwrap_or_default());
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            progress.add(count);
            offset = offset.saturating_add(count);
        }
        let meta = file.metadata().map_err(CliError::file("read", &at))?;
        if Identity::of(&meta) == found.identity { Ok(hasher.finish()) } else { Err(changed()) }
    }
}

/// A regular file with one name: through a second name it could be written to from elsewhere.
fn regular(path: &Path, meta: &Metadata) -> Result<(), CliError> {
    if !meta.is_file() {
        return Err(crate::walk::refuse(path, meta.file_type()));
    }
    if meta.nlink() != 1 {
        let what = "a file with several names (hard links)";
        return Err(CliError::NotRegular { path: path.to_owned(), what });
    }
    Ok(())
}

fn refused(path: &Path, errno: Errno) -> CliError {
    let not = |what| CliError::NotRegular { path: path.to_owned(), what };
    match errno {
        Errno::LOOP => not("a symbolic link"),
        Errno::XDEV => not("on another file system"),
        other => CliError::file("open", path)(other),
    }
}

fn not_utf8(path: &Path) -> CliError {
    CliError::NotRegular { path: path.to_owned(), what: "not named in UTF-8" }
}

#[cfg(test)]
mod tests {
    use integrity::oms::{HashType, Method};

    use super::*;
    use crate::progress::Mode as Shown;

    fn measured(
        root: &Path,
        links: Links,
        serialization: Serialization,
    ) -> Result<BTreeMap<String, Measured>, CliError> {
        let tree = Tree::open(root, links)?;
        tree.measure(&tree.files, serialization, &Progress::new(Shown::Off, "", 0))
    }

    fn plain(root: &Path) -> Result<BTreeMap<String, Measured>, CliError> {
        measured(root, Links::Refuse, Serialization::default())
    }

    #[test]
    fn files_are_measured_by_name_in_shards_as_in_whole() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::create_dir_all(dir.path().join("void/deep")).unwrap();
        let content: Vec<u8> = (0..25).collect();
        std::fs::write(dir.path().join("a/b/c"), &content).unwrap();
        std::fs::write(dir.path().join("empty"), b"").unwrap();
        let all = plain(dir.path()).unwrap();
        assert_eq!(all["a/b/c"], Measured::whole(25, HashType::Sha256.hash(&content)));
        assert_eq!(all["empty"], Measured::whole(0, HashType::Sha256.hash(b"")));
        let tree = Tree::open(dir.path(), Links::Refuse).unwrap();
        assert_eq!(tree.empty_directories.into_iter().collect::<Vec<_>>(), ["void/deep"]);
        let shards = Serialization { hash: HashType::Blake3, method: Method::Shards { size_bytes: 10 } };
        let all = measured(dir.path(), Links::Refuse, shards).unwrap();
        let parts = content.chunks(10).map(|c| HashType::Blake3.hash(c)).collect();
        assert_eq!((&all["a/b/c"], &all["empty"]), (&Measured::of(25, parts), &Measured::of(0, Vec::new())));
        // A single file is a model of one.
        let one = plain(&dir.path().join("a/b/c")).unwrap();
        assert_eq!(one.into_keys().collect::<Vec<_>>(), ["c"]);
    }

    #[test]
    fn links_pipes_second_names_and_nothing_at_all_are_refused() {
        let refused = |make: &dyn Fn(&Path)| {
            let dir = tempfile::tempdir().unwrap();
            let model = dir.path().join("model");
            std::fs::create_dir_all(model.join("sub")).unwrap();
            std::fs::write(dir.path().join("outside"), b"x").unwrap();
            std::fs::write(model.join("good"), b"x").unwrap();
            make(&model);
            match plain(&model) {
                Err(CliError::NotRegular { what, .. }) => what,
                other => panic!("{other:?}"),
            }
        };
        let link = |to: &'static str, name: &'static str| {
            refused(&move |m| std::os::unix::fs::symlink(to, m.join(name)).unwrap())
        };
        assert_eq!(link("../outside", "x"), "a symbolic link");
        assert_eq!(link("good", "x"), "a symbolic link");
        assert_eq!(link("../sub", "sub/loop"), "a symbolic link");
        assert_eq!(
            refused(&|m| std::fs::hard_link(m.join("good"), m.join("sub/twin")).unwrap()),
            "a file with several names (hard links)"
        );
        assert_eq!(
            refused(&|m| {
                let fifo = rustix::fs::FileType::Fifo;
                rustix::fs::mknodat(rustix::fs::CWD, m.join("f"), fifo, Mode::RUSR, 0).unwrap();
            }),
            "a pipe"
        );
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(plain(dir.path()), Err(CliError::Empty(_))));
        assert!(matches!(plain(&dir.path().join("none")), Err(CliError::File { .. })));
        assert!(matches!(plain(Path::new("/dev/null")), Err(CliError::NotRegular { .. })));
    }

    #[test]
    fn links_are_read_where_they_are_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("model");
        std::fs::create_dir(&model).unwrap();
        std::fs::write(dir.path().join("blob"), b"x").unwrap();
        std::os::unix::fs::symlink("../blob", model.join("w")).unwrap();
        let all = measured(&model, Links::Follow, Serialization::default()).unwrap();
        assert_eq!(all["w"], Measured::whole(1, HashType::Sha256.hash(b"x")));
        // Never a directory, and never into nothing.
        std::os::unix::fs::symlink("..", model.join("up")).unwrap();
        assert!(measured(&model, Links::Follow, Serialization::default()).is_err());
    }

    #[test]
    fn a_file_that_is_not_as_it_was_found_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("w");
        std::fs::write(&at, b"before").unwrap();
        let progress = Progress::new(Shown::Off, "", 0);
        type Edit = fn(&Path);
        let edits: [Edit; 4] = [
            |at| std::fs::write(at, b"after!").unwrap(),
            |at| std::fs::write(at, b"longer than before").unwrap(),
            |at| {
                // The same bytes and time in another file.
                let times = std::fs::metadata(at).unwrap();
                let other = at.with_file_name("other");
                std::fs::write(&other, b"before").unwrap();
                let file = File::options().write(true).open(&other).unwrap();
                file.set_modified(times.modified().unwrap()).unwrap();
                std::fs::rename(&other, at).unwrap();
            },
            |at| {
                std::fs::remove_file(at).unwrap();
                std::os::unix::fs::symlink("/etc/hostname", at).unwrap();
            },
        ];
        for (i, edit) in edits.into_iter().enumerate() {
            let tree = Tree::open(dir.path(), Links::Refuse).unwrap();
            edit(&at);
            let refused = tree.measure(&tree.files, Serialization::default(), &progress);
            let expected = matches!(refused, Err(CliError::Changed(_) | CliError::NotRegular { .. }));
            assert!(expected, "{i}: {refused:?}");
        }
    }
}
