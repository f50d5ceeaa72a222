//! **What.** The tasks of the workspace that are more than one command: `tidy`, `ci`, `docs`.
//!
//! **Why.** The layer law, the limits on what the trusted processes link and the freshness of generated
//! documents hold only when a machine checks them on every change.
//!
//! **Where.** `cargo xtask TASK`, from any folder of the workspace; called by `make` and by CI. No crate of
//! the platform uses it.
//!
//! **Invariants.** A task prints every violation that it finds, not only the first, and exits with a status
//! other than 0 when there is one.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

mod ci;
mod docs;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Failures of a task, one line each.
pub(crate) type Violations = Vec<String>;

const USAGE: &str = "usage: cargo xtask tidy | ci | docs
  tidy  check the layer law, sources, closures and generated documents
  ci    everything that `make test` checks: fmt, tidy, clippy, tests, end-to-end tests
  docs  write the generated documents";

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let root = root();
    let result = match task.as_str() {
        "tidy" => tidy::run(&root),
        "ci" => ci::run(&root),
        "docs" => docs::write(&root),
        _ => Err(vec![USAGE.to_owned()]),
    };
    match result {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(violations) => {
            for violation in &violations {
                eprintln!("{violation}");
            }
            eprintln!("xtask {task}: {} violations", violations.len());
            ExitCode::FAILURE
        }
    }
}

/// The workspace's folder: the parent of this package.
fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}
