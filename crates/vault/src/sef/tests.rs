use base::{Digest, sha256};
use proptest::prelude::*;

use super::*;
use crate::keys::{Dek, FreshDek};
use crate::scope::KeyScope;

const DEK: [u8; 32] = [0x42; 32];

fn pattern(len: usize) -> Vec<u8> {
    (0..=250u8).cycle().take(len).collect()
}

fn scope(text: &str) -> KeyScope {
    text.parse().unwrap()
}

fn salt() -> [u8; 32] {
    std::array::from_fn(|i| u8::try_from(i).unwrap())
}

/// A whole sealed file, pushed in pieces of `step` bytes.
fn seal_as(plaintext: &[u8], dek: [u8; 32], salt: [u8; 32], scope: &KeyScope, step: usize) -> Vec<u8> {
    let chunk = ChunkSize::from_log2(16).unwrap();
    let mut sealer = Sealer::new(FreshDek::take(&mut dek.clone()), salt, chunk, Content::Unknown).unwrap();
    let mut file = vec![0u8; HEADER_LEN];
    let mut emit = |offset: u64, bytes: &[u8]| -> Result<(), SefError> {
        assert_eq!(offset, u64::try_from(file.len()).unwrap());
        file.extend_from_slice(bytes);
        Ok(())
    };
    for piece in plaintext.chunks(step) {
        sealer.push(piece, &mut emit).unwrap();
    }
    let sealed = sealer.finish(scope, &mut emit).unwrap();
    assert_eq!(sealed.digest, sha256(plaintext));
    assert_eq!(sealed.layout.tags_offset(), u64::try_from(file.len()).unwrap());
    file.extend_from_slice(&sealed.tags);
    assert_eq!(sealed.layout.file_len(), u64::try_from(file.len()).unwrap());
    file[..HEADER_LEN].copy_from_slice(sealed.header.as_slice());
    file
}

fn seal(plaintext: &[u8]) -> Vec<u8> {
    seal_as(plaintext, DEK, salt(), &scope("tenant-a"), 70_001)
}

/// Opens a whole file as a reader does.
fn open_as(file: &[u8], dek: [u8; 32], scope: &KeyScope, digest: &Digest) -> Result<Vec<u8>, SefError> {
    let short = SefError::Size { expected: DATA_OFFSET, actual: u64::try_from(file.len()).unwrap() };
    let (header, _) = file.split_first_chunk::<HEADER_LEN>().ok_or(short)?;
    let file_len = u64::try_from(file.len()).unwrap();
    let layout = Layout::parse(header, file_len)?;
    let (body, tags) = file[HEADER_LEN..].split_at(usize::try_from(layout.plaintext_len()).unwrap());
    let dek = Dek::take(&mut dek.clone());
    let opener = Opener::verify(header, tags.to_vec(), file_len, &dek, scope, digest)?;
    let mut body = body.to_vec();
    for index in 0..layout.chunks() {
        let start = usize::try_from(layout.chunk_offset(index) - DATA_OFFSET).unwrap();
        let len = layout.chunk_len(index).unwrap();
        let chunk = &mut body[start..start + len];
        if let Err(error) = opener.open_chunk(index, chunk) {
            assert!(chunk.iter().all(|b| *b == 0), "no byte of a forged chunk is handed out");
            return Err(error);
        }
    }
    Ok(body)
}

fn open(file: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, SefError> {
    open_as(file, DEK, &scope("tenant-a"), &sha256(plaintext))
}

/// `trust.md` section 6.5, every value of the file.
#[test]
fn test_vector_of_the_specification() {
    let plaintext = pattern(100_000);
    let file = seal(&plaintext);
    let hex = |range: std::ops::Range<usize>| base::digest::hex(&file[range]);
    assert_eq!(hex(48..80), "639982fbf70c25b9a41b63a4bafe87acfbde10a04551d1251f9c3ff5ce2ce1cd");
    assert_eq!(hex(80..112), "f6234d7eb0f55dd019f37c12e25d3cac391d6de6d3ce04195410c95d05aca6ae");
    assert_eq!(hex(112..144), "df7d08da731e86ed02c73a15e0b17f74a96c14850d055662b003a044fc75e639");
    assert_eq!(hex(104_096..104_112), "0efb9ea724a703f2a69391568127fde4");
    assert_eq!(hex(104_112..104_128), "0c1453a62254138bc47e98cb03a1ecf6");
    assert_eq!(file.len(), 104_128);
    assert_eq!(sha256(&file).hex(), "ca97b300aacb535a2e84687c7bca491f672821e90482b6afb1593d473afd5af1");
    let empty = seal(&[]);
    assert_eq!(empty.len(), 4_112);
    assert_eq!(sha256(&empty).hex(), "a5d4d14b1162c6055509a48250630855d3752e8f977e59f4d151cc9e39b99768");
    self_test().unwrap();
}

#[test]
fn lengths_around_chunk_boundaries_round_trip_in_any_steps() {
    let chunk = 1 << 16;
    for len in [0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk - 1, 2 * chunk, 2 * chunk + 1, 3 * chunk] {
        let plaintext = pattern(len);
        let whole = seal_as(&plaintext, DEK, salt(), &scope("tenant-a"), len.max(1));
        for step in [chunk - 1, chunk, chunk + 1, 50_000] {
            let file = seal_as(&plaintext, DEK, salt(), &scope("tenant-a"), step);
            assert!(file == whole, "length {len}, step {step}");
        }
        assert!(open(&whole, &plaintext).unwrap() == plaintext, "length {len}");
    }
}

#[test]
fn a_known_digest_gives_the_same_file_without_hashing() {
    let plaintext = pattern(200_000);
    let chunk = ChunkSize::from_log2(16).unwrap();
    let mut body = Vec::new();
    let mut emit = |_, bytes: &[u8]| -> Result<(), SefError> {
        body.extend_from_slice(bytes);
        Ok(())
    };
    let content = Content::Known(sha256(&plaintext));
    let mut sealer = Sealer::new(FreshDek::take(&mut DEK.clone()), salt(), chunk, content).unwrap();
    let mut rest = plaintext.as_slice();
    while !rest.is_empty() {
        let space = sealer.space();
        let n = space.len().min(rest.len()).min(60_000);
        space[..n].copy_from_slice(&rest[..n]);
        rest = &rest[n..];
        sealer.advance(n, &mut emit).unwrap();
    }
    let sealed = sealer.finish(&scope("tenant-a"), &mut emit).unwrap();
    let file: Vec<u8> = [sealed.header.as_slice(), &body, &sealed.tags].concat();
    assert!(file == seal(&plaintext));
}

#[test]
fn another_scope_digest_or_key_is_refused() {
    let plaintext = pattern(100_000);
    let file = seal(&plaintext);
    let digest = sha256(&plaintext);
    assert_eq!(open_as(&file, DEK, &scope("tenant-b"), &digest), Err(SefError::WrongContent));
    assert_eq!(open_as(&file, DEK, &scope("tenant-a"), &sha256(b"")), Err(SefError::WrongContent));
    assert_eq!(open_as(&file, [0x43; 32], &scope("tenant-a"), &digest), Err(SefError::WrongKey));
}

#[test]
fn cutting_extending_and_reordering_are_refused() {
    let plaintext: Vec<u8> =
        (0..4 * 65_536u32).map(|i| u8::try_from((i % 256) ^ (i / 65_536)).unwrap()).collect();
    let file = seal(&plaintext);
    for cut in [1, 15, 16, 17, 65_536, file.len() - HEADER_LEN, file.len()] {
        assert!(matches!(open(&file[..file.len() - cut], &plaintext), Err(SefError::Size { .. })), "{cut}");
    }
    let mut longer = file.clone();
    longer.push(0);
    assert!(matches!(open(&longer, &plaintext), Err(SefError::Size { .. })));

    // A cut at a chunk boundary with length and tag table to match: the header MAC stands against it.
    let mut cut = file[..HEADER_LEN + 3 * 65_536].to_vec();
    cut[8..16].copy_from_slice(&(3u64 * 65_536).to_le_bytes());
    cut.extend_from_slice(&file[HEADER_LEN + 4 * 65_536..][..48]);
    assert_eq!(open(&cut, &plaintext), Err(SefError::HeaderForged));

    let mut swapped = file.clone();
    let (a, b) = swapped[HEADER_LEN..].split_at_mut(65_536);
    a.swap_with_slice(&mut b[..65_536]);
    assert_eq!(open(&swapped, &plaintext), Err(SefError::ChunkForged { index: 0 }));
    let tags = HEADER_LEN + 4 * 65_536;
    let (a, b) = swapped[tags..].split_at_mut(16);
    a.swap_with_slice(&mut b[..16]);
    assert_eq!(open(&swapped, &plaintext), Err(SefError::HeaderForged));
}

#[test]
fn parts_of_two_files_under_one_key_do_not_mix() {
    let plaintext = pattern(3 * 65_536);
    let a = seal(&plaintext);
    // Same DEK, other salt: what a retry that reuses its DEK would leave behind.
    let b = seal_as(&plaintext, DEK, [9; 32], &scope("tenant-a"), 65_536);
    let body = HEADER_LEN..HEADER_LEN + 65_536;
    let mut spliced = a.clone();
    spliced[body.clone()].copy_from_slice(&b[body]);
    assert_eq!(open(&spliced, &plaintext), Err(SefError::ChunkForged { index: 0 }));
    let mut header = b;
    header[HEADER_LEN..].copy_from_slice(&a[HEADER_LEN..]);
    assert_eq!(open(&header, &plaintext), Err(SefError::HeaderForged));
}

#[test]
fn sealing_does_not_go_on_after_a_failed_write() {
    let chunk = ChunkSize::from_log2(16).unwrap();
    let mut sealer = Sealer::new(FreshDek::take(&mut [1; 32]), [2; 32], chunk, Content::Unknown).unwrap();
    let mut full = |_: u64, _: &[u8]| -> Result<(), SefError> { Err(SefError::TooLarge) };
    assert_eq!(sealer.push(&pattern(65_537), &mut full), Err(SefError::TooLarge));
    let mut ok = |_: u64, _: &[u8]| -> Result<(), SefError> { Ok(()) };
    assert!(matches!(sealer.push(&[1], &mut ok), Err(SefError::Misuse(_))));
    assert!(matches!(sealer.finish(&scope("a"), &mut ok), Err(SefError::Misuse(_))));
}

#[test]
fn misuse_is_refused_not_a_panic() {
    let chunk = ChunkSize::from_log2(16).unwrap();
    let mut sealer = Sealer::new(FreshDek::take(&mut [1; 32]), [2; 32], chunk, Content::Unknown).unwrap();
    let mut ok = |_: u64, _: &[u8]| -> Result<(), SefError> { Ok(()) };
    assert!(matches!(sealer.advance(65_537, &mut ok), Err(SefError::Misuse(_))));
    assert!(matches!(sealer.advance(usize::MAX, &mut ok), Err(SefError::Misuse(_))));
    for log2 in [0, 15, 25, 64, 255] {
        assert_eq!(ChunkSize::from_log2(log2), Err(SefError::ChunkSize { log2 }));
    }
    assert_eq!(Layout::of(chunk, u64::MAX), Err(SefError::TooLarge));
    let biggest = u64::try_from(crate::limits::TAG_TABLE_MAX / TAG_LEN).unwrap() * 65_536;
    assert!(Layout::of(chunk, biggest).is_ok());
    assert_eq!(Layout::of(chunk, biggest + 1), Err(SefError::TooLarge));
}

#[test]
fn every_header_byte_is_checked() {
    let plaintext = pattern(70_000);
    let file = seal(&plaintext);
    for at in 0..HEADER_LEN {
        let mut bad = file.clone();
        bad[at] ^= 0x80;
        assert!(open(&bad, &plaintext).is_err(), "byte {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_flipped_bit_is_refused(len in 0usize..140_000, place in any::<prop::sample::Index>()) {
        let plaintext = pattern(len);
        let mut file = seal(&plaintext);
        let bit = place.index(file.len() * 8);
        file[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(open(&file, &plaintext).is_err());
    }

    #[test]
    fn arbitrary_headers_never_panic(mut header in prop::collection::vec(any::<u8>(), 144), good in 0usize..9, len in any::<u64>()) {
        header.resize(HEADER_LEN, 0);
        let fields = [b"SEF1".as_slice(), &[1, 0, 1, 16]].concat();
        header[..good.min(8)].copy_from_slice(&fields[..good.min(8)]);
        let header: Header = header.try_into().unwrap();
        if let Ok(layout) = Layout::parse(&header, len) {
            prop_assert_eq!(layout.file_len(), len);
        }
    }

    #[test]
    fn layout_covers_the_file_without_gap_or_overlap(log2 in 16u8..=24, len in 0u64..1 << 28) {
        let layout = Layout::of(ChunkSize::from_log2(log2).unwrap(), len).unwrap();
        let mut end = DATA_OFFSET;
        for index in 0..layout.chunks() {
            prop_assert_eq!(layout.chunk_offset(index), end);
            end += u64::try_from(layout.chunk_len(index).unwrap()).unwrap();
        }
        prop_assert_eq!(end, layout.tags_offset());
        prop_assert_eq!(layout.chunk_len(layout.chunks()), None);
    }
}
