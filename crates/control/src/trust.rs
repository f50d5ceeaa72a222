//! Trust policies of tenants: whose signatures count for which models, and what else must hold before one is used.
//!
//! A version is the document as it was written, in an envelope that the keeper signed. One that does not verify admits
//! nothing of its tenant. A tenant without one goes by the node's own signature.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::{Page, TrustApply, TrustCheck, TrustOpinion, TrustOpinions};
use base::Digest;
use base::names::Name;
use integrity::PublicKey;
use integrity::dsse::{self, Envelope};
use integrity::oms::Signed;
use integrity::trust::{Decision, Facts, Policy, Stage, evaluate};
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use ops::keeper::SignKind;
use store::records::{Endpoint, EndpointState, File, Model, ModelState, TrustPolicy};
use store::{PageRequest, StoreError};

use crate::auth::{By, Principal};
use crate::clock::now;
use crate::fail::reason;
use crate::node::{Node, correlation, store_fail, time};
use crate::{Fail, boms, endpoints, models};
use signed::Opener;

mod floor;
mod risks;
mod signed;
mod source;

pub(crate) use floor::raise;
pub(crate) use risks::{accepted, listed};
pub(crate) use source::{has_policy, vouched};

/// What is under the keeper's signature besides the policy, so that it is of nothing else.
const PAYLOAD_TYPE: &str = "application/vnd.strongroom.trust-policy";
/// Versions of one tenant; all of them are kept.
const VERSIONS_MAX: u64 = 10_000;
/// Signatures beside the node's own that a model may have.
const SIGNATURES_MAX: usize = 16;

/// The policy in force for a tenant, if it has one.
///
/// # Errors
/// It cannot be read, or does not verify: then nothing of the tenant is admitted.
fn in_force(node: &Node, tenant: &Name) -> Result<Option<Policy>, Fail> {
    let last = node.meta.read(|tx| tx.of(tenant).last::<TrustPolicy>()).map_err(store_fail)?;
    last.map(|stored| open(node, tenant, &stored.record).map(|(policy, _)| policy)).transpose()
}

/// The policy of a record, and its text.
fn open(node: &Node, tenant: &Name, record: &TrustPolicy) -> Result<(Policy, String), Fail> {
    let bad = |why: String| {
        let what = format!("trust policy {} of tenant `{tenant}` does not verify", record.version);
        Fail::refused("SR-CTL-0041", what).because(why)
    };
    let key = PublicKey::from_pem(node.keys.policy_pem.as_bytes()).map_err(|e| bad(e.to_string()))?;
    let envelope = Envelope::parse(record.envelope.as_bytes()).map_err(|e| bad(e.to_string()))?;
    let text = envelope.verify(PAYLOAD_TYPE, &key).map_err(|e| bad(e.to_string()))?;
    let policy = Policy::parse(text).map_err(|e| bad(e.to_string()))?;
    // One of another tenant, or another version, in its place is none.
    if policy.tenant() != tenant.as_str() || policy.version() != record.version {
        let found = format!("it is version {} of `{}`", policy.version(), policy.tenant());
        return Err(bad(found));
    }
    let text = String::from_utf8(text.to_vec()).map_err(|e| bad(e.to_string()))?;
    Ok((policy, text))
}

/// Which policy accepts that a data set of this name carries `word`: `pickle` or `code`. Without a policy none does.
pub(crate) fn accepts(node: &Node, tenant: &Name, dataset: &Name, word: &str) -> Result<Option<u64>, Fail> {
    Ok(in_force(node, tenant)?.and_then(|policy| {
        let accepted = match word {
            "pickle" => policy.datasets().accepts_pickle(dataset.as_str()),
            "code" => policy.datasets().accepts_code(dataset.as_str()),
            _ => false,
        };
        accepted.then_some(policy.version())
    }))
}

/// What the policy in force says of a model: who signed, or everything that stands against it.
pub(crate) fn judge(node: &Node, model: &Model, bom: Option<Digest>, stage: Stage) -> Result<String, String> {
    match in_force(node, &model.tenant).map_err(|fail| fail.line())? {
        None => Ok("the tenant has no trust policy: the node's own signature counts".to_owned()),
        Some(policy) => {
            let floor = floor::of(node, model, stage).map_err(|fail| fail.line())?;
            let decision = decide(&policy, model, bom, (stage, floor));
            let mut said = said(&decision).join("; ");
            if decision.has("below-floor") {
                said.push_str(floor::WAY_BACK);
            }
            let which = format!("version {}", policy.version());
            if decision.admit { Ok(format!("{which}: {said}")) } else { Err(format!("{which}: {said}")) }
        }
    }
}

fn said(decision: &Decision) -> Vec<String> {
    decision.reasons.iter().map(|reason| format!("{}: {}", reason.code, reason.what)).collect()
}

/// The decision of a policy on a model as it is registered. `bom`: the root digest that its signed BoM is bound to.
fn decide(
    policy: &Policy,
    model: &Model,
    bom: Option<Digest>,
    (stage, stored_floor): (Stage, u64),
) -> Decision {
    let at = now();
    // The node's own signature counts where the policy names its key, as anybody's does.
    let bundles = std::iter::once(&model.bundle).chain(&model.signatures);
    let mut opener = Opener::new(policy);
    let opened = bundles.filter_map(|bundle| opener.open(model.name.as_str(), bundle.as_bytes(), at).ok());
    let signatures: Vec<Signed> = opened.filter(|signed| is_of(signed, &model.files).is_ok()).collect();
    let files: Vec<Digest> = model.files.iter().map(|file| file.digest).collect();
    let facts = Facts {
        model: model.name.as_str(),
        stage,
        signatures: &signatures,
        release: Some(model.version),
        bom,
        inspection: Some(risks::inspection(&model.verdict, &model.risks)),
        files: &files,
        datasets: &[],
        stored_floor,
    };
    evaluate(policy, None, &facts, at)
}

/// Whether a signature is over exactly these files.
fn is_of(signed: &Signed, files: &[File]) -> Result<(), String> {
    signed.check_files(&boms::digests(files)).map(drop).map_err(|e| base::error::chain(&e))
}

/// Puts a policy into force for a tenant. What it does not admit any more is out of service when this is answered.
pub(crate) fn apply(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    request: &TrustApply,
) -> Result<api::TrustPolicy, Fail> {
    node.tenant(tenant)?;
    let policy = parse(tenant, &request.text)?;
    if policy.revocation_key().is_some() {
        return Err(Fail::invalid("a list of revocations that is signed elsewhere is not taken by a node")
            .help("leave out `[revocations]`, and revoke with `strongroom revocation create`"));
    }
    signed::is_usable(&policy)?;
    let why = reason(&request.reason)?;
    let last = node.meta.read(|tx| tx.of(tenant).last::<TrustPolicy>()).map_err(store_fail)?;
    let (known, at) = (last.map_or(0, |stored| stored.record.version), now());
    if policy.version() <= known {
        return Err(Fail::conflict(format!(
            "the policy is version {}, and version {known} was in force: none goes back",
            policy.version()
        ))
        .help(format!("write `version = {}` in the policy", known.saturating_add(1))));
    }
    let cor = correlation()?;
    let event = Event::new(EventKind::TrustApply, Phase::Intent, Outcome::Unknown, at.as_millis(), cor)
        .tenant(tenant.as_str())
        .by(principal)
        .severity(Severity::High)
        .asset("trust_policy", &policy.version().to_string(), Some(policy.digest()))
        .because(why);
    let effect = || {
        let record = TrustPolicy {
            tenant: tenant.clone(),
            version: policy.version(),
            envelope: signed(node, tenant, &policy, request.text.as_bytes(), cor)?,
            by: principal.actor(),
            applied_ms: at.as_millis(),
            reason: why.to_owned(),
        };
        let insert = |tx: &store::Tx<'_>| {
            if tx.of(tenant).count::<TrustPolicy>()? >= VERSIONS_MAX {
                return Ok::<bool, StoreError>(false);
            }
            tx.of(tenant).insert(&record)?;
            Ok(true)
        };
        if !node.meta.transaction(insert).map_err(store_fail)? {
            return Err(Fail::conflict(format!("this tenant has its {VERSIONS_MAX} trust policies")));
        }
        Ok((record, endpoints::reconsider(node, Some(tenant))?))
    };
    let told = |event: Event, (_, withdrawn): &(TrustPolicy, Vec<String>)| {
        event.detail("withdrawn", &withdrawn.join(" "))
    };
    let (record, withdrawn) = node.keeper.audited_with(event, effect, told)?;
    Ok(api::TrustPolicy { withdrawn, ..wire(node, tenant, &record) })
}

fn parse(tenant: &Name, text: &str) -> Result<Policy, Fail> {
    let policy = Policy::parse(text.as_bytes()).map_err(|e| Fail::explained(400, &e))?;
    if policy.tenant() != tenant.as_str() {
        return Err(Fail::invalid(format!(
            "the policy is for tenant `{}`, the request for `{tenant}`",
            crate::fail::printable(policy.tenant())
        )));
    }
    Ok(policy)
}

/// The document in its envelope.
fn signed(node: &Node, tenant: &Name, policy: &Policy, text: &[u8], cor: u128) -> Result<String, Fail> {
    let to_sign = dsse::to_sign(PAYLOAD_TYPE, text);
    let subject = format!("trust policy {}", policy.version());
    let signature = models::signature(node, SignKind::Policy, to_sign, tenant.as_str(), &subject, cor)?;
    let key = PublicKey::from_pem(node.keys.policy_pem.as_bytes()).map_err(|e| Fail::explained(500, &e))?;
    let envelope =
        Envelope::new(PAYLOAD_TYPE, text.to_vec(), signature, &key).map_err(|e| Fail::explained(500, &e))?;
    String::from_utf8(envelope.to_bytes()).map_err(|e| Fail::internal("an envelope is not text", e))
}

/// One version; 0 is the newest.
pub(crate) fn show(node: &Node, tenant: &Name, version: u64) -> Result<api::TrustPolicy, Fail> {
    node.tenant(tenant)?;
    let stored = node.meta.read(|tx| match version {
        0 => tx.of(tenant).last::<TrustPolicy>(),
        v => tx.of(tenant).get::<TrustPolicy>(&v),
    });
    let shown = if version == 0 { "latest".to_owned() } else { version.to_string() };
    let absent = || {
        Fail::not_found("trust policy", &shown)
            .help("make one with `strongroom trust policy example`, and put it into force with `strongroom trust policy apply`")
    };
    let record = stored.map_err(store_fail)?.ok_or_else(absent)?.record;
    Ok(wire(node, tenant, &record))
}

/// Every version, without the text.
pub(crate) fn list(node: &Node, tenant: &Name, page: &PageRequest) -> Result<Page<api::TrustPolicy>, Fail> {
    node.tenant(tenant)?;
    let page = node.meta.read(|tx| tx.of(tenant).list::<TrustPolicy>(page)).map_err(store_fail)?;
    let short = |record| api::TrustPolicy { text: None, ..wire(node, tenant, record) };
    Ok(Page { items: page.items.iter().map(|s| short(&s.record)).collect(), next: page.next })
}

fn wire(node: &Node, tenant: &Name, record: &TrustPolicy) -> api::TrustPolicy {
    let (policy, text) = open(node, tenant, record).ok().unzip();
    api::TrustPolicy {
        version: record.version,
        verified: policy.is_some(),
        digest: policy.map(|policy| policy.digest().hex()),
        by: record.by.clone(),
        applied: time(record.applied_ms),
        reason: record.reason.clone(),
        text,
        withdrawn: Vec::new(),
    }
}

/// What a policy that is not in force would say of every model that is registered.
pub(crate) fn check(node: &Node, tenant: &Name, request: &TrustCheck) -> Result<TrustOpinions, Fail> {
    node.tenant(tenant)?;
    let policy = parse(tenant, &request.text)?;
    let served: BTreeSet<(Name, u64)> = node
        .every::<Endpoint>(|e| e.tenant == *tenant && e.state == EndpointState::Serving)?
        .into_iter()
        .map(|endpoint| (endpoint.model, endpoint.model_version))
        .collect();
    let registered =
        node.every::<Model>(|model| model.tenant == *tenant && model.state == ModelState::Registered)?;
    let opinion = |model: &Model| {
        let served = served.contains(&(model.name.clone(), model.version));
        // What is served goes on; everything else would be released anew.
        let stage = if served { Stage::Load } else { Stage::Admit };
        let floor = floor::of(node, model, stage)?;
        let decision = decide(&policy, model, models::bound_bom(node, model), (stage, floor));
        Ok(TrustOpinion {
            model: format!("{}@{}", model.name, model.version),
            admitted: decision.admit,
            served,
            reasons: said(&decision),
        })
    };
    let items = registered.iter().map(opinion).collect::<Result<Vec<_>, Fail>>()?;
    Ok(TrustOpinions { digest: policy.digest().hex(), items })
}

/// Adds somebody's signature to a model: it counts as far as the policy in force says.
pub(crate) fn countersign(
    node: &Arc<Node>,
    principal: &Principal,
    (tenant, name, version): (&Name, &Name, u64),
    bundle: &str,
) -> Result<api::Model, Fail> {
    let model = models::find(node, tenant, name, version)?;
    let subject = format!("{}@{}", model.name, model.version);
    let no = |what: &str, why: String| {
        Fail::refused("SR-CTL-0042", format!("the signature is not taken for model `{subject}`: {what}"))
            .because(why)
            .help(format!("see who may sign with `strongroom trust policy show --tenant {tenant}`"))
    };
    let Some(policy) = in_force(node, tenant)? else {
        return Err(no(
            "the tenant has no trust policy",
            "nobody's signature counts but the node's".to_owned(),
        ));
    };
    let signed = Opener::new(&policy)
        .open(model.name.as_str(), bundle.as_bytes(), now())
        .map_err(|e| no("it does not verify", base::error::chain(&e)))?;
    is_of(&signed, &model.files).map_err(|why| no("it is over other files", why))?;
    let names: Vec<&str> = policy
        .attribute(model.name.as_str(), signed.signer(), now())
        .iter()
        .map(|p| p.name.as_str())
        .collect();
    if names.is_empty() {
        return Err(no("it counts for nobody now", "its signer's time has not come, or is over".to_owned()));
    }
    let event = Event::new(
        EventKind::ModelCountersign,
        Phase::Intent,
        Outcome::Unknown,
        now().as_millis(),
        correlation()?,
    )
    .tenant(tenant.as_str())
    .by(principal)
    .asset("model", &subject, Some(model.root_digest))
    .detail("signer", &names.join(" "));
    let key = (model.name.clone(), model.version);
    let changed = node.keeper.audited(event, || {
        let add = |tx: &store::Tx<'_>| {
            let rows = tx.of(tenant);
            let Some(mut stored) = rows.get::<Model>(&key)? else { return Ok::<_, StoreError>(None) };
            let signatures = &mut stored.record.signatures;
            // The same once more changes nothing.
            if !signatures.iter().any(|known| known == bundle) {
                if signatures.len() >= SIGNATURES_MAX {
                    return Ok(None);
                }
                signatures.push(bundle.to_owned());
                rows.update(&stored)?;
            }
            Ok(Some(stored.record))
        };
        let full = || Fail::conflict(format!("model `{subject}` has its {SIGNATURES_MAX} signatures"));
        node.meta.transaction(add).map_err(store_fail)?.ok_or_else(full)
    })?;
    Ok(models::wire(node, &changed))
}

/// Whether older releases of a model may be refused by a floor: for the probe, over a policy of its own.
pub(crate) fn floor_holds(model: &Model, pem: &str) -> Result<(bool, bool), Fail> {
    let policy = |floor: u64| {
        let text = format!(
            "schema = \"strongroom.trust-policy/1\"\ntenant = \"{}\"\nversion = 1\n[[signer]]\nprincipal = \"node\"\nmodels = [\"*\"]\nkeys = [\"\"\"\n{pem}\"\"\"]\n[[rule]]\nmodels = [\"*\"]\nsignatures = 1\nfloor = {floor}\nbom = false\n",
            model.tenant
        );
        Policy::parse(text.as_bytes()).map_err(|e| Fail::explained(500, &e))
    };
    let at = decide(&policy(model.version)?, model, None, (Stage::Admit, 0));
    let above = decide(&policy(model.version.saturating_add(1))?, model, None, (Stage::Admit, 0));
    Ok((at.admit, !above.admit && above.has("below-floor")))
}
