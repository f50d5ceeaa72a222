//! The verbs of `egress`.

use std::path::PathBuf;

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
  strongroom egress create mirror --host mirror.internal --port 8443 --reach private --cap 1GiB --tenant acme
  strongroom egress create features --host features.internal --port 8443 --reach private --as-job --server-ca features-ca.pem --tenant acme

With --as-job the platform speaks mutual TLS 1.3 there in the name of the job, by a short certificate that it renews; the job
sends plain bytes after its CONNECT and never has a key. The server demands certificates of the authority that
`strongroom egress show NAME --client-ca FILE` writes, and sees spiffe://NODE/tenant/TENANT/job/JOB.")]
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
        /// Speak mutual TLS there in the name of the job, which sends plain bytes
        #[arg(long, requires = "server_ca")]
        as_job: bool,
        /// The authority by which the server is verified then, and no other: a file of certificates in PEM
        #[arg(long, value_name = "FILE", requires = "as_job")]
        server_ca: Option<PathBuf>,
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
    #[command(before_long_help = "Examples:
  strongroom egress show hub --tenant acme
  strongroom egress show features --client-ca jobs-ca.pem --tenant acme")]
    Show {
        /// Its name
        name: Name,
        /// Write the authority by which its server knows jobs into this file, in PEM
        #[arg(long, value_name = "FILE")]
        client_ca: Option<PathBuf>,
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
