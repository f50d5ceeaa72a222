//! Compressed files: told by their first bytes, unpacked within bounds, with nothing behind them.

use std::io::Read;

use crate::cursor::{Cursor, offset};
use crate::limits;
use crate::report::{self, Finding};
use crate::xz::{self, Fault};

/// A compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packed {
    Gzip,
    Zlib,
    Bzip2,
    Xz,
    Lzma,
    Zstd,
    Lz4,
}

impl Packed {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zlib => "zlib",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Lzma => "lzma",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
        }
    }

    /// The compression that the content begins with. Two of them have hardly a signature, and never are text.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let text = || std::str::from_utf8(bytes).is_ok();
        Some(match bytes {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', b'S', b'Y', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0x04, 0x22, 0x4d, 0x18, ..] => Self::Lz4,
            [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] if !text() => Self::Zlib,
            [0x5d, 0, 0, _, _, 0xff, ..] if !text() => Self::Lzma,
            _ => return None,
        })
    }
}

/// What all archives within a file may still take: bytes and members.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) bytes: u64,
    pub(crate) members: usize,
}

/// Unpacks a whole file.
pub(crate) fn unpack(packed: Packed, bytes: &[u8], budget: &mut Budget) -> Result<Vec<u8>, Finding> {
    // Small files may be packed better than the ratio; 64 KiB of slack costs nothing.
    let ratio = offset(bytes.len()).saturating_mul(limits::ZIP_RATIO).saturating_add(1 << 16);
    let limit = ratio.min(budget.bytes);
    let unpacked = match packed {
        Packed::Xz => xz::unpack(bytes, limit),
        other => stream(other, bytes, limit),
    };
    let what = match unpacked {
        Ok(out) => {
            budget.bytes = budget.bytes.saturating_sub(offset(out.len()));
            return Ok(out);
        }
        Err(Fault::TooLarge) if limit < ratio => {
            let what =
                format!("{} file unpacks to more than what archives may (`zip_inflated`)", packed.as_str());
            return Err(Finding::new(&report::LIMIT, 0, what));
        }
        Err(Fault::TooLarge) => {
            let what =
                format!("{} file unpacks to more than {} times its size", packed.as_str(), limits::ZIP_RATIO);
            return Err(Finding::new(&report::LIMIT, 0, what));
        }
        Err(Fault::Broken) => format!("{} file is broken, or something follows it", packed.as_str()),
        Err(Fault::Unsupported(what)) => format!("{} file uses {what}", packed.as_str()),
    };
    Err(Finding::new(&report::ARCHIVE_LAYOUT, 0, what))
}

fn stream(packed: Packed, bytes: &[u8], limit: u64) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    let rest = match packed {
        Packed::Gzip => {
            let mut reader = flate2::bufread::GzDecoder::new(bytes);
            drain(&mut reader, limit, &mut out)?;
            reader.into_inner()
        }
        Packed::Zlib => {
            let mut reader = flate2::bufread::ZlibDecoder::new(bytes);
            drain(&mut reader, limit, &mut out)?;
            reader.into_inner()
        }
        Packed::Bzip2 => {
            let mut reader = bzip2::bufread::BzDecoder::new(bytes);
            drain(&mut reader, limit, &mut out)?;
            reader.into_inner()
        }
        Packed::Lzma => {
            let memory = (xz::DICTIONARY >> 10).saturating_add(1 << 10);
            let mut reader =
                lzma_rust2::LzmaReader::new_mem_limit(bytes, memory, None).map_err(|_| Fault::Broken)?;
            reader.set_relaxed_end_condition(false);
            drain(&mut reader, limit, &mut out)?;
            let (rest, unused) = reader.into_parts();
            if unused.is_empty() { rest } else { return Err(Fault::Broken) }
        }
        Packed::Zstd => {
            let mut reader = ruzstd::decoding::StreamingDecoder::new(bytes).map_err(|_| Fault::Broken)?;
            drain(&mut reader, limit, &mut out)?;
            reader.into_inner()
        }
        Packed::Lz4 => {
            // The library takes the end of the input for the end of the frame.
            lz4_frame(bytes).ok_or(Fault::Broken)?;
            let mut reader = lz4_flex::frame::FrameDecoder::new(bytes);
            drain(&mut reader, limit, &mut out)?;
            reader.into_inner()
        }
        Packed::Xz => bytes,
    };
    if rest.is_empty() { Ok(out) } else { Err(Fault::Broken) }
}

/// Whether the bytes are one LZ4 frame with its end mark, and nothing else.
fn lz4_frame(bytes: &[u8]) -> Option<()> {
    let mut cursor = Cursor::at(bytes, 4);
    let (flags, _) = (cursor.u8()?, cursor.u8()?);
    let given = |bit: u8, len: usize| if flags & bit != 0 { len } else { 0 };
    cursor.take(given(0x08, 8) + given(0x01, 4) + 1)?;
    loop {
        let len = cursor.u32()? & 0x7fff_ffff;
        if len == 0 {
            break;
        }
        cursor.take(usize::try_from(len).ok()?)?;
        cursor.take(given(0x10, 4))?;
    }
    cursor.take(given(0x04, 4))?;
    cursor.is_done().then_some(())
}

fn drain(reader: &mut impl Read, limit: u64, out: &mut Vec<u8>) -> Result<(), Fault> {
    reader.take(limit.saturating_add(1)).read_to_end(out).map_err(|_| Fault::Broken)?;
    if offset(out.len()) > limit { Err(Fault::TooLarge) } else { Ok(()) }
}
