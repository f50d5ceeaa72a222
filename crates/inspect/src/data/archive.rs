//! Compressed files and tar archives: looked into as they come, each member as a file of its own.

use std::io::{self, BufRead, BufReader, Read};

use super::input::Input;
use super::{Described, Head, Place, within};
use crate::cursor::offset;
use crate::limits;
use crate::tar;
use crate::unpack::{self, Budget, Packed};

const BLOCK: usize = 512;
/// Why it is not looked into.
const DEEP: &str = "archives are nested too deep to look into (3 levels)";

/// Counts what comes out of a decoder against what went in.
struct Bounded<'a> {
    read: &'a mut dyn Read,
    left: u64,
}

impl Read for Bounded<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.read.read(out)?;
        self.left = self.left.checked_sub(offset(read)).ok_or_else(|| {
            let ratio = limits::DATA_RATIO;
            io::Error::other(format!("it unpacks to more than {ratio} times its size"))
        })?;
        Ok(read)
    }
}

/// What a compressed file holds.
pub(super) fn packed(
    packed: Packed,
    name: &str,
    head: &mut Head,
    input: &mut Input<'_>,
    place: &mut Place,
) -> io::Result<Described> {
    let format = packed.as_str();
    if place.depth >= limits::DATA_DEPTH {
        return Ok(Described::refused(format, DEEP));
    }
    place.depth += 1;
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned();
    let inner = if matches!(packed, Packed::Xz | Packed::Lzma) {
        in_memory(packed, &stem, head, input, place)?
    } else {
        streamed(packed, &stem, head, input, place)
    };
    place.depth -= 1;
    let mut described = Described { format: format!("{format}({})", inner.format), ..inner };
    described.format.truncate(limits::DATA_NOTE);
    Ok(described)
}

/// What needs the whole file to be unpacked within bounds.
fn in_memory(
    packed: Packed,
    stem: &str,
    head: &mut Head,
    input: &mut Input<'_>,
    place: &mut Place,
) -> io::Result<Described> {
    head.extend(input, limits::DATA_SPOOL)?;
    if !head.whole {
        return Ok(Described::refused("unread", "it is too large to be unpacked here; use gzip or zstd"));
    }
    let mut budget = Budget { bytes: limits::ZIP_INFLATED, members: 1 };
    Ok(match unpack::unpack(packed, &head.bytes, &mut budget) {
        Ok(bytes) => within(stem, &mut Input::of(&mut bytes.as_slice()), place),
        Err(finding) => Described::refused("unread", finding.explanation),
    })
}

/// What is unpacked as it comes.
fn streamed(packed: Packed, stem: &str, head: &Head, input: &mut Input<'_>, place: &mut Place) -> Described {
    // Of a stream, whose length is not known, only the first bytes count as what went in: a lower bound.
    let len = input.known_len().unwrap_or(offset(head.bytes.len()));
    let left = len.saturating_mul(limits::DATA_RATIO).saturating_add(limits::DATA_SLACK);
    input.seek(offset(head.bytes.len()));
    let rest = head.bytes.as_slice().chain(&mut *input);
    let mut rest = BufReader::with_capacity(limits::DATA_PIECE, rest);
    let mut read: Box<dyn Read + '_> = match packed {
        Packed::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(&mut rest)),
        Packed::Zlib => Box::new(flate2::bufread::ZlibDecoder::new(&mut rest)),
        Packed::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(&mut rest)),
        Packed::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(&mut rest)),
        _ => Box::new(Frames { source: Some(&mut rest), frame: None }),
    };
    let mut bounded = Bounded { read: &mut read, left };
    let mut inner = within(stem, &mut Input::stream(&mut bounded), place);
    drop(read);
    match rest.fill_buf() {
        Ok([]) => {}
        Ok(_) => inner.refuse(format!("something follows what is compressed by {}", packed.as_str())),
        Err(error) => inner.refuse(error.to_string()),
    }
    inner
}

/// Frames of Zstandard, one after the other.
struct Frames<R: BufRead> {
    source: Option<R>,
    frame: Option<ruzstd::decoding::StreamingDecoder<R, ruzstd::decoding::FrameDecoder>>,
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.frame {
                let read = frame.read(out)?;
                if read > 0 || out.is_empty() {
                    return Ok(read);
                }
            }
            if let Some(frame) = self.frame.take() {
                self.source = Some(frame.into_inner());
            }
            let Some(mut source) = self.source.take() else { return Ok(0) };
            if source.fill_buf()?.is_empty() {
                return Ok(0);
            }
            let frame = ruzstd::decoding::StreamingDecoder::new(source);
            self.frame = Some(frame.map_err(|e| io::Error::other(e.to_string()))?);
        }
    }
}

/// A header of tar that was read.
enum Entry {
    /// The name of the next one.
    Name(String),
    /// Nothing that is a file: a directory, settings for all.
    Nothing,
    Link,
    File(String),
}

/// What a tar archive holds. Files that follow each other and are called alike up to their first dot are one sample, as
/// `WebDataset` has it.
pub(super) fn tape(head: &Head, input: &mut Input<'_>, place: &mut Place) -> io::Result<Described> {
    if place.depth >= limits::DATA_DEPTH {
        return Ok(Described::refused("tar", DEEP));
    }
    place.depth += 1;
    // A source goes back to its beginning; of a stream the first bytes are given once more.
    let described = if input.random().is_some() {
        input.seek(0);
        members(input, place)
    } else {
        let mut again = head.bytes.as_slice().chain(&mut *input);
        members(&mut Input::stream(&mut again), place)
    };
    place.depth -= 1;
    described
}

fn members(input: &mut Input<'_>, place: &mut Place) -> io::Result<Described> {
    let mut tar = Described::new("tar");
    let (mut files, mut samples) = (0u64, 0u64);
    let mut last: Option<String> = None;
    let mut long: Option<String> = None;
    loop {
        let mut block = Vec::with_capacity(BLOCK);
        (&mut *input).take(offset(BLOCK)).read_to_end(&mut block)?;
        if block.is_empty() || block.iter().all(|byte| *byte == 0) {
            break;
        }
        let Some(left) = place.members.checked_sub(1) else {
            return Ok(Described::refused("tar", "it holds too many members to look into"));
        };
        place.members = left;
        let (entry, size) = match header(&block, long.take(), input) {
            Ok(found) => found,
            Err(why) => return Ok(Described::refused("tar", why)),
        };
        match entry {
            Entry::Name(name) => long = Some(name),
            Entry::Nothing => skip(input, size)?,
            Entry::Link => {
                tar.tell("it holds links, which are not looked at");
                skip(input, size)?;
            }
            Entry::File(name) => {
                if !is_below(&name) {
                    let shown = crate::cursor::show(name.as_bytes());
                    return Ok(Described::refused("tar", format!("`{shown}` leads out of the archive")));
                }
                let mut member = input.window(size)?;
                let inner = within(&name, &mut member, place);
                tar.absorb(&name, &inner);
                skip_padding(input, size)?;
                files = files.saturating_add(1);
                let sample = sample(&name);
                if last.as_deref() != Some(sample) {
                    samples = samples.saturating_add(1);
                    last = Some(sample.to_owned());
                }
            }
        }
    }
    // Zeros follow, and nothing else.
    let mut rest = vec![0; limits::DATA_PIECE];
    loop {
        match input.read(&mut rest)? {
            0 => break,
            read if rest.get(..read).is_some_and(|rest| rest.iter().all(|byte| *byte == 0)) => {}
            _ => {
                tar.refuse("something follows the end of the archive".to_owned());
                break;
            }
        }
    }
    (tar.records, tar.unit) = (Some(samples), "samples");
    if samples != files {
        tar.tell(format!("{files} files"));
    }
    Ok(tar)
}

/// Up to the first dot of the last part of the path.
fn sample(name: &str) -> &str {
    let part = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = name.get(part..).and_then(|file| file.get(1..)?.find('.')).map(|dot| part + 1 + dot);
    dot.and_then(|dot| name.get(..dot)).unwrap_or(name)
}

pub(super) fn is_below(name: &str) -> bool {
    !name.starts_with('/') && !name.contains('\\') && !name.split('/').any(|part| part == "..")
}

fn skip(input: &mut Input<'_>, size: u64) -> io::Result<()> {
    input.window(size)?.drain()?;
    skip_padding(input, size)
}

fn skip_padding(input: &mut Input<'_>, size: u64) -> io::Result<()> {
    let block = offset(BLOCK);
    input.window(size.next_multiple_of(block).saturating_sub(size))?.drain()
}

/// Reads a header, and what belongs to it.
fn header(block: &[u8], long: Option<String>, input: &mut Input<'_>) -> Result<(Entry, u64), String> {
    if block.len() < BLOCK || !tar::sums(block) {
        return Err("a header of the archive is broken".to_owned());
    }
    let size = tar::octal(tar::field(block, 124, 12)).filter(|size| *size < 1 << 60);
    let size = size.ok_or("the size of a member is not read")?;
    let mut text = || -> Result<Vec<u8>, String> {
        if size > 64 << 10 {
            return Err("the name of a member is too long".to_owned());
        }
        let mut bytes = Vec::new();
        let read = input.window(size).and_then(|mut window| window.read_to_end(&mut bytes));
        read.and_then(|_| skip_padding(input, size)).map_err(|e| e.to_string())?;
        Ok(bytes)
    };
    Ok(match block.get(156) {
        Some(b'x') => {
            let name = tar::pax(&text()?, 0).map_err(|finding| finding.explanation)?;
            // Times alone change no name.
            let name = if name.is_empty() { long.unwrap_or_default() } else { name };
            (Entry::Name(name), size)
        }
        Some(b'L') => {
            let name = String::from_utf8(text()?).map_err(|_| "the name of a member is not UTF-8")?;
            (Entry::Name(name.trim_end_matches('\0').to_owned()), size)
        }
        Some(b'g') => {
            tar::pax(&text()?, 0).map_err(|finding| finding.explanation)?;
            (Entry::Nothing, 0)
        }
        Some(b'5') => (Entry::Nothing, size),
        Some(b'1' | b'2') => (Entry::Link, 0),
        Some(b'0' | 0 | b'7') => {
            let name = match long.filter(|name| !name.is_empty()) {
                Some(name) => name,
                None => tar::short_name(block, 0).map_err(|finding| finding.explanation)?,
            };
            (Entry::File(name), size)
        }
        _ => return Err("the archive holds something that is no file, directory or link".to_owned()),
    })
}
