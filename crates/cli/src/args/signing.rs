//! Signatures of models on plain files: what `model sign` and `model verify` take. The names are those of the
//! reference implementation of OpenSSF Model Signing, whose spelling with `_` is taken as well.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::TenantArg;

/// How a model is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Method {
    /// With an elliptic-curve key.
    Key,
    /// With a key and the certificate that a private authority issued for it.
    Certificate,
}

/// How a model was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Signing {
    /// With an elliptic-curve key.
    Key,
    /// With a key and the certificate that a private authority issued for it.
    Certificate,
    /// By an identity that a Sigstore instance certified.
    Sigstore,
}

/// Which hash names the content of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HashAlgorithm {
    /// SHA-256: what every verifier reads, and the store knows.
    Sha256,
    /// BLAKE2b with 512 bits.
    Blake2b,
    /// BLAKE3 with 256 bits.
    Blake3,
}

/// `model sign`.
#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// Directory (or single file) to sign
    pub(crate) path: PathBuf,
    /// Where the signature goes
    #[arg(long, value_name = "FILE", default_value = "model.sig")]
    pub(crate) signature: PathBuf,
    /// How
    #[arg(long, value_enum, default_value = "key")]
    pub(crate) method: Method,
    /// EC private key, PEM
    #[arg(long, value_name = "PEM", alias = "private_key")]
    pub(crate) private_key: PathBuf,
    /// Certificate of that key, PEM
    #[arg(long, value_name = "PEM", alias = "signing_certificate", required_if_eq("method", "certificate"))]
    pub(crate) signing_certificate: Option<PathBuf>,
    /// Certificates of the authorities above it, PEM; verifiers that have them need none here
    #[arg(
        long,
        value_name = "PEM",
        num_args = 1..,
        alias = "certificate_chain",
        requires = "signing_certificate"
    )]
    pub(crate) certificate_chain: Vec<PathBuf>,
    /// Hash of the files
    #[arg(long, value_enum, default_value = "sha256", alias = "hash_algorithm")]
    pub(crate) hash_algorithm: HashAlgorithm,
    /// Sign ranges of this many bytes and not whole files; empty files are then not covered
    #[arg(
        long,
        value_name = "BYTES",
        alias = "shard_size",
        num_args = 0..=1,
        default_missing_value = "1000000000",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub(crate) shard_size: Option<u64>,
    /// Paths to leave out of the signature
    #[arg(long, value_name = "PATH", num_args = 1.., alias = "ignore_paths")]
    pub(crate) ignore_paths: Vec<PathBuf>,
}

/// `model verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// NAME[@VERSION] of the node, or a directory together with `--signature`
    #[arg(value_name = "MODEL|DIR")]
    pub(crate) subject: String,
    /// Signature file; makes it work on plain files, without a node
    #[arg(long, value_name = "FILE")]
    pub(crate) signature: Option<PathBuf>,
    /// Whom to believe
    #[command(flatten)]
    pub(crate) trusted: TrustedArgs,
    /// Paths that are not part of the model: reported, and missing if they are signed
    #[arg(long, value_name = "PATH", num_args = 1.., requires = "signature", alias = "ignore_paths")]
    pub(crate) ignore_paths: Vec<PathBuf>,
    /// What else to take
    #[command(flatten)]
    pub(crate) leniency: Leniency,
    /// Whose
    #[command(flatten)]
    pub(crate) tenant: TenantArg,
}

/// Whom to believe.
#[derive(Debug, Args)]
pub(crate) struct TrustedArgs {
    /// How it was signed
    #[arg(long, value_enum, default_value = "key")]
    pub(crate) method: Signing,
    /// Method key: the signer's EC public key, PEM
    #[arg(long, value_name = "PEM", requires = "signature", alias = "public_key")]
    pub(crate) public_key: Option<PathBuf>,
    /// Method certificate: roots to trust, PEM; other certificates in the files only help to find a path
    #[arg(long, value_name = "PEM", num_args = 1.., requires = "signature", alias = "certificate_chain")]
    pub(crate) certificate_chain: Vec<PathBuf>,
    /// Revocation lists, PEM or DER; with any of them, every authority of the path must have a current one
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "signature")]
    pub(crate) crl: Vec<PathBuf>,
    /// Roots of timestamp authorities, PEM; a timestamp then proves the time of signing
    #[arg(long, value_name = "PEM", num_args = 1.., requires = "signature", alias = "tsa_roots")]
    pub(crate) tsa_roots: Vec<PathBuf>,
    /// Who must have signed: e-mail address, URI or DNS name of the certificate, or subject:NAME; without
    /// `--signature`, the directory of a service's identity, as everywhere
    // It stands in the place of the global flag of this name, and is therefore of its type.
    #[arg(long, value_name = "NAME")]
    pub(crate) identity: Option<PathBuf>,
    /// Method sigstore: the OpenID provider that vouched for the identity
    #[arg(long, value_name = "URL", requires = "signature", alias = "identity_provider")]
    pub(crate) identity_provider: Option<String>,
    /// Method sigstore: trusted root of the instance, JSON; nothing is fetched
    #[arg(long, value_name = "FILE", requires = "signature", alias = "trust_config")]
    pub(crate) trust_config: Option<PathBuf>,
}

/// What is refused unless it is asked for. A node asks for none of it.
#[derive(Debug, Args, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub(crate) struct Leniency {
    /// Refuse also what the signature leaves out: version control, ignored paths, and with shards empty files
    #[arg(long, requires = "signature", conflicts_with = "ignore_unsigned_files")]
    pub(crate) exact: bool,
    /// Let files stay that are not signed; they are reported, and never to be loaded
    #[arg(long, requires = "signature", alias = "ignore_unsigned_files")]
    pub(crate) ignore_unsigned_files: bool,
    /// Take a signature that followed symbolic links, and follow those that are there
    #[arg(long, requires = "signature", alias = "allow_symlinks")]
    pub(crate) allow_symlinks: bool,
    /// Read the form in which the reference wrote shards up to version 1.1.1
    #[arg(long, requires = "signature")]
    pub(crate) legacy_shards: bool,
}
