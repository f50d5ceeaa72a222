use base::{Explain, Timestamp};
use proptest::prelude::*;
use serde_json::Value;

use super::soft::{BACKED_UP, ELIGIBLE, Lies, PRESENT, Soft, VERIFIED, b64, cbor};
use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const ANN: Handle = Handle::from_bytes([7; 16]);
const BOB: Handle = Handle::from_bytes([8; 16]);

fn site() -> Site {
    Site::new("Strongroom node", "node.example", 9443).unwrap()
}

fn soft() -> Soft {
    Soft::new(&rcgen::PKCS_ECDSA_P256_SHA256, 1)
}

fn register_with(key: &mut Soft, person: Handle, lies: &Lies) -> Result<Passkey, PasskeyError> {
    let (options, attempt) = site().begin_registration(person, "ann", &[], NOW).unwrap();
    let answer = key.create(&options, lies).to_string();
    site().finish_registration(attempt, answer.as_bytes(), " laptop\n ", NOW)
}

fn registered(key: &mut Soft) -> Passkey {
    register_with(key, ANN, &Lies::none()).unwrap()
}

fn login_with(key: &mut Soft, kept: &Passkey, lies: &Lies) -> Result<Passkey, PasskeyError> {
    let (options, attempt) = site().begin_login(NOW).unwrap();
    finish(attempt, &key.get(&options, lies), kept)
}

fn finish(attempt: Login, answer: &Value, kept: &Passkey) -> Result<Passkey, PasskeyError> {
    let assertion = Assertion::read(answer.to_string().as_bytes())?;
    site().finish_login(attempt, &assertion, kept, NOW.plus_millis(1))
}

#[test]
fn who_registers_a_passkey_logs_in_with_it() {
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_RSA_SHA256]
    {
        let mut key = Soft::new(algorithm, 1);
        let kept = registered(&mut key);
        assert_eq!((kept.holder, &*kept.label, kept.created_ms), (ANN, "laptop", NOW.as_millis()));
        assert_eq!((kept.id, kept.last_used_ms), (base::sha256(&key.id), None));
        let text = serde_json::to_string(&kept).unwrap();
        let kept: Passkey = serde_json::from_str(&text).unwrap();
        let used = login_with(&mut key, &kept, &Lies::none()).unwrap();
        assert_eq!(used.last_used_ms, Some(NOW.as_millis() + 1));
        assert_eq!((used.id, used.holder, &used.label), (kept.id, kept.holder, &kept.label));
    }
}

#[test]
fn the_browser_is_asked_for_two_factors_and_a_discoverable_passkey() {
    let (first, mut key) = (site(), soft());
    let kept = registered(&mut key);
    let (options, _attempt) = first.begin_registration(ANN, "ann", std::slice::from_ref(&kept), NOW).unwrap();
    let options = &options["publicKey"];
    assert_eq!(options["rp"], serde_json::json!({"id": "node.example", "name": "Strongroom node"}));
    assert_eq!(options["user"]["id"], b64(&[7; 16]));
    assert_eq!(options["user"]["name"], "ann");
    assert_eq!(options["attestation"], "none");
    assert_eq!(options["authenticatorSelection"]["residentKey"], "required");
    assert_eq!(options["authenticatorSelection"]["requireResidentKey"], true);
    assert_eq!(options["authenticatorSelection"]["userVerification"], "required");
    assert_eq!(options["excludeCredentials"][0]["id"], b64(&key.id));
    assert_eq!(options["timeout"], CHALLENGE_MS);
    let algorithms: Vec<i64> =
        options["pubKeyCredParams"].as_array().unwrap().iter().map(|p| p["alg"].as_i64().unwrap()).collect();
    assert_eq!(algorithms, [-7, -35, -257], "ES256, ES384, RS256");

    let (options, _attempt) = first.begin_login(NOW).unwrap();
    assert_eq!(options["publicKey"]["userVerification"], "required");
    assert_eq!(options["publicKey"]["rpId"], "node.example");
    assert_eq!(options["publicKey"]["allowCredentials"], serde_json::json!([]), "nothing says who exists");
    assert!(options.get("mediation").is_none());
    let (again, _attempt) = first.begin_login(NOW).unwrap();
    assert_ne!(options["publicKey"]["challenge"], again["publicKey"]["challenge"]);
    assert_eq!(options["publicKey"]["challenge"].as_str().unwrap().len(), 43, "256 bits");
}

#[test]
fn a_registration_with_any_lie_is_refused_for_that() {
    let es256 = |members: &[(i64, Vec<u8>)]| {
        cbor::map(&members.iter().map(|(k, v)| (cbor::int(*k), v.clone())).collect::<Vec<_>>())
    };
    let ec = |kind: i64, algorithm: i64, x: usize| {
        es256(&[
            (1, cbor::int(kind)),
            (3, cbor::int(algorithm)),
            (-1, cbor::int(1)),
            (-2, cbor::bytes(&vec![1; x])),
            (-3, cbor::bytes(&[1; 32])),
        ])
    };
    let ed25519 = Soft::new(&rcgen::PKCS_ED25519, 1).cose();
    let weak_rsa = es256(&[
        (1, cbor::int(3)),
        (3, cbor::int(-257)),
        (-1, cbor::bytes(&[0xf1; 128])),
        (-2, cbor::bytes(&[1, 0, 1])),
    ]);
    let truth = Lies::none;
    let lies: Vec<(&str, Lies, PasskeyError)> = vec![
        ("origin", Lies { origin: "https://evil.example".into(), ..truth() }, PasskeyError::Origin),
        ("port", Lies { origin: "https://node.example".into(), ..truth() }, PasskeyError::Origin),
        ("scheme", Lies { origin: "http://node.example:9443".into(), ..truth() }, PasskeyError::Origin),
        ("subdomain", Lies { origin: "https://a.node.example:9443".into(), ..truth() }, PasskeyError::Origin),
        ("no origin", Lies { origin: "null".into(), ..truth() }, PasskeyError::Unreadable),
        ("frame", Lies { cross_origin: true, ..truth() }, PasskeyError::Framed),
        ("site", Lies { site: "example".into(), ..truth() }, PasskeyError::Site),
        ("one factor", Lies { flags: PRESENT, ..truth() }, PasskeyError::Unverified),
        ("nobody", Lies { flags: VERIFIED, ..truth() }, PasskeyError::Absent),
        (
            "backed up, yet cannot be",
            Lies { flags: PRESENT | VERIFIED | BACKED_UP, ..truth() },
            PasskeyError::Backup,
        ),
        ("ceremony", Lies { kind: Some("webauthn.get"), ..truth() }, PasskeyError::Ceremony),
        ("challenge", Lies { challenge: Some(vec![0; 32]), ..truth() }, PasskeyError::Challenge),
        ("no challenge", Lies { challenge: Some(vec![]), ..truth() }, PasskeyError::Challenge),
        ("EdDSA", Lies { cose: Some(ed25519), ..truth() }, PasskeyError::Algorithm),
        ("unknown algorithm", Lies { cose: Some(ec(2, -47, 32)), ..truth() }, PasskeyError::Algorithm),
        (
            "algorithm of another key type",
            Lies { cose: Some(ec(2, -257, 32)), ..truth() },
            PasskeyError::Algorithm,
        ),
        ("not on the curve", Lies { cose: Some(ec(2, -7, 32)), ..truth() }, PasskeyError::Unreadable),
        ("short coordinate", Lies { cose: Some(ec(2, -7, 31)), ..truth() }, PasskeyError::Unreadable),
        ("RSA of 1,024 bits", Lies { cose: Some(weak_rsa), ..truth() }, PasskeyError::Unreadable),
        ("no key", Lies { cose: Some(Vec::new()), ..truth() }, PasskeyError::Unreadable),
        ("an attestation that is right", Lies { attestation: "packed", ..truth() }, PasskeyError::Attested),
        ("a form that is none", Lies { attestation: "made-up", ..truth() }, PasskeyError::Attested),
    ];
    register_with(&mut soft(), ANN, &truth()).unwrap();
    for (what, lies, refusal) in lies {
        let found = register_with(&mut soft(), ANN, &lies).unwrap_err();
        assert_eq!(found, refusal, "{what}");
    }
}

#[test]
fn a_login_with_any_lie_is_refused_for_that() {
    let truth = Lies::none;
    let lies: Vec<(&str, Lies, PasskeyError)> = vec![
        ("origin", Lies { origin: "https://evil.example".into(), ..truth() }, PasskeyError::Origin),
        ("port", Lies { origin: "https://node.example:9444".into(), ..truth() }, PasskeyError::Origin),
        ("scheme", Lies { origin: "http://node.example:9443".into(), ..truth() }, PasskeyError::Origin),
        (
            "a name that ends alike",
            Lies { origin: "https://xnode.example:9443".into(), ..truth() },
            PasskeyError::Origin,
        ),
        ("frame", Lies { cross_origin: true, ..truth() }, PasskeyError::Framed),
        ("site", Lies { site: "example".into(), ..truth() }, PasskeyError::Site),
        ("one factor", Lies { flags: PRESENT, ..truth() }, PasskeyError::Unverified),
        ("nobody", Lies { flags: VERIFIED, ..truth() }, PasskeyError::Absent),
        (
            "backed up since",
            Lies { flags: PRESENT | VERIFIED | ELIGIBLE | BACKED_UP, ..truth() },
            PasskeyError::Backup,
        ),
        ("ceremony", Lies { kind: Some("webauthn.create"), ..truth() }, PasskeyError::Ceremony),
        ("challenge", Lies { challenge: Some(vec![0; 32]), ..truth() }, PasskeyError::Challenge),
        ("person", Lies { handle: Some(BOB.as_bytes().to_vec()), ..truth() }, PasskeyError::Person),
        ("nobody named", Lies { handle: Some(vec![]), ..truth() }, PasskeyError::Person),
        ("half a name", Lies { handle: Some(vec![7; 8]), ..truth() }, PasskeyError::Person),
        ("passkey", Lies { raw_id: Some(vec![2; 32]), ..truth() }, PasskeyError::Person),
    ];
    let mut key = soft();
    let kept = registered(&mut key);
    for (what, lies, refusal) in lies {
        assert_eq!(login_with(&mut key, &kept, &lies).unwrap_err(), refusal, "{what}");
    }
    login_with(&mut key, &kept, &truth()).unwrap();
}

#[test]
fn a_signature_of_another_key_proves_nobody() {
    let mut key = soft();
    let kept = registered(&mut key);
    let other = soft();
    key.key = other.key;
    assert_eq!(login_with(&mut key, &kept, &Lies::none()).unwrap_err(), PasskeyError::Signature);
    let mut rsa = Soft::new(&rcgen::PKCS_RSA_SHA256, 1);
    rsa.handle.clone_from(&key.handle);
    assert_eq!(login_with(&mut rsa, &kept, &Lies::none()).unwrap_err(), PasskeyError::Signature);
}

#[test]
fn every_byte_that_is_signed_counts() {
    let mut key = soft();
    let kept = registered(&mut key);
    let (options, _attempt) = site().begin_login(NOW).unwrap();
    let honest = key.get(&options, &Lies::none());
    let signature = b64(b"\x30\x06\x02\x01\x01\x02\x01\x01");
    let unsigned = [b64(b""), signature, b64(&[0; 72]), b64(&[0xff; 4096])];
    for signature in unsigned {
        let (_options, attempt) = site().begin_login(NOW).unwrap();
        let mut answer = honest.clone();
        answer["response"]["signature"] = signature.into();
        // The challenge is of another attempt: that is found first, whatever the signature.
        assert_eq!(finish(attempt, &answer, &kept).unwrap_err(), PasskeyError::Challenge);
        let (options, attempt) = site().begin_login(NOW).unwrap();
        let mut answer = key.get(&options, &Lies::none());
        answer["response"]["signature"] = b64(b"\x30\x06\x02\x01\x01\x02\x01\x01").into();
        assert_eq!(finish(attempt, &answer, &kept).unwrap_err(), PasskeyError::Signature);
    }
    let (options, attempt) = site().begin_login(NOW).unwrap();
    let mut answer = key.get(&options, &Lies::none());
    let longer = key.get(&options, &Lies { more: vec![0], ..Lies::none() });
    answer["response"]["authenticatorData"] = longer["response"]["authenticatorData"].clone();
    assert_eq!(finish(attempt, &answer, &kept).unwrap_err(), PasskeyError::Signature);
}

#[test]
fn an_answer_is_good_for_its_own_attempt_alone() {
    let mut key = soft();
    let (first, first_attempt) = site().begin_registration(ANN, "ann", &[], NOW).unwrap();
    let (_, second_attempt) = site().begin_registration(ANN, "ann", &[], NOW).unwrap();
    let answer = key.create(&first, &Lies::none()).to_string();
    let other = site().finish_registration(second_attempt, answer.as_bytes(), "", NOW);
    assert_eq!(other.unwrap_err(), PasskeyError::Challenge);
    let kept = site().finish_registration(first_attempt, answer.as_bytes(), "", NOW).unwrap();

    let (first, first_attempt) = site().begin_login(NOW).unwrap();
    let (_, second_attempt) = site().begin_login(NOW).unwrap();
    let answer = key.get(&first, &Lies::none());
    assert_eq!(finish(second_attempt, &answer, &kept).unwrap_err(), PasskeyError::Challenge);
    finish(first_attempt, &answer, &kept).unwrap();
    let (_, third_attempt) = site().begin_login(NOW).unwrap();
    assert_eq!(finish(third_attempt, &answer, &kept).unwrap_err(), PasskeyError::Challenge, "replayed");
}

#[test]
fn an_attempt_ends() {
    let mut key = soft();
    let late = NOW.plus_millis(CHALLENGE_MS + 1);
    let (options, attempt) = site().begin_registration(ANN, "ann", &[], NOW).unwrap();
    let answer = key.create(&options, &Lies::none()).to_string();
    let refused = site().finish_registration(attempt, answer.as_bytes(), "", late);
    assert_eq!(refused.unwrap_err(), PasskeyError::Late);
    let kept = registered(&mut key);
    let (options, attempt) = site().begin_login(NOW).unwrap();
    let answer = Assertion::read(key.get(&options, &Lies::none()).to_string().as_bytes()).unwrap();
    assert_eq!(site().finish_login(attempt, &answer, &kept, late).unwrap_err(), PasskeyError::Late);
}

#[test]
fn a_counter_that_does_not_go_up_is_a_copy() {
    let mut key = soft();
    key.counter = 5;
    let kept = registered(&mut key);
    for (counter, taken) in [(5, false), (4, false), (0, false), (6, true)] {
        key.counter = counter;
        let result = login_with(&mut key, &kept, &Lies::none());
        match result {
            Ok(_) => assert!(taken, "{counter}"),
            Err(refusal) => assert!(!taken && refusal == PasskeyError::Counter, "{counter}"),
        }
    }
    key.counter = 9;
    let used = login_with(&mut key, &kept, &Lies::none()).unwrap();
    key.counter = 8;
    assert_eq!(login_with(&mut key, &used, &Lies::none()).unwrap_err(), PasskeyError::Counter, "it is kept");
    let mut without = soft();
    let kept = registered(&mut without);
    for _ in 0..2 {
        login_with(&mut without, &kept, &Lies::none()).unwrap();
    }
}

#[test]
fn a_passkey_of_another_person_is_not_taken() {
    let (mut anns, mut bobs) = (soft(), Soft::new(&rcgen::PKCS_ECDSA_P256_SHA256, 2));
    let ann = registered(&mut anns);
    let bob = register_with(&mut bobs, BOB, &Lies::none()).unwrap();
    // Bob's authenticator says that it is Ann; or names Ann's passkey; or both.
    let says_ann = Lies { handle: Some(ANN.as_bytes().to_vec()), ..Lies::none() };
    assert_eq!(login_with(&mut bobs, &bob, &says_ann).unwrap_err(), PasskeyError::Person);
    let anns_id = Lies { raw_id: Some(anns.id.clone()), ..Lies::none() };
    assert_eq!(login_with(&mut bobs, &ann, &anns_id).unwrap_err(), PasskeyError::Person);
    let both = Lies { raw_id: Some(anns.id.clone()), ..says_ann };
    assert_eq!(login_with(&mut bobs, &ann, &both).unwrap_err(), PasskeyError::Signature);
    login_with(&mut bobs, &bob, &Lies::none()).unwrap();
}

#[test]
fn the_same_authenticator_is_not_registered_twice() {
    let mut key = soft();
    let kept = registered(&mut key);
    let existing = std::slice::from_ref(&kept);
    for raw_id in [None, Some(vec![9; 32])] {
        let (options, attempt) = site().begin_registration(ANN, "ann", existing, NOW).unwrap();
        let lies = Lies { raw_id: raw_id.clone(), ..Lies::none() };
        let answer = key.create(&options, &lies).to_string();
        let refused = site().finish_registration(attempt, answer.as_bytes(), "", NOW).unwrap_err();
        let expected = if raw_id.is_none() { PasskeyError::Registered } else { PasskeyError::Algorithm };
        assert_eq!(refused, expected, "whatever the browser says of the id, it is not taken");
    }
}

#[test]
fn what_cannot_be_read_is_refused_before_it_is_taken_apart() {
    let key = soft();
    let (options, _attempt) = site().begin_registration(ANN, "ann", &[], NOW).unwrap();
    let refused = |answer: &[u8]| {
        let (_, attempt) = site().begin_registration(ANN, "ann", &[], NOW).unwrap();
        (
            site().finish_registration(attempt, answer, "", NOW).unwrap_err(),
            Assertion::read(answer).map(|_| ()).unwrap_err(),
        )
    };
    let both = |error: PasskeyError| (error.clone(), error);
    assert_eq!(refused(&vec![b' '; ANSWER_MAX + 1]), both(PasskeyError::Long(ANSWER_MAX)));
    for text in ["", "{}", "[]", "null", "\u{0}", &"[".repeat(10_000)] {
        assert_eq!(refused(text.as_bytes()), both(PasskeyError::Unreadable), "{text:.10}");
    }
    // CBOR that says it is huge, is nested deeply, or ends early.
    let client = serde_json::json!({
        "type": "webauthn.create", "origin": "https://node.example:9443",
        "challenge": options["publicKey"]["challenge"],
    });
    let client = client.to_string().into_bytes();
    let hostile: Vec<Vec<u8>> = vec![
        vec![],
        vec![0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0],
        vec![0x81; 10_000],
        [vec![0x9f; 10_000], vec![0xff; 10]].concat(),
        cbor::map(&[]),
        cbor::map(&[(cbor::text("fmt"), cbor::int(1))]),
    ];
    for object in hostile {
        let answer = key.answered(&client, &object, &Lies::none()).to_string();
        assert_eq!(refused(answer.as_bytes()).0, PasskeyError::Unreadable, "{object:02x?}");
    }
}

#[test]
fn an_answer_that_is_cut_anywhere_is_refused() {
    let mut key = soft();
    let (options, _attempt) = site().begin_registration(ANN, "ann", &[], NOW).unwrap();
    let honest = key.create(&options, &Lies::none());
    let object = {
        use base64::Engine;
        let text = honest["response"]["attestationObject"].as_str().unwrap();
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
    };
    for end in 0..object.len() {
        let (options, attempt) = site().begin_registration(ANN, "ann", &[], NOW).unwrap();
        let mut answer = key.create(&options, &Lies::none());
        answer["response"]["attestationObject"] = b64(&object[..end]).into();
        let refused = site().finish_registration(attempt, answer.to_string().as_bytes(), "", NOW);
        assert_eq!(refused.unwrap_err(), PasskeyError::Unreadable, "cut at {end}");
    }
}

#[test]
fn a_site_is_a_name_as_browsers_write_it() {
    assert_eq!(site().origin(), "https://node.example:9443");
    assert_eq!(Site::new("n", "localhost", 443).unwrap().origin(), "https://localhost");
    for host in [
        "",
        "127.0.0.1",
        "::1",
        "[::1]",
        "0x7f.1",
        "127.1",
        "Node.example",
        "node.example:1",
        "a/b",
        "a b",
        "a@b",
        "b\u{fc}cher.example",
        "node_1",
        "*",
        ".",
    ] {
        assert_eq!(Site::new("n", host, 9443).unwrap_err(), PasskeyError::Host(host.to_owned()));
    }
}

#[test]
fn every_refusal_has_a_code_and_a_next_step() {
    use PasskeyError as E;
    let all = [
        E::Host(String::new()),
        E::Long(1),
        E::Unreadable,
        E::Late,
        E::Ceremony,
        E::Challenge,
        E::Origin,
        E::Framed,
        E::Site,
        E::Absent,
        E::Unverified,
        E::Signature,
        E::Counter,
        E::Algorithm,
        E::Attested,
        E::Backup,
        E::Registered,
        E::Person,
        E::Other(String::new()),
    ];
    let codes: std::collections::BTreeSet<_> = all.iter().map(Explain::code).collect();
    assert_eq!(codes.len(), all.len());
    assert!(all.iter().all(|e| e.help().is_some()));
}

#[test]
fn a_label_is_text_for_people() {
    assert_eq!(label("  Ann\u{202e}'s\n laptop\u{200b} "), "Ann's laptop");
    assert_eq!(label(&"ä".repeat(100)).chars().count(), LABEL_MAX);
}

proptest! {
    #[test]
    fn nothing_that_is_sent_breaks_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..600), client in "\\PC{0,64}") {
        let key = soft();
        let (_, attempt) = site().begin_registration(ANN, "ann", &[], NOW).unwrap();
        let answer = key.answered(client.as_bytes(), &bytes, &Lies::none()).to_string();
        prop_assert!(site().finish_registration(attempt, answer.as_bytes(), "", NOW).is_err());
        prop_assert!(Assertion::read(&bytes).is_err());
    }

    #[test]
    fn any_authenticator_data_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), cose in proptest::collection::vec(any::<u8>(), 0..100)) {
        let mut key = soft();
        let lies = Lies { cose: Some(cose), more: bytes, ..Lies::none() };
        prop_assert!(register_with(&mut key, ANN, &lies).is_err());
    }
}
