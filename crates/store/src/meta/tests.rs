use base::id::{EndpointId, JobId, KeyId};
use base::sha256;
use proptest::prelude::*;
use vault::{KeyScope, ObjectName, WrappedKey};

use super::*;
use crate::records::File;
use crate::records::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn open(dir: &Path) -> MetaStore {
    MetaStore::open(&dir.join("meta.db"), &Secret::new([7; 32])).unwrap()
}

fn dataset(tenant: &str, called: &str, version: u64) -> Dataset {
    Dataset {
        tenant: name(tenant),
        name: name(called),
        version,
        manifest_digest: sha256(b"m"),
        files: vec![File {
            path: "a/b.bin".to_owned(),
            size: 3,
            digest: sha256(b"abc"),
            media: Some("application/octet-stream".to_owned()),
        }],
        bytes: 3,
        created_ms: 1,
        contents: None,
    }
}

fn endpoint(tenant: &str, id: u128) -> Endpoint {
    Endpoint {
        tenant: name(tenant),
        id: EndpointId::from_bits(id),
        name: name("digits"),
        model: name("m"),
        model_version: 1,
        model_digest: sha256(b"m"),
        bom_digest: sha256(b"b"),
        state: EndpointState::Serving,
        reason: None,
        isolation: vec![("seccomp".to_owned(), "enforced".to_owned(), "mode 2".to_owned())],
        created_ms: 1,
    }
}

fn api_key(scope: KeyUse, id: u128) -> ApiKey {
    ApiKey {
        id: KeyId::from_bits(id),
        scope,
        name: None,
        mac: sha256(b"k"),
        created_ms: 1,
        expires_ms: 2,
        revoked: false,
        service: None,
    }
}

fn all(limit: usize) -> PageRequest {
    PageRequest { after: None, limit }
}

fn versions(page: &Page<Dataset>) -> Vec<(String, u64)> {
    page.items.iter().map(|d| (d.record.name.to_string(), d.record.version)).collect()
}

#[test]
fn records_survive_closing_and_come_back_equal() {
    let dir = tempfile::tempdir().unwrap();
    let object = Object {
        scope: KeyScope::Job(name("acme"), JobId::from_bits(1)),
        digest: sha256(b"x"),
        name: ObjectName::from_bytes([4; 32]),
        kek_version: 2,
        wrapped: WrappedKey::from_slice(&[9; 60]).unwrap(),
        len: u64::from(u32::MAX) + 1,
        created_ms: 5,
        quarantined: None,
        group: None,
    };
    open(dir.path())
        .transaction(|tx| {
            tx.platform().insert(&Tenant { name: name("acme"), created_ms: 1, kek_version: Some(1) })?;
            tx.of(&name("acme")).insert(&object)?;
            tx.of(&name("acme")).insert(&dataset("acme", "d", 1))
        })
        .unwrap();
    let store = open(dir.path());
    store
        .read(|tx| {
            let back = tx.of(&name("acme")).get::<Object>(&(object.scope.clone(), object.digest))?;
            assert_eq!(back, Some(Stored { rev: 1, record: object }));
            let back = tx.of(&name("acme")).get::<Dataset>(&(name("d"), 1))?;
            assert_eq!(back.unwrap().record, dataset("acme", "d", 1));
            assert_eq!(tx.count_all::<Tenant>()?, 1);
            Ok::<_, StoreError>(())
        })
        .unwrap();
    store.verify().unwrap();
}

#[test]
fn a_tenant_reaches_no_row_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (acme, globex) = (name("acme"), name("globex"));
    store
        .transaction(|tx| {
            for tenant in ["acme", "globex"] {
                for version in 1..=3 {
                    tx.of(&name(tenant)).insert(&dataset(tenant, "d", version))?;
                }
            }
            tx.of(&globex).insert(&dataset("globex", "secret", 9))?;
            tx.of(&globex).insert(&endpoint("globex", 5))
        })
        .unwrap();
    store
        .read(|tx| {
            let rows = tx.of(&acme);
            assert!(rows.list::<Dataset>(&all(0))?.items.iter().all(|d| d.record.tenant == acme));
            assert_eq!(rows.count::<Dataset>()?, 3);
            assert!(rows.get::<Dataset>(&(name("secret"), 9))?.is_none());
            assert!(rows.get::<Endpoint>(&EndpointId::from_bits(5))?.is_none());
            assert!(rows.last_under::<Dataset, _, _>(&name("secret"))?.is_none());
            assert!(rows.list_under::<Dataset, _, _>(&name("secret"), &all(0))?.items.is_empty());
            // A cursor taken from another tenant's list moves inside one's own rows only.
            let theirs = tx.of(&globex).list::<Dataset>(&all(1))?.next;
            let page = rows.list::<Dataset>(&PageRequest { after: theirs, limit: 0 })?;
            assert!(page.items.iter().all(|d| d.record.tenant == acme));
            Ok::<_, StoreError>(())
        })
        .unwrap();
    let theirs =
        |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::OtherTenant { .. })));
    theirs(store.transaction(|tx| tx.of(&acme).insert(&dataset("globex", "d", 7))));
    theirs(
        store.transaction(|tx| tx.of(&acme).update(&Stored { rev: 1, record: dataset("globex", "d", 1) })),
    );
    theirs(store.transaction(|tx| tx.platform().insert(&dataset("globex", "d", 7))));
    let changed = store.transaction(|tx| tx.of(&acme).delete::<Dataset>(&(name("secret"), 9), 1));
    assert!(matches!(changed, Err(StoreError::Changed { .. })));
}

#[test]
fn lists_are_ordered_and_paged_without_loss() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let acme = name("acme");
    store
        .transaction(|tx| {
            for (called, version) in [("b", 10), ("a", 2), ("b", 9), ("a", 10), ("c", 1)] {
                tx.of(&acme).insert(&dataset("acme", called, version))?;
            }
            tx.of(&name("globex")).insert(&dataset("globex", "a", 3))
        })
        .unwrap();
    let expected: Vec<(String, u64)> =
        [("a", 2), ("a", 10), ("b", 9), ("b", 10), ("c", 1)].map(|(n, v)| (n.to_owned(), v)).into();
    for limit in 1..=6 {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = store.read(|tx| tx.of(&acme).list(&PageRequest { after, limit })).unwrap();
            assert!(page.items.len() <= limit);
            seen.extend(versions(&page));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, expected, "limit {limit}");
    }
    store
        .read(|tx| {
            let rows = tx.of(&acme);
            assert_eq!(rows.last_under::<Dataset, _, _>(&name("b"))?.unwrap().record.version, 10);
            let page = rows.list_under::<Dataset, _, _>(&name("a"), &all(1))?;
            let page =
                rows.list_under::<Dataset, _, _>(&name("a"), &PageRequest { after: page.next, limit: 5 })?;
            assert_eq!(versions(&page), [("a".to_owned(), 10)]);
            assert_eq!(tx.list_all::<Dataset>(&all(0))?.items.len(), 6);
            Ok::<_, StoreError>(())
        })
        .unwrap();
    for bad in ["", "zz", "5b5d", "5b312c322c335d", &"5b".repeat(2000), "5b226122 "] {
        let page = PageRequest { after: Some(bad.to_owned()), limit: 1 };
        let refused = store.read(|tx| tx.of(&acme).list::<Dataset>(&page));
        assert!(matches!(refused, Err(StoreError::Cursor)), "{bad}");
    }
}

#[test]
fn an_update_of_a_stale_revision_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let acme = name("acme");
    let key = (name("d"), 1);
    store.transaction(|tx| tx.of(&acme).insert(&dataset("acme", "d", 1))).unwrap();
    let exists = store.transaction(|tx| tx.of(&acme).insert(&dataset("acme", "d", 1)));
    assert!(matches!(exists, Err(StoreError::Exists { kind: "dataset", key }) if key == "d/1"));
    let mut seen = store.read(|tx| tx.of(&acme).get::<Dataset>(&key)).unwrap().unwrap();
    seen.record.bytes = 4;
    store.transaction(|tx| tx.of(&acme).update(&seen)).unwrap();
    let stale = store.transaction(|tx| tx.of(&acme).update(&seen));
    assert!(matches!(stale, Err(StoreError::Changed { .. })));
    let stale = store.transaction(|tx| tx.of(&acme).delete::<Dataset>(&key, 1));
    assert!(matches!(stale, Err(StoreError::Changed { .. })));
    store.transaction(|tx| tx.of(&acme).delete::<Dataset>(&key, 2)).unwrap();
    assert!(store.read(|tx| tx.of(&acme).get::<Dataset>(&key)).unwrap().is_none());
}

#[test]
fn a_failed_transaction_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let acme = name("acme");
    let failed: Result<(), StoreError> = store.transaction(|tx| {
        tx.of(&acme).insert(&dataset("acme", "d", 1))?;
        Err(StoreError::Cursor)
    });
    assert!(failed.is_err());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.transaction(|tx| -> Result<(), StoreError> {
            tx.of(&acme).insert(&dataset("acme", "d", 1))?;
            panic!("in the middle");
        })
    }));
    assert!(panicked.is_err());
    store.read(|tx| tx.of(&acme).insert(&dataset("acme", "d", 1))).unwrap();
    assert_eq!(store.read(|tx| tx.of(&acme).count::<Dataset>()).unwrap(), 0);
}

#[test]
fn ids_are_found_before_their_tenant_is_known_and_are_unique() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let acme = name("acme");
    let of_acme = api_key(KeyUse::Tenant { tenant: acme.clone(), role: KeyRole::Auditor }, 1);
    store
        .transaction(|tx| {
            tx.of(&acme).insert(&of_acme)?;
            tx.platform().insert(&api_key(KeyUse::Operator, 2))
        })
        .unwrap();
    store
        .read(|tx| {
            assert_eq!(tx.find::<ApiKey>(&KeyId::from_bits(1))?.unwrap().record, of_acme);
            assert_eq!(tx.find::<ApiKey>(&KeyId::from_bits(2))?.unwrap().record.scope, KeyUse::Operator);
            assert!(tx.find::<ApiKey>(&KeyId::from_bits(3))?.is_none());
            assert_eq!(tx.of(&acme).list::<ApiKey>(&all(0))?.items.len(), 1);
            Ok::<_, StoreError>(())
        })
        .unwrap();
    let globex = name("globex");
    let taken = store.transaction(|tx| {
        tx.of(&globex)
            .insert(&api_key(KeyUse::Tenant { tenant: globex.clone(), role: KeyRole::TenantAdmin }, 1))
    });
    assert!(matches!(taken, Err(StoreError::Exists { .. })));
}

#[test]
fn each_change_is_a_generation_and_an_older_copy_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let acme = name("acme");
    let current = || open(dir.path()).generation().get();
    let start = current();
    assert_eq!((start.g, start.hash), (0, base::Digest::from_bytes([0; 32])));
    let insert =
        |version| open(dir.path()).transaction(|tx| tx.of(&acme).insert(&dataset("acme", "d", version)));
    insert(1).unwrap();
    let first = current();
    assert_eq!(first.g, 1);
    // What failed is no generation, what was only read is none.
    assert!(insert(1).is_err());
    open(dir.path()).read(|tx| tx.of(&acme).count::<Dataset>()).unwrap();
    assert_eq!(current(), first);

    // An older copy, and another history from there on.
    let copy = std::fs::read(dir.path().join("meta.db")).unwrap();
    insert(2).unwrap();
    let second = current();
    assert_eq!(second.compare(&second), Agreement::Same);
    assert_eq!(second.compare(&first), Agreement::Ahead { by: 1 });
    std::fs::write(dir.path().join("meta.db"), &copy).unwrap();
    assert_eq!(current().compare(&second), Agreement::SetBack { by: 1 });
    insert(2).unwrap();
    assert_eq!(current().compare(&second), Agreement::Forked);

    // Taken as the newest there is: beyond everything that the log has.
    let store = open(dir.path());
    let gone_on = store.go_on_from(57).unwrap();
    assert_eq!((gone_on.g, store.generation().get(), current()), (58, gone_on, gone_on));
}

#[test]
fn another_key_a_newer_schema_and_damage_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meta.db");
    open(dir.path()).transaction(|tx| tx.of(&name("acme")).insert(&dataset("acme", "d", 1))).unwrap();
    let other = MetaStore::open(&path, &Secret::new([8; 32]));
    assert!(matches!(other, Err(StoreError::DatabaseKey)), "{other:?}");

    let good = std::fs::read(&path).unwrap();
    let pages = good.len() / 4096;
    assert!(pages > 10);
    for page in 0..pages {
        let mut bad = good.clone();
        bad[page * 4096 + 1234] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let seen = MetaStore::open(&path, &Secret::new([7; 32])).and_then(|store| store.verify());
        let refused = matches!(seen, Err(StoreError::DatabaseDamaged | StoreError::DatabaseKey));
        assert!(refused, "page {page}: {seen:?}");
    }
    std::fs::write(&path, &good).unwrap();
    open(dir.path()).verify().unwrap();

    open(dir.path()).conn().pragma_update(None, "user_version", 99).unwrap();
    let newer = MetaStore::open(&path, &Secret::new([7; 32]));
    assert!(matches!(newer, Err(StoreError::SchemaNewer { found: 99, .. })));
}

#[test]
fn a_record_of_another_version_or_shape_is_refused_not_guessed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let acme = name("acme");
    store.transaction(|tx| tx.of(&acme).insert(&dataset("acme", "d", 1))).unwrap();
    let get = |doc: &str| {
        store.conn().execute("UPDATE dataset SET doc = ?1", [doc]).unwrap();
        store.read(|tx| tx.of(&acme).get::<Dataset>(&(name("d"), 1)))
    };
    assert!(matches!(get(r#"{"v":2,"r":{}}"#), Err(StoreError::RecordVersion { found: 2, known: 1, .. })));
    assert!(matches!(get(r#"{"v":1,"r":{}}"#), Err(StoreError::Record { .. })));
    assert!(matches!(get("nonsense"), Err(StoreError::Record { .. })));
}

#[test]
fn no_plaintext_of_a_record_is_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let marker = "zanzibar-marker-5f3a";
    store.transaction(|tx| tx.of(&name("acme")).insert(&dataset("acme", marker, 1))).unwrap();
    let mut files = 0;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        files += 1;
        assert!(!bytes.windows(8).any(|w| w == &marker.as_bytes()[..8]));
        assert!(!bytes.starts_with(b"SQLite format 3"));
    }
    assert!(files >= 2, "database and write-ahead log");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_cursor_reads_back(text in "[ -~]{0,100}", n in 0u64..=u64::try_from(i64::MAX).unwrap()) {
        let parts = vec![Part::Text(text), Part::Number(n)];
        prop_assert_eq!(read_cursor(&cursor(&parts), 2).unwrap(), parts);
    }

    #[test]
    fn arbitrary_cursors_never_panic(text in "\\PC{0,80}", hexed in prop::collection::vec(any::<u8>(), 0..60)) {
        prop_assert!(read_cursor(&text, 2).is_err());
        read_cursor(&base::digest::hex(&hexed), 2).ok();
    }
}

#[test]
fn a_key_from_before_there_were_roles_has_the_whole_tenant() {
    let before: KeyUse = serde_json::from_str(r#"{"tenant":{"tenant":"acme"}}"#).unwrap();
    assert_eq!(before, KeyUse::Tenant { tenant: name("acme"), role: KeyRole::TenantAdmin });
    assert!(serde_json::from_str::<KeyUse>(r#"{"tenant":{"tenant":"acme","role":"root"}}"#).is_err());
}

#[test]
fn every_kind_of_record_has_its_table() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let conn = store.conn.lock().unwrap();
    for kind in crate::records::KINDS {
        let columns: Vec<String> = conn
            .prepare(&format!("SELECT name FROM pragma_table_info('{}')", kind.table))
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let mut wanted = vec!["owner"];
        wanted.extend(kind.columns);
        wanted.extend(["rev", "doc"]);
        assert_eq!(columns, wanted, "{}", kind.table);
    }
}
