//! Method `certificate`: private authorities of OpenSSL, and everything that may be wrong with their certificates.

use std::collections::BTreeMap;

use base::Timestamp;
use serde_json::{Value, json};
use strongroom_integrity as integrity;

use integrity::oms::{self, Accept, Draft, HashType, Measured, Serialization, Signed, Signer, Trust};
use integrity::{Certificate, CertificateError, CertificateTrust, Crl, PrivateKey, VerifyError};

use crate::pki::{CA, DAY, Pki, SIGNER, TSA, now};

#[cfg(test)]
mod support {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    pub(super) const CURVES: [&str; 3] = ["prime256v1", "secp384r1", "secp521r1"];

    pub(super) fn files() -> BTreeMap<String, Measured> {
        [("config.json".to_owned(), Measured::whole(2, HashType::Sha256.hash(b"{}")))].into()
    }

    /// A model signed by `name`, with these certificates beside its own.
    pub(super) fn signed(pki: &Pki, name: &str, above: &[&str]) -> Vec<u8> {
        let key = PrivateKey::from_pem(&pki.read(&format!("{name}.key"))).unwrap();
        let files = files();
        let serialization = Serialization::default();
        let draft = Draft { model_name: "m", serialization, files: &files, ignore_paths: &[] };
        let own = pki.certificates(&[name]);
        oms::sign_with_certificate(&key, &own[0], &pki.certificates(above), &draft).unwrap()
    }

    pub(super) fn open(bundle: &[u8], trust: CertificateTrust, at: Timestamp) -> Result<Signed, VerifyError> {
        oms::open_with(bundle, &Trust::Certificates(trust), Accept::default(), at)
    }

    pub(super) fn refused(bundle: &[u8], trust: CertificateTrust, at: Timestamp) -> CertificateError {
        match open(bundle, trust, at) {
            Err(VerifyError::Certificate(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    /// The bundle, edited after signing.
    pub(super) fn edited(bundle: &[u8], edit: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut value: Value = serde_json::from_slice(bundle).unwrap();
        edit(&mut value);
        value.to_string().into_bytes()
    }

    pub(super) fn chain(pki: &Pki, names: &[&str]) -> Value {
        let list: Vec<Value> =
            pki.certificates(names).iter().map(|c| json!({"rawBytes": STANDARD.encode(c.der())})).collect();
        json!({"x509CertificateChain": {"certificates": list}})
    }

    /// The bundle with a timestamp by `tsa` over its signature.
    pub(super) fn stamped(pki: &Pki, bundle: &[u8], tsa: &str) -> Vec<u8> {
        let value: Value = serde_json::from_slice(bundle).unwrap();
        let sig = STANDARD.decode(value["dsseEnvelope"]["signatures"][0]["sig"].as_str().unwrap()).unwrap();
        with_stamp(bundle, &pki.timestamp(tsa, &sig))
    }

    pub(super) fn with_stamp(bundle: &[u8], response: &[u8]) -> Vec<u8> {
        edited(bundle, |b| {
            b["verificationMaterial"]["timestampVerificationData"] =
                json!({"rfc3161Timestamps": [{"signedTimestamp": STANDARD.encode(response)}]});
        })
    }
}

use support::{CURVES, chain, edited, open, refused, signed, stamped, with_stamp};

/// root → middle → signer, all on one curve.
fn three(curve: &str) -> Pki {
    let pki = Pki::new();
    pki.root("root", curve, CA);
    pki.issue("middle", curve, "root", CA);
    pki.issue("signer", curve, "middle", SIGNER);
    pki
}

fn later(days: u64) -> Timestamp {
    now().plus_millis(days * DAY)
}

#[test]
fn chains_verify_on_every_curve_and_name_the_signer() {
    for curve in CURVES {
        let pki = three(curve);
        let bundle = signed(&pki, "signer", &["middle"]);
        let Signer::Certificate(signer) =
            open(&bundle, pki.trust(&["root"]), now()).unwrap().signer().clone()
        else {
            panic!("another signer")
        };
        assert_eq!(signer.names, ["alice@example.org"], "{curve}");
        assert_eq!(signer.subject, "CN=signer,O=Acme");
        assert_eq!(signer.certificate, pki.certificates(&["signer"])[0].fingerprint());
        let issuers: Vec<_> =
            pki.certificates(&["middle", "root"]).iter().map(Certificate::fingerprint).collect();
        assert_eq!(signer.issuers, issuers);
        assert!(!signer.timestamped);
        // The verifier may have what the bundle lacks, and the bundle may carry the root.
        assert!(open(&signed(&pki, "signer", &[]), pki.trust(&["root", "middle"]), now()).is_ok());
        assert!(open(&signed(&pki, "signer", &["root", "middle"]), pki.trust(&["root"]), now()).is_ok());
        assert!(matches!(
            refused(&signed(&pki, "signer", &[]), pki.trust(&["root"]), now()),
            CertificateError::NoPath { .. }
        ));
    }
}

#[test]
fn authorities_may_be_rsa_or_ed25519_and_signers_may_not() {
    for kind in ["rsa", "ed25519"] {
        let pki = Pki::new();
        pki.root("root", kind, CA);
        pki.issue("signer", "secp384r1", "root", SIGNER);
        assert!(open(&signed(&pki, "signer", &[]), pki.trust(&["root"]), now()).is_ok(), "{kind}");
        pki.issue("other", kind, "root", SIGNER);
        // The certificate of such a key in the place of the signer's.
        let bundle =
            edited(&signed(&pki, "signer", &[]), |b| b["verificationMaterial"] = chain(&pki, &["other"]));
        assert!(
            matches!(refused(&bundle, pki.trust(&["root"]), now()), CertificateError::Use { .. }),
            "{kind}"
        );
    }
}

#[test]
fn every_certificate_must_be_valid_at_the_time_of_verification() {
    let pki = three("prime256v1");
    let bundle = signed(&pki, "signer", &["middle"]);
    let trust = || pki.trust(&["root"]);
    assert!(open(&bundle, trust(), later(29)).is_ok());
    assert!(matches!(refused(&bundle, trust(), later(31)), CertificateError::Expired { .. }));
    let before = Timestamp::from_millis(now().as_millis() - DAY);
    assert!(matches!(refused(&bundle, trust(), before), CertificateError::NotYet { .. }));
    // The signer outlives an authority above it: it is the authority's end that counts.
    pki.issue_for("short", "prime256v1", "root", CA, "-days 10");
    pki.issue("long", "prime256v1", "short", SIGNER);
    let bundle = signed(&pki, "long", &["short"]);
    assert!(open(&bundle, trust(), later(9)).is_ok());
    assert!(matches!(refused(&bundle, trust(), later(11)), CertificateError::Expired { .. }));
    // And the root's own, which path builders do not look at.
    pki.key("brief", "prime256v1");
    pki.write("brief.ext", CA);
    pki.openssl("req -new -key brief.key -subj /CN=brief -out brief.csr");
    pki.openssl(
        "x509 -req -in brief.csr -key brief.key -set_serial 1 -days 5 -extfile brief.ext -out brief.pem",
    );
    pki.issue("under", "prime256v1", "brief", SIGNER);
    let bundle = signed(&pki, "under", &[]);
    assert!(open(&bundle, pki.trust(&["brief"]), later(4)).is_ok());
    let error = refused(&bundle, pki.trust(&["brief"]), later(6));
    assert!(matches!(&error, CertificateError::Expired { subject, .. } if subject == "CN=brief"), "{error}");
}

#[test]
fn a_certificate_that_is_not_meant_to_sign_is_refused() {
    let pki = Pki::new();
    pki.root("root", "prime256v1", CA);
    let cases = [
        ("server", "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth"),
        ("any", "keyUsage=critical,digitalSignature\nextendedKeyUsage=anyExtendedKeyUsage"),
        ("encipher", "keyUsage=critical,keyEncipherment\nextendedKeyUsage=codeSigning"),
        ("nothing", "basicConstraints=CA:FALSE"),
        (
            "authority",
            "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,digitalSignature,keyCertSign\nextendedKeyUsage=codeSigning",
        ),
        ("stamper", TSA),
    ];
    for (name, extensions) in cases {
        pki.issue(name, "prime256v1", "root", extensions);
        let error = refused(&signed(&pki, name, &[]), pki.trust(&["root"]), now());
        assert!(matches!(error, CertificateError::Use { .. }), "{name}: {error}");
    }
    for (name, extensions) in [
        ("usage-alone", "keyUsage=critical,digitalSignature"),
        ("purpose-alone", "extendedKeyUsage=codeSigning"),
        (
            "both-and-more",
            "keyUsage=digitalSignature,nonRepudiation\nextendedKeyUsage=clientAuth,codeSigning",
        ),
    ] {
        pki.issue(name, "prime256v1", "root", extensions);
        assert!(open(&signed(&pki, name, &[]), pki.trust(&["root"]), now()).is_ok(), "{name}");
    }
    // The root itself, which is a signer of certificates only.
    let error = refused(&signed(&pki, "root", &[]), pki.trust(&["root"]), now());
    assert!(matches!(error, CertificateError::Use { .. }), "{error}");
}

#[test]
fn a_critical_extension_that_is_not_understood_is_refused_and_others_are_not() {
    let pki = Pki::new();
    pki.root("root", "prime256v1", CA);
    for (name, line, good) in [
        ("critical", "1.2.3.4=critical,ASN1:UTF8String:x", false),
        ("policies", "certificatePolicies=critical,1.2.3.4", false),
        ("plain", "1.2.3.4=ASN1:UTF8String:x", true),
        ("named", "certificatePolicies=1.2.3.4", true),
    ] {
        pki.issue(name, "prime256v1", "root", &format!("{SIGNER}\n{line}"));
        let own = Certificate::all_from_pem(&pki.read(&format!("{name}.pem")));
        assert_eq!(own.is_ok(), good, "{name}");
        assert!(good || matches!(own, Err(CertificateError::Critical { .. })), "{name}");
        if good {
            assert!(open(&signed(&pki, name, &[]), pki.trust(&["root"]), now()).is_ok(), "{name}");
        }
    }
    // In an authority's certificate as well.
    pki.issue("odd", "prime256v1", "root", &format!("{CA}\n1.2.3.4=critical,ASN1:UTF8String:x"));
    assert!(Certificate::all_from_pem(&pki.read("odd.pem")).is_err());
}

#[test]
fn authorities_issue_only_what_they_may() {
    let pki = Pki::new();
    pki.root("root", "prime256v1", CA);
    // Issued by one that is not an authority, or may not sign certificates.
    pki.issue("signer", "prime256v1", "root", SIGNER);
    pki.issue("below", "prime256v1", "signer", SIGNER);
    let error = refused(&signed(&pki, "below", &["signer"]), pki.trust(&["root"]), now());
    assert!(matches!(error, CertificateError::Use { .. }), "{error}");
    pki.issue("lame", "prime256v1", "root", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,cRLSign");
    pki.issue("lamed", "prime256v1", "lame", SIGNER);
    let error = refused(&signed(&pki, "lamed", &["lame"]), pki.trust(&["root"]), now());
    assert!(matches!(error, CertificateError::Use { .. }), "{error}");
    // Path lengths, of an authority in between and of the root.
    let none_below = CA.replace("CA:TRUE", "CA:TRUE,pathlen:0");
    pki.issue("last", "prime256v1", "root", &none_below);
    pki.issue("beyond", "prime256v1", "last", CA);
    pki.issue("good", "prime256v1", "last", SIGNER);
    pki.issue("bad", "prime256v1", "beyond", SIGNER);
    assert!(open(&signed(&pki, "good", &["last"]), pki.trust(&["root"]), now()).is_ok());
    let error = refused(&signed(&pki, "bad", &["beyond", "last"]), pki.trust(&["root"]), now());
    assert!(matches!(error, CertificateError::Use { .. }), "{error}");
    pki.root("strict", "prime256v1", &none_below);
    pki.issue("middle", "prime256v1", "strict", CA);
    pki.issue("direct", "prime256v1", "strict", SIGNER);
    pki.issue("deep", "prime256v1", "middle", SIGNER);
    assert!(open(&signed(&pki, "direct", &[]), pki.trust(&["strict"]), now()).is_ok());
    let error = refused(&signed(&pki, "deep", &["middle"]), pki.trust(&["strict"]), now());
    assert!(matches!(error, CertificateError::Use { .. }), "{error}");
    // An authority for servers does not certify signers of code.
    pki.issue("web", "prime256v1", "root", &format!("{CA}\nextendedKeyUsage=serverAuth"));
    pki.issue("webbed", "prime256v1", "web", SIGNER);
    let error = refused(&signed(&pki, "webbed", &["web"]), pki.trust(&["root"]), now());
    assert!(matches!(error, CertificateError::Use { .. }), "{error}");
}

#[test]
fn name_constraints_hold_or_refuse() {
    let pki = Pki::new();
    pki.root("root", "prime256v1", CA);
    let with = |name: &str, constraint: &str, alt: &str| {
        pki.issue(
            &format!("{name}-ca"),
            "prime256v1",
            "root",
            &format!("{CA}\nnameConstraints=critical,{constraint}"),
        );
        pki.issue(name, "prime256v1", &format!("{name}-ca"), &SIGNER.replace("email:alice@example.org", alt));
        open(&signed(&pki, name, &[&format!("{name}-ca")]), pki.trust(&["root"]), now())
    };
    assert!(with("inside", "permitted;DNS:example.org", "DNS:a.example.org").is_ok());
    assert!(with("outside", "permitted;DNS:example.org", "DNS:a.example.com").is_err());
    assert!(with("excluded", "excluded;DNS:example.org", "DNS:a.example.org").is_err());
    assert!(with("directory", "permitted;dirName:d\n[d]\nO=Other", "DNS:a.example.org").is_err());
}

#[test]
fn another_root_another_key_and_another_certificate_are_refused() {
    let pki = three("prime256v1");
    let bundle = signed(&pki, "signer", &["middle"]);
    pki.root("stranger", "prime256v1", CA);
    assert!(matches!(refused(&bundle, pki.trust(&["stranger"]), now()), CertificateError::NoPath { .. }));
    // A root of the same name with another key.
    let twin = Pki::new();
    twin.root("root", "prime256v1", CA);
    assert!(matches!(refused(&bundle, twin.trust(&["root"]), now()), CertificateError::NoPath { .. }));
    // A good certificate of somebody else in the place of the signer's: the signature is not theirs.
    pki.issue("mallory", "prime256v1", "middle", SIGNER);
    let swapped = edited(&bundle, |b| b["verificationMaterial"] = chain(&pki, &["mallory", "middle"]));
    assert_eq!(open(&swapped, pki.trust(&["root"]), now()), Err(VerifyError::Signature));
    // The same key under a certificate of a stranger.
    pki.openssl("req -new -key signer.key -subj /CN=own -out own.csr");
    pki.write("own.ext", SIGNER);
    pki.openssl("x509 -req -in own.csr -key signer.key -set_serial 7 -days 30 -extfile own.ext -out own.pem");
    let swapped = edited(&bundle, |b| b["verificationMaterial"] = chain(&pki, &["own", "middle"]));
    assert!(matches!(refused(&swapped, pki.trust(&["root"]), now()), CertificateError::NoPath { .. }));
    // Bring your own root: what a bundle carries is never trusted.
    let own_root = signed(&pki, "signer", &["middle", "root"]);
    assert!(matches!(refused(&own_root, pki.trust(&["stranger"]), now()), CertificateError::NoPath { .. }));
    // A certificate where a key is asked for, and the other way round.
    let key = integrity::PublicKey::from_der(&spki(&pki, "signer")).unwrap();
    assert!(matches!(
        oms::open_with(&bundle, &Trust::Key(key), Accept::default(), now()),
        Err(VerifyError::OtherMethod { found: "certificate", asked: "key" })
    ));
    // An authority in between is no root, wherever it is passed.
    assert!(CertificateTrust::new(pki.certificates(&["middle"])).is_err());
    assert!(CertificateTrust::new(Vec::new()).is_err());
}

fn spki(pki: &Pki, name: &str) -> Vec<u8> {
    pki.openssl(&format!("pkey -in {name}.key -pubout -outform DER -out {name}.spki"));
    pki.read(&format!("{name}.spki"))
}

#[test]
fn a_certificate_of_another_key_signs_nothing() {
    let pki = three("prime256v1");
    pki.key("other", "prime256v1");
    let key = PrivateKey::from_pem(&pki.read("other.key")).unwrap();
    let files = support::files();
    let serialization = Serialization::default();
    let draft = Draft { model_name: "m", serialization, files: &files, ignore_paths: &[] };
    let certificate = pki.certificates(&["signer"]).remove(0);
    let refused = oms::sign_with_certificate(&key, &certificate, &[], &draft);
    assert!(matches!(refused, Err(integrity::SignError::OtherKey { .. })), "{refused:?}");
}

#[test]
fn an_identity_that_is_asked_for_must_be_the_signers() {
    let pki = three("prime256v1");
    let bundle = signed(&pki, "signer", &["middle"]);
    for good in ["alice@example.org", "subject:CN=signer,O=Acme"] {
        assert!(open(&bundle, pki.trust(&["root"]).with_identity(good), now()).is_ok(), "{good}");
    }
    for bad in
        ["bob@example.org", "Alice@example.org", "", "alice@example.org ", "subject:", "CN=signer,O=Acme"]
    {
        let error = refused(&bundle, pki.trust(&["root"]).with_identity(bad), now());
        assert!(matches!(error, CertificateError::Identity { .. }), "{bad}: {error}");
    }
}

#[test]
fn revoked_certificates_are_refused_and_so_is_not_knowing() {
    let pki = three("prime256v1");
    let bundle = signed(&pki, "signer", &["middle"]);
    pki.crl("root", "root", &[], "-crldays 10");
    pki.crl("middle", "middle", &[], "-crldays 10");
    let with = |lists: &[&str]| pki.trust(&["root"]).with_crls(pki.crls(lists)).unwrap();
    assert!(open(&bundle, with(&["root", "middle"]), now()).is_ok());
    // In DER as well.
    pki.openssl("crl -in middle.crl -outform DER -out middle.der");
    assert!(Crl::parse(&pki.read("middle.der")).is_ok());
    // Nothing is known of the signer, or of the authority above it.
    for lists in [&["root"][..], &["middle"]] {
        let error = refused(&bundle, with(lists), now());
        assert!(matches!(error, CertificateError::RevocationUnknown { .. }), "{error}");
    }
    // Stale lists, and lists from the future.
    let error = refused(&bundle, with(&["root", "middle"]), later(11));
    assert!(matches!(error, CertificateError::RevocationUnknown { .. }), "{error}");
    pki.crl("soon", "middle", &[], "-crl_lastupdate 20991231000000Z -crl_nextupdate 21001231000000Z");
    let error = refused(&bundle, with(&["root", "soon"]), now());
    assert!(matches!(error, CertificateError::RevocationUnknown { .. }), "{error}");
    // The signer, and the authority.
    pki.crl("bad-middle", "middle", &["signer"], "-crldays 10");
    let error = refused(&bundle, with(&["root", "bad-middle"]), now());
    assert!(
        matches!(&error, CertificateError::Revoked { subject, .. } if subject == "CN=signer,O=Acme"),
        "{error}"
    );
    pki.crl("bad-root", "root", &["middle"], "-crldays 10");
    let error = refused(&bundle, with(&["bad-root", "middle"]), now());
    assert!(
        matches!(&error, CertificateError::Revoked { subject, .. } if subject == "CN=middle,O=Acme"),
        "{error}"
    );
    // An old list that names it still counts, and a newer one without it does not lift that.
    let error = refused(&bundle, with(&["root", "middle", "bad-middle"]), later(11));
    assert!(!matches!(error, CertificateError::Expired { .. }), "{error}");
    // A list under the authority's name by somebody else.
    let twin = Pki::new();
    twin.root("middle", "prime256v1", CA);
    twin.crl("middle", "middle", &[], "-crldays 10");
    let lists = [pki.crls(&["root"]), twin.crls(&["middle"])].concat();
    let error = refused(&bundle, pki.trust(&["root"]).with_crls(lists).unwrap(), now());
    assert!(matches!(error, CertificateError::RevocationUnknown { .. }), "{error}");
    // An authority that may not sign lists.
    pki.issue(
        "mute",
        "prime256v1",
        "root",
        "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign",
    );
    pki.issue("muted", "prime256v1", "mute", SIGNER);
    pki.crl("mute", "mute", &[], "-crldays 10");
    let error = refused(&signed(&pki, "muted", &["mute"]), with(&["root", "mute"]), now());
    assert!(matches!(error, CertificateError::RevocationUnknown { .. }), "{error}");
}

/// What a trust policy pins is asked as what a caller passes: its lists at every use, its timestamps once the
/// certificate has ended.
#[test]
fn a_policy_asks_the_lists_and_timestamps_that_it_pins() {
    let pki = three("prime256v1");
    pki.root("tsroot", "prime256v1", CA);
    pki.issue_for("tsa", "prime256v1", "tsroot", TSA, "-days 3000");
    pki.crl("clean", "root", &[], "-crldays 10");
    pki.crl("between", "middle", &[], "-crldays 10");
    pki.crl("listed", "middle", &["signer"], "-crldays 10");
    let pem = |name: &str| String::from_utf8(pki.read(name)).unwrap();
    let policy = |crls: &[&str], stamps: &[&str]| {
        let crls: Vec<String> = crls.iter().map(|name| pem(&format!("{name}.crl"))).collect();
        let mut by = json!({"roots": pem("root.pem"), "identity": "alice@example.org", "crls": crls});
        for name in stamps {
            by["timestamp_roots"] = pem(name).into();
        }
        let signer = json!({"principal": "alice", "models": ["*"], "certificate": [by]});
        let rule = json!({"models": ["*"], "signatures": 1});
        json!({"schema": "strongroom.trust-policy/1", "tenant": "acme", "version": 1, "signer": [signer], "rule": [rule]})
    };
    let parsed = |document: Value| integrity::trust::Policy::parse(document.to_string().as_bytes());
    let bundle = stamped(&pki, &signed(&pki, "signer", &["middle"]), "tsa");
    let opens = |crls: &[&str], stamps: &[&str], at: Timestamp| {
        let policy = parsed(policy(crls, stamps)).unwrap();
        let signed = policy.open("m", &bundle, at);
        signed.is_ok_and(|signed| policy.attribute("m", signed.signer(), at).len() == 1)
    };
    assert!(opens(&[], &[], now()) && opens(&["clean", "between"], &[], now()));
    assert!(!opens(&["clean", "listed"], &[], now()), "a revoked certificate counts");
    assert!(!opens(&["clean"], &[], now()), "an authority without a list counts");
    assert!(!opens(&["clean", "between"], &[], later(11)), "lists that ran out count");
    assert!(!opens(&[], &[], later(400)) && opens(&[], &["tsroot.pem"], later(400)));
    // Roots are roots, lists are lists.
    for bad in [policy(&[], &["middle.pem"]), policy(&[], &["listed.crl"])] {
        assert!(parsed(bad).is_err());
    }
    let mut bad = policy(&["clean"], &[]);
    bad["signer"][0]["certificate"][0]["crls"][0] = pem("root.pem").into();
    assert!(parsed(bad).is_err());
}

#[test]
fn a_trusted_timestamp_dates_a_signature_and_no_other_does() {
    for (curve, kind) in [("prime256v1", "prime256v1"), ("secp521r1", "rsa"), ("secp384r1", "secp384r1")] {
        let pki = three(curve);
        pki.root("tsroot", kind, CA);
        pki.issue_for("tsa", kind, "tsroot", TSA, "-days 3000");
        let bundle = stamped(&pki, &signed(&pki, "signer", &["middle"]), "tsa");
        let with = |roots: &[&str]| pki.trust(&["root"]).with_tsa(pki.certificates(roots)).unwrap();
        // Long after the signer's certificate ended, the timestamp says that it was made before.
        let signed_then = open(&bundle, with(&["tsroot"]), later(400)).unwrap();
        let Signer::Certificate(signer) = signed_then.signer() else { panic!("another signer") };
        assert!(signer.timestamped && signer.at < later(1), "{curve} {kind}");
        // Without roots for timestamps it is judged by the clock.
        assert!(matches!(
            refused(&bundle, pki.trust(&["root"]), later(400)),
            CertificateError::Expired { .. }
        ));
        assert!(open(&bundle, pki.trust(&["root"]), now()).is_ok());
        // Of another authority: refused also while the certificate is valid.
        pki.root("stranger", kind, CA);
        for at in [now(), later(400)] {
            let error = refused(&bundle, with(&["stranger"]), at);
            assert!(matches!(error, CertificateError::Timestamp { .. }), "{error}");
        }
        // The authority's own certificate has ended.
        let error = refused(&bundle, with(&["tsroot"]), later(3001));
        assert!(matches!(error, CertificateError::Timestamp { .. }), "{error}");
        // Over another signature.
        let other = with_stamp(&bundle, &pki.timestamp("tsa", b"another signature"));
        let error = refused(&other, with(&["tsroot"]), now());
        assert!(matches!(&error, CertificateError::Timestamp { why } if why.contains("another")), "{error}");
        // From the future, as seen by a clock of yesterday: the certificate is not valid yet either way.
        let yesterday = Timestamp::from_millis(now().as_millis() - DAY);
        assert!(open(&bundle, with(&["tsroot"]), yesterday).is_err());
        // A timestamp that says that it was refused.
        let error = refused(&with_stamp(&bundle, &[0x30, 5, 0x30, 3, 2, 1, 2]), with(&["tsroot"]), now());
        assert!(matches!(error, CertificateError::Timestamp { .. }), "{error}");
    }
}

#[test]
fn only_a_certificate_for_timestamps_dates_anything() {
    let pki = three("prime256v1");
    pki.root("tsroot", "prime256v1", CA);
    let bundle = signed(&pki, "signer", &["middle"]);
    // OpenSSL itself refuses to sign with others, so a good response is signed under one that ends soon, or
    // is revoked.
    pki.issue_for("tsa", "prime256v1", "tsroot", TSA, "-days 3000");
    let dated = stamped(&pki, &bundle, "tsa");
    pki.crl("tsroot", "tsroot", &["tsa"], "-crldays 900");
    pki.crl("root", "root", &[], "-crldays 900");
    pki.crl("middle", "middle", &[], "-crldays 900");
    let trust = |lists: &[&str]| {
        let trust = pki.trust(&["root"]).with_tsa(pki.certificates(&["tsroot"])).unwrap();
        trust.with_crls(pki.crls(lists)).unwrap()
    };
    assert!(open(&dated, trust(&["root", "middle"]), later(400)).is_ok());
    let error = refused(&dated, trust(&["root", "middle", "tsroot"]), later(400));
    assert!(matches!(error, CertificateError::Timestamp { .. }), "{error}");
    // Revocation of the signer counts whenever it was dated.
    pki.crl("bad-middle", "middle", &["signer"], "-crldays 900");
    let error = refused(&dated, trust(&["root", "bad-middle"]), later(400));
    assert!(matches!(error, CertificateError::Revoked { .. }), "{error}");
    // The certificate of a signer of models is none of a timestamp authority, though its root is trusted for it.
    let wrong = pki.trust(&["root"]).with_tsa(pki.certificates(&["root"])).unwrap();
    assert!(open(&dated, wrong, later(400)).is_err());
}

#[test]
fn no_flipped_bit_and_no_cut_of_a_timestamp_dates_another_time() {
    let pki = three("prime256v1");
    pki.root("tsroot", "prime256v1", CA);
    pki.issue_for("tsa", "prime256v1", "tsroot", TSA, "-days 3000");
    let bundle = signed(&pki, "signer", &["middle"]);
    let stamped = stamped(&pki, &bundle, "tsa");
    let at = later(400);
    let trust = || pki.trust(&["root"]).with_tsa(pki.certificates(&["tsroot"])).unwrap();
    let Signer::Certificate(good) = open(&stamped, trust(), at).unwrap().signer().clone() else { panic!() };
    let response = pki.read("ts.reply");
    let mut accepted = 0;
    for bit in 0..response.len() * 8 {
        let mut flipped = response.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(signed) = open(&with_stamp(&bundle, &flipped), trust(), at) {
            // Parts that nothing signs, such as the name of the signer beside its certificate.
            accepted += 1;
            let Signer::Certificate(signer) = signed.signer() else { panic!("another signer") };
            assert_eq!(signer.at, good.at, "bit {bit}");
        }
    }
    assert!(accepted < response.len() * 2, "{accepted}");
    for len in 0..response.len() {
        assert!(open(&with_stamp(&bundle, &response[..len]), trust(), at).is_err(), "cut to {len}");
    }
}

#[test]
fn no_flipped_bit_and_no_cut_of_a_bundle_by_certificate_verifies_as_another() {
    let pki = Pki::new();
    pki.root("root", "prime256v1", CA);
    pki.issue("signer", "prime256v1", "root", SIGNER);
    let (bundle, at) = (signed(&pki, "signer", &[]), now());
    let trust = pki.trust(&["root"]);
    let good = open(&bundle, trust.clone(), at).unwrap();
    let mut accepted = 0;
    for bit in 0..bundle.len() * 8 {
        let mut flipped = bundle.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(signed) = open(&flipped, trust.clone(), at) {
            // White space, and the name of the empty list of log entries: unknown members may stand there.
            accepted += 1;
            assert_eq!((signed.statement(), signed.signer()), (good.statement(), good.signer()), "bit {bit}");
        }
    }
    assert!(accepted <= 16 + "tlogEntries".len() * 8, "{accepted}");
    for len in 0..bundle.len() - 1 {
        assert!(open(&bundle[..len], trust.clone(), at).is_err(), "cut to {len}");
    }
}

#[test]
fn files_of_certificates_are_read_strictly() {
    let pki = three("prime256v1");
    let pem = pki.read("signer.pem");
    let both = [pem.clone(), b"a comment\n".to_vec(), pki.read("middle.pem")].concat();
    assert_eq!(Certificate::all_from_pem(&both).unwrap().len(), 2);
    let der = pki.certificates(&["signer"])[0].der().to_vec();
    assert!(Certificate::from_der(&der).is_ok());
    for bad in [
        Vec::new(),
        b"no certificate".to_vec(),
        pki.read("signer.key"),
        [pem.clone(), pki.read("signer.key")].concat(),
        pem[..pem.len() - 30].to_vec(),
        pem.repeat(65),
    ] {
        assert!(Certificate::all_from_pem(&bad).is_err());
    }
    assert!(Certificate::from_der(&[der.clone(), vec![0]].concat()).is_err());
    for len in 0..der.len() {
        assert!(Certificate::from_der(&der[..len]).is_err(), "cut to {len}");
    }
    pki.crl("middle", "middle", &["signer"], "-crldays 10");
    pki.openssl("crl -in middle.crl -outform DER -out middle.der");
    let list = pki.read("middle.der");
    for len in 0..list.len() {
        assert!(Crl::parse(&list[..len]).is_err(), "cut to {len}");
    }
    // Lists that say less than they seem to.
    for line in
        ["issuingDistributionPoint=critical,@i\n[i]\nonlyuser=TRUE", "1.2.3.4=critical,ASN1:UTF8String:x"]
    {
        pki.write("ca.cnf", format!("[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_md=sha256\ncrl_extensions=x\n[x]\n{line}\n"));
        pki.openssl(
            "ca -config ca.cnf -gencrl -cert middle.pem -keyfile middle.key -crldays 10 -out odd.crl",
        );
        assert!(matches!(Crl::parse(&pki.read("odd.crl")), Err(CertificateError::Critical { .. })), "{line}");
    }
}
