//! **What.** The program `strongroom-porter`: `run` serves one run, `hash` digests a mounted tree.
//!
//! **Why.** See the library: verified bytes are mapped bytes, and checkpoints leave the job's reach at once.
//!
//! **Where.** Started by the warden only; its descriptors are described in `ops::porter`.
//!
//! **Invariants.** It opens no path but `/proc/self/fd`, and ends when control closes its socket.

use std::io::Write;
use std::process::ExitCode;

use strongroom_porter::{Options, PorterError, hash, run};

const USAGE: &str =
    "usage: strongroom-porter run --inputs N [--scratch] [--quiet-ms N] | strongroom-porter hash [--image]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["hash"] => hash::main(false),
        ["hash", "--image"] => hash::main(true),
        ["run", options @ ..] => match Options::parse(options) {
            Some(options) => run(&options),
            None => Err(PorterError::Usage(USAGE)),
        },
        _ => Err(PorterError::Usage(USAGE)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let line = format!("strongroom-porter: {}\n", base::error::chain(&error));
            // Nobody is left to tell if this fails.
            std::io::stderr().write_all(line.as_bytes()).unwrap_or_default();
            ExitCode::from(if matches!(error, PorterError::Usage(_)) { 2 } else { 1 })
        }
    }
}
