//! What runs in the program that opens it: programs by signature and name, serialised objects by what a reader of
//! them would do.

use super::input::Input;
use super::text::is_text;
use super::{Carries, Described, Head};
use crate::limits::{self, Limits};
use crate::pickle::{self, Place};
use crate::report;
use crate::sniff::{self, Claim};

/// Serialised objects of other languages, by their first bytes.
const SERIALISED: &[(&[u8], &str)] = &[
    (b"\xac\xed\x00\x05", "serialised objects of Java"),
    (b"RDX2\n", "a workspace of R, which holds promises"),
    (b"RDX3\n", "a workspace of R, which holds promises"),
    (b"X\n\x00\x00\x00", "a serialised object of R"),
    (b"ZF0x", "a file of an old joblib"),
];

/// Programs, and what is known and is no data: told by the first bytes, or by a name that makes a text a program.
pub(super) fn told(name: &str, head: &[u8]) -> Option<Described> {
    let shown = uncut(head);
    if let Some((format, why, program)) = sniff::refused(shown) {
        return Some(match format {
            "tensorrt" | "rknn" => Described::carrying(format, Carries::Code, why),
            "rar" => Described::refused(format, format!("it is {why}")),
            _ if program => Described::carrying(format, Carries::Code, why),
            _ => Described::new(format),
        });
    }
    // Its directory stands at its end: a file of data is read once, from its beginning.
    if head.starts_with(crate::sevenz::MAGIC) {
        return Some(Described::refused(
            "7z",
            "it is an archive of 7-Zip, which is not looked into here".to_owned(),
        ));
    }
    if let Some((_, why)) = SERIALISED.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some(Described::carrying("serialised", Carries::Pickle, *why));
    }
    if sniff::claim(name) == Claim::Program {
        return Some(Described::carrying("code", Carries::Code, "its name is that of a program or script"));
    }
    None
}

/// The bytes without a character at their end that is cut: a text that is cut within a character is a text.
pub(super) fn uncut(head: &[u8]) -> &[u8] {
    match std::str::from_utf8(head) {
        Err(error) if error.error_len().is_none() => head.get(..error.valid_up_to()).unwrap_or_default(),
        _ => head,
    }
}

/// Whether a reader of pickles would read it as one. What begins like one and is too long to tell is refused.
pub(super) fn pickle(head: &mut Head, input: &mut Input<'_>) -> std::io::Result<Option<Described>> {
    let limits = Limits::default();
    let text = is_text(&head.bytes, head.whole);
    let mut scan = pickle::scan(&head.bytes, 0, Place::Bare, &limits);
    // An array of `joblib` stands between the opcodes: what is before it was executed.
    let marked = !text && pickle::has_magic(&head.bytes);
    let inert = text || is_inert(&head.bytes);
    if !marked && !inert && !head.whole && pickle::wants_more(&scan) {
        head.extend(input, limits::DATA_SPOOL)?;
        scan = pickle::scan(&head.bytes, 0, Place::Bare, &limits);
    }
    // What is cut off by the end of the file was no pickle, but what stands before it was executed.
    let open = pickle::wants_more(&scan) && !(head.whole || scan.complete);
    let unread = scan.findings.iter().any(|finding| finding.code == report::LIMIT.code);
    let acts = scan.calls || scan.names_globals && (!text || scan.complete);
    let is_pickle = match (marked, text) {
        (true, _) => scan.streams > 0 || open || acts || scan.legacy_torch,
        (false, true) => scan.complete || scan.calls || acts || open && begins_open(&head.bytes),
        (false, false) => scan.complete || acts,
    };
    if is_pickle {
        let told = scan.findings.iter().find(|finding| finding.code != report::STREAM.code);
        let why = told.map_or_else(
            || "a pickle: opening it can run code".to_owned(),
            |finding| format!("a pickle: {}", finding.explanation),
        );
        return Ok(Some(Described::carrying("pickle", Carries::Pickle, why)));
    }
    if unread || open && !inert {
        let why = "it begins like a pickle of an old protocol, and is too long to tell what it is";
        return Ok(Some(Described::refused("unknown", why)));
    }
    Ok(None)
}

/// Whether a reader of pickles that is given an archive does more than to fail: the names of members stand at its
/// beginning, and can be opcodes.
pub(super) fn acts(head: &mut Head, input: &mut Input<'_>) -> std::io::Result<bool> {
    let limits = Limits::default();
    let mut scan = pickle::scan(&head.bytes, 0, Place::Bare, &limits);
    if !head.whole && pickle::wants_more(&scan) && !is_inert(&head.bytes) {
        head.extend(input, limits::DATA_SPOOL)?;
        scan = pickle::scan(&head.bytes, 0, Place::Bare, &limits);
    }
    Ok(scan.calls || scan.names_globals)
}

/// Whether the first opcode ends every reader but one that was made for it: a name of something that is kept elsewhere,
/// as `PAR1` begins, and a number that is none, as TIFF does.
fn is_inert(head: &[u8]) -> bool {
    match head {
        [b'P', ..] => true,
        [b'I', next, ..] => !matches!(next, b'0'..=b'9' | b'+' | b'-' | b' ' | b'_' | b'\t'),
        _ => false,
    }
}

/// Whether a text begins as only a container of a pickle does, and no text that goes on being read as one.
fn begins_open(head: &[u8]) -> bool {
    matches!(head.first(), Some(b'(' | b']' | b'}' | b')'))
}
