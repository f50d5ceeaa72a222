//! The gateway from the outside: real TLS, real keys, a real model process, and what must be refused.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    reason = "a test ends by panicking"
)]

mod common;

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use base::id::{KeyId, ReceiptId};
use common::{INFER, Model, Node, api_key, code, stored, until};
use net::apikey::ApiKey;
use net::https::{Target, connect, request};
use net::{Call, block_on};
use ops::event::EventKind;

fn body(batch: usize, data: &str) -> String {
    format!(
        "{{\"id\":\"r1\",\"inputs\":[{{\"name\":\"input\",\"shape\":[{batch},1,8,8],\"datatype\":\"FP32\",\"data\":{data}}}]}}"
    )
}

#[test]
fn answers_are_the_models_and_everything_else_is_refused() {
    let node = Node::start(&Model::Torch, true);
    let keeper = node.keeper.as_ref().unwrap();
    until("keeper", || block_on(request(&node.target, Call::get("/v2/health/live"))).unwrap().ok());
    let key = api_key(1).text();
    let cases: serde_json::Value =
        serde_json::from_slice(&std::fs::read(node.dir.path().join("cases.json")).unwrap()).unwrap();
    let case = &cases[1];
    let good = body(2, &case["input"].to_string());

    let (status, text, _) = node.infer(&key, INFER, &good);
    assert_eq!((status, code(&text).as_str()), (503, "SR-GWY-0100"), "no policy, no answer");
    let mut revoked = stored(3, 600);
    revoked.revoked = true;
    let keys = vec![stored(1, 6000), stored(2, 2), revoked];
    assert_eq!(node.push(5, keys.clone()).unwrap().generation, 5);
    assert!(node.push(5, keys).is_err(), "an old generation is refused");

    let (status, text, receipt) = node.infer(&key, INFER, &good);
    assert_eq!(status, 200, "{text}");
    assert_eq!(keeper.count(EventKind::InferenceAdmit), 1, "admission is durable before the answer");
    let receipt: ReceiptId = receipt.unwrap().parse().unwrap();
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    let ours = answer["outputs"][0]["data"].as_array().unwrap();
    let torch = case["logits"].as_array().unwrap();
    assert_eq!(ours.len(), torch.len());
    for (ours, torch) in ours.iter().zip(torch) {
        assert!((ours.as_f64().unwrap() - torch.as_f64().unwrap()).abs() < 1e-5);
    }
    until("record within a second", || (keeper.count(EventKind::Inference) == 1).then_some(()));
    let number = receipt.bits();
    for event in keeper.events().iter().filter(|event| event.kind != EventKind::AccessRefuse) {
        assert_eq!(event.correlation, number);
    }

    let other = api_key(9).text();
    let forged = ApiKey::new(KeyId::from_bits(1), [0; 32]).text();
    let zeros = format!("[{}]", vec!["0"; 64].join(","));
    let nested = format!("[[{}]]", vec![format!("[{}]", ["0"; 8].join(",")); 8].join(","));
    assert_eq!(node.infer(&key, INFER, &body(1, &format!("[{nested}]"))).0, 200, "no: {nested}");
    for (key, path, sent, status, want) in [
        (other.as_str(), INFER, good.clone(), 401, "SR-GWY-0102"),
        (&forged, INFER, good.clone(), 401, "SR-GWY-0102"),
        (&api_key(3).text(), INFER, good.clone(), 401, "SR-GWY-0102"),
        ("", INFER, good.clone(), 401, "SR-GWY-0102"),
        (&key, "/v2/models/theirs/infer", good.clone(), 404, "SR-GWY-0103"),
        (&key, "/v2/models/none/infer", good.clone(), 404, "SR-GWY-0103"),
        (&key, "/v2/models/m/versions/2/infer", good.clone(), 404, "SR-GWY-0103"),
        (&key, "/v2/repository/index", good.clone(), 404, "SR-GWY-0103"),
        (&key, INFER, "x".repeat(65 * 1024), 413, "SR-GWY-0106"),
        (&key, INFER, "{".to_owned(), 400, "SR-GWY-0108"),
        (&key, INFER, String::new(), 400, "SR-GWY-0108"),
        (&key, INFER, body(2, &zeros), 400, "SR-GWY-0108"),
        (&key, INFER, body(0, "[]"), 400, "SR-GWY-0108"),
        (&key, INFER, body(1, "[[1],[2,3]]"), 400, "SR-GWY-0108"),
        (&key, INFER, body(1, "[1,true]"), 400, "SR-GWY-0108"),
        (&key, INFER, body(1, &zeros.replacen('0', "1e40", 1)), 400, "SR-GWY-0108"),
        (&key, INFER, body(1, &"[".repeat(10_000)), 400, "SR-GWY-0108"),
        (&key, INFER, good.replace("FP32", "FP64"), 400, "SR-GWY-0108"),
        (&key, INFER, good.replacen("\"id\"", "\"odd\"", 1), 400, "SR-GWY-0108"),
        (&key, INFER, good.replacen("{\"id\"", "{\"id\":\"a\",\"id\"", 1), 400, "SR-GWY-0108"),
        (&key, INFER, good.replace("[2,1,8,8]", "[2,1,8,-8]"), 400, "SR-GWY-0108"),
        (&key, INFER, good.replace("[2,1,8,8]", "[18446744073709551615,1,8,8]"), 400, "SR-GWY-0108"),
    ] {
        let (got, text, receipt) = node.infer(key, path, &sent);
        let start: String = sent.chars().take(60).collect();
        assert_eq!((got, code(&text).as_str()), (status, want), "{path} {start} {text}");
        assert_eq!(receipt, None);
    }

    refusals_are_logged(keeper);
    quotas_hold_and_keys_can_be_withdrawn(&node, &good);
    tls(&node);
}

fn quotas_hold_and_keys_can_be_withdrawn(node: &Node, good: &str) {
    let few = api_key(2).text();
    let statuses: Vec<u16> = (0..3).map(|_| node.infer(&few, INFER, good).0).collect();
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(node.push(6, vec![stored(2, 600)]).unwrap().generation, 6);
    assert_eq!(
        node.infer(&api_key(1).text(), INFER, good).0,
        401,
        "a key that left the policy is gone at once"
    );
}

/// Of each kind of refused access the first is logged at once; the others wait for the end of their minute.
fn refusals_are_logged(keeper: &common::RecordingKeeper) {
    let told = || {
        let events = keeper.events().into_iter().filter(|event| event.kind == EventKind::AccessRefuse);
        let told: Vec<_> = events
            .map(|event| (event.reason.to_string(), event.tenant.to_string(), event.asset_id.to_string()))
            .collect();
        (told.len() >= 5).then_some(told)
    };
    let mut told = until("refusals in the log", told);
    told.sort();
    let id = |id| KeyId::from_bits(id).to_string();
    let want = [
        ("a revoked or expired API key was presented", "acme", id(3)),
        ("an API key that does not exist was presented", "", String::new()),
        ("an API key was used for what it does not open", "acme", id(1)),
        ("no API key was presented", "", String::new()),
        ("the id of an API key was presented with another secret", "acme", id(1)),
    ];
    let want = want.map(|(reason, tenant, id)| (reason.to_owned(), tenant.to_owned(), id));
    assert_eq!(told, want);
}

/// What the listener says to other versions, other authorities and no TLS at all.
fn tls(node: &Node) {
    let group = block_on(connect(&node.target)).unwrap().unwrap().1;
    assert_eq!(group, Some(net::tls::NamedGroup::X25519MLKEM768));
    let address = node.target.address.to_string();
    let openssl = |version: &str| {
        Command::new("openssl")
            .args(["s_client", "-connect", &address, version, "-verify_return_error", "-CAfile"])
            .arg(node.config.ca_file())
            .stdin(Stdio::null())
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(openssl("-tls1_3"));
    assert!(!openssl("-tls1_2"));
    let dir = tempfile::tempdir().unwrap();
    let now = base::Timestamp::from_millis(1_795_400_000_000);
    let stranger =
        net::ca::NodeCa::open(net::ca::Purpose::Gateway, dir.path(), "dev", base::config::Mode::Dev, now)
            .unwrap();
    let wrong = Target::new(node.target.address, "localhost", stranger.pem()).unwrap();
    assert!(block_on(connect(&wrong)).unwrap().is_err());
    let mut elsewhere = node.target.clone();
    elsewhere.name = "example.org".to_owned();
    assert!(block_on(connect(&elsewhere)).unwrap().is_err());
    let mut plain = std::net::TcpStream::connect(node.target.address).unwrap();
    plain.write_all(b"GET /v2 HTTP/1.1\r\n\r\n").unwrap();
    let mut all = Vec::new();
    let _ = plain.read_to_end(&mut all);
    assert!(!all.starts_with(b"HTTP"), "a plaintext request is not answered");
    assert!(
        net::ca::NodeCa::open(
            net::ca::Purpose::Gateway,
            dir.path(),
            "dev",
            base::config::Mode::Production,
            now
        )
        .is_err()
    );
}

#[test]
fn without_the_audit_log_nothing_is_served() {
    let node = Node::start(&Model::Torch, false);
    node.push(1, vec![stored(1, 60)]).unwrap();
    let (status, text, _) = node.infer(&api_key(1).text(), INFER, &body(1, "[]"));
    assert_eq!((status, code(&text).as_str()), (503, "SR-GWY-0101"));
}
