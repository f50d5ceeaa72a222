//! Inclusion and consistency proofs, made and checked (RFC 9162 sections 2.1.3 and 2.1.4).

use base::Digest;

use crate::limits::PROOF_MAX;
use crate::tree::{LeafIndex, TreeSize, node_hash};

/// Where the hashes of complete subtrees come from: memory, or tiles.
pub trait Hashes {
    /// Hash of the complete subtree of 2^`level` leaves that starts at leaf `index` · 2^`level`.
    fn subtree(&self, level: u32, index: u64) -> Option<Digest>;
}

/// A proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The index or sizes cannot be.
    #[error("the proof is about positions that cannot be in such a log")]
    Range,
    /// Too many or too few hashes.
    #[error("the proof has the wrong number of hashes")]
    Length,
    /// The computed root is another.
    #[error("the proof leads to another root")]
    Root,
}

impl base::Explain for ProofError {
    fn code(&self) -> &'static str {
        match self {
            Self::Range => "SR-AUD-0001",
            Self::Length => "SR-AUD-0002",
            Self::Root => "SR-AUD-0003",
        }
    }
    fn fault(&self) -> base::Fault {
        base::Fault::Peer
    }
    fn help(&self) -> Option<base::Help> {
        Some("fetch the proof again with `strongroom audit export`; if it still fails, the log was changed")
    }
}

/// Largest power of two below `n`, for `n` > 1.
fn split(n: u64) -> u64 {
    n.saturating_sub(1).checked_ilog2().map_or(1, |bit| 1 << bit)
}

/// MTH of the leaves `from..to`.
fn range_hash(hashes: &impl Hashes, from: u64, to: u64) -> Option<Digest> {
    let len = to.checked_sub(from)?;
    if len == 0 {
        return None;
    }
    if len.is_power_of_two() && from.is_multiple_of(len) {
        return hashes.subtree(len.trailing_zeros(), from / len);
    }
    let middle = from.checked_add(split(len))?;
    Some(node_hash(&range_hash(hashes, from, middle)?, &range_hash(hashes, middle, to)?))
}

/// Root of the first `size` leaves; `None` if a hash is missing or the tree is empty.
pub fn root(hashes: &impl Hashes, size: TreeSize) -> Option<Digest> {
    range_hash(hashes, 0, size.get())
}

/// PATH(m, D\[n\]): the proof that leaf `index` is in the tree of `size`; `None` if it is not, or a hash is
/// missing.
pub fn inclusion(hashes: &impl Hashes, index: LeafIndex, size: TreeSize) -> Option<Vec<Digest>> {
    if !size.contains(index) {
        return None;
    }
    let (mut from, mut to) = (0u64, size.get());
    let mut proof = Vec::new();
    while to.checked_sub(from)? > 1 {
        let middle = from.checked_add(split(to.checked_sub(from)?))?;
        if index.get() < middle {
            proof.push(range_hash(hashes, middle, to)?);
            to = middle;
        } else {
            proof.push(range_hash(hashes, from, middle)?);
            from = middle;
        }
    }
    proof.reverse();
    Some(proof)
}

/// Checks an inclusion proof.
///
/// # Errors
/// [`ProofError`].
pub fn verify_inclusion(
    leaf: Digest,
    index: LeafIndex,
    size: TreeSize,
    proof: &[Digest],
    root: &Digest,
) -> Result<(), ProofError> {
    if !size.contains(index) {
        return Err(ProofError::Range);
    }
    if proof.len() > PROOF_MAX {
        return Err(ProofError::Length);
    }
    let mut node = index.get();
    let mut last = size.get().saturating_sub(1);
    let mut hash = leaf;
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if hash == *root { Ok(()) } else { Err(ProofError::Root) }
}

/// PROOF(m, D\[n\]): that the tree of size `old` is the beginning of the one of size `new`; empty if they are
/// equal. `None` for an empty or larger old tree, or if a hash is missing.
pub fn consistency(hashes: &impl Hashes, old: TreeSize, new: TreeSize) -> Option<Vec<Digest>> {
    if old.get() == 0 || old > new {
        return None;
    }
    let (mut from, mut to) = (0u64, new.get());
    let mut whole = true;
    let mut proof = Vec::new();
    while to != old.get() {
        let middle = from.checked_add(split(to.checked_sub(from)?))?;
        if old.get() <= middle {
            proof.push(range_hash(hashes, middle, to)?);
            to = middle;
        } else {
            proof.push(range_hash(hashes, from, middle)?);
            from = middle;
            whole = false;
        }
    }
    if !whole {
        proof.push(range_hash(hashes, from, to)?);
    }
    proof.reverse();
    Some(proof)
}

/// Checks a consistency proof between two roots.
///
/// # Errors
/// [`ProofError`].
pub fn verify_consistency(
    old: TreeSize,
    old_root: &Digest,
    new: TreeSize,
    new_root: &Digest,
    proof: &[Digest],
) -> Result<(), ProofError> {
    if old.get() == 0 || old > new {
        return Err(ProofError::Range);
    }
    if proof.len() > PROOF_MAX {
        return Err(ProofError::Length);
    }
    if old == new {
        return match (proof.is_empty(), old_root == new_root) {
            (true, true) => Ok(()),
            (true, false) => Err(ProofError::Root),
            (false, _) => Err(ProofError::Length),
        };
    }
    // A complete old tree is itself the first node of the proof (RFC 9162 section 2.1.4.2, step 1).
    let own = old.get().is_power_of_two().then_some(old_root);
    let mut hashes = own.into_iter().chain(proof);
    let first = *hashes.next().ok_or(ProofError::Length)?;
    let mut node = old.get().saturating_sub(1);
    let mut last = new.get().saturating_sub(1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut of_old, mut of_new) = (first, first);
    for hash in hashes {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            of_old = node_hash(hash, &of_old);
            of_new = node_hash(hash, &of_new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            of_new = node_hash(&of_new, hash);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if of_old == *old_root && of_new == *new_root { Ok(()) } else { Err(ProofError::Root) }
}

#[cfg(test)]
mod tests;
