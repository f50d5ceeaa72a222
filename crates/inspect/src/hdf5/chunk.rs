//! Chunks of data sets, and values of variable length in global heaps.

use super::{Walker, bad};
use crate::cursor::offset;
use crate::limits;
use crate::report::Finding;

impl<'a> Walker<'a, '_> {
    /// Follows the tree of a chunked data set, and takes note of where its chunks lie.
    pub(super) fn chunks(&mut self, tree: u64, rank: usize) -> Result<(), Finding> {
        // Size, mask, and an offset in each dimension.
        let key = 8 + rank * 8;
        let mut nodes = vec![(tree, 0_u32)];
        while let Some((at, depth)) = nodes.pop() {
            self.step(at)?;
            if depth > limits::HDF5_DEPTH || !self.seen.insert(at) {
                return Err(bad(at, "tree of chunks is too deep or joins itself"));
            }
            let children = self.tree_node(at, 1, key)?;
            for (index, (child, leaf)) in children.into_iter().enumerate() {
                if !leaf {
                    nodes.push((child, depth + 1));
                    continue;
                }
                // The key before a child holds the bytes of its chunk.
                let place = offset(24 + index * (key + 8));
                let mut cursor = self.cursor(at.saturating_add(place))?;
                let len = cursor.u32().ok_or_else(|| bad(at, "size of a chunk is cut off"))?;
                self.step(at)?;
                self.uses(child, u64::from(len))?;
            }
        }
        Ok(())
    }

    /// An object of a global heap.
    pub(super) fn heap_object(&mut self, at: u64, wanted: u32) -> Result<&'a [u8], Finding> {
        let cut = || bad(at, "global heap is cut off");
        let mut cursor = self.cursor(at)?;
        if cursor.take(4) != Some(b"GCOL") || cursor.u8() != Some(1) {
            return Err(bad(at, "expected a global heap"));
        }
        cursor.take(3).ok_or_else(cut)?;
        let len = cursor.u64().ok_or_else(cut)?;
        if self.seen.insert(at) {
            self.uses(at, len)?;
        }
        let end = at.saturating_add(len);
        while offset(cursor.pos()).saturating_add(16) <= end {
            self.step(at)?;
            let index = cursor.u16().ok_or_else(cut)?;
            cursor.take(6).ok_or_else(cut)?;
            let size = cursor.u64().and_then(|size| usize::try_from(size).ok()).ok_or_else(cut)?;
            // Index 0 is the space that is left.
            if index == 0 {
                break;
            }
            let padded = size.checked_next_multiple_of(8).ok_or_else(cut)?;
            let data = cursor.take(padded).ok_or_else(cut)?;
            if offset(cursor.pos()) > end {
                return Err(cut());
            }
            if u32::from(index) == wanted {
                return data.get(..size).ok_or_else(cut);
            }
        }
        Err(bad(at, "global heap has no such object"))
    }
}
