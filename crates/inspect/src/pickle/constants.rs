//! Opcodes that push constants and byte strings, and the pickles inside byte strings.

use crate::cursor::{offset, show};
use crate::limits;
use crate::pickle::machine::{CUT, Machine};
use crate::pickle::value::{Node, Val};
use crate::pickle::{Place, text};
use crate::report::{self, Finding, Severity};

/// Legacy torch's magic number 0x1950a86a20f9469cfc6c, little-endian as `LONG1` writes it.
const LEGACY_MAGIC: &[u8] = &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

impl<'a> Machine<'a> {
    pub(super) fn number(&mut self, opcode: u8) -> Result<(), Finding> {
        let value = match opcode {
            b'N' => Some(Val::None),
            0x88 => Some(Val::Bool(true)),
            0x89 => Some(Val::Bool(false)),
            b'J' => self.cursor.array().map(|raw| Val::Int(i64::from(i32::from_le_bytes(raw)))),
            b'K' => self.cursor.u8().map(|byte| Val::Int(i64::from(byte))),
            b'M' => self.cursor.u16().map(|word| Val::Int(i64::from(word))),
            b'G' => self.cursor.array::<8>().map(|_| Val::Float),
            0x8a | 0x8b => Some(self.long(opcode)?),
            _ => Some(self.text_number(opcode)?),
        };
        let value = value.ok_or_else(|| self.truncated())?;
        self.push(value)
    }

    pub(super) fn long(&mut self, opcode: u8) -> Result<Val, Finding> {
        let len = if opcode == 0x8a {
            self.cursor.u8().map(usize::from)
        } else {
            let raw = self.cursor.array().map(i32::from_le_bytes).ok_or_else(|| self.truncated())?;
            Some(usize::try_from(raw).map_err(|_| self.bad(&report::STREAM, "negative length"))?)
        };
        let raw = len.and_then(|len| self.cursor.take(len)).ok_or_else(|| self.truncated())?;
        if self.scan.streams == 0 && raw == LEGACY_MAGIC {
            self.scan.legacy_torch = true;
        }
        if raw.len() > 8 {
            return Ok(Val::Number);
        }
        let negative = raw.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        for (to, from) in wide.iter_mut().zip(raw) {
            *to = *from;
        }
        Ok(Val::Int(i64::from_le_bytes(wide)))
    }

    pub(super) fn line(&mut self) -> Result<&'a [u8], Finding> {
        self.cursor.line(limits::PICKLE_LINE).ok_or_else(|| self.bad(&report::STREAM, CUT[2]))
    }

    pub(super) fn text_number(&mut self, opcode: u8) -> Result<Val, Finding> {
        let line = self.line()?;
        let value = match (opcode, line) {
            (b'I', b"00") => Some(Val::Bool(false)),
            (b'I', b"01") => Some(Val::Bool(true)),
            (b'F', _) => text::float(line).map(|_| Val::Float),
            (b'L', _) => text::integer(line.strip_suffix(b"L").unwrap_or(line)).map(from_integer),
            _ => text::integer(line).map(from_integer),
        };
        value.ok_or_else(|| self.bad(&report::STREAM, format!("`{}` is not a number", show(line))))
    }

    /// Takes `len` bytes and says where they stand.
    pub(super) fn span(&mut self, len: Option<u64>) -> Result<(u64, &'a [u8]), Finding> {
        let start = self.cursor.clone().pos();
        let taken = len.and_then(|len| usize::try_from(len).ok()).and_then(|len| self.cursor.take(len));
        let end = self.cursor.pos();
        let raw = taken.ok_or_else(|| self.truncated())?;
        let from = end.checked_sub(raw.len()).unwrap_or(start);
        Ok((offset(from), raw))
    }

    /// The length prefix of a counted operand; the signed 4-byte form refuses negative lengths.
    pub(super) fn count(&mut self, opcode: u8) -> Result<Option<u64>, Finding> {
        Ok(match opcode {
            b'U' | b'C' | 0x8c => self.cursor.u8().map(u64::from),
            b'X' | b'B' => self.cursor.u32().map(u64::from),
            b'T' => {
                let raw = self.cursor.array().map(i32::from_le_bytes).ok_or_else(|| self.truncated())?;
                Some(u64::try_from(raw).map_err(|_| self.bad(&report::STREAM, "negative length"))?)
            }
            _ => self.cursor.u64(),
        })
    }

    pub(super) fn string(&mut self, opcode: u8) -> Result<(), Finding> {
        let value = match opcode {
            b'S' => {
                let line = self.line()?;
                let raw = text::quoted(line)
                    .ok_or_else(|| self.bad(&report::STREAM, "STRING is not a quoted string"))?;
                match String::from_utf8(raw) {
                    Ok(text) if text.is_ascii() => self.intern(text)?,
                    _ => Val::Opaque,
                }
            }
            b'V' => {
                let line = self.line()?;
                let text = text::unicode(line)
                    .ok_or_else(|| self.bad(&report::STREAM, "UNICODE holds a broken escape"))?;
                self.intern(text)?
            }
            _ => {
                let len = self.count(opcode)?;
                let (off, raw) = self.span(len)?;
                let legacy = matches!(opcode, b'T' | b'U');
                if legacy && !raw.is_ascii() {
                    Val::Opaque
                } else {
                    if std::str::from_utf8(raw).is_err() {
                        return Err(self.bad(&report::STREAM, "text is not UTF-8"));
                    }
                    let len = u32::try_from(raw.len())
                        .map_err(|_| self.bad(&report::LIMIT, "text is longer than 4 GiB"))?;
                    Val::Str { off, len }
                }
            }
        };
        self.push(value)
    }

    pub(super) fn intern(&mut self, text: String) -> Result<Val, Finding> {
        if self.texts.len() >= limits::PICKLE_NODES {
            return Err(self.bad(&report::LIMIT, "pickle holds too many texts"));
        }
        let index =
            u32::try_from(self.texts.len()).map_err(|_| self.bad(&report::LIMIT, "too many texts"))?;
        self.texts.push(text);
        Ok(Val::Text(index))
    }

    pub(super) fn byte_string(&mut self, opcode: u8, budget: &mut u64) -> Result<(), Finding> {
        let len = self.count(opcode)?;
        let (off, raw) = self.span(len)?;
        self.nested(raw, self.base.saturating_add(off), budget)?;
        if opcode == 0x96 {
            return self.push_node(Node::Encoded { len: offset(raw.len()) });
        }
        self.push(Val::Bytes { len: offset(raw.len()) })
    }

    /// Looks for a pickle inside a byte string.
    pub(super) fn nested(&mut self, raw: &[u8], base: u64, budget: &mut u64) -> Result<(), Finding> {
        if raw.len() < 2 {
            return Ok(());
        }
        let magic = super::has_magic(raw);
        if self.depth >= limits::PICKLE_NESTING {
            if magic {
                self.scan.too_deep = true;
                return Err(self.bad(&report::LIMIT, "pickles are nested too deeply in byte strings"));
            }
            return Ok(());
        }
        let inner = Machine::new(raw, base, Place::Bare, self.limits, self.depth + 1).run(budget);
        if *budget == 0 {
            return Err(self.bad(&report::LIMIT, "too many pickle opcodes"));
        }
        if inner.too_deep {
            self.scan.too_deep = true;
            return Err(self.bad(&report::LIMIT, "pickles are nested too deeply in byte strings"));
        }
        self.scan.names_globals |= inner.names_globals && (magic || inner.complete);
        let worst = inner
            .findings
            .iter()
            .find(|finding| matches!(finding.severity, Severity::Hostile | Severity::Risk));
        match worst {
            Some(finding) if inner.names_globals || (magic && inner.complete) => {
                let what = format!("byte string holds a pickle: {}", finding.explanation);
                self.note(&report::NESTED, what);
            }
            None if magic && inner.complete => {
                self.note(&report::NESTED_PLAIN, "byte string holds a pickle of plain data");
            }
            _ => {}
        }
        Ok(())
    }
}

fn from_integer(number: Option<i64>) -> Val {
    number.map_or(Val::Number, Val::Int)
}
