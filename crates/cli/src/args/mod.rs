//! The command line: text to plain structures. Parsing has no side effect; commands do the rest.

mod egress;
mod intake;
mod node;
mod nouns;
mod people;
mod policy;
mod recovery;
mod release;
mod revocation;
mod signing;
#[cfg(test)]
pub(crate) mod tests;
mod trust;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use egress::EgressCommand;
pub(crate) use intake::{FactArgs, ImportArgs, IntakeCommand};
pub(crate) use node::NodeCommand;
pub(crate) use nouns::*;
pub(crate) use people::*;
pub(crate) use policy::{PolicyCommand, RulesOf};
pub(crate) use recovery::{BreakGlassCommand, Codes, SafeModeCommand};
pub(crate) use release::{ChangeArgs, ReleaseCommand};
pub(crate) use revocation::RevocationCommand;
pub(crate) use signing::{HashAlgorithm, Leniency, Method, SignArgs, Signing, TrustedArgs, VerifyArgs};
pub(crate) use trust::{TrustCommand, TrustPolicyCommand};

use crate::output::Format;
use crate::progress::Mode;

/// Secure AI computing platform: sealed data, sandboxed training, signed models, provable history.
#[derive(Debug, Parser)]
#[command(
    name = "strongroom",
    version,
    disable_help_subcommand = true,
    before_long_help = "Examples:
  strongroom dev
  strongroom tenant create acme
  strongroom dataset import fashion-mnist /usr/share/datasets/fashion-mnist --tenant acme
  strongroom job run examples/fashion-mnist/job.toml --watch
  strongroom model verify fashion-mnist@1 --tenant acme
  strongroom explain SR-CLI-0002
  strongroom help exit-codes"
)]
pub(crate) struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub(crate) global: Global,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Form of the result on standard output
    #[arg(short, long, global = true, value_enum, default_value = "text", value_name = "FORM")]
    pub(crate) output: Format,
    /// Members of the result to show, in this order
    #[arg(long, global = true, value_delimiter = ',', value_name = "A,B")]
    pub(crate) fields: Vec<String>,
    /// Show times as they are, not relative to now
    #[arg(long, global = true)]
    pub(crate) utc: bool,
    /// Colour: on a terminal, always or never (NO_COLOR and CLICOLOR_FORCE are honoured)
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    pub(crate) color: When,
    /// Progress on standard error
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "HOW")]
    pub(crate) progress: Mode,
    /// Never ask: recovery codes, which alone are asked for, must then come from a file
    #[arg(long, global = true)]
    pub(crate) no_input: bool,
    /// State directory of the node; else STRONGROOM_STATE, else the node that `strongroom dev` started last
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// File with the caller's key; else STRONGROOM_KEY_FILE, else the local operator
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Management plane of a node, to be called over the network with a key file or an identity
    #[arg(long, global = true, value_name = "https://HOST:PORT", conflicts_with = "state")]
    pub(crate) server: Option<ServerUrl>,
    /// Certificate authority of that node, in PEM; default: the one beside the identity
    #[arg(long, global = true, value_name = "FILE", requires = "server")]
    pub(crate) ca: Option<PathBuf>,
    /// Directory of a service's identity, made by `strongroom access service create`; with `--key-file`, of the service
    /// that the key is bound to
    #[arg(long, global = true, value_name = "DIR", requires = "server")]
    pub(crate) identity: Option<PathBuf>,
}

/// Where a management plane listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    /// Name or address; must be in the certificate.
    pub(crate) host: String,
    /// Port.
    pub(crate) port: u16,
}

impl std::fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "https://[{host}]:{port}")
        } else {
            write!(f, "https://{host}:{port}")
        }
    }
}

impl std::str::FromStr for ServerUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = "write `https://HOST:PORT`";
        let rest = text.strip_prefix("https://").ok_or(wanted)?;
        let (host, port) = rest.strip_suffix('/').unwrap_or(rest).rsplit_once(':').ok_or(wanted)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':');
        let host = bare.unwrap_or(host);
        if host.is_empty() || !host.bytes().all(plain) || (host.contains(':') != bare.is_some()) {
            return Err(wanted);
        }
        Ok(Self { host: host.to_owned(), port: port.parse().map_err(|_| wanted)? })
    }
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Whose thing is meant.
#[derive(Debug, Clone, Args)]
pub(crate) struct TenantArg {
    /// Tenant; default: the key's own, or the only one
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<base::names::Name>,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a development node on this machine, in a throw-away directory
    #[command(before_long_help = "Examples:
  strongroom dev
  strongroom dev --state /var/tmp/my-node
  strongroom dev --ready-file /tmp/ready.json")]
    Dev(DevArgs),
    /// Run the control process of a node (started by the warden)
    Serve(ConfigArgs),
    /// Run the inference gateway of a node (started by the warden)
    Gateway(ConfigArgs),
    /// Run the relay of a node, its only way out (started by the warden)
    Relay(ConfigArgs),
    /// State of the node, problems first
    #[command(before_long_help = "Examples:
  strongroom status
  strongroom status -o json --fields state,problems,log_size")]
    Status,
    /// What this host offers and lacks; works without a node
    #[command(before_long_help = "Examples:
  strongroom doctor
  strongroom doctor -o json")]
    Doctor,
    /// Who you are to the node, and how it knows
    #[command(before_long_help = "Examples:
  strongroom whoami
  strongroom whoami --key-file acme.key")]
    Whoami,
    /// Log in: prove in a browser who you are, and be that person in the commands that follow
    #[command(before_long_help = "Examples:
  strongroom login --server https://node.example:9443 --ca node-ca.pem
  strongroom login --role auditor --tenant acme
  strongroom login --by device")]
    Login(LoginArgs),
    /// End your session, here and on the node
    #[command(before_long_help = "Examples:
  strongroom logout")]
    Logout,
    /// Tenants: who owns things, apart from all others
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Data sets: imported once, sealed, never changed
    #[command(subcommand)]
    Dataset(DatasetCommand),
    /// Images: root file systems of jobs, pinned by digest
    #[command(subcommand)]
    Image(ImageCommand),
    /// Training jobs: sandboxed, checkpointed, resumed by themselves
    #[command(subcommand)]
    Job(JobCommand),
    /// Models: inspected, signed, sealed; some commands work on plain files
    #[command(subcommand)]
    Model(ModelCommand),
    /// Model Bills of Materials
    #[command(subcommand)]
    Bom(BomCommand),
    /// Inference endpoints
    #[command(subcommand)]
    Endpoint(EndpointCommand),
    /// What is not to be used any more: models, data sets, files
    #[command(subcommand)]
    Revocation(RevocationCommand),
    /// Egresses: named places outside that jobs may reach, and nothing else
    #[command(subcommand)]
    Egress(EgressCommand),
    /// API keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Who may do what, by the rules in force or without a node; and what left the node
    #[command(subcommand)]
    Access(AccessCommand),
    /// The rules by which it is decided who may do what: those that ship, and a node's own beside them
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Whose signatures count for which models; works on plain files
    #[command(subcommand)]
    Trust(TrustCommand),
    /// The API of a node; works without a node
    #[command(subcommand)]
    Api(ApiCommand),
    /// The audit log
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Receipts of inference answers
    #[command(subcommand)]
    Receipt(ReceiptCommand),
    /// Safe mode: no key of a tenant is in use, nothing of a tenant runs, and two people lift it
    #[command(subcommand)]
    SafeMode(SafeModeCommand),
    /// Break-glass: what the operator at the machine may besides in safe mode, for a while
    #[command(subcommand)]
    BreakGlass(BreakGlassCommand),
    /// The node as a whole: diagnostics, starting its machine again
    #[command(subcommand)]
    Node(NodeCommand),
    /// Releases of the platform: made and signed offline, staged and activated on a node in service
    #[command(subcommand)]
    Release(ReleaseCommand),
    /// State of every control of the catalogue
    #[command(subcommand)]
    Posture(PostureCommand),
    /// What an error code means, its usual causes and what to do
    #[command(before_long_help = "Examples:
  strongroom explain SR-CLI-0002
  strongroom explain --all")]
    Explain(ExplainArgs),
    /// Completion script for a shell
    #[command(before_long_help = "Examples:
  strongroom completion bash")]
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Help on a command, or on `exit-codes`
    #[command(before_long_help = "Examples:
  strongroom help exit-codes
  strongroom help job run")]
    Help {
        /// A command, or `exit-codes`
        topic: Vec<String>,
    },
    /// The confined half of `model inspect`: is handed files on the socket that is its standard input
    #[command(name = crate::confined::COMMAND, hide = true)]
    InspectChild(InspectChildArgs),
}

/// Of `dev`.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Address of the gateway; loopback only, port 0 lets the kernel choose
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub(crate) listen: std::net::SocketAddr,
    /// Ask for two people where a node in service does: who made a model does not release it, weights leave by two
    #[arg(long)]
    pub(crate) two_people: bool,
    /// Write a JSON document here once the node is ready, for scripts
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
    /// Do not make it the node that later commands find by themselves
    #[arg(long)]
    pub(crate) no_context: bool,
}

/// Of `serve`, `gateway` and `relay`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Configuration of the node
    #[arg(long, value_name = "FILE", default_value = "/etc/strongroom/strongroom.toml")]
    pub(crate) config: PathBuf,
}

/// Of `explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The code, as in `error[SR-CLI-0002]`
    #[arg(required_unless_present_any = ["all", "markdown"])]
    pub(crate) code: Option<String>,
    /// Every code
    #[arg(long, conflicts_with = "code")]
    pub(crate) all: bool,
    /// Every code, as the page docs/errors.md
    #[arg(long, hide = true, conflicts_with = "code")]
    pub(crate) markdown: bool,
}

/// Of the confined inspector.
#[derive(Debug, Args)]
pub(crate) struct InspectChildArgs {
    /// Bytes of the largest file that it is handed
    pub(crate) largest: u64,
}
