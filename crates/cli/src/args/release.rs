//! The verbs of `release`.

use std::path::PathBuf;

use base::release::Version;
use clap::{Args, Subcommand};

/// Verbs of `release`.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ReleaseCommand {
    /// Write the manifest of a release beside its four programs; works without a node
    #[command(before_long_help = "Examples:
  strongroom release make out/1.4.0 --version 1.4.0
  strongroom release make out/1.4.0 --version 1.4.0 --floor 1.3.0

The directory holds strongroom, strongroom-keeper, strongroom-porter and strongroom-runtime, and nothing else. The
warden is not part of a release: it comes by the packages of the machine.")]
    Make {
        /// Directory with the programs
        dir: PathBuf,
        /// Its version: three numbers
        #[arg(long, value_name = "VERSION", value_parser = version)]
        version: Version,
        /// Once it was active, a node takes nothing older than this
        #[arg(long, value_name = "VERSION", value_parser = version, default_value = "0.0.0")]
        floor: Version,
    },
    /// Print the public key that nodes are to trust; works without a node
    #[command(before_long_help = "Examples:
  openssl genpkey -algorithm ed25519 -out release.pem
  strongroom release key --private-key release.pem")]
    Key {
        /// Ed25519 private key, in PEM
        #[arg(long, value_name = "FILE")]
        private_key: PathBuf,
    },
    /// Sign the manifest of a release, after its programs were compared with it; works without a node
    #[command(before_long_help = "Examples:
  strongroom release sign out/1.4.0 --private-key release.pem")]
    Sign {
        /// Directory of the release
        dir: PathBuf,
        /// Ed25519 private key, in PEM
        #[arg(long, value_name = "FILE")]
        private_key: PathBuf,
    },
    /// Check a release as a node would; works without a node: 0 it is good, 3 it is not
    #[command(before_long_help = "Examples:
  strongroom release verify out/1.4.0 --key KEY --key KEY --threshold 2")]
    Verify {
        /// Directory of the release
        dir: PathBuf,
        /// A public key that is trusted, 64 hex digits; may be repeated
        #[arg(long = "key", value_name = "KEY", required = true)]
        keys: Vec<String>,
        /// How many of them must have signed
        #[arg(long, value_name = "N")]
        threshold: u8,
    },
    /// Stage a release on the node, which checks it whole; nothing changes by it
    #[command(before_long_help = "Examples:
  strongroom release stage out/1.4.0")]
    Stage {
        /// Directory of the release
        dir: PathBuf,
    },
    /// List the releases of the node: which is active, which was before, which are staged
    #[command(before_long_help = "Examples:
  strongroom release list
  strongroom release list -o json")]
    List,
    /// Start the node from a staged release; if that does not come up, it starts from the one before: 3
    #[command(before_long_help = "Examples:
  strongroom release activate 1.4.0 --reason \"ticket 4711\"
  strongroom release activate 1.4.0 --stop-jobs --reason \"ticket 4711\"")]
    Activate {
        /// Which
        #[arg(value_parser = version)]
        version: Version,
        /// Why, and what may end for it
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Start the node from the release that was active before
    #[command(before_long_help = "Examples:
  strongroom release back --reason \"1.4.0 is slow\"")]
    Back {
        /// Why, and what may end for it
        #[command(flatten)]
        change: ChangeArgs,
    },
}

/// Why, and what may end for it.
#[derive(Debug, Clone, Args)]
pub(crate) struct ChangeArgs {
    /// Why, for the log
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// End jobs and endpoints that are under way; jobs go on from their newest checkpoint
    #[arg(long)]
    pub(crate) stop_jobs: bool,
}

fn version(text: &str) -> Result<Version, String> {
    text.parse().map_err(|_: base::release::ReleaseError| "write three numbers, as in 1.4.0".to_owned())
}
