//! Sessions: a token that only its holder has, one role in one tenant, an end for idleness and one for age.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use access::session::{Limits, Standing, Times};
use api::Page;
use base::id::SessionId;
use base::{Digest, Timestamp};
use net::token::{Token, Use};
use store::StoreError;
use store::meta::Stored;
use store::records::{Grant, Session as Record, User, UserRole};

use super::{
    Arc, By, EventKind, Fail, Name, Node, PageRequest, Principal, at, event, find, grants, now, of_record,
};
use crate::auth::Identity;
use crate::clock::random;
use crate::node::{store_fail, time};

/// Live sessions of one person; the one that was used longest ago ends for a new one.
const LIVE_MAX: usize = 32;
/// How long a session that has ended can still be seen, and how many of one person: all of them fit on one page.
const KEPT_MS: u64 = 7 * 86_400_000;
const KEPT_MAX: usize = 200;
/// When a session was last used is written down this often at most; what is lost at a crash makes it end earlier.
const WRITTEN_EVERY_MS: u64 = 60_000;

/// When sessions were last used, where that is newer than their records.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<HashMap<SessionId, Timestamp>>);

impl Seen {
    fn last(&self, record: &Record) -> Timestamp {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&record.id).copied().unwrap_or(Timestamp::from_millis(0)).max(at(record.seen_ms))
    }

    fn note(&self, id: SessionId, at: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, at);
    }

    fn forget(&self, id: SessionId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

/// What a login proved.
#[derive(Debug)]
pub(crate) struct Proof {
    /// Who it is.
    pub(crate) user: Name,
    /// How: `passkey`, `oidc-code`, `oidc-device`.
    pub(crate) method: &'static str,
    /// When the person proved it.
    pub(crate) proved: Timestamp,
    /// Roles that groups of the provider give to this login alone.
    pub(crate) groups: Vec<(Option<Name>, UserRole)>,
}

/// What the session is to be of, as far as the caller said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) tenant: Option<String>,
    pub(crate) role: Option<String>,
}

/// A role that a session could be of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Choice {
    tenant: Option<Name>,
    role: UserRole,
    grant: Option<u64>,
    ends: Option<Timestamp>,
}

/// How long sessions last on this node.
pub(crate) fn limits(node: &Node) -> Limits {
    let of = &node.config.sessions;
    let millis = |seconds: u32| u64::from(seconds).saturating_mul(1000);
    Limits {
        idle_ms: millis(of.idle_seconds),
        absolute_ms: millis(of.absolute_seconds),
        fresh_ms: millis(of.fresh_seconds),
    }
}

/// How many sessions stand how, in words.
pub(crate) fn standings(node: &Node) -> Result<String, Fail> {
    let (now, limits) = (now(), limits(node));
    let all = node.every::<Record>(|_| true)?;
    let count =
        |standing: Standing| all.iter().filter(|r| times(node, r).standing(&limits, now) == standing).count();
    let all = [Standing::Live, Standing::Idle, Standing::Ended, Standing::Revoked];
    Ok(all.map(|standing| format!("{} {}", count(standing), standing.as_str())).join(", "))
}

fn times(node: &Node, record: &Record) -> Times {
    Times {
        proved: at(record.proved_ms),
        seen: node.seen.last(record),
        ends: at(record.ends_ms),
        revoked: record.revoked_ms.is_some(),
    }
}

/// Opens a session for who proved who they are.
pub(super) fn open(
    node: &Arc<Node>,
    proof: &Proof,
    wanted: &Wanted,
    from: &str,
) -> Result<api::Session, Fail> {
    if find(node, &proof.user)?.disabled {
        return Err(Fail::forbidden(format!("`{}` may not log in any more", proof.user)));
    }
    let choice = choose(choices(node, proof)?, wanted, &proof.user)?;
    let (at, limits) = (now(), limits(node));
    let absolute = at.plus_millis(limits.absolute_ms);
    let id = SessionId::new(at, random::<10>()?);
    let token = Token::new(Use::Session, id.bits(), random::<32>()?);
    let record = Record {
        user: proof.user.clone(),
        id,
        mac: Digest::from_bytes(token.mac(&node.key_mac_key.0)),
        tenant: choice.tenant,
        role: choice.role,
        grant: choice.grant,
        method: proof.method.to_owned(),
        from: from.to_owned(),
        proved_ms: proof.proved.as_millis().min(at.as_millis()),
        seen_ms: at.as_millis(),
        ends_ms: choice.ends.map_or(absolute, |ends| ends.min(absolute)).as_millis(),
        revoked_ms: None,
    };
    let told = event(EventKind::SessionOpen, &record.user)?
        .tenant(record.tenant.as_ref().map_or("", Name::as_str))
        .actor(&format!("user:{}", record.user))
        .detail("session", &id.to_string())
        .detail("method", &record.method)
        .detail("role", record.role.as_str())
        .detail("from", from)
        .detail("ends", &time(record.ends_ms));
    node.keeper.audited(told, || {
        make_room(node, &record.user, at)?;
        node.meta.transaction(|tx| tx.of(&record.user).insert(&record)).map_err(store_fail)
    })?;
    let mut wire = wire(node, &record);
    wire.token = Some(token.text());
    Ok(wire)
}

/// What the person is granted, and what groups give to this login.
fn choices(node: &Node, proof: &Proof) -> Result<Vec<Choice>, Fail> {
    let granted = grants::of(node, &proof.user)?.into_iter().filter(|g| grants::is_live(g, now()));
    let granted = granted.map(|g: Grant| Choice {
        tenant: g.tenant,
        role: g.role,
        grant: Some(g.number),
        ends: Some(at(g.ends_ms)),
    });
    let of_groups = proof.groups.iter().map(|(tenant, role)| Choice {
        tenant: tenant.clone(),
        role: *role,
        grant: None,
        ends: None,
    });
    Ok(granted.chain(of_groups).collect())
}

/// The one role that is meant: of several that give the same, the one that lasts longest.
fn choose(all: Vec<Choice>, wanted: &Wanted, user: &Name) -> Result<Choice, Fail> {
    let is_meant = |choice: &Choice| {
        wanted.tenant.as_deref().is_none_or(|t| choice.tenant.as_ref().is_some_and(|own| own.as_str() == t))
            && wanted.role.as_deref().is_none_or(|role| choice.role.as_str() == role)
    };
    let mut meant: Vec<Choice> = all.into_iter().filter(is_meant).collect();
    // A role of groups has no end of its own: it comes first.
    meant.sort_by_key(|c| (c.tenant.clone(), c.role, c.ends.map_or(u64::MAX, |e| e.as_millis())));
    meant.reverse();
    meant.dedup_by(|a, b| a.tenant == b.tenant && a.role == b.role);
    match meant.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Fail::forbidden(format!("`{user}` is granted no such role now")).help(format!(
            "the operator grants one with `strongroom access grant {user} ROLE --tenant T --reason TEXT`"
        ))),
        several => {
            let named = several.iter().map(|c| match &c.tenant {
                Some(tenant) => format!("{} in {tenant}", c.role.as_str()),
                None => c.role.as_str().to_owned(),
            });
            Err(Fail::conflict(format!(
                "`{user}` is granted several roles: {}",
                named.collect::<Vec<_>>().join(", ")
            ))
            .help("say which with `strongroom login --role ROLE --tenant T`"))
        }
    }
}

/// Forgets sessions that ended long ago, and ends the one that was used longest ago if there are too many.
fn make_room(node: &Node, user: &Name, now: Timestamp) -> Result<(), Fail> {
    let limits = limits(node);
    let made = node.meta.transaction(|tx| {
        let rows = tx.of(user);
        let all = rows.list::<Record>(&PageRequest::default())?.items;
        let (mut live, mut ended): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|stored| times(node, &stored.record).standing(&limits, now) == Standing::Live);
        ended.sort_by_key(|stored| std::cmp::Reverse(stored.record.ends_ms));
        let is_old = |stored: &Stored<Record>| now.millis_since(at(stored.record.ends_ms)) > KEPT_MS;
        let going = ended.iter().enumerate().filter(|(n, stored)| *n >= KEPT_MAX || is_old(stored));
        for (_, old) in going {
            node.seen.forget(old.record.id);
            rows.delete::<Record>(&old.record.id, old.rev)?;
        }
        live.sort_by_key(|stored| node.seen.last(&stored.record));
        let over = live.len().saturating_add(1).saturating_sub(LIVE_MAX);
        for mut oldest in live.into_iter().take(over) {
            oldest.record.revoked_ms = Some(now.as_millis());
            rows.update(&oldest)?;
        }
        Ok::<_, StoreError>(())
    });
    made.map_err(store_fail)
}

/// Who presents this token: asked for every request, so that a revocation holds from the next one on.
pub(crate) fn authenticate(node: &Node, text: &str) -> Result<Identity, Fail> {
    let refuse = || Fail::unauthenticated("the session is not known").help("log in with `strongroom login`");
    let token = Token::parse(Use::Session, text).map_err(|_| refuse())?;
    let id = SessionId::from_bits(token.id());
    let stored = node.meta.read(|tx| tx.find::<Record>(&id)).map_err(store_fail)?;
    let record = stored.map(|stored| stored.record).ok_or_else(refuse)?;
    if !base::digest::ct_eq(&token.mac(&node.key_mac_key.0), record.mac.as_bytes()) {
        return Err(refuse());
    }
    let now = now();
    must_be_live(node, &record, now)?;
    let written = at(record.seen_ms);
    let every = WRITTEN_EVERY_MS.min(limits(node).idle_ms / 4);
    node.seen.note(id, now);
    if now.millis_since(written) > every {
        write_seen(node, &record.user, id, now);
    }
    Ok(Identity::Person {
        user: record.user.to_string(),
        session: id,
        fresh: times(node, &record).is_fresh(&limits(node), now),
        role: of_record(record.role),
        tenant: record.tenant.as_ref().map(Name::to_string),
    })
}

/// Whether the session may be used: it, its owner and the grant that it rests on.
fn must_be_live(node: &Node, record: &Record, now: Timestamp) -> Result<(), Fail> {
    let over = |why: String| Err(Fail::unauthenticated(why).help("log in again with `strongroom login`"));
    match times(node, record).standing(&limits(node), now) {
        Standing::Live => {}
        Standing::Idle => return over("the session was not used for too long".to_owned()),
        standing => return over(format!("the session is {}", standing.as_str())),
    }
    let user = node.meta.read(|tx| tx.platform().get::<User>(&record.user)).map_err(store_fail)?;
    if user.is_none_or(|stored| stored.record.disabled) {
        return over("the person may not log in any more".to_owned());
    }
    match record.grant {
        Some(number) if grants::live(node, &record.user, number)?.is_none() => {
            over("the grant that the session rests on has ended".to_owned())
        }
        _ => Ok(()),
    }
}

/// Whether the session may still be used; what is being sent to it counts as use.
pub(crate) fn is_known(node: &Node, id: SessionId) -> bool {
    let now = now();
    let record = node.meta.read(|tx| tx.find::<Record>(&id)).ok().flatten().map(|stored| stored.record);
    let is_live = record.is_some_and(|record| must_be_live(node, &record, now).is_ok());
    if is_live {
        node.seen.note(id, now);
    }
    is_live
}

/// That it could not be written makes the session end earlier after a restart, and is no reason to refuse a request.
fn write_seen(node: &Node, user: &Name, id: SessionId, now: Timestamp) {
    let written = node.meta.transaction(|tx| {
        let rows = tx.of(user);
        let Some(mut stored) = rows.get::<Record>(&id)? else { return Ok::<_, StoreError>(()) };
        stored.record.seen_ms = stored.record.seen_ms.max(now.as_millis());
        rows.update(&stored)
    });
    if let Err(error) = written {
        crate::log::line("sessions", &format!("when a session was used could not be written: {error}"));
    }
}

/// Marks a session as ended, once.
fn revoke_record(node: &Node, user: &Name, id: &SessionId) -> Result<Option<Record>, Fail> {
    let revoked = node.meta.transaction(|tx| {
        let rows = tx.of(user);
        let Some(mut stored) = rows.get::<Record>(id)? else { return Ok::<_, StoreError>(None) };
        stored.record.revoked_ms.get_or_insert(now().as_millis());
        rows.update(&stored)?;
        Ok(Some(stored.record))
    });
    revoked.map_err(store_fail)
}

/// Ends every session of a person.
pub(super) fn end_all(node: &Node, user: &Name) -> Result<(), Fail> {
    let page =
        node.meta.read(|tx| tx.of(user).list::<Record>(&PageRequest::default())).map_err(store_fail)?;
    page.items.iter().try_for_each(|stored| revoke_record(node, user, &stored.record.id).map(drop))
}

/// The session that the caller is in.
pub(crate) fn show(node: &Node, id: SessionId) -> Result<api::Session, Fail> {
    Ok(wire(node, &record_of(node, &id)?))
}

fn record_of(node: &Node, id: &SessionId) -> Result<Record, Fail> {
    let stored = node.meta.read(|tx| tx.find::<Record>(id)).map_err(store_fail)?;
    Ok(stored.ok_or_else(|| Fail::not_found("session", &id.to_string()))?.record)
}

/// The caller logs out.
pub(crate) fn end(node: &Arc<Node>, principal: &Principal) -> Result<api::Session, Fail> {
    let Identity::Person { session, .. } = &**principal else {
        return Err(
            Fail::invalid("the caller is in no session").help("see who you are with `strongroom whoami`")
        );
    };
    finish(node, principal, EventKind::SessionEnd, &record_of(node, session)?)
}

/// Sessions that the caller may see: all for who oversees the node, else the caller's own.
pub(crate) fn list(
    node: &Node,
    principal: &Principal,
    page: &PageRequest,
) -> Result<Page<api::Session>, Fail> {
    let found = match own(principal)? {
        Whose::All => node.meta.read(|tx| tx.list_all::<Record>(page)),
        Whose::Of(user) => node.meta.read(|tx| tx.of(&user).list::<Record>(page)),
        Whose::Nobodys => return Ok(Page { items: Vec::new(), next: None }),
    };
    let found = found.map_err(store_fail)?;
    Ok(Page { items: found.items.iter().map(|s| wire(node, &s.record)).collect(), next: found.next })
}

/// Whose sessions a caller sees.
enum Whose {
    All,
    Of(Name),
    Nobodys,
}

fn own(principal: &Principal) -> Result<Whose, Fail> {
    match &**principal {
        Identity::Operator { .. } | Identity::Person { tenant: None, .. } => Ok(Whose::All),
        Identity::Person { user, .. } => {
            user.parse().map(Whose::Of).map_err(|e| Fail::internal("a person's name is none", e))
        }
        Identity::Key { .. }
        | Identity::Service { .. }
        | Identity::Workload { .. }
        | Identity::Node { .. } => Ok(Whose::Nobodys),
    }
}

pub(crate) fn revoke(node: &Arc<Node>, principal: &Principal, id: &str) -> Result<api::Session, Fail> {
    let absent = || Fail::not_found("session", id);
    let parsed: SessionId = id.parse().map_err(|_| absent())?;
    let record = record_of(node, &parsed).map_err(|_| absent())?;
    match own(principal)? {
        Whose::All => {}
        Whose::Of(user) if user == record.user => {}
        Whose::Of(_) | Whose::Nobodys => return Err(absent()),
    }
    finish(node, principal, EventKind::SessionRevoke, &record)
}

fn finish(
    node: &Arc<Node>,
    principal: &Principal,
    kind: EventKind,
    record: &Record,
) -> Result<api::Session, Fail> {
    let told = event(kind, &record.user)?
        .tenant(record.tenant.as_ref().map_or("", Name::as_str))
        .by(principal)
        .detail("session", &record.id.to_string());
    let absent = || Fail::not_found("session", &record.id.to_string());
    let record =
        node.keeper.audited(told, || revoke_record(node, &record.user, &record.id)?.ok_or_else(absent))?;
    Ok(wire(node, &record))
}

fn wire(node: &Node, record: &Record) -> api::Session {
    let times = times(node, record);
    api::Session {
        id: record.id.to_string(),
        user: record.user.to_string(),
        tenant: record.tenant.as_ref().map(Name::to_string),
        role: record.role.as_str().to_owned(),
        method: record.method.clone(),
        from: record.from.clone(),
        proved: time(record.proved_ms),
        seen: time(times.seen.as_millis()),
        ends: time(record.ends_ms),
        state: times.standing(&limits(node), now()).as_str().to_owned(),
        token: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(tenant: Option<&str>, role: UserRole, ends: Option<u64>) -> Choice {
        Choice {
            tenant: tenant.map(|t| t.parse().unwrap()),
            role,
            grant: ends.map(|_| 1),
            ends: ends.map(at),
        }
    }

    fn pick(all: &[Choice], tenant: Option<&str>, role: Option<&str>) -> Result<Choice, u16> {
        let wanted = Wanted { tenant: tenant.map(str::to_owned), role: role.map(str::to_owned) };
        choose(all.to_vec(), &wanted, &"ann".parse().unwrap()).map_err(|fail| fail.status)
    }

    #[test]
    fn a_session_is_of_the_one_role_that_is_meant() {
        use UserRole::{Auditor, MlEngineer, Security};
        let of_acme = choice(Some("acme"), MlEngineer, Some(10));
        let of_globex = choice(Some("globex"), Auditor, Some(10));
        let of_node = choice(None, Security, None);
        let all = [of_acme.clone(), of_globex.clone(), of_node.clone()];
        assert_eq!(pick(&[], None, None), Err(403));
        assert_eq!(pick(&all[..1], None, None), Ok(of_acme.clone()));
        assert_eq!(pick(&all, None, None), Err(409));
        assert_eq!(pick(&all, Some("globex"), None), Ok(of_globex));
        assert_eq!(pick(&all, None, Some("security")), Ok(of_node));
        assert_eq!(pick(&all, Some("acme"), Some("auditor")), Err(403));
        assert_eq!(pick(&all, Some("initech"), None), Err(403));
        // The same role twice: the one that lasts longest.
        let longer = choice(Some("acme"), MlEngineer, Some(20));
        let of_group = choice(Some("acme"), MlEngineer, None);
        assert_eq!(pick(&[of_acme.clone(), longer.clone()], None, None), Ok(longer.clone()));
        assert_eq!(pick(&[of_acme, of_group.clone(), longer], None, None), Ok(of_group));
    }
}
