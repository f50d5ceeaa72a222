use super::*;
use crate::proof;
use crate::tree::{LeafIndex, leaf_hash, root_of};
use crate::verify::ReadError;

#[derive(Default)]
struct Files(BTreeMap<String, Vec<u8>>);
impl ReadFile for Files {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.0.get(path).cloned())
    }
}

#[test]
fn paths_are_those_of_the_specification() {
    assert_eq!(hash_path(0, 1_234_067, 256), "tile/0/x001/x234/067");
    assert_eq!(hash_path(1, 0, 5), "tile/1/000.p/5");
    assert_eq!(entries_path(1000, 0), "tile/entries/x001/000");
    assert_eq!(entries_path(999, 1), "tile/entries/999.p/1");
}

#[test]
fn tiles_give_the_same_proofs_and_roots_as_the_leaves() {
    // 70,000 leaves reach the third level of tiles (256^2 = 65,536).
    let leaves: Vec<Digest> = (0..70_000u64).map(|i| leaf_hash(&i.to_be_bytes())).collect();
    let (mut builder, mut files) = (Builder::new(), Files::default());
    for leaf in &leaves {
        builder.push(*leaf, |(path, bytes)| {
            files.0.insert(path, bytes);
        });
    }
    files.0.extend(builder.partials());
    assert!(files.0.contains_key("tile/2/000.p/1"));
    let size = TreeSize::new(70_000);
    let stored = StoredHashes::new(&files, size);
    let root = root_of(leaves.iter().copied());
    assert_eq!(proof::root(&stored, size), Some(root));
    for index in [0u64, 255, 256, 65_535, 65_536, 69_999] {
        let at = LeafIndex::new(index);
        let proof = proof::inclusion(&stored, at, size).unwrap();
        let leaf = leaves[usize::try_from(index).unwrap()];
        proof::verify_inclusion(leaf, at, size, &proof, &root).unwrap();
    }
    for old in [1u64, 255, 256, 257, 65_536, 69_888] {
        let old_root = root_at(&leaves, usize::try_from(old).unwrap());
        let proof = proof::consistency(&stored, TreeSize::new(old), size).unwrap();
        proof::verify_consistency(TreeSize::new(old), &old_root, size, &root, &proof).unwrap();
        // An older head is proven from full tiles where its partial ones are gone.
        let before = StoredHashes::new(&files, TreeSize::new(old));
        assert_eq!(proof::root(&before, TreeSize::new(old)), Some(old_root));
    }
}

#[test]
fn bundles_round_trip_and_say_when_they_are_cut() {
    let entries: Vec<Vec<u8>> = vec![vec![], vec![1], vec![2; ENTRY_MAX]];
    let bytes = bundle(entries.iter().map(Vec::as_slice));
    let (read, cut) = entries_of(&bytes);
    assert_eq!((read, cut), (entries.iter().map(Vec::as_slice).collect(), false));
    for len in [1, 2, 3, bytes.len() - 1] {
        let (read, cut) = entries_of(&bytes[..len]);
        assert!(cut || len == 2, "{len}");
        assert!(read.len() < 3);
    }
    assert_eq!(hashes_of(&[0; 33]), None);
    assert_eq!(hashes_of(&[0; 32 * 257]), None);
}
