//! Revocations: what is not to be used any more, by its digest. One takes effect before it is answered: what is served
//! of it is served no more, and nothing of it is read, run or served again.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{Page, RevocationCreate, RevocationLift};
use base::Digest;
use base::names::Name;
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use store::records::{Input, Job, Model, Revocation, RevokedKind};
use store::{PageRequest, StoreError};

use crate::auth::{By, Principal};
use crate::clock::now;
use crate::fail::reason;
use crate::node::{Node, correlation, store_fail, time};
use crate::{Fail, datasets, endpoints, models};

/// Revocations of one tenant. All are read whenever something is to be used.
const REVOCATIONS_MAX: u64 = 10_000;

/// What a tenant revoked.
#[derive(Debug)]
pub(crate) struct Revoked(BTreeMap<Digest, Revocation>);

impl From<Vec<Revocation>> for Revoked {
    fn from(all: Vec<Revocation>) -> Self {
        Self(all.into_iter().map(|record| (record.digest, record)).collect())
    }
}

impl Revoked {
    /// All of a tenant.
    pub(crate) fn of(node: &Node, tenant: &Name) -> Result<Self, Fail> {
        let mut all = BTreeMap::new();
        let mut request = PageRequest::default();
        loop {
            let page = node.meta.read(|tx| tx.of(tenant).list::<Revocation>(&request)).map_err(store_fail)?;
            all.extend(page.items.into_iter().map(|stored| (stored.record.digest, stored.record)));
            match page.next {
                Some(next) => request.after = Some(next),
                None => return Ok(Self(all)),
            }
        }
    }

    /// Why a model may not be used: itself, a file of it, or what it was made of.
    pub(crate) fn model(&self, node: &Node, model: &Model) -> Result<Option<String>, Fail> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let files = model.files.iter().map(|file| file.digest);
        if let Some(found) = self.first(std::iter::once(model.root_digest).chain(files)) {
            return Ok(Some(found));
        }
        let Some(id) = model.job else { return Ok(None) };
        let job = node.meta.read(|tx| tx.of(&model.tenant).get::<Job>(&id)).map_err(store_fail)?;
        Ok(job.and_then(|job| self.inputs(&job.record.inputs)).map(|why| format!("it was made of {why}")))
    }

    /// Why a job may not read its inputs.
    fn inputs(&self, inputs: &[Input]) -> Option<String> {
        let of = |input: &Input| {
            let files = input.files.iter().map(|file| file.digest);
            self.first(std::iter::once(input.manifest_digest).chain(files))
        };
        inputs.iter().find_map(of)
    }

    fn first(&self, mut digests: impl Iterator<Item = Digest>) -> Option<String> {
        let found = digests.find_map(|digest| self.0.get(&digest))?;
        let (kind, subject) = (found.kind.as_str(), &found.subject);
        Some(format!(
            "{kind} `{subject}`, revoked {} by {}: {}",
            time(found.since_ms),
            found.by,
            found.reason
        ))
    }
}

/// Whether a job may read its inputs.
pub(crate) fn may_read(node: &Node, tenant: &Name, inputs: &[Input]) -> Result<(), Fail> {
    match Revoked::of(node, tenant)?.inputs(inputs) {
        None => Ok(()),
        Some(why) => Err(Fail::refused("SR-CTL-0040", "what the job reads was revoked".to_owned())
            .because(why)
            .help(format!("see what is revoked with `strongroom revocation list --tenant {tenant}`"))),
    }
}

/// What a request names: its digest, its kind, and its name for people.
fn named(
    node: &Node,
    tenant: &Name,
    request: &RevocationCreate,
) -> Result<(Digest, RevokedKind, String), Fail> {
    match (&request.model, &request.dataset, &request.file) {
        (Some(model), None, None) => {
            let (name, version) = models::reference(model)?;
            let model = models::find(node, tenant, &name, version)?;
            Ok((model.root_digest, RevokedKind::Model, format!("{}@{}", model.name, model.version)))
        }
        (None, Some(dataset), None) => {
            let (name, version) =
                models::reference(dataset).map_err(|_| Fail::not_found("data set", dataset))?;
            let found = datasets::find(node, tenant, &name, version)?;
            Ok((found.manifest_digest, RevokedKind::Dataset, format!("{}@{}", found.name, found.version)))
        }
        (None, None, Some(file)) => {
            let bad = |_| Fail::invalid("`file` is a SHA-256 of 64 hexadecimal digits");
            let digest: Digest = file.parse().map_err(bad)?;
            Ok((digest, RevokedKind::File, digest.hex()))
        }
        _ => Err(Fail::invalid("name one of `model`, `dataset` and `file`")),
    }
}

pub(crate) fn create(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    request: &RevocationCreate,
) -> Result<api::Revocation, Fail> {
    node.tenant(tenant)?;
    let (digest, kind, subject) = named(node, tenant, request)?;
    let record = Revocation {
        tenant: tenant.clone(),
        digest,
        kind,
        subject,
        reason: reason(&request.reason)?.to_owned(),
        by: principal.actor(),
        since_ms: now().as_millis(),
    };
    let effect = || {
        let record = insert(node, &record)?;
        Ok((record, endpoints::reconsider(node, Some(tenant))?))
    };
    let event = event(EventKind::RevocationCreate, principal, &record)?.because(&record.reason);
    let told = |event: Event, (_, withdrawn): &(Revocation, Vec<String>)| {
        event.detail("withdrawn", &withdrawn.join(" "))
    };
    let (record, withdrawn) = node.keeper.audited_with(event, effect, told)?;
    Ok(api::Revocation { withdrawn, ..wire(&record) })
}

/// Writes it down. Who revokes something again changes nothing, and hears since when it is.
fn insert(node: &Node, record: &Revocation) -> Result<Revocation, Fail> {
    let inserted = node.meta.transaction(|tx| {
        let rows = tx.of(&record.tenant);
        if let Some(known) = rows.get::<Revocation>(&record.digest)? {
            return Ok::<_, StoreError>(Some(known.record));
        }
        if rows.count::<Revocation>()? >= REVOCATIONS_MAX {
            return Ok(None);
        }
        rows.insert(record)?;
        Ok(Some(record.clone()))
    });
    let full = || Fail::conflict(format!("this tenant has its {REVOCATIONS_MAX} revocations"));
    inserted.map_err(store_fail)?.ok_or_else(full)
}

pub(crate) fn list(node: &Node, tenant: &Name, page: &PageRequest) -> Result<Page<api::Revocation>, Fail> {
    node.tenant(tenant)?;
    let page = node.meta.read(|tx| tx.of(tenant).list::<Revocation>(page)).map_err(store_fail)?;
    Ok(Page { items: page.items.iter().map(|s| wire(&s.record)).collect(), next: page.next })
}

/// Lets it be used again. What was served of it is not served again by itself.
pub(crate) fn lift(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    digest: &str,
    request: &RevocationLift,
) -> Result<api::Revocation, Fail> {
    let absent = || Fail::not_found("revocation", digest);
    let digest: Digest = digest.parse().map_err(|_| absent())?;
    let stored = node.meta.read(|tx| tx.of(tenant).get::<Revocation>(&digest)).map_err(store_fail)?;
    let stored = stored.ok_or_else(absent)?;
    let event =
        event(EventKind::RevocationLift, principal, &stored.record)?.because(reason(&request.reason)?);
    node.keeper.audited(event, || {
        let delete = |tx: &store::Tx<'_>| tx.of(tenant).delete::<Revocation>(&digest, stored.rev);
        node.meta.transaction::<_, StoreError>(delete).map_err(store_fail)
    })?;
    Ok(wire(&stored.record))
}

fn event(kind: EventKind, principal: &Principal, record: &Revocation) -> Result<Event, Fail> {
    Ok(Event::new(kind, Phase::Intent, Outcome::Unknown, now().as_millis(), correlation()?)
        .tenant(record.tenant.as_str())
        .by(principal)
        .severity(Severity::High)
        .asset(record.kind.as_str(), &record.subject, Some(record.digest)))
}

fn wire(record: &Revocation) -> api::Revocation {
    api::Revocation {
        digest: record.digest.hex(),
        kind: record.kind.as_str().to_owned(),
        subject: record.subject.clone(),
        reason: record.reason.clone(),
        by: record.by.clone(),
        since: time(record.since_ms),
        withdrawn: Vec::new(),
    }
}
