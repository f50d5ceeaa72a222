//! Shards, and hashes other than SHA-256.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const SIZE: u64 = 10;

fn sharded(hash: HashType) -> Serialization {
    Serialization { hash, method: Method::Shards { size_bytes: SIZE } }
}

/// 25 and 10 bytes in shards of 10, and an empty file.
fn contents() -> BTreeMap<String, Vec<u8>> {
    [("a:b", 25u8), ("empty", 0), ("w", 10)]
        .into_iter()
        .map(|(name, len)| (name.to_owned(), (0..len).collect()))
        .collect()
}

fn measured(
    contents: &BTreeMap<String, Vec<u8>>,
    serialization: Serialization,
) -> BTreeMap<String, Measured> {
    let measure = |bytes: &[u8]| {
        let mut measure = Measure::new(serialization);
        measure.update(bytes);
        measure.finish()
    };
    contents.iter().map(|(name, bytes)| (name.clone(), measure(bytes))).collect()
}

fn signed_as(
    serialization: Serialization,
    contents: &BTreeMap<String, Vec<u8>>,
    ignore: &[String],
) -> Vec<u8> {
    let files = measured(contents, serialization);
    let draft = Draft { model_name: "m", serialization, files: &files, ignore_paths: ignore };
    sign_with_key(&key(), &draft).unwrap()
}

fn read(bundle: &[u8], accept: Accept) -> Result<Signed, VerifyError> {
    let key = crate::PublicKey::from_pem(&public_pem())?;
    open_with(bundle, &Trust::Key(key), accept, base::Timestamp::from_millis(0))
}

fn check(bundle: &[u8], contents: &BTreeMap<String, Vec<u8>>) -> Result<Verified, VerifyError> {
    let signed = read(bundle, Accept::default())?;
    let files = measured(contents, signed.statement().serialization);
    signed.check(&Present { files, empty_directories: BTreeSet::new() }, Unsigned::Refuse)
}

/// The statement over shards of SHA-256, edited and signed again, with the root digest made to fit.
fn resharded(edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let files = measured(&contents(), sharded(HashType::Sha256));
    let serialization = sharded(HashType::Sha256);
    let draft = Draft { model_name: "m", serialization, files: &files, ignore_paths: &[] };
    let mut value: Value = serde_json::from_slice(&draft.statement().unwrap()).unwrap();
    edit(&mut value);
    let resources = value["predicate"]["resources"].as_array_mut().unwrap();
    resources.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    let raw: Vec<u8> =
        resources.iter().flat_map(|r| base::digest::unhex(r["digest"].as_str().unwrap()).unwrap()).collect();
    value["subject"][0]["digest"]["sha256"] = sha256(&raw).hex().into();
    wrap(value.to_string().as_bytes())
}

#[test]
fn every_hash_and_method_verifies_and_no_change_does() {
    for hash in HashType::ALL {
        for method in [Method::Files, Method::Shards { size_bytes: SIZE }, Method::Shards { size_bytes: 1 }] {
            let bundle = signed_as(Serialization { hash, method }, &contents(), &[]);
            let verified = check(&bundle, &contents()).unwrap();
            assert_eq!(verified.root_digest, root_digest(&verified.resources), "{hash} {method:?}");
            type Edit = fn(&mut BTreeMap<String, Vec<u8>>);
            let edits: [Edit; 6] = [
                |f| f.get_mut("a:b").unwrap()[24] ^= 1,
                |f| f.get_mut("w").unwrap().push(0),
                |f| f.get_mut("w").unwrap().truncate(9),
                |f| f.get_mut("w").unwrap().clear(),
                |f| drop(f.remove("w")),
                |f| drop(f.insert("x".into(), vec![1])),
            ];
            for (i, edit) in edits.into_iter().enumerate() {
                let mut files = contents();
                edit(&mut files);
                let refused = check(&bundle, &files);
                assert!(
                    matches!(&refused, Err(VerifyError::Files(all)) if all.len() == 1),
                    "{i}: {refused:?}"
                );
            }
        }
    }
}

#[test]
fn empty_files_stay_outside_the_view_of_shards_and_inside_that_of_files() {
    let verified = check(&signed_as(sharded(HashType::Sha256), &contents(), &[]), &contents()).unwrap();
    assert_eq!(verified.files.iter().map(String::as_str).collect::<Vec<_>>(), ["a:b", "w"]);
    assert_eq!(verified.ignored.iter().map(String::as_str).collect::<Vec<_>>(), ["empty"]);
    let files = Serialization { hash: HashType::Sha256, method: Method::Files };
    let verified = check(&signed_as(files, &contents(), &[]), &contents()).unwrap();
    assert!(verified.files.contains("empty") && verified.ignored.is_empty());
    // A file that grew out of an empty one is no longer harmless.
    let mut grown = contents();
    grown.insert("empty".into(), vec![1]);
    let refused = check(&signed_as(sharded(HashType::Sha256), &contents(), &[]), &grown);
    assert_eq!(refused, Err(VerifyError::Files(vec![Difference::Extra { name: "empty".into() }])));
}

#[test]
fn the_names_of_shards_sort_as_text_and_colons_belong_to_the_path() {
    let long: BTreeMap<_, _> = [("a:1".to_owned(), vec![7u8; 101])].into();
    let serialization = Serialization { hash: HashType::Sha256, method: Method::Shards { size_bytes: 50 } };
    let verified = check(&signed_as(serialization, &long, &[]), &long).unwrap();
    let names: Vec<&str> = verified.resources.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["a:1:0:50", "a:1:100:101", "a:1:50:100"]);
}

#[test]
fn digests_of_whole_files_do_not_check_a_signature_over_anything_else() {
    for serialization in [
        sharded(HashType::Sha256),
        Serialization { hash: HashType::Blake3, method: Method::Files },
        Serialization { hash: HashType::Blake2b, method: Method::Files },
    ] {
        let bundle = signed_as(serialization, &contents(), &[]);
        let whole = verify(&bundle, &public_pem(), &BTreeMap::new());
        assert!(matches!(whole, Err(VerifyError::NotSupported(_))), "{whole:?}");
        // Nor digests of another type: neither as changed nor as missing, but as what they are.
        let files = measured(&contents(), Serialization { hash: HashType::Sha256, method: Method::Files });
        let signed = read(&bundle, Accept::default()).unwrap();
        let refused = signed.check(&Present { files, ..Present::default() }, Unsigned::Refuse);
        let files = serialization.hash == HashType::Sha256;
        assert_eq!(matches!(refused, Err(VerifyError::Unmeasured { .. })), !files, "{refused:?}");
        assert!(refused.is_err());
    }
}

#[test]
fn holes_overlaps_and_odd_names_are_refused() {
    type Edit = fn(&mut Vec<Value>);
    let edits: [Edit; 8] = [
        |l| drop(l.remove(0)),
        |l| drop(l.remove(1)),
        |l| l[0]["name"] = "a:b:0:11".into(),
        |l| l[1]["name"] = "a:b:9:20".into(),
        |l| l[0]["name"] = "a:b:00:10".into(),
        |l| l[3]["name"] = "w:10:0".into(),
        |l| l[3]["name"] = "w:0:18446744073709551616".into(),
        |l| {
            let mut plain = l[0].clone();
            plain["name"] = "plain".into();
            l.push(plain);
        },
    ];
    assert!(check(&resharded(|_| {}), &contents()).is_ok());
    for (i, edit) in edits.into_iter().enumerate() {
        let bundle = resharded(|s| edit(s["predicate"]["resources"].as_array_mut().unwrap()));
        let refused = read(&bundle, Accept::default());
        assert!(matches!(refused, Err(VerifyError::Statement(_))), "{i}: {refused:?}");
    }
}

#[test]
fn the_old_form_of_shards_is_read_only_when_asked_for() {
    let old = |size: Value, algorithm: &'static str, hash_type: &'static str| {
        resharded(|s| {
            s["predicate"]["serialization"]["shard_size"] = size;
            s["predicate"]["serialization"]["hash_type"] = hash_type.into();
            for resource in s["predicate"]["resources"].as_array_mut().unwrap() {
                resource["algorithm"] = algorithm.into();
            }
        })
    };
    let legacy = Accept { legacy_shards: true, ..Accept::default() };
    for (size, algorithm, hash_type) in [
        (json!(10.0), "sha256-sharded-10", "sha256-sharded-10"),
        (json!(10.0), "sha256-sharded-10", "sha256"),
        (json!(10), "sha256-sharded-10", "sha256"),
        (json!(10.0), "sha256", "sha256"),
    ] {
        let bundle = old(size, algorithm, hash_type);
        assert!(matches!(read(&bundle, Accept::default()), Err(VerifyError::Statement(_))), "{algorithm}");
        let signed = read(&bundle, legacy).unwrap();
        assert_eq!(signed.statement().serialization, sharded(HashType::Sha256));
    }
    for (size, algorithm) in [
        (json!(10.5), "sha256-sharded-10"),
        (json!(-10.0), "sha256-sharded-10"),
        (json!(0.0), "sha256-sharded-0"),
        (json!(1e300), "sha256"),
        (json!(10.0), "sha256-sharded-11"),
        (json!(10.0), "sha256-sharded-"),
        (json!(10.0), "blake3-sharded-10"),
        (json!("10"), "sha256"),
    ] {
        assert!(
            matches!(read(&old(size.clone(), algorithm, "sha256"), legacy), Err(VerifyError::Statement(_))),
            "{size} {algorithm}"
        );
    }
}

#[test]
fn links_are_accepted_only_when_asked_for() {
    let bundle = resharded(|s| s["predicate"]["serialization"]["allow_symlinks"] = true.into());
    assert!(matches!(read(&bundle, Accept::default()), Err(VerifyError::NotSupported(_))));
    let signed = read(&bundle, Accept { symlinks: true, ..Accept::default() }).unwrap();
    assert!(signed.statement().allow_symlinks);
}

#[test]
fn an_empty_directory_is_an_extra_and_one_under_an_ignored_path_is_not() {
    let serialization = Serialization::default();
    let signed = read(&signed_as(serialization, &contents(), &["notes".into()]), Accept::default()).unwrap();
    let with = |names: &[&str], unsigned| {
        let empty_directories = names.iter().map(ToString::to_string).collect();
        signed.check(&Present { files: measured(&contents(), serialization), empty_directories }, unsigned)
    };
    assert!(with(&[], Unsigned::Refuse).is_ok());
    assert!(with(&["notes/a", ".git/refs"], Unsigned::Refuse).is_ok());
    assert_eq!(
        with(&["notes2", "x/y"], Unsigned::Refuse),
        Err(VerifyError::Files(vec![
            Difference::EmptyDirectory { name: "notes2".into() },
            Difference::EmptyDirectory { name: "x/y".into() },
        ]))
    );
    assert!(with(&["x/y"], Unsigned::Leave).is_ok());
}

#[test]
fn what_is_left_out_by_the_caller_is_reported_and_stays_outside_the_view() {
    let signed = read(&signed_as(Serialization::default(), &contents(), &[]), Accept::default()).unwrap();
    let mut files = contents();
    files.insert("planted.bin".into(), vec![1]);
    let files = measured(&files, Serialization::default());
    let present = Present { files, ..Present::default() };
    assert!(signed.check(&present, Unsigned::Refuse).is_err());
    let verified = signed.check(&present, Unsigned::Leave).unwrap();
    assert!(!verified.files.contains("planted.bin") && verified.ignored.contains("planted.bin"));
    // It lifts nothing else.
    let mut less = present;
    less.files.remove("w");
    assert!(signed.check(&less, Unsigned::Leave).is_err());
}

#[test]
fn a_measure_of_another_kind_is_not_signed() {
    let files = measured(&contents(), Serialization { hash: HashType::Blake3, method: Method::Files });
    let draft = |serialization| {
        Draft { model_name: "m", serialization, files: &files, ignore_paths: &[] }.statement()
    };
    assert!(draft(Serialization { hash: HashType::Blake3, method: Method::Files }).is_ok());
    for serialization in [Serialization::default(), sharded(HashType::Blake3)] {
        assert!(matches!(draft(serialization), Err(SignError::Conflict { .. })));
    }
    let only_empty: BTreeMap<_, _> = [("e".to_owned(), Vec::new())].into();
    let files = measured(&only_empty, sharded(HashType::Sha256));
    let serialization = sharded(HashType::Sha256);
    let draft = Draft { model_name: "m", serialization, files: &files, ignore_paths: &[] };
    assert_eq!(draft.statement(), Err(SignError::Empty));
}

proptest! {
    /// Any model round-trips under any serialization, and one changed byte anywhere is found.
    #[test]
    fn models_round_trip_and_one_byte_is_found(
        files in proptest::collection::btree_map("[a-z:]{1,4}(/[a-z0-9:]{1,4}){0,2}", proptest::collection::vec(any::<u8>(), 0..40), 1..6),
        size_bytes in 1u64..30,
        shards in any::<bool>(),
        hash in prop_oneof![Just(HashType::Sha256), Just(HashType::Blake2b), Just(HashType::Blake3)],
        at in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        prop_assume!(files.values().any(|bytes| !bytes.is_empty()));
        let method = if shards { Method::Shards { size_bytes } } else { Method::Files };
        let bundle = signed_as(Serialization { hash, method }, &files, &[]);
        let verified = check(&bundle, &files).unwrap();
        let full = files.iter().filter(|(_, bytes)| !shards || !bytes.is_empty()).count();
        prop_assert_eq!(verified.files.len(), full);
        let mut changed = files;
        let mut candidates: Vec<_> = changed.values_mut().filter(|bytes| !bytes.is_empty()).collect();
        let bytes = at.0.get_mut(&mut candidates);
        let i = at.1.index(bytes.len());
        bytes[i] ^= 0x20;
        let refused = check(&bundle, &changed);
        prop_assert!(matches!(&refused, Err(VerifyError::Files(all)) if all.len() == 1));
    }
}
