//! `strongroom dev`: a node on this machine, from a configuration that this command writes.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base::config::{Config, Egress, Mode, Models, Sessions, Tenants};
use rustix::process::{Pid, Signal, geteuid, getuid, kill_process};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::serve::read_config;
use crate::args::DevArgs;
use crate::client::Client;
use crate::clock::{Stopwatch, now};
use crate::context::{Context, forget_context, write_context, write_whole};
use crate::error::{CliError, Failure};
use crate::exit::Exit;
use crate::output::{Answer, View, print};
use crate::progress::say;
use crate::session::Session;

/// How long a node may take to come up.
const START: Duration = Duration::from_secs(20);
/// How long it may take to go down before it is killed: jobs get their grace from the warden.
const STOP: Duration = Duration::from_secs(30);
/// Users of the processes where root starts the node: above those that Debian gives out, below those of sandboxes.
const USERS: [u32; 4] = [890_001, 890_002, 890_003, 890_004];
/// Lines of each log shown when a start fails.
const TAIL_LINES: usize = 8;
/// Where the management plane of a development node listens: the kernel chooses the port.
const MANAGEMENT: &str = "127.0.0.1:0";
/// Sections of the configuration that are the operator's to set.
const KEPT: [&str; 7] = ["access", "egress", "intake", "login", "models", "sessions", "tenants"];
/// Programs that must lie beside this one.
const PROGRAMS: [&str; 4] =
    ["strongroom-warden", "strongroom-keeper", "strongroom-porter", "strongroom-runtime"];

/// Runs a node until Ctrl-C; a second one ends it at once.
pub(crate) fn run(session: &Session, args: &DevArgs) -> Result<Exit, Failure> {
    let watch = Stopwatch::start();
    let programs = programs()?;
    let (state, throwaway) = state_directory(session)?;
    let outcome = node(session, args, &programs, &state, watch);
    forget_context(&state);
    if throwaway {
        match std::fs::remove_dir_all(&state) {
            Ok(()) => say(&format!("{} is removed", state.display())),
            Err(error) => say(&format!("{} could not be removed: {error}", state.display())),
        }
    }
    outcome
}

fn programs() -> Result<PathBuf, Failure> {
    let this = std::env::current_exe().map_err(CliError::file("find", Path::new("this program")))?;
    let directory = this.parent().unwrap_or_else(|| Path::new("/")).to_owned();
    for name in PROGRAMS {
        let path = directory.join(name);
        if !path.is_file() {
            return Err(CliError::NoProgram(path).into());
        }
    }
    Ok(directory)
}

/// The named directory, or a new throw-away one. Others may pass through it, to the gateway's certificate, and list
/// nothing.
fn state_directory(session: &Session) -> Result<(PathBuf, bool), Failure> {
    if let Some(path) = session.state_flag() {
        std::fs::DirBuilder::new()
            .mode(0o711)
            .recursive(true)
            .create(path)
            .map_err(CliError::file("create", path))?;
        let full = std::fs::canonicalize(path).map_err(CliError::file("read", path))?;
        if !is_private(&full) {
            let reason = "its owner must be you or root, and nobody else may write to it".to_owned();
            return Err(CliError::Content { path: full, reason }.into());
        }
        return Ok((full, false));
    }
    let stamp = base::id::crockford(u128::from(now().as_millis()) << 32 | u128::from(std::process::id()));
    let short: String = stamp.chars().rev().take(16).collect();
    let path = std::env::temp_dir().join(format!("strongroom-dev-{short}"));
    std::fs::DirBuilder::new().mode(0o711).create(&path).map_err(CliError::file("create", &path))?;
    Ok((path, true))
}

/// Writes the configuration: the same that a node in service would have, but for its mode. Limits that somebody set
/// there stay.
fn configure(state: &Path, programs: &Path, args: &DevArgs) -> Result<(PathBuf, Config), Failure> {
    let listen = args.listen;
    let file = state.join("strongroom.toml");
    let mut kept = first_settings(args.two_people);
    if file.exists() {
        if read_config(&file)?.mode != Mode::Dev {
            let reason = "it is of a node in service; `strongroom dev` does not touch it".to_owned();
            return Err(CliError::Content { path: file, reason }.into());
        }
        kept = keep(&file, args.two_people)?;
    }
    let own = getuid().as_raw();
    let [keeper, control, gateway, relay] = if geteuid().is_root() { USERS } else { [own; 4] };
    let text = format!(
        "# Written by `strongroom dev`, again at each start; what you set below {names} stays.\nversion = 1\nmode = \"dev\"\nnode = \"dev\"\n\
         state = {state}\nprograms = {programs}\n\n[users]\nkeeper = {keeper}\ncontrol = {control}\n\
         gateway = {gateway}\nrelay = {relay}\noperator = {own}\n\n[gateway]\nlisten = \"{listen}\"\n\n\
         [management]\nlisten = \"{MANAGEMENT}\"\n\n[jobs]\nallow_host_image = true\n\n{kept}",
        names = KEPT.map(|name| format!("[{name}]")).join(", "),
        state = quoted(state)?,
        programs = quoted(programs)?,
    );
    let config = Config::parse(&file.display().to_string(), &text)?;
    write_whole(&file, text.as_bytes(), 0o644)?;
    Ok((file, config))
}

/// What is in those sections before anybody set anything: what holds anyway, to be seen and changed.
fn first_settings(two_people: bool) -> String {
    let (tenants, egress, sessions) = (Tenants::default(), Egress::default(), Sessions::default());
    let models = Models::default();
    format!(
        "[access]\ntwo_people = {two_people}\n\n[egress]\nper_principal = \"{}\"\ntotal = \"{}\"\n\
         certificate_seconds = {}\n\n\
         [models]\nrecheck_seconds = {}\n\n\
         [sessions]\nidle_seconds = {}\nabsolute_seconds = {}\nfresh_seconds = {}\n\n\
         [tenants]\nrunning_jobs = {}\nendpoints = {}\n",
        egress.per_principal,
        egress.total,
        egress.certificate_seconds,
        models.recheck_seconds,
        sessions.idle_seconds,
        sessions.absolute_seconds,
        sessions.fresh_seconds,
        tenants.running_jobs,
        tenants.endpoints,
    )
}

/// What somebody set in sections that are theirs, and what was asked for now.
fn keep(file: &Path, two_people: bool) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file).map_err(CliError::file("read", file))?;
    let reason =
        |e: &dyn std::fmt::Display| CliError::Content { path: file.to_owned(), reason: e.to_string() };
    let all: toml::Table = toml::from_str(&text).map_err(|e| reason(&e))?;
    let mut kept: toml::Table = all.into_iter().filter(|(name, _)| KEPT.contains(&name.as_str())).collect();
    if two_people {
        let access = kept.entry("access").or_insert_with(|| toml::Table::new().into());
        if let Some(access) = access.as_table_mut() {
            access.insert("two_people".to_owned(), true.into());
        }
    }
    Ok(toml::to_string(&kept).map_err(|e| reason(&e))?)
}

/// A path as a TOML string.
fn quoted(path: &Path) -> Result<String, CliError> {
    let reason = || "its path is not UTF-8".to_owned();
    let text = path.to_str().ok_or_else(|| CliError::Content { path: path.to_owned(), reason: reason() })?;
    Ok(toml::Value::String(text.to_owned()).to_string())
}

fn node(
    session: &Session,
    args: &DevArgs,
    programs: &Path,
    state: &Path,
    watch: Stopwatch,
) -> Result<Exit, Failure> {
    let (file, config) = configure(state, programs, args)?;
    if Client::new(state, None)?.get_within::<api::Status>("/status", 2).is_ok() {
        return Err(CliError::Start(format!("a node runs in `{}` already", state.display())).into());
    }
    // The last run's address would look like this run's.
    drop(std::fs::remove_file(config.listen_file()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::file("start", Path::new("the signal runtime")))?;
    // Its own process group: Ctrl-C reaches this program alone, which then ends the node in order.
    let mut warden = Command::new(programs.join("strongroom-warden"))
        .arg("--config")
        .arg(&file)
        .arg("--die-with-parent")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(CliError::file("start", &programs.join("strongroom-warden")))?;
    let outcome = runtime.block_on(supervise(session, args, &config, &mut warden, watch));
    let stopped = runtime.block_on(stop(&mut warden));
    outcome.and(stopped)
}

/// From the start of the warden to the first Ctrl-C.
async fn supervise(
    session: &Session,
    args: &DevArgs,
    config: &Config,
    warden: &mut Child,
    watch: Stopwatch,
) -> Result<Exit, Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(signals)?;
    let mut ready = false;
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(Exit::Done),
            _ = terminate.recv() => return Ok(Exit::Done),
            _ = hangup.recv() => return Ok(Exit::Done),
            () = tokio::time::sleep(Duration::from_millis(if ready { 300 } else { 50 })) => {}
        }
        if let Ok(Some(status)) = warden.try_wait() {
            return Err(failed(config, &format!("the warden ended ({status})")));
        }
        if ready {
            continue;
        }
        if let Some(status) = up(config).await {
            announce(session, args, config, &status, watch)?;
            ready = true;
        } else if watch.elapsed() > START {
            return Err(failed(config, &format!("it was not ready within {} s", START.as_secs())));
        }
    }
}

fn signals(error: std::io::Error) -> CliError {
    CliError::file("wait for", Path::new("signals"))(error)
}

/// Whether control answers and the gateway listens, or the node is in safe mode.
async fn up(config: &Config) -> Option<api::Status> {
    let call = net::Call { timeout: Duration::from_secs(2), ..net::Call::get("/v1/status") };
    let reply = net::unix_http::request(&config.control_socket(), call).await.ok()?;
    if reply.status != 200 {
        return None;
    }
    let status: api::Status = serde_json::from_slice(&reply.bytes(1 << 20).await.ok()?).ok()?;
    // In safe mode nothing answers inference.
    if status.state == "safe" {
        return Some(status);
    }
    let listens = status.gateway.is_some() && config.listen_file().exists() && config.ca_file().exists();
    listens.then_some(status)
}

/// Why it did not start: the end of every log.
fn failed(config: &Config, what: &str) -> Failure {
    let mut failure = Failure::from(CliError::Start(what.to_owned()));
    let logs = config.state.join("logs");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&logs).map(|d| d.flatten().map(|e| e.path()).collect()).unwrap_or_default();
    files.sort();
    for file in files {
        let text = std::fs::read(&file).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().rev().take(TAIL_LINES).collect();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        failure.because.extend(lines.into_iter().rev().map(|line| format!("logs/{name}: {line}")));
    }
    if failure.because.is_empty() {
        failure.because.push(format!("`{}` holds no log", logs.display()));
    }
    failure
}

/// Says what is there, what is simulated and what to do next.
fn announce(
    session: &Session,
    args: &DevArgs,
    config: &Config,
    status: &api::Status,
    watch: Stopwatch,
) -> Result<(), Failure> {
    let ready_ms = u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX);
    let json = json!({
        "schema": "strongroom.dev/1",
        "state": config.state,
        "config": config.state.join("strongroom.toml"),
        "socket": config.control_socket(),
        "gateway": status.gateway,
        "gateway_ca": status.gateway_ca,
        "management": status.management,
        "management_ca": status.management_ca,
        "log_key": status.log_key,
        "simulated": status.simulated,
        "ready_ms": ready_ms,
        "pid": std::process::id(),
    });
    let context = if args.no_context {
        None
    } else {
        write_context(&Context { state: Some(config.state.clone()), server: None, tenant: None })?
    };
    let mut text = String::new();
    text.push_str(&format!(
        "✓ node `{}` is ready after {ready_ms} ms; for development, not for production\n\n",
        status.node
    ));
    for problem in &status.problems {
        text.push_str(&format!("  ✗ problem     {problem}\n"));
    }
    for (i, what) in status.simulated.iter().enumerate() {
        text.push_str(&format!("  {}  {what}\n", if i == 0 { "! simulated " } else { "            " }));
    }
    for feature in status.features.iter().filter(|f| f.state == "unsupported" || f.state == "failed") {
        text.push_str(&format!("  ! {:<11} {}: {}\n", feature.state, feature.name, feature.detail));
    }
    text.push_str(&format!("\n  state         {}\n", config.state.display()));
    text.push_str(&format!("  gateway       {}\n", status.gateway.as_deref().unwrap_or("-")));
    text.push_str(&format!("  authority     {}\n", status.gateway_ca));
    text.push_str(&format!("  management    {}\n", status.management.as_deref().unwrap_or("-")));
    text.push_str(&format!("  authority     {}\n", status.management_ca.as_deref().unwrap_or("-")));
    text.push_str(&format!("  audit log key {}\n", status.log_key));
    match &context {
        Some(path) => {
            text.push_str(&format!("  found by      {} (all commands of this user)\n", path.display()));
        }
        None => text.push_str(&format!("  found by      --state {}\n", config.state.display())),
    }
    text.push_str(
        "\nnext:\n  strongroom tenant create acme\n  \
         strongroom dataset import fashion-mnist /usr/share/datasets/fashion-mnist --tenant acme\n  \
         strongroom job run examples/fashion-mnist/job.toml --watch\n\nCtrl-C stops it.\n",
    );
    let answer = Answer::of(json.clone(), View::Text { text, rows: "", columns: &[] });
    print(&mut std::io::stdout().lock(), &answer, &session.style)?;
    if let Some(file) = &args.ready_file {
        write_whole(file, json.to_string().as_bytes(), 0o644)?;
    }
    Ok(())
}

/// Ends the node: in order, or at once after a second Ctrl-C or when its time is up.
async fn stop(warden: &mut Child) -> Result<Exit, Failure> {
    if let Ok(Some(_)) = warden.try_wait() {
        return Ok(Exit::Done);
    }
    say("stopping; Ctrl-C again ends it at once");
    send(warden, Signal::TERM);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
    let watch = Stopwatch::start();
    loop {
        if let Ok(Some(_)) = warden.try_wait() {
            return Ok(Exit::Done);
        }
        let at_once = tokio::select! {
            _ = interrupt.recv() => true,
            () = tokio::time::sleep(Duration::from_millis(30)) => watch.elapsed() > STOP,
        };
        if at_once {
            send(warden, Signal::KILL);
            drop(warden.wait());
            return Ok(Exit::Interrupted);
        }
    }
}

fn send(child: &Child, what: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended in between; then there is nobody to tell.
        kill_process(pid, what).ok();
    }
}

/// Whether a state directory is one that others could not have prepared.
fn is_private(path: &Path) -> bool {
    let own = getuid().as_raw();
    std::fs::symlink_metadata(path).is_ok_and(|m| {
        m.is_dir() && (m.uid() == own || m.uid() == 0) && (m.mode() & 0o022 == 0 || m.mode() & 0o1000 != 0)
    })
}
