//! Training jobs: accepted, supervised by one thread each, watched, stopped, resumed.

mod answers;
mod checkpoints;
mod finish;
mod live;
mod segment;
mod submit;
mod supervisor;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use api::Page;
use base::Digest;
use base::id::JobId;
use base::names::Name;
use ops::event::{Event, EventKind, Outcome, Phase};
use store::records::{Checkpoint, Input, Job, JobState};
use store::{PageRequest, StoreError};
use training::contract::ChannelDigest;
use training::{Contract, JobSpec, RunConfig};
use vault::KeyScope;

pub(crate) use live::Watch;
pub(crate) use submit::{measure, submit};

use crate::auth::{By, Principal};
use crate::clock::now;
use crate::images::Programs;
use crate::node::{Node, correlation, store_fail, time};
use crate::shares::Places;
use crate::{Fail, egresses};
use answers::Answers;
use live::Live;
use supervisor::Interruption;

/// Jobs of one tenant, ended ones included: each has keys in the keeper, which holds 100,000 scopes for good.
const JOBS_MAX: u64 = 10_000;
/// Jobs supervised at once.
const RUNNING_MAX: usize = 32;
/// Records of jobs that are read at once.
const STEP: usize = 100;
/// Name of the input that holds the code.
const INPUT_CODE: &str = "code";
/// Name of the input that holds the configuration files.
const INPUT_CONFIG: &str = "config";
/// Prefix of the inputs that hold data; no channel can be taken for the two above.
const INPUT_CHANNEL: &str = "channel/";

/// The jobs that run.
#[derive(Debug, Default)]
pub(crate) struct Jobs(Mutex<HashMap<JobId, (Name, Arc<Live>)>>);

impl Jobs {
    fn live(&self, id: JobId) -> Option<Arc<Live>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).map(|(_, live)| Arc::clone(live))
    }
}

/// The job file as it was accepted.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Accepted {
    file: String,
    text: String,
    submitted_by: String,
    /// Who is asked whether it may still use its egresses: who submitted it, or let it go on last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answers: Option<Answers>,
    /// The intake whose model it measures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    measures: Option<Measured>,
}

/// An intake whose model a job measures.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Measured {
    pub(crate) name: Name,
    pub(crate) number: u64,
}

/// As people write it, and as its input says where it comes from.
impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "intake:{}@{}", self.name, self.number)
    }
}

impl Accepted {
    fn of(job: &Job) -> Result<(Self, JobSpec), Fail> {
        let accepted: Self = serde_json::from_value(job.spec.clone())
            .map_err(|e| Fail::internal("the stored job cannot be read", e))?;
        let spec = JobSpec::parse(&accepted.file, &accepted.text).map_err(|e| Fail::explained(500, &e))?;
        let spec = match &accepted.measures {
            Some(_) => spec.measuring().map_err(|e| Fail::explained(500, &e))?,
            None => spec,
        };
        Ok((accepted, spec))
    }
}

/// The contract that holds now: what a resumed run must agree with.
fn contract(
    node: &Node,
    config: &RunConfig<'_>,
    inputs: &[Input],
    programs: &Programs,
) -> Result<Contract, Fail> {
    let part = |channel: &str| {
        inputs
            .iter()
            .find(|i| i.channel == channel)
            .map_or(Digest::from_bytes([0; 32]), |i| i.manifest_digest)
    };
    let data = inputs.iter().filter_map(|i| {
        Some(ChannelDigest {
            channel: i.channel.strip_prefix(INPUT_CHANNEL)?.to_owned(),
            manifest: i.manifest_digest,
            bytes: i.files.iter().map(|f| f.size).fold(0, u64::saturating_add),
            files: u32::try_from(i.files.len()).unwrap_or(u32::MAX),
        })
    });
    Ok(Contract {
        code: part(INPUT_CODE),
        config: training::contract::config_digest(&config.config_files()),
        env: training::contract::environment_digest(&config.environment()),
        command: training::contract::command_digest(&config.spec.command),
        image: programs.name(),
        image_pinned: programs.is_pinned(),
        packages: crate::hostfacts::packages_digest(&programs.packages(node)?),
        data: data.collect(),
    })
}

pub(crate) fn find(node: &Node, tenant: &Name, id: &str) -> Result<Job, Fail> {
    if let Ok(id) = id.parse::<JobId>() {
        let stored = node.meta.read(|tx| tx.of(tenant).get::<Job>(&id)).map_err(store_fail)?;
        return Ok(stored.ok_or_else(|| Fail::not_found("job", &id.to_string()))?.record);
    }
    // By name: the newest of it.
    let name: Name = id.parse().map_err(|_| Fail::not_found("job", id))?;
    let mut newest: Option<Job> = None;
    each(node, tenant, |job| {
        if job.name == name && newest.as_ref().is_none_or(|n| n.id < job.id) {
            newest = Some(job);
        }
        Ok(())
    })?;
    newest.ok_or_else(|| Fail::not_found("job", id))
}

/// Takes the jobs of a tenant one after another: a record holds a whole job file, so few are held at once.
fn each(node: &Node, tenant: &Name, mut take: impl FnMut(Job) -> Result<(), Fail>) -> Result<(), Fail> {
    node.tenant(tenant)?;
    let mut request = PageRequest { limit: STEP, ..PageRequest::default() };
    loop {
        let page = node.meta.read(|tx| tx.of(tenant).list::<Job>(&request)).map_err(store_fail)?;
        page.items.into_iter().try_for_each(|stored| take(stored.record))?;
        match page.next {
            Some(next) => request.after = Some(next),
            None => return Ok(()),
        }
    }
}

pub(crate) fn list(node: &Node, tenant: &Name, page: &PageRequest) -> Result<Page<api::Job>, Fail> {
    node.tenant(tenant)?;
    let mut items = Vec::new();
    let mut request = page.clone();
    // A record holds a whole job file, so few are held at once.
    loop {
        request.limit = page.limit.saturating_sub(items.len()).min(STEP);
        let found = node.meta.read(|tx| tx.of(tenant).list::<Job>(&request)).map_err(store_fail)?;
        for stored in &found.items {
            items.push(wire(node, &stored.record)?);
        }
        if found.next.is_none() || items.len() >= page.limit {
            return Ok(Page { items, next: found.next });
        }
        request.after = found.next;
    }
}

/// Who submitted a job, as in events.
pub(crate) fn submitted_by(node: &Node, tenant: &Name, id: &JobId) -> Result<String, Fail> {
    let stored = node.meta.read(|tx| tx.of(tenant).get::<Job>(id)).map_err(store_fail)?;
    let job = stored.ok_or_else(|| Fail::not_found("job", &id.to_string()))?.record;
    Ok(Accepted::of(&job)?.0.submitted_by)
}

pub(crate) fn show(node: &Arc<Node>, tenant: &Name, id: &str) -> Result<api::Job, Fail> {
    wire(node, &find(node, tenant, id)?)
}

pub(crate) fn watch(node: &Arc<Node>, tenant: &Name, id: &str) -> Result<Watch, Fail> {
    let job = find(node, tenant, id)?;
    let rate_and_left = match node.jobs.live(job.id) {
        Some(live) => return Ok(Watch::live(live)),
        None => job.reason.clone().unwrap_or_default(),
    };
    Ok(Watch::ended(job.state.as_str(), &rate_and_left))
}

/// Every stored checkpoint of a job.
fn stored_checkpoints(node: &Node, tenant: &Name, job: JobId) -> Result<Vec<Checkpoint>, Fail> {
    let mut found = Vec::new();
    let mut request = PageRequest::default();
    loop {
        let page = node
            .meta
            .read(|tx| tx.of(tenant).list_under::<Checkpoint, _, _>(&job, &request))
            .map_err(store_fail)?;
        found.extend(page.items.into_iter().map(|s| s.record));
        match page.next {
            Some(next) => request.after = Some(next),
            None => return Ok(found),
        }
    }
}

pub(crate) fn checkpoints(
    node: &Node,
    tenant: &Name,
    id: &str,
    page: &PageRequest,
) -> Result<Page<api::Checkpoint>, Fail> {
    let job = find(node, tenant, id)?;
    let scope = KeyScope::Job(tenant.clone(), job.id);
    let page = node
        .meta
        .read(|tx| tx.of(tenant).list_under::<Checkpoint, _, _>(&job.id, page))
        .map_err(store_fail)?;
    let items = page
        .items
        .into_iter()
        .map(|stored| stored.record)
        .map(|c| api::Checkpoint {
            version: c.version,
            step: c.step,
            state: c.state.as_str().to_owned(),
            digest: c.manifest_digest.hex(),
            bytes: c.bytes,
            sealed: time(c.sealed_ms),
            rule: c.rule,
            objects: c
                .files
                .iter()
                .filter_map(|f| node.object(&scope, &f.digest).ok().map(|o| o.name.to_string()))
                .collect(),
        })
        .collect();
    Ok(Page { items, next: page.next })
}

pub(crate) fn stop(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    id: &str,
) -> Result<api::Job, Fail> {
    let job = find(node, tenant, id)?;
    let event =
        Event::new(EventKind::JobStop, Phase::Intent, Outcome::Unknown, now().as_millis(), correlation()?)
            .tenant(tenant.as_str())
            .by(principal)
            .asset("job", &job.id.to_string(), Some(job.contract));
    node.keeper.audited(event, || match node.jobs.live(job.id) {
        Some(live) => {
            live.ask_to_stop();
            Ok(())
        }
        None => {
            let _slot = Slot::take(node, tenant, job.id, job.state, Why::Change)?;
            let job = find(node, tenant, &job.id.to_string())?;
            if job.state.is_final() {
                return Err(Fail::conflict(format!("job {} has ended: {}", job.id, job.state.as_str())));
            }
            change(node, &job, |j| {
                j.state = JobState::Stopped;
                j.reason = Some("stopped on request".to_owned());
                j.ended_ms = Some(now().as_millis());
            })
            .map(drop)
        }
    })?;
    show(node, tenant, &job.id.to_string())
}

pub(crate) fn resume(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    id: &str,
    reason: &str,
) -> Result<api::Job, Fail> {
    let job = find(node, tenant, id)?;
    let reason = crate::fail::reason(reason)?;
    let event =
        Event::new(EventKind::JobResume, Phase::Intent, Outcome::Unknown, now().as_millis(), correlation()?)
            .tenant(tenant.as_str())
            .by(principal)
            .asset("job", &job.id.to_string(), Some(job.contract))
            .because(reason);
    node.keeper.audited(event, || {
        let slot = Slot::take(node, tenant, job.id, JobState::Resuming, Why::Run)?;
        let job = find(node, tenant, &job.id.to_string())?;
        if !matches!(job.state, JobState::Held | JobState::Stopped | JobState::Failed) {
            return Err(Fail::conflict(format!(
                "job {} is {}, so there is nothing to resume",
                job.id,
                job.state.as_str()
            )));
        }
        let spec = answered(node, principal, &job)?;
        let job = change(node, &job, |j| {
            j.spec = spec;
            j.state = JobState::Resuming;
            j.reason = None;
            j.ended_ms = None;
        })?;
        supervise(slot, &job)
    })?;
    show(node, tenant, &job.id.to_string())
}

/// Who lets a job go on answers for what it reaches from then on, so they have to have the right to it themselves.
fn answered(node: &Node, principal: &Principal, job: &Job) -> Result<serde_json::Value, Fail> {
    let (accepted, spec) = Accepted::of(job)?;
    if spec.egress.is_empty() {
        return Ok(job.spec.clone());
    }
    egresses::may_use(node, principal, &job.tenant, &spec.egress)?;
    let accepted = Accepted { answers: Some(Answers::of(node, principal)?), ..accepted };
    serde_json::to_value(&accepted).map_err(|e| Fail::internal("the job cannot be stored", e))
}

/// Changes the stored record of a job.
fn change(node: &Node, job: &Job, mutate: impl FnOnce(&mut Job)) -> Result<Job, Fail> {
    node.meta
        .transaction(|tx| {
            let rows = tx.of(&job.tenant);
            let Some(mut stored) = rows.get::<Job>(&job.id)? else { return Ok(None) };
            mutate(&mut stored.record);
            rows.update(&stored)?;
            Ok::<_, StoreError>(Some(stored.record))
        })
        .map_err(store_fail)?
        .ok_or_else(|| Fail::not_found("job", &job.id.to_string()))
}

/// The right to change a job and to run it: one for each job at a time, so that no two supervisors follow one chain.
/// It is taken before the record says that the job runs, and given back on drop.
struct Slot {
    node: Arc<Node>,
    id: JobId,
    live: Arc<Live>,
}

/// What a slot is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// To run, now that somebody asks for it.
    Run,
    /// To go on running after a restart: it had its place before.
    GoOn,
    /// To change its record only.
    Change,
}

impl Slot {
    /// Refused while somebody has it, or where a job that is to run has no place.
    fn take(node: &Arc<Node>, tenant: &Name, id: JobId, state: JobState, why: Why) -> Result<Self, Fail> {
        let live = Arc::new(Live::new(state));
        let mut running = node.jobs.0.lock().unwrap_or_else(PoisonError::into_inner);
        if running.contains_key(&id) {
            return Err(Fail::conflict(format!("job {id} runs, or is being changed")));
        }
        let share = match why {
            Why::Run => usize::from(node.config.tenants.running_jobs),
            Why::GoOn | Why::Change => usize::MAX,
        };
        let most = if why == Why::Change { usize::MAX } else { RUNNING_MAX };
        let own = running.values().filter(|(of, _)| of == tenant).count();
        Places { what: "running jobs", key: "running_jobs", most, share }.room(own, running.len())?;
        running.insert(id, (tenant.clone(), Arc::clone(&live)));
        Ok(Self { node: Arc::clone(node), id, live })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.node.jobs.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        self.live.end();
    }
}

/// Starts the thread that carries a job to its end.
fn supervise(slot: Slot, job: &Job) -> Result<(), Fail> {
    let tenant = job.tenant.clone();
    std::thread::Builder::new()
        .name(format!("job-{}", job.name))
        .spawn(move || supervisor::run(&slot.node, &tenant, slot.id, &slot.live))
        .map(drop)
        .map_err(|e| Fail::internal("no thread for the job", e))
}

fn rests(job: &Job) -> bool {
    job.state.is_final() || job.state == JobState::Held
}

/// In safe mode: writes down that the jobs that ran when control ended do not run.
pub(crate) fn rest(node: &Arc<Node>) {
    let jobs = match node.every::<Job>(|job| !rests(job)) {
        Ok(jobs) => jobs,
        Err(fail) => return crate::log::line("job", &fail.line()),
    };
    for job in jobs {
        if let Err(fail) = supervisor::interrupted_by(node, &job, Interruption::SAFE_MODE) {
            crate::log::line(
                "job",
                &format!("{} is not written down as interrupted: {}", job.id, fail.line()),
            );
        }
    }
}

/// Goes on with the jobs that ran when control ended.
pub(crate) fn restore(node: &Arc<Node>) {
    let jobs = match node.every::<Job>(|job| !rests(job)) {
        Ok(jobs) => jobs,
        Err(fail) => return crate::log::line("job", &fail.line()),
    };
    for job in jobs {
        let gone_on = || {
            let slot = Slot::take(node, &job.tenant, job.id, job.state, Why::GoOn)?;
            // It may have been stopped since it was listed.
            let job = find(node, &job.tenant, &job.id.to_string())?;
            if rests(&job) {
                return Ok(());
            }
            supervise(slot, &supervisor::interrupted_by(node, &job, Interruption::RESTART)?)
        };
        if let Err(fail) = gone_on() {
            crate::log::line("job", &format!("{} does not go on: {}", job.id, fail.line()));
        }
    }
}

fn wire(node: &Node, job: &Job) -> Result<api::Job, Fail> {
    let live = node.jobs.live(job.id).map(|l| l.view());
    let sealed = node
        .meta
        .read(|tx| tx.of(&job.tenant).last_under::<Checkpoint, _, _>(&job.id))
        .map_err(store_fail)?
        .map_or(0, |s| s.record.version);
    let segments = job.segments.iter().map(|s| api::Segment {
        number: s.number,
        started: time(s.started_ms),
        ended: s.ended_ms.map(time),
        cause: s.cause.clone(),
        resumed_from: s.resumed_from,
        rejected: s.rejected.clone(),
    });
    let (step, metrics, rate, tail) = match live {
        Some(view) => (view.step, view.metrics, view.rate, view.tail),
        None => (job.progress.step, job.progress.metrics.clone(), None, job.output_tail.clone()),
    };
    Ok(api::Job {
        id: job.id.to_string(),
        tenant: job.tenant.to_string(),
        name: job.name.to_string(),
        state: job.state.as_str().to_owned(),
        reason: job.reason.clone(),
        image: job.image.map_or_else(|| "host".to_owned(), |digest| format!("sha256:{digest}")),
        submitted: time(job.submitted_ms),
        ended: job.ended_ms.map(time),
        step,
        metrics,
        rate,
        restarts: u32::try_from(job.segments.len()).unwrap_or(u32::MAX).saturating_sub(1),
        segments: segments.collect(),
        checkpoints: sealed,
        contract: job.contract.hex(),
        model: job.model.as_ref().map(|(name, version)| format!("{name}@{version}")),
        isolation: job.isolation.iter().map(crate::status::feature).collect(),
        output_tail: tail,
    })
}
