//! The digest of a tree: what pins a directory, and what is compared with the mount that a job will see.

use base::wire::lp;
use base::{Digest, Hasher};

use crate::error::ImageError;

/// Stands at the beginning, so that no other digest of the platform can be one of these.
const DOMAIN: &[u8] = b"strongroom.image.tree/1";

/// What a node of a tree is. Owner, times, extended attributes and set-id bits are no part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node<'a> {
    /// A directory; an empty one counts too.
    Directory,
    /// A file.
    File {
        /// Its bytes.
        size: u64,
        /// SHA-256 of them.
        digest: Digest,
        /// Whether somebody may execute it.
        executable: bool,
    },
    /// A symbolic link.
    Symlink {
        /// Its target.
        target: &'a [u8],
    },
}

/// Digests a tree node by node, in the order of path bytes: SHA-256 over `lp("strongroom.image.tree/1")` and, for
/// each node but the root, `lp(path) ‖ u8 kind`, where kind is 1 for a directory, 2 for a file, 3 for an executable
/// file (both followed by `u64 size ‖ sha256`) and 4 for a link (followed by `lp(target)`). `lp` is a 16-bit length
/// and the bytes; integers are little-endian.
#[derive(Debug)]
pub struct TreeHasher {
    hasher: Hasher,
    last: Option<String>,
}

impl Default for TreeHasher {
    fn default() -> Self {
        let mut hasher = Hasher::new();
        hasher.update(&lp(DOMAIN));
        Self { hasher, last: None }
    }
}

impl TreeHasher {
    /// Adds the next node.
    ///
    /// # Errors
    /// [`ImageError::Path`]: it does not come after the one before.
    pub fn add(&mut self, path: &str, node: &Node<'_>) -> Result<(), ImageError> {
        if self.last.as_deref().is_some_and(|last| last.as_bytes() >= path.as_bytes()) {
            return Err(ImageError::Path { path: path.to_owned(), why: "it stands out of order" });
        }
        self.hasher.update(&lp(path.as_bytes()));
        match node {
            Node::Directory => self.hasher.update(&[1]),
            Node::File { size, digest, executable } => {
                self.hasher.update(&[if *executable { 3 } else { 2 }]);
                self.hasher.update(&size.to_le_bytes());
                self.hasher.update(digest.as_bytes());
            }
            Node::Symlink { target } => {
                self.hasher.update(&[4]);
                self.hasher.update(&lp(target));
            }
        }
        self.last = Some(path.to_owned());
        Ok(())
    }

    /// The digest.
    pub fn finish(self) -> Digest {
        self.hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(nodes: &[(&str, Node<'_>)]) -> Digest {
        let mut hasher = TreeHasher::default();
        for (path, node) in nodes {
            hasher.add(path, node).unwrap();
        }
        hasher.finish()
    }

    #[test]
    fn every_difference_of_a_tree_shows() {
        let file = |content: &[u8], executable| Node::File {
            size: u64::try_from(content.len()).unwrap(),
            digest: base::sha256(content),
            executable,
        };
        let trees = [
            digest(&[]),
            digest(&[("a", Node::Directory)]),
            digest(&[("b", Node::Directory)]),
            digest(&[("a", file(b"x", false))]),
            digest(&[("a", file(b"x", true))]),
            digest(&[("a", file(b"y", false))]),
            digest(&[("a", Node::Symlink { target: b"x" })]),
            digest(&[("a", Node::Directory), ("a/b", Node::Directory)]),
        ];
        let different: std::collections::BTreeSet<_> = trees.iter().map(Digest::hex).collect();
        assert_eq!(different.len(), trees.len());
    }

    #[test]
    fn nodes_come_in_order_and_once() {
        let mut hasher = TreeHasher::default();
        hasher.add("b", &Node::Directory).unwrap();
        assert!(hasher.add("b", &Node::Directory).is_err());
        assert!(hasher.add("a", &Node::Directory).is_err());
    }

    /// The definition, written out by hand: `python3 -c 'import hashlib,struct; ...'` over the same bytes.
    #[test]
    fn the_definition_is_what_it_says() {
        let mut bytes = b"\x17\0strongroom.image.tree/1".to_vec();
        bytes.extend_from_slice(b"\x03\0bin\x04\x07\0usr/bin");
        bytes.extend_from_slice(b"\x05\0hello\x03\x02\0\0\0\0\0\0\0");
        bytes.extend_from_slice(base::sha256(b"hi").as_bytes());
        let tree = digest(&[
            ("bin", Node::Symlink { target: b"usr/bin" }),
            ("hello", Node::File { size: 2, digest: base::sha256(b"hi"), executable: true }),
        ]);
        assert_eq!(tree, base::sha256(&bytes));
    }
}
