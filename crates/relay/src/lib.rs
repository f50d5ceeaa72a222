//! **What.** The relay: the only process of the platform that connects to the network. It passes bytes between named
//! places and whoever may reach them: jobs, by a socket in their sandboxes, and control, for logins.
//!
//! **Why.** One way out is one place where what leaves is counted, capped and told, and where a host's name becomes an
//! address that may be reached or not (controls AC-9, AC-10). Control and gateway can then give up the network.
//!
//! **Where.** Run by `strongroom relay`. It takes orders from control over a unix socket, and appends to the log itself, so
//! that control cannot be silent about a connection. It must never import the store, keys, or what parses bytes of a tenant.
//!
//! **Invariants.** No connection without an entry in the log before it. No byte leaves that control has not taken into
//! account. An address is judged after its name was resolved, and is the one that is connected to. What was opened ends with
//! the connection over which it was ordered. Every wait, queue and count is bounded.

mod ask;
mod clock;
mod dial;
mod error;
mod flow;
mod limits;
mod orders;
mod reach;
mod record;
mod secure;
mod table;

use std::io::Write;
use std::sync::Arc;

use base::config::Config;
use link::Listener;
use net::lease::Leases;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

pub use error::RelayError;

use crate::record::Log;
use crate::table::Table;

/// What every order and connection sees.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) log: Log,
    pub(crate) leases: Leases,
    pub(crate) table: Table,
    pub(crate) resolving: Semaphore,
}

/// Passes bytes on until SIGTERM or SIGINT.
///
/// # Errors
/// [`RelayError`], before anything is passed on.
pub fn run(config: Config) -> Result<(), RelayError> {
    // Only control may speak, which the kernel says of who connects; the socket itself only has to be reachable.
    let listener = Listener::bind(&config.relay_socket(), 0o666)?;
    if !host::seal::relays_only()? {
        say("the kernel has no Landlock, so files that this user may read stay readable");
    }
    let log = Log::start(config.keeper_socket()).map_err(RelayError::at("start a thread"))?;
    let boot = base::id::EventId::new(clock::now(), clock::random()).bits();
    let leases = Leases::new(boot, clock::tick);
    let table = Table::new(&leases);
    let resolving = Semaphore::new(limits::RESOLVING_MAX);
    let shared = Arc::new(Shared { config, log, leases, table, resolving });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(limits::RESOLVING_MAX)
        .enable_all()
        .build()
        .map_err(RelayError::at("start"))?;
    let handle = runtime.handle().clone();
    let ordered = Arc::clone(&shared);
    std::thread::Builder::new()
        .name("orders".to_owned())
        .spawn(move || orders::serve(&ordered, &listener, &handle))
        .map_err(RelayError::at("start a thread"))?;
    runtime.block_on(async {
        let told = RelayError::at("listen for signals");
        let mut terminate = signal(SignalKind::terminate()).map_err(told)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(RelayError::at("listen for signals"))?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        shared.table.end_all();
        let ended = async {
            while shared.table.open() > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(limits::DRAIN_TIMEOUT, ended).await.unwrap_or_default();
        Ok::<_, RelayError>(())
    })?;
    runtime.shutdown_background();
    Ok(())
}

/// One line of the relay's own output.
pub(crate) fn say(text: &str) {
    let line = format!("{} relay: {}\n", clock::now(), text.replace('\n', " "));
    // Nowhere else to say that standard error is gone.
    drop(std::io::stderr().lock().write_all(line.as_bytes()));
}
