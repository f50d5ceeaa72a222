//! Releases of the platform: what the manifest of one says, and who must have signed it. Pure; how a signature is checked
//! is the caller's.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::{Digest, Explain, Fault, Help};

/// The programs of a release, in the order of its manifest: those that the warden executes.
pub const PROGRAMS: [&str; 4] =
    ["strongroom", "strongroom-keeper", "strongroom-porter", "strongroom-runtime"];
/// Name of the manifest beside them.
pub const MANIFEST: &str = "release.txt";
/// Name of its signatures.
pub const SIGNATURES: &str = "release.sig";
/// Longest manifest, in bytes: seven lines of at most 160.
pub const MANIFEST_MAX: usize = 2048;
/// Most signatures of a release, and most keys that a node knows.
pub const SIGNERS_MAX: usize = 16;
/// Largest program of a release.
pub const PROGRAM_BYTES_MAX: u64 = 512 << 20;
/// First line of a manifest; no other text that anybody signs begins so.
const FIRST: &str = "strongroom release 1";

/// A release or what is asked about one cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// Not the manifest of a release, or not as this version writes it.
    #[error("not the manifest of a release: {0}")]
    Form(&'static str),
    /// A signature by a key that the node trusts does not verify.
    #[error("a signature by a trusted key is wrong: the manifest was changed after it was signed")]
    Signature,
    /// Fewer trusted keys signed than must.
    #[error("{found} of the trusted keys signed it, {needed} must")]
    TooFew {
        /// How many did.
        found: usize,
        /// How many must.
        needed: usize,
    },
    /// One key stands there twice.
    #[error("one key signed it twice")]
    Twice,
    /// A program is not the one that the manifest says.
    #[error("`{0}` is not the program that the manifest says")]
    Program(&'static str),
    /// Older than the node takes.
    #[error("version {version} is older than {floor}, below which this node does not go")]
    BelowFloor {
        /// What was wanted.
        version: Version,
        /// The oldest that is taken.
        floor: Version,
    },
    /// Not staged.
    #[error("release {0} is not staged on this node")]
    Absent(Version),
    /// Another release of this version is there.
    #[error("another release of version {0} is staged already")]
    Exists(Version),
    /// The node takes no releases.
    #[error("this node takes no releases: {0}")]
    NotTaken(&'static str),
    /// There is nothing to go back to.
    #[error("no release was active before")]
    NothingBefore,
    /// A release is being staged or activated.
    #[error("a release is being staged or activated")]
    Busy,
    /// A directory that is no release.
    #[error("not a release: {0}")]
    Parts(String),
    /// It was activated and taken back.
    #[error("release {0} did not come up; the one before was taken again")]
    NotUp(String),
}

impl Explain for ReleaseError {
    fn code(&self) -> &'static str {
        match self {
            Self::Form(_) => "SR-REL-0001",
            Self::Signature => "SR-REL-0002",
            Self::TooFew { .. } => "SR-REL-0003",
            Self::Twice => "SR-REL-0004",
            Self::Program(_) => "SR-REL-0005",
            Self::BelowFloor { .. } => "SR-REL-0006",
            Self::Absent(_) => "SR-REL-0007",
            Self::Exists(_) => "SR-REL-0008",
            Self::NotTaken(_) => "SR-REL-0009",
            Self::NothingBefore => "SR-REL-0010",
            Self::Busy => "SR-REL-0011",
            Self::Parts(_) => "SR-REL-0012",
            Self::NotUp(_) => "SR-REL-0013",
        }
    }
    fn fault(&self) -> Fault {
        match self {
            Self::Signature | Self::Program(_) | Self::NotUp(_) => Fault::Peer,
            Self::NotTaken(_) => Fault::Operator,
            _ => Fault::Caller,
        }
    }
    fn help(&self) -> Option<Help> {
        Some(match self {
            Self::Absent(_) | Self::Exists(_) | Self::NothingBefore | Self::BelowFloor { .. } => {
                "see what there is with `strongroom release list`"
            }
            Self::NotTaken(_) => "name the keys and how many must sign in `[release]` of the configuration",
            Self::NotUp(_) => "see why with `strongroom audit search --kind release.return`",
            Self::Parts(_) => "leave only the four programs, `release.txt` and `release.sig` in it",
            Self::Busy => "see how far it is with `strongroom release list`, then try again",
            _ => "check it where it was made with `strongroom release verify DIR --key KEY --threshold 2`",
        })
    }
}

/// Three numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Counts what breaks.
    pub major: u32,
    /// Counts what is new.
    pub minor: u32,
    /// Counts what was mended.
    pub patch: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = ReleaseError;

    fn from_str(text: &str) -> Result<Self, ReleaseError> {
        let wrong = ReleaseError::Form("a version is three numbers, as in 1.4.0");
        let numbers: Vec<u32> = text.split('.').filter_map(|part| part.parse().ok()).collect();
        let [major, minor, patch] = numbers[..] else { return Err(wrong) };
        let version = Self { major, minor, patch };
        // One spelling: no sign, no leading zero.
        if version.to_string() == text { Ok(version) } else { Err(wrong) }
    }
}

/// One program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// Its bytes.
    pub bytes: u64,
    /// Their SHA-256.
    pub digest: Digest,
}

/// What a release is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its version.
    pub version: Version,
    /// Once it was active, nothing older than this is.
    pub floor: Version,
    /// The programs, in the order of [`PROGRAMS`].
    pub programs: [Program; 4],
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST}\nversion {}\nfloor {}", self.version, self.floor)?;
        for (name, program) in PROGRAMS.iter().zip(&self.programs) {
            writeln!(f, "program {name} {} {}", program.bytes, program.digest.hex())?;
        }
        Ok(())
    }
}

impl Manifest {
    /// Reads a manifest; of each there is one spelling.
    ///
    /// # Errors
    /// [`ReleaseError::Form`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReleaseError> {
        let wrong = ReleaseError::Form;
        if bytes.len() > MANIFEST_MAX {
            return Err(wrong("it is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("it is not text"))?;
        let mut lines = text.lines();
        if lines.next() != Some(FIRST) {
            return Err(wrong("it does not begin as one"));
        }
        let mut after = |word: &str| lines.next().and_then(|line| line.strip_prefix(word)?.strip_prefix(' '));
        let version = after("version").ok_or(wrong("it names no version"))?.parse()?;
        let floor = after("floor").ok_or(wrong("it names no floor"))?.parse()?;
        let mut programs = [Program { bytes: 0, digest: Digest::from_bytes([0; 32]) }; 4];
        for (name, program) in PROGRAMS.iter().zip(&mut programs) {
            let line = after("program").and_then(|l| l.strip_prefix(name)?.strip_prefix(' '));
            let (size, digest) = line
                .and_then(|l| l.split_once(' '))
                .ok_or(wrong("its programs are not those of a release, in their order"))?;
            program.bytes = size.parse().map_err(|_| wrong("a size is no number"))?;
            let digest = crate::digest::unhex(digest).and_then(|raw| <[u8; 32]>::try_from(raw).ok());
            program.digest = Digest::from_bytes(digest.ok_or(wrong("a digest is not 64 hex digits"))?);
            if program.bytes == 0 || program.bytes > PROGRAM_BYTES_MAX {
                return Err(wrong("a program is empty or too large"));
            }
        }
        let manifest = Self { version, floor, programs };
        if manifest.floor > manifest.version {
            return Err(wrong("its floor is above its own version"));
        }
        if manifest.to_string() != text {
            return Err(wrong("it is not written as manifests are"));
        }
        Ok(manifest)
    }
}

/// A signature and whose it is.
pub type Signed = ([u8; 32], [u8; 64]);

/// Reads a file of signatures: each a line of key and signature in hex.
///
/// # Errors
/// [`ReleaseError::Form`].
pub fn parse_signatures(bytes: &[u8]) -> Result<Vec<Signed>, ReleaseError> {
    let wrong = ReleaseError::Form("its signatures are not lines of a key and a signature in hex");
    let text = std::str::from_utf8(bytes).map_err(|_| wrong.clone())?;
    let mut found = Vec::new();
    for line in text.lines() {
        let parsed = line.split_once(' ').and_then(|(key, signature)| {
            let key = crate::digest::unhex(key)?.try_into().ok()?;
            Some((key, crate::digest::unhex(signature)?.try_into().ok()?))
        });
        found.push(parsed.ok_or(wrong.clone())?);
        if found.len() > SIGNERS_MAX {
            return Err(ReleaseError::Form("it has too many signatures"));
        }
    }
    if write_signatures(&found) == text { Ok(found) } else { Err(wrong) }
}

/// The file of these signatures.
pub fn write_signatures(signatures: &[Signed]) -> String {
    let line = |(key, signature): &Signed| {
        format!("{} {}\n", crate::digest::hex(key), crate::digest::hex(signature))
    };
    signatures.iter().map(line).collect()
}

/// How many of the trusted keys signed these bytes. A signature by another key is passed over.
///
/// # Errors
/// A trusted key's signature is wrong, a key stands there twice, or fewer signed than `needed`.
pub fn signers(
    manifest: &[u8],
    signatures: &[Signed],
    (trusted, needed): (&[[u8; 32]], usize),
    verify: impl Fn(&[u8; 32], &[u8], &[u8; 64]) -> bool,
) -> Result<usize, ReleaseError> {
    let mut seen = BTreeSet::new();
    let mut found = 0usize;
    for (key, signature) in signatures {
        if !seen.insert(key) {
            return Err(ReleaseError::Twice);
        }
        if !trusted.contains(key) {
            continue;
        }
        if !verify(key, manifest, signature) {
            return Err(ReleaseError::Signature);
        }
        found = found.saturating_add(1);
    }
    // A threshold of nothing is none.
    let needed = needed.max(1);
    if found < needed { Err(ReleaseError::TooFew { found, needed }) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let program = |n: u8| Program { bytes: u64::from(n) + 1, digest: crate::sha256(&[n]) };
        Manifest {
            version: Version { major: 1, minor: 4, patch: 0 },
            floor: Version { major: 1, minor: 2, patch: 9 },
            programs: [program(0), program(1), program(2), program(3)],
        }
    }

    #[test]
    fn a_manifest_has_one_spelling() {
        let text = manifest().to_string();
        assert_eq!(Manifest::parse(text.as_bytes()), Ok(manifest()));
        assert!(text.len() < MANIFEST_MAX);
        for at in 0..text.len() {
            assert!(Manifest::parse(&text.as_bytes()[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut changed = text.clone().into_bytes();
                changed[at] ^= 1 << bit;
                let read = Manifest::parse(&changed);
                assert!(
                    read.is_err() || read.unwrap().to_string().into_bytes() == changed,
                    "bit {bit} of {at}"
                );
            }
        }
        for (from, to) in [
            ("version 1.4.0", "version 01.4.0"),
            ("version 1.4.0", "version 1.4"),
            ("version 1.4.0", "version +1.4.0"),
            ("version 1.4.0", "version 1.2.8"),
            ("program strongroom ", "program ../strongroom "),
            ("program strongroom-keeper ", "program strongroom-porter "),
            ("strongroom release 1", "strongroom release 2"),
            (" 1 ", " 0 "),
            (" 1 ", " 536870913 "),
            ("\nfloor", "\r\nfloor"),
            ("\nfloor", "\n\nfloor"),
        ] {
            assert!(text.contains(from), "{from:?}");
            assert!(Manifest::parse(text.replacen(from, to, 1).as_bytes()).is_err(), "{to:?}");
        }
        assert!(
            Manifest::parse(format!("{text}program extra 1 {}\n", crate::sha256(b"").hex()).as_bytes())
                .is_err()
        );
        assert!(Manifest::parse(&vec![b'x'; MANIFEST_MAX + 1]).is_err());
    }

    #[test]
    fn so_many_different_trusted_keys_sign() {
        // A signature here is good if it repeats its key.
        let good = |n: u8| ([n; 32], [n; 64]);
        let verify = |key: &[u8; 32], _: &[u8], signature: &[u8; 64]| signature.iter().all(|b| *b == key[0]);
        let ask = |signatures: &[Signed], needed| {
            signers(b"m", signatures, (&[[1; 32], [2; 32], [3; 32]], needed), verify)
        };
        assert_eq!(ask(&[good(1), good(3)], 2), Ok(2));
        assert_eq!(ask(&[good(1), good(9), good(2)], 2), Ok(2), "a stranger's is passed over");
        assert_eq!(ask(&[good(1), good(9)], 2), Err(ReleaseError::TooFew { found: 1, needed: 2 }));
        assert_eq!(ask(&[], 0), Err(ReleaseError::TooFew { found: 0, needed: 1 }));
        assert_eq!(ask(&[good(1), good(1)], 2), Err(ReleaseError::Twice));
        assert_eq!(ask(&[good(1), good(2), ([3; 32], [9; 64])], 2), Err(ReleaseError::Signature));
        let text = write_signatures(&[good(1), good(2)]);
        assert_eq!(parse_signatures(text.as_bytes()), Ok(vec![good(1), good(2)]));
        for bad in
            [text.to_uppercase() + "A", text.replace(' ', "  "), format!("{text}\n"), "x y\n".to_owned()]
        {
            assert!(parse_signatures(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(parse_signatures(text.repeat(9).as_bytes()).is_err());
    }
}
