//! Hostile ZIP files: torch checkpoints and NumPy sets.

use crate::support::{Entry, Torch, entry, loads, refused, zip, zip_with};

const LIMIT: &str = "SR-INS-0005";
const EXTENSION: &str = "SR-INS-0002";
const ZIP: &str = "SR-INS-0030";
const DIFFER: &str = "SR-INS-0031";
const ENCRYPTED: &str = "SR-INS-0032";
const NAME: &str = "SR-INS-0033";
const CRC: &str = "SR-INS-0034";
const METHOD: &str = "SR-INS-0035";
const MEMBER: &str = "SR-INS-0036";
const TORCHSCRIPT: &str = "SR-INS-0037";
const STORAGE: &str = "SR-INS-0038";

fn spoiled(spoil: impl FnOnce(&mut Vec<Entry>)) -> Vec<u8> {
    let mut entries = Torch::default().entries();
    spoil(&mut entries);
    zip(&entries)
}

#[test]
fn headers_that_readers_could_disagree_on() {
    let checks: Vec<(&str, Vec<u8>, &str)> = vec![
        ("checksum in both", spoiled(|e| (e[1].central_crc, e[1].local_crc) = (Some(1), Some(1))), CRC),
        ("checksum in central", spoiled(|e| e[0].central_crc = Some(1)), DIFFER),
        ("checksum in local", spoiled(|e| e[0].local_crc = Some(1)), DIFFER),
        ("local name", spoiled(|e| e[0].local_name = Some("m/other.pkl".into())), DIFFER),
        ("size", spoiled(|e| e[1].central_size = Some(1)), DIFFER),
        ("method", spoiled(|e| e[1].central_method = 8), DIFFER),
        ("flags", spoiled(|e| e[1].central_flags = 1 << 11), DIFFER),
        ("encrypted, local", spoiled(|e| e[0].local_flags = 1), ENCRYPTED),
        ("encrypted, central", spoiled(|e| e[0].central_flags = 1), ENCRYPTED),
        ("strong encryption", spoiled(|e| e[0].central_flags = 1 << 6), ENCRYPTED),
        ("masked header", spoiled(|e| e[0].local_flags = 1 << 13), ENCRYPTED),
        ("unknown flag", spoiled(|e| e[0].central_flags = 1 << 5), METHOD),
        ("unknown method", spoiled(|e| e[0].central_method = 12), METHOD),
        ("unknown extra field", spoiled(|e| e[0].extra = b"\x99\x99\x00\x00".to_vec()), METHOD),
        ("extra field cut off", spoiled(|e| e[0].extra = b"FB\xff\x00".to_vec()), ZIP),
        (
            "ZIP64 sizes that are not needed",
            spoiled(|e| e[0].extra = [&b"\x01\0\x08\0"[..], &7_u64.to_le_bytes()].concat()),
            DIFFER,
        ),
        ("descriptor missing", spoiled(|e| (e[2].local_flags, e[2].central_flags) = (8, 8)), DIFFER),
    ];
    for (what, bytes, code) in checks {
        refused(what, "model.pt", &bytes, code);
    }
}

#[test]
fn bytes_outside_members() {
    let good = Torch::default();
    let prepended = [b"junk".to_vec(), good.file()].concat();
    assert_eq!(crate::support::inspect("model.pt", &prepended).verdict, strongroom_inspect::Verdict::Refuse);
    let checks: Vec<(&str, Vec<u8>, &str)> = vec![
        ("archive behind an archive", [good.file(), good.file()].concat(), ZIP),
        ("gap between members", spoiled(|e| e[1].gap_before = 3), ZIP),
        ("bytes before the directory", zip_with(&good.entries(), b"PK\x03\x04junk", b""), ZIP),
        ("comment", zip_with(&good.entries(), b"", b"hello"), ZIP),
        ("trailing bytes", [good.file(), b"x".to_vec()].concat(), ZIP),
        ("cut off", good.file()[..200].to_vec(), ZIP),
    ];
    for (what, bytes, code) in checks {
        refused(what, "model.pt", &bytes, code);
    }
}

#[test]
fn names() {
    let named = |name: &str| spoiled(|e| e.push(entry(name, b"x")));
    for name in [
        "../evil",
        "/etc/passwd",
        "m/../../x",
        "m//x",
        "m/./x",
        "m/a\\b",
        "C:/x",
        "m/\x01",
        "m/x\0y",
        "m/\u{fc}",
        "m/dir/",
        "",
    ] {
        refused(name, "model.pt", &named(name), NAME);
    }
    refused("duplicate", "model.pt", &spoiled(|e| e.push(e[1].clone())), NAME);
    refused("duplicate but for case", "model.pt", &named("m/DATA.PKL"), NAME);
    refused("file and directory", "model.pt", &named("m/version/x"), NAME);
    refused("symbolic link", "model.pt", &spoiled(|e| e[1].external = 0o120_777 << 16), NAME);
    refused("device", "model.pt", &spoiled(|e| e[1].external = 0o060_777 << 16), NAME);
}

#[test]
fn members_that_torch_does_not_write() {
    let also = |name: &str, data: &[u8]| spoiled(|e| e.push(entry(name, data)));
    let checks: Vec<(&str, Vec<u8>, &str)> = vec![
        ("code", also("m/code/__torch__.py", b"x"), TORCHSCRIPT),
        ("constants", also("m/constants.pkl", b"N."), TORCHSCRIPT),
        ("two folders", also("n/data.pkl", b"N."), MEMBER),
        ("outside the folder", also("data.pkl2", b"N."), MEMBER),
        ("stranger", also("m/extra.py", b"x"), MEMBER),
        ("strange key", also("m/data/x", b"x"), MEMBER),
        ("key in a folder", also("m/data/0x/1", b"x"), MEMBER),
        ("unreferenced storage", also("m/data/9", b"payload"), STORAGE),
        ("big endian", also("m/byteorder", b"big"), STORAGE),
        ("version", spoiled(|e| e[2] = entry("m/version", b"3\npayload")), MEMBER),
        ("no pickle", zip(&[entry("m/constants.pkl", b"N.")]), TORCHSCRIPT),
    ];
    for (what, bytes, code) in checks {
        refused(what, "model.pt", &bytes, code);
    }
    loads("byteorder", "model.pt", &also("m/byteorder", b"little"));
}

fn deflate(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 1024);
    let mut packer = flate2::Compress::new(flate2::Compression::best(), false);
    packer.compress_vec(data, &mut out, flate2::FlushCompress::Finish).unwrap();
    out
}

#[test]
fn compressed_members() {
    let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (4,), }";
    let array = crate::support::npy(header, &[0; 32]);
    let packed = |packed: Vec<u8>| {
        let mut only = entry("a.npy", &array);
        only.deflated = Some(packed);
        zip(&[only])
    };
    loads("deflated", "a.npz", &packed(deflate(&array)));
    refused("bytes after the deflate stream", "a.npz", &packed([deflate(&array), vec![0; 4]].concat()), ZIP);
    refused("cut off", "a.npz", &packed(deflate(&array)[..10].to_vec()), ZIP);
    refused("another length", "a.npz", &packed(deflate(&[&array[..], b"x"].concat())), ZIP);
    let mut bomb = entry("a.npy", &vec![0; 64 << 20]);
    bomb.deflated = Some(deflate(&bomb.data));
    refused("bomb", "a.npz", &zip(&[bomb]), LIMIT);
    let mut tensor = Torch::default().entries();
    tensor[1].deflated = Some(deflate(&tensor[1].data));
    refused("compressed tensor", "model.pt", &zip(&tensor), STORAGE);
    refused("no arrays", "a.npz", &zip(&[entry("a.txt", b"hello")]), EXTENSION);
    refused(
        "an array and a pickle",
        "a.npz",
        &zip(&[entry("a.npy", &array), entry("b.npy", b"\x80\x04N.")]),
        EXTENSION,
    );
}
