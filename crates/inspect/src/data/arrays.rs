//! Arrays and records of numbers: NumPy, IDX, safetensors, HDF5, TFRecord. Told by their first bytes, held against their
//! length.

use std::io::{self, Read};

use super::input::Input;
use super::{Carries, Described, Head};
use crate::cursor::{Cursor, offset};
use crate::json::{self, Json};
use crate::report;
use crate::{hdf5, limits, npy, safetensors};

/// One array of NumPy. Its reader opens objects as a pickle, and a file that is read again goes on behind the array.
pub(super) fn npy(head: &Head, input: &mut Input<'_>) -> io::Result<Described> {
    let (shape, len) = match npy::layout(&head.bytes) {
        Ok(found) => found,
        Err(finding) if finding.code == report::NPY_OBJECT.code => {
            return Ok(Described::carrying("npy", Carries::Pickle, "an array of objects, which is a pickle"));
        }
        Err(finding) => return Ok(Described::refused("npy", finding.explanation)),
    };
    let found = input.whole_len()?;
    if found != len {
        let why = format!("its header says {len} bytes in all, and there are {found}");
        return Ok(Described::refused("npy", why));
    }
    let mut array = Described::counted("npy", shape.first().copied().unwrap_or(1), "items");
    array.columns = shape.get(1).copied().filter(|_| shape.len() == 2);
    Ok(array.note(format!("shape {}", shown(&shape))))
}

fn shown(shape: &[u64]) -> String {
    let sizes: Vec<String> = shape.iter().map(u64::to_string).collect();
    if sizes.is_empty() { "()".to_owned() } else { sizes.join("x") }
}

/// The others.
pub(super) fn describe(head: &Head, input: &mut Input<'_>) -> io::Result<Option<Described>> {
    if head.bytes.starts_with(hdf5::MAGIC) {
        return Ok(Some(Described::new("hdf5").note("recognised, not counted")));
    }
    if let Some((shape, len)) = idx(&head.bytes)
        && input.whole_len()? == len
    {
        let items = shape.first().copied().unwrap_or(0);
        return Ok(Some(Described::counted("idx", items, "items").note(format!("shape {}", shown(&shape)))));
    }
    if safetensors::claims(&head.bytes) {
        return Ok(Some(tensors(&head.bytes)));
    }
    if is_tfrecord(&head.bytes) {
        return records(head, input).map(Some);
    }
    Ok(None)
}

/// The format of MNIST: zeros, type, dimensions, sizes.
fn idx(head: &[u8]) -> Option<(Vec<u64>, u64)> {
    let mut cursor = Cursor::new(head);
    (cursor.u16()? == 0).then_some(())?;
    let mut len = match cursor.u8()? {
        8 | 9 => 1u64,
        0x0b => 2,
        0x0c | 0x0d => 4,
        0x0e => 8,
        _ => return None,
    };
    let dimensions = cursor.u8().filter(|count| (1..=8).contains(count))?;
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        let size = u64::from(u32::from_be_bytes(cursor.array()?));
        len = len.checked_mul(size)?;
        shape.push(size);
    }
    Some((shape, len.checked_add(offset(cursor.pos()))?))
}

fn tensors(head: &[u8]) -> Described {
    let text = safetensors::head_len(head).and_then(|len| head.get(8..usize::try_from(len).ok()?));
    let Some(text) = text else {
        return Described::new("safetensors").note("its header is longer than what is read");
    };
    match json::parse(text) {
        Ok(Json::Object(members)) => {
            let count = members.iter().filter(|(name, _)| name != "__metadata__").count();
            Described::counted("safetensors", offset(count), "tensors")
        }
        _ => Described::damaged("safetensors", "its header is no JSON object"),
    }
}

/// Whether the first length has the checksum that TensorFlow writes behind it.
fn is_tfrecord(head: &[u8]) -> bool {
    let mut cursor = Cursor::new(head);
    let Some(len) = cursor.array::<8>() else { return false };
    cursor.u32() == Some(masked(&len))
}

/// Counts records: length, its checksum, data, checksum. That of the data is not computed.
fn records(head: &Head, input: &mut Input<'_>) -> io::Result<Described> {
    input.seek(offset(head.bytes.len()));
    let mut all = io::BufReader::with_capacity(limits::DATA_PIECE, head.bytes.as_slice().chain(&mut *input));
    let mut count = 0u64;
    loop {
        let mut start = Vec::with_capacity(12);
        (&mut all).take(12).read_to_end(&mut start)?;
        if start.is_empty() {
            return Ok(Described::counted("tfrecord", count, "records"));
        }
        let mut cursor = Cursor::new(&start);
        let len = cursor.array::<8>().filter(|len| cursor.u32() == Some(masked(len))).map(u64::from_le_bytes);
        let rest = len.and_then(|len| len.checked_add(4));
        let skipped = match rest {
            Some(rest) => io::copy(&mut (&mut all).take(rest), &mut io::sink())? == rest,
            None => false,
        };
        if !skipped {
            let why = format!("record {} is cut off or has a wrong length", count.saturating_add(1));
            return Ok(Described::damaged("tfrecord", why));
        }
        count = count.saturating_add(1);
    }
}

/// CRC-32C, turned and moved as TensorFlow does.
fn masked(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}
