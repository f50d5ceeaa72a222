//! Every bound of this crate.

use std::time::Duration;

/// Runs at a time. With [`SLOTS_OF_NODE`] this is also how many user ranges a node takes.
pub(crate) const RUNS_MAX: usize = 60;
/// User slots are split among nodes on one machine by a digest of their state directory: 1,000 parts of 60.
pub(crate) const SLOT_PARTS: u32 = 1_000;
/// Slots of one part; a slot is taken again only when its run was destroyed and nothing of it is left.
pub(crate) const SLOTS_OF_NODE: u32 = 60;
/// Connections to the warden's socket; control uses one.
pub(crate) const CONNECTIONS_MAX: usize = 16;
/// Smallest memory of a run, 32 MiB: below, not even an interpreter starts.
pub(crate) const MEMORY_MIN: u64 = 32 << 20;
/// Most processes of a run.
pub(crate) const PIDS_MAX: u32 = 16_384;
/// Most CPU of a run: 1,024 CPUs.
pub(crate) const CPU_MILLI_MAX: u32 = 1_024_000;
/// Longest wall time, 30 days.
pub(crate) const WALL_TIME_MAX_S: u32 = 30 * 86_400;
/// Time for hashing an input: this and one second for each [`HASH_BYTES_PER_S`].
pub(crate) const HASH_BASE_MS: u64 = 30_000;
/// A tenth of what SHA-256 does on one core.
pub(crate) const HASH_BYTES_PER_S: u64 = 100 << 20;
/// Receipt indexes remembered; older ones are refused unseen.
pub(crate) const RECEIPTS_KEPT: usize = 65_536;
/// Outcomes that wait for the keeper; more are counted and told as lost.
pub(crate) const OUTCOMES_MAX: usize = 4_096;
/// How long the keeper may take for one answer.
pub(crate) const KEEPER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the keeper may take to come up.
pub(crate) const KEEPER_START_MS: u64 = 15_000;
/// First and longest pause before a process of the node is started again.
pub(crate) const BACK_OFF_MS: (u64, u64) = (200, 5_000);
/// This many restarts within [`BREAKER_MS`] and a process stays down.
pub(crate) const BREAKER_RESTARTS: usize = 8;
/// See [`BREAKER_RESTARTS`].
pub(crate) const BREAKER_MS: u64 = 60_000;
/// How long a process of the node has to leave in order.
pub(crate) const LEAVE_MS: u64 = 5_000;
/// How often the keeper is asked whether the node is in safe mode. What a tenant runs goes on for no longer than this
/// after its keys were dropped.
pub(crate) const MODE_EVERY_MS: u64 = 250;
/// Longest sleep of the main loop.
pub(crate) const TICK_MS: u64 = 1_000;
/// Sockets that wait to be accepted by a model process.
pub(crate) const ENDPOINT_BACKLOG: i32 = 128;
/// How long a release may take to be copied: 1 GiB at 10 MB/s. Control waits a little longer.
pub(crate) const COPY_MS: u64 = 100_000;
/// How long the processes of a release may take to come up: the keeper's time, and four times as much for control, which
/// may bring its database up to date.
pub(crate) const CONFIRM_MS: u64 = 75_000;
