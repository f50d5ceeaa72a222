//! A certificate, read strictly, with what it says that it may be used for.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};

use base::{Digest, Timestamp, sha256};

use super::error::CertificateError;
use super::tlv;
use crate::key::PublicKey;
use crate::limits::{CERTIFICATE_MAX, CERTIFICATES_MAX, PEM_CHAIN_MAX};

const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const NAME_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.30");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
pub(crate) const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
pub(crate) const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");

/// The extensions that are understood, and may therefore be critical. Name constraints are enforced by the path
/// builder.
const UNDERSTOOD: [ObjectIdentifier; 5] =
    [KEY_USAGE, SUBJECT_ALT_NAME, BASIC_CONSTRAINTS, NAME_CONSTRAINTS, EXTENDED_KEY_USAGE];

/// An X.509 version 3 certificate (RFC 5280). Nothing in it is verified.
#[derive(Clone)]
pub struct Certificate {
    der: Vec<u8>,
    parsed: x509_cert::Certificate,
    uses: Uses,
}

/// What its extensions say.
#[derive(Debug, Clone)]
pub(crate) struct Uses {
    pub(crate) ca: bool,
    pub(crate) path_len: Option<u8>,
    pub(crate) key_usage: Option<KeyUsage>,
    pub(crate) extended: Option<Vec<ObjectIdentifier>>,
    pub(crate) extended_is_critical: bool,
    pub(crate) names: Vec<String>,
}

impl Certificate {
    /// Reads DER: at most 64 KiB, version 3, no extension twice, none critical that is not understood.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`], [`CertificateError::Critical`].
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let malformed = || CertificateError::Malformed { what: "a certificate" };
        if der.len() > CERTIFICATE_MAX {
            return Err(malformed());
        }
        let parsed = x509_cert::Certificate::from_der(der).map_err(|_| malformed())?;
        let tbs = parsed.tbs_certificate();
        if tbs.version() != x509_cert::Version::V3 || tbs.signature() != parsed.signature_algorithm() {
            return Err(malformed());
        }
        let uses = uses(tbs.extensions().map(Vec::as_slice).unwrap_or_default())?;
        Ok(Self { der: der.to_vec(), parsed, uses })
    }

    /// Reads every `CERTIFICATE` block of a PEM text, at least one and at most 64.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`], and as [`Certificate::from_der`].
    pub fn all_from_pem(pem: &[u8]) -> Result<Vec<Self>, CertificateError> {
        let blocks = pem_blocks(pem, "CERTIFICATE", "a PEM file of certificates")?;
        blocks.iter().map(|der| Self::from_der(der)).collect()
    }

    /// Its bytes.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of its bytes.
    pub fn fingerprint(&self) -> Digest {
        sha256(&self.der)
    }

    /// The subject's distinguished name (RFC 4514).
    pub fn subject(&self) -> String {
        self.parsed.tbs_certificate().subject().to_string()
    }

    /// E-mail addresses, URIs and DNS names of the subject.
    pub fn names(&self) -> &[String] {
        &self.uses.names
    }

    /// The certified key.
    ///
    /// # Errors
    /// [`CertificateError::Use`]: it is not on a curve that OMS signs with.
    pub fn public_key(&self) -> Result<PublicKey, CertificateError> {
        let spki = self.parsed.tbs_certificate().subject_public_key_info().to_der();
        spki.ok().and_then(|der| PublicKey::from_der(&der).ok()).ok_or_else(|| {
            self.wrong_use("its key is not on P-256, P-384 or P-521, with which models are signed")
        })
    }

    pub(crate) fn uses(&self) -> &Uses {
        &self.uses
    }

    pub(crate) fn wrong_use(&self, why: &'static str) -> CertificateError {
        CertificateError::Use { subject: self.subject(), why }
    }

    /// Whether issuer and subject are one, and the key of the certificate signed it.
    pub(crate) fn is_self_signed(&self) -> bool {
        let parts = tlv::signed(&self.der);
        self.is_self_issued()
            && parts.is_some_and(|(message, alg, signature)| self.signed(alg, message, signature))
    }

    pub(crate) fn is_self_issued(&self) -> bool {
        let tbs = self.parsed.tbs_certificate();
        tbs.issuer() == tbs.subject()
    }

    /// Whether the key of this certificate made `signature` over `message`.
    pub(crate) fn signed(&self, alg: &[u8], message: &[u8], signature: &[u8]) -> bool {
        self.key_parts().is_some_and(|(key_alg, key)| {
            super::algorithms::verifies(&key_alg, &key, alg, message, signature)
        })
    }

    /// The content of its key's AlgorithmIdentifier, and the key's bits.
    pub(crate) fn key_parts(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let spki = self.parsed.tbs_certificate().subject_public_key_info();
        let alg = spki.algorithm.to_der().ok()?;
        Some((
            tlv::single(&alg, tlv::SEQUENCE)?.content.to_vec(),
            spki.subject_public_key.as_bytes()?.to_vec(),
        ))
    }

    pub(crate) fn subject_name(&self) -> &x509_cert::name::Name {
        self.parsed.tbs_certificate().subject()
    }

    pub(crate) fn serial(&self) -> &[u8] {
        self.parsed.tbs_certificate().serial_number().as_bytes()
    }

    /// Whether it is within its validity.
    ///
    /// # Errors
    /// [`CertificateError::NotYet`], [`CertificateError::Expired`].
    pub(crate) fn check_validity(&self, at: Timestamp) -> Result<(), CertificateError> {
        let validity = self.parsed.tbs_certificate().validity();
        let (from, until) = (stamp(validity.not_before), stamp(validity.not_after));
        if at < from {
            return Err(CertificateError::NotYet { subject: self.subject(), from, at });
        }
        // The last second belongs to the validity (RFC 5280 section 4.1.2.5).
        if at >= until.plus_millis(1000) {
            return Err(CertificateError::Expired { subject: self.subject(), until, at });
        }
        Ok(())
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, {})", self.subject(), self.fingerprint().short())
    }
}

/// A time of X.509 in milliseconds.
pub(crate) fn stamp(time: x509_cert::time::Time) -> Timestamp {
    let millis = time.to_unix_duration().as_millis();
    Timestamp::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

fn uses(extensions: &[Extension]) -> Result<Uses, CertificateError> {
    let mut seen = std::collections::BTreeSet::new();
    let mut out = Uses {
        ca: false,
        path_len: None,
        key_usage: None,
        extended: None,
        extended_is_critical: false,
        names: Vec::new(),
    };
    for extension in extensions {
        if !seen.insert(extension.extn_id) {
            return Err(CertificateError::Malformed { what: "a certificate with an extension twice" });
        }
        if extension.critical && !UNDERSTOOD.contains(&extension.extn_id) {
            return Err(CertificateError::Critical { oid: extension.extn_id.to_string() });
        }
        let value = extension.extn_value.as_bytes();
        let malformed = |_| CertificateError::Malformed { what: "an extension of a certificate" };
        match extension.extn_id {
            KEY_USAGE => out.key_usage = Some(KeyUsage::from_der(value).map_err(malformed)?),
            BASIC_CONSTRAINTS => {
                let basic = BasicConstraints::from_der(value).map_err(malformed)?;
                (out.ca, out.path_len) = (basic.ca, basic.path_len_constraint);
            }
            EXTENDED_KEY_USAGE => {
                out.extended = Some(ExtendedKeyUsage::from_der(value).map_err(malformed)?.0);
                out.extended_is_critical = extension.critical;
            }
            SUBJECT_ALT_NAME => {
                let names = SubjectAltName::from_der(value).map_err(malformed)?.0;
                out.names = names.iter().filter_map(plain_name).collect();
            }
            _ => {}
        }
    }
    Ok(out)
}

fn plain_name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::Rfc822Name(text)
        | GeneralName::DnsName(text)
        | GeneralName::UniformResourceIdentifier(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

/// The content of every block with this label. Text between blocks is skipped, as tools put comments there;
/// another label is not, since a private key has no place in such a file.
pub(crate) fn pem_blocks(
    pem: &[u8],
    label: &str,
    what: &'static str,
) -> Result<Vec<Vec<u8>>, CertificateError> {
    let malformed = || CertificateError::Malformed { what };
    let text = std::str::from_utf8(pem).ok().filter(|t| t.len() <= PEM_CHAIN_MAX).ok_or_else(malformed)?;
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let mut blocks = Vec::new();
    let mut current: Option<String> = None;
    for line in text.lines().map(str::trim) {
        match &mut current {
            None if line == begin => current = Some(String::new()),
            None if line.starts_with("-----") => return Err(malformed()),
            None => {}
            Some(body) if line == end => {
                blocks.push(STANDARD.decode(body.as_bytes()).map_err(|_| malformed())?);
                current = None;
            }
            Some(body) => body.push_str(line),
        }
    }
    if current.is_some() || blocks.is_empty() || blocks.len() > CERTIFICATES_MAX {
        return Err(malformed());
    }
    Ok(blocks)
}
