//! Parts of records: files, layers, inputs, segments.

use std::collections::BTreeMap;

use base::Digest;
use base::id::RunId;
use serde::{Deserialize, Serialize};
use vault::ObjectName;

use super::{ImagePackageSource, LayerCompression, text};

/// How an object's key is derived from that of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyGroup {
    /// Name under which the group's key is wrapped.
    #[serde(with = "text")]
    pub name: ObjectName,
    /// The member's salt.
    pub salt: Digest,
}

/// One file of a data set, checkpoint or model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Relative path.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub digest: Digest,
    /// Media type or format, as inspected or recognised.
    pub media: Option<String>,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageLayer {
    /// Bytes, as it is stored.
    pub size: u64,
    /// SHA-256 of them.
    pub digest: Digest,
    /// How it is compressed.
    pub compression: LayerCompression,
}

/// A package that an image says it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagePackage {
    /// Whose list names it.
    pub source: ImagePackageSource,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What a job reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// `code`, or the name of the channel.
    pub channel: String,
    /// Where it came from, for people: `dataset:fashion-mnist@1`.
    pub origin: String,
    /// Digest over its files.
    pub manifest_digest: Digest,
    /// Files, sorted by path.
    pub files: Vec<File>,
}

/// One uninterrupted run of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// From 1.
    pub number: u32,
    /// The sandbox with its porter.
    pub run: RunId,
    /// When it started, Unix milliseconds.
    pub started_ms: u64,
    /// When it ended, Unix milliseconds.
    pub ended_ms: Option<u64>,
    /// How it ended.
    pub cause: Option<String>,
    /// Exit status of the workload, if it exited by itself.
    pub exit_code: Option<i32>,
    /// Version of the checkpoint that it went on from.
    pub resumed_from: Option<u64>,
    /// Whether it goes on bit-exact: `bit-exact`, `numerically-equivalent`, `unknown`.
    pub continuation: Option<String>,
    /// Why newer checkpoints were not taken.
    pub rejected: Vec<String>,
}

/// What a job last told about itself; claimed, not observed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Training step.
    pub step: Option<u64>,
    /// Metrics by name, as text.
    pub metrics: BTreeMap<String, String>,
    /// When, Unix milliseconds.
    pub at_ms: Option<u64>,
}
