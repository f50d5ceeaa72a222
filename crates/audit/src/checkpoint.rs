//! C2SP tlog-checkpoint: `origin\nsize\nbase64(root)\n`, as a signed note.

use base::Digest;
use base::config::Mode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::note::{self, NoteError, Signer, VerifierKey};
use crate::tree::TreeSize;

/// The head of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// How many entries.
    pub size: TreeSize,
    /// Root of the tree of that size.
    pub root: Digest,
}

/// A checkpoint cannot be read or trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The note around it.
    #[error("the checkpoint's note is refused")]
    Note(#[from] NoteError),
    /// Not the three lines of a checkpoint.
    #[error("not a checkpoint: origin, size and root are expected")]
    Form,
    /// The origin is not the name of the key.
    #[error("the checkpoint is of another log than the key")]
    Origin,
}

impl base::Explain for CheckpointError {
    fn code(&self) -> &'static str {
        match self {
            Self::Note(inner) => inner.code(),
            Self::Form => "SR-AUD-0020",
            Self::Origin => "SR-AUD-0021",
        }
    }
    fn fault(&self) -> base::Fault {
        base::Fault::Peer
    }
    fn help(&self) -> Option<base::Help> {
        Some("the file `checkpoint` of the log is what `strongroom audit verify --at-least` takes")
    }
}

/// The origin of a node's log. A development node's has `dev` in it for ever, so that its log cannot be taken for
/// one in service.
pub fn origin(mode: Mode, node: &str) -> String {
    match mode {
        Mode::Dev => format!("dev.strongroom.local/audit/{node}"),
        Mode::Production => format!("strongroom.local/audit/{node}"),
    }
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.as_bytes()))
    }

    /// The signed note.
    ///
    /// # Errors
    /// The origin cannot stand in a note.
    pub fn sign(&self, signer: &Signer) -> Result<String, NoteError> {
        signer.sign(&self.text())
    }

    /// Checks signature and form.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(note: &[u8], key: &VerifierKey) -> Result<Self, CheckpointError> {
        let this = Self::parse(note::open(note, key)?)?;
        if this.origin == key.name() { Ok(this) } else { Err(CheckpointError::Origin) }
    }

    /// What a note claims, unchecked.
    ///
    /// # Errors
    /// Not a checkpoint.
    pub fn unchecked(note: &[u8]) -> Result<Self, CheckpointError> {
        Self::parse(note::text_unchecked(note)?)
    }

    /// Reads the text of the note. Lines after the third are extensions and are passed over.
    fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.lines();
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::Form);
        };
        let canonical = size == "0" || (!size.starts_with('0') && size.bytes().all(|b| b.is_ascii_digit()));
        let size: u64 = size.parse().map_err(|_| CheckpointError::Form)?;
        let root: [u8; 32] = STANDARD
            .decode(root)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(CheckpointError::Form)?;
        if !canonical || origin.is_empty() {
            return Err(CheckpointError::Form);
        }
        Ok(Self { origin: origin.to_owned(), size: TreeSize::new(size), root: Digest::from_bytes(root) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_round_trip_and_odd_sizes_are_refused() {
        let signer = Signer::new("o/x", &[3; 32]).unwrap();
        let this = Checkpoint { origin: "o/x".into(), size: TreeSize::new(77), root: base::sha256(b"r") };
        let note = this.sign(&signer).unwrap();
        assert_eq!(Checkpoint::open(note.as_bytes(), signer.verifier()).unwrap(), this);
        for bad in
            ["o/x\n077\n", "o/x\n+7\n", "o/x\n-1\n", "o/x\n7\nAAAA\n", "o/x\n99999999999999999999\n", "o/x\n"]
        {
            let text = if bad.ends_with("AAAA\n") || bad == "o/x\n" {
                bad.to_owned()
            } else {
                format!("{bad}{}\n", STANDARD.encode([0; 32]))
            };
            let note = signer.sign(&text).unwrap();
            assert_eq!(
                Checkpoint::open(note.as_bytes(), signer.verifier()),
                Err(CheckpointError::Form),
                "{text}"
            );
        }
        let other = Checkpoint { origin: "other".into(), ..this }.sign(&signer).unwrap();
        assert_eq!(Checkpoint::open(other.as_bytes(), signer.verifier()), Err(CheckpointError::Origin));
    }
}
