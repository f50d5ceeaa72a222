//! OMS signatures on plain files: every file is read once, by several threads, and hashed as it streams by.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use base::{Digest, Explain};
use integrity::oms::{
    self, Accept, Draft, HashType, Present, Serialization, Signed, Signer, Trust, Unsigned,
};
use integrity::{Certificate, CertificateTrust, Crl, Difference, PrivateKey, PublicKey, VerifyError};
use serde_json::{Value, json};

use crate::args::{HashAlgorithm, Leniency, Method, SignArgs, Signing, TrustedArgs, VerifyArgs};
use crate::context::write_whole;
use crate::error::{CliError, Failure};
use crate::exit::Exit;
use crate::measure::{Found, Links, Tree};
use crate::output::{Answer, Column, Kind, View, printable};
use crate::progress::Progress;
use crate::session::Session;

/// Largest signature file that is read: the bound of `integrity` (64 MiB).
const SIGNATURE_MAX: u64 = 64 << 20;
/// Largest PEM file of a key that is read.
const PEM_MAX: u64 = 64 << 10;
/// Largest PEM file of certificates that is read: the bound of `integrity`.
const CHAIN_MAX: u64 = 1 << 20;
/// Largest revocation list that is read: the bound of `integrity`.
const CRL_MAX: u64 = 16 << 20;

const COLUMNS: &[Column] = &[
    Column::new("subject", "SUBJECT", Kind::Plain),
    Column::new("verified", "VERIFIED", Kind::Plain),
    Column::new("digest", "ROOT DIGEST", Kind::Digest),
    Column::new("code", "CODE", Kind::Plain),
    Column::new("reason", "REASON", Kind::Plain),
    Column::new("differences", "DIFFERENCES", Kind::Count),
    Column::new("files", "FILES", Kind::Count),
    Column::new("ignored", "IGNORED", Kind::Count),
    Column::new("key", "KEY FINGERPRINT", Kind::Digest),
];

/// What is left out of the walk: the signature file, the named paths, and at the top what every signer leaves out.
struct Left {
    signature: Option<String>,
    ignored: Vec<String>,
}

impl Left {
    fn new(root: &Path, signature: &Path, ignore: &[PathBuf]) -> Result<Self, CliError> {
        let ignored = ignore.iter().map(|path| relative(root, path)).collect::<Result<Vec<_>, _>>()?;
        // A signature within the directory signs everything but itself.
        let canonical = |path: &Path| std::fs::canonicalize(path).ok();
        let parent =
            signature.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let inside = canonical(root)
            .zip(canonical(parent))
            .and_then(|(root, parent)| Some(parent.strip_prefix(root).ok()?.join(signature.file_name()?)))
            .and_then(|path| Some(path.to_str()?.to_owned()));
        Ok(Self { signature: inside, ignored })
    }

    /// Whether the caller leaves it out.
    fn named(&self, name: &str) -> bool {
        self.signature.as_deref() == Some(name) || self.ignored.iter().any(|path| below(name, path))
    }

    /// Whether a signer leaves it out.
    fn covers(&self, name: &str) -> bool {
        self.named(name) || oms::DEFAULT_IGNORED.iter().any(|path| below(name, path))
    }
}

/// Whether a name is a path or below it.
fn below(name: &str, path: &str) -> bool {
    name == path || name.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
}

/// A path of `--ignore-paths` relative to the model: given so, or below the model's directory.
fn relative(root: &Path, path: &Path) -> Result<String, CliError> {
    let inner = path.strip_prefix(root).unwrap_or(path);
    let plain = !inner.as_os_str().is_empty()
        && inner.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    let parts: Option<Vec<&str>> = inner
        .components()
        .filter(|c| matches!(c, Component::Normal(_)))
        .map(|c| c.as_os_str().to_str())
        .collect();
    match parts {
        Some(parts) if plain && !parts.is_empty() => Ok(parts.join("/")),
        _ => Err(CliError::Usage(format!("`{}` is not a path within `{}`", path.display(), root.display()))),
    }
}

/// Signs a directory.
pub(super) fn sign(session: &Session, args: &SignArgs) -> Result<Answer, Failure> {
    let refused = |e: &dyn Explain| Failure::explain(e, Exit::Failed);
    let root = args.path.as_path();
    let key = PrivateKey::from_pem(&read_bounded(&args.private_key, PEM_MAX)?).map_err(|e| refused(&e))?;
    let own = args.signing_certificate.as_deref().map(|path| certificates(&[path])).transpose()?;
    if own.is_some() && args.method == Method::Key {
        let what = "`--signing-certificate` goes with `--method certificate`";
        return Err(CliError::Usage(what.to_owned()).into());
    }
    let above = certificates(&args.certificate_chain)?;
    let left = Left::new(root, &args.signature, &args.ignore_paths)?;
    let tree = Tree::open(root, Links::Refuse)?;
    if let Some(name) = tree.empty_directories.iter().find(|name| !left.covers(name)) {
        // What is signed here must verify here.
        let path = root.join(name);
        let reason = "it is empty, which no signature covers; remove it or put a file there".to_owned();
        return Err(CliError::Content { path, reason }.into());
    }
    let files: Vec<Found> = tree.files.iter().filter(|f| !left.covers(&f.name)).cloned().collect();
    let serialization = serialization(args);
    let progress = Progress::new(session.progress, "hash", Tree::total(&files));
    let measured = tree.measure(&files, serialization, &progress)?;
    let name = std::fs::canonicalize(root).ok();
    let name = name.as_deref().unwrap_or(root).file_name().and_then(|n| n.to_str()).unwrap_or("model");
    let ignored: Vec<String> = left.ignored.iter().chain(&left.signature).cloned().collect();
    let draft = Draft { model_name: name, serialization, files: &measured, ignore_paths: &ignored };
    let resources = draft.resources().map_err(|e| refused(&e))?;
    let bundle = match own.as_deref() {
        None => oms::sign_with_key(&key, &draft),
        Some([certificate, more @ ..]) => {
            let above: Vec<Certificate> = more.iter().chain(&above).cloned().collect();
            oms::sign_with_certificate(&key, certificate, &above, &draft)
        }
        Some([]) => Err(integrity::SignError::Signature),
    }
    .map_err(|e| refused(&e))?;
    write_whole(&args.signature, &bundle, 0o644)?;
    let digest = oms::root_digest(&resources);
    let json = json!({
        "schema": "strongroom.model.signature/1",
        "subject": name,
        "digest": digest.hex(),
        "method": if own.is_some() { "certificate" } else { "key" },
        "hash": serialization.hash.name(),
        "shard_size": args.shard_size,
        "key": key.public_key().fingerprint().ok().map(|k| k.hex()),
        "files": measured.keys().collect::<Vec<_>>(),
        "ignored": ignored,
        "signature": args.signature.display().to_string(),
    });
    let text = format!(
        "✓ signed {} files, root digest {digest}\n  signature  {}\n",
        files.len(),
        args.signature.display()
    );
    Ok(Answer::of(json, View::Text { text, rows: "", columns: COLUMNS }))
}

fn serialization(args: &SignArgs) -> Serialization {
    let hash = match args.hash_algorithm {
        HashAlgorithm::Sha256 => HashType::Sha256,
        HashAlgorithm::Blake2b => HashType::Blake2b,
        HashAlgorithm::Blake3 => HashType::Blake3,
    };
    let method = args.shard_size.map_or(oms::Method::Files, |size_bytes| oms::Method::Shards { size_bytes });
    Serialization { hash, method }
}

/// Verifies a directory against a signature file; exit 3 unless everything is as signed.
pub(super) fn verify(session: &Session, args: &VerifyArgs, signature: &Path) -> Result<Answer, Failure> {
    let root = Path::new(&args.subject);
    let bundle = read_bounded(signature, SIGNATURE_MAX)?;
    let left = Left::new(root, signature, &args.ignore_paths)?;
    let accept =
        Accept { legacy_shards: args.leniency.legacy_shards, symlinks: args.leniency.allow_symlinks };
    let opened = match trust(&args.trusted) {
        Ok(Believed::Holder(trust)) => oms::open_with(&bundle, &trust, accept, crate::clock::now()),
        Ok(Believed::Identity { instance, identity, provider }) => {
            instance.open(&bundle, (&identity, &provider), accept)
        }
        Err(Untrusted::Failure(failure)) => return Err(*failure),
        Err(Untrusted::Refused(error)) => Err(error),
    };
    verdict(session, root, &left, args.leniency, opened)
}

/// Verifies a directory of method `key` with nothing left out.
pub(super) fn verify_with_key(
    session: &Session,
    root: &Path,
    signature: &Path,
    public_key: &Path,
) -> Result<Answer, Failure> {
    let bundle = read_bounded(signature, SIGNATURE_MAX)?;
    let opened = oms::open(&bundle, &read_bounded(public_key, PEM_MAX)?);
    let leniency =
        Leniency { exact: true, ignore_unsigned_files: false, allow_symlinks: false, legacy_shards: false };
    verdict(session, root, &Left::new(root, signature, &[])?, leniency, opened)
}

/// Whom to believe.
enum Believed {
    Holder(Trust),
    Identity { instance: Box<sigstore::Instance>, identity: String, provider: String },
}

/// Why there is nobody to trust: a command that cannot be carried out, or what was passed is no good.
enum Untrusted {
    Failure(Box<Failure>),
    Refused(VerifyError),
}

impl<E: Into<Failure>> From<E> for Untrusted {
    fn from(error: E) -> Self {
        Self::Failure(Box::new(error.into()))
    }
}

fn trust(args: &TrustedArgs) -> Result<Believed, Untrusted> {
    let of_sigstore = args.identity_provider.is_some() || args.trust_config.is_some();
    if args.method != Signing::Sigstore && of_sigstore {
        let what = "`--identity-provider` and `--trust-config` go with `--method sigstore`";
        return Err(CliError::Usage(what.to_owned()).into());
    }
    match args.method {
        Signing::Key => by_key(args).map(Believed::Holder),
        Signing::Certificate => by_certificate(args).map(Believed::Holder),
        Signing::Sigstore => by_identity(args),
    }
}

fn usage(what: &str) -> Untrusted {
    CliError::Usage(what.to_owned()).into()
}

fn refused(error: integrity::CertificateError) -> Untrusted {
    Untrusted::Refused(error.into())
}

fn by_key(args: &TrustedArgs) -> Result<Trust, Untrusted> {
    let Some(path) = &args.public_key else {
        return Err(usage("method key needs `--public-key`, the key of whom you trust"));
    };
    let beside = !args.certificate_chain.is_empty() || !args.crl.is_empty();
    if beside || !args.tsa_roots.is_empty() || args.identity.is_some() {
        return Err(usage("certificates and identities go with `--method certificate`"));
    }
    let key = PublicKey::from_pem(&read_bounded(path, PEM_MAX)?);
    key.map(Trust::Key).map_err(|e| Untrusted::Refused(e.into()))
}

fn by_certificate(args: &TrustedArgs) -> Result<Trust, Untrusted> {
    if args.certificate_chain.is_empty() || args.public_key.is_some() {
        return Err(usage("method certificate needs `--certificate-chain`, and no `--public-key`"));
    }
    let mut trust = CertificateTrust::new(certificates(&args.certificate_chain)?).map_err(refused)?;
    if !args.tsa_roots.is_empty() {
        trust = trust.with_tsa(certificates(&args.tsa_roots)?).map_err(refused)?;
    }
    let mut lists = Vec::new();
    for path in &args.crl {
        let list = Crl::parse(&read_bounded(path, CRL_MAX)?);
        lists.push(list.map_err(|e| content(path, &e))?);
    }
    trust = trust.with_crls(lists).map_err(refused)?;
    Ok(Trust::Certificates(match &args.identity {
        Some(identity) => trust.with_identity(named(identity)?),
        None => trust,
    }))
}

fn by_identity(args: &TrustedArgs) -> Result<Believed, Untrusted> {
    let (Some(identity), Some(provider), Some(path)) =
        (&args.identity, &args.identity_provider, &args.trust_config)
    else {
        let what = "method sigstore needs `--identity`, `--identity-provider` and `--trust-config`";
        return Err(usage(what));
    };
    let beside = !args.certificate_chain.is_empty() || !args.crl.is_empty() || args.public_key.is_some();
    if beside || !args.tsa_roots.is_empty() {
        return Err(usage("with method sigstore, keys and roots come from `--trust-config` alone"));
    }
    let most = u64::try_from(sigstore::TRUSTED_ROOT_MAX).unwrap_or(u64::MAX);
    let instance = sigstore::Instance::parse(&read_bounded(path, most)?);
    let instance = Box::new(instance.map_err(|e| content(path, &e))?);
    Ok(Believed::Identity { instance, identity: named(identity)?.to_owned(), provider: provider.clone() })
}

/// An identity as a text.
fn named(identity: &Path) -> Result<&str, Untrusted> {
    identity.to_str().ok_or_else(|| usage("`--identity` is a name in UTF-8"))
}

/// All certificates of these files.
fn certificates(paths: &[impl AsRef<Path>]) -> Result<Vec<Certificate>, Failure> {
    let mut all = Vec::new();
    for path in paths.iter().map(AsRef::as_ref) {
        let read = Certificate::all_from_pem(&read_bounded(path, CHAIN_MAX)?);
        all.extend(read.map_err(|e| content(path, &e))?);
    }
    Ok(all)
}

/// A failure about a file of certificates, which names the file.
fn content(path: &Path, error: &integrity::CertificateError) -> Failure {
    let mut failure = Failure::explain(error, Exit::Failed);
    failure.what = format!("`{}`: {}", path.display(), failure.what);
    failure
}

fn verdict(
    session: &Session,
    root: &Path,
    left: &Left,
    leniency: Leniency,
    opened: Result<Signed, VerifyError>,
) -> Result<Answer, Failure> {
    let subject = root.display().to_string();
    let signed = match opened {
        Ok(signed) => signed,
        Err(error) => return Ok(refusal(&subject, &error, None)),
    };
    // A path that the caller leaves out is not in the verified view: if it is signed, it counts as missing; if it is
    // not, it is reported.
    let links = if signed.statement().allow_symlinks { Links::Follow } else { Links::Refuse };
    let tree = Tree::open(root, links)?;
    let (files, out): (Vec<Found>, Vec<Found>) =
        tree.files.iter().cloned().partition(|f| !left.named(&f.name));
    let skipped: Vec<String> =
        out.into_iter().map(|f| f.name).filter(|n| left.signature.as_ref() != Some(n)).collect();
    let progress = Progress::new(session.progress, "verify", Tree::total(&files));
    let mut measured = tree.measure(&files, signed.statement().serialization, &progress)?;
    let alone = signed.statement().resources.iter().all(|r| r.name == oms::SINGLE);
    if tree.is_single() && alone {
        measured = measured.into_values().map(|m| (oms::SINGLE.to_owned(), m)).collect();
    }
    let empty_directories = tree.empty_directories.iter().filter(|n| !left.named(n)).cloned().collect();
    let present = Present { files: measured, empty_directories };
    let unsigned = if leniency.ignore_unsigned_files { Unsigned::Leave } else { Unsigned::Refuse };
    match signed.check(&present, unsigned) {
        Err(error) => Ok(refusal(&subject, &error, Some(signed.signer()))),
        Ok(verified) => {
            let ignored: Vec<String> = verified.ignored.iter().cloned().chain(skipped).collect();
            if leniency.exact && !ignored.is_empty() {
                let extra = ignored.into_iter().map(|name| Difference::Extra { name }).collect();
                return Ok(refusal(&subject, &VerifyError::Files(extra), Some(signed.signer())));
            }
            Ok(acceptance(&subject, &signed, &verified, &ignored))
        }
    }
}

fn acceptance(subject: &str, signed: &Signed, verified: &oms::Verified, ignored: &[String]) -> Answer {
    let json = json!({
        "schema": "strongroom.model.verification/1",
        "subject": subject,
        "verified": true,
        "digest": verified.root_digest.hex(),
        "files": verified.files,
        "ignored": ignored,
        "differences": [],
        "hash": signed.statement().serialization.hash.name(),
        "key": signed.signer().key().hex(),
        "signer": signer(signed.signer()),
    });
    let mut text = format!(
        "✓ verified {subject}: {} files are as signed\n  root digest  {}\n",
        verified.files.len(),
        verified.root_digest
    );
    if let Signer::Certificate(by) = signed.signer() {
        let names = by.names.join(", ");
        let dated = if by.timestamped { "signed at the latest" } else { "certificates valid" };
        text.push_str(&format!(
            "  signer       {} {}\n  {dated} {}\n",
            printable(&by.subject),
            printable(&names),
            by.at
        ));
    }
    if let Signer::Sigstore(by) = signed.signer() {
        text.push_str(&format!(
            "  signer       {} known to {}\n  signed       {}\n",
            printable(&by.identity),
            printable(&by.issuer),
            by.at
        ));
    }
    for name in ignored {
        text.push_str(&format!(
            "  ! not covered by the signature, never to be loaded: {}\n",
            printable(name)
        ));
    }
    Answer::of(json, View::Text { text, rows: "", columns: COLUMNS })
}

fn refusal(subject: &str, error: &VerifyError, by: Option<&Signer>) -> Answer {
    let differences: Vec<String> = match error {
        VerifyError::Files(all) => all.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    let json = json!({
        "schema": "strongroom.model.verification/1",
        "subject": subject,
        "verified": false,
        "code": error.code(),
        "reason": error.to_string(),
        "differences": differences,
        "key": by.map(|by| by.key().hex()),
        "signer": by.map(signer),
    });
    let mut text = format!("✗ not verified {subject}: {error} [{}]\n", error.code());
    for difference in &differences {
        text.push_str(&format!("  ✗ {difference}\n"));
    }
    let answer = Answer::of(json, View::Text { text, rows: "", columns: COLUMNS }).exit(Exit::No);
    match error.help() {
        Some(help) => answer.hint(format!("help: {help}")),
        None => answer,
    }
}

/// Who signed, as a document.
fn signer(signer: &Signer) -> Value {
    let key = signer.key().hex();
    match signer {
        Signer::Key { .. } => json!({"method": "key", "key": key}),
        Signer::Certificate(by) => json!({
            "method": "certificate",
            "key": key,
            "certificate": by.certificate.hex(),
            "issuers": by.issuers.iter().map(Digest::hex).collect::<Vec<_>>(),
            "subject": by.subject,
            "names": by.names,
            "at": by.at.to_string(),
            "timestamped": by.timestamped,
        }),
        Signer::Sigstore(by) => json!({
            "method": "sigstore",
            "key": key,
            "certificate": by.certificate.hex(),
            "identity": by.identity,
            "issuer": by.issuer,
            "at": by.at.to_string(),
        }),
    }
}

/// A small file, whole.
pub(super) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, CliError> {
    let file = std::fs::File::open(path).map_err(CliError::file("read", path))?;
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(CliError::file("read", path))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        let reason = format!("it is longer than {limit} bytes");
        return Err(CliError::Content { path: path.to_owned(), reason });
    }
    Ok(bytes)
}

/// The names and SHA-256 of a model's files, for callers that compare them.
pub(super) fn digests(session: &Session, root: &Path) -> Result<BTreeMap<String, Digest>, CliError> {
    let tree = Tree::open(root, Links::Refuse)?;
    let progress = Progress::new(session.progress, "hash", Tree::total(&tree.files));
    let measured = tree.measure(&tree.files, Serialization::default(), &progress)?;
    let sha256 = |m: &oms::Measured| m.digests.first().and_then(oms::FileDigest::sha256);
    Ok(measured.iter().filter_map(|(name, m)| Some((name.clone(), sha256(m)?))).collect())
}

/// A member of a document as text.
pub(super) fn member<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}
