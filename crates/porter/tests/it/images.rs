//! Unpacking layers: what ordinary tools write comes out as they meant it; what leads out of the root, lies about
//! itself or grows without bound does not.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use image::tar::{END, Entry, Kind, header, padding};
use ops::porter::{Compression, Request};

use crate::support::{Answer, Heard, Porter, seal};

const ROOM: u64 = 64 << 20;

/// An archive of these entries.
fn archive(entries: &[(&str, Kind, &[u8])]) -> Vec<u8> {
    let mut out = vec![];
    for (path, kind, data) in entries {
        out.extend(
            header(&Entry { path: (*path).to_owned(), kind: kind.clone(), mtime: 1_600_000_000 }).unwrap(),
        );
        out.extend_from_slice(data);
        out.resize(out.len() + padding(data.len() as u64), 0);
    }
    out.extend(END);
    out
}

fn file(data: &[u8]) -> Kind {
    Kind::File { size: data.len() as u64, executable: false }
}

fn link(target: &str) -> Kind {
    Kind::Symlink { target: target.to_owned() }
}

fn hard(target: &str) -> Kind {
    Kind::Hardlink { target: target.to_owned() }
}

fn unpack(porter: &Porter, layer: &[u8], compression: Compression, max_bytes: u64) -> Answer {
    let (layer, fd, _) = seal(&porter.root, "layer", layer);
    porter.ask(&Request::Unpack { input: 0, layer, compression, max_bytes }, Some(&fd)).0
}

fn plain(porter: &Porter, layer: &[u8]) -> Answer {
    unpack(porter, layer, Compression::None, ROOM)
}

fn survey(porter: &Porter) -> (Answer, Heard) {
    porter.ask(&Request::Survey { input: 0 }, None)
}

/// Everything below a directory but the platform's own places, as `path kind content`.
fn listing(root: &Path) -> Vec<String> {
    let script = "cd \"$0\" && find . -mindepth 1 \\( -type d -printf '%P dir\\n' \\) -o \\( -type l -printf '%P -> %l\\n' \\) -o -printf '%P %m %s\\n' | sort";
    let out = Command::new("bash").args(["-c", script]).arg(root).output().unwrap();
    let own = ["dev", "proc", "run", "sys", "tmp"].map(|name| format!("{name} dir"));
    let lines = String::from_utf8(out.stdout).unwrap();
    lines.lines().map(str::to_owned).filter(|line| !own.contains(line)).collect()
}

#[test]
fn a_later_layer_replaces_removes_and_adds() {
    let porter = Porter::start(&[]);
    let first = archive(&[
        ("bin", link("usr/bin"), b""),
        ("usr/bin/tool", Kind::File { size: 4, executable: true }, b"tool"),
        ("usr/bin/same", hard("usr/bin/tool"), b""),
        ("etc/gone", file(b"x"), b"x"),
        ("etc/kept", file(b"x"), b"x"),
        ("var/full/old", file(b"x"), b"x"),
        ("srv", Kind::Directory, b""),
        ("lib/thing", file(b"x"), b"x"),
        ("dev/null", file(b"x"), b"x"),
        ("opt/ml/code/x", file(b"x"), b"x"),
    ]);
    let counted = plain(&porter, &first).unwrap();
    assert_eq!(counted.1, 10, "what is passed over counts too");
    let second = archive(&[
        // Through a link of the image, as a system with this root would go.
        ("bin/more", file(b"more"), b"more"),
        ("etc/.wh.gone", file(b""), b""),
        ("etc/.wh.never", file(b""), b""),
        ("var/full/new", file(b"y"), b"y"),
        ("var/full/.wh..wh..opq", file(b""), b""),
        // A file where a directory was, and a directory where a file was.
        ("srv", file(b"s"), b"s"),
        ("lib", link("usr/lib"), b""),
        ("usr/lib", Kind::Directory, b""),
    ]);
    assert_eq!(plain(&porter, &second).unwrap().1, 16);
    assert_eq!(
        listing(&porter.root.join("input")),
        [
            "bin -> usr/bin",
            "etc dir",
            "etc/kept 444 1",
            "lib -> usr/lib",
            "srv 444 1",
            "usr dir",
            "usr/bin dir",
            "usr/bin/more 444 4",
            "usr/bin/same 555 4",
            "usr/bin/tool 555 4",
            "usr/lib dir",
            "var dir",
            "var/full dir",
            "var/full/new 444 1",
        ]
    );
}

/// Whiteouts concern what lower layers have, however deep and in whichever order they stand; `umoci raw unpack` gives
/// the same trees.
#[test]
fn whiteouts_remove_all_of_lower_layers_and_nothing_of_their_own() {
    let lower = archive(&[
        ("d/sub/old", file(b"SECRET"), b"SECRET"),
        ("d/kept/old", file(b"x"), b"x"),
        ("usr/bin/ls", file(b"old"), b"old"),
        ("bin", link("usr/bin"), b""),
    ]);
    let none = || file(b"");
    let dir = || Kind::Directory;
    type Upper<'a> = Vec<(&'a str, Kind, &'a [u8])>;
    let cases: Vec<(Upper<'_>, &[&str], &[&str])> = vec![
        (
            vec![
                ("d", dir(), b""),
                ("d/sub", dir(), b""),
                ("d/sub/new", file(b"n"), b"n"),
                ("d/.wh..wh..opq", none(), b""),
            ],
            &["d/sub/new"],
            &["d/sub/old", "d/kept"],
        ),
        (
            vec![("d/sub", dir(), b""), ("d/sub/new", file(b"n"), b"n"), ("d/.wh.sub", none(), b"")],
            &["d/sub/new", "d/kept/old"],
            &["d/sub/old"],
        ),
        (
            vec![("d/sub/new", file(b"n"), b"n"), ("d/.wh..wh..opq", none(), b"")],
            &["d/sub/new"],
            &["d/sub/old", "d/kept"],
        ),
        (vec![("d/sub/new", file(b"n"), b"n"), ("d/.wh.sub", none(), b"")], &["d/sub/new"], &["d/sub/old"]),
        (vec![("usr/bin/ls", file(b"new"), b"new"), ("bin/.wh.ls", none(), b"")], &["usr/bin/ls"], &[]),
        (vec![("bin/.wh.ls", none(), b"")], &["bin"], &["usr/bin/ls"]),
        // A second name of a lower file is this layer's, the lower name is not.
        (vec![("other", hard("d/sub/old"), b""), ("d/sub/.wh.old", none(), b"")], &["other"], &["d/sub/old"]),
        (vec![("d/.wh..wh.plnk", none(), b"")], &["d/sub/old"], &["d/.wh..wh.plnk"]),
    ];
    for (upper, there, gone) in &cases {
        let porter = Porter::start(&[]);
        plain(&porter, &lower).unwrap();
        plain(&porter, &archive(upper)).unwrap();
        let input = porter.root.join("input");
        for path in *there {
            assert!(fs::symlink_metadata(input.join(path)).is_ok(), "{path} is gone: {upper:?}");
        }
        for path in *gone {
            assert!(fs::symlink_metadata(input.join(path)).is_err(), "{path} is there: {upper:?}");
        }
    }
    assert_eq!(cases.len(), 8);
}

#[test]
fn what_ordinary_tools_write_below_the_platforms_places_is_passed_over() {
    let porter = Porter::start(&[]);
    let mut device = header(&Entry { path: "dev/null".into(), kind: Kind::Directory, mtime: 0 }).unwrap();
    device[156] = b'3';
    device[148..156].fill(b' ');
    let sum: u64 = device.iter().map(|b| u64::from(*b)).sum();
    device[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let layer = archive(&[
        ("var/run", link("/run"), b""),
        ("var/run/x", file(b"x"), b"x"),
        ("a", link("nowhere"), b""),
        ("b", hard("a"), b""),
    ]);
    plain(&porter, &[device, layer].concat()).unwrap();
    let (_, heard) = survey(&porter);
    assert_eq!(heard.tree.unwrap().1, 4, "var, var/run, a, b");
}

#[test]
fn times_are_those_of_the_archive_and_of_directories_none() {
    use std::os::unix::fs::MetadataExt;
    let porter = Porter::start(&[]);
    plain(&porter, &archive(&[("d/f", file(b"x"), b"x"), ("d/l", link("f"), b"")])).unwrap();
    porter.ask(&Request::FillDone { input: 0 }, None).0.unwrap();
    let time = |path: &str| fs::symlink_metadata(porter.root.join("input").join(path)).unwrap().mtime();
    assert_eq!([time("d/f"), time("d/l"), time("d"), time(".")], [1_600_000_000, 1_600_000_000, 0, 0]);
}

#[test]
fn every_compression_and_several_members_give_the_same_tree() {
    let layer = archive(&[("a", file(&[7; 300_000]), &[7; 300_000]), ("b", link("a"), b"")]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("layer");
    fs::write(&path, &layer).unwrap();
    let run = |script: &str| {
        let out = Command::new("bash").args(["-ec", script]).arg(&path).output().unwrap();
        assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    };
    let mut digests = vec![];
    for (compression, script) in [
        (Compression::None, "cat \"$0\""),
        (Compression::Gzip, "gzip -c \"$0\""),
        (Compression::Gzip, "head -c 1000 \"$0\" | gzip; tail -c +1001 \"$0\" | gzip"),
        (Compression::Zstd, "zstd -qc \"$0\""),
        (
            Compression::Zstd,
            "head -c 1000 \"$0\" | zstd -qc; printf '\\x50\\x2a\\x4d\\x18\\x03\\0\\0\\0abc'; tail -c +1001 \"$0\" | zstd -qc",
        ),
    ] {
        let porter = Porter::start(&[]);
        assert_eq!(unpack(&porter, &run(script), compression, ROOM).unwrap().1, 300_000, "{script}");
        let (answer, heard) = survey(&porter);
        assert_eq!(answer, Ok((2, 300_000)), "{script}");
        digests.push(heard.tree.unwrap().0);
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
    // What was said to be gzip and is not, is cut, or goes on after its end.
    let porter = Porter::start(&[]);
    let gzip = run("gzip -c \"$0\"");
    let zstd = run("zstd -qc \"$0\"");
    for (what, bytes, compression) in [
        ("no gzip", layer.clone(), Compression::Gzip),
        ("no zstd", layer.clone(), Compression::Zstd),
        ("cut gzip", gzip[..gzip.len() / 2].to_vec(), Compression::Gzip),
        ("cut zstd", zstd[..zstd.len() / 2].to_vec(), Compression::Zstd),
        ("more after gzip", [gzip.clone(), b"more".to_vec()].concat(), Compression::Gzip),
        ("cut archive", layer[..layer.len() - 1124].to_vec(), Compression::None),
        ("hidden entries", [layer.clone(), layer.clone()].concat(), Compression::None),
    ] {
        let refused = unpack(&porter, &bytes, compression, ROOM).unwrap_err();
        assert!(["SR-PRT-0013", "SR-IMG-0002"].contains(&refused.0.as_str()), "{what}: {refused:?}");
    }
}

/// Each would write, read or link outside the root if it were unpacked as it says.
#[test]
fn nothing_leads_out_of_the_root() {
    let outside = tempfile::tempdir().unwrap();
    fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let target = outside.path().join("planted");
    let away = outside.path().to_str().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let climb = format!("{}{}", "../".repeat(20), away.trim_start_matches('/'));
    let through = archive(&[("out", link(away), b""), ("out/planted", file(b"x"), b"x")]);
    let layers = [
        ("through an absolute link", through.clone()),
        (
            "through a climbing link",
            archive(&[("out", link(&climb), b""), ("out/planted", file(b"x"), b"x")]),
        ),
        (
            "through two links",
            archive(&[("a", link(&climb), b""), ("b", link("a"), b""), ("b/planted", file(b"x"), b"x")]),
        ),
        (
            "over a link",
            archive(&[("planted", link(&format!("{away}/planted")), b""), ("planted", file(b"x"), b"x")]),
        ),
        (
            "a directory over a link",
            archive(&[("d", link(away), b""), ("d", Kind::Directory, b""), ("d/planted", file(b"x"), b"x")]),
        ),
        (
            "a whiteout through a link",
            archive(&[("out", link(away), b""), ("out/.wh.secret", file(b""), b"")]),
        ),
        (
            "an opaque whiteout through a link",
            archive(&[("out", link(away), b""), ("out/.wh..wh..opq", file(b""), b"")]),
        ),
        (
            "a second name through a link",
            archive(&[("out", link(away), b""), ("mine", hard("out/secret"), b"")]),
        ),
        (
            "a second name of a link",
            archive(&[("out", link(&format!("{away}/secret")), b""), ("mine", hard("out"), b"")]),
        ),
    ];
    for (what, layer) in &layers {
        let porter = Porter::start(&[]);
        // Some are refused, some stay inside the root: neither may touch what is outside.
        let answer = plain(&porter, layer);
        assert!(!target.exists(), "{what} wrote outside: {answer:?}");
        assert!(outside.path().join("secret").exists(), "{what} removed outside: {answer:?}");
        let mine = porter.root.join("input/mine");
        let read =
            fs::symlink_metadata(&mine).is_ok_and(|m| m.is_file() && fs::read(&mine).unwrap() == b"secret");
        assert!(!read, "{what} took a file from outside");
    }
    // The positive control: a reader that does as it is told.
    let naive = tempfile::tempdir().unwrap();
    let path = outside.path().join("layer.tar");
    fs::write(&path, &through).unwrap();
    let script = "import sys, tarfile\nt = tarfile.open(sys.argv[1])\nfor m in t: t._extract_member(m, sys.argv[2] + '/' + m.name)";
    let ran =
        Command::new("python3").args(["-c", script]).args([&path, &naive.path().to_path_buf()]).status();
    assert!(ran.unwrap().success() && target.exists(), "the attack does not work anywhere");
}

#[test]
fn what_an_image_may_not_hold_is_refused_with_its_name() {
    let raw = |flag: u8| {
        let mut bytes = archive(&[("thing", Kind::Directory, b"")]);
        bytes[156] = flag;
        bytes[148..156].fill(b' ');
        let sum: u64 = bytes[..512].iter().map(|b| u64::from(*b)).sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes
    };
    let deep = "d/".repeat(64) + "x";
    let below = archive(&[("f", file(b"x"), b"x"), ("f/x", file(b"x"), b"x")]);
    for (what, layer, code) in [
        ("a device", raw(b'3'), "SR-IMG-0003"),
        ("a pipe", raw(b'6'), "SR-IMG-0003"),
        ("a second name of nothing", archive(&[("a", hard("b"), b"")]), "SR-IMG-0003"),
        ("a reserved name", archive(&[(".wh..", file(b""), b"")]), "SR-IMG-0001"),
        ("a path that is too deep", archive(&[(&deep, file(b""), b"")]), "SR-IMG-0001"),
        ("something below a file", below, "SR-IMG-0003"),
        ("no archive", vec![1; 4096], "SR-IMG-0002"),
        ("half a header", vec![1; 100], "SR-PRT-0013"),
    ] {
        let porter = Porter::start(&[]);
        assert_eq!(plain(&porter, &layer).unwrap_err().0, code, "{what}");
    }
}

#[test]
fn a_small_archive_cannot_grow_without_bound() {
    let porter = Porter::start(&[]);
    // 256 MiB of zeros in 1 MB: refused by what it claims, before a byte is written.
    let script = "import gzip, tarfile, sys\n\
        class Zeros:\n\
        \x20 def read(self, n): return bytes(n)\n\
        g = gzip.open(sys.argv[1], 'wb', 1)\n\
        t = tarfile.open(fileobj=g, mode='w|')\n\
        i = tarfile.TarInfo('zeros'); i.size = int(sys.argv[2]); t.addfile(i, Zeros())\n\
        t.close(); g.close()";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bomb");
    let made = Command::new("python3").args(["-c", script]).arg(&path).arg((1u64 << 28).to_string()).status();
    assert!(made.unwrap().success());
    let bomb = fs::read(&path).unwrap();
    assert!(bomb.len() < 4 << 20, "{}", bomb.len());
    let refused = unpack(&porter, &bomb, Compression::Gzip, 16 << 20).unwrap_err();
    assert_eq!(refused.0, "SR-IMG-0004", "{refused:?}");
    assert!(!porter.root.join("input/zeros").exists());
    // The control: with room it is unpacked.
    let porter = Porter::start(&[]);
    assert_eq!(unpack(&porter, &bomb, Compression::Gzip, 1 << 29).unwrap().1, 1 << 28);
}

/// 2 GiB of zeros after the mark of the end, and the same as a file where nobody sees it: both cost time, so both count.
#[test]
fn what_is_passed_over_is_bounded_too() {
    let dir = tempfile::tempdir().unwrap();
    let hidden = archive(&[("tmp/x", file(&[]), b"")]);
    let path = dir.path().join("zeros");
    fs::write(&path, [hidden, vec![0; 4 << 20]].concat()).unwrap();
    let zeros = Command::new("zstd").arg("-qc").arg(&path).output().unwrap().stdout;
    let refused = unpack(&Porter::start(&[]), &zeros, Compression::Zstd, ROOM).unwrap_err();
    assert_eq!(refused.0, "SR-IMG-0004", "{refused:?}");
    let big = vec![0; 2 << 20];
    let unseen = archive(&[("tmp/x", file(&big), &big)]);
    assert_eq!(
        unpack(&Porter::start(&[]), &unseen, Compression::None, 1 << 20).unwrap_err().0,
        "SR-IMG-0004"
    );
    assert!(unpack(&Porter::start(&[]), &unseen, Compression::None, 4 << 20).is_ok());
    // Directories that only paths name take room like any other.
    let deep: Vec<String> = (0..100).map(|n| format!("{n}/a/b/c/d/e/f/g/x")).collect();
    let entries: Vec<_> = deep.iter().map(|path| (path.as_str(), file(b""), b"".as_slice())).collect();
    let counted = plain(&Porter::start(&[]), &archive(&entries)).unwrap().0;
    assert!(counted >= 900, "{counted}");
    // What the sandbox could not show is said at once.
    let top: Vec<String> = (0..129).map(|n| n.to_string()).collect();
    let entries: Vec<_> = top.iter().map(|path| (path.as_str(), file(b""), b"".as_slice())).collect();
    let porter = Porter::start(&[]);
    plain(&porter, &archive(&entries)).unwrap();
    assert_eq!(survey(&porter).0.unwrap_err().0, "SR-IMG-0004");
}

#[test]
fn the_tree_and_its_packages_are_told() {
    let porter = Porter::start(&[]);
    let status = b"Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\n\n";
    let layer = archive(&[
        ("var/lib/dpkg/status", file(status), status),
        ("etc/os-release", link("../usr/lib/os-release"), b""),
        ("usr/lib/os-release", file(b"ID=debian\nNAME=Debian\n"), b"ID=debian\nNAME=Debian\n"),
        ("usr/lib/python3/dist-packages/numpy-1.24.2.dist-info/METADATA", file(b""), b""),
    ]);
    plain(&porter, &layer).unwrap();
    let (_, heard) = survey(&porter);
    assert_eq!(heard.packages, ["libc6=2.36-9", "numpy=1.24.2"]);
    let (digest, entries, bytes) = heard.tree.unwrap();
    assert_eq!(heard.system.unwrap(), ("debian".to_owned(), "Debian".to_owned()));
    assert_eq!((entries, bytes), (13, status.len() as u64 + 22));
    // The helper that the warden asks says the same, of the same mount.
    let said = Command::new("bash")
        .args(["-c", "exec \"$0\" hash --image 3<\"$1\"", env!("CARGO_BIN_EXE_strongroom-porter")])
        .arg(porter.root.join("input"))
        .output()
        .unwrap();
    let result = ops::from_bytes::<ops::porter::HashResult>(&said.stdout).unwrap();
    assert_eq!((result.manifest, result.files), (digest, entries));
    // Any change shows; what stands in the platform's own places does not.
    let hash = || survey(&porter).1.tree.unwrap().0;
    let input = porter.root.join("input");
    fs::write(input.join("tmp/x"), "x").unwrap();
    assert_eq!(hash(), digest);
    symlink("x", input.join("y")).unwrap();
    let with_link = hash();
    assert_ne!(with_link, digest);
    fs::remove_file(input.join("y")).unwrap();
    fs::File::create(input.join("y")).unwrap().write_all(b"x").unwrap();
    let with_file = hash();
    fs::set_permissions(input.join("y"), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(with_file != with_link && with_file != digest && hash() != with_file);
}
