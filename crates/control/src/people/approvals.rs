//! What two people agree on: one asks, another approves, and the first may do just that for a while.

use access::approval::{Act, Approval, Decided, GOOD_MS, State, WAITS_MS};
use access::{Circumstances, Request};
use api::{ApprovalDecide, ApprovalRequest, Page};
use base::Timestamp;
use base::id::ApprovalId;
use ops::event::{Event, Outcome, Phase, Severity};
use store::meta::Rows;
use store::records::{Approval as Record, Decided as Said};
use store::{StoreError, Tx};

use super::{Arc, By, EventKind, Fail, Name, Node, PageRequest, Principal, at, now, reason};
use crate::auth::Identity;
use crate::clock::random;
use crate::node::{correlation, store_fail, time};

/// Requests of one tenant, or of the node, that can be seen; beyond them the oldest that ended are forgotten.
const KEPT_MAX: u64 = 1000;

fn rows<'t>(tx: &'t Tx<'t>, tenant: Option<&'t Name>) -> Rows<'t> {
    tenant.map_or_else(|| tx.platform(), |tenant| tx.of(tenant))
}

fn approval(record: &Record) -> Approval<'_> {
    let act = Act {
        by: &record.by,
        operation: &record.operation,
        tenant: record.tenant.as_ref().map(Name::as_str),
        resource: &record.resource,
    };
    let decided =
        record.decided.as_ref().map(|d| Decided { by: &d.by, at: at(d.at_ms), approved: d.approved });
    Approval { act, asked: at(record.asked_ms), decided }
}

/// Whether another person approved that the caller does this now.
pub(crate) fn is_approved(node: &Node, act: &Act<'_>) -> Result<bool, Fail> {
    let tenant: Option<Name> = act
        .tenant
        .map(str::parse)
        .transpose()
        .map_err(|_| Fail::not_found("tenant", act.tenant.unwrap_or("")))?;
    let all = PageRequest::default();
    let page = node.meta.read(|tx| rows(tx, tenant.as_ref()).list::<Record>(&all)).map_err(store_fail)?;
    let now = now();
    Ok(page.items.iter().any(|stored| approval(&stored.record).covers(act, now)))
}

pub(crate) fn request(
    node: &Arc<Node>,
    principal: &Principal,
    request: &ApprovalRequest,
) -> Result<api::Approval, Fail> {
    let reason = reason(&request.reason)?.to_owned();
    let rules = node.policies.get();
    let operation = rules.policies.operations().get(&request.operation);
    let operation = operation.filter(|operation| operation.needs().approved).ok_or_else(|| {
        Fail::invalid(format!("`{}` needs no approval", crate::fail::printable(&request.operation)))
            .help("see what does with `strongroom policy show --table`")
    })?;
    let own = principal.confined_to();
    let asked = request.tenant.as_deref().or(own).filter(|_| operation.is_within_tenants());
    if operation.is_within_tenants() {
        let Some(asked) = asked else { return Err(Fail::invalid("the thing lies in a tenant: name it")) };
        let known = asked.parse().ok().filter(|_| own.is_none_or(|own| own == asked));
        known.map(|name| node.tenant(&name)).unwrap_or_else(|| Err(Fail::not_found("tenant", asked)))?;
    }
    let resource = plain(&request.resource)?;
    // What the caller may not do with an approval is not asked for.
    let decision = rules.policies.decide(&Request {
        principal: principal.as_principal(),
        operation: &request.operation,
        tenant: asked,
        resource,
        given: Circumstances::ALL,
    });
    if !decision.allowed {
        return Err(Fail::forbidden(format!(
            "role `{}` may not `{}`, with an approval or without",
            principal.role(),
            request.operation
        ))
        .because(decision.why));
    }
    let record = Record {
        id: ApprovalId::new(now(), random::<10>()?),
        tenant: asked.and_then(|name| name.parse().ok()),
        operation: request.operation.clone(),
        resource: resource.to_owned(),
        by: principal.actor(),
        reason,
        asked_ms: now().as_millis(),
        decided: None,
    };
    let told = event(EventKind::ApprovalRequest, &record, principal)?.because(&record.reason);
    node.keeper.audited(told, || {
        let made = node.meta.transaction(|tx| {
            let rows = rows(tx, record.tenant.as_ref());
            let free = rows.count::<Record>()? < KEPT_MAX || forget_one(&rows, now())?;
            if free {
                rows.insert(&record)?;
                principal.made(tx, &record.id.to_string())?;
            }
            Ok::<_, StoreError>(free)
        });
        match made.map_err(store_fail)? {
            true => Ok(()),
            false => Err(Fail::conflict(format!("{KEPT_MAX} requests for approval are open there"))),
        }
    })?;
    Ok(wire(&record))
}

/// A thing as paths of the API name it.
fn plain(resource: &str) -> Result<&str, Fail> {
    let fits = resource.len() <= api::shape::RESOURCE_MAX
        && resource.chars().all(|c| c.is_ascii_graphic())
        && !resource.starts_with('/')
        && !resource.ends_with('/')
        && !resource.is_empty();
    match fits {
        true => Ok(resource),
        false => Err(Fail::invalid("name the thing as a path of the API does: `NAME/VERSION`")),
    }
}

/// Makes room for a request; whether there is any.
fn forget_one(rows: &Rows<'_>, now: Timestamp) -> Result<bool, StoreError> {
    let all = rows.list::<Record>(&PageRequest::default())?.items;
    let is_open = |state| matches!(state, State::Waiting | State::Approved);
    match all.iter().find(|stored| !is_open(approval(&stored.record).state(now))) {
        Some(ended) => rows.delete::<Record>(&ended.record.id, ended.rev).map(|()| true),
        None => Ok(false),
    }
}

/// Those that the caller may know.
pub(crate) fn list(
    node: &Node,
    principal: &Principal,
    page: &PageRequest,
) -> Result<Page<api::Approval>, Fail> {
    let found = match principal.confined_to() {
        None => node.meta.read(|tx| tx.list_all::<Record>(page)),
        Some(own) => {
            let own: Name = own.parse().map_err(|e| Fail::internal("a caller's tenant is not a name", e))?;
            node.meta.read(|tx| tx.of(&own).list::<Record>(page))
        }
    };
    let found = found.map_err(store_fail)?;
    Ok(Page { items: found.items.iter().map(|s| wire(&s.record)).collect(), next: found.next })
}

/// One that the caller may know.
pub(crate) fn show(node: &Node, principal: &Principal, id: &str) -> Result<api::Approval, Fail> {
    Ok(wire(&find(node, principal, id)?))
}

fn find(node: &Node, principal: &Principal, id: &str) -> Result<Record, Fail> {
    let absent = || Fail::not_found("request for approval", id);
    let id: ApprovalId = id.parse().map_err(|_| absent())?;
    let found = node.meta.read(|tx| tx.find::<Record>(&id)).map_err(store_fail)?.map(|stored| stored.record);
    let own = principal.confined_to();
    let known =
        |record: &Record| own.is_none_or(|own| record.tenant.as_ref().is_some_and(|of| of.as_str() == own));
    found.filter(known).ok_or_else(absent)
}

pub(crate) fn decide(
    node: &Arc<Node>,
    principal: &Principal,
    id: &str,
    decision: &ApprovalDecide,
) -> Result<api::Approval, Fail> {
    let answer = decision.reason.as_deref().map(reason).transpose()?.map(str::to_owned);
    let Identity::Person { .. } = &**principal else {
        return Err(Fail::forbidden("only a person in a session approves"));
    };
    let record = find(node, principal, id)?;
    let by = principal.actor();
    let not = |error: &access::approval::NotDecided| Fail::conflict(error.to_string());
    approval(&record).may_be_decided(&by, now()).map_err(|e| not(&e))?;
    let told = event(EventKind::ApprovalDecide, &record, principal)?
        .because(answer.as_deref().unwrap_or(""))
        .severity(Severity::Low)
        .detail("asked_by", &record.by)
        .detail("approved", if decision.approve { "yes" } else { "no" });
    let record = node.keeper.audited(told, || {
        let decided = node.meta.transaction(|tx| {
            let rows = rows(tx, record.tenant.as_ref());
            let Some(mut stored) = rows.get::<Record>(&record.id)? else { return Ok::<_, StoreError>(None) };
            // Read again: another may have decided since.
            if let Err(error) = approval(&stored.record).may_be_decided(&by, now()) {
                return Ok(Some(Err(error)));
            }
            stored.record.decided = Some(Said {
                by: by.clone(),
                at_ms: now().as_millis(),
                approved: decision.approve,
                reason: answer.clone(),
            });
            rows.update(&stored)?;
            Ok(Some(Ok(stored.record)))
        });
        let decided = decided.map_err(store_fail)?;
        decided.ok_or_else(|| Fail::not_found("request for approval", id))?.map_err(|e| not(&e))
    })?;
    Ok(wire(&record))
}

fn event(kind: EventKind, record: &Record, principal: &Principal) -> Result<Event, Fail> {
    Ok(Event::new(kind, Phase::Intent, Outcome::Unknown, now().as_millis(), correlation()?)
        .tenant(record.tenant.as_ref().map_or("", Name::as_str))
        .by(principal)
        .asset("approval", &record.id.to_string(), None)
        .detail("operation", &record.operation)
        .detail("resource", &record.resource))
}

fn wire(record: &Record) -> api::Approval {
    let state = approval(record).state(now());
    let decided = record.decided.as_ref();
    let until = match state {
        State::Waiting => Some(at(record.asked_ms).plus_millis(WAITS_MS)),
        State::Approved => decided.map(|d| at(d.at_ms).plus_millis(GOOD_MS)),
        State::Lapsed | State::Over | State::Refused => None,
    };
    api::Approval {
        id: record.id.to_string(),
        operation: record.operation.clone(),
        tenant: record.tenant.as_ref().map(Name::to_string),
        resource: record.resource.clone(),
        by: record.by.clone(),
        reason: record.reason.clone(),
        asked: time(record.asked_ms),
        state: state.as_str().to_owned(),
        decided_by: decided.map(|d| d.by.clone()),
        decided: decided.map(|d| time(d.at_ms)),
        answer: decided.and_then(|d| d.reason.clone()),
        until: until.map(|t| time(t.as_millis())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_named_as_paths_name_it() {
        assert_eq!(plain("m/1").unwrap(), "m/1");
        for bad in ["", "/m", "m/", "m 1", "m\n", "\u{43c}/1", &"m".repeat(api::shape::RESOURCE_MAX + 1)] {
            assert!(plain(bad).is_err(), "{bad:?}");
        }
    }
}
