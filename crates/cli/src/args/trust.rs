//! The verbs of `trust`.

use std::path::PathBuf;

use clap::Subcommand;

use super::TenantArg;

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
    /// Check a file, without a node or against the models of one: 0 it fits, 3 it does not
    #[command(before_long_help = "Examples:
  strongroom trust policy check trust.toml
  strongroom trust policy check trust.toml --model vision-7b -o json
  strongroom trust policy check trust.toml --against registry --tenant acme")]
    Check {
        /// The policy, in TOML or JSON
        file: PathBuf,
        /// Ask the node what it would say of every model that is registered there; nothing changes
        #[arg(long, value_name = "WHAT", value_parser = ["registry"])]
        against: Option<String>,
        /// Whose registry
        #[command(flatten)]
        tenant: TenantArg,
        /// Say also which rule is for a model of this name, and who may sign it now
        #[arg(long, value_name = "NAME")]
        model: Option<String>,
    },
    /// Put a policy into force: what it does not admit any more is out of service when this returns
    #[command(before_long_help = "Examples:
  strongroom trust policy check trust.toml --against registry --tenant acme
  strongroom trust policy apply trust.toml --reason \"two signatures for releases\" --tenant acme")]
    Apply {
        /// The policy, in TOML or JSON; its `version` is above the one in force
        file: PathBuf,
        /// Why, for the log
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// List the versions that were in force
    List {
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Show the policy in force, or another version
    #[command(before_long_help = "Examples:
  strongroom trust policy show --tenant acme
  strongroom trust policy show 3 --tenant acme")]
    Show {
        /// Which; default the newest
        version: Option<u64>,
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Print a policy with every part explained
    #[command(before_long_help = "Examples:
  strongroom trust policy example > trust.toml")]
    Example,
}
