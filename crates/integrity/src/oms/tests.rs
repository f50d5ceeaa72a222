//! Every rule of the format, broken once each by a signer who holds the right key, and every bit of a bundle.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use base::{Digest, sha256};

use super::*;
use crate::dsse::{Envelope, IN_TOTO, to_sign};
use crate::{Difference, PrivateKey, SignError, VerifyError};

fn key() -> PrivateKey {
    PrivateKey::from_p256_scalar(&[7; 32]).unwrap()
}

fn public_pem() -> Vec<u8> {
    key().public_key().to_pem().unwrap().into_bytes()
}

fn files() -> BTreeMap<String, Digest> {
    ["config.json", "weights/a:1.bin", "weights/b.bin", "é.txt"]
        .into_iter()
        .map(|name| (name.to_owned(), sha256(name.as_bytes())))
        .collect()
}

fn listed(files: &BTreeMap<String, Digest>) -> Vec<Resource> {
    files
        .iter()
        .rev()
        .map(|(name, digest)| Resource { name: name.clone(), digest: (*digest).into() })
        .collect()
}

fn signed(files: &BTreeMap<String, Digest>, ignore: &[&str]) -> Vec<u8> {
    let ignore: Vec<String> = ignore.iter().map(ToString::to_string).collect();
    wrap(&statement("m", &listed(files), &ignore).unwrap())
}

/// A bundle whose signature over this payload is valid, whatever the payload says.
fn wrap(payload: &[u8]) -> Vec<u8> {
    let der = key().sign_digest(&to_sign(IN_TOTO, payload)).unwrap();
    bundle(payload.to_vec(), der, &public_pem()).unwrap()
}

/// The statement over [`files`], edited and signed again.
fn edited(edit: impl FnOnce(&mut Value)) -> Result<Verified, VerifyError> {
    let mut value = serde_json::from_slice(&statement("m", &listed(&files()), &[]).unwrap()).unwrap();
    edit(&mut value);
    verify(&wrap(value.to_string().as_bytes()), &public_pem(), &files())
}

/// The bundle over [`files`], edited after signing.
fn forged(edit: impl FnOnce(&mut Value)) -> Result<Verified, VerifyError> {
    let mut value: Value = serde_json::from_slice(&signed(&files(), &[])).unwrap();
    edit(&mut value);
    verify(value.to_string().as_bytes(), &public_pem(), &files())
}

/// Resources edited, with the root digest made to fit, so that only the rule under test can refuse.
fn relisted(edit: impl FnOnce(&mut Vec<Value>)) -> Result<Verified, VerifyError> {
    edited(|s| {
        let resources = s["predicate"]["resources"].as_array_mut().unwrap();
        edit(resources);
        let raw: Vec<u8> = resources
            .iter()
            .flat_map(|r| base::digest::unhex(r["digest"].as_str().unwrap_or("")).unwrap_or_default())
            .collect();
        s["subject"][0]["digest"]["sha256"] = sha256(&raw).hex().into();
    })
}

#[test]
fn what_we_sign_verifies_and_names_the_model_by_its_root_digest() {
    let verified = verify(&signed(&files(), &[]), &public_pem(), &files()).unwrap();
    let raw: Vec<u8> = files().values().flat_map(|d| *d.as_bytes()).collect();
    assert_eq!(verified.root_digest, sha256(&raw));
    assert_eq!(verified.files.iter().collect::<Vec<_>>(), files().keys().collect::<Vec<_>>());
    assert!(verified.ignored.is_empty());
    // The harness itself is sound: an edit that changes nothing verifies.
    assert!(edited(|_| {}).is_ok() && forged(|_| {}).is_ok() && relisted(|_| {}).is_ok());
}

#[test]
fn changed_missing_extra_and_renamed_files_are_all_named() {
    let bundle = signed(&files(), &[]);
    let check = |edit: &dyn Fn(&mut BTreeMap<String, Digest>)| {
        let mut now = files();
        edit(&mut now);
        match verify(&bundle, &public_pem(), &now) {
            Err(VerifyError::Files(all)) => all,
            other => panic!("{other:?}"),
        }
    };
    let name = |s: &str| s.to_owned();
    assert_eq!(
        check(&|f| *f.get_mut("config.json").unwrap() = sha256(b"x")),
        [Difference::Changed { name: name("config.json") }]
    );
    assert_eq!(
        check(&|f| assert!(f.remove("é.txt").is_some())),
        [Difference::Missing { name: name("é.txt") }]
    );
    assert_eq!(
        check(&|f| assert!(f.insert(name("weights"), sha256(b"")).is_none())),
        [Difference::Extra { name: name("weights") }]
    );
    let renamed = check(&|f| {
        let digest = f.remove("weights/b.bin").unwrap();
        f.insert(name("weights/B.bin"), digest);
    });
    assert_eq!(
        renamed,
        [
            Difference::Extra { name: name("weights/B.bin") },
            Difference::Missing { name: name("weights/b.bin") }
        ]
    );
    // Contents exchanged between two names: same set of digests, other model.
    let swapped = check(&|f| {
        let (a, b) = (f["config.json"], f["é.txt"]);
        f.extend([(name("config.json"), b), (name("é.txt"), a)]);
    });
    assert_eq!(swapped.len(), 2);
}

#[test]
fn ignored_files_are_reported_and_never_in_the_view() {
    let mut now = files();
    for planted in [".git/hooks/x.bin", "notes/a", ".gitattributes"] {
        now.insert(planted.to_owned(), sha256(b"planted"));
    }
    let verified = verify(&signed(&files(), &["notes"]), &public_pem(), &now).unwrap();
    assert_eq!(verified.files.len(), files().len());
    assert_eq!(verified.ignored.len(), 3);
    // Only at the top level, and only whole components.
    for planted in ["weights/.git/x", ".gitx", "notes2", "sub/notes/a"] {
        let mut now = files();
        now.insert(planted.to_owned(), sha256(b"planted"));
        let refused = verify(&signed(&files(), &["notes"]), &public_pem(), &now);
        assert_eq!(
            refused,
            Err(VerifyError::Files(vec![Difference::Extra { name: planted.to_owned() }])),
            "{planted}"
        );
    }
}

#[test]
fn a_statement_that_breaks_a_rule_is_refused_although_its_signature_is_valid() {
    let bad_names = ["a/../b", "../b", "/b", "b/", "a//b", "./b", ".", "..", "", "a\u{0}b", &"d/".repeat(40)];
    for name in bad_names {
        let refused = relisted(|r| r[0]["name"] = name.into());
        assert!(matches!(refused, Err(VerifyError::Statement(_))), "{name}: {refused:?}");
    }
    type Edit = fn(&mut Vec<Value>);
    let edits: [(&str, Edit); 9] = [
        ("unsorted", |r| r.swap(0, 1)),
        ("twice", |r| {
            let first = r[0].clone();
            r.insert(0, first);
        }),
        ("empty", Vec::clear),
        ("short digest", |r| r[0]["digest"] = "00".into()),
        ("long digest", |r| r[0]["digest"] = "00".repeat(33).into()),
        ("upper-case digest", |r| r[0]["digest"] = "AB".repeat(32).into()),
        ("prefixed digest", |r| r[0]["digest"] = format!("sha256:{}", "ab".repeat(32)).into()),
        ("algorithm", |r| r[0]["algorithm"] = "sha512".into()),
        ("not an object", |r| r[0] = json!("a")),
    ];
    for (what, edit) in edits {
        let refused = relisted(edit);
        assert!(matches!(refused, Err(VerifyError::Statement(_))), "{what}: {refused:?}");
    }
    // Unknown members of a resource are the one thing the format says to ignore.
    assert!(relisted(|r| r[0]["note"] = "x".into()).is_ok());
}

#[test]
fn a_model_of_one_file_may_be_called_a_dot_and_nothing_else_may() {
    let alone = |r: &mut Vec<Value>| {
        r.truncate(1);
        r[0]["name"] = ".".into();
    };
    let one: BTreeMap<_, _> = [(SINGLE.to_owned(), files()["config.json"])].into();
    let mut value: Value = serde_json::from_slice(&statement("m", &listed(&files()), &[]).unwrap()).unwrap();
    alone(value["predicate"]["resources"].as_array_mut().unwrap());
    value["subject"][0]["digest"]["sha256"] = sha256(files()["config.json"].as_bytes()).hex().into();
    let bundle = wrap(value.to_string().as_bytes());
    assert!(verify(&bundle, &public_pem(), &one).is_ok());
    // In a directory it is no file that is there.
    let named: BTreeMap<_, _> = [("config.json".to_owned(), files()["config.json"])].into();
    assert!(matches!(verify(&bundle, &public_pem(), &named), Err(VerifyError::Files(all)) if all.len() == 2));
    // Beside others it names nothing.
    let refused = relisted(|r| r[0]["name"] = ".".into());
    assert!(matches!(refused, Err(VerifyError::Statement(_))));
}

#[test]
fn the_tree_order_of_the_reference_is_read_and_no_mixture_of_orders() {
    // By code points `w.bin` < `w/x`, by tree `w/x` < `w.bin`; `é` last in both.
    let of = |names: &[&str]| {
        relisted(|r| {
            let one = r[0].clone();
            *r = names
                .iter()
                .map(|n| json!({"name": n, "digest": one["digest"], "algorithm": "sha256"}))
                .collect();
        })
    };
    for good in [["w.bin", "w/x", "x.bin", "x/x"], ["w/x", "w.bin", "x/x", "x.bin"]] {
        assert!(matches!(of(&good), Err(VerifyError::Files(_))), "{good:?}");
    }
    for bad in [["w.bin", "w/x", "x/x", "x.bin"], ["w/x", "w/x", "w.bin", "x"], ["x", "w", "y", "z"]] {
        assert!(matches!(of(&bad), Err(VerifyError::Statement(_))), "{bad:?}");
    }
}

#[test]
fn a_wrong_root_digest_is_refused() {
    let refused = edited(|s| s["subject"][0]["digest"]["sha256"] = sha256(b"x").hex().into());
    assert!(matches!(refused, Err(VerifyError::RootDigest { .. })), "{refused:?}");
    let refused = edited(|s| s["predicate"]["resources"][1]["digest"] = sha256(b"x").hex().into());
    assert!(matches!(refused, Err(VerifyError::RootDigest { .. })), "{refused:?}");
}

#[test]
fn the_envelope_of_the_statement_is_strict() {
    type Edit = fn(&mut Value);
    let edits: [(&str, Edit); 16] = [
        ("statement type", |s| s["_type"] = "https://in-toto.io/Statement/v0.1".into()),
        ("predicate type", |s| s["predicateType"] = "https://model_signing/Digests/v0.1".into()),
        ("two subjects", |s| {
            let one = s["subject"][0].clone();
            s["subject"].as_array_mut().unwrap().push(one);
        }),
        ("no subject", |s| s["subject"] = json!([])),
        ("nameless subject", |s| s["subject"][0]["name"] = "".into()),
        ("second digest", |s| s["subject"][0]["digest"]["sha512"] = "00".into()),
        ("unknown member", |s| s["extra"] = 1.into()),
        ("unknown in predicate", |s| s["predicate"]["extra"] = 1.into()),
        ("unknown in serialization", |s| s["predicate"]["serialization"]["extra"] = 1.into()),
        ("no serialization", |s| s["predicate"]["serialization"] = Value::Null),
        ("method", |s| s["predicate"]["serialization"]["method"] = "tree".into()),
        ("size beside files", |s| s["predicate"]["serialization"]["shard_size"] = 10.into()),
        ("links as text", |s| s["predicate"]["serialization"]["allow_symlinks"] = "false".into()),
        ("links missing", |s| {
            s["predicate"]["serialization"].as_object_mut().unwrap().remove("allow_symlinks");
        }),
        ("ignoring a listed file", |s| s["predicate"]["serialization"]["ignore_paths"] = json!(["weights"])),
        ("ignoring the parent", |s| s["predicate"]["serialization"]["ignore_paths"] = json!(["../m"])),
    ];
    for (what, edit) in edits {
        let refused = edited(edit);
        let expected = matches!(refused, Err(VerifyError::Statement(_) | VerifyError::WrongType { .. }));
        assert!(expected, "{what}: {refused:?}");
    }
}

#[test]
fn what_no_policy_accepts_is_refused_by_name() {
    // A digest of another type than the statement says.
    for hash in ["blake2b", "blake3", "md5", "sha256-sharded-10"] {
        let refused = edited(|s| s["predicate"]["serialization"]["hash_type"] = hash.into());
        assert!(matches!(&refused, Err(VerifyError::Statement(_))), "{refused:?}");
    }
    let refused = edited(|s| s["predicate"]["serialization"]["allow_symlinks"] = true.into());
    assert!(matches!(refused, Err(VerifyError::NotSupported(_))));
    let refused = forged(|b| b["verificationMaterial"] = json!({"publicKey": {}, "tlogEntries": [{}]}));
    assert!(matches!(&refused, Err(VerifyError::NotSupported(what)) if what.contains("log entry")));
    let empty = json!({"x509CertificateChain": {"certificates": []}});
    let refused = forged(|b| b["verificationMaterial"] = empty);
    assert_eq!(refused, Err(VerifyError::OtherMethod { found: "certificate", asked: "key" }));
    for (what, material) in [
        ("no log entry", json!({"certificate": {"rawBytes": ""}, "tlogEntries": []})),
        ("log entries as an object", json!({"publicKey": {}, "tlogEntries": {}})),
        ("junk for a certificate", json!({"certificate": {"rawBytes": "AAAA"}, "tlogEntries": [{}]})),
        ("junk in a chain", json!({"x509CertificateChain": {"certificates": [{"rawBytes": "MAA="}]}})),
        ("unknown member", json!({"x509CertificateChain": {"certificates": [], "x": 1}})),
        ("junk for a timestamp", json!({"publicKey": {}, "timestampVerificationData": {"x": 1}})),
    ] {
        assert!(forged(|b| b["verificationMaterial"] = material).is_err(), "{what}");
    }
}

#[test]
fn a_bundle_that_is_not_one_is_refused() {
    type Edit = fn(&mut Value);
    let edits: [(&str, Edit); 11] = [
        ("media type", |b| b["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2".into()),
        ("longer media type", |b| b["mediaType"] = format!("{MEDIA_TYPE}x").into()),
        ("no material", |b| drop(b.as_object_mut().unwrap().remove("verificationMaterial"))),
        ("two materials", |b| b["verificationMaterial"]["certificate"] = json!({"rawBytes": ""})),
        ("empty material", |b| b["verificationMaterial"] = json!({})),
        ("message signature", |b| b["messageSignature"] = json!({})),
        ("no signature", |b| b["dsseEnvelope"]["signatures"] = json!([])),
        ("two signatures", |b| {
            let one = b["dsseEnvelope"]["signatures"][0].clone();
            b["dsseEnvelope"]["signatures"].as_array_mut().unwrap().push(one);
        }),
        ("payload type", |b| b["dsseEnvelope"]["payloadType"] = "text/plain".into()),
        ("key id", |b| b["dsseEnvelope"]["signatures"][0]["keyid"] = "x".into()),
        ("unpadded base64", |b| {
            let sig =
                b["dsseEnvelope"]["signatures"][0]["sig"].as_str().unwrap().trim_end_matches('=').to_owned();
            b["dsseEnvelope"]["signatures"][0]["sig"] = format!("{sig}=\n").into();
        }),
    ];
    for (what, edit) in edits {
        assert!(forged(edit).is_err(), "{what}");
    }
    // Accepted forms of older signers.
    assert!(forged(|b| b["mediaType"] = MEDIA_TYPE_OTHER.into()).is_ok());
    assert!(forged(|b| b["dsseEnvelope"]["signatures"][0]["keyid"] = Value::Null).is_ok());
    assert!(forged(|b| b["verificationMaterial"] = json!({"publicKey": {"rawBytes": "AA=="}})).is_ok());
    assert!(forged(|b| b["verificationMaterial"]["publicKey"]["hint"] = "my key".into()).is_ok());
}

#[test]
fn the_callers_key_decides() {
    let other = PrivateKey::from_p256_scalar(&[8; 32]).unwrap().public_key();
    let other_pem = other.to_pem().unwrap().into_bytes();
    let good = signed(&files(), &[]);
    assert!(matches!(verify(&good, &other_pem, &files()), Err(VerifyError::OtherKey { .. })));
    // With the hint taken away or replaced, the signature still decides.
    let mut value: Value = serde_json::from_slice(&good).unwrap();
    for hint in [json!({}), json!({"hint": other.fingerprint().unwrap().hex()})] {
        value["verificationMaterial"]["publicKey"] = hint;
        let refused = verify(value.to_string().as_bytes(), &other_pem, &files());
        assert_eq!(refused, Err(VerifyError::Signature));
    }
}

#[test]
fn an_edited_payload_or_signature_is_refused() {
    let refused = forged(|b| {
        let payload = STANDARD.decode(b["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
        let text = String::from_utf8(payload).unwrap().replace("config.json", "Config.json");
        b["dsseEnvelope"]["payload"] = STANDARD.encode(text).into();
    });
    assert_eq!(refused, Err(VerifyError::Signature));
    let refused = forged(|b| b["dsseEnvelope"]["signatures"][0]["sig"] = "".into());
    assert_eq!(refused, Err(VerifyError::Signature));
}

#[test]
fn every_bit_flip_of_the_signed_bytes_is_refused() {
    let files: BTreeMap<_, _> = [("a".to_owned(), sha256(b"a"))].into();
    let payload = statement("m", &[Resource { name: "a".into(), digest: sha256(b"a").into() }], &[]).unwrap();
    let der = key().sign_digest(&to_sign(IN_TOTO, &payload)).unwrap();
    let good: Value =
        serde_json::from_slice(&bundle(payload.clone(), der.clone(), &public_pem()).unwrap()).unwrap();
    assert!(verify(good.to_string().as_bytes(), &public_pem(), &files).is_ok());
    let flips = |bytes: &[u8]| {
        (0..bytes.len() * 8)
            .map(|bit| {
                let mut flipped = bytes.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                STANDARD.encode(flipped)
            })
            .collect::<Vec<_>>()
    };
    for (where_, flipped) in [("payload", flips(&payload)), ("sig", flips(&der))] {
        for (bit, text) in flipped.into_iter().enumerate() {
            let mut bad = good.clone();
            match where_ {
                "payload" => bad["dsseEnvelope"]["payload"] = text.into(),
                _ => bad["dsseEnvelope"]["signatures"][0]["sig"] = text.into(),
            }
            let refused = verify(bad.to_string().as_bytes(), &public_pem(), &files);
            assert_eq!(refused, Err(VerifyError::Signature), "{where_} bit {bit}");
        }
    }
}

#[test]
fn a_bit_flip_anywhere_in_the_file_never_yields_another_model() {
    let files: BTreeMap<_, _> = [("a".to_owned(), sha256(b"a"))].into();
    let good = signed(&files, &[]);
    let root = verify(&good, &public_pem(), &files).unwrap().root_digest;
    let mut accepted = 0;
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(verified) = verify(&flipped, &public_pem(), &files) {
            // White space around, and the unsigned hint in a form that is not a fingerprint.
            accepted += 1;
            assert_eq!(verified.root_digest, root);
        }
    }
    assert!(accepted < 64 * 8 + 16, "{accepted}");
    for len in 0..good.len() - 1 {
        assert!(verify(&good[..len], &public_pem(), &files).is_err(), "cut to {len}");
    }
}

#[test]
fn duplicate_members_are_refused_outside_and_inside_the_signature() {
    let text = String::from_utf8(signed(&files(), &[])).unwrap();
    let doubled = text.replacen("\"mediaType\"", "\"mediaType\":\"x\",\"mediaType\"", 1);
    assert!(matches!(verify(doubled.as_bytes(), &public_pem(), &files()), Err(VerifyError::Json(_))));
    let payload = String::from_utf8(statement("m", &listed(&files()), &[]).unwrap()).unwrap();
    let doubled = payload.replacen("\"name\":", "\"name\":\"x\",\"name\":", 1);
    assert_ne!(payload, doubled);
    assert!(matches!(verify(&wrap(doubled.as_bytes()), &public_pem(), &files()), Err(VerifyError::Json(_))));
}

#[test]
fn what_cannot_be_verified_is_not_signed() {
    let one = |name: &str| vec![Resource { name: name.into(), digest: sha256(b"").into() }];
    assert_eq!(statement("m", &[], &[]), Err(SignError::Empty));
    assert_eq!(statement("", &one("a"), &[]), Err(SignError::NoName));
    for bad in ["", "/a", "a/..", "a//b", "a\0"] {
        assert!(matches!(statement("m", &one(bad), &[]), Err(SignError::Name { .. })), "{bad}");
        let ignored = statement("m", &one("a"), &[bad.to_owned()]);
        assert!(matches!(ignored, Err(SignError::Name { .. })), "{bad}");
    }
    let twice = [one("a"), one("a")].concat();
    assert!(matches!(statement("m", &twice, &[]), Err(SignError::Conflict { name, .. }) if name == "a"));
    assert!(matches!(statement("m", &one("a/b"), &["a".into()]), Err(SignError::Conflict { .. })));
}

mod reuse;
mod shards;

#[test]
fn an_envelope_is_no_bundle_and_a_bundle_no_envelope() {
    let envelope = Envelope::sign(IN_TOTO, b"{}".to_vec(), &key()).unwrap().to_bytes();
    assert!(verify(&envelope, &public_pem(), &files()).is_err());
    assert!(Envelope::parse(&signed(&files(), &[])).is_err());
}

/// Every node of a value, by JSON pointer.
fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| pointers(member, &format!("{at}/{name}"), out));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| pointers(item, &format!("{at}/{i}"), out));
        }
        _ => {}
    }
}

#[test]
fn another_type_in_any_place_is_refused() {
    let junk = [json!(null), json!(7), json!([]), json!({}), json!([[]])];
    let payload = statement("m", &listed(&files()), &["notes".into()]).unwrap();
    let good: Value = serde_json::from_slice(&payload).unwrap();
    let mut all = Vec::new();
    pointers(&good, "", &mut all);
    assert!(all.len() > 30);
    for pointer in &all {
        for junk in &junk {
            // An empty list ignores nothing: the one such value that is also valid.
            if *junk == json!([]) && pointer == "/predicate/serialization/ignore_paths" {
                continue;
            }
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = junk.clone();
            let refused = verify(&wrap(bad.to_string().as_bytes()), &public_pem(), &files());
            assert!(refused.is_err(), "{pointer} = {junk}");
        }
    }
    let good: Value = serde_json::from_slice(&wrap(&payload)).unwrap();
    let mut all = Vec::new();
    pointers(&good, "", &mut all);
    for pointer in all.iter().filter(|p| !["/keyid", "/tlogEntries"].iter().any(|end| p.ends_with(end))) {
        for junk in &junk {
            // A key without a hint is the older form.
            if *junk == json!({}) && pointer == "/verificationMaterial/publicKey" {
                continue;
            }
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = junk.clone();
            assert!(
                verify(bad.to_string().as_bytes(), &public_pem(), &files()).is_err(),
                "{pointer} = {junk}"
            );
        }
    }
}

#[test]
fn larger_than_the_limit_is_refused_before_it_is_read() {
    let mut huge = signed(&files(), &[]);
    huge.resize(crate::limits::BUNDLE_MAX + 1, b' ');
    assert!(matches!(
        verify(&huge, &public_pem(), &files()),
        Err(VerifyError::Json(crate::JsonError::TooLong { .. }))
    ));
    // At the limit it is read, white space and all.
    huge.truncate(crate::limits::BUNDLE_MAX);
    assert!(verify(&huge, &public_pem(), &files()).is_ok());
}
