//! One uninterrupted run of a job: its sandbox is made, filled, started, stood by and removed.

use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use base::id::RunId;
use base::names::Name;
use ops::List;
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use ops::porter::{Request, TicketKind, Told};
use ops::warden::{EnvVar, Exit, Image, InputKind, Limits, Operation, Profile, Program, RunKind, Signal};
use store::records::{Checkpoint, Job, JobState, Segment as Record};
use training::contract::DIR_CODE;
use training::manifest::ResumeNote;
use training::monitor::Monitor;
use training::policy::overdue_s;
use training::{Contract, JobSpec, RunConfig};
use vault::KeyScope;

use super::checkpoints::{ChainContext, CommitNote, Ticket, Tickets};
use super::live::Live;
use super::{INPUT_CHANNEL, INPUT_CODE, INPUT_CONFIG, change};
use crate::clock::{now, random};
use crate::images::Programs;
use crate::node::Node;
use crate::run::{FileRef, InputPlan, Purpose, Run, RunEvent, porter_refused, text};
use crate::{Fail, egresses, revocations};

/// How often a segment looks at its clock.
const TICK: Duration = Duration::from_millis(100);
/// Files that one checkpoint may have.
const CHECKPOINT_FILES: u32 = 256;
/// Files told to be no checkpoint that are logged one by one, in one segment.
const MALFORMED_LOGGED: u64 = 64;
/// Longest wait for the porter to collect a result, in milliseconds: scratch at 100 MB/s and some.
const COLLECT_MS: u64 = 10 * 60 * 1000;

/// How a segment ended.
#[derive(Debug)]
pub(super) enum End {
    /// The job is done and left a result.
    Done(Box<Ticket>),
    /// The job is done and its result may not be loaded: nothing of it is kept.
    Refused(Fail),
    /// Anything else.
    Ended {
        /// How the workload ended.
        exit: Exit,
        /// Whether it was asked to.
        asked: bool,
        /// Whether it sealed a checkpoint.
        sealed: bool,
    },
}

/// A segment that is about to run.
#[derive(Debug)]
pub(super) struct Segment {
    job: Job,
    spec: JobSpec,
    programs: Programs,
    from: Option<Checkpoint>,
    rejected: Vec<String>,
    continuation: Option<String>,
    chain: ChainContext,
    correlation: u128,
    /// Files told to be no checkpoint.
    malformed: u64,
}

impl Segment {
    #[expect(clippy::too_many_arguments, reason = "each is one part of the decision that starts a segment")]
    pub(super) fn new(
        job: Job,
        spec: JobSpec,
        programs: Programs,
        contract: Contract,
        hardware: Vec<(String, String)>,
        from: Option<Checkpoint>,
        rejected: Vec<String>,
        continuation: Option<String>,
        correlation: u128,
    ) -> Result<Self, Fail> {
        let restarts = u32::try_from(job.segments.len()).unwrap_or(u32::MAX);
        let cause = job.segments.last().and_then(|s| s.cause.clone()).unwrap_or_default();
        let chain = ChainContext {
            tenant: job.tenant.clone(),
            job: job.id,
            run: RunId::new(now(), random::<10>()?),
            contract,
            hardware,
            resume: ResumeNote { from_version: from.as_ref().map(|c| c.version), restarts, cause },
            keep: spec.checkpoints.keep,
            correlation,
            monitor: Monitor::new(),
            present: None,
        };
        Ok(Self { job, spec, programs, from, rejected, continuation, chain, correlation, malformed: 0 })
    }

    /// Runs it. The record of the job is as the segment leaves it.
    pub(super) fn run(mut self, node: &Arc<Node>, live: &Live) -> Result<(Job, End), Fail> {
        let run_id = self.chain.run;
        let started = now();
        let record = Record {
            number: u32::try_from(self.job.segments.len()).unwrap_or(u32::MAX).saturating_add(1),
            run: run_id,
            started_ms: started.as_millis(),
            ended_ms: None,
            cause: None,
            exit_code: None,
            resumed_from: self.from.as_ref().map(|c| c.version),
            continuation: self.continuation.clone(),
            rejected: self.rejected.clone(),
        };
        let state = if self.from.is_some() { JobState::Resuming } else { JobState::Starting };
        // Before anything exists, so that a restart knows what to remove.
        self.job = change(node, &self.job, |j| {
            j.segments.push(record);
            j.state = state;
            j.reason = None;
        })?;
        live.state(state, &self.headline());
        let event = self.start_event();
        let mut run = node.keeper.audited(event, || self.start(node))?;
        // A workload that has ended already cannot be looked at; its end is waiting below.
        let report = run.report().unwrap_or_else(|fail| {
            live.tell("state", format!("its sandbox was not seen: {}", fail.line()));
            Vec::new()
        });
        self.job = change(node, &self.job, |j| {
            j.state = JobState::Running;
            j.isolation = report
                .iter()
                .map(|f| (f.name.to_string(), f.state.to_string(), f.detail.to_string()))
                .collect();
        })?;
        live.state(JobState::Running, "the sandbox runs");
        let end = self.stand_by(node, live, &mut run, started);
        let destroyed = run.destroy();
        let end = end?;
        destroyed?;
        let (cause, code) = match &end {
            End::Done(_) | End::Refused(_) => ("completed".to_owned(), Some(0)),
            End::Ended { exit, .. } => (exit.cause.name().to_owned(), i32::try_from(exit.code).ok()),
        };
        let view = live.view();
        self.job = change(node, &self.job, |j| {
            if let Some(open) = j.segments.last_mut() {
                open.ended_ms = Some(now().as_millis());
                open.cause = Some(cause);
                open.exit_code = code;
            }
            j.attempt = j.attempt.saturating_add(1);
            j.progress.step = view.step;
            j.progress.metrics = view.metrics;
            j.progress.at_ms = Some(now().as_millis());
            j.output_tail = view.tail;
        })?;
        Ok((self.job, end))
    }

    fn headline(&self) -> String {
        match &self.from {
            Some(c) => format!(
                "goes on from checkpoint {} (step {}), {}",
                c.version,
                c.step.map_or_else(|| "unknown".to_owned(), |s| s.to_string()),
                self.continuation.as_deref().unwrap_or("unknown")
            ),
            None => "starts at the beginning".to_owned(),
        }
    }

    fn start_event(&self) -> Event {
        let kind = if self.from.is_some() { EventKind::JobResume } else { EventKind::JobStart };
        let mut event =
            Event::new(kind, Phase::Intent, Outcome::Unknown, now().as_millis(), self.correlation)
                .tenant(self.job.tenant.as_str())
                .asset("job", &self.job.id.to_string(), Some(self.job.contract))
                .detail("run", &self.chain.run.to_string())
                .detail("segment", &self.job.segments.len().to_string())
                .because(&self.headline());
        if !self.spec.egress.is_empty() {
            let names: Vec<&str> = self.spec.egress.iter().map(Name::as_str).collect();
            event = event.detail("egress", &names.join(" "));
        }
        if let Some(from) = &self.from {
            event = event
                .detail("checkpoint", &from.version.to_string())
                .detail("checkpoint_digest", &from.manifest_digest.hex());
        }
        for (reason, number) in self.rejected.iter().zip(1..=8) {
            event = event.detail(&format!("not_taken_{number}"), reason);
        }
        event
    }

    fn start(&self, node: &Arc<Node>) -> Result<Run, Fail> {
        revocations::may_read(node, &self.job.tenant, &self.job.inputs)?;
        let scope = KeyScope::Tenant(self.job.tenant.clone());
        let plans = self
            .job
            .inputs
            .iter()
            .map(|input| {
                let file = |f: &store::records::File| FileRef {
                    path: f.path.clone(),
                    size: f.size,
                    digest: f.digest,
                    scope: scope.clone(),
                };
                let kind = input_kind(&input.channel)?;
                Ok(InputPlan::files(kind, input.files.iter().map(file).collect()))
            })
            .chain(self.programs.input().map(Ok))
            .collect::<Result<Vec<_>, Fail>>()?;
        let purpose = Purpose {
            tenant: self.job.tenant.to_string(),
            actor: format!("job:{}", self.job.id),
            what: format!("run {}", self.chain.run),
            correlation: self.correlation,
        };
        let mut run =
            Run::start_porter(node, self.chain.run, RunKind::Training, self.limits(), &plans, purpose)?;
        for (index, plan) in plans.iter().enumerate() {
            run.fill(index, plan)?;
        }
        let job_scope = KeyScope::Job(self.job.tenant.clone(), self.job.id);
        if let Some(from) = &self.from {
            let files: Vec<FileRef> = from
                .files
                .iter()
                .map(|f| FileRef {
                    path: f.path.clone(),
                    size: f.size,
                    digest: f.digest,
                    scope: job_scope.clone(),
                })
                .collect();
            run.restore(&files)?;
            let event = Event::new(
                EventKind::CheckpointRestore,
                Phase::Outcome,
                Outcome::Success,
                now().as_millis(),
                self.correlation,
            )
            .tenant(self.job.tenant.as_str())
            .asset(
                "checkpoint",
                &format!("{}/{}", self.job.id, from.version),
                Some(from.manifest_digest),
            );
            node.keeper.append(event)?;
        }
        let watch = Request::Watch {
            scope: text(&job_scope.to_string())?,
            max_bytes: self.spec.resources.scratch.bytes(),
            max_files: CHECKPOINT_FILES,
        };
        run.ask(&watch, None)?;
        self.launch(node, &mut run)?;
        Ok(run)
    }

    /// Starts the workload, and opens to it what its file names.
    fn launch(&self, node: &Node, run: &mut Run) -> Result<(), Fail> {
        // As they stand now: one that was deleted since the job was submitted is a reason not to start.
        let opened = egresses::of_run(node, &self.job.tenant, &self.spec.egress)?;
        let listening = run.start(self.operation()?)?;
        if let Some(socket) = listening {
            run.open(opened.clone(), socket)?;
            // Of one that was deleted in between nothing was open yet that its end could have ended.
            if egresses::of_run(node, &self.job.tenant, &self.spec.egress)? != opened {
                return Err(Fail::conflict("an egress of this job was made anew while it started"));
            }
        }
        Ok(())
    }

    fn limits(&self) -> Limits {
        let resources = &self.spec.resources;
        Limits {
            memory_bytes: resources.memory.bytes(),
            image_bytes: self.programs.memory_bytes(),
            cpu_milli: resources.cpu_milli,
            pids: resources.pids,
            scratch_bytes: resources.scratch.bytes(),
        }
    }

    fn operation(&self) -> Result<Operation, Fail> {
        let config = RunConfig {
            job: self.job.id,
            spec: &self.spec,
            resume_step: self.from.as_ref().and_then(|c| c.step),
            restarts: u32::try_from(self.job.segments.len()).unwrap_or(u32::MAX).saturating_sub(1),
            image_env: self.programs.env(),
        };
        let env = config
            .environment()
            .iter()
            .map(|(name, value)| Ok(EnvVar { name: text(name)?, value: text(value)? }))
            .collect::<Result<Vec<_>, Fail>>()?;
        let argv = self.spec.command.iter().map(|word| text(word)).collect::<Result<Vec<_>, Fail>>()?;
        let used_ms: u64 =
            self.job.segments.iter().filter_map(|s| Some(s.ended_ms?.saturating_sub(s.started_ms))).sum();
        let left_s = u64::from(self.spec.resources.wall_time_s).saturating_sub(used_ms / 1000).max(1);
        let limit = |e| Fail::invalid(format!("the job: {e}"));
        Ok(Operation::Start {
            run: self.chain.run.bits(),
            image: if self.programs.is_pinned() { Image::Pinned {} } else { Image::Host {} },
            program: Program::Command { argv: List::new(argv).map_err(limit)? },
            env: List::new(env).map_err(limit)?,
            cwd: text(DIR_CODE)?,
            profile: Profile::Training,
            wall_time_s: u32::try_from(left_s).unwrap_or(u32::MAX),
            egress: !self.spec.egress.is_empty(),
        })
    }

    /// Stands by the workload until it has ended, and collects its result if it is done.
    fn stand_by(
        &mut self,
        node: &Arc<Node>,
        live: &Live,
        run: &mut Run,
        started: Timestamp,
    ) -> Result<End, Fail> {
        let mut tickets = Tickets::default();
        let mut watch = StopWatch { last_seal: started, alarmed: false, asked_at: None, killed: false };
        let mut sealed = false;
        let exit = loop {
            match run.next(TICK) {
                Some(RunEvent::Exited(exit)) => break exit,
                Some(RunEvent::PorterGone) => {
                    run.order(Operation::Kill { run: self.chain.run.bits() })?;
                    return Err(Fail::unavailable("the porter of the job ended", "its socket was closed"));
                }
                Some(RunEvent::Told(told)) => {
                    let version = self.told(node, live, run, &mut tickets, told)?;
                    if version.is_some() {
                        watch.last_seal = now();
                        watch.alarmed = false;
                        sealed = true;
                    }
                }
                None => {}
            }
            self.tick(node, live, run, &mut watch)?;
        };
        let asked = watch.asked_at.is_some();
        let done = training::contract::ending(&exit, asked) == training::contract::Ending::Done;
        if !done {
            return Ok(End::Ended { exit, asked, sealed });
        }
        live.state(JobState::Finishing, "the job is done; its model is inspected and sealed");
        match self.collect(node, live, run, &mut tickets) {
            Ok(Some(ticket)) => Ok(End::Done(Box::new(ticket))),
            Ok(None) => Ok(End::Ended { exit, asked, sealed }),
            // The job's doing, not the platform's.
            Err(fail) if fail.status < 500 => Ok(End::Refused(fail)),
            Err(fail) => Err(fail),
        }
    }

    /// Asks for the result and waits for it; what the porter still has to tell comes on the way.
    fn collect(
        &mut self,
        node: &Arc<Node>,
        live: &Live,
        run: &mut Run,
        tickets: &mut Tickets,
    ) -> Result<Option<Ticket>, Fail> {
        let request = Request::Collect {
            scope: text(self.job.tenant.as_str())?,
            max_bytes: self.spec.resources.scratch.bytes(),
        };
        run.tell(&request, None)?;
        let since = now();
        let mut result = None;
        loop {
            match run.next(TICK) {
                Some(RunEvent::Told(Told::Committed { ticket, kind: TicketKind::Model, files, .. })) => {
                    result = Some(tickets.take(ticket, files)?);
                    run.tell(&Request::Accepted { ticket }, None)?;
                }
                Some(RunEvent::Told(Told::Done { .. })) => return Ok(result),
                Some(RunEvent::Told(Told::Refused { code, detail })) => {
                    return Err(porter_refused(&code, &format!("the job's result was refused: {detail}")));
                }
                Some(RunEvent::Told(told)) => {
                    self.told(node, live, run, tickets, told)?;
                }
                Some(RunEvent::PorterGone) => {
                    return Err(Fail::unavailable("the porter of the job ended", "its socket was closed"));
                }
                Some(RunEvent::Exited(_)) | None => {}
            }
            if now().millis_since(since) > COLLECT_MS {
                return Err(Fail::unavailable(
                    "the result was not collected in time",
                    format!("{COLLECT_MS} ms"),
                ));
            }
        }
    }

    /// What the porter tells while the workload runs; the version if a checkpoint was sealed.
    fn told(
        &mut self,
        node: &Arc<Node>,
        live: &Live,
        run: &Run,
        tickets: &mut Tickets,
        told: Told,
    ) -> Result<Option<u64>, Fail> {
        live.told(&told);
        if tickets.told(node, run, &told)? {
            return Ok(None);
        }
        match told {
            Told::Committed { ticket, kind: TicketKind::Checkpoint, rule, step, files, committed_ms } => {
                let note = CommitNote { rule, step, committed: Timestamp::from_millis(committed_ms) };
                let sealed = tickets.take(ticket, files);
                match sealed.and_then(|ticket| self.chain.commit(node, ticket, note)) {
                    Ok(checkpoint) => {
                        run.tell(&Request::Accepted { ticket }, None)?;
                        let step = checkpoint.step.map_or_else(|| "unknown".to_owned(), |s| s.to_string());
                        live.checkpoint(
                            checkpoint.version,
                            format!(
                                "checkpoint {} sealed at step {step} ({})",
                                checkpoint.version,
                                checkpoint.state.as_str()
                            ),
                        );
                        return Ok(Some(checkpoint.version));
                    }
                    Err(fail) => {
                        let reason = fail.line();
                        run.tell(&Request::Rejected { ticket, reason: ops::Text::clip(&reason) }, None)?;
                        live.tell("alarm", format!("a checkpoint was not sealed: {reason}"));
                    }
                }
            }
            Told::Malformed { path, reason } => {
                live.tell("alarm", format!("`{path}` is no checkpoint: {reason}"));
                self.malformed = self.malformed.saturating_add(1);
                // A job can write such files without end; the log takes the first, and then a sign now and then.
                if self.malformed > MALFORMED_LOGGED && !self.malformed.is_power_of_two() {
                    return Ok(None);
                }
                let event = Event::new(
                    EventKind::CheckpointMalformed,
                    Phase::Observed,
                    Outcome::Refused,
                    now().as_millis(),
                    self.correlation,
                )
                .tenant(self.job.tenant.as_str())
                .actor(&format!("job:{}", self.job.id))
                .asset("checkpoint", &self.job.id.to_string(), None)
                .severity(Severity::Medium)
                .detail("number", &self.malformed.to_string())
                .because(&format!("{path}: {reason}"));
                node.keeper.append(event)?;
            }
            Told::Failure { reason } => live.tell("output", format!("the job says: {reason}")),
            _ => {}
        }
        Ok(None)
    }

    /// What happens with time: an overdue checkpoint, a request to stop, the end of its grace.
    fn tick(&self, node: &Node, live: &Live, run: &Run, watch: &mut StopWatch) -> Result<(), Fail> {
        let time = now();
        if !watch.alarmed
            && let Some(over) = overdue_s(self.spec.checkpoints, watch.last_seal, time)
        {
            watch.alarmed = true;
            let reason =
                format!("no checkpoint was sealed for {over} s more than the job's `max_lost_seconds`");
            live.tell("alarm", reason.clone());
            let event = Event::new(
                EventKind::CheckpointOverdue,
                Phase::Observed,
                Outcome::Failure,
                time.as_millis(),
                self.correlation,
            )
            .tenant(self.job.tenant.as_str())
            .asset("job", &self.job.id.to_string(), Some(self.job.contract))
            .severity(Severity::High)
            .because(&reason);
            node.keeper.append(event)?;
        }
        if watch.asked_at.is_none() && live.is_asked_to_stop() {
            watch.asked_at = Some(time);
            live.tell("state", "asked to stop: it may write a last checkpoint".to_owned());
            let signal = Operation::Signal { run: self.chain.run.bits(), signal: Signal::Term };
            if let Err(fail) = run.order(signal) {
                // It has ended by itself meanwhile; if not, it is killed when its grace is over.
                live.tell("state", format!("it could not be asked: {}", fail.line()));
            }
        }
        let grace = u64::from(training::limits::GRACE_DEFAULT_S).saturating_mul(1000);
        if !watch.killed && watch.asked_at.is_some_and(|at| time.millis_since(at) > grace) {
            watch.killed = true;
            run.order(Operation::Kill { run: self.chain.run.bits() })?;
        }
        Ok(())
    }
}

/// Times of a running segment.
#[derive(Debug)]
struct StopWatch {
    last_seal: Timestamp,
    alarmed: bool,
    asked_at: Option<Timestamp>,
    killed: bool,
}

fn input_kind(channel: &str) -> Result<InputKind, Fail> {
    Ok(match channel {
        INPUT_CODE => InputKind::Code {},
        INPUT_CONFIG => InputKind::Config {},
        other => InputKind::Channel { name: text(other.strip_prefix(INPUT_CHANNEL).unwrap_or(other))? },
    })
}
