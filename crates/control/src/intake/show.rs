//! An intake as the API shows it.

use std::sync::Arc;

use api::Page;
use base::names::Name;
use integrity::intake::{Acceptance, Stage, Step};
use store::PageRequest;
use store::records::{Evaluation, Intake};

use super::{acceptance, based, describe, find, stage};
use crate::imports::wire_file;
use crate::node::{Node, store_fail, time};
use crate::{Fail, jobs};

pub(crate) fn show(node: &Arc<Node>, tenant: &Name, name: &Name, number: u64) -> Result<api::Intake, Fail> {
    Ok(wire(node, &find(node, tenant, (name, number))?.record))
}

pub(crate) fn list(node: &Node, tenant: &Name, page: &PageRequest) -> Result<Page<api::Intake>, Fail> {
    node.tenant(tenant)?;
    let page = node.meta.read(|tx| tx.of(tenant).list::<Intake>(page)).map_err(store_fail)?;
    // A model may have thousands of files: a list says where each stands, the intake itself which files.
    let short = |record: &Intake| api::Intake { files: Vec::new(), ..wire(node, record) };
    Ok(Page { items: page.items.iter().map(|s| short(&s.record)).collect(), next: page.next })
}

pub(super) fn wire(node: &Node, record: &Intake) -> api::Intake {
    let may_waive = acceptance(node, record) == Acceptance::Waive;
    let required = Step::ALL.into_iter().map(|step| match step {
        Step::Accept if may_waive => format!("{} (may be left out)", step.as_str()),
        Step::Approve if record.two_people => format!("{} (by another person)", step.as_str()),
        _ => step.as_str().to_owned(),
    });
    let (hashed_bytes, reused_bytes) = based::counted(record);
    api::Intake {
        based_on: record.based.as_ref().map(|based| format!("{}@{}", based.name, based.version)),
        hashed_bytes,
        reused_bytes,
        tenant: record.tenant.to_string(),
        name: record.name.to_string(),
        version: record.number,
        state: record.state.as_str().to_owned(),
        reason: record.reason.clone(),
        required: required.collect(),
        next: next(record, may_waive),
        by: record.by.clone(),
        source: record.source.clone(),
        signed_by: record.upstream.as_ref().and_then(|u| u.verified).map(|d| d.hex()),
        digest: record.manifest.hex(),
        files: record.files.iter().map(wire_file).collect(),
        declared: record.declared.iter().map(|(name, said)| (name.clone(), said.value.clone())).collect(),
        verdict: record.verdict.clone(),
        findings: record.findings.clone(),
        risks: record.risks.iter().cloned().collect(),
        bom_digest: record.bom.as_ref().map(|(digest, _)| digest.hex()),
        criterion: record.criterion.as_ref().map(|asked| api::IntakeCriterion {
            metric: asked.metric.clone(),
            at_least: asked.at_least.then_some(asked.threshold),
            at_most: (!asked.at_least).then_some(asked.threshold),
            by: asked.by.clone(),
        }),
        evaluations: record.evaluations.iter().map(|e| evaluation(node, record, e)).collect(),
        steps: record
            .steps
            .iter()
            .map(|s| api::IntakeStep {
                step: s.step.clone(),
                by: s.by.clone(),
                at: time(s.at_ms),
                detail: s.detail.clone(),
            })
            .collect(),
        model: record.model.map(|version| format!("{}@{version}", record.name)),
        created: time(record.created_ms),
    }
}

/// The step that is next, and what it waits for.
fn next(record: &Intake, may_waive: bool) -> Option<String> {
    let step = stage(record.state).wants()?;
    Some(match step {
        Step::Describe => match describe::lacks(record) {
            lacking if lacking.is_empty() => step.as_str().to_owned(),
            lacking => format!("{}: say {}", step.as_str(), lacking.join(", ")),
        },
        Step::Accept if may_waive => format!("{} or, left out, {}", step.as_str(), Step::Approve.as_str()),
        _ => step.as_str().to_owned(),
    })
}

fn evaluation(node: &Node, record: &Intake, e: &Evaluation) -> api::IntakeEvaluation {
    // A job that ended without a word of its own: failed, or stopped.
    let left = || {
        let job = jobs::find(node, &record.tenant, &e.job.to_string()).ok()?;
        job.state.is_final().then(|| job.state.as_str().to_owned())
    };
    let ended = match stage(record.state) {
        Stage::Described => e.ended.clone().or_else(left),
        _ => e.ended.clone(),
    };
    api::IntakeEvaluation {
        job: e.job.to_string(),
        by: e.by.clone(),
        code: e.code.hex(),
        data: e.data.iter().map(|(channel, digest)| (channel.clone(), digest.hex())).collect(),
        value: e.value.clone(),
        ended,
    }
}
