//! API keys: shown once, kept as a keyed hash, scoped to one endpoint or to managing one tenant, ending by
//! themselves.

use std::sync::Arc;

use api::{KeyCreate, Page};
use base::id::{EndpointId, KeyId};
use base::names::Name;
use base::{Digest, Timestamp};
use net::apikey::ApiKey;
use ops::event::{Event, EventKind, Outcome, Phase};
use store::PageRequest;
use store::records::{ApiKey as Record, Endpoint, KeyUse};

use crate::auth::Principal;
use crate::clock::{now, random};
use crate::node::{Node, correlation, store_fail, time};
use crate::{Fail, endpoints};

/// How long a key is good for unless said otherwise, in days.
const DAYS_DEFAULT: u32 = 30;
/// The longest.
const DAYS_MAX: u32 = 365;
/// Keys of one tenant.
const KEYS_MAX: u64 = 1000;

/// What authentication needs of a key.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) mac: [u8; 32],
    pub(crate) tenant: String,
    pub(crate) endpoint: Option<EndpointId>,
    pub(crate) expires: Timestamp,
    pub(crate) revoked: bool,
}

impl Known {
    /// None for a key that is not a tenant's; there are none such on a node that is operated locally.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        let (tenant, endpoint) = match &record.scope {
            KeyUse::Endpoint { tenant, endpoint } => (tenant, Some(*endpoint)),
            KeyUse::Tenant { tenant } => (tenant, None),
            KeyUse::Operator => return None,
        };
        Some(Self {
            mac: *record.mac.as_bytes(),
            tenant: tenant.to_string(),
            endpoint,
            expires: Timestamp::from_millis(record.expires_ms),
            revoked: record.revoked,
        })
    }
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
    let at = now();
    let id = KeyId::new(at, random::<10>()?);
    let key = ApiKey::new(id, random::<32>()?);
    let scope = match &endpoint {
        Some(endpoint) => KeyUse::Endpoint { tenant: tenant.clone(), endpoint: endpoint.id },
        None => KeyUse::Tenant { tenant: tenant.clone() },
    };
    let record = Record {
        id,
        scope,
        name: request.endpoint.clone(),
        mac: Digest::from_bytes(key.mac(&node.key_mac_key.0)),
        created_ms: at.as_millis(),
        expires_ms: at.plus_millis(u64::from(days).saturating_mul(86_400_000)).as_millis(),
        revoked: false,
    };
    let event =
        Event::new(EventKind::ApiKeyCreate, Phase::Intent, Outcome::Unknown, at.as_millis(), correlation()?)
            .tenant(tenant.as_str())
            .actor(&principal.actor())
            .asset("api_key", &id.to_string(), None)
            .detail("endpoint", request.endpoint.as_deref().unwrap_or("none: manages the tenant"))
            .detail("expires", &time(record.expires_ms));
    node.keeper.audited(event, || {
        let insert = node.meta.transaction(|tx| {
            if tx.of(tenant).count::<Record>()? >= KEYS_MAX {
                return Ok::<bool, store::StoreError>(false);
            }
            tx.of(tenant).insert(&record)?;
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

pub(crate) fn list(node: &Arc<Node>, tenant: &Name) -> Result<Page<api::Key>, Fail> {
    node.tenant(tenant)?;
    let page =
        node.meta.read(|tx| tx.of(tenant).list::<Record>(&PageRequest::default())).map_err(store_fail)?;
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
    .actor(&principal.actor())
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
    let endpoint = match &record.scope {
        KeyUse::Endpoint { endpoint, .. } => {
            let stored = node.meta.read(|tx| tx.find::<Endpoint>(endpoint)).map_err(store_fail)?;
            Some(stored.map_or_else(|| endpoint.to_string(), |s| s.record.name.to_string()))
        }
        KeyUse::Tenant { .. } | KeyUse::Operator => None,
    };
    Ok(api::Key {
        id: record.id.to_string(),
        tenant: record.scope.tenant().map(Name::to_string).unwrap_or_default(),
        endpoint,
        created: time(record.created_ms),
        expires: time(record.expires_ms),
        revoked: record.revoked,
        secret: None,
    })
}
