//! What the keeper does when it is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use audit::Signer;
use audit::ecdsa::P256Signer;
use base::config::Config;
use base::{Digest, Explain};
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use ops::keeper::{CHECKPOINT_CONTEXT, Generation, Request, Response, Role, Scope, SignKind};
use ops::receipt::{LIFETIME_MS, Receipt};
use ops::{Blob, Key32, Text};
use vault::keys::{
    Dek, FreshDek, KekProvider, ObjectName, ProviderInfo, WrappedKey, object_name, unwrap_dek, wrap_dek,
};
use vault::scope::KeyScope;

use crate::clock;
use crate::error::KeeperError;
use crate::keys::{KeySet, Signing};
use crate::limits::{BUDGET_WINDOW_MS, RELEASES_PER_HOUR};
use crate::log::{Log, Pending};
use crate::policy;
use crate::recovery::Recovery;
use crate::state::State;

/// The public halves and signers of the platform's keys.
pub(crate) struct Signers {
    receipt: Signer,
    checkpoint: Signer,
    model: P256Signer,
    bom: P256Signer,
    policy: P256Signer,
}

impl Signers {
    /// From the key set; the names are those of their public files.
    pub(crate) fn load(keys: &KeySet) -> Result<Self, KeeperError> {
        Ok(Self {
            receipt: keys.signing(Signing::Receipt, |k| Signer::new("receipt", k))??,
            checkpoint: keys.signing(Signing::Checkpoint, |k| Signer::new("checkpoint", k))??,
            model: keys.signing(Signing::Model, P256Signer::new)??,
            bom: keys.signing(Signing::Bom, P256Signer::new)??,
            policy: keys.signing(Signing::Policy, P256Signer::new)??,
        })
    }

    /// Name and content of each public file.
    pub(crate) fn public_files(&self) -> [(&'static str, String); 5] {
        let hex = |s: &Signer| format!("{}\n", base::digest::hex(s.verifier().public()));
        [
            ("receipt.pub", hex(&self.receipt)),
            ("checkpoint.pub", hex(&self.checkpoint)),
            ("oms.pem", self.model.public_pem()),
            ("bom.pem", self.bom.public_pem()),
            ("policy.pem", self.policy.public_pem()),
        ]
    }
}

/// A peer whose role is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) role: Role,
    pub(crate) uid: u32,
}

/// Releases of one tenant in the current window.
struct Budget {
    since_ms: u64,
    used: u32,
}

/// Everything that the operations need.
pub(crate) struct Service {
    config: Config,
    state: State,
    pub(crate) keys: Mutex<KeySet>,
    signers: Signers,
    log: Log,
    budgets: Mutex<BTreeMap<String, Budget>>,
    /// Scopes whose making is not told to its end in the log.
    untold: Mutex<BTreeSet<KeyScope>>,
    /// Safe mode, break-glass, and who may lift them.
    pub(crate) recovery: Mutex<Recovery>,
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key_scope(scope: &Scope) -> Result<KeyScope, KeeperError> {
    let text = scope.to_string();
    text.parse()
        .map_err(|_| KeeperError::Scope(text.chars().take(100).flat_map(char::escape_debug).collect()))
}

/// A refusal as it goes back to whoever asked.
pub(crate) fn refusal(error: &KeeperError) -> Response {
    Response::Refused { code: Text::clip(error.code()), detail: Text::clip(&base::error::chain(error)) }
}

/// Where the root key comes from, in words.
pub(crate) fn provider_text(info: ProviderInfo) -> String {
    let assurance = match info.assurance {
        vault::keys::Assurance::Hardware => "hardware",
        _ => "software",
    };
    let mark = if info.dev { ", simulated (dev)" } else { "" };
    format!("{} ({assurance}{mark})", info.kind)
}

impl Service {
    pub(crate) fn new(
        config: Config,
        state: State,
        mut keys: KeySet,
        signers: Signers,
        log: Log,
        recovery: Recovery,
    ) -> Self {
        if recovery.is_safe() {
            keys.forget_tenants();
        }
        let budgets = Mutex::new(BTreeMap::new());
        let untold = Mutex::new(BTreeSet::new());
        let (keys, recovery) = (Mutex::new(keys), Mutex::new(recovery));
        Self { config, state, keys, signers, log, budgets, untold, recovery }
    }

    pub(crate) const fn state(&self) -> &State {
        &self.state
    }

    /// Unix milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        self.log.identity().clock.wall().as_millis()
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn own_uid(&self) -> u32 {
        self.log.identity().uid
    }

    /// Answers one request of a peer.
    pub(crate) fn answer(&self, peer: Peer, request: Request) -> Response {
        let done = policy::may_ask(peer.role, &request).and_then(|()| self.perform(peer, request));
        done.unwrap_or_else(|error| refusal(&error))
    }

    fn perform(&self, peer: Peer, request: Request) -> Result<Response, KeeperError> {
        match request {
            Request::Hello { .. } => Err(KeeperError::Hello),
            Request::Status {} => Ok(self.status()),
            Request::Append { events } => self.append(peer, events.into_inner(), None),
            Request::AppendBound { events, generation } => {
                self.append(peer, events.into_inner(), Some(&generation))
            }
            Request::Bound {} => Ok(Response::Bound { generation: self.log.generation() }),
            Request::CreateScope { scope, correlation } => self.create_scope(&scope, correlation),
            Request::Wrap { scope, dek, digest } => {
                let dek = dek.expose(|key| FreshDek::take(&mut { *key }));
                self.wrap(&scope, &dek, &digest)
            }
            Request::Unwrap { scope, name, blob, kek_version, actor, purpose, correlation } => {
                let wanted = Release {
                    scope: &scope,
                    name,
                    kek_version,
                    actor: &actor,
                    purpose: &purpose,
                    correlation,
                };
                self.unwrap(&wanted, &blob)
            }
            Request::Sign { kind, digest, tenant, subject, correlation } => {
                self.sign(kind, &digest, &tenant, &subject, correlation)
            }
            Request::Authorise { operation, event } => self.authorise(peer, &operation, event),
            Request::Recovery {} => self.recovery(),
            Request::EnterSafe { reason, actor, correlation } => {
                self.enter_safe(&reason, &actor, correlation)
            }
            Request::Recover { act, proofs, actor, correlation } => {
                self.recover(act, &proofs, &actor, correlation)
            }
            Request::CloseWindow { actor, correlation } => self.close_window(&actor, correlation),
            Request::ObjectName { scope, digest } => {
                let keys = locked(&self.keys);
                let name = object_name(&keys.scope(&key_scope(&scope)?)?.address, &digest);
                Ok(Response::Named { name: name.into() })
            }
        }
    }

    fn status(&self) -> Response {
        let (head, identity) = (self.log.head(), self.log.identity());
        Response::Status {
            log_size: head.size.get(),
            log_root: head.root,
            boot_id: identity.boot_id,
            receipt_key: *self.signers.receipt.verifier().public(),
            log_key: Text::clip(&identity.key.to_string()),
            key_provider: Text::clip(&provider_text(self.state.root.describe())),
            separated: policy::separated(&self.config.users, identity.uid),
        }
    }

    fn append(
        &self,
        peer: Peer,
        events: Vec<Event>,
        generation: Option<&Generation>,
    ) -> Result<Response, KeeperError> {
        for event in &events {
            policy::may_report(peer.role, event.kind)?;
        }
        let sender = peer.role.name();
        let pending = events.into_iter().map(|event| Pending {
            event,
            sender,
            sender_uid: peer.uid,
            generation: generation.cloned(),
        });
        let pending = pending.collect();
        Ok(Response::Appended { first: self.log.append(pending)? })
    }

    /// One entry of the keeper's own, durable when this returns.
    pub(crate) fn record(&self, event: Event) -> Result<u64, KeeperError> {
        Ok(self.log.append_own(vec![event])?)
    }

    pub(crate) fn event(&self, kind: EventKind, outcome: Outcome, correlation: u128) -> Event {
        Event::new(kind, Phase::Outcome, outcome, self.now_ms(), correlation)
    }

    fn create_scope(&self, scope: &Scope, correlation: u128) -> Result<Response, KeeperError> {
        let scope = key_scope(scope)?;
        let known = locked(&self.keys).scope(&scope).map(|keys| keys.version).ok();
        if let Some(kek_version) = known
            && !locked(&self.untold).contains(&scope)
        {
            return Ok(Response::ScopeReady { kek_version });
        }
        let event = |phase, outcome| {
            Event { phase, ..self.event(EventKind::ScopeCreate, outcome, correlation) }
                .tenant(scope.tenant().as_str())
                .asset("key_scope", &scope.to_string(), None)
        };
        // No keys without a durable intent; and as long as their outcome is not in the log, asking again logs it. After
        // a restart the log itself closes an intent without outcome.
        self.record(event(Phase::Intent, Outcome::Unknown))?;
        locked(&self.untold).insert(scope.clone());
        let made = self.make_scope(&scope);
        let outcome = match &made {
            Ok(version) => {
                event(Phase::Outcome, Outcome::Success).detail("kek_version", &version.to_string())
            }
            Err(error) => event(Phase::Outcome, Outcome::Failure).because(&base::error::chain(error)),
        };
        self.record(outcome)?;
        locked(&self.untold).remove(&scope);
        Ok(Response::ScopeReady { kek_version: made? })
    }

    fn make_scope(&self, scope: &KeyScope) -> Result<u64, KeeperError> {
        let mut keys = locked(&self.keys);
        keys.create(&self.state, scope)?;
        Ok(keys.scope(scope)?.version)
    }

    fn wrap(&self, scope: &Scope, dek: &FreshDek, digest: &Digest) -> Result<Response, KeeperError> {
        let scope = key_scope(scope)?;
        let (name, kek_version, blob) = {
            let keys = locked(&self.keys);
            let of_scope = keys.scope(&scope)?;
            let name = object_name(&of_scope.address, digest);
            // The sealing was done by whoever sent the key: to the keeper it is a key that opens.
            let dek = dek.expose(|key| Dek::take(&mut { *key }));
            let blob = wrap_dek(&of_scope.kek, &scope, of_scope.version, &name, &dek, clock::random()?)?;
            (name, of_scope.version, blob)
        };
        let event = self
            .event(EventKind::KeyWrap, Outcome::Success, 0)
            .tenant(scope.tenant().as_str())
            .asset("object", &name.to_string(), None)
            .detail("scope", &scope.to_string());
        self.record(event)?;
        Ok(Response::Wrapped { name: name.into(), kek_version, blob: *blob.as_bytes() })
    }

    fn unwrap(&self, wanted: &Release<'_>, blob: &[u8; 60]) -> Result<Response, KeeperError> {
        let scope = key_scope(wanted.scope)?;
        let opened = self.spend(scope.tenant().as_str()).and_then(|()| self.open(&scope, wanted, blob));
        let event = |kind, outcome| {
            self.event(kind, outcome, wanted.correlation)
                .tenant(scope.tenant().as_str())
                .actor(wanted.actor)
                .asset("object", &ObjectName::from(wanted.name).to_string(), None)
                .detail("scope", &scope.to_string())
                .detail("purpose", wanted.purpose)
                .detail("kek_version", &wanted.kek_version.to_string())
        };
        match opened {
            Ok(dek) => {
                // Durable first, released after.
                let index = self.record(event(EventKind::KeyRelease, Outcome::Success))?;
                Ok(Response::Unwrapped { dek: dek.expose(Key32::new), index })
            }
            Err(error) => {
                let exhausted = matches!(error, KeeperError::Budget(_));
                let kind = if exhausted { EventKind::BudgetExhausted } else { EventKind::KeyRelease };
                let refused =
                    event(kind, Outcome::Refused).severity(Severity::High).because(&error.to_string());
                self.record(refused)?;
                Err(error)
            }
        }
    }

    fn open(&self, scope: &KeyScope, wanted: &Release<'_>, blob: &[u8; 60]) -> Result<Dek, KeeperError> {
        let keys = locked(&self.keys);
        let of_scope = keys.scope(scope)?;
        if of_scope.version != wanted.kek_version {
            return Err(KeeperError::KeyVersion(wanted.kek_version));
        }
        let (name, blob) = (ObjectName::from(wanted.name), WrappedKey::from_slice(blob)?);
        Ok(unwrap_dek(&of_scope.kek, scope, of_scope.version, &name, &blob)?)
    }

    /// Counts a release against the tenant's budget, failed ones too: guessing costs as much.
    fn spend(&self, tenant: &str) -> Result<(), KeeperError> {
        let now = self.log.identity().clock.mono_ns() / 1_000_000;
        let mut budgets = locked(&self.budgets);
        if !budgets.contains_key(tenant) {
            // Only tenants that exist have a budget, so that asking for others does not fill memory.
            let scope = key_scope(&Scope { tenant: Text::clip(tenant), job: None })?;
            locked(&self.keys).scope(&scope)?;
        }
        let budget = budgets.entry(tenant.to_owned()).or_insert(Budget { since_ms: now, used: 0 });
        if now.saturating_sub(budget.since_ms) >= BUDGET_WINDOW_MS {
            *budget = Budget { since_ms: now, used: 0 };
        }
        if budget.used >= RELEASES_PER_HOUR {
            return Err(KeeperError::Budget(tenant.to_owned()));
        }
        budget.used = budget.used.saturating_add(1);
        Ok(())
    }

    fn sign(
        &self,
        kind: SignKind,
        digest: &Digest,
        tenant: &str,
        subject: &str,
        correlation: u128,
    ) -> Result<Response, KeeperError> {
        self.may_sign(kind)?;
        let event = self.event(EventKind::Sign, Outcome::Success, correlation).tenant(tenant).asset(
            kind.name(),
            subject,
            Some(*digest),
        );
        let index = self.record(event)?;
        let signature = match kind {
            SignKind::Model => self.signers.model.sign(digest)?,
            SignKind::Bom => self.signers.bom.sign(digest)?,
            SignKind::Policy => self.signers.policy.sign(digest)?,
            SignKind::Checkpoint => {
                let mut message = CHECKPOINT_CONTEXT.to_vec();
                message.extend_from_slice(digest.as_bytes());
                self.signers.checkpoint.sign_raw(&message).to_vec()
            }
        };
        let signature = Blob::new(signature).map_err(|_| audit::NoteError::PrivateKey)?;
        Ok(Response::Signed { signature, index })
    }

    fn authorise(&self, peer: Peer, operation: &Digest, event: Event) -> Result<Response, KeeperError> {
        if event.phase != Phase::Intent {
            return Err(KeeperError::NotIntent);
        }
        policy::may_report(peer.role, event.kind)?;
        let event = event.detail("operation", &operation.hex());
        let pending = Pending { event, sender: peer.role.name(), sender_uid: peer.uid, generation: None };
        let index = self.log.append(vec![pending])?;
        let boot_id = self.log.identity().boot_id;
        let expires_ms = clock::boot_ms().saturating_add(LIFETIME_MS);
        let signed = Receipt::signed_bytes(index, expires_ms, operation, &boot_id);
        let signature = self.signers.receipt.sign_raw(&signed);
        let receipt = Receipt { index, expires_ms, operation: *operation, boot_id, signature };
        Ok(Response::Authorised { receipt })
    }
}

/// What an `Unwrap` asks for.
struct Release<'a> {
    scope: &'a Scope,
    name: Digest,
    kek_version: u64,
    actor: &'a str,
    purpose: &'a str,
    correlation: u128,
}
