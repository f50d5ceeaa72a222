//! Opening sealed files into a memory-backed mount.

use std::os::fd::{AsFd, BorrowedFd};

use ops::porter::SealedFile;
use vault::sef::{DATA_OFFSET, HEADER_LEN, Header, Layout};
use vault::{Dek, KeyScope, Opener};

use crate::{PorterError, tree};

/// Opens one sealed file below `root`. On failure nothing of it is left.
pub(crate) fn open_into(
    root: BorrowedFd<'_>,
    file: &SealedFile,
    sealed: BorrowedFd<'_>,
    mode: u32,
) -> Result<u64, PorterError> {
    let path = file.path.as_str();
    let opener = verify(file, sealed)?;
    let target = tree::create(root, path, mode)?;
    let result = decrypt(&opener, path, sealed, target.as_fd());
    if result.is_err() {
        // The first failure is the one to tell; if removing fails too, the mount is never frozen.
        tree::remove(root, path).unwrap_or_default();
    }
    result.map(|()| opener.layout().plaintext_len())
}

fn sealed_error(path: &str) -> impl Fn(vault::SefError) -> PorterError {
    move |source| PorterError::Sealed { path: path.to_owned(), source }
}

/// A sealed file as a stream of its plaintext: each chunk is opened, and so verified, before a byte of it is given.
pub(crate) struct Plain<'a> {
    opener: Opener,
    path: &'a str,
    sealed: BorrowedFd<'a>,
    buffer: Vec<u8>,
    /// What of the buffer is not given yet.
    ready: std::ops::Range<usize>,
    next: u64,
    /// The chunk that stands in the buffer, where it is read anywhere.
    held: Option<u64>,
}

impl<'a> Plain<'a> {
    pub(crate) fn open(file: &'a SealedFile, sealed: BorrowedFd<'a>) -> Result<Self, PorterError> {
        let opener = verify(file, sealed)?;
        let buffer = vec![0; opener.layout().chunk().bytes()];
        Ok(Self { opener, path: file.path.as_str(), sealed, buffer, ready: 0..0, next: 0, held: None })
    }

    /// Bytes of its plaintext.
    pub(crate) fn len(&self) -> u64 {
        self.opener.layout().plaintext_len()
    }

    /// Fills `out` with the plaintext from `at` on. The chunk read last is kept, so that what reads on in small pieces
    /// opens each chunk once.
    pub(crate) fn read_at(&mut self, mut at: u64, mut out: &mut [u8]) -> std::io::Result<()> {
        let layout = *self.opener.layout();
        let size = u64::try_from(layout.chunk().bytes()).unwrap_or(u64::MAX);
        while !out.is_empty() {
            let index = at.checked_div(size).unwrap_or(0);
            let len = layout.chunk_len(index).ok_or(std::io::ErrorKind::UnexpectedEof)?;
            let chunk = self.buffer.get_mut(..len).unwrap_or_default();
            if self.held != Some(index) {
                self.held = None;
                read_exact(self.sealed, chunk, layout.chunk_offset(index), self.path)
                    .and_then(|()| self.opener.open_chunk(index, chunk).map_err(sealed_error(self.path)))
                    .map_err(std::io::Error::other)?;
                self.held = Some(index);
            }
            let within = usize::try_from(at.checked_rem(size).unwrap_or(0)).unwrap_or(usize::MAX);
            let from = chunk.get(within..).unwrap_or_default();
            let count = from.len().min(out.len());
            if count == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let (to, rest) = std::mem::take(&mut out).split_at_mut(count);
            to.copy_from_slice(from.get(..count).unwrap_or_default());
            out = rest;
            at = at.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        }
        Ok(())
    }
}

impl std::io::Read for Plain<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let layout = self.opener.layout();
        if self.ready.is_empty() && self.next < layout.chunks() {
            let len = layout.chunk_len(self.next).unwrap_or(0);
            let chunk = self.buffer.get_mut(..len).unwrap_or_default();
            let opened = read_exact(self.sealed, chunk, layout.chunk_offset(self.next), self.path)
                .and_then(|()| self.opener.open_chunk(self.next, chunk).map_err(sealed_error(self.path)));
            opened.map_err(std::io::Error::other)?;
            self.ready = 0..len;
            self.next = self.next.saturating_add(1);
        }
        let from = self.buffer.get(self.ready.clone()).unwrap_or_default();
        let len = from.len().min(out.len());
        for (to, byte) in out.iter_mut().zip(from) {
            *to = *byte;
        }
        self.ready.start = self.ready.start.saturating_add(len);
        Ok(len)
    }
}

/// Reads header and tags and checks everything that can be checked before a chunk.
fn verify(file: &SealedFile, sealed: BorrowedFd<'_>) -> Result<Opener, PorterError> {
    let path = file.path.as_str();
    tree::check_path(path)?;
    let scope: KeyScope =
        file.scope.parse().map_err(|_| PorterError::Order("the key scope is no key scope"))?;
    let stat = rustix::fs::fstat(sealed).map_err(PorterError::io("looking at", path))?;
    let file_len = u64::try_from(stat.st_size).unwrap_or(0);
    let mut header: Box<Header> = Box::new([0; HEADER_LEN]);
    read_exact(sealed, header.as_mut(), 0, path)?;
    let layout = Layout::parse(&header, file_len).map_err(sealed_error(path))?;
    let mut tags = vec![0u8; layout.tags_len()];
    read_exact(sealed, &mut tags, layout.tags_offset(), path)?;
    let dek = file.dek.expose(|key| Dek::take(&mut { *key }));
    let opener =
        Opener::verify(&header, tags, file_len, &dek, &scope, &file.digest).map_err(sealed_error(path))?;
    let found = opener.layout().plaintext_len();
    if found == file.size {
        Ok(opener)
    } else {
        Err(PorterError::Length { path: path.to_owned(), found, expected: file.size })
    }
}

fn decrypt(
    opener: &Opener,
    path: &str,
    sealed: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
) -> Result<(), PorterError> {
    let layout = opener.layout();
    let mut buffer = vec![0u8; layout.chunk().bytes()];
    for index in 0..layout.chunks() {
        let len = layout.chunk_len(index).unwrap_or(0);
        let chunk = buffer.get_mut(..len).unwrap_or_default();
        let offset = layout.chunk_offset(index);
        read_exact(sealed, chunk, offset, path)?;
        opener.open_chunk(index, chunk).map_err(sealed_error(path))?;
        let to = offset.saturating_sub(DATA_OFFSET);
        tree::write_at(target, chunk, to).map_err(PorterError::io("writing", path))?;
    }
    Ok(())
}

fn read_exact(fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64, path: &str) -> Result<(), PorterError> {
    let count = tree::read_at(fd.as_fd(), buffer, offset).map_err(|source| PorterError::Io {
        doing: "reading sealed",
        path: path.to_owned(),
        source,
    })?;
    if count == buffer.len() {
        return Ok(());
    }
    let expected = offset.saturating_add(u64::try_from(buffer.len()).unwrap_or(u64::MAX));
    let found = offset.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    Err(PorterError::Sealed {
        path: path.to_owned(),
        source: vault::SefError::Size { expected, actual: found },
    })
}
