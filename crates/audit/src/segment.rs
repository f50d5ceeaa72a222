//! Reading a segment file back: what was committed, and what stands after it.

use base::{Digest, sha256};

use crate::checkpoint::Checkpoint;
use crate::frame::{self, Frame, FrameError, Next};
use crate::limits::NOTE_MAX;
use crate::note::VerifierKey;
use crate::tree::{Frontier, LeafIndex, TreeSize, leaf_hash};

/// The name of the segment whose first entry has this index.
pub fn file_name(first: LeafIndex) -> String {
    format!("seg-{:020}.log", first.get())
}

/// The first entry's index of a segment of this name.
pub fn first_of(name: &str) -> Option<LeafIndex> {
    let digits = name.strip_prefix("seg-")?.strip_suffix(".log")?;
    let canonical = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    if canonical { digits.parse().ok().map(LeafIndex::new) } else { None }
}

/// Takes what a walk meets, in order.
pub trait Sink {
    /// An entry, at this offset of its frame; committed only when [`Sink::committed`] follows.
    fn entry(&mut self, index: LeafIndex, entry: &[u8], leaf: Digest, offset: usize);
    /// A good checkpoint over everything so far; the next frame is at `end`.
    fn committed(&mut self, size: TreeSize, end: usize);
}

/// A segment says something that its signed checkpoints contradict: not an accident of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// A checkpoint that is not signed by the log's key.
    #[error("the checkpoint after entry {0} is not signed by the log's key")]
    Signature(LeafIndex),
    /// Entries that are not those that the checkpoint signs; between these two sizes.
    #[error("entries {from} to {to} are not those that were signed")]
    Root {
        /// First entry since the last good checkpoint.
        from: LeafIndex,
        /// Size that the contradicted checkpoint speaks of, or was reached.
        to: TreeSize,
    },
}

impl base::Explain for SegmentError {
    fn code(&self) -> &'static str {
        match self {
            Self::Signature(_) => "SR-AUD-0030",
            Self::Root { .. } => "SR-AUD-0031",
        }
    }
    fn fault(&self) -> base::Fault {
        base::Fault::Operator
    }
    fn help(&self) -> Option<base::Help> {
        Some("the log was changed: keep the disk as evidence and run `strongroom audit verify` on a copy")
    }
}

/// What stands after the last good checkpoint of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// Readable entries in it.
    pub entries: u64,
    /// Bytes up to the last that is not zero.
    pub len: usize,
    /// SHA-256 of those bytes.
    pub digest: Digest,
    /// What ended the walk; `None` if all frames were readable.
    pub error: Option<FrameError>,
    /// Sizes of later checkpoints, signed by the log's key, that were found in it.
    pub signed: Vec<TreeSize>,
}

/// The outcome of a walk.
#[derive(Debug, Clone)]
pub struct Walk {
    /// Everything up to the last good checkpoint.
    pub frontier: Frontier,
    /// Where the next frame goes.
    pub end: usize,
    /// What else is in the file.
    pub tail: Option<Tail>,
}

/// Walks a segment that begins after `start`.
///
/// # Errors
/// [`SegmentError`].
pub fn walk(
    bytes: &[u8],
    start: &Frontier,
    key: &VerifierKey,
    sink: &mut impl Sink,
) -> Result<Walk, SegmentError> {
    let mut committed = start.clone();
    let mut frontier = start.clone();
    let (mut at, mut end) = (0, 0);
    let mut error = None;
    loop {
        match frame::next(bytes, at) {
            Next::End => break,
            Next::Bad(why) => {
                error = Some(why);
                break;
            }
            Next::Frame(Frame::Entry(entry), after) => {
                let leaf = leaf_hash(entry);
                let index = frontier.push(leaf);
                sink.entry(index, entry, leaf, at);
                at = after;
            }
            Next::Frame(Frame::Note(note), after) => {
                let from = committed.size().next_index();
                let claim = Checkpoint::open(note, key).map_err(|_| SegmentError::Signature(from))?;
                if claim.size != frontier.size() || claim.root != frontier.root() {
                    let to = claim.size.max(frontier.size());
                    return Err(SegmentError::Root { from, to });
                }
                at = after;
                end = after;
                committed = frontier.clone();
                sink.committed(claim.size, end);
            }
        }
    }
    let rest = bytes.get(end..).unwrap_or_default();
    let len = rest.iter().rposition(|b| *b != 0).map_or(0, |last| last.saturating_add(1));
    let tail = rest.get(..len).filter(|tail| !tail.is_empty()).map(|tail| Tail {
        entries: frontier.size().get().saturating_sub(committed.size().get()),
        len,
        digest: sha256(tail),
        error,
        signed: signed_in(tail, key, committed.size()),
    });
    Ok(Walk { frontier: committed, end, tail })
}

/// Sizes above `above` of the checkpoints signed by `key` that stand anywhere in `bytes`.
fn signed_in(bytes: &[u8], key: &VerifierKey, above: TreeSize) -> Vec<TreeSize> {
    let start = format!("{}\n", key.name());
    let start = start.as_bytes();
    let mut found: Vec<TreeSize> = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(start.len()).position(|window| window == start) {
        let here = rest.get(at..).unwrap_or_default();
        if let Some(size) = note_at(here).and_then(|note| Checkpoint::open(note, key).ok()).map(|c| c.size)
            && size > above
            && !found.contains(&size)
        {
            found.push(size);
        }
        rest = here.get(start.len()..).unwrap_or_default();
    }
    found
}

/// The note that begins here: up to the newline of its last signature line.
fn note_at(bytes: &[u8]) -> Option<&[u8]> {
    let bytes = bytes.get(..NOTE_MAX.min(bytes.len()))?;
    let blank = bytes.windows(2).position(|w| w == b"\n\n")?.checked_add(2)?;
    let mut end = blank;
    loop {
        let line = bytes.get(end..)?;
        if !line.starts_with("\u{2014} ".as_bytes()) {
            break;
        }
        let len = line.iter().position(|b| *b == b'\n')?.checked_add(1)?;
        end = end.checked_add(len)?;
    }
    bytes.get(..end)
}

#[cfg(test)]
mod tests;
