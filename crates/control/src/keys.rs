//! API keys: shown once, kept as a keyed hash, scoped to one endpoint or to managing one tenant, ending by
//! themselves, and good for whoever has them or on the certificate of one service alone.

use std::sync::Arc;

use access::Role;
use api::{KeyCreate, Page};
use base::id::KeyId;
use base::names::Name;
use base::{Digest, Timestamp};
use net::apikey::ApiKey;
use ops::event::{Event, EventKind, Outcome, Phase};
use store::PageRequest;
use store::records::{ApiKey as Record, Endpoint, KeyRole, KeyUse};

use crate::auth::{By, Principal};
use crate::clock::{now, random};
use crate::node::{Node, correlation, store_fail, time};
use crate::{Fail, endpoints, services};

/// How long a key is good for unless said otherwise, in days.
const DAYS_DEFAULT: u32 = 30;
/// The longest.
const DAYS_MAX: u32 = 365;
/// Keys of one tenant.
const KEYS_MAX: u64 = 1000;

/// What authentication needs of a management key.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) mac: [u8; 32],
    pub(crate) tenant: String,
    pub(crate) role: Role,
    pub(crate) expires: Timestamp,
    pub(crate) revoked: bool,
    /// The service on whose certificate alone it is good.
    pub(crate) service: Option<Name>,
}

impl Known {
    /// None for a key that manages nothing here: one of an endpoint, or the operator's, who is local on this node.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        let KeyUse::Tenant { tenant, role } = &record.scope else { return None };
        Some(Self {
            mac: *record.mac.as_bytes(),
            tenant: tenant.to_string(),
            role: of_key(*role),
            expires: Timestamp::from_millis(record.expires_ms),
            revoked: record.revoked,
            service: record.service.clone(),
        })
    }

    /// Whether a key with this keyed hash is this one, and is good at this time.
    pub(crate) fn opened_by(&self, mac: &[u8; 32], at: Timestamp) -> bool {
        base::digest::ct_eq(mac, &self.mac) && self.is_good(at)
    }

    /// Whether it was neither revoked nor has ended.
    pub(crate) fn is_good(&self, at: Timestamp) -> bool {
        !self.revoked && at < self.expires
    }
}

/// The role of a record.
pub(crate) const fn of_key(role: KeyRole) -> Role {
    match role {
        KeyRole::TenantAdmin => Role::TenantAdmin,
        KeyRole::Auditor => Role::Auditor,
        KeyRole::MlEngineer => Role::MlEngineer,
        KeyRole::Deployer => Role::Deployer,
        KeyRole::Application => Role::Application,
    }
}

/// The role that a request names, for a key or a service; the operator's is neither's.
pub(crate) fn asked_role(name: Option<&str>) -> Result<KeyRole, Fail> {
    match name.map(str::parse::<Role>).transpose() {
        Ok(None | Some(Role::TenantAdmin)) => Ok(KeyRole::TenantAdmin),
        Ok(Some(Role::Auditor)) => Ok(KeyRole::Auditor),
        Ok(Some(Role::MlEngineer)) => Ok(KeyRole::MlEngineer),
        Ok(Some(Role::Deployer)) => Ok(KeyRole::Deployer),
        Ok(Some(Role::Application)) => Ok(KeyRole::Application),
        Ok(Some(role @ (Role::PlatformOperator | Role::Security | Role::Node))) => {
            Err(Fail::invalid(format!("no key or service has the role `{role}`")))
        }
        Err(error) => Err(Fail::invalid(error.to_string())),
    }
}

/// The role that a new key has where it manages a tenant.
fn role_of(request: &KeyCreate) -> Result<KeyRole, Fail> {
    let role = asked_role(request.role.as_deref())?;
    if request.endpoint.is_some() && request.role.is_some() {
        return Err(Fail::invalid(
            "a key of an endpoint is an application's: it asks that endpoint, and has no other role",
        ));
    }
    if role == KeyRole::Application {
        return Err(Fail::invalid("a key by which an application asks is one of an endpoint")
            .help("make it with `strongroom key create --endpoint NAME`"));
    }
    Ok(role)
}

pub(crate) fn create(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    request: &KeyCreate,
) -> Result<api::Key, Fail> {
    node.tenant(tenant)?;
    let days = request.days.unwrap_or(DAYS_DEFAULT);
    if days == 0 || days > DAYS_MAX {
        return Err(Fail::invalid(format!("a key is good for 1 to {DAYS_MAX} days")));
    }
    let role = role_of(request)?;
    let endpoint = match &request.endpoint {
        Some(name) => {
            let name: Name = name.parse().map_err(|_| Fail::not_found("endpoint", name))?;
            Some(endpoints::find(node, tenant, &name)?.record)
        }
        // A management key can make others; only the operator hands those out.
        None if principal.confined_to().is_some() => {
            return Err(Fail::forbidden("a key that manages a tenant is made by the operator of the node"));
        }
        None => None,
    };
    let service = request.service.as_deref().map(|name| services::present(node, tenant, name)).transpose()?;
    let at = now();
    let id = KeyId::new(at, random::<10>()?);
    let key = ApiKey::new(id, random::<32>()?);
    let scope = match &endpoint {
        Some(endpoint) => KeyUse::Endpoint { tenant: tenant.clone(), endpoint: endpoint.id },
        None => KeyUse::Tenant { tenant: tenant.clone(), role },
    };
    let record = Record {
        id,
        scope,
        name: request.endpoint.clone(),
        mac: Digest::from_bytes(key.mac(&node.key_mac_key.0)),
        created_ms: at.as_millis(),
        expires_ms: at.plus_millis(u64::from(days).saturating_mul(86_400_000)).as_millis(),
        revoked: false,
        service,
    };
    let event =
        Event::new(EventKind::ApiKeyCreate, Phase::Intent, Outcome::Unknown, at.as_millis(), correlation()?)
            .tenant(tenant.as_str())
            .by(principal)
            .asset("api_key", &id.to_string(), None)
            .detail("endpoint", request.endpoint.as_deref().unwrap_or("none: manages the tenant"))
            .detail(
                "role",
                if endpoint.is_some() { Role::Application.as_str() } else { of_key(role).as_str() },
            )
            .detail("service", record.service.as_ref().map_or("none: good for whoever has it", Name::as_str))
            .detail("expires", &time(record.expires_ms));
    node.keeper.audited(event, || {
        let insert = node.meta.transaction(|tx| {
            if tx.of(tenant).count::<Record>()? >= KEYS_MAX {
                return Ok::<bool, store::StoreError>(false);
            }
            tx.of(tenant).insert(&record)?;
            principal.made(tx, &id.to_string())?;
            Ok(true)
        });
        match insert.map_err(store_fail)? {
            true => Ok(()),
            false => Err(Fail::conflict(format!("this tenant has its {KEYS_MAX} keys"))),
        }
    })?;
    // A key for an endpoint opens it from now on. Where the gateway is away, it learns of the key when it is back.
    if endpoint.is_some()
        && let Err(fail) = endpoints::push_now(node)
    {
        crate::log::line("gateway", &fail.line());
    }
    let mut wire = wire(node, &record)?;
    wire.secret = Some(key.text());
    Ok(wire)
}

/// One key, without the key.
pub(crate) fn show(node: &Node, tenant: &Name, id: &str) -> Result<api::Key, Fail> {
    let none = || Fail::not_found("key", id);
    let key: KeyId = id.parse().map_err(|_| none())?;
    let stored = node.meta.read(|tx| tx.of(tenant).get::<Record>(&key)).map_err(store_fail)?;
    wire(node, &stored.ok_or_else(none)?.record)
}

pub(crate) fn list(node: &Node, tenant: &Name, page: &PageRequest) -> Result<Page<api::Key>, Fail> {
    node.tenant(tenant)?;
    let page = node.meta.read(|tx| tx.of(tenant).list::<Record>(page)).map_err(store_fail)?;
    let items: Result<Vec<_>, Fail> = page.items.iter().map(|s| wire(node, &s.record)).collect();
    Ok(Page { items: items?, next: page.next })
}

pub(crate) fn revoke(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    id: &str,
) -> Result<api::Key, Fail> {
    let id: KeyId = id.parse().map_err(|_| Fail::not_found("key", id))?;
    let event = Event::new(
        EventKind::ApiKeyRevoke,
        Phase::Intent,
        Outcome::Unknown,
        now().as_millis(),
        correlation()?,
    )
    .tenant(tenant.as_str())
    .by(principal)
    .asset("api_key", &id.to_string(), None);
    let record = node.keeper.audited(event, || {
        let revoked = node.meta.transaction(|tx| {
            let rows = tx.of(tenant);
            let Some(mut stored) = rows.get::<Record>(&id)? else { return Ok::<_, store::StoreError>(None) };
            stored.record.revoked = true;
            rows.update(&stored)?;
            Ok(Some(stored.record))
        });
        revoked.map_err(store_fail)?.ok_or_else(|| Fail::not_found("key", &id.to_string()))
    })?;
    // A revocation is in force when the gateway has it.
    endpoints::push_now(node)?;
    wire(node, &record)
}

fn wire(node: &Node, record: &Record) -> Result<api::Key, Fail> {
    let (endpoint, role) = match &record.scope {
        KeyUse::Endpoint { endpoint, .. } => {
            let stored = node.meta.read(|tx| tx.find::<Endpoint>(endpoint)).map_err(store_fail)?;
            (
                Some(stored.map_or_else(|| endpoint.to_string(), |s| s.record.name.to_string())),
                Some(Role::Application.to_string()),
            )
        }
        KeyUse::Tenant { role, .. } => (None, Some(of_key(*role).to_string())),
        KeyUse::Operator => (None, None),
    };
    Ok(api::Key {
        id: record.id.to_string(),
        tenant: record.scope.tenant().map(Name::to_string).unwrap_or_default(),
        endpoint,
        role,
        created: time(record.created_ms),
        expires: time(record.expires_ms),
        revoked: record.revoked,
        service: record.service.as_ref().map(Name::to_string),
        secret: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(scope: KeyUse) -> Record {
        Record {
            id: KeyId::from_bits(1),
            scope,
            name: None,
            mac: base::sha256(b"mac"),
            created_ms: 0,
            expires_ms: 10,
            revoked: false,
            service: None,
        }
    }

    fn managing(role: KeyRole) -> Record {
        record(KeyUse::Tenant { tenant: "acme".parse().unwrap(), role })
    }

    #[test]
    fn a_key_opens_until_it_ends_or_is_revoked() {
        let mac = *base::sha256(b"mac").as_bytes();
        let known = Known::of(&managing(KeyRole::Auditor)).unwrap();
        assert!(known.opened_by(&mac, Timestamp::from_millis(9)));
        assert!(!known.opened_by(&mac, Timestamp::from_millis(10)), "it has ended");
        assert!(!known.opened_by(&[0; 32], Timestamp::from_millis(9)), "another secret");
        let revoked = Known { revoked: true, ..known };
        assert!(!revoked.opened_by(&mac, Timestamp::from_millis(9)));
    }

    #[test]
    fn a_role_is_kept_as_it_was_asked_for() {
        for role in Role::ALL {
            match asked_role(Some(role.as_str())) {
                Ok(kept) => assert_eq!(Known::of(&managing(kept)).unwrap().role, role),
                Err(fail) => assert!(!role.is_a_tenants() && fail.status == 400, "{role}"),
            }
        }
        assert_eq!(asked_role(None), Ok(KeyRole::TenantAdmin));
        assert_eq!(asked_role(Some("root")).unwrap_err().status, 400);
    }

    #[test]
    fn only_keys_that_manage_a_tenant_are_somebody_here() {
        let endpoint = KeyUse::Endpoint {
            tenant: "acme".parse().unwrap(),
            endpoint: base::id::EndpointId::from_bits(1),
        };
        assert!(Known::of(&record(endpoint)).is_none() && Known::of(&record(KeyUse::Operator)).is_none());
    }
}
