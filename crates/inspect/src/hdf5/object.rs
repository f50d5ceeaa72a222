//! Object headers and their messages.

use super::{UNDEFINED, Walker, bad, outside};
use crate::cursor::{Cursor, offset, show};
use crate::limits;
use crate::report::{self, Finding};
use crate::tensor;

/// What the messages of an object say, put together at its end.
#[derive(Debug, Default)]
struct Parts {
    shape: Option<Vec<u64>>,
    datatype: Option<Datatype>,
    layout: Option<Layout>,
}

#[derive(Debug, Clone, Copy)]
struct Datatype {
    class: u8,
    size: u64,
}

#[derive(Debug, Clone, Copy)]
enum Layout {
    Compact,
    Contiguous {
        at: u64,
        len: u64,
    },
    Chunked {
        tree: u64,
        rank: usize,
    },
    /// Chunks by an index of newer libraries, which is not walked.
    Indexed,
}

/// Messages of one block of a header.
struct Block {
    at: u64,
    len: u64,
    version: u8,
    /// Whether messages carry the order of their creation.
    ordered: bool,
}

impl<'a> Walker<'a, '_> {
    pub(super) fn object(&mut self, at: u64, path: &str) -> Result<(), Finding> {
        let mut cursor = self.cursor(at)?;
        let cut = || bad(at, "object header is cut off");
        let mut blocks = if cursor.clone().take(4) == Some(b"OHDR") {
            cursor.take(4);
            if cursor.u8() != Some(2) {
                return Err(bad(at, "version of the object header is not known"));
            }
            let flags = cursor.u8().ok_or_else(cut)?;
            if flags & 0xc0 != 0 {
                return Err(bad(at, "flags of the object header are not known"));
            }
            let skipped = if flags & 0x20 != 0 { 16 } else { 0 } + if flags & 0x10 != 0 { 4 } else { 0 };
            cursor.take(skipped).ok_or_else(cut)?;
            let len = sized(&mut cursor, 1 << (flags & 3)).ok_or_else(cut)?;
            let start = offset(cursor.pos());
            let end = start.checked_add(len).and_then(|end| end.checked_add(4)).ok_or_else(cut)?;
            self.uses(at, end.saturating_sub(at))?;
            vec![Block { at: start, len, version: 2, ordered: flags & 4 != 0 }]
        } else {
            if cursor.u8() != Some(1) {
                return Err(bad(at, "version of the object header is not known"));
            }
            cursor.take(1 + 2 + 4).ok_or_else(cut)?;
            let len = cursor.u32().map(u64::from).ok_or_else(cut)?;
            cursor.take(4).ok_or_else(cut)?;
            self.uses(at, len.saturating_add(16))?;
            vec![Block { at: offset(cursor.pos()), len, version: 1, ordered: false }]
        };
        let mut parts = Parts::default();
        while let Some(block) = blocks.pop() {
            self.block(&block, path, &mut parts, &mut blocks)?;
        }
        self.finish(at, path, &parts)
    }

    fn block(
        &mut self,
        block: &Block,
        path: &str,
        parts: &mut Parts,
        more: &mut Vec<Block>,
    ) -> Result<(), Finding> {
        let end = block.at.saturating_add(block.len);
        let mut cursor = self.cursor(block.at)?;
        let head = if block.version == 1 { 8 } else { 4 + if block.ordered { 2 } else { 0 } };
        // A gap shorter than the head of a message may be left at the end.
        while offset(cursor.pos()).saturating_add(head) <= end {
            let at = offset(cursor.pos());
            self.step(at)?;
            let cut = || bad(at, "message is cut off");
            let (kind, len, flags) = if block.version == 1 {
                let head = (cursor.u16(), cursor.u16(), cursor.u8());
                cursor.take(3).ok_or_else(cut)?;
                head
            } else {
                let head = (cursor.u8().map(u16::from), cursor.u16(), cursor.u8());
                cursor.take(if block.ordered { 2 } else { 0 }).ok_or_else(cut)?;
                head
            };
            let (Some(kind), Some(len), Some(flags)) = (kind, len, flags) else { return Err(cut()) };
            let body = cursor.take(usize::from(len)).ok_or_else(cut)?;
            if offset(cursor.pos()) > end {
                return Err(bad(at, "message is longer than its header"));
            }
            let place = offset(cursor.pos()).saturating_sub(u64::from(len));
            if kind == 0x10 {
                more.push(self.continuation(place, body, block)?);
            } else {
                self.message(place, kind, flags, body, path, parts)?;
            }
        }
        Ok(())
    }

    fn continuation(&mut self, at: u64, body: &[u8], block: &Block) -> Result<Block, Finding> {
        let mut cursor = Cursor::new(body);
        let (Some(start), Some(len)) = (cursor.u64(), cursor.u64()) else {
            return Err(bad(at, "continuation is cut off"));
        };
        self.uses(start, len)?;
        if block.version == 1 {
            return Ok(Block { at: start, len, ..*block });
        }
        let inner = len.checked_sub(8).ok_or_else(|| bad(at, "continuation is too short"))?;
        if self.cursor(start)?.take(4) != Some(b"OCHK") {
            return Err(bad(start, "continuation has no signature"));
        }
        Ok(Block { at: start.saturating_add(4), len: inner, ..*block })
    }

    fn message(
        &mut self,
        at: u64,
        kind: u16,
        flags: u8,
        body: &'a [u8],
        path: &str,
        parts: &mut Parts,
    ) -> Result<(), Finding> {
        if flags & 2 != 0 {
            // A type that is an object of its own. Nothing else is shared without a table of shared messages.
            let mut cursor = Cursor::new(body);
            let head = cursor.u8().zip(cursor.u8());
            let committed = match head {
                Some((1, _)) => cursor.take(6).is_some(),
                Some((2 | 3, kind)) => kind != 1,
                _ => false,
            };
            let target = cursor.u64().filter(|_| committed && kind == 0x03);
            let target = target.ok_or_else(|| bad(at, "message is shared"))?;
            parts.datatype = Some(Datatype { class: u8::MAX, size: 0 });
            return self.push(target, format!("{path}:type"));
        }
        match kind {
            0x00 | 0x04 | 0x05 | 0x0a | 0x0d | 0x0e | 0x12 | 0x13 | 0x16 | 0x17 => Ok(()),
            0x01 => {
                parts.shape = Some(dataspace(body).ok_or_else(|| bad(at, "dataspace is malformed"))?);
                Ok(())
            }
            0x02 | 0x15 => self.dense(at, kind, body),
            0x03 => {
                parts.datatype = Some(datatype(body).ok_or_else(|| bad(at, "type is malformed"))?);
                Ok(())
            }
            0x06 => self.link(at, body, path),
            0x07 => Err(outside(at, "data set keeps its data in another file")),
            0x08 => {
                parts.layout = Some(layout(at, body)?);
                Ok(())
            }
            0x0b => filters(at, body),
            0x0c => self.attribute_message(at, body),
            0x11 => self.symbol_table(at, body, path),
            0x14 => Err(outside(at, "file names a driver")),
            _ => Err(bad(at, format!("message {kind:#04x} is not known"))),
        }
    }

    /// Information on links and attributes: those in dense storage are not read.
    fn dense(&mut self, at: u64, kind: u16, body: &[u8]) -> Result<(), Finding> {
        let mut cursor = Cursor::new(body);
        let head = cursor.u8().zip(cursor.u8());
        let Some((0, flags)) = head else { return Err(bad(at, "version of the message is not known")) };
        let order = if flags & 1 == 0 {
            0
        } else if kind == 0x02 {
            8
        } else {
            2
        };
        cursor.take(order).ok_or_else(|| bad(at, "message is cut off"))?;
        match cursor.u64() {
            Some(UNDEFINED) => Ok(()),
            Some(_) => {
                let what = "links or attributes are in dense storage, which is not read here";
                Err(Finding::new(&report::HDF5_UNREAD, at, what))
            }
            None => Err(bad(at, "message is cut off")),
        }
    }

    fn attribute_message(&mut self, at: u64, body: &'a [u8]) -> Result<(), Finding> {
        let cut = || bad(at, "attribute is cut off");
        let mut cursor = Cursor::new(body);
        let version = cursor.u8().ok_or_else(cut)?;
        let flags = cursor.u8().ok_or_else(cut)?;
        let sizes = [cursor.u16(), cursor.u16(), cursor.u16()];
        let [Some(name), Some(datatype_len), Some(space)] = sizes else { return Err(cut()) };
        if version == 3 {
            cursor.u8().ok_or_else(cut)?;
        }
        if !(1..=3).contains(&version) || flags & !1 != 0 || (version == 1 && flags != 0) {
            return Err(bad(at, "version of the attribute is not known"));
        }
        let padded = |len: u16| match version {
            1 => usize::from(len).next_multiple_of(8),
            _ => usize::from(len),
        };
        let name = cursor.take(padded(name)).ok_or_else(cut)?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let raw_type = cursor.take(padded(datatype_len)).ok_or_else(cut)?;
        let shape = dataspace(cursor.take(padded(space)).ok_or_else(cut)?);
        let value = cursor.take(cursor.remaining()).unwrap_or_default();
        let name = std::str::from_utf8(name).map_err(|_| bad(at, "name of an attribute is not UTF-8"))?;
        let what = |what: &str| bad(at, format!("attribute `{}`: {what}", show(name.as_bytes())));
        let shape = shape.ok_or_else(|| what("dataspace is malformed"))?;
        if flags & 1 != 0 {
            return Err(what("type is shared"));
        }
        let kind = datatype(raw_type).ok_or_else(|| what("type is malformed"))?;
        let count = tensor::count(&shape).ok_or_else(|| what("shape overflows"))?;
        let len = count.checked_mul(kind.size).ok_or_else(|| what("shape overflows"))?;
        let value = usize::try_from(len)
            .ok()
            .and_then(|len| value.get(..len))
            .ok_or_else(|| what("value is cut off"))?;
        if kind.class != VARIABLE {
            return self.attribute(at, name, value);
        }
        for element in value.chunks_exact(16) {
            let mut cursor = Cursor::new(element);
            let (Some(_), Some(heap), Some(index)) = (cursor.u32(), cursor.u64(), cursor.u32()) else {
                return Err(what("value is cut off"));
            };
            self.step(at)?;
            if heap != UNDEFINED && heap != 0 {
                let value = self.heap_object(heap, index)?;
                self.attribute(at, name, value)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, at: u64, path: &str, parts: &Parts) -> Result<(), Finding> {
        let Some(layout) = parts.layout else { return Ok(()) };
        let (Some(shape), Some(kind)) = (&parts.shape, parts.datatype) else {
            return Err(bad(at, "data set has no shape or no type"));
        };
        let bytes = tensor::count(shape).and_then(|count| count.checked_mul(kind.size));
        let bytes = bytes.ok_or_else(|| bad(at, "shape of a data set overflows"))?;
        match layout {
            // Data that was never written has no place; a committed type has its size elsewhere.
            Layout::Contiguous { at: UNDEFINED, .. }
            | Layout::Chunked { tree: UNDEFINED, .. }
            | Layout::Compact => {}
            Layout::Contiguous { at: place, len } => {
                if len < bytes {
                    return Err(bad(at, "data set is shorter than its shape says"));
                }
                self.uses(place, len)?;
            }
            Layout::Chunked { tree, rank } => self.chunks(tree, rank)?,
            Layout::Indexed => {
                self.report.push(Finding::new(&report::HDF5_INDEX, at, "index of chunks is not followed"));
            }
        }
        self.tensor(path.trim_start_matches('/'), shape.clone(), class_name(kind.class))
    }
}

const VARIABLE: u8 = 9;

fn class_name(class: u8) -> &'static str {
    match class {
        0 => "INTEGER",
        1 => "FLOAT",
        3 => "STRING",
        4 => "BITS",
        5 => "OPAQUE",
        6 => "COMPOUND",
        7 => "REFERENCE",
        8 => "ENUM",
        VARIABLE => "VARIABLE",
        10 => "ARRAY",
        _ => "COMMITTED",
    }
}

/// A number of 1, 2, 4 or 8 bytes.
pub(super) fn sized(cursor: &mut Cursor<'_>, len: usize) -> Option<u64> {
    let raw = cursor.take(len)?;
    let mut wide = [0_u8; 8];
    wide.get_mut(..len)?.copy_from_slice(raw);
    Some(u64::from_le_bytes(wide))
}

fn dataspace(body: &[u8]) -> Option<Vec<u64>> {
    let mut cursor = Cursor::new(body);
    let version = cursor.u8()?;
    let rank = cursor.u8()?;
    let flags = cursor.u8()?;
    match version {
        1 => cursor.take(5).map(drop)?,
        // Scalar, simple, null.
        2 => match cursor.u8()? {
            0 | 1 => {}
            2 => return Some(vec![0]),
            _ => return None,
        },
        _ => return None,
    }
    if usize::from(rank) > limits::DIMENSIONS || flags & !3 != 0 {
        return None;
    }
    (0..rank).map(|_| cursor.u64()).collect()
}

fn datatype(body: &[u8]) -> Option<Datatype> {
    let mut cursor = Cursor::new(body);
    let head = cursor.u8()?;
    cursor.take(3)?;
    let size = u64::from(cursor.u32()?);
    let (class, version) = (head & 0xf, head >> 4);
    // Times, which nothing writes, are left out.
    ((1..=4).contains(&version) && class <= 10 && class != 2).then_some(Datatype { class, size })
}

fn layout(at: u64, body: &[u8]) -> Result<Layout, Finding> {
    let cut = || bad(at, "layout is cut off");
    let mut cursor = Cursor::new(body);
    let (version, class) = cursor.u8().zip(cursor.u8()).ok_or_else(cut)?;
    match (version, class) {
        (3 | 4, 0) => {
            let len = usize::from(cursor.u16().ok_or_else(cut)?);
            cursor.take(len).map(|_| Layout::Compact).ok_or_else(cut)
        }
        (3 | 4, 1) => {
            let (at, len) = cursor.u64().zip(cursor.u64()).ok_or_else(cut)?;
            Ok(Layout::Contiguous { at, len })
        }
        (3, 2) => {
            let rank = usize::from(cursor.u8().ok_or_else(cut)?);
            let tree = cursor.u64().ok_or_else(cut)?;
            if rank == 0 || rank > limits::DIMENSIONS + 1 || cursor.take(rank * 4).is_none() {
                return Err(bad(at, "layout of chunks is malformed"));
            }
            Ok(Layout::Chunked { tree, rank })
        }
        (4, 2) => Ok(Layout::Indexed),
        (_, 3) => Err(outside(at, "data set is put together from other files")),
        _ => Err(bad(at, format!("version {version} of the layout is not known"))),
    }
}

/// Filters that come with the library: deflate, shuffle, checksum. Others make it load a plug-in.
fn filters(at: u64, body: &[u8]) -> Result<(), Finding> {
    let cut = || bad(at, "filters are cut off");
    let mut cursor = Cursor::new(body);
    let (version, count) = cursor.u8().zip(cursor.u8()).ok_or_else(cut)?;
    if version == 1 {
        cursor.take(6).ok_or_else(cut)?;
    } else if version != 2 {
        return Err(bad(at, "version of the filters is not known"));
    }
    for _ in 0..count {
        let id = cursor.u16().ok_or_else(cut)?;
        if !(1..=3).contains(&id) {
            return Err(Finding::new(&report::HDF5_FILTER, at, format!("filter {id} comes with a plug-in")));
        }
        let name = if version == 1 { cursor.u16().ok_or_else(cut)? } else { 0 };
        cursor.u16().ok_or_else(cut)?;
        let values = cursor.u16().ok_or_else(cut)?;
        cursor.take(usize::from(name).next_multiple_of(8)).ok_or_else(cut)?;
        let pad = if version == 1 && values % 2 == 1 { 4 } else { 0 };
        cursor.take(usize::from(values) * 4 + pad).ok_or_else(cut)?;
    }
    Ok(())
}
