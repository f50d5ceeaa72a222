//! The policy in force, and who a key is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use base::id::KeyId;
use base::{Digest, Timestamp};
use net::apikey::ApiKey;
use net::identity::SpiffeId;
use net::lease::{Held, Lease, Leases};
use ops::snapshot::{Endpoint, Key, Snapshot};

use crate::clock;
use crate::limits::ADMITTED_MAX;
use crate::problem::Refusal;
use crate::quota::Usage;
use crate::refused::Denied;
use crate::upstream::Upstream;

/// One endpoint and the way to it.
#[derive(Debug)]
pub(crate) struct Served {
    /// As control describes it.
    pub(crate) endpoint: Endpoint,
    /// Connections to its model.
    pub(crate) upstream: Upstream,
}

/// One key and what it uses.
#[derive(Debug)]
pub(crate) struct Holder {
    /// As control describes it.
    pub(crate) key: Key,
    /// Its quota.
    pub(crate) usage: Arc<Usage>,
    /// The bytes of answers that it may still get.
    pub(crate) lease: Arc<Lease>,
}

/// A snapshot, indexed.
pub(crate) struct Policy {
    generation: u64,
    expires: Timestamp,
    mac_key: base::Secret<[u8; 32]>,
    keys: BTreeMap<u128, Arc<Holder>>,
    endpoints: BTreeMap<u128, Arc<Served>>,
}

/// The policy in force and what outlives its replacement.
#[derive(Default)]
pub(crate) struct Policies {
    current: RwLock<Option<Arc<Policy>>>,
    /// Pairs of key and endpoint whose admission is durable in the audit log.
    admitted: Mutex<BTreeSet<(u128, u128, Digest)>>,
}

impl Policies {
    /// The policy, if there is one that is valid now.
    pub(crate) fn current(&self, now: Timestamp) -> Result<Arc<Policy>, Refusal> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        current.filter(|policy| now < policy.expires).ok_or(Refusal::NoPolicy)
    }

    /// The generation in force, 0 for none.
    pub(crate) fn generation(&self) -> u64 {
        self.current.read().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, |p| p.generation)
    }

    /// Puts a snapshot in force, keeping the use of keys and the connections of endpoints that stay.
    ///
    /// # Errors
    /// Why it cannot be in force.
    pub(crate) fn replace(
        &self,
        snapshot: Snapshot,
        endpoints_dir: &Path,
        leases: &Leases,
    ) -> Result<(), String> {
        let mut slot = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let old = slot.as_deref();
        if let Some(old) = old
            && snapshot.generation <= old.generation
        {
            return Err(format!("generation {} is not above {}", snapshot.generation, old.generation));
        }
        let mut endpoints = BTreeMap::new();
        for endpoint in snapshot.endpoints.into_inner() {
            let path = socket_path(endpoints_dir, &endpoint.socket)?;
            let kept = old.and_then(|old| old.endpoints.get(&endpoint.id)).filter(|o| o.endpoint == endpoint);
            let served = kept.cloned().unwrap_or_else(|| {
                Arc::new(Served { upstream: Upstream::new(path), endpoint: endpoint.clone() })
            });
            if endpoints.insert(endpoint.id, served).is_some() {
                return Err("an endpoint stands twice in it".to_owned());
            }
        }
        let mut keys = BTreeMap::new();
        for key in snapshot.keys.into_inner() {
            let kept = old.and_then(|old| old.keys.get(&key.id));
            let (usage, lease) = kept.map_or_else(
                || (Arc::new(Usage::new(key.requests_per_minute, clock::tick())), leases.lease()),
                |o| (Arc::clone(&o.usage), Arc::clone(&o.lease)),
            );
            if keys.insert(key.id, Arc::new(Holder { key, usage, lease })).is_some() {
                return Err("a key stands twice in it".to_owned());
            }
        }
        *slot = Some(Arc::new(Policy {
            generation: snapshot.generation,
            expires: Timestamp::from_millis(snapshot.expires_ms),
            mac_key: base::Secret::new(snapshot.key_mac_key.0),
            keys,
            endpoints,
        }));
        Ok(())
    }

    /// Whether the admission of this pair, for this model, is durable already.
    pub(crate) fn is_admitted(&self, key: u128, served: &Served) -> bool {
        let pair = (key, served.endpoint.id, served.endpoint.model_digest);
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner).contains(&pair)
    }

    /// Remembers that the admission is durable. When too many are remembered, they are all logged again.
    pub(crate) fn admit(&self, key: u128, served: &Served) {
        let mut admitted = self.admitted.lock().unwrap_or_else(PoisonError::into_inner);
        if admitted.len() >= ADMITTED_MAX {
            admitted.clear();
        }
        admitted.insert((key, served.endpoint.id, served.endpoint.model_digest));
    }
}

/// Of the keys in force, whether the policy has ended or not.
impl Held for Policies {
    fn leases(&self) -> Vec<(u128, Arc<Lease>)> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        let keys = current.iter().flat_map(|policy| policy.keys.iter());
        keys.map(|(id, holder)| (*id, Arc::clone(&holder.lease))).collect()
    }

    fn lease(&self, key: u128) -> Option<Arc<Lease>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        current.and_then(|policy| policy.keys.get(&key).map(|holder| Arc::clone(&holder.lease)))
    }
}

/// A plain file name below the directory of endpoint sockets, nothing else.
fn socket_path(dir: &Path, name: &str) -> Result<PathBuf, String> {
    let plain = !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if plain { Ok(dir.join(name)) } else { Err("an endpoint's socket is not a plain file name".to_owned()) }
}

impl Policy {
    /// Who presents this key, on a connection with the certificate of this service.
    ///
    /// # Errors
    /// [`Denied`], after the same work whether the key exists or not.
    pub(crate) fn holder(
        &self,
        presented: &str,
        by: impl FnOnce() -> Option<SpiffeId>,
        now: Timestamp,
    ) -> Result<Arc<Holder>, Denied> {
        let presented = ApiKey::parse(presented).map_err(|_| Denied::NoKey)?;
        let mac = self.mac_key.expose(|key| presented.mac(key));
        let found = self.keys.get(&presented.id().bits());
        let stored = found.map_or([0; 32], |holder| holder.key.mac);
        let matches = base::digest::ct_eq(&mac, &stored);
        let holder = found.map(Arc::clone).ok_or(Denied::UnknownKey)?;
        if !matches {
            return Err(Denied::WrongSecret(holder));
        }
        let key = &holder.key;
        let ended = key.expires_ms != 0 && now.as_millis() >= key.expires_ms;
        if key.revoked || ended {
            return Err(Denied::EndedKey(holder));
        }
        // RFC 8705 section 3: whoever took the key and has not the service's private key has nothing.
        let bound = !key.service.is_empty();
        let by_its_service =
            || by().is_some_and(|id| id.is_service(key.tenant.as_str(), key.service.as_str()));
        if bound && !by_its_service() { Err(Denied::WithoutService(holder)) } else { Ok(holder) }
    }

    /// The endpoint of this name, if the key opens it and both belong to one tenant.
    ///
    /// # Errors
    /// [`Denied::Elsewhere`], whatever the reason.
    pub(crate) fn served(
        &self,
        holder: &Arc<Holder>,
        name: &str,
        version: Option<&str>,
    ) -> Result<Arc<Served>, Denied> {
        let denied = || Denied::Elsewhere(Arc::clone(holder));
        let served = self.endpoints.get(&holder.key.endpoint).ok_or_else(denied)?;
        let endpoint = &served.endpoint;
        let hers = endpoint.tenant == holder.key.tenant;
        let named = endpoint.name.as_str() == name && version.is_none_or(|v| v == endpoint.version.as_str());
        if hers && named { Ok(Arc::clone(served)) } else { Err(denied()) }
    }
}

/// The key as it stands in events.
pub(crate) fn actor(holder: &Holder) -> String {
    KeyId::from_bits(holder.key.id).to_string()
}
