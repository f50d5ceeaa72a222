//! A layer of an image as a stream of archive entries: opened, decompressed, read strictly, nothing kept.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use image::tar::{BLOCK, Entry, Kind, Reader, Step, padding};
use ops::porter::Compression;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::{PorterError, limits};

/// Reads a layer.
pub(crate) struct Layer<'a> {
    path: &'a str,
    archive: Box<dyn Read + 'a>,
    reader: Reader,
    /// Decompressed bytes that may still come: whatever they are, they cost time.
    budget: u64,
    /// Content of the last entry that nobody took, and its padding.
    content: u64,
    padding: usize,
}

impl<'a> Layer<'a> {
    pub(crate) fn new(
        path: &'a str,
        bytes: impl Read + 'a,
        compression: Compression,
        max_bytes: u64,
    ) -> Self {
        let bytes = BufReader::with_capacity(limits::LAYER_BUFFER, bytes);
        let archive: Box<dyn Read + 'a> = match compression {
            Compression::None => Box::new(bytes),
            Compression::Gzip => {
                Box::new(BufReader::with_capacity(limits::LAYER_BUFFER, MultiGzDecoder::new(bytes)))
            }
            Compression::Zstd => {
                Box::new(Frames { source: bytes, decoder: FrameDecoder::new(), is_open: false })
            }
        };
        let budget = max_bytes.saturating_add(image::limits::HEADER_BYTES);
        Self { path, archive, reader: Reader::default(), budget, content: 0, padding: 0 }
    }

    /// The next entry; none at the end, when every byte was read. What was left of the one before is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, PorterError> {
        self.skip()?;
        loop {
            let mut block = [0; BLOCK];
            if !self.header(&mut block)? {
                return self.reader.finish().map(|()| None).map_err(PorterError::from);
            }
            match self.reader.block(&block)? {
                Step::Next => {}
                Step::Extension(size) => {
                    // The reader has held it against its limit.
                    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
                    self.exact(&mut bytes)?;
                    self.padding = padding(size);
                    self.skip()?;
                    self.reader.extension(&bytes)?;
                }
                Step::Entry(entry) => {
                    if let Kind::File { size, .. } = entry.kind {
                        self.content = size;
                        self.padding = padding(size);
                    }
                    return Ok(Some(entry));
                }
                Step::End => return self.end().map(|()| None),
            }
        }
    }

    /// Content of the last entry; 0 at its end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, PorterError> {
        let len = usize::try_from(self.content).unwrap_or(usize::MAX).min(buffer.len());
        let part = buffer.get_mut(..len).unwrap_or_default();
        let count = self.take(len, |archive| archive.read(part))?;
        if count == 0 && len > 0 {
            return Err(self.failed(io::ErrorKind::UnexpectedEof.into()));
        }
        self.content = self.content.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }

    fn skip(&mut self) -> Result<(), PorterError> {
        let mut sink = vec![0; limits::LAYER_BUFFER];
        while self.content > 0 {
            self.read(&mut sink)?;
        }
        // Not every tool pads what it writes last; whatever follows is read as a header then.
        let mut padding = [0; BLOCK];
        let len = std::mem::take(&mut self.padding);
        self.fill(padding.get_mut(..len).unwrap_or_default()).map(|_| ())
    }

    /// A header, or false where the bytes end.
    fn header(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, PorterError> {
        match self.fill(block)? {
            0 => Ok(false),
            BLOCK => Ok(true),
            _ => Err(self.failed(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Reads until the buffer is full or the bytes end; how many there were.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, PorterError> {
        let mut filled = 0usize;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.take(rest.len(), |archive| archive.read(rest))? {
                0 => break,
                count => filled = filled.saturating_add(count),
            }
        }
        Ok(filled)
    }

    /// Only zeros may follow: whatever else stands there another reader could take for entries.
    fn end(&mut self) -> Result<(), PorterError> {
        let mut buffer = vec![0; limits::LAYER_BUFFER];
        self.budget = self.budget.min(image::limits::END_BYTES);
        loop {
            match self.take(buffer.len(), |archive| archive.read(&mut buffer))? {
                0 => return Ok(()),
                count if buffer.iter().take(count).all(|byte| *byte == 0) => {}
                _ => return Err(image::ImageError::Archive("something follows its end").into()),
            }
        }
    }

    fn exact(&mut self, buffer: &mut [u8]) -> Result<(), PorterError> {
        if self.fill(buffer)? == buffer.len() {
            return Ok(());
        }
        Err(self.failed(io::ErrorKind::UnexpectedEof.into()))
    }

    /// One read, counted.
    fn take(
        &mut self,
        wanted: usize,
        mut read: impl FnMut(&mut dyn Read) -> io::Result<usize>,
    ) -> Result<usize, PorterError> {
        let count = loop {
            match read(&mut self.archive) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(|source| self.failed(source))?,
            }
        };
        let spent = u64::try_from(count).unwrap_or(u64::MAX);
        match self.budget.checked_sub(spent) {
            Some(left) => self.budget = left,
            None if wanted == 0 => {}
            None => {
                let limit = image::limits::HEADER_BYTES;
                return Err(image::ImageError::Limit { what: "bytes beside its files", limit }.into());
            }
        }
        Ok(count)
    }

    fn failed(&self, source: io::Error) -> PorterError {
        PorterError::Layer { path: self.path.to_owned(), source }
    }
}

/// All frames of a Zstandard file, one after another; the decoder reads one (RFC 8878 section 3).
struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
    is_open: bool,
}

impl<R: BufRead> Frames<R> {
    /// Begins the next frame with content; false at the end.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    if io::copy(&mut (&mut self.source).take(length), &mut io::sink())? < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error.to_string())),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.is_open {
                self.is_open = self.begin()?;
                if !self.is_open {
                    return Ok(0);
                }
            }
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer);
            }
            if self.decoder.is_finished() {
                self.is_open = false;
                continue;
            }
            let step = BlockDecodingStrategy::UptoBlocks(1);
            let decoded = self.decoder.decode_blocks(&mut self.source, step);
            decoded.map_err(|error| io::Error::other(error.to_string()))?;
        }
    }
}
