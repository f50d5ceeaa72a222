//! Digesting a mounted tree, through the mount that the sandbox will see, in a process without keys.

use std::os::fd::BorrowedFd;

use base::wire::lp;
use base::{Digest, Hasher};
use ops::porter::HashResult;
use std::os::fd::AsFd;

use crate::{PorterError, limits, survey, tree};

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
        let (size, digest) = content(file.as_fd(), &entry.path, &mut buffer)?;
        manifest.update(&lp(entry.path.as_bytes()));
        manifest.update(&size.to_le_bytes());
        manifest.update(digest.as_bytes());
        bytes = bytes.saturating_add(size);
    }
    let files = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    Ok(HashResult { manifest: manifest.finish(), files, bytes })
}

/// Size and SHA-256 of an open file.
pub(crate) fn content(
    file: BorrowedFd<'_>,
    path: &str,
    buffer: &mut [u8],
) -> Result<(u64, Digest), PorterError> {
    let mut hasher = Hasher::new();
    let mut size = 0u64;
    loop {
        let read = tree::read_at(file, buffer, size);
        let count =
            read.map_err(|source| PorterError::Io { doing: "reading", path: path.to_owned(), source })?;
        if count == 0 {
            return Ok((size, hasher.finish()));
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
        size = size.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }
}

/// `strongroom-porter hash [--image]`: directory on descriptor 3, result on descriptor 1.
///
/// # Errors
/// As [`tree_digest`], or the descriptors are not there.
pub fn main(is_image: bool) -> Result<(), PorterError> {
    let inherited = |source| PorterError::Io { doing: "taking descriptor", path: "3".into(), source };
    let dir = host::take_inherited(3).map_err(inherited)?;
    let result = if is_image { survey::image_digest(dir.as_fd())? } else { tree_digest(dir.as_fd())? };
    let bytes = ops::to_bytes(&result);
    let stdout = rustix::stdio::stdout();
    let written = rustix::io::write(stdout, &bytes).map_err(PorterError::io("writing", "result"))?;
    if written == bytes.len() {
        Ok(())
    } else {
        Err(PorterError::Order("the reader took half of the result"))
    }
}
