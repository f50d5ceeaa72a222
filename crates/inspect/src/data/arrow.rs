//! Arrow: files and streams of messages (the format's `Message.fbs` and `File.fbs`). The rows of the record batches are
//! added up as the messages come.

use std::io::{self, Read};

use super::input::Input;
use super::{Described, Head};
use crate::cursor::{Cursor, offset};
use crate::limits;

/// Beginning of a file, padded to eight bytes; it ends so too, without the padding.
const FILE: &[u8] = b"ARROW1\0\0";
/// Before the length of every message.
const CONTINUATION: u32 = u32::MAX;
/// Kinds of messages: `MessageHeader`.
const SCHEMA: u8 = 1;
const BATCH: u8 = 3;

/// What it holds, if it is Arrow.
pub(super) fn describe(head: &Head, input: &mut Input<'_>) -> io::Result<Option<Described>> {
    let file = head.bytes.starts_with(FILE);
    let first = if file { None } else { Message::first(&head.bytes) };
    if !file && first.is_none_or(|message| message.kind != SCHEMA) {
        return Ok(None);
    }
    input.seek(offset(head.bytes.len()));
    let chained = head.bytes.as_slice().chain(&mut *input);
    let mut all = io::BufReader::with_capacity(limits::DATA_PIECE, chained);
    if file {
        io::copy(&mut (&mut all).take(offset(FILE.len())), &mut io::sink())?;
    }
    Ok(Some(match messages(&mut all, file)? {
        Ok((rows, columns, batches)) => {
            let mut arrow = Described::counted("arrow", rows, "rows").note(format!("{batches} batches"));
            arrow.columns = Some(columns);
            arrow
        }
        Err(why) => Described::damaged("arrow", why),
    }))
}

type Counts = (u64, u64, u64);

fn messages(all: &mut impl Read, file: bool) -> io::Result<Result<Counts, &'static str>> {
    let (mut rows, mut batches, mut columns) = (0u64, 0u64, None);
    loop {
        let mut start = Vec::with_capacity(8);
        all.by_ref().take(8).read_to_end(&mut start)?;
        let mut cursor = Cursor::new(&start);
        // A stream may just end; a file goes on with its footer behind the mark of the end.
        if start.is_empty() && !file {
            break;
        }
        let (Some(CONTINUATION), Some(len)) = (cursor.u32(), cursor.u32()) else {
            return Ok(Err("a message has no length"));
        };
        if len == 0 {
            break;
        }
        if u64::from(len) > limits::ARROW_MESSAGE {
            return Ok(Err("the header of a message is longer than what is read"));
        }
        let mut header = Vec::new();
        all.by_ref().take(u64::from(len)).read_to_end(&mut header)?;
        let Some(message) = Message::read(&header).filter(|_| offset(header.len()) == u64::from(len)) else {
            return Ok(Err("the header of a message is broken"));
        };
        if io::copy(&mut all.by_ref().take(message.body), &mut io::sink())? != message.body {
            return Ok(Err("a message is cut off"));
        }
        match message.kind {
            SCHEMA if columns.is_none() => columns = Some(message.count),
            SCHEMA => return Ok(Err("it has two schemas")),
            BATCH => {
                batches = batches.saturating_add(1);
                rows = rows.saturating_add(message.count);
            }
            _ => {}
        }
    }
    let mut rest = Vec::new();
    all.by_ref().take(limits::DATA_FOOTER).read_to_end(&mut rest)?;
    let ends = if file { rest.ends_with(b"ARROW1") } else { rest.is_empty() };
    Ok(match columns {
        _ if !ends => Err("it does not end as it has to"),
        Some(columns) => Ok((rows, columns, batches)),
        None => Err("it has no schema"),
    })
}

/// What is read of the header of a message.
#[derive(Debug, Clone, Copy)]
struct Message {
    kind: u8,
    body: u64,
    /// Of a schema the columns, of a batch the rows.
    count: u64,
}

impl Message {
    /// That of a stream, by its first bytes.
    fn first(head: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(head);
        (cursor.u32()? == CONTINUATION).then_some(())?;
        let len = cursor.u32().filter(|len| u64::from(*len) <= limits::ARROW_MESSAGE)?;
        Self::read(head.get(8..usize::try_from(len).ok()?.checked_add(8)?)?)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let message = Table::at(bytes, indirect(bytes, 0)?)?;
        let kind = Cursor::at(bytes, message.field(1)?).u8()?;
        let header = Table::at(bytes, indirect(bytes, message.field(2)?)?)?;
        let body = message.field(3).map_or(Some(0), |at| Cursor::at(bytes, at).u64())?;
        let count = match kind {
            // `Schema.fields`: how many there are.
            SCHEMA => {
                let fields = indirect(bytes, header.field(1)?)?;
                u64::from(Cursor::at(bytes, fields).u32()?)
            }
            // `RecordBatch.length`, which is left out where it is 0.
            BATCH => header.field(0).map_or(Some(0), |at| Cursor::at(bytes, at).u64())?,
            _ => 0,
        };
        (body < 1 << 62 && count < 1 << 62).then_some(Self { kind, body, count })
    }
}

/// Where an offset at this place leads.
fn indirect(bytes: &[u8], at: usize) -> Option<usize> {
    let by = usize::try_from(Cursor::at(bytes, at).u32()?).ok()?;
    at.checked_add(by).filter(|to| *to < bytes.len() && by > 0)
}

/// A table of FlatBuffers.
struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
    vtable: usize,
}

impl<'a> Table<'a> {
    fn at(bytes: &'a [u8], at: usize) -> Option<Self> {
        let back = i32::from_le_bytes(Cursor::at(bytes, at).array()?);
        let vtable = i64::try_from(at).ok()?.checked_sub(i64::from(back))?;
        Some(Self { bytes, at, vtable: usize::try_from(vtable).ok()? })
    }

    /// Where a field stands, if the table has it.
    fn field(&self, number: usize) -> Option<usize> {
        let len = usize::from(Cursor::at(self.bytes, self.vtable).u16()?);
        let slot = 4 + 2 * number;
        if slot + 2 > len {
            return None;
        }
        let by = usize::from(Cursor::at(self.bytes, self.vtable.checked_add(slot)?).u16()?);
        (by > 0).then(|| self.at.checked_add(by)).flatten()
    }
}
