//! Identities of services, workloads and the node: certificates with a SPIFFE id (X.509-SVID), one hour each, from an
//! authority of their own.
//!
//! ```text
//! spiffe://<node>/tenant/<tenant>/service/<service>
//! spiffe://<node>/tenant/<tenant>/job/<job>
//! spiffe://<node>/node/<node>
//! ```
//!
//! A service makes its key itself and asks with a certificate request (PKCS #10, RFC 2986). Of the request only the
//! public key counts, which its signature proves to be the asker's; every other field is the authority's to say.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use base::config::Mode;
use base::id::JobId;
use base::names::Name;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
};
pub use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateSigningRequestDer, alg_id};
pub use rustls::server::danger::ClientCertVerifier;

use crate::ca::{CaError, NodeCa, Purpose, validity};
use crate::der::{CONTEXT_0, Der, INTEGER, SEQUENCE, TIME, UTC_TIME};
use crate::limits::{REQUEST_PEM_MAX, SERVICE_LIFE};
use crate::tls::{TlsError, certificates, provider};

mod known;

pub use known::{Known, LaterKnown};

/// Length of an uncompressed point of P-256 (SEC 1 section 2.3.3), and its first byte.
const POINT: (usize, u8) = (65, 4);
/// Bytes of a serial number: 128 random bits (RFC 5280 allows 20 bytes).
const SERIAL_LEN: usize = 16;

/// A certificate, or a request for one, is not good.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Not a request for a certificate, or its signature does not prove the key.
    #[error("not a certificate request (PKCS #10, PEM) of an ECDSA P-256 key that its own signature proves")]
    Request,
    /// The certificate does not verify: another authority, not yet or no longer valid, or not for clients.
    #[error("the client certificate does not verify")]
    Certificate(#[source] rustls::Error),
    /// The certificate names nobody of this node.
    #[error(
        "the client certificate does not name exactly one service, workload or node of this trust domain"
    )]
    Name,
    /// The certificate cannot be read.
    #[error("not a certificate")]
    Unreadable,
    /// The grant has ended.
    #[error("the grant of this service has ended")]
    Ended,
    /// The authority.
    #[error("the authority of services cannot be used")]
    Authority(#[from] CaError),
}

impl base::Explain for IdentityError {
    fn code(&self) -> &'static str {
        match self {
            Self::Request => "SR-NET-0060",
            Self::Certificate(_) => "SR-NET-0061",
            Self::Name => "SR-NET-0062",
            Self::Unreadable => "SR-NET-0063",
            Self::Ended => "SR-NET-0064",
            Self::Authority(inner) => inner.code(),
        }
    }
    fn fault(&self) -> base::Fault {
        match self {
            Self::Authority(_) => base::Fault::Operator,
            _ => base::Fault::Caller,
        }
    }
    fn help(&self) -> Option<base::Help> {
        Some("the operator of the node makes identities with `strongroom access service create`")
    }
}

impl From<rcgen::Error> for IdentityError {
    fn from(error: rcgen::Error) -> Self {
        Self::Authority(error.into())
    }
}

impl From<TlsError> for IdentityError {
    fn from(error: TlsError) -> Self {
        Self::Authority(error.into())
    }
}

/// A SPIFFE id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffeId {
    /// The trust domain: the node's name.
    pub domain: Name,
    /// Who it is there.
    pub of: Holder,
}

/// Who a certificate can be of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A service of a tenant.
    Service {
        /// The tenant.
        tenant: Name,
        /// The service.
        service: Name,
    },
    /// What runs for a tenant.
    Job {
        /// The tenant.
        tenant: Name,
        /// The job: names of jobs come back, ids do not.
        job: JobId,
    },
    /// A node.
    Node(Name),
}

impl SpiffeId {
    /// Whether it is of this service.
    pub fn is_service(&self, of: &str, name: &str) -> bool {
        matches!(&self.of, Holder::Service { tenant, service } if (tenant.as_str(), service.as_str()) == (of, name))
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}", self.domain)?;
        match &self.of {
            Holder::Service { tenant, service } => write!(f, "/tenant/{tenant}/service/{service}"),
            Holder::Job { tenant, job } => write!(f, "/tenant/{tenant}/job/{job}"),
            Holder::Node(node) => write!(f, "/node/{node}"),
        }
    }
}

impl FromStr for SpiffeId {
    type Err = IdentityError;

    /// Names are a subset of what the SPIFFE specification allows in a path, so that each id has one text.
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let mut parts = text.strip_prefix("spiffe://").ok_or(IdentityError::Name)?.split('/');
        let first: [Option<&str>; 5] = std::array::from_fn(|_| parts.next());
        let name = |part: &str| part.parse::<Name>().map_err(|_| IdentityError::Name);
        let (domain, of) = match (first, parts.next()) {
            ([Some(domain), Some("tenant"), Some(tenant), Some("service"), Some(service)], None) => {
                (domain, Holder::Service { tenant: name(tenant)?, service: name(service)? })
            }
            ([Some(domain), Some("tenant"), Some(tenant), Some("job"), Some(job)], None) => (
                domain,
                Holder::Job { tenant: name(tenant)?, job: job.parse().map_err(|_| IdentityError::Name)? },
            ),
            ([Some(domain), Some("node"), Some(node), None, None], None) => {
                (domain, Holder::Node(name(node)?))
            }
            _ => return Err(IdentityError::Name),
        };
        Ok(Self { domain: name(domain)?, of })
    }
}

/// A public key whose holder proved that it has the private one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenKey(Vec<u8>);

impl PublicKeyData for ProvenKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl ProvenKey {
    /// Reads a certificate request in PEM and checks its signature. ECDSA P-256 with SHA-256 alone is taken.
    ///
    /// # Errors
    /// [`IdentityError::Request`].
    pub fn from_request(pem: &str) -> Result<Self, IdentityError> {
        if pem.len() > REQUEST_PEM_MAX {
            return Err(IdentityError::Request);
        }
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| IdentityError::Request)?;
        Self::proven(&der).ok_or(IdentityError::Request)
    }

    /// RFC 2986 section 4: `SEQUENCE { info, algorithm, signature }`, and of `info` version, subject and key.
    fn proven(request: &[u8]) -> Option<Self> {
        let mut outer = Der(request);
        let mut request = Der(outer.content(SEQUENCE)?);
        outer.end()?;
        let (info, signed) = request.element(SEQUENCE)?;
        let algorithm = request.content(SEQUENCE)?;
        let signature = request.bits()?;
        request.end()?;
        let mut info = Der(info);
        let version = info.content(INTEGER)?;
        info.content(SEQUENCE)?;
        let mut key = Der(info.content(SEQUENCE)?);
        let of = key.content(SEQUENCE)?;
        let point = key.bits()?;
        key.end()?;
        let wanted = version == [0]
            && algorithm == alg_id::ECDSA_SHA256.as_ref()
            && of == alg_id::ECDSA_P256.as_ref()
            && (point.len(), *point.first()?) == POINT;
        if !wanted {
            return None;
        }
        let provider = provider();
        let p256 = provider.signature_verification_algorithms.all.iter().find(|known| {
            known.public_key_alg_id() == alg_id::ECDSA_P256
                && known.signature_alg_id() == alg_id::ECDSA_SHA256
        })?;
        p256.verify_signature(point, signed, signature).ok()?;
        Some(Self(point.to_vec()))
    }
}

/// The authority of services, workloads and the node: issues their certificates and knows them again.
#[derive(Debug)]
pub struct Services {
    ca: NodeCa,
    known: Known,
}

impl Services {
    /// Loads the authority from `dir`, or makes it there. The trust domain is the node's name.
    ///
    /// # Errors
    /// As [`NodeCa::open`].
    pub fn open(dir: &Path, node: &Name, mode: Mode, now: Timestamp) -> Result<Self, IdentityError> {
        let ca = NodeCa::open(Purpose::Services, dir, node.as_str(), mode, now)?;
        let known = Known::new(ca.pem(), node)?;
        Ok(Self { ca, known })
    }

    /// The authority's certificate, in PEM: what others know its services by.
    pub fn pem(&self) -> &str {
        self.ca.pem()
    }

    /// What a listener checks certificates with in the handshake. A client may also come without one.
    pub fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.known.verifier)
    }

    /// The SPIFFE id of a service of this node.
    pub fn id(&self, tenant: &Name, service: &Name) -> SpiffeId {
        self.id_of(Holder::Service { tenant: tenant.clone(), service: service.clone() })
    }

    /// The SPIFFE id of somebody in this node's trust domain.
    pub fn id_of(&self, of: Holder) -> SpiffeId {
        SpiffeId { domain: self.known.domain.clone(), of }
    }

    /// A certificate for this key and holder, in PEM, and its end: after [`SERVICE_LIFE`], and never after `until`.
    ///
    /// # Errors
    /// [`IdentityError::Ended`] at or after `until`; [`IdentityError::Authority`].
    pub fn issue(
        &self,
        key: &ProvenKey,
        id: &SpiffeId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<(String, Timestamp), IdentityError> {
        let left = Duration::from_millis(until.millis_since(now));
        // Times in certificates are whole seconds.
        let life = Duration::from_secs(left.min(SERVICE_LIFE).as_secs());
        if life.is_zero() {
            return Err(IdentityError::Ended);
        }
        let mut serial = [0; SERIAL_LEN];
        provider()
            .secure_random
            .fill(&mut serial)
            .map_err(|_| TlsError::from(rustls::Error::FailedToGetRandomBytes))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, Purpose::Services.leaf());
        params.subject_alt_names = vec![SanType::URI(id.to_string().try_into()?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        validity(&mut params, now, life);
        let certificate = params.signed_by(key, self.ca.issuer())?;
        self.identify(certificate.der(), now)?;
        let seconds = (now.as_millis() / 1000).saturating_add(life.as_secs());
        Ok((certificate.pem(), Timestamp::from_millis(seconds.saturating_mul(1000))))
    }

    /// Whose a certificate is, as [`Known::identify`].
    ///
    /// # Errors
    /// As [`Known::identify`].
    pub fn identify(&self, leaf: &CertificateDer<'_>, now: Timestamp) -> Result<SpiffeId, IdentityError> {
        self.known.identify(leaf, now)
    }
}

/// A new key of a service, and a request for its certificate, both in PEM. The key is for its holder alone.
///
/// # Errors
/// [`IdentityError::Authority`].
pub fn new_key() -> Result<(base::Secret<String>, String), IdentityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    Ok((base::Secret::new(key.serialize_pem()), asked(&key)?))
}

/// A request for another certificate of a key that is there already.
///
/// # Errors
/// The key cannot be read.
pub fn request(key_pem: &str) -> Result<String, IdentityError> {
    asked(&KeyPair::from_pem(key_pem)?)
}

pub(crate) fn asked(key: &KeyPair) -> Result<String, IdentityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(key)?.pem()?)
}

/// From when until when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From.
    pub from: Timestamp,
    /// Until.
    pub until: Timestamp,
}

impl Validity {
    /// Of the first certificate in a PEM text.
    ///
    /// # Errors
    /// [`IdentityError::Unreadable`].
    pub fn of(pem: &str) -> Result<Self, IdentityError> {
        let chain = certificates(pem).map_err(|_| IdentityError::Unreadable)?;
        chain.first().and_then(|leaf| Self::read(leaf)).ok_or(IdentityError::Unreadable)
    }

    /// Whether half of it is over.
    pub const fn is_due(self, now: Timestamp) -> bool {
        let half = self.until.millis_since(self.from) / 2;
        now.as_millis() >= self.from.plus_millis(half).as_millis()
    }

    /// RFC 5280 section 4.1: version, serial number, signature and issuer stand before it.
    fn read(certificate: &[u8]) -> Option<Self> {
        let mut certificate = Der(Der(certificate).content(SEQUENCE)?);
        let mut fields = Der(certificate.content(SEQUENCE)?);
        fields.content(CONTEXT_0)?;
        fields.content(INTEGER)?;
        fields.content(SEQUENCE)?;
        fields.content(SEQUENCE)?;
        let mut validity = Der(fields.content(SEQUENCE)?);
        Some(Self { from: time(&mut validity)?, until: time(&mut validity)? })
    }
}

/// A time of a certificate: `YYMMDDhhmmssZ` until 2049, `YYYYMMDDhhmmssZ` from 2050 (RFC 5280 section 4.1.2.5).
fn time(from: &mut Der<'_>) -> Option<Timestamp> {
    let short = from.content(UTC_TIME);
    let text = match short {
        Some(text) => [b"20", text].concat(),
        None => from.content(TIME)?.to_vec(),
    };
    let digits = text.strip_suffix(b"Z").filter(|d| d.len() == 14 && d.iter().all(u8::is_ascii_digit))?;
    let number = |at: std::ops::Range<usize>| -> Option<u64> {
        digits.get(at).map(|part| part.iter().fold(0, |n, d| n * 10 + u64::from(d - b'0')))
    };
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    // Howard Hinnant, "chrono-compatible low-level date algorithms": days_from_civil, for years from 1970.
    let y = year.checked_sub(u64::from(month <= 2)).filter(|_| year >= 1970 && (1..=12).contains(&month))?;
    let (era, yoe) = (y / 400, y % 400);
    let doy = (153 * ((month + 9) % 12) + 2) / 5 + day.checked_sub(1)?;
    let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
    let seconds = days * 86_400 + number(8..10)? * 3600 + number(10..12)? * 60 + number(12..14)?;
    Some(Timestamp::from_millis(seconds * 1000))
}

#[cfg(test)]
mod tests;
