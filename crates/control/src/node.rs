//! What all parts of control share: the other processes, the store, and the objects in it.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::config::Config;
use base::id::{CorrelationId, KeyId};
use base::names::Name;
use base::{Digest, Secret, Timestamp};
use store::objects::{Commit, Seal, Staged};
use store::records::{ApiKey, KeyGroup, Object};
use store::{MetaStore, ObjectStore, PageRequest, Stage, StoreError};
use vault::{ChunkSize, Content, KeyScope, ObjectName, WrappedKey};

use net::identity::Services;

use crate::auth::RefusalLog;
use crate::clock::{now, random};
use crate::endpoints::Endpoints;
use crate::hostfacts::HostFacts;
use crate::imports::Imports;
use crate::jobs::Jobs;
use crate::keeper::{Keeper, Wrapped, keeper_scope};
use crate::keygroups::{Groups, KeyRing, Member, ObjectKey, Use};
use crate::plane::Plane;
use crate::warden::Warden;
use crate::{Fail, posture};

/// The node as control sees it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) keeper: Keeper,
    pub(crate) warden: Warden,
    pub(crate) meta: MetaStore,
    pub(crate) objects: ObjectStore,
    pub(crate) facts: HostFacts,
    pub(crate) keys: PublicKeys,
    /// Key under which API keys are hashed; kept in the encrypted database's directory, sealed by the keeper.
    pub(crate) key_mac_key: ops::snapshot::MacKey,
    /// Who may do what.
    pub(crate) policies: crate::policies::InForce,
    /// Safe mode and break-glass.
    pub(crate) recovery: crate::recovery::Recovery,
    pub(crate) refusals: RefusalLog,
    /// The authority of services, workloads and the node.
    pub(crate) services: Arc<Services>,
    /// The management plane, if it listens.
    pub(crate) plane: Option<Plane>,
    pub(crate) imports: Imports,
    pub(crate) jobs: Jobs,
    pub(crate) endpoints: Endpoints,
    pub(crate) posture: posture::LastRun,
    /// What the gateway may send, and told of it.
    pub(crate) granting: crate::egress::Granting,
    /// What the relay may send, and told of it.
    pub(crate) relaying: crate::egress::Granting,
    /// The only way of this process to the network.
    pub(crate) relay: Arc<crate::relay::Relay>,
    /// Whether the kernel keeps this process from making connections of its own.
    pub(crate) connects_nowhere: bool,
    pub(crate) gate: crate::http::Gate,
    /// How often each caller asked lately.
    pub(crate) rates: crate::http::Rates,
    /// Requests under way that may be asked for once more.
    pub(crate) repeats: crate::http::Repeats,
    /// When sessions were last used.
    pub(crate) seen: crate::people::Seen,
    /// The OpenID provider that people may log in by.
    pub(crate) oidc: Option<crate::people::Oidc>,
    /// Logins under way.
    pub(crate) logins: crate::people::Attempts,
    /// What browsers are doing for logins and enrolments.
    pub(crate) ceremonies: crate::people::Ceremonies,
    pub(crate) placing: Placing,
    /// Programs of the release that is to be staged.
    pub(crate) uploads: crate::releases::Uploads,
    /// Held while an image is unpacked to be looked at.
    pub(crate) surveys: Mutex<()>,
    /// Data sets whose files are being recognised.
    pub(crate) recognitions: crate::recognition::Turns,
    pub(crate) groups: Groups,
    /// Held from choosing a model's version until it is registered: a job must not lose its result to another that
    /// finished at the same moment.
    pub(crate) registering: Mutex<()>,
    /// Set when this process was told to end: what ends from then on ended with the node.
    pub(crate) leaving: std::sync::atomic::AtomicBool,
}

/// Locks that let one thread at a time place, replace or set aside an object of one digest: between looking for it
/// and recording its key, another thread must not put its own bytes, sealed under another key, in the same place.
#[derive(Debug, Default)]
pub(crate) struct Placing([Mutex<()>; 16]);

impl Placing {
    /// Waits for the turn of this digest. Digests that share a lock only wait longer.
    fn turn(&self, digest: &Digest) -> MutexGuard<'_, ()> {
        let [first, ..] = digest.as_bytes();
        let [lock, ..] = &self.0;
        let lock = self.0.get(usize::from(first % 16)).unwrap_or(lock);
        lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Public keys of the keeper, as it publishes them beside the log.
#[derive(Debug, Clone)]
pub(crate) struct PublicKeys {
    pub(crate) model_pem: String,
    pub(crate) bom_pem: String,
    pub(crate) policy_pem: String,
    /// Ed25519, 32 bytes.
    pub(crate) checkpoint: [u8; 32],
}

/// A sealed object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SealedObject {
    pub(crate) digest: Digest,
    pub(crate) len: u64,
}

/// A key for the store's own use, kept sealed in a file beside it: made once, released by the keeper at each start.
pub(crate) fn local_key(keeper: &Keeper, path: &Path, purpose: &'static str) -> Result<[u8; 32], Fail> {
    let scope = ops::keeper::Scope { tenant: ops::Text::clip(vault::scope::NODE), job: None };
    let digest = base::sha256(purpose.as_bytes());
    let correlation = correlation()?;
    match std::fs::read(path) {
        Ok(bytes) => {
            let (version, rest) = bytes.split_at_checked(8).ok_or_else(|| damaged(path))?;
            let (name, blob) = rest.split_at_checked(32).ok_or_else(|| damaged(path))?;
            let wrapped = Wrapped {
                name: Digest::from_bytes(name.try_into().map_err(|_| damaged(path))?),
                kek_version: u64::from_le_bytes(version.try_into().map_err(|_| damaged(path))?),
                blob: blob.try_into().map_err(|_| damaged(path))?,
            };
            keeper.unwrap(scope, &wrapped, "platform", purpose, correlation).map(|key| key.expose(|key| *key))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = random::<32>()?;
            keeper.create_scope(scope.clone(), correlation)?;
            let wrapped = keeper.wrap(scope, &key, digest)?;
            let mut bytes = wrapped.kek_version.to_le_bytes().to_vec();
            bytes.extend_from_slice(wrapped.name.as_bytes());
            bytes.extend_from_slice(&wrapped.blob);
            net::ca::replace(path, &bytes, 0o600)
                .map_err(|e| Fail::storage("a key of the node could not be kept", e))?;
            Ok(key)
        }
        Err(error) => Err(Fail::storage("a key of the node could not be read", error)),
    }
}

fn damaged(path: &Path) -> Fail {
    Fail::internal("a key file of the node is damaged", path.display())
}

/// A new correlation id.
pub(crate) fn correlation() -> Result<u128, Fail> {
    Ok(CorrelationId::new(now(), random::<10>()?).bits())
}

impl Node {
    /// Seals a stream under a scope: one pass, bounded memory, durable when this returns. An object that is there
    /// already is not kept twice.
    pub(crate) fn seal(
        &self,
        scope: &KeyScope,
        source: &mut impl Read,
        limit: u64,
    ) -> Result<SealedObject, Fail> {
        let Member { wrapped, group, dek } = self.groups.member(&self.keeper, scope)?;
        let seal = Seal {
            scope: scope.clone(),
            dek,
            salt: random::<32>()?,
            chunk: ChunkSize::default(),
            content: Content::Unknown,
            limit_bytes: limit,
        };
        let mut import = self.objects.import(seal).map_err(store_fail)?;
        import.read_from(source).map_err(store_fail)?;
        let Staged { stage, digest, len, .. } = import.finish().map_err(store_fail)?;
        self.groups.sealed(scope, &group, len);
        let _turn = self.placing.turn(&digest);
        if self.is_kept(scope, &digest)?.is_none() {
            let name = self.keeper.object_name(keeper_scope(scope), digest)?;
            self.place(scope, stage, (digest, len), name, &wrapped, Some(group))?;
        }
        Ok(SealedObject { digest, len })
    }

    /// Makes a filled stage an object: wraps its key, places it, records it.
    pub(crate) fn adopt(
        &self,
        scope: &KeyScope,
        stage: Stage,
        digest: Digest,
        len: u64,
        dek: &[u8; 32],
    ) -> Result<ObjectName, Fail> {
        let _turn = self.placing.turn(&digest);
        if let Some(name) = self.is_kept(scope, &digest)? {
            return Ok(name);
        }
        let wrapped = self.keeper.wrap(keeper_scope(scope), dek, digest)?;
        let name = ObjectName::from(wrapped.name);
        self.place(scope, stage, (digest, len), name, &wrapped, None)?;
        Ok(name)
    }

    /// Name of the object with this content, if it is there and may be used.
    fn is_kept(&self, scope: &KeyScope, digest: &Digest) -> Result<Option<ObjectName>, Fail> {
        let key = (scope.clone(), *digest);
        let known = self.meta.read(|tx| tx.of(scope.tenant()).get::<Object>(&key)).map_err(store_fail)?;
        let Some(known) = known.filter(|known| known.record.quarantined.is_none()) else { return Ok(None) };
        let there = self.objects.contains(&known.record.name).map_err(store_fail)?;
        Ok(there.then_some(known.record.name))
    }

    /// Puts a stage in its place and records what opens it. The caller has the turn of this digest.
    fn place(
        &self,
        scope: &KeyScope,
        stage: Stage,
        (digest, len): (Digest, u64),
        name: ObjectName,
        wrapped: &Wrapped,
        group: Option<KeyGroup>,
    ) -> Result<(), Fail> {
        let key = (scope.clone(), digest);
        if let Commit::Exists(stage) = stage.commit(&name).map_err(store_fail)? {
            // No record knows its key (it was never acknowledged), or it was set aside: it is replaced.
            self.objects.discard(&name).map_err(store_fail)?;
            if let Commit::Exists(_) = stage.commit(&name).map_err(store_fail)? {
                return Err(Fail::conflict("the same content is being stored twice at once; try again"));
            }
        }
        let record = Object {
            scope: scope.clone(),
            digest,
            name,
            kek_version: wrapped.kek_version,
            wrapped: WrappedKey::from_slice(&wrapped.blob).map_err(|e| Fail::explained(500, &e))?,
            len,
            created_ms: now().as_millis(),
            quarantined: None,
            group,
        };
        self.meta
            .transaction(|tx| {
                let rows = tx.of(scope.tenant());
                match rows.get::<Object>(&key)? {
                    Some(mut stored) => {
                        stored.record = record;
                        rows.update(&stored)
                    }
                    None => rows.insert(&record),
                }
            })
            .map_err(store_fail)
    }

    /// The ciphertext of an object and what opens it.
    pub(crate) fn open_object(&self, scope: &KeyScope, digest: &Digest) -> Result<(ObjectKey, File), Fail> {
        let record = self.object(scope, digest)?;
        if let Some(reason) = &record.quarantined {
            return Err(Fail::refused("SR-CTL-0010", format!("the object is in quarantine: {reason}")));
        }
        let file = self.objects.open_ciphertext(&record.name).map_err(store_fail)?;
        let wrapped = Wrapped::of(&record);
        Ok((ObjectKey { wrapped, salt: record.group.map(|group| group.salt) }, file))
    }

    /// The record of an object.
    pub(crate) fn object(&self, scope: &KeyScope, digest: &Digest) -> Result<Object, Fail> {
        let key = (scope.clone(), *digest);
        let stored = self.meta.read(|tx| tx.of(scope.tenant()).get::<Object>(&key)).map_err(store_fail)?;
        Ok(stored.ok_or_else(|| Fail::not_found("object", &digest.short()))?.record)
    }

    /// Opens an object and reads it whole, verifying every chunk: for checks that control itself makes.
    pub(crate) fn reader(
        &self,
        scope: &KeyScope,
        digest: &Digest,
        ring: &mut KeyRing,
        why: Use<'_>,
    ) -> Result<store::SefReader, Fail> {
        let (key, file) = self.open_object(scope, digest)?;
        let dek = ring.release(&self.keeper, scope, &key, why)?;
        store::SefReader::open(file, &dek, scope, digest).map_err(store_fail)
    }

    /// Sets an object aside as evidence; nothing opens it any more.
    pub(crate) fn quarantine(&self, scope: &KeyScope, digest: &Digest, reason: &str) -> Result<(), Fail> {
        let key = (scope.clone(), *digest);
        let _turn = self.placing.turn(digest);
        let name = self
            .meta
            .transaction(|tx| {
                let rows = tx.of(scope.tenant());
                let Some(mut stored) = rows.get::<Object>(&key)? else { return Ok(None) };
                stored.record.quarantined = Some(reason.to_owned());
                rows.update(&stored)?;
                Ok(Some(stored.record.name))
            })
            .map_err(store_fail)?;
        match name.map(|n| self.objects.quarantine(&n)) {
            None | Some(Ok(_) | Err(StoreError::Missing { .. })) => Ok(()),
            Some(Err(error)) => Err(store_fail(error)),
        }
    }

    /// Every record of a kind that is wanted, over all owners and pages: for the platform's own work, never to answer
    /// a tenant.
    pub(crate) fn every<R: store::meta::Record>(&self, wanted: impl Fn(&R) -> bool) -> Result<Vec<R>, Fail> {
        let mut found = Vec::new();
        let mut request = PageRequest { limit: 100, ..PageRequest::default() };
        loop {
            let page = self.meta.read(|tx| tx.list_all::<R>(&request)).map_err(store_fail)?;
            found.extend(page.items.into_iter().map(|s| s.record).filter(|r| wanted(r)));
            match page.next {
                Some(next) => request.after = Some(next),
                None => return Ok(found),
            }
        }
    }

    /// The record of an API key.
    pub(crate) fn api_key(&self, id: KeyId) -> Result<Option<crate::keys::Known>, Fail> {
        let stored = self.meta.read(|tx| tx.find::<ApiKey>(&id)).map_err(store_fail)?;
        Ok(stored.and_then(|s| crate::keys::Known::of(&s.record)))
    }

    /// The tenant, if it exists.
    pub(crate) fn tenant(&self, name: &Name) -> Result<store::records::Tenant, Fail> {
        let stored =
            self.meta.read(|tx| tx.platform().get::<store::records::Tenant>(name)).map_err(store_fail)?;
        Ok(stored.ok_or_else(|| Fail::not_found("tenant", name.as_str()))?.record)
    }
}

/// A failure of the store, as the caller is told.
#[expect(clippy::needless_pass_by_value, reason = "the form that `map_err` takes")]
pub(crate) fn store_fail(error: StoreError) -> Fail {
    match &error {
        StoreError::Full { .. } => Fail::storage(error.to_string(), "nothing was kept of what was begun"),
        StoreError::TooLarge { .. } => Fail::too_large(error.to_string()),
        StoreError::Source(source) => {
            Fail::invalid(format!("what is to be imported could not be read: {source}"))
        }
        StoreError::Exists { .. } | StoreError::Changed { .. } => Fail::conflict(error.to_string()),
        StoreError::Missing { .. } | StoreError::Sealed(_) => Fail::explained(422, &error),
        _ => Fail::explained(500, &error),
    }
}

/// Opens the database under its own key.
pub(crate) fn open_meta(keeper: &Keeper, dir: &Path) -> Result<MetaStore, Fail> {
    let key = Secret::new(local_key(keeper, &dir.join("metadata.key"), "metadata database")?);
    MetaStore::open(&dir.join("metadata.db"), &key).map_err(store_fail)
}

/// RFC 3339.
pub(crate) fn time(ms: u64) -> String {
    Timestamp::from_millis(ms).to_string()
}
