//! The container of xz (file format 1.1.0): one stream, blocks with LZMA2 alone, every checksum and size verified.
//! The decoder of LZMA2 is a library; what surrounds it is read here, so that nothing is left unread or skipped.

use std::io::Read;

use crate::cursor::Cursor;

/// Largest dictionary, which the decoder allocates: that of `xz -9`.
pub(crate) const DICTIONARY: u32 = 64 << 20;
const MAGIC: &[u8] = b"\xfd7zXZ\0";

/// Why a file was not unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    Broken,
    TooLarge,
    Unsupported(String),
}

/// Unpacks at most `limit` bytes.
pub(crate) fn unpack(bytes: &[u8], limit: u64) -> Result<Vec<u8>, Fault> {
    let mut cursor = Cursor::new(bytes);
    let head = cursor.take(MAGIC.len());
    let flags = cursor.take(2).ok_or(Fault::Broken)?;
    if head != Some(MAGIC) || cursor.u32() != Some(crc32(flags)) {
        return Err(Fault::Broken);
    }
    let check = match flags {
        [0, kind @ (0 | 1 | 4 | 10)] => *kind,
        _ => return Err(Fault::Unsupported("check of an unknown kind".to_owned())),
    };
    let mut out = Vec::new();
    let mut records: Vec<(u64, u64)> = Vec::new();
    loop {
        let start = cursor.pos();
        let size = cursor.clone().u8().ok_or(Fault::Broken)?;
        if size == 0 {
            break;
        }
        let dictionary = block_header(&mut cursor, size)?;
        let from = out.len();
        let rest = bytes.get(cursor.pos()..).unwrap_or_default();
        let left = limit.saturating_sub(crate::cursor::offset(out.len()));
        let used = lzma2(rest, dictionary, left, &mut out)?;
        cursor.take(used).ok_or(Fault::Broken)?;
        let block = out.get(from..).unwrap_or_default();
        let padding = (4 - used % 4) % 4;
        let zero = cursor.take(padding).is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0));
        let sum = digest(check, block);
        if !zero || cursor.take(sum.len()) != Some(sum.as_slice()) {
            return Err(Fault::Broken);
        }
        let unpadded = cursor.pos().saturating_sub(start).saturating_sub(padding);
        records.push((crate::cursor::offset(unpadded), crate::cursor::offset(block.len())));
    }
    index(&mut cursor, &records, bytes)?;
    let at = cursor.pos();
    let footer = (cursor.u32(), cursor.take(6), cursor.take(2));
    let (Some(sum), Some(covered), Some(b"YZ")) = footer else { return Err(Fault::Broken) };
    let index_len = covered.get(..4).and_then(|raw| raw.try_into().ok()).map(u32::from_le_bytes);
    let index_at = index_len.and_then(|len| (u64::from(len) + 1).checked_mul(4));
    let whole = crc32(covered) == sum
        && covered.get(4..) == Some(flags)
        && index_at.and_then(|len| crate::cursor::offset(at).checked_sub(len)) == Some(index_start(&records))
        && cursor.is_done();
    if whole { Ok(out) } else { Err(Fault::Broken) }
}

/// Where the index begins: behind the header of the stream and the padded blocks.
fn index_start(records: &[(u64, u64)]) -> u64 {
    let blocks = records.iter().map(|(unpadded, _)| unpadded.div_ceil(4).saturating_mul(4));
    blocks.fold(12, u64::saturating_add)
}

/// Reads the header of a block and returns the size of its dictionary. Sizes that it states are not needed.
fn block_header(cursor: &mut Cursor<'_>, size: u8) -> Result<u32, Fault> {
    let len = (usize::from(size) + 1) * 4;
    let header = cursor.take(len).ok_or(Fault::Broken)?;
    let (covered, sum) = header.split_at_checked(len.saturating_sub(4)).ok_or(Fault::Broken)?;
    if crc32(covered).to_le_bytes() != sum {
        return Err(Fault::Broken);
    }
    let mut fields = Cursor::at(covered, 1);
    let flags = fields.u8().ok_or(Fault::Broken)?;
    if flags & 0x3f != 0 {
        return Err(Fault::Unsupported("filters besides LZMA2".to_owned()));
    }
    for present in [0x40, 0x80] {
        if flags & present != 0 {
            number(&mut fields)?;
        }
    }
    let filter = (number(&mut fields)?, number(&mut fields)?);
    let bits = fields.u8().ok_or(Fault::Broken)?;
    if filter != (0x21, 1) || bits > 40 {
        return Err(Fault::Unsupported("filters besides LZMA2".to_owned()));
    }
    while let Some(byte) = fields.u8() {
        if byte != 0 {
            return Err(Fault::Broken);
        }
    }
    let dictionary = (2_u64 | u64::from(bits & 1)) << (bits / 2 + 11);
    match u32::try_from(dictionary) {
        Ok(size) if size <= DICTIONARY => Ok(size),
        _ => Err(Fault::Unsupported("a dictionary above 64 MiB".to_owned())),
    }
}

/// Decodes one LZMA2 stream and says how long it was.
pub(crate) fn lzma2(bytes: &[u8], dictionary: u32, limit: u64, out: &mut Vec<u8>) -> Result<usize, Fault> {
    let mut reader = lzma_rust2::Lzma2Reader::new(bytes, dictionary, None);
    let before = out.len();
    reader.by_ref().take(limit.saturating_add(1)).read_to_end(out).map_err(|_| Fault::Broken)?;
    if crate::cursor::offset(out.len().saturating_sub(before)) > limit {
        return Err(Fault::TooLarge);
    }
    Ok(bytes.len().saturating_sub(reader.into_inner().len()))
}

fn index(cursor: &mut Cursor<'_>, records: &[(u64, u64)], bytes: &[u8]) -> Result<(), Fault> {
    let start = cursor.pos();
    cursor.u8().ok_or(Fault::Broken)?;
    if number(cursor)? != crate::cursor::offset(records.len()) {
        return Err(Fault::Broken);
    }
    for record in records {
        if (number(cursor)?, number(cursor)?) != *record {
            return Err(Fault::Broken);
        }
    }
    while !cursor.pos().saturating_sub(start).is_multiple_of(4) {
        if cursor.u8() != Some(0) {
            return Err(Fault::Broken);
        }
    }
    let covered = bytes.get(start..cursor.pos()).unwrap_or_default();
    if cursor.u32() == Some(crc32(covered)) { Ok(()) } else { Err(Fault::Broken) }
}

/// A number of at most nine bytes, seven bits in each, without needless zeros.
fn number(cursor: &mut Cursor<'_>) -> Result<u64, Fault> {
    let mut value = 0_u64;
    for shift in (0..63).step_by(7) {
        let byte = cursor.u8().ok_or(Fault::Broken)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return if byte == 0 && shift > 0 { Err(Fault::Broken) } else { Ok(value) };
        }
    }
    Err(Fault::Broken)
}

fn digest(check: u8, data: &[u8]) -> Vec<u8> {
    match check {
        1 => crc32(data).to_le_bytes().to_vec(),
        4 => crc64(data).to_le_bytes().to_vec(),
        10 => base::sha256(data).as_bytes().to_vec(),
        _ => Vec::new(),
    }
}

pub(crate) fn crc32(data: &[u8]) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(data);
    sum.sum()
}

/// CRC-64 of ECMA-182, reflected.
fn crc64(data: &[u8]) -> u64 {
    const fn entry(mut value: u64) -> u64 {
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0xc96c_5795_d787_0f42 } else { value >> 1 };
            bit += 1;
        }
        value
    }
    let mut table = [0_u64; 256];
    for (slot, value) in table.iter_mut().zip(0..) {
        *slot = entry(value);
    }
    let step = |sum: u64, byte: &u8| {
        let index = usize::from(sum.to_le_bytes()[0] ^ byte);
        table.get(index).copied().unwrap_or_default() ^ sum >> 8
    };
    !data.iter().fold(!0, step)
}
