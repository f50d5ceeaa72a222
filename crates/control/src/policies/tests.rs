use access::{Circumstances, Principal as Asking, Request, Role};
use base::Secret;
use integrity::PrivateKey;
use integrity::dsse::{Envelope, IN_TOTO};
use store::MetaStore;

use super::*;

const RULES: &str = "@id(\"freeze\") forbid (principal, action == Action::\"model.export\", resource);";
const OTHER: &str = "@id(\"other\") forbid (principal, action == Action::\"bom.export\", resource);";
const TESTS: &str = "[[test]]\nname = \"n\"\nas = \"auditor\"\ntenant = \"acme\"\noperation = \"model.show\"\nexpect = \"allow\"\n";

struct Store {
    meta: MetaStore,
    _dir: tempfile::TempDir,
}

fn key(n: u8) -> PrivateKey {
    PrivateKey::from_p256_scalar(&[n; 32]).unwrap()
}

fn pem() -> String {
    key(7).public_key().to_pem().unwrap()
}

fn signed(by: &PrivateKey, kind: &str, statement: &Statement) -> String {
    let envelope = Envelope::sign(kind, statement.payload().unwrap(), by).unwrap();
    String::from_utf8(envelope.to_bytes()).unwrap()
}

fn statement(version: u64, text: &str) -> Statement {
    Statement::new(version, text, Some(TESTS), "operator", 5, "why")
}

impl Store {
    /// Versions 1 and 2 as they are kept.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let meta = MetaStore::open(&dir.path().join("m.db"), &Secret::new([7; 32])).unwrap();
        let this = Self { meta, _dir: dir };
        for text in [RULES, OTHER, TESTS] {
            this.put_text(base::sha256(text.as_bytes()), text);
        }
        this.put(1, signed(&key(7), stored::PAYLOAD_TYPE, &statement(1, OTHER)));
        this.put(2, signed(&key(7), stored::PAYLOAD_TYPE, &statement(2, RULES)));
        this
    }

    fn put(&self, version: u64, envelope: String) {
        let put = self.meta.transaction(|tx| match tx.platform().get::<Policy>(&version)? {
            Some(mut stored) => {
                stored.record.envelope = envelope;
                tx.platform().update(&stored)
            }
            None => tx.platform().insert(&Policy { version, envelope }),
        });
        put.unwrap();
    }

    fn put_text(&self, digest: Digest, text: &str) {
        let put = self.meta.transaction(|tx| match tx.platform().get::<PolicyText>(&digest)? {
            Some(mut stored) => {
                stored.record.text = text.to_owned();
                tx.platform().update(&stored)
            }
            None => tx.platform().insert(&PolicyText { digest, text: text.to_owned() }),
        });
        put.unwrap();
    }

    fn drop_text(&self, text: &str) {
        let digest = base::sha256(text.as_bytes());
        let dropped = self.meta.transaction(|tx| {
            let rev = tx.platform().get::<PolicyText>(&digest)?.unwrap().rev;
            tx.platform().delete::<PolicyText>(&digest, rev)
        });
        dropped.unwrap();
    }

    fn envelope(&self, version: u64) -> String {
        self.meta.read(|tx| tx.platform().get::<Policy>(&version)).unwrap().unwrap().record.envelope
    }

    fn open(&self) -> Arc<Rules> {
        InForce::open(&self.meta, &pem()).unwrap().get()
    }
}

fn may(rules: &Rules, principal: Asking<'_>, operation: &str) -> bool {
    rules
        .policies
        .decide(&Request {
            principal,
            operation,
            tenant: Some("acme"),
            resource: "x",
            given: Circumstances::ALL,
        })
        .allowed
}

#[test]
fn the_newest_version_is_in_force_after_a_start() {
    let store = Store::new();
    let rules = store.open();
    assert_eq!((rules.version, &rules.fault, rules.own), (2, &None, true));
    assert!(!may(&rules, Asking::Operator, "model.export") && may(&rules, Asking::Operator, "bom.export"));
    assert_eq!(rules.policies.version(), Policies::with_own(RULES).unwrap().version());
    // One that withdrew: those that ship alone.
    store.put_text(base::sha256(b""), "");
    store.put(3, signed(&key(7), stored::PAYLOAD_TYPE, &statement(3, "")));
    let rules = store.open();
    assert_eq!((rules.version, &rules.fault, rules.own), (3, &None, false));
    assert_eq!(rules.policies.version(), Policies::shipped().unwrap().version());
}

#[test]
fn a_node_without_own_rules_has_those_that_ship() {
    let dir = tempfile::tempdir().unwrap();
    let meta = MetaStore::open(&dir.path().join("m.db"), &Secret::new([7; 32])).unwrap();
    let rules = InForce::open(&meta, &pem()).unwrap().get();
    assert_eq!((rules.version, &rules.fault, rules.own), (0, &None, false));
    assert!(may(&rules, Asking::example(Role::MlEngineer, "acme"), "job.run"));
}

type Attack<'a> = &'a dyn Fn(&Store);

/// Whatever is changed of what is kept: the node is locked, and neither this version, nor an older one, nor those that
/// ship alone decide.
#[test]
fn a_version_that_does_not_verify_locks_the_node() {
    let digest = base::sha256(RULES.as_bytes());
    let attacks: [(&str, Attack); 10] = [
        ("another text", &|s| s.put_text(digest, &RULES.replace("forbid", "permit"))),
        ("one character more", &|s| s.put_text(digest, &format!("{RULES} "))),
        ("no text", &|s| s.drop_text(RULES)),
        ("other tests", &|s| s.put_text(base::sha256(TESTS.as_bytes()), "")),
        ("no tests", &|s| s.drop_text(TESTS)),
        ("the envelope of an older version", &|s| s.put(2, s.envelope(1))),
        ("an older version as a newer one", &|s| s.put(3, s.envelope(1))),
        ("a signature by another key", &|s| {
            s.put(2, signed(&key(8), stored::PAYLOAD_TYPE, &statement(2, OTHER)));
        }),
        ("a signature for another purpose", &|s| s.put(2, signed(&key(7), IN_TOTO, &statement(2, OTHER)))),
        ("rules that this release does not take", &|s| {
            let text = "@id(\"x\") permit (principal, action == Action::\"node.shell\", resource);";
            s.put_text(base::sha256(text.as_bytes()), text);
            s.put(3, signed(&key(7), stored::PAYLOAD_TYPE, &statement(3, text)));
        }),
    ];
    for (what, attack) in attacks {
        let store = Store::new();
        assert_eq!(store.open().fault, None, "the control");
        attack(&store);
        let rules = store.open();
        assert!(rules.fault.as_ref().is_some_and(|fault| fault.starts_with("version ")), "{what}");
        for role in Role::ALL.into_iter().filter(|role| role.is_a_tenants()) {
            for operation in rules.policies.operations().keys() {
                assert!(!may(&rules, Asking::example(role, "acme"), operation), "{what}: {role} {operation}");
            }
        }
        for operation in ["model.export", "bom.export", "job.run", "tenant.create", "key.create"] {
            assert!(!may(&rules, Asking::Operator, operation), "{what}: {operation}");
        }
        for operation in ["policy.apply", "policy.withdraw", "policy.list", "status", "audit.search"] {
            assert!(may(&rules, Asking::Operator, operation), "{what}: {operation}");
        }
    }
}

#[test]
fn no_bit_of_an_envelope_can_be_changed() {
    let store = Store::new();
    let good = store.envelope(2);
    let record =
        |envelope: &[u8]| Policy { version: 2, envelope: String::from_utf8_lossy(envelope).into_owned() };
    let statement = Statement::open(&pem(), &record(good.as_bytes())).unwrap();
    assert_eq!((statement.version(), statement.author(), statement.reason()), (2, "operator", "why"));
    for at in (0..good.len()).step_by(3) {
        let mut bytes = good.clone().into_bytes();
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1;
        }
        // What still reads says the same: a bit of base64's padding, or of white space.
        let read = Statement::open(&pem(), &record(&bytes));
        assert!(read.is_err() || read == Ok(statement.clone()), "byte {at}");
    }
}

#[test]
fn readers_see_one_version_or_the_other() {
    let store = Store::new();
    let rules = Arc::new(InForce::open(&store.meta, &pem()).unwrap());
    let (one, two) = (Policies::shipped().unwrap().version(), Policies::with_own(RULES).unwrap().version());
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (rules, stop) = (Arc::clone(&rules), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut seen = std::collections::BTreeSet::new();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let now = rules.get();
                    let decision = now.policies.decide(&Request {
                        principal: Asking::Operator,
                        operation: "model.export",
                        tenant: Some("acme"),
                        resource: "",
                        given: Circumstances::ALL,
                    });
                    // The decision is that of the version that it names.
                    assert_eq!(decision.allowed, decision.policy_version == one);
                    assert_eq!(now.version == 2, decision.policy_version == two);
                    seen.insert(decision.allowed);
                }
                seen.len()
            })
        })
        .collect();
    for round in 0..200 {
        let (version, text) = if round % 2 == 0 { (3, "") } else { (2, RULES) };
        rules.replace(Rules::of(version, Policies::with_own(text).unwrap(), true));
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for reader in readers {
        assert_eq!(reader.join().unwrap(), 2, "a reader saw one version alone");
    }
}

#[test]
fn tests_that_fail_are_told_with_their_reason() {
    let policies = Policies::with_own(RULES).unwrap();
    must_pass(TESTS, &policies).unwrap();
    let wrong = TESTS.replace("model.show", "model.export");
    let fail = must_pass(&wrong, &policies).unwrap_err();
    assert_eq!((fail.status, fail.code.as_str()), (422, "SR-POL-0008"));
    assert!(fail.detail.as_ref().is_some_and(|why| why.contains("freeze")), "{fail:?}");
    assert_eq!(must_pass("[[test", &policies).unwrap_err().code, "SR-POL-0007");
}

#[test]
fn a_reason_is_printable_and_bounded() {
    assert_eq!(reason("ticket 1"), Ok("ticket 1"));
    for bad in ["", "  ", "a\u{1b}[2J", "a\nb", &"x".repeat(api::shape::REASON_MAX + 1)] {
        assert_eq!(reason(bad).unwrap_err().status, 400, "{bad:?}");
    }
}
