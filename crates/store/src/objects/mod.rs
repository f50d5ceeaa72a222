//! Sealed objects in a directory.
//!
//! ```text
//! ROOT/lock                     held while a process has the store open
//! ROOT/stage/N                  being written; removed at the next open
//! ROOT/objects/ab/abcd….sef     committed; the name is the object's name in hex
//! ROOT/quarantine/abcd….N       moved away because it did not verify
//! ```

mod import;
mod reader;

pub use import::{Import, Seal, Staged};
pub use reader::SefReader;

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::Digest;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags};
use vault::{Dek, KeyScope, ObjectName};

use crate::error::StoreError;
use crate::limits::FAN_OUT;

/// A directory of sealed objects. Clones share it.
#[derive(Debug, Clone)]
pub struct ObjectStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    serial: AtomicU64,
    /// Held for as long as the store is open: no second process sweeps this one's stages.
    _lock: File,
}

/// What a commit found.
#[derive(Debug)]
pub enum Commit {
    /// The object is in place, durably.
    Stored,
    /// An object of this name is there already, sealed under its own key: use that one and drop the stage, or, if
    /// no record knows its key, [`ObjectStore::discard`] it and commit again.
    Exists(Stage),
}

impl ObjectStore {
    /// Opens the store at `root`, making it if it is absent, and removes stages that a crash left behind; the
    /// second value is how many.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::Io`], [`StoreError::Full`].
    pub fn open(root: &Path) -> Result<(Self, u64), StoreError> {
        let io = || StoreError::io("make the object store");
        let make = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        make(root).map_err(io())?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(root.join("lock"))
            .map_err(io())?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|errno| match errno {
            rustix::io::Errno::WOULDBLOCK => StoreError::InUse,
            other => StoreError::os("lock the object store")(other),
        })?;
        // All directories are made before the first object, so that a commit flushes one directory only.
        for name in ["stage", "objects", "quarantine"] {
            make(&root.join(name)).map_err(io())?;
        }
        for byte in 0..FAN_OUT {
            make(&root.join("objects").join(format!("{byte:02x}"))).map_err(io())?;
        }
        sync_dir(&root.join("objects"))?;
        sync_dir(root)?;
        let store = Self(Arc::new(Inner { root: root.to_owned(), serial: AtomicU64::new(0), _lock: lock }));
        let swept = store.sweep()?;
        Ok((store, swept))
    }

    fn sweep(&self) -> Result<u64, StoreError> {
        let io = || StoreError::io("remove abandoned stages");
        let mut swept = 0u64;
        for entry in fs::read_dir(self.0.root.join("stage")).map_err(io())? {
            fs::remove_file(entry.map_err(io())?.path()).map_err(io())?;
            swept = swept.saturating_add(1);
        }
        Ok(swept)
    }

    /// An empty stage: for [`ObjectStore::import`], or for another process that fills it through
    /// [`Stage::as_fd`].
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Full`].
    pub fn create_stage(&self) -> Result<Stage, StoreError> {
        let number = self.0.serial.fetch_add(1, Ordering::Relaxed);
        let path = self.0.root.join("stage").join(number.to_string());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(StoreError::io("make a stage"))?;
        Ok(Stage { store: self.0.clone(), path, file, placed: false })
    }

    /// Begins an import: one pass that hashes, seals and writes, in bounded memory.
    ///
    /// # Errors
    /// As [`ObjectStore::create_stage`].
    pub fn import(&self, seal: Seal) -> Result<Import, StoreError> {
        Import::begin(self.create_stage()?, seal)
    }

    /// The ciphertext of an object, read-only: to hand to a process that will open it.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Io`].
    pub fn open_ciphertext(&self, name: &ObjectName) -> Result<File, StoreError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::open(self.path_of(name), flags, Mode::empty()) {
            Ok(fd) => Ok(File::from(fd)),
            Err(rustix::io::Errno::NOENT) => Err(StoreError::Missing { name: name.to_string() }),
            Err(other) => Err(StoreError::os("open an object")(other)),
        }
    }

    /// Opens and verifies an object; see [`SefReader::open`].
    ///
    /// # Errors
    /// As [`ObjectStore::open_ciphertext`] and [`SefReader::open`].
    pub fn open_object(
        &self,
        name: &ObjectName,
        dek: &Dek,
        scope: &KeyScope,
        digest: &Digest,
    ) -> Result<SefReader, StoreError> {
        SefReader::open(self.open_ciphertext(name)?, dek, scope, digest)
    }

    /// Whether the object is in place. That says nothing about its content.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn contains(&self, name: &ObjectName) -> Result<bool, StoreError> {
        self.path_of(name).try_exists().map_err(StoreError::io("look for an object"))
    }

    /// Moves an object that did not verify out of reach, and keeps it as evidence.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Io`].
    pub fn quarantine(&self, name: &ObjectName) -> Result<PathBuf, StoreError> {
        let from = self.path_of(name);
        let dir = self.0.root.join("quarantine");
        for n in 0u64.. {
            let to = dir.join(format!("{name}.{n}"));
            match rustix::fs::renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE) {
                Ok(()) => {
                    sync_dir(&dir)?;
                    sync_dir(&self.dir_of(name))?;
                    return Ok(to);
                }
                Err(rustix::io::Errno::EXIST) => {}
                Err(rustix::io::Errno::NOENT) => break,
                Err(other) => return Err(StoreError::os("quarantine an object")(other)),
            }
        }
        Err(StoreError::Missing { name: name.to_string() })
    }

    /// Removes an object for ever: one that no record needs any more, or whose key was never recorded.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Io`].
    pub fn discard(&self, name: &ObjectName) -> Result<(), StoreError> {
        match fs::remove_file(self.path_of(name)) {
            Ok(()) => sync_dir(&self.dir_of(name)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::Missing { name: name.to_string() })
            }
            Err(e) => Err(StoreError::io("remove an object")(e)),
        }
    }

    /// Every object in place, to compare with the records after a crash: an object that no record names was never
    /// acknowledged. Files with other names are not objects and are left alone.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn names(&self) -> Result<Vec<ObjectName>, StoreError> {
        let io = || StoreError::io("list the objects");
        let mut names = Vec::new();
        for dir in fs::read_dir(self.0.root.join("objects")).map_err(io())? {
            for entry in fs::read_dir(dir.map_err(io())?.path()).map_err(io())? {
                let file = entry.map_err(io())?.file_name();
                let name: Option<ObjectName> =
                    file.to_str().and_then(|f| f.strip_suffix(".sef")).and_then(|f| f.parse().ok());
                names.extend(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn dir_of(&self, name: &ObjectName) -> PathBuf {
        self.0.dir_of(name)
    }

    fn path_of(&self, name: &ObjectName) -> PathBuf {
        self.0.path_of(name)
    }
}

impl Inner {
    fn dir_of(&self, name: &ObjectName) -> PathBuf {
        let [first, ..] = name.as_bytes();
        self.root.join("objects").join(format!("{first:02x}"))
    }

    fn path_of(&self, name: &ObjectName) -> PathBuf {
        self.dir_of(name).join(format!("{name}.sef"))
    }
}

/// A file that is not an object yet. Dropped without a commit, it is gone.
#[derive(Debug)]
pub struct Stage {
    store: Arc<Inner>,
    path: PathBuf,
    file: File,
    placed: bool,
}

impl Stage {
    /// The file, open for reading and writing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Opens and verifies what another process wrote here, before it is committed: key, scope, content, length and
    /// tag table; [`SefReader::verify_all`] then reads every chunk. Whoever still holds the descriptor may write
    /// after that; such an object is refused whenever it is opened.
    ///
    /// # Errors
    /// As [`SefReader::open`].
    pub fn reader(&self, dek: &Dek, scope: &KeyScope, digest: &Digest) -> Result<SefReader, StoreError> {
        let file = self.file.try_clone().map_err(StoreError::io("read a stage"))?;
        SefReader::open(file, dek, scope, digest)
    }

    /// Makes the stage the object `name`: flushed, renamed without replacing, directory flushed. After `Stored`
    /// it survives a crash.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Io`]; the stage is gone, and so is the object unless only the last
    /// flush failed: then it may or may not be in place, as after a crash.
    pub fn commit(mut self, name: &ObjectName) -> Result<Commit, StoreError> {
        let io = || StoreError::io("commit an object");
        self.file.set_permissions(Permissions::from_mode(0o400)).map_err(io())?;
        self.file.sync_all().map_err(io())?;
        let to = self.store.path_of(name);
        match rustix::fs::renameat_with(CWD, &self.path, CWD, &to, RenameFlags::NOREPLACE) {
            Ok(()) => self.placed = true,
            Err(rustix::io::Errno::EXIST) => return Ok(Commit::Exists(self)),
            Err(other) => return Err(StoreError::os("commit an object")(other)),
        }
        sync_dir(&self.store.dir_of(name))?;
        Ok(Commit::Stored)
    }
}

impl AsFd for Stage {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.placed {
            // A stage that cannot be removed now is removed at the next open.
            fs::remove_file(&self.path).ok();
        }
    }
}

fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(StoreError::io("flush a directory"))
}

#[cfg(test)]
mod tests;
