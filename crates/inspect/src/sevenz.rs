//! 7z (`7zFormat.txt` of its authors): the headers are read here, to their last byte, the coders are libraries. A folder
//! is decoded whole, so that each of its members costs no more than it takes.
//!
//! Read are the coders that archives of models come with. Encryption and other coders are refused by name.

mod coders;
mod header;

use crate::cursor::{Cursor, offset, show};
use crate::report::{self, Finding};
use crate::unpack::Budget;
use crate::xz::crc32;
use crate::zip::is_safe_name;

use header::{File, Folder, Listed, Streams};

/// First bytes of every archive.
pub(crate) const MAGIC: &[u8] = b"7z\xbc\xaf\x27\x1c";
/// Bytes of the first header.
const START: usize = 32;

/// An archive whose headers were read.
#[derive(Debug)]
pub(crate) struct Archive<'a> {
    /// Members without content.
    pub(crate) empty: Vec<String>,
    pub(crate) packs: Vec<Pack<'a>>,
}

/// A folder, which is unpacked at once, and the members it holds.
#[derive(Debug)]
pub(crate) struct Pack<'a> {
    folder: Folder,
    packed: &'a [u8],
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    name: String,
    size: u64,
    crc: u32,
}

fn layout(what: impl Into<String>) -> Finding {
    Finding::new(&report::ARCHIVE_LAYOUT, 0, what)
}

fn cut() -> Finding {
    layout("header of 7z is cut off or broken")
}

/// Reads the headers: they and the packed streams cover the file.
pub(crate) fn read<'a>(bytes: &'a [u8], budget: &mut Budget) -> Result<Archive<'a>, Finding> {
    let mut cursor = Cursor::at(bytes, MAGIC.len());
    let version = (cursor.u8(), cursor.u8());
    let sum = cursor.u32().ok_or_else(cut)?;
    let covered = cursor.clone().take(START - 12).ok_or_else(cut)?;
    if version.0 != Some(0) || crc32(covered) != sum {
        return Err(layout("first header of 7z is broken"));
    }
    let mut number = || cursor.u64().and_then(|value| usize::try_from(value).ok()).ok_or_else(cut);
    let (at, len) = (number()?, number()?);
    let sum = cursor.u32().ok_or_else(cut)?;
    if (at, len, bytes.len()) == (0, 0, START) {
        return Ok(Archive { empty: Vec::new(), packs: Vec::new() });
    }
    let begin = START.checked_add(at).ok_or_else(cut)?;
    if begin.checked_add(len) != Some(bytes.len()) {
        return Err(layout("header of 7z does not end with the file"));
    }
    let raw = bytes.get(begin..).unwrap_or_default();
    if crc32(raw) != sum {
        return Err(layout("header of 7z does not match its checksum"));
    }
    let mut cursor = Cursor::new(raw);
    match cursor.u8() {
        Some(header::HEADER) => assemble(bytes, header::listed(&mut cursor, budget)?, begin),
        Some(header::ENCODED) => {
            let streams = header::streams(&mut cursor, budget)?;
            if !cursor.is_done() {
                return Err(cut());
            }
            let (content, from) = packed_header(bytes, streams, begin, budget)?;
            let mut cursor = Cursor::new(&content);
            if cursor.u8() != Some(header::HEADER) {
                return Err(layout("header of 7z is packed more than once"));
            }
            assemble(bytes, header::listed(&mut cursor, budget)?, from)
        }
        _ => Err(cut()),
    }
}

/// The header that one folder right before `end` holds, and where that begins.
fn packed_header(
    bytes: &[u8],
    streams: Streams,
    end: usize,
    budget: &mut Budget,
) -> Result<(Vec<u8>, usize), Finding> {
    let (placed, from, to) = place(bytes, streams)?;
    let mut placed = placed.into_iter();
    let (Some((folder, packed)), None) = (placed.next(), placed.next()) else { return Err(cut()) };
    if to != end {
        return Err(layout("packed header of 7z does not stand before the header"));
    }
    let content = unpack(&folder, packed, budget)?;
    // Some writers state no checksum here; what the header says is checked in any case.
    if folder.crc.is_some_and(|sum| sum != crc32(&content)) {
        return Err(layout("packed header of 7z does not match its checksum"));
    }
    Ok((content, from))
}

/// Each folder with its packed bytes, and the range of all of them.
type Placed<'a> = (Vec<(Folder, &'a [u8])>, usize, usize);

fn place(bytes: &[u8], streams: Streams) -> Result<Placed<'_>, Finding> {
    let from = START.checked_add(streams.at).ok_or_else(cut)?;
    let mut at = from;
    if streams.sizes.len() != streams.folders.len() {
        return Err(layout("folder of 7z has several packed streams, which are not read"));
    }
    let mut placed = Vec::with_capacity(streams.folders.len());
    for (folder, size) in streams.folders.into_iter().zip(streams.sizes) {
        let end = at.checked_add(size).ok_or_else(cut)?;
        placed.push((folder, bytes.get(at..end).ok_or_else(cut)?));
        at = end;
    }
    Ok((placed, from, at))
}

/// Ties the files to the folders. The packed streams begin behind the first header and end at `end`.
fn assemble(bytes: &[u8], listed: Listed, end: usize) -> Result<Archive<'_>, Finding> {
    let Listed { streams, files } = listed;
    let (placed, from, to) = place(bytes, streams)?;
    if (from, to) != (START, end) && !(placed.is_empty() && end == START) {
        return Err(layout("streams of 7z do not cover the file"));
    }
    let mut archive = Archive { empty: Vec::new(), packs: Vec::new() };
    let mut names = std::collections::BTreeSet::new();
    let mut with_content = Vec::new();
    for File { name, directory, content } in files {
        let shown = show(name.as_bytes());
        if !is_safe_name(&name) || !names.insert(name.to_ascii_lowercase()) {
            let what = format!("member name `{shown}` is not allowed or occurs twice");
            return Err(Finding::new(&report::ARCHIVE_NAME, 0, what));
        }
        match (content, directory) {
            (true, _) => with_content.push(name),
            (false, true) => {}
            (false, false) => archive.empty.push(name),
        }
    }
    let mut with_content = with_content.into_iter();
    for (folder, packed) in placed {
        let mut members = Vec::new();
        for (size, crc) in &folder.streams {
            let name = with_content.next().ok_or_else(|| layout("7z has a stream that is no file"))?;
            let crc =
                crc.ok_or_else(|| layout(format!("member `{}` has no checksum", show(name.as_bytes()))))?;
            members.push(Member { name, size: *size, crc });
        }
        archive.packs.push(Pack { folder, packed, members });
    }
    if with_content.next().is_some() {
        return Err(layout("7z names a file that has no stream"));
    }
    Ok(archive)
}

fn unpack(folder: &Folder, packed: &[u8], budget: &mut Budget) -> Result<Vec<u8>, Finding> {
    let content = coders::unpack(folder, packed, budget.bytes)?;
    budget.bytes = budget.bytes.saturating_sub(offset(content.len()));
    Ok(content)
}

impl Archive<'_> {
    pub(crate) fn files(&self) -> usize {
        self.packs.iter().map(|pack| pack.members.len()).sum::<usize>().saturating_add(self.empty.len())
    }
}

impl Pack<'_> {
    /// The content of the folder, which its members fill, each as its checksum says.
    pub(crate) fn unpack(&self, budget: &mut Budget) -> Result<Vec<u8>, Finding> {
        let content = unpack(&self.folder, self.packed, budget)?;
        let mut cursor = Cursor::new(&content);
        for member in &self.members {
            let data =
                usize::try_from(member.size).ok().and_then(|size| cursor.take(size)).ok_or_else(cut)?;
            if crc32(data) != member.crc {
                let what = format!("member `{}` does not match its checksum", show(member.name.as_bytes()));
                return Err(layout(what));
            }
        }
        if cursor.is_done() { Ok(content) } else { Err(layout("folder of 7z holds more than its files")) }
    }

    /// The members in what [`Self::unpack`] gave.
    pub(crate) fn members<'a>(&'a self, content: &'a [u8]) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let mut cursor = Cursor::new(content);
        self.members.iter().map_while(move |member| {
            let data = usize::try_from(member.size).ok().and_then(|size| cursor.take(size))?;
            Some((member.name.as_str(), data))
        })
    }
}
