//! The probe of AC-5: it calls the listeners of the live node as somebody who has no identity, one of another authority,
//! one that has ended, and a key that it took from somebody else.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use base::id::{JobId, KeyId};
use base::names::Name;
use net::apikey::ApiKey;
use net::block_on;
use net::client::TlsRefusal;
use net::https::{Target, request_over};
use net::identity::{Holder, ProvenKey, Services, SpiffeId, new_key};
use net::{Call, ClientError};
use ops::relay::Purpose;
use posture::{Outcome, Status};
use store::StoreError;
use store::records::{ApiKey as Key, KeyRole, KeyUse, NamedEgress, Service};

use super::probes::Seen;
use crate::clock::{now, random};
use crate::node::{Node, store_fail};
use crate::plane::Plane;
use crate::relay::Relay;
use crate::{Fail, endpoints};

/// How long a key and certificates of the probe are good, should it end before it takes them back.
const LIFE_MS: u64 = 60_000;
/// How old the certificate is that has ended.
const AGO_MS: u64 = 7_200_000;
/// Names of keys that are listed one by one.
const LISTED_MAX: usize = 5;

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Met {
    /// Refused before a request could be sent.
    NoHandshake,
    /// Answered with this status.
    Status(u16),
}

/// Where the probe calls, and with what.
struct Listener {
    name: &'static str,
    address: SocketAddr,
    authority: String,
    path: &'static str,
}

impl Listener {
    /// By way of the relay: this process makes no connections.
    fn call(&self, relay: &Relay, bearer: Option<&str>, identity: Option<&Pair>) -> Result<Met, Fail> {
        let target = match identity {
            None => Target::new(self.address, "localhost", &self.authority),
            Some((certificate, key)) => {
                Target::with_identity(self.address, "localhost", &self.authority, certificate, key)
            }
        };
        let target = target.map_err(|e| Fail::explained(500, &e))?;
        let bearer = bearer.map(|key| format!("Bearer {key}"));
        let headers: Vec<(&str, &str)> =
            bearer.iter().map(|value| ("authorization", value.as_str())).collect();
        let host = self.address.ip().to_string();
        let stream = UnixStream::from(relay.connect(Purpose::Probe, &host, self.address.port())?);
        let failed = |e: std::io::Error| Fail::internal("the probe's stream cannot be used", e);
        stream.set_nonblocking(true).map_err(failed)?;
        let met = block_on(async {
            let stream = tokio::net::UnixStream::from_std(stream).map_err(failed)?;
            let call = Call { headers: &headers, ..Call::get(self.path) };
            Ok(request_over(stream, &target, call).await)
        });
        match met.map_err(|e| Fail::internal("no runtime for the probe's calls", e))?? {
            Ok(reply) => Ok(Met::Status(reply.status)),
            Err(error) if matches!(error.tls_refusal(), Some(TlsRefusal::Client(_))) => Ok(Met::NoHandshake),
            Err(error) => Err(unreachable(self, &error)),
        }
    }
}

fn unreachable(listener: &Listener, error: &ClientError) -> Fail {
    Fail::unavailable(format!("{} could not be called", listener.name), base::error::chain(error))
}

/// Calls as each stranger; what was let in is a failure.
pub(super) fn mutual(node: &Arc<Node>) -> Result<Seen, Fail> {
    let Some(plane) = &node.plane else {
        return Ok(Seen::Unknown(
            "this node has no management plane on the network, so services have no certificates: add `[management]` with `listen` to its configuration"
                .to_owned(),
        ));
    };
    let mut evidence = Vec::new();
    let mut listeners = vec![management(plane)?];
    listeners.extend(gateway(node)?);
    let strangers = strangers(node, plane)?;
    for listener in &listeners {
        for (what, identity) in &strangers {
            let met = listener.call(&node.relay, None, identity.as_ref())?;
            match met {
                Met::NoHandshake | Met::Status(401) => {}
                Met::Status(200..=399 | 403) => {
                    let what = format!("{}: {what} is let in: {met:?}", listener.name);
                    return Ok(Seen::Broken(what, evidence));
                }
                Met::Status(status) => {
                    let what =
                        format!("the {} does not say whether it lets in {what}: {status}", listener.name);
                    return Ok(unknown(what, evidence));
                }
            }
        }
        evidence.push(format!(
            "{}: called from this host with {}: refused",
            listener.name,
            strangers.iter().map(|(what, _)| *what).collect::<Vec<_>>().join(", ")
        ));
    }
    evidence.push(itself(node, plane, listeners.first())?);
    let loose = unbound(node, &mut evidence)?;
    let alone = alone(node, &mut evidence)?;
    if let Some(broken) = stolen(node, plane, listeners.first(), &mut evidence)? {
        return Ok(Seen::Broken(broken, evidence));
    }
    if loose > 0 {
        let reason = format!(
            "{loose} keys are good from any host for whoever has them: make others with `strongroom key create --service NAME`, \
             and revoke these with `strongroom key revoke KEY`"
        );
        return Ok(unknown(reason, evidence));
    }
    if alone > 0 {
        let reason = format!(
            "at {alone} egresses jobs speak for themselves, and whether they prove there who they are is not known: make others \
             with `strongroom egress create NAME --as-job --server-ca FILE`, and delete these with `strongroom egress delete NAME`"
        );
        return Ok(unknown(reason, evidence));
    }
    Ok(Seen::Holds(
        "every workload proves who it is by a certificate, and no key is good without one".to_owned(),
        evidence,
    ))
}

fn unknown(reason: impl Into<String>, evidence: Vec<String>) -> Seen {
    Seen::Judged(Outcome { status: Status::Unknown, reason: reason.into(), evidence })
}

fn management(plane: &Plane) -> Result<Listener, Fail> {
    let address = plane.url.strip_prefix("https://").unwrap_or("").parse();
    let address = address.map_err(|e| Fail::internal("the plane's address cannot be read", e))?;
    let authority = plane.authority.clone();
    Ok(Listener { name: "management plane", address, authority, path: "/v1/whoami" })
}

/// The gateway, where it listens.
fn gateway(node: &Node) -> Result<Option<Listener>, Fail> {
    let Some(address) = endpoints::address(node).and_then(|a| a.parse().ok()) else { return Ok(None) };
    let authority = std::fs::read_to_string(node.config.ca_file())
        .map_err(|e| Fail::storage("the gateway's authority cannot be read", e))?;
    Ok(Some(Listener { name: "gateway", address, authority, path: "/v2/models/probe" }))
}

/// Certificate and private key, in PEM.
type Pair = (String, String);

/// A certificate of an authority for one service, good from then on for a minute.
fn certificate(services: &Services, id: &SpiffeId, ago_ms: u64) -> Result<Pair, Fail> {
    let (key, asked) = new_key().map_err(|e| Fail::explained(500, &e))?;
    let proven = ProvenKey::from_request(&asked).map_err(|e| Fail::explained(500, &e))?;
    let at = base::Timestamp::from_millis(now().as_millis().saturating_sub(ago_ms));
    let (pem, _) =
        services.issue(&proven, id, at, at.plus_millis(LIFE_MS)).map_err(|e| Fail::explained(500, &e))?;
    Ok((pem, key.expose(String::clone)))
}

/// The node itself is let in by its certificate, so that the refusals of others say something.
fn itself(node: &Node, plane: &Plane, listener: Option<&Listener>) -> Result<String, Fail> {
    let name: Name = node.config.node.parse().map_err(|e| Fail::internal("the node's name cannot be", e))?;
    let id = plane.services.id_of(Holder::Node(name));
    let own = certificate(&plane.services, &id, 0)?;
    match listener.map(|listener| listener.call(&node.relay, None, Some(&own))).transpose()? {
        Some(Met::Status(200)) => Ok(format!("positive control: {id} is let in, with the role `node`")),
        met => Err(Fail::internal(
            "not even the node's own certificate is let in, so the refusals say nothing",
            format!("{met:?}"),
        )),
    }
}

/// A name that nobody has.
fn nobody() -> Result<Name, Fail> {
    let name = format!("probe-{}", base::digest::hex(&random::<10>()?));
    name.parse().map_err(|e| Fail::internal("a name cannot be", e))
}

/// Those who must not be let in, with what they present.
fn strangers(node: &Node, plane: &Plane) -> Result<Vec<(&'static str, Option<Pair>)>, Fail> {
    // Same names, another authority: its key is made here and gone with this directory.
    let dir = node.config.control_dir().join("probe-authority");
    drop(std::fs::remove_dir_all(&dir));
    let domain = node.config.node.parse().map_err(|e| Fail::internal("the node's name cannot be", e))?;
    let other = Services::open(&dir, &domain, node.config.mode, now());
    drop(std::fs::remove_dir_all(&dir));
    let other = other.map_err(|e| Fail::explained(500, &e))?;
    let nobody = nobody()?;
    let id = plane.services.id(&nobody, &nobody);
    let job = Holder::Job { tenant: nobody.clone(), job: JobId::new(now(), random::<10>()?) };
    let job = plane.services.id_of(job);
    let another = plane.services.id_of(Holder::Node(nobody));
    Ok(vec![
        ("no identity", None),
        ("a certificate of another authority", Some(certificate(&other, &id, 0)?)),
        ("a certificate that has ended", Some(certificate(&plane.services, &id, AGO_MS)?)),
        ("a certificate of a service that does not exist", Some(certificate(&plane.services, &id, 0)?)),
        ("the certificate of a job that does not run", Some(certificate(&plane.services, &job, 0)?)),
        ("the certificate of a node that is not this one", Some(certificate(&plane.services, &another, 0)?)),
    ])
}

/// Makes a service and a key that is bound to it, in a tenant that does not exist, takes the key elsewhere, and removes
/// both again. What was let in, if anything.
fn stolen(
    node: &Node,
    plane: &Plane,
    listener: Option<&Listener>,
    evidence: &mut Vec<String>,
) -> Result<Option<String>, Fail> {
    let Some(listener) = listener else { return Ok(None) };
    let at = now();
    let ends_ms = at.plus_millis(LIFE_MS).as_millis();
    let service = Service {
        tenant: nobody()?,
        name: nobody()?,
        role: KeyRole::Application,
        created_ms: at.as_millis(),
        ends_ms,
        revoked: false,
    };
    let key = ApiKey::new(KeyId::new(at, random::<10>()?), random::<32>()?);
    let record = Key {
        id: key.id(),
        scope: KeyUse::Tenant { tenant: service.tenant.clone(), role: KeyRole::Application },
        name: None,
        mac: base::Digest::from_bytes(key.mac(&node.key_mac_key.0)),
        created_ms: at.as_millis(),
        expires_ms: ends_ms,
        revoked: false,
        service: Some(service.name.clone()),
    };
    let rows = |tx: &store::meta::Tx<'_>| {
        tx.of(&service.tenant).insert(&service)?;
        tx.of(&service.tenant).insert(&record)
    };
    node.meta.transaction::<_, StoreError>(rows).map_err(store_fail)?;
    let met = carry((&node.relay, plane), listener, &service, &key.text());
    let removed = node.meta.transaction::<_, StoreError>(|tx| {
        let rows = tx.of(&service.tenant);
        if let Some(stored) = rows.get::<Key>(&record.id)? {
            rows.delete::<Key>(&record.id, stored.rev)?;
        }
        if let Some(stored) = rows.get::<Service>(&service.name)? {
            rows.delete::<Service>(&service.name, stored.rev)?;
        }
        Ok(())
    });
    removed.map_err(store_fail)?;
    let (alone, by_another, by_own) = met?;
    if alone != Met::Status(401) || by_another != Met::Status(401) {
        return Ok(Some(format!(
            "a key that is bound to a service is good without it: {alone:?}, {by_another:?}"
        )));
    }
    if by_own != Met::Status(200) {
        return Err(Fail::internal(
            "a bound key is not even good with its service, so the refusals say nothing",
            format!("{by_own:?}"),
        ));
    }
    evidence.push(
        "a key bound to a service: refused without a certificate and with that of another service; positive control: with \
         its own it is good"
            .to_owned(),
    );
    Ok(None)
}

/// Calls with a key alone, with the certificate of another service, and with that of its own.
fn carry(
    (relay, plane): (&Relay, &Plane),
    listener: &Listener,
    service: &Service,
    key: &str,
) -> Result<(Met, Met, Met), Fail> {
    let other = nobody()?;
    let own = certificate(&plane.services, &plane.services.id(&service.tenant, &service.name), 0)?;
    let another = certificate(&plane.services, &plane.services.id(&service.tenant, &other), 0)?;
    Ok((
        listener.call(relay, Some(key), None)?,
        listener.call(relay, Some(key), Some(&another))?,
        listener.call(relay, Some(key), Some(&own))?,
    ))
}

/// Egresses at which the platform does not speak in the name of jobs.
fn alone(node: &Node, evidence: &mut Vec<String>) -> Result<usize, Fail> {
    let all = node.every::<NamedEgress>(|_| true)?;
    let alone: Vec<&NamedEgress> = all.iter().filter(|egress| egress.authority.is_none()).collect();
    let named = all.len().saturating_sub(alone.len());
    evidence
        .push(format!("{} named egresses, at {named} of them the relay speaks in the job's name", all.len()));
    if !alone.is_empty() {
        let listed = alone.iter().take(LISTED_MAX).map(|egress| format!("{}/{}", egress.tenant, egress.name));
        evidence.push(format!("jobs speak for themselves at {}", listed.collect::<Vec<_>>().join(", ")));
    }
    Ok(alone.len())
}

/// How many keys are good for whoever has them; the first of them are named.
fn unbound(node: &Node, evidence: &mut Vec<String>) -> Result<usize, Fail> {
    let at = now().as_millis();
    let keys = node.every::<Key>(|key| !key.revoked && key.expires_ms > at)?;
    let loose: Vec<&Key> = keys.iter().filter(|key| key.service.is_none()).collect();
    let bound = keys.len().saturating_sub(loose.len());
    evidence.push(format!("{} keys, of which {bound} are bound to a service", keys.len()));
    if !loose.is_empty() {
        let named = loose.iter().take(LISTED_MAX).map(|key| key.id.to_string());
        evidence.push(format!("not bound: {}", named.collect::<Vec<_>>().join(", ")));
    }
    Ok(loose.len())
}
