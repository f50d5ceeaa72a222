//! The decision.

use std::collections::{BTreeMap, BTreeSet};

use base::{Digest, Timestamp};

use super::policy::{Policy, Rule};
use super::revocations::{Kind, Revocations};
use crate::error::quote;
use crate::oms::{Signed, Signer};

/// What is about to happen to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It comes in, or is released for use.
    Admit,
    /// A model that was admitted is loaded, or is in use and looked at again.
    Load,
}

/// What the inspection of a model's content said, over all its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing in it can run.
    Load,
    /// It may be loaded by whoever accepts the risks that are named.
    LoadWithPolicy,
    /// It may not be loaded.
    Refuse,
}

/// The inspection of a model's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// What it said.
    pub verdict: Verdict,
    /// The risks that it named, such as `hdf5` or `pickle-global:module:name`.
    pub risks: BTreeSet<String>,
}

/// What is known of a model. Each fact was verified by whoever states it.
#[derive(Debug, Clone)]
pub struct Facts<'f> {
    /// The name under which it is used.
    pub model: &'f str,
    /// What is about to happen.
    pub stage: Stage,
    /// Its signatures, each opened by [`Policy::open`] or a function of [`crate::oms`]. Their files were checked
    /// against the first; the others must say the same.
    pub signatures: &'f [Signed],
    /// The release counter in its signed BoM.
    pub release: Option<u64>,
    /// The root digest to which its signed BoM belongs.
    pub bom: Option<Digest>,
    /// What its inspection said.
    pub inspection: Option<Inspection>,
    /// SHA-256 of every file, where the statement was made with another hash.
    pub files: &'f [Digest],
    /// The data sets that its BoM names.
    pub datasets: &'f [String],
    /// Oldest release that may still be used under this name, from the metadata store.
    pub stored_floor: u64,
}

/// One reason for a decision.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    /// Stable: programs may rely on it.
    pub code: &'static str,
    /// For people.
    pub what: String,
}

/// Yes or no, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether the model may be used.
    pub admit: bool,
    /// Sorted. For no: everything that stands against it. For yes: who signed.
    pub reasons: Vec<Reason>,
    /// Principals whose signatures were counted.
    pub principals: BTreeSet<String>,
    /// The policy that decided.
    pub policy: Digest,
    /// The revocation list that was asked.
    pub revocations: Option<Digest>,
}

impl Decision {
    /// Whether a reason of this code is among them.
    pub fn has(&self, code: &str) -> bool {
        self.reasons.iter().any(|reason| reason.code == code)
    }
}

/// Decides on a model. Nothing but the arguments has a say.
pub fn evaluate(
    policy: &Policy,
    revocations: Option<&Revocations>,
    facts: &Facts<'_>,
    now: Timestamp,
) -> Decision {
    let mut against = BTreeSet::new();
    let mut no = |code: &'static str, what: String| {
        against.insert(Reason { code, what });
    };
    current(policy, revocations, facts.stage, now, &mut no);
    if let Some(list) = revocations {
        revoked(list, facts, &mut no);
    }
    let counted = counted(policy, facts, now);
    match policy.rule(facts.model) {
        None => no("no-rule", format!("no rule is for `{}`", quote(facts.model))),
        Some(rule) => {
            if counted.len() < rule.signatures {
                let what = format!("{} signatures count, {} are needed", counted.len(), rule.signatures);
                no("too-few-signatures", what);
            }
            release(rule, facts, &mut no);
            inspection(rule, facts.inspection.as_ref(), &mut no);
            bom(rule, facts, &mut no);
        }
    }
    if let [first, others @ ..] = facts.signatures {
        let same = |other: &Signed| {
            let (a, b) = (first.statement(), other.statement());
            // Everything that says what was signed counts. The name is informative; what a signer left out is used by
            // nobody, and the reference names more paths there than we do.
            a.root_digest == b.root_digest
                && a.resources == b.resources
                && a.serialization == b.serialization
                && a.allow_symlinks == b.allow_symlinks
        };
        if !others.iter().all(same) {
            no("statements-differ", "its signatures are not over the same files".to_owned());
        }
    }
    let admit = against.is_empty();
    let reasons = if admit {
        let signed = |name: &String| Reason { code: "signed", what: format!("by `{}`", quote(name)) };
        counted.iter().map(signed).collect()
    } else {
        against.into_iter().collect()
    };
    let revocations = revocations.map(Revocations::digest);
    Decision { admit, reasons, principals: counted, policy: policy.digest(), revocations }
}

/// Whether the revocation list is there, and of this time.
fn current(
    policy: &Policy,
    revocations: Option<&Revocations>,
    stage: Stage,
    now: Timestamp,
    no: &mut impl FnMut(&'static str, String),
) {
    let Some(list) = revocations else {
        if policy.revocation_key().is_some() {
            no("revocations-missing", "the policy asks for a revocation list".to_owned());
        }
        return;
    };
    if list.is_of_the_future(now) {
        no("revocations-not-yet", format!("revocation list {} is not of this time", list.list_version()));
    }
    let until = match stage {
        Stage::Admit => list.next_update(),
        Stage::Load => list.next_update().plus_millis(policy.grace_millis()),
    };
    if now > until {
        let what =
            format!("revocation list {} was to be replaced by {}", list.list_version(), list.next_update());
        no("revocations-stale", what);
    }
}

/// Everything about the model that is trusted no longer.
fn revoked(list: &Revocations, facts: &Facts<'_>, no: &mut impl FnMut(&'static str, String)) {
    let mut ask = |code: &'static str, kind: Kind, id: &str| {
        if let Some(entry) = list.find(kind, id) {
            no(code, format!("{}: {} (since {})", quote(id), quote(&entry.reason), quote(&entry.since)));
        }
    };
    for signed in facts.signatures {
        ask("revoked-key", Kind::Key, &signed.signer().key().hex());
        for certificate in certificates(signed.signer()) {
            ask("revoked-certificate", Kind::Certificate, &certificate.hex());
        }
        let statement = signed.statement();
        ask("revoked-model", Kind::RootDigest, &statement.root_digest.hex());
        for digest in statement.resources.iter().filter_map(|r| r.digest.sha256()) {
            ask("revoked-file", Kind::FileDigest, &digest.hex());
        }
    }
    for digest in facts.files {
        ask("revoked-file", Kind::FileDigest, &digest.hex());
    }
    for name in facts.datasets {
        ask("revoked-dataset", Kind::Dataset, name);
    }
}

fn certificates(signer: &Signer) -> Vec<Digest> {
    match signer {
        Signer::Key { .. } => Vec::new(),
        Signer::Certificate(by) => [by.certificate].into_iter().chain(by.issuers.iter().copied()).collect(),
        Signer::Sigstore(by) => vec![by.certificate],
    }
}

fn release(rule: &Rule, facts: &Facts<'_>, no: &mut impl FnMut(&'static str, String)) {
    let floor = rule.floor.max(facts.stored_floor);
    match facts.release {
        Some(release) if release < floor => {
            no("below-floor", format!("release {release}, and {floor} is the oldest that may be used"));
        }
        None if floor > 0 => {
            no("release-unknown", format!("it does not say which release it is, and {floor} is the oldest"));
        }
        _ => {}
    }
}

/// What stands against a model's content alone, before it has anything else that is asked of it: sorted, and empty
/// where the rule for it accepts what its inspection found.
pub fn against_content(policy: &Policy, model: &str, found: &Inspection) -> Vec<Reason> {
    let mut against = BTreeSet::new();
    let mut no = |code: &'static str, what: String| {
        against.insert(Reason { code, what });
    };
    match policy.rule(model) {
        None => no("no-rule", format!("no rule is for `{}`", quote(model))),
        Some(rule) => inspection(rule, Some(found), &mut no),
    }
    against.into_iter().collect()
}

fn inspection(rule: &Rule, found: Option<&Inspection>, no: &mut impl FnMut(&'static str, String)) {
    let Some(Inspection { verdict, risks }) = found else {
        return no("not-inspected", "its content was not inspected".to_owned());
    };
    match verdict {
        Verdict::Refuse => no("inspection-refused", "its inspection refused it".to_owned()),
        Verdict::LoadWithPolicy if risks.is_empty() => {
            no("risk-not-accepted", "its inspection saw a risk and did not name it".to_owned());
        }
        Verdict::Load | Verdict::LoadWithPolicy => {}
    }
    for risk in risks.difference(&rule.accept_risks) {
        no("risk-not-accepted", quote(risk));
    }
}

fn bom(rule: &Rule, facts: &Facts<'_>, no: &mut impl FnMut(&'static str, String)) {
    match facts.bom {
        None if rule.bom => no("no-bom", "there is no signed BoM".to_owned()),
        // A BoM of another model is no BoM, and is wrong to have where none is needed.
        Some(bom) if facts.signatures.first().is_some_and(|s| s.statement().root_digest != bom) => {
            no("bom-of-another", format!("its BoM is of the model {}", bom.short()));
        }
        _ => {}
    }
}

/// The largest set of principals of whom each has a signature, no two of them by one key.
fn counted(policy: &Policy, facts: &Facts<'_>, now: Timestamp) -> BTreeSet<String> {
    let mut by_key: BTreeMap<Digest, BTreeSet<&str>> = BTreeMap::new();
    for signed in facts.signatures {
        let names = policy.attribute(facts.model, signed.signer(), now);
        by_key.entry(signed.signer().key()).or_default().extend(names.iter().map(|p| p.name.as_str()));
    }
    // Maximum bipartite matching between keys and principals, by augmenting paths.
    let mut taken: BTreeMap<&str, Digest> = BTreeMap::new();
    for key in by_key.keys() {
        place(*key, &by_key, &mut taken, &mut BTreeSet::new());
    }
    taken.into_keys().map(str::to_owned).collect()
}

/// Finds a principal for a key, moving other keys to other principals where that helps.
fn place<'p>(
    key: Digest,
    by_key: &BTreeMap<Digest, BTreeSet<&'p str>>,
    taken: &mut BTreeMap<&'p str, Digest>,
    tried: &mut BTreeSet<&'p str>,
) -> bool {
    for name in by_key.get(&key).into_iter().flatten() {
        if !tried.insert(name) {
            continue;
        }
        let free = match taken.get(name).copied() {
            None => true,
            Some(other) => place(other, by_key, taken, tried),
        };
        if free {
            taken.insert(name, key);
            return true;
        }
    }
    false
}

/// The floor after a release was approved: it never falls, and rises by at most one, so that a counter that jumps
/// moves it no further.
pub fn next_floor(floor: u64, approved: u64) -> u64 {
    floor.max(approved.min(floor.saturating_add(1)))
}
