//! Carries one job to its end: choose a starting point, run a segment, decide what its end means, again.

use std::sync::Arc;
use std::time::Duration;

use base::id::JobId;
use base::names::Name;
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use ops::warden::Operation;
use store::records::{Job, JobState};
use training::contract::{Ending, ending};
use training::policy::{Next, Restarts};
use training::resume::Decision;
use training::{JobSpec, RunConfig};

use super::live::Live;
use super::segment::{End, Segment};
use super::{Accepted, Measured, answers, change, checkpoints, contract, finish};
use crate::clock::{now, random};
use crate::images::Programs;
use crate::node::{Node, correlation, store_fail};
use crate::{Fail, intake};

/// How often a waiting supervisor looks whether it should stop.
const STEP: Duration = Duration::from_millis(100);

pub(super) fn run(node: &Arc<Node>, tenant: &Name, id: JobId, live: &Live) {
    let result = carry(node, tenant, id, live);
    let Err(fail) = result else { return };
    crate::log::line("job", &format!("{id}: {}", fail.line()));
    // A fault of the platform: the job is held, its owner may let it go on.
    let held = load(node, tenant, id).and_then(|job| hold(node, &job, live, &fail.line()));
    if let Err(fail) = held {
        crate::log::line("job", &format!("{id} could not be held: {}", fail.line()));
    }
}

fn load(node: &Node, tenant: &Name, id: JobId) -> Result<Job, Fail> {
    let stored = node.meta.read(|tx| tx.of(tenant).get::<Job>(&id)).map_err(store_fail)?;
    Ok(stored.ok_or_else(|| Fail::not_found("job", &id.to_string()))?.record)
}

fn carry(node: &Arc<Node>, tenant: &Name, id: JobId, live: &Live) -> Result<(), Fail> {
    let mut restarts = Restarts::new();
    loop {
        let job = load(node, tenant, id)?;
        let (accepted, spec) = Accepted::of(&job)?;
        let cor = correlation()?;
        // A model in quarantine is opened for its own measurement alone, also in a job that goes on later.
        if let Some(measured) = &accepted.measures
            && let Err(fail) = intake::may_be_measured(node, &job, measured)
        {
            return fail_job(node, &job, live, &fail.line());
        }
        // A right that was withdrawn since opens nothing any more.
        if let Err(fail) = answers::may_reach(node, &job, &accepted, &spec) {
            return hold(node, &job, live, &fail.line());
        }
        let Some(segment) = prepare(node, &job, &spec, live, cor)? else { return Ok(()) };
        let (job, end) = match segment.run(node, live)? {
            // What it leaves in its model directory is no model: it could be the one that it was to measure.
            (job, End::Done(_)) if let Some(measured) = &accepted.measures => {
                return measured_end(node, &job, measured, live, cor);
            }
            (job, End::Done(result)) => {
                let reason = match finish::finish(node, &job, &spec, *result, live, cor) {
                    Ok(()) => return Ok(()),
                    Err(fail) if fail.status < 500 => fail.line(),
                    Err(fail) => return Err(fail),
                };
                return fail_job(node, &job, live, &reason);
            }
            (job, End::Refused(fail)) => {
                refused(node, &job, &fail, cor)?;
                return fail_job(node, &job, live, &fail.line());
            }
            (job, End::Ended { exit, asked, sealed }) => {
                if sealed {
                    restarts.sealed();
                }
                (job, ending(&exit, asked))
            }
        };
        let jitter = u16::from_le_bytes(random::<2>()?);
        match restarts.ended(&end, now(), jitter) {
            Next::Finish if let Some(measured) = &accepted.measures => {
                return measured_end(node, &job, measured, live, cor);
            }
            // Without a result there is nothing to finish.
            Next::Finish => {
                return fail_job(node, &job, live, "the job ended and left no model in its model directory");
            }
            Next::Rest { reason } => return close(node, &job, live, JobState::Stopped, &reason),
            Next::Hold { reason } => return hold(node, &job, live, &reason),
            Next::Restart { after_ms } => {
                let reason = reason_of(&end);
                interrupted(node, &job, &reason, cor)?;
                live.state(
                    JobState::Resuming,
                    &format!("{reason}; goes on in {}.{} s", after_ms / 1000, after_ms % 1000 / 100),
                );
                change(node, &job, |j| {
                    j.state = JobState::Resuming;
                    j.reason = Some(reason);
                })?;
                if !wait(live, after_ms) {
                    let job = load(node, tenant, id)?;
                    return close(node, &job, live, JobState::Stopped, "stopped on request");
                }
            }
        }
    }
}

/// The end of a job that measured a model in quarantine.
fn measured_end(node: &Node, job: &Job, of: &Measured, live: &Live, cor: u128) -> Result<(), Fail> {
    match finish::measured(node, job, of, live, cor) {
        Err(fail) if fail.status < 500 => fail_job(node, job, live, &fail.line()),
        other => other,
    }
}

fn reason_of(end: &Ending) -> String {
    match end {
        Ending::Failed(reason) | Ending::Final(reason) => reason.clone(),
        Ending::Requeue => "the job asked to be started again".to_owned(),
        Ending::Done => "done".to_owned(),
        Ending::Interrupted => "interrupted".to_owned(),
    }
}

/// Waits; false if the job was asked to stop meanwhile.
fn wait(live: &Live, mut ms: u64) -> bool {
    while ms > 0 {
        if live.is_asked_to_stop() {
            return false;
        }
        std::thread::sleep(STEP);
        ms = ms.saturating_sub(u64::try_from(STEP.as_millis()).unwrap_or(100));
    }
    !live.is_asked_to_stop()
}

/// Chooses where the next segment starts; none if the job may not start.
fn prepare(
    node: &Arc<Node>,
    job: &Job,
    spec: &JobSpec,
    live: &Live,
    cor: u128,
) -> Result<Option<Segment>, Fail> {
    let restarts = u32::try_from(job.segments.len()).unwrap_or(u32::MAX);
    let programs = Programs::of(node, &job.tenant, job.image.as_ref())?;
    let image_env = programs.env();
    let config = RunConfig { job: job.id, spec, resume_step: None, restarts, image_env };
    let pinned = contract(node, &config, &job.inputs, &programs)?;
    let hardware = node.facts.hardware(spec.resources.threads());
    let (decision, chosen) =
        checkpoints::choose(node, &job.tenant, job.id, pinned.clone(), hardware.clone(), cor)?;
    let rejected: Vec<String> = match &decision {
        Decision::Chosen { rejected, .. } | Decision::None { rejected } => rejected
            .iter()
            .map(|r| format!("version {}: {}: {}", r.version, r.check.name(), r.detail))
            .collect(),
        Decision::FromStart => Vec::new(),
    };
    for reason in &rejected {
        live.tell("alarm", format!("checkpoint not taken: {reason}"));
    }
    if let Decision::None { .. } = decision {
        hold(node, job, live, &format!("no checkpoint passes: {}", rejected.join("; ")))?;
        return Ok(None);
    }
    let continuation = match &decision {
        Decision::Chosen { continuation, .. } => Some(continuation.name().to_owned()),
        _ => None,
    };
    Ok(Some(Segment::new(
        job.clone(),
        spec.clone(),
        programs,
        pinned,
        hardware,
        chosen,
        rejected,
        continuation,
        cor,
    )?))
}

/// Logs that a segment ended before the job was done.
fn interrupted(node: &Node, job: &Job, reason: &str, cor: u128) -> Result<(), Fail> {
    let segment = job.segments.last().map_or(0, |s| s.number);
    let event =
        Event::new(EventKind::JobInterrupt, Phase::Observed, Outcome::Success, now().as_millis(), cor)
            .tenant(job.tenant.as_str())
            .asset("job", &job.id.to_string(), Some(job.contract))
            .severity(Severity::Medium)
            .because(reason)
            .detail("segment", &segment.to_string());
    node.keeper.append(event).map(drop)
}

/// Logs that the result of a job was refused when it was inspected.
fn refused(node: &Node, job: &Job, fail: &Fail, cor: u128) -> Result<(), Fail> {
    let event = Event::new(EventKind::ModelInspect, Phase::Outcome, Outcome::Refused, now().as_millis(), cor)
        .tenant(job.tenant.as_str())
        .actor(&format!("job:{}", job.id))
        .asset("job", &job.id.to_string(), Some(job.contract))
        .severity(Severity::High)
        .because(&fail.line())
        .detail("code", &fail.code);
    node.keeper.append(event).map(drop)
}

fn hold(node: &Node, job: &Job, live: &Live, reason: &str) -> Result<(), Fail> {
    let event =
        Event::new(EventKind::JobHold, Phase::Outcome, Outcome::Success, now().as_millis(), correlation()?)
            .tenant(job.tenant.as_str())
            .asset("job", &job.id.to_string(), Some(job.contract))
            .severity(Severity::High)
            .because(reason);
    node.keeper.append(event)?;
    change(node, job, |j| {
        j.state = JobState::Held;
        j.reason = Some(reason.to_owned());
    })?;
    live.state(JobState::Held, reason);
    Ok(())
}

fn fail_job(node: &Node, job: &Job, live: &Live, reason: &str) -> Result<(), Fail> {
    close(node, job, live, JobState::Failed, reason)
}

fn close(node: &Node, job: &Job, live: &Live, state: JobState, reason: &str) -> Result<(), Fail> {
    let outcome = if state == JobState::Stopped { Outcome::Success } else { Outcome::Failure };
    let event = Event::new(EventKind::JobFinish, Phase::Outcome, outcome, now().as_millis(), correlation()?)
        .tenant(job.tenant.as_str())
        .asset("job", &job.id.to_string(), Some(job.contract))
        .because(reason)
        .detail("state", state.as_str());
    node.keeper.append(event)?;
    change(node, job, |j| {
        j.state = state;
        j.reason = Some(reason.to_owned());
        j.ended_ms = Some(now().as_millis());
    })?;
    live.state(state, reason);
    Ok(())
}

/// What ended the jobs that ran when control ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Interruption {
    /// Why, for the log.
    why: &'static str,
    /// The cause of the segment's end.
    cause: &'static str,
    /// What the job waits for, if it does not go on at once.
    waits: Option<&'static str>,
}

impl Interruption {
    pub(super) const RESTART: Self =
        Self { why: "the node was restarted", cause: "node-restart", waits: None };
    pub(super) const SAFE_MODE: Self = Self {
        why: "the node entered safe mode",
        cause: "safe-mode",
        waits: Some("the node is in safe mode; the job goes on after that"),
    };
}

/// A job that ran when control ended: its open segment is closed, and what is left of its sandbox removed.
pub(super) fn interrupted_by(node: &Node, job: &Job, what: Interruption) -> Result<Job, Fail> {
    let cor = correlation()?;
    if let Some(open) = job.segments.last().filter(|s| s.ended_ms.is_none()) {
        let operation = Operation::Destroy { run: open.run.bits() };
        // The warden may have been restarted too; then there is nothing left to destroy.
        if let Err(fail) = node.warden.order(&node.keeper, operation, cor, job.tenant.as_str(), "platform") {
            crate::log::line("job", &format!("{} had no sandbox left: {}", job.id, fail.line()));
        }
        interrupted(node, job, what.why, cor)?;
    }
    change(node, job, |j| {
        if let Some(open) = j.segments.last_mut().filter(|s| s.ended_ms.is_none()) {
            open.ended_ms = Some(now().as_millis());
            open.cause = Some(what.cause.to_owned());
        }
        j.state = JobState::Resuming;
        j.reason = what.waits.map(str::to_owned);
    })
}
