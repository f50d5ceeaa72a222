//! Safe mode against a control that was taken over: it holds wrapped keys and speaks the whole protocol.

use audit::Signer;
use base::{Digest, sha256};
use link::{KeeperClient, KeeperError};
use ops::keeper::{Request, Response, Role, Scope, SignKind};
use ops::recovery::{Act, Holder, Proof, State, signed_bytes};
use ops::{Key32, List, Text};

use crate::support::Node;

const SAFE_MODE: &str = "SR-KPR-0024";
const STATE: &str = "SR-KPR-0025";
const CODES: &str = "SR-KPR-0027";

fn scope(name: &str) -> Scope {
    Scope::tenant(&name.parse().unwrap())
}

fn code<T: std::fmt::Debug>(result: Result<T, KeeperError>) -> String {
    match result.unwrap_err() {
        KeeperError::Refused { code, .. } => code,
        other => panic!("{other}"),
    }
}

fn state(answer: Response) -> State {
    match answer {
        Response::Recovery { state } => state,
        other => panic!("{other:?}"),
    }
}

fn look(client: &KeeperClient) -> State {
    state(client.call(&Request::Recovery {}).unwrap())
}

fn enter(client: &KeeperClient) -> State {
    let (reason, actor) = (Text::clip("a drill"), Text::clip("operator"));
    state(client.call(&Request::EnterSafe { reason, actor, correlation: 1 }).unwrap())
}

fn signer(seed: u8) -> Signer {
    Signer::new("recovery", &[seed; 32]).unwrap()
}

fn recover(client: &KeeperClient, act: &Act, by: &[(&str, u8)]) -> Result<Response, KeeperError> {
    let signed = signed_bytes(act, &look(client).challenge);
    let proof = |(name, seed): &(&str, u8)| Proof {
        holder: Text::clip(name),
        signature: signer(*seed).sign_raw(&signed),
    };
    let proofs = List::new(by.iter().map(proof).collect()).unwrap();
    client.call(&Request::Recover { act: act.clone(), proofs, actor: Text::clip("operator"), correlation: 1 })
}

/// Ada and Bob hold codes.
fn seal(client: &KeeperClient) {
    let holder =
        |(name, seed): (&str, u8)| Holder { name: Text::clip(name), key: *signer(seed).verifier().public() };
    let holders = List::new([("ada", 1), ("bob", 2)].map(holder).to_vec()).unwrap();
    recover(client, &Act::Seal { holders }, &[]).unwrap();
}

fn leave() -> Act {
    Act::Leave { reason: Text::clip("it is over") }
}

/// A sealed object of a tenant: what control has of it.
struct Sealed {
    scope: Scope,
    name: Digest,
    blob: [u8; 60],
}

impl Sealed {
    fn make(client: &KeeperClient, tenant: &str) -> Self {
        let scope = scope(tenant);
        client.create_scope(scope.clone(), 1).unwrap();
        let digest = sha256(b"plaintext");
        let request = Request::Wrap { scope: scope.clone(), dek: Key32::new(&[7; 32]), digest };
        let Response::Wrapped { name, blob, .. } = client.call(&request).unwrap() else { panic!() };
        Self { scope, name, blob }
    }

    fn open(&self, client: &KeeperClient) -> Result<Response, KeeperError> {
        let (actor, purpose) = (Text::clip("operator"), Text::clip("to see"));
        client.call(&Request::Unwrap {
            scope: self.scope.clone(),
            name: self.name,
            blob: self.blob,
            kek_version: 1,
            actor,
            purpose,
            correlation: 1,
        })
    }
}

fn sign(client: &KeeperClient, kind: SignKind) -> Result<Response, KeeperError> {
    let (digest, subject) = (sha256(b"x"), Text::clip("m@1"));
    client.call(&Request::Sign { kind, digest, tenant: Text::default(), subject, correlation: 1 })
}

fn events(node: &Node, kind: &str) -> Vec<serde_json::Value> {
    let of = |entry: &serde_json::Value| entry["unmapped"]["strongroom"]["event"] == kind;
    node.entries().into_iter().filter(of).collect()
}

/// Whatever control asks for, it gets no key of a tenant and no signature; the same questions are answered before and
/// after, with the same keys. The node's own database stays readable.
#[test]
fn no_key_of_a_tenant_is_used_and_none_is_lost() {
    let node = Node::new();
    let keeper = node.start();
    let client = keeper.client(Role::Control);
    seal(&client);
    let (of_tenant, of_node) = (Sealed::make(&client, "acme"), Sealed::make(&client, vault::scope::NODE));
    of_tenant.open(&client).unwrap();
    sign(&client, SignKind::Model).unwrap();

    assert!(enter(&client).safe.is_some());
    let asked = |client: &KeeperClient| {
        let wrap = Request::Wrap { scope: scope("acme"), dek: Key32::new(&[8; 32]), digest: sha256(b"y") };
        assert_eq!(code(of_tenant.open(client)), SAFE_MODE);
        assert_eq!(code(client.call(&wrap)), SAFE_MODE);
        assert_eq!(code(client.object_name(scope("acme"), sha256(b"y"))), SAFE_MODE);
        // Made anew it would take the place of the key on the disk.
        assert_eq!(code(client.create_scope(scope("acme"), 1)), SAFE_MODE);
        assert_eq!(code(client.create_scope(scope("globex"), 1)), SAFE_MODE);
        for kind in [SignKind::Model, SignKind::Bom, SignKind::Checkpoint, SignKind::Policy] {
            assert_eq!(code(sign(client, kind)), SAFE_MODE);
        }
        of_node.open(client).unwrap();
    };
    asked(&client);
    // Also after a power cut.
    keeper.kill();
    let keeper = node.start();
    let client = keeper.client(Role::Control);
    asked(&client);

    recover(&client, &leave(), &[("ada", 1), ("bob", 2)]).unwrap();
    let Response::Unwrapped { dek, .. } = of_tenant.open(&client).unwrap() else { panic!() };
    assert_eq!(dek, Key32::new(&[7; 32]));
    sign(&client, SignKind::Model).unwrap();
    client.create_scope(scope("globex"), 1).unwrap();
    keeper.kill();
    let keeper = node.start();
    of_tenant.open(&keeper.client(Role::Control)).unwrap();
    assert_eq!(events(&node, "safe_mode.enter").len(), 1);
    assert_eq!(events(&node, "safe_mode.leave").len(), 2, "an intent and its outcome");
}

/// Control carries what holders sign: it can neither repeat it, nor use it for something else, nor do without it.
#[test]
fn whoever_speaks_for_control_does_not_leave_it_alone() {
    let node = Node::new();
    let keeper = node.start();
    let client = keeper.client(Role::Control);
    seal(&client);
    enter(&client);
    for by in [
        &[][..],
        &[("ada", 1)],
        &[("ada", 1), ("ada", 1)],
        &[("ada", 1), ("bob", 9)],
        &[("eve", 9), ("bob", 2)],
    ] {
        assert_eq!(code(recover(&client, &leave(), by)), CODES, "{by:?}");
    }
    let stolen = signed_bytes(&leave(), &look(&client).challenge);
    let proofs = || {
        let proof = |(name, seed): (&str, u8)| Proof {
            holder: Text::clip(name),
            signature: signer(seed).sign_raw(&stolen),
        };
        List::new([("ada", 1), ("bob", 2)].map(proof).to_vec()).unwrap()
    };
    let bring = |act| {
        client.call(&Request::Recover { act, proofs: proofs(), actor: Text::default(), correlation: 1 })
    };
    assert_eq!(code(bring(Act::Open { reason: Text::clip("x"), seconds: 60 })), CODES);
    assert_eq!(code(bring(leave())), CODES, "its challenge is used up");
    assert!(look(&client).safe.is_some());
    assert_eq!(events(&node, "recovery.refuse").len(), 7);
    // The gateway and the warden bring nothing at all; the warden may make the node safe.
    for role in [Role::Gateway, Role::Warden] {
        assert_eq!(code(recover(&keeper.client(role), &leave(), &[("ada", 1), ("bob", 2)])), "SR-KPR-0013");
    }
    recover(&client, &leave(), &[("ada", 1), ("bob", 2)]).unwrap();
    assert!(look(&client).safe.is_none());
    assert!(enter(&keeper.client(Role::Warden)).safe.is_some());
}

/// A window is an alarm in the log before it is open, gives back the signing of rules, and no key of a tenant.
#[test]
fn a_window_opens_no_plaintext() {
    let node = Node::new();
    let keeper = node.start();
    let client = keeper.client(Role::Control);
    let of_tenant = Sealed::make(&client, "acme");
    let open = Act::Open { reason: Text::clip("locked out"), seconds: 60 };
    assert_eq!(code(recover(&client, &open, &[])), STATE, "nobody holds codes");
    seal(&client);
    of_tenant.open(&client).unwrap();
    let opened = state(recover(&client, &open, &[("bob", 2)]).unwrap());
    assert!(opened.safe.is_some() && opened.window.is_some_and(|w| w.holder.as_str() == "bob"));
    assert_eq!(code(of_tenant.open(&client)), SAFE_MODE);
    assert_eq!(code(sign(&client, SignKind::Model)), SAFE_MODE);
    sign(&client, SignKind::Policy).unwrap();
    let alarm = &events(&node, "break_glass.open")[0];
    assert_eq!(
        (alarm["severity_id"].as_u64(), alarm["unmapped"]["strongroom"]["phase"].as_str()),
        (Some(5), Some("intent"))
    );

    client.call(&Request::CloseWindow { actor: Text::clip("operator"), correlation: 1 }).unwrap();
    assert_eq!(code(sign(&client, SignKind::Policy)), SAFE_MODE);
    assert_eq!(events(&node, "break_glass.close").len(), 1);
    recover(&client, &open, &[("bob", 2)]).unwrap();
    keeper.kill();
    let keeper = node.start();
    let after = look(&keeper.client(Role::Control));
    assert!(after.safe.is_some() && after.window.is_none(), "a window outlived its keeper");
}

/// Whoever has the machine leaves it with the node down; the log tells of it before anything else is asked.
#[test]
fn left_at_the_machine_it_is_told_at_the_next_start() {
    let node = Node::new();
    let keeper = node.start();
    let client = keeper.client(Role::Control);
    seal(&client);
    enter(&client);
    let offline =
        || node.command().arg("--leave-safe-mode").stderr(std::process::Stdio::null()).status().unwrap();
    assert!(!offline().success(), "left while the node is up");
    keeper.kill();
    assert!(offline().success());
    assert!(!offline().success(), "left what it is not in");
    let keeper = node.start();
    let after = look(&keeper.client(Role::Control));
    assert!(after.safe.is_none() && after.holders.is_empty());
    let told = events(&node, "safe_mode.leave");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["severity_id"], 5);
    keeper.kill();
    drop(node.start());
    assert_eq!(events(&node, "safe_mode.leave").len(), 1, "told twice");
}
