//! Frames of a segment file: `u32` LE length with the top bit set for a checkpoint note ‖ `u32` LE CRC-32C ‖
//! bytes. A length of zero ends the written part; the rest of the file is zero.
//!
//! The checksum covers length and bytes. It finds accidents; that nothing was changed on purpose is what the
//! Merkle root and the signature say.

use crate::limits::{ENTRY_MAX, FRAME_HEADER, NOTE_MAX};

/// Top bit of the length: the frame is a checkpoint note.
const NOTE_BIT: u32 = 1 << 31;

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A log entry.
    Entry(&'a [u8]),
    /// A signed checkpoint.
    Note(&'a [u8]),
}

impl<'a> Frame<'a> {
    /// The body.
    pub fn body(self) -> &'a [u8] {
        match self {
            Self::Entry(body) | Self::Note(body) => body,
        }
    }
}

/// Why a frame cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Fewer bytes than its length says, or a length that no frame has.
    #[error("a frame is cut short")]
    Short,
    /// The checksum differs.
    #[error("a frame's checksum differs")]
    Checksum,
    /// Bytes after the end marker.
    #[error("there are bytes after the end marker")]
    Garbage,
}

/// What stands at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<'a> {
    /// A good frame, and where the next one begins.
    Frame(Frame<'a>, usize),
    /// The end: everything from here is zero.
    End,
    /// Something else.
    Bad(FrameError),
}

/// Appends a frame. The body is at most [`ENTRY_MAX`] or [`NOTE_MAX`] bytes and not empty; the caller made it so.
pub fn put(out: &mut Vec<u8>, frame: Frame<'_>) {
    let body = frame.body();
    let bit = if matches!(frame, Frame::Note(_)) { NOTE_BIT } else { 0 };
    let header = u32::try_from(body.len()).unwrap_or(0) | bit;
    out.extend_from_slice(&header.to_le_bytes());
    out.extend_from_slice(&checksum(header, body).to_le_bytes());
    out.extend_from_slice(body);
}

/// Bytes that a frame of this body takes.
pub fn len(body: usize) -> usize {
    body.saturating_add(FRAME_HEADER)
}

/// Reads the frame at `at`.
pub fn next(bytes: &[u8], at: usize) -> Next<'_> {
    let Some(rest) = bytes.get(at..) else { return Next::End };
    let Some((header, rest)) = rest.split_first_chunk::<4>() else { return all_zero(rest) };
    let header = u32::from_le_bytes(*header);
    if header == 0 {
        return all_zero(rest);
    }
    let is_note = header & NOTE_BIT != 0;
    let limit = if is_note { NOTE_MAX } else { ENTRY_MAX };
    let body_len = usize::try_from(header & !NOTE_BIT).unwrap_or(usize::MAX);
    let Some((crc, rest)) = rest.split_first_chunk::<4>() else { return Next::Bad(FrameError::Short) };
    if body_len == 0 || body_len > limit {
        return Next::Bad(FrameError::Short);
    }
    let Some((body, _)) = rest.split_at_checked(body_len) else { return Next::Bad(FrameError::Short) };
    if checksum(header, body) != u32::from_le_bytes(*crc) {
        return Next::Bad(FrameError::Checksum);
    }
    let frame = if is_note { Frame::Note(body) } else { Frame::Entry(body) };
    Next::Frame(frame, at.saturating_add(len(body_len)))
}

fn all_zero(rest: &[u8]) -> Next<'_> {
    if rest.iter().all(|b| *b == 0) { Next::End } else { Next::Bad(FrameError::Garbage) }
}

fn checksum(header: u32, body: &[u8]) -> u32 {
    let crc = crc32c(!0, &header.to_le_bytes());
    !crc32c(crc, body)
}

/// CRC-32C (Castagnoli, RFC 3720 appendix B.4), without the final inversion. Eight tables, eight bytes a step.
fn crc32c(mut crc: u32, bytes: &[u8]) -> u32 {
    let mut eights = bytes.chunks_exact(8);
    for eight in &mut eights {
        let word = eight.iter().rev().fold(0u64, |acc, b| (acc << 8) | u64::from(*b)) ^ u64::from(crc);
        let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
        let [t0, t1, t2, t3, t4, t5, t6, t7] = &TABLES;
        crc = look(t7, a)
            ^ look(t6, b)
            ^ look(t5, c)
            ^ look(t4, d)
            ^ look(t3, e)
            ^ look(t2, f)
            ^ look(t1, g)
            ^ look(t0, h);
    }
    let [t0, ..] = &TABLES;
    for byte in eights.remainder() {
        let [low, ..] = crc.to_le_bytes();
        crc = (crc >> 8) ^ look(t0, low ^ byte);
    }
    crc
}

fn look(table: &[u32; 256], index: u8) -> u32 {
    // INVARIANT: a byte indexes a table of 256.
    table.get(usize::from(index)).copied().unwrap_or(0)
}

static TABLES: [[u32; 256]; 8] = tables();

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler; an index out of range does not compile"
)]
#[expect(clippy::cast_possible_truncation, reason = "the index is below 256")]
const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0u32; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            // The reflected polynomial of CRC-32C.
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        tables[0][i] = crc;
        i += 1;
    }
    let mut t = 1;
    while t < 8 {
        let mut i = 0;
        while i < 256 {
            let previous = tables[t - 1][i];
            tables[t][i] = (previous >> 8) ^ tables[0][(previous & 0xff) as usize];
            i += 1;
        }
        t += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers_of_rfc_3720() {
        for (bytes, crc) in [
            (vec![0u8; 32], 0x8a91_36aa_u32),
            (vec![0xff; 32], 0x62a8_ab43),
            ((0..32).collect(), 0x46dd_794e),
            (b"123456789".to_vec(), 0xe306_9283),
        ] {
            assert_eq!(!crc32c(!0, &bytes), crc);
        }
    }

    #[test]
    fn every_flipped_bit_of_a_frame_is_noticed() {
        let mut bytes = Vec::new();
        put(&mut bytes, Frame::Entry(b"an entry"));
        put(&mut bytes, Frame::Note(b"a note"));
        bytes.extend_from_slice(&[0; 20]);
        let read = |bytes: &[u8]| {
            let mut at = 0;
            let mut bodies = Vec::new();
            loop {
                match next(bytes, at) {
                    Next::Frame(frame, end) => {
                        bodies.push(format!("{frame:?}"));
                        at = end;
                    }
                    Next::End => return Ok(bodies),
                    Next::Bad(error) => return Err(error),
                }
            }
        };
        let good = read(&bytes).unwrap();
        assert_eq!(good.len(), 2);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(read(&changed), Ok(good.clone()), "bit {bit}");
        }
    }
}
