//! Files of data: what they are, how much is in them, and what would run in the program that opens them.

use std::io::{self, Write};

use proptest::prelude::*;
use strongroom_inspect::data::{Carries, Described, Source, describe};

fn told(name: &str, bytes: &[u8]) -> Described {
    let mut source = bytes;
    let found = describe(name, &mut source).unwrap();
    // A source that gives its bytes is never the reason of a verdict, and all said is bounded.
    assert!(found.notes.len() <= 4 && found.notes.iter().all(|note| note.len() <= 200));
    found
}

fn counted(name: &str, bytes: &[u8], format: &str, records: u64) -> Described {
    let found = told(name, bytes);
    assert_eq!((found.format.as_str(), found.records), (format, Some(records)), "{name}: {found:?}");
    assert!(found.carries.is_empty() && found.refused.is_none(), "{name}: {found:?}");
    found
}

fn carries(name: &str, bytes: &[u8], what: Carries) {
    let found = told(name, bytes);
    assert!(found.carries.contains(&what), "{name} does not carry {what:?}: {found:?}");
}

fn refused(name: &str, bytes: &[u8]) {
    let found = told(name, bytes);
    assert!(found.refused.is_some(), "{name} is not refused: {found:?}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, data) in members {
        let mut block = [0u8; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..107].copy_from_slice(b"0000644");
        block[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
        block[156] = b'0';
        block[257..263].copy_from_slice(b"ustar\0");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        out.extend_from_slice(&block);
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn zipped(members: &[(&str, &[u8])]) -> Vec<u8> {
    crate::support::zip(
        &members.iter().map(|(name, data)| crate::support::entry(name, data)).collect::<Vec<_>>(),
    )
}

/// `os.system("id")`, by protocol 2.
const HOSTILE: &[u8] = b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.";
/// `{"a": 1}`, by protocol 4.
const PLAIN: &[u8] = b"\x80\x04\x95\x0a\0\0\0\0\0\0\0}\x94\x8c\x01a\x94K\x01s.";
/// The same by protocol 0.
const OLD: &[u8] = b"(dp0\nVa\np1\nI1\ns.";

#[test]
fn what_programs_in_use_write_is_recognised_and_counted() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recognised");
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = std::fs::read(&path).unwrap();
        let mut parts = name.split('-');
        let mut part = || parts.next().unwrap();
        let format = match part().split_once('_') {
            Some((outer, inner)) => format!("{outer}({inner})"),
            None => name.split('-').next().unwrap().to_owned(),
        };
        let (records, columns) = (part().parse().unwrap(), part().parse().ok());
        let found = counted(&name, &bytes, &format, records);
        if columns.is_some() {
            assert_eq!(found.columns, columns, "{name}");
        }
        assert!(!found.notes.iter().any(|note| note.contains("damaged")), "{name}: {found:?}");
        // By another name it is the same; only a text may be read otherwise.
        if !format.contains("csv") && !format.contains("tsv") && !format.contains("json") {
            assert_eq!(told("x", &bytes), found, "{name}");
        }
        // Cut in half it is counted as nothing that it is not.
        let half = told(&name, &bytes[..bytes.len() / 2]);
        if matches!(format.as_str(), "parquet" | "arrow" | "png" | "jpeg" | "gif") {
            assert!(half.notes.iter().any(|note| note.contains("damaged")), "{name}: {half:?}");
        }
        seen += 1;
    }
    assert!(seen >= 24, "{seen} files");
}

#[test]
fn tables_are_counted_as_rfc_4180_reads_them() {
    let found = counted("a.csv", b"a,b\r\n1,\"x, \"\"y\"\"\r\nz\"\r\n2,\r\n", "csv", 3);
    assert_eq!(found.columns, Some(2));
    assert!(found.notes[0].contains("names of the columns"), "{found:?}");
    counted("a.csv", b"\xef\xbb\xbfone\ntwo\nthree", "csv", 3);
    counted("a", b"1,2\n3,4\n", "csv", 2);
    counted("a", b"1;2;3\n3;4;5\n\n", "csv", 2);
    counted("a", b"a\tb\n1\t2", "tsv", 2);
    // What is no table is a text, whatever its name says.
    let ragged = counted("a.csv", b"a,b\n1,2,3\n", "text", 2);
    assert!(ragged.notes[0].contains("record 2 has 3 fields"), "{ragged:?}");
    counted("a.csv", b"a,\"b\n1,2\n", "text", 2);
    counted("a.txt", b"Hello, world", "text", 1);
    // Larger than what is looked at first.
    let mut large = b"id,text\n".to_vec();
    for number in 0..200_000 {
        large.extend_from_slice(format!("{number},\"a\nb\"\n").as_bytes());
    }
    counted("large.csv", &large, "csv", 200_001);
    counted("large.csv.gz", &gzip(&large), "gzip(csv)", 200_001);
    large.extend_from_slice(b"1,2,3\n");
    let late = told("large.csv", &large);
    assert_eq!(late.format, "text", "{late:?}");
}

#[test]
fn json_is_strict_and_counted_by_line_or_by_item() {
    counted("a", b"{\"a\": 1}\n{\"a\": [1, {\"b\": null}]}\n\n{}", "jsonl", 3);
    counted("a.jsonl", b"{\"a\": 1}\n", "jsonl", 1);
    counted("a", b"[1, 2, [3], \"\\u00e9\", -0.5e+3]", "json", 5);
    counted("a", b" [ ] ", "json", 0);
    counted("a.json", b"{\"a\":\n {}}", "json", 1);
    for bad in [
        &b"{\"a\": 1}{\"b\": 2}"[..],
        b"{\"a\": 01}",
        b"[1, 2",
        b"[1,]",
        b"{\"a\"}",
        b"{a: 1}",
        b"[nul]",
        b"[\"\\x\"]",
        b"[1]]",
        b"{\"a\": 1]",
        b"[NaN]",
        b"[1.]",
        b"[-]",
        b"[\"a\nb\"]",
    ] {
        let found = told("a.jsonl", bad);
        assert_eq!(found.format, "text", "{found:?}");
        assert!(found.notes[0].contains("no JSON"), "{found:?}");
    }
    let deep = [&b"["; 100].map(|part| part[0]);
    assert_eq!(told("a", &deep).format, "text");
}

#[test]
fn bytes_that_are_nothing_known_are_data() {
    for bytes in [&b"\0\0\0\0"[..], b"\xff\xfe\0\x01\x02", b"caf\xe9,1\nx,2\n", &[7; 3_000_000]] {
        let found = told("a.bin", bytes);
        assert!(matches!(found.format.as_str(), "unknown" | "utf-16"), "{found:?}");
        assert_eq!((found.records, found.refused, found.carries.len()), (None, None, 0));
    }
    counted("nothing", b"", "empty", 0);
    // The first bytes are text, later ones are not.
    let mut late = b"word ".repeat(400_000);
    late.push(0);
    assert_eq!(told("a.txt", &late).format, "unknown");
}

#[test]
fn pickles_are_found_wherever_they_stand() {
    for pickle in [HOSTILE, PLAIN, OLD] {
        carries("a.pkl", pickle, Carries::Pickle);
        carries("a.csv", pickle, Carries::Pickle);
        carries("a.gz", &gzip(pickle), Carries::Pickle);
        carries("a.tar", &tar(&[("a.jpg", b"x"), ("b/c.json", pickle)]), Carries::Pickle);
        carries("a.tar.gz", &gzip(&tar(&[("b/c.json", pickle)])), Carries::Pickle);
        carries("a.zip", &zipped(&[("readme.txt", b"hello"), ("x", pickle)]), Carries::Pickle);
        carries("a.zip", &zipped(&[("inner.zip", &zipped(&[("x", pickle)]))]), Carries::Pickle);
    }
    // Calls come before what breaks it, and much may stand before the call.
    carries("broken", &[HOSTILE, b"\xff\xff"].concat(), Carries::Pickle);
    let padded = [&b"\x80\x04X\0\0\x40\0"[..], &vec![b'x'; 4 << 20], &HOSTILE[2..]].concat();
    carries("a.zip", &zipped(&[("x/", HOSTILE)]), Carries::Pickle);
    carries("padded", &padded, Carries::Pickle);
    let unmarked = [&b"X\0\0\x40\0"[..], &vec![1; 4 << 20], b"0", &HOSTILE[2..]].concat();
    carries("unmarked", &unmarked, Carries::Pickle);
    let list = [&b"(lp0\n"[..], &b"I1\na".repeat(400_000), b"."].concat();
    carries("old list", &list, Carries::Pickle);
    carries("torch", &crate::support::Torch::default().file(), Carries::Pickle);
    carries("java", b"\xac\xed\x00\x05sr", Carries::Pickle);
}

#[test]
fn arrays_of_objects_are_pickles() {
    let array = |descr: &str, data: &[u8]| {
        let mut header =
            format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}").into_bytes();
        header.resize(118 - 1, b' ');
        header.push(b'\n');
        [&b"\x93NUMPY\x01\x00\x76\x00"[..], &header, data].concat()
    };
    counted("a.npy", &array("'<u4'", b"1234"), "npy", 1);
    let objects = array("'|O'", HOSTILE);
    carries("a.npy", &objects, Carries::Pickle);
    carries("a.npz", &zipped(&[("x.npy", &objects)]), Carries::Pickle);
    carries("a.npy", &array("[('a', '<u4'), ('b', '|O')]", HOSTILE), Carries::Pickle);
    // Whoever reads on behind the array reads another one.
    refused("a.npy", &[array("'<u4'", b"1234"), objects].concat());
}

#[test]
fn programs_are_found_by_content_and_by_name() {
    carries("data", b"\x7fELF\x02\x01\x01\0", Carries::Code);
    carries("data.csv", b"#!/bin/sh\nid\n", Carries::Code);
    carries("load.py", b"import os\n", Carries::Code);
    carries("a.tar", &tar(&[("set/load.py", b"import os\n")]), Carries::Code);
    counted("large.txt", "x^2 = é\n".repeat(200_000).as_bytes(), "text", 200_000);
    counted("words.txt", b"MZ is no program here\n", "text", 1);
}

#[test]
fn what_cannot_be_looked_into_is_refused() {
    let archive = zipped(&[("a.txt", b"hello"), ("b.txt", b"hello")]);
    refused("cut.zip", &archive[..archive.len() - 5]);
    refused("more.zip", &[&archive[..], b"more"].concat());
    refused("before.zip", &[b"PK\x03\x04", &archive[..]].concat());
    let tape = tar(&[("a.txt", b"hello")]);
    refused("cut.tar", &[&tape[..512], &b"x"[..]].concat());
    refused("more.tar", &[&tape[..], &tape[..]].concat());
    refused("out.tar", &tar(&[("../../etc/passwd", b"x")]));
    refused("cut.gz", &gzip(b"hello hello hello")[..20]);
    refused("more.gz", &[&gzip(b"hello")[..], b"more"].concat());
    refused("bomb.gz", &gzip(&vec![0; 64 << 20]));
    let deep = (0..4).fold(b"hello".to_vec(), |bytes, _| gzip(&bytes));
    refused("deep.gz", &deep);
    // A member is called as a pickle is written.
    refused("both.tar", &tar(&[("cos\nsystem\n(S'id'\ntR.", b"x")]));
    // A reader that goes by the header before the member would see another one.
    let mut spoiled = archive.clone();
    spoiled[18] ^= 1;
    refused("two-sizes.zip", &spoiled);
    refused("a.7z", b"7z\xbc\xaf\x27\x1c\0\0");
    // An image with an archive behind it is both.
    let image =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recognised/png-1-x-plain.png")).unwrap();
    refused("both.png", &[image, archive].concat());
}

#[test]
fn samples_of_a_shard_are_counted() {
    let shard = tar(&[("a/1.jpg", b"x"), ("a/1.json", b"{}"), ("a/2.jpg", b"x"), ("a/2.json", b"{}")]);
    counted("shard.tar", &shard, "tar", 2);
    counted("plain.tar", &tar(&[("a", b"x"), ("b", b"x"), ("c", b"x")]), "tar", 3);
}

#[test]
fn a_footer_that_lies_is_damaged_and_no_count() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recognised/parquet-50-3-groups.parquet");
    let good = std::fs::read(file).unwrap();
    let len = good.len();
    let footer = u32::from_le_bytes(good[len - 8..len - 4].try_into().unwrap()) as usize;
    // Every byte of the footer that changes the number of rows or of columns, or where one lies.
    let mut caught = 0;
    for at in len - 8 - footer..len - 4 {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let found = told("a.parquet", &bad);
        caught += usize::from(found.records != Some(50) || found.columns != Some(3));
        assert!(found.records.is_none() || found.records == Some(50), "byte {at}: {found:?}");
    }
    assert!(caught > 20, "{caught}");
}

#[test]
fn a_source_that_fails_is_no_verdict() {
    struct Fails(Vec<u8>, u64);
    impl Source for Fails {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }
        fn read_at(&mut self, at: u64, out: &mut [u8]) -> io::Result<()> {
            if at + out.len() as u64 > self.1 {
                return Err(io::Error::other("the disk is gone"));
            }
            self.0.as_slice().read_at(at, out)
        }
    }
    let large = b"a,b\n".repeat(600_000);
    for bytes in [gzip(&large), large.clone(), zipped(&[("a", &large)]), tar(&[("a", &large)])] {
        let half = bytes.len() as u64 / 2;
        let error = describe("a.csv", &mut Fails(bytes, half)).unwrap_err();
        assert_eq!(error.to_string(), "the disk is gone");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        told("x.csv", &bytes);
    }

    #[test]
    fn no_change_to_a_file_makes_it_panic(which in 0usize..64, changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..8)) {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recognised");
        let mut paths: Vec<_> = std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
        paths.sort();
        let mut bytes = std::fs::read(&paths[which % paths.len()]).unwrap();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        told("x", &bytes);
    }

    #[test]
    fn rows_are_counted_whatever_stands_in_their_fields(rows in proptest::collection::vec(("[ -~é]{0,6}", "[a-z,\"\n\r]{0,8}"), 2..40)) {
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let table: String = rows.iter().map(|(a, b)| format!("{},{}\n", quoted(a), quoted(b))).collect();
        let found = told("x.csv", table.as_bytes());
        prop_assert_eq!((found.format.as_str(), found.records, found.columns), ("csv", Some(rows.len() as u64), Some(2)));
    }
}
