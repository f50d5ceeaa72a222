//! The steps that need nobody's word but what was said when the model was brought: source, inspection, description.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::Digest;
use integrity::intake::Step;
use integrity::oms;
use ops::event::{Event, EventKind, Outcome, Phase};
use store::meta::Stored;
use store::records::Intake;

use super::{Mover, advance, based, called, describe, may, pass, refuse_for, stage};
use crate::Fail;
use crate::auth::{By, Principal};
use crate::boms::digests;
use crate::clock::now;
use crate::models::Inspected;
use crate::node::Node;
use crate::trust;

/// Does the steps that are next, until one needs somebody's word.
pub(super) fn go_on(
    node: &Arc<Node>,
    principal: &Principal,
    mut stored: Stored<Intake>,
    cor: u128,
) -> Result<Stored<Intake>, Fail> {
    for _ in Step::ALL {
        stored = match stage(stored.record.state).wants() {
            Some(Step::Source) => source(node, principal, stored, cor)?,
            Some(Step::Inspect) => inspect(node, principal, stored, cor)?,
            Some(Step::Describe) if describe::lacks(&stored.record).is_empty() => {
                describe::describe(node, principal, stored, cor)?
            }
            Some(Step::Describe | Step::Accept | Step::Approve | Step::Admit) | None => return Ok(stored),
        };
    }
    Ok(stored)
}

/// Whether models of this tenant may come from there. The one place that decides it.
fn is_trusted(node: &Node, record: &Intake) -> Result<String, Fail> {
    let tenant = record.tenant.as_str();
    if !node.config.intake.is_approved(tenant, &record.source) {
        let told = format!("`{}` is not from an approved source of tenant `{tenant}`", called(record));
        return Err(Fail::refused("SR-ITK-0002", told).because(format!("it is from `{}`", record.source)).help(
            "the list stands in `[intake.sources]` of the node's configuration; see `strongroom model intake list`",
        ));
    }
    let listed = node.config.intake.sources.contains_key(tenant);
    let list =
        if listed { "on the tenant's list of approved sources" } else { "the tenant has no list of sources" };
    Ok(format!("{}: {list}", record.source))
}

pub(super) fn source(
    node: &Arc<Node>,
    principal: &Principal,
    stored: Stored<Intake>,
    cor: u128,
) -> Result<Stored<Intake>, Fail> {
    may(node, &stored.record, Step::Source)?;
    let by = Mover::Caller(principal);
    let trusted = match is_trusted(node, &stored.record) {
        Ok(trusted) => trusted,
        Err(fail) => return refuse_for(node, by, stored, fail, cor).map(|never| match never {}),
    };
    let by_key = stored.record.upstream.as_ref().and_then(|u| Some((u, u.key.as_ref()?)));
    let by_key = by_key.map(|(upstream, key)| verifies(&stored.record, &upstream.bundle, key)).transpose();
    let by_key = match by_key {
        Ok(key) => key,
        Err(fail) => return refuse_for(node, by, stored, fail, cor).map(|never| match never {}),
    };
    let vouched = match trust::vouched(node, &stored.record) {
        Ok(vouched) => vouched,
        Err(fail) if !is_final(&fail) => return Err(fail),
        Err(fail) => return refuse_for(node, by, stored, fail, cor).map(|never| match never {}),
    };
    let detail = match (&stored.record.upstream, by_key) {
        (None, _) => "no signature came with it".to_owned(),
        (Some(_), Some(key)) => format!("the signature that came with it verifies with key {key}"),
        (Some(_), None) => "a signature came with it".to_owned(),
    };
    let detail = [Some(trusted), Some(detail), vouched.said, based::said(&stored.record)]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("; ");
    let (key, principals) = vouched.by.map_or((by_key, BTreeSet::new()), |(key, names)| (Some(key), names));
    let event = (EventKind::IntakeStep, pass(Step::Source, &stored.record));
    advance(node, by, stored, event, (&detail, cor), |_, record| {
        if let Some(upstream) = &mut record.upstream {
            upstream.verified = key;
            upstream.principals = principals;
        }
        Ok(())
    })
}

/// Verifies the signature that came with a model with the key that was given; the key's SHA-256.
fn verifies(record: &Intake, bundle: &str, key: &str) -> Result<Digest, Fail> {
    oms::verify(bundle.as_bytes(), key.as_bytes(), &digests(&record.files)).map_err(|e| {
        let told = format!("the signature that came with `{}` does not verify", called(record));
        Fail::refused("SR-ITK-0003", told).because(base::error::chain(&e)).help(
            "check it before: `strongroom model verify DIR --signature FILE --method key --public-key PEM`",
        )
    })?;
    let key = integrity::PublicKey::from_pem(key.as_bytes()).and_then(|k| k.fingerprint());
    key.map_err(|e| Fail::explained(500, &e))
}

pub(super) fn inspect(
    node: &Arc<Node>,
    principal: &Principal,
    stored: Stored<Intake>,
    cor: u128,
) -> Result<Stored<Intake>, Fail> {
    let record = &stored.record;
    may(node, record, Step::Inspect)?;
    let (files, inspected) = crate::inspection::inspect(
        node,
        &record.tenant,
        &record.name,
        record.files.clone(),
        &principal.actor(),
        cor,
    )?;
    let accepted = taken(node, record, &inspected);
    let outcome = if accepted.is_ok() { Outcome::Success } else { Outcome::Refused };
    let event = Event::new(EventKind::ModelInspect, Phase::Outcome, outcome, now().as_millis(), cor)
        .tenant(record.tenant.as_str())
        .by(principal)
        .asset("model", record.name.as_str(), Some(record.manifest))
        .detail("verdict", &inspected.verdict)
        .detail("risks", &trust::listed(&inspected.risks))
        .because(&inspected.findings.join("; "));
    node.keeper.append(event)?;
    let by = Mover::Caller(principal);
    let accepted = match accepted {
        Ok(accepted) => accepted.map(|by| format!(", {by}")).unwrap_or_default(),
        Err(fail) if !is_final(&fail) => return Err(fail),
        Err(fail) => return refuse_for(node, by, stored, fail, cor).map(|never| match never {}),
    };
    let detail = format!("{} files: {}{accepted}", files.len(), inspected.verdict);
    let event = (EventKind::IntakeStep, pass(Step::Inspect, &stored.record));
    advance(node, by, stored, event, (&detail, cor), |_, record| {
        // The same files, with what each was recognised as.
        record.files = files;
        record.verdict = Some(inspected.verdict);
        record.findings = inspected.findings;
        record.risks = inspected.risks;
        Ok(())
    })
}

/// Whether it was refused for what it is. That a policy could not be read says nothing of the model: it waits.
fn is_final(fail: &Fail) -> bool {
    matches!(fail.code.as_str(), "SR-CTL-0011" | "SR-CTL-0070" | "SR-CTL-0071")
}

/// Whether what was found is taken in: it loads, or its risks are accepted; and by what.
fn taken(node: &Node, record: &Intake, found: &Inspected) -> Result<Option<String>, Fail> {
    if found.verdict == "refuse" {
        let told = format!("model `{}` was not taken in: {}", record.name, found.verdict);
        return Err(Fail::refused("SR-CTL-0011", told)
            .because(found.findings.join("; "))
            .help("see each finding with `strongroom model inspect PATH`"));
    }
    trust::accepted(node, &record.tenant, &record.name, &found.verdict, &found.risks)
}
