//! Writing archives: the same tree gives the same bytes.

use super::{BLOCK, CHECKSUM, Entry, Kind, MTIME, OCTAL_MAX};
use crate::error::ImageError;

/// What stands at the end of an archive.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Zero bytes that follow `size` bytes of content.
pub fn padding(size: u64) -> usize {
    let over = usize::try_from(size % 512).unwrap_or(0);
    if over == 0 { 0 } else { BLOCK.saturating_sub(over) }
}

/// The blocks before the content of an entry: owner 0, mode 0755 or 0644.
///
/// # Errors
/// [`ImageError::Archive`]: a path or target with a zero byte.
pub fn header(entry: &Entry) -> Result<Vec<u8>, ImageError> {
    let (flag, mode, size, link) = match &entry.kind {
        Kind::Directory => (b'5', 0o755, 0, ""),
        Kind::File { size, executable: true } => (b'0', 0o755, *size, ""),
        Kind::File { size, executable: false } => (b'0', 0o644, *size, ""),
        Kind::Symlink { target } => (b'2', 0o777, 0, target.as_str()),
        Kind::Hardlink { target } => (b'1', 0o644, 0, target.as_str()),
        Kind::Special => return Err(ImageError::Archive("a device or pipe is no part of an image")),
    };
    if entry.path.contains('\0') || link.contains('\0') {
        return Err(ImageError::Archive("a name holds a zero byte"));
    }
    let mut records = Vec::new();
    let mut record = |key: &str, value: &str| {
        // The length counts its own digits.
        let rest = key.len().saturating_add(value.len()).saturating_add(3);
        let mut len = rest.saturating_add(1);
        while len != rest.saturating_add(len.to_string().len()) {
            len = rest.saturating_add(len.to_string().len());
        }
        records.extend_from_slice(format!("{len} {key}={value}\n").as_bytes());
    };
    let path = if entry.path.is_empty() { "./" } else { entry.path.as_str() };
    if path.len() > 100 {
        record("path", path);
    }
    if link.len() > 100 {
        record("linkpath", link);
    }
    if size > OCTAL_MAX {
        record("size", &size.to_string());
    }
    let mut out = Vec::new();
    if !records.is_empty() {
        let len = u64::try_from(records.len()).unwrap_or(u64::MAX);
        out.extend_from_slice(&block("pax", 0o644, len, b'x', ""));
        out.extend_from_slice(&records);
        out.resize(out.len().saturating_add(padding(len)), 0);
    }
    let mut last = block(path, mode, if size > OCTAL_MAX { 0 } else { size }, flag, link);
    let mtime = format!("{:011o}", entry.mtime.min(OCTAL_MAX));
    put(&mut last, MTIME.0, mtime.as_bytes());
    sum(&mut last);
    out.extend_from_slice(&last);
    Ok(out)
}

/// One header block; a name or link that is too long for it is cut, since an extension has it whole.
fn block(name: &str, mode: u32, size: u64, flag: u8, link: &str) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let head = |text: &str| text.as_bytes().get(..text.len().min(100)).unwrap_or_default().to_vec();
    put(&mut block, 0, &head(name));
    put(&mut block, 100, format!("{mode:07o}").as_bytes());
    put(&mut block, 108, b"0000000");
    put(&mut block, 116, b"0000000");
    put(&mut block, 124, format!("{size:011o}").as_bytes());
    put(&mut block, MTIME.0, b"00000000000");
    put(&mut block, 156, &[flag]);
    put(&mut block, 157, &head(link));
    put(&mut block, 257, super::POSIX);
    sum(&mut block);
    block
}

fn put(block: &mut [u8; BLOCK], from: usize, bytes: &[u8]) {
    for (to, byte) in block.iter_mut().skip(from).zip(bytes) {
        *to = *byte;
    }
}

/// Writes the checksum, which counts its own field as blanks.
fn sum(block: &mut [u8; BLOCK]) {
    put(block, CHECKSUM.0, b"        ");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    put(block, CHECKSUM.0, format!("{sum:06o}\0 ").as_bytes());
}
