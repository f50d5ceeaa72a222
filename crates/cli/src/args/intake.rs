//! `model import`, and the verbs of `model intake`.

use std::path::PathBuf;

use base::names::Name;
use clap::{ArgGroup, Args, Subcommand};

use super::{Method, TenantArg, Thing};
use crate::names::Versioned;

/// What is brought in, and what is said of it.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Name of the model
    pub(crate) name: Name,
    /// A file; a directory of regular files; a snapshot directory of a Hugging Face cache; an OCI image layout; or an
    /// archive: .tar, .tar.gz, .tgz
    pub(crate) path: PathBuf,
    /// From where it is: an address, or a name
    #[arg(long, value_name = "TEXT")]
    pub(crate) source: String,
    /// What is known of it
    #[command(flatten)]
    pub(crate) facts: FactArgs,
    /// Signature that came with it, in OMS format; it must verify over exactly these files, with `--public-key` and for
    /// somebody whom the tenant's trust policy names, where there is one
    #[arg(long, value_name = "FILE")]
    pub(crate) signature: Option<PathBuf>,
    /// How it was signed; certificates are those that the tenant's trust policy names
    #[arg(long, value_enum, default_value = "key")]
    pub(crate) method: Method,
    /// EC public key of who signed it, PEM; without one the trust policy says whose it may be
    #[arg(long, value_name = "PEM", requires = "signature")]
    pub(crate) public_key: Option<PathBuf>,
    /// Model of which it is a next version: only what changed stands at PATH, all other files are taken over
    #[arg(long, value_name = "NAME@VERSION")]
    pub(crate) based_on: Option<Versioned>,
    /// File of that model that is left out
    #[arg(long, value_name = "FILE", requires = "based_on")]
    pub(crate) without: Vec<String>,
    /// Whose
    #[command(flatten)]
    pub(crate) tenant: TenantArg,
}

/// What is known of a model.
#[derive(Debug, Clone, Args)]
pub(crate) struct FactArgs {
    /// Its licence: an SPDX expression, or a name
    #[arg(long, value_name = "TEXT")]
    pub(crate) license: Option<String>,
    /// Who makes it available
    #[arg(long, value_name = "TEXT")]
    pub(crate) producer: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    pub(crate) purpose: Option<String>,
    /// Who answers for it here
    #[arg(long, value_name = "TEXT")]
    pub(crate) accountable: Option<String>,
    /// Its version where it is from
    #[arg(long, value_name = "TEXT")]
    pub(crate) upstream_version: Option<String>,
    /// What it should not be used for
    #[arg(long, value_name = "TEXT")]
    pub(crate) limitations: Option<String>,
}

/// Verbs of `model intake`.
#[derive(Debug, Subcommand)]
pub(crate) enum IntakeCommand {
    /// List the models that were brought in, and where each stands
    List {
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Show where one stands: what was found, which steps it takes, which is next
    #[command(before_long_help = "Examples:
  strongroom model intake show resnet --tenant acme
  strongroom model intake show resnet@2 --tenant acme -o json")]
    Show(Thing),
    /// Say what is known of it, and go on with the steps that need no further word
    #[command(before_long_help = "Examples:
  strongroom model intake describe resnet --tenant acme --license MIT --producer Example --purpose \"find cats\" --accountable Ann
  strongroom model intake describe resnet --tenant acme")]
    Describe {
        /// Which
        #[command(flatten)]
        thing: Thing,
        /// What is known of it
        #[command(flatten)]
        facts: FactArgs,
    },
    /// Have a job measure it; the job reads it as its channel `model` and writes the number to `metrics.jsonl`
    #[command(
        group(ArgGroup::new("bound").required(true).args(["at_least", "at_most"])),
        before_long_help = "Examples:
  strongroom model intake evaluate resnet job.toml --metric accuracy --at-least 0.9 --tenant acme
  strongroom model intake evaluate resnet@2 job.toml --metric loss --at-most 0.3 --tenant acme

The bound is stated once, before the first measurement; a number beyond it refuses the model for good. The job leaves no
model of its own."
    )]
    Evaluate {
        /// NAME or NAME@NUMBER; without a number the newest
        #[arg(value_name = "NAME[@NUMBER]")]
        thing: crate::names::Versioned,
        /// The job file
        file: PathBuf,
        /// The number that it reports
        #[arg(long, value_name = "NAME")]
        metric: String,
        /// It may not be below this
        #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
        at_least: Option<f64>,
        /// It may not be above this
        #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
        at_most: Option<f64>,
        /// Whose; default: the tenant that the job file names
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Answer for it: another person than who brought, described or measured it
    #[command(before_long_help = "Examples:
  strongroom model intake approve resnet --tenant acme --reason \"seen the measurement\"")]
    Approve {
        /// Which
        #[command(flatten)]
        thing: Thing,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Sign it here and register it, after every other step: from then on it is a model like others
    #[command(before_long_help = "Examples:
  strongroom model intake admit resnet --tenant acme")]
    Admit(Thing),
    /// Refuse it, for good
    #[command(before_long_help = "Examples:
  strongroom model intake refuse resnet --tenant acme --reason \"its licence forbids it\"")]
    Refuse {
        /// Which
        #[command(flatten)]
        thing: Thing,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}
