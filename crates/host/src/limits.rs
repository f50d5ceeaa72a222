//! Every bound of this crate.

/// First user id of slot 0. Slots are 65,536 ids wide and lie above all ids that Debian gives out.
pub const UID_BASE: u32 = 10_000_000;
/// Ids per slot: a full 16-bit range, as container images expect.
pub const UIDS_PER_SLOT: u32 = 65_536;
/// Highest slot: (2^32 - 2 - UID_BASE) / UIDS_PER_SLOT - 1 = 65,382.
pub const SLOT_MAX: u32 = 65_382;
/// The workload's id inside its namespace.
pub const INNER_UID: u32 = 1000;
/// How long a new process may take to confine itself, in milliseconds; measured 3 ms, 1000 times that under load.
pub const SETUP_MS: u64 = 5_000;
/// How long after a kill processes may still be seen, in milliseconds.
pub const KILL_MS: u64 = 5_000;
/// Root file system: directories, links and a few generated files of at most 64 KiB each.
pub const ROOT_BYTES: u64 = 1 << 20;
/// Inodes of the root file system; about 40 are used, and one for each name at the top of an image.
pub const ROOT_INODES: u64 = 320;
/// Names at the top of an image, and in its `/opt`: each is a mount or a link of the sandbox. As `image::limits::TOP`.
pub const IMAGE_TOP_MAX: usize = 128;
/// `/tmp` may take this share of the scratch limit, in per cent; at least [`TMP_MIN_BYTES`].
pub const TMP_PERCENT: u64 = 25;
/// Smallest `/tmp`.
pub const TMP_MIN_BYTES: u64 = 64 << 20;
/// `/dev/shm`.
pub const SHM_BYTES: u64 = 256 << 20;
/// Files and directories in the scratch, `/tmp` and `/dev/shm`, each.
pub const SCRATCH_INODES: u64 = 65_536;
/// What the porter needs beside its inputs: program, buffers, one snapshot chunk per sealing thread.
pub const PORTER_BYTES: u64 = 96 << 20;
/// Processes and threads of a porter.
pub const PORTER_PIDS: u32 = 32;
/// Longest message on the socket between a sandbox's first process and the warden.
pub const INIT_MESSAGE_MAX: usize = 1024;
/// Largest program that is hashed before it is started: far above any of ours.
pub const PROGRAM_MAX: u64 = 1 << 30;
/// A tmpfs page.
pub const PAGE: u64 = 4096;
/// Descriptors that are looked at for sockets in one order: about half a second of the warden's one thread. A part of
/// them would look like the whole, so more is a refusal.
pub const SOCKET_FDS_MAX: usize = 262_144;
