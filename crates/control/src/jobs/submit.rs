//! Accepting a job: its file is checked, everything that it reads is pinned by digest.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::JobRun;
use api::shape::FILE_PATH_MAX;
use base::Digest;
use base::id::JobId;
use base::names::Name;
use ops::event::{Event, EventKind, Outcome, Phase};
use store::records::{File, Input, Job, JobState, Progress};
use store::{StoreError, Tx};
use training::jobfile::{ImageRef, InputRef, IsolationClass};
use training::{Contract, JobSpec, RunConfig};
use vault::KeyScope;

use super::{
    Accepted, Answers, INPUT_CHANNEL, INPUT_CODE, INPUT_CONFIG, JOBS_MAX, Measured, Slot, Why, contract,
    show, supervise,
};
use crate::auth::{By, Principal};
use crate::clock::{now, random};
use crate::images::Programs;
use crate::keeper::keeper_scope;
use crate::node::{Node, correlation, store_fail};
use crate::{Fail, datasets, egresses, revocations};

// What the API's description says of a job file holds.
const _: () = assert!(api::shape::JOB_FILE_MAX == training::limits::JOB_FILE_MAX);
/// Largest configuration file that the platform writes.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

pub(crate) fn submit(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    request: &JobRun,
) -> Result<api::Job, Fail> {
    let job = accept(node, principal, tenant, request, None, |_, _| Ok(()))?;
    show(node, tenant, &job.id.to_string())
}

/// A job that measures a model in quarantine: it reads these files as a channel, and leaves no model. What `also`
/// writes down stands in the same transaction as the job.
pub(crate) fn measure(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    request: &JobRun,
    (measured, files): (&Measured, &[File]),
    also: impl FnOnce(&Tx<'_>, &Job) -> Result<(), StoreError>,
) -> Result<Job, Fail> {
    accept(node, principal, tenant, request, Some((measured, files)), also)
}

/// The job file of a request, as this node can run it for this tenant.
fn read(node: &Node, tenant: &Name, request: &JobRun, measures: bool) -> Result<JobSpec, Fail> {
    if request.file.chars().count() > FILE_PATH_MAX {
        return Err(Fail::invalid(format!("the name of a job file has at most {FILE_PATH_MAX} characters")));
    }
    let spec = JobSpec::parse(&request.file, &request.text).map_err(|e| Fail::explained(400, &e))?;
    let spec = if measures { spec.measuring().map_err(|e| Fail::explained(400, &e))? } else { spec };
    if spec.tenant != *tenant {
        return Err(Fail::invalid(format!(
            "the job file is for tenant `{}`, the request for `{tenant}`",
            spec.tenant
        )));
    }
    check_host(node, &spec)?;
    Ok(spec)
}

fn accept(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    request: &JobRun,
    measures: Option<(&Measured, &[File])>,
    also: impl FnOnce(&Tx<'_>, &Job) -> Result<(), StoreError>,
) -> Result<Job, Fail> {
    room(node, tenant)?;
    let spec = read(node, tenant, request, measures.is_some())?;
    if measures.is_some() && !spec.egress.is_empty() {
        return Err(Fail::invalid("a job that measures a model in quarantine reaches nothing outside")
            .help("leave `egress` out of its job file"));
    }
    egresses::may_use(node, principal, tenant, &spec.egress)?;
    let image = match &spec.image {
        ImageRef::Host => None,
        ImageRef::Directory { digest, .. } | ImageRef::Oci { digest, .. } => Some(*digest),
    };
    let programs = Programs::of(node, tenant, image.as_ref())?;
    check_memory(node, &spec, &programs)?;
    let at = now();
    let id = JobId::new(at, random::<10>()?);
    let inputs = inputs(node, tenant, request, &spec, id, measures)?;
    let image_env = programs.env();
    let config = RunConfig { job: id, spec: &spec, resume_step: None, restarts: 0, image_env };
    let pinned = contract(node, &config, &inputs, &programs)?;
    let (parts, digest) = parts_of(&pinned);
    let accepted = Accepted {
        file: request.file.clone(),
        text: request.text.clone(),
        submitted_by: principal.actor(),
        answers: if spec.egress.is_empty() { None } else { Some(Answers::of(node, principal)?) },
        measures: measures.map(|(measured, _)| measured.clone()),
    };
    let job = Job {
        tenant: tenant.clone(),
        id,
        name: spec.name.clone(),
        spec: serde_json::to_value(&accepted).map_err(|e| Fail::internal("the job cannot be stored", e))?,
        contract: digest,
        contract_parts: parts,
        inputs,
        image,
        state: JobState::Pending,
        reason: None,
        kek_version: None,
        attempt: 0,
        segments: Vec::new(),
        progress: Progress::default(),
        isolation: Vec::new(),
        output_tail: String::new(),
        model: None,
        submitted_ms: at.as_millis(),
        ended_ms: None,
    };
    let cor = correlation()?;
    let event = event(&job, &spec, &programs, cor).by(principal);
    node.keeper.audited(event, || {
        let slot = Slot::take(node, tenant, id, job.state, Why::Run)?;
        node.keeper.create_scope(keeper_scope(&KeyScope::Job(tenant.clone(), id)), cor)?;
        node.meta
            .transaction(|tx| {
                tx.of(tenant).insert(&job)?;
                also(tx, &job)?;
                principal.made(tx, &id.to_string())
            })
            .map_err(store_fail)?;
        supervise(slot, &job)
    })?;
    Ok(job)
}

/// What is to be logged of it.
fn event(job: &Job, spec: &JobSpec, programs: &Programs, correlation: u128) -> Event {
    let mut event =
        Event::new(EventKind::JobSubmit, Phase::Intent, Outcome::Unknown, job.submitted_ms, correlation)
            .tenant(job.tenant.as_str())
            .asset("job", &job.id.to_string(), Some(job.contract))
            .detail("name", job.name.as_str())
            .detail("image", &programs.name());
    if !spec.egress.is_empty() {
        let names: Vec<&str> = spec.egress.iter().map(Name::as_str).collect();
        event = event.detail("egress", &names.join(" "));
    }
    for (name, digest) in &job.contract_parts {
        event = event.detail(name, &digest.hex());
    }
    event
}

/// The digests that a contract is made of, by name, and the digest of them all.
fn parts_of(pinned: &Contract) -> (BTreeMap<String, Digest>, Digest) {
    let mut parts = BTreeMap::from([
        ("code".to_owned(), pinned.code),
        ("config".to_owned(), pinned.config),
        ("env".to_owned(), pinned.env),
        ("command".to_owned(), pinned.command),
    ]);
    if let Some(packages) = pinned.packages {
        parts.insert("packages".to_owned(), packages);
    }
    if let Some(Ok(image)) = pinned.image.strip_prefix("sha256:").map(str::parse) {
        parts.insert("image".to_owned(), image);
    }
    for data in &pinned.data {
        parts.insert(format!("data/{}", data.channel), data.manifest);
    }
    let mut hasher = base::Hasher::new();
    for (name, digest) in &parts {
        hasher.update(&base::wire::lp(name.as_bytes()));
        hasher.update(digest.as_bytes());
    }
    (parts, hasher.finish())
}

/// Whether the tenant is there, and may have one more job.
fn room(node: &Node, tenant: &Name) -> Result<(), Fail> {
    node.tenant(tenant)?;
    match node.meta.read(|tx| tx.of(tenant).count::<Job>()).map_err(store_fail)? {
        count if count >= JOBS_MAX => Err(Fail::conflict(format!("this tenant has its {JOBS_MAX} jobs"))),
        _ => Ok(()),
    }
}

/// What this node cannot give is refused before anything is stored.
fn check_host(node: &Node, spec: &JobSpec) -> Result<(), Fail> {
    let cpus = node.facts.cpus.saturating_mul(1000);
    spec.check_capacity(cpus, base::ByteSize::from_bytes(node.facts.memory_bytes))
        .map_err(|e| Fail::explained(400, &e))?;
    if spec.image == ImageRef::Host && !node.config.jobs.allow_host_image {
        return Err(Fail::invalid(
            "this node does not allow `image = \"host\"`: the host's programs are not pinned",
        )
        .help("name an image by its digest in the job file; `strongroom image digest PATH` says it"));
    }
    if spec.isolation == IsolationClass::Strict {
        return Err(Fail::invalid(
            "class `strict` needs processor cores of its own, which this version does not assign",
        )
        .help("write `class = \"standard\"` in the job file"));
    }
    Ok(())
}

/// An image is held in memory beside what the job asks for. Other jobs are not counted.
fn check_memory(node: &Node, spec: &JobSpec, programs: &Programs) -> Result<(), Fail> {
    let (image, job) = (programs.memory_bytes(), spec.resources.memory.bytes());
    if image.saturating_add(job) <= node.facts.memory_bytes {
        return Ok(());
    }
    let size = base::ByteSize::from_bytes;
    Err(Fail::invalid(format!(
        "the image takes {} of memory and the job {}; this node has {}",
        size(image),
        size(job),
        size(node.facts.memory_bytes)
    ))
    .help("lower `memory` in the job file, or take a smaller image"))
}

fn inputs(
    node: &Arc<Node>,
    tenant: &Name,
    request: &JobRun,
    spec: &JobSpec,
    id: JobId,
    measures: Option<(&Measured, &[File])>,
) -> Result<Vec<Input>, Fail> {
    let code = node.imports.take_code(tenant, &request.code)?;
    let mut inputs = vec![input(INPUT_CODE, format!("code of {}", spec.name), code)];
    // The configuration files do not depend on the image.
    let config = RunConfig { job: id, spec, resume_step: None, restarts: 0, image_env: &[] };
    let mut files = Vec::new();
    for (name, bytes) in config.config_files() {
        let sealed = node.seal(&KeyScope::Tenant(tenant.clone()), &mut bytes.as_slice(), CONFIG_BYTES_MAX)?;
        files.push(File { path: name.to_owned(), size: sealed.len, digest: sealed.digest, media: None });
    }
    inputs.push(input(INPUT_CONFIG, "written by the platform".to_owned(), files));
    for (channel, reference) in &spec.inputs {
        let name = format!("{INPUT_CHANNEL}{channel}");
        inputs.push(match reference {
            InputRef::Dataset { name: dataset, version } => {
                let found = datasets::find(node, tenant, dataset, u64::from(*version))?;
                input(&name, format!("dataset:{dataset}@{version}"), found.files)
            }
            InputRef::Quarantined => {
                let (measured, files) =
                    measures.ok_or_else(|| Fail::internal("a job that measures nothing", channel))?;
                input(&name, measured.to_string(), files.to_vec())
            }
            InputRef::Path(path) => {
                let made = request.imports.get(channel.as_str()).ok_or_else(|| {
                    Fail::invalid(format!("input `{channel}` is the path `{path}`, which was not imported"))
                })?;
                let (dataset, version) = crate::models::reference(made)?;
                let found = datasets::find(node, tenant, &dataset, version)?;
                input(&name, format!("dataset:{dataset}@{}", found.version), found.files)
            }
        });
    }
    revocations::may_read(node, tenant, &inputs)?;
    Ok(inputs)
}

fn input(channel: &str, origin: String, mut files: Vec<File>) -> Input {
    files.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    Input { channel: channel.to_owned(), origin, manifest_digest: datasets::manifest(&files), files }
}
