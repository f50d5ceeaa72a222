//! Run contract, version 1 (training.md section 2): directories, variables, configuration files, meaning of
//! exits, and the digests that a resumed run must agree with.

use std::collections::BTreeMap;

use base::id::JobId;
use base::names::Name;
use base::wire::lp;
use base::{Digest, Hasher, sha256};
use ops::warden::{EndCause, Exit};
use serde_json::{Value, json};

use crate::jobfile::{JobSpec, variable};

#[cfg(test)]
mod tests;

/// The code, read-only; also the working directory.
pub const DIR_CODE: &str = "/opt/ml/code";
/// Configuration files, read-only.
pub const DIR_CONFIG: &str = "/opt/ml/input/config";
/// Parent of the channels, read-only.
pub const DIR_DATA: &str = "/opt/ml/input/data";
/// Checkpoints, writable: a cache, never authoritative.
pub const DIR_CHECKPOINTS: &str = "/opt/ml/checkpoints";
/// The final artefact, writable.
pub const DIR_MODEL: &str = "/opt/ml/model";
/// Other output, writable; `failure` and `metrics.jsonl` are files in it.
pub const DIR_OUTPUT: &str = "/opt/ml/output";
/// Names of the writable directories inside the scratch mount.
pub const SCRATCH_DIRS: [&str; 3] = ["checkpoints", "model", "output"];
/// Metrics, one JSON object a line, below `output`.
pub const METRICS_FILE: &str = "metrics.jsonl";
/// Reason for a failure, below `output`.
pub const FAILURE_FILE: &str = "failure";
/// Where programs are looked for, unless an image says otherwise.
const DEFAULT_PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";
/// Variables that differ between the runs of one job and are no part of its contract.
pub const VOLATILE: [&str; 5] = [
    "STRONGROOM_JOB_ID",
    "STRONGROOM_RESUME_STEP",
    "STRONGROOM_RESTART_COUNT",
    "TORCHELASTIC_RESTART_COUNT",
    "SLURM_RESTART_COUNT",
];

/// What one run of a job is started with.
#[derive(Debug, Clone, Copy)]
pub struct RunConfig<'a> {
    /// The job.
    pub job: JobId,
    /// Its file.
    pub spec: &'a JobSpec,
    /// Step of the checkpoint that was restored, if any is known.
    pub resume_step: Option<u64>,
    /// Restarts so far.
    pub restarts: u32,
    /// Variables of the image. `PATH` of an image counts; of all others the job's own.
    pub image_env: &'a [(String, String)],
}

impl RunConfig<'_> {
    fn hyperparameters(&self) -> Value {
        Value::Object(self.spec.hyperparameters.iter().map(|(k, v)| (k.clone(), v.to_json())).collect())
    }

    fn channels(&self) -> Vec<&str> {
        self.spec.inputs.keys().map(base::names::Name::as_str).collect()
    }

    fn resources(&self) -> Value {
        json!({
            "current_host": "algo-1",
            "hosts": ["algo-1"],
            "num_cpus": self.spec.resources.threads(),
            "num_gpus": 0,
        })
    }

    /// The configuration files by name. They are the same in every run of the job.
    pub fn config_files(&self) -> BTreeMap<&'static str, Vec<u8>> {
        let inputs: serde_json::Map<String, Value> = self
            .channels()
            .into_iter()
            .map(|c| {
                let kind = json!({ "TrainingInputMode": "File", "S3DistributionType": "FullyReplicated" });
                (c.to_owned(), kind)
            })
            .collect();
        let file = |value: &Value| {
            let mut bytes = value.to_string().into_bytes();
            bytes.push(b'\n');
            bytes
        };
        BTreeMap::from([
            ("hyperparameters.json", file(&self.hyperparameters())),
            ("inputdataconfig.json", file(&Value::Object(inputs))),
            ("resourceconfig.json", file(&self.resources())),
        ])
    }

    /// The whole environment of the workload: nothing else is in it. Sorted by name.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let threads = self.spec.resources.threads().to_string();
        let restarts = self.restarts.to_string();
        let mut env: BTreeMap<String, String> = self.image_env.iter().cloned().collect();
        let path = env.remove("PATH").unwrap_or_else(|| DEFAULT_PATH.to_owned());
        let mut set = |name: &str, value: String| env.insert(name.to_owned(), value);
        set("PATH", path);
        set("HOME", "/tmp".into());
        set("TMPDIR", "/tmp".into());
        set("LANG", "C.UTF-8".into());
        set("USER", "job".into());
        for name in ["SM_CHECKPOINT_DIR", "AIP_CHECKPOINT_DIR", "CHECKPOINT_DIR"] {
            set(name, DIR_CHECKPOINTS.into());
        }
        for name in ["SM_MODEL_DIR", "AIP_MODEL_DIR"] {
            set(name, DIR_MODEL.into());
        }
        set("SM_OUTPUT_DIR", DIR_OUTPUT.into());
        set("SM_OUTPUT_DATA_DIR", format!("{DIR_OUTPUT}/data"));
        set("SM_INPUT_DIR", "/opt/ml/input".into());
        set("SM_INPUT_CONFIG_DIR", DIR_CONFIG.into());
        set("SM_NUM_CPUS", threads.clone());
        set("SM_NUM_GPUS", "0".into());
        set("SM_HOSTS", "[\"algo-1\"]".into());
        set("SM_CURRENT_HOST", "algo-1".into());
        set("SM_CHANNELS", json!(self.channels()).to_string());
        for channel in self.channels() {
            set(&format!("SM_CHANNEL_{}", variable(channel)), format!("{DIR_DATA}/{channel}"));
        }
        set("SM_HPS", self.hyperparameters().to_string());
        for (name, value) in &self.spec.hyperparameters {
            let text = match value.to_json() {
                Value::String(text) => text,
                other => other.to_string(),
            };
            set(&format!("SM_HP_{}", variable(name)), text);
        }
        set("SM_TRAINING_ENV", self.training_env().to_string());
        set("STRONGROOM_JOB_ID", self.job.to_string());
        set("STRONGROOM_RESUME_STEP", self.resume_step.map(|s| s.to_string()).unwrap_or_default());
        for name in ["STRONGROOM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"] {
            set(name, restarts.clone());
        }
        set("WANDB_MODE", "offline".into());
        set("WANDB_DIR", format!("{DIR_OUTPUT}/wandb"));
        set("MLFLOW_TRACKING_URI", format!("file://{DIR_OUTPUT}/mlruns"));
        set("PYTHONHASHSEED", "0".into());
        set("PYTHONDONTWRITEBYTECODE", "1".into());
        for name in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"] {
            set(name, threads.clone());
        }
        set("CUBLAS_WORKSPACE_CONFIG", ":4096:8".into());
        if self.spec.egress.is_empty() {
            set("HF_HUB_OFFLINE", "1".into());
        } else {
            // As ordinary programs are told of a proxy; they verify the far end themselves.
            let proxy = format!("http://127.0.0.1:{}", ops::relay::PORT);
            for name in ["https_proxy", "HTTPS_PROXY"] {
                set(name, proxy.clone());
            }
            let names: Vec<&str> = self.spec.egress.iter().map(Name::as_str).collect();
            set("STRONGROOM_EGRESS", names.join(" "));
        }
        env
    }

    /// `SM_TRAINING_ENV` without the hyperparameters, which `SM_HPS` has: together they may exceed a variable.
    fn training_env(&self) -> Value {
        json!({
            "channel_input_dirs": self.channels().into_iter()
                .map(|c| (c.to_owned(), Value::from(format!("{DIR_DATA}/{c}"))))
                .collect::<serde_json::Map<_, _>>(),
            "current_host": "algo-1",
            "hosts": ["algo-1"],
            "model_dir": DIR_MODEL,
            "num_cpus": self.spec.resources.threads(),
            "num_gpus": 0,
            "output_data_dir": format!("{DIR_OUTPUT}/data"),
        })
    }
}

/// One file of a tree, for its manifest digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFile {
    /// Relative path with `/`.
    pub path: String,
    /// Its bytes.
    pub size: u64,
    /// SHA-256 of its content.
    pub digest: Digest,
}

/// Manifest digest of a tree: SHA-256 over `lp(path) ‖ u64 size ‖ sha256` of each file, sorted by path bytes
/// (the definition of [`ops::warden::Input::manifest`]).
pub fn tree_digest(files: &[TreeFile]) -> Digest {
    let mut sorted: Vec<&TreeFile> = files.iter().collect();
    sorted.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    let mut hasher = Hasher::new();
    for file in sorted {
        hasher.update(&lp(file.path.as_bytes()));
        hasher.update(&file.size.to_le_bytes());
        hasher.update(file.digest.as_bytes());
    }
    hasher.finish()
}

/// One channel, as it is bound to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelDigest {
    /// The channel.
    pub channel: String,
    /// Manifest digest of its files.
    pub manifest: Digest,
    /// Bytes in all.
    pub bytes: u64,
    /// Files.
    pub files: u32,
}

/// What must not change between the runs of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contract {
    /// Manifest digest of the code.
    pub code: Digest,
    /// Manifest digest of the configuration files.
    pub config: Digest,
    /// Digest of the environment without [`VOLATILE`].
    pub env: Digest,
    /// Digest of the command.
    pub command: Digest,
    /// The image: `host`, or its digest.
    pub image: String,
    /// Whether the image is pinned by digest.
    pub image_pinned: bool,
    /// Digest of the list of packages, if one was taken.
    pub packages: Option<Digest>,
    /// The channels, sorted.
    pub data: Vec<ChannelDigest>,
}

/// Digest of a command: each word length-prefixed.
pub fn command_digest(words: &[String]) -> Digest {
    let mut hasher = Hasher::new();
    for word in words {
        hasher.update(&lp(word.as_bytes()));
    }
    hasher.finish()
}

/// Digest of an environment: each name and value length-prefixed, sorted, without [`VOLATILE`].
pub fn environment_digest(env: &BTreeMap<String, String>) -> Digest {
    let mut hasher = Hasher::new();
    for (name, value) in env.iter().filter(|(name, _)| !VOLATILE.contains(&name.as_str())) {
        hasher.update(&lp(name.as_bytes()));
        hasher.update(&lp(value.as_bytes()));
    }
    hasher.finish()
}

/// Digest of a set of configuration files, as a tree.
pub fn config_digest(files: &BTreeMap<&'static str, Vec<u8>>) -> Digest {
    let files: Vec<TreeFile> = files
        .iter()
        .map(|(name, bytes)| TreeFile {
            path: (*name).to_owned(),
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            digest: sha256(bytes),
        })
        .collect();
    tree_digest(&files)
}

impl Contract {
    /// The parts in which `self` (what was sealed) and `now` differ, as text for people; empty if they agree.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let mut part = |name: &str, was: &str, is: &str| {
            if was != is {
                let head = |t: &str| t.chars().take(12).collect::<String>();
                found.push(format!("{name} was {}, is {}", head(was), head(is)));
            }
        };
        part("code", &self.code.hex(), &now.code.hex());
        part("config", &self.config.hex(), &now.config.hex());
        part("environment", &self.env.hex(), &now.env.hex());
        part("command", &self.command.hex(), &now.command.hex());
        part("image", &self.image, &now.image);
        let list = |c: &Self| c.packages.map_or_else(|| "unknown".to_owned(), |d| d.hex());
        part("packages", &list(self), &list(now));
        let channels: std::collections::BTreeSet<&str> =
            self.data.iter().chain(&now.data).map(|d| d.channel.as_str()).collect();
        for channel in channels {
            let of = |c: &Self| {
                let data = c.data.iter().find(|d| d.channel == channel);
                data.map_or_else(|| "absent".to_owned(), |d| d.manifest.hex())
            };
            part(&format!("data `{channel}`"), &of(self), &of(now));
        }
        found
    }
}

/// What the end of a workload means for its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Exit 0: seal the model, close the run.
    Done,
    /// It left because it was asked to: resumable, no failure.
    Interrupted,
    /// Exit 75 (`EX_TEMPFAIL`): run it again, no failure.
    Requeue,
    /// Run it again from the last good checkpoint, after a back-off.
    Failed(String),
    /// It cannot go on: no restart mends this.
    Final(String),
}

/// Meaning of an exit (training.md section 2.3). `asked` is whether the platform asked the workload to leave.
pub fn ending(exit: &Exit, asked: bool) -> Ending {
    match (exit.cause, exit.code) {
        (EndCause::Exited, 0) => Ending::Done,
        (EndCause::Exited, 143) | (EndCause::Signalled, _) if asked => Ending::Interrupted,
        (EndCause::Exited, 75) => Ending::Requeue,
        (EndCause::Exited, code) => Ending::Failed(format!("the command exited with {code}")),
        (EndCause::Signalled, signal) => Ending::Failed(format!("signal {signal} ended the job")),
        (EndCause::OutOfMemory, _) => Ending::Failed("the memory limit ended the job".into()),
        (EndCause::WallTime, _) => Ending::Final("the wall time ended the job".into()),
        (EndCause::StartFailed, _) => Ending::Final(format!("the command did not start: {}", exit.detail)),
    }
}
