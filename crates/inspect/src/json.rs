//! Strict JSON (RFC 8259): no repeated keys, bounded depth and size.

use std::collections::BTreeSet;

use crate::cursor::{offset, show};
use crate::limits;
use crate::report::{self, Finding};

/// A parsed value. Numbers keep their text: nothing is rounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// A non-negative integer written without sign, fraction or exponent.
    pub(crate) fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Number(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            _ => None,
        }
    }
}

/// Parses a whole text; spaces may follow the value, nothing else.
pub(crate) fn parse(bytes: &[u8]) -> Result<Json, Finding> {
    read(bytes, false)
}

/// The same with `NaN` and `Infinity` as numbers, as Python writes them into configurations and histories.
pub(crate) fn parse_python(bytes: &[u8]) -> Result<Json, Finding> {
    read(bytes, true)
}

fn read(bytes: &[u8], python: bool) -> Result<Json, Finding> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Finding::new(&report::JSON, offset(error.valid_up_to()), "JSON is not UTF-8"))?;
    let mut parser = Parser { bytes: text.as_bytes(), text, pos: 0, values: 0, python };
    parser.space();
    let value = parser.value(0)?;
    parser.space();
    if parser.pos != bytes.len() {
        return Err(parser.bad("bytes follow the JSON value"));
    }
    Ok(value)
}

struct Parser<'a> {
    bytes: &'a [u8],
    text: &'a str,
    pos: usize,
    values: usize,
    python: bool,
}

impl Parser<'_> {
    fn bad(&self, what: &str) -> Finding {
        Finding::new(&report::JSON, offset(self.pos), what)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.pos).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.pos += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.pos += 1;
        }
        found
    }

    fn value(&mut self, depth: usize) -> Result<Json, Finding> {
        self.values += 1;
        if self.values > limits::JSON_VALUES {
            return Err(Finding::new(&report::LIMIT, offset(self.pos), "JSON holds too many values"));
        }
        if depth > limits::JSON_DEPTH {
            return Err(Finding::new(&report::LIMIT, offset(self.pos), "JSON is nested too deeply"));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Json::String),
            Some(b'N') if self.python => self.word("NaN", Json::Number("NaN".to_owned())),
            Some(b'I') if self.python => self.word("Infinity", Json::Number("Infinity".to_owned())),
            Some(b'-') if self.python && self.bytes.get(self.pos + 1) == Some(&b'I') => {
                self.word("-Infinity", Json::Number("-Infinity".to_owned()))
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => Err(self.bad("expected a JSON value")),
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, Finding> {
        if !self.bytes.get(self.pos..).is_some_and(|rest| rest.starts_with(word.as_bytes())) {
            return Err(self.bad("expected a JSON value"));
        }
        self.pos += word.len();
        Ok(value)
    }

    fn object(&mut self, depth: usize) -> Result<Json, Finding> {
        self.pos += 1;
        let mut members = Vec::new();
        let mut keys = BTreeSet::new();
        self.space();
        if self.eat(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            let at = self.pos;
            let key = self.string()?;
            if !keys.insert(key.clone()) {
                let what = format!("key `{}` occurs twice", show(key.as_bytes()));
                return Err(Finding::new(&report::JSON_AMBIGUOUS, offset(at), what));
            }
            self.space();
            if !self.eat(b':') {
                return Err(self.bad("expected `:`"));
            }
            self.space();
            let value = self.value(depth + 1)?;
            members.push((key, value));
            self.space();
            if self.eat(b'}') {
                return Ok(Json::Object(members));
            }
            if !self.eat(b',') {
                return Err(self.bad("expected `,` or `}`"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, Finding> {
        self.pos += 1;
        let mut items = Vec::new();
        self.space();
        if self.eat(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            self.space();
            items.push(self.value(depth + 1)?);
            self.space();
            if self.eat(b']') {
                return Ok(Json::Array(items));
            }
            if !self.eat(b',') {
                return Err(self.bad("expected `,` or `]`"));
            }
        }
    }

    fn string(&mut self) -> Result<String, Finding> {
        if !self.eat(b'"') {
            return Err(self.bad("expected a string"));
        }
        let mut out = String::new();
        loop {
            let start = self.pos;
            while matches!(self.peek(), Some(byte) if byte != b'"' && byte != b'\\' && byte >= 0x20) {
                self.pos += 1;
            }
            out.push_str(self.text.get(start..self.pos).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.pos += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.pos += 1;
                    let escaped = self.escape()?;
                    out.push(escaped);
                }
                _ => return Err(self.bad("string is not closed or holds a control character")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Finding> {
        let byte = self.peek().ok_or_else(|| self.bad("string ends within an escape"))?;
        self.pos += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex4()?;
                let code = if (0xd800..0xdc00).contains(&first) {
                    if !(self.eat(b'\\') && self.eat(b'u')) {
                        return Err(self.bad("half of a surrogate pair"));
                    }
                    let second = self.hex4()?;
                    if !(0xdc00..0xe000).contains(&second) {
                        return Err(self.bad("half of a surrogate pair"));
                    }
                    0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                } else {
                    first
                };
                char::from_u32(code).ok_or_else(|| self.bad("half of a surrogate pair"))?
            }
            _ => return Err(self.bad("unknown escape")),
        })
    }

    fn hex4(&mut self) -> Result<u32, Finding> {
        let mut code = 0_u32;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            code = (code << 4) | digit.ok_or_else(|| self.bad("expected four hexadecimal digits"))?;
            self.pos += 1;
        }
        Ok(code)
    }

    fn digits(&mut self) -> Result<(), Finding> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.bad("expected a digit"));
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.pos += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Json, Finding> {
        let start = self.pos;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            self.digits()?;
        }
        let text = self.text.get(start..self.pos).unwrap_or_default();
        Ok(Json::Number(text.to_owned()))
    }
}
