//! What one key may use: a token bucket and a number of requests at once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::problem::Refusal;

/// The use of one key. It outlives policy pushes, so that a push does not refill it.
#[derive(Debug)]
pub(crate) struct Usage {
    bucket: Mutex<Bucket>,
    under_way: AtomicU32,
}

/// Tokens in millionths, so that a slow rate still fills evenly.
#[derive(Debug)]
struct Bucket {
    micro_tokens: u64,
    filled: Instant,
}

const MICRO: u64 = 1_000_000;

impl Usage {
    /// A full bucket.
    pub(crate) fn new(per_minute: u32, now: Instant) -> Self {
        let micro_tokens = u64::from(per_minute).saturating_mul(MICRO);
        Self { bucket: Mutex::new(Bucket { micro_tokens, filled: now }), under_way: AtomicU32::new(0) }
    }

    /// Takes one request out of the quota, or says how long to wait.
    pub(crate) fn take(&self, per_minute: u32, now: Instant) -> Result<(), Refusal> {
        let rate = u64::from(per_minute);
        if rate == 0 {
            return Err(Refusal::Quota(Duration::from_secs(60)));
        }
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = now.saturating_duration_since(bucket.filled);
        // micro-tokens a microsecond = rate / 60; whole seconds and below alike.
        let gained = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).saturating_mul(rate) / 60;
        if gained > 0 {
            bucket.micro_tokens = bucket.micro_tokens.saturating_add(gained).min(rate.saturating_mul(MICRO));
            bucket.filled = now;
        }
        match bucket.micro_tokens.checked_sub(MICRO) {
            Some(left) => {
                bucket.micro_tokens = left;
                Ok(())
            }
            None => {
                let missing = MICRO.saturating_sub(bucket.micro_tokens);
                Err(Refusal::Quota(Duration::from_micros(missing.saturating_mul(60).div_ceil(rate))))
            }
        }
    }

    /// Counts a request as under way until the result is dropped.
    pub(crate) fn enter(self: &Arc<Self>, limit: u32) -> Result<UnderWay, Refusal> {
        self.under_way
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < limit).then_some(n.saturating_add(1)))
            .map(|_| UnderWay(Arc::clone(self)))
            .map_err(|_| Refusal::Concurrency)
    }
}

/// One request under way.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Usage>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::tick;

    #[test]
    fn the_bucket_empties_and_fills_at_its_rate() {
        let start = tick();
        let usage = Usage::new(3, start);
        for _ in 0..3 {
            usage.take(3, start).unwrap();
        }
        assert_eq!(usage.take(3, start), Err(Refusal::Quota(Duration::from_secs(20))));
        assert!(usage.take(3, start + Duration::from_secs(19)).is_err());
        usage.take(3, start + Duration::from_secs(20)).unwrap();
        assert!(usage.take(3, start + Duration::from_secs(21)).is_err());
        assert!(usage.take(0, start + Duration::from_secs(900)).is_err());
    }

    #[test]
    fn concurrency_is_given_back() {
        let usage = Arc::new(Usage::new(1, tick()));
        let one = usage.enter(1).unwrap();
        assert_eq!(usage.enter(1).unwrap_err(), Refusal::Concurrency);
        drop(one);
        usage.enter(1).unwrap();
    }
}
