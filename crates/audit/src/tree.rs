//! The Merkle tree of RFC 9162 section 2.1 over SHA-256.

use std::fmt;

use base::{Digest, Hasher, sha256};

/// Position of an entry in the log, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeafIndex(u64);

/// Number of entries in a log. Not a [`LeafIndex`]: the last entry of a log of size n has index n - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TreeSize(u64);

impl LeafIndex {
    /// The entry at this position.
    pub const fn new(index: u64) -> Self {
        Self(index)
    }
    /// The position, from 0.
    pub const fn get(self) -> u64 {
        self.0
    }
    /// The smallest log that has this entry.
    pub const fn size_with(self) -> TreeSize {
        TreeSize(self.0.saturating_add(1))
    }
}

impl TreeSize {
    /// A log of this many entries.
    pub const fn new(size: u64) -> Self {
        Self(size)
    }
    /// The number of entries.
    pub const fn get(self) -> u64 {
        self.0
    }
    /// The position that the next entry gets.
    pub const fn next_index(self) -> LeafIndex {
        LeafIndex(self.0)
    }
    /// Whether the log has an entry at `index`.
    pub const fn contains(self, index: LeafIndex) -> bool {
        index.0 < self.0
    }
}

impl fmt::Display for LeafIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TreeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// SHA-256(0x00 ‖ entry): the prefix keeps leaves and nodes apart (RFC 9162 section 2.1.1).
pub fn leaf_hash(entry: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(&[0]);
    hasher.update(entry);
    hasher.finish()
}

/// SHA-256(0x01 ‖ left ‖ right).
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(&[1]);
    hasher.update(left.as_bytes());
    hasher.update(right.as_bytes());
    hasher.finish()
}

/// The right edge of a growing tree: enough to append and to give the root, in 32 bytes per level.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    /// Roots of the complete subtrees from left (largest) to right; one for each bit set in `size`.
    edge: Vec<Digest>,
}

impl Frontier {
    /// The empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of leaves.
    pub fn size(&self) -> TreeSize {
        TreeSize(self.size)
    }

    /// Appends a leaf by its hash; returns its index.
    pub fn push(&mut self, leaf: Digest) -> LeafIndex {
        let index = LeafIndex(self.size);
        let mut hash = leaf;
        // Each trailing one-bit of the old size is a complete subtree as large as the one being carried.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.edge.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.edge.push(hash);
        self.size = self.size.saturating_add(1);
        index
    }

    /// The root; of the empty tree SHA-256 of nothing.
    pub fn root(&self) -> Digest {
        let mut edge = self.edge.iter().rev();
        let Some(first) = edge.next() else { return sha256(b"") };
        edge.fold(*first, |right, left| node_hash(left, &right))
    }
}

/// Root of a tree with these leaf hashes.
pub fn root_of(leaves: impl IntoIterator<Item = Digest>) -> Digest {
    let mut frontier = Frontier::new();
    for leaf in leaves {
        frontier.push(leaf);
    }
    frontier.root()
}
