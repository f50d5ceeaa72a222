//! **What.** The program `strongroom`: everything that a person or script does with a node, and the two
//! unprivileged processes of one (`serve`, `gateway`).
//!
//! **Why.** One command with one grammar, so that every refusal says why and what to do next, and every result
//! can be read by people and programs alike (controls AC-2, AU-5, IN-1).
//!
//! **Where.** Reaches the platform only through the wire types of `api`, over the local socket; `model`, `bom`
//! and `audit` also work on plain files, through the same cores that the node uses. It never opens the node's
//! state behind its back.
//!
//! **Invariants.** Results go to standard output, talk to standard error. A failure is one report with a stable
//! code and an exit code of the table. Nothing asks questions. Untrusted text never reaches the terminal raw,
//! and model files are parsed only in the confined child.

mod args;
mod client;
mod clock;
mod cmd;
mod confined;
mod context;
mod error;
mod exit;
mod identity;
mod measure;
mod names;
mod output;
mod progress;
mod recovery_code;
mod rootfs;
mod session;
mod walk;

use std::io::Write;

use clap::Parser;
use clap::error::ErrorKind;

use crate::args::Cli;
use crate::error::{CliError, Failure};
use crate::exit::Exit;
use crate::output::{Format, render_failure};

fn main() -> Exit {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, &arguments),
    };
    let format = cli.global.output;
    let color = session::Session::new(&cli.global).color_talk;
    match cmd::run(cli) {
        Ok(exit) => exit,
        Err(failure) => report(&failure, format, color),
    }
}

/// Writes a failure to standard error.
fn report(failure: &Failure, format: Format, color: bool) -> Exit {
    let text = render_failure(failure, format, color);
    // If nobody can read it, the exit code still tells.
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
    failure.exit
}

/// Help and versions go to standard output; what clap refuses becomes a failure in the form asked for.
fn usage(error: &clap::Error, arguments: &[std::ffi::OsString]) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            drop(error.print());
            return Exit::Done;
        }
        _ => {}
    }
    match asked_form(arguments) {
        Format::Text => {
            drop(error.print());
            Exit::Usage
        }
        form => {
            let text = error.render().to_string();
            let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            let what = lines.next().unwrap_or("wrong usage").trim_start_matches("error: ").to_owned();
            let mut failure = Failure::from(CliError::Usage(what));
            failure.because =
                lines.take_while(|line| !line.starts_with("Usage:")).map(str::to_owned).collect();
            report(&failure, form, false)
        }
    }
}

/// The output form that the command line asks for, though it could not be parsed.
fn asked_form(arguments: &[std::ffi::OsString]) -> Format {
    let words: Vec<&str> = arguments.iter().filter_map(|a| a.to_str()).take_while(|a| *a != "--").collect();
    let separate = words.windows(2).find_map(|pair| match pair {
        ["-o" | "--output", value] => Some(*value),
        _ => None,
    });
    let joined = words.iter().find_map(|w| w.strip_prefix("--output=").or_else(|| w.strip_prefix("-o")));
    match separate.or(joined.filter(|v| !v.is_empty())) {
        Some("json" | "=json") => Format::Json,
        Some("jsonl" | "=jsonl") => Format::Jsonl,
        Some("plain" | "=plain") => Format::Plain,
        _ => Format::Text,
    }
}
