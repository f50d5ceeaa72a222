//! Every bound of this crate.

/// log2 of the smallest chunk, 64 KiB: the tag table stays below 16 / 65,536 = 0.025 % of the plaintext.
pub const CHUNK_LOG2_MIN: u8 = 16;

/// log2 of the largest chunk, 16 MiB: a sealer holds two, 32 MiB.
pub const CHUNK_LOG2_MAX: u8 = 24;

/// log2 of the default chunk, 1 MiB: large enough that per-chunk work vanishes, small enough for the cache.
pub const CHUNK_LOG2_DEFAULT: u8 = 20;

/// Largest tag table held in memory, 64 MiB. The format allows 2^32 chunks; this reader and writer stop at
/// 64 MiB / 16 B = 4 Mi chunks, which is 4 TiB of plaintext at the default chunk and 64 TiB at the largest.
pub const TAG_TABLE_MAX: usize = 64 << 20;
