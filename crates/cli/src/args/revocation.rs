//! Verbs of `revocation`.

use clap::{Args, Subcommand};

use super::TenantArg;
use crate::names::Versioned;

/// Verbs of `revocation`.
#[derive(Debug, Subcommand)]
pub(crate) enum RevocationCommand {
    /// Take a model, a data set or a file out of use: what is served of it is served no more when this returns
    #[command(before_long_help = "Examples:
  strongroom revocation create --model fashion-mnist@1 --reason \"its weights leaked\" --tenant acme
  strongroom revocation create --dataset reviews@3 --reason poisoned --tenant acme
  strongroom revocation create --file 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 --reason \"CVE in a tokenizer\" --tenant acme")]
    Create {
        /// What
        #[command(flatten)]
        what: RevokedArgs,
        /// Why, for the log
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// List what is not to be used any more
    List {
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Let something be used again; it is not served again by itself
    #[command(before_long_help = "Examples:
  strongroom revocation lift DIGEST --reason \"it was another file\" --tenant acme")]
    Lift {
        /// Digest of what was revoked, as `revocation list` says it
        digest: String,
        /// Why, for the log
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
}

/// What is revoked: one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct RevokedArgs {
    /// A version of a model
    #[arg(long, value_name = "NAME@VERSION")]
    pub(crate) model: Option<Versioned>,
    /// A version of a data set: models that were made of it are revoked with it
    #[arg(long, value_name = "NAME@VERSION")]
    pub(crate) dataset: Option<Versioned>,
    /// A file, by its SHA-256, whatever it is a part of
    #[arg(long, value_name = "SHA256")]
    pub(crate) file: Option<String>,
}
