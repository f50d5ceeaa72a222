//! What there is of runs, for diagnostics: counts, never a tenant or an id.

use std::collections::BTreeMap;

use ops::List;
use ops::diagnostics::{Controller, ControllerFacts, GroupFacts, Hierarchy, MountFacts, RunCount, RunState};

use super::{InputState, Run, Runs};

impl Run {
    fn state(&self) -> RunState {
        match &self.work {
            Some(work) if work.frozen => RunState::Frozen,
            Some(_) => RunState::Running,
            None if self.started => RunState::Ended,
            None if self.inputs.iter().all(|input| input.state == InputState::Frozen) => RunState::Ready,
            None => RunState::Filling,
        }
    }
}

/// A count on the wire.
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Runs {
    /// Runs that have not ended.
    pub(crate) fn under_way(&self) -> usize {
        self.runs.values().filter(|run| run.state() != RunState::Ended).count()
    }

    /// Runs by kind and state.
    pub(crate) fn counts(&self) -> Vec<RunCount> {
        let mut counts = BTreeMap::new();
        for run in self.runs.values() {
            let of: &mut u32 = counts.entry((run.kind, run.state())).or_default();
            *of = of.saturating_add(1);
        }
        counts.into_iter().map(|((kind, state), count)| RunCount { kind, state, count }).collect()
    }

    /// Processes of all workloads.
    pub(crate) fn processes(&self) -> u32 {
        count(self.runs.values().map(|run| run.groups.work.processes().len()).sum())
    }

    /// Mounts of all runs.
    pub(crate) fn mounts(&self) -> MountFacts {
        let inputs = || self.runs.values().flat_map(|run| &run.inputs);
        let frozen = inputs().filter(|input| input.state == InputState::Frozen).count();
        MountFacts {
            frozen: count(frozen),
            filling: count(inputs().count().saturating_sub(frozen)),
            input_bytes: inputs().fold(0, |sum, input| sum.saturating_add(input.order.bytes)),
            scratches: count(self.runs.values().filter(|run| run.scratch.is_some()).count()),
        }
    }

    /// Control groups of the node.
    pub(crate) fn groups(&self) -> GroupFacts {
        let layout = &self.settings.layout;
        let controllers = Controller::ALL.iter().map(|controller| ControllerFacts {
            controller: *controller,
            hierarchy: match layout.holder(controller.name()) {
                Some("v1") => Hierarchy::V1,
                Some(_) => Hierarchy::V2,
                None => Hierarchy::Absent,
            },
        });
        GroupFacts {
            controllers: List::clip(controllers.collect()),
            kill: layout.has_v2(),
            groups: count(layout.groups()),
        }
    }
}
