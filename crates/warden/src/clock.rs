//! The warden's clocks.

use rustix::time::{ClockId, clock_gettime};

/// Unix milliseconds, for events.
pub(crate) fn wall_ms() -> u64 {
    read(ClockId::Realtime)
}

/// Milliseconds since the machine started, by which receipts end.
pub(crate) fn boot_ms() -> u64 {
    read(ClockId::Boottime)
}

fn read(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000)
}

/// Milliseconds that never go back, for deadlines.
pub(crate) fn now_ms() -> u64 {
    host::channel::now_ms()
}
