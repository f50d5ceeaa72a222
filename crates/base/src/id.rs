//! Ids: a readable prefix over a UUIDv7 (RFC 9562), written as 26 Crockford base-32 characters.

use std::fmt;
use std::str::FromStr;

use crate::time::Timestamp;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 128 bits in 5-bit characters: ceil(128 / 5).
const TEXT_LEN: usize = 26;

/// The text is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id of this kind is `{prefix}_` and 26 characters of 0-9 a-z without i, l, o, u")]
pub struct IdParseError {
    prefix: &'static str,
}

/// 128 bits: 48 of Unix milliseconds, the version and variant bits, 74 random ones.
pub fn uuid_v7(now: Timestamp, random: [u8; 10]) -> u128 {
    let [r0, r1, rest @ ..] = random;
    let rand_a = (u128::from(r0 & 0x0f) << 8) | u128::from(r1);
    let rand_b = rest.iter().fold(0u128, |acc, b| (acc << 8) | u128::from(*b)) & ((1 << 62) - 1);
    let millis = u128::from(now.as_millis()) & ((1 << 48) - 1);
    (millis << 80) | (7 << 76) | (rand_a << 64) | (0b10 << 62) | rand_b
}

/// The 128 bits as 26 lower-case Crockford base-32 characters.
pub fn crockford(bits: u128) -> String {
    (0..TEXT_LEN)
        .rev()
        .map(|i| {
            let index = (bits >> (5 * i)) & 31;
            let index = usize::try_from(index).unwrap_or(0);
            char::from(ALPHABET.get(index).copied().unwrap_or(b'0'))
        })
        .collect()
}

/// The 128 bits of 26 such characters.
pub fn uncrockford(text: &str) -> Option<u128> {
    if text.len() != TEXT_LEN {
        return None;
    }
    let mut bits = 0u128;
    for (i, byte) in text.bytes().enumerate() {
        let value = u128::try_from(ALPHABET.iter().position(|c| *c == byte)?).ok()?;
        if i == 0 && value > 7 {
            return None;
        }
        bits = (bits << 5) | value;
    }
    Some(bits)
}

/// What all id types share.
trait Parse: Sized {
    fn parse(text: &str) -> Option<Self>;
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// A new id from the time and 10 random bytes.
            pub fn new(now: Timestamp, random: [u8; 10]) -> Self {
                Self(uuid_v7(now, random))
            }
            /// The id with these 128 bits.
            pub const fn from_bits(bits: u128) -> Self {
                Self(bits)
            }
            /// The 128 bits (a UUIDv7).
            pub const fn bits(self) -> u128 {
                self.0
            }
        }

        impl Parse for $name {
            fn parse(text: &str) -> Option<Self> {
                uncrockford(text.strip_prefix(concat!($prefix, "_"))?).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), crockford(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdParseError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                <Self as Parse>::parse(text).ok_or(IdParseError { prefix: $prefix })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

// Append-only, alphabetical.
ids! {
    /// A request for the approval of another person.
    ApprovalId = "apr";
    /// A sealed checkpoint of a job.
    CheckpointId = "ckp";
    /// One intent, its effect and its outcome share this correlation id.
    CorrelationId = "cor";
    /// A named egress.
    EgressId = "egr";
    /// A model being served.
    EndpointId = "end";
    /// An audit event.
    EventId = "evt";
    /// A training run.
    JobId = "job";
    /// An API key.
    KeyId = "key";
    /// A receipt of one inference.
    ReceiptId = "rcp";
    /// One instance of a sandbox with its porter.
    RunId = "run";
    /// A session of a person.
    SessionId = "ses";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_kinds_do_not_mix() {
        let id = JobId::new(Timestamp::from_millis(1_700_000_000_000), [255; 10]);
        assert_eq!(id.to_string().parse::<JobId>().unwrap(), id);
        assert!(id.to_string().parse::<KeyId>().is_err());
        assert_eq!(id.to_string().len(), 30);
    }

    #[test]
    fn version_and_variant_bits_are_those_of_uuid_7() {
        let bits = uuid_v7(Timestamp::from_millis(u64::MAX), [0xff; 10]);
        assert_eq!((bits >> 76) & 15, 7);
        assert_eq!((bits >> 62) & 3, 2);
    }

    #[test]
    fn ids_sort_by_time() {
        let a = RunId::new(Timestamp::from_millis(1), [255; 10]);
        let b = RunId::new(Timestamp::from_millis(2), [0; 10]);
        assert!(a < b && a.to_string() < b.to_string());
    }
}
