//! Every bound of this crate.

/// Longest entry in bytes: an entry bundle prefixes each with a `u16` (C2SP tlog-tiles).
pub const ENTRY_MAX: usize = 65_535;
/// Hashes in a full tile, and entries in a full bundle (C2SP tlog-tiles).
pub const TILE_WIDTH: usize = 256;
/// Levels of the Merkle tree that one tile covers: 2^8 = 256.
pub const TILE_HEIGHT: u32 = 8;
/// Tile levels needed for 2^63 entries: 64 / 8.
pub const TILE_LEVELS: u8 = 8;
/// Longest signed note in bytes: a checkpoint has about 120 bytes of text and 120 per signature, so this has
/// room for 60 witnesses.
pub const NOTE_MAX: usize = 8 << 10;
/// Most signature lines that are read of one note.
pub const SIGNATURES_MAX: usize = 64;
/// Longest origin or key name in bytes.
pub const NAME_MAX: usize = 255;
/// Length of a segment file: 64 MiB, allocated when it is made, so that a commit changes no metadata.
pub const SEGMENT_LEN: u64 = 64 << 20;
/// Most bytes of frames in one commit: a quarter of a segment, so that rolling over wastes little.
pub const COMMIT_MAX: usize = 16 << 20;
/// Most entries in one commit.
pub const COMMIT_ENTRIES: usize = 4096;
/// Bytes before each frame's body: `u32` length and `u32` checksum.
pub const FRAME_HEADER: usize = 8;
/// Largest number of hashes in a proof: a tree of 2^63 leaves is 63 levels high; a consistency proof has one
/// more.
pub const PROOF_MAX: usize = 64;
/// Most findings that a verification lists; the count goes on.
pub const FINDINGS_MAX: usize = 100;
/// Most chains (tenants) that a verification follows: 63-byte names and a counter, about 100 MiB at 10^6.
pub const CHAINS_MAX: usize = 1_000_000;
