//! **What.** `strongroom-keeper`: holds the platform's keys, makes its signatures, and is the only writer of the
//! audit log.
//!
//! **Why.** A break into what faces the network must yield neither keys nor history: key-encryption keys never
//! leave this process, one object's key is released at a time, logged before and within a budget, and nobody
//! else can write or rewrite the log (controls DP-3, DP-5, AU-1, AU-2, AU-4).
//!
//! **Where.** Started first, by the warden, under its own user; control, gateway and warden speak to it over one
//! unix socket. It has no network, no tenant's bytes, no async runtime, and must never link a database, TLS or
//! HTTP.
//!
//! **Invariants.** What was acknowledged is on the disk under a signed head. A release or signature is durable
//! in the log before its answer leaves. A damaged or rolled-back log is refused, never mended. Development state
//! and production state never mix.

mod clock;
mod error;
mod keys;
mod limits;
mod log;
mod policy;
mod recovery;
mod safe;
mod server;
mod service;
mod state;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use audit::Signer;
use base::Explain;
use base::config::{Config, FILE_MAX, Mode};
use vault::keys::KekProvider;

use crate::clock::Clock;
use crate::error::KeeperError;
use crate::keys::{KeySet, Signing};
use crate::log::Identity;
use crate::recovery::Recovery;
use crate::service::{Service, Signers};
use crate::state::State;

/// Exit status after a tamper alarm, so that the warden tells it from other failures and enters safe mode.
const EXIT_TAMPER: u8 = 4;
/// Exit status after any other failure.
const EXIT_FAILED: u8 = 1;

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let help = error.help().unwrap_or_default();
            let text = format!(
                "strongroom-keeper: {} [{}]\n  next: {help}\n",
                base::error::chain(&error),
                error.code()
            );
            // Nothing is left to do where even this cannot be said.
            std::io::stderr().write_all(text.as_bytes()).unwrap_or_default();
            ExitCode::from(if matches!(error, KeeperError::Tamper(_)) { EXIT_TAMPER } else { EXIT_FAILED })
        }
    }
}

/// What the command line says.
struct Arguments {
    config: PathBuf,
    /// Make the keys of a new node and end.
    init: bool,
    /// Leave safe mode without recovery codes, with the node down, and end.
    leave_safe_mode: bool,
}

fn arguments(mut words: impl Iterator<Item = std::ffi::OsString>) -> Result<Arguments, KeeperError> {
    let (mut config, mut init, mut leave_safe_mode) = (None, false, false);
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--config") if config.is_none() => config = words.next().map(PathBuf::from),
            Some("--init") if !leave_safe_mode => init = true,
            Some("--leave-safe-mode") if !init => leave_safe_mode = true,
            _ => return Err(KeeperError::Usage),
        }
    }
    Ok(Arguments { config: config.ok_or(KeeperError::Usage)?, init, leave_safe_mode })
}

fn run(words: impl Iterator<Item = std::ffi::OsString>) -> Result<(), KeeperError> {
    let Arguments { config: path, init, leave_safe_mode } = arguments(words)?;
    harden();
    let config = read_config(&path)?;
    let uid = rustix::process::geteuid().as_raw();
    if config.mode == Mode::Production && !policy::separated(&config.users, uid) {
        return Err(KeeperError::NotSeparated);
    }
    let state = State::open(&config, init)?;
    let keys = KeySet::open(&state)?;
    if init {
        return Ok(());
    }
    let mut recovery = Recovery::open(state.dir.clone())?;
    if leave_safe_mode {
        return recovery.leave_offline();
    }
    let origin = audit::origin(config.mode, &config.node);
    let signer = keys.signing(Signing::Log, |seed| Signer::new(&origin, seed))??;
    let key = signer.verifier().clone();
    let identity = Identity {
        dir: config.log_dir(),
        kept_head: state.dir.join("head"),
        origin,
        node: config.node.clone(),
        boot_id: clock::random()?,
        uid,
        clock: Clock::start(),
        key: key.clone(),
    };
    let provider = service::provider_text(state.root.describe());
    let log = log::open(&config, identity, signer, &provider)?;
    let signers = Signers::load(&keys)?;
    log::replace(&config.log_dir(), "vkey", format!("{key}\n").as_bytes())?;
    for (name, text) in signers.public_files() {
        log::replace(&config.log_dir(), name, text.as_bytes())?;
    }
    let socket = config.keeper_socket();
    if let Some(dir) = socket.parent() {
        std::fs::create_dir_all(dir).map_err(KeeperError::file("making", dir))?;
    }
    // Who may connect is the directory's business, who may ask what is decided by user id: see `policy`.
    let listener = link::Listener::bind(&socket, 0o666)?;
    let service = Arc::new(Service::new(config, state, keys, signers, log, recovery));
    service.tell_offline()?;
    server::run(&listener, &service)
}

/// No core dump, no tracing by others, no file that strangers can read.
fn harden() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit};
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
    // Both can only fail on a kernel that lacks them, where there is nothing to turn off.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).unwrap_or_default();
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .unwrap_or_default();
}

fn read_config(path: &std::path::Path) -> Result<Config, KeeperError> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_MAX).read_to_string(&mut text))
        .map_err(KeeperError::file("reading", path))?;
    Ok(Config::parse(&path.display().to_string(), &text)?)
}
