use std::os::unix::fs::symlink;

use image::tar::{END, Entry, header, padding};

use super::*;

fn names(path: &Path) -> Vec<String> {
    parts(path).unwrap().into_iter().map(|p| p.name).collect()
}

fn bytes_of(part: &Part) -> Vec<u8> {
    let mut file = part.open().unwrap();
    file.seek(SeekFrom::Start(part.from)).unwrap();
    let mut bytes = Vec::new();
    file.take(part.size).read_to_end(&mut bytes).unwrap();
    bytes
}

fn tar(entries: &[(&str, Kind, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, kind, bytes) in entries {
        let entry = Entry { path: (*path).to_owned(), kind: kind.clone(), mtime: 0 };
        out.extend(header(&entry).unwrap());
        out.extend_from_slice(bytes);
        out.extend(vec![0; padding(bytes.len() as u64)]);
    }
    out.extend_from_slice(&END);
    out
}

fn file(bytes: &[u8]) -> Kind {
    Kind::File { size: bytes.len() as u64, executable: false }
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

#[test]
fn the_files_of_an_archive_are_read_where_they_stand() {
    let dir = tempfile::tempdir().unwrap();
    let plain = tar(&[("m/b.json", file(b"{}"), b"{}"), ("m/a.bin", file(b"weights"), b"weights")]);
    for (name, bytes) in [("m.tar", plain.clone()), ("m.tar.gz", gz(&plain)), ("m.tgz", gz(&plain))] {
        let at = dir.path().join(name);
        fs::write(&at, bytes).unwrap();
        let found = parts(&at).unwrap();
        let read: Vec<_> = found.iter().map(|p| (p.name.as_str(), bytes_of(p))).collect();
        assert_eq!(read, [("m/a.bin", b"weights".to_vec()), ("m/b.json", b"{}".to_vec())], "{name}");
    }
}

#[test]
fn an_archive_that_leads_out_or_says_two_things_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let good = tar(&[("a", file(b"x"), b"x")]);
    let link = tar(&[("a", Kind::Symlink { target: "/etc/passwd".into() }, b"")]);
    let hard = tar(&[("a", file(b"x"), b"x"), ("b", Kind::Hardlink { target: "a".into() }, b"")]);
    let twice = tar(&[("a", file(b"x"), b"x"), ("a", file(b"y"), b"y")]);
    let mut up = tar(&[("aa/b", file(b"x"), b"x")]);
    up[..2].copy_from_slice(b"..");
    // The checksum of a header is the sum of its bytes.
    let sum: u32 = up[..512]
        .iter()
        .enumerate()
        .map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) })
        .sum();
    up[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut long = good.clone();
    long.truncate(512);
    let trailing = [good.clone(), b"more".to_vec()].concat();
    for (what, bytes) in
        [("link", link), ("hard", hard), ("twice", twice), ("up", up), ("cut", long), ("trailing", trailing)]
    {
        let at = dir.path().join("m.tar");
        fs::write(&at, &bytes).unwrap();
        assert!(parts(&at).is_err(), "{what}");
        let at = dir.path().join("m.tgz");
        fs::write(&at, gz(&bytes)).unwrap();
        assert!(parts(&at).is_err(), "{what}, compressed");
    }
    let at = dir.path().join("m.tgz");
    for bytes in [b"no gzip".to_vec(), gz(&good)[..20].to_vec(), [gz(&good), gz(&good)].concat()] {
        fs::write(&at, bytes).unwrap();
        assert!(parts(&at).is_err());
    }
    // 64 MiB of zeros in 64 KiB: more than any model comes to.
    fs::write(&at, gz(&vec![0; 64 << 20])).unwrap();
    assert!(format!("{:?}", parts(&at).unwrap_err()).contains("unpacks to more"));
}

#[test]
fn a_snapshot_of_a_cache_is_read_through_links_to_its_own_blobs_alone() {
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("models--org--m");
    let snapshot = repository.join("snapshots/abc");
    fs::create_dir_all(snapshot.join("sub")).unwrap();
    fs::create_dir_all(repository.join("blobs")).unwrap();
    fs::write(repository.join("blobs/1234"), b"weights").unwrap();
    symlink("../../blobs/1234", snapshot.join("model.safetensors")).unwrap();
    symlink("../../../blobs/1234", snapshot.join("sub/copy")).unwrap();
    assert_eq!(names(&snapshot), ["model.safetensors", "sub/copy"]);
    assert_eq!(bytes_of(&parts(&snapshot).unwrap()[0]), b"weights");
    fs::write(dir.path().join("secret"), b"s").unwrap();
    for target in
        ["/etc/passwd", "../../../secret", "../../blobs", "../../blobs/1234/..", "../../blobs/../../secret"]
    {
        symlink(target, snapshot.join("evil")).unwrap();
        assert!(parts(&snapshot).is_err(), "{target}");
        fs::remove_file(snapshot.join("evil")).unwrap();
    }
    // A blob that is itself a link out.
    symlink("/etc/passwd", repository.join("blobs/5678")).unwrap();
    symlink("../../blobs/5678", snapshot.join("evil")).unwrap();
    assert!(parts(&snapshot).is_err());
    // A directory that only looks alike has no links at all.
    let other = dir.path().join("other");
    fs::create_dir_all(&other).unwrap();
    symlink(repository.join("blobs/1234"), other.join("model.safetensors")).unwrap();
    assert!(parts(&other).is_err());
}

fn layout_of(dir: &Path, layers: &[(&[u8], &str)]) -> PathBuf {
    let root = dir.join("layout");
    drop(fs::remove_dir_all(&root));
    fs::create_dir_all(root.join("blobs/sha256")).unwrap();
    let put = |bytes: &[u8]| {
        let digest = base::sha256(bytes).hex();
        fs::write(root.join("blobs/sha256").join(&digest), bytes).unwrap();
        (format!("sha256:{digest}"), bytes.len())
    };
    let listed: Vec<String> = layers
        .iter()
        .map(|(bytes, more)| {
            let (digest, size) = put(bytes);
            format!(r#"{{"digest":"{digest}","size":{size},{more}}}"#)
        })
        .collect();
    let manifest = format!(r#"{{"schemaVersion":2,"layers":[{}]}}"#, listed.join(","));
    let (digest, size) = put(manifest.as_bytes());
    fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{{"digest":"{digest}","size":{size}}}]}}"#);
    fs::write(root.join("index.json"), index).unwrap();
    root
}

fn title(name: &str) -> String {
    format!(r#""mediaType":"application/octet-stream","annotations":{{"{TITLE}":"{name}"}}"#)
}

#[test]
fn a_layout_holds_files_by_title_or_one_archive() {
    let dir = tempfile::tempdir().unwrap();
    let root = layout_of(dir.path(), &[(b"w", &title("w.bin")), (b"{}", &title("c/config.json"))]);
    assert_eq!(names(&root), ["c/config.json", "w.bin"]);
    let packed = tar(&[("w.bin", file(b"w"), b"w")]);
    for (bytes, kind) in [(packed.clone(), "tar"), (gz(&packed), "tar+gzip")] {
        let more = format!(r#""mediaType":"application/vnd.oci.image.layer.v1.{kind}""#);
        let root = layout_of(dir.path(), &[(&bytes, &more)]);
        assert_eq!(bytes_of(&parts(&root).unwrap()[0]), b"w", "{kind}");
        // Another content in the place of the layer.
        let digest = base::sha256(&bytes).hex();
        fs::write(root.join("blobs/sha256").join(digest), b"other").unwrap();
        assert!(parts(&root).is_err(), "{kind}");
    }
    for bad in ["../w", "/w", "a//b", "a/../b", "a\\\\b", ""] {
        assert!(parts(&layout_of(dir.path(), &[(b"w", &title(bad))])).is_err(), "{bad}");
    }
    assert!(
        parts(&layout_of(dir.path(), &[(b"w", &title("w")), (b"v", &title("w"))])).is_err(),
        "one name twice"
    );
    assert!(parts(&layout_of(dir.path(), &[(b"w", r#""mediaType":"x""#)])).is_err(), "no title");
    assert!(parts(&layout_of(dir.path(), &[])).is_err(), "no layer");
    let root = layout_of(dir.path(), &[(b"w", &title("w"))]);
    let index = fs::read_to_string(root.join("index.json")).unwrap();
    fs::write(root.join("index.json"), index.replacen("sha256:", "sha512:", 1)).unwrap();
    assert!(parts(&root).is_err(), "another digest");
}

#[test]
fn what_arrived_is_compared_with_its_digest() {
    let dir = tempfile::tempdir().unwrap();
    let root = layout_of(dir.path(), &[(b"w", &title("w.bin"))]);
    let part = parts(&root).unwrap().remove(0);
    let answer = |bytes: &[u8]| {
        let digest = base::sha256(bytes).hex();
        format!(r#"{{"path":"w.bin","size":1,"digest":"{digest}"}}"#).into_bytes()
    };
    assert!(part.arrived(&answer(b"w")).is_ok());
    assert!(part.arrived(&answer(b"x")).is_err());
    assert!(part.arrived(b"nonsense").is_err());
}
