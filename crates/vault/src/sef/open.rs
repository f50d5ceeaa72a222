//! Verifying and opening.

use base::Digest;

use super::schedule::{FileKeys, Position, same};
use super::{Header, Layout, MACED, SefError, TAG_LEN};
use crate::keys::Dek;
use crate::scope::KeyScope;

/// A file whose header, length, tag table, key, scope and content were verified; its chunks open one by one, in
/// any order and from any number of threads.
#[derive(Debug)]
pub struct Opener {
    keys: FileKeys,
    layout: Layout,
    tags: Vec<u8>,
}

impl Opener {
    /// Verifies a file in the order of `trust.md` section 6.3: format and exact size, then key commitment, then
    /// header MAC with the tag table, then scope and content. `tags` is what stands at [`Layout::tags_offset`].
    ///
    /// # Errors
    /// The [`SefError`] of the first check that fails.
    pub fn verify(
        header: &Header,
        tags: Vec<u8>,
        file_len: u64,
        dek: &Dek,
        scope: &KeyScope,
        digest: &Digest,
    ) -> Result<Self, SefError> {
        let layout = Layout::parse(header, file_len)?;
        let mut r = base::wire::Reader::new(header);
        let truncated = |_| SefError::Format { field: "header" };
        let maced: [u8; MACED] = r.array().map_err(truncated)?;
        let header_mac: [u8; 32] = r.array().map_err(truncated)?;
        let mut r = base::wire::Reader::new(&maced);
        r.raw(16).map_err(truncated)?;
        let salt: [u8; 32] = r.array().map_err(truncated)?;
        let commitment: [u8; 32] = r.array().map_err(truncated)?;
        let context: [u8; 32] = r.array().map_err(truncated)?;

        let keys = dek.expose(|dek| FileKeys::derive(dek, &salt, layout.chunk()))?;
        if !same(keys.commitment(), &commitment) {
            return Err(SefError::WrongKey);
        }
        if tags.len() != layout.tags_len() || !same(&keys.header_mac(&maced, &tags), &header_mac) {
            return Err(SefError::HeaderForged);
        }
        if !same(&keys.context(scope, digest), &context) {
            return Err(SefError::WrongContent);
        }
        Ok(Self { keys, layout, tags })
    }

    /// Where everything stands.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Decrypts chunk `index` where it stands: `chunk` holds its ciphertext, exactly
    /// [`Layout::chunk_len`] bytes, and its plaintext afterwards. On failure it holds zeros.
    ///
    /// # Errors
    /// [`SefError::ChunkForged`]; [`SefError::Misuse`] for a wrong length or index.
    pub fn open_chunk(&self, index: u64, chunk: &mut [u8]) -> Result<(), SefError> {
        if self.layout.chunk_len(index) != Some(chunk.len()) {
            chunk.fill(0);
            return Err(SefError::Misuse("a chunk of another length or index"));
        }
        let last = index.saturating_add(1) == self.layout.chunks();
        let position = if last { Position::Last } else { Position::Inner };
        let tag = usize::try_from(index)
            .ok()
            .and_then(|i| self.tags.as_chunks::<TAG_LEN>().0.get(i))
            .ok_or(SefError::ChunkForged { index })?;
        if self.keys.open(index, position, *tag, chunk) {
            Ok(())
        } else {
            Err(SefError::ChunkForged { index })
        }
    }
}
