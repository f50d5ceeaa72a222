//! `strongroom completion`.

use clap::CommandFactory;

use crate::args::Cli;
use crate::error::{CliError, Failure};
use crate::exit::Exit;

/// Writes the script to standard output.
pub(crate) fn run(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "strongroom", &mut script);
    match std::io::Write::write_all(&mut std::io::stdout().lock(), &script) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        other => {
            other.map_err(CliError::file("write", std::path::Path::new("standard output")))?;
            Ok(Exit::Done)
        }
    }
}
