//! Every bound of the keeper.

use std::time::Duration;

/// Connections at once, one thread each: control, gateway and warden use a handful.
pub(crate) const CONNECTIONS_MAX: usize = 64;
/// A connection that does not take its answer in this time is closed.
pub(crate) const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Data keys that one tenant may have released in an hour. A job reads tens of objects and restores a few
/// checkpoints; 3,600 is one a second, and bounds what a taken-over control can open before somebody looks. Control
/// seals small files in groups of up to 1,024 and 256 MiB under one key, so 100,000 of them are a hundred releases.
pub(crate) const RELEASES_PER_HOUR: u32 = 3600;
/// The window of the budget.
pub(crate) const BUDGET_WINDOW_MS: u64 = 3_600_000;
/// Tenants and jobs with keys: a record takes about 350 bytes of memory, 35 MiB at the limit.
pub(crate) const SCOPES_MAX: usize = 100_000;
/// Longest key set file: 100,000 records of at most 320 bytes.
pub(crate) const KEY_SET_MAX: u64 = 32 << 20;
/// Longest pause between a commit and its tiles: derived data may lag, but a reader wants its proof soon.
pub(crate) const PUBLISH_PAUSE: Duration = Duration::from_millis(20);
/// Pause before the tiles are tried again after a failure to write them.
pub(crate) const PUBLISH_RETRY: Duration = Duration::from_secs(1);
/// Intents without outcome that are closed at a start; more than that is listed by count.
pub(crate) const INTENTS_MAX: usize = 10_000;
/// Segments of a log: 10^6 of 64 MiB are 64 TiB.
pub(crate) const SEGMENTS_MAX: usize = 1_000_000;
