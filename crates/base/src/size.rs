//! Sizes in bytes, written as people write them.

use std::fmt;
use std::str::FromStr;

/// A number of bytes; text form `4GiB`, `512MiB`, `10KiB`, `100B` or a bare number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

/// The text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size: write a whole number and B, KiB, MiB, GiB or TiB, as in `4GiB`")]
pub struct SizeError(String);

const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl ByteSize {
    /// This many bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || SizeError(text.chars().take(40).flat_map(char::escape_debug).collect());
        let (digits, unit) = UNITS
            .iter()
            .find_map(|(name, unit)| text.strip_suffix(name).map(|rest| (rest, *unit)))
            .unwrap_or((text, 1));
        let digits = digits.trim_end();
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(refuse());
        }
        let count: u64 = digits.parse().map_err(|_| refuse())?;
        count.checked_mul(unit).map(Self).ok_or_else(refuse)
    }
}

impl<'de> serde::Deserialize<'de> for ByteSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = UNITS.iter().find(|(_, unit)| self.0 >= *unit).copied().unwrap_or(("B", 1));
        let whole = self.0 / unit;
        let tenth = (self.0 % unit).saturating_mul(10) / unit;
        if tenth == 0 { write!(f, "{whole}{name}") } else { write!(f, "{whole}.{tenth}{name}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_as_written() {
        assert_eq!("4GiB".parse::<ByteSize>().unwrap().bytes(), 4 << 30);
        assert_eq!("12".parse::<ByteSize>().unwrap().bytes(), 12);
        assert_eq!(ByteSize::from_bytes(1536).to_string(), "1.5KiB");
        for bad in ["", "GiB", "-1", "4GB", "1.5GiB", "99999999999TiB", "4 G iB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }
}
