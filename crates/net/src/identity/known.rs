//! Whoever knows services again by the certificate of their authority, without its key.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base::Timestamp;
use base::names::Name;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};

use super::{IdentityError, SpiffeId};
use crate::tls::{TlsError, provider, roots};

/// The services of one node, as others know them.
#[derive(Debug, Clone)]
pub struct Known {
    pub(super) domain: Name,
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
}

impl Known {
    /// By the certificate of their authority, in PEM. The trust domain is the node's name.
    ///
    /// # Errors
    /// [`IdentityError::Authority`].
    pub fn new(authority_pem: &str, node: &Name) -> Result<Self, IdentityError> {
        let roots = Arc::new(roots(authority_pem)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .allow_unauthenticated()
            .build()
            .map_err(TlsError::from)?;
        Ok(Self { domain: node.clone(), verifier })
    }

    /// Whose a certificate is, at this time. A connection outlives certificates, so it is asked for every
    /// request.
    ///
    /// # Errors
    /// [`IdentityError::Certificate`] or [`IdentityError::Name`].
    pub fn identify(&self, leaf: &CertificateDer<'_>, now: Timestamp) -> Result<SpiffeId, IdentityError> {
        let time = UnixTime::since_unix_epoch(Duration::from_millis(now.as_millis()));
        self.verifier.verify_client_cert(leaf, &[], time).map_err(IdentityError::Certificate)?;
        let certificate = webpki::EndEntityCert::try_from(leaf).map_err(|_| IdentityError::Unreadable)?;
        let mut names = certificate.valid_uri_names();
        // X.509-SVID section 2: exactly one URI.
        let (Some(name), None) = (names.next(), names.next()) else { return Err(IdentityError::Name) };
        let id: SpiffeId = name.parse()?;
        if id.domain == self.domain { Ok(id) } else { Err(IdentityError::Name) }
    }
}

/// What a listener checks certificates with that is told of the authority only later: until then none is good. A client
/// may also come without one.
#[derive(Debug, Default)]
pub struct LaterKnown(RwLock<Option<Known>>);

impl LaterKnown {
    /// From now on these are known; none: nobody is.
    pub fn set(&self, known: Option<Known>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// Whose a certificate is, if it is anybody's.
    pub fn identify(&self, leaf: &CertificateDer<'_>, now: Timestamp) -> Option<SpiffeId> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        known.and_then(|known| known.identify(leaf, now).ok())
    }

    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let verifier = known.as_ref().map(|known| Arc::clone(&known.verifier));
        verifier.ok_or_else(|| CertificateError::UnknownIssuer.into())
    }
}

impl ClientCertVerifier for LaterKnown {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verifier()?.verify_client_cert(leaf, chain, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier()?.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier()?.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
