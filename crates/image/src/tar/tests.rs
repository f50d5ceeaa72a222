use proptest::prelude::*;

use super::*;

/// Reads a whole archive as a caller does: entries with their content.
fn read(archive: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, ImageError> {
    let mut reader = Reader::default();
    let mut entries = Vec::new();
    let mut at = 0;
    let take = |at: &mut usize, size: u64| {
        let len = usize::try_from(size).unwrap();
        let data = archive.get(*at..*at + len).ok_or(ImageError::Archive("cut"))?.to_vec();
        *at += len + padding(size);
        Ok(data)
    };
    loop {
        if at >= archive.len() {
            return reader.finish().map(|()| entries);
        }
        let block = archive.get(at..at + BLOCK).ok_or(ImageError::Archive("cut"))?.try_into().unwrap();
        at += BLOCK;
        match reader.block(block)? {
            Step::Next => {}
            Step::Extension(size) => reader.extension(&take(&mut at, size)?)?,
            Step::Entry(entry) => {
                let size = if let Kind::File { size, .. } = entry.kind { size } else { 0 };
                let data = take(&mut at, size)?;
                entries.push((entry, data));
            }
            Step::End => return Ok(entries),
        }
    }
}

/// A header with these fields; the checksum is right.
fn raw(name: &str, flag: u8, size: u64, link: &str) -> Vec<u8> {
    let mut block = header(&Entry { path: "x".into(), kind: Kind::Directory, mtime: 1 }).unwrap();
    block[..100].fill(0);
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[156] = flag;
    block[157..257].fill(0);
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    sum(&mut block);
    block
}

fn sum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn padded(data: &[u8]) -> Vec<u8> {
    let mut out = data.to_vec();
    out.resize(out.len() + padding(data.len() as u64), 0);
    out
}

fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), END.to_vec()].concat()
}

fn refused(what: &str, parts: &[Vec<u8>]) -> String {
    match read(&archive(parts)) {
        Err(error) => error.to_string(),
        Ok(entries) => panic!("{what}: read as {entries:?}"),
    }
}

#[test]
fn what_python_and_gnu_tar_write_is_read_alike() {
    let dir = std::env::temp_dir().join(format!("strongroom-image-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let long = "d/".repeat(60) + "file";
    let script = format!(
        "import io,sys,tarfile\n\
         for form in ('GNU','PAX','USTAR'):\n\
         \x20   t = tarfile.open(sys.argv[1] + form, 'w', format=getattr(tarfile, form + '_FORMAT'))\n\
         \x20   def add(name, kind=tarfile.REGTYPE, data=b'', link='', mode=0o644):\n\
         \x20       i = tarfile.TarInfo(name); i.type = kind; i.size = len(data); i.linkname = link; i.mode = mode; i.mtime = 1.5 if form == 'PAX' else 1\n\
         \x20       t.addfile(i, io.BytesIO(data))\n\
         \x20   add('./', tarfile.DIRTYPE)\n\
         \x20   add('./bin', tarfile.SYMTYPE, link='usr/bin')\n\
         \x20   add('usr/bin/tool', data=b'x'*600, mode=0o755)\n\
         \x20   add('usr/bin/same', tarfile.LNKTYPE, link='usr/bin/tool')\n\
         \x20   add('{long}', data=b'long')\n\
         \x20   t.close()\n"
    );
    let out = dir.join("t");
    let run = std::process::Command::new("python3").args(["-c", &script]).arg(&out).status().unwrap();
    assert!(run.success());
    let expected = [
        (Entry { path: String::new(), kind: Kind::Directory, mtime: 1 }, vec![]),
        (Entry { path: "bin".into(), kind: Kind::Symlink { target: "usr/bin".into() }, mtime: 1 }, vec![]),
        (
            Entry { path: "usr/bin/tool".into(), kind: Kind::File { size: 600, executable: true }, mtime: 1 },
            vec![b'x'; 600],
        ),
        (
            Entry {
                path: "usr/bin/same".into(),
                kind: Kind::Hardlink { target: "usr/bin/tool".into() },
                mtime: 1,
            },
            vec![],
        ),
        (Entry { path: long, kind: Kind::File { size: 4, executable: false }, mtime: 1 }, b"long".to_vec()),
    ];
    for form in ["GNU", "PAX", "USTAR"] {
        let bytes = std::fs::read(dir.join(format!("t{form}"))).unwrap();
        assert_eq!(read(&bytes).unwrap(), expected, "{form}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn what_readers_could_take_in_two_ways_is_refused() {
    let file = |name: &str| raw(name, b'0', 0, "");
    let ext = |flag: u8, body: &[u8]| [raw("ext", flag, body.len() as u64, ""), padded(body)].concat();
    let mut broken = file("a");
    broken[0] ^= 1;
    let mut old = file("a");
    old[257..265].fill(0);
    sum(&mut old);
    for (what, parts) in [
        ("a wrong checksum", vec![broken]),
        ("a header without magic", vec![old]),
        (
            "a size in an extension before another extension",
            vec![
                ext(b'x', b"13 size=2048\n"),
                ext(b'L', b"longname.txt\0"),
                [raw("file_a", b'0', 16, ""), padded(&[b'A'; 16])].concat(),
            ],
        ),
        (
            "another size in an extension",
            vec![ext(b'x', b"10 size=2\n"), [raw("a", b'0', 1, ""), padded(b"x")].concat()],
        ),
        ("two pax extensions", vec![ext(b'x', b"9 path=b\n"), ext(b'x', b"9 path=c\n"), file("a")]),
        ("two long names", vec![ext(b'L', b"b\0"), ext(b'L', b"c\0"), file("a")]),
        ("a key twice", vec![ext(b'x', b"9 path=b\n9 path=c\n"), file("a")]),
        ("a global rename", vec![ext(b'g', b"9 path=b\n"), file("a")]),
        ("an extension without its entry", vec![ext(b'x', b"9 path=b\n")]),
        ("a record with a wrong length", vec![ext(b'x', b"8 path=b\n"), file("a")]),
        ("a record without an end", vec![ext(b'x', b"9 path=bc"), file("a")]),
        ("a long name with two ends", vec![ext(b'L', b"b\0c\0"), file("a")]),
        ("a long name without an end", vec![ext(b'L', b"bc"), file("a")]),
        ("an empty extension", vec![ext(b'x', b""), file("a")]),
        ("an extension above the limit", vec![raw("e", b'x', (1 << 20) + 1, "")]),
        ("a sparse file", vec![ext(b'x', b"22 GNU.sparse.major=1\n"), file("a")]),
        ("an entry after the end", vec![vec![0; BLOCK], file("a")]),
        ("a directory with content", vec![[raw("d", b'5', 1, ""), padded(b"x")].concat()]),
        ("a link with content", vec![[raw("d", b'2', 1, "t"), padded(b"x")].concat()]),
        ("a file named as a directory", vec![file("a/")]),
        ("a file in place of the root", vec![file("./")]),
        ("a link in place of the root", vec![raw("./", b'2', 0, "/")]),
        ("a link to nothing", vec![raw("a", b'2', 0, "")]),
        ("a path that climbs", vec![file("a/../../b")]),
        ("a second name that climbs", vec![raw("a", b'1', 0, "../b")]),
        ("a sparse file of GNU", vec![raw("a", b'S', 0, "")]),
        ("an unknown kind", vec![raw("a", b'V', 0, "")]),
    ] {
        let said = refused(what, &parts);
        assert!(said.len() > 10, "{what}: {said}");
    }
}

#[test]
fn an_archive_ends_with_two_blocks_of_zeros_or_with_its_last_entry() {
    let one = header(&Entry { path: "a".into(), kind: Kind::Directory, mtime: 1 }).unwrap();
    assert_eq!(read(&archive(std::slice::from_ref(&one))).unwrap().len(), 1);
    assert_eq!(read(&one).unwrap().len(), 1, "as umoci writes it");
    assert!(read(&one[..300]).is_err(), "cut within a header");
    let extension = [raw("e", b'x', 9, ""), padded(b"9 path=b\n")].concat();
    assert!(read(&[one, extension].concat()).is_err(), "cut after an extension");
}

#[test]
fn large_sizes_stand_in_an_extension() {
    let entry =
        Entry { path: "a".into(), kind: Kind::File { size: OCTAL_MAX + 1, executable: false }, mtime: 1 };
    let bytes = header(&entry).unwrap();
    let mut reader = Reader::default();
    let block = |at: usize| bytes[at..at + BLOCK].try_into().unwrap();
    let Step::Extension(size) = reader.block(block(0)).unwrap() else { panic!("no extension") };
    reader.extension(&bytes[BLOCK..BLOCK + usize::try_from(size).unwrap()]).unwrap();
    assert_eq!(reader.block(block(2 * BLOCK)).unwrap(), Step::Entry(entry));
}

fn entries() -> impl Strategy<Value = Vec<(Entry, Vec<u8>)>> {
    let path = prop::collection::vec("[a-zü .]{1,60}", 1..5).prop_map(|parts| parts.join("/"));
    let path = path.prop_filter_map("a plain path", |p| path::clean(p.as_bytes()).ok().filter(|c| *c == p));
    let kind = prop_oneof![
        Just((Kind::Directory, vec![])),
        (prop::collection::vec(any::<u8>(), 0..1500), any::<bool>())
            .prop_map(|(data, executable)| (Kind::File { size: data.len() as u64, executable }, data)),
        "[a-z/.]{1,300}".prop_map(|target| (Kind::Symlink { target }, vec![])),
    ];
    let entry = (path, kind, 0..1u64 << 33)
        .prop_map(|(path, (kind, data), mtime)| (Entry { path, kind, mtime }, data));
    prop::collection::vec(entry, 0..8)
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(list in entries()) {
        let parts: Vec<Vec<u8>> =
            list.iter().map(|(entry, data)| [header(entry).unwrap(), padded(data)].concat()).collect();
        prop_assert_eq!(read(&archive(&parts)).unwrap(), list);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 512..4096), flag in any::<u8>()) {
        let mut bytes = bytes;
        bytes[257..265].copy_from_slice(POSIX);
        bytes[124..136].fill(0);
        bytes[156] = flag;
        sum(&mut bytes[..512]);
        drop((read(&bytes), pax(&bytes), terminated(&bytes)));
    }
}
