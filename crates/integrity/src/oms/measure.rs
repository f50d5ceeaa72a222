//! What one reading of a file gives: its length and the digests that its serialization asks for.
//!
//! A caller reads each file once, from one open file, and either streams it through [`Measure`] or hashes the
//! ranges of [`Serialization::ranges`] apart and puts them together ([`Measured::of`]). The same value serves to
//! sign and to verify, so that both see the same content.

use std::ops::Range;

use super::hash::{FileDigest, FileHasher, HashType};
use crate::limits::RESOURCES_MAX;

/// How a model is cut into resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// One resource for each file.
    #[default]
    Files,
    /// One for each range of this many bytes; the last of a file may be shorter.
    Shards {
        /// Bytes of a shard, at least 1.
        size_bytes: u64,
    },
}

/// How the content of files becomes resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Serialization {
    /// The hash of every resource.
    pub hash: HashType,
    /// How files are cut.
    pub method: Method,
}

impl Serialization {
    /// The ranges of a file of `len` bytes: with method `files` the whole, with shards one after the other and none
    /// for an empty file. `None`: more than a statement may list.
    pub fn ranges(&self, len: u64) -> Option<impl Iterator<Item = Range<u64>> + use<>> {
        let (count, size) = match self.method {
            Method::Files => (1, len),
            Method::Shards { size_bytes } => (len.div_ceil(size_bytes.max(1)), size_bytes.max(1)),
        };
        (count <= u64::try_from(RESOURCES_MAX).unwrap_or(u64::MAX)).then(|| {
            (0..count).map(move |i| {
                let start = i.saturating_mul(size);
                start..start.saturating_add(size).min(len)
            })
        })
    }
}

/// A file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// Bytes.
    pub len: u64,
    /// One digest with method `files`; with shards one for each range, in order, and none for an empty file.
    pub digests: Vec<FileDigest>,
}

impl Measured {
    /// A file of `len` bytes whose ranges hash to `digests`, in their order.
    pub fn of(len: u64, digests: Vec<FileDigest>) -> Self {
        Self { len, digests }
    }

    /// A file whose whole content hashes to this (method `files`).
    pub fn whole(len: u64, digest: impl Into<FileDigest>) -> Self {
        Self { len, digests: vec![digest.into()] }
    }
}

/// A file as it streams by.
#[derive(Debug)]
pub struct Measure {
    serialization: Serialization,
    len: u64,
    /// Bytes in the running hash.
    filled: u64,
    running: FileHasher,
    digests: Vec<FileDigest>,
}

impl Measure {
    /// Nothing read yet.
    pub fn new(serialization: Serialization) -> Self {
        let running = FileHasher::new(serialization.hash);
        Self { serialization, len: 0, filled: 0, running, digests: Vec::new() }
    }

    /// The next bytes of the file.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = match self.serialization.method {
                Method::Files => u64::MAX,
                Method::Shards { size_bytes } => size_bytes.max(1).saturating_sub(self.filled),
            };
            let take = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at(take);
            self.running.update(now);
            let took = u64::try_from(take).unwrap_or(u64::MAX);
            self.len = self.len.saturating_add(took);
            self.filled = self.filled.saturating_add(took);
            if took == room {
                self.cut();
            }
            bytes = later;
        }
    }

    /// Ends a shard.
    fn cut(&mut self) {
        let whole = std::mem::replace(&mut self.running, FileHasher::new(self.serialization.hash));
        self.digests.push(whole.finish());
        self.filled = 0;
    }

    /// The file has ended.
    pub fn finish(mut self) -> Measured {
        if self.filled > 0 || self.serialization.method == Method::Files {
            self.cut();
        }
        Measured { len: self.len, digests: self.digests }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However the bytes come, and whether they stream or are hashed by ranges, the measure is the same.
        #[test]
        fn the_measure_does_not_depend_on_how_the_bytes_come(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            cuts in proptest::collection::vec(1usize..50, 1..20),
            size_bytes in 1u64..60,
            hash in prop_oneof![Just(HashType::Sha256), Just(HashType::Blake2b), Just(HashType::Blake3)],
        ) {
            for method in [Method::Files, Method::Shards { size_bytes }] {
                let serialization = Serialization { hash, method };
                let mut measure = Measure::new(serialization);
                let mut rest = bytes.as_slice();
                for cut in cuts.iter().cycle() {
                    let (now, later) = rest.split_at((*cut).min(rest.len()));
                    measure.update(now);
                    rest = later;
                    if rest.is_empty() { break; }
                }
                let len = u64::try_from(bytes.len()).unwrap();
                let ranges: Vec<_> = serialization.ranges(len).unwrap().collect();
                let apart = ranges.iter().map(|r| {
                    hash.hash(&bytes[usize::try_from(r.start).unwrap()..usize::try_from(r.end).unwrap()])
                }).collect();
                prop_assert_eq!(measure.finish(), Measured::of(len, apart));
                // Contiguous from 0 to the end, each full but the last.
                let mut at = 0;
                for range in &ranges {
                    prop_assert_eq!(range.start, at);
                    at = range.end;
                }
                prop_assert_eq!(at, len);
            }
        }
    }

    #[test]
    fn an_empty_file_is_one_digest_as_a_file_and_none_as_shards() {
        let of =
            |method| Measure::new(Serialization { hash: HashType::Sha256, method }).finish().digests.len();
        assert_eq!((of(Method::Files), of(Method::Shards { size_bytes: 7 })), (1, 0));
    }

    #[test]
    fn more_ranges_than_a_statement_may_list_are_none() {
        let one = Serialization { hash: HashType::Sha256, method: Method::Shards { size_bytes: 1 } };
        assert!(one.ranges(u64::try_from(RESOURCES_MAX).unwrap()).is_some());
        assert!(one.ranges(u64::try_from(RESOURCES_MAX).unwrap() + 1).is_none());
        assert!(one.ranges(u64::MAX).is_none());
    }
}
