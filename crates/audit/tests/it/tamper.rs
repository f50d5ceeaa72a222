//! What an owner of the machine may try, and what the verifier says.

use audit::verify::{End, KeyTrust, Report, VerifyError, What, verify};
use audit::{LeafIndex, Signer, prove, segment};
use proptest::prelude::*;

use crate::support::{Files, ORIGIN, bundles, entries, log, signer};

fn check(files: &Files) -> Report {
    verify(files, Some(signer().verifier().clone()), None).unwrap()
}

fn first_bad(files: &Files) -> (u64, u64, What) {
    let report = check(files);
    let bad = report.first_bad().unwrap_or_else(|| panic!("nothing found: {report}"));
    (bad.first.get(), bad.last.get(), bad.what)
}

#[test]
fn an_honest_log_of_any_size_is_intact() {
    for size in [1u64, 2, 255, 256, 257, 512, 700] {
        let all = entries(size, "x");
        let files = log(&all, 7, true);
        let report = check(&files);
        assert!(report.is_intact(), "{size}: {report}");
        assert_eq!(report.size.get(), size);
        assert_eq!(report.in_segments.unwrap().get(), size);
        assert_eq!((report.key_trust, report.end), (KeyTrust::Given, End::NotProven));
        assert!(report.to_string().contains("end:      not proven"));
    }
}

#[test]
fn the_key_of_the_copy_is_named_as_not_independent() {
    let files = log(&entries(3, "x"), 2, true);
    let report = verify(&files, None, None).unwrap();
    assert_eq!(report.key_trust, KeyTrust::FromCopy);
    assert!(report.to_string().contains("not independently trusted"));
    let mut without = files.clone();
    without.0.remove("vkey");
    assert!(matches!(verify(&without, None, None), Err(VerifyError::NoKey(None))));
    let other = Signer::new(ORIGIN, &[1; 32]).unwrap().verifier().clone();
    assert!(matches!(verify(&files, Some(other), None), Err(VerifyError::Head(_))));
}

#[test]
fn each_edited_entry_is_named_in_tiles_and_in_segments() {
    let all = entries(600, "x");
    for segments in [false, true] {
        for at in [0usize, 1, 255, 256, 300, 511, 512, 599] {
            let mut changed = all.clone();
            let last = changed[at].len() - 5;
            changed[at][last] ^= 1;
            let mut files = log(&all, 10, segments);
            bundles(&mut files, &changed, 600);
            let at = at as u64;
            assert_eq!(first_bad(&files), (at, at, What::Edited), "segments {segments}");
        }
    }
    let good = log(&all, 10, true);
    let name = segment::file_name(LeafIndex::new(0));
    for at in [0u64, 17, 255, 256, 599] {
        // The entry is changed in the segment with its checksum mended, the tiles are left alone.
        let mut changed = all.clone();
        let end = changed[usize::try_from(at).unwrap()].len() - 5;
        changed[usize::try_from(at).unwrap()][end] ^= 1;
        let mut files = good.clone();
        let forged = resign_frames_only(&all, &changed);
        files.0.insert(name.clone(), forged);
        assert_eq!(first_bad(&files), (at, at, What::Edited));
    }
}

/// The segment of `all` with the entries of `changed` but the checkpoints of the true ones.
fn resign_frames_only(all: &[Vec<u8>], changed: &[Vec<u8>]) -> Vec<u8> {
    use audit::frame::{Frame, Next, next, put};
    let name = segment::file_name(LeafIndex::new(0));
    let truth = log(all, 10, true).0.remove(&name).unwrap();
    let (mut out, mut at, mut index) = (Vec::new(), 0, 0);
    while let Next::Frame(frame, after) = next(&truth, at) {
        match frame {
            Frame::Entry(_) => {
                put(&mut out, Frame::Entry(&changed[index]));
                index += 1;
            }
            Frame::Note(note) => put(&mut out, Frame::Note(note)),
        }
        at = after;
    }
    out
}

#[test]
fn a_flipped_byte_in_a_segment_names_an_entry_at_or_before_it() {
    let all = entries(40, "x");
    let good = log(&all, 10, true);
    let name = segment::file_name(LeafIndex::new(0));
    let len = good.0[&name].len() - 4096;
    for position in (0..len).step_by(997) {
        let mut files = good.clone();
        files.0.get_mut(&name).unwrap()[position] ^= 0x10;
        let (first, last, _) = first_bad(&files);
        // Which entry the byte belongs to: count whole frames before it.
        let (mut at, mut index) = (0, 0u64);
        while let audit::frame::Next::Frame(frame, after) = audit::frame::next(&good.0[&name], at) {
            if after > position {
                break;
            }
            index += u64::from(matches!(frame, audit::frame::Frame::Entry(_)));
            at = after;
        }
        assert!(first <= index.min(39) && index.min(39) <= last, "byte {position}: {first}..{last}, {index}");
    }
}

#[test]
fn removed_inserted_and_swapped_entries_are_named() {
    let all = entries(600, "x");
    let stranger = entries(1, "stranger").remove(0);
    for segments in [false, true] {
        for at in [0usize, 3, 254, 256, 400, 598] {
            let index = at as u64;
            let mut removed = all.clone();
            removed.remove(at);
            let mut files = log(&all, 10, segments);
            bundles(&mut files, &removed, 600);
            let (first, _, what) = first_bad(&files);
            assert_eq!((first, what), (index, What::Removed), "removed {at} {segments}");

            let mut inserted = all.clone();
            inserted.insert(at, stranger.clone());
            let mut files = log(&all, 10, segments);
            bundles(&mut files, &inserted, 600);
            let (first, _, what) = first_bad(&files);
            assert_eq!((first, what), (index, What::Inserted), "inserted {at} {segments}");

            let mut swapped = all.clone();
            swapped.swap(at, at + 1);
            let mut files = log(&all, 10, segments);
            bundles(&mut files, &swapped, 600);
            let (first, _, what) = first_bad(&files);
            assert_eq!((first, what), (index, What::Reordered), "swapped {at} {segments}");
        }
    }
}

#[test]
fn an_entry_appended_to_the_last_bundle_is_named() {
    let all = entries(30, "x");
    let mut files = log(&all, 10, false);
    let path = audit::tile::entries_path(0, 30);
    let more = audit::tile::bundle(entries(1, "y").iter().map(Vec::as_slice));
    files.0.get_mut(&path).unwrap().extend_from_slice(&more);
    let (_, _, what) = first_bad(&files);
    assert_eq!(what, What::Excess);
}

#[test]
fn entries_edited_together_with_their_leaf_hash_are_found_by_what_stands_above() {
    let all = entries(600, "x");
    let mut changed = all.clone();
    let end = changed[300].len() - 5;
    changed[300][end] ^= 1;
    let forged = log(&changed, 10, false);
    // Entries and leaf tiles are the forger's, upper tiles and the head are the true ones.
    let mix = |segments: bool| {
        let mut files = log(&all, 10, segments);
        for (path, bytes) in &forged.0 {
            if path.starts_with("tile/entries") || path.starts_with("tile/0/") {
                files.0.insert(path.clone(), bytes.clone());
            }
        }
        files
    };
    let report = check(&mix(false));
    assert!(report.findings.iter().any(|f| f.first.get() == 256 && f.last.get() == 511), "{report}");
    // With the segments in the copy, the entry itself is named.
    let report = check(&mix(true));
    assert!(report.findings.iter().any(|f| f.first.get() == 300 && f.last.get() == 300), "{report}");
    // With all tiles forged, only the root is left to contradict, and the segments still name the entry.
    let mut files = log(&all, 10, true);
    for (path, bytes) in &forged.0 {
        if path.starts_with("tile/") {
            files.0.insert(path.clone(), bytes.clone());
        }
    }
    let report = check(&files);
    assert!(report.findings.iter().any(|f| (f.first.get(), f.last.get()) == (300, 300)), "{report}");
}

#[test]
fn a_changed_stored_hash_is_told_from_a_changed_entry() {
    let all = entries(600, "x");
    for path in ["tile/0/001", "tile/1/000.p/2"] {
        let mut files = log(&all, 10, true);
        files.0.get_mut(path).unwrap()[33] ^= 1;
        let (_, _, what) = first_bad(&files);
        assert_eq!(what, What::Hash, "{path}");
    }
}

#[test]
fn missing_files_are_named_with_the_entries_in_them() {
    let all = entries(600, "x");
    let good = log(&all, 10, true);
    for (path, first) in [("tile/entries/001", 256), ("tile/0/002.p/88", 512), ("tile/1/000.p/2", 0)] {
        let mut files = good.clone();
        assert!(files.0.remove(path).is_some());
        assert_eq!(first_bad(&files).0, first, "{path}");
    }
    let mut files = good;
    files.0.remove("checkpoint");
    assert!(matches!(verify(&files, None, None), Err(VerifyError::NoLog)));
}

#[test]
fn a_cut_tail_is_not_proven_alone_and_caught_by_a_kept_checkpoint() {
    let all = entries(600, "x");
    let full = log(&all, 10, true);
    let short = log(&all[..500], 10, true);
    let key = signer().verifier().clone();
    let alone = verify(&short, Some(key.clone()), None).unwrap();
    assert!(alone.is_intact());
    assert_eq!(alone.end, End::NotProven);
    let kept = full.0["checkpoint"].clone();
    let report = verify(&short, Some(key.clone()), Some(&kept)).unwrap();
    let bad = report.first_bad().unwrap();
    assert_eq!((bad.first.get(), bad.last.get(), bad.what), (500, 599, What::Shorter));
    // The other way round, the kept head proves the log that continues it.
    let kept = short.0["checkpoint"].clone();
    let report = verify(&full, Some(key), Some(&kept)).unwrap();
    assert!(report.is_intact());
    assert_eq!(report.end, End::ProvenTo(audit::TreeSize::new(500)));
    assert!(report.to_string().contains("end:      proven"));
}

#[test]
fn a_whole_rewrite_with_the_nodes_key_is_caught_by_a_kept_checkpoint() {
    let kept = log(&entries(300, "true"), 10, true).0["checkpoint"].clone();
    let rewritten = log(&entries(400, "false"), 10, true);
    let key = signer().verifier().clone();
    assert!(verify(&rewritten, Some(key.clone()), None).unwrap().is_intact());
    let report = verify(&rewritten, Some(key), Some(&kept)).unwrap();
    assert_eq!(report.first_bad().unwrap().what, What::Fork);
    assert_eq!(report.end, End::NotProven);
}

#[test]
fn a_cut_segment_is_found_by_the_head() {
    let all = entries(40, "x");
    let mut files = log(&all, 10, true);
    let shorter = log(&all[..30], 10, true);
    let name = segment::file_name(LeafIndex::new(0));
    files.0.insert(name.clone(), shorter.0[&name].clone());
    assert_eq!(first_bad(&files), (30, 39, What::Missing));
}

#[test]
fn signed_entries_with_wrong_numbers_are_found() {
    let mut all = entries(20, "x");
    all.swap(4, 7);
    assert_eq!(first_bad(&log(&all, 10, false)), (4, 4, What::Sequence));
    let mut all = entries(20, "x");
    all[9] = b"{\"b\":1,\"a\":2}".to_vec();
    assert_eq!(first_bad(&log(&all, 10, false)), (9, 9, What::Malformed));
}

#[test]
fn evidence_for_one_entry_verifies_alone() {
    let all = entries(600, "x");
    let files = log(&all, 10, false);
    let key = signer().verifier().clone();
    for index in [0u64, 255, 256, 599] {
        let evidence = prove::prove(&files, &key, LeafIndex::new(index)).unwrap();
        let text = evidence.proof_text();
        let back = prove::Evidence::from_text(evidence.entry.clone(), &text).unwrap();
        assert_eq!(back, evidence);
        back.verify(&key).unwrap();
        let other = prove::Evidence { entry: all[1].clone(), ..back };
        assert!(other.verify(&key).is_err());
    }
    assert!(prove::prove(&files, &key, LeafIndex::new(600)).is_err());
    let read = prove::read_entries(&files, audit::TreeSize::new(600), LeafIndex::new(250), 20).unwrap();
    assert_eq!(read, all[250..270]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever single byte of whatever file is changed, the log is not called intact.
    #[test]
    fn no_changed_byte_goes_unnoticed(file in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut files = log(&entries(300, "x"), 10, true);
        let names: Vec<String> = files.0.keys().filter(|p| *p != "vkey").cloned().collect();
        let name = &names[file.index(names.len())];
        let bytes = files.0.get_mut(name).unwrap();
        let at = byte.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // Zeros behind the last frame of a segment are no part of the log, but anything else there is noticed too.
        let found = verify(&files, Some(signer().verifier().clone()), None);
        let noticed = found.as_ref().map_or(true, |report| !report.is_intact());
        let in_padding = name.starts_with("seg-") && files.0[name].len() - at <= 4096;
        prop_assert!(noticed || in_padding, "{name} byte {at} bit {bit}");
    }

    /// No input makes the verifier panic.
    #[test]
    fn hostile_files_are_refused_not_crashed_on(bytes in proptest::collection::vec(any::<u8>(), 0..4096), which in 0usize..6) {
        let mut files = log(&entries(10, "x"), 5, true);
        let names = ["checkpoint", "vkey", "tile/0/000.p/10", "tile/entries/000.p/10", "seg-00000000000000000000.log", "other"];
        files.0.insert(names[which].to_owned(), bytes);
        if let Ok(report) = verify(&files, None, None) {
            prop_assert!(!report.is_intact() || which == 5);
        }
    }
}
