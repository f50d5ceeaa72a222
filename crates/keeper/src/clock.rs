//! The one place of the keeper that reads clocks and draws randomness.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base::Timestamp;

use crate::error::KeeperError;

/// Wall and monotonic time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

#[expect(clippy::disallowed_methods, reason = "this module is where the keeper reads the clock")]
impl Clock {
    /// Monotonic time counts from here.
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Unix time; a clock before 1970 counts as 1970.
    pub(crate) fn wall(self) -> Timestamp {
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
        Timestamp::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    /// Nanoseconds since the keeper started.
    pub(crate) fn mono_ns(self) -> u64 {
        u64::try_from(Instant::now().duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Milliseconds since the machine started, which the warden reads too.
pub(crate) fn boot_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000)
}

/// Random bytes of the kernel.
///
/// # Errors
/// The kernel has none to give.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], KeeperError> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// Fills `bytes` with random ones.
///
/// # Errors
/// As [`random`].
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), KeeperError> {
    getrandom::fill(bytes).map_err(|_| KeeperError::Random)
}
