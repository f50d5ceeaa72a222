//! The files beside a SavedModel: fingerprint, index of variables, metadata of Keras. Each is told by its name,
//! since none has a signature; what is in it must still be what that name says.

use crate::cursor::{Cursor, offset, show};
use crate::json;
use crate::keras;
use crate::limits;
use crate::proto::{self, Reader, Value};
use crate::report::{self, Finding, Report};

fn bad(at: usize, what: impl Into<String>) -> Finding {
    Finding::new(&report::TENSORFLOW, offset(at), what)
}

fn risk(report: &mut Report, what: &str) {
    report.push(Finding::new(&report::SAVED_MODEL, 0, what));
}

/// `FingerprintDef`: checksums, a version and an identifier.
pub(crate) fn fingerprint(bytes: &[u8], report: &mut Report) -> Result<(), Finding> {
    let mut seen = 0_u32;
    let fits = bytes.len() <= limits::SMALL_PROTO
        && proto::all_fields(bytes, |number, value| {
            seen += 1;
            match (number, value) {
                (1..=5, Value::Varint(_) | Value::Fixed64(_)) => true,
                (6, Value::Len(start, end)) => {
                    let version = bytes.get(start..end).unwrap_or_default();
                    proto::all_fields(version, |number, value| {
                        number <= 3 && !matches!(value, Value::Fixed32(_))
                    })
                }
                (7, Value::Len(start, end)) => {
                    bytes.get(start..end).is_some_and(|id| id.is_ascii() && id.len() <= 64)
                }
                _ => false,
            }
        });
    if !fits || seen == 0 {
        return Err(bad(0, "content is no fingerprint of a model"));
    }
    risk(report, "fingerprint of a TensorFlow model");
    Ok(())
}

/// `SavedMetadata` of Keras 2: a configuration for each object of the model.
pub(crate) fn keras_metadata(bytes: &[u8], report: &mut Report) -> Result<(), Finding> {
    let mut reader = Reader::new(bytes, 0, bytes.len());
    while !reader.is_done() {
        let at = reader.pos;
        match reader.field() {
            Some((1, Value::Len(start, end))) => keras_object(bytes, start, end, report)?,
            _ => return Err(bad(at, "field is not one of Keras metadata")),
        }
    }
    risk(report, "metadata of a TensorFlow model");
    Ok(())
}

fn keras_object(bytes: &[u8], start: usize, end: usize, report: &mut Report) -> Result<(), Finding> {
    let mut reader = Reader::new(bytes, start, end);
    while !reader.is_done() {
        let at = reader.pos;
        match reader.field() {
            Some((5, Value::Len(from, to))) if from < to => {
                let root = json::parse(bytes.get(from..to).unwrap_or_default())?;
                let mut findings = Vec::new();
                keras::check_object(&root, offset(from), &mut findings);
                findings.into_iter().for_each(|finding| report.push(finding));
            }
            Some((3..=6, Value::Len(..)) | (2, Value::Varint(_))) => {}
            _ => return Err(bad(at, "field is not one of a Keras object")),
        }
    }
    Ok(())
}

/// Magic number at the end of a table of `LevelDB`.
const TABLE_MAGIC: u64 = 0xdb47_7524_8b80_fb57;
const FOOTER: usize = 48;
/// Compression and checksum after each block.
const TRAILER: usize = 5;

/// The table that says where variables lie in the data files.
pub(crate) fn variables_index(bytes: &[u8], report: &mut Report) -> Result<(), Finding> {
    let footer = bytes.len().checked_sub(FOOTER).ok_or_else(|| bad(0, "table is too short"))?;
    let magic = Cursor::at(bytes, bytes.len().saturating_sub(8)).u64();
    if magic != Some(TABLE_MAGIC) {
        return Err(bad(footer, "content is no table of variables"));
    }
    let mut reader = Reader::new(bytes, footer, bytes.len());
    let mut handle = || -> Option<(usize, usize)> {
        let at = usize::try_from(reader.varint()?).ok()?;
        let len = usize::try_from(reader.varint()?).ok()?;
        Some((at, at.checked_add(len)?.checked_add(TRAILER)?))
    };
    let handles = handle().zip(handle()).ok_or_else(|| bad(footer, "handles of the table are cut off"))?;
    let mut blocks = vec![handles.0, handles.1];
    block(bytes, handles.1, |_, value| {
        let mut reader = Reader::new(value, 0, value.len());
        let at = reader.varint().and_then(|at| usize::try_from(at).ok());
        let len = reader.varint().and_then(|len| usize::try_from(len).ok());
        let end =
            at.zip(len).and_then(|(at, len)| at.checked_add(len)?.checked_add(TRAILER).map(|end| (at, end)));
        blocks.push(end.ok_or_else(|| bad(handles.1.0, "handle of a block is cut off"))?);
        Ok(())
    })?;
    let data = blocks.get(2..).unwrap_or_default().to_vec();
    blocks.sort_unstable();
    let mut next = 0;
    for (at, end) in blocks {
        if at != next {
            return Err(bad(next, "blocks of the table do not touch"));
        }
        next = end;
    }
    if next != footer {
        return Err(bad(next, "bytes between the blocks and the end of the table"));
    }
    for place in data {
        block(bytes, place, |key, value| entry(place.0, key, value))?;
    }
    risk(report, "index of the variables of a TensorFlow model");
    Ok(())
}

/// An entry is a message of numbers, a shape, slices; the first, without a key, the header.
fn entry(at: usize, key: &[u8], value: &[u8]) -> Result<(), Finding> {
    let fits = proto::all_fields(value, |number, value| {
        matches!(
            (number, value),
            (1..=6, Value::Varint(_)) | (2 | 3 | 7, Value::Len(..)) | (6, Value::Fixed32(_))
        )
    });
    if fits {
        return Ok(());
    }
    Err(bad(at, format!("entry `{}` of the table is malformed", show(key))))
}

/// Reads the entries of an uncompressed block, whose keys share prefixes.
fn block(
    bytes: &[u8],
    (start, end): (usize, usize),
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Finding>,
) -> Result<(), Finding> {
    let fail = || bad(start, "block of the table is malformed");
    let whole = bytes.get(start..end).ok_or_else(fail)?;
    let (content, trailer) = whole.split_at_checked(whole.len().saturating_sub(TRAILER)).ok_or_else(fail)?;
    if trailer.first() != Some(&0) {
        return Err(bad(end, "block of the table is compressed"));
    }
    let restarts = Cursor::at(content, content.len().saturating_sub(4)).u32().ok_or_else(fail)?;
    let tail = usize::try_from(restarts).ok().and_then(|count| count.checked_mul(4)?.checked_add(4));
    let limit = tail.and_then(|tail| content.len().checked_sub(tail)).ok_or_else(fail)?;
    let mut reader = Reader::new(content, 0, limit);
    let mut key: Vec<u8> = Vec::new();
    while !reader.is_done() {
        let mut number = || reader.varint().and_then(|value| usize::try_from(value).ok());
        let (shared, own, len) = (number(), number(), number());
        let (Some(shared), Some(own), Some(len)) = (shared, own, len) else { return Err(fail()) };
        if shared > key.len() || own > limits::SMALL_PROTO {
            return Err(fail());
        }
        let from = reader.pos;
        let middle = from.checked_add(own).ok_or_else(fail)?;
        let to = middle.checked_add(len).filter(|to| *to <= limit).ok_or_else(fail)?;
        key.truncate(shared);
        key.extend_from_slice(content.get(from..middle).ok_or_else(fail)?);
        if key.len() > limits::SMALL_PROTO {
            return Err(fail());
        }
        each(&key, content.get(middle..to).ok_or_else(fail)?)?;
        reader.pos = to;
    }
    Ok(())
}
