//! The clocks of this shell.

use rustix::time::{ClockId, clock_gettime};

fn millis(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000)
}

/// Monotonic milliseconds, for waiting.
pub(crate) fn monotonic_ms() -> u64 {
    millis(ClockId::Monotonic)
}

/// Unix milliseconds, for records.
pub(crate) fn unix_ms() -> u64 {
    millis(ClockId::Realtime)
}

/// Waits without a descriptor.
pub(crate) fn pause_ms(ms: u64) {
    let time = timespec(ms);
    // An early return only shortens one step of a poll.
    let _early = rustix::event::poll(&mut [], Some(&time));
}

/// As the kernel takes it.
pub(crate) fn timespec(ms: u64) -> rustix::event::Timespec {
    rustix::event::Timespec {
        tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(ms % 1000).unwrap_or(0).saturating_mul(1_000_000),
    }
}
