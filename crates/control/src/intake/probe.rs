//! The probe of IN-5: tries to leave out each step in turn, on the live node, with a tiny model of its own. It walks the
//! way as far as no job and no second person is needed, and is gone afterwards.

use std::sync::Arc;

use api::{IntakeBegin, IntakeDecide, IntakeEvaluate, IntakeFacts, JobRun};
use base::names::Name;
use integrity::intake::{Acceptance, Stage, Step};
use store::PageRequest;
use store::meta::Stored;
use store::records::{File, Intake, IntakeState};
use vault::KeyScope;

use super::{
    Which, acceptance, admit, approve, describe, evaluate, find, may, quarantine, refuse, stage, steps,
};
use crate::auth::Principal;
use crate::node::{Node, correlation, store_fail};
use crate::{Fail, models};

/// What its intakes are called, and say of themselves.
const NAME: &str = "strongroom-probe";
const SOURCE: &str = "the probe of IN-5, which removes it again";
/// Its model: one number, as safetensors.
const HEAD: &[u8] = br#"{"probe":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;

/// What the probe saw.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// What went through that must not.
    pub(crate) broken: Option<String>,
    pub(crate) evidence: Vec<String>,
}

/// Walks the way, and tries at each place to leave something out.
pub(crate) fn walk(node: &Arc<Node>, principal: &Principal, tenant: &Name) -> Result<Walked, Fail> {
    let name: Name = NAME.parse().map_err(|e| Fail::internal("a name of the platform is none", e))?;
    remove(node, tenant, &name)?;
    let walked = attack(node, principal, tenant, &name);
    remove(node, tenant, &name)?;
    walked
}

fn attack(node: &Arc<Node>, principal: &Principal, tenant: &Name, name: &Name) -> Result<Walked, Fail> {
    let mut bytes = u64::try_from(HEAD.len()).unwrap_or(0).to_le_bytes().to_vec();
    bytes.extend_from_slice(HEAD);
    bytes.extend_from_slice(&[0; 4]);
    let sealed = node.seal(&KeyScope::Tenant(tenant.clone()), &mut bytes.as_slice(), 4096)?;
    let file =
        File { path: "probe.safetensors".to_owned(), size: sealed.len, digest: sealed.digest, media: None };
    let say = |text: &str| Some(text.to_owned());
    let facts = IntakeFacts {
        license: say("none"),
        producer: say("the platform"),
        purpose: say("to be refused"),
        accountable: say("nobody"),
        ..IntakeFacts::default()
    };
    let said = IntakeBegin {
        source: SOURCE.to_owned(),
        facts,
        signature: None,
        public_key: None,
        based_on: None,
        without: Vec::new(),
    };
    let cor = correlation()?;
    let mut stored = quarantine(node, principal, tenant, name, (vec![file], None), said, cor)?;
    let which = (name.clone(), stored.record.number);
    let mut walked = Walked::default();
    loop {
        skip(node, principal, tenant, &which, &stored, &mut walked)?;
        if walked.broken.is_some() {
            return Ok(walked);
        }
        stored = match stage(stored.record.state) {
            Stage::Quarantined => match steps::source(node, principal, stored, cor) {
                Ok(stored) => stored,
                // A list of sources or a policy that has no room for the probe: the control did its work.
                Err(fail) if matches!(fail.code.as_str(), "SR-ITK-0002" | "SR-CTL-0071") => {
                    walked.evidence.push(format!("a source that is not trusted: {}", fail.line()));
                    return Ok(walked);
                }
                Err(fail) => return Err(fail),
            },
            Stage::Sourced => steps::inspect(node, principal, stored, cor)?,
            Stage::Inspected => describe::describe(node, principal, stored, cor)?,
            Stage::Described => {
                let no = IntakeDecide { reason: "the probe is done".to_owned() };
                refuse(node, principal, tenant, &which, &no)?;
                find(node, tenant, (name, which.1))?
            }
            _ => return Ok(walked),
        };
    }
}

/// From where it stands, tries every step but the next, and the next with other files.
fn skip(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    which: &Which,
    stored: &Stored<Intake>,
    walked: &mut Walked,
) -> Result<(), Fail> {
    let at = stage(stored.record.state);
    let left_out = at == Stage::Described && acceptance(node, &stored.record) == Acceptance::Waive;
    let mut held = Vec::new();
    for step in Step::ALL {
        // What may be done is done later; what came before is not in question.
        if at.wants() == Some(step) || (left_out && step == Step::Approve) {
            continue;
        }
        let before = find(node, tenant, (&which.0, which.1))?;
        let tried = attempt(node, principal, tenant, which, stored.clone(), step);
        let after = find(node, tenant, (&which.0, which.1))?;
        match tried {
            Err(fail) if fail.code == "SR-ITK-0001" && after == before => held.push(step.as_str()),
            Err(fail) if fail.code == "SR-ITK-0001" => {
                walked.broken =
                    Some(format!("{} was refused and changed something: {}", step.as_str(), fail.line()));
                return Ok(());
            }
            Err(fail) => return Err(fail),
            Ok(()) => {
                let state = stored.record.state.as_str();
                walked.broken = Some(format!("{} was done on a model that is {state}", step.as_str()));
                return Ok(());
            }
        }
    }
    let mut other = stored.record.clone();
    other.files.iter_mut().for_each(|f| f.size = f.size.saturating_add(1));
    if let Some(next) = at.wants() {
        if may(node, &other, next).is_ok() {
            walked.broken = Some(format!("{} was done for other files", next.as_str()));
            return Ok(());
        }
        held.push("the next step with other files");
    }
    walked.evidence.push(format!("{}: refused {}", stored.record.state.as_str(), held.join(", ")));
    Ok(())
}

fn attempt(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    which: &Which,
    stored: Stored<Intake>,
    step: Step,
) -> Result<(), Fail> {
    let cor = correlation()?;
    let word = IntakeDecide { reason: "the probe of IN-5 tries it".to_owned() };
    match step {
        Step::Source => steps::source(node, principal, stored, cor).map(drop),
        Step::Inspect => steps::inspect(node, principal, stored, cor).map(drop),
        Step::Describe => describe::describe(node, principal, stored, cor).map(drop),
        Step::Accept => {
            let (text, none) = (String::new(), std::collections::BTreeMap::new());
            let job = JobRun { file: text.clone(), text: text.clone(), code: text, imports: none };
            let asked =
                IntakeEvaluate { metric: "probe".to_owned(), at_least: Some(0.0), at_most: None, job };
            evaluate(node, principal, tenant, which, &asked).map(drop)
        }
        Step::Approve => approve(node, principal, tenant, which, &word).map(drop),
        Step::Admit => admit(node, principal, tenant, which).map(drop),
    }
}

/// Takes away what a probe left, this one or one that was interrupted.
fn remove(node: &Node, tenant: &Name, name: &Name) -> Result<(), Fail> {
    let removed = node.meta.transaction(|tx| {
        let rows = tx.of(tenant);
        let left = rows.list_under::<Intake, _, _>(name, &PageRequest::default())?;
        for stored in left.items.iter().filter(|s| s.record.source == SOURCE && s.record.model.is_none()) {
            rows.delete::<Intake>(&(name.clone(), stored.record.number), stored.rev)?;
        }
        Ok::<_, store::StoreError>(())
    });
    removed.map_err(store_fail)
}

/// A model that took every step here, and is still as it was admitted.
pub(crate) fn admitted(node: &Node) -> Result<Option<String>, Fail> {
    for record in node.every::<Intake>(|r| r.state == IntakeState::Admitted)? {
        let Some(version) = record.model else { continue };
        let model = models::find(node, &record.tenant, &record.name, version)?;
        if record.steps.len() == Step::ALL.len() && models::admit(node, &model).is_ok() {
            let taken: Vec<&str> = record.steps.iter().map(|s| s.step.as_str()).collect();
            return Ok(Some(format!("model {}@{version} took {}", record.name, taken.join(", "))));
        }
    }
    Ok(None)
}
