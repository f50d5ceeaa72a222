//! The rules in force: those that ship, and beside them a node's own as signed versions that take effect at once and as
//! a whole.

pub(crate) mod check;
mod stored;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use access::{Policies, Suite, TESTS_TEXT_MAX};
use api::{Page, PolicyApply, PolicyVersion, PolicyWithdraw};
use base::Digest;
use integrity::PublicKey;
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use ops::keeper::SignKind;
use store::records::{Policy, PolicyText};
use store::{MetaStore, PageRequest, StoreError};

use crate::auth::{By, Principal};
use crate::clock::now;
use crate::fail::reason;
use crate::keeper::Keeper;
use crate::node::{Node, correlation, store_fail, time};
use crate::policies::stored::{Statement, Version};
use crate::{Fail, endpoints};

/// Versions of a node; all of them are kept. At ten a day they last for three years.
const VERSIONS_MAX: u64 = 10_000;
/// Failed tests that a refusal tells of.
const FAILED_TOLD: usize = 5;

const _: () = assert!(api::shape::POLICY_TEXT_MAX == access::OWN_MAX);
const _: () = assert!(api::shape::POLICY_TESTS_MAX == TESTS_TEXT_MAX);

/// What decides now.
#[derive(Debug)]
pub(crate) struct Rules {
    /// The version of the node's own rules; 0 where there was none yet.
    pub(crate) version: u64,
    /// Those that ship, and the own ones.
    pub(crate) policies: Policies,
    /// Why the own ones do not verify, if so; then the operator may look and mend them, and nobody do anything.
    pub(crate) fault: Option<String>,
    /// Whether there are own ones.
    own: bool,
}

/// The rules in force. Readers see those before or those after a change, never a part of one.
#[derive(Debug)]
pub(crate) struct InForce {
    now: RwLock<Arc<Rules>>,
    /// Held while a version is made, from looking at what is in force until it is replaced.
    turn: Mutex<()>,
}

impl InForce {
    /// The newest version, if it verifies. One that does not locks the node: what it forbade is not known.
    pub(crate) fn open(meta: &MetaStore, key: &str) -> Result<Self, Fail> {
        let broken = |e| Fail::internal("the rules do not load", e);
        let newest = meta.read(|tx| tx.platform().last::<Policy>()).map_err(store_fail)?;
        let rules = match newest.map(|stored| stored.record) {
            None => Rules::of(0, Policies::shipped().map_err(broken)?, false),
            Some(record) => {
                let version = record.version;
                match Version::open(meta, key, &record)?.and_then(|v| Ok((v.policies()?, v.has_rules()))) {
                    Ok((policies, own)) => Rules::of(version, policies, own),
                    Err(fault) => {
                        let policies = Policies::locked().map_err(broken)?;
                        let fault = Some(format!("version {version}: {fault}"));
                        Rules { version, policies, fault, own: true }
                    }
                }
            }
        };
        Ok(Self { now: RwLock::new(Arc::new(rules)), turn: Mutex::new(()) })
    }

    /// Says in the log that the node is locked, if it is.
    pub(crate) fn report(&self, keeper: &Keeper) -> Result<(), Fail> {
        let rules = self.get();
        let Some(fault) = &rules.fault else { return Ok(()) };
        crate::log::line("policy", &format!("the node's own rules do not verify: {fault}"));
        let (kind, at) = (EventKind::PolicyUnverified, now().as_millis());
        let event = Event::new(kind, Phase::Outcome, Outcome::Refused, at, correlation()?)
            .asset("policy", &rules.version.to_string(), None)
            .severity(Severity::Critical)
            .because(fault);
        keeper.append(event).map(drop)
    }

    /// What decides now; a request keeps what it got until its decision is made.
    pub(crate) fn get(&self) -> Arc<Rules> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, rules: Rules) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rules {
    const fn of(version: u64, policies: Policies, own: bool) -> Self {
        Self { version, policies, fault: None, own }
    }
}

/// Puts own rules into force.
pub(crate) fn apply(
    node: &Arc<Node>,
    principal: &Principal,
    digest: &str,
    request: &PolicyApply,
) -> Result<PolicyVersion, Fail> {
    let reason = reason(&request.reason)?;
    if digest != base::sha256(request.text.as_bytes()).hex() {
        return Err(Fail::invalid("the path does not have the SHA-256 of the rules in the body"));
    }
    let _turn = node.policies.turn();
    let before = node.policies.get();
    if request.expect.is_some_and(|expected| expected != before.version) {
        return Err(another_in_force(&before));
    }
    let draft = Draft { node, principal, kind: EventKind::PolicyApply, text: &request.text, reason };
    draft.take_effect(|| {
        let policies = Policies::with_own(&request.text).map_err(|e| Fail::explained(422, &e))?;
        if policies.version() == Policies::shipped().map_err(|e| Fail::explained(500, &e))?.version() {
            return Err(Fail::invalid("the text has no rule")
                .help("take all own rules back with `strongroom policy withdraw --reason TEXT`"));
        }
        let tests = match &request.tests {
            Some(tests) => Some(tests.clone()).filter(|tests| !tests.trim().is_empty()),
            None => kept_tests(node, &before)?,
        };
        if let Some(tests) = &tests {
            must_pass(tests, &policies)?;
        }
        Ok((policies, tests))
    })
}

/// Withdraws the node's own rules, and their tests with them.
pub(crate) fn withdraw(
    node: &Arc<Node>,
    principal: &Principal,
    version: u64,
    request: &PolicyWithdraw,
) -> Result<PolicyVersion, Fail> {
    let reason = reason(&request.reason)?;
    let _turn = node.policies.turn();
    let before = node.policies.get();
    if before.own && version != before.version {
        return Err(another_in_force(&before));
    }
    if !before.own {
        return Err(Fail::conflict("there are no own rules to withdraw: those that ship decide alone")
            .help("see every version with `strongroom policy list`"));
    }
    let draft = Draft { node, principal, kind: EventKind::PolicyWithdraw, text: "", reason };
    draft.take_effect(|| Ok((Policies::shipped().map_err(|e| Fail::explained(500, &e))?, None)))
}

fn another_in_force(rules: &Rules) -> Fail {
    Fail::conflict(format!("version {} of the node's own rules is in force", rules.version))
        .help("see who applied it, and why, with `strongroom policy list`")
}

/// Tests that came with the version in force. Those of a version that does not verify are not known.
fn kept_tests(node: &Node, rules: &Rules) -> Result<Option<String>, Fail> {
    if rules.version == 0 || rules.fault.is_some() {
        return Ok(None);
    }
    let record = find(node, rules.version)?;
    let opened = Version::open(&node.meta, &node.keys.policy_pem, &record)?;
    opened.map(|version| version.tests).map_err(|fault| {
        Fail::refused("SR-POL-0009", "the version in force does not verify any more").because(fault)
    })
}

fn must_pass(tests: &str, policies: &Policies) -> Result<(), Fail> {
    let suite = Suite::parse("tests", tests).map_err(|e| Fail::explained(422, &e))?;
    let verdicts = suite.run(policies);
    let failed: Vec<_> = verdicts.iter().filter(|verdict| !verdict.passed).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let told = failed.iter().take(FAILED_TOLD).map(|verdict| {
        let verb = if verdict.decision.allowed { "allowed" } else { "denied" };
        format!("`{}` expects {}, and it is {verb}: {}", verdict.name, verdict.expected, verdict.decision.why)
    });
    let title = format!("{} of {} tests of the rules fail", failed.len(), verdicts.len());
    Err(Fail::refused("SR-POL-0008", title)
        .because(told.collect::<Vec<_>>().join("; "))
        .help("see each with `strongroom policy test TESTS --policy FILE`; `--tests FILE` replaces those that are kept"))
}

/// A version that is to take effect.
struct Draft<'a> {
    node: &'a Arc<Node>,
    principal: &'a Principal,
    kind: EventKind,
    text: &'a str,
    reason: &'a str,
}

impl Draft<'_> {
    /// Makes the next version of what `checked` gives, durable before it is in force; what fails leaves the old one.
    /// The caller has the turn.
    fn take_effect(
        &self,
        checked: impl FnOnce() -> Result<(Policies, Option<String>), Fail>,
    ) -> Result<PolicyVersion, Fail> {
        let Self { node, principal, text, reason, .. } = self;
        let newest = node.meta.read(|tx| tx.platform().last::<Policy>()).map_err(store_fail)?;
        let version = newest.map_or(0, |stored| stored.record.version).saturating_add(1);
        let (at, cor) = (now().as_millis(), correlation()?);
        let event = Event::new(self.kind, Phase::Intent, Outcome::Unknown, at, cor)
            .by(principal)
            .asset("policy", &version.to_string(), Some(base::sha256(text.as_bytes())))
            .because(reason);
        let effect = || {
            // Whatever there is can be withdrawn.
            if version > VERSIONS_MAX && self.kind == EventKind::PolicyApply {
                return Err(Fail::conflict(format!(
                    "this node has its {VERSIONS_MAX} versions of own rules"
                )));
            }
            let (policies, tests) = checked()?;
            let statement = Statement::new(version, text, tests.as_deref(), &principal.actor(), at, reason);
            let envelope = self.signed(&statement, cor)?;
            let texts = [Some(*text), tests.as_deref()];
            let insert = node.meta.transaction(|tx| {
                for text in texts.into_iter().flatten() {
                    let text = PolicyText { digest: base::sha256(text.as_bytes()), text: text.to_owned() };
                    if tx.platform().get::<PolicyText>(&text.digest)?.is_none() {
                        tx.platform().insert(&text)?;
                    }
                }
                tx.platform().insert(&Policy { version, envelope })?;
                principal.made(tx, &version.to_string())
            });
            insert.map_err(store_fail)?;
            let decides = policies.version();
            node.policies.replace(Rules::of(version, policies, !text.is_empty()));
            Ok(decides)
        };
        node.keeper.audited_with(event, effect, |event, decides| {
            event.detail("policy_version_now", &decides.hex())
        })?;
        // The gateway goes by what control decided of each key. Where it is away, it learns of it when it is back.
        if let Err(fail) = endpoints::push_now(node) {
            crate::log::line("gateway", &fail.line());
        }
        show(node, version)
    }

    /// The statement in its envelope, signed by the keeper and verified.
    fn signed(&self, statement: &Statement, cor: u128) -> Result<String, Fail> {
        let payload = statement.payload()?;
        let to_sign: Digest = integrity::dsse::to_sign(stored::PAYLOAD_TYPE, &payload);
        let subject = format!("version {}", statement.version());
        let signature = crate::models::signature(self.node, SignKind::Policy, to_sign, "", &subject, cor)?;
        let key = PublicKey::from_pem(self.node.keys.policy_pem.as_bytes())
            .map_err(|e| Fail::explained(500, &e))?;
        let envelope = integrity::dsse::Envelope::new(stored::PAYLOAD_TYPE, payload, signature, &key)
            .map_err(|e| Fail::explained(500, &e))?;
        String::from_utf8(envelope.to_bytes()).map_err(|e| Fail::internal("an envelope is not text", e))
    }
}

fn find(node: &Node, version: u64) -> Result<Policy, Fail> {
    let stored = node.meta.read(|tx| {
        let rows = tx.platform();
        Ok::<_, StoreError>(if version == 0 { rows.last()? } else { rows.get(&version)? })
    });
    let stored = stored.map_err(store_fail)?;
    let shown = if version == 0 { "latest".to_owned() } else { version.to_string() };
    let absent = || {
        Fail::not_found("version of the node's own rules", &shown)
            .help("see every version with `strongroom policy list`")
    };
    Ok(stored.ok_or_else(absent)?.record)
}

/// One version, 0 for the newest, with its texts.
pub(crate) fn show(node: &Node, version: u64) -> Result<PolicyVersion, Fail> {
    let record = find(node, version)?;
    let rules = node.policies.get();
    let opened = Version::open(&node.meta, &node.keys.policy_pem, &record)?;
    let mut wire = wire(&rules, record.version, opened.as_ref().map(|opened| &opened.statement));
    wire.envelope = Some(record.envelope);
    if let Ok(opened) = opened {
        // Those in force need not be read again: large ones take seconds.
        let decides = match wire.in_force {
            true => Some(rules.policies.version()),
            false => opened.policies().ok().map(|policies| policies.version()),
        };
        wire.policy_version = decides.map(|version| version.hex());
        wire.text = Some(opened.text);
        wire.tests = opened.tests;
    }
    Ok(wire)
}

/// Every version, without its texts.
pub(crate) fn list(node: &Node, page: &PageRequest) -> Result<Page<PolicyVersion>, Fail> {
    let page = node.meta.read(|tx| tx.platform().list::<Policy>(page)).map_err(store_fail)?;
    let (rules, key) = (node.policies.get(), &node.keys.policy_pem);
    let items = page.items.iter().map(|stored| {
        let statement = Statement::open(key, &stored.record);
        wire(&rules, stored.record.version, statement.as_ref())
    });
    Ok(Page { items: items.collect(), next: page.next })
}

fn wire(rules: &Rules, version: u64, statement: Result<&Statement, &String>) -> PolicyVersion {
    let statement_or = statement.ok();
    PolicyVersion {
        version,
        in_force: version == rules.version && rules.fault.is_none(),
        verified: statement_or.is_some(),
        digest: statement_or.map(|s| s.rules().hex()),
        author: statement_or.map_or_else(|| "unknown".to_owned(), |s| s.author().to_owned()),
        applied: statement_or.map(|s| time(s.applied_ms())),
        reason: statement.map_or_else(|fault| format!("not verified: {fault}"), |s| s.reason().to_owned()),
        policy_version: None,
        text: None,
        tests: None,
        envelope: None,
    }
}

#[cfg(test)]
mod tests;
