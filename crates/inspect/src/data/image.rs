//! Images: format, size, and whether the file ends where the image does. Each is one record.

use std::io;

use super::input::Input;
use super::{Described, Head};
use crate::cursor::{Cursor, offset};
use crate::limits;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Width and height, and what is wrong.
type Seen = Result<(u64, u64), &'static str>;

/// What image it is, if it is one.
pub(super) fn describe(head: &mut Head, input: &mut Input<'_>) -> io::Result<Option<Described>> {
    let (format, read): (&str, fn(&[u8]) -> Seen) = match head.bytes.as_slice() {
        bytes if bytes.starts_with(PNG) => ("png", png),
        [0xff, 0xd8, 0xff, ..] => ("jpeg", jpeg),
        bytes if bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a") => ("gif", gif),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => ("webp", webp),
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => ("tiff", tiff),
        bytes if is_bmp(bytes) => ("bmp", bmp),
        _ => return Ok(None),
    };
    head.extend(input, limits::DATA_SPOOL)?;
    if !head.whole {
        return Ok(Some(Described::counted(format, 1, "images").note("too large to be read to its end")));
    }
    Ok(Some(match read(&head.bytes) {
        Ok((width, height)) if width > 0 && height > 0 => {
            Described::counted(format, 1, "images").note(format!("{width}x{height}"))
        }
        Ok(_) => Described::damaged(format, "it has no width or height"),
        Err(why) => Described::damaged(format, why),
    }))
}

/// Chunks with their checksums, from `IHDR` to `IEND`.
fn png(bytes: &[u8]) -> Seen {
    let mut cursor = Cursor::at(bytes, PNG.len());
    let mut size = None;
    let mut data = false;
    loop {
        let len = be32(&mut cursor).ok_or("it is cut off")?;
        let kind: [u8; 4] = cursor.array().ok_or("it is cut off")?;
        let body = usize::try_from(len).ok().and_then(|len| cursor.take(len)).ok_or("it is cut off")?;
        let mut crc = flate2::Crc::new();
        crc.update(&kind);
        crc.update(body);
        if be32(&mut cursor) != Some(u64::from(crc.sum())) {
            return Err("a checksum is wrong");
        }
        match (&kind, size) {
            (b"IHDR", None) => {
                let mut header = Cursor::new(body);
                size = be32(&mut header).zip(be32(&mut header));
            }
            (_, None) | (b"IHDR", _) => return Err("its header is missing, or stands twice"),
            (b"IEND", _) => break,
            (b"IDAT", _) => data = true,
            _ => {}
        }
    }
    match size {
        _ if !cursor.is_done() => Err("something follows its end"),
        Some(size) if data => Ok(size),
        _ => Err("it holds no image"),
    }
}

fn be32(cursor: &mut Cursor<'_>) -> Option<u64> {
    cursor.array().map(|bytes| u64::from(u32::from_be_bytes(bytes)))
}

/// Segments up to the first scan; what is behind it is looked through for the end.
fn jpeg(bytes: &[u8]) -> Seen {
    let mut cursor = Cursor::at(bytes, 2);
    let mut size = None;
    loop {
        if cursor.u8() != Some(0xff) {
            return Err("its segments are broken");
        }
        let mut marker = cursor.u8();
        while marker == Some(0xff) {
            marker = cursor.u8();
        }
        let marker = marker.ok_or("it is cut off")?;
        if marker == 0xd9 {
            return Err("it holds no image");
        }
        // Markers that stand alone.
        if matches!(marker, 0x01 | 0xd0..=0xd7) {
            continue;
        }
        let len = cursor.array().map(u16::from_be_bytes).and_then(|len| len.checked_sub(2));
        let body = len.and_then(|len| cursor.take(usize::from(len))).ok_or("it is cut off")?;
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            let mut frame = Cursor::at(body, 1);
            let mut next = || frame.array().map(|bytes| u64::from(u16::from_be_bytes(bytes)));
            size = next().zip(next()).map(|(height, width)| (width, height));
        }
        if marker == 0xda {
            break;
        }
    }
    let size = size.ok_or("it does not say its size")?;
    let rest = bytes.get(cursor.pos()..).unwrap_or_default();
    let end = rest.windows(2).rposition(|pair| pair == [0xff, 0xd9]).ok_or("it is cut off")?;
    // Cameras pad; a few bytes are no second file.
    if rest.len().saturating_sub(end + 2) > 512 {
        return Err("something follows its end");
    }
    Ok(size)
}

fn le16(bytes: &[u8], at: usize) -> Result<u64, &'static str> {
    Cursor::at(bytes, at).u16().map(u64::from).ok_or("it is cut off")
}

fn le32(bytes: &[u8], at: usize) -> Result<u64, &'static str> {
    Cursor::at(bytes, at).u32().map(u64::from).ok_or("it is cut off")
}

fn gif(bytes: &[u8]) -> Seen {
    let size = (le16(bytes, 6)?, le16(bytes, 8)?);
    if bytes.ends_with(&[0x3b]) { Ok(size) } else { Err("it does not end as a GIF does") }
}

fn webp(bytes: &[u8]) -> Seen {
    let len = le32(bytes, 4)?.saturating_add(8);
    // The length is even, the file may be one byte shorter.
    if len.abs_diff(offset(bytes.len())) > 1 {
        return Err("it is not as long as it says");
    }
    let kind: [u8; 4] = Cursor::at(bytes, 12).array().ok_or("it is cut off")?;
    let low = |value: u64| value & 0x3fff;
    match &kind {
        b"VP8 " => Ok((low(le16(bytes, 26)?), low(le16(bytes, 28)?))),
        b"VP8L" => {
            let bits = le32(bytes, 21)?;
            Ok((low(bits) + 1, low(bits >> 14) + 1))
        }
        b"VP8X" => Ok(((le32(bytes, 24)? & 0xff_ffff) + 1, (le32(bytes, 27)? & 0xff_ffff) + 1)),
        _ => Err("it holds no image"),
    }
}

/// `BM`, two reserved numbers that are 0, and a header of a length that there is.
fn is_bmp(bytes: &[u8]) -> bool {
    let header = le32(bytes, 14).unwrap_or(0);
    bytes.starts_with(b"BM")
        && le32(bytes, 6) == Ok(0)
        && matches!(header, 12 | 40 | 52 | 56 | 64 | 108 | 124)
}

fn bmp(bytes: &[u8]) -> Seen {
    if le32(bytes, 10)? > offset(bytes.len()) {
        return Err("it is cut off");
    }
    if le32(bytes, 14)? == 12 {
        return Ok((le16(bytes, 18)?, le16(bytes, 20)?));
    }
    // A negative height means that the first row is the topmost.
    let height = Cursor::at(bytes, 22).array().map(i32::from_le_bytes).ok_or("it is cut off")?;
    Ok((le32(bytes, 18)?, u64::from(height.unsigned_abs())))
}

/// Width and height in the first directory.
fn tiff(bytes: &[u8]) -> Seen {
    let big = bytes.starts_with(b"MM");
    let n16 = |at: usize| {
        let raw: Option<[u8; 2]> = Cursor::at(bytes, at).array();
        raw.map(|raw| if big { u16::from_be_bytes(raw) } else { u16::from_le_bytes(raw) })
            .ok_or("it is cut off")
    };
    let n32 = |at: usize| {
        let raw: Option<[u8; 4]> = Cursor::at(bytes, at).array();
        raw.map(|raw| if big { u32::from_be_bytes(raw) } else { u32::from_le_bytes(raw) })
            .ok_or("it is cut off")
    };
    let directory = usize::try_from(n32(4)?).map_err(|_| "it is cut off")?;
    let (mut width, mut height) = (0, 0);
    for entry in 0..usize::from(n16(directory)?) {
        let at = directory.saturating_add(2).saturating_add(entry * 12);
        let value = match n16(at.saturating_add(2))? {
            3 => u64::from(n16(at.saturating_add(8))?),
            _ => u64::from(n32(at.saturating_add(8))?),
        };
        match n16(at)? {
            256 => width = value,
            257 => height = value,
            _ => {}
        }
    }
    Ok((width, height))
}
