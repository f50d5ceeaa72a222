use super::*;
use crate::note::Signer;

#[derive(Debug, Default)]
struct Count(u64, u64);
impl Sink for Count {
    fn entry(&mut self, _: LeafIndex, _: &[u8], _: Digest, _: usize) {
        self.0 += 1;
    }
    fn committed(&mut self, size: TreeSize, _: usize) {
        self.1 = size.get();
    }
}

fn signer() -> Signer {
    Signer::new("o/n", &[5; 32]).unwrap()
}

/// Batches of two entries, each followed by its checkpoint; returns the bytes and the end of each batch.
fn batches(count: u64) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut ends, mut frontier) = (Vec::new(), Vec::new(), Frontier::new());
    for batch in 0..count {
        for i in 0..2 {
            let entry = format!("entry {batch} {i}");
            frontier.push(leaf_hash(entry.as_bytes()));
            frame::put(&mut bytes, Frame::Entry(entry.as_bytes()));
        }
        let head = Checkpoint { origin: "o/n".into(), size: frontier.size(), root: frontier.root() };
        frame::put(&mut bytes, Frame::Note(head.sign(&signer()).unwrap().as_bytes()));
        ends.push(bytes.len());
    }
    (bytes, ends)
}

fn read(bytes: &[u8]) -> Result<(Walk, Count), SegmentError> {
    let mut count = Count::default();
    let walk = walk(bytes, &Frontier::new(), signer().verifier(), &mut count)?;
    Ok((walk, count))
}

#[test]
fn a_whole_segment_is_read() {
    let (mut bytes, ends) = batches(5);
    bytes.resize(bytes.len() + 100, 0);
    let (walk, count) = read(&bytes).unwrap();
    assert_eq!((count.0, count.1, walk.end, walk.tail), (10, 10, ends[4], None));
}

#[test]
fn a_cut_at_every_byte_keeps_all_whole_batches_and_says_what_is_left() {
    let (bytes, ends) = batches(3);
    for cut in 0..bytes.len() {
        let mut torn = bytes[..cut].to_vec();
        torn.resize(bytes.len() + 50, 0);
        let (walk, _) = read(&torn).unwrap();
        let whole = ends.iter().filter(|e| **e <= cut).count();
        assert_eq!(walk.frontier.size().get(), 2 * whole as u64, "cut {cut}");
        let from = if whole == 0 { 0 } else { ends[whole - 1] };
        assert_eq!(walk.end, from);
        assert_eq!(walk.tail.is_some(), torn[from..].iter().any(|b| *b != 0), "cut {cut}");
        if let Some(tail) = walk.tail {
            assert!(tail.signed.is_empty());
        }
    }
}

#[test]
fn damage_before_a_later_checkpoint_shows_that_checkpoint() {
    let (bytes, ends) = batches(4);
    let mut damaged = bytes;
    damaged[ends[0] + 10] ^= 1;
    let (walk, _) = read(&damaged).unwrap();
    assert_eq!(walk.frontier.size().get(), 2);
    let sizes: Vec<u64> = walk.tail.unwrap().signed.iter().map(|s| s.get()).collect();
    assert_eq!(sizes, [4, 6, 8]);
}

#[test]
fn entries_changed_with_their_checksum_contradict_the_signature() {
    let (mut bytes, ends) = batches(1);
    let mut forged = Vec::new();
    frame::put(&mut forged, Frame::Entry(b"entry 0 X"));
    bytes[..forged.len()].copy_from_slice(&forged);
    assert_eq!(
        read(&bytes).unwrap_err(),
        SegmentError::Root { from: LeafIndex::new(0), to: TreeSize::new(2) }
    );
    let other = Signer::new("o/n", &[6; 32]).unwrap();
    let (good, _) = batches(1);
    let found = walk(&good, &Frontier::new(), other.verifier(), &mut Count::default());
    assert_eq!(found.unwrap_err(), SegmentError::Signature(LeafIndex::new(0)));
    assert_eq!(ends.len(), 1);
}

#[test]
fn names_round_trip() {
    let name = file_name(LeafIndex::new(123));
    assert_eq!(first_of(&name), Some(LeafIndex::new(123)));
    for bad in ["seg-1.log", "seg-+0000000000000000001.log", "x", &format!("{name}~")] {
        assert_eq!(first_of(bad), None);
    }
}
