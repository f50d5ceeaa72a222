//! `StartPorter`: slot, limits, mounts and porter of a run.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

use host::porter::Reach;

use super::{
    GroupLimits, HostError, Ids, Input, InputKind, InputState, Limits, Mount, OwnedFd, Process, RUNS_MAX,
    Reply, Response, Run, RunGroups, RunKind, Runs, SLOTS_OF_NODE, Settings, Text, WardenError, check,
    mounts, place, state,
};

/// Scratch of a training run.
const SCRATCH_MIN: u64 = 1 << 20;

impl Runs {
    pub(super) fn start_porter(
        &mut self,
        id: u128,
        tenant: &Text<63>,
        kind: RunKind,
        limits: &Limits,
        inputs: &[Input],
    ) -> Result<Reply, WardenError> {
        if self.runs.contains_key(&id) {
            return Err(state("start_porter", "the run exists"));
        }
        if self.runs.len() >= RUNS_MAX {
            return Err(state("start_porter", "the node has its most runs"));
        }
        check(limits, inputs)?;
        for input in inputs {
            place(&input.kind, kind)?;
        }
        if inputs.iter().filter(|input| input.kind == InputKind::Image {}).count() > 1 {
            return Err(WardenError::Invalid("a run has one image at most".to_owned()));
        }
        let slot = self.free_slot().ok_or_else(|| state("start_porter", "no range of users is free"))?;
        let ids = match self.settings.single {
            None => Ids::slot(slot)?,
            Some((uid, gid)) => Ids::Single { uid, gid },
        };
        let group_limits = GroupLimits {
            memory_bytes: limits.memory_bytes,
            image_bytes: limits.image_bytes,
            cpu_milli: limits.cpu_milli,
            pids: limits.pids,
        };
        let layout = &self.settings.layout;
        let name = base::id::RunId::from_bits(id).to_string();
        let groups = match self.settings.single {
            None => layout.create(&name, &group_limits)?,
            Some(_) => layout.create_available(&name, &group_limits)?,
        };
        let made = prepare(&self.settings, ids, kind, limits, inputs, &groups);
        let (mut parts, control) = match made {
            Ok(made) => made,
            Err(error) => {
                groups.remove();
                return Err(error);
            }
        };
        let run = Run {
            tenant: tenant.as_str().to_owned(),
            kind,
            limits: limits.clone(),
            ids,
            slot,
            groups,
            inputs: std::mem::take(&mut parts.inputs),
            scratch: parts.scratch,
            porter: Some(parts.porter),
            output: Some(parts.output),
            hash: None,
            work: None,
            started: false,
            socket: None,
        };
        self.runs.insert(id, run);
        Ok(Reply::Now(Response::Done {}, vec![control]))
    }

    /// A slot that no run has; runs give theirs back only in `Destroy`.
    fn free_slot(&self) -> Option<u32> {
        (0..SLOTS_OF_NODE)
            .map(|n| self.settings.first_slot.saturating_add(n))
            .find(|slot| self.runs.values().all(|run| run.slot != *slot))
    }
}

/// Mounts and porter of a run.
struct Parts {
    inputs: Vec<Mount>,
    scratch: Option<OwnedFd>,
    porter: Process,
    output: OwnedFd,
}

/// Makes the mounts and starts the porter; the second value is control's end of its socket.
fn prepare(
    settings: &Settings,
    ids: Ids,
    kind: RunKind,
    limits: &Limits,
    inputs: &[Input],
    groups: &RunGroups,
) -> Result<(Parts, OwnedFd), WardenError> {
    let mut made = Vec::new();
    for order in inputs {
        let make = if order.kind == (InputKind::Image {}) { mounts::image } else { mounts::input };
        let root = make(order.bytes, order.files, ids.inner())?.root;
        made.push(Mount { root, order: order.clone(), state: InputState::Filling });
    }
    let scratch = match kind {
        RunKind::Serving => None,
        RunKind::Training => {
            let bytes = limits.scratch_bytes.max(SCRATCH_MIN);
            Some(mounts::scratch(bytes, ids.owner(), ids.inner())?.root)
        }
    };
    let (control, theirs) = host::channel::pair().map_err(HostError::at("make the porter's socket"))?;
    let (reader, output) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(HostError::at("make the workload's output"))?;
    let porter = start(settings, ids, groups, &made, scratch.as_ref(), &theirs, &reader)?;
    Ok((Parts { inputs: made, scratch, porter, output }, control))
}

/// Starts the porter with the descriptors that `ops::porter` lists.
fn start(
    settings: &Settings,
    ids: Ids,
    groups: &RunGroups,
    inputs: &[Mount],
    scratch: Option<&OwnedFd>,
    control: &OwnedFd,
    output: &OwnedFd,
) -> Result<Process, WardenError> {
    let null = null()?;
    let log = settings.porter_log.as_ref().unwrap_or(&null).as_fd();
    let mut argv = vec!["strongroom-porter".to_owned(), "run".to_owned(), "--inputs".to_owned()];
    argv.push(inputs.len().to_string());
    let mut fds: Vec<(BorrowedFd<'_>, Reach)> = vec![
        (null.as_fd(), Reach::NotADirectory),
        (log, Reach::NotADirectory),
        (log, Reach::NotADirectory),
        (control.as_fd(), Reach::NotADirectory),
    ];
    match scratch {
        Some(scratch) => {
            argv.push("--scratch".to_owned());
            fds.push((scratch.as_fd(), Reach::Write));
        }
        None => fds.push((null.as_fd(), Reach::NotADirectory)),
    }
    fds.push((output.as_fd(), Reach::NotADirectory));
    fds.extend(inputs.iter().map(|mount| (mount.root.as_fd(), Reach::Write)));
    let argv = argv.into_iter().filter_map(|a| CString::new(a).ok()).collect();
    let spec = host::porter::Spec { ids, program: &settings.porter, argv, fds };
    Ok(host::porter::start(&spec, &groups.porter)?)
}

/// `/dev/null`, to read and write.
pub(super) fn null() -> Result<OwnedFd, WardenError> {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    Ok(rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())
        .map_err(HostError::at("open /dev/null"))?)
}
