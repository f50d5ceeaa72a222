//! JSON (RFC 8259) as its bytes come: one value, or values on lines of their own. Keys that occur twice are not found.

use crate::limits;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a value. `true`: the array may end here instead.
    Value(bool),
    /// Before a key. `true`: the object may end here instead.
    Key(bool),
    Colon,
    /// Behind a value.
    After,
    /// In a text. `true`: it is a key.
    Text(bool),
    Escape(bool),
    /// Hexadecimal digits that are to come.
    Hex(bool, u8),
    Number(Number),
    /// In a word, of which so many bytes were read.
    Word(&'static [u8], usize),
}

/// Where in a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Sign,
    Zero,
    Digits,
    Point,
    Fraction,
    E,
    ESign,
    Exponent,
}

impl Number {
    fn next(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Sign, b'0') => Self::Zero,
            (Self::Sign | Self::Digits, b'0'..=b'9') => Self::Digits,
            (Self::Zero | Self::Digits, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Digits | Self::Fraction, b'e' | b'E') => Self::E,
            (Self::E, b'+' | b'-') => Self::ESign,
            (Self::E | Self::ESign | Self::Exponent, b'0'..=b'9') => Self::Exponent,
            _ => return None,
        })
    }

    const fn is_whole(self) -> bool {
        matches!(self, Self::Zero | Self::Digits | Self::Fraction | Self::Exponent)
    }
}

/// What a text of values is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    /// Values that are in no other.
    pub(super) values: u64,
    /// Items of the array, if it is one.
    pub(super) items: Option<u64>,
    /// Each value stands on one line.
    pub(super) lines: bool,
}

/// Reads values.
#[derive(Debug)]
pub(super) struct Values {
    state: State,
    /// Of each array or object that is open, whether it is an object.
    open: Vec<bool>,
    values: u64,
    /// Items of the outermost array, and whether there was one.
    items: u64,
    array: bool,
    /// A line ended since the last value did.
    apart: bool,
    inside: bool,
    line: u64,
    broken: Option<String>,
}

impl Values {
    pub(super) const fn new() -> Self {
        Self {
            state: State::Value(false),
            open: Vec::new(),
            values: 0,
            items: 0,
            array: false,
            apart: true,
            inside: false,
            line: 1,
            broken: None,
        }
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while let Some((byte, rest)) = bytes.split_first() {
            if self.broken.is_some() {
                return;
            }
            if matches!(self.state, State::Text(_)) {
                // Most of a text is plain.
                let plain = bytes.iter().position(|b| matches!(b, b'"' | b'\\') || *b < 0x20);
                let plain = plain.unwrap_or(bytes.len());
                if plain > 0 {
                    bytes = bytes.get(plain..).unwrap_or_default();
                    continue;
                }
            }
            if !self.step(*byte) {
                self.broken = Some(format!("line {} is no JSON", self.line));
                return;
            }
            if *byte == b'\n' {
                self.line = self.line.saturating_add(1);
                self.inside |= !self.open.is_empty();
                self.apart = true;
            }
            bytes = rest;
        }
    }

    /// Whether the byte may stand here.
    fn step(&mut self, byte: u8) -> bool {
        let blank = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        match self.state {
            State::Text(key) => self.text(key, byte),
            State::Escape(key) => {
                self.state = if byte == b'u' { State::Hex(key, 4) } else { State::Text(key) };
                matches!(byte, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'u')
            }
            State::Hex(key, left) => {
                self.state = if left > 1 { State::Hex(key, left - 1) } else { State::Text(key) };
                byte.is_ascii_hexdigit()
            }
            State::Word(word, read) => {
                let fits = word.get(read) == Some(&byte);
                if read + 1 == word.len() {
                    self.end();
                } else {
                    self.state = State::Word(word, read + 1);
                }
                fits
            }
            State::Number(number) => match number.next(byte) {
                Some(next) => {
                    self.state = State::Number(next);
                    true
                }
                None if number.is_whole() => {
                    self.end();
                    self.step(byte)
                }
                None => false,
            },
            _ if blank => true,
            State::Value(may_end) => self.value(byte, may_end),
            State::Key(may_end) => match byte {
                b'"' => {
                    self.state = State::Text(true);
                    true
                }
                b'}' if may_end => self.close(true),
                _ => false,
            },
            State::Colon => {
                self.state = State::Value(false);
                byte == b':'
            }
            State::After => self.after(byte),
        }
    }

    fn text(&mut self, key: bool, byte: u8) -> bool {
        match byte {
            b'\\' => self.state = State::Escape(key),
            b'"' if key => self.state = State::Colon,
            b'"' => self.end(),
            _ => return byte >= 0x20,
        }
        true
    }

    fn value(&mut self, byte: u8, may_end: bool) -> bool {
        if self.open.is_empty() {
            // Values that follow each other stand on lines of their own.
            if !self.apart {
                return false;
            }
            self.apart = false;
        }
        match byte {
            b']' if may_end => return self.close(false),
            b'{' | b'[' => {
                if self.open.len() >= limits::JSON_DEPTH {
                    return false;
                }
                self.array |= self.open.is_empty() && byte == b'[';
                self.open.push(byte == b'{');
                self.state = if byte == b'{' { State::Key(true) } else { State::Value(true) };
            }
            b'"' => self.state = State::Text(false),
            b'-' => self.state = State::Number(Number::Sign),
            b'0' => self.state = State::Number(Number::Zero),
            b'1'..=b'9' => self.state = State::Number(Number::Digits),
            b't' => self.state = State::Word(b"true", 1),
            b'f' => self.state = State::Word(b"false", 1),
            b'n' => self.state = State::Word(b"null", 1),
            _ => return false,
        }
        true
    }

    fn after(&mut self, byte: u8) -> bool {
        match (self.open.last(), byte) {
            (Some(true), b',') => self.state = State::Key(false),
            (Some(false), b',') => self.state = State::Value(false),
            (Some(object), b'}' | b']') if *object == (byte == b'}') => return self.close(byte == b'}'),
            (None, _) => return self.value(byte, false),
            _ => return false,
        }
        true
    }

    fn close(&mut self, object: bool) -> bool {
        let fits = self.open.pop() == Some(object);
        self.end();
        fits
    }

    /// A value ends.
    fn end(&mut self) {
        self.state = State::After;
        match self.open.len() {
            0 => self.values = self.values.saturating_add(1),
            1 if self.open.first() == Some(&false) => self.items = self.items.saturating_add(1),
            _ => {}
        }
    }

    /// What all of it is.
    pub(super) fn finish(mut self) -> Result<Counts, String> {
        if let State::Number(number) = self.state
            && number.is_whole()
        {
            self.end();
        }
        match self.broken {
            Some(why) => Err(why),
            None if !self.open.is_empty() || self.state != State::After => {
                Err(format!("it ends within a value that stands on line {}", self.line))
            }
            None => Ok(Counts {
                values: self.values,
                items: (self.array && self.values == 1).then_some(self.items),
                lines: !self.inside,
            }),
        }
    }
}
