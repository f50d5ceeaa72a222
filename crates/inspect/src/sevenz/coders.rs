//! Coders of 7z: those that are read, and the names of others.

use std::io::Read;

use crate::cursor::offset;
use crate::limits;
use crate::report::{self, Finding};
use crate::xz::{self, Fault};

use super::header::{Coder, Folder};
use super::layout;

/// What a method is called.
pub(super) fn name(method: &[u8]) -> String {
    let name = match method {
        [0x00] => "copy",
        [0x21] => "LZMA2",
        [0x03] => "delta",
        [0x03, 0x01, 0x01] => "LZMA",
        [0x04] | [0x03, 0x03, 0x01, 0x03] => "BCJ",
        [0x03, 0x03, 0x01, 0x1b] => "BCJ2",
        [0x05..=0x0b] | [0x03, 0x03, ..] => "a filter for programs",
        [0x03, 0x04, 0x01] => "PPMd",
        [0x04, 0x01, 0x08] => "deflate",
        [0x04, 0x01, 0x09] => "deflate64",
        [0x04, 0x02, 0x02] => "bzip2",
        [0x04, 0xf7, 0x11, 0x01] => "zstd",
        [0x06, 0xf1, ..] => "encryption",
        _ => return format!("method {}", method.escape_ascii()),
    };
    name.to_owned()
}

/// Unpacks a folder to the size that it states, at most `left` bytes.
pub(super) fn unpack(folder: &Folder, packed: &[u8], left: u64) -> Result<Vec<u8>, Finding> {
    // Small archives may be packed better than the ratio, as files are.
    let ratio = offset(packed.len()).saturating_mul(limits::ZIP_RATIO).saturating_add(1 << 16);
    for coder in &folder.coders {
        if coder.size > left {
            let what = "7z archive unpacks to more than what archives may (`zip_inflated`)";
            return Err(Finding::new(&report::LIMIT, 0, what));
        }
        if coder.size > ratio {
            let what = format!("7z archive unpacks to more than {} times its size", limits::ZIP_RATIO);
            return Err(Finding::new(&report::LIMIT, 0, what));
        }
    }
    let mut content = None;
    for coder in &folder.coders {
        let input = content.as_deref().unwrap_or(packed);
        let out = decode(coder, input).map_err(|fault| match fault {
            Fault::Unsupported(what) => layout(format!("7z archive uses {what}")),
            Fault::Broken | Fault::TooLarge => layout("stream of 7z is broken, or not of the size it states"),
        })?;
        content = Some(out);
    }
    content.ok_or_else(|| layout("folder of 7z has no coder"))
}

fn decode(coder: &Coder, input: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    let whole = match (coder.method.as_slice(), coder.properties.as_slice()) {
        ([0x00], []) => {
            out.extend_from_slice(input);
            true
        }
        ([0x21], [bits @ 0..=40]) => {
            let stated = (2_u64 | u64::from(bits & 1)) << (bits / 2 + 11);
            xz::lzma2(input, dictionary(stated, coder.size)?, coder.size, &mut out)? == input.len()
        }
        ([0x03, 0x01, 0x01], [props, size @ ..]) => {
            let size = u32::from_le_bytes(size.try_into().map_err(|_| Fault::Broken)?);
            lzma(input, *props, dictionary(u64::from(size), coder.size)?, coder.size, &mut out)?
        }
        ([0x04, 0x01, 0x08], []) => {
            let mut reader = flate2::bufread::DeflateDecoder::new(input);
            drain(&mut reader, coder.size, &mut out)?;
            reader.into_inner().is_empty()
        }
        ([0x04, 0x02, 0x02], []) => {
            let mut reader = bzip2::bufread::BzDecoder::new(input);
            drain(&mut reader, coder.size, &mut out)?;
            reader.into_inner().is_empty()
        }
        ([0x03], [distance]) => {
            let mut reader = lzma_rust2::filter::delta::DeltaReader::new(input, usize::from(*distance) + 1);
            drain(&mut reader, coder.size, &mut out)?;
            true
        }
        ([0x04] | [0x03, 0x03, 0x01, 0x03], []) => {
            let mut reader = lzma_rust2::filter::bcj::BcjReader::new_x86(input, 0);
            drain(&mut reader, coder.size, &mut out)?;
            true
        }
        ([0x06, 0xf1, ..], _) => return Err(Fault::Unsupported("encryption".to_owned())),
        (method, _) => return Err(Fault::Unsupported(format!("{}, which is not read", name(method)))),
    };
    if whole && offset(out.len()) == coder.size { Ok(out) } else { Err(Fault::Broken) }
}

/// What the decoder allocates: no more than the stream unpacks to, since nothing refers further back.
fn dictionary(stated: u64, size: u64) -> Result<u32, Fault> {
    let needed = stated.min(size.max(4_096));
    match u32::try_from(needed) {
        Ok(needed) if needed <= xz::DICTIONARY => Ok(needed),
        _ => Err(Fault::Unsupported("a dictionary above 64 MiB".to_owned())),
    }
}

fn lzma(input: &[u8], props: u8, dictionary: u32, size: u64, out: &mut Vec<u8>) -> Result<bool, Fault> {
    let reader = lzma_rust2::LzmaReader::new_with_props(input, size, props, dictionary, None);
    let mut reader = reader.map_err(|_| Fault::Broken)?;
    reader.set_relaxed_end_condition(false);
    drain(&mut reader, size, out)?;
    let (rest, unused) = reader.into_parts();
    Ok(rest.is_empty() && unused.is_empty())
}

fn drain(reader: &mut impl Read, limit: u64, out: &mut Vec<u8>) -> Result<(), Fault> {
    reader.take(limit.saturating_add(1)).read_to_end(out).map_err(|_| Fault::Broken)?;
    if offset(out.len()) > limit { Err(Fault::TooLarge) } else { Ok(()) }
}
