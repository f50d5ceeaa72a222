//! Texts: JSON, lines of JSON, tables, lines. All of a text is read once, in pieces.

use std::io::Read;

use super::input::Input;
use super::json::Values;
use super::table::{self, Table};
use super::{Described, Head};
use crate::limits;

/// Whether the bytes are UTF-8 without control characters but white space and escapes. Where they are cut, the last
/// character may be.
pub(super) fn is_text(bytes: &[u8], whole: bool) -> bool {
    let mut plain = Plain::default();
    plain.push(bytes);
    plain.is_text(whole)
}

/// Tells whether what comes is text.
#[derive(Debug, Default)]
struct Plain {
    /// Bytes of a character that is not whole yet.
    cut: Vec<u8>,
    at: u64,
    odd: Option<u64>,
}

impl Plain {
    fn push(&mut self, bytes: &[u8]) {
        if self.odd.is_some() {
            return;
        }
        let odd =
            |byte: &u8| *byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b) || *byte == 0x7f;
        let mut rest = bytes;
        // At most three bytes are wanted to end what was cut.
        while !self.cut.is_empty() {
            let Some((byte, after)) = rest.split_first() else { return };
            self.cut.push(*byte);
            rest = after;
            match std::str::from_utf8(&self.cut) {
                Ok(_) => self.cut.clear(),
                Err(error) if error.error_len().is_none() => {}
                Err(_) => {
                    self.odd = Some(self.at);
                    return;
                }
            }
        }
        if let Err(error) = std::str::from_utf8(rest) {
            if error.error_len().is_some() {
                self.odd = Some(self.at.saturating_add(crate::cursor::offset(error.valid_up_to())));
                return;
            }
            self.cut = rest.get(error.valid_up_to()..).unwrap_or_default().to_vec();
        }
        if let Some(place) = bytes.iter().position(odd) {
            self.odd = Some(self.at.saturating_add(crate::cursor::offset(place)));
        }
        self.at = self.at.saturating_add(crate::cursor::offset(bytes.len()));
    }

    fn is_text(&self, whole: bool) -> bool {
        self.odd.is_none() && (!whole || self.cut.is_empty())
    }
}

/// What is counted of a text, all at once.
struct Reading {
    plain: Plain,
    json: Option<Values>,
    table: Option<(u8, Table)>,
    lines: u64,
    open: bool,
}

impl Reading {
    fn push(&mut self, bytes: &[u8]) {
        self.plain.push(bytes);
        if let Some(json) = &mut self.json {
            json.push(bytes);
        }
        if let Some((_, table)) = &mut self.table {
            table.push(bytes);
        }
        let ends = bytes.iter().filter(|byte| **byte == b'\n').count();
        self.lines = self.lines.saturating_add(crate::cursor::offset(ends));
        self.open = bytes.last().map_or(self.open, |byte| *byte != b'\n');
    }
}

/// What a text is, or that it is none.
pub(super) fn describe(name: &str, head: &Head, input: &mut Input<'_>) -> std::io::Result<Described> {
    if !is_text(&head.bytes, head.whole) {
        return Ok(unknown(&head.bytes));
    }
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
    let named = match ending.as_str() {
        "csv" => Some(b','),
        "tsv" | "tab" => Some(b'\t'),
        _ => None,
    };
    let body = head.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head.bytes);
    let sample = body.get(..body.len().min(limits::DATA_SAMPLE)).unwrap_or_default();
    let all = head.whole && sample.len() == body.len();
    let begins = body.trim_ascii_start().first();
    let json = matches!(begins, Some(b'{' | b'[')).then(Values::new);
    let delimiter = table::delimiter(sample, all, named);
    let mut reading = Reading {
        plain: Plain::default(),
        json,
        table: delimiter.map(|delimiter| (delimiter, Table::new(delimiter))),
        lines: 0,
        open: false,
    };
    reading.push(body);
    if !head.whole {
        input.seek(crate::cursor::offset(head.bytes.len()));
        let mut piece = vec![0; limits::DATA_PIECE];
        loop {
            let read = input.read(&mut piece)?;
            if read == 0 {
                break;
            }
            reading.push(piece.get(..read).unwrap_or_default());
        }
    }
    Ok(judge(&ending, sample, reading))
}

fn judge(ending: &str, sample: &[u8], reading: Reading) -> Described {
    if !reading.plain.is_text(true) {
        let at = reading.plain.odd.unwrap_or(reading.plain.at);
        return Described::new("unknown").note(format!("text up to byte {at}, and no text there"));
    }
    let mut notes = Vec::new();
    match reading.json.map(Values::finish) {
        Some(Ok(counts)) => {
            let lines = counts.lines && (counts.values > 1 || matches!(ending, "jsonl" | "ndjson"));
            return match counts.items {
                Some(items) if !lines => Described::counted("json", items, "items"),
                _ if lines => Described::counted("jsonl", counts.values, "values"),
                _ => Described::counted("json", counts.values, "values"),
            };
        }
        Some(Err(why)) => notes.push(format!("no JSON: {why}")),
        None => {}
    }
    if let Some((delimiter, table)) = reading.table {
        match table.finish() {
            Ok((records, columns)) if records > 0 => {
                let format = if delimiter == b'\t' { "tsv" } else { "csv" };
                let mut table = Described::counted(format, records, "rows");
                table.columns = Some(columns);
                if table::has_header(sample, delimiter) {
                    table.tell("the first row looks like the names of the columns; it is counted");
                }
                return table;
            }
            Ok(_) => {}
            Err(why) => notes.push(format!("no table: {why}")),
        }
    }
    let lines = reading.lines.saturating_add(u64::from(reading.open));
    let mut text = Described::counted("text", lines, "lines");
    notes.into_iter().for_each(|note| text.tell(note));
    text
}

fn unknown(head: &[u8]) -> Described {
    let format = match head {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "utf-16",
        _ => "unknown",
    };
    Described::new(format)
}
