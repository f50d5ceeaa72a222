//! Every bound of this crate.

/// Longest record, 64 MiB of JSON: a data set of 100,000 files at 130 B each beside its paths, which an import bounds
/// to 16 MiB and escaping may double, is 45 MiB. A model's record carries its signature bundle and BoM envelope as
/// text; the BoM of a run with 10,000 observed files at 400 B each is 4 MB, and base64 in an envelope adds a third.
pub const RECORD_MAX: usize = 64 << 20;

/// Most records in one page of a list.
pub const PAGE_MAX: usize = 1000;

/// Longest cursor, in characters: hex of a JSON list of at most three key parts, the longest of 128 characters.
pub const CURSOR_MAX: usize = 1024;

/// How long a transaction waits for a lock that a backup or another connection holds.
pub const BUSY_TIMEOUT_MS: u64 = 5_000;

/// Directories below `objects/`, by the first byte of the name: a million objects are 4,000 a directory.
pub const FAN_OUT: u16 = 256;
