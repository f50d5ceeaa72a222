//! How often a caller may ask: a token bucket for each, and one for each user or address whose requests are of nobody
//! known.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base::Timestamp;

use crate::Fail;

/// Requests of one key or service: as fast as a console or a script may want, and far below what the node can answer.
const OF_A_CALLER: Rate = Rate { burst: 400, per_second: 100 };
/// Requests of one user or address that are not of anybody known: guesses of keys.
const OF_STRANGERS: Rate = Rate { burst: 120, per_second: 20 };
/// Callers that are counted at once, and so many strangers. One is forgotten when its bucket is full again, after 6 s at
/// most.
const CALLERS_MAX: usize = 4096;

/// A rate: so many requests at once, and then so many a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate {
    burst: u64,
    per_second: u64,
}

/// A token bucket. One token a second is one thousandth a millisecond, so the arithmetic is exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket {
    thousandths: u64,
    at: Timestamp,
}

impl Bucket {
    const fn full(rate: Rate, at: Timestamp) -> Self {
        Self { thousandths: rate.burst.saturating_mul(1000), at }
    }

    /// What is in it at a later time; a clock that was set back adds nothing.
    fn filled(self, rate: Rate, now: Timestamp) -> Self {
        let gained = now.millis_since(self.at).saturating_mul(rate.per_second);
        let most = Self::full(rate, now).thousandths;
        Self { thousandths: self.thousandths.saturating_add(gained).min(most), at: now }
    }

    /// Takes one token, or says in how many milliseconds there is one.
    fn take(&mut self, rate: Rate, now: Timestamp) -> Result<(), u64> {
        *self = self.filled(rate, now);
        match self.thousandths.checked_sub(1000) {
            Some(rest) => {
                self.thousandths = rest;
                Ok(())
            }
            None => Err(1000u64.saturating_sub(self.thousandths).div_ceil(rate.per_second)),
        }
    }
}

/// Buckets of one rate, by whom they are of.
#[derive(Debug)]
struct Buckets {
    rate: Rate,
    of: Mutex<BTreeMap<String, Bucket>>,
}

impl Buckets {
    const fn new(rate: Rate) -> Self {
        Self { rate, of: Mutex::new(BTreeMap::new()) }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Bucket>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one token, or says in how many milliseconds there is one.
    fn take(&self, who: String, now: Timestamp) -> Result<(), u64> {
        let mut buckets = self.locked();
        if let Some(bucket) = buckets.get_mut(&who) {
            return bucket.take(self.rate, now);
        }
        if buckets.len() >= CALLERS_MAX {
            let full = Bucket::full(self.rate, now).thousandths;
            buckets.retain(|_, bucket| bucket.filled(self.rate, now).thousandths < full);
        }
        if buckets.len() >= CALLERS_MAX {
            return Err(1000);
        }
        let mut bucket = Bucket::full(self.rate, now);
        let taken = bucket.take(self.rate, now);
        buckets.insert(who, bucket);
        taken
    }
}

/// Who asked lately. Strangers are counted apart: however many they are, they take no place from who is known.
#[derive(Debug)]
pub(crate) struct Rates {
    callers: Buckets,
    strangers: Buckets,
}

impl Default for Rates {
    fn default() -> Self {
        Self { callers: Buckets::new(OF_A_CALLER), strangers: Buckets::new(OF_STRANGERS) }
    }
}

impl Rates {
    /// Counts a request of a caller who is known: a key or a service, as in events.
    pub(crate) fn caller(&self, who: String, now: Timestamp) -> Result<(), Fail> {
        self.callers.take(who, now).map_err(|wait| Fail::too_many("this caller asks too often", wait))
    }

    /// Counts a request that was of nobody known, by where it came from: a user of this machine, or an address.
    pub(crate) fn stranger(&self, source: String, now: Timestamp) {
        // The request is refused whether or not a token was left; the next one is not even looked at. Of more sources
        // than are counted at once, the rest are refused one by one.
        self.strangers.take(source, now).unwrap_or_default();
    }

    /// Whether requests from there are looked at: after many of nobody known they are not, for a while. So a stranger
    /// neither guesses keys quickly nor keeps the database busy.
    pub(crate) fn looks_at(&self, source: &str, now: Timestamp) -> Result<(), Fail> {
        let Some(mut bucket) = self.strangers.locked().get(source).copied() else { return Ok(()) };
        bucket
            .take(self.strangers.rate, now)
            .map_err(|wait| Fail::too_many("too many requests from there were of nobody known", wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_millis(1_000_000);

    fn after(millis: u64) -> Timestamp {
        AT.plus_millis(millis)
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let rate = Rate { burst: 3, per_second: 2 };
        let mut bucket = Bucket::full(rate, AT);
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, AT), Ok(()));
        }
        assert_eq!(bucket.take(rate, AT), Err(500));
        assert_eq!(bucket.take(rate, after(499)), Err(1));
        assert_eq!(bucket.take(rate, after(500)), Ok(()));
        // However long nothing is asked, no more than the burst is saved up.
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, after(3_600_000)), Ok(()));
        }
        assert!(bucket.take(rate, after(3_600_000)).is_err());
        // Neither does a clock that was set back give anything.
        assert!(bucket.take(rate, AT).is_err());
    }

    #[test]
    fn one_caller_takes_nothing_from_another_and_is_told_when_to_come_back() {
        let rates = Rates::default();
        for _ in 0..OF_A_CALLER.burst {
            rates.caller("key_1".into(), AT).unwrap();
        }
        let refused = rates.caller("key_1".into(), AT).unwrap_err();
        assert_eq!((refused.status, refused.code.as_str()), (429, "SR-API-0003"));
        assert_eq!(refused.header.as_deref(), Some(&("retry-after", "1".to_owned())));
        rates.caller("key_2".into(), AT).unwrap();
        rates.caller("key_1".into(), after(10)).unwrap();
    }

    #[test]
    fn who_guesses_is_not_looked_at_for_a_while_and_nobody_else_suffers() {
        let rates = Rates::default();
        for _ in 0..OF_STRANGERS.burst {
            rates.looks_at("uid:7", AT).unwrap();
            rates.stranger("uid:7".into(), AT);
        }
        assert_eq!(rates.looks_at("uid:7", AT).unwrap_err().status, 429);
        rates.looks_at("uid:8", AT).unwrap();
        rates.looks_at("uid:7", after(1000)).unwrap();
    }

    #[test]
    fn what_is_remembered_of_callers_is_bounded_and_forgets_the_idle() {
        let rates = Rates::default();
        for n in 0..CALLERS_MAX {
            rates.caller(n.to_string(), AT).unwrap();
        }
        assert!(rates.caller("late".into(), AT).is_err());
        rates.caller("late".into(), after(1000)).unwrap();
        assert_eq!(rates.callers.locked().len(), 1);
    }

    #[test]
    fn strangers_from_everywhere_take_no_place_from_who_is_known() {
        let rates = Rates::default();
        for n in 0..=CALLERS_MAX {
            rates.stranger(format!("addr:{n}"), AT);
        }
        rates.caller("key_1".into(), AT).unwrap();
        assert_eq!(rates.strangers.locked().len(), CALLERS_MAX);
    }
}
