//! The commands, one module a noun. Each takes plain arguments and gives an [`Answer`].

pub(crate) mod access;
pub(crate) mod api;
pub(crate) mod audit;
pub(crate) mod bom;
pub(crate) mod completion;
pub(crate) mod dataset;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod egress;
mod endpoint;
pub(crate) mod explain;
pub(crate) mod help;
pub(crate) mod image;
mod import;
mod incoming;
pub(crate) mod inspect;
mod intake;
pub(crate) mod job;
pub(crate) mod key;
pub(crate) mod login;
pub(crate) mod model;
pub(crate) mod node;
pub(crate) mod people;
pub(crate) mod policy;
mod policy_test;
pub(crate) mod posture;
pub(crate) mod receipt;
pub(crate) mod recovery;
pub(crate) mod release;
mod revocation;
pub(crate) mod serve;
mod service;
pub(crate) mod sign;
pub(crate) mod status;
pub(crate) mod tenant;
pub(crate) mod trust;
mod watch;

use crate::args::{Cli, Command};
use crate::error::Failure;
use crate::exit::Exit;
use crate::output::{Answer, print};
use crate::progress::say;
use crate::session::Session;

/// Runs a command to its end.
///
/// # Errors
/// What the command could not do.
pub(crate) fn run(cli: Cli) -> Result<Exit, Failure> {
    let session = Session::new(&cli.global);
    let answer = match cli.command {
        Command::Dev(args) => return dev::run(&session, &args),
        Command::Serve(args) => return serve::control(&args),
        Command::Gateway(args) => return serve::gateway(&args),
        Command::Relay(args) => return serve::relay(&args),
        Command::InspectChild(args) => return inspect::child(&args),
        Command::Completion { shell } => return completion::run(shell),
        Command::Audit(command) => match audit::run(&session, command)? {
            Some(answer) => answer,
            None => return Ok(Exit::Done),
        },
        Command::Job(command) => match job::run(&session, command)? {
            job::Ended::Answer(answer) => *answer,
            job::Ended::Streamed(exit) => return Ok(exit),
        },
        Command::Status => status::status(&session)?,
        Command::Whoami => status::whoami(&session)?,
        Command::Login(args) => login::login(&session, &args)?,
        Command::Logout => login::logout(&session)?,
        Command::Doctor => doctor::run(&session),
        Command::Tenant(command) => tenant::run(&session, command)?,
        Command::Dataset(command) => dataset::run(&session, command)?,
        Command::Image(command) => image::run(&session, command)?,
        Command::Model(command) => model::run(&session, command)?,
        Command::Bom(command) => bom::run(&session, command)?,
        Command::Endpoint(command) => endpoint::run(&session, command)?,
        Command::Revocation(command) => revocation::run(&session, command)?,
        Command::Egress(command) => egress::run(&session, command)?,
        Command::Key(command) => key::run(&session, command)?,
        Command::Access(command) => access::run(&session, command)?,
        Command::Policy(command) => policy::run(&session, command)?,
        Command::Trust(command) => trust::run(&session, command)?,
        Command::Api(command) => api::run(command),
        Command::Receipt(command) => receipt::run(&session, command)?,
        Command::Node(command) => node::run(&session, command)?,
        Command::Release(command) => release::run(&session, command)?,
        Command::Posture(command) => posture::run(&session, command)?,
        Command::SafeMode(command) => recovery::safe_mode(&session, command)?,
        Command::BreakGlass(command) => recovery::break_glass(&session, command)?,
        Command::Explain(args) => explain::run(&args)?,
        Command::Help { topic } => help::run(&topic)?,
    };
    finish(&session, &answer)
}

/// Prints an answer and its hints.
fn finish(session: &Session, answer: &Answer) -> Result<Exit, Failure> {
    print(&mut std::io::stdout().lock(), answer, &session.style)?;
    for hint in &answer.hints {
        say(hint);
    }
    Ok(answer.exit)
}

#[cfg(test)]
mod tests;
