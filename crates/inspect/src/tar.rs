//! Strict tar (POSIX ustar, with names of pax and of GNU tar): regular files and directories, one reading, zeros at the end.

use std::collections::BTreeSet;

use crate::cursor::{offset, show};
use crate::report::{self, Finding};
use crate::unpack::Budget;
use crate::zip::is_safe_name;

const BLOCK: usize = 512;
/// Bytes of one pax header.
const PAX: usize = 64 << 10;

/// A regular file of the archive.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    pub(crate) name: String,
    pub(crate) data: &'a [u8],
}

/// Whether the first block is a header: its checksum says so.
pub(crate) fn claims(bytes: &[u8]) -> bool {
    bytes.get(..BLOCK).is_some_and(|block| block.first() != Some(&0) && sums(block))
}

fn layout(at: usize, what: impl Into<String>) -> Finding {
    Finding::new(&report::ARCHIVE_LAYOUT, offset(at), what)
}

/// Reads every member.
pub(crate) fn read<'a>(bytes: &'a [u8], budget: &mut Budget) -> Result<Vec<Member<'a>>, Finding> {
    let mut members = Vec::new();
    let mut names = BTreeSet::new();
    let mut at = 0;
    let mut long: Option<String> = None;
    loop {
        let block = bytes.get(at..).and_then(|rest| rest.get(..BLOCK));
        let block = block.ok_or_else(|| layout(at, "tar ends without its two blocks of zeros"))?;
        if block.iter().all(|byte| *byte == 0) {
            break;
        }
        if !sums(block) {
            return Err(layout(at, "checksum of a tar header is wrong"));
        }
        budget.members = budget.members.checked_sub(1).ok_or_else(|| {
            Finding::new(&report::LIMIT, offset(at), "archive has too many members (`zip_members`)")
        })?;
        let size = octal(field(block, 124, 12)).and_then(|size| usize::try_from(size).ok());
        let data_at = at + BLOCK;
        let data = size.and_then(|size| bytes.get(data_at..)?.get(..size));
        let data = data.ok_or_else(|| layout(at, "tar member is longer than the file"))?;
        let padded = data.len().div_ceil(BLOCK).saturating_mul(BLOCK);
        let padding = bytes.get(data_at + data.len()..data_at.saturating_add(padded));
        if !padding.is_some_and(|padding| padding.iter().all(|byte| *byte == 0)) {
            return Err(layout(at, "tar member is not padded with zeros"));
        }
        match block.get(156) {
            Some(b'x') if long.is_none() => long = Some(pax(data, at)?),
            // GNU tar writes a name above 100 bytes as a member of its own, ended by a zero.
            Some(b'L') if long.is_none() && field(block, 257, 8) == b"ustar  \0" => {
                long = Some(gnu_name(data, at)?);
            }
            Some(kind @ (b'0' | 0 | b'5')) => {
                let directory = *kind == b'5';
                let name = match long.take() {
                    Some(name) if !name.is_empty() => name,
                    _ => short_name(block, at)?,
                };
                let plain = if directory { name.strip_suffix('/').unwrap_or(&name) } else { &name };
                // `./` in front is what `tar -C dir .` writes.
                let plain = plain.strip_prefix("./").unwrap_or(plain).to_owned();
                if directory && (plain == "." || plain.is_empty()) {
                    at = data_at.saturating_add(padded);
                    continue;
                }
                if !is_safe_name(&plain)
                    || !names.insert(plain.to_ascii_lowercase())
                    || (directory && !data.is_empty())
                {
                    let what =
                        format!("member name `{}` is not allowed or occurs twice", show(name.as_bytes()));
                    return Err(Finding::new(&report::ARCHIVE_NAME, offset(at), what));
                }
                if !directory {
                    members.push(Member { name: plain, data });
                }
            }
            kind => {
                let what = match kind {
                    Some(b'1' | b'2') => "member is a link",
                    Some(b'3' | b'4' | b'6') => "member is a device or a pipe",
                    _ => "member is of a kind that is not read",
                };
                return Err(Finding::new(&report::ARCHIVE_NAME, offset(at), what));
            }
        }
        at = data_at.saturating_add(padded);
    }
    let tail = bytes.get(at..).unwrap_or_default();
    if tail.len() < 2 * BLOCK || long.is_some() || tail.iter().any(|byte| *byte != 0) {
        return Err(layout(at, "tar does not end with blocks of zeros alone"));
    }
    Ok(members)
}

pub(crate) fn field(block: &[u8], at: usize, len: usize) -> &[u8] {
    block.get(at..at.saturating_add(len)).unwrap_or_default()
}

/// Octal digits, with spaces or zeros around them. The binary form of sizes above 8 GiB is not read.
pub(crate) fn octal(field: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    u64::from_str_radix(digits, 8).ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

pub(crate) fn sums(block: &[u8]) -> bool {
    let sum: u64 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) })
        .sum();
    octal(field(block, 148, 8)) == Some(sum)
}

fn text(field: &[u8], at: usize) -> Result<&str, Finding> {
    let len = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let text = field.get(..len).and_then(|text| std::str::from_utf8(text).ok());
    text.ok_or_else(|| Finding::new(&report::ARCHIVE_NAME, offset(at), "name is not UTF-8"))
}

pub(crate) fn short_name(block: &[u8], at: usize) -> Result<String, Finding> {
    let name = text(field(block, 0, 100), at)?;
    let ustar = field(block, 257, 6) == b"ustar\0";
    let prefix = if ustar { text(field(block, 345, 155), at)? } else { "" };
    Ok(if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") })
}

fn gnu_name(data: &[u8], at: usize) -> Result<String, Finding> {
    let name = data.strip_suffix(b"\0").filter(|name| name.len() <= PAX && !name.contains(&0));
    let name = name.and_then(|name| std::str::from_utf8(name).ok()).filter(|name| !name.is_empty());
    name.map(str::to_owned).ok_or_else(|| layout(at, "long name of GNU tar is broken"))
}

/// The `path` of a pax header, or nothing. Times and owners are no part of a member; a size, a link or a sparse map
/// would change what is read.
pub(crate) fn pax(data: &[u8], at: usize) -> Result<String, Finding> {
    let bad = || layout(at, "pax header is broken or changes more than a name");
    if data.len() > PAX {
        return Err(bad());
    }
    let mut path = String::new();
    let mut rest = std::str::from_utf8(data).map_err(|_| bad())?;
    while !rest.is_empty() {
        let (len, _) = rest.split_once(' ').ok_or_else(bad)?;
        let whole: usize = len.parse().map_err(|_| bad())?;
        let record = rest.get(..whole).ok_or_else(bad)?;
        let record =
            record.get(len.len() + 1..).and_then(|record| record.strip_suffix('\n')).ok_or_else(bad)?;
        match record.split_once('=').ok_or_else(bad)? {
            ("path", name) if path.is_empty() && !name.is_empty() => name.clone_into(&mut path),
            ("mtime" | "atime" | "ctime" | "uid" | "gid" | "uname" | "gname" | "comment", _) => {}
            _ => return Err(bad()),
        }
        rest = rest.get(whole..).unwrap_or_default();
    }
    Ok(path)
}
