//! TLS 1.3 configurations (RFC 8446) with a post-quantum key exchange first (X25519MLKEM768).

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ResolvesServerCert;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

pub use rustls::NamedGroup;

/// HTTP/1.1, the only protocol offered (RFC 7301).
const ALPN: &[u8] = b"http/1.1";

/// A TLS configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not PEM, or without what is wanted.
    #[error("{what} is not readable as PEM")]
    Pem {
        /// Which file or value.
        what: &'static str,
    },
    /// The library refuses certificate or key.
    #[error("certificate or key cannot be used for TLS")]
    Rustls(#[from] rustls::Error),
    /// The certificate authority cannot be used as a trust anchor.
    #[error("the certificate authority cannot be used to verify peers")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
}

impl base::Explain for TlsError {
    fn code(&self) -> &'static str {
        match self {
            Self::Pem { .. } => "SR-NET-0010",
            Self::Rustls(_) => "SR-NET-0011",
            Self::Verifier(_) => "SR-NET-0012",
        }
    }
    fn fault(&self) -> base::Fault {
        base::Fault::Operator
    }
    fn help(&self) -> Option<base::Help> {
        Some("give the certificate authority that `strongroom status` names")
    }
}

/// The one provider of this platform's TLS: aws-lc-rs, with key exchange groups by preference.
pub fn provider() -> Arc<CryptoProvider> {
    use aws_lc_rs::{cipher_suite as suite, kx_group as group};
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            suite::TLS13_AES_256_GCM_SHA384,
            suite::TLS13_AES_128_GCM_SHA256,
            suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![group::X25519MLKEM768, group::X25519, group::SECP256R1, group::SECP384R1],
        ..aws_lc_rs::default_provider()
    })
}

/// A listener's configuration with a fixed certificate chain and key, both PEM.
///
/// # Errors
/// They cannot be read or do not belong together.
pub fn server_config(chain_pem: &str, key_pem: &str) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(chain_pem)?;
    let key = private_key(key_pem)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    harden(&mut config);
    Ok(Arc::new(config))
}

/// A listener's configuration whose certificate is asked for at each handshake, so that it can be renewed. With
/// `clients`, certificates of clients are asked for and checked.
///
/// # Errors
/// The library refuses its own protocol version.
pub fn server_config_renewing(
    certificate: Arc<dyn ResolvesServerCert>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match clients {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(certificate);
    harden(&mut config);
    Ok(Arc::new(config))
}

/// No early data (it can be replayed, RFC 8446 section 8) and one application protocol.
fn harden(config: &mut ServerConfig) {
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.max_early_data_size = 0;
}

/// A client's configuration that trusts this certificate authority and nothing else.
///
/// # Errors
/// The PEM holds no certificate, or one that cannot be a trust anchor.
pub fn client_config(ca_pem: &str) -> Result<Arc<ClientConfig>, TlsError> {
    client(ca_pem, None)
}

/// As [`client_config`], and presents this certificate chain with its key, both PEM.
///
/// # Errors
/// As [`client_config`]; or chain and key cannot be read or do not belong together.
pub fn client_config_as(ca_pem: &str, chain_pem: &str, key_pem: &str) -> Result<Arc<ClientConfig>, TlsError> {
    client(ca_pem, Some((certificates(chain_pem)?, private_key(key_pem)?)))
}

fn client(
    ca_pem: &str,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots(ca_pem)?);
    let mut config = match identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// A client's configuration that trusts the authorities of a bundle, passing over those that cannot be trust anchors.
///
/// # Errors
/// None of them can.
pub(crate) fn client_config_of_bundle(bundle_pem: &str) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    let (taken, _passed_over) = roots.add_parsable_certificates(certificates(bundle_pem)?);
    if taken == 0 {
        return Err(TlsError::Pem { what: "certificate authority" });
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| TlsError::Pem { what: "private key" })
}

/// The trust anchors in a PEM text.
pub(crate) fn roots(ca_pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca_pem)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

/// The certificates in a PEM text, at least one.
pub(crate) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let refuse = || TlsError::Pem { what: "certificate" };
    let found = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| refuse())?;
    if found.is_empty() { Err(refuse()) } else { Ok(found) }
}
