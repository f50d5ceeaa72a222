//! Where bytes come from: a file that can be read anywhere, or a stream that comes out of an archive.

use std::io::{self, Read};

use crate::cursor::offset;
use crate::{limits, zip};

/// A file that can be read anywhere.
pub trait Source {
    /// How many bytes it has.
    fn len(&self) -> u64;

    /// Whether it has none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `out` with the bytes from `at` on, which are all within it.
    ///
    /// # Errors
    /// The bytes cannot be had.
    fn read_at(&mut self, at: u64, out: &mut [u8]) -> io::Result<()>;
}

impl Source for &[u8] {
    fn len(&self) -> u64 {
        offset(<[u8]>::len(self))
    }

    fn read_at(&mut self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(at).ok().and_then(|at| self.get(at..)?.get(..out.len()));
        let from = from.ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(from);
        Ok(())
    }
}

/// A source that remembers that it failed, whatever became of the failure on its way through a decoder.
pub(super) struct Watched<'a> {
    inner: &'a mut dyn Source,
    failure: Option<io::Error>,
}

impl<'a> Watched<'a> {
    pub(super) fn new(inner: &'a mut dyn Source) -> Self {
        Self { inner, failure: None }
    }

    pub(super) fn into_failure(self) -> Option<io::Error> {
        self.failure
    }
}

impl Source for Watched<'_> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_at(&mut self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(at, out).map_err(|error| {
            let told = io::Error::new(error.kind(), "the file could not be read");
            self.failure.get_or_insert(error);
            told
        })
    }
}

enum From<'a> {
    Source(&'a mut dyn Source),
    Stream(&'a mut dyn Read),
}

/// A file, or a part of one.
pub(super) struct Input<'a> {
    from: From<'a>,
    /// Where it begins in the source.
    base: u64,
    /// How long it is, where that is known.
    len: Option<u64>,
    pos: u64,
    /// A byte that was read ahead, of a stream.
    ahead: Option<u8>,
    /// The last bytes of a stream.
    tail: Vec<u8>,
}

impl<'a> Input<'a> {
    pub(super) fn of(source: &'a mut dyn Source) -> Self {
        let len = source.len();
        Self::from(From::Source(source), 0, Some(len))
    }

    pub(super) fn stream(read: &'a mut dyn Read) -> Self {
        Self::from(From::Stream(read), 0, None)
    }

    fn from(from: From<'a>, base: u64, len: Option<u64>) -> Self {
        Self { from, base, len, pos: 0, ahead: None, tail: Vec::new() }
    }

    /// The next `len` bytes as a file of their own. What comes after goes on behind them, once all of a stream's were read.
    pub(super) fn window(&mut self, len: u64) -> io::Result<Input<'_>> {
        let end = self.pos.checked_add(len);
        if end.is_none_or(|end| self.len.is_some_and(|all| end > all)) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is longer than what it stands in"));
        }
        let (base, from) = match &mut self.from {
            From::Source(source) => (self.base.saturating_add(self.pos), From::Source(&mut **source)),
            From::Stream(read) => (0, From::Stream(&mut **read)),
        };
        let mut window = Input::from(from, base, Some(len));
        if len > 0 {
            window.ahead = self.ahead.take();
        }
        self.pos = self.pos.saturating_add(len);
        Ok(window)
    }

    /// How long it is; a stream is read to its end for that.
    pub(super) fn whole_len(&mut self) -> io::Result<u64> {
        self.drain()?;
        Ok(self.len.unwrap_or(self.pos))
    }

    /// Its length, where that is known before all of it was read.
    pub(super) fn known_len(&self) -> Option<u64> {
        self.len
    }

    pub(super) fn seek(&mut self, to: u64) {
        if matches!(self.from, From::Source(_)) {
            self.pos = to;
        }
    }

    pub(super) fn is_at_end(&mut self) -> io::Result<bool> {
        if let Some(len) = self.len {
            return Ok(self.pos >= len);
        }
        if self.ahead.is_some() {
            return Ok(false);
        }
        let mut one = [0];
        let read = self.read(&mut one)?;
        if read == 1 {
            self.pos = self.pos.saturating_sub(1);
            self.tail.pop();
            self.ahead = Some(one[0]);
        }
        Ok(read == 0)
    }

    /// Reads anywhere, where it can be read so.
    pub(super) fn random(&mut self) -> Option<Anywhere<'_>> {
        match (&mut self.from, self.len) {
            (From::Source(source), Some(len)) => {
                Some(Anywhere { source: &mut **source, base: self.base, len })
            }
            _ => None,
        }
    }

    /// Reads to the end of a stream; a source needs it not.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        if matches!(self.from, From::Source(_)) {
            return Ok(());
        }
        let mut piece = vec![0; limits::DATA_PIECE];
        while self.read(&mut piece)? > 0 {}
        if self.len.is_some_and(|len| self.pos < len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// The last bytes, in which the end of a ZIP archive would stand. `head` is what was read at first.
    pub(super) fn tail(&mut self, head: &[u8]) -> io::Result<Vec<u8>> {
        let most = zip::END_MAX;
        if let Some(mut all) = self.random() {
            let len = Source::len(&all);
            let from = len.saturating_sub(offset(most));
            let mut tail = vec![0; usize::try_from(len.saturating_sub(from)).unwrap_or(0)];
            all.read_at(from, &mut tail)?;
            return Ok(tail);
        }
        self.drain()?;
        if self.tail.is_empty() {
            return Ok(head.get(head.len().saturating_sub(most)..).unwrap_or_default().to_vec());
        }
        Ok(self.tail.clone())
    }

    fn keep(&mut self, bytes: &[u8]) {
        let most = zip::END_MAX;
        if self.tail.len().saturating_add(bytes.len()) > 2 * most {
            let cut = self.tail.len().saturating_sub(most);
            self.tail.drain(..cut);
        }
        let from = bytes.len().saturating_sub(most);
        self.tail.extend_from_slice(bytes.get(from..).unwrap_or_default());
    }
}

impl Read for Input<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.len.map_or(u64::MAX, |len| len.saturating_sub(self.pos));
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        let out = out.get_mut(..most).unwrap_or_default();
        if out.is_empty() {
            return Ok(0);
        }
        let read = match &mut self.from {
            From::Source(source) => {
                source.read_at(self.base.saturating_add(self.pos), out)?;
                out.len()
            }
            From::Stream(_) if self.ahead.is_some() => {
                for (to, byte) in out.iter_mut().zip(self.ahead.take()) {
                    *to = byte;
                }
                1
            }
            From::Stream(read) => read.read(out)?,
        };
        self.pos = self.pos.saturating_add(offset(read));
        if matches!(self.from, From::Stream(_)) {
            self.keep(out.get(..read).unwrap_or_default());
        }
        Ok(read)
    }
}

/// A part of a source that can be read anywhere.
pub(super) struct Anywhere<'a> {
    source: &'a mut dyn Source,
    base: u64,
    len: u64,
}

impl Source for Anywhere<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&mut self, at: u64, out: &mut [u8]) -> io::Result<()> {
        if at.checked_add(offset(out.len())).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.source.read_at(self.base.saturating_add(at), out)
    }
}

/// Reads so many bytes at a place.
pub(super) fn bytes_at(source: &mut dyn Source, at: u64, len: usize) -> Option<Vec<u8>> {
    if at.checked_add(offset(len)).is_none_or(|end| end > source.len()) {
        return None;
    }
    let mut bytes = vec![0; len];
    source.read_at(at, &mut bytes).ok()?;
    Some(bytes)
}
