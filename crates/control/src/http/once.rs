//! Requests that may be sent once more without being done twice: the `Idempotency-Key` header
//! (draft-ietf-httpapi-idempotency-key-header).
//!
//! What a request made is recorded under its key in the same transaction that makes it, so after a `kill -9` there are
//! both or neither. What is recorded is the name of the thing and no answer: a repeated request is answered with the
//! thing as it is now, and the secret of a new key is never kept. A request that made nothing leaves no record, and may
//! be sent again under its key. An import lives in memory, and so does its key.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use api::Route;
use api::shape::IDEMPOTENCY_KEY_MAX;
use axum::http::HeaderMap;
use base::names::Name;
use base::wire::lp;
use base::{Digest, Hasher, sha256};
use store::meta::Rows;
use store::records::Repeated;
use store::{PageRequest, StoreError, Tx};

use super::Reply;
use super::handlers::{Call, Input, handle, json};
use crate::auth::{Identity, Principal};
use crate::clock::now;
use crate::node::store_fail;
use crate::{Fail, datasets, egresses, endpoints, images, intake, jobs, keys, people, policies, tenants};

/// The header, as `HeaderMap` names it.
const HEADER: &str = "idempotency-key";
/// How long a key stands for its request.
const LIFE_MS: u64 = 24 * 60 * 60 * 1000;
/// Keys of one tenant, or of the operator, that are kept; beyond them the oldest are forgotten before their time.
const KEPT_MAX: u64 = 4096;
/// How many are forgotten then at once.
const FORGOTTEN: usize = 1024;

/// How a caller names a request that it may send once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repeat {
    /// Who calls: the same key of another caller is another one.
    caller: String,
    /// SHA-256 of the key.
    key: Digest,
    /// SHA-256 of operation, path and body.
    request: Digest,
}

impl Repeat {
    /// Whether another request came under the same key of the same caller; fails if it was not this one.
    pub(crate) fn is(&self, other: &Self) -> Result<bool, Fail> {
        match (self.caller == other.caller && self.key == other.key, self.request == other.request) {
            (false, _) => Ok(false),
            (true, true) => Ok(true),
            (true, false) => Err(Fail::key_of_another_request()),
        }
    }
}

/// The key of a request, if it has one.
pub(super) fn asked(
    headers: &HeaderMap,
    route: &Route,
    path: &str,
    input: &Input,
    caller: &Identity,
) -> Result<Option<Repeat>, Fail> {
    let mut given = headers.get_all(HEADER).iter();
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(Fail::not_an_idempotency_key("there is more than one idempotency key"));
    }
    let key = value.to_str().ok().and_then(|text| text.strip_prefix('"')?.strip_suffix('"'));
    let plain = |key: &&str| {
        (1..=IDEMPOTENCY_KEY_MAX).contains(&key.len())
            && key.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
    };
    let key = key.filter(plain);
    let key =
        key.ok_or_else(|| Fail::not_an_idempotency_key("the idempotency key is not a string in quotes"))?;
    let mut request = Hasher::new();
    request.update(&lp(route.operation.as_bytes()));
    request.update(&lp(path.as_bytes()));
    if let Input::Body(bytes) = input {
        request.update(bytes);
    }
    Ok(Some(Repeat { caller: caller.actor(), key: sha256(key.as_bytes()), request: request.finish() }))
}

/// Requests with a key that are under way.
#[derive(Debug, Default)]
pub(crate) struct Repeats(Mutex<BTreeMap<(String, Digest), Digest>>);

/// The one request of its key that is under way; given back on drop.
struct Turn<'n> {
    all: &'n Repeats,
    of: (String, Digest),
}

impl Repeats {
    fn enter(&self, repeat: &Repeat) -> Result<Turn<'_>, Fail> {
        let of = (repeat.caller.clone(), repeat.key);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get(&of) {
            Some(request) if *request != repeat.request => Err(Fail::key_of_another_request()),
            Some(_) => Err(Fail::still_under_way()),
            None => {
                all.insert(of.clone(), repeat.request);
                Ok(Turn { all: self, of })
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.of);
    }
}

/// Handles a request, unless it was handled under its key before.
pub(super) fn run(call: &Call<'_>, input: Input) -> Result<Reply, Fail> {
    let Some(repeat) = &call.principal.repeat else { return handle(call, input) };
    let _turn = call.node.repeats.enter(repeat)?;
    let at = now().as_millis();
    let known = call.node.meta.read(|tx| {
        let owner = owner(call.principal);
        rows(tx, owner.as_ref()).get::<Repeated>(&(repeat.caller.clone(), repeat.key))
    });
    match known.map_err(store_fail)?.map(|s| s.record).filter(|r| is_kept(r, at)) {
        None => handle(call, input),
        Some(record) if record.request != repeat.request => Err(Fail::key_of_another_request()),
        Some(record) => again(call, &record.made),
    }
}

/// What a request made before, as it is now.
fn again(call: &Call<'_>, made: &str) -> Result<Reply, Fail> {
    let node = call.node;
    if call.route.operation == "tenant.create" {
        let name: Name = made.parse().map_err(|_| Fail::not_found("tenant", made))?;
        return Ok(json(&tenants::show(node, &name)?));
    }
    match call.route.operation {
        "user.create" => {
            let name: Name = made.parse().map_err(|_| Fail::not_found("person", made))?;
            return Ok(json(&people::show(node, &name)?));
        }
        "approval.request" => return Ok(json(&people::approval(node, call.principal, made)?)),
        "policy.apply" | "policy.withdraw" => {
            let version = made.parse().map_err(|_| Fail::not_found("version", made))?;
            return Ok(json(&policies::show(node, version)?));
        }
        _ => {}
    }
    let tenant = call.tenant()?;
    match call.route.operation {
        "job.run" => Ok(json(&jobs::show(node, &tenant, made)?)),
        "endpoint.deploy" => Ok(json(&endpoints::deployed(node, &tenant, made)?)),
        "key.create" => Ok(json(&keys::show(node, &tenant, made)?)),
        "egress.create" => {
            let name: Name = made.parse().map_err(|_| Fail::not_found("egress", made))?;
            Ok(json(&egresses::show(node, &tenant, &name)?))
        }
        _ => Ok(json(&imported(call, &tenant, made)?)),
    }
}

fn imported(call: &Call<'_>, tenant: &Name, made: &str) -> Result<api::Imported, Fail> {
    let none = || Fail::not_found("import", made);
    let (noun, rest) = made.split_once('/').ok_or_else(none)?;
    if noun == "image" {
        return Ok(api::Imported::Image(images::show(call.node, tenant, rest)?));
    }
    let (name, version) = rest.split_once('/').ok_or_else(none)?;
    let name: Name = name.parse().map_err(|_| none())?;
    let version = version.parse().map_err(|_| none())?;
    Ok(match noun {
        "dataset" => api::Imported::Dataset(datasets::show(call.node, tenant, &name, version)?),
        _ => api::Imported::Intake(Box::new(intake::show(call.node, tenant, &name, version)?)),
    })
}

impl Principal {
    /// Records what its request made, if the request has a key; within the transaction that makes it.
    pub(crate) fn made(&self, tx: &Tx<'_>, made: &str) -> Result<(), StoreError> {
        let Some(Repeat { caller, key, request }) = self.repeat.clone() else { return Ok(()) };
        let (tenant, at) = (owner(self), now().as_millis());
        let rows = rows(tx, tenant.as_ref());
        if rows.count::<Repeated>()? >= KEPT_MAX {
            forget(&rows, at)?;
        }
        let of = (caller.clone(), key);
        if let Some(before) = rows.get::<Repeated>(&of)? {
            // It has ended: one that had not was answered with what it made.
            rows.delete::<Repeated>(&of, before.rev)?;
        }
        rows.insert(&Repeated {
            tenant: tenant.clone(),
            caller,
            key,
            request,
            made: made.to_owned(),
            created_ms: at,
        })
    }
}

fn is_kept(record: &Repeated, at: u64) -> bool {
    at.saturating_sub(record.created_ms) < LIFE_MS
}

fn owner(principal: &Principal) -> Option<Name> {
    principal.confined_to().and_then(|own| own.parse().ok())
}

fn rows<'t>(tx: &'t Tx<'t>, owner: Option<&'t Name>) -> Rows<'t> {
    owner.map_or_else(|| tx.platform(), |tenant| tx.of(tenant))
}

/// Makes room: what has ended goes, and if that is not enough the oldest.
fn forget(rows: &Rows<'_>, at: u64) -> Result<(), StoreError> {
    let mut all = Vec::new();
    let mut page = PageRequest::default();
    loop {
        let found = rows.list::<Repeated>(&page)?;
        all.extend(found.items);
        match found.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    all.sort_by_key(|stored| stored.record.created_ms);
    let ended = all.iter().filter(|stored| !is_kept(&stored.record, at)).count();
    let going = if ended == 0 { FORGOTTEN } else { ended };
    all.iter().take(going).try_for_each(|stored| {
        rows.delete::<Repeated>(&(stored.record.caller.clone(), stored.record.key), stored.rev)
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use base::Secret;
    use store::MetaStore;

    use super::*;

    fn route() -> &'static Route {
        api::TABLE.iter().find(|r| r.operation == "key.create").unwrap()
    }

    fn key(values: &[&str], path: &str, body: &[u8]) -> Result<Option<Repeat>, Fail> {
        let headers = values.iter().map(|v| (HEADER.parse().unwrap(), HeaderValue::from_str(v).unwrap()));
        asked(
            &headers.collect(),
            route(),
            path,
            &Input::Body(body.to_vec()),
            &Identity::Operator { login: None },
        )
    }

    #[test]
    fn a_key_is_one_string_in_quotes() {
        assert_eq!(key(&[], "/p", b""), Ok(None));
        let long = format!("\"{}\"", "k".repeat(IDEMPOTENCY_KEY_MAX));
        for good in ["\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", "\"~\"", &long] {
            assert!(key(&[good], "/p", b"").unwrap().is_some(), "{good}");
        }
        let longer = format!("\"{}\"", "k".repeat(IDEMPOTENCY_KEY_MAX + 1));
        for bad in ["", "\"", "\"\"", "bare", "\"a\"b\"", "\"a b\"", "\"a\\\\b\"", "\"a\";p=1", &longer] {
            assert_eq!(key(&[bad], "/p", b"").unwrap_err().status, 400, "{bad}");
        }
        assert_eq!(key(&["\"a\"", "\"a\""], "/p", b"").unwrap_err().status, 400);
    }

    #[test]
    fn another_request_under_the_same_key_is_told() {
        let repeats = Repeats::default();
        let of = |path: &str, body: &[u8]| key(&["\"k\""], path, body).unwrap().unwrap();
        let turn = repeats.enter(&of("/p", b"{}")).unwrap();
        assert_eq!(repeats.enter(&of("/p", b"{}")).err().map(|f| f.status), Some(409));
        assert_eq!(repeats.enter(&of("/p", b"{ }")).err().map(|f| f.status), Some(422));
        assert_eq!(repeats.enter(&of("/q", b"{}")).err().map(|f| f.status), Some(422));
        drop(turn);
        assert!(repeats.enter(&of("/q", b"{}")).is_ok());
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let meta = MetaStore::open(&dir.path().join("m.db"), &Secret::new([7; 32])).unwrap();
        let record = |n: u64, at: u64| Repeated {
            tenant: None,
            caller: "operator".to_owned(),
            key: sha256(&n.to_le_bytes()),
            request: sha256(b"r"),
            made: n.to_string(),
            created_ms: at,
        };
        let left = |ended: u64, at: u64| {
            meta.read(|tx| {
                let rows = tx.platform();
                (0..KEPT_MAX)
                    .try_for_each(|n| rows.insert(&record(n, if n < ended { 0 } else { LIFE_MS + n })))?;
                forget(&rows, at)?;
                let first = rows.get::<Repeated>(&("operator".to_owned(), sha256(&ended.to_le_bytes())))?;
                Ok::<_, StoreError>((rows.count::<Repeated>()?, first.is_some()))
            })
            .unwrap()
        };
        assert_eq!(left(10, LIFE_MS), (KEPT_MAX - 10, true));
        assert_eq!(left(0, LIFE_MS), (KEPT_MAX - u64::try_from(FORGOTTEN).unwrap(), false));
    }
}
