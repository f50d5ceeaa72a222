//! Every bound of this crate.

/// Longest job file, in bytes.
pub const JOB_FILE_MAX: usize = 64 * 1024;
/// Most words of a command; what `ops` carries.
pub const COMMAND_WORDS_MAX: usize = 64;
/// Longest word of a command, in bytes; what `ops` carries.
pub const COMMAND_WORD_MAX: usize = 4096;
/// Most data channels: a run has 12 inputs, of which code and configuration are two.
pub const CHANNELS_MAX: usize = 10;
/// The channel of a model in quarantine, in a job that measures it.
pub const QUARANTINED_CHANNEL: &str = "model";
/// Most egresses of a job; what `ops` carries.
pub const EGRESSES_MAX: usize = 8;
/// Most hyperparameters: a run has 96 variables; 10 channels, these, and [`VARIABLES_FIXED_MAX`] fit.
pub const HYPERPARAMETERS_MAX: usize = 40;
/// Most variables that do not come from the job file: 96 - 10 - 40 = 46.
pub const VARIABLES_FIXED_MAX: usize = 46;
/// Longest text of a hyperparameter; 40 of them and their names stay below one variable's 8,192 bytes only
/// together with [`HYPERPARAMETERS_JSON_MAX`].
pub const HYPERPARAMETER_TEXT_MAX: usize = 1024;
/// Longest JSON of all hyperparameters, because it is one variable (`SM_HPS`).
pub const HYPERPARAMETERS_JSON_MAX: usize = 7 * 1024;
/// Largest CPU share, in thousandths: 1,024 CPUs.
pub const CPU_MILLI_MAX: u32 = 1_024_000;
/// Smallest CPU share, in thousandths.
pub const CPU_MILLI_MIN: u32 = 100;
/// Smallest memory of a job: an interpreter and its porter do not fit below.
pub const MEMORY_MIN: u64 = 64 << 20;
/// Largest memory of a job.
pub const MEMORY_MAX: u64 = 16 << 40;
/// Longest wall time, in seconds: 30 days.
pub const WALL_TIME_MAX_S: u32 = 30 * 86_400;
/// Smallest number of checkpoints to keep: the newest may be the one that does not verify.
pub const KEEP_MIN: u32 = 2;
/// Largest number of checkpoints to keep.
pub const KEEP_MAX: u32 = 1000;
/// Most processes and threads of a job.
pub const PIDS_MAX: u32 = 65_536;
/// Processes and threads of a job that names none.
pub const PIDS_DEFAULT: u32 = 1024;
/// Grace between the request to leave and the kill, in seconds (SageMaker's value).
pub const GRACE_DEFAULT_S: u32 = 120;
/// Longest manifest, in bytes.
pub const MANIFEST_MAX: usize = 64 << 20;
/// Most files of a checkpoint.
pub const CHECKPOINT_FILES_MAX: usize = 4096;
/// Most tensors of a checkpoint: 1,000 layers of 100 tensors.
pub const CHECKPOINT_TENSORS_MAX: usize = 100_000;
/// Restarts without a new sealed checkpoint, within [`BREAKER_WINDOW_MS`], that hold a job.
pub const BREAKER_RESTARTS: usize = 5;
/// The breaker's window, in milliseconds: 10 minutes.
pub const BREAKER_WINDOW_MS: u64 = 10 * 60 * 1000;
/// Longest back-off before a restart, in milliseconds.
pub const BACKOFF_MAX_MS: u64 = 60_000;
/// Every n-th checkpoint is kept for longer.
pub const KEEP_EVERY: u64 = 10;
/// Good checkpoints that retention never goes below.
pub const GOOD_MIN: usize = 2;
/// Earlier moves that a monitor compares with, at most.
pub const MONITOR_WINDOW: usize = 16;
/// Earlier moves without which a monitor says nothing.
pub const MONITOR_MIN: usize = 5;
/// Longest line of a metric, in bytes; longer ones are not read.
pub const METRIC_LINE_MAX: usize = 4096;
/// Points of a metric kept for the rate and the time left.
pub const PROGRESS_WINDOW: usize = 64;
