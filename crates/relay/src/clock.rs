//! The only place of this crate that reads a clock or draws randomness.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base::Timestamp;

/// Wall time.
#[expect(clippy::disallowed_methods, reason = "the shell's one reading of the wall clock")]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Monotonic time, for leases and idle connections.
#[expect(clippy::disallowed_methods, reason = "the shell's one reading of the monotonic clock")]
pub(crate) fn tick() -> Instant {
    Instant::now()
}

/// Ten random bytes for an id. Ids are names, not secrets: without randomness the time alone still orders them.
pub(crate) fn random() -> [u8; 10] {
    let mut bytes = [0; 10];
    if getrandom::fill(&mut bytes).is_err() {
        bytes = [0; 10];
    }
    bytes
}
