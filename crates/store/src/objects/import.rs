//! Importing: one streaming pass that hashes, seals and writes.

use std::io::Read;
use std::os::unix::fs::FileExt;

use base::Digest;
use vault::{ChunkSize, Content, Dek, FreshDek, KeyScope, Sealed, Sealer};

use super::Stage;
use crate::error::StoreError;

/// How an import is sealed. `dek` and `salt` are random and fresh.
#[derive(Debug)]
pub struct Seal {
    /// Whose keys.
    pub scope: KeyScope,
    /// For this attempt only.
    pub dek: FreshDek,
    /// For this attempt only.
    pub salt: [u8; 32],
    /// Chunk size; the default is right for everything but many small files.
    pub chunk: ChunkSize,
    /// Whether the digest is known and need not be computed.
    pub content: Content,
    /// More plaintext than this is refused.
    pub limit_bytes: u64,
}

/// An import in progress. Memory is two chunks and the tag table. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Import {
    stage: Stage,
    sealer: Sealer,
    scope: KeyScope,
    limit_bytes: u64,
    len: u64,
}

/// Sealed and written, not yet an object: wrap `dek`, then commit `stage` under the object's name.
#[derive(Debug)]
pub struct Staged {
    /// The file.
    pub stage: Stage,
    /// SHA-256 of the plaintext.
    pub digest: Digest,
    /// Bytes of plaintext.
    pub len: u64,
    /// The key that sealed it.
    pub dek: Dek,
}

impl Import {
    pub(super) fn begin(stage: Stage, seal: Seal) -> Result<Self, StoreError> {
        let Seal { scope, dek, salt, chunk, content, limit_bytes } = seal;
        Ok(Self { stage, sealer: Sealer::new(dek, salt, chunk, content)?, scope, limit_bytes, len: 0 })
    }

    /// Takes plaintext by copy.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], [`StoreError::Full`], [`StoreError::Io`].
    pub fn write(&mut self, plaintext: &[u8]) -> Result<(), StoreError> {
        self.grow(plaintext.len())?;
        let file = &self.stage.file;
        self.sealer.push(plaintext, &mut |offset, bytes: &[u8]| write_at(file, bytes, offset))
    }

    /// Takes plaintext from `source` until its end, without a copy of our own; gives the number of bytes.
    ///
    /// # Errors
    /// As [`Import::write`], and [`StoreError::Source`].
    pub fn read_from(&mut self, source: &mut impl Read) -> Result<u64, StoreError> {
        let before = self.len;
        loop {
            let n = match source.read(self.sealer.space()) {
                Ok(0) => return Ok(self.len.saturating_sub(before)),
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(StoreError::Source(e)),
            };
            self.grow(n)?;
            let file = &self.stage.file;
            self.sealer.advance(n, &mut |offset, bytes: &[u8]| write_at(file, bytes, offset))?;
        }
    }

    /// Seals the rest and completes the file.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Io`].
    pub fn finish(self) -> Result<Staged, StoreError> {
        let Self { stage, sealer, scope, len, .. } = self;
        let file = &stage.file;
        let sealed = sealer.finish(&scope, &mut |offset, bytes: &[u8]| write_at(file, bytes, offset))?;
        let Sealed { header, tags, layout, digest, dek } = sealed;
        write_at(file, &tags, layout.tags_offset())?;
        write_at(file, header.as_slice(), 0)?;
        Ok(Staged { stage, digest, len, dek })
    }

    fn grow(&mut self, by: usize) -> Result<(), StoreError> {
        let by = u64::try_from(by).unwrap_or(u64::MAX);
        self.len = self.len.saturating_add(by);
        if self.len > self.limit_bytes {
            return Err(StoreError::TooLarge { limit_bytes: self.limit_bytes });
        }
        Ok(())
    }
}

fn write_at(file: &std::fs::File, bytes: &[u8], offset: u64) -> Result<(), StoreError> {
    file.write_all_at(bytes, offset).map_err(StoreError::io("write an object"))
}
