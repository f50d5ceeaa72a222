use super::*;
use crate::tree::{Frontier, leaf_hash, root_of};

/// The tree in memory, by the definition in RFC 9162 section 2.1.1.
struct Memory(Vec<Digest>);

impl Hashes for Memory {
    fn subtree(&self, level: u32, index: u64) -> Option<Digest> {
        let width = 1usize << level;
        let from = usize::try_from(index).ok()?.checked_mul(width)?;
        let leaves = self.0.get(from..from.checked_add(width)?)?;
        Some(by_definition(leaves))
    }
}

fn by_definition(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => base::sha256(b""),
        [one] => *one,
        _ => {
            let k = leaves.len().next_power_of_two() / 2;
            node_hash(&by_definition(&leaves[..k]), &by_definition(&leaves[k..]))
        }
    }
}

fn leaves(count: u64) -> Memory {
    Memory((0..count).map(|i| leaf_hash(&i.to_le_bytes())).collect())
}

#[test]
fn known_roots_of_certificate_transparency() {
    // The reference vectors of the Certificate Transparency test suite (merkletree).
    let inputs =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut frontier = Frontier::new();
    assert_eq!(frontier.root().hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (input, root) in inputs.iter().zip(roots) {
        frontier.push(leaf_hash(&base::digest::unhex(input).unwrap()));
        assert_eq!(frontier.root().hex(), root);
    }
}

#[test]
fn the_frontier_gives_the_root_of_the_definition() {
    let all = leaves(600);
    let mut frontier = Frontier::new();
    for (i, leaf) in all.0.iter().enumerate() {
        frontier.push(*leaf);
        assert_eq!(frontier.root(), by_definition(&all.0[..=i]));
    }
}

#[test]
fn every_inclusion_proof_up_to_257_verifies_and_mutations_do_not() {
    let all = leaves(257);
    for size in 1..=257u64 {
        let tree = TreeSize::new(size);
        let root = root_of(all.0.iter().take(size.try_into().unwrap()).copied());
        for index in 0..size {
            let (at, leaf) = (LeafIndex::new(index), all.0[usize::try_from(index).unwrap()]);
            let proof = inclusion(&all, at, tree).unwrap();
            verify_inclusion(leaf, at, tree, &proof, &root).unwrap();
            let other = leaf_hash(b"other");
            assert!(verify_inclusion(other, at, tree, &proof, &root).is_err());
            assert!(verify_inclusion(leaf, at, tree, &proof, &other).is_err());
            let next = LeafIndex::new((index + 1) % size);
            assert_eq!(verify_inclusion(leaf, next, tree, &proof, &root).is_ok(), size == 1);
            let mut longer = proof.clone();
            longer.push(other);
            assert!(verify_inclusion(leaf, at, tree, &longer, &root).is_err());
            if let Some((_, shorter)) = proof.split_last() {
                assert!(verify_inclusion(leaf, at, tree, shorter, &root).is_err());
            }
            // Flipping each hash of each proof is quadratic: do it where sizes are near powers of two.
            if size.count_ones() <= 2 {
                for i in 0..proof.len() {
                    let mut changed = proof.clone();
                    changed[i] = other;
                    assert_eq!(verify_inclusion(leaf, at, tree, &changed, &root), Err(ProofError::Root));
                }
            }
        }
        assert!(inclusion(&all, LeafIndex::new(size), tree).is_none());
        assert!(verify_inclusion(root, LeafIndex::new(size), tree, &[], &root).is_err());
    }
}

#[test]
fn every_consistency_proof_up_to_257_verifies_and_mutations_do_not() {
    let all = leaves(257);
    let roots: Vec<Digest> = (0..=257usize).map(|n| root_of(all.0.iter().take(n).copied())).collect();
    let root = |n: u64| &roots[usize::try_from(n).unwrap()];
    for new in 1..=257u64 {
        for old in 1..=new {
            let (a, b) = (TreeSize::new(old), TreeSize::new(new));
            let proof = consistency(&all, a, b).unwrap();
            verify_consistency(a, root(old), b, root(new), &proof).unwrap();
            let other = leaf_hash(b"other");
            assert!(verify_consistency(a, &other, b, root(new), &proof).is_err(), "{old} {new}");
            assert!(verify_consistency(a, root(old), b, &other, &proof).is_err());
            let mut longer = proof.clone();
            longer.push(other);
            assert!(verify_consistency(a, root(old), b, root(new), &longer).is_err());
            if let Some((_, shorter)) = proof.split_last() {
                assert!(verify_consistency(a, root(old), b, root(new), shorter).is_err());
            }
            if new.count_ones() <= 2 {
                for i in 0..proof.len() {
                    let mut changed = proof.clone();
                    changed[i] = other;
                    assert!(verify_consistency(a, root(old), b, root(new), &changed).is_err());
                }
            }
        }
    }
    assert!(consistency(&all, TreeSize::new(0), TreeSize::new(4)).is_none());
    assert!(consistency(&all, TreeSize::new(5), TreeSize::new(4)).is_none());
    assert_eq!(
        verify_consistency(TreeSize::new(5), root(5), TreeSize::new(4), root(4), &[]),
        Err(ProofError::Range)
    );
}
