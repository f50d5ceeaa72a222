//! How long a session of a person lasts, how fresh its proof is, and how long somebody waits who failed to prove who
//! they are.

use base::Timestamp;

/// So many failures are free: a finger slips.
const FAILURES_FREE: u32 = 4;
/// The first wait.
const LOCK_FIRST_MS: u64 = 30_000;
/// The longest: who attacks an account keeps its owner out for no longer than this at once.
const LOCK_MAX_MS: u64 = 15 * 60_000;

/// How long sessions last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Without a request, in milliseconds.
    pub idle_ms: u64,
    /// In all.
    pub absolute_ms: u64,
    /// How long a proof is fresh.
    pub fresh_ms: u64,
}

/// The times of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When the person last proved who they are.
    pub proved: Timestamp,
    /// When the last request came.
    pub seen: Timestamp,
    /// When it ends whatever happens.
    pub ends: Timestamp,
    /// Whether it was revoked, or its owner logged out.
    pub revoked: bool,
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may be used.
    Live,
    /// No request came for too long.
    Idle,
    /// Its time is over.
    Ended,
    /// It was revoked, or its owner logged out.
    Revoked,
}

impl Standing {
    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Idle => "idle too long",
            Self::Ended => "ended",
            Self::Revoked => "revoked",
        }
    }
}

impl Times {
    /// Where the session stands at a time. A clock that was set back gives nobody more time than `ends`: what lies in
    /// the future counts as now.
    pub fn standing(&self, limits: &Limits, at: Timestamp) -> Standing {
        if self.revoked {
            Standing::Revoked
        } else if at >= self.ends {
            Standing::Ended
        } else if at.millis_since(self.seen) >= limits.idle_ms {
            Standing::Idle
        } else {
            Standing::Live
        }
    }

    /// Whether the proof is so young that it is good for operations of high risk. One from the future is none.
    pub fn is_fresh(&self, limits: &Limits, at: Timestamp) -> bool {
        at >= self.proved && at.millis_since(self.proved) < limits.fresh_ms
    }
}

/// How often in a row somebody failed to prove that they are this person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lockout {
    /// Failures since the last success.
    pub failures: u32,
    /// Until when nobody may try.
    pub until: Option<Timestamp>,
}

impl Lockout {
    /// Whether nobody may try at this time.
    pub fn is_locked(&self, at: Timestamp) -> bool {
        self.until.is_some_and(|until| at < until)
    }

    /// After one more failure: each beyond the free ones doubles the wait.
    #[must_use]
    pub fn failed(&self, at: Timestamp) -> Self {
        let failures = self.failures.saturating_add(1);
        let until = failures.checked_sub(FAILURES_FREE.saturating_add(1)).map(|doublings| {
            let wait = LOCK_FIRST_MS.saturating_mul(1u64.checked_shl(doublings).unwrap_or(u64::MAX));
            at.plus_millis(wait.min(LOCK_MAX_MS))
        });
        Self { failures, until }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { idle_ms: 100, absolute_ms: 1000, fresh_ms: 50 };

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn times(seen: u64) -> Times {
        Times { proved: at(1000), seen: at(seen), ends: at(2000), revoked: false }
    }

    #[test]
    fn a_session_ends_by_idleness_by_age_and_by_revocation() {
        for (seen, now, expected) in [
            (1000, 1099, Standing::Live),
            (1000, 1100, Standing::Idle),
            (1950, 1999, Standing::Live),
            (1950, 2000, Standing::Ended),
            // The clock was set back.
            (1500, 1000, Standing::Live),
        ] {
            assert_eq!(times(seen).standing(&LIMITS, at(now)), expected, "{seen} {now}");
        }
        let revoked = Times { revoked: true, ..times(1000) };
        assert_eq!(revoked.standing(&LIMITS, at(1001)), Standing::Revoked);
    }

    #[test]
    fn a_proof_is_fresh_for_a_while_and_never_from_the_future() {
        for (now, fresh) in [(999, false), (1000, true), (1049, true), (1050, false)] {
            assert_eq!(times(1000).is_fresh(&LIMITS, at(now)), fresh, "{now}");
        }
    }

    #[test]
    fn the_wait_doubles_up_to_its_limit() {
        let mut lockout = Lockout::default();
        let mut waits = Vec::new();
        for _ in 0..12 {
            lockout = lockout.failed(at(0));
            waits.push(lockout.until.map_or(0, Timestamp::as_millis) / 1000);
        }
        assert_eq!(waits, [0, 0, 0, 0, 30, 60, 120, 240, 480, 900, 900, 900]);
        assert!(lockout.is_locked(at(899_999)) && !lockout.is_locked(at(900_000)));
    }

    proptest! {
        #[test]
        fn no_session_is_live_at_or_after_its_end(seen in 0u64..3000, now in 0u64..5000) {
            let standing = times(seen).standing(&LIMITS, at(now));
            prop_assert!(standing != Standing::Live || now < 2000);
        }

        #[test]
        fn nobody_is_locked_out_for_longer_than_the_limit(failures in any::<u32>(), now in 0u64..1 << 50) {
            let lockout = Lockout { failures, until: None }.failed(at(now));
            prop_assert!(!lockout.is_locked(at(now + LOCK_MAX_MS)));
        }
    }
}
