//! The keeper's private directory: who runs on it, in which mode, and the root key.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base::config::{Config, Mode};
use vault::keys::{KEY_LEN, KeyFileProvider};
use zeroize::Zeroize;

use crate::clock;
use crate::error::KeeperError;

/// Longest root key or mode marker.
const KEY_FILE_MAX: u64 = 64;

/// The directory, locked for this process while it lives.
#[derive(Debug)]
pub(crate) struct State {
    /// Where it is.
    pub(crate) dir: PathBuf,
    /// Custody of the root key.
    pub(crate) root: KeyFileProvider,
    _lock: File,
}

const fn marker(mode: Mode) -> &'static str {
    match mode {
        Mode::Dev => "dev\n",
        Mode::Production => "production\n",
    }
}

impl State {
    /// Opens the directory. In dev mode, or with `init`, a new one gets a root key; in production it must be there.
    ///
    /// # Errors
    /// Of another mode, in use, readable for others, or without its root key.
    pub(crate) fn open(config: &Config, init: bool) -> Result<Self, KeeperError> {
        let dir = config.keeper_dir();
        make_private_dir(&dir)?;
        let lock = lock(&dir)?;
        let fresh = !dir.join("mode").exists();
        let has_keys = dir.join("keys").exists() || dir.join("root.key").exists();
        if init && (has_keys || !fresh) {
            return Err(KeeperError::Initialised(dir));
        }
        let may_make = fresh && !has_keys && (init || config.mode == Mode::Dev);
        check_mode(&dir, config.mode, may_make)?;
        let path = dir.join("root.key");
        if may_make {
            let mut key = clock::random::<KEY_LEN>()?;
            let made = write_new(&path, &key);
            key.zeroize();
            made?;
            // The mode is written last: a crash in between leaves no mode and a root key, and the next start
            // refuses to guess which it was.
            write_new(&dir.join("mode"), marker(config.mode).as_bytes())?;
            sync_dir(&dir)?;
        }
        let mut bytes = read_private(&path, KEY_FILE_MAX)?.ok_or(KeeperError::NoRootKey(path))?;
        let root = KeyFileProvider::new(&mut bytes, config.mode == Mode::Dev)?;
        Ok(Self { dir, root, _lock: lock })
    }
}

fn check_mode(dir: &Path, wanted: Mode, may_make: bool) -> Result<(), KeeperError> {
    let found = match read_private(&dir.join("mode"), KEY_FILE_MAX)? {
        None if may_make => return Ok(()),
        None => return Err(KeeperError::NoRootKey(dir.join("root.key"))),
        Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
    };
    if found == marker(wanted) {
        return Ok(());
    }
    let found = found.trim().escape_debug().to_string();
    Err(KeeperError::Mode { path: dir.to_path_buf(), found, wanted })
}

fn make_private_dir(dir: &Path) -> Result<(), KeeperError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(KeeperError::file("making", dir))?;
    let mode = fs::metadata(dir).map_err(KeeperError::file("looking at", dir))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
            .map_err(KeeperError::file("closing to others", dir))?;
    }
    Ok(())
}

fn lock(dir: &Path) -> Result<File, KeeperError> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(KeeperError::file("opening", &path))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| KeeperError::Running(dir.to_path_buf()))?;
    Ok(file)
}

/// Writes a file of keys that must not exist yet, readable by its owner alone, durably.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), KeeperError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(KeeperError::file("making", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(KeeperError::file("writing", path))
}

/// Reads a small private file; `None` if there is none.
///
/// # Errors
/// Others may read it too.
pub(crate) fn read_private(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, KeeperError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(KeeperError::file("opening", path)(error)),
    };
    let mode = file.metadata().map_err(KeeperError::file("looking at", path))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeeperError::Open { path: path.to_path_buf(), mode });
    }
    let mut bytes = Vec::with_capacity(64);
    file.take(limit).read_to_end(&mut bytes).map_err(KeeperError::file("reading", path))?;
    Ok(Some(bytes))
}

/// Replaces a private file, whole or not at all, durably.
pub(crate) fn replace_private(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), KeeperError> {
    let (path, fresh) = (dir.join(name), dir.join(format!("{name}.new")));
    // Left by a write that was cut off.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(KeeperError::file("removing", &fresh)(error));
        }
        _ => {}
    }
    write_new(&fresh, bytes)?;
    // Root may write here with the node down; the keeper must be able to read it after.
    if rustix::process::geteuid().is_root() {
        let owner = fs::metadata(dir).map_err(KeeperError::file("looking at", dir))?;
        std::os::unix::fs::chown(&fresh, Some(owner.uid()), Some(owner.gid()))
            .map_err(KeeperError::file("handing over", &fresh))?;
    }
    fs::rename(&fresh, &path).map_err(KeeperError::file("placing", &path))?;
    sync_dir(dir)
}

/// Makes names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), KeeperError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(KeeperError::file("syncing", dir))
}

#[cfg(test)]
mod tests;
