//! The verbs of `egress`.

use base::ByteSize;
use base::names::Name;
use clap::{Subcommand, ValueEnum};

use super::TenantArg;

/// How near the addresses of an egress may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReachArg {
    /// What the whole Internet can reach
    Public,
    /// Addresses of private networks too
    Private,
    /// This node's own addresses too, and its loopback
    Node,
}

impl ReachArg {
    /// As the API says it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Node => "node",
        }
    }
}

/// Verbs of `egress`.
#[derive(Debug, Subcommand)]
pub(crate) enum EgressCommand {
    /// Make a place outside that jobs may reach: they name it in `egress = ["NAME"]` of their job file, and reach it by the
    /// proxy that `https_proxy` in their environment names
    #[command(before_long_help = "Examples:
  strongroom egress create hub --host hub.example.org --port 443 --tenant acme
  strongroom egress create mirror --host mirror.internal --port 8443 --reach private --cap 1GiB --tenant acme")]
    Create {
        /// Its name
        name: Name,
        /// A host's name, or an address; the relay resolves it, again for each connection
        #[arg(long, value_name = "HOST")]
        host: String,
        /// The port
        #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
        port: u16,
        /// How near its addresses may be
        #[arg(long, value_name = "REACH", value_enum, default_value_t = ReachArg::Public)]
        reach: ReachArg,
        /// Bytes that may leave by it within a day; default: `per_principal` of the configuration
        #[arg(long, value_name = "SIZE")]
        cap: Option<ByteSize>,
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// List the egresses
    List {
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Show one
    Show {
        /// Its name
        name: Name,
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Delete one: what goes through it ends at once
    #[command(before_long_help = "Examples:
  strongroom egress delete hub --tenant acme")]
    Delete {
        /// Its name
        name: Name,
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
}
