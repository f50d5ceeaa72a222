//! Every bound of this process.

/// Bytes read or written at once, 1 MiB: between two such steps a broken lease is noticed, so a job that opens its
/// file for writing waits for one copy of 1 MiB (0.2 ms at memory speed).
pub const STEP_BYTES: usize = 1 << 20;
/// Bytes of a layer read ahead, compressed and not: two such buffers stand in a layer's way.
pub const LAYER_BUFFER: usize = 128 << 10;
/// Bytes read of a file in which a system names itself.
pub const OS_RELEASE_BYTES: u64 = 16 << 10;
/// Deepest directory that is removed or settled in an image: links can lead deeper than any path of it.
pub const PRUNE_DEPTH: usize = 256;
/// Deepest directory below a root.
pub const DEPTH_MAX: usize = 32;
/// Longest relative path, in bytes; what `ops` carries.
pub const PATH_MAX: usize = 1024;
/// Most files that one walk returns.
pub const WALK_FILES_MAX: usize = 1_000_000;
/// Time without a change after which a file counts as quiet, in milliseconds.
pub const QUIET_MS: u64 = 1000;
/// A file that never is quiet is tried all the same after this many quiet times: the lease decides.
pub const STARVED_QUIETS: u64 = 5;
/// Full look at the directory beside the events, in milliseconds: for watches that could not be set.
pub const RESCAN_MS: u64 = 5000;
/// After a failure that is not the job's (no stage, disk full), in milliseconds.
pub const RETRY_MS: u64 = 5000;
/// Directories watched at once; the rest is found by the rescan.
pub const WATCHES_MAX: usize = 512;
/// Checkpoints waiting at once: distinct directories that change at the same time.
pub const PENDING_MAX: usize = 64;
/// Longest wait for a stage, in milliseconds.
pub const STAGE_WAIT_MS: u64 = 60_000;
/// Requests that wait while a file is being sealed.
pub const REQUESTS_MAX: usize = 64;
/// Paths that are remembered as reported, so that each is reported once.
pub const REPORTED_MAX: usize = 1024;
/// Output told per second, in bytes; more is counted and left out.
pub const OUTPUT_BYTES_PER_S: u64 = 128 * 1024;
/// Metrics told per second; of more, the earlier ones are left out.
pub const METRICS_PER_S: u64 = 100;
/// Interval of looking at `metrics.jsonl`, in milliseconds.
pub const METRICS_EVERY_MS: u64 = 500;
/// Bytes of `metrics.jsonl` read at a time.
pub const METRICS_READ: usize = 256 * 1024;
/// Longest line of output that is looked at.
pub const LINE_MAX: usize = 4096;
/// Steps remembered with their times, to say which step a checkpoint is of.
pub const STEPS_MAX: usize = 256;
/// A line may be read this much after the file was written whose step it tells, in milliseconds.
pub const STEP_SLACK_MS: u64 = 100;
