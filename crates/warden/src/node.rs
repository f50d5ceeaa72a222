//! A node from start to end: directories, programs, processes, then one loop over everything that can happen.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use base::config::{Config, Mode};
use host::cgroup::Layout;
use host::program::Program;
use link::Listener;
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::clock::{now_ms, wall_ms};
use crate::error::WardenError;
use crate::keeper::KeeperLine;
use crate::limits::{KEEPER_START_MS, LEAVE_MS, TICK_MS};
use crate::machine::{Machine, Next, Performers};
use crate::receipts::Receipts;
use crate::releases::{Programs, Releases};
use crate::runs::{Event as RunEvent, Runs, Settings, Token};
use crate::server::{Server, Speaker};
use crate::services::{After, Service, open_log};
use crate::{layout, say};

/// SIGINT and SIGTERM (signal(7)).
const ENDING: [i32; 2] = [2, 15];
/// Index of each process in [`Node::services`].
const KEEPER: usize = 0;
const CONTROL: usize = 1;
const GATEWAY: usize = 2;
const RELAY: usize = 3;

/// Everything of a node.
struct Node<'l> {
    /// Keeper, control, gateway, relay.
    services: [Service; 4],
    programs: [Program; 2],
    keeper: KeeperLine,
    receipts: Receipts,
    runs: Runs,
    machine: Machine,
    server: Server,
    lasting: &'l mut Lasting,
    /// When the line to the keeper is tried again.
    line_due_ms: u64,
    /// Whether what runs is what runs in safe mode.
    safe: bool,
    /// When the window of break-glass that was last told of began.
    window_ms: Option<u64>,
}

/// Exit status by which the keeper says that the log was tampered with.
const KEEPER_TAMPER: u8 = 4;
/// The keeper in messages.
const KEEPER_NAME: &str = "the keeper (see `logs/keeper.log` in the state directory)";

/// What a descriptor in the loop is.
#[derive(Debug, Clone, Copy)]
enum Source {
    Signal,
    Listener,
    Keeper,
    Connection(u64),
    Service(usize),
    Run(Token),
    Copy,
}

/// Runs a node until it is told to end; again from other programs where a release is activated.
///
/// # Errors
/// It cannot start, or the keeper does not stay up.
pub(crate) fn run(config_path: &Path, config: &Config) -> Result<(), WardenError> {
    let signals = host::signal_fd(&ENDING)?;
    let root = rustix::process::geteuid().is_root();
    layout::make(config, root)?;
    let single = if root {
        host::keep_needed_capabilities(Machine::restarts(config.mode))?;
        None
    } else {
        say("not root: one user for everything, limits only where delegated; separation is not enforced");
        Some(host::enter_user_namespace()?)
    };
    let mut lasting = Lasting { signals, releases: Releases::open(config, root)? };
    loop {
        let ended = once(config_path, config, single, &mut lasting);
        match (ended, lasting.releases.pending()) {
            (Ok(Some(Next::Programs)), _) => say("the node starts again from the programs of a release"),
            (Ok(Some(Next::Machine)), _) => {
                say("the node has ended; the machine starts again");
                return Ok(host::restart_machine()?);
            }
            // The keeper found its log altered: no other program mends that.
            (Err(error), Some(version)) if !matches!(error, WardenError::Tamper) => {
                let why = base::error::chain(&error);
                say(&format!("release {version} did not come up and is taken back: {why}"));
                lasting.releases.take_back(version, &why)?;
            }
            (ended, _) => return ended.map(drop),
        }
    }
}

/// What outlives the processes of a node.
struct Lasting {
    signals: OwnedFd,
    releases: Releases,
}

/// One node from start to end: what it ended for.
fn once(
    config_path: &Path,
    config: &Config,
    single: Option<(u32, u32)>,
    lasting: &mut Lasting,
) -> Result<Option<Next>, WardenError> {
    let mut node = start(config_path, config, single, lasting)?;
    let ended = node.bring_up().and_then(|()| node.serve());
    node.end();
    ended.map(|()| node.machine.next())
}

fn start<'l>(
    config_path: &Path,
    config: &Config,
    single: Option<(u32, u32)>,
    lasting: &'l mut Lasting,
) -> Result<Node<'l>, WardenError> {
    let programs = lasting.releases.programs()?;
    let machine = Machine::new(config, &programs, single.is_none())?;
    let Programs { strongroom, keeper, porter, runtime } = programs;
    let programs = [keeper, strongroom];
    for program in programs.iter().chain([&porter, &runtime]) {
        say(&format!("program {} sha256:{}", program.name(), program.digest()));
    }
    let subtree = format!("strongroom-{}", base::sha256(config.state.as_os_str().as_encoded_bytes()).short());
    let porter_log = match config.mode {
        Mode::Dev => Some(open_log(&config.state.join("logs").join("porter.log"))?),
        Mode::Production => None,
    };
    let settings = Settings {
        single,
        first_slot: Settings::first_slot(&config.state),
        endpoints: config.endpoints_dir(),
        gateway: config.users.gateway,
        allow_host_image: config.mode == Mode::Dev || config.jobs.allow_host_image,
        porter_log,
        porter,
        runtime,
        layout: Layout::detect(&subtree)?,
    };
    let listener = listen(config, single.is_none())?;
    let file = config_path
        .canonicalize()
        .ok()
        .and_then(|p| p.to_str().map(str::to_owned))
        .ok_or_else(|| WardenError::Config("the path of the configuration is not UTF-8".to_owned()))?;
    let (users, separated) = (&config.users, single.is_none());
    let service = |name, words: &[&str], user| Service::new(name, words, user, separated, config);
    Ok(Node {
        services: [
            service("keeper", &["strongroom-keeper", "--config", &file], users.keeper)?,
            service("control", &["strongroom", "serve", "--config", &file], users.control)?,
            service("gateway", &["strongroom", "gateway", "--config", &file], users.gateway)?,
            service("relay", &["strongroom", "relay", "--config", &file], users.relay)?,
        ],
        programs,
        keeper: KeeperLine::new(config.keeper_socket()),
        receipts: Receipts::default(),
        runs: Runs::new(settings),
        machine,
        server: Server::new(listener),
        lasting,
        line_due_ms: 0,
        safe: false,
        window_ms: None,
    })
}

/// The warden's socket: control's own, so that nobody else can even connect.
fn listen(config: &Config, separated: bool) -> Result<Listener, WardenError> {
    let path = config.warden_socket();
    let listener = Listener::bind(&path, 0o600)?;
    if separated {
        let (uid, gid) = (
            rustix::fs::Uid::from_raw(config.users.control),
            rustix::fs::Gid::from_raw(config.users.control),
        );
        rustix::fs::chown(&path, Some(uid), Some(gid))
            .map_err(host::HostError::at("give the warden's socket to control"))?;
    }
    Ok(listener)
}

impl Node<'_> {
    /// Keeper first, since nothing is done without it; then control, gateway and relay.
    fn bring_up(&mut self) -> Result<(), WardenError> {
        let [keeper, ..] = &self.programs;
        let pid = self.services[KEEPER].start(keeper)?;
        say(&format!("keeper started as process {pid}"));
        let deadline = now_ms().saturating_add(KEEPER_START_MS);
        loop {
            match self.meet_keeper() {
                Ok(()) => break,
                Err(error) if now_ms() > deadline => return Err(error),
                Err(_) => {}
            }
            if let Some(fd) = self.services[KEEPER].fd()
                && host::channel::wait_readable(fd, 20)?
            {
                let (code, _) = self.services[KEEPER].ended();
                if code == Some(KEEPER_TAMPER) {
                    return Err(WardenError::Tamper);
                }
                return Err(WardenError::Service(KEEPER_NAME));
            }
        }
        if self.follow_mode() {
            return Ok(());
        }
        for index in CONTROL..self.services.len() {
            self.start_service(index);
        }
        Ok(())
    }

    /// Does what the mode asks for where the keeper says another than before; that is all that the warden takes from
    /// anybody about it. What tenants run ends in safe mode, and nothing answers inference; control starts anew either
    /// way, so that nothing of what it held outlives the change.
    fn follow_mode(&mut self) -> bool {
        let Some(state) = self.keeper.state() else { return false };
        let (safe, window) = (state.safe.clone(), state.window.clone());
        if window.as_ref().map(|w| w.since_ms) != self.window_ms {
            self.window_ms = window.as_ref().map(|w| w.since_ms);
            say(&match window {
                Some(w) => format!("ALARM: break-glass was opened by {}: {}", w.holder, w.reason),
                None => "break-glass is closed".to_owned(),
            });
        }
        if safe.is_some() == self.safe {
            if self.safe {
                // What could not be ended at once.
                self.end_runs();
            }
            return false;
        }
        self.safe = safe.is_some();
        self.runs.bar(self.safe);
        // Told first, so that it does not take the end of runs for a failure of theirs.
        self.services[CONTROL].renew();
        // Whatever was open to the network ends, whoever opened it.
        self.services[RELAY].renew();
        match safe {
            Some(safe) => {
                say(&format!("ALARM: the node is in safe mode, by {}: {}", safe.by, safe.reason));
                self.services[GATEWAY].end();
                self.end_runs();
            }
            None => {
                say("the node left safe mode");
                self.services[GATEWAY].renew();
            }
        }
        true
    }

    /// Ends what tenants run, and says so.
    fn end_runs(&mut self) {
        for (run, tenant) in self.runs.end_all() {
            let event = sandbox_end(run, &tenant).detail("cause", "safe-mode");
            self.keeper.tell(event);
        }
    }

    /// Connects to the keeper and learns its receipt key.
    fn meet_keeper(&mut self) -> Result<(), WardenError> {
        let service = &self.services[KEEPER];
        let Some(pid) = service.pid() else { return Err(WardenError::Service(KEEPER_NAME)) };
        let identity = self.keeper.connect(pid, service.user())?;
        self.receipts.keeper(identity);
        Ok(())
    }

    fn start_service(&mut self, index: usize) {
        let [keeper, strongroom] = &self.programs;
        let program = if index == KEEPER { keeper } else { strongroom };
        let Some(service) = self.services.get_mut(index) else { return };
        let name = service.name;
        match service.start(program) {
            Ok(pid) => {
                say(&format!("{name} started as process {pid}"));
                let event = component(EventKind::ComponentStart, name, Outcome::Success)
                    .detail("program_sha256", &program.digest().hex());
                self.keeper.tell(event);
            }
            Err(error) => {
                say(&format!("{name} cannot be started: {}", base::error::chain(&error)));
                let _later = service.back_off();
            }
        }
    }

    /// The loop.
    fn serve(&mut self) -> Result<(), WardenError> {
        loop {
            self.runs.tick();
            self.tend_services();
            self.tend_line();
            self.follow_mode();
            self.tend_releases()?;
            for source in self.wait()? {
                match source {
                    Source::Signal => {
                        say("told to end");
                        return Ok(());
                    }
                    Source::Listener => self.accept(),
                    Source::Keeper => self.keeper.readable(),
                    Source::Connection(id) => self.order(id),
                    Source::Service(index) => self.service_ended(index)?,
                    Source::Run(token) => self.run_event(token),
                    Source::Copy => self.copied(),
                }
                if let Some(next) = self.machine.next() {
                    say(&format!("ordered to end for {next:?}"));
                    return Ok(());
                }
            }
        }
    }

    /// Waits for the next things to happen.
    fn wait(&self) -> Result<Vec<Source>, WardenError> {
        let mut all: Vec<(BorrowedFd<'_>, Source)> =
            vec![(self.lasting.signals.as_fd(), Source::Signal), (self.server.listener(), Source::Listener)];
        all.extend(self.keeper.fd().map(|fd| (fd, Source::Keeper)));
        all.extend(self.lasting.releases.copying().map(|fd| (fd, Source::Copy)));
        all.extend(self.server.waits().into_iter().map(|(fd, id)| (fd, Source::Connection(id))));
        for (index, service) in self.services.iter().enumerate() {
            all.extend(service.fd().map(|fd| (fd, Source::Service(index))));
        }
        all.extend(self.runs.waits().into_iter().map(|(fd, token)| (fd, Source::Run(token))));
        let now = now_ms();
        let due = self.services.iter().filter_map(Service::due_ms);
        let due = due.chain(self.runs.deadline_ms()).chain(self.keeper.due_ms()).min();
        let sleep = due.map_or(TICK_MS, |at| at.saturating_sub(now).min(TICK_MS));
        let timeout = Timespec {
            tv_sec: i64::try_from(sleep / 1000).unwrap_or(1),
            tv_nsec: i64::try_from(sleep % 1000).unwrap_or(0).saturating_mul(1_000_000),
        };
        let mut set: Vec<PollFd<'_>> =
            all.iter().map(|(fd, _)| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        match poll(&mut set, Some(&timeout)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(host::HostError::at("wait")(error).into()),
        }
        let ready = set.iter().zip(&all).filter(|(fd, _)| !fd.revents().is_empty());
        Ok(ready.map(|(_, (_, source))| *source).collect())
    }

    fn accept(&mut self) {
        let control = &self.services[CONTROL];
        let speaker = Speaker { uid: control.user(), pid: control.pid() };
        if let Err(why) = self.server.accept(speaker) {
            say(&why);
            let event = Event::new(EventKind::AccessRefuse, Phase::Observed, Outcome::Refused, wall_ms(), 0)
                .asset("node", "warden", None)
                .severity(Severity::High)
                .because(&why);
            self.keeper.tell(event);
        }
    }

    fn order(&mut self, id: u64) {
        let performers = Performers {
            runs: &mut self.runs,
            machine: &mut self.machine,
            services: &self.services,
            releases: &mut self.lasting.releases,
        };
        if let Some(line) = self.server.readable(id, &mut self.receipts, performers, &mut self.keeper) {
            say(&line);
        }
    }

    /// The child that copied a release has ended.
    fn copied(&mut self) {
        if let Some((asked, result)) = self.lasting.releases.copied()
            && let Some(line) = self.server.answer(asked, "stage_release", None, result, &mut self.keeper)
        {
            say(&line);
        }
    }

    /// Tells what was taken back.
    ///
    /// # Errors
    /// The release that is being activated does not come up.
    fn tend_releases(&mut self) -> Result<(), WardenError> {
        self.lasting.releases.tick();
        if let Some((version, why)) = self.lasting.releases.take_returned() {
            let event = Event::new(EventKind::ReleaseReturn, Phase::Observed, Outcome::Failure, wall_ms(), 0)
                .asset("release", &version.to_string(), None)
                .severity(Severity::High)
                .because(&why);
            self.keeper.tell(event);
        }
        let Some(due) = self.lasting.releases.due_ms() else { return Ok(()) };
        // What is being activated has to start and to stay up from the first time on.
        if let Some(down) = self.services.iter().find(|service| service.restarted() > 0) {
            return Err(WardenError::Service(down.name));
        }
        match now_ms() < due {
            true => Ok(()),
            false => Err(WardenError::Service("the release that is being activated")),
        }
    }

    fn run_event(&mut self, token: Token) {
        match self.runs.event(token) {
            None => {}
            Some(RunEvent::Answer(asked, name, run, result)) => {
                if let Some(line) = self.server.answer(asked, name, Some(run), result, &mut self.keeper) {
                    say(&line);
                }
            }
            Some(RunEvent::Ended(run, tenant, cause, code)) => {
                let id = base::id::RunId::from_bits(run).to_string();
                say(&format!("{id} of {tenant} ended: {cause} {code}"));
                let event = sandbox_end(run, &tenant).detail("cause", cause.name());
                self.keeper.tell(event.detail("code", &code.to_string()));
            }
            Some(RunEvent::PorterEnded(run, tenant, code)) => {
                let id = base::id::RunId::from_bits(run).to_string();
                say(&format!("porter of {id} of {tenant} ended with {code:?}"));
            }
        }
    }

    fn service_ended(&mut self, index: usize) -> Result<(), WardenError> {
        let Some(service) = self.services.get_mut(index) else { return Ok(()) };
        let name = service.name;
        let (code, after) = service.ended();
        say(&format!("{name} ended with {code:?}: {after:?}"));
        if index == KEEPER {
            self.keeper.drop_line();
        }
        let (outcome, severity) = match after {
            After::Meant => (Outcome::Success, Severity::Informational),
            After::Again(_) | After::GivenUp => (Outcome::Failure, Severity::High),
        };
        let event = component(EventKind::ComponentStop, name, outcome)
            .severity(severity)
            .detail("exit_code", &code.map_or_else(|| "signal".to_owned(), |c| c.to_string()));
        self.keeper.tell(event);
        if index == KEEPER && code == Some(KEEPER_TAMPER) {
            return Err(WardenError::Tamper);
        }
        if index == KEEPER && after == After::GivenUp {
            return Err(WardenError::Service(KEEPER_NAME));
        }
        Ok(())
    }

    /// Starts again what is due.
    fn tend_services(&mut self) {
        let now = now_ms();
        for index in 0..self.services.len() {
            if let Some(service) = self.services.get_mut(index) {
                service.tend();
            }
            if self.services.get(index).and_then(Service::due_ms).is_some_and(|at| now >= at) {
                self.start_service(index);
            }
        }
    }

    /// Keeps the line to the keeper up and moving.
    fn tend_line(&mut self) {
        if !self.keeper.is_up() && now_ms() >= self.line_due_ms {
            self.line_due_ms = now_ms().saturating_add(TICK_MS);
            if self.meet_keeper().is_ok() {
                say("the keeper is up");
            }
        }
        self.keeper.flush();
    }

    /// Tenants first, then relay, gateway and control, the keeper last so that all is logged.
    fn end(&mut self) {
        // Told first, so that it does not take the end of the node for a failure of what it serves.
        self.services[CONTROL].leave(false);
        self.runs.end();
        for index in (0..self.services.len()).rev() {
            if index == KEEPER {
                self.keeper.drain();
            }
            let Some(service) = self.services.get_mut(index) else { continue };
            service.leave(false);
            if !service.wait(LEAVE_MS) {
                service.leave(true);
                service.wait(LEAVE_MS);
            }
        }
    }
}

fn sandbox_end(run: u128, tenant: &str) -> Event {
    Event::new(EventKind::SandboxEnd, Phase::Observed, Outcome::Success, wall_ms(), run).tenant(tenant).asset(
        "run",
        &base::id::RunId::from_bits(run).to_string(),
        None,
    )
}

fn component(kind: EventKind, name: &str, outcome: Outcome) -> Event {
    Event::new(kind, Phase::Observed, outcome, wall_ms(), 0).asset("node", name, None)
}
