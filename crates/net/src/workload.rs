//! A workload's identity where it calls: mutual TLS 1.3 in its name, spoken by whoever connects for it.
//!
//! The private key is made where it is used and never leaves that process: only a request for a certificate does. It is
//! made anew for each certificate, lies in memory alone, and is gone with the [`Identity`].

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::{Digest, Timestamp};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::identity::{IdentityError, Validity, asked};
use crate::tls::{TlsError, certificates, provider, roots};

/// Nobody could be spoken to in a workload's name.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// What is to vouch for the server cannot be read, or cannot vouch for anybody.
    #[error("the authority of the server cannot be used")]
    Authority(#[source] TlsError),
    /// The host cannot stand in a certificate.
    #[error("no certificate can be for the host `{0}`")]
    Host(String),
    /// The handshake failed: the server's certificate does not verify, most likely.
    #[error("the server could not be verified, or speaks no TLS 1.3")]
    Handshake(#[source] io::Error),
    /// The server does not want to know who calls.
    #[error("the server asked for no certificate, so it would not know who calls")]
    NotAsked,
    /// Its own certificate.
    #[error("the certificate of the workload cannot be used")]
    Identity(#[from] IdentityError),
}

impl base::Explain for WorkloadError {
    fn code(&self) -> &'static str {
        match self {
            Self::Authority(_) => "SR-NET-0070",
            Self::Host(_) => "SR-NET-0071",
            Self::Handshake(_) => "SR-NET-0072",
            Self::NotAsked => "SR-NET-0073",
            Self::Identity(inner) => inner.code(),
        }
    }
    fn fault(&self) -> base::Fault {
        match self {
            Self::Authority(_) | Self::Host(_) => base::Fault::Caller,
            Self::Handshake(_) | Self::NotAsked => base::Fault::Peer,
            Self::Identity(_) => base::Fault::Platform,
        }
    }
    fn help(&self) -> Option<base::Help> {
        Some(match self {
            Self::Authority(_) | Self::Host(_) => {
                "make the egress with the authority of that server: `strongroom egress create --help`"
            }
            _ => "see how its connections ended with `strongroom audit search --kind egress.close`",
        })
    }
}

/// A certificate with its key, as it is presented.
#[derive(Debug, Clone)]
pub struct Presented {
    key: Arc<CertifiedKey>,
    /// SHA-256 of the certificate: by this the log names it.
    pub digest: Digest,
    ends: Timestamp,
}

/// By what the log names a certificate in PEM: its SHA-256.
///
/// # Errors
/// It cannot be read.
pub fn digest(certificate_pem: &str) -> Result<Digest, IdentityError> {
    let chain = certificates(certificate_pem).map_err(|_| IdentityError::Unreadable)?;
    chain.first().map(|leaf| base::digest::sha256(leaf)).ok_or(IdentityError::Unreadable)
}

/// Who one workload is: its certificate, and the key of the one that is asked for.
#[derive(Debug, Default)]
pub struct Identity(Mutex<State>);

#[derive(Default)]
struct State {
    asked: Option<KeyPair>,
    held: Option<Presented>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { asked, held } = self;
        write!(f, "State(asked: {}, held: {:?})", asked.is_some(), held.as_ref().map(|held| held.digest))
    }
}

impl Identity {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new key, and a request for its certificate in PEM. The certificate before it is presented until
    /// [`Identity::take`].
    ///
    /// # Errors
    /// No key can be made.
    pub fn ask(&self) -> Result<String, IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let request = asked(&key)?;
        self.lock().asked = Some(key);
        Ok(request)
    }

    /// The certificate of the key that was asked for last, in PEM. From now on it is presented.
    ///
    /// # Errors
    /// None was asked for, or this is not of that key; what was presented before stays.
    pub fn take(&self, certificate_pem: &str) -> Result<(), IdentityError> {
        let mut state = self.lock();
        let key = state.asked.as_ref().ok_or(IdentityError::Unreadable)?;
        let chain = certificates(certificate_pem).map_err(|_| IdentityError::Unreadable)?;
        let digest = digest(certificate_pem)?;
        let ends = Validity::of(certificate_pem)?.until;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = CertifiedKey::from_der(chain, private, &provider()).map_err(TlsError::from)?;
        *state = State { asked: None, held: Some(Presented { key: Arc::new(key), digest, ends }) };
        Ok(())
    }

    /// What it presents at this time; none before the first certificate, and none after the last has ended.
    pub fn presented(&self, now: Timestamp) -> Option<Presented> {
        self.lock().held.clone().filter(|held| now < held.ends)
    }
}

/// Presents one certificate, and remembers whether the server asked for it.
#[derive(Debug)]
struct Once {
    key: Arc<CertifiedKey>,
    asked: AtomicBool,
}

impl ResolvesClientCert for Once {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Release);
        Some(Arc::clone(&self.key))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Whether these can be verified at all: an authority in PEM, and a host that a certificate can be for.
///
/// # Errors
/// [`WorkloadError::Authority`] or [`WorkloadError::Host`].
pub fn check(host: &str, authority_pem: &str) -> Result<(), WorkloadError> {
    roots(authority_pem).map_err(WorkloadError::Authority)?;
    server(host).map(drop)
}

fn server(host: &str) -> Result<ServerName<'static>, WorkloadError> {
    ServerName::try_from(host.to_owned()).map_err(|_| WorkloadError::Host(host.to_owned()))
}

/// Speaks TLS 1.3 over a stream that leads to this host: its certificate must verify by this authority and no other, and it
/// must ask for this one. Nothing is resumed, so each connection proves anew who calls, and no protocol is negotiated:
/// what is spoken inside is the workload's.
///
/// # Errors
/// [`WorkloadError`].
pub async fn connect<S>(
    stream: S,
    host: &str,
    authority_pem: &str,
    presented: &Presented,
) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<S>, WorkloadError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let once = Arc::new(Once { key: Arc::clone(&presented.key), asked: AtomicBool::new(false) });
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| WorkloadError::Authority(e.into()))?
        .with_root_certificates(roots(authority_pem).map_err(WorkloadError::Authority)?)
        .with_client_cert_resolver(Arc::clone(&once) as _);
    config.resumption = Resumption::disabled();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(server(host)?, stream)
        .await
        .map_err(WorkloadError::Handshake)?;
    if once.asked.load(Ordering::Acquire) { Ok(stream) } else { Err(WorkloadError::NotAsked) }
}

#[cfg(test)]
mod tests;
