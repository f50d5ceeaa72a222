//! UBJSON, draft 12, as far as XGBoost writes it: no high-precision numbers, no typed objects, no padding. Numbers
//! are big-endian.

use std::collections::BTreeSet;

use crate::cursor::{Cursor, offset, show};
use crate::json::Json;
use crate::limits;
use crate::report::{self, Finding};

struct Parser<'a> {
    cursor: Cursor<'a>,
    values: usize,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Json, Finding> {
    let mut parser = Parser { cursor: Cursor::new(bytes), values: 0 };
    let value = parser.value(0)?;
    if !parser.cursor.is_done() {
        return Err(parser.bad("bytes follow the value"));
    }
    Ok(value)
}

impl Parser<'_> {
    fn bad(&self, what: impl Into<String>) -> Finding {
        Finding::new(&report::TREES, offset(self.cursor.pos()), what)
    }

    fn marker(&mut self) -> Result<u8, Finding> {
        self.cursor.u8().ok_or_else(|| self.bad("content ends within a value"))
    }

    fn peek(&self) -> Option<u8> {
        self.cursor.clone().u8()
    }

    fn value(&mut self, depth: usize) -> Result<Json, Finding> {
        let marker = self.marker()?;
        self.of(marker, depth)
    }

    fn of(&mut self, marker: u8, depth: usize) -> Result<Json, Finding> {
        self.values += 1;
        if self.values > limits::UBJSON_VALUES || depth > limits::JSON_DEPTH {
            return Err(Finding::new(
                &report::LIMIT,
                offset(self.cursor.pos()),
                "too many or too deep values",
            ));
        }
        Ok(match marker {
            b'Z' => Json::Null,
            b'T' => Json::Bool(true),
            b'F' => Json::Bool(false),
            b'S' => Json::String(self.text()?),
            b'C' => {
                let byte = self.marker()?;
                if !byte.is_ascii() {
                    return Err(self.bad("character is not ASCII"));
                }
                Json::String(char::from(byte).to_string())
            }
            b'[' => self.array(depth)?,
            b'{' => self.object(depth)?,
            _ => Json::Number(self.number(marker)?),
        })
    }

    fn number(&mut self, marker: u8) -> Result<String, Finding> {
        let cursor = &mut self.cursor;
        let number = match marker {
            b'i' => cursor.array().map(|raw| i8::from_be_bytes(raw).to_string()),
            b'U' => cursor.array().map(|raw| u8::from_be_bytes(raw).to_string()),
            b'I' => cursor.array().map(|raw| i16::from_be_bytes(raw).to_string()),
            b'l' => cursor.array().map(|raw| i32::from_be_bytes(raw).to_string()),
            b'L' => cursor.array().map(|raw| i64::from_be_bytes(raw).to_string()),
            b'd' => cursor.array().map(|raw| f32::from_be_bytes(raw).to_string()),
            b'D' => cursor.array().map(|raw| f64::from_be_bytes(raw).to_string()),
            _ => None,
        };
        number.ok_or_else(|| self.bad(format!("`{}` is no value", show(&[marker]))))
    }

    fn len(&mut self) -> Result<usize, Finding> {
        let marker = self.marker()?;
        if !matches!(marker, b'i' | b'U' | b'I' | b'l' | b'L') {
            return Err(self.bad("length is no whole number"));
        }
        let len = self.number(marker)?.parse::<usize>().ok();
        len.filter(|len| *len <= self.cursor.remaining()).ok_or_else(|| self.bad("length exceeds the file"))
    }

    fn text(&mut self) -> Result<String, Finding> {
        let len = self.len()?;
        let raw = self.cursor.take(len).and_then(|raw| std::str::from_utf8(raw).ok());
        raw.map(str::to_owned).ok_or_else(|| self.bad("text is not UTF-8"))
    }

    fn eat(&mut self, marker: u8) -> bool {
        let found = self.peek() == Some(marker);
        if found {
            self.cursor.take(1);
        }
        found
    }

    fn array(&mut self, depth: usize) -> Result<Json, Finding> {
        let kind = if self.eat(b'$') { Some(self.marker()?) } else { None };
        let mut items = Vec::new();
        if !self.eat(b'#') {
            if kind.is_some() {
                return Err(self.bad("type of an array without its length"));
            }
            while !self.eat(b']') {
                items.push(self.value(depth + 1)?);
            }
            return Ok(Json::Array(items));
        }
        // Elements that take no bytes could be of any number.
        if kind.is_some_and(|kind| !matches!(kind, b'i' | b'U' | b'I' | b'l' | b'L' | b'd' | b'D')) {
            return Err(self.bad("array of a type that is not of numbers"));
        }
        for _ in 0..self.len()? {
            let item = match kind {
                Some(kind) => self.of(kind, depth + 1)?,
                None => self.value(depth + 1)?,
            };
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn object(&mut self, depth: usize) -> Result<Json, Finding> {
        let mut members = Vec::new();
        let mut keys = BTreeSet::new();
        if matches!(self.peek(), Some(b'$' | b'#')) {
            return Err(self.bad("object of a stated length"));
        }
        while !self.eat(b'}') {
            let key = self.text()?;
            if !keys.insert(key.clone()) {
                return Err(self.bad(format!("key `{}` occurs twice", show(key.as_bytes()))));
            }
            members.push((key, self.value(depth + 1)?));
        }
        Ok(Json::Object(members))
    }
}
