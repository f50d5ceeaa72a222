//! ZIP archives of any size: the directory at the end, then each member, packed or not. The directory and the headers
//! before the members have to say the same, and members and directory to cover the file.

use std::io::{self, Read};

use super::archive::is_below;
use super::input::{Anywhere, Input, Source, bytes_at};
use super::{Described, Head, Place, within};
use crate::cursor::{Cursor, offset};
use crate::limits;

const END: u64 = 22;
/// Bytes of a data descriptor at most.
const DESCRIPTOR: u64 = 24;
/// Bits of the flags: encrypted, strongly encrypted, masked.
const FLAGS_ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
const FLAG_DESCRIPTOR: u16 = 1 << 3;

/// A record of the directory.
struct Member {
    name: String,
    method: u16,
    flags: u16,
    packed: u64,
    size: u64,
    at: u64,
}

/// What a ZIP archive holds.
pub(super) fn zipped(head: &mut Head, input: &mut Input<'_>, place: &mut Place) -> io::Result<Described> {
    if place.depth >= limits::DATA_DEPTH {
        return Ok(Described::refused("zip", "archives are nested too deep to look into (3 levels)"));
    }
    place.depth += 1;
    let described = match input.random() {
        Some(mut all) => members(&mut all, place),
        None => {
            head.extend(input, limits::DATA_SPOOL)?;
            if head.whole {
                let mut bytes = head.bytes.as_slice();
                members(&mut Input::of(&mut bytes).random().ok_or(io::ErrorKind::Other)?, place)
            } else {
                Err("it stands in another archive, and is too large to look into there".to_owned())
            }
        }
    };
    place.depth -= 1;
    Ok(described.unwrap_or_else(|why| Described::refused("zip", why)))
}

fn members(all: &mut Anywhere<'_>, place: &mut Place) -> Result<Described, String> {
    let (mut members, directory) = directory(all)?;
    // The directory may name them in any order.
    members.sort_by_key(|member| member.at);
    let mut zip = Described::new("zip");
    let (mut files, mut next, mut gap) = (0u64, 0u64, 0u64);
    let mut arrays: Vec<Option<u64>> = Vec::new();
    let mut all_arrays = true;
    for member in members {
        place.members = place.members.checked_sub(1).ok_or("it holds too many members to look into")?;
        // Between two members only the descriptor of the first may stand.
        if member.at < next || member.at > next.saturating_add(gap) {
            return Err(format!("`{}` does not stand behind the member before it", shown(&member.name)));
        }
        let data = data_at(all, &member)?;
        let end = data.checked_add(member.packed).filter(|end| *end <= directory);
        let end = end.ok_or_else(|| format!("`{}` is longer than the archive", shown(&member.name)))?;
        gap = if member.flags & FLAG_DESCRIPTOR != 0 { DESCRIPTOR } else { 0 };
        next = end;
        // A directory holds nothing; what does is looked into, whatever it is called.
        if member.name.ends_with('/') && member.size == 0 && member.packed == 0 {
            continue;
        }
        if !is_below(&member.name) {
            return Err(format!("`{}` leads out of the archive", shown(&member.name)));
        }
        let inner = look(all, &member, data, place);
        all_arrays &= inner.format == "npy" && member.name.ends_with(".npy");
        arrays.push(inner.records);
        zip.absorb(&member.name, &inner);
        files = files.saturating_add(1);
    }
    if directory > next.saturating_add(gap) {
        return Err("something stands between its members and its directory".to_owned());
    }
    (zip.records, zip.unit) = (Some(files), "files");
    if all_arrays && files > 0 {
        "npz".clone_into(&mut zip.format);
        zip.tell(format!("{files} arrays"));
        // Arrays of one length are the columns of as many items.
        let same = arrays.first().copied().flatten().filter(|n| arrays.iter().all(|m| *m == Some(*n)));
        (zip.records, zip.unit) = (same, if same.is_some() { "items" } else { "" });
    }
    Ok(zip)
}

fn shown(name: &str) -> String {
    crate::cursor::show(name.as_bytes())
}

/// Looks into a member, and holds it against its size.
fn look(all: &mut Anywhere<'_>, member: &Member, data: u64, place: &mut Place) -> Described {
    let mut input = Input::of(all);
    input.seek(data);
    let Ok(mut packed) = input.window(member.packed) else {
        return Described::refused("unread", "it is longer than the archive");
    };
    match member.method {
        0 if member.packed == member.size => within(&member.name, &mut packed, place),
        8 => {
            let ratio = member.packed.saturating_mul(limits::DATA_RATIO).saturating_add(limits::DATA_SLACK);
            if member.size > ratio {
                let why = format!("it unpacks to more than {} times its size", limits::DATA_RATIO);
                return Described::refused("unread", why);
            }
            let mut inflated = flate2::read::DeflateDecoder::new(&mut packed);
            let mut exact = (&mut inflated).take(member.size);
            let mut inner = within(&member.name, &mut Input::stream(&mut exact), place);
            let short = exact.limit() > 0;
            if short || !matches!(inflated.read(&mut [0]), Ok(0)) {
                inner.refuse("it is not of the size that the directory says".to_owned());
            }
            inner
        }
        method => {
            Described::refused("unread", format!("it is packed by a method that is not read ({method})"))
        }
    }
}

/// Where the data of a member begins: behind a header that says what the directory says.
fn data_at(all: &mut Anywhere<'_>, member: &Member) -> Result<u64, String> {
    let differs =
        || format!("the header of `{}` says something else than the directory", shown(&member.name));
    let header = bytes_at(all, member.at, 30).ok_or_else(differs)?;
    let mut cursor = Cursor::new(&header);
    let (magic, _version) = (cursor.u32(), cursor.u16());
    let (flags, method) = (cursor.u16(), cursor.u16());
    // Who reads it as it comes goes by the sizes that stand here.
    let size = |at: usize, said: u64| {
        let here = Cursor::at(&header, at).u32().map(u64::from);
        member.flags & FLAG_DESCRIPTOR != 0 || here == Some(said) || here == Some(u64::from(u32::MAX))
    };
    let sizes = size(18, member.packed) && size(22, member.size);
    let name_len = Cursor::at(&header, 26).u16().map_or(0, usize::from);
    let extra_len = Cursor::at(&header, 28).u16().map_or(0, u64::from);
    let name_at = member.at.saturating_add(30);
    let name = bytes_at(all, name_at, name_len).ok_or_else(differs)?;
    let same = magic == Some(0x0403_4b50)
        && flags == Some(member.flags)
        && method == Some(member.method)
        && sizes
        && name == member.name.as_bytes();
    if same { Ok(name_at.saturating_add(offset(name_len)).saturating_add(extra_len)) } else { Err(differs()) }
}

/// The records of the directory, and where it begins.
fn directory(all: &mut Anywhere<'_>) -> Result<(Vec<Member>, u64), String> {
    let broken = || "its end is not that of a ZIP archive".to_owned();
    let at = all.len().checked_sub(END).ok_or_else(broken)?;
    let end = bytes_at(all, at, 22).ok_or_else(broken)?;
    let mut cursor = Cursor::at(&end, 8);
    let (here, count) = (cursor.u16(), cursor.u16());
    let (size, start) = (cursor.u32().map(u64::from), cursor.u32().map(u64::from));
    if !end.starts_with(b"PK\x05\x06\0\0\0\0") || here != count || cursor.u16() != Some(0) {
        return Err("its end is not that of a ZIP archive of one part and without a comment".to_owned());
    }
    let (mut size, mut start) = size.zip(start).ok_or_else(broken)?;
    let mut count = count.map(u64::from).ok_or_else(broken)?;
    let mut until = at;
    let locator = at.checked_sub(20).and_then(|at| bytes_at(all, at, 20));
    if let Some(locator) = locator.filter(|locator| locator.starts_with(b"PK\x06\x07")) {
        let record_at = Cursor::at(&locator, 8).u64().ok_or_else(broken)?;
        let record = bytes_at(all, record_at, 56).filter(|record| record.starts_with(b"PK\x06\x06"));
        let record = record.ok_or_else(broken)?;
        if record_at.checked_add(76) != Some(at) {
            return Err(broken());
        }
        let mut cursor = Cursor::at(&record, 32);
        let wide = (cursor.u64(), cursor.u64(), cursor.u64());
        let (Some(count64), Some(size64), Some(start64)) = wide else { return Err(broken()) };
        let agrees = |narrow: u64, most: u64, wide: u64| narrow == most || narrow == wide;
        let narrow = u64::from(u32::MAX);
        if !agrees(count, u64::from(u16::MAX), count64)
            || !agrees(size, narrow, size64)
            || !agrees(start, narrow, start64)
        {
            return Err("its two ends say different things".to_owned());
        }
        (count, size, start, until) = (count64, size64, start64, record_at);
    }
    if start.checked_add(size) != Some(until) || size > limits::DATA_DIRECTORY {
        return Err("its directory does not end where the archive does, or is too long".to_owned());
    }
    let len = usize::try_from(size).map_err(|_| broken())?;
    let bytes = bytes_at(all, start, len).ok_or_else(broken)?;
    let mut cursor = Cursor::new(&bytes);
    let mut members = Vec::new();
    while !cursor.is_done() {
        members.push(record(&mut cursor).ok_or("a record of its directory is broken")?);
    }
    if offset(members.len()) != count {
        return Err("its directory holds another number of records than its end says".to_owned());
    }
    if members.iter().any(|member| member.flags & FLAGS_ENCRYPTED != 0) {
        return Err("it is encrypted, so nobody knows what is in it".to_owned());
    }
    Ok((members, start))
}

fn record(cursor: &mut Cursor<'_>) -> Option<Member> {
    (cursor.u32()? == 0x0201_4b50).then_some(())?;
    cursor.take(4)?;
    let (flags, method) = (cursor.u16()?, cursor.u16()?);
    cursor.take(8)?;
    let (mut packed, mut size) = (u64::from(cursor.u32()?), u64::from(cursor.u32()?));
    let lens = [cursor.u16()?, cursor.u16()?, cursor.u16()?].map(usize::from);
    let disk = cursor.u16()?;
    cursor.take(6)?;
    let mut at = u64::from(cursor.u32()?);
    let [name_len, extra_len, comment_len] = lens;
    let name = std::str::from_utf8(cursor.take(name_len)?).ok()?.to_owned();
    let extra = cursor.take(extra_len)?;
    cursor.take(comment_len)?;
    let narrow = u64::from(u32::MAX);
    let mut fields = Cursor::new(extra);
    let mut seen = false;
    while !fields.is_done() && fields.remaining() >= 4 {
        let (id, len) = (fields.u16()?, usize::from(fields.u16()?));
        let mut wide = Cursor::new(fields.take(len)?);
        if id != 1 {
            continue;
        }
        // Two of them could say two things.
        (!std::mem::replace(&mut seen, true)).then_some(())?;
        for value in [&mut size, &mut packed, &mut at] {
            if *value == narrow {
                *value = wide.u64()?;
            }
        }
    }
    (disk == 0 && !name.contains('\0')).then_some(Member { name, method, flags, packed, size, at })
}
