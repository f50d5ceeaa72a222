//! The keeper as control uses it: a few connections, events as intent and outcome, keys and signatures.

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use base::Digest;
use link::{KeeperClient, KeeperError, LinkError};
use ops::event::{Event, Outcome, Phase};
use ops::keeper::{Request, Response, Role, Scope};
use ops::{Key32, Text};
use store::records::Object;
use store::{Current, Generation};
use vault::ObjectName;

use crate::Fail;
use crate::clock::now;

/// Connections kept open for parallel requests.
const IDLE_MAX: usize = 8;
/// Longest wait for an answer: a commit takes milliseconds; a stalled disk is told apart from a slow one here.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Connections to the keeper.
#[derive(Debug)]
pub(crate) struct Keeper {
    socket: PathBuf,
    idle: Mutex<Vec<KeeperClient>>,
    /// The generation of the metadata database, told with every event once the database is open.
    generation: OnceLock<Current>,
}

/// A key scope, as the keeper is told.
pub(crate) fn keeper_scope(scope: &vault::KeyScope) -> Scope {
    match scope {
        vault::KeyScope::Tenant(tenant) => Scope::tenant(tenant),
        vault::KeyScope::Job(tenant, job) => Scope::job(tenant, *job),
    }
}

/// State of the keeper.
#[derive(Debug, Clone)]
pub(crate) struct KeeperStatus {
    pub(crate) log_size: u64,
    pub(crate) log_root: Digest,
    pub(crate) log_key: String,
    pub(crate) key_provider: String,
    pub(crate) separated: bool,
}

/// A wrapped data key and the object's name.
#[derive(Debug, Clone)]
pub(crate) struct Wrapped {
    pub(crate) name: Digest,
    pub(crate) kek_version: u64,
    pub(crate) blob: [u8; 60],
}

impl Wrapped {
    /// The key that the record of an object holds: its own, or that of its group, which is wrapped under the group's name.
    pub(crate) fn of(object: &Object) -> Self {
        Self {
            name: Digest::from(object.group.as_ref().map_or(object.name, |group| group.name)),
            kek_version: object.kek_version,
            blob: *object.wrapped.as_bytes(),
        }
    }
}

impl Keeper {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket, idle: Mutex::new(Vec::new()), generation: OnceLock::new() }
    }

    fn take(&self) -> Result<KeeperClient, KeeperError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(client) => Ok(client),
            None => KeeperClient::connect(&self.socket, Role::Control, ANSWER_TIMEOUT),
        }
    }

    /// One question. A connection that the keeper closed (it was restarted) is replaced once: every operation
    /// may be asked again, an event that was appended twice is told by its correlation id.
    pub(crate) fn call(&self, request: &Request) -> Result<Response, Fail> {
        let mut fresh = false;
        loop {
            let client = self.take().map_err(fail)?;
            match client.call(request) {
                Err(KeeperError::Link(LinkError::Closed | LinkError::Poisoned)) if !fresh => {
                    self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
                    fresh = true;
                }
                answer => {
                    let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                    if client.is_usable() && idle.len() < IDLE_MAX {
                        idle.push(client);
                    }
                    return answer.map_err(fail);
                }
            }
        }
    }

    pub(crate) fn status(&self) -> Result<KeeperStatus, Fail> {
        match self.call(&Request::Status {})? {
            Response::Status { log_size, log_root, log_key, key_provider, separated, .. } => {
                Ok(KeeperStatus {
                    log_size,
                    log_root,
                    log_key: log_key.as_str().to_owned(),
                    key_provider: key_provider.as_str().to_owned(),
                    separated,
                })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// From now on the generation of the database is told with every event.
    pub(crate) fn bind(&self, generation: Current) {
        // There is one database, opened once.
        self.generation.set(generation).unwrap_or_default();
    }

    /// The newest generation of the database in the log.
    pub(crate) fn bound(&self) -> Result<Option<Generation>, Fail> {
        match self.call(&Request::Bound {})? {
            Response::Bound { generation } => Ok(generation.map(|g| Generation { g: g.g, hash: g.hash })),
            other => Err(unexpected(&other)),
        }
    }

    /// Appends one event; it is durable when this returns its index.
    pub(crate) fn append(&self, event: Event) -> Result<u64, Fail> {
        let events = ops::List::clip(vec![event]);
        let request = match self.generation.get().map(Current::get) {
            // A change is durable before its generation can be read, so what is told here was never ahead of the disk.
            Some(Generation { g, hash }) => {
                Request::AppendBound { events, generation: ops::keeper::Generation { g, hash } }
            }
            None => Request::Append { events },
        };
        match self.call(&request)? {
            Response::Appended { first } => Ok(first),
            other => Err(unexpected(&other)),
        }
    }

    /// Intent, effect, outcome. Without a durable intent there is no effect; without a durable outcome the caller
    /// is told that it is unknown.
    pub(crate) fn audited<T>(
        &self,
        event: Event,
        effect: impl FnOnce() -> Result<T, Fail>,
    ) -> Result<T, Fail> {
        self.audited_with(event, effect, |event, _| event)
    }

    /// As [`Keeper::audited`]; `describe` adds to the outcome what the effect made.
    pub(crate) fn audited_with<T>(
        &self,
        event: Event,
        effect: impl FnOnce() -> Result<T, Fail>,
        describe: impl FnOnce(Event, &T) -> Event,
    ) -> Result<T, Fail> {
        let mut intent = event.clone();
        intent.phase = Phase::Intent;
        intent.outcome = Outcome::Unknown;
        self.append(intent)?;
        let result = effect();
        let mut outcome = event;
        outcome.phase = Phase::Outcome;
        outcome.time_ms = now().as_millis();
        outcome = match &result {
            Ok(value) => {
                outcome.outcome = Outcome::Success;
                describe(outcome, value)
            }
            Err(fail) => {
                outcome.outcome = if fail.status >= 500 { Outcome::Failure } else { Outcome::Refused };
                outcome.because(&fail.line())
            }
        };
        self.append(outcome)
            .map_err(|e| e.because("the effect was tried; its outcome could not be logged and is unknown"))?;
        result
    }

    pub(crate) fn create_scope(&self, scope: Scope, correlation: u128) -> Result<(), Fail> {
        match self.call(&Request::CreateScope { scope, correlation })? {
            Response::ScopeReady { .. } => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) fn wrap(&self, scope: Scope, dek: &[u8; 32], digest: Digest) -> Result<Wrapped, Fail> {
        match self.call(&Request::Wrap { scope, dek: Key32::new(dek), digest })? {
            Response::Wrapped { name, kek_version, blob } => Ok(Wrapped { name, kek_version, blob }),
            other => Err(unexpected(&other)),
        }
    }

    /// The name of an object with this content.
    pub(crate) fn object_name(&self, scope: Scope, digest: Digest) -> Result<ObjectName, Fail> {
        match self.call(&Request::ObjectName { scope, digest })? {
            Response::Named { name } => Ok(ObjectName::from(name)),
            other => Err(unexpected(&other)),
        }
    }

    /// Releases the data key of one object; logged before it is returned.
    pub(crate) fn unwrap(
        &self,
        scope: Scope,
        wrapped: &Wrapped,
        actor: &str,
        purpose: &str,
        correlation: u128,
    ) -> Result<Key32, Fail> {
        let request = Request::Unwrap {
            scope,
            name: wrapped.name,
            blob: wrapped.blob,
            kek_version: wrapped.kek_version,
            actor: Text::clip(actor),
            purpose: Text::clip(purpose),
            correlation,
        };
        match self.call(&request)? {
            Response::Unwrapped { dek, .. } => Ok(dek),
            other => Err(unexpected(&other)),
        }
    }
}

/// Only that it was of another kind is told: an answer may hold a key.
fn unexpected(_answer: &Response) -> Fail {
    Fail::internal("the keeper gave an answer of another kind", "protocol")
}

pub(crate) fn fail(error: KeeperError) -> Fail {
    match error {
        KeeperError::Refused { code, detail } => {
            let status = refusal_status(&code);
            Fail { code, status, ..Fail::refused("SR-KEY-0001", format!("the keeper refused: {detail}")) }
        }
        other => Fail::unavailable(
            "the keeper cannot be reached, so nothing that must be logged is done",
            base::error::chain(&other),
        ),
    }
}

/// What a refusal means for whoever asked: what passes with time or with a repaired node is no answer about the
/// asset.
fn refusal_status(code: &str) -> u16 {
    match code {
        // The hour's budget of key releases.
        "SR-KPR-0021" => 429,
        // A disk that does not take the log or the key set.
        "SR-KPR-0002" | "SR-KPR-0009" | "SR-KPR-0012" => 507,
        "SR-KPR-0011" | "SR-KEY-0004" | "SR-KPR-0024" => 503,
        _ => 422,
    }
}

#[cfg(test)]
mod tests {
    use super::refusal_status;

    #[test]
    fn what_passes_is_told_apart_from_a_verdict() {
        assert_eq!(refusal_status("SR-KPR-0021"), 429);
        assert_eq!(refusal_status("SR-KPR-0012"), 507);
        assert_eq!(refusal_status("SR-KEY-0001"), 422);
    }
}
