use std::io::{Read, Write};
use std::os::unix::fs::FileExt;

use base::sha256;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use vault::{AddressKey, ChunkSize, Content, FreshDek, SefError};

use super::*;

const DEK: [u8; 32] = [3; 32];

fn scope() -> KeyScope {
    "acme".parse().unwrap()
}

fn seal(limit_bytes: u64) -> Seal {
    Seal {
        scope: scope(),
        dek: FreshDek::take(&mut DEK.clone()),
        salt: [4; 32],
        chunk: ChunkSize::from_log2(16).unwrap(),
        content: Content::Unknown,
        limit_bytes,
    }
}

fn dek() -> Dek {
    Dek::take(&mut DEK.clone())
}

fn open(dir: &Path) -> ObjectStore {
    ObjectStore::open(dir).unwrap().0
}

fn pattern(len: usize) -> Vec<u8> {
    (0..=250u8).cycle().take(len).collect()
}

fn name_of(digest: &Digest) -> ObjectName {
    vault::keys::object_name(&AddressKey::take(&mut [1; 32]), digest)
}

fn put(store: &ObjectStore, plaintext: &[u8]) -> (ObjectName, Digest) {
    let mut import = store.import(seal(u64::MAX)).unwrap();
    import.read_from(&mut &*plaintext).unwrap();
    let staged = import.finish().unwrap();
    assert_eq!((staged.digest, staged.len), (sha256(plaintext), u64::try_from(plaintext.len()).unwrap()));
    let name = name_of(&staged.digest);
    assert!(matches!(staged.stage.commit(&name).unwrap(), Commit::Stored));
    (name, staged.digest)
}

fn read(store: &ObjectStore, name: &ObjectName, digest: &Digest) -> Result<Vec<u8>, StoreError> {
    let mut out = Vec::new();
    store.open_object(name, &dek(), &scope(), digest)?.copy_to(&mut out)?;
    Ok(out)
}

fn entries(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[test]
fn what_is_imported_comes_back_and_survives_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut made = Vec::new();
    {
        let store = open(dir.path());
        for len in [0, 1, 65_535, 65_536, 65_537, 300_000] {
            made.push((put(&store, &pattern(len)), len));
        }
        assert_eq!(entries(&dir.path().join("stage")), 0);
    }
    let store = open(dir.path());
    assert_eq!(store.names().unwrap().len(), made.len());
    for ((name, digest), len) in made {
        assert!(store.contains(&name).unwrap());
        assert!(read(&store, &name, &digest).unwrap() == pattern(len), "{len}");
        let mode = store.open_ciphertext(&name).unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o400);
    }
}

#[test]
fn pieces_give_the_same_file_as_a_stream() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let plaintext = pattern(200_000);
    let (name, _) = put(&store, &plaintext);
    let mut import = store.import(seal(u64::MAX)).unwrap();
    for piece in plaintext.chunks(7_777) {
        import.write(piece).unwrap();
    }
    let staged = import.finish().unwrap();
    let all = |mut file: &File| {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    };
    assert!(all(&store.open_ciphertext(&name).unwrap()) == all(&File::open(&staged.stage.path).unwrap()));
}

#[test]
fn another_process_fills_a_stage_through_its_descriptor() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let plaintext = pattern(100_000);
    let (_, digest) = put(&store, &plaintext);
    let sealed = {
        let mut file = store.open_ciphertext(&name_of(&digest)).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    };
    let stage = store.create_stage().unwrap();
    let mut theirs = File::from(stage.as_fd().try_clone_to_owned().unwrap());
    theirs.write_all(&sealed).unwrap();
    stage.reader(&dek(), &scope(), &digest).unwrap().verify_all().unwrap();
    let name = ObjectName::from_bytes([8; 32]);
    assert!(matches!(stage.commit(&name).unwrap(), Commit::Stored));
    assert!(read(&store, &name, &digest).unwrap() == plaintext);

    let stage = store.create_stage().unwrap();
    stage.file().write_all_at(&sealed[..sealed.len() - 1], 0).unwrap();
    let cut = stage.reader(&dek(), &scope(), &digest);
    assert!(matches!(cut, Err(StoreError::Sealed(SefError::Size { .. }))));
}

#[test]
fn an_object_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let plaintext = pattern(10);
    let (name, digest) = put(&store, &plaintext);
    let mut import = store.import(seal(u64::MAX)).unwrap();
    import.write(b"other").unwrap();
    let staged = import.finish().unwrap();
    let Commit::Exists(stage) = staged.stage.commit(&name).unwrap() else {
        panic!("replaced an object");
    };
    assert!(read(&store, &name, &digest).unwrap() == plaintext);
    // An object whose key no record knows makes way.
    store.discard(&name).unwrap();
    assert!(matches!(stage.commit(&name).unwrap(), Commit::Stored));
    assert!(read(&store, &name, &sha256(b"other")).unwrap() == b"other");
    assert_eq!(entries(&dir.path().join("stage")), 0);
}

#[test]
fn what_was_not_committed_leaves_nothing() {
    struct Breaks(u32);
    impl Read for Breaks {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            match self.0 {
                1..4 => Ok(out.len()),
                4 => Err(io::ErrorKind::Interrupted.into()),
                5 => Ok(1),
                _ => Err(io::ErrorKind::ConnectionReset.into()),
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let stages = dir.path().join("stage");
    let store = open(dir.path());
    let mut import = store.import(seal(u64::MAX)).unwrap();
    assert_eq!(entries(&stages), 1);
    assert!(matches!(import.read_from(&mut Breaks(0)), Err(StoreError::Source(_))));
    drop(import);
    let mut import = store.import(seal(100)).unwrap();
    assert!(matches!(import.write(&[0; 101]), Err(StoreError::TooLarge { limit_bytes: 100 })));
    drop(import);
    let mut import = store.import(seal(100)).unwrap();
    let endless = import.read_from(&mut io::repeat(1));
    assert!(matches!(endless, Err(StoreError::TooLarge { limit_bytes: 100 })));
    drop(import);
    drop(store.import(seal(1)).unwrap().finish().unwrap());
    assert_eq!(entries(&stages), 0);
    assert!(store.names().unwrap().is_empty());
}

#[test]
fn a_crash_leaves_stages_that_the_next_open_removes() {
    let dir = tempfile::tempdir().unwrap();
    let (name, digest) = put(&open(dir.path()), b"kept");
    fs::write(dir.path().join("stage/17"), b"half").unwrap();
    let (store, swept) = ObjectStore::open(dir.path()).unwrap();
    assert_eq!((swept, entries(&dir.path().join("stage"))), (1, 0));
    assert!(read(&store, &name, &digest).unwrap() == b"kept");
}

#[test]
fn a_second_process_is_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert!(matches!(ObjectStore::open(dir.path()), Err(StoreError::InUse)));
    drop(store);
    open(dir.path());
}

#[test]
fn wrong_key_scope_or_digest_and_missing_objects_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (name, digest) = put(&store, &pattern(70_000));
    let sealed = |result: Result<SefReader, StoreError>| match result {
        Err(StoreError::Sealed(error)) => error,
        other => panic!("{other:?}"),
    };
    let other = Dek::take(&mut [9; 32]);
    assert_eq!(sealed(store.open_object(&name, &other, &scope(), &digest)), SefError::WrongKey);
    let bank = "bank".parse().unwrap();
    assert_eq!(sealed(store.open_object(&name, &dek(), &bank, &digest)), SefError::WrongContent);
    let nothing = sha256(b"");
    assert_eq!(sealed(store.open_object(&name, &dek(), &scope(), &nothing)), SefError::WrongContent);
    let absent = store.open_ciphertext(&ObjectName::from_bytes([0; 32]));
    assert!(matches!(absent, Err(StoreError::Missing { .. })));
    // A link in the place of an object is not followed.
    let link = store.path_of(&ObjectName::from_bytes([1; 32]));
    std::os::unix::fs::symlink(store.path_of(&name), link).unwrap();
    let followed = store.open_ciphertext(&ObjectName::from_bytes([1; 32]));
    assert!(matches!(followed, Err(StoreError::Io { .. })));
}

#[test]
fn a_flipped_bit_or_a_cut_is_refused_and_quarantine_moves_it_away() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (name, digest) = put(&store, &pattern(150_000));
    let path = store.path_of(&name);
    let good = fs::read(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    for at in [0, 7, 9, 20, 50, 90, 120, 500, 4095, 4096, 70_000, good.len() - 40, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 4;
        fs::write(&path, &bad).unwrap();
        let refused = read(&store, &name, &digest);
        assert!(matches!(refused, Err(StoreError::Sealed(_))), "byte {at}: {refused:?}");
    }
    for len in [0, 100, 4095, 4096, 5000, good.len() - 1] {
        fs::write(&path, &good[..len]).unwrap();
        let refused = read(&store, &name, &digest);
        assert!(
            matches!(refused, Err(StoreError::Sealed(SefError::Size { .. } | SefError::Format { .. }))),
            "{len}"
        );
    }
    for n in 0..2 {
        fs::write(&path, &good).unwrap();
        let to = store.quarantine(&name).unwrap();
        assert!(to.ends_with(format!("quarantine/{name}.{n}")));
        assert!(!store.contains(&name).unwrap() && fs::read(to).unwrap() == good);
    }
    assert!(matches!(store.quarantine(&name), Err(StoreError::Missing { .. })));
}

#[test]
fn a_chunk_altered_while_it_is_open_is_refused_and_nothing_of_it_is_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let plaintext = pattern(150_000);
    let (name, digest) = put(&store, &plaintext);
    let reader = store.open_object(&name, &dek(), &scope(), &digest).unwrap();
    let path = store.path_of(&name);
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xff; 4], 4096 + 65_536 + 10).unwrap();
    let mut out = vec![0u8; 65_536];
    assert_eq!(reader.read_at(0, &mut out).unwrap(), 65_536);
    assert!(out == plaintext[..65_536]);
    out.fill(0);
    let refused = reader.read_at(65_536, &mut out);
    assert!(matches!(refused, Err(StoreError::Sealed(SefError::ChunkForged { index: 1 }))));
    assert!(out.iter().all(|b| *b == 0));
    let mut handed = Vec::new();
    assert!(reader.copy_to(&mut handed).is_err());
    assert!(handed == plaintext[..65_536]);
}

#[test]
fn no_file_of_the_store_holds_a_byte_of_the_plaintext() {
    fn scan(dir: &Path, marker: &[u8], files: &mut u32) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            assert!(!entry.file_name().to_string_lossy().contains("zanzibar"));
            if entry.file_type().unwrap().is_dir() {
                scan(&entry.path(), marker, files);
            } else {
                let bytes = fs::read(entry.path()).unwrap();
                *files += 1;
                assert!(!bytes.windows(marker.len()).any(|w| w == marker), "{:?}", entry.path());
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let marker = b"zanzibar-marker-8f21";
    let plaintext: Vec<u8> = marker.iter().copied().cycle().take(200_000).collect();
    let (_, digest) = put(&store, &plaintext);
    // Another one is still on its way.
    let mut import = store.import(seal(u64::MAX)).unwrap();
    import.write(&plaintext).unwrap();
    let mut files = 0;
    scan(dir.path(), marker, &mut files);
    scan(dir.path(), digest.as_bytes(), &mut files);
    assert_eq!(files, 2 * 3, "lock, object and stage");
}

#[test]
fn read_at_gives_exactly_the_bytes_of_the_range() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut runner = TestRunner::new(ProptestConfig { cases: 100, ..ProptestConfig::default() });
    let ranges = (0usize..200_000, 0u64..210_000, 0usize..210_000);
    runner
        .run(&ranges, |(len, from, want)| {
            let plaintext = pattern(len);
            let mut import = store.import(seal(u64::MAX)).unwrap();
            import.write(&plaintext).unwrap();
            let staged = import.finish().unwrap();
            let reader = staged.stage.reader(&staged.dek, &scope(), &staged.digest).unwrap();
            let mut out = vec![0xee; want];
            let n = reader.read_at(from, &mut out).unwrap();
            let from = usize::try_from(from).unwrap().min(len);
            prop_assert_eq!(n, want.min(len - from));
            prop_assert!(out[..n] == plaintext[from..from + n]);
            prop_assert!(out[n..].iter().all(|b| *b == 0xee));
            Ok(())
        })
        .unwrap();
}
