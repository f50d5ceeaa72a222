//! Digests of tensors, which say by which hash function they were made.

use std::fmt;
use std::str::FromStr;

use crate::Digest;
use crate::digest::{hex, unhex};

/// What identifies the numbers of a tensor. It names nothing in the store and is under no signature of its own, so it
/// need not be SHA-256, and is never a [`Digest`], which always is. Written with its function: `b3:` and 64 hex
/// characters, or `sha256:` and as many. Digests of different functions are never equal.
///
/// What is hashed is for whoever makes it: see `inspect::tensor`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TensorDigest {
    /// By BLAKE3, 32 bytes: what this version makes.
    Blake3([u8; 32]),
    /// By SHA-256: in checkpoint manifests of version 1.
    Sha256(Digest),
}

/// Prefix of the text of a BLAKE3 digest.
const BLAKE3: &str = "b3:";
/// Prefix of the text of a SHA-256 digest.
const SHA256: &str = "sha256:";

impl fmt::Display for TensorDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blake3(bytes) => write!(f, "{BLAKE3}{}", hex(bytes)),
            Self::Sha256(digest) => write!(f, "{SHA256}{digest}"),
        }
    }
}

impl fmt::Debug for TensorDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not the digest of a tensor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the digest of a tensor is `b3:` or `sha256:` and 64 lower-case hex characters")]
pub struct TensorDigestParseError;

impl FromStr for TensorDigest {
    type Err = TensorDigestParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = |text: &str| -> Result<[u8; 32], Self::Err> {
            unhex(text).and_then(|bytes| bytes.try_into().ok()).ok_or(TensorDigestParseError)
        };
        if let Some(rest) = text.strip_prefix(BLAKE3) {
            bytes(rest).map(Self::Blake3)
        } else if let Some(rest) = text.strip_prefix(SHA256) {
            bytes(rest).map(|bytes| Self::Sha256(Digest::from_bytes(bytes)))
        } else {
            Err(TensorDigestParseError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_function_is_part_of_the_text_and_of_equality() {
        let blake3 = TensorDigest::Blake3([7; 32]);
        let sha256 = TensorDigest::Sha256(Digest::from_bytes([7; 32]));
        assert_ne!(blake3, sha256);
        for (digest, prefix) in [(blake3, "b3:0707"), (sha256, "sha256:0707")] {
            let text = digest.to_string();
            assert!(text.starts_with(prefix), "{text}");
            assert_eq!(text.parse(), Ok(digest));
        }
    }

    #[test]
    fn a_digest_that_does_not_say_its_function_is_none() {
        let hex = "07".repeat(32);
        let upper = format!("b3:{}", "AB".repeat(32));
        for bad in [hex.as_str(), "", "b3:", "b3:07", &format!("b3:{hex}00"), &format!("B3:{hex}"), &upper] {
            assert_eq!(bad.parse::<TensorDigest>(), Err(TensorDigestParseError), "{bad}");
        }
        assert!(format!("b3:{hex}").parse::<Digest>().is_err());
    }
}
