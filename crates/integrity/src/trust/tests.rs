//! The decision, as properties named by what may never happen, and each rule of the documents broken once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use proptest::prelude::*;
use serde_json::{Value, json};

use base::{Digest, Timestamp, sha256};

use super::*;
use crate::PrivateKey;
use crate::dsse::Envelope;
use crate::oms::{
    CertificateSigner, Draft, HashType, Measured, Serialization, Signed, Signer, SigstoreSigner, Statement,
    sign_with_key,
};

const HOUR: u64 = 60 * 60 * 1000;
/// 2026-06-01T00:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_780_272_000_000);

fn key(n: u8) -> PrivateKey {
    PrivateKey::from_p256_scalar(&[n; 32]).unwrap()
}

fn pem(n: u8) -> String {
    key(n).public_key().to_pem().unwrap()
}

fn files(content: &[u8]) -> BTreeMap<String, Measured> {
    [("w".to_owned(), Measured::whole(1, HashType::Sha256.hash(content)))].into()
}

/// The model with this content, signed with a key.
fn bundle(n: u8, content: &[u8]) -> Vec<u8> {
    let files = files(content);
    let serialization = Serialization::default();
    sign_with_key(&key(n), &Draft { model_name: "m", serialization, files: &files, ignore_paths: &[] })
        .unwrap()
}

/// The same, as it is once its signature verified.
fn signed(n: u8, content: &[u8]) -> Signed {
    static MADE: Mutex<BTreeMap<(u8, Vec<u8>), Signed>> = Mutex::new(BTreeMap::new());
    let open = || crate::oms::open(&bundle(n, content), pem(n).as_bytes()).unwrap();
    MADE.lock().unwrap().entry((n, content.to_vec())).or_insert_with(open).clone()
}

fn root(content: &[u8]) -> Digest {
    signed(1, content).statement().root_digest
}

/// Signers 1 to 4 for all models by one key each, and one rule.
fn document(signatures: usize) -> Value {
    let signers: Vec<Value> =
        (1..=4u8).map(|n| json!({"principal": format!("p{n}"), "models": ["*"], "keys": [pem(n)]})).collect();
    json!({
        "schema": "strongroom.trust-policy/1",
        "tenant": "acme",
        "version": 1,
        "signer": signers,
        "rule": [{"models": ["*"], "signatures": signatures, "bom": false, "accept_risks": ["hdf5"]}],
    })
}

fn policy(document: &Value) -> Policy {
    Policy::parse(document.to_string().as_bytes()).unwrap()
}

fn list(version: u64, next_hours: u64, entries: &[(Kind, String)]) -> Revocations {
    Revocations::parse(written(version, next_hours, entries).to_string().as_bytes()).unwrap()
}

fn written(version: u64, next_hours: u64, entries: &[(Kind, String)]) -> Value {
    let entries: Vec<Value> = entries
        .iter()
        .map(|(kind, id)| json!({"kind": kind, "id": id, "since": "2026-05-01T00:00:00Z", "reason": "lost"}))
        .collect();
    let next = NOW.plus_millis(next_hours * HOUR).to_string().replace(".000Z", "Z");
    json!({
        "schema": "strongroom.revocations/1",
        "list_version": version,
        "issued": "2026-05-31T00:00:00Z",
        "next_update": next,
        "entries": entries,
    })
}

fn load() -> Option<Inspection> {
    Some(Inspection { verdict: Verdict::Load, risks: BTreeSet::new() })
}

fn facts(signatures: &[Signed]) -> Facts<'_> {
    Facts {
        model: "m",
        stage: Stage::Admit,
        signatures,
        release: None,
        bom: None,
        inspection: load(),
        files: &[],
        datasets: &[],
        stored_floor: 0,
    }
}

fn codes(decision: &Decision) -> Vec<&'static str> {
    decision.reasons.iter().map(|reason| reason.code).collect()
}

#[test]
fn k_signatures_of_k_people_by_k_keys_admit_and_fewer_do_not() {
    let all: Vec<Signed> = (1..=4).map(|n| signed(n, b"x")).collect();
    for k in 1..=4 {
        for given in 0..=4 {
            let decision = evaluate(&policy(&document(k)), None, &facts(&all[..given]), NOW);
            assert_eq!(decision.admit, given >= k, "{given} of {k}: {:?}", decision.reasons);
            assert_eq!(decision.principals.len(), given);
            assert_eq!(decision.has("too-few-signatures"), given < k);
        }
    }
    // One person twice, with the same bundle and with another.
    let twice = [signed(1, b"x"), signed(1, b"x")];
    assert!(!evaluate(&policy(&document(2)), None, &facts(&twice), NOW).admit);
    // One person with two keys.
    let mut two_keys = document(2);
    two_keys["signer"][0]["keys"] = json!([pem(1), pem(9)]);
    let both = [signed(1, b"x"), signed(9, b"x")];
    let decision = evaluate(&policy(&two_keys), None, &facts(&both), NOW);
    assert_eq!((decision.admit, decision.principals.len()), (false, 1));
    // Somebody whom the policy does not name.
    let strangers = [signed(8, b"x"), signed(7, b"x")];
    assert_eq!(
        codes(&evaluate(&policy(&document(1)), None, &facts(&strangers), NOW)),
        ["too-few-signatures"]
    );
}

#[test]
fn signatures_over_other_files_do_not_add_up() {
    // Different content; and the same root digest under other names.
    let other = [signed(1, b"x"), signed(2, b"y")];
    assert_eq!(codes(&evaluate(&policy(&document(1)), None, &facts(&other), NOW)), ["statements-differ"]);
    let renamed: BTreeMap<_, _> = files(b"x").into_values().map(|m| ("v".to_owned(), m)).collect();
    let serialization = Serialization::default();
    let draft = Draft { model_name: "m", serialization, files: &renamed, ignore_paths: &[] };
    let renamed = crate::oms::open(&sign_with_key(&key(2), &draft).unwrap(), pem(2).as_bytes()).unwrap();
    assert_eq!(renamed.statement().root_digest, root(b"x"));
    let both = [signed(1, b"x"), renamed];
    for k in [1, 2] {
        assert_eq!(codes(&evaluate(&policy(&document(k)), None, &facts(&both), NOW)), ["statements-differ"]);
    }
    // Other paths left out: both signed exactly what is used.
    let files = files(b"x");
    let left = Draft { model_name: "m", serialization, files: &files, ignore_paths: &["notes".to_owned()] };
    let left = crate::oms::open(&sign_with_key(&key(2), &left).unwrap(), pem(2).as_bytes()).unwrap();
    let both = [signed(1, b"x"), left];
    assert!(evaluate(&policy(&document(2)), None, &facts(&both), NOW).admit);
}

#[test]
fn a_signer_counts_only_for_their_models_and_in_their_time() {
    let mut narrow = document(1);
    narrow["signer"][0]["models"] = json!(["vision-*", "summary"]);
    narrow["signer"][0]["not_before"] = "2026-05-01T00:00:00Z".into();
    narrow["signer"][0]["not_after"] = "2026-06-01T00:00:00Z".into();
    let policy = policy(&narrow);
    let one = [signed(1, b"x")];
    let admits = |model, now| evaluate(&policy, None, &Facts { model, ..facts(&one) }, now).admit;
    for (model, good) in [
        ("vision-1", true),
        ("vision-", true),
        ("summary", true),
        ("summary2", false),
        ("vision", false),
        ("Vision-1", false),
    ] {
        assert_eq!(admits(model, NOW), good, "{model}");
    }
    assert!(!admits("summary", NOW.plus_millis(1)));
    assert!(!admits("summary", Timestamp::from_millis(NOW.as_millis() - 40 * 24 * HOUR)));
}

#[test]
fn the_rule_that_says_it_most_closely_is_in_force() {
    let mut many = document(1);
    many["rule"] = json!([
        {"models": ["*"], "signatures": 1, "bom": false},
        {"models": ["m*"], "signatures": 2, "bom": false},
        {"models": ["m"], "signatures": 3, "bom": false},
        {"models": ["mo*", "x"], "signatures": 4, "bom": false},
    ]);
    let policy = policy(&many);
    for (model, k) in [("m", 3), ("ma", 2), ("model", 4), ("x", 4), ("y", 1)] {
        assert_eq!(policy.rule(model).unwrap().signatures, k, "{model}");
    }
    many["rule"] = json!([{"models": ["n*"], "signatures": 1, "bom": false}]);
    let one = [signed(1, b"x")];
    assert_eq!(codes(&evaluate(&self::policy(&many), None, &facts(&one), NOW)), ["no-rule"]);
}

#[test]
fn what_is_revoked_is_refused_whatever_else_holds() {
    let one = [signed(1, b"x")];
    let policy = policy(&document(1));
    let hex = |digest: Digest| digest.hex();
    let listed = sha256(b"beside");
    let datasets = ["fashion@1".to_owned()];
    let facts = Facts { files: &[listed], datasets: &datasets, ..facts(&one) };
    assert!(evaluate(&policy, Some(&list(1, 1, &[])), &facts, NOW).admit);
    for (kind, id, code) in [
        (Kind::Key, hex(key(1).public_key().fingerprint().unwrap()), "revoked-key"),
        (Kind::RootDigest, hex(root(b"x")), "revoked-model"),
        (Kind::FileDigest, hex(sha256(b"x")), "revoked-file"),
        (Kind::FileDigest, hex(listed), "revoked-file"),
        (Kind::Dataset, "fashion@1".to_owned(), "revoked-dataset"),
    ] {
        let decision = evaluate(&policy, Some(&list(1, 1, &[(kind, id)])), &facts, NOW);
        assert_eq!(codes(&decision), [code]);
        assert!(decision.reasons[0].what.contains("lost"));
    }
    // The same name under another kind is nothing.
    let other = (Kind::RootDigest, hex(key(1).public_key().fingerprint().unwrap()));
    assert!(evaluate(&policy, Some(&list(1, 1, &[other])), &facts, NOW).admit);
}

#[test]
fn a_revoked_authority_takes_its_signers_with_it() {
    let (leaf, above) = (sha256(b"leaf"), sha256(b"root"));
    let by = CertificateSigner {
        key: sha256(b"key"),
        certificate: leaf,
        issuers: vec![above],
        subject: "CN=a".to_owned(),
        names: Vec::new(),
        at: NOW,
        timestamped: false,
    };
    let one = [Signed::new(statement(), Signer::Certificate(by))];
    for id in [leaf, above] {
        let decision = evaluate(
            &policy(&document(1)),
            Some(&list(1, 1, &[(Kind::Certificate, id.hex())])),
            &facts(&one),
            NOW,
        );
        assert!(decision.has("revoked-certificate"));
    }
}

fn statement() -> Statement {
    signed(1, b"x").statement().clone()
}

#[test]
fn a_list_that_is_asked_for_must_be_there_and_of_this_time() {
    let mut asking = document(1);
    asking["revocations"] = json!({"key": pem(20), "grace_hours": 5});
    let policy = policy(&asking);
    let one = [signed(1, b"x")];
    let at = |list: Option<&Revocations>, stage, hours: u64| {
        let facts = Facts { stage, ..facts(&one) };
        codes(&evaluate(&policy, list, &facts, NOW.plus_millis(hours * HOUR)))
    };
    assert_eq!(at(None, Stage::Admit, 0), ["revocations-missing"]);
    assert_eq!(at(None, Stage::Load, 0), ["revocations-missing"]);
    let list = list(1, 2, &[]);
    assert_eq!(at(Some(&list), Stage::Admit, 2), ["signed"]);
    assert_eq!(at(Some(&list), Stage::Admit, 3), ["revocations-stale"]);
    assert_eq!(at(Some(&list), Stage::Load, 7), ["signed"]);
    assert_eq!(at(Some(&list), Stage::Load, 8), ["revocations-stale"]);
    let before = Timestamp::from_millis(NOW.as_millis() - 48 * HOUR);
    assert_eq!(codes(&evaluate(&policy, Some(&list), &facts(&one), before)), ["revocations-not-yet"]);
}

#[test]
fn older_releases_are_refused_and_so_are_unknown_ones_above_a_floor() {
    let mut floored = document(1);
    floored["rule"][0]["floor"] = 3.into();
    let one = [signed(1, b"x")];
    let with = |release, stored_floor| {
        codes(&evaluate(&policy(&floored), None, &Facts { release, stored_floor, ..facts(&one) }, NOW))
    };
    assert_eq!(with(Some(3), 0), ["signed"]);
    assert_eq!(with(Some(2), 0), ["below-floor"]);
    assert_eq!(with(None, 0), ["release-unknown"]);
    assert_eq!(with(Some(9), 10), ["below-floor"]);
    assert_eq!(with(Some(10), 10), ["signed"]);
}

#[test]
fn content_and_bom_must_be_as_the_rule_says() {
    let one = [signed(1, b"x")];
    let with = |verdict, risks: &[&str]| {
        let risks = risks.iter().map(ToString::to_string).collect();
        let inspection = Some(Inspection { verdict, risks });
        codes(&evaluate(&policy(&document(1)), None, &Facts { inspection, ..facts(&one) }, NOW))
    };
    assert_eq!(with(Verdict::Load, &[]), ["signed"]);
    assert_eq!(with(Verdict::LoadWithPolicy, &["hdf5"]), ["signed"]);
    assert_eq!(with(Verdict::LoadWithPolicy, &["hdf5", "legacy-torch"]), ["risk-not-accepted"]);
    assert_eq!(with(Verdict::LoadWithPolicy, &[]), ["risk-not-accepted"]);
    assert_eq!(with(Verdict::Load, &["legacy-torch"]), ["risk-not-accepted"]);
    assert_eq!(with(Verdict::Refuse, &["hdf5"]), ["inspection-refused"]);
    assert_eq!(
        codes(&evaluate(&policy(&document(1)), None, &Facts { inspection: None, ..facts(&one) }, NOW)),
        ["not-inspected"]
    );
    let mut asking = document(1);
    asking["rule"][0]["bom"] = true.into();
    let with = |bom| codes(&evaluate(&policy(&asking), None, &Facts { bom, ..facts(&one) }, NOW));
    assert_eq!(with(Some(root(b"x"))), ["signed"]);
    assert_eq!(with(None), ["no-bom"]);
    assert_eq!(with(Some(root(b"y"))), ["bom-of-another"]);
}

#[test]
fn bundles_open_with_the_credential_that_fits_and_are_attributed_to_whom_it_is_of() {
    let mut by_identity = document(1);
    by_identity["signer"][1]["sigstore"] = json!([{"identity": "bob@example.org", "issuer": "https://id"}]);
    let policy = policy(&by_identity);
    let opened = policy.open("m", &bundle(3, b"x"), NOW).unwrap();
    let names = |signer: &Signer| -> Vec<String> {
        policy.attribute("m", signer, NOW).iter().map(|p| p.name.clone()).collect()
    };
    assert_eq!(names(opened.signer()), ["p3"]);
    assert!(policy.open("m", &bundle(8, b"x"), NOW).is_err());
    let sigstore = |identity: &str, issuer: &str| {
        Signer::Sigstore(SigstoreSigner {
            key: sha256(b"k"),
            certificate: sha256(b"c"),
            identity: identity.to_owned(),
            issuer: issuer.to_owned(),
            at: NOW,
        })
    };
    assert_eq!(names(&sigstore("bob@example.org", "https://id")), ["p2"]);
    for (identity, issuer) in
        [("bob@example.org", "https://other"), ("bob@example.com", "https://id"), ("", "")]
    {
        assert!(names(&sigstore(identity, issuer)).is_empty(), "{identity} {issuer}");
    }
}

#[test]
fn content_alone_is_judged_by_the_rule_that_is_nearest() {
    let mut document = document(1);
    document["rule"] = json!([
        {"models": ["m*"], "signatures": 1, "accept_risks": ["hdf5", "pickle-global:mine:Net"]},
        {"models": ["mx"], "signatures": 1},
    ]);
    let policy = policy(&document);
    let found = |verdict, risks: &[&str]| Inspection {
        verdict,
        risks: risks.iter().map(|r| (*r).to_owned()).collect(),
    };
    let codes = |model, found: &Inspection| -> Vec<&str> {
        against_content(&policy, model, found).iter().map(|reason| reason.code).collect()
    };
    let risky = found(Verdict::LoadWithPolicy, &["hdf5", "pickle-global:mine:Net"]);
    assert!(codes("m1", &risky).is_empty());
    assert_eq!(codes("mx", &risky), ["risk-not-accepted"; 2]);
    assert_eq!(codes("other", &risky), ["no-rule"]);
    assert_eq!(
        codes("m1", &found(Verdict::LoadWithPolicy, &["hdf5", "pickle-global:mine:Other"])),
        ["risk-not-accepted"]
    );
    assert_eq!(codes("m1", &found(Verdict::LoadWithPolicy, &[])), ["risk-not-accepted"]);
    assert_eq!(codes("m1", &found(Verdict::Refuse, &["hdf5"])), ["inspection-refused"]);
    // A risk is one whatever the verdict beside it.
    assert_eq!(codes("mx", &found(Verdict::Load, &["hdf5"])), ["risk-not-accepted"]);
    assert!(codes("mx", &found(Verdict::Load, &[])).is_empty());
}

#[test]
fn the_example_is_a_policy_and_says_the_same_in_both_languages() {
    let example = EXAMPLE;
    let policy = Policy::parse(example.as_bytes()).unwrap();
    assert_eq!((policy.tenant(), policy.rules().len(), policy.principals().len()), ("acme", 2, 2));
    let json: Value = toml::from_str(example).unwrap();
    assert_eq!(Policy::parse(json.to_string().as_bytes()).unwrap().digest(), policy.digest());
    let other = example.replace("floor = 3", "floor = 4");
    assert_ne!(Policy::parse(other.as_bytes()).unwrap().digest(), policy.digest());
}

#[test]
fn a_policy_that_makes_no_sense_is_refused() {
    type Edit = fn(&mut Value);
    let edits: [(&str, Edit); 28] = [
        ("schema", |p| p["schema"] = "strongroom.trust-policy/2".into()),
        ("version", |p| p["version"] = 0.into()),
        ("unknown member", |p| p["allow_all"] = true.into()),
        ("unknown in signer", |p| p["signer"][0]["trusted"] = true.into()),
        ("unknown in rule", |p| p["rule"][0]["unless"] = "x".into()),
        ("no signer", |p| p["signer"] = json!([])),
        ("no rule", |p| p["rule"] = json!([])),
        ("no way to sign", |p| p["signer"][0]["keys"] = json!([])),
        ("twice a principal", |p| p["signer"][1]["principal"] = "p1".into()),
        ("a key of two", |p| p["signer"][1]["keys"] = p["signer"][0]["keys"].clone()),
        ("a key twice", |p| {
            let one = p["signer"][0]["keys"][0].clone();
            p["signer"][0]["keys"].as_array_mut().unwrap().push(one);
        }),
        ("not a key", |p| p["signer"][0]["keys"] = json!(["x"])),
        ("two rules for one", |p| {
            let one = p["rule"][0].clone();
            p["rule"].as_array_mut().unwrap().push(one);
        }),
        ("no signature", |p| p["rule"][0]["signatures"] = 0.into()),
        ("more than may sign", |p| p["rule"][0]["signatures"] = 5.into()),
        ("more than may sign this", |p| {
            for signer in p["signer"].as_array_mut().unwrap() {
                signer["models"] = json!(["n*"]);
            }
            p["rule"][0]["models"] = json!(["m*"]);
        }),
        ("a star within", |p| p["rule"][0]["models"] = json!(["a*b"])),
        ("two stars", |p| p["rule"][0]["models"] = json!(["a**"])),
        ("nothing meant", |p| p["rule"][0]["models"] = json!([""])),
        ("no models", |p| p["rule"][0]["models"] = json!([])),
        ("a risk by pattern", |p| p["rule"][0]["accept_risks"] = json!(["pickle-global:os:*"])),
        ("a module without name", |p| p["rule"][0]["accept_risks"] = json!(["pickle-global:os"])),
        ("a data set in two places of a name", |p| p["datasets"] = json!({"accept_pickle": ["a*b"]})),
        ("another part for data sets", |p| p["datasets"] = json!({"accept_all": ["a"]})),
        ("any global", |p| p["rule"][0]["accept_risks"] = json!(["pickle-global"])),
        ("a time", |p| p["signer"][0]["not_before"] = "2026-13-01T00:00:00Z".into()),
        ("ends before", |p| {
            p["signer"][0]["not_before"] = "2026-02-01T00:00:00Z".into();
            p["signer"][0]["not_after"] = "2026-01-01T00:00:00Z".into();
        }),
        ("grace", |p| p["revocations"] = json!({"key": pem(20), "grace_hours": 169})),
    ];
    assert!(Policy::parse(document(2).to_string().as_bytes()).is_ok());
    for (what, edit) in edits {
        let mut bad = document(2);
        edit(&mut bad);
        assert!(Policy::parse(bad.to_string().as_bytes()).is_err(), "{what}");
    }
    let mut own = document(1);
    own["revocations"] = json!({"key": pem(1)});
    assert!(Policy::parse(own.to_string().as_bytes()).is_err(), "a signer's key signs revocations");
    for text in ["", "x", "[]", "{", "schema = 1", "{\"schema\":\"a\",\"schema\":\"b\"}"] {
        assert!(Policy::parse(text.as_bytes()).is_err(), "{text}");
    }
    let doubled = document(1).to_string().replacen("\"tenant\"", "\"tenant\":\"x\",\"tenant\"", 1);
    assert!(matches!(Policy::parse(doubled.as_bytes()), Err(TrustError::Json(_))));
}

#[test]
fn a_revocation_list_is_believed_as_signed_and_never_goes_back() {
    let (signer, other) = (key(20), key(21));
    let envelope = |key: &PrivateKey, payload_type: &str, list: &Value| {
        Envelope::sign(payload_type, list.to_string().into_bytes(), key).unwrap().to_bytes()
    };
    let text = written(3, 1, &[(Kind::Dataset, "d".into())]);
    let good = Revocations::open(&envelope(&signer, REVOCATIONS_TYPE, &text), &signer.public_key()).unwrap();
    assert_eq!((good.list_version(), good.entries().count()), (3, 1));
    for bad in [envelope(&other, REVOCATIONS_TYPE, &text), envelope(&signer, crate::dsse::IN_TOTO, &text)] {
        assert!(matches!(Revocations::open(&bad, &signer.public_key()), Err(TrustError::Signature(_))));
    }
    assert!(good.replaces(&good).is_ok());
    assert!(list(4, 1, &[]).replaces(&good).is_ok());
    assert_eq!(list(2, 1, &[]).replaces(&good), Err(TrustError::Rollback { known: 3, offered: 2 }));
    assert!(list(3, 1, &[]).replaces(&good).is_err());
    type Edit = fn(&mut Value);
    let edits: [(&str, Edit); 8] = [
        ("schema", |l| l["schema"] = "x".into()),
        ("number", |l| l["list_version"] = 0.into()),
        ("times", |l| l["next_update"] = l["issued"].clone()),
        ("unknown member", |l| l["x"] = 1.into()),
        ("kind", |l| l["entries"][0]["kind"] = "person".into()),
        ("since", |l| l["entries"][0]["since"] = "yesterday".into()),
        ("id of a key", |l| l["entries"][0]["kind"] = "key".into()),
        ("empty id", |l| l["entries"][0]["id"] = "".into()),
    ];
    for (what, edit) in edits {
        let mut bad = text.clone();
        edit(&mut bad);
        assert!(Revocations::parse(bad.to_string().as_bytes()).is_err(), "{what}");
    }
}

/// Anything that a policy, a list and facts may be, within a few names so that they meet.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is drawn by itself")]
struct Case {
    k: usize,
    floor: u64,
    bom: bool,
    named: Vec<u8>,
    signers: Vec<(u8, bool)>,
    release: Option<u64>,
    stored_floor: u64,
    has_bom: bool,
    verdict: Option<(Verdict, BTreeSet<String>)>,
    revoked: Vec<u8>,
    list: bool,
    hours: u64,
    load: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    let verdict = prop_oneof![Just(Verdict::Load), Just(Verdict::LoadWithPolicy), Just(Verdict::Refuse)];
    let risks =
        proptest::collection::btree_set(prop_oneof![Just("hdf5".to_owned()), Just("other".to_owned())], 0..2);
    (
        (1usize..4, 0u64..3, any::<bool>(), proptest::sample::subsequence(vec![1u8, 2, 3, 4], 3..=4)),
        proptest::collection::vec((1u8..6, proptest::bool::weighted(0.1)), 0..4),
        (proptest::option::weighted(0.8, 0u64..4), 0u64..3, proptest::bool::weighted(0.8)),
        proptest::option::weighted(0.9, (verdict, risks)),
        (proptest::collection::vec(0u8..9, 0..2), proptest::bool::weighted(0.7), 0u64..60, any::<bool>()),
    )
        .prop_map(
            |((k, floor, bom, named), signers, (release, stored_floor, has_bom), verdict, rest)| {
                let (revoked, list, hours, load) = rest;
                Case {
                    k,
                    floor,
                    bom,
                    named,
                    signers,
                    release,
                    stored_floor,
                    has_bom,
                    verdict,
                    revoked,
                    list,
                    hours,
                    load,
                }
            },
        )
}

impl Case {
    fn policy(&self) -> Policy {
        let mut document = document(self.k);
        let signers = document["signer"].as_array().unwrap();
        let kept: Vec<Value> = self.named.iter().map(|n| signers[usize::from(*n) - 1].clone()).collect();
        document["signer"] = kept.into();
        document["rule"][0]["floor"] = self.floor.into();
        document["rule"][0]["bom"] = self.bom.into();
        policy(&document)
    }
    fn signatures(&self) -> Vec<Signed> {
        self.signers.iter().map(|(n, other)| signed(*n, if *other { b"y" } else { b"x" })).collect()
    }
    fn entry(n: u8) -> (Kind, String) {
        match n {
            0 => (Kind::RootDigest, root(b"x").hex()),
            6 => (Kind::FileDigest, sha256(b"y").hex()),
            7 => (Kind::Dataset, "d".to_owned()),
            8 => (Kind::FileDigest, sha256(b"unrelated").hex()),
            n => (Kind::Key, key(n).public_key().fingerprint().unwrap().hex()),
        }
    }
    fn list(&self) -> Option<Revocations> {
        let entries: Vec<_> = self.revoked.iter().map(|n| Self::entry(*n)).collect();
        self.list.then(|| list(1, 24, &entries))
    }
    fn now(&self) -> Timestamp {
        NOW.plus_millis(self.hours * HOUR)
    }
    fn facts<'f>(&self, signatures: &'f [Signed], datasets: &'f [String]) -> Facts<'f> {
        Facts {
            model: "m",
            stage: if self.load { Stage::Load } else { Stage::Admit },
            signatures,
            release: self.release,
            bom: self.has_bom.then(|| root(b"x")),
            inspection: self.verdict.clone().map(|(verdict, risks)| Inspection { verdict, risks }),
            files: &[],
            datasets,
            stored_floor: self.stored_floor,
        }
    }
    fn decide(&self) -> Decision {
        let (signatures, datasets) = (self.signatures(), ["d".to_owned()]);
        evaluate(&self.policy(), self.list().as_ref(), &self.facts(&signatures, &datasets), self.now())
    }
}

/// `change` never turns a no into a yes.
fn only_takes_away(case: &Case, change: impl FnOnce(&mut Case)) -> Result<(), TestCaseError> {
    let before = case.decide();
    let mut changed = case.clone();
    change(&mut changed);
    let after = changed.decide();
    prop_assert!(before.admit || !after.admit, "{:?} became {:?}", before.reasons, after.reasons);
    Ok(())
}

proptest! {
    #[test]
    fn what_is_admitted_has_enough_distinct_signers_and_nothing_against_it(case in cases()) {
        let decision = case.decide();
        if decision.admit {
            let by: BTreeSet<u8> = case.signers.iter().map(|(n, _)| *n).filter(|n| case.named.contains(n)).collect();
            prop_assert!(by.len() >= case.k && decision.principals.len() == by.len());
            let contents: BTreeSet<bool> = case.signers.iter().map(|(_, other)| *other).collect();
            prop_assert!(contents.len() == 1);
            prop_assert!(!case.bom || (case.has_bom && !contents.contains(&true)));
            let floor = case.floor.max(case.stored_floor);
            prop_assert!(case.release.map_or(floor == 0, |release| release >= floor));
            let (verdict, risks) = case.verdict.unwrap();
            prop_assert!(verdict != Verdict::Refuse && !risks.contains("other"));
        } else {
            prop_assert!(!decision.reasons.is_empty());
        }
    }

    #[test]
    fn adding_a_revocation_never_turns_refuse_into_admit(case in cases(), n in 0u8..9) {
        only_takes_away(&case, |c| c.revoked.push(n))?;
    }

    #[test]
    fn a_higher_floor_never_turns_refuse_into_admit(case in cases(), by in 1u64..3) {
        only_takes_away(&case, |c| c.floor += by)?;
        only_takes_away(&case, |c| c.stored_floor += by)?;
    }

    #[test]
    fn asking_for_more_never_turns_refuse_into_admit(case in cases()) {
        only_takes_away(&case, |c| c.k = (c.k + 1).min(3))?;
        only_takes_away(&case, |c| c.bom = true)?;
        only_takes_away(&case, |c| c.verdict = None)?;
        only_takes_away(&case, |c| c.verdict = Some((Verdict::Refuse, BTreeSet::new())))?;
        only_takes_away(&case, |c| c.named.truncate(c.k.max(3)))?;
    }

    #[test]
    fn a_revocation_list_only_grows_older(case in cases(), more in 1u64..60) {
        only_takes_away(&case, |c| c.hours += more)?;
    }

    #[test]
    fn what_may_be_admitted_may_be_loaded(case in cases()) {
        let mut admit = case.clone();
        admit.load = false;
        let mut load = case;
        load.load = true;
        prop_assert!(!admit.decide().admit || load.decide().admit);
    }

    #[test]
    fn adding_a_signer_who_did_not_sign_changes_nothing_and_lowers_no_k(case in cases()) {
        let mut more = case.clone();
        let new = (1..=4u8).find(|n| !case.named.contains(n) && !case.signers.iter().any(|(by, _)| by == n));
        prop_assume!(new.is_some());
        more.named.extend(new);
        let (before, after) = (case.decide(), more.decide());
        prop_assert_eq!((before.admit, before.reasons, before.principals), (after.admit, after.reasons, after.principals));
        prop_assert_eq!(case.policy().rule("m").map(|r| r.signatures), more.policy().rule("m").map(|r| r.signatures));
    }

    #[test]
    fn the_order_of_nothing_matters(case in cases(), turn in 0usize..4) {
        let mut turned = case.clone();
        let (signers, named, revoked) = (turned.signers.len().max(1), turned.named.len().max(1), turned.revoked.len().max(1));
        turned.signers.rotate_left(turn % signers);
        turned.named.rotate_left(turn % named);
        turned.revoked.rotate_left(turn % revoked);
        let (a, b) = (case.decide(), turned.decide());
        prop_assert_eq!(a.admit, b.admit);
        // A BoM is compared with the first signature; where signatures differ that alone refuses.
        if !a.has("statements-differ") {
            prop_assert_eq!((a.reasons, a.principals), (b.reasons, b.principals));
        }
    }

    #[test]
    fn a_floor_never_falls_and_rises_by_at_most_one(floor in any::<u64>(), approved in any::<u64>()) {
        let next = next_floor(floor, approved);
        prop_assert!(next >= floor && next <= floor.saturating_add(1) && next <= floor.max(approved));
    }
}

#[test]
fn data_sets_carry_nothing_that_runs_unless_it_is_said_by_name() {
    let silent = policy(&document(1));
    assert!(!silent.datasets().accepts_pickle("legacy") && !silent.datasets().accepts_code("legacy"));
    let mut said = document(1);
    said["datasets"] = json!({"accept_pickle": ["legacy", "old-*"], "accept_code": ["source"]});
    let said = policy(&said);
    assert_ne!(said.digest(), silent.digest());
    let accepts = |name: &str| (said.datasets().accepts_pickle(name), said.datasets().accepts_code(name));
    assert_eq!(accepts("legacy"), (true, false));
    assert_eq!(accepts("old-tables"), (true, false));
    assert_eq!(accepts("source"), (false, true));
    assert_eq!(accepts("legacy-2"), (false, false));
    // An empty part says nothing.
    let mut empty = document(1);
    empty["datasets"] = json!({});
    assert!(!policy(&empty).datasets().accepts_pickle("legacy"));
}
