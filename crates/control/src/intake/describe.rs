//! What is known of a model that was made elsewhere, as a Model BoM: version 1 when it is described, version 2 when it
//! is admitted, with its acceptance and its local signature.

use std::sync::Arc;

use base::Digest;
use bom::{Fact, ModelBom};
use integrity::intake::Step;
use integrity::oms;
use ops::event::EventKind;
use store::meta::Stored;
use store::records::Intake;

use super::{Mover, advance, may, pass};
use crate::auth::Principal;
use crate::clock::now;
use crate::models::SignedModel;
use crate::node::Node;
use crate::{Fail, boms};

/// What must be said of a model before it is described.
const STATED: [&str; 4] = ["license", "producer", "purpose", "accountable"];

/// What is not yet said of it.
pub(super) fn lacks(record: &Intake) -> Vec<&'static str> {
    STATED.into_iter().filter(|name| !record.declared.contains_key(*name)).collect()
}

/// OMS root digest of its files.
pub(super) fn root_digest(record: &Intake) -> Digest {
    let resources: Vec<oms::Resource> = record
        .files
        .iter()
        .map(|f| oms::Resource { name: f.path.clone(), digest: f.digest.into() })
        .collect();
    oms::root_digest(&resources)
}

pub(super) fn describe(
    node: &Arc<Node>,
    principal: &Principal,
    stored: Stored<Intake>,
    cor: u128,
) -> Result<Stored<Intake>, Fail> {
    let record = &stored.record;
    may(node, record, Step::Describe)?;
    let lacking = lacks(record);
    if !lacking.is_empty() {
        return Err(Fail::refused("SR-ITK-0006", "too little is said of the model").because(lacking.join(", ")).help(
            format!(
                "say it: `strongroom model intake describe {} --license TEXT --producer TEXT --purpose TEXT --accountable TEXT`",
                record.name
            ),
        ));
    }
    let version = format!("intake-{}", record.number);
    let document = bom_record(node, record, &version, None)?;
    let actor = principal.actor();
    let subject = boms::Subject {
        tenant: &record.tenant,
        name: &record.name,
        version: &version,
        root_digest: root_digest(record),
        files: &record.files,
        actor: &actor,
    };
    // It is signed at the end of its intake and not before.
    let signed = boms::sign(node, &document, subject, &["signer"], cor)?;
    let detail = format!("Model BoM sha256 {}", signed.0);
    let event = (EventKind::IntakeStep, pass(Step::Describe, record));
    advance(node, Mover::Caller(principal), stored, event, (&detail, cor), |_, record| {
        record.bom = Some(signed);
        Ok(())
    })
}

/// The record of the model; with its signature once it is admitted.
pub(super) fn bom_record(
    node: &Node,
    record: &Intake,
    version: &str,
    signed: Option<&SignedModel>,
) -> Result<ModelBom, Fail> {
    let serial = u128::from_str_radix(&record.serial, 16)
        .map_err(|e| Fail::internal("the serial number of a Model BoM is no number", e))?;
    let previous = record.bom.as_ref().map(|(digest, _)| *digest).filter(|_| signed.is_some());
    let accepted = super::must_be_accepted(node, record)?;
    let inspections = record.files.iter().map(|f| {
        let own = format!("{}: ", f.path);
        let found = record.findings.iter().filter_map(|x| x.strip_prefix(&own)).map(str::to_owned);
        bom::Inspection {
            path: f.path.clone(),
            verdict: record.verdict.clone().unwrap_or_default(),
            format: f.media.clone().unwrap_or_default(),
            findings: found.collect(),
            accepted: accepted.clone(),
            inspector: format!("strongroom-inspect {}", env!("CARGO_PKG_VERSION")),
        }
    });
    Ok(ModelBom {
        serial,
        version: if previous.is_some() { 2 } else { 1 },
        previous,
        reason: match signed {
            Some(_) => "the model was admitted: it took every step of its intake".to_owned(),
            None => "the model was made elsewhere, and is in quarantine".to_owned(),
        },
        timestamp: now(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        node: node.config.node.clone(),
        tenant: record.tenant.to_string(),
        model: model(record, version),
        job: None,
        datasets: Vec::new(),
        signer: signed.map(|s| boms::signer(node, &s.bundle)).transpose()?,
        inspections: inspections.collect(),
        metrics: metrics(record),
        audit: boms::evidence(node, &record.tenant, &record.manifest.hex())?,
    })
}

fn model(record: &Intake, version: &str) -> bom::Model {
    let said = |name: &str| {
        record.declared.get(name).map_or(Fact::Unknown, |said| Fact::declared(&said.value, &said.by))
    };
    let from = said("upstream_version");
    bom::Model {
        name: record.name.to_string(),
        version: version.to_owned(),
        root_digest: root_digest(record),
        files: boms::entries(&record.files),
        tensors: None,
        parameters: Fact::Unknown,
        architecture: Fact::Unknown,
        approach: Fact::Unknown,
        task: Fact::Unknown,
        license: said("license"),
        purpose: said("purpose"),
        limitations: said("limitations"),
        description: Fact::Unknown,
        producer: said("producer"),
        accountable: said("accountable"),
        base: Some(bom::Base {
            name: record.source.clone(),
            version: from.value().unwrap_or("unknown").to_owned(),
            digest: root_digest(record),
            relation: "import".to_owned(),
        }),
    }
}

/// The numbers by which it was accepted.
fn metrics(record: &Intake) -> Vec<bom::Metric> {
    let Some(asked) = &record.criterion else { return Vec::new() };
    let bound = if asked.at_least { "at least" } else { "at most" };
    let taken = record.evaluations.iter().filter_map(|e| Some((e, e.value.clone()?)));
    let metric = |(e, value): (&store::records::Evaluation, String)| bom::Metric {
        name: asked.metric.clone(),
        step: None,
        slice: format!(
            "acceptance by {}, asked for {bound} {}, code sha256 {}",
            e.job, asked.threshold, e.code
        ),
        value: Fact::declared(value, &format!("job {}", e.job)),
    };
    taken.map(metric).collect()
}
