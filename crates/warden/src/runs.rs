//! The table of runs: what each has, in which state it is, and what that allows. Every order ends here.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use base::names::Name;
use host::cgroup::{Layout, Limits as GroupLimits, RunGroups};
use host::program::Program;
use host::report::Expected;
use host::sandbox::{Ids, Sandbox};
use host::{HostError, Process, mounts};
use ops::warden::{
    EndCause, Exit, Feature, Input, InputKind, Limits, Operation, Response, RunKind, SOCKETS_MAX, Signal,
};
use ops::{List, Text};

use crate::clock::now_ms;
use crate::error::WardenError;
use crate::limits::{
    CPU_MILLI_MAX, HASH_BASE_MS, HASH_BYTES_PER_S, MEMORY_MIN, PIDS_MAX, RUNS_MAX, SLOT_PARTS, SLOTS_OF_NODE,
};

mod facts;
mod hashing;
mod porter;
mod start;

/// What does not change while the node is up.
#[derive(Debug)]
pub(crate) struct Settings {
    /// User and group, where all share one (no root).
    pub(crate) single: Option<(u32, u32)>,
    /// First slot of this node.
    pub(crate) first_slot: u32,
    /// Where endpoint sockets are.
    pub(crate) endpoints: PathBuf,
    /// Who may connect to them.
    pub(crate) gateway: u32,
    /// Whether the host's programs may be an image.
    pub(crate) allow_host_image: bool,
    /// Where porters write what goes wrong; none in production.
    pub(crate) porter_log: Option<OwnedFd>,
    /// `strongroom-porter`.
    pub(crate) porter: Program,
    /// `strongroom-runtime`.
    pub(crate) runtime: Program,
    /// Control groups.
    pub(crate) layout: Layout,
}

impl Settings {
    /// First slot of the node whose state is in this directory.
    pub(crate) fn first_slot(state: &std::path::Path) -> u32 {
        let digest = base::sha256(state.as_os_str().as_encoded_bytes());
        let part = digest.as_bytes().iter().take(4).fold(0u32, |n, b| n.wrapping_shl(8) | u32::from(*b));
        (part % SLOT_PARTS).saturating_mul(SLOTS_OF_NODE)
    }
}

/// How far an input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InputState {
    Filling,
    Hashing,
    Frozen,
}

/// One input of a run.
#[derive(Debug)]
struct Mount {
    root: OwnedFd,
    order: Input,
    state: InputState,
}

/// A helper that hashes an input.
#[derive(Debug)]
struct Hash {
    input: u8,
    /// The order.
    name: &'static str,
    process: Process,
    result: OwnedFd,
    deadline_ms: u64,
    /// Who waits for it.
    asked: Asked,
}

/// Who asked, to answer later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The connection.
    pub(crate) connection: u64,
    /// The correlation id of the order.
    pub(crate) correlation: u128,
}

/// A workload that runs.
#[derive(Debug)]
struct Work {
    sandbox: Sandbox,
    expected: Expected,
    exit: OwnedFd,
    deadline_ms: u64,
    out_of_time: bool,
    frozen: bool,
}

/// One run.
#[derive(Debug)]
struct Run {
    tenant: String,
    kind: RunKind,
    limits: Limits,
    ids: Ids,
    slot: u32,
    groups: RunGroups,
    inputs: Vec<Mount>,
    scratch: Option<OwnedFd>,
    porter: Option<Process>,
    /// Write end of the workload's output, until it starts.
    output: Option<OwnedFd>,
    hash: Option<Hash>,
    work: Option<Work>,
    started: bool,
    socket: Option<PathBuf>,
}

/// What came of an order.
#[derive(Debug)]
pub(crate) enum Reply {
    /// This, with descriptors.
    Now(Response, Vec<OwnedFd>),
    /// It will come from [`Runs::event`].
    Later,
}

/// What a descriptor of the table belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// The first process of a sandbox ended.
    Work(u128),
    /// A porter ended.
    Porter(u128),
    /// A hashing helper ended.
    Hash(u128),
}

/// What the table tells the main loop.
#[derive(Debug)]
pub(crate) enum Event {
    /// The answer to an order that took its time.
    Answer(Asked, &'static str, u128, Result<Response, WardenError>),
    /// A workload ended.
    Ended(u128, String, EndCause, u32),
    /// A porter ended; an exit code other than 0 is a failure of it.
    PorterEnded(u128, String, Option<u8>),
}

/// All runs.
#[derive(Debug)]
pub(crate) struct Runs {
    settings: Settings,
    runs: BTreeMap<u128, Run>,
    /// In safe mode nothing of a tenant is started or goes on.
    barred: bool,
}

/// Done, nothing to hand over.
fn done() -> Result<Reply, WardenError> {
    Ok(Reply::Now(Response::Done {}, Vec::new()))
}

/// The network sockets of these processes. More than an answer takes is a refusal: a part would look like the whole.
fn sockets(pids: &[u32]) -> Result<Reply, WardenError> {
    let (mut found, mut hidden, mut left) = (Vec::new(), Vec::new(), host::limits::SOCKET_FDS_MAX);
    for pid in pids {
        match host::sockets::held(*pid, &mut left)? {
            Some(held) => found.extend(held),
            None => hidden.push(*pid),
        }
        if found.len() > SOCKETS_MAX {
            return Err(WardenError::Invalid(format!("the processes hold more than {SOCKETS_MAX} sockets")));
        }
    }
    Ok(Reply::Now(Response::Sockets { sockets: List::clip(found), hidden: List::clip(hidden) }, Vec::new()))
}

/// What starts something of a tenant, or lets it go on.
pub(crate) const fn makes_go(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::StartPorter { .. }
            | Operation::FreezeMount { .. }
            | Operation::Start { .. }
            | Operation::Signal { .. }
            | Operation::Thaw { .. }
    )
}

fn state(operation: &'static str, why: &'static str) -> WardenError {
    WardenError::State { operation, why }
}

fn text(value: &str) -> Result<CString, WardenError> {
    CString::new(value).map_err(|_| WardenError::Invalid("a text contains a zero byte".to_owned()))
}

impl Runs {
    pub(crate) fn new(settings: Settings) -> Self {
        settings.layout.clear();
        Self { settings, runs: BTreeMap::new(), barred: false }
    }

    /// Performs one order, whose receipt is checked.
    ///
    /// # Errors
    /// [`WardenError`]; an order that fails leaves the run as it was.
    pub(crate) fn perform(&mut self, operation: &Operation, asked: Asked) -> Result<Reply, WardenError> {
        if self.barred && makes_go(operation) {
            return Err(state(operation.name(), "the node is in safe mode"));
        }
        match operation {
            Operation::Probe {} => {
                let features = host::probe::probe(&self.settings.layout);
                Ok(Reply::Now(Response::Features { features: List::clip(features) }, Vec::new()))
            }
            Operation::StartPorter { run, tenant, kind, limits, inputs } => {
                self.start_porter(*run, tenant, *kind, limits, inputs)
            }
            Operation::FreezeMount { run, input } => self.freeze_mount(*run, *input, asked),
            Operation::HashMount { run, input } => self.hash_mount(*run, *input, asked),
            Operation::Start { .. } => self.start(operation),
            Operation::Signal { run, signal } => self.signal(*run, *signal),
            Operation::Freeze { run } => self.freeze(*run, true),
            Operation::Thaw { run } => self.freeze(*run, false),
            Operation::Kill { run } => self.kill(*run),
            Operation::Destroy { run } => self.destroy(*run),
            Operation::Report { run } => self.report(*run),
            Operation::Counters { run } => self.counters(*run),
            Operation::Sockets { pids } => sockets(pids),
            Operation::CollectDiagnostics {}
            | Operation::Reboot { .. }
            | Operation::StageRelease { .. }
            | Operation::ActivateRelease { .. }
            | Operation::ReturnRelease { .. }
            | Operation::ConfirmRelease { .. }
            | Operation::ListReleases {} => Err(state(operation.name(), "it is about no run")),
        }
    }

    fn run(&mut self, operation: &'static str, run: u128) -> Result<&mut Run, WardenError> {
        self.runs.get_mut(&run).ok_or_else(|| state(operation, "there is no such run"))
    }

    fn signal(&mut self, run: u128, signal: Signal) -> Result<Reply, WardenError> {
        let run = self.run("signal", run)?;
        let Some(work) = &run.work else { return Err(state("signal", "the workload does not run")) };
        if work.frozen {
            return Err(state("signal", "the workload is frozen"));
        }
        work.sandbox.signal(&run.groups.work, signal)?;
        done()
    }

    fn freeze(&mut self, run: u128, frozen: bool) -> Result<Reply, WardenError> {
        let name = if frozen { "freeze" } else { "thaw" };
        let run = self.run(name, run)?;
        let Some(work) = &mut run.work else { return Err(state(name, "the workload does not run")) };
        run.groups.work.freeze(frozen)?;
        work.frozen = frozen;
        done()
    }

    /// Answers when every process of the workload has ended.
    fn kill(&mut self, run: u128) -> Result<Reply, WardenError> {
        let run = self.run("kill", run)?;
        let Some(work) = &run.work else { return Err(state("kill", "the workload does not run")) };
        work.end(&run.groups)?;
        done()
    }

    fn report(&mut self, run: u128) -> Result<Reply, WardenError> {
        let run = self.run("report", run)?;
        let Some(work) = &run.work else { return Err(state("report", "the workload does not run")) };
        let features: Vec<Feature> = host::report::report(&work.sandbox, &run.groups.work, &work.expected)?;
        Ok(Reply::Now(Response::Features { features: List::clip(features) }, Vec::new()))
    }

    fn counters(&mut self, run: u128) -> Result<Reply, WardenError> {
        let usage = self.run("counters", run)?.groups.work.usage();
        let counters = Response::Counters {
            memory_peak_bytes: usage.memory_peak_bytes,
            cpu_ms: usage.cpu_us / 1000,
            pids: usage.pids,
        };
        Ok(Reply::Now(counters, Vec::new()))
    }

    /// Legal always: a run that is not there is as destroyed as can be.
    fn destroy(&mut self, id: u128) -> Result<Reply, WardenError> {
        let Some(run) = self.runs.get_mut(&id) else { return done() };
        run.end_all()?;
        if run.groups.left() > 0 {
            return Err(state("destroy", "control groups of the run are left"));
        }
        // Only now is its range of users free again.
        self.runs.remove(&id);
        done()
    }

    /// Whether nothing of a tenant may be started or go on from here.
    pub(crate) fn bar(&mut self, barred: bool) {
        self.barred = barred;
    }

    /// Ends every run, and says which ended, with their tenants. What the kernel does not end in time is left.
    pub(crate) fn end_all(&mut self) -> Vec<(u128, String)> {
        let runs: Vec<_> = self.runs.iter().map(|(id, run)| (*id, run.tenant.clone())).collect();
        let ended = runs.into_iter().filter(|(id, _)| match self.destroy(*id) {
            Ok(_) => true,
            Err(error) => {
                crate::say(&format!("a run cannot be ended: {}", base::error::chain(&error)));
                false
            }
        });
        ended.collect()
    }

    /// Ends every run, when the node ends. What is left ends with this process: pipes close, death signals fire.
    pub(crate) fn end(&mut self) {
        self.end_all();
        self.runs.clear();
        self.settings.layout.close();
    }

    /// Descriptors to wait for.
    pub(crate) fn waits(&self) -> Vec<(BorrowedFd<'_>, Token)> {
        let mut all = Vec::new();
        for (id, run) in &self.runs {
            if let Some(work) = &run.work {
                all.push((work.sandbox.pidfd(), Token::Work(*id)));
            }
            if let Some(porter) = &run.porter {
                all.push((porter.pidfd.as_fd(), Token::Porter(*id)));
            }
            if let Some(hash) = &run.hash {
                all.push((hash.process.pidfd.as_fd(), Token::Hash(*id)));
            }
        }
        all
    }

    /// The earliest deadline of any run.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let of = |run: &Run| {
            let work = run.work.as_ref().filter(|w| !w.out_of_time).map(|w| w.deadline_ms);
            work.into_iter().chain(run.hash.as_ref().map(|h| h.deadline_ms)).min()
        };
        self.runs.values().filter_map(of).min()
    }

    /// Ends what is over its time; the end itself shows as an event later.
    pub(crate) fn tick(&mut self) {
        let now = now_ms();
        for run in self.runs.values_mut() {
            if let Some(work) = &mut run.work
                && now >= work.deadline_ms
                && !work.out_of_time
            {
                work.out_of_time = true;
                // If the kill fails the sandbox lives on past its time: tried again on the next tick.
                work.out_of_time = work.sandbox.kill(&run.groups.work).is_ok();
            }
            if let Some(hash) = run.hash.as_ref().filter(|h| now >= h.deadline_ms) {
                let _gone =
                    rustix::process::pidfd_send_signal(&hash.process.pidfd, rustix::process::Signal::KILL);
            }
        }
    }

    /// Takes what a descriptor of [`Runs::waits`] announced.
    pub(crate) fn event(&mut self, token: Token) -> Option<Event> {
        match token {
            Token::Work(id) => self.work_ended(id),
            Token::Porter(id) => {
                let run = self.runs.get_mut(&id)?;
                let porter = run.porter.take()?;
                let code = host::reap(&porter).ok().flatten();
                let tenant = run.tenant.clone();
                if !run.started && run.hash.is_none() {
                    // Nothing can be filled or started in it any more, and whoever ordered it may be gone too: it
                    // gives back its memory and its users. To destroy it once more is legal.
                    let _left = self.destroy(id);
                }
                Some(Event::PorterEnded(id, tenant, code))
            }
            Token::Hash(id) => self.hash_ended(id),
        }
    }

    fn work_ended(&mut self, id: u128) -> Option<Event> {
        let run = self.runs.get_mut(&id)?;
        let (cause, code) = run.finish_work()?;
        Some(Event::Ended(id, run.tenant.clone(), cause, code))
    }
}

impl Work {
    /// Ends every process and waits until all are gone.
    fn end(&self, groups: &RunGroups) -> Result<(), HostError> {
        self.sandbox.kill(&groups.work)?;
        let limit_ms = host::limits::KILL_MS;
        let gone = host::channel::wait_readable(self.sandbox.pidfd(), limit_ms);
        if !gone.map_err(HostError::at("wait for the end of the sandbox"))? {
            return Err(HostError::Unkillable { limit_ms });
        }
        Ok(())
    }
}

impl Run {
    /// Reaps the ended workload and tells how it ended on its pipe.
    fn finish_work(&mut self) -> Option<(EndCause, u32)> {
        let work = self.work.take()?;
        let end = work.sandbox.reap().ok();
        // The pid namespace has ended; this only waits until the groups show it.
        let emptied = self.groups.work.wait_empty();
        let usage = self.groups.work.usage();
        let signal = end.and_then(|e| e.signal);
        let cause = if work.out_of_time {
            EndCause::WallTime
        } else if signal.is_some() && usage.oom_kills > 0 {
            EndCause::OutOfMemory
        } else if signal.is_some() {
            EndCause::Signalled
        } else {
            EndCause::Exited
        };
        let code = end.and_then(|e| e.code.or(e.signal)).map_or(0, u32::from);
        let cpu_us = usage.cpu_us.max(end.map_or(0, |e| e.cpu_us));
        let detail = emptied.err().map(|e| base::error::chain(&e)).unwrap_or_default();
        let exit = Exit {
            cause,
            code,
            memory_peak_bytes: usage.memory_peak_bytes,
            cpu_ms: cpu_us / 1000,
            detail: Text::clip(&detail),
        };
        // Control may have gone; the record is then nobody's. A pipe takes this many bytes at once.
        let _gone = rustix::io::write(&work.exit, &ops::to_bytes(&exit));
        Some((cause, code))
    }

    /// Ends workload, porter and helper, and removes groups, mounts and socket.
    fn end_all(&mut self) -> Result<(), WardenError> {
        if let Some(work) = &self.work {
            work.end(&self.groups)?;
            self.finish_work();
        }
        if let Some(hash) = self.hash.take() {
            host::end(&hash.process);
        }
        if let Some(porter) = self.porter.take() {
            self.groups.porter.kill();
            host::end(&porter);
        }
        self.groups.work.wait_empty()?;
        self.groups.porter.wait_empty()?;
        self.groups.remove();
        self.inputs.clear();
        self.scratch = None;
        self.output = None;
        if let Some(path) = self.socket.take() {
            remove_socket(&path)?;
        }
        Ok(())
    }
}

/// Removes a socket that may be gone already.
fn remove_socket(path: &std::path::Path) -> Result<(), WardenError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(HostError::at("remove an endpoint's socket")(error).into())
        }
        _ => Ok(()),
    }
}

/// Where an input goes below `/opt/ml`; none for the image, which is the root.
fn place(kind: &InputKind, run: RunKind) -> Result<Option<String>, WardenError> {
    Ok(Some(match (kind, run) {
        (InputKind::Image {}, _) => return Ok(None),
        (InputKind::Code {}, _) => "code".to_owned(),
        (InputKind::Config {}, _) => "input/config".to_owned(),
        (InputKind::Channel { name }, _) => {
            let name: Name =
                name.as_str().parse().map_err(|e| WardenError::Invalid(format!("channel: {e}")))?;
            format!("input/data/{name}")
        }
        (InputKind::Model {}, RunKind::Serving) => "model".to_owned(),
        (InputKind::Model {}, RunKind::Training) => {
            return Err(WardenError::Invalid(
                "a training run has no model as input: it writes one".to_owned(),
            ));
        }
    }))
}

/// Limits that a run can have.
fn check(limits: &Limits, inputs: &[Input]) -> Result<(), WardenError> {
    let refuse = |why: &str| Err(WardenError::Invalid(why.to_owned()));
    if limits.memory_bytes < MEMORY_MIN {
        return refuse("the memory limit is below 32MiB");
    }
    if limits.cpu_milli == 0 || limits.cpu_milli > CPU_MILLI_MAX {
        return refuse("the CPU limit is not between 0.001 and 1024 CPUs");
    }
    if limits.pids < 4 || limits.pids > PIDS_MAX {
        return refuse("the limit of processes is not between 4 and 16384");
    }
    let (image, files): (Vec<&Input>, Vec<&Input>) =
        inputs.iter().partition(|input| input.kind == InputKind::Image {});
    if image.iter().any(|image| image.bytes > limits.image_bytes) {
        return refuse("the image is larger than the memory for it");
    }
    let bytes = files.iter().fold(limits.scratch_bytes, |sum, input| sum.saturating_add(input.bytes));
    if bytes > limits.memory_bytes {
        return refuse("inputs and scratch are larger than the memory limit; they are held in memory");
    }
    Ok(())
}
