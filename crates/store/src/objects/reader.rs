//! Reading sealed files: verified first, decrypted chunk by chunk.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use base::Digest;
use vault::sef::{HEADER_LEN, Layout};
use vault::{Dek, KeyScope, Opener, SefError};
use zeroize::Zeroizing;

use crate::error::StoreError;

/// An open sealed file whose header, tag table, key, scope and content were verified. Reads may come from any
/// number of threads; each decrypts the chunks that it covers and no others.
#[derive(Debug)]
pub struct SefReader {
    file: File,
    opener: Opener,
}

impl SefReader {
    /// Verifies `file` in the order of the format (`vault::sef::Opener::verify`): it was sealed under `dek`, in
    /// `scope`, and holds the content of `digest`.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] with the first check that fails, [`StoreError::Io`].
    pub fn open(file: File, dek: &Dek, scope: &KeyScope, digest: &Digest) -> Result<Self, StoreError> {
        let file_len = file.metadata().map_err(StoreError::io("read an object"))?.len();
        let mut header = [0u8; HEADER_LEN];
        read_at(&file, &mut header, 0, file_len)?;
        let layout = Layout::parse(&header, file_len)?;
        let mut tags = vec![0u8; layout.tags_len()];
        read_at(&file, &mut tags, layout.tags_offset(), file_len)?;
        let opener = Opener::verify(&header, tags, file_len, dek, scope, digest)?;
        Ok(Self { file, opener })
    }

    /// Bytes of plaintext.
    pub fn len(&self) -> u64 {
        self.opener.layout().plaintext_len()
    }

    /// Whether there is no plaintext.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `out` with plaintext from `offset` on; gives how many bytes there were. On failure `out` holds no
    /// byte that was not verified.
    ///
    /// # Errors
    /// [`SefError::ChunkForged`] in [`StoreError::Sealed`], [`StoreError::Io`].
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize, StoreError> {
        let layout = self.opener.layout();
        let left = usize::try_from(layout.plaintext_len().saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = out.len().min(left);
        let mut rest = out.get_mut(..wanted).unwrap_or_default();
        let mut scratch = Zeroizing::new(Vec::new());
        let mut at = offset;
        while !rest.is_empty() {
            let index = layout.chunk_at(at);
            let len = layout.chunk_len(index).ok_or(SefError::Misuse("an offset beyond the end"))?;
            let skip = usize::try_from(at & (to_u64(layout.chunk().bytes()).saturating_sub(1)))
                .map_err(|_| SefError::Misuse("an offset beyond the end"))?;
            let take = len.saturating_sub(skip).min(rest.len());
            let (now, later) = rest.split_at_mut(take);
            if take == len {
                self.chunk(index, now)?;
            } else {
                scratch.resize(len, 0);
                self.chunk(index, &mut scratch)?;
                let part = scratch.get(skip..skip.saturating_add(take));
                now.copy_from_slice(part.ok_or(SefError::Misuse("a part beyond its chunk"))?);
            }
            at = at.saturating_add(to_u64(take));
            rest = later;
        }
        Ok(wanted)
    }

    /// Writes the whole plaintext to `sink`, chunk by chunk, each after it was verified.
    ///
    /// # Errors
    /// As [`SefReader::read_at`], and [`StoreError::Sink`].
    pub fn copy_to(&self, sink: &mut impl Write) -> Result<u64, StoreError> {
        let layout = self.opener.layout();
        let mut chunk = Zeroizing::new(vec![0u8; layout.chunk_len(0).unwrap_or(0)]);
        for index in 0..layout.chunks() {
            let len = layout.chunk_len(index).unwrap_or(0);
            let chunk = chunk.get_mut(..len).ok_or(SefError::Misuse("a chunk that grew"))?;
            self.chunk(index, chunk)?;
            sink.write_all(chunk).map_err(StoreError::Sink)?;
        }
        Ok(layout.plaintext_len())
    }

    /// Decrypts and verifies every chunk and keeps nothing.
    ///
    /// # Errors
    /// As [`SefReader::read_at`].
    pub fn verify_all(&self) -> Result<(), StoreError> {
        self.copy_to(&mut io::sink()).map(drop)
    }

    fn chunk(&self, index: u64, chunk: &mut [u8]) -> Result<(), StoreError> {
        let layout = self.opener.layout();
        let read = read_at(&self.file, chunk, layout.chunk_offset(index), layout.file_len());
        if let Err(error) = read {
            chunk.fill(0);
            return Err(error);
        }
        Ok(self.opener.open_chunk(index, chunk)?)
    }
}

fn read_at(file: &File, out: &mut [u8], offset: u64, file_len: u64) -> Result<(), StoreError> {
    file.read_exact_at(out, offset).map_err(|e| match e.kind() {
        // Cut since its length was looked at, or shorter than a header.
        io::ErrorKind::UnexpectedEof => {
            SefError::Size { expected: offset.saturating_add(to_u64(out.len())), actual: file_len }.into()
        }
        _ => StoreError::io("read an object")(e),
    })
}

fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
