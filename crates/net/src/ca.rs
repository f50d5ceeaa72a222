//! The node's certificate authorities, each made on first start: one for every listener, and one for services.
//!
//! The key of each lies in a directory of the process that uses it, mode 0600. Whoever takes that process over can
//! pretend to be this listener, which it is; no other listener, node or tenant trusts this authority.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use base::Timestamp;
use base::config::Mode;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::limits::{BACKDATE, CA_LIFE, CA_LIFE_DEV, LEAF_LIFE, LEAF_RENEW_AFTER, PEM_MAX};
use crate::tls::{TlsError, provider, roots};

/// File of the authority's private key.
const KEY_FILE: &str = "ca.key";
/// File of the authority's certificate.
const CERT_FILE: &str = "ca.pem";

/// The certificate authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file or directory.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A key or certificate cannot be made or read.
    #[error("cannot make or read a certificate")]
    Certificate(#[from] rcgen::Error),
    /// The certificate cannot be used for TLS.
    #[error("cannot use a certificate for TLS")]
    Tls(#[from] TlsError),
    /// The stored authority does not verify what its key issues under this node's name and mode.
    #[error("the certificate authority in {dir} was made for another node or mode than `{subject}`")]
    Foreign {
        /// Its directory.
        dir: PathBuf,
        /// The subject that this node and mode have.
        subject: String,
    },
    /// The private key can be read by others.
    #[error("{path} has mode {mode:o}, it must be 600")]
    Mode {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl base::Explain for CaError {
    fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "SR-NET-0020",
            Self::Certificate(_) => "SR-NET-0021",
            Self::Tls(_) => "SR-NET-0022",
            Self::Foreign { .. } => "SR-NET-0023",
            Self::Mode { .. } => "SR-NET-0024",
        }
    }
    fn fault(&self) -> base::Fault {
        base::Fault::Operator
    }
    fn help(&self) -> Option<base::Help> {
        Some("a state directory belongs to one node in one mode; start a fresh one with `strongroom dev`")
    }
}

/// What an authority vouches for. Each has a key of its own, so that none can stand in for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The listener of inference.
    Gateway,
    /// The listener of the management plane.
    Management,
    /// Services that call the management plane.
    Services,
}

impl Purpose {
    /// Stands in the authority's name.
    const fn word(self) -> &'static str {
        match self {
            Self::Gateway => "node",
            Self::Management => "management",
            Self::Services => "services",
        }
    }

    /// Name of the certificates that it issues.
    pub(crate) const fn leaf(self) -> &'static str {
        match self {
            Self::Gateway => "strongroom gateway",
            Self::Management => "strongroom management",
            Self::Services => "strongroom service",
        }
    }
}

/// An authority, its key loaded.
pub struct NodeCa {
    purpose: Purpose,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    dir: PathBuf,
    subject: String,
    /// SPIFFE id of the node, which its listeners have.
    id: String,
}

impl std::fmt::Debug for NodeCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { purpose: _, issuer: _, pem: _, dir, subject, id: _ } = self;
        write!(f, "NodeCa({subject} in {})", dir.display())
    }
}

impl NodeCa {
    /// Loads the authority from `dir`, or makes it there. The directory becomes traversable (0711), the key is
    /// for its owner alone (0600), the certificate for everybody (0644).
    ///
    /// # Errors
    /// Files that cannot be used, a key that others can read, or an authority of another node or mode: a
    /// development node's certificates are never accepted by a node in service.
    pub fn open(
        purpose: Purpose,
        dir: &Path,
        node: &str,
        mode: Mode,
        now: Timestamp,
    ) -> Result<Self, CaError> {
        let at = |path: &Path| {
            let path = path.to_path_buf();
            move |source| CaError::File { path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
        fs::set_permissions(dir, Permissions::from_mode(0o711)).map_err(at(dir))?;
        let (key_path, cert_path) = (dir.join(KEY_FILE), dir.join(CERT_FILE));
        let subject = subject(purpose, node, mode);
        let params = ca_params(&subject, mode, now);
        // The certificate is written last, so its presence means that the key is there too.
        if !cert_path.exists() {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            let pem = params.self_signed(&key)?.pem();
            replace(&key_path, key.serialize_pem().as_bytes(), 0o600).map_err(at(&key_path))?;
            replace(&cert_path, pem.as_bytes(), 0o644).map_err(at(&cert_path))?;
        }
        let bits = fs::metadata(&key_path).map_err(at(&key_path))?.permissions().mode() & 0o7777;
        if bits & 0o077 != 0 {
            return Err(CaError::Mode { path: key_path, mode: bits });
        }
        let key = KeyPair::from_pem(&read(&key_path).map_err(at(&key_path))?)?;
        let pem = read(&cert_path).map_err(at(&cert_path))?;
        let id = format!("spiffe://{node}/node/{node}");
        let ca = Self { purpose, issuer: Issuer::new(params, key), pem, dir: dir.to_path_buf(), subject, id };
        // Proves that key and certificate belong together and to this node.
        ca.issue(&["localhost".to_owned()], now)?;
        Ok(ca)
    }

    /// The authority's certificate, for clients.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// What signs for it.
    pub(crate) const fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// A certificate with a fresh key for these names and addresses and the node's SPIFFE id, valid for [`LEAF_LIFE`].
    ///
    /// # Errors
    /// A name that cannot stand in a certificate, or a result that the authority's own certificate does not
    /// verify.
    pub fn issue(&self, names: &[String], now: Timestamp) -> Result<Arc<CertifiedKey>, CaError> {
        let mut params = CertificateParams::new(names.to_vec())?;
        params.subject_alt_names.push(SanType::URI(self.id.as_str().try_into()?));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.purpose.leaf());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        validity(&mut params, now, LEAF_LIFE);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let leaf = params.signed_by(&key, &self.issuer)?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        self.verify(leaf.der(), names, now)?;
        let certified =
            CertifiedKey::from_der(vec![leaf.der().clone()], der, &provider()).map_err(TlsError::from)?;
        Ok(Arc::new(certified))
    }

    /// Checks, as a client would, that the published certificate vouches for what was issued.
    fn verify(
        &self,
        leaf: &rustls::pki_types::CertificateDer<'_>,
        names: &[String],
        now: Timestamp,
    ) -> Result<(), CaError> {
        let foreign = || CaError::Foreign { dir: self.dir.clone(), subject: self.subject.clone() };
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(&self.pem)?), provider())
            .build()
            .map_err(TlsError::from)?;
        let time = UnixTime::since_unix_epoch(Duration::from_millis(now.as_millis()));
        for name in names {
            let name = ServerName::try_from(name.as_str()).map_err(|_| foreign())?;
            verifier.verify_server_cert(leaf, &[], &name, &[], time).map_err(|_| foreign())?;
        }
        Ok(())
    }
}

/// The certificate in use, replaced before it ends.
#[derive(Debug)]
pub struct Renewing {
    current: RwLock<(Arc<CertifiedKey>, Timestamp)>,
}

impl Renewing {
    /// Starts with a certificate issued at this time.
    pub fn new(certificate: Arc<CertifiedKey>, issued: Timestamp) -> Arc<Self> {
        Arc::new(Self { current: RwLock::new((certificate, issued)) })
    }

    /// Whether it is time for the next one.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let issued = self.current.read().map_or(Timestamp::from_millis(0), |current| current.1);
        let renew_after = u64::try_from(LEAF_RENEW_AFTER.as_millis()).unwrap_or(0);
        // A clock that was set back also makes it due.
        now.millis_since(issued) >= renew_after || now < issued
    }

    /// From now on this one is presented; connections that stand keep theirs.
    pub fn replace(&self, certificate: Arc<CertifiedKey>, issued: Timestamp) {
        if let Ok(mut current) = self.current.write() {
            *current = (certificate, issued);
        }
    }
}

impl ResolvesServerCert for Renewing {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.read().ok().map(|current| Arc::clone(&current.0))
    }
}

/// The authority's name. `dev` stands in it for ever, so that nobody mistakes it.
fn subject(purpose: Purpose, node: &str, mode: Mode) -> String {
    let word = purpose.word();
    match mode {
        Mode::Dev => format!("strongroom dev {word} CA of {node}, not for production"),
        Mode::Production => format!("strongroom {word} CA of {node}"),
    }
}

fn ca_params(subject: &str, mode: Mode, now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    // It issues certificates of listeners or services, never of further authorities.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let life = if mode == Mode::Dev { CA_LIFE_DEV } else { CA_LIFE };
    validity(&mut params, now, life);
    params
}

/// Sets the validity: from `now` less [`BACKDATE`], for `life`.
pub(crate) fn validity(params: &mut CertificateParams, now: Timestamp, life: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = Duration::from_secs(now.as_millis() / 1000);
    params.not_before = epoch + now.saturating_sub(BACKDATE);
    params.not_after = epoch + now.saturating_add(life);
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(PEM_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes a file whole or not at all: a new file beside it, made durable, then renamed.
///
/// # Errors
/// From the file system.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let dir = path.parent().unwrap_or(Path::new("."));
    let fresh = dir.join(format!(".{name}.new"));
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    fs::File::open(dir)?.sync_all()
}
