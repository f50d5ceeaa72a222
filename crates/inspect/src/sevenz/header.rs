//! Headers of 7z. Every count is held against the bytes that remain, of which each thing that is counted takes one.

use crate::cursor::{Cursor, show};
use crate::limits;
use crate::report::{self, Finding};
use crate::unpack::Budget;

use super::{cut, layout};

pub(super) const HEADER: u8 = 0x01;
pub(super) const ENCODED: u8 = 0x17;
const END: u8 = 0x00;
const MAIN_STREAMS: u8 = 0x04;
const FILES: u8 = 0x05;
const PACKED: u8 = 0x06;
const UNPACKED: u8 = 0x07;
const SUBSTREAMS: u8 = 0x08;
const SIZE: u8 = 0x09;
const CRC: u8 = 0x0a;
const FOLDER: u8 = 0x0b;
const CODERS_SIZE: u8 = 0x0c;
const COUNT: u8 = 0x0d;
const EMPTY_STREAM: u8 = 0x0e;
const EMPTY_FILE: u8 = 0x0f;
const NAMES: u8 = 0x11;
const ATTRIBUTES: u8 = 0x15;

/// Packed streams and what they unpack to.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Where they begin, behind the first header.
    pub(super) at: usize,
    pub(super) sizes: Vec<usize>,
    pub(super) folders: Vec<Folder>,
}

/// Coders in a row, the one that reads the file first, and the members in what the last one gives.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) coders: Vec<Coder>,
    pub(super) crc: Option<u32>,
    /// Size and checksum of each member.
    pub(super) streams: Vec<(u64, Option<u32>)>,
}

#[derive(Debug)]
pub(super) struct Coder {
    pub(super) method: Vec<u8>,
    pub(super) properties: Vec<u8>,
    pub(super) size: u64,
}

#[derive(Debug)]
pub(super) struct Listed {
    pub(super) streams: Streams,
    pub(super) files: Vec<File>,
}

#[derive(Debug)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) content: bool,
    pub(super) directory: bool,
}

fn byte(cursor: &mut Cursor<'_>) -> Result<u8, Finding> {
    cursor.u8().ok_or_else(cut)
}

/// A number whose first byte says by its leading ones how many bytes follow.
fn number(cursor: &mut Cursor<'_>) -> Result<u64, Finding> {
    let first = byte(cursor)?;
    let more = first.leading_ones();
    let mut value = 0_u64;
    for at in 0..more {
        value |= u64::from(byte(cursor)?) << (8 * at);
    }
    // What is left of the first byte is the highest part.
    let high = u64::from(first) & (0x7f_u64 >> more);
    Ok(if more < 8 { value | high << (8 * more) } else { value })
}

/// A count of things that take a byte each at least.
fn count(cursor: &mut Cursor<'_>) -> Result<usize, Finding> {
    let value = usize::try_from(number(cursor)?).map_err(|_| cut())?;
    if value > cursor.remaining() { Err(cut()) } else { Ok(value) }
}

fn size(cursor: &mut Cursor<'_>) -> Result<usize, Finding> {
    usize::try_from(number(cursor)?).map_err(|_| cut())
}

fn expect(cursor: &mut Cursor<'_>, id: u8) -> Result<(), Finding> {
    if byte(cursor)? == id { Ok(()) } else { Err(cut()) }
}

/// Bits from the highest one of each byte.
fn bits(cursor: &mut Cursor<'_>, len: usize) -> Result<Vec<bool>, Finding> {
    let raw = cursor.take(len.div_ceil(8)).ok_or_else(cut)?;
    Ok(raw.iter().flat_map(|byte| (0..8).map(move |bit| byte & (0x80 >> bit) != 0)).take(len).collect())
}

/// Bits, or a byte that says all of them are set.
fn all_or_bits(cursor: &mut Cursor<'_>, len: usize) -> Result<Vec<bool>, Finding> {
    if byte(cursor)? == 0 { bits(cursor, len) } else { Ok(vec![true; len]) }
}

fn digests(cursor: &mut Cursor<'_>, len: usize) -> Result<Vec<Option<u32>>, Finding> {
    let defined = all_or_bits(cursor, len)?;
    defined
        .into_iter()
        .map(|given| if given { cursor.u32().map(Some).ok_or_else(cut) } else { Ok(None) })
        .collect()
}

/// The header proper: streams, then files.
pub(super) fn listed(cursor: &mut Cursor<'_>, budget: &mut Budget) -> Result<Listed, Finding> {
    let mut listed = Listed { streams: Streams::default(), files: Vec::new() };
    let mut id = byte(cursor)?;
    if id == MAIN_STREAMS {
        listed.streams = streams(cursor, budget)?;
        id = byte(cursor)?;
    }
    if id == FILES {
        listed.files = files(cursor, budget)?;
        id = byte(cursor)?;
    }
    if id == END && cursor.is_done() { Ok(listed) } else { Err(cut()) }
}

/// Where the packed streams are, the folders, and the members of each.
pub(super) fn streams(cursor: &mut Cursor<'_>, budget: &Budget) -> Result<Streams, Finding> {
    let mut found = Streams::default();
    let mut id = byte(cursor)?;
    if id == PACKED {
        found.at = size(cursor)?;
        let streams = count(cursor)?;
        loop {
            match byte(cursor)? {
                SIZE if found.sizes.is_empty() => {
                    found.sizes = (0..streams).map(|_| size(cursor)).collect::<Result<_, _>>()?;
                }
                CRC => drop(digests(cursor, streams)?),
                END => break,
                _ => return Err(cut()),
            }
        }
        if found.sizes.len() != streams {
            return Err(cut());
        }
        id = byte(cursor)?;
    }
    if id == UNPACKED {
        expect(cursor, FOLDER)?;
        let folders = count(cursor)?;
        expect(cursor, 0)?;
        found.folders = (0..folders).map(|_| folder(cursor)).collect::<Result<_, _>>()?;
        expect(cursor, CODERS_SIZE)?;
        for folder in &mut found.folders {
            in_order(cursor, folder)?;
        }
        match byte(cursor)? {
            CRC => {
                let sums = digests(cursor, folders)?;
                for (folder, sum) in found.folders.iter_mut().zip(sums) {
                    folder.crc = sum;
                }
                expect(cursor, END)?;
            }
            END => {}
            _ => return Err(cut()),
        }
        id = byte(cursor)?;
    }
    for folder in &mut found.folders {
        folder.streams = vec![(folder.coders.last().map_or(0, |coder| coder.size), folder.crc)];
    }
    if id == SUBSTREAMS {
        substreams(cursor, &mut found.folders, budget)?;
        id = byte(cursor)?;
    }
    if id == END { Ok(found) } else { Err(cut()) }
}

/// Coders of one stream in and one out, as they are bound to each other. Their order is told by the sizes' reader.
fn folder(cursor: &mut Cursor<'_>) -> Result<Folder, Finding> {
    let number_of = count(cursor)?;
    if number_of == 0 || number_of > limits::SEVENZ_CODERS {
        return Err(layout("folder of 7z has too many coders or none"));
    }
    let mut coders = Vec::new();
    for _ in 0..number_of {
        let flags = byte(cursor)?;
        let method = cursor.take(usize::from(flags & 0x0f)).ok_or_else(cut)?.to_vec();
        if flags & 0xc0 != 0 {
            return Err(cut());
        }
        if flags & 0x10 != 0 && (number(cursor)?, number(cursor)?) != (1, 1) {
            return Err(layout(format!(
                "7z uses {}, a coder of several streams",
                super::coders::name(&method)
            )));
        }
        let properties = if flags & 0x20 == 0 {
            Vec::new()
        } else {
            let len = count(cursor)?;
            cursor.take(len).ok_or_else(cut)?.to_vec()
        };
        coders.push(Coder { method, properties, size: 0 });
    }
    // What each coder reads: another one, or the file.
    let mut reads: Vec<Option<usize>> = vec![None; number_of];
    let mut read_by: Vec<Option<usize>> = vec![None; number_of];
    for _ in 1..number_of {
        let (into, from) = (size(cursor)?, size(cursor)?);
        let (Some(slot), Some(reader)) = (reads.get_mut(into), read_by.get_mut(from)) else {
            return Err(cut());
        };
        if slot.replace(from).is_some() || reader.replace(into).is_some() {
            return Err(cut());
        }
    }
    // From the one that reads the file to the one that nobody reads.
    let mut next = reads.iter().position(Option::is_none);
    let mut order = Vec::new();
    while let Some(at) = next.filter(|_| order.len() < number_of) {
        order.push(at);
        next = read_by.get(at).copied().flatten();
    }
    if order.len() != number_of || next.is_some() {
        return Err(cut());
    }
    let mut slots: Vec<Option<Coder>> = coders.into_iter().map(Some).collect();
    let coders: Option<Vec<Coder>> = order.iter().map(|at| slots.get_mut(*at)?.take()).collect();
    let place =
        (0..number_of).map(|at| order.iter().position(|coder| *coder == at)).collect::<Option<Vec<_>>>();
    let (Some(coders), Some(place)) = (coders, place) else { return Err(cut()) };
    Ok(Folder {
        coders,
        crc: None,
        streams: place.into_iter().map(|at| (crate::cursor::offset(at), None)).collect(),
    })
}

/// Sizes stand in the order in which the coders were written, of which [`folder`] left the places.
fn in_order(cursor: &mut Cursor<'_>, folder: &mut Folder) -> Result<(), Finding> {
    for (place, _) in std::mem::take(&mut folder.streams) {
        let stated = number(cursor)?;
        let coder = usize::try_from(place).ok().and_then(|place| folder.coders.get_mut(place));
        coder.ok_or_else(cut)?.size = stated;
    }
    Ok(())
}

/// How many members each folder has, and their sizes but the last, which is what is left.
fn substreams(cursor: &mut Cursor<'_>, folders: &mut [Folder], budget: &Budget) -> Result<(), Finding> {
    let mut id = byte(cursor)?;
    let mut counts = vec![1_usize; folders.len()];
    if id == COUNT {
        let mut all = 0_usize;
        for slot in &mut counts {
            *slot = size(cursor)?;
            all = all.saturating_add(*slot);
            if all > budget.members {
                return Err(Finding::new(&report::LIMIT, 0, "archive has too many members (`zip_members`)"));
            }
        }
        id = byte(cursor)?;
    }
    let sized = id == SIZE;
    for (folder, count) in folders.iter_mut().zip(&counts) {
        let whole = folder.coders.last().map_or(0, |coder| coder.size);
        let mut left = whole;
        let mut streams = Vec::new();
        for at in 0..*count {
            let last = at + 1 == *count;
            if !last && !sized {
                return Err(cut());
            }
            let size = if last { left } else { number(cursor)? };
            left = left.checked_sub(size).ok_or_else(cut)?;
            streams.push((size, if *count == 1 { folder.crc } else { None }));
        }
        folder.streams = streams;
    }
    if sized {
        id = byte(cursor)?;
    }
    if id == CRC {
        let open = folders.iter().flat_map(|folder| &folder.streams).filter(|(_, crc)| crc.is_none()).count();
        let mut sums = digests(cursor, open)?.into_iter();
        for (_, crc) in
            folders.iter_mut().flat_map(|folder| &mut folder.streams).filter(|(_, crc)| crc.is_none())
        {
            *crc = sums.next().flatten();
        }
        id = byte(cursor)?;
    }
    if id == END { Ok(()) } else { Err(cut()) }
}

/// Names, which of the files have no content, and attributes. Times are no part of a member.
fn files(cursor: &mut Cursor<'_>, budget: &mut Budget) -> Result<Vec<File>, Finding> {
    let files = count(cursor)?;
    budget.members = budget
        .members
        .checked_sub(files)
        .ok_or_else(|| Finding::new(&report::LIMIT, 0, "archive has too many members (`zip_members`)"))?;
    let (mut names, mut empty, mut empty_file) = (Vec::new(), vec![false; files], None);
    let mut seen = std::collections::BTreeSet::new();
    loop {
        let id = byte(cursor)?;
        if id == END {
            break;
        }
        let len = count(cursor)?;
        let mut inner = Cursor::new(cursor.take(len).ok_or_else(cut)?);
        // Padding may stand anywhere; all else once.
        if id != 0x19 && !seen.insert(id) {
            return Err(cut());
        }
        match id {
            EMPTY_STREAM => empty = bits(&mut inner, files)?,
            EMPTY_FILE => empty_file = Some(bits(&mut inner, empty.iter().filter(|empty| **empty).count())?),
            NAMES => names = read_names(&mut inner, files)?,
            ATTRIBUTES => attributes(&mut inner, files)?,
            0x12..=0x14 | 0x19 => continue,
            _ => return Err(layout(format!("7z has property {id} of its files, which is not read"))),
        }
        if !inner.is_done() {
            return Err(cut());
        }
    }
    if names.len() != files {
        return Err(cut());
    }
    let mut empty_file = empty_file.unwrap_or_default().into_iter();
    let made = names.into_iter().zip(empty).map(|(name, empty)| {
        // Without content it is a directory, unless it is said to be an empty file.
        let directory = empty && !empty_file.next().unwrap_or(false);
        File { name, content: !empty, directory }
    });
    Ok(made.collect())
}

fn read_names(cursor: &mut Cursor<'_>, files: usize) -> Result<Vec<String>, Finding> {
    expect(cursor, 0)?;
    let mut names = Vec::new();
    for _ in 0..files {
        let mut units = Vec::new();
        loop {
            match cursor.u16().ok_or_else(cut)? {
                0 => break,
                unit => units.push(unit),
            }
        }
        let name = String::from_utf16(&units);
        names.push(name.map_err(|_| Finding::new(&report::ARCHIVE_NAME, 0, "name is no Unicode text"))?);
    }
    Ok(names)
}

/// Bits of Windows, above them a mode of Unix: no link, no device.
fn attributes(cursor: &mut Cursor<'_>, files: usize) -> Result<(), Finding> {
    let defined = all_or_bits(cursor, files)?;
    expect(cursor, 0)?;
    for _ in defined.into_iter().filter(|defined| *defined) {
        let value = cursor.u32().ok_or_else(cut)?;
        let unix = value & 0x8000 != 0;
        let plain = matches!(value >> 28, 0 | 0o4 | 0o10);
        if value & 0x440 != 0 || unix && !plain {
            let what = format!(
                "member is a link or a device (attributes {})",
                show(format!("{value:#x}").as_bytes())
            );
            return Err(Finding::new(&report::ARCHIVE_NAME, 0, what));
        }
    }
    Ok(())
}
