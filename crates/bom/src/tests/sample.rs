//! A run with one interruption and one tampered checkpoint; and the least that can be recorded.

use std::collections::BTreeMap;

use base::{Timestamp, sha256};

use crate::*;

const START: u64 = 1_795_400_000_000;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(START + seconds * 1000)
}

fn file(path: &str, format: &str) -> FileEntry {
    let (size_bytes, digest) = (path.len() as u64, sha256(path.as_bytes()));
    FileEntry { path: path.into(), size_bytes, digest, format: format.into() }
}

/// As OMS computes it, over files in order of their names.
fn root(files: &[FileEntry]) -> base::Digest {
    let mut sorted: Vec<&FileEntry> = files.iter().collect();
    sorted.sort_by_key(|f| &f.path);
    sha256(&sorted.iter().flat_map(|f| *f.digest.as_bytes()).collect::<Vec<u8>>())
}

fn seen(value: impl ToString) -> Fact {
    Fact::observed(value, "warden")
}

fn checkpoint(version: u64, segment: u32, state: CheckpointState) -> Checkpoint {
    let digest = |v: u64| sha256(format!("checkpoint {v}").as_bytes());
    Checkpoint {
        version,
        segment,
        step: Some(version * 100),
        digest: digest(version),
        // The third one follows the first: the second was tampered with.
        previous: match version {
            1 => None,
            3 => Some(digest(1)),
            v => Some(digest(v - 1)),
        },
        size_bytes: 1000,
        sealed_at: at(version * 10),
        state,
        reason: if state == CheckpointState::Good { String::new() } else { "tag does not verify".into() },
    }
}

fn job() -> Job {
    Job {
        id: "job_1".into(),
        name: "train-fashion".into(),
        submitted_by: "alice".into(),
        started: at(0),
        finished: at(60),
        command: ["python3", "train.py", "--epochs", "2", "--token", "hunter2"].map(Into::into).into(),
        variables: BTreeMap::from([
            ("OMP_NUM_THREADS".into(), "2".into()),
            ("WANDB_API_KEY".into(), "s3cr3t".into()),
        ]),
        code: Code {
            digest: sha256(b"code"),
            files: vec![file("train.py", ""), file("lib/net.py", "")],
            git_commit: Fact::Unknown,
            dirty: Fact::Unknown,
        },
        environment: environment(),
        hardware: hardware(),
        hyperparameters: BTreeMap::from([("lr".into(), seen("0.1")), ("epochs".into(), seen(2))]),
        seed: seen(7),
        segments: vec![
            Segment {
                number: 1,
                started: at(0),
                ended: at(25),
                cause: Cause::Killed,
                detail: "signal 9".into(),
                resumed_from: None,
                lost_steps: None,
            },
            Segment {
                number: 2,
                started: at(26),
                ended: at(60),
                cause: Cause::Completed,
                detail: String::new(),
                resumed_from: Some(sha256(b"checkpoint 1")),
                lost_steps: Some(40),
            },
        ],
        checkpoints: vec![
            checkpoint(1, 1, CheckpointState::Good),
            checkpoint(2, 1, CheckpointState::Rejected),
            checkpoint(3, 2, CheckpointState::Good),
        ],
        decisions: vec![Decision {
            at: at(26),
            segment: 2,
            chosen: Some(sha256(b"checkpoint 1")),
            continuation: "bit-exact".into(),
            rejected: vec![Rejected { version: 2, reason: "tag does not verify".into() }],
        }],
        commit_rule: "committed once sealed, read back, verified and logged".into(),
        resources: BTreeMap::from([("cpu-seconds".into(), seen("83.2"))]),
        reproducible: Fact::Unknown,
    }
}

fn environment() -> Environment {
    Environment {
        image: seen("host"),
        pinned: seen(false),
        kernel: Fact::observed_in("6.18", "warden", Evidence { log_index: 7, fingerprint: sha256(b"entry") }),
        os: seen("Debian GNU/Linux 12"),
        python: seen("3.11.2"),
        packages: vec![
            Package {
                name: "torch".into(),
                version: "1.13.1".into(),
                source: PackageSource::Python,
                digest: Some(sha256(b"torch")),
                system: None,
                observed: true,
            },
            Package {
                name: "libc6".into(),
                version: "2.36-9+deb12u10".into(),
                source: PackageSource::Dpkg,
                digest: None,
                system: None,
                observed: true,
            },
        ],
    }
}

fn hardware() -> Hardware {
    Hardware {
        cpu_model: seen("AMD EPYC"),
        cpus: seen(2),
        memory_bytes: seen(8u64 << 30),
        threads: seen(2),
        accelerators: vec![seen("accelerator 0")],
    }
}

fn dataset(name: &str, role: Role) -> Dataset {
    Dataset {
        name: name.into(),
        version: "1".into(),
        manifest_digest: sha256(format!("{name} {role:?}").as_bytes()),
        size_bytes: 54_950_048,
        files: 4,
        role,
        license: Fact::declared("MIT", "acme"),
        origin: Fact::declared("https://github.com/zalandoresearch/fashion-mnist", "acme"),
    }
}

/// Everything that can be observed is there; the Git revision is unknown.
pub(super) fn full() -> ModelBom {
    let files = vec![file("model.onnx", "onnx"), file("labels.json", "json")];
    ModelBom {
        serial: 0x0001_0203_0405_4607_8809_0a0b_0c0d_0e0f,
        version: 1,
        previous: None,
        reason: "job finished".into(),
        timestamp: at(61),
        tool_version: "0.1.0".into(),
        node: "node-1".into(),
        tenant: "acme".into(),
        model: Model {
            name: "m".into(),
            version: "1".into(),
            root_digest: root(&files),
            tensors: Some(vec![Tensor {
                name: "fc.weight".into(),
                dtype: "f32".into(),
                shape: vec![10, 784],
                digest: Some(base::TensorDigest::Blake3([3; 32])),
            }]),
            parameters: seen(7850),
            architecture: Fact::declared("convolutional network", "acme"),
            approach: Fact::declared("supervised", "acme"),
            task: Fact::declared("image classification", "acme"),
            license: Fact::declared("Apache-2.0", "acme"),
            purpose: Fact::declared("shows the platform", "acme"),
            limitations: Fact::declared("28 by 28 pixels", "acme"),
            description: Fact::declared("clothes", "acme"),
            producer: Fact::declared("Acme", "acme"),
            accountable: Fact::declared("Alice", "acme"),
            base: Some(Base {
                name: "m".into(),
                version: "0".into(),
                digest: sha256(b"base"),
                relation: "continuation".into(),
            }),
            files: files.clone(),
        },
        job: Some(job()),
        datasets: vec![dataset("fashion.mnist", Role::Train), dataset("fashion.mnist", Role::Test)],
        signer: Some(Signer {
            name: "node-1".into(),
            key_fingerprint: sha256(b"key"),
            bundle_digest: sha256(b"bundle"),
        }),
        inspections: files
            .iter()
            .map(|f| Inspection {
                path: f.path.clone(),
                verdict: "load".into(),
                format: f.format.clone(),
                findings: Vec::new(),
                accepted: None,
                inspector: "0.1.0".into(),
            })
            .collect(),
        metrics: vec![Metric {
            name: "accuracy".into(),
            step: None,
            slice: "test".into(),
            value: Fact::declared("0.91", "the program"),
        }],
        audit: vec![("job started".into(), Evidence { log_index: 5, fingerprint: sha256(b"started") })],
    }
}

/// A model that came from elsewhere, of which next to nothing is known.
pub(super) fn minimal() -> ModelBom {
    let model = Model {
        name: "m".into(),
        version: "1".into(),
        root_digest: root(&[file("model.onnx", "onnx")]),
        files: vec![file("model.onnx", "onnx")],
        tensors: None,
        parameters: Fact::Unknown,
        architecture: Fact::Unknown,
        approach: Fact::Unknown,
        task: Fact::Unknown,
        license: Fact::Unknown,
        purpose: Fact::Unknown,
        limitations: Fact::Unknown,
        description: Fact::Unknown,
        producer: Fact::Unknown,
        accountable: Fact::NotApplicable { reason: "imported".into() },
        base: None,
    };
    ModelBom {
        serial: 1,
        version: 1,
        previous: None,
        reason: String::new(),
        timestamp: at(0),
        tool_version: "0.1.0".into(),
        node: "node-1".into(),
        tenant: "acme".into(),
        model,
        job: None,
        datasets: Vec::new(),
        signer: None,
        inspections: Vec::new(),
        metrics: Vec::new(),
        audit: Vec::new(),
    }
}
