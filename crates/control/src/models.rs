//! Models: registered from a job or imported, signed, admitted before use, exported.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::{Check, Page, Verification};
use base::Digest;
use base::id::JobId;
use base::names::Name;
use integrity::trust::Stage;
use integrity::{dsse, oms};
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use ops::keeper::{Request, Response, SignKind};
use ops::{Blob, Text};
use store::records::{File, Model, ModelState};
use store::{PageRequest, StoreError};
use vault::KeyScope;

use crate::auth::{By, Principal};
use crate::clock::now;
use crate::datasets::verify_files;
use crate::imports::wire_file;
use crate::keygroups::{KeyRing, Use};
use crate::node::{Node, correlation, store_fail, time};
use crate::revocations::Revoked;
use crate::{Fail, egress, trust};

/// The code of a model that may not be used (now).
pub(crate) const NOT_ADMITTED: &str = "SR-CTL-0012";

/// What the inspector said of a model's files.
#[derive(Debug, Clone)]
pub(crate) struct Inspected {
    /// load, load-with-policy or refuse: the worst of its files.
    pub(crate) verdict: String,
    pub(crate) findings: Vec<String>,
    /// What a trust policy must accept, as it names it.
    pub(crate) risks: BTreeSet<String>,
}

/// A model that is signed and not yet registered.
#[derive(Debug, Clone)]
pub(crate) struct SignedModel {
    pub(crate) root_digest: Digest,
    pub(crate) bundle: String,
}

/// `name` or `name@version`; 0 stands for the newest.
pub(crate) fn reference(text: &str) -> Result<(Name, u64), Fail> {
    let (name, version) = match text.split_once('@') {
        None | Some((_, "latest")) => (text.split('@').next().unwrap_or(text), 0),
        Some((name, version)) => {
            let version = version.parse().ok().filter(|v| *v > 0);
            (name, version.ok_or_else(|| Fail::not_found("model", text))?)
        }
    };
    Ok((name.parse().map_err(|_| Fail::not_found("model", text))?, version))
}

/// One version; 0 is the newest.
pub(crate) fn find(node: &Node, tenant: &Name, name: &Name, version: u64) -> Result<Model, Fail> {
    let stored = node
        .meta
        .read(|tx| match version {
            0 => tx.of(tenant).last_under::<Model, _, _>(name),
            v => tx.of(tenant).get::<Model>(&(name.clone(), v)),
        })
        .map_err(store_fail)?;
    let shown = if version == 0 { name.to_string() } else { format!("{name}@{version}") };
    Ok(stored.ok_or_else(|| Fail::not_found("model", &shown))?.record)
}

pub(crate) fn show(node: &Arc<Node>, tenant: &Name, name: &Name, version: u64) -> Result<api::Model, Fail> {
    Ok(wire(node, &find(node, tenant, name, version)?))
}

pub(crate) fn list(node: &Node, tenant: &Name, page: &PageRequest) -> Result<Page<api::Model>, Fail> {
    node.tenant(tenant)?;
    let page = node.meta.read(|tx| tx.of(tenant).list::<Model>(page)).map_err(store_fail)?;
    Ok(Page { items: page.items.iter().map(|s| wire(node, &s.record)).collect(), next: page.next })
}

/// Signs the files in OMS format; the key stays in the keeper, which sees the digest of what it signs.
pub(crate) fn sign(
    node: &Node,
    tenant: &Name,
    name: &str,
    files: &[File],
    cor: u128,
) -> Result<SignedModel, Fail> {
    let resources: Vec<oms::Resource> =
        files.iter().map(|f| oms::Resource { name: f.path.clone(), digest: f.digest.into() }).collect();
    let payload = oms::statement(name, &resources, &[]).map_err(|e| Fail::explained(400, &e))?;
    let digest = dsse::to_sign(dsse::IN_TOTO, &payload);
    let signature = signature(node, SignKind::Model, digest, tenant.as_str(), name, cor)?;
    let bundle = oms::bundle(payload, signature, node.keys.model_pem.as_bytes())
        .map_err(|e| Fail::explained(500, &e))?;
    let root_digest = oms::open(&bundle, node.keys.model_pem.as_bytes())
        .map_err(|e| Fail::explained(500, &e))?
        .statement()
        .root_digest;
    let bundle = String::from_utf8(bundle).map_err(|e| Fail::internal("the signature is not text", e))?;
    Ok(SignedModel { root_digest, bundle })
}

/// A signature by the keeper; logged before it is returned.
pub(crate) fn signature(
    node: &Node,
    kind: SignKind,
    digest: Digest,
    tenant: &str,
    subject: &str,
    correlation: u128,
) -> Result<Vec<u8>, Fail> {
    let request =
        Request::Sign { kind, digest, tenant: Text::clip(tenant), subject: Text::clip(subject), correlation };
    match node.keeper.call(&request)? {
        Response::Signed { signature, .. } => Ok(Blob::into_inner(signature)),
        _ => Err(Fail::internal("the keeper gave an answer of another kind", "sign")),
    }
}

/// What is registered.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) tenant: Name,
    pub(crate) name: Name,
    pub(crate) version: u64,
    pub(crate) job: Option<JobId>,
    pub(crate) files: Vec<File>,
    pub(crate) signed: SignedModel,
    pub(crate) bom: Option<(Digest, String)>,
    pub(crate) inspected: Inspected,
}

/// The version that the next model of this name has.
pub(crate) fn next_version(node: &Node, tenant: &Name, name: &Name) -> Result<u64, Fail> {
    let last = node.meta.read(|tx| tx.of(tenant).last_under::<Model, _, _>(name)).map_err(store_fail)?;
    Ok(last.map_or(1, |l| l.record.version.saturating_add(1)))
}

/// The record of a version that is to be registered.
pub(crate) fn record(node: &Node, registration: Registration) -> Model {
    let Registration { tenant, name, version, job, files, signed, bom, inspected } = registration;
    let (bom_digest, bom_envelope) = bom.unzip();
    Model {
        tenant,
        name,
        version,
        job,
        root_digest: signed.root_digest,
        files,
        bundle: signed.bundle,
        signatures: Vec::new(),
        signer: format!("node {}", node.config.node),
        bom_digest,
        bom_envelope,
        verdict: inspected.verdict,
        findings: inspected.findings,
        risks: inspected.risks,
        floor: 0,
        state: ModelState::Registered,
        reason: None,
        created_ms: now().as_millis(),
    }
}

/// The event of its registration.
pub(crate) fn event(kind: EventKind, actor: &str, record: &Model, cor: u128) -> Event {
    let mut event = Event::new(kind, Phase::Intent, Outcome::Unknown, now().as_millis(), cor)
        .tenant(record.tenant.as_str())
        .actor(actor)
        .asset("model", &format!("{}@{}", record.name, record.version), Some(record.root_digest))
        .detail("verdict", &record.verdict);
    if !record.risks.is_empty() {
        event = event.detail("risks", &trust::listed(&record.risks));
    }
    if let Some(digest) = record.bom_digest {
        event = event.bom(digest);
    }
    if let Some(job) = record.job {
        event = event.detail("job", &job.to_string());
    }
    event
}

/// Registers a version at the end of a job. Of two that race for one, the second fails and nothing of it is visible.
pub(crate) fn register(
    node: &Node,
    actor: &str,
    registration: Registration,
    cor: u128,
) -> Result<Model, Fail> {
    let record = record(node, registration);
    node.keeper.audited(event(EventKind::ModelRegister, actor, &record, cor), || {
        node.meta.transaction(|tx| insert(tx, record.clone())).map_err(store_fail)
    })?;
    Ok(record)
}

/// Writes down a new version, which takes over the floor of its name.
pub(crate) fn insert(tx: &store::Tx<'_>, mut record: Model) -> Result<(), StoreError> {
    let rows = tx.of(&record.tenant);
    record.floor = rows.last_under::<Model, _, _>(&record.name)?.map_or(0, |last| last.record.floor);
    rows.insert(&record)
}

/// Whether a model may be served: state, inspection, signature over exactly its files, and a Model BoM that is
/// signed, complete in its references and bound to this model.
pub(crate) fn admit(node: &Node, model: &Model) -> Result<(), Fail> {
    admit_to(node, model, Stage::Load)
}

/// The same for what is about to happen: what is released anew is no older than the floor of its name.
pub(crate) fn admit_to(node: &Node, model: &Model, stage: Stage) -> Result<(), Fail> {
    for check in checks(node, model, stage) {
        if !check.ok {
            return Err(Fail::refused(
                NOT_ADMITTED,
                format!("model `{}@{}` is not served: {}", model.name, model.version, check.name),
            )
            .because(check.detail)
            .help(format!(
                "see every check with `strongroom model verify {}@{} --tenant {}`",
                model.name, model.version, model.tenant
            )));
        }
    }
    Ok(())
}

pub(crate) fn admission(node: &Node, model: &Model) -> Vec<Check> {
    checks(node, model, Stage::Load)
}

fn checks(node: &Node, model: &Model, stage: Stage) -> Vec<Check> {
    let check = |name: &str, result: Result<String, String>| {
        let ok = result.is_ok();
        Check { name: name.to_owned(), ok, detail: result.unwrap_or_else(|e| e) }
    };
    let state = match model.state {
        ModelState::Registered => Ok("registered".to_owned()),
        ModelState::Quarantined => Err(model.reason.clone().unwrap_or_else(|| "in quarantine".to_owned())),
    };
    let verdict = trust::accepted(node, &model.tenant, &model.name, &model.verdict, &model.risks)
        .map(|by| by.map_or_else(|| model.verdict.clone(), |by| format!("{}, {by}", model.verdict)))
        .map_err(|fail| fail.line());
    let files: BTreeMap<String, Digest> = model.files.iter().map(|f| (f.path.clone(), f.digest)).collect();
    let signature = oms::verify(model.bundle.as_bytes(), node.keys.model_pem.as_bytes(), &files)
        .map_err(|e| base::error::chain(&e))
        .and_then(|v| match v.root_digest == model.root_digest {
            true => Ok(format!("root digest {}", v.root_digest)),
            false => {
                Err(format!("the signature is over {}, the record says {}", v.root_digest, model.root_digest))
            }
        });
    let revoked = match Revoked::of(node, &model.tenant).and_then(|revoked| revoked.model(node, model)) {
        Ok(None) => Ok("nothing of it is revoked".to_owned()),
        Ok(Some(why)) => Err(why),
        // What cannot be read does not admit.
        Err(fail) => Err(fail.line()),
    };
    let trusted = trust::judge(node, model, bound_bom(node, model), stage);
    vec![
        check("not in quarantine", state),
        check("not revoked", revoked),
        check("trust policy", trusted),
        check("inspection", verdict),
        check("signature", signature),
        check("model BoM", verify_bom(node, model)),
    ]
}

/// The model that the signed BoM of a model is bound to, if it has one that verifies.
pub(crate) fn bound_bom(node: &Node, model: &Model) -> Option<Digest> {
    verify_bom(node, model).ok().map(|_| model.root_digest)
}

fn verify_bom(node: &Node, model: &Model) -> Result<String, String> {
    let (Some(envelope), Some(digest)) = (&model.bom_envelope, model.bom_digest) else {
        return Err("there is none; a model without a Model BoM is not served".to_owned());
    };
    let statement = dsse::open_statement(envelope.as_bytes(), node.keys.bom_pem.as_bytes())
        .map_err(|e| base::error::chain(&e))?;
    let parsed = bom::parse_statement(&statement).map_err(|e| base::error::chain(&e))?;
    if parsed.root_digest != model.root_digest {
        return Err(format!("it is bound to model {}, not to {}", parsed.root_digest, model.root_digest));
    }
    if parsed.bom_digest != digest {
        return Err(format!("it is {}, the record says {digest}", parsed.bom_digest));
    }
    let files: BTreeMap<String, Digest> = model.files.iter().map(|f| (f.path.clone(), f.digest)).collect();
    let problems = bom::check(&parsed.bom, &model.root_digest, &files);
    match problems.first() {
        None => Ok(format!("signed, bound to this model, sha256 {digest}")),
        Some(first) => Err(format!("{}: {}", first.rule, first.what)),
    }
}

/// Every check of an admission, and every byte of the stored files.
pub(crate) fn verify(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    name: &Name,
    version: u64,
) -> Result<Verification, Fail> {
    let model = find(node, tenant, name, version)?;
    let cor = correlation()?;
    let mut checks = admission(node, &model);
    checks.extend(verify_files(
        node,
        &KeyScope::Tenant(tenant.clone()),
        &model.files,
        &principal.actor(),
        cor,
    )?);
    let verified = checks.iter().all(|c| c.ok);
    let subject = format!("{}@{}", model.name, model.version);
    let (outcome, severity) = if verified {
        (Outcome::Success, Severity::Informational)
    } else {
        (Outcome::Failure, Severity::High)
    };
    let failed: Vec<String> =
        checks.iter().filter(|c| !c.ok).map(|c| format!("{}: {}", c.name, c.detail)).collect();
    let event = Event::new(EventKind::ModelVerify, Phase::Outcome, outcome, now().as_millis(), cor)
        .tenant(tenant.as_str())
        .by(principal)
        .asset("model", &subject, Some(model.root_digest))
        .severity(severity)
        .because(&failed.join("; "));
    node.keeper.append(event)?;
    Ok(Verification { subject, verified, checks })
}

/// Sets a model aside: it is not served any more, and stays as evidence.
pub(crate) fn quarantine(node: &Node, model: &Model, reason: &str, cor: u128) -> Result<(), Fail> {
    let event =
        Event::new(EventKind::ModelQuarantine, Phase::Intent, Outcome::Unknown, now().as_millis(), cor)
            .tenant(model.tenant.as_str())
            .asset("model", &format!("{}@{}", model.name, model.version), Some(model.root_digest))
            .severity(Severity::Critical)
            .because(reason);
    let key = (model.name.clone(), model.version);
    node.keeper.audited(event, || {
        node.meta
            .transaction(|tx| {
                let rows = tx.of(&model.tenant);
                let Some(mut stored) = rows.get::<Model>(&key)? else { return Ok(()) };
                stored.record.state = ModelState::Quarantined;
                stored.record.reason = Some(reason.to_owned());
                rows.update(&stored)?;
                Ok::<_, StoreError>(())
            })
            .map_err(store_fail)
    })
}

pub(crate) fn signature_of(model: &Model) -> Vec<u8> {
    model.bundle.clone().into_bytes()
}

pub(crate) fn signature_file(
    node: &Arc<Node>,
    tenant: &Name,
    name: &Name,
    version: u64,
) -> Result<Vec<u8>, Fail> {
    Ok(signature_of(&find(node, tenant, name, version)?))
}

pub(crate) fn bom_envelope(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    name: &Name,
    version: u64,
) -> Result<Vec<u8>, Fail> {
    let model = find(node, tenant, name, version)?;
    let (Some(envelope), Some(digest)) = (model.bom_envelope, model.bom_digest) else {
        return Err(Fail::not_found("Model BoM for", &format!("{name}@{}", model.version)));
    };
    let event =
        Event::new(EventKind::BomExport, Phase::Outcome, Outcome::Success, now().as_millis(), correlation()?)
            .tenant(tenant.as_str())
            .by(principal)
            .asset("model", &format!("{name}@{}", model.version), Some(model.root_digest))
            .bom(digest);
    node.keeper.append(event)?;
    Ok(envelope.into_bytes())
}

/// One file of a model on its way out: opened, logged and taken into account, not yet read.
#[derive(Debug)]
pub(crate) struct Export {
    reader: store::SefReader,
    taken: egress::Taken,
}

pub(crate) fn export(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    name: &Name,
    version: u64,
    path: &str,
) -> Result<Export, Fail> {
    let model = find(node, tenant, name, version)?;
    let file = model.files.iter().find(|f| f.path == path).ok_or_else(|| Fail::not_found("file", path))?;
    let cor = correlation()?;
    let subject = format!("{name}@{}", model.version);
    let event = Event::new(EventKind::ModelExport, Phase::Intent, Outcome::Unknown, now().as_millis(), cor)
        .tenant(tenant.as_str())
        .by(principal)
        .asset("model", &subject, Some(model.root_digest))
        .detail("path", path)
        .detail("bytes", &file.size.to_string());
    let scope = KeyScope::Tenant(tenant.clone());
    node.keeper.audited(event, || {
        let (actor, purpose) = (principal.actor(), format!("export {subject}"));
        let why = Use { actor: &actor, purpose: &purpose, correlation: cor };
        let taken = egress::take(node, principal, &subject, file.size, cor)?;
        match node.reader(&scope, &file.digest, &mut KeyRing::default(), why) {
            Ok(reader) => Ok(Export { reader, taken }),
            Err(fail) => {
                taken.settle(node, 0);
                Err(fail)
            }
        }
    })
}

impl Export {
    /// Sends the file piece by piece; a piece leaves only after its tag verified. A file that fails half-way breaks
    /// the body off, which the receiver sees by its length and digest.
    pub(crate) fn run(self, node: &Node, send: impl Fn(Vec<u8>) -> bool) {
        let mut offset = 0u64;
        let mut piece = vec![0u8; 1 << 20];
        while offset < self.reader.len() {
            let Ok(len @ 1..) = self.reader.read_at(offset, &mut piece) else { break };
            // A piece that was handed over counts, whether or not it arrives.
            offset = offset.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
            if !send(piece.get(..len).unwrap_or_default().to_vec()) {
                break;
            }
        }
        self.taken.settle(node, offset);
    }
}

pub(crate) fn wire(node: &Node, record: &Model) -> api::Model {
    let scope = KeyScope::Tenant(record.tenant.clone());
    let objects =
        record.files.iter().filter_map(|f| node.object(&scope, &f.digest).ok().map(|o| o.name.to_string()));
    api::Model {
        tenant: record.tenant.to_string(),
        name: record.name.to_string(),
        version: record.version,
        state: record.state.as_str().to_owned(),
        reason: record.reason.clone(),
        digest: record.root_digest.hex(),
        bom_digest: record.bom_digest.map(|d| d.hex()),
        job: record.job.map(|j| j.to_string()),
        files: record.files.iter().map(wire_file).collect(),
        verdict: record.verdict.clone(),
        findings: record.findings.clone(),
        risks: record.risks.iter().cloned().collect(),
        signer: record.signer.clone(),
        created: time(record.created_ms),
        objects: objects.collect(),
    }
}
