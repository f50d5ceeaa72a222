//! The record, as control fills it. Fields that the platform itself defines (ids, times, digests of bytes it
//! stored) are plain and count as observed; every other field is a [`Fact`].

use std::collections::BTreeMap;

use base::{Digest, TensorDigest, Timestamp};

use crate::fact::{Evidence, Fact};

/// One version of the record of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelBom {
    /// 128 random bits, the same in every version of this record.
    pub serial: u128,
    /// 1 for the first, then one more for each change.
    pub version: u64,
    /// Digest of the version before, from the second on.
    pub previous: Option<Digest>,
    /// Why this version was written.
    pub reason: String,
    /// When it was written; nothing in it is later.
    pub timestamp: Timestamp,
    /// Version of the platform.
    pub tool_version: String,
    /// The node that wrote it.
    pub node: String,
    /// The tenant that owns the model.
    pub tenant: String,
    /// The model.
    pub model: Model,
    /// The run that made it; `None` for a model that was imported.
    pub job: Option<Job>,
    /// The data that the run read.
    pub datasets: Vec<Dataset>,
    /// Who signed the model's files.
    pub signer: Option<Signer>,
    /// What the inspector found.
    pub inspections: Vec<Inspection>,
    /// Figures of quality.
    pub metrics: Vec<Metric>,
    /// Log entries that tell of this model, by what they tell, such as `job started`.
    pub audit: Vec<(String, Evidence)>,
}

/// The artefact.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Its name within the tenant.
    pub name: String,
    /// Its version.
    pub version: String,
    /// OMS root digest of its files.
    pub root_digest: Digest,
    /// Its files, all of them.
    pub files: Vec<FileEntry>,
    /// Its tensors; `None` if the format names none or they were not read.
    pub tensors: Option<Vec<Tensor>>,
    /// Number of parameters.
    pub parameters: Fact,
    /// Such as `convolutional network`.
    pub architecture: Fact,
    /// `supervised`, `unsupervised`, `reinforcement-learning`, `semi-supervised` or `self-supervised`.
    pub approach: Fact,
    /// Such as `image classification`.
    pub task: Fact,
    /// SPDX expression or the name of a licence.
    pub license: Fact,
    /// What it is for.
    pub purpose: Fact,
    /// What it should not be used for.
    pub limitations: Fact,
    /// What it is.
    pub description: Fact,
    /// Who makes it available.
    pub producer: Fact,
    /// The person who answers for it.
    pub accountable: Fact,
    /// The model or run that it continues, if any.
    pub base: Option<Base>,
}

/// What a model was derived from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its root digest, or the digest of the checkpoint.
    pub digest: Digest,
    /// `fine-tune`, `convert`, `continuation` and the like.
    pub relation: String,
}

/// A file of the model or of the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Relative path.
    pub path: String,
    /// Length.
    pub size_bytes: u64,
    /// SHA-256.
    pub digest: Digest,
    /// What it was recognised as, such as `onnx`; empty if not looked at.
    pub format: String,
}

/// A tensor of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Element type, such as `f32`.
    pub dtype: String,
    /// Dimensions.
    pub shape: Vec<u64>,
    /// Of its type, shape and numbers, if read; says by which function.
    pub digest: Option<TensorDigest>,
}

/// A run.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The principal that submitted it.
    pub submitted_by: String,
    /// When it was first started.
    pub started: Timestamp,
    /// When it ended for good.
    pub finished: Timestamp,
    /// What was executed. Arguments that look like secrets are redacted on writing.
    pub command: Vec<String>,
    /// Variables that the sandbox was given. Values that look like secrets are redacted on writing.
    pub variables: BTreeMap<String, String>,
    /// The program.
    pub code: Code,
    /// What it ran in.
    pub environment: Environment,
    /// What it ran on.
    pub hardware: Hardware,
    /// Settings by name.
    pub hyperparameters: BTreeMap<String, Fact>,
    /// Seed of the random numbers.
    pub seed: Fact,
    /// Uninterrupted stretches, in order of time; at least one.
    pub segments: Vec<Segment>,
    /// Every checkpoint that was sealed, in order of version.
    pub checkpoints: Vec<Checkpoint>,
    /// What was decided when the run resumed.
    pub decisions: Vec<Decision>,
    /// When a checkpoint counts as committed, in one sentence.
    pub commit_rule: String,
    /// Resources used, such as `cpu-seconds`.
    pub resources: BTreeMap<String, Fact>,
    /// Whether the same inputs give the same model: `yes`, `no`, or unknown.
    pub reproducible: Fact,
}

/// The program of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Code {
    /// Digest of the code manifest.
    pub digest: Digest,
    /// Its files.
    pub files: Vec<FileEntry>,
    /// Git revision.
    pub git_commit: Fact,
    /// Whether the working tree differed from the revision: `true` or `false`.
    pub dirty: Fact,
}

/// Where a package comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PackageSource {
    /// Debian's package database.
    Dpkg,
    /// Python's package metadata.
    Python,
    /// Alpine's package manager.
    Apk,
}

/// Installed software that the run could use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Which list named it.
    pub source: PackageSource,
    /// SHA-256 of its recorded content, if known.
    pub digest: Option<Digest>,
    /// Of which system, as package URLs have it, where it is known: `debian`, `ubuntu`, `alpine`.
    pub system: Option<String>,
    /// Whether the platform saw that it is there; otherwise whoever made the image says so.
    pub observed: bool,
}

/// The software around a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Environment {
    /// Image name, or `host`.
    pub image: Fact,
    /// Whether the image is fixed by a digest: `true` or `false`.
    pub pinned: Fact,
    /// Kernel release.
    pub kernel: Fact,
    /// Operating system.
    pub os: Fact,
    /// Python version.
    pub python: Fact,
    /// Installed packages.
    pub packages: Vec<Package>,
}

/// The machine of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Hardware {
    /// Processor.
    pub cpu_model: Fact,
    /// Processors that the run could use.
    pub cpus: Fact,
    /// Memory that the run could use, in bytes.
    pub memory_bytes: Fact,
    /// Threads that the run was told to use.
    pub threads: Fact,
    /// Accelerators, by name.
    pub accelerators: Vec<Fact>,
}

/// How data was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// To fit the model.
    Train,
    /// To choose among models.
    Validate,
    /// To measure the model.
    Test,
    /// Mounted, use not known.
    Unspecified,
}

/// Data that a run could read.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Digest of its manifest, verified when the run started.
    pub manifest_digest: Digest,
    /// Bytes in all.
    pub size_bytes: u64,
    /// Number of files.
    pub files: u64,
    /// What it was used for.
    pub role: Role,
    /// Its licence.
    pub license: Fact,
    /// Where it comes from.
    pub origin: Fact,
}

/// How a segment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The program ended with success.
    Completed,
    /// It was killed by a signal.
    Killed,
    /// It was killed for memory.
    OutOfMemory,
    /// The program ended with an error.
    Failed,
    /// A principal stopped it.
    Stopped,
    /// It passed its time limit.
    TimedOut,
    /// The node stopped.
    NodeLost,
    /// The platform stopped it for an incident.
    Quarantined,
}

/// One uninterrupted stretch of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// 1, 2, 3, ...
    pub number: u32,
    /// Start.
    pub started: Timestamp,
    /// End.
    pub ended: Timestamp,
    /// How it ended.
    pub cause: Cause,
    /// More on how, such as `signal 9`; may be empty.
    pub detail: String,
    /// Digest of the checkpoint it began from; `None`: from the beginning.
    pub resumed_from: Option<Digest>,
    /// Steps of the segment before that were done again.
    pub lost_steps: Option<u64>,
}

/// Whether a checkpoint may be resumed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointState {
    /// Verified when last looked at.
    Good,
    /// Did not verify.
    Rejected,
    /// Set aside until a person decides.
    Quarantined,
}

/// A sealed checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// 1, 2, 3, ... over the whole run.
    pub version: u64,
    /// The segment that wrote it.
    pub segment: u32,
    /// The program's step, if it said so.
    pub step: Option<u64>,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Digest of the checkpoint it follows.
    pub previous: Option<Digest>,
    /// Bytes.
    pub size_bytes: u64,
    /// When it was sealed.
    pub sealed_at: Timestamp,
    /// Its state when this record was written.
    pub state: CheckpointState,
    /// Why it is not good; empty if it is.
    pub reason: String,
}

/// A checkpoint that a resume passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its version.
    pub version: u64,
    /// Why.
    pub reason: String,
}

/// What a resume chose.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// The segment that began with it.
    pub segment: u32,
    /// Digest of the checkpoint; `None`: from the beginning.
    pub chosen: Option<Digest>,
    /// What the continuation is worth, such as `bit-exact`; empty if nothing is known.
    pub continuation: String,
    /// Those passed over.
    pub rejected: Vec<Rejected>,
}

/// A signature over the model's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Who, such as the node's name.
    pub name: String,
    /// OMS fingerprint of the public key.
    pub key_fingerprint: Digest,
    /// SHA-256 of the signature file.
    pub bundle_digest: Digest,
}

/// A result of the inspector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Which file.
    pub path: String,
    /// `load`, `load-with-policy` or `refuse`.
    pub verdict: String,
    /// What was recognised.
    pub format: String,
    /// Rule ids with their place, such as `pickle/global at 117`.
    pub findings: Vec<String>,
    /// Of `load-with-policy`: which risks, and which policy accepted them.
    pub accepted: Option<String>,
    /// Version of the inspector with the digest of its rules.
    pub inspector: String,
}

/// A figure of quality.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Such as `accuracy`.
    pub name: String,
    /// The step at which it held.
    pub step: Option<u64>,
    /// What it was measured on; may be empty.
    pub slice: String,
    /// The figure. Declared if the program reported it, observed if the platform computed it.
    pub value: Fact,
}

/// What became of a declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is now what the record says, or agrees with it.
    Kept,
    /// It contradicts an observation and is kept beside it.
    Conflict,
}

/// The record has no field of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the Model BoM has no field `{0}` that can be declared")]
pub struct UnknownField(pub String);

impl base::Explain for UnknownField {
    fn code(&self) -> &'static str {
        "SR-BOM-0001"
    }
    fn help(&self) -> Option<base::Help> {
        Some("the fields of a record are shown by `strongroom bom show`")
    }
}

impl ModelBom {
    /// Takes a declaration of one field by its name: `model.license`, `code.git_commit`,
    /// `dataset.<name>.origin`, `hyperparameter.<name>` and so on. An observation is never overwritten.
    ///
    /// # Errors
    /// There is no such field.
    pub fn merge_declared(&mut self, field: &str, value: &str, by: &str) -> Result<Outcome, UnknownField> {
        let fact = self.fact_mut(field).ok_or_else(|| UnknownField(field.chars().take(100).collect()))?;
        Ok(if fact.declare(value, by) { Outcome::Conflict } else { Outcome::Kept })
    }

    fn fact_mut(&mut self, field: &str) -> Option<&mut Fact> {
        let (area, name) = field.split_once('.')?;
        let model = &mut self.model;
        match area {
            "model" => Some(match name {
                "parameters" => &mut model.parameters,
                "architecture" => &mut model.architecture,
                "approach" => &mut model.approach,
                "task" => &mut model.task,
                "license" => &mut model.license,
                "purpose" => &mut model.purpose,
                "limitations" => &mut model.limitations,
                "description" => &mut model.description,
                "producer" => &mut model.producer,
                "accountable" => &mut model.accountable,
                _ => return None,
            }),
            "dataset" => {
                let (name, field) = name.rsplit_once('.')?;
                let dataset = self.datasets.iter_mut().find(|d| d.name == name)?;
                match field {
                    "license" => Some(&mut dataset.license),
                    "origin" => Some(&mut dataset.origin),
                    _ => None,
                }
            }
            _ => self.job.as_mut()?.fact_mut(area, name),
        }
    }
}

impl Job {
    fn fact_mut(&mut self, area: &str, name: &str) -> Option<&mut Fact> {
        Some(match (area, name) {
            ("job", "seed") => &mut self.seed,
            ("job", "reproducible") => &mut self.reproducible,
            ("code", "git_commit") => &mut self.code.git_commit,
            ("code", "dirty") => &mut self.code.dirty,
            ("environment", "image") => &mut self.environment.image,
            ("environment", "pinned") => &mut self.environment.pinned,
            ("environment", "kernel") => &mut self.environment.kernel,
            ("environment", "os") => &mut self.environment.os,
            ("environment", "python") => &mut self.environment.python,
            ("hardware", "cpu_model") => &mut self.hardware.cpu_model,
            ("hardware", "cpus") => &mut self.hardware.cpus,
            ("hardware", "memory_bytes") => &mut self.hardware.memory_bytes,
            ("hardware", "threads") => &mut self.hardware.threads,
            // A setting that nobody saw may be declared; so may a resource.
            ("hyperparameter", name) => self.hyperparameters.entry(name.to_owned()).or_insert(Fact::Unknown),
            ("resource", name) => self.resources.entry(name.to_owned()).or_insert(Fact::Unknown),
            _ => return None,
        })
    }
}
