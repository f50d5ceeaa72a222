//! What the gateway goes by: which endpoints are served, and whose keys open them.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use base::id::EndpointId;
use base::names::Name;
use ops::snapshot::Snapshot;
use ops::{List, Text};
use store::records::{ApiKey, Endpoint, EndpointState, KeyUse};

use crate::clock::now;
use crate::node::Node;
use crate::run::text;
use crate::{Fail, services};

/// How often the gateway hears from control even if nothing changed.
const PUSH_EVERY: Duration = Duration::from_secs(5);
/// A snapshot that is not renewed ends after this long, and with it all serving.
const SNAPSHOT_LIFE_MS: u64 = 120_000;
/// Quota of a key unless policy says otherwise: requests a minute.
const REQUESTS_A_MINUTE: u32 = 6_000;
/// Requests of one key under way at once.
const CONCURRENCY: u32 = 16;
/// The operation that the gateway performs for the holder of a key.
const INFER: &str = "endpoint.infer";
/// Longest request of an endpoint.
const BODY_MAX: u32 = 16 << 20;

/// Pushes the policy soon: for what may wait a moment.
pub(crate) fn push_soon(node: &Node) {
    node.endpoints.dirty.store(true, Ordering::Release);
}

/// Pushes the policy to the gateway and waits until it is in force.
pub(crate) fn push_now(node: &Node) -> Result<(), Fail> {
    if node.recovery.began_safe {
        // There is no gateway in safe mode; the next one gets all of it.
        return Ok(());
    }
    let _one = node.endpoints.pushing.lock().unwrap_or_else(PoisonError::into_inner);
    node.endpoints.dirty.store(false, Ordering::Release);
    let snapshot = snapshot(node)?;
    let pushed = net::block_on(net::push::push(&node.config.gateway_socket(), snapshot));
    match pushed {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(failed(node, &base::error::chain(&error))),
        Err(error) => Err(failed(node, &error.to_string())),
    }
}

fn failed(node: &Node, reason: &str) -> Fail {
    push_soon(node);
    Fail::unavailable("the gateway did not take the new policy; it is pushed again until it does", reason)
}

/// Keeps the gateway's policy fresh.
pub(crate) fn keep_pushing(node: &Arc<Node>) {
    let mut waited = PUSH_EVERY;
    let step = Duration::from_millis(200);
    loop {
        if waited >= PUSH_EVERY || node.endpoints.dirty.load(Ordering::Acquire) {
            waited = Duration::ZERO;
            if let Err(fail) = push_now(node) {
                crate::log::line("gateway", &fail.line());
                std::thread::sleep(Duration::from_millis(300));
            }
        }
        std::thread::sleep(step);
        waited += step;
    }
}

fn snapshot(node: &Node) -> Result<Snapshot, Fail> {
    let at = now();
    let served = node.every::<Endpoint>(|e| e.state == EndpointState::Serving)?;
    let names: HashMap<EndpointId, &str> = served.iter().map(|e| (e.id, e.name.as_str())).collect();
    let rules = node.policies.get();
    let mut keys = Vec::new();
    for record in node.every::<ApiKey>(|_| true)? {
        let may = |tenant: &Name, endpoint: &EndpointId| {
            // A key of what is not served opens nothing, whatever the rules say.
            names.get(endpoint).is_none_or(|name| may_ask(&rules.policies, &record, tenant, name))
        };
        keys.extend(key(node, &record, at.as_millis(), may)?);
    }
    // What does not fit is unknown to the gateway, and that is refused: so revoked keys are left out first.
    keys.sort_by_key(|key| key.revoked);
    let left_out = keys.iter().skip(ops::snapshot::KEYS_MAX).filter(|key| !key.revoked).count();
    if left_out > 0 {
        crate::log::line("gateway", &format!("{left_out} keys do not fit the gateway's policy"));
    }
    let endpoints = served
        .iter()
        .map(|e| {
            Ok(ops::snapshot::Endpoint {
                id: e.id.bits(),
                tenant: text(e.tenant.as_str())?,
                name: text(e.name.as_str())?,
                socket: Text::clip(&format!("{}.sock", e.id)),
                model_digest: e.model_digest,
                bom_digest: e.bom_digest,
                model: text(e.model.as_str())?,
                version: text(&e.model_version.to_string())?,
                body_max: BODY_MAX,
            })
        })
        .collect::<Result<Vec<_>, Fail>>()?;
    Ok(Snapshot {
        generation: node.endpoints.generation.fetch_add(1, Ordering::AcqRel).saturating_add(1),
        expires_ms: at.plus_millis(SNAPSHOT_LIFE_MS).as_millis(),
        key_mac_key: node.key_mac_key.clone(),
        services: text(node.plane.as_ref().map_or("", |plane| plane.services.pem()))?,
        keys: List::clip(keys),
        endpoints: List::clip(endpoints),
    })
}

/// Whether the rules in force let the holder of this key ask this endpoint.
fn may_ask(policies: &access::Policies, record: &ApiKey, tenant: &Name, endpoint: &str) -> bool {
    let id = record.id.to_string();
    let principal =
        access::Principal::Key { id: &id, role: access::Role::Application, tenant: tenant.as_str() };
    let given = access::Circumstances::default();
    let tenant = Some(tenant.as_str());
    let request = access::Request { principal, operation: INFER, tenant, resource: endpoint, given };
    policies.decide(&request).allowed
}

fn key(
    node: &Node,
    record: &ApiKey,
    now_ms: u64,
    may: impl FnOnce(&Name, &EndpointId) -> bool,
) -> Result<Option<ops::snapshot::Key>, Fail> {
    let KeyUse::Endpoint { tenant, endpoint } = &record.scope else { return Ok(None) };
    // A key that has ended is left out: it is as good as unknown, and the list stays short.
    if record.expires_ms <= now_ms {
        return Ok(None);
    }
    // A key ends with the service that it is bound to.
    let good = match &record.service {
        Some(service) => services::good_until(node, tenant, service)?,
        None => Some(record.expires_ms),
    };
    Ok(Some(ops::snapshot::Key {
        id: record.id.bits(),
        mac: *record.mac.as_bytes(),
        tenant: Text::clip(tenant.as_str()),
        service: Text::clip(record.service.as_ref().map_or("", Name::as_str)),
        endpoint: endpoint.bits(),
        expires_ms: good.map_or(record.expires_ms, |ends| ends.min(record.expires_ms)),
        // The gateway refuses what no rule permits as it refuses what was revoked.
        revoked: record.revoked || good.is_none() || !may(tenant, endpoint),
        requests_per_minute: REQUESTS_A_MINUTE,
        concurrency: CONCURRENCY,
    }))
}
