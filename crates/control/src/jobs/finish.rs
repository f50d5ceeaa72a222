//! The end of a job: its files become a signed model with a Model BoM of what was observed.

use std::collections::{BTreeMap, BTreeSet};

use base::{Digest, Timestamp};
use bom::{Cause, Decision, Fact, ModelBom};
use ops::event::{Event, EventKind, Outcome, Phase};
use store::records::{CheckpointState, File, Job, JobState, Segment};
use training::JobSpec;
use training::manifest::FileEntry;
use vault::KeyScope;

use super::checkpoints::Ticket;
use super::live::Live;
use super::{Accepted, INPUT_CHANNEL, INPUT_CODE, Measured, change, stored_checkpoints};
use crate::clock::{now, random};
use crate::images::Programs;
use crate::models::{self, Inspected, Registration, SignedModel};
use crate::node::Node;
use crate::{Fail, boms, intake};

/// Who observed, as the BoM names it.
const CONTROL: &str = "strongroom serve";
const PORTER: &str = "strongroom-porter";

pub(super) fn finish(
    node: &Node,
    job: &Job,
    spec: &JobSpec,
    ticket: Ticket,
    live: &Live,
    cor: u128,
) -> Result<(), Fail> {
    let actor = format!("job:{}", job.id);
    let scope = KeyScope::Tenant(job.tenant.clone());
    let inspected = inspected(&ticket);
    let event =
        Event::new(EventKind::ModelInspect, Phase::Outcome, outcome(&inspected), now().as_millis(), cor)
            .tenant(job.tenant.as_str())
            .actor(&actor)
            .asset("job", &job.id.to_string(), Some(job.contract))
            .detail("verdict", &inspected.verdict)
            .because(&inspected.findings.join("; "));
    node.keeper.append(event)?;
    if inspected.verdict != "load" {
        return Err(Fail::refused("SR-CTL-0011", "the job's result may not be loaded".to_owned())
            .because(inspected.findings.join("; ")));
    }
    let tensors = ticket.tensors;
    let (mut files, mut entries) = (Vec::new(), Vec::new());
    for sealed in ticket.files {
        let (entry, file) = sealed.adopt(node, &scope)?;
        files.push(file);
        entries.push(entry);
    }
    files.sort_by(|a: &File, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    let _one = node.registering.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let version = models::next_version(node, &job.tenant, &job.name)?;
    let signed = models::sign(node, &job.tenant, job.name.as_str(), &files, cor)?;
    let programs = Programs::of(node, &job.tenant, job.image.as_ref())?;
    let draft = Draft {
        node,
        job,
        spec,
        programs: &programs,
        version,
        files: &files,
        entries: &entries,
        tensors: &tensors,
        signed: &signed,
    };
    let bom = write_bom(&draft, live, cor)?;
    let registration = Registration {
        tenant: job.tenant.clone(),
        name: job.name.clone(),
        version,
        job: Some(job.id),
        files,
        signed,
        bom: Some(bom),
        inspected,
    };
    let model = models::register(node, &actor, registration, cor)?;
    change(node, job, |j| {
        j.state = JobState::Finished;
        j.reason = None;
        j.model = Some((model.name.clone(), model.version));
        j.ended_ms = Some(now().as_millis());
    })?;
    let event = Event::new(EventKind::JobFinish, Phase::Outcome, Outcome::Success, now().as_millis(), cor)
        .tenant(job.tenant.as_str())
        .actor(&actor)
        .asset("job", &job.id.to_string(), Some(job.contract))
        .detail("model", &format!("{}@{}", model.name, model.version))
        .detail("model_digest", &model.root_digest.hex());
    node.keeper.append(event)?;
    live.state(JobState::Finished, &format!("model {}@{} is registered", model.name, model.version));
    Ok(())
}

/// The end of a job that measured a model in quarantine: its number is taken, and it leaves no model. What it came to
/// and the end of the job are written down together.
pub(super) fn measured(node: &Node, job: &Job, of: &Measured, live: &Live, cor: u128) -> Result<(), Fail> {
    let said = intake::measured(node, job, of, &live.view().metrics, cor, |tx, said| {
        let rows = tx.of(&job.tenant);
        let Some(mut stored) = rows.get::<Job>(&job.id)? else { return Ok(()) };
        stored.record.state = JobState::Finished;
        stored.record.reason = Some(said.to_owned());
        stored.record.ended_ms = Some(now().as_millis());
        rows.update(&stored)
    })?;
    let event = Event::new(EventKind::JobFinish, Phase::Outcome, Outcome::Success, now().as_millis(), cor)
        .tenant(job.tenant.as_str())
        .actor(&format!("job:{}", job.id))
        .asset("job", &job.id.to_string(), Some(job.contract))
        .because(&said);
    node.keeper.append(event)?;
    live.state(JobState::Finished, &said);
    Ok(())
}

fn outcome(inspected: &Inspected) -> Outcome {
    if inspected.verdict == "load" { Outcome::Success } else { Outcome::Refused }
}

fn inspected(ticket: &Ticket) -> Inspected {
    let rank = |verdict: &str| match verdict {
        "load" => 0,
        "load-with-policy" => 1,
        _ => 2,
    };
    let worst = ticket.files.iter().map(|f| f.verdict.as_str()).max_by_key(|v| rank(v)).unwrap_or("refuse");
    let findings =
        ticket.files.iter().flat_map(|f| f.findings.iter().map(move |x| format!("{}: {x}", f.path)));
    // Only what loads without a policy is registered at the end of a job.
    Inspected { verdict: worst.to_owned(), findings: findings.collect(), risks: BTreeSet::new() }
}

/// What the BoM of a finished job is written from.
struct Draft<'a> {
    node: &'a Node,
    job: &'a Job,
    spec: &'a JobSpec,
    programs: &'a Programs,
    version: u64,
    files: &'a [File],
    entries: &'a [FileEntry],
    tensors: &'a [training::manifest::TensorEntry],
    signed: &'a SignedModel,
}

fn write_bom(draft: &Draft<'_>, live: &Live, cor: u128) -> Result<(Digest, String), Fail> {
    let Draft { node, job, signed, .. } = draft;
    let record = draft.record(live)?;
    let version = draft.version.to_string();
    let subject = boms::Subject {
        tenant: &job.tenant,
        name: &job.name,
        version: &version,
        root_digest: signed.root_digest,
        files: draft.files,
        actor: &format!("job:{}", job.id),
    };
    boms::sign(node, &record, subject, &[], cor)
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

impl Draft<'_> {
    fn record(&self, live: &Live) -> Result<ModelBom, Fail> {
        let Self { node, job, signed, .. } = self;
        let metrics = live.view().metrics.into_iter().map(|(name, value)| bom::Metric {
            name,
            step: job.progress.step,
            slice: String::new(),
            value: Fact::declared(value, &format!("job {}", job.id)),
        });
        let datasets = job.inputs.iter().filter_map(|input| {
            input.channel.strip_prefix(INPUT_CHANNEL)?;
            let origin = input.origin.strip_prefix("dataset:").unwrap_or(&input.origin);
            let (name, version) = origin.split_once('@').unwrap_or((origin, "1"));
            Some(bom::Dataset {
                name: name.to_owned(),
                version: version.to_owned(),
                manifest_digest: input.manifest_digest,
                size_bytes: input.files.iter().map(|f| f.size).fold(0, u64::saturating_add),
                files: u64::try_from(input.files.len()).unwrap_or(u64::MAX),
                role: bom::Role::Unspecified,
                license: Fact::Unknown,
                origin: Fact::Unknown,
            })
        });
        let inspections = self.entries.iter().map(|e| bom::Inspection {
            path: e.path.clone(),
            verdict: e.verdict.clone(),
            format: e.format.clone(),
            findings: e.findings.clone(),
            accepted: None,
            inspector: format!("strongroom-inspect {}", env!("CARGO_PKG_VERSION")),
        });
        Ok(ModelBom {
            serial: u128::from_le_bytes(random::<16>()?),
            version: 1,
            previous: None,
            reason: "the job that made the model finished".to_owned(),
            timestamp: now(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            node: node.config.node.clone(),
            tenant: job.tenant.to_string(),
            model: self.model(),
            job: Some(self.job_record()?),
            datasets: datasets.collect(),
            signer: Some(boms::signer(node, &signed.bundle)?),
            inspections: inspections.collect(),
            metrics: metrics.collect(),
            audit: boms::evidence(node, &job.tenant, &job.id.to_string())?,
        })
    }

    fn model(&self) -> bom::Model {
        let parameters: u64 = self
            .tensors
            .iter()
            .map(|t| t.shape.iter().copied().fold(1, u64::saturating_mul))
            .fold(0, u64::saturating_add);
        let tensors = self.tensors.iter().map(|t| bom::Tensor {
            name: t.name.clone(),
            dtype: t.dtype.clone(),
            shape: t.shape.clone(),
            digest: Some(t.digest),
        });
        bom::Model {
            name: self.job.name.to_string(),
            version: self.version.to_string(),
            root_digest: self.signed.root_digest,
            files: boms::entries(self.files),
            tensors: (!self.tensors.is_empty()).then(|| tensors.collect()),
            parameters: if parameters > 0 { Fact::observed(parameters, PORTER) } else { Fact::Unknown },
            architecture: Fact::Unknown,
            approach: Fact::Unknown,
            task: Fact::Unknown,
            license: Fact::Unknown,
            purpose: Fact::Unknown,
            limitations: Fact::Unknown,
            description: Fact::Unknown,
            producer: Fact::observed(&self.job.tenant, CONTROL),
            accountable: Fact::Unknown,
            base: None,
        }
    }

    fn job_record(&self) -> Result<bom::Job, Fail> {
        let Self { node, job, spec, .. } = self;
        let (accepted, _) = Accepted::of(job)?;
        let image_env = self.programs.env();
        let config = training::RunConfig { job: job.id, spec, resume_step: None, restarts: 0, image_env };
        let (checkpoints, decisions) = self.history()?;
        let hyperparameters = spec.hyperparameters.iter().map(|(name, value)| {
            let text = match value.to_json() {
                serde_json::Value::String(text) => text,
                other => other.to_string(),
            };
            (name.clone(), Fact::observed(text, CONTROL))
        });
        let reproducible =
            match job.segments.iter().filter_map(|s| s.continuation.as_deref()).find(|c| *c != "bit-exact") {
                Some(_) => Fact::observed("no", CONTROL),
                None => Fact::Unknown,
            };
        let seed =
            spec.hyperparameters.get("seed").map_or(Fact::Unknown, |s| Fact::observed(s.to_json(), CONTROL));
        Ok(bom::Job {
            id: job.id.to_string(),
            name: job.name.to_string(),
            submitted_by: accepted.submitted_by,
            started: at(job.segments.first().map_or(job.submitted_ms, |s| s.started_ms)),
            finished: at(job.segments.last().and_then(|s| s.ended_ms).unwrap_or(job.submitted_ms)),
            command: spec.command.clone(),
            variables: config.environment(),
            code: self.code(),
            environment: self.environment()?,
            hardware: bom::Hardware {
                cpu_model: observed_or_unknown(&node.facts.cpu_model),
                cpus: Fact::observed(spec.resources.threads(), CONTROL),
                memory_bytes: Fact::observed(spec.resources.memory.bytes(), CONTROL),
                threads: Fact::observed(spec.resources.threads(), CONTROL),
                accelerators: Vec::new(),
            },
            hyperparameters: hyperparameters.collect(),
            seed,
            segments: self.segments(),
            checkpoints,
            decisions,
            commit_rule: "a checkpoint counts from the moment that its sealed files, its signed manifest and its place on the chain are durable".to_owned(),
            resources: BTreeMap::new(),
            reproducible,
        })
    }

    fn code(&self) -> bom::Code {
        let code = self.job.inputs.iter().find(|i| i.channel == INPUT_CODE);
        let files = code.map(|c| c.files.as_slice()).unwrap_or_default().iter().map(|f| bom::FileEntry {
            path: f.path.clone(),
            size_bytes: f.size,
            digest: f.digest,
            format: String::new(),
        });
        bom::Code {
            digest: code.map_or(Digest::from_bytes([0; 32]), |c| c.manifest_digest),
            files: files.collect(),
            git_commit: Fact::Unknown,
            dirty: Fact::Unknown,
        }
    }

    /// What of the host's programs the platform saw, and what an image says of itself.
    fn environment(&self) -> Result<bom::Environment, Fail> {
        let packages = self.programs.packages(self.node)?;
        let pinned = self.programs.is_pinned();
        let fact = |value: &str| {
            if pinned { Fact::declared(value, "the image") } else { Fact::observed(value, CONTROL) }
        };
        let version = |name: &str| packages.iter().find(|p| p.name == name).map(|p| p.version.as_str());
        let os = match (self.programs.system(), version("base-files")) {
            (Some((_, name)), _) => fact(name),
            (None, Some(version)) => fact(&format!("Debian, base-files {version}")),
            (None, None) => Fact::Unknown,
        };
        let system = self.programs.system().map(|(id, _)| id.clone());
        let source = |source| match source {
            image::packages::Source::Dpkg => bom::PackageSource::Dpkg,
            image::packages::Source::Apk => bom::PackageSource::Apk,
            image::packages::Source::Python => bom::PackageSource::Python,
        };
        Ok(bom::Environment {
            image: Fact::observed(self.programs.name(), CONTROL),
            pinned: Fact::observed(pinned, CONTROL),
            kernel: observed_or_unknown(&self.node.facts.kernel),
            os,
            python: version("python3").map_or(Fact::Unknown, fact),
            packages: packages
                .iter()
                .map(|p| bom::Package {
                    name: p.name.clone(),
                    version: p.version.clone(),
                    source: source(p.source),
                    digest: None,
                    system: system.clone(),
                    observed: !pinned,
                })
                .collect(),
        })
    }

    fn segments(&self) -> Vec<bom::Segment> {
        let stored = stored_checkpoints(self.node, &self.job.tenant, self.job.id).unwrap_or_default();
        let digests: std::collections::BTreeMap<u64, base::Digest> =
            stored.iter().map(|c| (c.version, c.manifest_digest)).collect();
        let checkpoint = |version: u64| digests.get(&version).copied();
        self.job
            .segments
            .iter()
            .map(|s| bom::Segment {
                number: s.number,
                started: at(s.started_ms),
                ended: at(s.ended_ms.unwrap_or(s.started_ms)),
                cause: cause(s),
                detail: detail(s),
                resumed_from: s.resumed_from.and_then(checkpoint),
                lost_steps: None,
            })
            .collect()
    }

    fn history(&self) -> Result<(Vec<bom::Checkpoint>, Vec<Decision>), Fail> {
        let stored = stored_checkpoints(self.node, &self.job.tenant, self.job.id)?;
        let segment_of = |sealed: u64| {
            let within = self.job.segments.iter().rev().find(|s| s.started_ms <= sealed);
            within.map_or(1, |s| s.number)
        };
        let checkpoints = stored
            .iter()
            .map(|c| bom::Checkpoint {
                version: c.version,
                segment: segment_of(c.sealed_ms),
                step: c.step,
                digest: c.manifest_digest,
                previous: c.prev,
                size_bytes: c.bytes,
                sealed_at: at(c.sealed_ms),
                state: match c.state {
                    CheckpointState::Good | CheckpointState::Pruned => bom::CheckpointState::Good,
                    CheckpointState::Rejected => bom::CheckpointState::Rejected,
                    CheckpointState::Suspect | CheckpointState::Quarantined => {
                        bom::CheckpointState::Quarantined
                    }
                },
                reason: match c.state {
                    CheckpointState::Good | CheckpointState::Pruned => String::new(),
                    _ => c.reason.clone().unwrap_or_default(),
                },
            })
            .collect();
        let digest_of =
            |version: u64| stored.iter().find(|c| c.version == version).map(|c| c.manifest_digest);
        let decisions = self
            .job
            .segments
            .iter()
            .filter(|s| s.number > 1)
            .map(|s| Decision {
                at: at(s.started_ms),
                segment: s.number,
                chosen: s.resumed_from.and_then(digest_of),
                rejected: s.rejected.iter().map(|text| passed_over(text)).collect(),
                continuation: s.continuation.clone().unwrap_or_default(),
            })
            .collect();
        Ok((checkpoints, decisions))
    }
}

/// `version 4: open: ...` as the segment keeps it.
fn passed_over(text: &str) -> bom::Rejected {
    let rest = text.strip_prefix("version ").unwrap_or(text);
    let (version, reason) = rest.split_once(": ").unwrap_or(("0", rest));
    bom::Rejected { version: version.parse().unwrap_or(0), reason: reason.to_owned() }
}

fn observed_or_unknown(value: &str) -> Fact {
    if value.is_empty() { Fact::Unknown } else { Fact::observed(value, CONTROL) }
}

fn cause(segment: &Segment) -> Cause {
    match segment.cause.as_deref() {
        Some("completed") => Cause::Completed,
        Some("signalled") => Cause::Killed,
        Some("out-of-memory") => Cause::OutOfMemory,
        Some("wall-time") => Cause::TimedOut,
        Some("node-restart") => Cause::NodeLost,
        _ => Cause::Failed,
    }
}

fn detail(segment: &Segment) -> String {
    match (segment.cause.as_deref(), segment.exit_code) {
        (Some("signalled"), Some(signal)) => format!("signal {signal}"),
        (Some("exited"), Some(code)) => format!("exit code {code}"),
        (Some(other), _) => other.to_owned(),
        (None, _) => String::new(),
    }
}
