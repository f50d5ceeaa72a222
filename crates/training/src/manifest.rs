//! The signed description of one sealed checkpoint (training.md section 4), as canonical JSON.

use base::id::{JobId, RunId};
use base::{Digest, Explain, Hasher, TensorDigest, Timestamp, jcs, sha256};
use ops::porter::CommitRule;
use serde_json::{Map, Value, json};

use crate::contract::{ChannelDigest, Contract};
use crate::limits;

mod read;
#[cfg(test)]
pub(crate) mod tests;

/// Version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Tensors by SHA-256, whose digests do not say so. Read, no longer written.
    V1,
    /// Digests of tensors name their hash function.
    V2,
}

impl Format {
    /// What this version writes.
    pub const NOW: Self = Self::V2;

    const fn number(self) -> u64 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    fn from_number(number: u64) -> Option<Self> {
        [Self::V1, Self::V2].into_iter().find(|format| format.number() == number)
    }

    /// The text of a digest. A format that cannot tell one function from another takes SHA-256 alone; any other
    /// digest stands there with its function, which a reader of that format refuses.
    fn tensor_digest(self, digest: TensorDigest) -> String {
        match (self, digest) {
            (Self::V1, TensorDigest::Sha256(digest)) => digest.hex(),
            (_, digest) => digest.to_string(),
        }
    }
}

/// One file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Relative path below `checkpoints`.
    pub path: String,
    /// Plaintext bytes.
    pub size: u64,
    /// SHA-256 of the plaintext.
    pub digest: Digest,
    /// Its name in the object store.
    pub object: Digest,
    /// Format, as inspected.
    pub format: String,
    /// Verdict of the inspection.
    pub verdict: String,
    /// Findings of the inspection.
    pub findings: Vec<String>,
    /// Whether every float is finite; `None` where no floats were read.
    pub all_finite: Option<bool>,
}

/// One tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorEntry {
    /// Name, unique within the checkpoint.
    pub name: String,
    /// Type.
    pub dtype: String,
    /// Shape.
    pub shape: Vec<u64>,
    /// Over type, shape and numbers, as the inspector made it.
    pub digest: TensorDigest,
    /// IEEE 754 bits of its L2 norm as f64.
    pub norm_bits: Option<u64>,
}

/// How a run came to its starting point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeNote {
    /// Version that was restored; none at the beginning.
    pub from_version: Option<u64>,
    /// Restarts so far.
    pub restarts: u32,
    /// Why the previous run ended.
    pub cause: String,
}

/// What the run could be continued as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuation {
    /// Same hardware and threads: the same bits.
    BitExact,
    /// Other hardware: the same up to rounding.
    NumericallyEquivalent,
    /// Nothing recorded to compare with.
    Unknown,
}

impl Continuation {
    /// The name in manifests and BoMs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BitExact => "bit-exact",
            Self::NumericallyEquivalent => "numerically-equivalent",
            Self::Unknown => "unknown",
        }
    }

    /// What comparing the recorded hardware with the present one says.
    pub fn of(was: &[(String, String)], is: &[(String, String)]) -> Self {
        if was.is_empty() || is.is_empty() {
            Self::Unknown
        } else if was == is {
            Self::BitExact
        } else {
            Self::NumericallyEquivalent
        }
    }
}

/// A sealed checkpoint. Equal values have equal bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The format that it is written in.
    pub format: Format,
    /// The job.
    pub job: JobId,
    /// The run that made it.
    pub run: RunId,
    /// From 1, each one more than its predecessor's.
    pub version: u64,
    /// Training step, if known.
    pub step: Option<u64>,
    /// Digest of the predecessor's manifest; none for version 1.
    pub prev: Option<Digest>,
    /// When the job committed it.
    pub committed_at: Timestamp,
    /// When it was sealed.
    pub sealed_at: Timestamp,
    /// How the commit was recognised.
    pub commit_rule: CommitRule,
    /// Files, sorted by path.
    pub files: Vec<FileEntry>,
    /// Tensors, sorted by name.
    pub tensors: Vec<TensorEntry>,
    /// What must not change.
    pub contract: Contract,
    /// Hardware, as names and values, sorted.
    pub hardware: Vec<(String, String)>,
    /// Where its run started.
    pub resume: ResumeNote,
    /// What monitors said when it was sealed: `good`, `suspect`.
    pub monitor: crate::monitor::Verdict,
    /// Findings of the monitors.
    pub monitor_findings: Vec<String>,
    /// Id of the key that signs it.
    pub key_id: String,
}

/// The manifest cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A number that JSON cannot carry exactly.
    #[error("checkpoint manifest: {0}")]
    Number(#[from] jcs::JcsError),
    /// Not the canonical form of a manifest.
    #[error("checkpoint manifest: `{field}` {reason}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Too long.
    #[error("checkpoint manifest of {len} bytes, limit {}", limits::MANIFEST_MAX)]
    TooLong {
        /// Its length.
        len: usize,
    },
}

impl Explain for ManifestError {
    fn code(&self) -> &'static str {
        match self {
            Self::Number(_) => "SR-TRN-0010",
            Self::Field { .. } => "SR-TRN-0011",
            Self::TooLong { .. } => "SR-TRN-0012",
        }
    }
    fn fault(&self) -> base::Fault {
        base::Fault::Platform
    }
    fn help(&self) -> Option<base::Help> {
        Some(
            "list what is left with `strongroom job checkpoint list JOB`; the job goes on from the next older one",
        )
    }
}

/// Digest of a set of tensors: SHA-256 over `sha256(name) ‖ d` of each, sorted by name. `d` is the tensor's own digest
/// in format 1, and in format 2 the SHA-256 of that digest's text, which names its function. Equal states have equal
/// digests whatever the file's layout is.
pub fn state_digest(tensors: &[TensorEntry], format: Format) -> Digest {
    let mut sorted: Vec<&TensorEntry> = tensors.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let mut hasher = Hasher::new();
    for tensor in sorted {
        hasher.update(sha256(tensor.name.as_bytes()).as_bytes());
        let digest = match (format, tensor.digest) {
            (Format::V1, TensorDigest::Sha256(digest)) => digest,
            (_, digest) => sha256(digest.to_string().as_bytes()),
        };
        hasher.update(digest.as_bytes());
    }
    hasher.finish()
}

impl Manifest {
    /// The canonical bytes; what is stored.
    ///
    /// # Errors
    /// A number above 2^53, or too long.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        let bytes = jcs::to_vec(&self.to_json())?;
        if bytes.len() > limits::MANIFEST_MAX {
            return Err(ManifestError::TooLong { len: bytes.len() });
        }
        Ok(bytes)
    }

    /// The digest that is signed (after [`ops::keeper::CHECKPOINT_CONTEXT`]) and that the successor names as
    /// `prev`: SHA-256 of [`Manifest::to_bytes`].
    pub fn digest_of(bytes: &[u8]) -> Digest {
        sha256(bytes)
    }

    /// Reads stored bytes, after their digest and signature were verified.
    ///
    /// # Errors
    /// Anything that [`Manifest::to_bytes`] does not write.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        read::manifest(bytes)
    }

    /// As JSON; member order does not matter.
    pub fn to_json(&self) -> Value {
        let mut files: Vec<&FileEntry> = self.files.iter().collect();
        files.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
        let mut tensors: Vec<&TensorEntry> = self.tensors.iter().collect();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let hardware: Map<String, Value> =
            self.hardware.iter().map(|(k, v)| (k.clone(), Value::from(v.clone()))).collect();
        json!({
            "v": self.format.number(),
            "job": self.job.to_string(),
            "run": self.run.to_string(),
            "version": self.version,
            "step": self.step,
            "prev": self.prev.map(|d| d.hex()),
            "committed_at": self.committed_at.as_millis(),
            "sealed_at": self.sealed_at.as_millis(),
            "commit_rule": self.commit_rule.name(),
            "files": files.into_iter().map(file_json).collect::<Vec<_>>(),
            "tensors": tensors.into_iter().map(|t| tensor_json(t, self.format)).collect::<Vec<_>>(),
            "state_digest": state_digest(&self.tensors, self.format).hex(),
            "contract": contract_json(&self.contract),
            "hardware": hardware,
            "resume": {
                "from_version": self.resume.from_version,
                "restarts": self.resume.restarts,
                "cause": self.resume.cause,
            },
            "monitor": { "verdict": self.monitor.name(), "findings": self.monitor_findings },
            "key_id": self.key_id,
        })
    }
}

fn file_json(file: &FileEntry) -> Value {
    json!({
        "path": file.path,
        "size": file.size,
        "digest": file.digest.hex(),
        "object": file.object.hex(),
        "format": file.format,
        "scan": { "verdict": file.verdict, "findings": file.findings },
        "all_finite": file.all_finite,
    })
}

fn tensor_json(tensor: &TensorEntry, format: Format) -> Value {
    json!({
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": tensor.shape,
        "digest": format.tensor_digest(tensor.digest),
        // Canonical JSON has no fractions: the 64 bits of the number, in hex.
        "norm": tensor.norm_bits.map(|bits| format!("{bits:016x}")),
    })
}

fn contract_json(contract: &Contract) -> Value {
    let data: Vec<Value> = contract.data.iter().map(channel_json).collect();
    json!({
        "code": contract.code.hex(),
        "config": contract.config.hex(),
        "env": contract.env.hex(),
        "command": contract.command.hex(),
        "image": contract.image,
        "image_pinned": contract.image_pinned,
        "packages_lock": contract.packages.map(|d| d.hex()),
        "data": data,
    })
}

fn channel_json(data: &ChannelDigest) -> Value {
    json!({
        "channel": data.channel,
        "manifest": data.manifest.hex(),
        "bytes": data.bytes,
        "files": data.files,
    })
}
