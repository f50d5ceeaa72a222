//! Opening the log: every entry is hashed again and compared with the signed heads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use audit::limits::{NOTE_MAX, SEGMENT_LEN};
use audit::segment::{self, Sink, Tail, Walk};
use audit::{Checkpoint, Frontier, LeafIndex, Signer, TreeSize};
use base::Digest;
use base::id::CorrelationId;
use ops::event::EventKind;
use ops::keeper::Generation;

use super::Identity;
use super::writer::{Segment, Writer};
use crate::error::{KeeperError, Tamper};
use crate::limits::{INTENTS_MAX, SEGMENTS_MAX};

/// An intent without outcome.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Intent {
    pub(super) kind: EventKind,
    pub(super) correlation: u128,
    pub(super) tenant: String,
}

/// The log as it was found.
pub(super) struct Opened {
    pub(super) writer: Writer,
    /// An unacknowledged tail that was dropped.
    pub(super) dropped: Option<Tail>,
    pub(super) intents: Vec<Intent>,
    /// The newest generation of the metadata database in it.
    pub(super) generation: Option<Generation>,
}

/// What the walk collects; entries count once their checkpoint was seen.
struct Collect {
    /// Chains and intents of entries that wait for their checkpoint.
    waiting: Vec<audit::entry::Parsed>,
    chains: BTreeMap<String, u64>,
    intents: BTreeSet<Intent>,
    generation: Option<Generation>,
    /// Size and root at which a kept head is compared.
    wanted: Option<Checkpoint>,
    frontier: Frontier,
    fork: bool,
}

impl Sink for Collect {
    fn entry(&mut self, _: LeafIndex, entry: &[u8], leaf: Digest, _: usize) {
        self.frontier.push(leaf);
        if let Some(wanted) = &self.wanted
            && wanted.size == self.frontier.size()
            && wanted.root != self.frontier.root()
        {
            self.fork = true;
        }
        self.waiting.extend(audit::entry::parse(entry));
    }

    fn committed(&mut self, _: TreeSize, _: usize) {
        for parsed in self.waiting.drain(..) {
            let told = parsed.generation.map(|(g, hash)| Generation { g, hash });
            self.generation = super::newest(self.generation.take(), told);
            let kind = EventKind::from_name(&parsed.event);
            let correlation = parsed.correlation.parse::<CorrelationId>().ok();
            if let (Some(kind), Some(correlation)) = (kind, correlation) {
                let intent = Intent { kind, correlation: correlation.bits(), tenant: parsed.tenant.clone() };
                match parsed.phase.as_str() {
                    "intent" if self.intents.len() < INTENTS_MAX => {
                        self.intents.insert(intent);
                    }
                    "outcome" => {
                        self.intents.remove(&intent);
                    }
                    _ => {}
                }
            }
            self.chains.insert(parsed.tenant, parsed.sequence.saturating_add(1));
        }
    }
}

/// Reads the whole log back.
pub(super) fn open(identity: &Identity, signer: Signer) -> Result<Opened, KeeperError> {
    make_dir(&identity.dir)?;
    let mut kept: Option<Checkpoint> = None;
    for path in [identity.kept_head.as_path(), identity.dir.join("checkpoint").as_path()] {
        if let Some(head) = read_head(identity, path)?
            && kept.as_ref().is_none_or(|k| k.size < head.size)
        {
            kept = Some(head);
        }
    }
    let mut collect = Collect {
        waiting: Vec::new(),
        chains: BTreeMap::new(),
        intents: BTreeSet::new(),
        generation: None,
        wanted: kept.clone(),
        frontier: Frontier::new(),
        fork: false,
    };
    let names = segments(&identity.dir)?;
    let (mut frontier, mut open_segment, mut dropped) = (Frontier::new(), None, None);
    for (position, name) in names.iter().enumerate() {
        let after = frontier.size();
        if segment::first_of(name) != Some(after.next_index()) {
            return Err(Tamper::Sequence { after, found: name.clone() }.into());
        }
        let path = identity.dir.join(name);
        let bytes = fs::read(&path).map_err(KeeperError::file("reading", &path))?;
        collect.frontier = frontier.clone();
        let walk = segment::walk(&bytes, &frontier, &identity.key, &mut collect).map_err(Tamper::from)?;
        collect.waiting.clear();
        let is_last = position.saturating_add(1) == names.len();
        let Walk { frontier: now, end, tail } = walk;
        if let Some(tail) = &tail {
            judge(tail, is_last, &now, kept.as_ref())?;
        }
        if is_last {
            open_segment = Some(mend(&path, after.get(), end, tail.as_ref(), bytes.len())?);
            dropped = tail;
        }
        frontier = now;
    }
    if let Some(kept) = kept {
        let found = frontier.size();
        if kept.size > found {
            return Err(Tamper::Shorter { found, wanted: kept.size }.into());
        }
        if collect.fork {
            return Err(Tamper::Fork(kept.size).into());
        }
    }
    let writer = Writer {
        signer,
        frontier,
        chains: collect.chains,
        segment: open_segment,
        broken: false,
        note: Vec::new(),
    };
    let (intents, generation) = (collect.intents.into_iter().collect(), collect.generation);
    Ok(Opened { writer, dropped, intents, generation })
}

/// Whether what stands after the last good checkpoint can be an unacknowledged commit that a crash cut short.
///
/// One commit is written at a time, and the next only after it was durable and acknowledged. So a tail with two
/// signed heads in it, or followed by another segment, or below a head that was published, was acknowledged.
fn judge(tail: &Tail, is_last: bool, found: &Frontier, kept: Option<&Checkpoint>) -> Result<(), Tamper> {
    let size = found.size();
    let published = kept.is_some_and(|k| k.size > size);
    if !is_last || tail.signed.len() > 1 || published { Err(Tamper::Damaged { size }) } else { Ok(()) }
}

/// Opens the last segment for writing. A dropped tail is overwritten with zeros first, so that none of it can be
/// taken for a frame later.
fn mend(
    path: &Path,
    first: u64,
    end: usize,
    tail: Option<&Tail>,
    len: usize,
) -> Result<Segment, KeeperError> {
    let file =
        OpenOptions::new().read(true).write(true).open(path).map_err(KeeperError::file("opening", path))?;
    let end = u64::try_from(end).unwrap_or(u64::MAX);
    let mut mended = Ok(());
    if let Some(tail) = tail {
        mended = file.write_all_at(&vec![0; tail.len], end);
    }
    // A crash between making the file and allocating its space leaves it short.
    if u64::try_from(len).unwrap_or(0) < SEGMENT_LEN {
        mended = mended.and_then(|()| {
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, SEGMENT_LEN)
                .map_err(std::io::Error::from)
        });
    }
    mended.and_then(|()| file.sync_all()).map_err(KeeperError::file("mending", path))?;
    Ok(Segment { file, first, end, dirty: end })
}

fn read_head(identity: &Identity, path: &Path) -> Result<Option<Checkpoint>, KeeperError> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(KeeperError::file("opening", path)(error)),
    };
    let mut note = Vec::new();
    let limit = u64::try_from(NOTE_MAX).unwrap_or(0);
    file.take(limit).read_to_end(&mut note).map_err(KeeperError::file("reading", path))?;
    if note.iter().all(|b| *b == 0) {
        // Written without a sync: after a loss of power the name can be there and the content not.
        return Ok(None);
    }
    Ok(Some(Checkpoint::open(&note, &identity.key).map_err(Tamper::from)?))
}

fn segments(dir: &Path) -> Result<Vec<String>, KeeperError> {
    let mut names = Vec::new();
    for item in fs::read_dir(dir).map_err(KeeperError::file("reading", dir))?.take(SEGMENTS_MAX) {
        let name = item.map_err(KeeperError::file("reading", dir))?.file_name();
        if let Some(name) = name.to_str()
            && segment::first_of(name).is_some()
        {
            names.push(name.to_owned());
        }
    }
    // Twenty digits each, so the order of the names is that of the entries.
    names.sort();
    Ok(names)
}

/// The directory is the keeper's, readable by the group that the warden gave it.
fn make_dir(dir: &Path) -> Result<(), KeeperError> {
    DirBuilder::new().recursive(true).mode(0o750).create(dir).map_err(KeeperError::file("making", dir))?;
    let mode = fs::metadata(dir).map_err(KeeperError::file("looking at", dir))?.mode() & 0o7777;
    if mode & 0o027 != 0 {
        let closed = fs::Permissions::from_mode(mode & !0o027);
        fs::set_permissions(dir, closed).map_err(KeeperError::file("closing to others", dir))?;
    }
    Ok(())
}
