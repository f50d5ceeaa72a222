//! Bytes that leave at the gateway, in answers, and at the relay: granted to it key by key, after they were taken into
//! account here.
//!
//! What each was granted and what it reports are reconciled by [`Book`], so that an end of any process frees nothing: bytes
//! come out of an account again only when whoever was granted them says that it will never send them.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use access::egress::{Book, Change};
use base::config::Egress as Caps;
use base::id::KeyId;
use base::names::Name;
use base::{ByteSize, Timestamp};
use ops::List;
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use ops::lease::{Grant, Grants, Use, Uses};
use ops::relay::{LOGIN_KEY, PROBE_KEY};
use store::StoreError;
use store::meta::Tx;
use store::records::{ApiKey, KeyUse};

use super::{EGRESS, Whose, hour, over};
use crate::Fail;
use crate::clock::now;
use crate::node::{Node, correlation, store_fail};

/// Most bytes that one key is granted ahead of its answers. So many at most are counted and not sent, for each key; and
/// once more after each restart of the gateway or of control.
const LEASE_MAX: u64 = 8 << 20;
/// At least so many leases fit below a key's cap, so that it is used up by answers and not by what lies idle.
const LEASES_IN_A_CAP: u64 = 128;
/// Pause after an exchange that failed.
const PAUSE: Duration = Duration::from_millis(300);

/// Who sends what is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The gateway: keys are those of endpoints.
    Gateway,
    /// The relay: keys are those of egresses.
    Relay,
}

impl Sender {
    const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "the gateway",
            Self::Relay => "the relay",
        }
    }

    fn exchange(self, node: &Node, grants: Grants) -> Result<Uses, Fail> {
        if self == Self::Relay {
            return node.relay.lease(grants);
        }
        let failed = |reason: String| Fail::unavailable("the gateway does not tell what left", reason);
        match net::block_on(net::push::lease(&node.config.gateway_socket(), grants)) {
            Ok(Ok(uses)) => Ok(uses),
            Ok(Err(error)) => Err(failed(base::error::chain(&error))),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// Whose a key is; none where nobody's.
    fn owner(self, node: &Node, key: u128) -> Result<Option<Owner>, Fail> {
        if self == Self::Relay {
            let owner = |actor: String, tenant, name: &str| Owner {
                actor,
                tenant,
                asset: ("egress", name.to_owned()),
                cap: None,
            };
            return Ok(match key {
                LOGIN_KEY => Some(owner("platform:login".to_owned(), None, "login")),
                PROBE_KEY => Some(owner("platform:probe".to_owned(), None, "probe")),
                _ => node.relay.owner(key).map(|(tenant, name, cap)| Owner {
                    cap,
                    ..owner(format!("{EGRESS}{name}"), Some(tenant), &name)
                }),
            });
        }
        let id = KeyId::from_bits(key);
        let stored = node.meta.read(|tx| tx.find::<ApiKey>(&id)).map_err(store_fail)?;
        let Some(KeyUse::Endpoint { tenant, .. }) = stored.map(|s| s.record.scope) else { return Ok(None) };
        let asset = ("api_key", id.to_string());
        Ok(Some(Owner { actor: format!("key:{id}"), tenant: Some(tenant), asset, cap: None }))
    }

    fn told(self, node: &Node) -> &Granting {
        match self {
            Self::Gateway => &node.granting,
            Self::Relay => &node.relaying,
        }
    }
}

/// What the gateway, or the relay, told last.
#[derive(Debug, Default)]
pub(crate) struct Granting(Mutex<Option<Told>>);

/// A report of the gateway that was settled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    /// When.
    pub(crate) at: Timestamp,
    /// Keys that were granted bytes since it started.
    pub(crate) keys: usize,
    /// Bytes that they may send without asking.
    pub(crate) left: u64,
}

impl Granting {
    /// What it told last; none before it told anything.
    pub(crate) fn last(&self) -> Option<Told> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, uses: &Uses) {
        let left = uses.uses.iter().fold(0, |sum: u64, told| sum.saturating_add(told.left));
        let told = Told { at: now(), keys: uses.uses.len(), left };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
    }
}

/// Whose bytes are sent under a key, in accounts and in events.
#[derive(Debug, Clone)]
struct Owner {
    actor: String,
    tenant: Option<Name>,
    asset: (&'static str, String),
    /// The cap on it alone; none: as of every principal.
    cap: Option<ByteSize>,
}

/// What is known of one key.
#[derive(Debug, Clone)]
struct Known {
    epoch: u64,
    book: Book,
    owner: Owner,
    accounts: Vec<Whose>,
    /// The hour of the last refusal that the log tells of.
    refused: Option<u64>,
}

/// What is known of the gateway, or of the relay.
#[derive(Debug)]
struct Books {
    of: Sender,
    boot: u128,
    keys: HashMap<u128, Known>,
}

/// What a report leads to.
#[derive(Debug, Default)]
struct Plan {
    known: Vec<(u128, Known)>,
    grants: Vec<Grant>,
    refused: Vec<(u128, Whose, u64)>,
}

/// Why a plan was not carried out.
enum Stop {
    /// The log has to tell first that this account crosses its line.
    Tell {
        owner: Box<Owner>,
        whose: Whose,
        bytes: u64,
    },
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Grants the gateway, or the relay, what it may send, for as long as this process lives.
pub(crate) fn keep_granting(node: &Arc<Node>, of: Sender) {
    let mut books = Books { of, boot: 0, keys: HashMap::new() };
    // Above every exchange of an earlier control.
    let mut seq = now().as_millis();
    let (mut grants, mut failing) = (Vec::new(), false);
    loop {
        seq = seq.saturating_add(1);
        let said = Grants { seq, boot: books.boot, grants: List::clip(std::mem::take(&mut grants)) };
        // Where an answer did not come, grants may or may not have arrived; the next report tells.
        let done = of.exchange(node, said).and_then(|uses| {
            let next = books.settle(node, &uses)?;
            of.told(node).note(&uses);
            Ok(next)
        });
        match done {
            Ok(next) => (grants, failing) = (next, false),
            Err(fail) => {
                if !std::mem::replace(&mut failing, true) {
                    let who = of.name();
                    crate::log::line("egress", &format!("{who} is granted no bytes: {}", fail.line()));
                }
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// How many bytes a key is granted ahead.
fn lease(caps: &Caps) -> u64 {
    (caps.per_principal.bytes() / LEASES_IN_A_CAP).clamp(1, LEASE_MAX)
}

/// How many bytes a key lacks or will soon: the least that helps. None where it lacks none.
fn lacking(told: &Use, lease: u64) -> Option<u64> {
    let need = told.asked.saturating_sub(told.left);
    // With nothing left and nothing asked for it lies idle.
    let soon = told.left > 0 && told.left < lease / 2;
    (need > 0 || soon).then_some(need)
}

/// What it is granted where so much has room.
fn grant(key: u128, need: u64, lease: u64, room: u64) -> Grant {
    if need > room {
        return Grant { key, bytes: 0, low: 0, refused: true };
    }
    let bytes = need.max(lease).min(room);
    // Near the cap it is not asked ahead any more.
    Grant { key, bytes, low: if bytes < lease { 0 } else { lease / 2 }, refused: false }
}

impl Books {
    /// Brings the accounts up to what the gateway reports, and takes what it lacks into account: durable when this
    /// returns what to grant.
    fn settle(&mut self, node: &Node, uses: &Uses) -> Result<Vec<Grant>, Fail> {
        if uses.boot != self.boot {
            // What another process had left can never be sent, and how much that was nobody knows: it stays counted.
            *self = Self { of: self.of, boot: uses.boot, keys: HashMap::new() };
        }
        let (hour, lease) = (hour(), lease(&node.config.egress));
        let mut settled = Vec::new();
        for told in uses.uses.iter() {
            if let Some((known, change)) = self.known(node, told, hour)? {
                settled.push((told, known, change));
            }
        }
        let rests =
            settled.iter().all(|(told, _, change)| change.is_none() && lacking(told, lease).is_none());
        let mut logged = BTreeSet::new();
        let plan = loop {
            let mut plan = Plan::default();
            let done = if rests {
                plan.known = settled.iter().map(|(told, known, _)| (told.key, known.clone())).collect();
                Ok(())
            } else {
                node.meta.transaction(|tx| {
                    for (told, known, change) in &settled {
                        plan.add(tx, told, known.clone(), change, (hour, lease), &logged)?;
                    }
                    Ok(())
                })
            };
            match done {
                Ok(()) => break plan,
                Err(Stop::Store(error)) => return Err(store_fail(error)),
                Err(Stop::Tell { owner, whose, bytes }) => {
                    let alarm = told(EventKind::EgressAlarm, Outcome::Success, &owner, &whose, bytes)?;
                    node.keeper.append(alarm)?;
                    logged.insert(whose.name);
                }
            }
        };
        self.keys.extend(plan.known);
        for (key, whose, bytes) in plan.refused {
            self.tell_refusal(node, key, &whose, bytes, hour)?;
        }
        Ok(plan.grants)
    }

    /// A key as it stands after its report; none for one of nobody.
    fn known(&self, node: &Node, told: &Use, hour: u64) -> Result<Option<(Known, Change)>, Fail> {
        if let Some(known) = self.keys.get(&told.key).filter(|known| known.epoch == told.epoch) {
            let (book, change) = known.book.settle(told.used, told.left, hour);
            return Ok(Some((Known { book, ..known.clone() }, change)));
        }
        let Some(owner) = self.of.owner(node, told.key)? else { return Ok(None) };
        let (book, change) = Book::adopt(told.used, told.left, hour);
        let mut accounts = Whose::all(&node.config.egress, &owner.actor, owner.tenant.as_ref());
        if let (Some(cap), Some(own)) = (owner.cap, accounts.first_mut()) {
            own.cap = cap;
        }
        Ok(Some((Known { epoch: told.epoch, book, owner, accounts, refused: None }, change)))
    }

    /// The log tells of a refusal once an hour for each key; the gateway tells of each.
    fn tell_refusal(
        &mut self,
        node: &Node,
        key: u128,
        whose: &Whose,
        bytes: u64,
        hour: u64,
    ) -> Result<(), Fail> {
        let Some(known) = self.keys.get_mut(&key).filter(|known| known.refused != Some(hour)) else {
            return Ok(());
        };
        let room = node.meta.read(|tx| whose.account(tx)).map_err(store_fail)?.room(whose.cap.bytes(), hour);
        let event = told(EventKind::EgressRefuse, Outcome::Refused, &known.owner, whose, bytes)?;
        node.keeper.append(event.because(&over(whose, bytes, room).line()))?;
        known.refused = Some(hour);
        Ok(())
    }
}

impl Plan {
    fn add(
        &mut self,
        tx: &Tx<'_>,
        told_of: &Use,
        mut known: Known,
        change: &Change,
        (hour, lease): (u64, u64),
        logged: &BTreeSet<String>,
    ) -> Result<(), Stop> {
        let key = told_of.key;
        if !change.is_none() {
            for whose in &known.accounts {
                whose.change(tx, |account| account.change(change, hour))?;
            }
        }
        if let Some(need) = lacking(told_of, lease) {
            let mut tightest: Option<(u64, &Whose)> = None;
            for whose in &known.accounts {
                let room = whose.account(tx)?.room(whose.cap.bytes(), hour);
                if tightest.is_none_or(|(least, _)| room < least) {
                    tightest = Some((room, whose));
                }
            }
            let granted = grant(key, need, lease, tightest.map_or(0, |(room, _)| room));
            if granted.refused {
                self.refused.extend(tightest.map(|(_, whose)| (key, whose.clone(), need)));
            }
            if granted.bytes > 0 {
                for whose in &known.accounts {
                    let crosses = whose.account(tx)?.crosses(granted.bytes, whose.cap.bytes(), hour);
                    if crosses && !logged.contains(&whose.name) {
                        let (owner, whose) = (Box::new(known.owner.clone()), whose.clone());
                        return Err(Stop::Tell { owner, whose, bytes: granted.bytes });
                    }
                }
                for whose in &known.accounts {
                    whose.change(tx, |account| account.add(granted.bytes, hour))?;
                }
                known.book = known.book.grant(granted.bytes);
            }
            self.grants.push(granted);
        }
        self.known.push((key, known));
        Ok(())
    }
}

/// What the log is told of an account.
fn told(kind: EventKind, outcome: Outcome, owner: &Owner, whose: &Whose, bytes: u64) -> Result<Event, Fail> {
    let (asset, id) = &owner.asset;
    Ok(Event::new(kind, Phase::Observed, outcome, now().as_millis(), correlation()?)
        .tenant(owner.tenant.as_ref().map_or("", Name::as_str))
        .actor(&owner.actor)
        .asset(asset, id, None)
        .severity(Severity::High)
        .detail("account", &whose.name)
        .detail("bytes", &bytes.to_string())
        .detail("cap", &whose.cap.bytes().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(left: u64, asked: u64) -> Use {
        Use { key: 1, epoch: 0, used: 1000, left, asked }
    }

    #[test]
    fn a_key_lacks_what_an_answer_waits_for_or_will_soon() {
        assert_eq!(lacking(&told(40, 100), 64), Some(60));
        assert_eq!(lacking(&told(31, 0), 64), Some(0));
        assert_eq!(lacking(&told(32, 0), 64), None);
        assert_eq!(lacking(&told(0, 0), 64), None, "it lies idle");
    }

    #[test]
    fn it_is_granted_no_more_than_there_is_room_for() {
        for (need, room, bytes, low, refused) in [
            (10, 1000, 64, 32, false),
            (100, 1000, 100, 32, false),
            (10, 20, 20, 0, false),
            (21, 20, 0, 0, true),
            (0, 0, 0, 0, false),
        ] {
            let granted = grant(1, need, 64, room);
            assert_eq!(
                (granted.bytes, granted.low, granted.refused),
                (bytes, low, refused),
                "{need} of {room}"
            );
            assert!(granted.bytes <= room);
        }
    }

    #[test]
    fn a_lease_is_a_small_part_of_a_cap() {
        let caps = |each: u64| Caps { per_principal: base::ByteSize::from_bytes(each), ..Caps::default() };
        assert_eq!((lease(&caps(16 << 30)), lease(&caps(12_800)), lease(&caps(1))), (LEASE_MAX, 100, 1));
    }
}
