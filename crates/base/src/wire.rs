//! Bounded binary encoding: what the processes of the platform say to each other, and what stands under a
//! MAC or signature. Integers are little-endian. Nothing is allocated before its length was checked against
//! what is left.

use crate::digest::Digest;

/// The bytes are not an encoding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Fewer bytes than the field needs.
    #[error("message ends within a field")]
    Truncated,
    /// Bytes after the last field.
    #[error("message has {0} bytes after its last field")]
    Trailing(usize),
    /// A tag, flag or version that is not defined.
    #[error("message has an undefined {what} {value}")]
    Undefined {
        /// What was read.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// A text that is not UTF-8 or a value out of its range.
    #[error("message has an invalid {0}")]
    Invalid(&'static str),
    /// A list or text above its limit.
    #[error("message has {count} {what}, limit {limit}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
}

/// `u16` length and the bytes: the one way to concatenate variable fields under a MAC or signature.
/// Fields longer than 65,535 bytes are cut off by design of every caller; such input is hashed first.
pub fn lp(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let mut out = Vec::with_capacity(usize::from(len).saturating_add(2));
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(bytes.get(..usize::from(len)).unwrap_or(bytes));
    out
}

/// Builds a message.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes written.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Sixteen bytes.
    pub fn u128(&mut self, value: u128) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// One byte, 0 or 1.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.u8(u8::from(value))
    }

    /// Bytes of a length that the format fixes.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// `u32` length and the bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.raw(bytes)
    }

    /// A text as [`Writer::bytes`].
    pub fn str(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// 32 bytes.
    pub fn digest(&mut self, digest: &Digest) -> &mut Self {
        self.raw(digest.as_bytes())
    }

    /// `u32` count and each item.
    pub fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) -> &mut Self {
        self.u32(u32::try_from(items.len()).unwrap_or(u32::MAX));
        for item in items {
            each(self, item);
        }
        self
    }

    /// A flag and, if set, the value.
    pub fn option<T>(&mut self, value: Option<&T>, each: impl FnOnce(&mut Self, &T)) -> &mut Self {
        self.bool(value.is_some());
        if let Some(value) = value {
            each(self, value);
        }
        self
    }
}

/// Reads a message.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.0.len()
    }

    /// Ends the message: nothing may be left.
    ///
    /// # Errors
    /// [`WireError::Trailing`].
    pub fn finish(self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError::Trailing(self.0.len())) }
    }

    /// `len` raw bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn raw(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(WireError::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    /// `N` raw bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.raw(N)?.try_into().map_err(|_| WireError::Truncated)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn u8(&mut self) -> Result<u8, WireError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    /// Two bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Four bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Sixteen bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn u128(&mut self) -> Result<u128, WireError> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    /// One byte, 0 or 1.
    ///
    /// # Errors
    /// Another value, or [`WireError::Truncated`].
    pub fn bool(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(WireError::Undefined { what: "flag", value: value.into() }),
        }
    }

    /// Length-prefixed bytes, at most `limit`.
    ///
    /// # Errors
    /// Above the limit, or [`WireError::Truncated`].
    pub fn bytes(&mut self, what: &'static str, limit: usize) -> Result<&'a [u8], WireError> {
        let len = usize::try_from(self.u32()?).map_err(|_| WireError::Truncated)?;
        if len > limit {
            return Err(WireError::TooMany { what, count: len, limit });
        }
        self.raw(len)
    }

    /// Length-prefixed UTF-8, at most `limit` bytes.
    ///
    /// # Errors
    /// Above the limit, not UTF-8, or [`WireError::Truncated`].
    pub fn str(&mut self, what: &'static str, limit: usize) -> Result<String, WireError> {
        let bytes = self.bytes(what, limit)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| WireError::Invalid(what))
    }

    /// A digest.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn digest(&mut self) -> Result<Digest, WireError> {
        Ok(Digest::from_bytes(self.array()?))
    }

    /// A counted list of at most `limit` items. Memory grows only with items that were really read.
    ///
    /// # Errors
    /// Above the limit, or what `each` says.
    pub fn list<T>(
        &mut self,
        what: &'static str,
        limit: usize,
        mut each: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let count = usize::try_from(self.u32()?).map_err(|_| WireError::Truncated)?;
        if count > limit {
            return Err(WireError::TooMany { what, count, limit });
        }
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(each(self)?);
        }
        Ok(items)
    }

    /// A flag and, if set, the value.
    ///
    /// # Errors
    /// What `each` says, or an undefined flag.
    pub fn option<T>(
        &mut self,
        each: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<Option<T>, WireError> {
        if self.bool()? { each(self).map(Some) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_round_trip() {
        let mut w = Writer::new();
        w.u8(1).u64(2).str("hé").list(&[3u32, 4], |w, v| {
            w.u32(*v);
        });
        w.option(Some(&9u16), |w, v| {
            w.u16(*v);
        });
        let bytes = w.finish();
        let mut r = Reader::new(&bytes);
        assert_eq!(r.u8().unwrap(), 1);
        assert_eq!(r.u64().unwrap(), 2);
        assert_eq!(r.str("s", 10).unwrap(), "hé");
        assert_eq!(r.list("l", 2, Reader::u32).unwrap(), [3, 4]);
        assert_eq!(r.option(Reader::u16).unwrap(), Some(9));
        r.finish().unwrap();
    }

    #[test]
    fn lengths_are_checked_before_anything_is_taken() {
        let huge = u32::MAX.to_le_bytes();
        assert!(matches!(Reader::new(&huge).bytes("b", 1 << 20), Err(WireError::TooMany { .. })));
        assert_eq!(Reader::new(&huge).bytes("b", usize::MAX), Err(WireError::Truncated));
        assert!(Reader::new(&huge).list("l", usize::MAX, Reader::u8).is_err());
        assert_eq!(Reader::new(&[1]).finish(), Err(WireError::Trailing(1)));
    }
}
