//! `strongroom serve`, `strongroom gateway` and `strongroom relay`: the unprivileged processes of a node.

use std::path::Path;

use base::config::{Config, FILE_MAX};

use crate::args::ConfigArgs;
use crate::error::{CliError, Failure};
use crate::exit::Exit;

/// Reads and checks a configuration file.
pub(super) fn read_config(path: &Path) -> Result<Config, Failure> {
    let meta = std::fs::metadata(path).map_err(CliError::file("read", path))?;
    if meta.len() > FILE_MAX {
        let reason = format!("a configuration is at most {FILE_MAX} bytes");
        return Err(CliError::Content { path: path.to_owned(), reason }.into());
    }
    let text = std::fs::read_to_string(path).map_err(CliError::file("read", path))?;
    Ok(Config::parse(&path.display().to_string(), &text)?)
}

/// Nobody of the same user may look into this process or take its descriptors: it holds data keys of what is in use, or
/// the key of its certificate.
fn keep_to_itself() -> Result<(), Failure> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(CliError::file("protect", Path::new("/proc/self")))?;
    Ok(())
}

/// Runs control until it is told to end.
pub(crate) fn control(args: &ConfigArgs) -> Result<Exit, Failure> {
    keep_to_itself()?;
    control::run(read_config(&args.config)?).map_err(|e| Failure::explain(&e, Exit::Failed))?;
    Ok(Exit::Done)
}

/// Runs the gateway until it is told to end.
pub(crate) fn gateway(args: &ConfigArgs) -> Result<Exit, Failure> {
    keep_to_itself()?;
    gateway::run(read_config(&args.config)?, gateway::Process::Own)
        .map_err(|e| Failure::explain(&e, Exit::Failed))?;
    Ok(Exit::Done)
}

/// Runs the relay until it is told to end.
pub(crate) fn relay(args: &ConfigArgs) -> Result<Exit, Failure> {
    keep_to_itself()?;
    relay::run(read_config(&args.config)?).map_err(|e| Failure::explain(&e, Exit::Failed))?;
    Ok(Exit::Done)
}
