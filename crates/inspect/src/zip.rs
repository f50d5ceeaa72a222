//! Strict ZIP (PKWARE APPNOTE 6.3): one reading only. Members and central directory cover the file with no
//! gap, overlap or trailing byte, and both headers of a member say the same.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::cursor::{Cursor, offset, show};
use crate::limits::{self, Limits};
use crate::report::{self, Finding, Rule};

/// A member whose headers, place and checksum were verified.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    pub(crate) name: &'a str,
    pub(crate) data: Cow<'a, [u8]>,
    pub(crate) stored: bool,
    /// Offset of the (compressed) data in the file.
    pub(crate) at: u64,
}

/// A central directory record.
struct Central<'a> {
    name: &'a str,
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
    at: u64,
}

struct Directory {
    at: usize,
    end: usize,
    count: u64,
}

const EOCD_LEN: usize = 22;
const EOCD64_LEN: usize = 56;
const LOCATOR_LEN: usize = 20;
const FLAG_DESCRIPTOR: u16 = 1 << 3;
const FLAG_UTF8: u16 = 1 << 11;
/// Bits 0 (encrypted), 6 (strong encryption), 13 (masked headers).
const FLAGS_ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;

fn bad(rule: &'static Rule, at: usize, what: impl Into<String>) -> Finding {
    Finding::new(rule, offset(at), what)
}

fn cut(at: usize) -> Finding {
    bad(&report::ZIP, at, "ZIP record is cut off")
}

/// Most bytes of an end record with its comment.
pub(crate) const END_MAX: usize = EOCD_LEN + 0xffff;

/// Whether an end record of ZIP stands in the last bytes, with its directory before it. Readers search for it from
/// the end, and some let anything follow.
pub(crate) fn ends_like_one(bytes: &[u8]) -> bool {
    let from = bytes.len().saturating_sub(END_MAX);
    let tail = bytes.get(from..).unwrap_or_default();
    tail.windows(EOCD_LEN).enumerate().any(|(at, record)| {
        if !record.starts_with(b"PK\x05\x06") {
            return false;
        }
        let mut cursor = Cursor::at(record, 10);
        let count = cursor.u16().unwrap_or_default();
        let size = cursor.u32().and_then(|size| usize::try_from(size).ok()).unwrap_or_default();
        // A directory that begins before these bytes is not looked at.
        let directory = at.checked_sub(size).and_then(|at| tail.get(at..));
        count > 0 && size >= 46 && directory.is_none_or(|directory| directory.starts_with(b"PK\x01\x02"))
    })
}

/// Reads every member of a file that is one ZIP archive and nothing else.
pub(crate) fn read<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Vec<Member<'a>>, Finding> {
    let directory = directory(bytes)?;
    let central = central(bytes, &directory, limits)?;
    let mut members = Vec::with_capacity(central.len());
    let mut inflated = 0_u64;
    let mut next = 0_usize;
    for record in &central {
        if record.at != offset(next) {
            let what = format!("member `{}` does not begin where the one before it ends", record.name);
            return Err(bad(&report::ZIP, next, what));
        }
        let (member, end) = member(bytes, record, directory.at, limits, &mut inflated)?;
        members.push(member);
        next = end;
    }
    if next != directory.at {
        return Err(bad(&report::ZIP, next, "bytes between the last member and the central directory"));
    }
    Ok(members)
}

/// The end records: exactly at the end, no comment, one disk; ZIP64 records, when there, say the same.
fn directory(bytes: &[u8]) -> Result<Directory, Finding> {
    let at = bytes.len().checked_sub(EOCD_LEN).ok_or_else(|| cut(0))?;
    let mut cursor = Cursor::at(bytes, at);
    if cursor.u32() != Some(0x0605_4b50) {
        return Err(bad(&report::ZIP, at, "file does not end with an end-of-central-directory record"));
    }
    let mut read16 = || cursor.u16().map(u64::from).ok_or_else(|| cut(at));
    let (disk, start_disk, here, total) = (read16()?, read16()?, read16()?, read16()?);
    let size32 = cursor.u32().ok_or_else(|| cut(at))?;
    let at32 = cursor.u32().ok_or_else(|| cut(at))?;
    let comment = cursor.u16().ok_or_else(|| cut(at))?;
    if (disk, start_disk, comment) != (0, 0, 0) || here != total {
        return Err(bad(&report::ZIP, at, "ZIP has several disks or a comment"));
    }
    let (mut size, mut start, mut count, mut end) = (u64::from(size32), u64::from(at32), total, at);
    let locator_at = at.checked_sub(LOCATOR_LEN);
    let locator = locator_at.filter(|at| Cursor::at(bytes, *at).u32() == Some(0x0706_4b50));
    if let Some(locator_at) = locator {
        let (size64, start64, count64, record_at) = directory64(bytes, locator_at)?;
        let agrees = |narrow: u64, max: u64, wide: u64| narrow == max || narrow == wide;
        if !agrees(size, u64::from(u32::MAX), size64)
            || !agrees(start, u64::from(u32::MAX), start64)
            || !agrees(count, u64::from(u16::MAX), count64)
        {
            return Err(bad(&report::ZIP_DIFFER, at, "ZIP64 end record differs from the plain one"));
        }
        (size, start, count, end) = (size64, start64, count64, record_at);
    } else if size32 == u32::MAX || at32 == u32::MAX || total == u64::from(u16::MAX) {
        return Err(bad(&report::ZIP, at, "ZIP64 end record is missing"));
    }
    let start = usize::try_from(start).map_err(|_| cut(at))?;
    if usize::try_from(size).ok().and_then(|size| start.checked_add(size)) != Some(end) {
        return Err(bad(&report::ZIP, at, "central directory does not end where the end record begins"));
    }
    Ok(Directory { at: start, end, count })
}

fn directory64(bytes: &[u8], locator_at: usize) -> Result<(u64, u64, u64, usize), Finding> {
    let mut cursor = Cursor::at(bytes, locator_at.saturating_add(4));
    let disk = cursor.u32();
    let record_at = cursor.u64().and_then(|at| usize::try_from(at).ok()).ok_or_else(|| cut(locator_at))?;
    if disk != Some(0) || cursor.u32() != Some(1) || record_at.checked_add(EOCD64_LEN) != Some(locator_at) {
        return Err(bad(&report::ZIP, locator_at, "ZIP64 locator does not point to the record before it"));
    }
    let mut cursor = Cursor::at(bytes, record_at);
    let fail = || cut(record_at);
    let head = (cursor.u32(), cursor.u64());
    if head != (Some(0x0606_4b50), Some(44)) {
        return Err(bad(&report::ZIP, record_at, "ZIP64 end record is not of its fixed form"));
    }
    cursor.take(4).ok_or_else(fail)?;
    let disks = (cursor.u32(), cursor.u32());
    let here = cursor.u64().ok_or_else(fail)?;
    let total = cursor.u64().ok_or_else(fail)?;
    let size = cursor.u64().ok_or_else(fail)?;
    let start = cursor.u64().ok_or_else(fail)?;
    if disks != (Some(0), Some(0)) || here != total {
        return Err(bad(&report::ZIP, record_at, "ZIP has several disks"));
    }
    Ok((size, start, total, record_at))
}

fn central<'a>(bytes: &'a [u8], directory: &Directory, limits: &Limits) -> Result<Vec<Central<'a>>, Finding> {
    if directory.count > offset(limits.zip_members) {
        return Err(bad(&report::LIMIT, directory.at, "ZIP has too many members"));
    }
    let window = bytes.get(..directory.end).unwrap_or_default();
    let mut cursor = Cursor::at(window, directory.at);
    let mut records = Vec::new();
    let (mut names, mut directories) = (BTreeSet::new(), BTreeSet::new());
    let mut within = Within::Unknown;
    for _ in 0..directory.count {
        let at = cursor.pos();
        let record = central_record(&mut cursor)?;
        check_name(within.of(record.name), at)?;
        let key = record.name.strip_suffix('/').unwrap_or(record.name).to_ascii_lowercase();
        let directory = key.len() != record.name.len();
        if directory && (record.size, record.packed) != (0, 0) {
            return Err(bad(&report::ZIP_NAME, at, "directory has content"));
        }
        if directory && !directories.insert(key.clone()) || !directory && !names.insert(key.clone()) {
            return Err(bad(&report::ZIP_NAME, at, format!("member `{}` occurs twice", record.name)));
        }
        records.push(record);
    }
    if !cursor.is_done() || records.is_empty() {
        return Err(bad(&report::ZIP, cursor.pos(), "central directory is empty or longer than its records"));
    }
    // No name may be a directory of another.
    if let Some(name) = names.intersection(&directories).next() {
        let what = format!("member `{name}` is a file and a directory");
        return Err(bad(&report::ZIP_NAME, directory.at, what));
    }
    for name in &names {
        let mut prefix = name.as_str();
        while let Some((parent, _)) = prefix.rsplit_once('/') {
            if names.contains(parent) {
                let what = format!("member `{parent}` is a file and a directory");
                return Err(bad(&report::ZIP_NAME, directory.at, what));
            }
            prefix = parent;
        }
    }
    records.sort_by_key(|record| record.at);
    Ok(records)
}

fn central_record<'a>(cursor: &mut Cursor<'a>) -> Result<Central<'a>, Finding> {
    let at = cursor.pos();
    let fail = || cut(at);
    if cursor.u32() != Some(0x0201_4b50) {
        return Err(bad(&report::ZIP, at, "expected a central directory record"));
    }
    let _made_by = cursor.u16().ok_or_else(fail)?;
    let _needs = cursor.u16().ok_or_else(fail)?;
    let flags = cursor.u16().ok_or_else(fail)?;
    let method = cursor.u16().ok_or_else(fail)?;
    let _time_date = cursor.u32().ok_or_else(fail)?;
    let crc = cursor.u32().ok_or_else(fail)?;
    let packed = cursor.u32().ok_or_else(fail)?;
    let size = cursor.u32().ok_or_else(fail)?;
    let name_len = usize::from(cursor.u16().ok_or_else(fail)?);
    let extra_len = usize::from(cursor.u16().ok_or_else(fail)?);
    let comment_len = cursor.u16().ok_or_else(fail)?;
    let disk = cursor.u16().ok_or_else(fail)?;
    let _internal = cursor.u16().ok_or_else(fail)?;
    let external = cursor.u32().ok_or_else(fail)?;
    let start = cursor.u32().ok_or_else(fail)?;
    let name = cursor.take(name_len).ok_or_else(fail)?;
    let extra = cursor.take(extra_len).ok_or_else(fail)?;
    check_flags(flags, method, at)?;
    if comment_len != 0 || disk != 0 {
        return Err(bad(&report::ZIP_METHOD, at, "member has a comment or is on another disk"));
    }
    // Upper 16 bits: a Unix mode. Regular file or none, a directory where the name says so; links and devices are
    // refused.
    let directory = name.ends_with(b"/");
    let mode = if directory { matches!(external >> 28, 0 | 0o4) } else { matches!(external >> 28, 0 | 0o10) };
    if !mode || (external & 0x10 != 0 && !directory) {
        return Err(bad(&report::ZIP_NAME, at, "member is no regular file"));
    }
    let name = std::str::from_utf8(name).map_err(|_| bad(&report::ZIP_NAME, at, "name is not UTF-8"))?;
    let wide = extra_fields(extra, &[size, packed, start], at)?;
    let [size, packed, start] = wide;
    Ok(Central { name, flags, method, crc, packed, size, at: start })
}

fn check_flags(flags: u16, method: u16, at: usize) -> Result<(), Finding> {
    if flags & FLAGS_ENCRYPTED != 0 {
        return Err(bad(&report::ZIP_ENCRYPTED, at, "member is marked as encrypted"));
    }
    if flags & !(FLAG_DESCRIPTOR | FLAG_UTF8) != 0 || !matches!(method, 0 | 8) {
        return Err(bad(&report::ZIP_METHOD, at, format!("method {method} with flags 0x{flags:04x}")));
    }
    Ok(())
}

/// Reads the extra fields: ZIP64 sizes (0x0001) where the narrow field is full, time stamps, PyTorch's
/// alignment padding. Returns the fields widened in the order of APPNOTE 4.5.3.
fn extra_fields<const N: usize>(extra: &[u8], narrow: &[u32; N], at: usize) -> Result<[u64; N], Finding> {
    let mut wide = narrow.map(u64::from);
    let mut cursor = Cursor::new(extra);
    let mut seen64 = false;
    while !cursor.is_done() {
        let head = cursor.u16().zip(cursor.u16());
        let (id, len) = head.ok_or_else(|| bad(&report::ZIP, at, "extra field is cut off"))?;
        let data = cursor.take(usize::from(len));
        let data = data.ok_or_else(|| bad(&report::ZIP, at, "extra field is cut off"))?;
        match id {
            0x0001 if !seen64 => {
                seen64 = true;
                let mut fields = Cursor::new(data);
                // A writer that reserves the field states sizes that fit the narrow ones again.
                let restated = !narrow.contains(&u32::MAX);
                for (to, from) in wide.iter_mut().zip(narrow) {
                    if restated && !fields.is_done() {
                        if fields.u64() != Some(u64::from(*from)) {
                            return Err(bad(&report::ZIP_DIFFER, at, "ZIP64 field states another size"));
                        }
                    } else if *from == u32::MAX {
                        let value = fields.u64();
                        *to = value.ok_or_else(|| bad(&report::ZIP, at, "ZIP64 field is too short"))?;
                    }
                }
                if !fields.is_done() {
                    return Err(bad(&report::ZIP_DIFFER, at, "ZIP64 field holds sizes that are not needed"));
                }
            }
            // Extended time stamp, Unix ids, NTFS times; "FB": padding of PyTorch.
            0x5455 | 0x7875 | 0x000a | 0x4246 => {}
            _ => return Err(bad(&report::ZIP_METHOD, at, format!("extra field 0x{id:04x} is not allowed"))),
        }
    }
    if !seen64 && narrow.contains(&u32::MAX) {
        return Err(bad(&report::ZIP, at, "ZIP64 field is missing"));
    }
    Ok(wide)
}

/// The directory that all members stand in, where its name is not ASCII: torch names it after the file. All of them
/// share it to the byte, so that no two names can be one to a file system that folds case or composes letters.
enum Within<'a> {
    Unknown,
    Nothing,
    Shared(&'a str),
}

impl<'a> Within<'a> {
    /// What of a name has to be plain: what stands below the shared directory, told by the first name.
    fn of(&mut self, name: &'a str) -> &'a str {
        let split = name.split_once('/');
        if let Self::Unknown = self {
            *self = match split {
                Some((first, _)) if is_foreign(first) => Self::Shared(first),
                _ => Self::Nothing,
            };
        }
        match (self, split) {
            (Self::Shared(shared), Some((first, rest))) if first == *shared => rest,
            // Refused: a plain name beside the shared directory.
            (Self::Shared(_), _) => "..",
            _ => name,
        }
    }
}

/// Letters beyond ASCII, and nothing that a terminal or a path takes for something else.
fn is_foreign(part: &str) -> bool {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\\' | ':' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    !part.is_ascii() && part.len() <= 512 && !part.starts_with('.') && !part.contains(hidden)
}

/// Relative, forward slashes, printable ASCII, no empty, `.` or `..` component.
pub(crate) fn is_safe_name(name: &str) -> bool {
    let plain = name.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'\\' && byte != b':');
    name.len() <= 1_024 && plain && !name.split('/').any(|part| matches!(part, "" | "." | ".."))
}

fn check_name(name: &str, at: usize) -> Result<(), Finding> {
    if !is_safe_name(name.strip_suffix('/').unwrap_or(name)) {
        let what = format!("member name `{}` is not allowed", show(name.as_bytes()));
        return Err(bad(&report::ZIP_NAME, at, what));
    }
    Ok(())
}

/// Reads one member and returns where it ends, data descriptor included.
fn member<'a>(
    bytes: &'a [u8],
    record: &Central<'a>,
    end_of_members: usize,
    limits: &Limits,
    inflated: &mut u64,
) -> Result<(Member<'a>, usize), Finding> {
    let at = usize::try_from(record.at).map_err(|_| cut(0))?;
    let fail = || cut(at);
    let window = bytes.get(..end_of_members).ok_or_else(fail)?;
    let mut cursor = Cursor::at(window, at);
    if cursor.u32() != Some(0x0403_4b50) {
        return Err(bad(&report::ZIP, at, "expected a local header"));
    }
    let _needs = cursor.u16().ok_or_else(fail)?;
    let flags = cursor.u16().ok_or_else(fail)?;
    let method = cursor.u16().ok_or_else(fail)?;
    check_flags(flags, method, at)?;
    let _time_date = cursor.u32().ok_or_else(fail)?;
    let crc = cursor.u32().ok_or_else(fail)?;
    let packed = cursor.u32().ok_or_else(fail)?;
    let size = cursor.u32().ok_or_else(fail)?;
    let name_len = usize::from(cursor.u16().ok_or_else(fail)?);
    let extra_len = usize::from(cursor.u16().ok_or_else(fail)?);
    let name = cursor.take(name_len).ok_or_else(fail)?;
    let extra = cursor.take(extra_len).ok_or_else(fail)?;
    let [size, packed] = extra_fields(extra, &[size, packed], at)?;
    let late = flags & FLAG_DESCRIPTOR != 0;
    let same = |local: u64, central: u64| local == central || (late && local == 0);
    if name != record.name.as_bytes()
        || flags != record.flags
        || method != record.method
        || !same(u64::from(crc), u64::from(record.crc))
        || !same(size, record.size)
        || !same(packed, record.packed)
    {
        let what = format!("headers of member `{}` differ", record.name);
        return Err(bad(&report::ZIP_DIFFER, at, what));
    }
    let data_at = cursor.pos();
    let raw = usize::try_from(record.packed).ok().and_then(|len| cursor.take(len));
    let raw = raw.ok_or_else(|| bad(&report::ZIP, at, "member is longer than the file"))?;
    if late {
        descriptor(&mut cursor, record)?;
    }
    let data = unpack(raw, record, at, limits, inflated)?;
    let mut sum = flate2::Crc::new();
    sum.update(&data);
    if sum.sum() != record.crc {
        let what = format!("member `{}` does not match its checksum", record.name);
        return Err(bad(&report::ZIP_CRC, at, what));
    }
    let member = Member { name: record.name, data, stored: record.method == 0, at: offset(data_at) };
    Ok((member, cursor.pos()))
}

/// The data descriptor: signature, checksum, sizes, with 4 or 8 bytes each, equal to the central values.
fn descriptor(cursor: &mut Cursor<'_>, record: &Central<'_>) -> Result<(), Finding> {
    let at = cursor.pos();
    let differs = || bad(&report::ZIP_DIFFER, at, "data descriptor differs from the central directory");
    if cursor.u32() != Some(0x0807_4b50) || cursor.u32() != Some(record.crc) {
        return Err(differs());
    }
    let mut short = cursor.clone();
    let narrow = short.u32().map(u64::from).zip(short.u32().map(u64::from));
    let next = short.clone().u32();
    let follows = matches!(next, Some(0x0403_4b50) | None);
    if narrow == Some((record.packed, record.size)) && follows {
        *cursor = short;
        return Ok(());
    }
    if cursor.u64().zip(cursor.u64()) == Some((record.packed, record.size)) {
        return Ok(());
    }
    Err(differs())
}

fn unpack<'a>(
    raw: &'a [u8],
    record: &Central<'_>,
    at: usize,
    limits: &Limits,
    inflated: &mut u64,
) -> Result<Cow<'a, [u8]>, Finding> {
    if record.method == 0 {
        if record.packed != record.size {
            return Err(bad(&report::ZIP_DIFFER, at, "stored member has two sizes"));
        }
        return Ok(Cow::Borrowed(raw));
    }
    *inflated = inflated.saturating_add(record.size);
    // Small members may compress better than the ratio; 64 KiB of slack costs nothing.
    let allowed = record.packed.saturating_mul(limits::ZIP_RATIO).saturating_add(1 << 16);
    if record.size > allowed || *inflated > limits.zip_inflated {
        return Err(bad(&report::LIMIT, at, format!("member `{}` expands too much", record.name)));
    }
    let broken = || bad(&report::ZIP, at, format!("member `{}` does not inflate to its size", record.name));
    let size = usize::try_from(record.size).map_err(|_| broken())?;
    let mut out = Vec::with_capacity(size.saturating_add(16));
    // A little room beyond the size, so that a stream which goes on shows itself.
    let mut inflater = flate2::Decompress::new(false);
    let status = inflater.decompress_vec(raw, &mut out, flate2::FlushDecompress::Finish);
    let done = matches!(status, Ok(flate2::Status::StreamEnd)) && inflater.total_in() == offset(raw.len());
    if !done || out.len() != size {
        return Err(broken());
    }
    Ok(Cow::Owned(out))
}
