//! Offline verification of a copied log directory, on a machine without the node.
//!
//! What is compared with what: each entry with its stored leaf hash, leaf hashes with the upper tiles, both with
//! the signed root; the segments' entries with their own signed checkpoints and with the tiles; each entry's
//! number with its place; the head with a checkpoint that was kept elsewhere. Where one of these was changed,
//! the others say which entry it was.

use std::collections::BTreeMap;
use std::fmt;

use base::Digest;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::entry;
use crate::limits::{CHAINS_MAX, FINDINGS_MAX, TILE_HEIGHT, TILE_LEVELS, TILE_WIDTH};
use crate::note::{NoteError, VerifierKey};
use crate::tile;
use crate::tree::{Frontier, LeafIndex, TreeSize, leaf_hash, root_of};

mod segments;

/// A file of the copy could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}`: {reason}")]
pub struct ReadError {
    /// Which, relative to the log.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// The files of a log directory by their path relative to it.
pub trait ReadFile {
    /// The file's bytes; `None` if there is no such file.
    ///
    /// # Errors
    /// It is there and cannot be read.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ReadError>;
}

impl<R: ReadFile + ?Sized> ReadFile for &R {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ReadError> {
        (**self).read(path)
    }
}

/// Where the key that the head was checked with came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyTrust {
    /// From the caller, who kept it.
    Given,
    /// From the copy itself: whoever made the copy may have made the key too.
    FromCopy,
}

/// Whether entries can be missing at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A checkpoint kept elsewhere is of this size, and this log continues it.
    ProvenTo(TreeSize),
    /// Nothing kept elsewhere was given, or it contradicts the log.
    NotProven,
}

/// What is wrong with an entry or a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// The entry's content is not what was logged.
    Edited,
    /// The entry is gone and later ones moved up.
    Removed,
    /// An entry stands here that was not logged here.
    Inserted,
    /// An entry stands here that was logged elsewhere.
    Reordered,
    /// Bytes follow the entry that are no part of the log.
    Excess,
    /// Numbers are not gapless, or the entry does not carry its own place.
    Sequence,
    /// Not canonical JSON of ours.
    Malformed,
    /// A file of the log is missing or has the wrong size.
    Missing,
    /// A stored hash is wrong; the entries that it stands for are intact.
    Hash,
    /// The entries in this range are not those that the signed checkpoint is over; nothing in the copy says
    /// which.
    Range,
    /// A checkpoint within a segment is not signed by the log's key.
    Unsigned,
    /// The log ends before a checkpoint that was kept.
    Shorter,
    /// The log is another than the one that a kept checkpoint is of.
    Fork,
}

impl What {
    /// In words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Edited => "was edited",
            Self::Removed => "was removed",
            Self::Inserted => "was inserted",
            Self::Reordered => "was moved from another place",
            Self::Excess => "is followed by bytes that are no part of the log",
            Self::Sequence => "does not carry the number of its place",
            Self::Malformed => "is not an entry of this platform",
            Self::Missing => "is missing: its file is gone or cut",
            Self::Hash => "is intact, but a stored hash over it was changed",
            Self::Range => "or a later one of the range is not what was signed",
            Self::Unsigned => "follows a checkpoint that the log's key did not sign",
            Self::Shorter => "is missing: the log ends before the checkpoint that was kept",
            Self::Fork => "or a later one of the range differs from the log whose checkpoint was kept",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The first entry concerned.
    pub first: LeafIndex,
    /// The last; the same where the entry is known exactly.
    pub last: LeafIndex,
    /// What is wrong.
    pub what: What,
    /// The file, relative to the log.
    pub file: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "entry {} {} (`{}`)", self.first, self.what.text(), self.file)
        } else {
            write!(f, "entry {} {}, up to {} (`{}`)", self.first, self.what.text(), self.last, self.file)
        }
    }
}

/// The outcome of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The log's name.
    pub origin: String,
    /// Entries that the signed head is over.
    pub size: TreeSize,
    /// The signed root.
    pub root: Digest,
    /// The key that the head was checked with.
    pub key: VerifierKey,
    /// Where that key came from.
    pub key_trust: KeyTrust,
    /// Whether the end is proven.
    pub end: End,
    /// Entries that the copied segments hold; `None` if the copy has none.
    pub in_segments: Option<TreeSize>,
    /// What is wrong, by entry; at most [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
}

impl Report {
    /// Nothing is wrong.
    pub fn is_intact(&self) -> bool {
        self.findings.is_empty()
    }

    /// The first bad entry. Of several findings about it, the one that names it most exactly.
    pub fn first_bad(&self) -> Option<&Finding> {
        self.findings.first()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "log:      {}", self.origin)?;
        writeln!(f, "entries:  {}", self.size)?;
        writeln!(f, "root:     {}", self.root)?;
        let trust = match self.key_trust {
            KeyTrust::Given => "given",
            KeyTrust::FromCopy => {
                "from the copy itself, so not independently trusted; give the one kept with --key"
            }
        };
        writeln!(f, "key:      {} ({trust})", self.key)?;
        match self.in_segments {
            Some(size) => writeln!(f, "segments: {size} entries")?,
            None => writeln!(f, "segments: none in the copy")?,
        }
        match self.end {
            End::ProvenTo(size) => writeln!(f, "end:      proven to {size} entries by the kept checkpoint")?,
            End::NotProven => {
                writeln!(f, "end:      not proven; give a checkpoint kept elsewhere with --at-least")?;
            }
        }
        match self.first_bad() {
            None => write!(f, "verified: every entry is as it was signed"),
            Some(first) => {
                write!(f, "tampered: first bad: {first}")?;
                self.findings
                    .iter()
                    .skip(1)
                    .take(9)
                    .try_for_each(|next| write!(f, "\n          also: {next}"))
            }
        }
    }
}

/// The log could not be verified at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A file is there and cannot be read.
    #[error("the copy cannot be read")]
    Read(#[from] ReadError),
    /// No `checkpoint`: not a log directory.
    #[error("there is no `checkpoint` in the copy: not the directory of a log")]
    NoLog,
    /// No key was given and the copy has none that can be used.
    #[error("no verifier key was given, and the copy has no `vkey` that can be used")]
    NoKey(#[source] Option<NoteError>),
    /// The head is not signed by the key.
    #[error("the log's `checkpoint` is not to be trusted")]
    Head(#[source] CheckpointError),
    /// The checkpoint that was kept is not signed by the key.
    #[error("the checkpoint given as kept is not one of this log")]
    Kept(#[source] CheckpointError),
}

impl base::Explain for VerifyError {
    fn code(&self) -> &'static str {
        match self {
            Self::Read(_) => "SR-AUD-0040",
            Self::NoLog => "SR-AUD-0041",
            Self::NoKey(_) => "SR-AUD-0042",
            Self::Head(_) => "SR-AUD-0043",
            Self::Kept(_) => "SR-AUD-0044",
        }
    }
    fn help(&self) -> Option<base::Help> {
        Some(
            "copy the whole log directory and the node's `vkey`, then `strongroom audit verify PATH --key VKEY`",
        )
    }
}

/// Verifies a copied log. `key` is the verifier key that was kept (else the copy's own is used and the report says
/// so), `at_least` a checkpoint that was kept elsewhere.
///
/// # Errors
/// [`VerifyError`] where nothing can be said about entries; everything else is in the report.
pub fn verify(
    files: &impl ReadFile,
    key: Option<VerifierKey>,
    at_least: Option<&[u8]>,
) -> Result<Report, VerifyError> {
    let (key, key_trust) = match key {
        Some(key) => (key, KeyTrust::Given),
        None => (key_of_copy(files)?, KeyTrust::FromCopy),
    };
    let note = files.read("checkpoint")?.ok_or(VerifyError::NoLog)?;
    let head = Checkpoint::open(&note, &key).map_err(VerifyError::Head)?;
    let kept = at_least.map(|note| Checkpoint::open(note, &key)).transpose().map_err(VerifyError::Kept)?;

    let mut check = Check::new(files, &head);
    check.bundles()?;
    check.upper_tiles()?;
    check.roots();
    let in_segments = segments::check(&mut check, &key)?;
    let end = kept.map_or(End::NotProven, |kept| check.kept(&kept));
    let mut findings = check.findings;
    // By first entry; where several concern the same one, the narrowest range first.
    findings.sort_by_key(|f| (f.first, f.last));
    findings.truncate(FINDINGS_MAX);
    Ok(Report {
        origin: head.origin,
        size: head.size,
        root: head.root,
        key,
        key_trust,
        end,
        in_segments,
        findings,
    })
}

fn key_of_copy(files: &impl ReadFile) -> Result<VerifierKey, VerifyError> {
    let bytes = files.read("vkey")?.ok_or(VerifyError::NoKey(None))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| VerifyError::NoKey(Some(NoteError::Key)))?;
    text.parse().map_err(|e| VerifyError::NoKey(Some(e)))
}

/// A verification under way.
struct Check<'a, R> {
    files: &'a R,
    head: &'a Checkpoint,
    /// Leaf hashes computed from the entry bundles; [`None`] where the entry is missing.
    computed: Vec<Option<Digest>>,
    /// Leaf hashes as the level-0 tiles have them; [`None`] where the tile is missing.
    stored: Vec<Option<Digest>>,
    /// The next number of each chain; [`None`] once an entry was bad, since nothing can be expected then.
    chains: Option<BTreeMap<String, u64>>,
    findings: Vec<Finding>,
}

impl<'a, R: ReadFile> Check<'a, R> {
    fn new(files: &'a R, head: &'a Checkpoint) -> Self {
        let chains = Some(BTreeMap::new());
        Self { files, head, computed: Vec::new(), stored: Vec::new(), chains, findings: Vec::new() }
    }

    fn find(&mut self, first: u64, last: u64, what: What, file: &str) {
        // Twice the number reported, so that sorting still has the first ones.
        if self.findings.len() < FINDINGS_MAX.saturating_mul(2) {
            let (first, last) = (LeafIndex::new(first), LeafIndex::new(last.max(first)));
            self.findings.push(Finding { first, last, what, file: file.to_owned() });
        }
    }

    /// Every entry against its stored leaf hash and its own numbers.
    fn bundles(&mut self) -> Result<(), VerifyError> {
        let size = self.head.size;
        let mut n = 0;
        loop {
            let width = tile::tile_width(0, n, size);
            if width == 0 {
                return Ok(());
            }
            let first = n.saturating_mul(TILE_WIDTH as u64);
            let path = tile::entries_path(n, width);
            let bytes = match self.files.read(&path)? {
                Some(bytes) => Some((bytes, false)),
                // A full bundle may have replaced the partial one; then it holds more than this head is over.
                None => self.files.read(&tile::entries_path(n, 0))?.map(|bytes| (bytes, true)),
            };
            let wanted = usize::try_from(width).unwrap_or(TILE_WIDTH);
            let stored = tile::read_tile(self.files, 0, n, width)
                .and_then(|bytes| tile::hashes_of(&bytes))
                .filter(|hashes| hashes.len() == wanted);
            if stored.is_none() {
                self.find(
                    first,
                    first.saturating_add(width).saturating_sub(1),
                    What::Hash,
                    &tile::hash_path(0, n, width),
                );
            }
            let (mut entries, cut, longer) = match &bytes {
                None => (Vec::new(), false, false),
                Some((bytes, longer)) => {
                    let (entries, cut) = tile::entries_of(bytes);
                    (entries, cut, *longer)
                }
            };
            if longer {
                entries.truncate(wanted);
            }
            self.bundle(first, wanted, &path, &entries, cut && !longer, stored.as_deref());
            n = n.saturating_add(1);
        }
    }

    /// One bundle.
    fn bundle(
        &mut self,
        first: u64,
        wanted: usize,
        path: &str,
        entries: &[&[u8]],
        cut: bool,
        stored: Option<&[Digest]>,
    ) {
        let hashes: Vec<Digest> = entries.iter().map(|e| leaf_hash(e)).collect();
        self.computed.extend((0..wanted).map(|i| hashes.get(i).copied()));
        self.stored.extend((0..wanted).map(|i| stored.and_then(|s| s.get(i)).copied()));
        let bad = match stored {
            _ if entries.is_empty() => Some((0, What::Missing)),
            Some(stored) => difference(&hashes, stored),
            None if entries.len() != wanted || cut => Some((entries.len().min(wanted), What::Missing)),
            None => None,
        };
        let bad = match bad {
            Some((at, _)) if at >= wanted => Some((wanted, What::Excess)),
            None if cut => Some((wanted, What::Excess)),
            other => other,
        };
        let good = bad.map_or(wanted, |(at, _)| at);
        for (entry, i) in entries.iter().take(good).zip(0u64..) {
            self.numbers(first.saturating_add(i), entry, path);
        }
        if let Some((at, what)) = bad {
            self.chains = None;
            // What follows the last entry is named with it.
            let at = u64::try_from(at.min(wanted.saturating_sub(1))).unwrap_or(0);
            let index = first.saturating_add(at);
            let last = match what {
                What::Missing => first.saturating_add(u64::try_from(wanted).unwrap_or(0)).saturating_sub(1),
                _ => index,
            };
            self.find(index, last, what, path);
        }
    }

    /// Whether an intact entry is ours and carries the numbers of its place.
    fn numbers(&mut self, index: u64, entry: &[u8], path: &str) {
        let canonical = serde_json::from_slice(entry)
            .ok()
            .and_then(|value: serde_json::Value| base::jcs::to_vec(&value).ok())
            .is_some_and(|bytes| bytes == entry);
        let Some(parsed) = entry::parse(entry).filter(|_| canonical) else {
            self.find(index, index, What::Malformed, path);
            return;
        };
        let Some(chains) = &mut self.chains else { return };
        let chain = entry::chain(&self.head.origin, &parsed.tenant);
        let next = chains.get(&chain).copied().unwrap_or(0);
        let good = parsed.index == index && parsed.sequence == next && parsed.chain == chain;
        if chains.len() < CHAINS_MAX || chains.contains_key(&chain) {
            chains.insert(chain, parsed.sequence.saturating_add(1));
        }
        if !good {
            self.find(index, index, What::Sequence, path);
        }
    }

    /// Each stored hash of an upper tile against the tile below it.
    fn upper_tiles(&mut self) -> Result<(), VerifyError> {
        let mut below: Vec<Option<Digest>> = self.stored.clone();
        for level in 1..TILE_LEVELS {
            let width = tile::width_at(level, self.head.size);
            if width == 0 {
                break;
            }
            let expected: Vec<Option<Digest>> = below
                .chunks_exact(TILE_WIDTH)
                .map(|full| full.iter().copied().collect::<Option<Vec<_>>>().map(root_of))
                .collect();
            let mut actual = Vec::with_capacity(expected.len());
            let mut n = 0;
            loop {
                let width = tile::tile_width(level, n, self.head.size);
                if width == 0 {
                    break;
                }
                let wanted = usize::try_from(width).unwrap_or(TILE_WIDTH);
                let hashes = tile::read_tile(self.files, level, n, width)
                    .and_then(|bytes| tile::hashes_of(&bytes))
                    .filter(|hashes| hashes.len() == wanted);
                let path = tile::hash_path(level, n, width);
                for i in 0..wanted {
                    let found = hashes.as_ref().and_then(|h| h.get(i)).copied();
                    let at = actual.len();
                    if found.is_none()
                        || expected.get(at).copied().flatten().is_some_and(|e| Some(e) != found)
                    {
                        let (first, last) = span(level, at);
                        self.find(first, last, What::Hash, &path);
                    }
                    actual.push(found);
                }
                n = n.saturating_add(1);
            }
            below = actual;
        }
        Ok(())
    }

    /// Both sets of leaf hashes against the signed root.
    fn roots(&mut self) {
        let root = self.head.root;
        let is_signed = |leaves: &[Option<Digest>]| {
            leaves.iter().copied().collect::<Option<Vec<_>>>().is_some_and(|all| root_of(all) == root)
        };
        let entries_good = is_signed(&self.computed);
        if entries_good {
            // Whatever differs from the entries is then the stored hash.
            for finding in &mut self.findings {
                if matches!(finding.what, What::Edited | What::Reordered | What::Removed | What::Inserted) {
                    finding.what = What::Hash;
                }
            }
        } else if is_signed(&self.stored) {
            // The stored hashes are the signed ones, so the comparison with them has named the entries.
        } else {
            let last = self.head.size.get().saturating_sub(1);
            self.find(0, last, What::Range, "checkpoint");
            // Upper tiles that differ from the level below show where: entries and leaf hashes were both changed.
            for finding in &mut self.findings {
                if finding.what == What::Hash && finding.last.get().saturating_sub(finding.first.get()) > 0 {
                    finding.what = What::Range;
                }
            }
        }
    }

    /// The head against a checkpoint that was kept.
    fn kept(&mut self, kept: &Checkpoint) -> End {
        if kept.size > self.head.size {
            self.find(self.head.size.get(), kept.size.get().saturating_sub(1), What::Shorter, "checkpoint");
            return End::NotProven;
        }
        let mut frontier = Frontier::new();
        let wanted = usize::try_from(kept.size.get()).unwrap_or(usize::MAX);
        for leaf in self.stored.iter().zip(&self.computed).take(wanted).map(|(s, c)| s.or(*c)) {
            match leaf {
                Some(leaf) => frontier.push(leaf),
                None => return End::NotProven,
            };
        }
        if frontier.root() != kept.root {
            self.find(0, kept.size.get().saturating_sub(1), What::Fork, "checkpoint");
            return End::NotProven;
        }
        End::ProvenTo(kept.size)
    }
}

/// The entries under hash `at` of tile `level`.
fn span(level: u8, at: usize) -> (u64, u64) {
    let height = TILE_HEIGHT.saturating_mul(level.into());
    let width = 1u64.checked_shl(height).unwrap_or(u64::MAX);
    let first = u64::try_from(at).unwrap_or(u64::MAX).saturating_mul(width);
    (first, first.saturating_add(width).saturating_sub(1))
}

/// The first place where a bundle's entries are not those of the stored hashes, and what happened there.
fn difference(found: &[Digest], stored: &[Digest]) -> Option<(usize, What)> {
    let at = (0..found.len().max(stored.len())).find(|i| found.get(*i) != stored.get(*i))?;
    let next = at.saturating_add(1);
    let what = match (found.get(at), stored.get(at)) {
        (None, _) => What::Removed,
        (Some(_), None) => What::Inserted,
        (Some(here), Some(was)) => {
            let swapped = found.get(next) == Some(was) && stored.get(next) == Some(here);
            let elsewhere = stored.iter().position(|s| s == here);
            if swapped {
                What::Reordered
            } else if elsewhere == Some(next) {
                What::Removed
            } else if found.get(next) == Some(was) {
                What::Inserted
            } else if elsewhere.is_some() {
                What::Reordered
            } else {
                What::Edited
            }
        }
    };
    Some((at, what))
}
