//! C2SP tlog-tiles: paths, hash tiles and entry bundles, and building them leaf by leaf.

use std::cell::RefCell;
use std::collections::BTreeMap;

use base::Digest;

use crate::limits::{ENTRY_MAX, TILE_HEIGHT, TILE_LEVELS, TILE_WIDTH};
use crate::proof::Hashes;
use crate::tree::{Frontier, TreeSize, node_hash};
use crate::verify::ReadFile;

/// [`TILE_WIDTH`] as the arithmetic of positions needs it.
const WIDTH: u64 = TILE_WIDTH as u64;

/// A tile number in groups of three digits, all but the last prefixed with `x`: `x001/x234/067`.
fn number(n: u64) -> String {
    let mut text = format!("{:03}", n % 1000);
    let mut rest = n / 1000;
    while rest > 0 {
        text = format!("x{:03}/{text}", rest % 1000);
        rest /= 1000;
    }
    text
}

/// `.p/<width>` for a tile that is not full.
fn partial(width: u64) -> String {
    if width == 0 || width == WIDTH { String::new() } else { format!(".p/{width}") }
}

/// Path of hash tile `n` of `level`; `width` 256 (or 0) is the full one.
pub fn hash_path(level: u8, n: u64, width: u64) -> String {
    format!("tile/{level}/{}{}", number(n), partial(width))
}

/// Path of entry bundle `n`; `width` 256 (or 0) is the full one.
pub fn entries_path(n: u64, width: u64) -> String {
    format!("tile/entries/{}{}", number(n), partial(width))
}

/// How many hashes stand at a tile level in a log of `size`: its complete subtrees of 256^level leaves.
pub fn width_at(level: u8, size: TreeSize) -> u64 {
    size.get().checked_shr(TILE_HEIGHT.saturating_mul(level.into())).unwrap_or(0)
}

/// How many hashes tile `n` of `level` has in a log of `size`.
pub fn tile_width(level: u8, n: u64, size: TreeSize) -> u64 {
    width_at(level, size).saturating_sub(n.saturating_mul(WIDTH)).min(WIDTH)
}

/// An entry bundle: each entry after its `u16` big-endian length. Entries are at most [`ENTRY_MAX`] bytes.
pub fn bundle<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        out.extend_from_slice(&u16::try_from(entry.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(entry.get(..ENTRY_MAX.min(entry.len())).unwrap_or_default());
    }
    out
}

/// The entries of a bundle; the second value says whether bytes were left that are no entry. More than a full
/// bundle is not read.
pub fn entries_of(bytes: &[u8]) -> (Vec<&[u8]>, bool) {
    let mut entries = Vec::new();
    let mut rest = bytes;
    while let Some((len, tail)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*len));
        let Some((entry, tail)) = tail.split_at_checked(len) else { break };
        // One more than fits, so that an inserted entry can be told from an edited one.
        if entries.len() > TILE_WIDTH {
            break;
        }
        entries.push(entry);
        rest = tail;
    }
    (entries, !rest.is_empty())
}

/// The hashes of a tile; `None` unless it is a whole number of them, at most 256.
pub fn hashes_of(bytes: &[u8]) -> Option<Vec<Digest>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if rest.is_empty() && hashes.len() <= TILE_WIDTH {
        Some(hashes.iter().map(|h| Digest::from_bytes(*h)).collect())
    } else {
        None
    }
}

/// The bytes of a tile.
pub fn to_bytes(hashes: &[Digest]) -> Vec<u8> {
    hashes.iter().flat_map(|h| *h.as_bytes()).collect()
}

/// A file of the log: path and content.
pub type TileFile = (String, Vec<u8>);

/// Hash tiles of a log that grows, in memory of one open tile per level.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    /// The open tile of each level and how many full ones stand before it.
    levels: Vec<(Vec<Digest>, u64)>,
}

impl Builder {
    /// No leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a leaf hash; gives each tile that it completes to `full`.
    pub fn push(&mut self, leaf: Digest, mut full: impl FnMut(TileFile)) {
        let mut carry = leaf;
        for level in 0..TILE_LEVELS {
            let at = usize::from(level);
            if self.levels.len() <= at {
                self.levels.push((Vec::with_capacity(TILE_WIDTH), 0));
            }
            let Some((open, before)) = self.levels.get_mut(at) else { return };
            open.push(carry);
            if open.len() < TILE_WIDTH {
                return;
            }
            full((hash_path(level, *before, WIDTH), to_bytes(open)));
            carry = crate::tree::root_of(open.drain(..));
            *before = before.saturating_add(1);
        }
    }

    /// The open tiles as partial ones.
    pub fn partials(&self) -> Vec<TileFile> {
        self.levels
            .iter()
            .zip(0u8..)
            .filter(|((open, _), _)| !open.is_empty())
            .map(|((open, before), level)| {
                let width = u64::try_from(open.len()).unwrap_or(WIDTH);
                (hash_path(level, *before, width), to_bytes(open))
            })
            .collect()
    }
}

/// The hashes of a stored log of a known size, read tile by tile. They are only as true as the files; check
/// the result against a signed root.
pub struct StoredHashes<'a, R: ReadFile> {
    files: &'a R,
    size: TreeSize,
    cache: RefCell<BTreeMap<String, Option<Vec<Digest>>>>,
}

/// Tiles kept in memory by [`StoredHashes`]: 64 × 8 KiB = 512 KiB, twice what two proofs can touch.
const CACHE_MAX: usize = 64;

impl<'a, R: ReadFile> StoredHashes<'a, R> {
    /// The hashes of a log of `size` in `files`.
    pub fn new(files: &'a R, size: TreeSize) -> Self {
        Self { files, size, cache: RefCell::default() }
    }

    /// Tile `n` of `level` with the hashes that it has in a log of this size. A full tile serves where the
    /// partial one is gone, as the specification allows.
    fn tile(&self, level: u8, n: u64) -> Option<Vec<Digest>> {
        let width = tile_width(level, n, self.size);
        if width == 0 {
            return None;
        }
        let path = hash_path(level, n, width);
        if let Some(found) = self.cache.borrow().get(&path) {
            return found.clone();
        }
        let tile = read_tile(self.files, level, n, width).and_then(|bytes| hashes_of(&bytes));
        let mut cache = self.cache.borrow_mut();
        if cache.len() >= CACHE_MAX {
            cache.clear();
        }
        cache.insert(path, tile.clone());
        tile
    }
}

impl<R: ReadFile> std::fmt::Debug for StoredHashes<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredHashes({})", self.size)
    }
}

/// Reads a hash tile, cut to `width`; from the full tile where there is no partial one.
pub fn read_tile(files: &impl ReadFile, level: u8, n: u64, width: u64) -> Option<Vec<u8>> {
    let want = usize::try_from(width.saturating_mul(32)).ok()?;
    let at_width = files.read(&hash_path(level, n, width)).ok().flatten();
    if at_width.is_some() || width == WIDTH {
        return at_width;
    }
    let full = files.read(&hash_path(level, n, WIDTH)).ok().flatten()?;
    full.get(..want).map(<[u8]>::to_vec)
}

impl<R: ReadFile> Hashes for StoredHashes<'_, R> {
    fn subtree(&self, level: u32, index: u64) -> Option<Digest> {
        let tile_level = u8::try_from(level / TILE_HEIGHT).ok()?;
        let within = level % TILE_HEIGHT;
        let first = index.checked_shl(within)?;
        let tile = self.tile(tile_level, first / WIDTH)?;
        let from = usize::try_from(first % WIDTH).ok()?;
        let hashes = tile.get(from..from.checked_add(1usize.checked_shl(within)?)?)?;
        subtree_of(hashes)
    }
}

/// Root of a power of two of neighbouring hashes.
fn subtree_of(hashes: &[Digest]) -> Option<Digest> {
    match hashes {
        [] => None,
        [one] => Some(*one),
        _ => {
            let (left, right) = hashes.split_at_checked(hashes.len() / 2)?;
            Some(node_hash(&subtree_of(left)?, &subtree_of(right)?))
        }
    }
}

/// Root of the first `size` of these leaf hashes.
pub fn root_at(leaves: &[Digest], size: usize) -> Digest {
    let mut frontier = Frontier::new();
    for leaf in leaves.iter().take(size) {
        frontier.push(*leaf);
    }
    frontier.root()
}

#[cfg(test)]
mod tests;
