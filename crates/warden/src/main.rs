//! **What.** `strongroom-warden`: the only privileged process of a node. It makes and ends sandboxes and porters,
//! freezes their inputs, and starts the node's other processes under users of their own.
//!
//! **Why.** What has privilege faces no network, holds no key and no tenant's bytes, and does nothing without a
//! receipt that its order stands in the audit log (controls AC-1, AC-8, IS-1, IS-7, AU-4). Only what stops a
//! workload acts first and is recorded after.
//!
//! **Where.** Started by an init system or `strongroom dev`. Speaks `ops::warden` on `warden.sock` with control
//! alone. It must never import a core, a network stack, a database or an async runtime: its closure is capped.
//!
//! **Invariants.** One thread, so that every fork is a clean copy. An order is decoded whole before it acts; what
//! does not decode closes the connection. A user range is taken again only after nothing of its run is left.
//! When this process ends, every sandbox, porter and process of the node ends.

mod clock;
mod error;
mod keeper;
mod layout;
mod limits;
mod machine;
mod node;
mod receipts;
mod releases;
mod runs;
mod server;
mod services;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use base::config::{Config, FILE_MAX};

use crate::error::WardenError;

/// What the command line says.
struct Arguments {
    config: PathBuf,
    die_with_parent: bool,
}

fn main() -> ExitCode {
    let started = arguments().and_then(|a| {
        if a.die_with_parent {
            host::die_with_parent()?;
        }
        node::run(&a.config, &read(&a.config)?)
    });
    match started {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error[{}]: {}", base::Explain::code(&error), base::error::chain(&error)));
            ExitCode::FAILURE
        }
    }
}

/// One line for whoever started us.
fn say(line: &str) {
    // Nobody may be reading; that is no reason to stop.
    let _unread = writeln!(std::io::stderr(), "strongroom-warden: {line}");
}

fn arguments() -> Result<Arguments, WardenError> {
    let usage =
        || WardenError::Config("usage: strongroom-warden --config FILE [--die-with-parent]".to_owned());
    let mut words = std::env::args_os().skip(1);
    let (mut config, mut die_with_parent) = (None, false);
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--config") if config.is_none() => {
                config = Some(PathBuf::from(words.next().ok_or_else(usage)?));
            }
            Some("--die-with-parent") => die_with_parent = true,
            _ => return Err(usage()),
        }
    }
    Ok(Arguments { config: config.ok_or_else(usage)?, die_with_parent })
}

fn read(path: &std::path::Path) -> Result<Config, WardenError> {
    let refuse = |why: String| WardenError::Config(format!("{}: {why}", path.display()));
    let length = std::fs::metadata(path).map_err(|e| refuse(e.to_string()))?.len();
    if length > FILE_MAX {
        return Err(refuse(format!("{length} bytes, limit {FILE_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| refuse(e.to_string()))?;
    Config::parse(&path.display().to_string(), &text).map_err(|e| WardenError::Config(e.to_string()))
}
