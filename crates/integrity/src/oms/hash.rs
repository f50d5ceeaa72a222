//! The three hashes that OMS knows, as values and as streams.

use std::fmt;

use blake2::Digest as _;

use base::{Digest, Hasher};

/// Which hash names the content of files. The root digest is SHA-256 whatever this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum HashType {
    /// SHA-256 (FIPS 180-4): the one that every verifier has, and the only one that the store knows.
    #[default]
    Sha256,
    /// BLAKE2b with 512 bits (RFC 7693).
    Blake2b,
    /// BLAKE3 with 256 bits.
    Blake3,
}

impl HashType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Blake2b, Self::Blake3];

    /// As it stands in `hash_type` and `algorithm`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Blake2b => "blake2b",
            Self::Blake3 => "blake3",
        }
    }

    /// The one of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.name() == name)
    }

    /// The hash of one slice.
    pub fn hash(self, bytes: &[u8]) -> FileDigest {
        let mut stream = FileHasher::new(self);
        stream.update(bytes);
        stream.finish()
    }
}

impl fmt::Display for HashType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The hash of a file or of a range of one, with its type: digests of two types are never equal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileDigest {
    /// SHA-256.
    Sha256(Digest),
    /// BLAKE2b-512.
    Blake2b([u8; 64]),
    /// BLAKE3-256.
    Blake3([u8; 32]),
}

impl FileDigest {
    /// Its type.
    pub const fn hash_type(&self) -> HashType {
        match self {
            Self::Sha256(_) => HashType::Sha256,
            Self::Blake2b(_) => HashType::Blake2b,
            Self::Blake3(_) => HashType::Blake3,
        }
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(digest) => digest.as_bytes(),
            Self::Blake2b(bytes) => bytes,
            Self::Blake3(bytes) => bytes,
        }
    }

    /// Lower-case hex without a prefix.
    pub fn hex(&self) -> String {
        base::digest::hex(self.as_bytes())
    }

    /// The digest of this type in lower-case hex of exactly its length, without a prefix.
    pub fn parse(hash: HashType, text: &str) -> Option<Self> {
        let bytes = base::digest::unhex(text)?;
        Some(match hash {
            HashType::Sha256 => Self::Sha256(Digest::from_bytes(bytes.try_into().ok()?)),
            HashType::Blake2b => Self::Blake2b(bytes.try_into().ok()?),
            HashType::Blake3 => Self::Blake3(bytes.try_into().ok()?),
        })
    }

    /// The digest, if it is a SHA-256.
    pub const fn sha256(&self) -> Option<Digest> {
        match self {
            Self::Sha256(digest) => Some(*digest),
            _ => None,
        }
    }
}

impl From<Digest> for FileDigest {
    fn from(digest: Digest) -> Self {
        Self::Sha256(digest)
    }
}

impl fmt::Display for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.hash_type(), self.hex())
    }
}

/// A running hash of any of the types.
#[derive(Clone)]
pub struct FileHasher(Running);

#[derive(Clone)]
enum Running {
    Sha256(Hasher),
    Blake2b(Box<blake2::Blake2b512>),
    Blake3(Box<blake3::Hasher>),
}

impl FileHasher {
    /// An empty hash.
    pub fn new(hash: HashType) -> Self {
        Self(match hash {
            HashType::Sha256 => Running::Sha256(Hasher::new()),
            HashType::Blake2b => Running::Blake2b(Box::default()),
            HashType::Blake3 => Running::Blake3(Box::default()),
        })
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Running::Sha256(hasher) => hasher.update(bytes),
            Running::Blake2b(hasher) => hasher.update(bytes),
            Running::Blake3(hasher) => {
                hasher.update(bytes);
            }
        }
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> FileDigest {
        match self.0 {
            Running::Sha256(hasher) => FileDigest::Sha256(hasher.finish()),
            Running::Blake2b(hasher) => FileDigest::Blake2b(hasher.finalize().into()),
            Running::Blake3(hasher) => FileDigest::Blake3(hasher.finalize().into()),
        }
    }
}

impl fmt::Debug for FileHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileHasher(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // FIPS 180-4, RFC 7693 appendix A, and the BLAKE3 test vectors (input 00).
        let of = |hash: HashType, input: &[u8]| hash.hash(input).hex();
        assert!(of(HashType::Sha256, b"abc").starts_with("ba7816bf8f01cfea"));
        assert!(
            of(HashType::Blake2b, b"abc").starts_with("ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b7")
        );
        assert!(of(HashType::Blake3, b"\0").starts_with("2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1"));
    }

    #[test]
    fn parsing_is_the_inverse_of_writing_and_takes_no_other_length() {
        for hash in HashType::ALL {
            let digest = hash.hash(b"x");
            assert_eq!(FileDigest::parse(hash, &digest.hex()), Some(digest));
            assert_eq!(HashType::parse(hash.name()), Some(hash));
            for bad in ["", "00", &digest.hex().to_uppercase(), &format!("{}00", digest.hex())] {
                assert_eq!(FileDigest::parse(hash, bad), None, "{bad}");
            }
        }
        // The same bytes under two types are two digests.
        let sha = HashType::Sha256.hash(b"x");
        assert_ne!(FileDigest::parse(HashType::Blake3, &sha.hex()), Some(sha));
    }
}
