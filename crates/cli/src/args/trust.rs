//! The verbs of `trust`.

use std::path::PathBuf;

use clap::Subcommand;

/// Verbs of `trust`.
#[derive(Debug, Subcommand)]
pub(crate) enum TrustCommand {
    /// Trust policies: whose signatures count for which models
    #[command(subcommand)]
    Policy(TrustPolicyCommand),
}

/// Verbs of `trust policy`.
#[derive(Debug, Subcommand)]
pub(crate) enum TrustPolicyCommand {
    /// Check a file, without a node: 0 it fits, 3 it does not
    #[command(before_long_help = "Examples:
  strongroom trust policy check trust.toml
  strongroom trust policy check trust.toml --model vision-7b -o json")]
    Check {
        /// The policy, in TOML or JSON
        file: PathBuf,
        /// Say also which rule is for a model of this name, and who may sign it now
        #[arg(long, value_name = "NAME")]
        model: Option<String>,
    },
    /// Print a policy with every part explained
    #[command(before_long_help = "Examples:
  strongroom trust policy example > trust.toml")]
    Example,
}
