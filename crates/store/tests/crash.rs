//! What the store promises when its process dies or its disk is full. Each test runs this binary again as a child:
//! to be killed at any moment, or to work inside a mount of its own.

#[cfg(test)]
mod support {
    use std::io::Read;
    use std::path::Path;
    use std::process::Command;

    use base::names::Name;
    use base::{Digest, Secret};
    use strongroom_store::records::Object;
    use strongroom_store::{Commit, MetaStore, ObjectStore, Seal, StoreError, Stored};
    use vault::{AddressKey, ChunkSize, Content, FreshDek, Kek, KeyScope, ObjectName, keys};

    /// Tells a child where to work.
    pub(super) const DIR: &str = "STRONGROOM_TEST_DIR";

    /// Tells a child where to begin.
    pub(super) const FIRST: &str = "STRONGROOM_TEST_FIRST";

    pub(super) fn tenant() -> Name {
        "acme".parse().unwrap()
    }

    pub(super) fn scope() -> KeyScope {
        KeyScope::Tenant(tenant())
    }

    pub(super) fn kek() -> Kek {
        Kek::take(&mut [0x24; 32])
    }

    pub(super) fn name_of(digest: &Digest) -> ObjectName {
        keys::object_name(&AddressKey::take(&mut [0x11; 32]), digest)
    }

    pub(super) fn open(dir: &Path) -> (ObjectStore, u64, MetaStore) {
        let (objects, swept) = ObjectStore::open(&dir.join("store")).unwrap();
        (objects, swept, MetaStore::open(&dir.join("meta.db"), &Secret::new([7; 32])).unwrap())
    }

    pub(super) fn random<const N: usize>() -> [u8; N] {
        let mut bytes = [0u8; N];
        std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
        bytes
    }

    /// The content number `i`: up to 600 kB, told by its number.
    pub(super) fn content(i: u64) -> Vec<u8> {
        i.to_le_bytes().repeat(usize::try_from(i * 48_271 % 75_000).unwrap() + 1)
    }

    /// Seals, commits and records one object, as control does.
    pub(super) fn keep(
        objects: &ObjectStore,
        meta: &MetaStore,
        plaintext: &[u8],
    ) -> Result<Digest, StoreError> {
        let mut import = objects.import(Seal {
            scope: scope(),
            dek: FreshDek::take(&mut random()),
            salt: random(),
            chunk: ChunkSize::from_log2(16).unwrap(),
            content: Content::Unknown,
            limit_bytes: u64::MAX,
        })?;
        import.read_from(&mut &*plaintext)?;
        let staged = import.finish()?;
        let name = name_of(&staged.digest);
        let wrapped = keys::wrap_dek(&kek(), &scope(), 1, &name, &staged.dek, random()).unwrap();
        assert!(matches!(staged.stage.commit(&name)?, Commit::Stored));
        meta.transaction(|tx| {
            tx.of(&tenant()).insert(&Object {
                scope: scope(),
                digest: staged.digest,
                name,
                kek_version: 1,
                wrapped,
                len: staged.len,
                created_ms: 0,
                quarantined: None,
                group: None,
            })
        })?;
        Ok(staged.digest)
    }

    pub(super) fn row(meta: &MetaStore, digest: &Digest) -> Option<Stored<Object>> {
        meta.read(|tx| tx.of(&tenant()).get::<Object>(&(scope(), *digest))).unwrap()
    }

    /// Opens the object of a row and gives its plaintext, every chunk verified.
    pub(super) fn plaintext(objects: &ObjectStore, object: &Object) -> Vec<u8> {
        let dek = keys::unwrap_dek(&kek(), &object.scope, 1, &object.name, &object.wrapped).unwrap();
        let reader = objects.open_object(&object.name, &dek, &object.scope, &object.digest).unwrap();
        let mut out = Vec::new();
        reader.copy_to(&mut out).unwrap();
        out
    }

    /// This binary, to run one of its ignored tests in `dir`.
    pub(super) fn child(command: &mut Command, test: &str, dir: &Path) {
        command.args(["--ignored", "--exact", "--nocapture", test]).env(DIR, dir);
    }

    pub(super) fn dir() -> std::path::PathBuf {
        std::env::var_os(DIR).expect("run by the test beside it, not by hand").into()
    }
}

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use base::{Digest, sha256};
use strongroom_store::meta::PageRequest;
use strongroom_store::records::Object;
use strongroom_store::{MetaStore, ObjectStore, StoreError};
use support::*;

#[test]
fn whatever_was_acknowledged_survives_kill_and_nothing_half_done_is_visible() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(u64, Digest)> = Vec::new();
    let (mut swept_in_all, mut unrecorded_in_all) = (0, 0);
    for round in 0..15u64 {
        let mut command = Command::new(std::env::current_exe().unwrap());
        child(&mut command, "child_that_is_killed", dir.path());
        command.env(FIRST, (round * 1_000_000).to_string());
        let mut running = command.stdout(Stdio::piped()).spawn().unwrap();
        let told = BufReader::new(running.stdout.take().unwrap());
        let listener = std::thread::spawn(move || {
            told.lines()
                .map_while(Result::ok)
                .filter_map(|line| {
                    let (i, digest) = line.strip_prefix("ack ")?.split_once(' ')?;
                    Some((i.parse().ok()?, digest.parse().ok()?))
                })
                .collect::<Vec<(u64, Digest)>>()
        });
        std::thread::sleep(Duration::from_millis(120 + round * 37 % 180));
        running.kill().unwrap();
        running.wait().unwrap();
        acknowledged.extend(listener.join().unwrap());

        let (objects, swept, meta) = open(dir.path());
        swept_in_all += swept;
        // Every row has its object; an object without a row was never acknowledged, and there is at most one.
        let mut rows = std::collections::BTreeMap::new();
        let mut page = PageRequest::default();
        loop {
            let part = meta.read(|tx| tx.of(&tenant()).list::<Object>(&page)).unwrap();
            rows.extend(part.items.into_iter().map(|row| (row.record.digest, row.record)));
            page.after = part.next;
            if page.after.is_none() {
                break;
            }
        }
        for (i, digest) in &acknowledged {
            let object = rows.get(digest).unwrap_or_else(|| panic!("{i} was acknowledged"));
            let of_this_round = *i >= round * 1_000_000;
            assert!(!of_this_round || plaintext(&objects, object) == content(*i), "{i}");
        }
        assert!(rows.len() <= acknowledged.len() + usize::try_from(round).unwrap() + 1);
        let mut names: std::collections::BTreeSet<_> = objects.names().unwrap().into_iter().collect();
        for object in rows.values() {
            assert!(names.remove(&object.name), "a row without its object");
        }
        assert!(names.len() <= 1, "{names:?}");
        for name in names {
            unrecorded_in_all += 1;
            objects.discard(&name).unwrap();
        }
        meta.verify().unwrap();
    }
    let (objects, _, meta) = open(dir.path());
    for (i, digest) in &acknowledged {
        assert!(plaintext(&objects, &row(&meta, digest).unwrap().record) == content(*i), "{i}");
    }
    assert!(acknowledged.len() >= 20, "only {} writes: nothing was tested", acknowledged.len());
    assert!(swept_in_all + unrecorded_in_all > 0, "no kill came in the middle of a write");
}

#[test]
#[ignore = "run by the test above, which kills it"]
fn child_that_is_killed() {
    let (objects, _, meta) = open(&dir());
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    // So many that the kill comes first, and not so many that a fast disk fills up.
    for i in first..first + 150 {
        let digest = keep(&objects, &meta, &content(i)).unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nack {i} {digest}").unwrap();
        out.flush().unwrap();
    }
    std::thread::sleep(Duration::from_secs(60));
}

/// A kill leaves the page cache, a power cut does not: what must be on the disk is told by the order of calls.
#[test]
fn object_and_row_are_flushed_in_order_before_they_are_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-e", "trace=fsync,fdatasync,renameat2,write", "-o"]).arg(&trace);
    command.arg(std::env::current_exe().unwrap());
    child(&mut command, "child_that_keeps_one", dir.path());
    let output = command.output().expect("strace");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let calls = std::fs::read_to_string(&trace).unwrap();
    let mut calls = calls.lines();
    for (what, parts) in [
        ("the object is flushed", ["fsync(", "/store/stage/0>)", "= 0"]),
        ("it is renamed, replacing nothing", ["renameat2(", ".sef\", RENAME_NOREPLACE", "= 0"]),
        ("its directory is flushed", ["fsync(", "/store/objects/", "= 0"]),
        ("the row is flushed", ["sync(", "/meta.db-wal>)", "= 0"]),
        ("it is acknowledged", ["write(", "ack ", ""]),
    ] {
        assert!(calls.any(|call| parts.iter().all(|part| call.contains(part))), "{what}");
    }
}

#[test]
#[ignore = "run by the test above, under strace"]
fn child_that_keeps_one() {
    let (objects, _, meta) = open(&dir());
    let digest = keep(&objects, &meta, b"one").unwrap();
    println!("ack {digest}");
}

#[test]
fn a_full_disk_is_said_so_and_leaves_nothing_half_done() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.arg(std::env::current_exe().unwrap());
    child(&mut command, "child_on_a_full_disk", dir.path());
    let output = command.output().expect("unshare, of util-linux");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("1 passed"), "{told}");
}

#[test]
#[ignore = "run by the test above, in a mount namespace of its own"]
fn child_on_a_full_disk() {
    let dir = dir();
    let flags = rustix::mount::MountFlags::NODEV | rustix::mount::MountFlags::NOSUID;
    rustix::mount::mount("tmpfs", &dir, "tmpfs", flags, Some(c"size=3m")).unwrap();
    let (objects, _, meta) = open(&dir);
    let small = keep(&objects, &meta, b"small").unwrap();

    let full = keep(&objects, &meta, &vec![1u8; 8 << 20]);
    assert!(matches!(full, Err(StoreError::Full { .. })), "{full:?}");
    assert_eq!(std::fs::read_dir(dir.join("store/stage")).unwrap().count(), 0);
    assert_eq!(objects.names().unwrap(), [name_of(&small)]);

    // Records until nothing fits any more.
    let mut kept: Vec<u64> = Vec::new();
    let error = loop {
        let i = u64::try_from(kept.len()).unwrap();
        let mut object = row(&meta, &small).unwrap().record;
        object.digest = sha256(&i.to_le_bytes());
        object.quarantined = Some("x".repeat(20_000));
        match meta.transaction(|tx| tx.of(&tenant()).insert(&object)) {
            Ok(()) => kept.push(i),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(kept.len() > 10);
    drop((objects, meta));
    // Reopening needs a little space for the log's index; the operator frees some.
    let (objects, swept) = ObjectStore::open(&dir.join("store")).unwrap();
    assert_eq!(swept, 0);
    let meta = MetaStore::open(&dir.join("meta.db"), &base::Secret::new([7; 32])).unwrap();
    meta.verify().unwrap();
    assert_eq!(meta.read(|tx| tx.count_all::<Object>()).unwrap(), u64::try_from(kept.len()).unwrap() + 1);
    assert!(plaintext(&objects, &row(&meta, &small).unwrap().record) == b"small");
}
