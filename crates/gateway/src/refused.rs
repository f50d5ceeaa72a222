//! Refused access, for the audit log: the first of a kind at once, the others of that minute as one count.
//!
//! Whoever guesses keys can send thousands of requests a second; the log must tell of it without being filled by it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use base::Timestamp;
use base::id::CorrelationId;
use ops::event::{Event, EventKind, Outcome, Phase, Severity};

use crate::clock;
use crate::limits::{REFUSED_KINDS_MAX, REFUSED_WINDOW};
use crate::policy::{Holder, actor};
use crate::problem::Refusal;

/// Why access is refused: more than the client is told.
#[derive(Debug)]
pub(crate) enum Denied {
    /// No key in the request, or something that is not one.
    NoKey,
    /// A key that the policy does not know.
    UnknownKey,
    /// The id of a key with another secret.
    WrongSecret(Arc<Holder>),
    /// A revoked key, or one past its end.
    EndedKey(Arc<Holder>),
    /// A good key that is bound to a service, without the certificate of that service.
    WithoutService(Arc<Holder>),
    /// A good key for something that it does not open.
    Elsewhere(Arc<Holder>),
}

impl Denied {
    fn reason(&self) -> &'static str {
        match self {
            Self::NoKey => "no API key was presented",
            Self::UnknownKey => "an API key that does not exist was presented",
            Self::WrongSecret(_) => "the id of an API key was presented with another secret",
            Self::EndedKey(_) => "a revoked or expired API key was presented",
            Self::WithoutService(_) => {
                "an API key was presented without the certificate of the service that it is bound to"
            }
            Self::Elsewhere(_) => "an API key was used for what it does not open",
        }
    }

    fn holder(&self) -> Option<&Holder> {
        match self {
            Self::NoKey | Self::UnknownKey => None,
            Self::WrongSecret(holder)
            | Self::EndedKey(holder)
            | Self::WithoutService(holder)
            | Self::Elsewhere(holder) => Some(holder),
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::NoKey | Self::UnknownKey => Severity::Low,
            Self::WrongSecret(_) | Self::EndedKey(_) | Self::Elsewhere(_) => Severity::Medium,
            // Whoever has it took it from its holder.
            Self::WithoutService(_) => Severity::High,
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Elsewhere(_) => Self::NotFound,
            _ => Self::Unauthorised,
        }
    }
}

/// What a count is kept for. Only what the policy knows is part of it, so a client cannot make kinds at will.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    reason: &'static str,
    key: Option<u128>,
}

/// Those after the first, within one window.
#[derive(Debug)]
struct Count {
    since: Timestamp,
    more: u64,
    /// The event to write if there are more; its details are those of the last one.
    last: Option<Event>,
}

/// Counts of the windows that are open.
#[derive(Debug, Default)]
pub(crate) struct Refused(Mutex<BTreeMap<Kind, Count>>);

impl Refused {
    /// Notes one refusal. The event is to be logged now; `None` if it is counted only.
    pub(crate) fn note(&self, denied: &Denied, peer: IpAddr, now: Timestamp) -> Option<Event> {
        let kind = Kind { reason: denied.reason(), key: denied.holder().map(|holder| holder.key.id) };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&kind) {
            count.more = count.more.saturating_add(1);
            count.last = Some(event(denied, peer, now));
            return None;
        }
        if counts.len() < REFUSED_KINDS_MAX {
            counts.insert(kind, Count { since: now, more: 0, last: None });
            return Some(event(denied, peer, now));
        }
        // No place for one more key: those are counted together, whoever they are.
        let rest = Kind { reason: "", key: None };
        let count = counts.entry(rest).or_insert(Count { since: now, more: 0, last: None });
        count.more = count.more.saturating_add(1);
        count.last.get_or_insert_with(|| {
            plain(now, peer).severity(Severity::Medium).because("access was refused to many different keys")
        });
        None
    }

    /// Closes the windows that are over and gives the events of those with more than the first refusal.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<Event> {
        let window = u64::try_from(REFUSED_WINDOW.as_millis()).unwrap_or(u64::MAX);
        self.close(|count| now.millis_since(count.since) >= window)
    }

    /// Closes all windows, for the end of the process.
    pub(crate) fn rest(&self) -> Vec<Event> {
        self.close(|_| true)
    }

    fn close(&self, over: impl Fn(&Count) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, count| {
            if !over(count) {
                return true;
            }
            let more = count.more.to_string();
            events.extend(count.last.take().map(|event| {
                event.detail("count", &more).detail("since_ms", &count.since.as_millis().to_string())
            }));
            false
        });
        events
    }
}

fn plain(now: Timestamp, peer: IpAddr) -> Event {
    let correlation = CorrelationId::new(now, clock::random());
    Event::new(
        EventKind::AccessRefuse,
        Phase::Observed,
        Outcome::Refused,
        now.as_millis(),
        correlation.bits(),
    )
    .actor("client")
    .detail("peer", &peer.to_string())
}

fn event(denied: &Denied, peer: IpAddr, now: Timestamp) -> Event {
    let event = plain(now, peer).severity(denied.severity()).because(denied.reason());
    match denied.holder() {
        // With another secret, or without the certificate, it is not known to be the key's holder.
        Some(holder) if matches!(denied, Denied::WrongSecret(_) | Denied::WithoutService(_)) => {
            event.tenant(&holder.key.tenant).asset("key", &actor(holder), None)
        }
        Some(holder) => event.tenant(&holder.key.tenant).actor(&format!("key:{}", actor(holder))).asset(
            "key",
            &actor(holder),
            None,
        ),
        None => event.asset("key", "", None),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use ops::Text;
    use ops::snapshot::Key;

    use super::*;
    use crate::quota::Usage;
    use net::lease::{Lease, Leases};

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + ms)
    }

    fn holder(id: u128) -> Arc<Holder> {
        Arc::new(holding(id, Leases::new(1, crate::clock::tick).lease()))
    }

    pub(crate) fn holding(id: u128, lease: Arc<Lease>) -> Holder {
        let key = Key {
            id,
            mac: [0; 32],
            tenant: Text::clip("acme"),
            service: Text::default(),
            endpoint: 1,
            expires_ms: 0,
            revoked: false,
            requests_per_minute: 1,
            concurrency: 1,
        };
        let usage = Arc::new(Usage::new(1, clock::tick()));
        Holder { key, usage, lease }
    }

    fn counted(event: &Event) -> &str {
        event.details.iter().find(|d| d.key.as_str() == "count").map_or("", |d| d.value.as_str())
    }

    #[test]
    fn the_first_is_told_at_once_and_the_others_as_one_count() {
        let refused = Refused::default();
        let first = refused.note(&Denied::Elsewhere(holder(7)), PEER, at(0)).unwrap();
        assert_eq!((first.tenant.as_str(), first.outcome), ("acme", Outcome::Refused));
        for ms in 1..=1000 {
            assert!(refused.note(&Denied::Elsewhere(holder(7)), PEER, at(ms)).is_none());
        }
        assert!(refused.note(&Denied::WrongSecret(holder(7)), PEER, at(5)).is_some(), "another kind");
        assert!(refused.due(at(59_999)).is_empty());
        let told = refused.due(at(60_010));
        assert_eq!(told.iter().map(counted).collect::<Vec<_>>(), ["1000"], "a window with one tells no more");
        assert!(refused.note(&Denied::Elsewhere(holder(7)), PEER, at(60_011)).is_some(), "a new window");
        assert!(refused.rest().is_empty());
    }

    #[test]
    fn many_kinds_are_bounded_and_nothing_goes_uncounted() {
        let refused = Refused::default();
        let ids = 0..2 * u128::try_from(REFUSED_KINDS_MAX).unwrap();
        let single = ids.filter_map(|id| refused.note(&Denied::EndedKey(holder(id)), PEER, at(0))).count();
        assert_eq!(single, REFUSED_KINDS_MAX);
        let told = refused.rest();
        assert_eq!(told.iter().map(counted).collect::<Vec<_>>(), [REFUSED_KINDS_MAX.to_string()]);
    }

    #[test]
    fn a_wrong_secret_is_not_blamed_on_the_key() {
        let refused = Refused::default();
        let event = refused.note(&Denied::WrongSecret(holder(7)), PEER, at(0)).unwrap();
        assert_eq!(event.actor.as_str(), "client");
        assert_eq!(event.asset_id.as_str(), actor(&holder(7)));
        assert_eq!(refused.note(&Denied::NoKey, PEER, at(0)).unwrap().tenant.as_str(), "");
    }
}
