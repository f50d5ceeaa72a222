//! The last step: signed here, and registered.

use std::sync::{Arc, PoisonError};

use base::names::Name;
use integrity::intake::Step;
use ops::event::EventKind;
use store::records::File;
use vault::KeyScope;

use super::{
    Mover, Which, advance, based, called, describe, find, may, must_be_trusted, pass, refuse_for, show,
};
use crate::auth::Principal;
use crate::datasets::{open_files, verify_files};
use crate::models::{self, Inspected, Registration};
use crate::node::{Node, correlation};
use crate::{Fail, boms};

/// Signs a model that took every other step, and registers it as a version that an endpoint serves.
pub(crate) fn admit(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    which: &Which,
) -> Result<api::Intake, Fail> {
    let (cor, actor) = (correlation()?, principal.actor());
    let _one = node.registering.lock().unwrap_or_else(PoisonError::into_inner);
    let stored = find(node, tenant, (&which.0, which.1))?;
    let record = stored.record.clone();
    may(node, &record, Step::Admit)?;
    must_be_trusted(node, &record)?;
    // The bytes as they are now: what was inspected and measured is what is signed.
    let scope = KeyScope::Tenant(tenant.clone());
    // Digests that were taken over stand for objects that this node hashed when it admitted them: those are opened, and
    // whoever uses them reads no byte of them whose tag does not verify.
    let (reused, read): (Vec<File>, Vec<File>) =
        record.files.iter().cloned().partition(|file| based::is_reused(&record, &file.path));
    let mut checks = verify_files(node, &scope, &read, &actor, cor)?;
    checks.extend(open_files(node, &scope, &reused, &actor, cor)?);
    if let Some(bad) = checks.iter().find(|c| !c.ok) {
        let told = format!("the files of `{}` are not those of the steps before", called(&record));
        let fail = Fail::refused("SR-ITK-0007", told).because(format!("{}: {}", bad.name, bad.detail));
        return refuse_for(node, Mover::Caller(principal), stored, fail, cor).map(|never| match never {});
    }
    let version = models::next_version(node, tenant, &record.name)?;
    let signed = models::sign(node, tenant, record.name.as_str(), &record.files, cor)?;
    let number = version.to_string();
    let document = describe::bom_record(node, &record, &number, Some(&signed))?;
    let subject = boms::Subject {
        tenant,
        name: &record.name,
        version: &number,
        root_digest: signed.root_digest,
        files: &record.files,
        actor: &actor,
    };
    let bom = boms::sign(node, &document, subject, &[], cor)?;
    let counts = based::said(&record).map(|said| format!("; {said}")).unwrap_or_default();
    let detail = format!("model {}@{version}, root digest {}{counts}", record.name, signed.root_digest);
    let verdict = record.verdict.clone().unwrap_or_default();
    let registration = Registration {
        tenant: tenant.clone(),
        name: record.name.clone(),
        version,
        job: None,
        files: record.files.clone(),
        signed,
        bom: Some(bom.clone()),
        inspected: Inspected { verdict, findings: record.findings.clone(), risks: record.risks.clone() },
    };
    let mut model = models::record(node, registration);
    // A signature that the policy knows goes on counting, beside the node's own.
    let known = record.upstream.as_ref().filter(|upstream| !upstream.principals.is_empty());
    model.signatures.extend(known.map(|upstream| upstream.bundle.clone()));
    let told = models::event(EventKind::ModelImport, &actor, &model, cor);
    let event = (EventKind::IntakeAdmit, pass(Step::Admit, &record));
    let stored = node.keeper.audited(told, || {
        advance(node, Mover::Caller(principal), stored, event, (&detail, cor), |tx, intake| {
            intake.bom = Some(bom);
            intake.model = Some(version);
            models::insert(tx, model)
        })
    })?;
    Ok(show::wire(node, &stored.record))
}
