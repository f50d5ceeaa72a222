//! Services: callers of the management plane with certificates of their own, one hour each, renewed by themselves until
//! their grant ends or is revoked.

use std::sync::Arc;

use api::{Certificate, IdentityRenew, Page, ServiceCreate};
use base::Timestamp;
use base::id::JobId;
use base::names::Name;
use net::identity::{Holder, IdentityError, ProvenKey};
use ops::event::{Event, EventKind, Outcome, Phase};
use store::records::{Job, JobState, Service as Record};
use store::{PageRequest, StoreError};

use crate::auth::{By, Identity, Principal};
use crate::clock::now;
use crate::keys::{asked_role, of_key};
use crate::node::{Node, correlation, store_fail, time};
use crate::plane::Plane;
use crate::{Fail, endpoints};

/// How long a grant is good for unless said otherwise, in days.
const DAYS_DEFAULT: u32 = 30;
/// The longest.
const DAYS_MAX: u32 = 365;
/// Services of one tenant, those that were revoked included: their names are not given again.
const SERVICES_MAX: u64 = 1000;

/// Whether a service may call, and renew, at this time.
fn is_good(record: &Record, at: Timestamp) -> bool {
    !record.revoked && at.as_millis() < record.ends_ms
}

/// Who presents this certificate: asked for every request, so that a revocation holds from the next one on.
pub(crate) fn authenticate(
    node: &Node,
    certificate: &net::identity::CertificateDer<'_>,
) -> Result<Identity, Fail> {
    let at = now();
    let id = plane(node)?.services.identify(certificate, at).map_err(|e| refused(&e))?;
    let (tenant, service) = match id.of {
        Holder::Service { tenant, service } => (tenant, service),
        Holder::Job { tenant, job } if runs(node, tenant.as_str(), job) => {
            let id = format!("{tenant}/job/{job}");
            return Ok(Identity::Workload { tenant: tenant.to_string(), id, job });
        }
        Holder::Job { .. } => return Err(Fail::unauthenticated("the job of this certificate does not run")),
        Holder::Node(name) if name.as_str() == node.config.node => {
            return Ok(Identity::Node { name: name.to_string() });
        }
        Holder::Node(_) => return Err(Fail::unauthenticated("the node of this certificate is not known")),
    };
    let record = find(node, &tenant, &service)?.filter(|record| is_good(record, at));
    let record = record.ok_or_else(|| {
        Fail::unauthenticated("the service of this certificate is not known, has ended or was revoked")
            .help("the operator makes another with `strongroom access service create`")
    })?;
    let name = format!("{}/{}", record.tenant, record.name);
    Ok(Identity::Service { tenant: record.tenant.to_string(), id: name, role: of_key(record.role) })
}

/// The service of this name, if it may call now: what a key can be bound to.
pub(crate) fn present(node: &Node, tenant: &Name, name: &str) -> Result<Name, Fail> {
    let absent = || Fail::not_found("service", name);
    plane(node)?;
    let name: Name = name.parse().map_err(|_| absent())?;
    let found = find(node, tenant, &name)?.filter(|record| is_good(record, now()));
    found.map(|record| record.name).ok_or_else(absent)
}

/// Whether this is the certificate of that service, and it may call now.
pub(crate) fn presents(
    node: &Node,
    certificate: Option<&net::identity::CertificateDer<'_>>,
    tenant: &str,
    service: &Name,
) -> bool {
    let identity = certificate.and_then(|certificate| authenticate(node, certificate).ok());
    let found = identity.as_ref().and_then(Identity::service);
    found == Some((tenant, service.as_str()))
}

/// Until when a service may call; none: it may not any more.
pub(crate) fn good_until(node: &Node, tenant: &Name, name: &Name) -> Result<Option<u64>, Fail> {
    let record = find(node, tenant, name)?.filter(|record| is_good(record, now()));
    Ok(record.map(|record| record.ends_ms))
}

/// The role of a service; none where there is no such service.
pub(crate) fn role_of(node: &Node, tenant: &Name, name: &Name) -> Result<Option<access::Role>, Fail> {
    Ok(find(node, tenant, name)?.map(|record| of_key(record.role)))
}

/// Whether such a job runs: a workload is who it is for as long as it does. What cannot be read is no.
pub(crate) fn runs(node: &Node, tenant: &str, job: JobId) -> bool {
    let Ok(tenant) = tenant.parse::<Name>() else { return false };
    let found = node.meta.read(|tx| tx.of(&tenant).get::<Job>(&job));
    matches!(found, Ok(Some(stored)) if stored.record.state == JobState::Running)
}

/// Whether there is such a service, and it may call now.
pub(crate) fn is_known(node: &Node, tenant: &str, name: &str) -> bool {
    let (Ok(tenant), Ok(name)) = (tenant.parse(), name.parse()) else { return false };
    matches!(find(node, &tenant, &name), Ok(Some(record)) if is_good(&record, now()))
}

fn refused(error: &IdentityError) -> Fail {
    Fail { status: 401, ..Fail::explained(401, error) }
}

fn plane(node: &Node) -> Result<&Plane, Fail> {
    node.plane.as_ref().ok_or_else(|| {
        Fail::conflict("this node has no management plane for a service to call")
            .help("add `[management]` with `listen = \"127.0.0.1:9443\"` to the configuration of the node")
    })
}

fn find(node: &Node, tenant: &Name, name: &Name) -> Result<Option<Record>, Fail> {
    let stored = node.meta.read(|tx| tx.of(tenant).get::<Record>(name)).map_err(store_fail)?;
    Ok(stored.map(|stored| stored.record))
}

pub(crate) fn create(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    request: &ServiceCreate,
) -> Result<api::Service, Fail> {
    let plane = plane(node)?;
    node.tenant(tenant)?;
    let name: Name =
        request.name.parse().map_err(|e: base::names::NameError| Fail::invalid(e.to_string()))?;
    let days = request.days.unwrap_or(DAYS_DEFAULT);
    if days == 0 || days > DAYS_MAX {
        return Err(Fail::invalid(format!("a service is good for 1 to {DAYS_MAX} days")));
    }
    let role = asked_role(Some(&request.role))?;
    let key = ProvenKey::from_request(&request.request).map_err(|e| Fail::explained(400, &e))?;
    let at = now();
    let record = Record {
        tenant: tenant.clone(),
        name,
        role,
        created_ms: at.as_millis(),
        ends_ms: at.plus_millis(u64::from(days).saturating_mul(86_400_000)).as_millis(),
        revoked: false,
    };
    let event = event(EventKind::ServiceCreate, &record.name, tenant, principal)?
        .detail("role", of_key(role).as_str())
        .detail("ends", &time(record.ends_ms));
    let certificate = node.keeper.audited(event, || {
        let certificate = issue(plane, &record, &key, at)?;
        let inserted = node.meta.transaction(|tx| {
            if tx.of(tenant).count::<Record>()? >= SERVICES_MAX {
                return Ok::<bool, StoreError>(false);
            }
            tx.of(tenant).insert(&record)?;
            Ok(true)
        });
        match inserted {
            Ok(true) => Ok(certificate),
            Ok(false) => Err(Fail::conflict(format!("this tenant has its {SERVICES_MAX} services"))),
            Err(StoreError::Exists { .. }) => Err(Fail::conflict(format!(
                "this tenant has, or had, a service `{}`; a name is not given twice",
                record.name
            ))),
            Err(error) => Err(store_fail(error)),
        }
    })?;
    let mut wire = wire(plane, &record);
    wire.certificate = Some(certificate);
    Ok(wire)
}

pub(crate) fn list(node: &Node, tenant: &Name, page: &PageRequest) -> Result<Page<api::Service>, Fail> {
    node.tenant(tenant)?;
    // A node whose plane was taken from its configuration has nobody who could call.
    let Some(plane) = &node.plane else { return Ok(Page { items: Vec::new(), next: None }) };
    let page = node.meta.read(|tx| tx.of(tenant).list::<Record>(page)).map_err(store_fail)?;
    Ok(Page { items: page.items.iter().map(|s| wire(plane, &s.record)).collect(), next: page.next })
}

pub(crate) fn revoke(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    name: &Name,
) -> Result<api::Service, Fail> {
    let absent = || Fail::not_found("service", name.as_str());
    let plane = node.plane.as_ref().ok_or_else(absent)?;
    let event = event(EventKind::ServiceRevoke, name, tenant, principal)?;
    let record = node.keeper.audited(event, || {
        let revoked = node.meta.transaction(|tx| {
            let rows = tx.of(tenant);
            let Some(mut stored) = rows.get::<Record>(name)? else { return Ok::<_, StoreError>(None) };
            stored.record.revoked = true;
            rows.update(&stored)?;
            Ok(Some(stored.record))
        });
        revoked.map_err(store_fail)?.ok_or_else(absent)
    })?;
    // Keys of endpoints that are bound to it open nothing once the gateway knows.
    endpoints::push_now(node)?;
    Ok(wire(plane, &record))
}

/// A fresh certificate for the service that asks.
pub(crate) fn renew(
    node: &Arc<Node>,
    principal: &Principal,
    request: &IdentityRenew,
) -> Result<Certificate, Fail> {
    let absent = || {
        Fail::invalid("only a service has a certificate to renew")
            .help("see who you are with `strongroom whoami`")
    };
    let (tenant, name) = principal.service().ok_or_else(absent)?;
    let (tenant, name): (Name, Name) =
        (tenant.parse().map_err(|_| absent())?, name.parse().map_err(|_| absent())?);
    let plane = plane(node)?;
    let key = ProvenKey::from_request(&request.request).map_err(|e| Fail::explained(400, &e))?;
    let event = event(EventKind::ServiceRenew, &name, &tenant, principal)?;
    node.keeper.audited(event, || {
        // Read again: it may have been revoked since the request was let in.
        let at = now();
        let record = find(node, &tenant, &name)?.filter(|record| is_good(record, at));
        let record = record.ok_or_else(|| Fail::unauthenticated("the service has ended or was revoked"))?;
        issue(plane, &record, &key, at)
    })
}

fn issue(plane: &Plane, record: &Record, key: &ProvenKey, at: Timestamp) -> Result<Certificate, Fail> {
    let id = plane.services.id(&record.tenant, &record.name);
    let until = Timestamp::from_millis(record.ends_ms);
    let (certificate, expires) =
        plane.services.issue(key, &id, at, until).map_err(|e| Fail::explained(500, &e))?;
    Ok(Certificate {
        id: id.to_string(),
        certificate,
        expires: expires.to_string(),
        authority: plane.authority.clone(),
    })
}

fn event(kind: EventKind, name: &Name, tenant: &Name, principal: &Principal) -> Result<Event, Fail> {
    Ok(Event::new(kind, Phase::Intent, Outcome::Unknown, now().as_millis(), correlation()?)
        .tenant(tenant.as_str())
        .by(principal)
        .asset("service", name.as_str(), None))
}

fn wire(plane: &Plane, record: &Record) -> api::Service {
    api::Service {
        id: plane.services.id(&record.tenant, &record.name).to_string(),
        tenant: record.tenant.to_string(),
        name: record.name.to_string(),
        role: of_key(record.role).to_string(),
        created: time(record.created_ms),
        ends: time(record.ends_ms),
        revoked: record.revoked,
        certificate: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_good_until_its_grant_ends_or_is_revoked() {
        let record = Record {
            tenant: "acme".parse().unwrap(),
            name: "ci".parse().unwrap(),
            role: store::records::KeyRole::Auditor,
            created_ms: 0,
            ends_ms: 10,
            revoked: false,
        };
        assert!(is_good(&record, Timestamp::from_millis(9)));
        assert!(!is_good(&record, Timestamp::from_millis(10)), "it has ended");
        assert!(!is_good(&Record { revoked: true, ..record }, Timestamp::from_millis(9)));
    }
}
