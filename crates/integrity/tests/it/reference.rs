//! The reference implementation (PyPI `model-signing` 1.1.1) on every method and hash that it has, in both directions;
//! and what it accepts although it should not, each beside our refusal. `docs/oms.md` lists them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};

use base::Timestamp;
use strongroom_integrity as integrity;

use integrity::oms::{
    self, Accept, Draft, HashType, Measure, Measured, Method, Present, Serialization, Signed, Trust,
    Unsigned, Verified,
};
use integrity::{CertificateError, Difference, PrivateKey, PublicKey, VerifyError};

use crate::pki::{CA, Pki, SIGNER, now};

#[cfg(test)]
mod support {
    use super::*;
    use crate::interop::support::python;

    pub(super) const CURVES: [&str; 3] = ["prime256v1", "secp384r1", "secp521r1"];

    /// A model with a name that sorts in two ways, colons, and an empty file.
    pub(super) fn model(pki: &Pki) {
        let at = pki.path("model");
        std::fs::create_dir_all(at.join("w/deep")).unwrap();
        for (name, bytes) in [
            ("config.json", &b"{}"[..]),
            ("empty", b""),
            ("w.bin", b"sorts before the directory"),
            ("w/a:0:1", b"colons"),
            ("w/deep/\u{e9}.bin", &[7; 2500]),
        ] {
            std::fs::write(at.join(name), bytes).unwrap();
        }
    }

    /// Runs a script with the API of the reference.
    pub(super) fn script(pki: &Pki, script: &str, args: &[&str]) -> Output {
        let at = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/reference.py");
        Command::new(python()).arg(at).arg(script).args(args).current_dir(pki.path("")).output().unwrap()
    }

    pub(super) fn succeeds(output: &Output) -> bool {
        output.status.success()
    }

    pub(super) fn text(output: &Output) -> String {
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    /// Every file of the model, measured.
    pub(super) fn measured(pki: &Pki, serialization: Serialization) -> BTreeMap<String, Measured> {
        fn visit(root: &Path, at: &Path, serialization: Serialization, out: &mut BTreeMap<String, Measured>) {
            for entry in std::fs::read_dir(at).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    visit(root, &path, serialization, out);
                } else {
                    let mut measure = Measure::new(serialization);
                    measure.update(&std::fs::read(&path).unwrap());
                    let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                    out.insert(name, measure.finish());
                }
            }
        }
        let root = pki.path("model");
        let mut out = BTreeMap::new();
        visit(&root, &root, serialization, &mut out);
        out
    }

    pub(super) fn check(pki: &Pki, signed: &Signed) -> Result<Verified, VerifyError> {
        let files = measured(pki, signed.statement().serialization);
        signed.check(&Present { files, empty_directories: BTreeSet::new() }, Unsigned::Refuse)
    }

    pub(super) fn by_key(pki: &Pki, bundle: &str, accept: Accept) -> Result<Signed, VerifyError> {
        let key = PublicKey::from_pem(&pki.read("key.pub")).unwrap();
        oms::open_with(&pki.read(bundle), &Trust::Key(key), accept, Timestamp::from_millis(0))
    }

    /// A key pair beside the model: `key.key`, `key.pub`.
    pub(super) fn with_key(curve: &str) -> Pki {
        let pki = Pki::new();
        model(&pki);
        pki.key("key", curve);
        pki.openssl("pkey -in key.key -pubout -out key.pub");
        pki
    }

    pub(super) fn sign_here(pki: &Pki, serialization: Serialization, to: &str) {
        let key = PrivateKey::from_pem(&pki.read("key.key")).unwrap();
        let files = measured(pki, serialization);
        let draft = Draft { model_name: "model", serialization, files: &files, ignore_paths: &[] };
        pki.write(to, oms::sign_with_key(&key, &draft).unwrap());
    }
}

use support::{CURVES, by_key, check, measured, model, script, sign_here, succeeds, text, with_key};

const SHARDS: Serialization =
    Serialization { hash: HashType::Sha256, method: Method::Shards { size_bytes: 1000 } };

fn files(hash: HashType) -> Serialization {
    Serialization { hash, method: Method::Files }
}

#[test]
fn every_hash_of_files_goes_both_ways_on_every_curve() {
    for curve in CURVES {
        let pki = with_key(curve);
        for hash in [HashType::Sha256, HashType::Blake3] {
            let signing = script(&pki, "sign", &[hash.name(), "key.key", "theirs.sig", "model"]);
            assert!(succeeds(&signing), "{}", text(&signing));
            let signed = by_key(&pki, "theirs.sig", Accept::default()).unwrap();
            assert_eq!(
                (signed.statement().serialization, check(&pki, &signed).unwrap().files.len()),
                (files(hash), 5)
            );
            sign_here(&pki, files(hash), "ours.sig");
            let answer = script(&pki, "verify", &["key.pub", "ours.sig", "model"]);
            assert!(succeeds(&answer), "{curve} {hash}: {}", text(&answer));
        }
        // The same question with another answer.
        std::fs::write(pki.path("model/w.bin"), b"changed").unwrap();
        assert!(!succeeds(&script(&pki, "verify", &["key.pub", "ours.sig", "model"])));
        assert!(check(&pki, &by_key(&pki, "theirs.sig", Accept::default()).unwrap()).is_err());
    }
}

#[test]
fn certificates_go_both_ways_on_every_curve() {
    for curve in CURVES {
        let pki = Pki::new();
        model(&pki);
        pki.root("root", curve, CA);
        pki.issue("middle", curve, "root", CA);
        pki.issue("signer", curve, "middle", SIGNER);
        pki.write("chain.pem", [pki.read("middle.pem"), pki.read("root.pem")].concat());
        let trust = || Trust::Certificates(pki.trust(&["root"]));
        let signing = script(
            &pki,
            "sign-certificate",
            &["signer.key", "signer.pem", "chain.pem", "theirs.sig", "model"],
        );
        assert!(succeeds(&signing), "{}", text(&signing));
        let signed = oms::open_with(&pki.read("theirs.sig"), &trust(), Accept::default(), now()).unwrap();
        assert_eq!(check(&pki, &signed).unwrap().files.len(), 5, "{curve}");
        let key = PrivateKey::from_pem(&pki.read("signer.key")).unwrap();
        let all = measured(&pki, Serialization::default());
        let serialization = Serialization::default();
        let draft = Draft { model_name: "model", serialization, files: &all, ignore_paths: &[] };
        let (own, above) = (pki.certificates(&["signer"]).remove(0), pki.certificates(&["middle"]));
        pki.write("ours.sig", oms::sign_with_certificate(&key, &own, &above, &draft).unwrap());
        let answer = script(&pki, "verify-certificate", &["root.pem", "ours.sig", "model"]);
        assert!(succeeds(&answer), "{curve}: {}", text(&answer));
        // Another root: refused by both.
        pki.root("stranger", curve, CA);
        assert!(!succeeds(&script(&pki, "verify-certificate", &["stranger.pem", "ours.sig", "model"])));
    }
}

#[test]
fn it_cannot_verify_blake2b_and_shards_of_its_own_and_we_can() {
    let pki = with_key("prime256v1");
    let sign = |form: &str| {
        let signing = script(&pki, "sign", &[form, "key.key", "theirs.sig", "model"]);
        assert!(succeeds(&signing), "{}", text(&signing));
    };
    let verdict = || script(&pki, "verify", &["key.pub", "theirs.sig", "model"]);
    sign("blake2b");
    assert!(text(&verdict()).contains("Unsupported hashing method blake2b"), "{}", text(&verdict()));
    let signed = by_key(&pki, "theirs.sig", Accept::default()).unwrap();
    assert_eq!(check(&pki, &signed).unwrap().files.len(), 5);
    // Names with colons are another matter.
    std::fs::remove_file(pki.path("model/w/a:0:1")).unwrap();
    // Its shards: `shard_size` as a fraction, which it then cannot read, and names of hashes that are none.
    sign("shards");
    assert!(text(&verdict()).contains("TypeError"), "{}", text(&verdict()));
    assert!(matches!(by_key(&pki, "theirs.sig", Accept::default()), Err(VerifyError::Statement(_))));
    let legacy = Accept { legacy_shards: true, ..Accept::default() };
    let signed = by_key(&pki, "theirs.sig", legacy).unwrap();
    assert_eq!(signed.statement().serialization, SHARDS);
    let verified = check(&pki, &signed).unwrap();
    assert!(verified.files.contains("w.bin") && verified.ignored.contains("empty"));
    // It asked for shards of BLAKE3 and got whole files.
    sign("blake3-shards");
    let signed = by_key(&pki, "theirs.sig", Accept::default()).unwrap();
    assert_eq!(signed.statement().serialization, files(HashType::Blake3));
    // Ours in those forms it cannot read; we can.
    for serialization in [files(HashType::Blake2b), SHARDS] {
        sign_here(&pki, serialization, "theirs.sig");
        assert!(!succeeds(&verdict()));
        assert!(check(&pki, &by_key(&pki, "theirs.sig", Accept::default()).unwrap()).is_ok());
    }
}

#[test]
fn it_accepts_expired_and_revoked_certificates_for_other_purposes_and_we_do_not() {
    let pki = Pki::new();
    model(&pki);
    pki.key("root", "prime256v1");
    pki.dated("root", "root", CA, "20190101000000Z", "20400101000000Z");
    let server =
        "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth";
    let fine = SIGNER;
    let names = [
        ("old", fine, "20210101000000Z"),
        ("server", server, "20400101000000Z"),
        ("revoked", fine, "20400101000000Z"),
    ];
    for (name, extensions, until) in names {
        pki.key(name, "prime256v1");
        pki.dated(name, "root", extensions, "20200101000000Z", until);
    }
    pki.crl("list", "root", &["revoked"], "-crldays 10");
    for (name, ..) in names {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
        let signing =
            script(&pki, "sign-certificate", &[&key, &certificate, "root.pem", "theirs.sig", "model"]);
        assert!(succeeds(&signing), "{}", text(&signing));
        let answer = script(&pki, "verify-certificate", &["root.pem", "theirs.sig", "model"]);
        assert!(succeeds(&answer), "the reference refuses {name} by now: {}", text(&answer));
        let trust = pki.trust(&["root"]).with_crls(pki.crls(&["list"])).unwrap();
        let refused =
            oms::open_with(&pki.read("theirs.sig"), &Trust::Certificates(trust), Accept::default(), now());
        let as_expected = match name {
            "old" => matches!(refused, Err(VerifyError::Certificate(CertificateError::Expired { .. }))),
            "server" => matches!(refused, Err(VerifyError::Certificate(CertificateError::Use { .. }))),
            _ => matches!(refused, Err(VerifyError::Certificate(CertificateError::Revoked { .. }))),
        };
        assert!(as_expected, "{name}: {refused:?}");
    }
}

#[test]
fn it_accepts_an_empty_directory_and_members_that_stand_twice_and_we_do_not() {
    let pki = with_key("prime256v1");
    sign_here(&pki, Serialization::default(), "ours.sig");
    let accepted = |what: &str| {
        let answer = script(&pki, "verify", &["key.pub", "ours.sig", "model"]);
        assert!(succeeds(&answer), "the reference refuses {what} by now: {}", text(&answer));
    };
    let signed = by_key(&pki, "ours.sig", Accept::default()).unwrap();
    std::fs::create_dir(pki.path("model/void")).unwrap();
    accepted("an empty directory");
    let present = Present {
        files: measured(&pki, Serialization::default()),
        empty_directories: ["void".to_owned()].into(),
    };
    assert_eq!(
        signed.check(&present, Unsigned::Refuse),
        Err(VerifyError::Files(vec![Difference::EmptyDirectory { name: "void".into() }]))
    );
    let twice = String::from_utf8(pki.read("ours.sig")).unwrap().replacen(
        "\"mediaType\"",
        "\"mediaType\":\"x\",\"mediaType\"",
        1,
    );
    pki.write("ours.sig", twice);
    accepted("a member that stands twice");
    assert!(matches!(by_key(&pki, "ours.sig", Accept::default()), Err(VerifyError::Json(_))));
}

#[test]
fn it_leaves_what_is_planted_under_an_ignored_path_to_be_loaded_and_we_do_not() {
    let pki = with_key("prime256v1");
    let signing = script(&pki, "sign", &["sha256", "key.key", "theirs.sig", "model"]);
    assert!(succeeds(&signing), "{}", text(&signing));
    let signed = by_key(&pki, "theirs.sig", Accept::default()).unwrap();
    for planted in [".git/hooks.bin", ".github/x.py", ".gitattributes"] {
        let at = pki.path("model").join(planted);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::write(at, b"planted").unwrap();
        let answer = script(&pki, "verify", &["key.pub", "theirs.sig", "model"]);
        assert!(succeeds(&answer), "the reference refuses {planted} by now: {}", text(&answer));
        // For us it is named, and is no file of the model.
        let verified = check(&pki, &signed).unwrap();
        assert!(verified.ignored.contains(planted) && !verified.files.contains(planted));
    }
}

#[test]
fn it_splits_the_names_of_shards_at_every_colon_and_we_do_not() {
    let pki = with_key("prime256v1");
    let answer = script(&pki, "shard-name", &["w/a:0:1:0:6"]);
    assert!(text(&answer).contains("Expected 3 components"), "{}", text(&answer));
    sign_here(&pki, SHARDS, "ours.sig");
    let signed = by_key(&pki, "ours.sig", Accept::default()).unwrap();
    assert!(check(&pki, &signed).unwrap().files.contains("w/a:0:1"));
}

#[test]
fn both_refuse_what_is_modified_missing_extra_renamed_or_a_link_and_another_key() {
    type Edit = fn(&Path);
    let edits: [(&str, Edit); 6] = [
        ("modified", |m| std::fs::write(m.join("w.bin"), b"x").unwrap()),
        ("missing", |m| std::fs::remove_file(m.join("w.bin")).unwrap()),
        ("extra", |m| std::fs::write(m.join("extra"), b"").unwrap()),
        ("renamed", |m| std::fs::rename(m.join("w.bin"), m.join("W.bin")).unwrap()),
        ("swapped", |m| {
            std::fs::rename(m.join("w.bin"), m.join("x")).unwrap();
            std::fs::rename(m.join("config.json"), m.join("w.bin")).unwrap();
            std::fs::rename(m.join("x"), m.join("config.json")).unwrap();
        }),
        ("another key", |m| {
            std::fs::copy(m.join("../other.pub"), m.join("../key.pub")).unwrap();
        }),
    ];
    for (what, edit) in edits {
        let pki = with_key("prime256v1");
        pki.key("other", "prime256v1");
        pki.openssl("pkey -in other.key -pubout -out other.pub");
        sign_here(&pki, Serialization::default(), "ours.sig");
        assert!(succeeds(&script(&pki, "verify", &["key.pub", "ours.sig", "model"])), "{what}");
        edit(&pki.path("model"));
        assert!(!succeeds(&script(&pki, "verify", &["key.pub", "ours.sig", "model"])), "{what}");
        let ours = by_key(&pki, "ours.sig", Accept::default()).and_then(|signed| check(&pki, &signed));
        assert!(ours.is_err(), "{what}");
    }
}
