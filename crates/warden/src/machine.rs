//! Orders about the node as a whole: what it is made of and how it does, and to start the machine again.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use base::config::{Config, Mode};
use host::program::Program;
use ops::List;
use ops::diagnostics::{
    Diagnostics, Place, PlaceFacts, Program as Which, ProgramFacts, Service as Process, ServiceFacts,
    ServiceState,
};
use ops::warden::{Operation, Response};

use crate::error::WardenError;
use crate::limits::RUNS_MAX;
use crate::releases::{Programs, Releases};
use crate::runs::{Asked, Reply, Runs};
use crate::services::Service;

/// Who does what is ordered.
pub(crate) struct Performers<'a> {
    pub(crate) runs: &'a mut Runs,
    pub(crate) machine: &'a mut Machine,
    pub(crate) services: &'a [Service],
    pub(crate) releases: &'a mut Releases,
}

impl Performers<'_> {
    /// Performs one order, whose receipt is checked. `waiting` is how many outcomes wait for the keeper.
    ///
    /// # Errors
    /// [`WardenError`]; an order that fails leaves everything as it was.
    pub(crate) fn perform(
        &mut self,
        operation: &Operation,
        files: Vec<OwnedFd>,
        asked: Asked,
        waiting: usize,
    ) -> Result<Reply, WardenError> {
        let done = || Ok(Reply::Now(Response::Done {}, Vec::new()));
        match operation {
            Operation::CollectDiagnostics {} => {
                let seen = self.machine.diagnostics(self.services, self.runs, waiting)?;
                Ok(Reply::Now(Response::Diagnostics { seen }, Vec::new()))
            }
            Operation::Reboot { stop_runs } => {
                self.machine.restart(*stop_runs, self.runs.under_way())?;
                done()
            }
            Operation::ListReleases {} => {
                Ok(Reply::Now(Response::Releases { releases: self.releases.told()? }, Vec::new()))
            }
            Operation::StageRelease { signed } => match self.releases.stage(signed, files, asked)? {
                true => Ok(Reply::Later),
                false => done(),
            },
            Operation::ActivateRelease { version, stop_runs } => {
                let ends = *stop_runs || self.runs.under_way() == 0;
                let refused = (!ends).then_some(WardenError::UnderWay(self.runs.under_way()));
                self.releases.activate(*version, refused)?;
                self.machine.leave_for(Next::Programs);
                done()
            }
            Operation::ReturnRelease { stop_runs } => {
                let ends = *stop_runs || self.runs.under_way() == 0;
                let refused = (!ends).then_some(WardenError::UnderWay(self.runs.under_way()));
                self.releases.go_back(refused)?;
                self.machine.leave_for(Next::Programs);
                done()
            }
            Operation::ConfirmRelease { version } => {
                let up = [ServiceState::Running, ServiceState::Down];
                let down = self.services.iter().any(|service| !up.contains(&service.state()));
                self.releases.confirm(*version, down)?;
                done()
            }
            _ => self.runs.perform(operation, asked),
        }
    }
}

/// The node as a whole.
#[derive(Debug)]
pub(crate) struct Machine {
    programs: Vec<ProgramFacts>,
    places: [(Place, PathBuf); 3],
    separated: bool,
    mode: Mode,
    next: Option<Next>,
}

/// What follows when the node has ended in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The machine starts again.
    Machine,
    /// The node starts again from other programs.
    Programs,
}

impl Machine {
    /// Whether a node of this mode may start the machine again: a development node runs on a machine that is
    /// somebody's own.
    pub(crate) fn restarts(mode: Mode) -> bool {
        mode == Mode::Production
    }

    /// `programs` are those that are executed.
    ///
    /// # Errors
    /// The warden's own program cannot be read.
    pub(crate) fn new(config: &Config, programs: &Programs, separated: bool) -> Result<Self, WardenError> {
        let own = ProgramFacts { program: Which::Warden, digest: Program::own()?.digest() };
        let Programs { strongroom, keeper, porter, runtime } = programs;
        let others = [keeper, strongroom, porter, runtime].into_iter().filter_map(|program| {
            Some(ProgramFacts { program: Which::from_name(program.name())?, digest: program.digest() })
        });
        Ok(Self {
            programs: std::iter::once(own).chain(others).collect(),
            places: [
                (Place::State, config.state.clone()),
                (Place::Log, config.log_dir()),
                (Place::Programs, config.programs.clone()),
            ],
            separated,
            mode: config.mode,
            next: None,
        })
    }

    /// What the node is to end for, if it was ordered.
    pub(crate) fn next(&self) -> Option<Next> {
        self.next
    }

    fn leave_for(&mut self, next: Next) {
        self.next = Some(next);
    }

    /// The node ends in order from now on; the machine starts again after that.
    fn restart(&mut self, stop_runs: bool, under_way: usize) -> Result<(), WardenError> {
        if !Self::restarts(self.mode) {
            return Err(WardenError::NotIts("it is for development, on a machine that is somebody's own"));
        }
        if !self.separated {
            return Err(WardenError::NotIts("it was started without root"));
        }
        if under_way > 0 && !stop_runs {
            return Err(WardenError::UnderWay(under_way));
        }
        self.leave_for(Next::Machine);
        Ok(())
    }

    fn diagnostics(
        &self,
        services: &[Service],
        runs: &Runs,
        waiting: usize,
    ) -> Result<Diagnostics, WardenError> {
        let own = ServiceFacts {
            service: Process::Warden,
            state: ServiceState::Running,
            restarts: 0,
            process: host::facts::process(std::process::id()),
        };
        let others = services.iter().filter_map(|service| {
            let pid = service.pid().and_then(|pid| u32::try_from(pid).ok());
            Some(ServiceFacts {
                service: Process::from_name(service.name)?,
                state: service.state(),
                restarts: u32::try_from(service.restarted()).unwrap_or(u32::MAX),
                process: pid.and_then(host::facts::process),
            })
        });
        let places: Result<Vec<PlaceFacts>, _> =
            self.places.iter().map(|(place, path)| host::facts::place(*place, path)).collect();
        Ok(Diagnostics {
            programs: List::clip(self.programs.clone()),
            services: List::clip(std::iter::once(own).chain(others).collect()),
            separated: self.separated,
            runs: List::clip(runs.counts()),
            runs_max: u32::try_from(RUNS_MAX).unwrap_or(u32::MAX),
            workload_processes: runs.processes(),
            mounts: runs.mounts(),
            groups: runs.groups(),
            places: List::clip(places?),
            outcomes_waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(mode: Mode, separated: bool) -> Machine {
        let places = [Place::State, Place::Log, Place::Programs].map(|place| (place, PathBuf::from("/")));
        Machine { programs: Vec::new(), places, separated, mode, next: None }
    }

    #[test]
    fn the_machine_starts_again_for_a_node_in_service_that_has_nothing_under_way() {
        for (mode, separated, stop_runs, under_way, code) in [
            (Mode::Dev, true, true, 0, Some("SR-WRD-0020")),
            (Mode::Production, false, true, 0, Some("SR-WRD-0020")),
            (Mode::Production, true, false, 1, Some("SR-WRD-0021")),
            (Mode::Production, true, true, 1, None),
            (Mode::Production, true, false, 0, None),
        ] {
            let mut machine = machine(mode, separated);
            let refused = machine.restart(stop_runs, under_way).err().map(|e| base::Explain::code(&e));
            assert_eq!(refused, code, "{mode:?} {separated} {stop_runs} {under_way}");
            assert_eq!(machine.next(), code.is_none().then_some(Next::Machine));
        }
    }
}
