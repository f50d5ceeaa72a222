//! Sealing a stream in one pass.

use base::Digest;
use ring::digest::{Context, SHA256};
use zeroize::Zeroizing;

use super::schedule::{FileKeys, Position, prefix};
use super::{ChunkSize, DATA_OFFSET, HEADER_LEN, Header, Layout, MACED, SefError, TAG_LEN};
use crate::keys::{Dek, FreshDek};
use crate::limits::TAG_TABLE_MAX;
use crate::scope::KeyScope;

/// Whether the content's digest must be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Hash the plaintext in the sealing pass.
    Unknown,
    /// The caller vouches for the SHA-256 of what it will push, for example because it has just opened and
    /// verified it; nothing is hashed. If it is wrong, the object opens under this digest and no other.
    Known(Digest),
}

enum Hash {
    Known(Digest),
    Running(Box<Context>),
}

/// Seals one stream under one fresh DEK.
///
/// Plaintext goes into [`Sealer::space`] (no copy) followed by [`Sealer::advance`], or through
/// [`Sealer::push`] (one copy). Ciphertext comes out of the `emit` callbacks as `(file offset, bytes)`, in
/// order. The last chunk is held back until it is known to be the last. [`Sealer::finish`] gives the header and
/// the tag table, which the caller writes at their offsets, header last.
#[derive(Debug)]
pub struct Sealer {
    keys: FileKeys,
    dek: Dek,
    salt: [u8; 32],
    chunk: ChunkSize,
    /// Being filled; `filled` bytes of it are plaintext.
    current: Zeroizing<Vec<u8>>,
    filled: usize,
    /// A full chunk that may be the last, if `holds`.
    held: Zeroizing<Vec<u8>>,
    holds: bool,
    sealed: u64,
    tags: Vec<u8>,
    hash: Hash,
    plaintext_len: u64,
    failed: bool,
}

/// What remains to be written once all plaintext was taken.
#[derive(Debug)]
pub struct Sealed {
    /// Goes to offset 0, after everything else.
    pub header: Box<Header>,
    /// Goes to [`Layout::tags_offset`].
    pub tags: Vec<u8>,
    /// Where things stand.
    pub layout: Layout,
    /// SHA-256 of the plaintext.
    pub digest: Digest,
    /// To be wrapped; it can seal nothing more.
    pub dek: Dek,
}

impl Sealer {
    /// Starts a file. `dek` and `salt` are random.
    ///
    /// # Errors
    /// [`SefError::Cipher`].
    pub fn new(dek: FreshDek, salt: [u8; 32], chunk: ChunkSize, content: Content) -> Result<Self, SefError> {
        let dek = dek.spend();
        let keys = dek.expose(|dek| FileKeys::derive(dek, &salt, chunk))?;
        Ok(Self {
            keys,
            dek,
            salt,
            chunk,
            current: Zeroizing::new(vec![0; chunk.bytes()]),
            filled: 0,
            held: Zeroizing::new(Vec::new()),
            holds: false,
            sealed: 0,
            tags: Vec::new(),
            hash: match content {
                Content::Known(digest) => Hash::Known(digest),
                Content::Unknown => Hash::Running(Box::new(Context::new(&SHA256))),
            },
            plaintext_len: 0,
            failed: false,
        })
    }

    /// Where to put the next plaintext; never empty.
    pub fn space(&mut self) -> &mut [u8] {
        if self.filled == self.current.len() {
            // INVARIANT: a held chunk was sealed when the first byte after it arrived, so `held` is free.
            if self.held.is_empty() {
                *self.held = vec![0; self.chunk.bytes()];
            }
            std::mem::swap(&mut self.current, &mut self.held);
            self.holds = true;
            self.filled = 0;
        }
        self.current.get_mut(self.filled..).unwrap_or_default()
    }

    /// Says that the first `len` bytes of [`Sealer::space`] are plaintext now.
    ///
    /// # Errors
    /// What `emit` says; [`SefError::TooLarge`]; [`SefError::Misuse`] for more than there was space, or after
    /// a failure.
    pub fn advance<E: From<SefError>>(
        &mut self,
        len: usize,
        emit: &mut impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.usable()?;
        if len == 0 {
            return Ok(());
        }
        let end = self.filled.saturating_add(len);
        let fresh = self
            .current
            .get(self.filled..end)
            .ok_or(SefError::Misuse("more bytes than the space that was given"))?;
        if let Hash::Running(context) = &mut self.hash {
            context.update(fresh);
        }
        self.filled = end;
        self.plaintext_len = self.plaintext_len.saturating_add(to_u64(len));
        if self.holds {
            self.holds = false;
            self.failed = true;
            seal_and_emit(
                &Slot { keys: &self.keys, index: self.sealed, position: Position::Inner, chunk: self.chunk },
                &mut self.held,
                &mut self.tags,
                emit,
            )?;
            self.sealed = self.sealed.saturating_add(1);
            self.failed = false;
        }
        Ok(())
    }

    /// Takes plaintext by copy.
    ///
    /// # Errors
    /// As [`Sealer::advance`].
    pub fn push<E: From<SefError>>(
        &mut self,
        mut plaintext: &[u8],
        emit: &mut impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while !plaintext.is_empty() {
            let space = self.space();
            let (now, later) = plaintext.split_at(space.len().min(plaintext.len()));
            if let Some(to) = space.get_mut(..now.len()) {
                to.copy_from_slice(now);
            }
            self.advance(now.len(), emit)?;
            plaintext = later;
        }
        Ok(())
    }

    /// Seals the last chunk and binds the file to `scope` and its content.
    ///
    /// # Errors
    /// As [`Sealer::advance`].
    pub fn finish<E: From<SefError>>(
        mut self,
        scope: &KeyScope,
        emit: &mut impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<Sealed, E> {
        self.usable()?;
        let slot = Slot { keys: &self.keys, index: self.sealed, position: Position::Last, chunk: self.chunk };
        let last = if self.holds {
            self.held.as_mut_slice()
        } else {
            self.current.get_mut(..self.filled).unwrap_or_default()
        };
        seal_and_emit(&slot, last, &mut self.tags, emit)?;
        let layout = Layout::of(self.chunk, self.plaintext_len)?;
        if layout.tags_len() != self.tags.len() {
            return Err(SefError::Misuse("tag table does not match the length").into());
        }
        let digest = match self.hash {
            Hash::Known(digest) => digest,
            Hash::Running(context) => {
                Digest::from_bytes(context.finish().as_ref().try_into().map_err(|_| SefError::Cipher)?)
            }
        };
        let context = self.keys.context(scope, &digest);
        let mut maced = [0u8; MACED];
        put(
            &mut maced,
            &[
                &prefix(self.chunk),
                &self.plaintext_len.to_le_bytes(),
                &self.salt,
                self.keys.commitment(),
                &context,
            ],
        );
        let mac = self.keys.header_mac(&maced, &self.tags);
        let mut header = Box::new([0u8; HEADER_LEN]);
        put(header.as_mut(), &[&maced, &mac]);
        Ok(Sealed { header, tags: self.tags, layout, digest, dek: self.dek })
    }

    fn usable(&self) -> Result<(), SefError> {
        if self.failed { Err(SefError::Misuse("sealing goes on after a failure")) } else { Ok(()) }
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Known(digest) => write!(f, "Known({digest:?})"),
            Self::Running(_) => f.write_str("Running"),
        }
    }
}

/// Which chunk is sealed.
struct Slot<'a> {
    keys: &'a FileKeys,
    index: u64,
    position: Position,
    chunk: ChunkSize,
}

fn seal_and_emit<E: From<SefError>>(
    slot: &Slot<'_>,
    chunk: &mut [u8],
    tags: &mut Vec<u8>,
    emit: &mut impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    if tags.len().saturating_add(TAG_LEN) > TAG_TABLE_MAX {
        return Err(SefError::TooLarge.into());
    }
    let tag = slot.keys.seal(slot.index, slot.position, chunk)?;
    tags.extend_from_slice(&tag);
    if chunk.is_empty() {
        return Ok(());
    }
    emit(DATA_OFFSET.saturating_add(slot.index.saturating_mul(slot.chunk.bytes_u64())), chunk)
}

/// Writes `fields` one after the other to the start of `to`.
fn put(to: &mut [u8], fields: &[&[u8]]) {
    for (to, from) in to.iter_mut().zip(fields.iter().copied().flatten()) {
        *to = *from;
    }
}

fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
