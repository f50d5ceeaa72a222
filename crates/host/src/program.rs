//! A program of the platform: opened once, hashed through that descriptor, executed through that descriptor.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use base::{Digest, Hasher};
use rustix::fs::{CWD, Mode, OFlags};

use crate::error::HostError;
use crate::limits::PROGRAM_MAX;

/// An open program and the digest of its bytes.
#[derive(Debug)]
pub struct Program {
    file: OwnedFd,
    digest: Digest,
    name: String,
}

impl Program {
    /// Opens and hashes `path`.
    ///
    /// # Errors
    /// It cannot be read, is not a regular file, or is larger than [`PROGRAM_MAX`].
    pub fn open(path: &Path) -> Result<Self, HostError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Self::opened(path, flags)
    }

    /// The program that this process executes, whatever lies at its path by now.
    ///
    /// # Errors
    /// As [`Program::open`].
    pub fn own() -> Result<Self, HostError> {
        Self::opened(Path::new("/proc/self/exe"), OFlags::RDONLY | OFlags::CLOEXEC)
    }

    fn opened(path: &Path, flags: OFlags) -> Result<Self, HostError> {
        let opened = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|e| HostError::Invalid(format!("cannot open the program `{}`: {e}", path.display())))?;
        let mut file = File::from(opened);
        let kind = file.metadata().map_err(HostError::at("look at a program"))?;
        if !kind.is_file() || kind.len() > PROGRAM_MAX {
            return Err(HostError::Invalid(format!("`{}` is not a program of ours", path.display())));
        }
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 1 << 17];
        loop {
            let got = file.read(&mut buffer).map_err(HostError::at("read a program"))?;
            match buffer.get(..got) {
                Some([]) | None => break,
                Some(bytes) => hasher.update(bytes),
            }
        }
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { file: file.into(), digest: hasher.finish(), name })
    }

    /// SHA-256 of its bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its file name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The open file.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
