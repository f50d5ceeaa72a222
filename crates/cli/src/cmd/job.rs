//! `strongroom job`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use training::JobSpec;
use training::jobfile::{ImageRef, InputRef};

use super::image::{self, Form};
use super::import::{What, import};
use super::watch::watch;
use crate::args::{CheckpointCommand, JobArg, JobCommand, TenantArg};
use crate::error::{CliError, Failure};
use crate::exit::Exit;
use crate::output::{Answer, Column, Kind};
use crate::session::{Scope, Session};

const LIST: &[Column] = &[
    Column::new("id", "ID", Kind::Plain),
    Column::new("name", "NAME", Kind::Plain),
    Column::new("state", "STATE", Kind::State),
    Column::new("step", "STEP", Kind::Plain),
    Column::new("checkpoints", "CHECKPOINTS", Kind::Plain),
    Column::new("restarts", "RESTARTS", Kind::Plain),
    Column::new("model", "MODEL", Kind::Plain),
    Column::new("submitted", "SUBMITTED", Kind::Time),
];

pub(super) const SHOW: &[Column] = &[
    Column::new("id", "ID", Kind::Plain),
    Column::new("tenant", "TENANT", Kind::Plain),
    Column::new("name", "NAME", Kind::Plain),
    Column::new("state", "STATE", Kind::State),
    Column::new("reason", "REASON", Kind::Plain),
    Column::new("submitted", "SUBMITTED", Kind::Time),
    Column::new("ended", "ENDED", Kind::Time),
    Column::new("step", "STEP", Kind::Plain),
    Column::new("metrics", "METRICS (CLAIMED)", Kind::Plain),
    Column::new("rate", "RATE", Kind::Plain),
    Column::new("restarts", "RESTARTS", Kind::Plain),
    Column::new("checkpoints", "CHECKPOINTS", Kind::Plain),
    Column::new("segments", "SEGMENTS", Kind::Count),
    Column::new("contract", "CONTRACT", Kind::Digest),
    Column::new("model", "MODEL", Kind::Plain),
    Column::new("isolation", "ISOLATION", Kind::Count),
    Column::new("output_tail", "OUTPUT", Kind::Plain),
];

const CHECKPOINTS: &[Column] = &[
    Column::new("version", "VERSION", Kind::Plain),
    Column::new("step", "STEP", Kind::Plain),
    Column::new("state", "STATE", Kind::State),
    Column::new("digest", "DIGEST", Kind::Digest),
    Column::new("bytes", "SIZE", Kind::Bytes),
    Column::new("rule", "COMMIT SEEN BY", Kind::Plain),
    Column::new("sealed", "SEALED", Kind::Time),
];

/// How a job command ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// With a result to print.
    Answer(Box<Answer>),
    /// Its result was printed as it came.
    Streamed(Exit),
}

impl From<Answer> for Ended {
    fn from(answer: Answer) -> Self {
        Self::Answer(Box::new(answer))
    }
}

/// Runs it.
pub(crate) fn run(session: &Session, command: JobCommand) -> Result<Ended, Failure> {
    match command {
        JobCommand::Run { file, watch: stay, tenant } => {
            let (scope, job) = submit(session, &file, &tenant)?;
            if stay {
                return watch(session, &scope, &job.id).map(Ended::Streamed);
            }
            let (id, t) = (&job.id, &scope.tenant);
            Ok(Answer::record(&job, SHOW)
                .hint(format!("next: strongroom job watch {id} --tenant {t}"))
                .into())
        }
        JobCommand::List { tenant } => {
            let scope = session.scope(&tenant)?;
            let items: Vec<api::Job> = scope.client.list(&scope.route(&["jobs"]))?;
            let empty = "no job yet; submit one with `strongroom job run FILE`";
            Ok(Answer::list("strongroom.job.list/1", &items, LIST, empty).into())
        }
        JobCommand::Show(arg) => {
            let (scope, id) = find(session, &arg)?;
            let job: api::Job = scope.client.get(&scope.route(&["jobs", &id]))?;
            Ok(Answer::record(&job, SHOW).into())
        }
        JobCommand::Watch(arg) => {
            let (scope, id) = find(session, &arg)?;
            watch(session, &scope, &id).map(Ended::Streamed)
        }
        JobCommand::Stop(arg) => {
            let (scope, id) = find(session, &arg)?;
            let job: api::Job = scope.client.act(&scope.route(&["jobs", &id, "stop"]))?;
            let t = &scope.tenant;
            Ok(Answer::record(&job, SHOW)
                .hint(format!("see its end with `strongroom job show {id} --tenant {t}`"))
                .into())
        }
        JobCommand::Resume { job: arg, reason } => {
            let (scope, id) = find(session, &arg)?;
            let body = api::JobResume { reason };
            let job: api::Job = scope.client.post(&scope.route(&["jobs", &id, "resume"]), &body)?;
            Ok(Answer::record(&job, SHOW).into())
        }
        JobCommand::Checkpoint(CheckpointCommand::List(arg)) => {
            let (scope, id) = find(session, &arg)?;
            let items: Vec<api::Checkpoint> =
                scope.client.list(&scope.route(&["jobs", &id, "checkpoints"]))?;
            let empty = "no checkpoint is sealed yet";
            Ok(Answer::list("strongroom.job.checkpoint.list/1", &items, CHECKPOINTS, empty).into())
        }
    }
}

/// Brings in what a job file names, and submits it.
fn submit(session: &Session, file: &Path, tenant: &TenantArg) -> Result<(Scope, api::Job), Failure> {
    let (scope, body) = prepare(session, file, tenant)?;
    let job = scope.client.create(&scope.route(&["jobs"]), &body)?;
    Ok((scope, job))
}

/// Checks the job file for early errors (the node checks it again), and brings code and inputs in.
pub(super) fn prepare(
    session: &Session,
    file: &Path,
    tenant: &TenantArg,
) -> Result<(Scope, api::JobRun), Failure> {
    let text = std::fs::read_to_string(file).map_err(CliError::file("read", file))?;
    let shown = file.display().to_string();
    let spec = JobSpec::parse(&shown, &text).map_err(|e| Failure::explain(&e, Exit::Failed))?;
    let tenant = TenantArg { tenant: tenant.tenant.clone().or_else(|| Some(spec.tenant.clone())) };
    let scope = session.scope(&tenant)?;
    let beside = |path: &str| -> PathBuf { file.parent().unwrap_or_else(|| Path::new(".")).join(path) };
    bring_image(session, &scope, &spec, &beside)?;
    let (code, _) = import(session, &scope, What::Code, spec.name.as_str(), &beside(&spec.code))?;
    let mut imports = BTreeMap::new();
    for (channel, input) in &spec.inputs {
        if let InputRef::Path(path) = input {
            let name = format!("{}-{channel}", spec.name);
            let (_, made) = import(session, &scope, What::Dataset, &name, &beside(path))?;
            let api::Imported::Dataset(set) = made else {
                let reason = "the commit did not make a data set".to_owned();
                return Err(CliError::Answer { what: "import.commit".into(), reason }.into());
            };
            imports.insert(channel.to_string(), format!("{}@{}", set.name, set.version));
        }
    }
    Ok((scope, api::JobRun { file: shown, text, code, imports }))
}

/// Imports the image that a job names, unless the node has it. The digest decides: what is at the path now must be what
/// the job file pins.
fn bring_image(
    session: &Session,
    scope: &Scope,
    spec: &JobSpec,
    beside: &dyn Fn(&str) -> PathBuf,
) -> Result<(), Failure> {
    let (form, path, digest) = match &spec.image {
        ImageRef::Host => return Ok(()),
        ImageRef::Directory { path, digest } => (Form::Directory, path, digest),
        ImageRef::Oci { path, digest } => (Form::Oci, path, digest),
    };
    let known: Result<api::Image, Failure> =
        scope.client.get(&scope.route(&["images", &format!("sha256:{digest}")]));
    match known {
        Ok(_) => Ok(()),
        Err(failure) if failure.code == image::NOT_FOUND => {
            image::bring(session, scope, form, &beside(path), &spec.name, *digest).map(drop)
        }
        Err(failure) => Err(failure),
    }
}

/// The job that is meant: an id, or the name of the newest.
fn find(session: &Session, arg: &JobArg) -> Result<(Scope, String), Failure> {
    let scope = session.scope(&arg.tenant)?;
    if arg.job.parse::<base::id::JobId>().is_ok() {
        return Ok((scope, arg.job.clone()));
    }
    let items: Vec<api::Job> = scope.client.list(&scope.route(&["jobs"]))?;
    let newest = items.into_iter().filter(|j| j.name == arg.job).max_by(|a, b| a.submitted.cmp(&b.submitted));
    match newest {
        Some(job) => Ok((scope, job.id)),
        // The node answers for what it does not know, in its own words.
        None => Ok((scope, arg.job.clone())),
    }
}
