//! Reuse of digests: what comes out is what reading everything gives, and nothing is reused that could have changed.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::oms::reuse::{Baseline, KeyScope, Plan, ReuseError, StoredObject};

type Content = BTreeMap<String, Vec<u8>>;

/// A store that names objects by their content under the key of a scope.
fn object(scope: &str, bytes: &[u8]) -> StoredObject {
    let key = *sha256(scope.as_bytes()).as_bytes();
    let name = base::digest::hmac_sha256(&key, &[sha256(bytes).as_bytes()]).hex();
    StoredObject { name, len: u64::try_from(bytes.len()).unwrap() }
}

fn measured(contents: &Content, serialization: Serialization) -> BTreeMap<String, Measured> {
    let measure = |bytes: &[u8]| {
        let mut measure = Measure::new(serialization);
        measure.update(bytes);
        measure.finish()
    };
    contents.iter().map(|(name, bytes)| (name.clone(), measure(bytes))).collect()
}

/// A model that was signed and verified, with its objects in a scope.
fn baseline(scope: &str, contents: &Content, serialization: Serialization) -> Result<Baseline, ReuseError> {
    let objects = contents.iter().map(|(name, bytes)| (name.clone(), object(scope, bytes))).collect();
    baseline_of(scope, contents, serialization, &objects)
}

fn baseline_of(
    scope: &str,
    contents: &Content,
    serialization: Serialization,
    objects: &BTreeMap<String, StoredObject>,
) -> Result<Baseline, ReuseError> {
    let files = measured(contents, serialization);
    let draft = Draft { model_name: "m", serialization, files: &files, ignore_paths: &[] };
    let key = crate::PublicKey::from_pem(&public_pem()).unwrap();
    let bundle = sign_with_key(&super::key(), &draft).unwrap();
    let signed =
        open_with(&bundle, &Trust::Key(key), Accept::default(), base::Timestamp::from_millis(0)).unwrap();
    let present = Present { files, empty_directories: BTreeSet::new() };
    let verified = signed.check(&present, Unsigned::Refuse).unwrap();
    Baseline::new(KeyScope::new(scope), &signed, &verified, objects)
}

fn plan(base: &Baseline, scope: &str, contents: &Content, serialization: Serialization) -> Plan {
    let files = contents.iter().map(|(name, bytes)| (name.clone(), Some(object(scope, bytes)))).collect();
    base.plan(&KeyScope::new(scope), serialization, &files)
}

fn contents() -> Content {
    [("a", 25u8), ("b", 10), ("c/d", 3)].map(|(name, len)| (name.to_owned(), (0..len).collect())).into()
}

fn forms() -> [Serialization; 3] {
    let shards = Method::Shards { size_bytes: 10 };
    [
        Serialization::default(),
        Serialization { hash: HashType::Blake3, method: Method::Files },
        Serialization { hash: HashType::Sha256, method: shards },
    ]
}

#[test]
fn only_what_changed_is_read_and_the_whole_is_as_if_all_were() {
    for serialization in forms() {
        let base = baseline("acme", &contents(), serialization).unwrap();
        let mut now = contents();
        now.get_mut("b").unwrap()[0] ^= 1;
        let moved = now.remove("c/d").unwrap();
        now.insert("e".into(), moved);
        now.insert("new".into(), vec![7; 12]);
        let plan = plan(&base, "acme", &now, serialization);
        // Same length, other content: another object. Another name, same content: the same object.
        assert_eq!(plan.to_read().iter().map(String::as_str).collect::<Vec<_>>(), ["b", "new"]);
        assert_eq!(plan.reused().collect::<Vec<_>>(), ["a", "e"]);
        let read: Content = now
            .iter()
            .filter(|(n, _)| plan.to_read().contains(*n))
            .map(|(n, b)| (n.clone(), b.clone()))
            .collect();
        assert_eq!(plan.complete(measured(&read, serialization)).unwrap(), measured(&now, serialization));
    }
}

#[test]
fn nothing_is_reused_across_scopes_or_ways_of_measuring_or_without_an_object() {
    let all = |plan: &Plan| plan.reused().count() == 0 && plan.to_read().len() == 3;
    for serialization in forms() {
        let base = baseline("acme", &contents(), serialization).unwrap();
        assert!(all(&plan(&base, "globex", &contents(), serialization)));
        for other in forms().into_iter().filter(|other| *other != serialization) {
            assert!(all(&plan(&base, "acme", &contents(), other)));
        }
        // The objects of the one scope under the name of the other.
        let files: BTreeMap<_, _> =
            contents().iter().map(|(n, b)| (n.clone(), Some(object("acme", b)))).collect();
        assert!(all(&base.plan(&KeyScope::new("globex"), serialization, &files)));
        // Files that are in no store.
        let files = files.into_keys().map(|name| (name, None)).collect();
        assert!(all(&base.plan(&KeyScope::new("acme"), serialization, &files)));
    }
}

#[test]
fn objects_that_cannot_be_of_the_files_are_refused() {
    let serialization = forms()[2];
    let good: BTreeMap<String, StoredObject> =
        contents().iter().map(|(name, bytes)| (name.clone(), object("acme", bytes))).collect();
    assert!(baseline_of("acme", &contents(), serialization, &good).is_ok());
    let mut missing = good.clone();
    missing.remove("b");
    let refused = baseline_of("acme", &contents(), serialization, &missing);
    assert_eq!(refused, Err(ReuseError::NoObject { name: "b".into() }));
    let mut longer = good.clone();
    longer.get_mut("b").unwrap().len += 1;
    let refused = baseline_of("acme", &contents(), serialization, &longer);
    assert_eq!(refused, Err(ReuseError::Disagree { name: "b".into() }));
    // Two files of different content in one object.
    for serialization in forms() {
        let mut one = good.clone();
        let mut same = contents();
        same.get_mut("b").unwrap()[0] ^= 1;
        same.insert("a".into(), contents()["b"].clone());
        one.insert("a".into(), good["b"].clone());
        let refused = baseline_of("acme", &same, serialization, &one);
        assert_eq!(refused, Err(ReuseError::Disagree { name: "b".into() }));
    }
}

#[test]
fn a_plan_is_completed_by_exactly_what_it_asks_for() {
    let serialization = Serialization::default();
    let base = baseline("acme", &contents(), serialization).unwrap();
    let mut now = contents();
    now.insert("b".into(), vec![9]);
    let plan = plan(&base, "acme", &now, serialization);
    let of = |names: &[&str]| {
        measured(
            &now.clone().into_iter().filter(|(n, _)| names.contains(&n.as_str())).collect(),
            serialization,
        )
    };
    assert!(plan.clone().complete(of(&["b"])).is_ok());
    assert_eq!(plan.clone().complete(of(&[])), Err(ReuseError::Incomplete { name: "b".into() }));
    // What is known is not read beside: the two could say different things.
    assert_eq!(plan.complete(of(&["a", "b"])), Err(ReuseError::Incomplete { name: "a".into() }));
}

proptest! {
    /// Whatever changed between two versions, reusing digests gives exactly what reading everything gives, and
    /// reads no file whose content was there before.
    #[test]
    fn reuse_gives_what_reading_everything_gives(
        before in proptest::collection::btree_map("[a-d]", proptest::collection::vec(0u8..3, 1..25), 1..4),
        after in proptest::collection::btree_map("[a-e]", proptest::collection::vec(0u8..3, 1..25), 1..5),
        keep in proptest::collection::vec(any::<bool>(), 4),
        form in 0usize..3,
    ) {
        let serialization = forms()[form];
        let mut now = after;
        for ((name, bytes), keep) in before.iter().zip(keep) {
            if keep {
                now.insert(name.clone(), bytes.clone());
            }
        }
        let base = baseline("acme", &before, serialization).unwrap();
        let plan = plan(&base, "acme", &now, serialization);
        for (name, bytes) in &now {
            let there = before.values().any(|b| b == bytes);
            prop_assert_eq!(plan.to_read().contains(name), !there);
        }
        let read = now.iter().filter(|(n, _)| plan.to_read().contains(*n)).map(|(n, b)| (n.clone(), b.clone())).collect();
        prop_assert_eq!(plan.complete(measured(&read, serialization)).unwrap(), measured(&now, serialization));
    }
}
