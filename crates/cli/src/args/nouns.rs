//! The verbs of each noun.

use std::path::PathBuf;

use access::Role;
use base::names::Name;
use clap::{Args, Subcommand};

use super::{
    ApprovalCommand, GrantArgs, ImportArgs, IntakeCommand, SessionCommand, SignArgs, TenantArg, UserCommand,
    VerifyArgs,
};
use crate::names::Versioned;

/// Verbs of `tenant`.
#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// Create a tenant with its own key
    #[command(before_long_help = "Examples:
  strongroom tenant create acme")]
    Create {
        /// Its name: a-z, 0-9, `-`, `_`, `.`
        name: Name,
    },
    /// List the tenants that you may see
    List,
    /// Show one tenant
    Show {
        /// Its name
        name: Name,
    },
}

/// Verbs of `dataset`.
#[derive(Debug, Subcommand)]
pub(crate) enum DatasetCommand {
    /// Import files as a new version of a data set: hashed and sealed in one pass, then recognised and counted
    ///
    /// Recognised by content: CSV, TSV, JSON, JSON lines, text, Parquet, Arrow, PNG, JPEG, GIF, WebP, BMP, TIFF, NumPy,
    /// IDX, HDF5, safetensors, TFRecord, and what is in tar, ZIP, gzip, zstd, bzip2, xz and LZ4. What is of none of them is
    /// data, too. Pickles and programs are refused, wherever they are, unless the trust policy accepts them.
    #[command(before_long_help = "Examples:
  strongroom dataset import fashion-mnist /usr/share/datasets/fashion-mnist --tenant acme")]
    Import {
        /// Name of the data set
        name: Name,
        /// A file, or a directory of regular files (links and devices are refused)
        path: PathBuf,
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// List the data sets
    List {
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Show a data set and its files
    Show(Thing),
    /// Open every sealed file and compare it with the manifest
    #[command(before_long_help = "Examples:
  strongroom dataset verify fashion-mnist@1 --tenant acme")]
    Verify(Thing),
    /// Say how one version differs from another: files and records
    #[command(before_long_help = "Examples:
  strongroom dataset diff fashion-mnist@1 fashion-mnist@2 --tenant acme")]
    Diff {
        /// The one, NAME or NAME@VERSION; without a version the newest
        #[arg(value_name = "NAME[@VERSION]")]
        from: Versioned,
        /// The other
        #[arg(value_name = "NAME[@VERSION]")]
        to: Versioned,
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
}

/// Verbs of `image`.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Say the digest of a directory or OCI image layout, as a job file names it; works without a node
    #[command(before_long_help = "Examples:
  strongroom image digest rootfs
  strongroom image digest layout -o json")]
    Digest {
        /// A directory that is a root file system, or an OCI image layout
        path: PathBuf,
    },
    /// Import an image: sealed as it is, unpacked once in a confined process, pinned by its digest
    #[command(before_long_help = "Examples:
  strongroom image import rootfs --tenant acme
  strongroom image import layout --name trainer --tenant acme")]
    Import {
        /// A directory that is a root file system, or an OCI image layout
        path: PathBuf,
        /// What to call it; else the name of the path
        #[arg(long)]
        name: Option<Name>,
        /// Which image of a layout that holds several: the digest of its manifest
        #[arg(long, value_name = "sha256:HEX")]
        digest: Option<String>,
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// List the images
    List {
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Show an image: layers, variables, packages
    Show {
        /// Its digest
        #[arg(value_name = "sha256:HEX")]
        digest: String,
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
}

/// One version of a named thing.
#[derive(Debug, Args)]
pub(crate) struct Thing {
    /// NAME or NAME@VERSION; without a version the newest
    #[arg(value_name = "NAME[@VERSION]")]
    pub(crate) thing: Versioned,
    /// Whose
    #[command(flatten)]
    pub(crate) tenant: TenantArg,
}

/// Verbs of `job`.
#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Submit a job file: its code and its inputs given as paths are imported and pinned
    #[command(before_long_help = "Examples:
  strongroom job run examples/fashion-mnist/job.toml
  strongroom job run examples/fashion-mnist/job.toml --watch

Of the code directory, `.git` and `__pycache__` are left out.")]
    Run {
        /// The job file
        file: PathBuf,
        /// Stay, and show what it does until it ends
        #[arg(long)]
        watch: bool,
        /// Whose; default: the tenant that the job file names
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// List the jobs
    List {
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Show a job: state, segments, checkpoints, isolation, output
    Show(JobArg),
    /// Follow a job until it ends; exit 3 if it fails
    #[command(before_long_help = "Examples:
  strongroom job watch JOB --tenant acme
  strongroom job watch JOB -o jsonl")]
    Watch(JobArg),
    /// Stop a job: it may write a checkpoint, then it ends
    Stop(JobArg),
    /// Go on with a job that is held or stopped
    #[command(before_long_help = "Examples:
  strongroom job resume JOB --reason \"data fixed\" --tenant acme")]
    Resume {
        /// Which job
        #[command(flatten)]
        job: JobArg,
        /// Why, for the log
        #[arg(long)]
        reason: String,
    },
    /// Sealed checkpoints
    #[command(subcommand)]
    Checkpoint(CheckpointCommand),
}

/// One job.
#[derive(Debug, Args)]
pub(crate) struct JobArg {
    /// Id of the job, or its name for the newest of that name
    pub(crate) job: String,
    /// Whose
    #[command(flatten)]
    pub(crate) tenant: TenantArg,
}

/// Verbs of `job checkpoint`.
#[derive(Debug, Subcommand)]
pub(crate) enum CheckpointCommand {
    /// List the sealed checkpoints of a job
    List(JobArg),
}

/// Verbs of `model`.
#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Bring in a model that was made elsewhere: it goes into quarantine, and is used once its intake is done
    #[command(before_long_help = "Examples:
  strongroom model import resnet ./resnet --tenant acme --source https://example.org/resnet
  strongroom model import resnet resnet.tar.gz --tenant acme --source https://example.org/resnet --license MIT --producer Example --purpose \"find cats\" --accountable Ann
  strongroom model import resnet ./resnet --tenant acme --source Example --signature model.sig --method key --public-key example.pub.pem")]
    Import(Box<ImportArgs>),
    /// What models that were made elsewhere go through before their first use
    #[command(subcommand)]
    Intake(IntakeCommand),
    /// List the models
    List {
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Show a model: digests, signer, BoM, inspection
    Show(Thing),
    /// Say what files really are and whether they may be loaded (exit 0), or not (exit 3); needs no node
    #[command(before_long_help = "Examples:
  strongroom model inspect model.onnx
  strongroom model inspect ./model -o json
  strongroom model inspect ./model --sarif findings.sarif
  strongroom model inspect ./model --receipt inspection.json --key key.pem
  strongroom model inspect --rules")]
    Inspect(InspectArgs),
    /// Sign a directory in OMS format; needs no node
    #[command(before_long_help = "Examples:
  strongroom model sign ./model --signature model.sig --method key --private-key key.pem
  strongroom model sign ./model --signature model.sig --private-key key.pem --hash-algorithm blake3 --shard-size 1000000000
  strongroom model sign ./model --signature model.sig --method certificate --private-key key.pem --signing-certificate signer.pem --certificate-chain authority.pem")]
    Sign(SignArgs),
    /// Verify a model of the node, or with `--signature` a directory on plain files: 0 verified, 3 not
    #[command(before_long_help = "Examples:
  strongroom model verify fashion-mnist@1 --tenant acme
  strongroom model verify ./model --signature model.sig --method key --public-key key.pub.pem
  strongroom model verify ./model --signature model.sig --method certificate --certificate-chain root.pem --crl root.crl
  strongroom model verify ./model --signature model.sig --method certificate --certificate-chain root.pem --tsa-roots tsa.pem --identity alice@example.org
  strongroom model verify ./model --signature model.sig --method sigstore --trust-config trusted_root.json --identity alice@example.org --identity-provider https://accounts.example.org")]
    Verify(Box<VerifyArgs>),
    /// Add somebody's signature to a model of the node; it counts as far as the tenant's trust policy says
    #[command(before_long_help = "Examples:
  strongroom model export fashion-mnist@1 ./out --tenant acme
  strongroom model sign ./out --signature by-ann.sig --private-key ann.pem
  strongroom model countersign fashion-mnist@1 --signature by-ann.sig --tenant acme")]
    Countersign {
        /// NAME@VERSION
        #[arg(value_name = "NAME@VERSION")]
        thing: Versioned,
        /// The signature file in OpenSSF Model Signing format
        #[arg(long, value_name = "FILE")]
        signature: PathBuf,
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Write files and signature of a model to a new directory
    #[command(before_long_help = "Examples:
  strongroom model export fashion-mnist@1 ./out --tenant acme")]
    Export {
        /// NAME or NAME@VERSION
        #[arg(value_name = "NAME[@VERSION]")]
        thing: Versioned,
        /// New directory: `model/` holds the files, `model.sig` the signature, `model.pub.pem` the key
        directory: PathBuf,
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
}

/// Verbs of `bom`.
#[derive(Debug, Subcommand)]
pub(crate) enum BomCommand {
    /// Show what a model was made of
    #[command(before_long_help = "Examples:
  strongroom bom show fashion-mnist@1 --tenant acme
  strongroom bom show fashion-mnist@1 --tenant acme -o json")]
    Show(Thing),
    /// Verify the signature and the shape of an exported BoM; needs no node
    #[command(before_long_help = "Examples:
  strongroom bom verify model.bom.json --public-key bom.pub.pem")]
    Verify {
        /// The envelope that `bom export` wrote
        file: PathBuf,
        /// Key that must have signed it, PEM
        #[arg(long, value_name = "PEM")]
        public_key: PathBuf,
        /// Directory of the model: its files are compared with those that the BoM lists
        #[arg(long, value_name = "DIR")]
        model: Option<PathBuf>,
    },
    /// Write the signed envelope to FILE, its CycloneDX document and the key beside it
    #[command(before_long_help = "Examples:
  strongroom bom export fashion-mnist@1 model.bom.json --tenant acme")]
    Export {
        /// NAME or NAME@VERSION
        #[arg(value_name = "NAME[@VERSION]")]
        thing: Versioned,
        /// Where the envelope goes; `FILE.cdx.json` gets the document, `FILE.pub.pem` the key
        file: PathBuf,
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
}

/// Verbs of `endpoint`.
#[derive(Debug, Subcommand)]
pub(crate) enum EndpointCommand {
    /// Serve a model: verified over the bytes that are used, in its own sandbox
    #[command(before_long_help = "Examples:
  strongroom endpoint deploy classifier fashion-mnist@1 --tenant acme")]
    Deploy {
        /// Name of the endpoint
        name: Name,
        /// NAME or NAME@VERSION of the model
        #[arg(value_name = "MODEL[@VERSION]")]
        model: Versioned,
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// List the endpoints
    List {
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Show an endpoint
    Show(EndpointArg),
    /// Verify what is served, over the bytes in use: 0 verified, 3 not, and then it is served no more
    #[command(before_long_help = "Examples:
  strongroom endpoint verify classifier --tenant acme")]
    Verify(EndpointArg),
    /// Stop an endpoint
    Stop(EndpointArg),
}

/// One endpoint.
#[derive(Debug, Args)]
pub(crate) struct EndpointArg {
    /// Its name
    pub(crate) name: Name,
    /// Whose
    #[command(flatten)]
    pub(crate) tenant: TenantArg,
}

/// Verbs of `key`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key: for one endpoint, or to manage the tenant's own things
    #[command(before_long_help = "Examples:
  strongroom key create --endpoint classifier --out classifier.key --tenant acme
  strongroom key create --out acme.key --tenant acme
  strongroom key create --role ml-engineer --out trainer.key --tenant acme
  strongroom key create --endpoint classifier --service web --out web.key --tenant acme")]
    Create {
        /// The one endpoint that it may ask
        #[arg(long)]
        endpoint: Option<Name>,
        /// Role of a key that manages the tenant's things: tenant-admin (the default), auditor, ml-engineer, deployer
        #[arg(long, value_name = "ROLE", conflicts_with = "endpoint", value_parser = key_role)]
        role: Option<Role>,
        /// Days until it ends, at most 365
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=365))]
        days: Option<u32>,
        /// The service on whose certificate alone it is good: whoever else has it has nothing
        #[arg(long, value_name = "NAME")]
        service: Option<Name>,
        /// Write the key to this new file, readable by you alone; else it is part of the result
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// List the keys, without their secrets
    List {
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Revoke a key: from the next request on it opens nothing, and what is sent to it breaks off within a second
    #[command(before_long_help = "Examples:
  strongroom key revoke KEY --tenant acme")]
    Revoke {
        /// Id of the key
        id: String,
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
}

/// Verbs of `access`.
#[derive(Debug, Subcommand)]
pub(crate) enum AccessCommand {
    /// Whether a role, a key, a service or a person may do something: 0 yes, 3 no
    #[command(before_long_help = "Examples:
  strongroom access check --as ml-engineer --tenant acme job.run
  strongroom access check --as user:ann --tenant acme model.export classifier/1 --why
  strongroom access check --as deployer --tenant acme key.revoke --why
  strongroom access check --as auditor --tenant acme model.show classifier/1 --in globex --why
  strongroom access check --as auditor --tenant acme audit.search --policy rules.cedar --why")]
    Check {
        /// Who asks. Anybody of a role: platform-operator, security, auditor, tenant-admin, ml-engineer, deployer,
        /// application. Or key:ID, service:NAME, user:NAME, with the roles that they have now
        #[arg(long = "as", value_name = "WHO", value_parser = Asker::parse)]
        who: Asker,
        /// Tenant of who asks; who has a role of the whole node has none
        #[arg(long, value_name = "NAME")]
        tenant: Option<Name>,
        /// Tenant in which the thing lies; default: that of who asks
        #[arg(long = "in", id = "within", value_name = "NAME")]
        within: Option<Name>,
        /// Operation, as in docs/access.md
        operation: String,
        /// The thing, as in a path of the API: NAME/VERSION
        resource: Option<String>,
        /// Say which rules decide, and why
        #[arg(long)]
        why: bool,
        /// Own rules to ask, with those that ship and without a node; default: the rules in force on the node, and
        /// where none is known those that ship
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
    /// Bytes of models that left the node within a day, by whom, and the caps
    #[command(before_long_help = "Examples:
  strongroom access egress
  strongroom access egress -o json")]
    Egress,
    /// Services that call the management plane with certificates of their own
    #[command(subcommand)]
    Service(ServiceCommand),
    /// People who may log in
    #[command(subcommand)]
    User(UserCommand),
    /// Grant a person a role for a time
    #[command(before_long_help = "Examples:
  strongroom access grant ann ml-engineer --tenant acme --reason \"trains the classifier\"
  strongroom access grant ben security --for 30d --reason \"on call in May\"")]
    Grant(GrantArgs),
    /// Take a grant back now; sessions that rest on it are over
    #[command(before_long_help = "Examples:
  strongroom access user show ann -o json
  strongroom access revoke ann 3")]
    Revoke {
        /// Whose
        name: Name,
        /// Its number
        number: u64,
    },
    /// Sessions of people
    #[command(subcommand)]
    Session(SessionCommand),
    /// What needs two people: one asks, another approves
    #[command(subcommand)]
    Approval(ApprovalCommand),
}

/// Verbs of `access service`.
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Make a service: a key that stays here, and a certificate of one hour that is renewed by using it
    #[command(before_long_help = "Examples:
  strongroom access service create ci --role ml-engineer --tenant acme --out ci-identity
  strongroom access service create shop --role application --tenant acme --out shop-identity
  strongroom job list --server https://node:9443 --identity ci-identity")]
    Create {
        /// Its name; one that was revoked is not given again
        name: Name,
        /// What it may: tenant-admin, auditor, ml-engineer, deployer, or application, which asks endpoints and nothing else
        #[arg(long, value_name = "ROLE", value_parser = key_role)]
        role: Role,
        /// Days until its certificate is no longer renewed, at most 365; default 30
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=365))]
        days: Option<u32>,
        /// New directory for key.pem, cert.pem and ca.pem
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// List the services
    List {
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Revoke a service: from its next request on it may do nothing, and what is sent to it breaks off within a second
    #[command(before_long_help = "Examples:
  strongroom access service revoke ci --tenant acme")]
    Revoke {
        /// Its name
        name: Name,
        /// Whose
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Renew the certificate of `--identity` now; other commands renew it when half of its hour is over
    #[command(before_long_help = "Examples:
  strongroom access service renew --server https://node:9443 --identity ci-identity")]
    Renew,
}

/// Verbs of `api`.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum ApiCommand {
    /// Print the description of the API: OpenAPI 3.1, as the node answers it at /v1/openapi.json
    #[command(before_long_help = "Examples:
  strongroom api openapi")]
    Openapi,
}

/// Whom a question about access is about.
#[derive(Debug, Clone)]
pub(crate) enum Asker {
    /// Anybody of this role.
    Role(Role),
    /// One whom the node knows: `key:ID`, `service:NAME`, `user:NAME`.
    Known(String),
}

impl Asker {
    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("key" | "service" | "user", id)) if !id.is_empty() => Ok(Self::Known(text.to_owned())),
            Some(_) => Err("who is named is `key:ID`, `service:NAME` or `user:NAME`".to_owned()),
            None => text.parse().map(Self::Role).map_err(|e: access::UnknownRole| e.to_string()),
        }
    }
}

fn key_role(text: &str) -> Result<Role, String> {
    match text.parse::<Role>() {
        Ok(role) if role.is_a_tenants() => Ok(role),
        Ok(_) => Err("it is of the whole node, and no key or service has it".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Verbs of `audit`.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Search the log
    #[command(before_long_help = "Examples:
  strongroom audit search --kind job.resume
  strongroom audit search --asset fashion-mnist@1 --limit 20 -o jsonl")]
    Search(SearchArgs),
    /// Follow the log
    #[command(before_long_help = "Examples:
  strongroom audit tail
  strongroom audit tail -o jsonl")]
    Tail(SearchArgs),
    /// Verify a copy of the log offline: 0 verified, 3 not; needs no node
    #[command(before_long_help = "Examples:
  strongroom audit verify ./log --key kept.vkey
  strongroom audit verify ./log --at-least ./kept/checkpoint")]
    Verify {
        /// Directory with the copy (`strongroom audit export`)
        path: PathBuf,
        /// Verifier key (C2SP signed-note), or a file that holds it; default: `vkey` of the copy itself
        #[arg(long, value_name = "VKEY")]
        key: Option<String>,
        /// A checkpoint that was kept elsewhere: proves that the copy is not cut before it
        #[arg(long, value_name = "FILE")]
        at_least: Option<PathBuf>,
    },
    /// Write a copy of the log to a new directory, for `audit verify`
    #[command(before_long_help = "Examples:
  strongroom audit export ./log")]
    Export {
        /// New directory
        directory: PathBuf,
    },
}

/// What to search for.
#[derive(Debug, Clone, Args)]
pub(crate) struct SearchArgs {
    /// Entries that contain this text
    pub(crate) text: Option<String>,
    /// Events of this kind, as in `job.resume`; `job.` takes all that start so
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// Events of this tenant
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Events about this asset: its name or id, or a part of it
    #[arg(long)]
    pub(crate) asset: Option<String>,
    /// Events that ended so: success, failure, refused, unknown
    #[arg(long)]
    pub(crate) outcome: Option<String>,
    /// Index to start at; `search` starts at 0, `tail` at the end
    #[arg(long)]
    pub(crate) from: Option<u64>,
    /// Most events to show, the newest; 0 for all
    #[arg(long, default_value_t = 100)]
    pub(crate) limit: usize,
}

/// Verbs of `receipt`.
#[derive(Debug, Subcommand)]
pub(crate) enum ReceiptCommand {
    /// Show what an inference answer leads to: model, BoM, log entry, proof
    #[command(before_long_help = "Examples:
  strongroom receipt show RECEIPT")]
    Show {
        /// Id from the answer's header
        id: String,
    },
}

/// Verbs of `posture`.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum PostureCommand {
    /// Run the probes on the live platform; exit 3 if a control fails
    #[command(before_long_help = "Examples:
  strongroom posture run
  strongroom posture run -o json")]
    Run,
    /// Show the result of the last run
    Show,
}

/// Of `model inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A file, or a directory of which every file is inspected
    #[arg(required_unless_present = "rules")]
    pub(crate) path: Option<PathBuf>,
    /// Also write the findings here, as SARIF 2.1.0
    #[arg(long, value_name = "FILE")]
    pub(crate) sarif: Option<PathBuf>,
    /// Also write a signed receipt here: verdict, findings and digests as an in-toto statement in a DSSE envelope
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) receipt: Option<PathBuf>,
    /// P-256 private key that signs the receipt, PEM
    #[arg(long, value_name = "PEM", requires = "receipt")]
    pub(crate) key: Option<PathBuf>,
    /// Also look at every number, and say whether all are finite
    #[arg(long)]
    pub(crate) numbers: bool,
    /// List the rules, each with its remedy
    #[arg(long, conflicts_with_all = ["path", "sarif", "receipt", "key", "numbers"])]
    pub(crate) rules: bool,
}
