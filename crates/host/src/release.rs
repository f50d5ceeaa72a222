//! Staging a release: its programs are copied by a child, each hashed as it is written, into a directory that only root
//! writes; and small files that are there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use base::{Digest, Hasher};
use rustix::process::Signal;

use crate::error::HostError;
use crate::sys::{self, Process};

/// A program to be copied.
#[derive(Debug)]
pub struct Source {
    /// Where its bytes are read; a regular file.
    pub file: OwnedFd,
    /// Its name.
    pub name: &'static str,
    /// How many bytes it has.
    pub bytes: u64,
    /// Their SHA-256.
    pub digest: Digest,
}

/// Exit code of the child where everything was copied.
pub const COPIED: u8 = 0;
/// Exit code where the host failed: no space, say.
pub const HOST_FAILED: u8 = 1;
/// Exit code where program 0 is not what it should be; of program `n` it is `n` more.
pub const DIFFERS: u8 = 16;
/// What is read at once.
const PIECE: usize = 1 << 17;

/// Copies the programs into a directory, in a child of its own that answers by its exit code.
///
/// # Errors
/// It cannot be started.
pub fn copy(sources: &[Source], directory: &Path) -> Result<Process, HostError> {
    let keep: Vec<i32> = sources.iter().map(|source| source.file.as_raw_fd()).collect();
    let child = || {
        // It ends with the warden, and holds none of its sockets.
        let dies = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        if dies.is_err() || sys::close_except(&keep).is_err() {
            return HOST_FAILED;
        }
        for (at, source) in sources.iter().enumerate() {
            match copy_one(source, directory) {
                Ok(true) => {}
                Ok(false) => {
                    return u8::try_from(at).ok().and_then(|n| DIFFERS.checked_add(n)).unwrap_or(HOST_FAILED);
                }
                Err(_) => return HOST_FAILED,
            }
        }
        match sync(directory) {
            Ok(()) => COPIED,
            Err(_) => HOST_FAILED,
        }
    };
    sys::fork(0, None, child).map_err(HostError::at("start a child that copies"))
}

/// Whether the program is what it should be; it is durable then.
fn copy_one(source: &Source, directory: &Path) -> std::io::Result<bool> {
    let from = File::from(source.file.as_fd().try_clone_to_owned()?);
    if !from.metadata()?.is_file() {
        return Ok(false);
    }
    let mut to =
        OpenOptions::new().write(true).create_new(true).mode(0o755).open(directory.join(source.name))?;
    let mut hasher = Hasher::new();
    let mut piece = vec![0; PIECE];
    let mut at = 0u64;
    // By place, not by the file's own position, which whoever gave it shares.
    loop {
        let got = from.read_at(&mut piece, at)?;
        let bytes = piece.get(..got).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        at = at.saturating_add(u64::try_from(got).unwrap_or(u64::MAX));
        if at > source.bytes {
            return Ok(false);
        }
        hasher.update(bytes);
        to.write_all(bytes)?;
    }
    if at != source.bytes || hasher.finish() != source.digest {
        return Ok(false);
    }
    to.sync_all()?;
    Ok(true)
}

/// Makes a directory that only root writes, or finds that it is one.
///
/// # Errors
/// It cannot be made, or others may write there.
pub fn own_directory(path: &Path) -> Result<(), HostError> {
    let made = fs::DirBuilder::new().mode(0o755).create(path);
    if let Err(error) = made
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(HostError::at("make a directory of releases")(error));
    }
    let seen = fs::symlink_metadata(path).map_err(HostError::at("look at a directory of releases"))?;
    if !seen.is_dir() || seen.uid() != rustix::process::geteuid().as_raw() || seen.mode() & 0o022 != 0 {
        return Err(HostError::Invalid(format!("others may write to `{}`", path.display())));
    }
    Ok(())
}

/// Writes a file so that after a crash at any moment the old one or the new one is there, whole.
///
/// # Errors
/// The kernel's.
pub fn replace(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), HostError> {
    let (new, path) = (directory.join(format!(".{name}.new")), directory.join(name));
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        sync(directory)
    };
    write().map_err(HostError::at("write a file of releases"))
}

/// Gives a directory the name by which it counts.
///
/// # Errors
/// The kernel's.
pub fn publish(parent: &Path, from: &str, to: &str) -> Result<(), HostError> {
    let rename = || {
        sync(&parent.join(from))?;
        fs::rename(parent.join(from), parent.join(to))?;
        sync(parent)
    };
    rename().map_err(HostError::at("give a release its name"))
}

/// A small file; none where there is none.
///
/// # Errors
/// It cannot be read, or is longer than that.
pub fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, HostError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(HostError::at("read a file of releases")(error)),
    };
    let mut bytes = Vec::new();
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    let length = read.map_err(HostError::at("read a file of releases"))?;
    if u64::try_from(length).unwrap_or(u64::MAX) > limit {
        return Err(HostError::Invalid(format!("`{}` is too long", path.display())));
    }
    Ok(Some(bytes))
}

fn sync(directory: &Path) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of their own for one test, removed at its end.
    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("strongroom-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_program_is_copied_as_it_should_be_or_found_out() {
        let folder = Folder::new("copy");
        let given = folder.0.join("given");
        let bytes: Vec<u8> = (0..PIECE + 77).map(|n| u8::try_from(n % 251).unwrap()).collect();
        fs::write(&given, &bytes).unwrap();
        let source = |bytes: u64, digest, name| Source {
            file: File::open(&given).unwrap().into(),
            name,
            bytes,
            digest,
        };
        let (len, digest) = (u64::try_from(bytes.len()).unwrap(), base::sha256(&bytes));
        assert!(copy_one(&source(len, digest, "good"), &folder.0).unwrap());
        assert_eq!(fs::read(folder.0.join("good")).unwrap(), bytes);
        assert_eq!(fs::metadata(folder.0.join("good")).unwrap().mode() & 0o7777, 0o755);
        assert!(!copy_one(&source(len - 1, digest, "longer"), &folder.0).unwrap());
        assert!(!copy_one(&source(len + 1, digest, "shorter"), &folder.0).unwrap());
        assert!(!copy_one(&source(len, base::sha256(b""), "other"), &folder.0).unwrap());
        assert!(
            copy_one(&source(len, digest, "good"), &folder.0).is_err(),
            "what is there is not written over"
        );
        let folder_itself =
            Source { file: File::open(&folder.0).unwrap().into(), name: "dir", bytes: len, digest };
        assert!(!copy_one(&folder_itself, &folder.0).unwrap());
    }

    #[test]
    fn small_files_are_whole_and_bounded() {
        let folder = Folder::new("small");
        assert_eq!(read(&folder.0.join("state"), 9).unwrap(), None);
        replace(&folder.0, "state", b"one").unwrap();
        replace(&folder.0, "state", b"two").unwrap();
        assert_eq!(read(&folder.0.join("state"), 3).unwrap(), Some(b"two".to_vec()));
        assert!(read(&folder.0.join("state"), 2).is_err());
        assert!(own_directory(&folder.0.join("new")).is_ok() && own_directory(&folder.0.join("new")).is_ok());
        assert!(own_directory(&folder.0.join("state")).is_err(), "a file");
        fs::set_permissions(folder.0.join("new"), std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .unwrap();
        assert!(own_directory(&folder.0.join("new")).is_err(), "others write there");
    }
}
