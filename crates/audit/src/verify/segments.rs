//! The segment files of a copy, if it has them.

use base::Digest;

use super::{Check, ReadFile, VerifyError, What};
use crate::note::VerifierKey;
use crate::segment::{self, SegmentError, Sink};
use crate::tree::{Frontier, LeafIndex, TreeSize};

/// Compares what a segment holds with what the bundles hold.
struct Compare<'a> {
    bundles: &'a [Option<Digest>],
    /// Entries that differ, first within a batch, waiting for the batch's checkpoint to say which side is right.
    pending: Option<u64>,
    /// Entries of the bundles that the segment contradicts with a good signature.
    contradicted: Option<u64>,
}

impl Sink for Compare<'_> {
    fn entry(&mut self, index: LeafIndex, _: &[u8], leaf: Digest, _: usize) {
        let at = usize::try_from(index.get()).unwrap_or(usize::MAX);
        if let Some(Some(bundle)) = self.bundles.get(at)
            && *bundle != leaf
            && self.pending.is_none()
        {
            self.pending = Some(index.get());
        }
    }
    fn committed(&mut self, _: TreeSize, _: usize) {
        let pending = self.pending.take();
        self.contradicted = self.contradicted.or(pending);
    }
}

/// Walks all segments; returns how many entries they hold.
pub(super) fn check<R: ReadFile>(
    check: &mut Check<'_, R>,
    key: &VerifierKey,
) -> Result<Option<TreeSize>, VerifyError> {
    let mut frontier = Frontier::new();
    let head = check.head.size.get();
    let mut seen = false;
    loop {
        let first = frontier.size();
        let name = segment::file_name(first.next_index());
        let Some(bytes) = check.files.read(&name)? else {
            if seen && first.get() < head {
                check.find(first.get(), head.saturating_sub(1), What::Missing, &name);
            }
            return Ok(seen.then_some(first));
        };
        seen = true;
        let bundles = std::mem::take(&mut check.computed);
        let mut compare = Compare { bundles: &bundles, pending: None, contradicted: None };
        let walked = segment::walk(&bytes, &frontier, key, &mut compare);
        let Compare { pending, contradicted, .. } = compare;
        check.computed = bundles;
        if let Some(index) = contradicted {
            // The segment's entry is under a good signature, so the bundle's is not what was logged.
            check.find(index, index, What::Edited, "tile/entries");
        }
        match walked {
            Err(SegmentError::Root { from, to }) => {
                // The bundles know the entry, unless they were changed alike.
                let exact = pending.unwrap_or(from.get());
                let last = if pending.is_some() { exact } else { to.get().saturating_sub(1) };
                let what = if pending.is_some() { What::Edited } else { What::Range };
                check.find(exact, last, what, &name);
                return Ok(Some(TreeSize::new(from.get())));
            }
            Err(SegmentError::Signature(at)) => {
                check.find(at.get(), at.get(), What::Unsigned, &name);
                return Ok(Some(TreeSize::new(at.get())));
            }
            Ok(walk) => {
                let size = walk.frontier.size();
                let tail = walk.tail.filter(|t| size.get() < head || !t.signed.is_empty());
                if tail.is_some() || (size == first && size.get() < head) {
                    let readable = tail.as_ref().map_or(0, |t| t.entries);
                    let at = pending.unwrap_or(size.get().saturating_add(readable));
                    let what = if pending.is_some() { What::Edited } else { What::Missing };
                    let last = if pending.is_some() { at } else { head.saturating_sub(1) };
                    check.find(at, last, what, &name);
                    return Ok(Some(size));
                }
                if size == first {
                    return Ok(Some(size));
                }
                frontier = walk.frontier;
            }
        }
    }
}
