//! Segment files and the state that the next entry depends on.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use audit::entry::{self, Stamp};
use audit::frame::{self, Frame};
use audit::limits::{COMMIT_ENTRIES, COMMIT_MAX, SEGMENT_LEN};
use audit::{Checkpoint, Frontier, LeafIndex, Signer, leaf_hash, segment};
use base::id::EventId;

use super::{Identity, Pending};
use crate::clock;
use crate::error::{AppendError, KeeperError};
use crate::state::sync_dir;

/// The open segment and everything that is committed.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(super) signer: Signer,
    /// All that is committed.
    pub(super) frontier: Frontier,
    /// The next number of each tenant's chain.
    pub(super) chains: BTreeMap<String, u64>,
    pub(super) segment: Option<Segment>,
    /// The disk failed to make something durable: what it holds is not known until it is read back.
    pub(super) broken: bool,
    /// The last signed head.
    pub(super) note: Vec<u8>,
}

/// The segment that is written.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: File,
    /// Index of its first entry.
    pub(super) first: u64,
    /// Where the next frame goes.
    pub(super) end: u64,
    /// Bytes up to here may hold what a failed write left; the next one covers it with zeros.
    pub(super) dirty: u64,
}

/// A commit being put together.
struct Batch {
    frontier: Frontier,
    chains: BTreeMap<String, u64>,
    bytes: Vec<u8>,
    random: Vec<u8>,
    logged_ms: u64,
}

impl Writer {
    /// Entries that are committed.
    pub(crate) fn size(&self) -> u64 {
        self.frontier.size().get()
    }

    /// Whether a commit of `entries` entries and `bytes` bytes has room for more.
    pub(super) fn has_room(entries: usize, bytes: usize) -> bool {
        entries < COMMIT_ENTRIES && bytes < COMMIT_MAX
    }

    /// Makes events durable under a new signed head, in order; returns the index of the first.
    ///
    /// # Errors
    /// Nothing was committed.
    pub(super) fn commit(&mut self, identity: &Identity, events: &[&[Pending]]) -> Result<u64, AppendError> {
        if self.broken {
            return Err(AppendError::Broken);
        }
        let disk = |e: &dyn std::error::Error| AppendError::Disk(base::error::chain(e));
        let count: usize = events.iter().map(|e| e.len()).sum();
        let mut random = vec![0; count.saturating_mul(10)];
        clock::fill(&mut random).map_err(|e| disk(&e))?;
        let mut batch = Batch {
            frontier: self.frontier.clone(),
            chains: BTreeMap::new(),
            bytes: Vec::with_capacity(count.saturating_mul(1400).saturating_add(512)),
            random,
            logged_ms: identity.clock.wall().as_millis(),
        };
        for pending in events.iter().flat_map(|e| e.iter()) {
            self.encode(identity, pending, &mut batch);
        }
        let head = Checkpoint {
            origin: identity.origin.clone(),
            size: batch.frontier.size(),
            root: batch.frontier.root(),
        };
        let note = head.sign(&self.signer).map_err(|e| disk(&e))?.into_bytes();
        frame::put(&mut batch.bytes, Frame::Note(&note));
        self.write(identity, &mut batch.bytes)?;
        let first = self.size();
        self.frontier = batch.frontier;
        self.chains.append(&mut batch.chains);
        self.note = note;
        Ok(first)
    }

    fn encode(&self, identity: &Identity, pending: &Pending, batch: &mut Batch) {
        let tenant = pending.event.tenant.as_str();
        let committed = self.chains.get(tenant).copied().unwrap_or(0);
        let next = batch.chains.entry(tenant.to_owned()).or_insert(committed);
        let sequence = *next;
        *next = next.saturating_add(1);
        let at = batch.random.len().saturating_sub(10);
        let random: [u8; 10] = batch.random.split_off(at).try_into().unwrap_or_default();
        let chain = entry::chain(&identity.origin, tenant);
        let stamp = Stamp {
            index: batch.frontier.size().next_index(),
            sequence,
            chain: &chain,
            uid: EventId::new(base::Timestamp::from_millis(batch.logged_ms), random),
            logged_ms: batch.logged_ms,
            mono_ns: identity.clock.mono_ns(),
            boot_id: &identity.boot_id,
            sender: pending.sender,
            sender_uid: pending.sender_uid,
            node: &identity.node,
            version: env!("CARGO_PKG_VERSION"),
            generation: pending.generation.as_ref().map(|generation| (generation.g, generation.hash)),
        };
        let entry = entry::encode(&pending.event, &stamp);
        batch.frontier.push(leaf_hash(&entry));
        frame::put(&mut batch.bytes, Frame::Entry(&entry));
    }

    /// Writes and syncs; on an error the committed state is untouched.
    fn write(&mut self, identity: &Identity, bytes: &mut Vec<u8>) -> Result<(), AppendError> {
        let disk = |e: &dyn std::error::Error| AppendError::Disk(base::error::chain(e));
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let fits = self.segment.as_ref().is_some_and(|s| s.end.saturating_add(len) <= SEGMENT_LEN);
        if !fits {
            self.segment = Some(Segment::create(&identity.dir, self.size()).map_err(|e| disk(&e))?);
        }
        let segment = self.segment.as_mut().ok_or(AppendError::Stopped)?;
        let end = segment.end.saturating_add(len);
        let covered = usize::try_from(segment.dirty.saturating_sub(end)).unwrap_or(0);
        bytes.resize(bytes.len().saturating_add(covered), 0);
        if let Err(error) = segment.file.write_all_at(bytes, segment.end) {
            segment.dirty = segment.dirty.max(end);
            return Err(disk(&error));
        }
        if segment.file.sync_data().is_err() {
            // The kernel may have dropped the pages and call the next sync a success: only reading back says.
            self.broken = true;
            return Err(AppendError::Broken);
        }
        segment.end = end;
        segment.dirty = end;
        Ok(())
    }
}

impl Segment {
    /// Makes the segment that begins with entry `first`, with its space allocated.
    fn create(dir: &Path, first: u64) -> Result<Self, KeeperError> {
        let path = dir.join(segment::file_name(LeafIndex::new(first)));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .open(&path)
            .map_err(KeeperError::file("making", &path))?;
        let made = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, SEGMENT_LEN)
            .map_err(std::io::Error::from)
            .and_then(|()| file.sync_all())
            .map_err(KeeperError::file("allocating", &path))
            .and_then(|()| sync_dir(dir));
        if let Err(error) = made {
            // A leftover would only be truncated by the next try; the error above is the one to report.
            std::fs::remove_file(&path).unwrap_or_default();
            return Err(error);
        }
        Ok(Self { file, first, end: 0, dirty: 0 })
    }
}
