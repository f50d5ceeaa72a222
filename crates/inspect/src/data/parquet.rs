//! Parquet: magic at both ends, and the footer in Thrift's compact protocol (the format's `parquet.thrift`). The numbers
//! of rows have to agree, and every column to lie within the file.

use std::io;

use super::input::{Input, Source, bytes_at};
use super::{Described, Head};
use crate::cursor::{Cursor, offset};
use crate::limits;

/// First and last bytes.
pub(super) const MAGIC: &[u8] = b"PAR1";
/// The same of a file whose footer is encrypted.
pub(super) const SEALED: &[u8] = b"PARE";
/// Types of the compact protocol.
mod kind {
    pub(super) const STOP: u8 = 0;
    pub(super) const TRUE: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const I16: u8 = 4;
    pub(super) const I32: u8 = 5;
    pub(super) const I64: u8 = 6;
    pub(super) const DOUBLE: u8 = 7;
    pub(super) const BINARY: u8 = 8;
    pub(super) const LIST: u8 = 9;
    pub(super) const SET: u8 = 10;
    pub(super) const MAP: u8 = 11;
    pub(super) const STRUCT: u8 = 12;
}

/// What a Parquet file holds.
pub(super) fn describe(head: &mut Head, input: &mut Input<'_>) -> io::Result<Described> {
    let sealed = head.bytes.starts_with(SEALED);
    let told = if let Some(mut all) = input.random() {
        footer(&mut all, sealed)
    } else {
        head.extend(input, limits::DATA_SPOOL)?;
        if !head.whole {
            return Ok(Described::new("parquet").note("not counted: it stands compressed in another file"));
        }
        footer(&mut head.bytes.as_slice(), sealed)
    };
    Ok(told.unwrap_or_else(|why| Described::damaged("parquet", why)))
}

fn footer(file: &mut dyn Source, sealed: bool) -> Result<Described, String> {
    let magic = if sealed { SEALED } else { MAGIC };
    let end = file.len().checked_sub(8).filter(|at| *at >= 4).ok_or("it is too short")?;
    let tail = bytes_at(file, end, 8).ok_or("it cannot be read")?;
    if !tail.ends_with(magic) {
        return Err("it does not end as it begins".to_owned());
    }
    let len = Cursor::new(&tail).u32().map(u64::from).ok_or("it is too short")?;
    let at = end.checked_sub(len).filter(|at| *at >= 4).ok_or("its footer is longer than the file")?;
    if sealed {
        return Ok(Described::new("parquet").note("encrypted: its rows cannot be counted"));
    }
    if len > limits::DATA_FOOTER {
        return Err("its footer is longer than what is read".to_owned());
    }
    let len = usize::try_from(len).map_err(|_| "its footer is too long")?;
    let bytes = bytes_at(file, at, len).ok_or("it cannot be read")?;
    let mut thrift = Thrift { cursor: Cursor::new(&bytes), depth: 0 };
    let mut seen = Seen { data_end: at, ..Seen::default() };
    let whole = thrift.fields(|thrift, id, kind| seen.file(thrift, id, kind)).is_some();
    if !whole || !thrift.cursor.is_done() {
        return Err("its footer is broken".to_owned());
    }
    seen.judge()
}

/// What a footer says.
#[derive(Debug, Default)]
struct Seen {
    data_end: u64,
    rows: Option<u64>,
    group_rows: u64,
    groups: u64,
    /// Elements of the schema without children.
    leaves: u64,
    elements: u64,
    outside: bool,
    elsewhere: bool,
    ragged: bool,
}

impl Seen {
    fn judge(self) -> Result<Described, String> {
        let rows = self.rows.ok_or("its footer does not say how many rows there are")?;
        if rows != self.group_rows {
            let found = self.group_rows;
            return Err(format!("its footer says {rows} rows, and its row groups have {found}"));
        }
        if self.outside {
            return Err("a column does not lie within the file".to_owned());
        }
        if self.ragged || self.elements == 0 {
            return Err("its row groups have other columns than its schema".to_owned());
        }
        let mut described = Described::counted("parquet", rows, "rows");
        described.columns = Some(self.leaves);
        if self.elsewhere {
            described.tell("columns are in other files");
        }
        Ok(described)
    }

    /// `FileMetaData`.
    fn file(&mut self, thrift: &mut Thrift<'_>, id: i16, kind: u8) -> Option<()> {
        match (id, kind) {
            (2, kind::LIST) => thrift.structs(|thrift, _| {
                let mut children = 0;
                thrift.fields(|thrift, id, kind| match (id, kind) {
                    (5, kind::I32) => {
                        children = thrift.number()?;
                        Some(())
                    }
                    _ => thrift.skip(kind),
                })?;
                self.elements = self.elements.saturating_add(1);
                self.leaves = self.leaves.saturating_add(u64::from(children == 0));
                Some(())
            }),
            (3, kind::I64) => {
                self.rows = Some(u64::try_from(thrift.number()?).ok()?);
                Some(())
            }
            (4, kind::LIST) => thrift.structs(|thrift, _| {
                self.groups = self.groups.saturating_add(1);
                thrift.fields(|thrift, id, kind| self.group(thrift, id, kind))
            }),
            _ => thrift.skip(kind),
        }
    }

    /// `RowGroup`.
    fn group(&mut self, thrift: &mut Thrift<'_>, id: i16, kind: u8) -> Option<()> {
        match (id, kind) {
            (1, kind::LIST) => {
                let mut columns = 0u64;
                thrift.structs(|thrift, _| {
                    columns = columns.saturating_add(1);
                    thrift.fields(|thrift, id, kind| self.chunk(thrift, id, kind))
                })?;
                self.ragged |= columns != self.leaves;
                Some(())
            }
            (3, kind::I64) => {
                let rows = u64::try_from(thrift.number()?).ok()?;
                self.group_rows = self.group_rows.checked_add(rows)?;
                Some(())
            }
            _ => thrift.skip(kind),
        }
    }

    /// `ColumnChunk`.
    fn chunk(&mut self, thrift: &mut Thrift<'_>, id: i16, kind: u8) -> Option<()> {
        match (id, kind) {
            (1, kind::BINARY) => {
                self.elsewhere = true;
                thrift.skip(kind)
            }
            (3, kind::STRUCT) => {
                let (mut len, mut data, mut dictionary) = (0i64, None, None);
                thrift.fields(|thrift, id, kind| {
                    match (id, kind) {
                        (7, kind::I64) => len = thrift.number()?,
                        (9, kind::I64) => data = Some(thrift.number()?),
                        (11, kind::I64) => dictionary = Some(thrift.number()?),
                        _ => thrift.skip(kind)?,
                    }
                    Some(())
                })?;
                // Some writers say 0 for no page.
                let first = [data, dictionary].into_iter().flatten().filter(|at: &i64| *at > 0).min();
                let range = Some((first.unwrap_or(0), len));
                let range =
                    range.and_then(|(at, len)| Some((u64::try_from(at).ok()?, u64::try_from(len).ok()?)));
                // Of a group without rows nothing was written.
                let end = match range {
                    Some((_, 0)) => Some(0),
                    range => range.filter(|(at, _)| *at >= 4).and_then(|(at, len)| at.checked_add(len)),
                };
                self.outside |= !self.elsewhere && end.is_none_or(|end| end > self.data_end);
                Some(())
            }
            _ => thrift.skip(kind),
        }
    }
}

/// A reader of the compact protocol. Every value takes a byte at least, so its work is bounded by the bytes.
struct Thrift<'a> {
    cursor: Cursor<'a>,
    depth: u32,
}

impl Thrift<'_> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.cursor.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A zigzag number.
    fn number(&mut self) -> Option<i64> {
        let raw = self.varint()?;
        let half = i64::try_from(raw >> 1).ok()?;
        Some(if raw & 1 == 0 { half } else { -half - 1 })
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.depth >= limits::PARQUET_DEPTH {
            return None;
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    /// The fields of a structure, each of which `take` reads. None may occur twice.
    fn fields(&mut self, mut take: impl FnMut(&mut Self, i16, u8) -> Option<()>) -> Option<()> {
        self.deeper(|thrift| {
            let (mut id, mut seen) = (0i16, std::collections::BTreeSet::new());
            loop {
                let byte = thrift.cursor.u8()?;
                let kind = byte & 0x0f;
                if kind == kind::STOP {
                    return (byte == 0).then_some(());
                }
                id = match byte >> 4 {
                    0 => i16::try_from(thrift.number()?).ok()?,
                    delta => id.checked_add(i16::from(delta))?,
                };
                if !seen.insert(id) {
                    return None;
                }
                take(thrift, id, kind)?;
            }
        })
    }

    fn list(&mut self) -> Option<(u8, u64)> {
        let byte = self.cursor.u8()?;
        let len = match byte >> 4 {
            15 => self.varint()?,
            len => u64::from(len),
        };
        // Every item takes a byte.
        (len <= offset(self.cursor.remaining())).then_some((byte & 0x0f, len))
    }

    /// A list of structures, each of which `take` reads.
    fn structs(&mut self, mut take: impl FnMut(&mut Self, u64) -> Option<()>) -> Option<()> {
        self.deeper(|thrift| {
            let (kind, len) = thrift.list()?;
            if kind != kind::STRUCT && len > 0 {
                return None;
            }
            (0..len).try_for_each(|number| take(thrift, number))
        })
    }

    fn skip(&mut self, kind: u8) -> Option<()> {
        match kind {
            kind::TRUE | kind::FALSE => Some(()),
            kind::BYTE => self.cursor.u8().map(drop),
            kind::I16 | kind::I32 | kind::I64 => self.varint().map(drop),
            kind::DOUBLE => self.cursor.take(8).map(drop),
            kind::BINARY => {
                let len = usize::try_from(self.varint()?).ok()?;
                self.cursor.take(len).map(drop)
            }
            kind::LIST | kind::SET => self.deeper(|thrift| {
                let (kind, len) = thrift.list()?;
                (0..len).try_for_each(|_| thrift.item(kind))
            }),
            kind::MAP => self.deeper(|thrift| {
                let len = thrift.varint()?;
                if len == 0 {
                    return Some(());
                }
                if len > offset(thrift.cursor.remaining()) {
                    return None;
                }
                let kinds = thrift.cursor.u8()?;
                (0..len).try_for_each(|_| {
                    thrift.item(kinds >> 4)?;
                    thrift.item(kinds & 0x0f)
                })
            }),
            kind::STRUCT => self.fields(|thrift, _, kind| thrift.skip(kind)),
            _ => None,
        }
    }

    /// An item of a list, where truth takes a byte.
    fn item(&mut self, kind: u8) -> Option<()> {
        match kind {
            kind::TRUE | kind::FALSE => self.cursor.u8().map(drop),
            kind => self.skip(kind),
        }
    }
}
