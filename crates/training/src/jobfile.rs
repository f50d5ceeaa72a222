//! The job file: what a person writes, checked until nothing impossible is left.

use std::collections::BTreeMap;

use base::config::ConfigError;
use base::names::Name;
use base::{ByteSize, Digest, Explain};
use serde::Deserialize;
use toml::Spanned;

use crate::limits;
use crate::words::{duration_s, place};

#[cfg(test)]
mod tests;

/// A job as its file describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct JobSpec {
    /// Name of the job, and of the model that it makes.
    pub name: Name,
    /// Whose job it is.
    pub tenant: Name,
    /// Program and arguments, looked up inside the image, started in the code directory.
    pub command: Vec<String>,
    /// Directory of the code, relative to the job file.
    pub code: String,
    /// Root file system.
    pub image: ImageRef,
    /// Data by channel.
    pub inputs: BTreeMap<Name, InputRef>,
    /// Values that the script reads.
    pub hyperparameters: BTreeMap<String, Scalar>,
    /// What is promised about checkpoints.
    pub checkpoints: CheckpointPolicy,
    /// What the job may use.
    pub resources: Resources,
    /// Egresses of the tenant that it uses, by name.
    pub egress: Vec<Name>,
    /// How it is kept apart from others.
    pub isolation: IsolationClass,
    /// Name of the file, for messages.
    file: String,
    /// Where `cpus` and `memory` stand, for messages about the machine.
    places: [(usize, usize); 2],
}

/// Root file system of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageRef {
    /// The host's programs, read-only; not pinned.
    Host,
    /// A directory, `dir:PATH@sha256:HEX`.
    Directory {
        /// Where it is.
        path: String,
        /// Its manifest digest.
        digest: Digest,
    },
    /// An OCI layout, `oci:PATH@sha256:HEX`.
    Oci {
        /// Where it is.
        path: String,
        /// Digest of its manifest.
        digest: Digest,
    },
}

/// Where a channel's data comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputRef {
    /// A data set of the tenant, `dataset:NAME@VERSION`.
    Dataset {
        /// Its name.
        name: Name,
        /// Its version, from 1.
        version: u32,
    },
    /// A path, which is imported and pinned at submission.
    Path(String),
    /// The model in quarantine that the job measures. No job file says it: whoever asks for the measurement does.
    Quarantined,
}

/// A hyperparameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite number.
    Float(f64),
    /// A text.
    Text(String),
}

impl Scalar {
    /// As JSON.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Bool(v) => (*v).into(),
            Self::Int(v) => (*v).into(),
            Self::Float(v) => (*v).into(),
            Self::Text(v) => v.clone().into(),
        }
    }
}

/// What is promised about checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointPolicy {
    /// Whether the job must seal any. Without, a failed run starts again from its beginning.
    pub required: bool,
    /// Longest time without a new sealed checkpoint before an alarm, in seconds; `None` if not required.
    pub max_lost_seconds: Option<u32>,
    /// How many of the newest are kept.
    pub keep: u32,
}

/// What a job may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    /// CPU share, in thousandths of a CPU.
    pub cpu_milli: u32,
    /// Memory of job, scratch and inputs together.
    pub memory: ByteSize,
    /// Of that, scratch (checkpoints, model, output).
    pub scratch: ByteSize,
    /// Longest run, in seconds.
    pub wall_time_s: u32,
    /// Processes and threads.
    pub pids: u32,
}

impl Resources {
    /// Whole CPUs that thread pools should use: the share rounded up.
    pub fn threads(&self) -> u32 {
        self.cpu_milli.div_ceil(1000).max(1)
    }
}

/// How a job is kept apart from others (isolation.md section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsolationClass {
    /// A sandbox of namespaces, Landlock and seccomp on a shared kernel.
    Standard,
    /// As standard, and no processor core shared with another tenant at the same time.
    Strict,
}

impl IsolationClass {
    /// The name in the job file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Strict => "strict",
        }
    }
}

/// The job file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobFileError {
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error(transparent)]
    Syntax(#[from] ConfigError),
    /// A value that cannot be.
    #[error("{file}:{line}:{column}: `{key}`: {reason}")]
    Value {
        /// Name of the file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// The key, with its section.
        key: String,
        /// What is wrong and what to write instead.
        reason: String,
    },
    /// A section that must be there is not.
    #[error("{file}: section `[{section}]` is missing: {reason}")]
    Missing {
        /// Name of the file.
        file: String,
        /// The section.
        section: &'static str,
        /// What to write.
        reason: String,
    },
    /// The file is longer than a job file may be.
    #[error("{file}: {len} bytes, a job file has at most {}", limits::JOB_FILE_MAX)]
    TooLong {
        /// Name of the file.
        file: String,
        /// Its length.
        len: usize,
    },
}

impl Explain for JobFileError {
    fn code(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "SR-TRN-0001",
            Self::Value { .. } => "SR-TRN-0002",
            Self::Missing { .. } => "SR-TRN-0003",
            Self::TooLong { .. } => "SR-TRN-0004",
        }
    }
    fn help(&self) -> Option<base::Help> {
        Some("mend the place named above, then submit again with `strongroom job run job.toml`")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    version: Spanned<i64>,
    job: RawJob,
    #[serde(default)]
    inputs: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    hyperparameters: BTreeMap<String, Spanned<toml::Value>>,
    checkpoints: Option<RawCheckpoints>,
    resources: Option<RawResources>,
    isolation: Option<RawIsolation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawJob {
    name: Spanned<String>,
    tenant: Spanned<String>,
    command: Spanned<Vec<String>>,
    code: Spanned<String>,
    image: Spanned<String>,
    #[serde(default)]
    egress: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCheckpoints {
    required: Spanned<bool>,
    max_lost_seconds: Option<Spanned<i64>>,
    keep: Option<Spanned<i64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawResources {
    cpus: Spanned<toml::Value>,
    memory: Spanned<String>,
    wall_time: Spanned<String>,
    scratch: Option<Spanned<String>>,
    processes: Option<Spanned<i64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIsolation {
    class: Spanned<String>,
}

/// File name and text, to make messages.
struct Place<'a> {
    file: &'a str,
    text: &'a str,
}

impl Place<'_> {
    fn refuse<T>(&self, at: &Spanned<T>, key: &str, reason: impl Into<String>) -> JobFileError {
        let (line, column) = self.of(at);
        let key = key.chars().take(100).collect();
        JobFileError::Value { file: self.file.to_owned(), line, column, key, reason: reason.into() }
    }
    fn of<T>(&self, at: &Spanned<T>) -> (usize, usize) {
        place(self.text, at.span().start)
    }
    fn name(&self, at: &Spanned<String>, key: &str) -> Result<Name, JobFileError> {
        at.get_ref().parse().map_err(|e: base::names::NameError| self.refuse(at, key, e.to_string()))
    }
    fn size(&self, at: &Spanned<String>, key: &str) -> Result<ByteSize, JobFileError> {
        at.get_ref().parse().map_err(|e: base::size::SizeError| self.refuse(at, key, e.to_string()))
    }
    fn missing(&self, section: &'static str, reason: &str) -> JobFileError {
        JobFileError::Missing { file: self.file.to_owned(), section, reason: reason.to_owned() }
    }
}

impl JobSpec {
    /// Parses and checks a job file. `file` is its name for messages.
    ///
    /// # Errors
    /// [`JobFileError`], with file, line and column.
    pub fn parse(file: &str, text: &str) -> Result<Self, JobFileError> {
        if text.len() > limits::JOB_FILE_MAX {
            return Err(JobFileError::TooLong { file: file.to_owned(), len: text.len() });
        }
        let raw: Raw = base::config::parse_toml(file, text)?;
        let p = Place { file, text };
        if *raw.version.get_ref() != 1 {
            return Err(p.refuse(&raw.version, "version", "only `version = 1` is known"));
        }
        let Some(resources) = raw.resources else {
            let reason = "write `cpus = 2`, `memory = \"4GiB\"` and `wall_time = \"20m\"` in it";
            return Err(p.missing("resources", reason));
        };
        let places = [p.of(&resources.cpus), p.of(&resources.memory)];
        Ok(Self {
            name: p.name(&raw.job.name, "job.name")?,
            tenant: p.name(&raw.job.tenant, "job.tenant")?,
            command: command(&p, &raw.job.command)?,
            code: path(&p, &raw.job.code, "job.code")?,
            image: image(&p, &raw.job.image)?,
            inputs: inputs(&p, &raw.inputs)?,
            hyperparameters: hyperparameters(&p, &raw.hyperparameters)?,
            checkpoints: checkpoints(&p, raw.checkpoints.as_ref())?,
            resources: self::resources(&p, &resources)?,
            egress: egress(&p, &raw.job.egress)?,
            isolation: isolation(&p, raw.isolation.as_ref())?,
            file: file.to_owned(),
            places,
        })
    }

    /// The job as one that measures a model in quarantine, which it reads as the channel
    /// [`limits::QUARANTINED_CHANNEL`].
    ///
    /// # Errors
    /// [`JobFileError::Value`]: the job file has a channel of that variable, or as many channels as there may be.
    pub fn measuring(mut self) -> Result<Self, JobFileError> {
        let channel = limits::QUARANTINED_CHANNEL;
        let refuse = |reason: String| {
            let (file, key) = (self.file.clone(), format!("inputs.{channel}"));
            Err(JobFileError::Value { file, line: 1, column: 1, key, reason })
        };
        if self.inputs.keys().any(|k| variable(k.as_str()) == variable(channel)) {
            return refuse("this channel is that of the model which is measured".to_owned());
        }
        if self.inputs.len() >= limits::CHANNELS_MAX {
            return refuse(format!("at most {} channels, the measured model included", limits::CHANNELS_MAX));
        }
        match channel.parse() {
            Ok(name) => self.inputs.insert(name, InputRef::Quarantined),
            Err(_) => return refuse("it is no name".to_owned()),
        };
        Ok(self)
    }

    /// Refuses what this machine cannot give.
    ///
    /// # Errors
    /// [`JobFileError::Value`] at `cpus` or `memory`.
    pub fn check_capacity(&self, cpu_milli: u32, memory: ByteSize) -> Result<(), JobFileError> {
        let [cpus_at, memory_at] = self.places;
        let refuse = |(line, column), key: &str, reason| {
            Err(JobFileError::Value { file: self.file.clone(), line, column, key: key.to_owned(), reason })
        };
        if self.resources.cpu_milli > cpu_milli {
            let most = f64::from(cpu_milli) / 1000.0;
            return refuse(cpus_at, "resources.cpus", format!("this node has {most}; write at most that"));
        }
        if self.resources.memory > memory {
            let reason = format!("this node has {memory} for jobs; write at most that");
            return refuse(memory_at, "resources.memory", reason);
        }
        Ok(())
    }
}

fn command(p: &Place<'_>, at: &Spanned<Vec<String>>) -> Result<Vec<String>, JobFileError> {
    let words = at.get_ref();
    let refuse = |reason: String| Err(p.refuse(at, "job.command", reason));
    if words.first().is_none_or(String::is_empty) {
        return refuse("the program is missing; write `[\"python3\", \"train.py\"]`".into());
    }
    if words.len() > limits::COMMAND_WORDS_MAX {
        return refuse(format!("{} words, at most {}", words.len(), limits::COMMAND_WORDS_MAX));
    }
    if words.iter().any(|w| w.len() > limits::COMMAND_WORD_MAX || w.contains('\0')) {
        return refuse(format!("a word is longer than {} bytes or has a NUL", limits::COMMAND_WORD_MAX));
    }
    Ok(words.clone())
}

fn path(p: &Place<'_>, at: &Spanned<String>, key: &str) -> Result<String, JobFileError> {
    let text = at.get_ref();
    if text.is_empty() || text.len() > 4096 || text.contains('\0') {
        return Err(p.refuse(at, key, "not a path; write `.` for the directory of this file"));
    }
    Ok(text.clone())
}

fn image(p: &Place<'_>, at: &Spanned<String>) -> Result<ImageRef, JobFileError> {
    let text = at.get_ref();
    let refuse = || {
        let reason =
            "write `host`, `dir:PATH@sha256:HEX` or `oci:PATH@sha256:HEX`; an image is pinned by digest";
        p.refuse(at, "job.image", reason)
    };
    if text == "host" {
        return Ok(ImageRef::Host);
    }
    let (kind, rest) = text.split_once(':').ok_or_else(refuse)?;
    let (path, digest) = rest.rsplit_once("@sha256:").ok_or_else(refuse)?;
    let digest: Digest = digest.parse().map_err(|_| refuse())?;
    if path.is_empty() || path.contains('\0') {
        return Err(refuse());
    }
    let path = path.to_owned();
    match kind {
        "dir" => Ok(ImageRef::Directory { path, digest }),
        "oci" => Ok(ImageRef::Oci { path, digest }),
        _ => Err(refuse()),
    }
}

fn egress(p: &Place<'_>, raw: &[Spanned<String>]) -> Result<Vec<Name>, JobFileError> {
    let mut names: Vec<Name> = Vec::new();
    for at in raw {
        let name = p.name(at, "job.egress")?;
        if names.contains(&name) {
            return Err(p.refuse(at, "job.egress", "it stands twice"));
        }
        if names.len() >= limits::EGRESSES_MAX {
            return Err(p.refuse(at, "job.egress", format!("at most {} egresses", limits::EGRESSES_MAX)));
        }
        names.push(name);
    }
    Ok(names)
}

fn inputs(
    p: &Place<'_>,
    raw: &BTreeMap<String, Spanned<String>>,
) -> Result<BTreeMap<Name, InputRef>, JobFileError> {
    let mut inputs = BTreeMap::new();
    for (channel, at) in raw {
        let key = format!("inputs.{channel}");
        if inputs.len() >= limits::CHANNELS_MAX {
            return Err(p.refuse(at, &key, format!("at most {} channels", limits::CHANNELS_MAX)));
        }
        let name: Name = channel.parse().map_err(|e: base::names::NameError| {
            p.refuse(at, &key, format!("a channel is a name, and {e}"))
        })?;
        // `-` and `.` both become `_` in a variable's name.
        if inputs.keys().any(|k: &Name| variable(k.as_str()) == variable(channel)) {
            return Err(p.refuse(at, &key, "another channel has the same variable `SM_CHANNEL_*`"));
        }
        inputs.insert(name, input(p, at, &key)?);
    }
    Ok(inputs)
}

fn input(p: &Place<'_>, at: &Spanned<String>, key: &str) -> Result<InputRef, JobFileError> {
    let Some(reference) = at.get_ref().strip_prefix("dataset:") else {
        return path(p, at, key).map(InputRef::Path);
    };
    let refuse =
        || p.refuse(at, key, "write `dataset:NAME@VERSION`, as in `dataset:fashion-mnist@1`, or a path");
    let (name, version) = reference.split_once('@').ok_or_else(refuse)?;
    let name = name.parse().map_err(|_| refuse())?;
    let version: u32 = version.parse().map_err(|_| refuse())?;
    if version == 0 {
        return Err(refuse());
    }
    Ok(InputRef::Dataset { name, version })
}

/// A channel's or hyperparameter's name inside a variable's name.
pub(crate) fn variable(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

fn hyperparameters(
    p: &Place<'_>,
    raw: &BTreeMap<String, Spanned<toml::Value>>,
) -> Result<BTreeMap<String, Scalar>, JobFileError> {
    let mut values = BTreeMap::new();
    let mut bytes = 0usize;
    for (name, at) in raw {
        let key = format!("hyperparameters.{name}");
        let refuse = |reason: &str| Err(p.refuse(at, &key, reason));
        let head = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        let body = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if !head || !body || name.len() > 64 {
            return refuse("a name is 1 to 64 letters, digits, `_` and `-`, not starting with a digit");
        }
        let value = match at.get_ref() {
            toml::Value::Boolean(v) => Scalar::Bool(*v),
            toml::Value::Integer(v) => Scalar::Int(*v),
            toml::Value::Float(v) if v.is_finite() => Scalar::Float(*v),
            toml::Value::String(v) if v.len() > limits::HYPERPARAMETER_TEXT_MAX || v.contains('\0') => {
                return refuse(
                    "text of more than 1024 bytes or with a NUL; put it in a file of the code directory",
                );
            }
            toml::Value::String(v) => Scalar::Text(v.clone()),
            _ => {
                return refuse(
                    "a hyperparameter is one text, finite number or boolean, not a list, table or date",
                );
            }
        };
        if values.keys().any(|k: &String| variable(k) == variable(name)) {
            return refuse("another hyperparameter has the same variable `SM_HP_*`");
        }
        bytes = bytes.saturating_add(name.len()).saturating_add(value.to_json().to_string().len() + 6);
        if values.len() >= limits::HYPERPARAMETERS_MAX || bytes > limits::HYPERPARAMETERS_JSON_MAX {
            return refuse(
                "too many: at most 40 and 7 KiB together; put the rest in a file of the code directory",
            );
        }
        values.insert(name.clone(), value);
    }
    Ok(values)
}

fn checkpoints(p: &Place<'_>, raw: Option<&RawCheckpoints>) -> Result<CheckpointPolicy, JobFileError> {
    let Some(raw) = raw else {
        let reason = "a job says how much work it may lose; write `required = true`, `max_lost_seconds = 300` and \
                      `keep = 3` in it, or `required = false`";
        return Err(p.missing("checkpoints", reason));
    };
    let keep = match &raw.keep {
        None => limits::KEEP_MIN.saturating_add(1),
        Some(at) => u32::try_from(*at.get_ref())
            .ok()
            .filter(|k| (limits::KEEP_MIN..=limits::KEEP_MAX).contains(k))
            .ok_or_else(|| {
                p.refuse(
                    at,
                    "checkpoints.keep",
                    "from 2 to 1000: the newest may be the one that does not verify",
                )
            })?,
    };
    let required = *raw.required.get_ref();
    let max_lost_seconds = match (&raw.max_lost_seconds, required) {
        (None, false) => None,
        (None, true) => {
            let reason = "`required = true` needs `max_lost_seconds`, as in `max_lost_seconds = 300`";
            return Err(p.refuse(&raw.required, "checkpoints.required", reason));
        }
        (Some(at), false) => {
            let reason =
                "with `required = false` nothing is promised; leave it out or write `required = true`";
            return Err(p.refuse(at, "checkpoints.max_lost_seconds", reason));
        }
        (Some(at), true) => Some(
            u32::try_from(*at.get_ref())
                .ok()
                .filter(|s| (5..=limits::WALL_TIME_MAX_S).contains(s))
                .ok_or_else(|| {
                    p.refuse(at, "checkpoints.max_lost_seconds", "from 5 to 2592000 seconds (30 days)")
                })?,
        ),
    };
    Ok(CheckpointPolicy { required, max_lost_seconds, keep })
}

fn resources(p: &Place<'_>, raw: &RawResources) -> Result<Resources, JobFileError> {
    let cpus = match raw.cpus.get_ref() {
        toml::Value::Integer(v) => u32::try_from(*v).ok().and_then(|v| v.checked_mul(1000)),
        toml::Value::Float(v) => milli(*v),
        _ => None,
    };
    let range = limits::CPU_MILLI_MIN..=limits::CPU_MILLI_MAX;
    let cpu_milli = cpus.filter(|c| range.contains(c)).ok_or_else(|| {
        p.refuse(&raw.cpus, "resources.cpus", "a number from 0.1 to 1024, as in `cpus = 2`")
    })?;
    let memory = p.size(&raw.memory, "resources.memory")?;
    if !(limits::MEMORY_MIN..=limits::MEMORY_MAX).contains(&memory.bytes()) {
        return Err(p.refuse(
            &raw.memory,
            "resources.memory",
            "from 64MiB to 16TiB, as in `memory = \"4GiB\"`",
        ));
    }
    let wall = duration_s(raw.wall_time.get_ref()).and_then(|s| u32::try_from(s).ok());
    let wall_time_s = wall.filter(|s| (1..=limits::WALL_TIME_MAX_S).contains(s)).ok_or_else(|| {
        let reason = "a time from 1s to 30d with its unit s, m, h or d, as in `wall_time = \"20m\"`";
        p.refuse(&raw.wall_time, "resources.wall_time", reason)
    })?;
    let scratch = match &raw.scratch {
        None => ByteSize::from_bytes(memory.bytes() / 4),
        Some(at) => {
            let size = p.size(at, "resources.scratch")?;
            if size.bytes() < (1 << 20) || size.bytes() > memory.bytes() / 2 {
                let reason = "from 1MiB to half of `memory`, which it is part of";
                return Err(p.refuse(at, "resources.scratch", reason));
            }
            size
        }
    };
    let pids = match &raw.processes {
        None => limits::PIDS_DEFAULT,
        Some(at) => u32::try_from(*at.get_ref())
            .ok()
            .filter(|n| (8..=limits::PIDS_MAX).contains(n))
            .ok_or_else(|| p.refuse(at, "resources.processes", "from 8 to 65536 processes and threads"))?,
    };
    Ok(Resources { cpu_milli, memory, scratch, wall_time_s, pids })
}

/// Thousandths of a small number; `None` outside 0.001 ..= 4,000,000.
fn milli(value: f64) -> Option<u32> {
    let text = format!("{:.0}", value * 1000.0);
    if value.is_finite() { text.parse().ok() } else { None }
}

fn isolation(p: &Place<'_>, raw: Option<&RawIsolation>) -> Result<IsolationClass, JobFileError> {
    let Some(raw) = raw else { return Ok(IsolationClass::Standard) };
    match raw.class.get_ref().as_str() {
        "standard" => Ok(IsolationClass::Standard),
        "strict" => Ok(IsolationClass::Strict),
        other => {
            let near = base::names::nearest(other, ["standard", "strict"]);
            let reason = match near {
                Some(near) => format!("no such class: did you mean `{near}`?"),
                None => "no such class: write `standard` or `strict`".to_owned(),
            };
            Err(p.refuse(&raw.class, "isolation.class", reason))
        }
    }
}
