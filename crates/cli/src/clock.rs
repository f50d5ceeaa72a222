//! The one place of this program that reads clocks.

use std::time::{Duration, Instant, SystemTime};

use base::Timestamp;

/// Wall time, for `3 min ago`.
#[expect(clippy::disallowed_methods, reason = "the clock module of this shell")]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Whole seconds of CPU time that this process has used.
pub(crate) fn cpu_seconds() -> u64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime).tv_sec;
    u64::try_from(used).unwrap_or(u64::MAX)
}

/// A running stopwatch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts one.
    #[expect(clippy::disallowed_methods, reason = "the clock module of this shell")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since it started.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
