//! Behavioural acceptance: a user's job reads the model in quarantine and reports a number, which is compared with a
//! bound that was stated before.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::IntakeEvaluate;
use base::names::Name;
use integrity::intake::{self as rules, Step};
use ops::event::{Event, EventKind, Outcome, Phase};
use store::meta::Stored;
use store::records::{Criterion, Evaluation, Intake, Job};
use store::{StoreError, Tx};

use super::{Mover, Which, advance, called, find, may, must_be_trusted, pass, show};
use crate::Fail;
use crate::auth::{By, Principal};
use crate::clock::now;
use crate::jobs::{self, Measured};
use crate::node::{Node, correlation, store_fail};

/// Measurements of one intake: who tries until one passes is seen by who approves.
const MEASURED_MAX: usize = 64;

/// Has a job measure the model.
pub(crate) fn evaluate(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    which: &Which,
    request: &IntakeEvaluate,
) -> Result<api::Intake, Fail> {
    let cor = correlation()?;
    let asked = criterion(request, &principal.actor())?;
    let Stored { rev, record } = find(node, tenant, (&which.0, which.1))?;
    may(node, &record, Step::Accept)?;
    must_be_trusted(node, &record)?;
    if record.evaluations.len() >= MEASURED_MAX {
        return Err(Fail::conflict(format!("`{}` was measured {MEASURED_MAX} times", called(&record))));
    }
    if let Some(before) = &record.criterion
        && (&before.metric, before.at_least, before.threshold.to_bits())
            != (&asked.metric, asked.at_least, asked.threshold.to_bits())
    {
        return Err(Fail::conflict(format!(
            "what is asked of `{}` was stated, and is not changed after: `{}` {} {}",
            called(&record),
            before.metric,
            if before.at_least { "at least" } else { "at most" },
            before.threshold
        )));
    }
    if let Some(last) = record.evaluations.last().filter(|e| e.ended.is_none()) {
        let job = jobs::find(node, tenant, &last.job.to_string())?;
        if !job.state.is_final() {
            return Err(Fail::conflict(format!("`{}` is being measured by {}", called(&record), job.id)));
        }
    }
    let event =
        Event::new(EventKind::IntakeEvaluate, Phase::Intent, Outcome::Unknown, now().as_millis(), cor)
            .tenant(tenant.as_str())
            .by(principal)
            .asset("intake", &called(&record), Some(record.manifest))
            .detail("metric", &asked.metric)
            .detail(if asked.at_least { "at_least" } else { "at_most" }, &asked.threshold.to_string());
    let measured = Measured { name: record.name.clone(), number: record.number };
    let files = record.files.clone();
    let by = principal.actor();
    let job = node.keeper.audited_with(
        event,
        || {
            let write = |tx: &Tx<'_>, job: &Job| {
                let mut record = record.clone();
                record.criterion.get_or_insert(asked);
                record.evaluations.push(evaluation(job, &by));
                tx.of(tenant).update(&Stored { rev, record })
            };
            jobs::measure(node, principal, tenant, &request.job, (&measured, &files), write)
        },
        |event, job| event.detail("job", &job.id.to_string()),
    )?;
    drop(job);
    show(node, tenant, &which.0, which.1)
}

fn criterion(request: &IntakeEvaluate, by: &str) -> Result<Criterion, Fail> {
    let named = (1..=api::shape::METRIC_MAX).contains(&request.metric.len())
        && !request.metric.chars().any(char::is_control);
    if !named {
        return Err(Fail::invalid(format!("`metric` is a name of 1 to {} bytes", api::shape::METRIC_MAX)));
    }
    let (at_least, threshold) = match (request.at_least, request.at_most) {
        (Some(bound), None) => (true, bound),
        (None, Some(bound)) => (false, bound),
        _ => return Err(Fail::invalid("a bound is stated: either `at_least` or `at_most`")),
    };
    if !threshold.is_finite() {
        return Err(Fail::invalid("the bound is a number"));
    }
    let (metric, by) = (request.metric.clone(), by.to_owned());
    Ok(Criterion { metric, at_least, threshold, by, at_ms: now().as_millis() })
}

fn evaluation(job: &Job, by: &str) -> Evaluation {
    let part = |name: &str| job.contract_parts.get(name).copied();
    let data = job.contract_parts.iter().filter_map(|(name, digest)| {
        let channel = name.strip_prefix("data/")?;
        (channel != training::limits::QUARANTINED_CHANNEL).then(|| (channel.to_owned(), *digest))
    });
    Evaluation {
        job: job.id,
        by: by.to_owned(),
        at_ms: job.submitted_ms,
        code: part("code").unwrap_or(base::Digest::from_bytes([0; 32])),
        data: data.collect(),
        value: None,
        ended: None,
    }
}

/// Whether the model is to be opened for this job: it is the newest measurement, and waited for.
pub(crate) fn may_be_measured(node: &Node, job: &Job, of: &Measured) -> Result<(), Fail> {
    let stored = waited_for(node, job, of)?;
    must_be_trusted(node, &stored.record)
}

fn waited_for(node: &Node, job: &Job, of: &Measured) -> Result<Stored<Intake>, Fail> {
    let stored = find(node, &job.tenant, (&of.name, of.number))?;
    may(node, &stored.record, Step::Accept)?;
    let last = stored.record.evaluations.last().filter(|e| e.job == job.id && e.ended.is_none());
    if last.is_none() {
        return Err(Fail::conflict(format!("{} does not measure `{}`", job.id, called(&stored.record))));
    }
    let input = job.inputs.iter().find(|i| i.origin == of.to_string());
    // What it read is what the intake is about.
    if input.is_none_or(|i| i.manifest_digest != stored.record.manifest) {
        return Err(Fail::conflict(format!("{} was given other files", job.id)));
    }
    Ok(stored)
}

/// Takes the number of a job that is done; gives what came of it. `also` is written down in the same transaction.
pub(crate) fn measured(
    node: &Node,
    job: &Job,
    of: &Measured,
    metrics: &BTreeMap<String, String>,
    cor: u128,
    also: impl FnOnce(&Tx<'_>, &str) -> Result<(), StoreError>,
) -> Result<String, Fail> {
    let stored = waited_for(node, job, of)?;
    let record = &stored.record;
    let asked = record.criterion.clone().ok_or_else(|| Fail::internal("nothing is asked of it", job.id))?;
    let bound = if asked.at_least { "at least" } else { "at most" };
    let wanted = format!("`{}` is to be {bound} {}", asked.metric, asked.threshold);
    let written = metrics.get(&asked.metric).cloned();
    let value = written.as_ref().and_then(|v| v.parse::<f64>().ok()).filter(|v| !v.is_nan());
    let holds = value.map(|v| if asked.at_least { v >= asked.threshold } else { v <= asked.threshold });
    let said = match (&written, holds) {
        (Some(value), Some(true)) => format!("{wanted}, and is {value}"),
        (Some(value), Some(false)) => format!("{wanted}, and is {value}: it is refused"),
        _ => format!("{wanted}, and the job reported no such number"),
    };
    let actor = format!("job:{}", job.id);
    let by = Mover::Job(&actor);
    let ended = said.clone();
    let close = |record: &mut Intake| {
        if let Some(last) = record.evaluations.last_mut() {
            last.value = written.filter(|_| holds.is_some());
            last.ended = Some(ended);
        }
    };
    let (kind, event) = match holds {
        Some(true) => (EventKind::IntakeEvaluate, pass(Step::Accept, record)),
        Some(false) => (EventKind::IntakeRefuse, rules::Event::Refuse),
        // Nothing was measured: it stays where it is.
        None => {
            let Stored { rev, mut record } = stored;
            close(&mut record);
            let ended = node.meta.transaction(|tx| {
                also(tx, &said)?;
                tx.of(&job.tenant).update(&Stored { rev, record })
            });
            ended.map_err(store_fail)?;
            return Ok(said);
        }
    };
    let told = said.clone();
    advance(node, by, stored, (kind, event), (&said, cor), |tx, record| {
        close(record);
        also(tx, &told)
    })?;
    Ok(said)
}
