//! Archives and compressed files: looked into, bounded, and never a model by themselves.

use std::io::Write;

use strongroom_inspect::{Limits, Report, Risk, Severity, Verdict, inspect_bytes};

use crate::support::{Torch, cat, entry, inspect, npy, refused, zip};

const EXTENSION: &str = "SR-INS-0002";
const LIMIT: &str = "SR-INS-0005";
const GLOBAL: &str = "SR-INS-0010";
const ZIP: &str = "SR-INS-0030";
const ZIP_NAME: &str = "SR-INS-0033";
const TORCHSCRIPT: &str = "SR-INS-0037";
const SCRIPT: &str = "SR-INS-0066";
const NAME: &str = "SR-INS-0211";
const LAYOUT: &str = "SR-INS-0212";
const CODE: &str = "SR-INS-0213";
const TAR_OF_PICKLES: &str = "SR-INS-0214";
const NODE: &str = "SR-INS-0221";
const SHAPE: &str = "SR-INS-0222";

const EVIL: &[u8] = b"cos\nsystem\n(S'true'\ntR.";

fn risky(what: &str, name: &str, bytes: &[u8], risk: Risk) -> Report {
    let report = inspect(name, bytes);
    assert_eq!(report.verdict, Verdict::LoadWithPolicy, "{what}: {report:?}");
    assert!(report.risks().any(|found| found == risk), "{what}: {report:?}");
    report
}

pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

fn zlib(data: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

pub(crate) fn bzip2(data: &[u8]) -> Vec<u8> {
    let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

/// One tar member; the header can be spoilt before its checksum is made.
fn member(name: &str, data: &[u8], spoil: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut header = vec![0_u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    spoil(&mut header);
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let padding = vec![0; data.len().next_multiple_of(512) - data.len()];
    cat(&[&header, data, &padding])
}

pub(crate) fn tar(members: &[Vec<u8>]) -> Vec<u8> {
    cat(&[&members.concat(), &[0; 1024]])
}

pub(crate) fn plain(name: &str, data: &[u8]) -> Vec<u8> {
    member(name, data, |_| {})
}

#[test]
fn what_is_in_an_archive_is_told() {
    let good = tar(&[plain("a.json", b"{}"), plain("m/w.pt", &Torch::default().file())]);
    risky("tar", "m.tar", &good, Risk::Archive);
    risky("tar.gz", "m.tar.gz", &gzip(&good), Risk::Archive);
    risky(
        "zip",
        "m.zip",
        &zip(&[entry("a/b.txt", b"hello"), entry("a/m.pt", &Torch::default().file())]),
        Risk::Archive,
    );
    risky("json.gz", "a.json.gz", &gzip(b"{}"), Risk::Archive);
    let packed = risky("pickle.gz", "a.pkl.gz", &gzip(b"\x80\x04N."), Risk::Joblib);
    assert!(packed.tensors.is_empty());
    risky("packed joblib", "a.joblib", &zlib(b"\x80\x04}."), Risk::Joblib);
    risky("packed joblib", "a.pkl", &bzip2(b"\x80\x04}."), Risk::Joblib);
    let checks: &[(&str, Vec<u8>, &str)] = &[
        ("m.tar", tar(&[plain("a.pkl", EVIL)]), GLOBAL),
        ("m.tar.gz", gzip(&tar(&[plain("a.pkl", EVIL)])), GLOBAL),
        ("m.zip", zip(&[entry("a.pkl", EVIL)]), GLOBAL),
        ("m.pkl.gz", gzip(EVIL), GLOBAL),
        ("m.pkl.bz2", bzip2(EVIL), GLOBAL),
        ("m.joblib", zlib(EVIL), GLOBAL),
        ("m.zip", zip(&[entry("run.sh", b"#!/bin/sh\n")]), SCRIPT),
        ("m.zip", zip(&[entry("x", b"\x7fELF\x02\x01\x01")]), SCRIPT),
        ("m.zip", zip(&[entry("in.tar", &tar(&[plain("a.bin", EVIL)]))]), GLOBAL),
        ("m.zip", zip(&[entry("a.safetensors", EVIL)]), EXTENSION),
        ("m.bin", gzip(b"{}"), "SR-INS-0021"),
        (
            "m.tar",
            tar(&[plain("a.npy", &npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", EVIL))]),
            "SR-INS-0046",
        ),
    ];
    for (name, bytes, code) in checks {
        refused(name, name, bytes, code);
    }
    let told = inspect("m.zip", &zip(&[entry("in.tar", &tar(&[plain("a.bin", EVIL)]))]));
    let worst = told.findings.iter().find(|finding| finding.severity == Severity::Hostile).unwrap();
    assert!(worst.explanation.starts_with("`in.tar!a.bin`: "), "{}", worst.explanation);
}

#[test]
fn tar_has_one_reading() {
    let a = plain("a.txt", b"a");
    let kind = |kind: u8| tar(&[member("a", b"", |header| header[156] = kind)]);
    let pax = |record: &str| {
        tar(&[member("x", record.as_bytes(), |header| header[156] = b'x'), plain("b.txt", b"b")])
    };
    risky("pax name", "m.tar", &pax("16 path=c/d.txt\n"), Risk::Archive);
    risky(
        "directory",
        "m.tar",
        &tar(&[member("d/", b"", |header| header[156] = b'5'), plain("d/a.txt", b"a")]),
        Risk::Archive,
    );
    let good = tar(std::slice::from_ref(&a));
    let checks: &[(&str, Vec<u8>, &str)] = &[
        ("symbolic link", kind(b'2'), NAME),
        ("hard link", kind(b'1'), NAME),
        ("character device", kind(b'3'), NAME),
        ("block device", kind(b'4'), NAME),
        ("pipe", kind(b'6'), NAME),
        ("sparse file", kind(b'S'), NAME),
        ("long name of GNU", kind(b'L'), NAME),
        ("global pax header", kind(b'g'), NAME),
        ("slip", tar(&[plain("../a", b"a")]), NAME),
        ("slip within", tar(&[plain("a/../../b", b"a")]), NAME),
        ("absolute", tar(&[plain("/etc/cron.d/a", b"a")]), NAME),
        ("backslash", tar(&[plain("a\\b", b"a")]), NAME),
        ("drive", tar(&[plain("c:a", b"a")]), NAME),
        ("twice", tar(&[a.clone(), a.clone()]), NAME),
        ("twice but for case", tar(&[a.clone(), plain("A.TXT", b"a")]), NAME),
        ("slip by pax", pax("16 path=../../a\n"), NAME),
        ("size by pax", pax("9 size=0\n"), LAYOUT),
        ("link by pax", pax("17 linkpath=/etc\n"), LAYOUT),
        ("broken pax", pax("99 path=a\n"), LAYOUT),
        ("pax twice", pax("9 path=a\n9 path=b\n"), LAYOUT),
        ("checksum", tar(&[a.clone(), vec![b'x'; 512]]), LAYOUT),
        (
            "longer than the file",
            tar(&[member("a", b"", |header| header[124..136].copy_from_slice(b"77777777777\0"))]),
            LAYOUT,
        ),
        ("no end", a.clone(), LAYOUT),
        ("half an end", good[..good.len() - 512].to_vec(), LAYOUT),
        ("something behind", cat(&[&good, b"PK"]), LAYOUT),
        ("an archive behind", cat(&[&good, &zip(&[entry("a", EVIL)])]), LAYOUT),
        ("padding", cat(&[&a[..513], &[b'x'; 511], &[0; 1024]]), LAYOUT),
        (
            "torch of long ago",
            tar(&[
                plain("sys_info", b"N."),
                plain("pickle", EVIL),
                plain("tensors", b"N."),
                plain("storages", b"N."),
            ]),
            TAR_OF_PICKLES,
        ),
    ];
    for (what, bytes, code) in checks {
        refused(what, "m.tar", bytes, code);
    }
}

#[test]
fn archives_are_bounded() {
    let zeros = vec![0_u8; 64 << 20];
    let deep = gzip(&gzip(&gzip(b"{}")));
    refused("nested", "a", &deep, LIMIT);
    refused("gzip bomb", "a.gz", &gzip(&zeros), LIMIT);
    refused("zlib bomb", "a.joblib", &zlib(&zeros), LIMIT);
    refused("bzip2 bomb", "a.bz2", &bzip2(&zeros), LIMIT);
    let within = zip(&[entry("a.gz", &gzip(&zeros))]);
    refused("bomb within", "a.zip", &within, LIMIT);
    let few = Limits { zip_members: 3, ..Limits::default() };
    let many = tar(&(0..4).map(|at| plain(&format!("{at}.txt"), b"a")).collect::<Vec<_>>());
    let report = inspect_bytes("a.tar", &many, &few);
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.code == LIMIT && finding.explanation.contains("zip_members"))
    );
    let small = Limits { zip_inflated: 1_000, ..Limits::default() };
    let report = inspect_bytes("a.gz", &gzip(&zeros[..2_000]), &small);
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.code == LIMIT && finding.explanation.contains("zip_inflated"))
    );
    // What one member takes the next one lacks.
    let both = tar(&[plain("a.gz", &gzip(&zeros[..600])), plain("b.gz", &gzip(&zeros[..600]))]);
    let report = inspect_bytes("a.tar", &both, &small);
    assert!(report.findings.iter().any(|finding| finding.code == LIMIT), "{report:?}");
    for (name, good) in [("a.gz", gzip(b"{}")), ("a.z", zlib(b"{}")), ("a.bz2", bzip2(b"{}"))] {
        refused(name, name, &cat(&[&good, b"x"]), LAYOUT);
        refused(name, name, &cat(&[&good, &good]), LAYOUT);
        for len in 4..good.len() {
            assert_eq!(inspect(name, &good[..len]).verdict, Verdict::Refuse, "{name} cut to {len}");
        }
    }
}

#[test]
fn archives_of_programs_are_named() {
    let checks: &[(&str, Vec<u8>, &str)] = &[
        ("m.mar", zip(&[entry("MAR-INF/MANIFEST.json", b"{}"), entry("handler.py", b"")]), CODE),
        ("m.pt2", zip(&[entry("serialized_exported_program.json", b"{}"), entry("version", b"1")]), CODE),
        (
            "m.pt2",
            zip(&[entry("m/archive_format", b"pt2"), entry("m/data/aotinductor/model/a.so", b"x")]),
            CODE,
        ),
        ("m.jar", zip(&[entry("META-INF/MANIFEST.MF", b"")]), CODE),
        ("m.pt", zip(&[entry("m/data.pkl", b"\x80\x02N."), entry("m/code/__torch__.py", b"")]), TORCHSCRIPT),
        (
            "m.pt",
            zip(&[entry("m/data.pkl", b"\x80\x02N."), entry("m/constants.pkl", b"\x80\x02).")]),
            TORCHSCRIPT,
        ),
    ];
    for (name, bytes, code) in checks {
        refused(name, name, bytes, code);
    }
    let mut directory = entry("d/", b"x");
    directory.external = 0o40755 << 16 | 0x10;
    refused("directory with content", "m.zip", &zip(&[directory]), ZIP_NAME);
    let mut link = entry("d", b"/etc/passwd");
    link.external = 0o120777 << 16;
    refused("symbolic link", "m.zip", &zip(&[link]), ZIP_NAME);
    refused("something behind", "m.zip", &cat(&[&zip(&[entry("a.txt", b"a")]), b"x"]), ZIP);
}

fn schema(tree: &str) -> Vec<u8> {
    zip(&[entry("schema.json", tree.as_bytes())])
}

fn node(module: &str, class: &str, loader: &str, rest: &str) -> String {
    format!(r#"{{"__class__":"{class}","__module__":"{module}","__loader__":"{loader}","__id__":1{rest}}}"#)
}

#[test]
fn the_pickle_of_an_array_of_objects_is_told() {
    let array = npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", EVIL);
    refused("object array", "a.npy", &array, "SR-INS-0046");
    refused("object array", "a.npy", &array, GLOBAL);
}

#[test]
fn skops_builds_by_name() {
    let array = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", &[0; 8]);
    let leaf = node("numpy", "ndarray", "NdArrayNode", r#","type":"numpy","file":"1.npy""#);
    let root = node(
        "sklearn.linear_model._base",
        "LinearRegression",
        "ObjectNode",
        &format!(r#","content":{leaf}"#),
    );
    let good = zip(&[entry("1.npy", &array), entry("schema.json", root.as_bytes())]);
    let report = risky("skops", "m.skops", &good, Risk::Skops);
    let pairs: Vec<_> = report.globals().collect();
    assert_eq!(pairs, [("sklearn.linear_model._base", "LinearRegression")]);
    risky("own class", "m.skops", &schema(&node("mine", "Net", "ObjectNode", "")), Risk::PickleGlobal);
    let checks: &[(&str, Vec<u8>, &str)] = &[
        ("object of os", schema(&node("os", "system", "ObjectNode", "")), NODE),
        ("function of os", schema(&node("os", "system", "FunctionNode", "")), NODE),
        ("type of subprocess", schema(&node("subprocess", "Popen", "TypeNode", "")), NODE),
        ("own function", schema(&node("mine", "run", "FunctionNode", "")), NODE),
        ("method", schema(&node("sklearn.linear_model._base", "LinearRegression", "MethodNode", "")), NODE),
        ("operator", schema(&node("operator", "methodcaller", "OperatorFuncNode", "")), NODE),
        ("partial", schema(&node("functools", "partial", "PartialNode", "")), NODE),
        ("unknown loader", schema(&node("builtins", "str", "EvalNode", "")), NODE),
        ("reduce of builtins", schema(&node("builtins", "eval", "ReduceNode", "")), NODE),
        (
            "hidden below",
            schema(&node(
                "builtins",
                "dict",
                "DictNode",
                &format!(r#","content":{{"a":{}}}"#, node("os", "system", "FunctionNode", "")),
            )),
            NODE,
        ),
        (
            "hidden beside",
            schema(&node(
                "builtins",
                "str",
                "JsonNode",
                &format!(r#","other":[{}]"#, node("os", "system", "TypeNode", "")),
            )),
            NODE,
        ),
        ("no module", schema(r#"{"__class__":"a","__loader__":"JsonNode"}"#), SHAPE),
        ("missing member", schema(&leaf), SHAPE),
        (
            "stray member",
            zip(&[
                entry("2.npy", &array),
                entry("schema.json", node("builtins", "str", "JsonNode", "").as_bytes()),
            ]),
            SHAPE,
        ),
        ("pickle as member", zip(&[entry("1.npy", EVIL), entry("schema.json", leaf.as_bytes())]), SHAPE),
        (
            "array of objects",
            zip(&[
                entry("1.npy", &npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", EVIL)),
                entry("schema.json", leaf.as_bytes()),
            ]),
            "SR-INS-0046",
        ),
        ("repeated key", schema(r#"{"__loader__":"JsonNode","__loader__":"ObjectNode"}"#), "SR-INS-0061"),
    ];
    for (what, bytes, code) in checks {
        refused(what, "m.skops", bytes, code);
    }
}

/// xz and LZMA have no writer here: files that the tools wrote.
#[test]
fn xz_is_read_whole() {
    const XZ: &[u8] = include_bytes!("data/json.xz");
    const LZMA: &[u8] = include_bytes!("data/json.lzma");
    const ZSTD: &[u8] = include_bytes!("data/json.zst");
    const LZ4: &[u8] = include_bytes!("data/json.lz4");
    for (name, good) in [("a.json.xz", XZ), ("a.json.lzma", LZMA), ("a.json.zst", ZSTD), ("a.json.lz4", LZ4)]
    {
        risky(name, name, good, Risk::Archive);
        refused(name, name, &cat(&[good, b"x"]), LAYOUT);
        for len in 14..good.len() {
            assert_eq!(inspect(name, &good[..len]).verdict, Verdict::Refuse, "{name} cut to {len}");
        }
    }
    refused("twice", "a.json.xz", &cat(&[XZ, XZ]), LAYOUT);
    refused("padded", "a.json.xz", &cat(&[XZ, &[0; 4]]), LAYOUT);
    for at in 6..XZ.len() {
        let mut flipped = XZ.to_vec();
        flipped[at] ^= 4;
        assert_eq!(inspect("a.json.xz", &flipped).verdict, Verdict::Refuse, "flip at {at}");
    }
}
