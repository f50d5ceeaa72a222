//! Tiles, bundles and the checkpoint file: derived from the segments after the acknowledgement, and rebuilt from
//! them at every start, so that they can never be what is relied on.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use audit::frame::{self, Frame, Next};
use audit::limits::{SEGMENT_LEN, TILE_WIDTH};
use audit::tile::{self, Builder, TileFile};
use audit::{LeafIndex, leaf_hash, segment};

use super::committer::{Head, Log};
use crate::error::KeeperError;
use crate::limits::{PUBLISH_PAUSE, PUBLISH_RETRY};

/// Where the publisher stands in the segments, and what it has not written yet.
struct Publisher<'a> {
    log: &'a Log,
    /// First entry of the segment that is read.
    segment: u64,
    /// Offset of the next frame in it.
    at: u64,
    /// Entries read.
    size: u64,
    builder: Builder,
    /// Entries of the open bundle.
    bundle: Vec<Vec<u8>>,
    /// Full tiles and bundles that wait to be written.
    waiting: VecDeque<TileFile>,
    /// Partial files of the last publication, and of the one before, which a reader may still use.
    partials: [Vec<String>; 2],
}

/// Publishes for ever. The thread ends with the process.
pub(super) fn run(log: &Log) {
    let mut publisher = Publisher {
        log,
        segment: 0,
        at: 0,
        size: 0,
        builder: Builder::new(),
        bundle: Vec::new(),
        waiting: VecDeque::new(),
        partials: [Vec::new(), Vec::new()],
    };
    let mut published = 0;
    loop {
        let head = log.wait_beyond(published);
        if head.note.is_empty() {
            // Opened, but nothing signed in this run yet: the first entry of this start comes at once.
            published = head.size.get();
            continue;
        }
        match publisher.publish(&head) {
            Ok(()) => {
                published = head.size.get();
                std::thread::sleep(PUBLISH_PAUSE);
            }
            // The log itself is whole; a reader sees the last checkpoint until this succeeds.
            Err(_) => std::thread::sleep(PUBLISH_RETRY),
        }
    }
}

impl Publisher<'_> {
    fn publish(&mut self, head: &Head) -> Result<(), KeeperError> {
        self.flush()?;
        while self.size < head.size.get() {
            self.read(head)?;
            self.flush()?;
        }
        let mut partials = self.builder.partials();
        if !self.bundle.is_empty() {
            let n = self.size / TILE_WIDTH as u64;
            let path = tile::entries_path(n, self.size % TILE_WIDTH as u64);
            partials.push((path, tile::bundle(self.bundle.iter().map(Vec::as_slice))));
        }
        let dir = &self.log.identity().dir;
        for (path, bytes) in &partials {
            super::replace(dir, path, bytes)?;
        }
        super::replace(dir, "checkpoint", &head.note)?;
        self.keep_head(head)?;
        let new: Vec<String> = partials.into_iter().map(|(path, _)| path).collect();
        let [last, before] = &mut self.partials;
        for old in before.iter().filter(|old| !last.contains(old) && !new.contains(old)) {
            let path = dir.join(old);
            // Already gone is as good, and a folder with partial tiles in use stays.
            fs::remove_file(&path).unwrap_or_default();
            if let Some(parent) = path.parent() {
                fs::remove_dir(parent).unwrap_or_default();
            }
        }
        *before = std::mem::replace(last, new);
        Ok(())
    }

    /// The keeper's own copy of the head: who can write the log's directory cannot take it back.
    fn keep_head(&self, head: &Head) -> Result<(), KeeperError> {
        let path = &self.log.identity().kept_head;
        let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
            return Ok(());
        };
        super::replace(dir, name, &head.note)
    }

    /// Reads what is committed of one segment.
    fn read(&mut self, head: &Head) -> Result<(), KeeperError> {
        let path = self.log.identity().dir.join(segment::file_name(LeafIndex::new(self.segment)));
        let file = File::open(&path).map_err(KeeperError::file("opening", &path))?;
        let end = if self.segment == head.segment { head.end } else { SEGMENT_LEN };
        let len = usize::try_from(end.saturating_sub(self.at)).unwrap_or(0);
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, self.at).map_err(KeeperError::file("reading", &path))?;
        let mut at = 0;
        while let Next::Frame(frame, after) = frame::next(&bytes, at) {
            if let Frame::Entry(entry) = frame {
                self.push(entry);
            }
            at = after;
        }
        self.at = self.at.saturating_add(u64::try_from(at).unwrap_or(0));
        if self.segment != head.segment {
            self.segment = self.size;
            self.at = 0;
        } else if self.size < head.size.get() {
            let source = std::io::Error::other("committed frames cannot be read back");
            return Err(KeeperError::File { doing: "reading", path, source });
        }
        Ok(())
    }

    fn push(&mut self, entry: &[u8]) {
        let waiting = &mut self.waiting;
        self.builder.push(leaf_hash(entry), |file| waiting.push_back(file));
        self.bundle.push(entry.to_vec());
        self.size = self.size.saturating_add(1);
        if self.bundle.len() == TILE_WIDTH {
            let n = (self.size / TILE_WIDTH as u64).saturating_sub(1);
            let bytes = tile::bundle(self.bundle.iter().map(Vec::as_slice));
            self.waiting.push_back((tile::entries_path(n, 0), bytes));
            self.bundle.clear();
        }
    }

    /// Writes full tiles that are not there as they should be.
    fn flush(&mut self) -> Result<(), KeeperError> {
        let dir = &self.log.identity().dir;
        while let Some((path, bytes)) = self.waiting.front() {
            let same = fs::read(dir.join(path)).is_ok_and(|found| found == *bytes);
            if !same {
                super::replace(dir, path, bytes)?;
            }
            self.waiting.pop_front();
        }
        Ok(())
    }
}
