//! Wire format of protobuf: fields of one message, each within its bounds. Groups, which nothing in use has, are
//! refused.

/// The value of a field.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value {
    Varint(u64),
    /// Start of 4 bytes.
    Fixed32(usize),
    /// Start of 8 bytes.
    Fixed64(usize),
    /// Start and end.
    Len(usize, usize),
}

/// Reads the fields of one message.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    pub(crate) pos: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], pos: usize, end: usize) -> Self {
        Self { bytes, pos, end: end.min(bytes.len()) }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.pos >= self.end
    }

    pub(crate) fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            if self.pos >= self.end {
                return None;
            }
            let byte = *self.bytes.get(self.pos)?;
            self.pos += 1;
            let low = u64::from(byte & 0x7f);
            if shift == 63 && low > 1 {
                return None;
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn skip(&mut self, len: usize) -> Option<(usize, usize)> {
        let start = self.pos;
        let end = start.checked_add(len).filter(|end| *end <= self.end)?;
        self.pos = end;
        Some((start, end))
    }

    /// A field number and its value; `None` when it is cut off, a group, or of an undefined wire type.
    pub(crate) fn field(&mut self) -> Option<(u64, Value)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.skip(8).map(|(start, _)| Value::Fixed64(start))?,
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                self.skip(len).map(|(start, end)| Value::Len(start, end))?
            }
            5 => self.skip(4).map(|(start, _)| Value::Fixed32(start))?,
            _ => return None,
        };
        Some((tag >> 3, value))
    }
}

/// Whether every field of a message has a number and a wire type that `fits` takes.
pub(crate) fn all_fields(bytes: &[u8], mut fits: impl FnMut(u64, Value) -> bool) -> bool {
    let mut reader = Reader::new(bytes, 0, bytes.len());
    while !reader.is_done() {
        match reader.field() {
            Some((number, value)) if fits(number, value) => {}
            _ => return false,
        }
    }
    true
}
