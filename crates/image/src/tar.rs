//! Archives (POSIX.1-2017 pax, ustar, and the long names of GNU tar), strictly: a state machine that is fed one
//! block of 512 bytes after another and says what each entry is. The caller reads and writes the bytes.
//!
//! Readers of archives are known to disagree: on which of two sizes counts, on whether an extension applies to
//! another extension, on what stands after the end. Wherever they could, the archive is refused.

use crate::error::ImageError;
use crate::{limits, path};

#[cfg(test)]
mod tests;
mod write;

pub use write::{END, header, padding};

/// Bytes of a block.
pub const BLOCK: usize = 512;

// Fields of a header: start and end.
const NAME: (usize, usize) = (0, 100);
const SIZE: (usize, usize) = (124, 136);
const MTIME: (usize, usize) = (136, 148);
const CHECKSUM: (usize, usize) = (148, 156);
const FLAG: usize = 156;
const LINK: (usize, usize) = (157, 257);
const MAGIC: (usize, usize) = (257, 265);
const PREFIX: (usize, usize) = (345, 500);
const POSIX: &[u8] = b"ustar\x0000";
const GNU: &[u8] = b"ustar  \0";
/// Largest size that eleven octal digits hold; a larger one stands in an extension.
const OCTAL_MAX: u64 = 0o777_7777_7777;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file; as many bytes follow, padded to whole blocks.
    File {
        /// Its bytes.
        size: u64,
        /// Whether somebody may execute it.
        executable: bool,
    },
    /// A symbolic link; its target is any text.
    Symlink {
        /// Where it points to.
        target: String,
    },
    /// Another name of a file that is in the image already.
    Hardlink {
        /// Path of that file in the image.
        target: String,
    },
    /// A device or pipe: no part of an image, but many archives hold some below `/dev`, which nobody sees.
    Special,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path, [`path::clean`]; empty for the root.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// When its content was last changed, in seconds since 1970.
    pub mtime: u64,
}

/// What follows a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Give me the next block.
    Next,
    /// So many bytes of an extension follow, padded; give them to [`Reader::extension`].
    Extension(u64),
    /// An entry; the bytes of a file follow, padded.
    Entry(Entry),
    /// The archive has ended: whatever follows must be zeros.
    End,
}

/// What an extension says of the next entry.
#[derive(Debug, Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    mtime: Option<u64>,
    is_pax: bool,
}

/// Which extension is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Pax,
    Global,
    LongName,
    LongLink,
}

/// Reads an archive.
#[derive(Debug, Default)]
pub struct Reader {
    extended: Option<Extended>,
    awaited: Option<Awaited>,
    zeros: u8,
}

impl Reader {
    /// Takes the next header block.
    ///
    /// # Errors
    /// [`ImageError`]; nothing more may be read then.
    pub fn block(&mut self, block: &[u8; BLOCK]) -> Result<Step, ImageError> {
        if self.awaited.is_some() {
            return Err(ImageError::Archive("an extension was not read"));
        }
        if block.iter().all(|byte| *byte == 0) {
            self.finish()?;
            self.zeros = self.zeros.saturating_add(1);
            return Ok(if self.zeros < 2 { Step::Next } else { Step::End });
        }
        if self.zeros > 0 {
            return Err(ImageError::Archive("an entry follows the mark of the end"));
        }
        check(block)?;
        let size = number(field(block, SIZE))?;
        match block.get(FLAG).copied().unwrap_or(0) {
            b'x' => self.await_extension(Awaited::Pax, size),
            b'g' => self.await_extension(Awaited::Global, size),
            b'L' => self.await_extension(Awaited::LongName, size),
            b'K' => self.await_extension(Awaited::LongLink, size),
            flag => self.entry(block, flag, size).map(Step::Entry),
        }
    }

    fn await_extension(&mut self, what: Awaited, size: u64) -> Result<Step, ImageError> {
        if size == 0 || size > limits::EXTENSION_BYTES {
            return Err(ImageError::Archive("an extension is empty or too long"));
        }
        let before = self.extended.as_ref();
        let again = match what {
            Awaited::Global | Awaited::Pax => before.is_some(),
            Awaited::LongName => before.is_some_and(|e| e.is_pax || e.path.is_some()),
            Awaited::LongLink => before.is_some_and(|e| e.is_pax || e.link.is_some()),
        };
        if again {
            return Err(ImageError::Archive("two extensions say the same thing"));
        }
        self.awaited = Some(what);
        Ok(Step::Extension(size))
    }

    /// The bytes end where a header would stand. Some tools write no mark of the end (umoci 0.4), and nothing can be
    /// missing that the archive's own digest does not miss too.
    ///
    /// # Errors
    /// [`ImageError::Archive`]: an extension has no entry.
    pub fn finish(&self) -> Result<(), ImageError> {
        if self.extended.is_some() || self.awaited.is_some() {
            return Err(ImageError::Archive("it ends after an extension without its entry"));
        }
        Ok(())
    }

    /// Takes the bytes of the extension that [`Step::Extension`] announced, without padding.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn extension(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        let awaited = self.awaited.take().ok_or(ImageError::Archive("no extension was announced"))?;
        match awaited {
            Awaited::Global => {
                // Comments of version-control systems; whatever would change later entries is refused.
                let said = pax(bytes)?;
                if said.path.is_some() || said.link.is_some() || said.size.is_some() {
                    return Err(ImageError::Archive("a global extension renames entries"));
                }
            }
            Awaited::Pax => self.extended = Some(pax(bytes)?),
            Awaited::LongName => {
                self.extended.get_or_insert_default().path = Some(terminated(bytes)?);
            }
            Awaited::LongLink => {
                self.extended.get_or_insert_default().link = Some(terminated(bytes)?);
            }
        }
        Ok(())
    }

    fn entry(&mut self, block: &[u8; BLOCK], flag: u8, size: u64) -> Result<Entry, ImageError> {
        let said = self.extended.take().unwrap_or_default();
        let name = said.path.unwrap_or_else(|| name(block));
        let path = path::clean(&name)?;
        let link = || said.link.clone().unwrap_or_else(|| text(field(block, LINK)).to_vec());
        let refuse = |what| Err(ImageError::Entry { path: path.clone(), what });
        let size = match said.size {
            Some(large) if large == size || large > OCTAL_MAX => large,
            Some(_) => return refuse("given two sizes"),
            None => size,
        };
        if size != 0 && !matches!(flag, b'0' | b'7' | 0) {
            return refuse("no file and yet has content");
        }
        let kind = match flag {
            b'0' | b'7' | 0 if name.ends_with(b"/") || path.is_empty() => {
                return refuse("a file with the name of a directory");
            }
            b'0' | b'7' | 0 => {
                let mode = number(field(block, (100, 108)))?;
                Kind::File { size, executable: mode & 0o111 != 0 }
            }
            b'5' => Kind::Directory,
            b'2' if path.is_empty() => return refuse("a link in place of the root"),
            b'2' => Kind::Symlink { target: symlink(&path, link())? },
            b'1' => Kind::Hardlink { target: path::clean(&link())? },
            b'3' | b'4' | b'6' => Kind::Special,
            b'S' => return refuse("a sparse file of GNU tar"),
            _ => return refuse("of a kind that no image holds"),
        };
        // A time that is none, or one before 1970, is the beginning of time.
        let mtime = said.mtime.or_else(|| number(field(block, MTIME)).ok()).unwrap_or(0);
        Ok(Entry { path, kind, mtime })
    }
}

/// The target of a symbolic link: any text that a file system takes.
fn symlink(path: &str, raw: Vec<u8>) -> Result<String, ImageError> {
    let refuse = |what| ImageError::Entry { path: path.to_owned(), what };
    if raw.is_empty() || raw.len() > limits::LINK_BYTES || raw.contains(&0) {
        return Err(refuse("a link with an empty, too long or impossible target"));
    }
    String::from_utf8(raw).map_err(|_| refuse("a link whose target is not UTF-8"))
}

fn field(block: &[u8; BLOCK], (from, to): (usize, usize)) -> &[u8] {
    block.get(from..to).unwrap_or_default()
}

/// A field up to its first zero byte.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The name of a header: in POSIX archives with its prefix.
fn name(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = text(field(block, NAME));
    let prefix = text(field(block, PREFIX));
    if field(block, MAGIC) == POSIX && !prefix.is_empty() {
        return [prefix, b"/", name].concat();
    }
    name.to_vec()
}

/// Magic and checksum.
fn check(block: &[u8; BLOCK]) -> Result<(), ImageError> {
    let magic = field(block, MAGIC);
    if magic != POSIX && magic != GNU {
        return Err(ImageError::Archive("a header is neither of POSIX nor of GNU tar"));
    }
    let sum = |at: usize, byte: u8| if (CHECKSUM.0..CHECKSUM.1).contains(&at) { b' ' } else { byte };
    let found: u64 = block.iter().enumerate().map(|(at, byte)| u64::from(sum(at, *byte))).sum();
    if number(field(block, CHECKSUM))? == found {
        Ok(())
    } else {
        Err(ImageError::Archive("a header has a wrong checksum"))
    }
}

/// An octal number between blanks and zero bytes, or GNU's base 256.
fn number(field: &[u8]) -> Result<u64, ImageError> {
    let bad = || ImageError::Archive("a number is not well-formed");
    if let Some((&0x80, rest)) = field.split_first() {
        let (high, low) = rest.split_at_checked(rest.len().saturating_sub(8)).ok_or_else(bad)?;
        if high.iter().any(|byte| *byte != 0) {
            return Err(bad());
        }
        return Ok(low.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)));
    }
    let blank = |byte: &u8| *byte == b' ' || *byte == 0;
    let digits = field.trim_ascii_start();
    let end = digits.iter().position(blank).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at_checked(end).ok_or_else(bad)?;
    if !rest.iter().all(blank) || !digits.iter().all(|digit| (b'0'..=b'7').contains(digit)) {
        return Err(bad());
    }
    // Twelve octal digits are 36 bits.
    Ok(digits.iter().fold(0, |value, digit| value << 3 | u64::from(digit - b'0')))
}

/// A long name of GNU tar, with its zero byte.
fn terminated(bytes: &[u8]) -> Result<Vec<u8>, ImageError> {
    match bytes.split_last() {
        Some((0, name)) if !name.contains(&0) && !name.is_empty() => Ok(name.to_vec()),
        _ => Err(ImageError::Archive("a long name does not end in one zero byte")),
    }
}

/// Records `LENGTH KEY=VALUE\n` of a pax extension.
fn pax(bytes: &[u8]) -> Result<Extended, ImageError> {
    let bad = || ImageError::Archive("a pax extension is not well-formed");
    let mut said = Extended { is_pax: true, ..Extended::default() };
    let mut left = bytes;
    while !left.is_empty() {
        let space = left.iter().take(8).position(|byte| *byte == b' ').ok_or_else(bad)?;
        let digits = left.get(..space).ok_or_else(bad)?;
        if digits.is_empty() || digits.first() == Some(&b'0') || !digits.iter().all(u8::is_ascii_digit) {
            return Err(bad());
        }
        let len = std::str::from_utf8(digits).ok().and_then(|d| d.parse::<usize>().ok()).ok_or_else(bad)?;
        let (record, rest) = left.split_at_checked(len).ok_or_else(bad)?;
        let record = record.get(space.saturating_add(1)..).ok_or_else(bad)?;
        let record = record.strip_suffix(b"\n").ok_or_else(bad)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
        let (key, value) = record.split_at_checked(equals).ok_or_else(bad)?;
        let value = value.get(1..).ok_or_else(bad)?;
        let set = |slot: &mut Option<Vec<u8>>| {
            if value.is_empty() || value.contains(&0) || slot.is_some() {
                return Err(bad());
            }
            *slot = Some(value.to_vec());
            Ok(())
        };
        match key {
            b"path" => set(&mut said.path)?,
            b"linkpath" => set(&mut said.link)?,
            b"size" => {
                let size = std::str::from_utf8(value).ok().filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
                let size = size.and_then(|v| v.parse().ok()).ok_or_else(bad)?;
                if said.size.replace(size).is_some() {
                    return Err(bad());
                }
            }
            // Whole seconds, rounded down as everybody who compares times does; headers round to the nearest.
            b"mtime" => {
                let text = std::str::from_utf8(value).ok();
                said.mtime = text.and_then(|text| text.split('.').next()?.parse().ok());
            }
            key if key.starts_with(b"GNU.sparse") => {
                return Err(ImageError::Archive("it holds a sparse file of GNU tar"));
            }
            // Times, owners, extended attributes: no part of an image here.
            _ => {}
        }
        left = rest;
    }
    Ok(said)
}
