//! The verbs of `safe-mode` and `break-glass`.

use std::path::PathBuf;

use base::names::Name;
use clap::Subcommand;

/// Where recovery codes come from.
#[derive(Debug, clap::Args)]
pub(crate) struct Codes {
    /// File with lines of NAME CODE; without one the terminal asks for names and codes
    #[arg(long, value_name = "FILE")]
    pub(crate) codes: Option<PathBuf>,
}

/// Verbs of `safe-mode`.
#[derive(Debug, Subcommand)]
pub(crate) enum SafeModeCommand {
    /// Whether the node is in safe mode, since when and why, and who holds recovery codes
    #[command(before_long_help = "Examples:
  strongroom safe-mode status
  strongroom safe-mode status -o json")]
    Status,
    /// Enter safe mode: every tenant's keys are dropped and everything of theirs is ended, at once
    #[command(before_long_help = "Examples:
  strongroom safe-mode enter --reason \"the log of the firewall shows a stranger\"

Jobs go on from their last sealed checkpoint once the node has left safe mode; endpoints are served again. What is left
in between is looking, and taking rights away. From the network it takes two people (`strongroom access approval`).")]
    Enter {
        /// Why, for the log
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Even if nobody holds recovery codes: then only `strongroom-keeper --leave-safe-mode`, at the machine and with
        /// the node down, leaves it
        #[arg(long)]
        even_unsealed: bool,
    },
    /// Leave safe mode, by two holders of recovery codes
    #[command(before_long_help = "Examples:
  strongroom safe-mode leave --reason \"nothing was found\"
  strongroom safe-mode leave --reason \"the drill is over\" --codes /media/sealed/codes")]
    Leave {
        /// Why, for the log
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// The codes of two
        #[command(flatten)]
        codes: Codes,
    },
}

/// Verbs of `break-glass`.
#[derive(Debug, Subcommand)]
pub(crate) enum BreakGlassCommand {
    /// Make recovery codes, one for each holder, shown once: write them down, seal them, keep them apart
    #[command(before_long_help = "Examples:
  strongroom break-glass seal --holder ada --holder bob --holder carol
  strongroom break-glass seal --holder dave --holder eve --codes /media/sealed/codes

One holder opens break-glass; two together leave safe mode, or replace the codes of all. The node keeps public keys only.")]
    Seal {
        /// A holder; two or more, each another person
        #[arg(long = "holder", value_name = "NAME", required = true)]
        holders: Vec<Name>,
        /// The codes of two holders before, if there are any
        #[command(flatten)]
        codes: Codes,
    },
    /// Open break-glass for a while, by one holder; the node enters safe mode first
    #[command(before_long_help = "Examples:
  strongroom break-glass open --reason \"the OpenID provider is gone and nobody can log in\"
  strongroom break-glass open --reason \"own rules lock everybody out\" --minutes 15

Within it the operator at the machine, without a second person, makes people known, sends enrolment links, grants roles
and withdraws own rules; nothing of a tenant opens. It is an alarm in the log, and ends by itself.")]
    Open {
        /// Why, for the log
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// How long, 1 to 240
        #[arg(long, value_name = "MINUTES", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=240))]
        minutes: u32,
        /// The code of one
        #[command(flatten)]
        codes: Codes,
    },
    /// Close break-glass before its time; the node stays in safe mode
    #[command(before_long_help = "Examples:
  strongroom break-glass close")]
    Close,
}
