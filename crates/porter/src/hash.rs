//! Digesting a mounted tree, through the mount that the sandbox will see, in a process without keys.

use std::os::fd::BorrowedFd;

use base::Hasher;
use base::wire::lp;
use ops::porter::HashResult;
use std::os::fd::AsFd;

use crate::{PorterError, limits, tree};

/// Manifest digest of everything below `dir`: SHA-256 over `lp(path) ‖ u64 size ‖ sha256` of each file, sorted by
/// path bytes.
///
/// # Errors
/// Anything but directories and plain files with one name, or a file that cannot be read.
pub fn tree_digest(dir: BorrowedFd<'_>) -> Result<HashResult, PorterError> {
    let mut manifest = Hasher::new();
    let mut bytes = 0u64;
    let entries = tree::walk(dir, "", limits::WALK_FILES_MAX)?;
    let mut buffer = vec![0u8; limits::STEP_BYTES];
    for entry in &entries {
        let (file, _) = tree::open_file(dir, &entry.path)?;
        let mut hasher = Hasher::new();
        let mut size = 0u64;
        loop {
            let count = tree::read_at(file.as_fd(), &mut buffer, size).map_err(|source| PorterError::Io {
                doing: "reading",
                path: entry.path.clone(),
                source,
            })?;
            if count == 0 {
                break;
            }
            hasher.update(buffer.get(..count).unwrap_or_default());
            size = size.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        }
        manifest.update(&lp(entry.path.as_bytes()));
        manifest.update(&size.to_le_bytes());
        manifest.update(hasher.finish().as_bytes());
        bytes = bytes.saturating_add(size);
    }
    let files = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    Ok(HashResult { manifest: manifest.finish(), files, bytes })
}

/// `strongroom-porter hash`: directory on descriptor 3, result on descriptor 1.
///
/// # Errors
/// As [`tree_digest`], or the descriptors are not there.
pub fn main() -> Result<(), PorterError> {
    let inherited = |source| PorterError::Io { doing: "taking descriptor", path: "3".into(), source };
    let dir = host::take_inherited(3).map_err(inherited)?;
    let result = tree_digest(dir.as_fd())?;
    let bytes = ops::to_bytes(&result);
    let stdout = rustix::stdio::stdout();
    let written = rustix::io::write(stdout, &bytes).map_err(PorterError::io("writing", "result"))?;
    if written == bytes.len() {
        Ok(())
    } else {
        Err(PorterError::Order("the reader took half of the result"))
    }
}
