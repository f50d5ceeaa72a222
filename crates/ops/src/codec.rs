//! The encoding: a version byte, then fields in order, little-endian, each with its limit in its type.

use std::fmt;
use std::ops::Deref;

use base::wire::{Reader, WireError, Writer};
use base::{Digest, TensorDigest};
use zeroize::Zeroize;

/// First byte of every message.
const VERSION: u8 = 1;

/// What has an encoding.
pub trait Codec: Sized {
    /// Appends the fields.
    fn encode(&self, w: &mut Writer);
    /// Reads the fields.
    ///
    /// # Errors
    /// Anything that `encode` does not write.
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError>;
}

/// A whole message.
pub fn to_bytes<T: Codec>(message: &T) -> Vec<u8> {
    let mut w = Writer::new();
    w.u8(VERSION);
    message.encode(&mut w);
    w.finish()
}

/// Reads a whole message; nothing may be left over.
///
/// # Errors
/// Another version, an undefined tag, a limit exceeded, too short or too long.
pub fn from_bytes<T: Codec>(bytes: &[u8]) -> Result<T, WireError> {
    let mut r = Reader::new(bytes);
    match r.u8()? {
        VERSION => {}
        value => return Err(WireError::Undefined { what: "version", value: value.into() }),
    }
    let message = T::decode(&mut r)?;
    r.finish()?;
    Ok(message)
}

/// UTF-8 of at most `MAX` bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Text<const MAX: usize>(String);

/// The text is longer than its field takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("text of {len} bytes, limit {limit}")]
pub struct TextError {
    len: usize,
    limit: usize,
}

impl<const MAX: usize> Text<MAX> {
    /// A text within the limit.
    ///
    /// # Errors
    /// It is longer.
    pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
        let text = text.into();
        if text.len() <= MAX { Ok(Self(text)) } else { Err(TextError { len: text.len(), limit: MAX }) }
    }

    /// As much of the text as fits: for reasons and descriptions, never for names or paths.
    pub fn clip(text: &str) -> Self {
        let mut end = text.len().min(MAX);
        while !text.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        Self(text.get(..end).unwrap_or("").to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> Deref for Text<MAX> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const MAX: usize> Codec for Text<MAX> {
    fn encode(&self, w: &mut Writer) {
        w.str(&self.0);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        r.str("text", MAX).map(Self)
    }
}

/// Bytes, at most `MAX`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Blob<const MAX: usize>(Vec<u8>);

impl<const MAX: usize> Blob<MAX> {
    /// Bytes within the limit.
    ///
    /// # Errors
    /// There are more.
    pub fn new(bytes: Vec<u8>) -> Result<Self, TextError> {
        if bytes.len() <= MAX { Ok(Self(bytes)) } else { Err(TextError { len: bytes.len(), limit: MAX }) }
    }
    /// The bytes.
    pub fn into_inner(self) -> Vec<u8> {
        self.0
    }
}

impl<const MAX: usize> Deref for Blob<MAX> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> fmt::Debug for Blob<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

impl<const MAX: usize> Codec for Blob<MAX> {
    fn encode(&self, w: &mut Writer) {
        w.bytes(&self.0);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        r.bytes("bytes", MAX).map(|b| Self(b.to_vec()))
    }
}

/// A list of at most `MAX` items.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> List<T, MAX> {
    /// Items within the limit.
    ///
    /// # Errors
    /// There are more.
    pub fn new(items: Vec<T>) -> Result<Self, TextError> {
        if items.len() <= MAX { Ok(Self(items)) } else { Err(TextError { len: items.len(), limit: MAX }) }
    }
    /// The first items that fit.
    pub fn clip(mut items: Vec<T>) -> Self {
        items.truncate(MAX);
        Self(items)
    }
    /// The items.
    pub fn into_inner(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Deref for List<T, MAX> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Codec, const MAX: usize> Codec for List<T, MAX> {
    fn encode(&self, w: &mut Writer) {
        w.list(&self.0, |w, item| item.encode(w));
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        r.list("items", MAX, T::decode).map(Self)
    }
}

impl<T: Codec> Codec for Option<T> {
    fn encode(&self, w: &mut Writer) {
        w.option(self.as_ref(), |w, v| v.encode(w));
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        r.option(T::decode)
    }
}

impl<const N: usize> Codec for [u8; N] {
    fn encode(&self, w: &mut Writer) {
        w.raw(self);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        r.array()
    }
}

macro_rules! scalar {
    ($($t:ty => $f:ident),*) => {$(
        impl Codec for $t {
            fn encode(&self, w: &mut Writer) {
                w.$f(*self);
            }
            fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
                r.$f()
            }
        }
    )*};
}
scalar!(u8 => u8, u16 => u16, u32 => u32, u64 => u64, u128 => u128, bool => bool);

/// A data key on its way between two processes: never printed, wiped when it is dropped.
#[derive(Clone)]
pub struct Key32([u8; 32]);

impl Key32 {
    /// A copy of a key; the caller wipes its own.
    pub const fn new(key: &[u8; 32]) -> Self {
        Self(*key)
    }

    /// Lets `use_it` see the key.
    pub fn expose<R>(&self, use_it: impl FnOnce(&[u8; 32]) -> R) -> R {
        use_it(&self.0)
    }
}

impl Drop for Key32 {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PartialEq for Key32 {
    /// In constant time.
    fn eq(&self, other: &Self) -> bool {
        base::digest::ct_eq(&self.0, &other.0)
    }
}

impl Eq for Key32 {}

impl fmt::Debug for Key32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key32(..)")
    }
}

impl Codec for Key32 {
    fn encode(&self, w: &mut Writer) {
        w.raw(&self.0);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        r.array().map(Self)
    }
}

impl Codec for Digest {
    fn encode(&self, w: &mut Writer) {
        w.digest(self);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        r.digest()
    }
}

/// One byte for the function, then the digest.
impl Codec for TensorDigest {
    fn encode(&self, w: &mut Writer) {
        let (function, digest) = match self {
            Self::Sha256(digest) => (1, *digest),
            Self::Blake3(bytes) => (2, Digest::from_bytes(*bytes)),
        };
        w.u8(function);
        w.digest(&digest);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        match r.u8()? {
            1 => r.digest().map(Self::Sha256),
            2 => r.digest().map(|digest| Self::Blake3(*digest.as_bytes())),
            value => Err(WireError::Undefined { what: "hash function", value: value.into() }),
        }
    }
}

/// A structure whose encoding is its fields in order.
macro_rules! record {
    ($(#[$m:meta])* pub struct $n:ident { $( $(#[$fm:meta])* $f:ident : $t:ty ),* $(,)? }) => {
        $(#[$m])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $n { $( $(#[$fm])* pub $f: $t, )* }

        impl $crate::Codec for $n {
            fn encode(&self, w: &mut base::wire::Writer) {
                let Self { $($f),* } = self;
                $( $crate::Codec::encode($f, w); )*
            }
            fn decode(r: &mut base::wire::Reader<'_>) -> Result<Self, base::wire::WireError> {
                $( let $f = <$t as $crate::Codec>::decode(r)?; )*
                Ok(Self { $($f),* })
            }
        }
    };
}

/// A closed choice: a tag byte, then the fields of the variant.
macro_rules! choice {
    ($(#[$m:meta])* pub enum $n:ident {
        $( $(#[$vm:meta])* $tag:literal $v:ident { $( $(#[$fm:meta])* $f:ident : $t:ty ),* $(,)? } ),* $(,)?
    }) => {
        $(#[$m])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $n { $( $(#[$vm])* $v { $( $(#[$fm])* $f: $t, )* }, )* }

        impl $n {
            /// The tag of every variant, in their order: what a test goes by that must leave none out.
            pub const TAGS: &'static [u8] = &[$($tag),*];

            /// The tag of this one.
            pub const fn tag(&self) -> u8 {
                match self { $( Self::$v { .. } => $tag, )* }
            }
        }

        impl $crate::Codec for $n {
            fn encode(&self, w: &mut base::wire::Writer) {
                match self {
                    $( Self::$v { $($f),* } => {
                        w.u8($tag);
                        $( $crate::Codec::encode($f, w); )*
                    } )*
                }
            }
            fn decode(r: &mut base::wire::Reader<'_>) -> Result<Self, base::wire::WireError> {
                match r.u8()? {
                    $( $tag => {
                        $( let $f = <$t as $crate::Codec>::decode(r)?; )*
                        Ok(Self::$v { $($f),* })
                    } )*
                    value => Err(base::wire::WireError::Undefined { what: stringify!($n), value: value.into() }),
                }
            }
        }
    };
}

/// A closed set of plain names: `u16` tag.
macro_rules! names {
    ($(#[$m:meta])* pub enum $n:ident { $( $(#[$vm:meta])* $tag:literal $v:ident = $text:literal ),* $(,)? }) => {
        $(#[$m])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $n { $( $(#[$vm])* $v, )* }

        impl $n {
            /// Every member, in order of its tag.
            pub const ALL: &'static [Self] = &[$(Self::$v),*];

            /// Its name in events, API and text.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$v => $text, )* }
            }

            /// The member of this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $( $text => Some(Self::$v), )* _ => None }
            }
        }

        impl std::fmt::Display for $n {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl $crate::Codec for $n {
            fn encode(&self, w: &mut base::wire::Writer) {
                let tag: u16 = match self { $( Self::$v => $tag, )* };
                w.u16(tag);
            }
            fn decode(r: &mut base::wire::Reader<'_>) -> Result<Self, base::wire::WireError> {
                match r.u16()? {
                    $( $tag => Ok(Self::$v), )*
                    value => Err(base::wire::WireError::Undefined { what: stringify!($n), value: value.into() }),
                }
            }
        }
    };
}
