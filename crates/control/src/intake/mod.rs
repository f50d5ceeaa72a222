//! Models that were made elsewhere: in quarantine until every step of their intake succeeded (`integrity::intake`).
//!
//! Where an intake stands is a record, and changes in one transaction with what the step made: after a `kill -9` it is
//! at the step before or after, and goes on from there. Of two that move it at once, the second fails, for the record is
//! not as it saw it. Its files are named by that record alone: no data set, no job but its measurement, no endpoint and
//! no export finds them.

mod admit;
mod based;
mod describe;
mod measure;
mod probe;
mod show;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::{IntakeBegin, IntakeDecide, IntakeFacts};
use base::digest::hex;
use base::names::Name;
use integrity::intake::{self as rules, Acceptance, Stage, State, Step};
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use store::meta::Stored;
use store::records::{Based, Declared, File, Intake, IntakeState, IntakeStep, Upstream};
use store::{StoreError, Tx};

use crate::Fail;
use crate::auth::{By, Identity, Principal};
use crate::clock::{now, random};
use crate::datasets::manifest;
use crate::imports::FILES_MAX;
use crate::node::{Node, correlation, store_fail};
use crate::trust;

pub(crate) use admit::admit;
pub(crate) use measure::{evaluate, may_be_measured, measured};
pub(crate) use probe::{admitted, walk};
pub(crate) use show::{list, show};

/// Intakes of one tenant, those that ended included.
const KEPT_MAX: u64 = 10_000;

/// Which intake: its name and number; 0 is the newest.
pub(crate) type Which = (Name, u64);

/// Who moves an intake.
#[derive(Debug, Clone, Copy)]
enum Mover<'a> {
    /// Somebody who calls.
    Caller(&'a Principal),
    /// The end of a job.
    Job(&'a str),
}

impl Mover<'_> {
    fn name(&self) -> String {
        match self {
            Self::Caller(principal) => principal.actor(),
            Self::Job(actor) => (*actor).to_owned(),
        }
    }

    fn marks(&self, event: Event) -> Event {
        match self {
            Self::Caller(principal) => event.by(principal),
            Self::Job(actor) => event.actor(actor),
        }
    }
}

const fn stage(state: IntakeState) -> Stage {
    match state {
        IntakeState::Quarantined => Stage::Quarantined,
        IntakeState::Sourced => Stage::Sourced,
        IntakeState::Inspected => Stage::Inspected,
        IntakeState::Described => Stage::Described,
        IntakeState::Accepted => Stage::Accepted,
        IntakeState::Approved => Stage::Approved,
        IntakeState::Admitted => Stage::Admitted,
        IntakeState::Refused => Stage::Refused,
    }
}

const fn kept(stage: Stage) -> IntakeState {
    match stage {
        Stage::Quarantined => IntakeState::Quarantined,
        Stage::Sourced => IntakeState::Sourced,
        Stage::Inspected => IntakeState::Inspected,
        Stage::Described => IntakeState::Described,
        Stage::Accepted => IntakeState::Accepted,
        Stage::Approved => IntakeState::Approved,
        Stage::Admitted => IntakeState::Admitted,
        Stage::Refused => IntakeState::Refused,
    }
}

/// Acceptance may be left out where the configuration says so, now and when the intake began, and nobody asked for it.
fn acceptance(node: &Node, record: &Intake) -> Acceptance {
    let waived = node.config.acceptance() == base::config::Acceptance::Waived;
    if waived && record.waivable && record.criterion.is_none() {
        Acceptance::Waive
    } else {
        Acceptance::Require
    }
}

/// Where it would stand after this event, if it may happen: about its files as they are listed now.
fn after(node: &Node, record: &Intake, event: rules::Event) -> Result<State, Fail> {
    let state = State { stage: stage(record.state), manifest: record.manifest };
    rules::next(state, event, acceptance(node, record)).map_err(|why| {
        let told = format!("intake `{}` is {}", called(record), record.state.as_str());
        let fail = Fail { code: "SR-ITK-0001".to_owned(), ..Fail::conflict(told) };
        fail.because(why.to_string()).help(format!(
            "see which step is next with `strongroom model intake show {} --tenant {}`",
            called(record),
            record.tenant
        ))
    })
}

fn pass(step: Step, record: &Intake) -> rules::Event {
    rules::Event::Pass(step, manifest(&record.files))
}

/// Whether this step is the next one.
fn may(node: &Node, record: &Intake, step: Step) -> Result<(), Fail> {
    after(node, record, pass(step, record)).map(drop)
}

/// What its inspection found is accepted, also now: a policy may have changed since. Where it is not, the intake waits
/// where it stands. Gives by what a risk is accepted.
fn must_be_accepted(node: &Node, record: &Intake) -> Result<Option<String>, Fail> {
    let verdict = record.verdict.as_deref().unwrap_or_default();
    trust::accepted(node, &record.tenant, &record.name, verdict, &record.risks)
}

/// Likewise, and that it comes from whom the tenant trusts.
fn must_be_trusted(node: &Node, record: &Intake) -> Result<(), Fail> {
    must_be_accepted(node, record)?;
    trust::vouched(node, record).map(drop)
}

/// As people and events name it.
fn called(record: &Intake) -> String {
    format!("{}@{}", record.name, record.number)
}

fn find(node: &Node, tenant: &Name, (name, number): (&Name, u64)) -> Result<Stored<Intake>, Fail> {
    let stored = node
        .meta
        .read(|tx| match number {
            0 => tx.of(tenant).last_under::<Intake, _, _>(name),
            n => tx.of(tenant).get::<Intake>(&(name.clone(), n)),
        })
        .map_err(store_fail)?;
    let shown = if number == 0 { name.to_string() } else { format!("{name}@{number}") };
    stored.ok_or_else(|| Fail::not_found("intake", &shown))
}

/// Writes down that a step succeeded, with what else it made, before and after in the log.
fn advance(
    node: &Node,
    by: Mover<'_>,
    stored: Stored<Intake>,
    (kind, event): (EventKind, rules::Event),
    (detail, cor): (&str, u128),
    also: impl FnOnce(&Tx<'_>, &mut Intake) -> Result<(), StoreError>,
) -> Result<Stored<Intake>, Fail> {
    let Stored { rev, mut record } = stored;
    let state = after(node, &record, event)?;
    let told = Event::new(kind, Phase::Intent, Outcome::Unknown, now().as_millis(), cor)
        .tenant(record.tenant.as_str())
        .asset("intake", &called(&record), Some(record.manifest))
        .detail("before", record.state.as_str())
        .detail("after", kept(state.stage).as_str())
        .because(detail);
    let told = match state.stage {
        Stage::Refused => told.severity(Severity::High),
        _ => told,
    };
    let step = match event {
        rules::Event::Pass(step, _) | rules::Event::Waive(step, _) => Some(step),
        rules::Event::Refuse | rules::Event::Replace(_) => None,
    };
    record.state = kept(state.stage);
    record.manifest = state.manifest;
    match step {
        Some(step) => record.steps.push(IntakeStep {
            step: step.as_str().to_owned(),
            by: by.name(),
            at_ms: now().as_millis(),
            detail: detail.to_owned(),
        }),
        None => record.reason = Some(detail.to_owned()),
    }
    node.keeper.audited(by.marks(told), || {
        let written = node.meta.transaction(|tx| {
            also(tx, &mut record)?;
            let rows = tx.of(&record.tenant);
            rows.update(&Stored { rev, record: record.clone() })?;
            rows.get::<Intake>(&(record.name.clone(), record.number))
        });
        let written = written.map_err(store_fail)?;
        written.ok_or_else(|| Fail::not_found("intake", &called(&record)))
    })
}

/// Refuses it for good, and answers with why.
fn refuse_for(
    node: &Node,
    by: Mover<'_>,
    stored: Stored<Intake>,
    fail: Fail,
    cor: u128,
) -> Result<std::convert::Infallible, Fail> {
    let event = (EventKind::IntakeRefuse, rules::Event::Refuse);
    advance(node, by, stored, event, (&fail.line(), cor), |_, _| Ok(()))?;
    Err(fail)
}

/// What is said of a model when it is brought, before a byte of it comes.
pub(crate) fn check(node: &Node, tenant: &Name, said: &IntakeBegin) -> Result<(), Fail> {
    let long = |what: &str, max: usize| Err(Fail::invalid(format!("`{what}` has at most {max} bytes")));
    plain("source", &said.source)?;
    facts(&said.facts)?;
    match (&said.signature, &said.public_key) {
        (Some(s), _) if s.len() > api::shape::SIGNATURE_FILE_MAX => {
            long("signature", api::shape::SIGNATURE_FILE_MAX)
        }
        (_, Some(k)) if k.len() > api::shape::PUBLIC_KEY_MAX => {
            long("public_key", api::shape::PUBLIC_KEY_MAX)
        }
        (Some(_), Some(_)) | (None, None) => Ok(()),
        (Some(_), None) if trust::has_policy(node, tenant)? => Ok(()),
        _ => Err(Fail::invalid(
            "a signature comes with the public key that it is to verify with, unless a trust policy of the tenant says who may sign",
        )
        .help("add `--public-key PEM`, or see `strongroom trust policy example`")),
    }
}

fn plain(what: &str, text: &str) -> Result<(), Fail> {
    let max = api::shape::DECLARATION_MAX;
    let fits = text.chars().count() <= max && !text.trim().is_empty() && !text.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(Fail::invalid(format!("`{what}` is one line of 1 to {max} characters"))) }
}

/// The declarations that are made, by field.
fn facts(said: &IntakeFacts) -> Result<Vec<(&'static str, &str)>, Fail> {
    let IntakeFacts { license, producer, purpose, accountable, upstream_version, limitations } = said;
    let all = [
        ("license", license),
        ("producer", producer),
        ("purpose", purpose),
        ("accountable", accountable),
        ("upstream_version", upstream_version),
        ("limitations", limitations),
    ];
    let made: Vec<_> = all.into_iter().filter_map(|(name, v)| Some((name, v.as_deref()?))).collect();
    made.iter().try_for_each(|(name, value)| plain(name, value))?;
    Ok(made)
}

fn declare(to: &mut BTreeMap<String, Declared>, said: &[(&str, &str)], by: &str) {
    for (name, value) in said {
        let said = Declared { value: (*value).to_owned(), by: by.to_owned() };
        to.insert((*name).to_owned(), said);
    }
}

/// Puts what was uploaded into quarantine, and does what needs no further word. An intake that is refused on the way
/// is an error; its record stays.
pub(crate) fn begin(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    name: &Name,
    files: Vec<File>,
    said: IntakeBegin,
) -> Result<api::Intake, Fail> {
    let cor = correlation()?;
    let (files, based) = based::take_over(node, tenant, files, &said)?;
    let files = (files, based);
    let stored = quarantine(node, principal, tenant, name, files, said, cor)?;
    let stored = steps::go_on(node, principal, stored, cor)?;
    Ok(show::wire(node, &stored.record))
}

/// Writes down that the files are here, and nothing more.
fn quarantine(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    name: &Name,
    (mut files, based): (Vec<File>, Option<Based>),
    said: IntakeBegin,
    cor: u128,
) -> Result<Stored<Intake>, Fail> {
    files.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    let mut declared = BTreeMap::new();
    declare(&mut declared, &facts(&said.facts)?, &principal.actor());
    let (signature, key) = (said.signature, said.public_key);
    let mut record = Intake {
        tenant: tenant.clone(),
        name: name.clone(),
        number: 0,
        state: IntakeState::Quarantined,
        reason: None,
        manifest: manifest(&files),
        files,
        waivable: node.config.acceptance() == base::config::Acceptance::Waived,
        two_people: node.config.two_people(),
        by: principal.actor(),
        source: said.source,
        based,
        upstream: signature.map(|bundle| Upstream {
            bundle,
            key,
            verified: None,
            principals: BTreeSet::new(),
        }),
        declared,
        verdict: None,
        findings: Vec::new(),
        risks: BTreeSet::new(),
        serial: hex(&random::<16>()?),
        bom: None,
        criterion: None,
        evaluations: Vec::new(),
        steps: Vec::new(),
        model: None,
        created_ms: now().as_millis(),
    };
    let event = Event::new(EventKind::IntakeBegin, Phase::Intent, Outcome::Unknown, now().as_millis(), cor)
        .tenant(tenant.as_str())
        .by(principal)
        .asset("intake", name.as_str(), Some(record.manifest))
        .detail("source", &record.source)
        .detail("files", &record.files.len().to_string())
        .detail("acceptance", if record.waivable { "waived" } else { "required" })
        .detail("two_people", if record.two_people { "yes" } else { "no" });
    node.keeper.audited_with(
        event,
        || {
            let made = node.meta.transaction(|tx| {
                let rows = tx.of(tenant);
                if rows.count::<Intake>()? >= KEPT_MAX {
                    return Ok(None);
                }
                let last = rows.last_under::<Intake, _, _>(name)?;
                record.number = last.map_or(1, |l| l.record.number.saturating_add(1));
                rows.insert(&record)?;
                principal.made(tx, &format!("intake/{}/{}", record.name, record.number))?;
                rows.get::<Intake>(&(record.name.clone(), record.number))
            });
            let full = || Fail::conflict(format!("this tenant has its {KEPT_MAX} intakes"));
            made.map_err(store_fail)?.ok_or_else(full)
        },
        |event, begun| event.detail("number", &begun.record.number.to_string()),
    )
}

/// Adds what is known, and goes on with the steps that need no further word.
pub(crate) fn describe(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    which: &Which,
    said: &IntakeFacts,
) -> Result<api::Intake, Fail> {
    let (cor, said) = (correlation()?, facts(said)?);
    let mut stored = find(node, tenant, (&which.0, which.1))?;
    if !said.is_empty() {
        // Once described, what is said of it stands in a signed document.
        if stage(stored.record.state) > Stage::Inspected {
            may(node, &stored.record, Step::Describe)?;
        }
        let words: Vec<String> = said.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let told = Event::new(EventKind::IntakeStep, Phase::Intent, Outcome::Unknown, now().as_millis(), cor)
            .tenant(tenant.as_str())
            .by(principal)
            .asset("intake", &called(&stored.record), Some(stored.record.manifest))
            .detail("declared", &words.join("; "));
        declare(&mut stored.record.declared, &said, &principal.actor());
        stored = node.keeper.audited(told, || {
            let written = node.meta.transaction(|tx| {
                let rows = tx.of(tenant);
                rows.update(&stored)?;
                rows.get::<Intake>(&(stored.record.name.clone(), stored.record.number))
            });
            written.map_err(store_fail)?.ok_or_else(|| Fail::not_found("intake", which.0.as_str()))
        })?;
    }
    let stored = steps::go_on(node, principal, stored, cor)?;
    Ok(show::wire(node, &stored.record))
}

/// Whoever brought it, described it or had it measured.
fn hands(record: &Intake) -> Vec<&str> {
    let said = record.declared.values().map(|d| d.by.as_str());
    let measured = record.evaluations.iter().map(|e| e.by.as_str());
    let stated = record.criterion.iter().map(|c| c.by.as_str());
    std::iter::once(record.by.as_str()).chain(said).chain(measured).chain(stated).collect()
}

/// Answers for it: another person than who had a hand in it, where two people are asked for.
pub(crate) fn approve(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    which: &Which,
    decision: &IntakeDecide,
) -> Result<api::Intake, Fail> {
    let (cor, why) = (correlation()?, crate::fail::reason(&decision.reason)?);
    let mut stored = find(node, tenant, (&which.0, which.1))?;
    if stage(stored.record.state) != Stage::Described
        || acceptance(node, &stored.record) == Acceptance::Require
    {
        may(node, &stored.record, Step::Approve)?;
    }
    let two = node.config.two_people() || stored.record.two_people;
    let by = principal.actor();
    if two && !matches!(&**principal, Identity::Person { .. }) {
        return Err(Fail::forbidden("only a person in a session approves"));
    }
    if two && hands(&stored.record).contains(&by.as_str()) {
        let fail = Fail {
            code: "SR-ITK-0005".to_owned(),
            ..Fail::forbidden(format!(
                "`{}` was brought, described or measured by `{by}`, who does not approve it: that takes another",
                called(&stored.record)
            ))
        };
        return Err(fail.help("let another approve it; see who you are with `strongroom whoami`"));
    }
    if stage(stored.record.state) == Stage::Described {
        let left_out = rules::Event::Waive(Step::Accept, manifest(&stored.record.files));
        let detail = "left out: `[intake] acceptance` of the node's configuration is `waived`";
        let event = (EventKind::IntakeStep, left_out);
        stored = advance(node, Mover::Caller(principal), stored, event, (detail, cor), |_, _| Ok(()))?;
    }
    let detail = match two {
        true => format!("by another person: {why}"),
        false => format!("by one person alone, as this node allows: {why}"),
    };
    let event = (EventKind::IntakeApprove, pass(Step::Approve, &stored.record));
    let stored = advance(node, Mover::Caller(principal), stored, event, (&detail, cor), |_, _| Ok(()))?;
    Ok(show::wire(node, &stored.record))
}

/// Refuses it, for good.
pub(crate) fn refuse(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    which: &Which,
    decision: &IntakeDecide,
) -> Result<api::Intake, Fail> {
    let why = crate::fail::reason(&decision.reason)?.to_owned();
    let stored = find(node, tenant, (&which.0, which.1))?;
    let event = (EventKind::IntakeRefuse, rules::Event::Refuse);
    let said = (why.as_str(), correlation()?);
    let stored = advance(node, Mover::Caller(principal), stored, event, said, |_, _| Ok(()))?;
    Ok(show::wire(node, &stored.record))
}
