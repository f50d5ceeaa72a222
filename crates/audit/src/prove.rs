//! Evidence about one entry, checked by anyone who has the verifier key: entry, inclusion proof, checkpoint.

use base::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::limits::{PROOF_MAX, TILE_WIDTH};
use crate::note::VerifierKey;
use crate::proof::{self, ProofError};
use crate::tile::{self, StoredHashes};
use crate::tree::{LeafIndex, TreeSize, leaf_hash};
use crate::verify::{ReadError, ReadFile};

/// First line of a proof in text form (C2SP tlog-proof).
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Evidence that an entry stands in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Its position.
    pub index: LeafIndex,
    /// Its bytes.
    pub entry: Vec<u8>,
    /// The inclusion proof (RFC 9162 section 2.1.3).
    pub hashes: Vec<Digest>,
    /// The signed checkpoint that it leads to.
    pub checkpoint: Vec<u8>,
}

/// Evidence could not be made or does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProveError {
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Read(#[from] ReadError),
    /// The head is not signed by the key.
    #[error("the log's checkpoint is refused")]
    Checkpoint(#[from] CheckpointError),
    /// No such entry yet.
    #[error("the log has {size} entries, so none with index {index}")]
    Absent {
        /// The index asked for.
        index: LeafIndex,
        /// How many there are.
        size: TreeSize,
    },
    /// A file of the log is missing or cut.
    #[error("a file of the log is missing or cut")]
    Missing,
    /// The entry is not under the signed root.
    #[error("the entry is not the one that was signed")]
    Proof(#[from] ProofError),
    /// Not the text form of a proof.
    #[error("not a proof in the form of C2SP tlog-proof")]
    Form,
}

impl base::Explain for ProveError {
    fn code(&self) -> &'static str {
        match self {
            Self::Read(_) => "SR-AUD-0050",
            Self::Checkpoint(inner) => inner.code(),
            Self::Absent { .. } => "SR-AUD-0051",
            Self::Missing => "SR-AUD-0052",
            Self::Proof(inner) => inner.code(),
            Self::Form => "SR-AUD-0053",
        }
    }
    fn help(&self) -> Option<base::Help> {
        Some("check the whole log with `strongroom audit verify PATH`")
    }
}

/// Reads entries `from..` of the log, at most `count`, as the bundles have them: without proof. `size` is the
/// head's.
///
/// # Errors
/// A bundle is missing, cut or cannot be read.
pub fn read_entries(
    files: &impl ReadFile,
    size: TreeSize,
    from: LeafIndex,
    count: u64,
) -> Result<Vec<Vec<u8>>, ProveError> {
    let width = TILE_WIDTH as u64;
    let end = size.get().min(from.get().saturating_add(count));
    let mut out = Vec::new();
    let mut at = from.get();
    while at < end {
        let n = at / width;
        let path = tile::entries_path(n, tile::tile_width(0, n, size));
        let bytes = match files.read(&path)? {
            Some(bytes) => bytes,
            None => files.read(&tile::entries_path(n, 0))?.ok_or(ProveError::Missing)?,
        };
        let (entries, _) = tile::entries_of(&bytes);
        let stop = end.min(n.saturating_add(1).saturating_mul(width));
        while at < stop {
            let within = usize::try_from(at % width).unwrap_or(usize::MAX);
            out.push(entries.get(within).ok_or(ProveError::Missing)?.to_vec());
            at = at.saturating_add(1);
        }
    }
    Ok(out)
}

/// Makes evidence for an entry from the log's files and checks it before it is given out.
///
/// # Errors
/// [`ProveError`].
pub fn prove(files: &impl ReadFile, key: &VerifierKey, index: LeafIndex) -> Result<Evidence, ProveError> {
    let checkpoint = files.read("checkpoint")?.ok_or(ProveError::Missing)?;
    let head = Checkpoint::open(&checkpoint, key)?;
    if !head.size.contains(index) {
        return Err(ProveError::Absent { index, size: head.size });
    }
    let entry = read_entries(files, head.size, index, 1)?.pop().ok_or(ProveError::Missing)?;
    let stored = StoredHashes::new(files, head.size);
    let hashes = proof::inclusion(&stored, index, head.size).ok_or(ProveError::Missing)?;
    let evidence = Evidence { index, entry, hashes, checkpoint };
    evidence.verify(key)?;
    Ok(evidence)
}

impl Evidence {
    /// Checks signature and proof; returns the head that the entry is under.
    ///
    /// # Errors
    /// [`ProveError::Checkpoint`] or [`ProveError::Proof`].
    pub fn verify(&self, key: &VerifierKey) -> Result<Checkpoint, ProveError> {
        let head = Checkpoint::open(&self.checkpoint, key)?;
        proof::verify_inclusion(leaf_hash(&self.entry), self.index, head.size, &self.hashes, &head.root)?;
        Ok(head)
    }

    /// The proof without the entry, as C2SP tlog-proof text.
    pub fn proof_text(&self) -> String {
        let mut text = format!("{HEADER}\nindex {}\n", self.index);
        for hash in &self.hashes {
            text.push_str(&STANDARD.encode(hash.as_bytes()));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&String::from_utf8_lossy(&self.checkpoint));
        text
    }

    /// Reads [`Evidence::proof_text`] back, for the entry that it is about.
    ///
    /// # Errors
    /// [`ProveError::Form`].
    pub fn from_text(entry: Vec<u8>, text: &str) -> Result<Self, ProveError> {
        let (proof, checkpoint) = text.split_once("\n\n").ok_or(ProveError::Form)?;
        let mut lines = proof.lines();
        if lines.next() != Some(HEADER) {
            return Err(ProveError::Form);
        }
        let index = lines.next().and_then(|l| l.strip_prefix("index ")).and_then(|n| n.parse().ok());
        let index = LeafIndex::new(index.ok_or(ProveError::Form)?);
        let mut hashes = Vec::new();
        for line in lines {
            let hash = STANDARD.decode(line).ok().and_then(|h| <[u8; 32]>::try_from(h).ok());
            hashes.push(Digest::from_bytes(hash.ok_or(ProveError::Form)?));
            if hashes.len() > PROOF_MAX {
                return Err(ProveError::Form);
            }
        }
        Ok(Self { index, entry, hashes, checkpoint: checkpoint.as_bytes().to_vec() })
    }
}
