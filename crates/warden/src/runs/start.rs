//! `Start`: the workload of a run whose inputs are all frozen.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use base::id::EndpointId;
use host::report::Expected;
use host::sandbox::{Command, Spec};
use host::seccomp::{self, Filter};
use ops::warden::{EnvVar, Image, InputKind, Operation, Profile, Program};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::{
    HostError, InputState, Reply, Response, Run, RunKind, Runs, Settings, WardenError, Work, now_ms, place,
    remove_socket, state, text,
};
use crate::limits::{ENDPOINT_BACKLOG, WALL_TIME_MAX_S};

const NAME: &str = "start";

impl Runs {
    pub(super) fn start(&mut self, operation: &Operation) -> Result<Reply, WardenError> {
        let Operation::Start { run: id, image, program, env, cwd, profile, wall_time_s, egress } = operation
        else {
            return Err(state(NAME, "the order is another"));
        };
        let settings = &self.settings;
        let run = self.runs.get_mut(id).ok_or_else(|| state(NAME, "there is no such run"))?;
        if run.started {
            return Err(state(NAME, "the run was started before"));
        }
        if run.inputs.iter().any(|input| input.state != InputState::Frozen) {
            return Err(state(NAME, "not every input is frozen"));
        }
        let unlimited = *wall_time_s == 0 && matches!(program, Program::Runtime { .. });
        if !unlimited && !(1..=WALL_TIME_MAX_S).contains(wall_time_s) {
            return Err(WardenError::Invalid("the wall time is not between 1 s and 30 days".to_owned()));
        }
        let env = environment(env)?;
        let profile = match profile {
            Profile::Training => seccomp::Profile::Training,
            Profile::Inference => seccomp::Profile::Inference,
        };
        run.check_image(image, program, settings.allow_host_image)?;
        let (work, given) = match program {
            Program::Command { argv } => {
                let argv: Vec<CString> = argv.iter().map(|a| text(a)).collect::<Result<_, _>>()?;
                if argv.is_empty() {
                    return Err(WardenError::Invalid("there is no command".to_owned()));
                }
                let listens = egress.then_some(ops::relay::PORT);
                run.launch(Command::Inside(argv), (None, listens), env, text(cwd)?, profile)?
            }
            Program::Runtime { endpoint, name } => {
                if *egress {
                    return Err(WardenError::Invalid("the runtime asks for no egress".to_owned()));
                }
                if run.kind != RunKind::Serving {
                    return Err(state(NAME, "only a serving run has the runtime"));
                }
                let (path, listener) = listen(settings, *endpoint)?;
                let arguments = vec![
                    text("serve")?,
                    text("--model")?,
                    text("/opt/ml/model")?,
                    text("--name")?,
                    text(name)?,
                ];
                let command = Command::Platform(&settings.runtime, arguments);
                match run.launch(command, (Some(&listener), None), env, text(cwd)?, profile) {
                    Ok(made) => {
                        run.socket = Some(path);
                        made
                    }
                    Err(error) => {
                        remove_socket(&path)?;
                        return Err(error);
                    }
                }
            }
        };
        let deadline_ms = match unlimited {
            true => u64::MAX,
            false => now_ms().saturating_add(u64::from(*wall_time_s).saturating_mul(1000)),
        };
        run.work = Some(Work { deadline_ms, ..work });
        run.started = true;
        // The writing end now belongs to the workload alone, so the porter sees its end.
        run.output = None;
        if let Some(path) = run.socket.clone() {
            self.supersede(*id, &path);
        }
        Ok(Reply::Now(Response::Done {}, given))
    }

    /// Ends the runs that served at this socket before: their control is gone, so nobody else would end them.
    fn supersede(&mut self, id: u128, path: &Path) {
        let served = |other: u128, run: &Run| other != id && run.socket.as_deref() == Some(path);
        let before: Vec<u128> =
            self.runs.iter().filter(|(other, run)| served(**other, run)).map(|(other, _)| *other).collect();
        for other in before {
            if let Some(run) = self.runs.get_mut(&other) {
                // The socket of that name is the new run's by now.
                run.socket = None;
            }
            // What cannot be ended now stays in the table, and ends with the node.
            let _left = self.destroy(other);
        }
    }
}

impl Run {
    /// The image of the order must be the one that the run has.
    fn check_image(&self, image: &Image, program: &Program, host_allowed: bool) -> Result<(), WardenError> {
        let refuse = |why: &str| Err(WardenError::Invalid(why.to_owned()));
        let has_image = self.inputs.iter().any(|input| input.order.kind == InputKind::Image {});
        match (image, program) {
            (Image::Pinned {}, _) if !has_image => refuse("the run has no image"),
            (Image::Host {}, _) if has_image => {
                refuse("the run has an image, the order names the host's programs")
            }
            (Image::Pinned {}, Program::Runtime { .. }) => {
                refuse("the runtime is the platform's own and needs no image")
            }
            (Image::Host {}, Program::Command { .. }) if !host_allowed => {
                refuse("the host's programs are not allowed as an image on this node")
            }
            _ => Ok(()),
        }
    }

    /// Starts the sandbox; the second value is the pipe on which its end will be told, and the socket that listens in it.
    fn launch(
        &self,
        command: Command<'_>,
        (listener, listens): (Option<&OwnedFd>, Option<u16>),
        env: Vec<CString>,
        cwd: CString,
        profile: seccomp::Profile,
    ) -> Result<(Work, Vec<OwnedFd>), WardenError> {
        let Some(output) = &self.output else { return Err(state(NAME, "the run was started before")) };
        let (mut image, mut inputs) = (None, Vec::new());
        for input in &self.inputs {
            match place(&input.order.kind, self.kind)? {
                Some(place) => inputs.push((&input.root, place)),
                None => image = Some(&input.root),
            }
        }
        let spec = Spec {
            ids: self.ids,
            image,
            scratch: self.scratch.as_ref(),
            inputs,
            command,
            env,
            cwd,
            output: output.as_fd(),
            fds: listener.iter().map(|fd| fd.as_fd()).collect(),
            profile,
            cpu_milli: self.limits.cpu_milli,
            memory_bytes: self.limits.memory_bytes,
            scratch_bytes: self.limits.scratch_bytes,
            listens,
        };
        let (reader, exit) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(HostError::at("make a pipe"))?;
        let filter = Filter::new(profile);
        let expected = Expected { ids: self.ids, calls: filter.allowed(), filter: filter.digest() };
        let mut sandbox = host::sandbox::start(&spec, &self.groups.work)?;
        let given = std::iter::once(reader).chain(sandbox.take_listening()).collect();
        Ok((Work { sandbox, expected, exit, deadline_ms: 0, out_of_time: false, frozen: false }, given))
    }
}

/// `NAME=value` for each variable.
fn environment(env: &[EnvVar]) -> Result<Vec<CString>, WardenError> {
    env.iter()
        .map(|variable| {
            if variable.name.is_empty() || variable.name.contains('=') {
                return Err(WardenError::Invalid(format!("`{}` is not a variable's name", variable.name)));
            }
            text(&format!("{}={}", variable.name, variable.value))
        })
        .collect()
}

/// Binds an endpoint's socket where only the gateway can come, and only it can connect.
fn listen(settings: &Settings, endpoint: u128) -> Result<(PathBuf, OwnedFd), WardenError> {
    let name = format!("{}.sock", EndpointId::from_bits(endpoint));
    let path = settings.endpoints.join(&name);
    remove_socket(&path)?;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(HostError::at("make an endpoint's socket"))?;
    // By way of the directory's descriptor: a socket's name may have 107 bytes, a path more.
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let directory = rustix::fs::open(&settings.endpoints, flags, rustix::fs::Mode::empty())
        .map_err(HostError::at("open the directory of endpoints"))?;
    let short = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
    let address = SocketAddrUnix::new(short.as_str()).map_err(HostError::at("name an endpoint's socket"))?;
    rustix::net::bind(&socket, &address).map_err(HostError::at("bind an endpoint's socket"))?;
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::chmodat(&directory, name.as_str(), mode, rustix::fs::AtFlags::empty())
        .map_err(HostError::at("protect an endpoint's socket"))?;
    if settings.single.is_none() {
        let (uid, gid) =
            (rustix::fs::Uid::from_raw(settings.gateway), rustix::fs::Gid::from_raw(settings.gateway));
        rustix::fs::chownat(
            &directory,
            name.as_str(),
            Some(uid),
            Some(gid),
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(HostError::at("give an endpoint's socket to the gateway"))?;
    }
    rustix::net::listen(&socket, ENDPOINT_BACKLOG).map_err(HostError::at("listen for an endpoint"))?;
    Ok((path, socket))
}
