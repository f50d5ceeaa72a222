//! Bytes that may leave, key by key: control grants them after it took them into account, whoever sends them spends them
//! before the first is sent. Spoken in [`ops::lease`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ops::List;
use ops::lease::{Grant, Grants, Use, Uses};
use tokio::sync::Notify;

use crate::limits::{LEASE_EVERY, LEASE_IDLE, LEASE_REFUSED, LEASE_TIMEOUT};

/// Who has the leases of keys.
pub trait Held {
    /// All of them, with their keys.
    fn leases(&self) -> Vec<(u128, Arc<Lease>)>;

    /// Those of one key, if it is known.
    fn lease(&self, key: u128) -> Option<Arc<Lease>> {
        self.leases().into_iter().find(|(of, _)| *of == key).map(|(_, lease)| lease)
    }
}

/// Why bytes may not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSpent {
    /// Control granted no more: a cap.
    Refused,
    /// Control said nothing in time.
    NoGrant,
}

/// The bytes of one key.
#[derive(Debug)]
pub struct Lease {
    epoch: u64,
    state: Mutex<State>,
    granted: Notify,
}

#[derive(Debug)]
struct State {
    used: u64,
    left: u64,
    /// With less than this left, more is asked for.
    low: u64,
    /// What an answer that waits lacks; 0: none waits.
    asked: u64,
    /// So many, or more, were refused then.
    refused: Option<(u64, Instant)>,
    touched: Instant,
}

/// What became of an answer's bytes.
#[derive(Debug, PartialEq, Eq)]
enum Spent {
    /// They may leave.
    Yes {
        /// Whether few are left.
        low: bool,
    },
    /// Control has to grant more first.
    Lacking,
    /// Control granted no more.
    Refused,
}

impl Lease {
    fn new(epoch: u64, now: Instant) -> Self {
        let state = State { used: 0, left: 0, low: 0, asked: 0, refused: None, touched: now };
        Self { epoch, state: Mutex::new(state), granted: Notify::new() }
    }

    /// What is used and what is left change together, or a report between them would give back what left.
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spend(&self, bytes: u64, now: Instant) -> Spent {
        let mut state = self.state();
        state.touched = now;
        if let Some(left) = state.left.checked_sub(bytes) {
            state.left = left;
            state.used = state.used.saturating_add(bytes);
            return Spent::Yes { low: left < state.low };
        }
        state.refused = state.refused.filter(|(_, at)| now.saturating_duration_since(*at) < LEASE_REFUSED);
        if state.refused.is_some_and(|(least, _)| bytes >= least) {
            return Spent::Refused;
        }
        state.asked = state.asked.max(bytes);
        Spent::Lacking
    }

    fn grant(&self, grant: &Grant, now: Instant) {
        let mut state = self.state();
        state.left = state.left.saturating_add(grant.bytes);
        state.low = grant.low;
        if grant.refused && state.asked > state.left {
            let least = state.refused.map_or(state.asked, |(least, _)| least.min(state.asked));
            state.refused = Some((least, now));
        }
        if grant.refused || state.asked <= state.left {
            state.asked = 0;
        }
        drop(state);
        self.granted.notify_waiters();
    }

    fn is_needy(&self) -> bool {
        let state = self.state();
        state.asked > 0 || state.left < state.low
    }

    /// What became of its bytes; what lies idle is given up. None if there is nothing to tell.
    fn report(&self, key: u128, now: Instant) -> Option<Use> {
        let mut state = self.state();
        if state.asked == 0 && now.saturating_duration_since(state.touched) >= LEASE_IDLE {
            (state.left, state.low) = (0, 0);
        }
        let State { used, left, asked, .. } = *state;
        (used > 0 || left > 0 || asked > 0).then_some(Use { key, epoch: self.epoch, used, left, asked })
    }
}

/// What all leases have in common.
#[derive(Debug)]
pub struct Leases {
    boot: u128,
    clock: fn() -> Instant,
    epochs: AtomicU64,
    /// The last exchange that was taken.
    seq: Mutex<u64>,
    lacking: Notify,
}

impl Leases {
    /// Of the process that `boot` names and no other.
    pub fn new(boot: u128, clock: fn() -> Instant) -> Self {
        Self { boot, clock, epochs: AtomicU64::new(0), seq: Mutex::new(0), lacking: Notify::new() }
    }

    /// A lease without bytes, for a key that is new here.
    pub fn lease(&self) -> Arc<Lease> {
        Arc::new(Lease::new(self.epochs.fetch_add(1, Ordering::AcqRel), (self.clock)()))
    }

    /// Spends bytes, or says why they cannot be sent.
    ///
    /// # Errors
    /// [`NotSpent`].
    pub async fn spend(&self, lease: &Lease, bytes: u64) -> Result<(), NotSpent> {
        match self.spend_now(lease, bytes) {
            Some(spent) => spent,
            None => self.spend_when_granted(lease, bytes).await,
        }
    }

    /// Spends what is there; none if control has to grant more first, and was told.
    fn spend_now(&self, lease: &Lease, bytes: u64) -> Option<Result<(), NotSpent>> {
        let spent = lease.spend(bytes, (self.clock)());
        if matches!(spent, Spent::Lacking | Spent::Yes { low: true }) {
            self.lacking.notify_one();
        }
        match spent {
            Spent::Yes { .. } => Some(Ok(())),
            Spent::Refused => Some(Err(NotSpent::Refused)),
            Spent::Lacking => None,
        }
    }

    async fn spend_when_granted(&self, lease: &Lease, bytes: u64) -> Result<(), NotSpent> {
        let granted = async {
            loop {
                // Listens before it looks, so that no grant is missed.
                let mut granted = std::pin::pin!(lease.granted.notified());
                granted.as_mut().enable();
                match self.spend_now(lease, bytes) {
                    Some(spent) => return spent,
                    None => granted.await,
                }
            }
        };
        tokio::time::timeout(LEASE_TIMEOUT, granted).await.unwrap_or(Err(NotSpent::NoGrant))
    }

    /// Takes grants, and answers when a key lacks bytes or enough time has gone by.
    pub async fn exchange(&self, grants: Grants, held: &impl Held) -> Uses {
        let mine = grants.boot == self.boot;
        let seq = {
            let mut last = self.seq.lock().unwrap_or_else(PoisonError::into_inner);
            if grants.seq <= *last {
                return Uses { boot: self.boot, seq: 0, uses: List::default() };
            }
            *last = grants.seq;
            if mine {
                let now = (self.clock)();
                for grant in grants.grants.iter() {
                    // To a key that is gone nothing is granted, and what it does not report control takes back.
                    if let Some(lease) = held.lease(grant.key) {
                        lease.grant(grant, now);
                    }
                }
            }
            grants.seq
        };
        if mine {
            let lacking = async {
                while !held.leases().iter().any(|(_, lease)| lease.is_needy()) {
                    self.lacking.notified().await;
                }
            };
            // Nobody lacks any: what was used is told all the same.
            tokio::time::timeout(LEASE_EVERY, lacking).await.unwrap_or_default();
        }
        if *self.seq.lock().unwrap_or_else(PoisonError::into_inner) != seq {
            // Another control has come since, and this one may have been woken in its place.
            self.lacking.notify_one();
        }
        let now = (self.clock)();
        let uses = held.leases().iter().filter_map(|(key, lease)| lease.report(*key, now)).collect();
        Uses { boot: self.boot, seq, uses: List::clip(uses) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    mod clock {
        #[expect(clippy::disallowed_methods, reason = "a test has a clock of its own")]
        pub(super) fn tick() -> std::time::Instant {
            std::time::Instant::now()
        }
    }

    fn grant(bytes: u64, low: u64, refused: bool) -> Grant {
        Grant { key: 1, bytes, low, refused }
    }

    #[test]
    fn no_more_leaves_than_was_granted() {
        let now = clock::tick();
        let lease = Lease::new(0, now);
        assert_eq!(lease.spend(10, now), Spent::Lacking);
        assert!(lease.is_needy());
        lease.grant(&grant(25, 12, false), now);
        assert!(!lease.is_needy());
        assert_eq!(lease.spend(10, now), Spent::Yes { low: false });
        assert_eq!(lease.spend(10, now), Spent::Yes { low: true });
        assert_eq!(lease.spend(10, now), Spent::Lacking);
        let told = lease.report(1, now).unwrap();
        assert_eq!((told.used, told.left, told.asked), (20, 5, 10));
    }

    #[test]
    fn a_refusal_is_for_answers_of_that_size_and_for_a_while() {
        let now = clock::tick();
        let lease = Lease::new(0, now);
        assert_eq!(lease.spend(100, now), Spent::Lacking);
        lease.grant(&grant(20, 0, true), now);
        assert_eq!(lease.spend(100, now), Spent::Refused);
        assert_eq!(lease.spend(50, now), Spent::Lacking, "a smaller answer may have room");
        lease.grant(&grant(0, 0, true), now);
        assert_eq!(lease.spend(50, now), Spent::Refused);
        assert_eq!(lease.spend(20, now), Spent::Yes { low: false });
        assert_eq!(lease.spend(100, now + LEASE_REFUSED), Spent::Lacking, "asked again");
    }

    #[test]
    fn without_a_word_of_control_nothing_leaves() {
        let leases = Leases::new(1, clock::tick);
        let lease = leases.lease();
        let spent = crate::block_on(leases.spend(&lease, 1)).unwrap();
        assert_eq!(spent, Err(NotSpent::NoGrant));
        // Nothing to send needs no word.
        assert_eq!(crate::block_on(leases.spend(&lease, 0)).unwrap(), Ok(()));
        lease.grant(&grant(1, 0, false), clock::tick());
        assert_eq!(crate::block_on(leases.spend(&lease, 1)).unwrap(), Ok(()));
    }

    #[test]
    fn what_lies_idle_is_given_up_and_never_spent() {
        let now = clock::tick();
        let lease = Lease::new(7, now);
        assert_eq!(lease.report(1, now), None);
        lease.spend(10, now);
        lease.grant(&grant(30, 5, false), now);
        lease.spend(10, now);
        let later = now + LEASE_IDLE;
        assert_eq!(lease.report(1, later - Duration::from_millis(1)).unwrap().left, 20);
        let told = lease.report(1, later).unwrap();
        assert_eq!((told.epoch, told.used, told.left), (7, 10, 0));
        assert_eq!(lease.spend(1, later), Spent::Lacking);
    }
}
