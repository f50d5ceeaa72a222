//! SEF, the sealed file format, version 1 (`trust.md` section 6). Integers are little-endian.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic `SEF1` |
//! | 4 | 2 | version = 1 |
//! | 6; 7 | 1; 1 | suite = 1 (AES-256-GCM); log2(chunk) |
//! | 8 | 8 | plaintext_len |
//! | 16 | 32 | salt |
//! | 48 | 32 | key_commitment |
//! | 80; 112 | 32; 32 | context; header_mac |
//! | 144 | 3,952 | zero |
//! | 4096 | plaintext_len | ciphertext of chunk i at 4096 + i·chunk, the last one short |
//! | 4096 + plaintext_len | 16 n | tag of chunk i; n = max(1, ceil(plaintext_len / chunk)) |
//!
//! [`Sealer`] writes it in one pass over a stream, [`Opener`] verifies and opens it. Both work on buffers; where
//! the bytes come from and go to is the caller's business.

mod open;
mod schedule;
mod seal;
mod vector;

pub use open::Opener;
pub use seal::{Content, Sealed, Sealer};
pub use vector::self_test;

use base::{Explain, Fault};

use crate::limits::{CHUNK_LOG2_DEFAULT, CHUNK_LOG2_MAX, CHUNK_LOG2_MIN, TAG_TABLE_MAX};

/// Bytes before the first ciphertext byte: one page, so that chunks are aligned for direct I/O.
pub const HEADER_LEN: usize = 4096;
/// The same as a file offset.
pub const DATA_OFFSET: u64 = 4096;
/// Bytes of a chunk's tag.
pub const TAG_LEN: usize = 16;

const MAGIC: &[u8; 4] = b"SEF1";
const VERSION: u16 = 1;
const SUITE_AES_256_GCM: u8 = 1;
/// Header bytes under `header_mac`.
const MACED: usize = 112;
/// Header bytes that carry a field; the rest is zero.
const FIELDS_END: usize = 144;

/// A header block.
pub type Header = [u8; HEADER_LEN];

/// Why a file cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SefError {
    /// Not a file of this format and version.
    #[error("not a sealed file: wrong {field}")]
    Format {
        /// The header field that is wrong.
        field: &'static str,
    },
    /// The file was cut or extended.
    #[error("sealed file has {actual} bytes, its header says {expected}")]
    Size {
        /// What the header says.
        expected: u64,
        /// What the file has.
        actual: u64,
    },
    /// More chunks than [`TAG_TABLE_MAX`] allows.
    #[error("content is too large to seal with this chunk size")]
    TooLarge,
    /// Sealed under another data-encryption key.
    #[error("sealed file belongs to another key")]
    WrongKey,
    /// Header or tag table were altered.
    #[error("header or tag table of a sealed file was altered")]
    HeaderForged,
    /// Authentic, but not the content or scope that was asked for.
    #[error("sealed file holds another content or belongs to another key scope than expected")]
    WrongContent,
    /// The ciphertext of a chunk was altered.
    #[error("chunk {index} of a sealed file was altered")]
    ChunkForged {
        /// Which chunk.
        index: u64,
    },
    /// A chunk size outside 2^16 to 2^24.
    #[error("log2 of a chunk size is 16 to 24, not {log2}")]
    ChunkSize {
        /// What was asked for.
        log2: u8,
    },
    /// The caller broke the protocol of this module.
    #[error("misuse of the sealed file codec: {0}")]
    Misuse(&'static str),
    /// The cipher library refused.
    #[error("the cipher failed")]
    Cipher,
}

impl Explain for SefError {
    fn code(&self) -> &'static str {
        match self {
            Self::Format { .. } => "SR-SEF-0001",
            Self::Size { .. } => "SR-SEF-0002",
            Self::TooLarge => "SR-SEF-0003",
            Self::WrongKey => "SR-SEF-0004",
            Self::HeaderForged => "SR-SEF-0005",
            Self::WrongContent => "SR-SEF-0006",
            Self::ChunkForged { .. } => "SR-SEF-0007",
            Self::ChunkSize { .. } => "SR-SEF-0008",
            Self::Misuse(_) => "SR-SEF-0009",
            Self::Cipher => "SR-SEF-0010",
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::TooLarge | Self::ChunkSize { .. } => Fault::Caller,
            Self::Misuse(_) | Self::Cipher => Fault::Platform,
            _ => Fault::Operator,
        }
    }

    fn help(&self) -> Option<base::Help> {
        Some(match self {
            Self::TooLarge => "seal with a larger chunk, or in parts",
            Self::ChunkSize { .. } => "choose 16 to 24; the default is 20",
            Self::Misuse(_) | Self::Cipher => "report this as a defect",
            _ => "the object is quarantined; restore it from a backup, and look for who writes to the store",
        })
    }
}

/// The size of a chunk, a power of two from 64 KiB to 16 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSize {
    log2: u8,
}

impl ChunkSize {
    /// The size with this exponent.
    ///
    /// # Errors
    /// [`SefError::ChunkSize`] outside 16 to 24.
    pub const fn from_log2(log2: u8) -> Result<Self, SefError> {
        if log2 < CHUNK_LOG2_MIN || log2 > CHUNK_LOG2_MAX {
            return Err(SefError::ChunkSize { log2 });
        }
        Ok(Self { log2 })
    }

    /// The exponent.
    pub const fn log2(self) -> u8 {
        self.log2
    }

    /// Bytes of a full chunk.
    pub const fn bytes(self) -> usize {
        1 << self.log2
    }

    const fn bytes_u64(self) -> u64 {
        1 << self.log2
    }
}

impl Default for ChunkSize {
    /// 1 MiB.
    fn default() -> Self {
        Self { log2: CHUNK_LOG2_DEFAULT }
    }
}

/// Where everything stands in a file, as its header claims and its size confirms. Nothing of it is
/// authenticated: it tells a reader how much tag table to fetch, and the [`Opener`] checks it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    chunk: ChunkSize,
    plaintext_len: u64,
    chunks: u64,
    tags_len: usize,
}

impl Layout {
    /// Reads the plain fields of a header: format, version, suite, chunk size, zero area, exact file size
    /// (`trust.md` section 6.3, reader step 1).
    ///
    /// # Errors
    /// [`SefError::Format`], [`SefError::Size`], [`SefError::TooLarge`].
    pub fn parse(header: &Header, file_len: u64) -> Result<Self, SefError> {
        let wrong = |field| SefError::Format { field };
        let mut r = base::wire::Reader::new(header);
        if r.array::<4>().map_err(|_| wrong("magic"))? != *MAGIC {
            return Err(wrong("magic"));
        }
        if r.u16().map_err(|_| wrong("version"))? != VERSION {
            return Err(wrong("version"));
        }
        if r.u8().map_err(|_| wrong("suite"))? != SUITE_AES_256_GCM {
            return Err(wrong("suite"));
        }
        let chunk = ChunkSize::from_log2(r.u8().map_err(|_| wrong("chunk size"))?)
            .map_err(|_| wrong("chunk size"))?;
        let plaintext_len = r.u64().map_err(|_| wrong("length"))?;
        if header.get(FIELDS_END..).is_none_or(|zero| zero.iter().any(|b| *b != 0)) {
            return Err(wrong("reserved area"));
        }
        let layout = Self::of(chunk, plaintext_len)?;
        if layout.file_len() != file_len {
            return Err(SefError::Size { expected: layout.file_len(), actual: file_len });
        }
        Ok(layout)
    }

    /// The layout of `plaintext_len` bytes in chunks of `chunk`.
    ///
    /// # Errors
    /// [`SefError::TooLarge`].
    pub fn of(chunk: ChunkSize, plaintext_len: u64) -> Result<Self, SefError> {
        let chunks = plaintext_len.div_ceil(chunk.bytes_u64()).max(1);
        let tags_len = usize::try_from(chunks)
            .ok()
            .and_then(|n| n.checked_mul(TAG_LEN))
            .filter(|len| *len <= TAG_TABLE_MAX)
            .ok_or(SefError::TooLarge)?;
        Ok(Self { chunk, plaintext_len, chunks, tags_len })
    }

    /// The chunk size.
    pub const fn chunk(&self) -> ChunkSize {
        self.chunk
    }

    /// Bytes of plaintext.
    pub const fn plaintext_len(&self) -> u64 {
        self.plaintext_len
    }

    /// Number of chunks, at least 1.
    pub const fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Bytes of the tag table.
    pub const fn tags_len(&self) -> usize {
        self.tags_len
    }

    /// File offset of the tag table.
    pub const fn tags_offset(&self) -> u64 {
        // INVARIANT: `of` bounds plaintext_len by TAG_TABLE_MAX / TAG_LEN · 2^24 = 2^46.
        DATA_OFFSET.saturating_add(self.plaintext_len)
    }

    /// Bytes of the whole file.
    pub fn file_len(&self) -> u64 {
        self.tags_offset().saturating_add(u64::try_from(self.tags_len).unwrap_or(u64::MAX))
    }

    /// File offset of the ciphertext of chunk `index`.
    pub const fn chunk_offset(&self, index: u64) -> u64 {
        DATA_OFFSET.saturating_add(index.saturating_mul(self.chunk.bytes_u64()))
    }

    /// Bytes of chunk `index`; `None` beyond the last.
    pub fn chunk_len(&self, index: u64) -> Option<usize> {
        if index >= self.chunks {
            return None;
        }
        let start = index.checked_mul(self.chunk.bytes_u64())?;
        let len = self.plaintext_len.checked_sub(start)?.min(self.chunk.bytes_u64());
        usize::try_from(len).ok()
    }

    /// The chunk that holds the plaintext byte at `offset`.
    pub const fn chunk_at(&self, offset: u64) -> u64 {
        offset >> self.chunk.log2
    }
}

#[cfg(test)]
mod tests;
