//! 7z: every coder that is read, and headers that say something else than the file holds.

use strongroom_inspect::{Risk, Verdict};

use crate::support::{inspect, refused};

const LIMIT: &str = "SR-INS-0005";
const GLOBAL: &str = "SR-INS-0010";
const NAME: &str = "SR-INS-0211";
const LAYOUT: &str = "SR-INS-0212";

pub(crate) fn made(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/it/data/sevenz/{name}.7z", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn archives_of_every_coder_that_is_read_are_looked_into() {
    for name in ["lzma2", "lzma", "copy", "bzip2", "deflate", "bcj", "delta"] {
        let report = inspect("m.7z", &made(name));
        assert_eq!(report.verdict, Verdict::LoadWithPolicy, "{name}: {report:?}");
        assert_eq!(report.risks().collect::<Vec<_>>(), [Risk::Archive], "{name}");
        assert!(report.findings[0].explanation.contains("4 files"), "{name}: {report:?}");
        // Nothing may stand before, behind or be missing.
        for bytes in [[made(name), vec![0]].concat(), made(name)[..made(name).len() - 1].to_vec()] {
            refused(name, "m.7z", &bytes, LAYOUT);
        }
    }
    for (name, why) in [("ppmd", "PPMd"), ("encrypted", "encryption"), ("hidden", "encryption")] {
        let report = inspect("m.7z", &made(name));
        assert_eq!(report.verdict, Verdict::Refuse, "{name}");
        assert!(report.findings.iter().any(|finding| finding.explanation.contains(why)), "{report:?}");
    }
}

#[test]
fn no_flipped_bit_passes_beside_times() {
    let bytes = made("lzma2");
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            // The minor version says nothing that is read.
            let passes = inspect("m.7z", &flipped).verdict != Verdict::Refuse;
            assert!(!passes || at == 7, "byte {at}, bit {bit}");
        }
    }
}

fn crc(data: &[u8]) -> [u8; 4] {
    let mut sum = flate2::Crc::new();
    sum.update(data);
    sum.sum().to_le_bytes()
}

/// A number below 16,384.
fn number(value: usize) -> Vec<u8> {
    let [low, high, ..] = value.to_le_bytes();
    assert!(value < 0x4000);
    if value < 0x80 { vec![low] } else { vec![0x80 | high, low] }
}

/// How an archive of one stored file is written, so that a test can spoil one thing at a time.
#[derive(Clone)]
struct Stored {
    name: &'static str,
    data: Vec<u8>,
    size: usize,
    crc: Option<[u8; 4]>,
    coder: Vec<u8>,
    folders: usize,
    files: Vec<u8>,
    attributes: u32,
    end: Vec<u8>,
}

impl Default for Stored {
    fn default() -> Self {
        let data = b"{}".to_vec();
        Self {
            name: "a.json",
            size: data.len(),
            crc: None,
            data,
            coder: vec![1, 1, 0],
            folders: 1,
            files: vec![1],
            attributes: 0x8000 | 0o100_644 << 16,
            end: vec![0],
        }
    }
}

impl Stored {
    fn of(data: &[u8]) -> Self {
        Self { data: data.to_vec(), size: data.len(), ..Self::default() }
    }

    fn file(&self) -> Vec<u8> {
        let names: Vec<u8> = self.name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        let header = [
            vec![1, 4, 6, 0, 1, 9],
            number(self.data.len()),
            vec![0, 7, 0x0b],
            number(self.folders),
            vec![0],
            self.coder.clone(),
            vec![0x0c],
            number(self.size),
            vec![0x0a, 1],
            self.crc.unwrap_or(crc(&self.data)).to_vec(),
            vec![0, 0, 5],
            self.files.clone(),
            vec![0x11],
            number(names.len() + 1),
            vec![0],
            names,
            vec![0x15, 6, 1, 0],
            self.attributes.to_le_bytes().to_vec(),
            vec![0],
            self.end.clone(),
        ]
        .concat();
        let start = [
            u64::try_from(self.data.len()).unwrap().to_le_bytes().to_vec(),
            u64::try_from(header.len()).unwrap().to_le_bytes().to_vec(),
            crc(&header).to_vec(),
        ]
        .concat();
        [b"7z\xbc\xaf\x27\x1c\0\x04".to_vec(), crc(&start).to_vec(), start, self.data.clone(), header]
            .concat()
    }
}

#[test]
fn one_reading_of_a_header_passes() {
    let stored = Stored::default();
    assert_eq!(
        inspect("m.7z", &stored.file()).verdict,
        Verdict::LoadWithPolicy,
        "{:?}",
        inspect("m.7z", &stored.file())
    );
    let spoilt = [
        ("size above the stream", Stored { size: 3, ..stored.clone() }, LAYOUT),
        ("size below the stream", Stored { size: 1, ..stored.clone() }, LAYOUT),
        ("size of 8 KiB", Stored { size: 8_192, ..stored.clone() }, LAYOUT),
        ("wrong checksum", Stored { crc: Some([0; 4]), ..stored.clone() }, LAYOUT),
        ("more folders than streams", Stored { folders: 2, ..stored.clone() }, LAYOUT),
        ("many folders", Stored { folders: 16_000, ..stored.clone() }, LAYOUT),
        ("more files than streams", Stored { files: vec![2], ..stored.clone() }, LAYOUT),
        ("2^63 files", Stored { files: vec![0xff, 0, 0, 0, 0, 0, 0, 0, 0x80], ..stored.clone() }, LAYOUT),
        ("no coder", Stored { coder: vec![0], ..stored.clone() }, LAYOUT),
        ("five coders", Stored { coder: [vec![5], [1, 0].repeat(5)].concat(), ..stored.clone() }, LAYOUT),
        ("coders bound in a circle", Stored { coder: vec![2, 1, 0, 1, 0, 0, 0], ..stored.clone() }, LAYOUT),
        ("coder of two streams", Stored { coder: vec![1, 0x11, 0, 2, 1], ..stored.clone() }, LAYOUT),
        ("trailing byte", Stored { end: vec![0, 0], ..stored.clone() }, LAYOUT),
        ("no end", Stored { end: vec![], ..stored.clone() }, LAYOUT),
        ("link", Stored { attributes: 0x8000 | 0o120_777 << 16, ..stored.clone() }, NAME),
        ("device", Stored { attributes: 0x8000 | 0o020_777 << 16, ..stored.clone() }, NAME),
        ("reparse point", Stored { attributes: 0x420, ..stored.clone() }, NAME),
        ("way up", Stored { name: "../a.json", ..stored.clone() }, NAME),
        ("absolute", Stored { name: "/etc/a", ..stored.clone() }, NAME),
        ("drive", Stored { name: "C:\\a", ..stored }, NAME),
    ];
    for (what, stored, code) in spoilt {
        refused(what, "m.7z", &stored.file(), code);
    }
}

#[test]
fn members_of_7z_are_inspected_like_files() {
    let call = b"\x80\x02cos\nsystem\nX\x02\0\0\0id\x85R.";
    refused("pickle", "m.7z", &Stored { name: "m.pkl", ..Stored::of(call) }.file(), GLOBAL);
    refused("whatever the outer name", "model", &Stored { name: "m.pkl", ..Stored::of(call) }.file(), GLOBAL);
    refused("program", "m.7z", &Stored { name: "a.py", ..Stored::of(b"import os") }.file(), "SR-INS-0066");
    let inner = Stored { name: "b.pkl", ..Stored::of(call) }.file();
    refused("archive within", "m.7z", &Stored { name: "in.7z", ..Stored::of(&inner) }.file(), GLOBAL);
    let deep = Stored { name: "in.7z", ..Stored::of(&Stored { name: "in.7z", ..Stored::of(&inner) }.file()) };
    refused("too deep", "m.7z", &deep.file(), LIMIT);
    refused("as a model", "m.bin", &Stored::default().file(), "SR-INS-0002");
}
