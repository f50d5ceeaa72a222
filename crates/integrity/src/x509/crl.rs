//! Certificate revocation lists (RFC 5280 section 5): complete lists of one authority, signed by it, current.
//!
//! Delta lists, partitioned lists and lists of other authorities' certificates say less than they seem to, and are
//! refused.

use std::fmt;

use x509_cert::crl::CertificateList;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::Extension;

use base::Timestamp;

use super::certificate::{Certificate, pem_blocks, stamp};
use super::error::CertificateError;
use super::tlv;
use crate::limits::{CRL_MAX, SKEW_MILLIS};

const DELTA_INDICATOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.27");
const ISSUING_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");

/// A revocation list. Nothing in it is verified until it is asked about a certificate and its issuer.
#[derive(Clone)]
pub struct Crl {
    der: Vec<u8>,
    parsed: CertificateList,
}

impl Crl {
    /// Reads one list in DER or PEM: at most 16 MiB, version 2.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`], [`CertificateError::Critical`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CertificateError> {
        let malformed = || CertificateError::Malformed { what: "a certificate revocation list" };
        if bytes.len() > CRL_MAX {
            return Err(malformed());
        }
        let der = if bytes.starts_with(b"-----") {
            let mut blocks = pem_blocks(bytes, "X509 CRL", "a certificate revocation list")?;
            blocks.pop().filter(|_| blocks.is_empty()).ok_or_else(malformed)?
        } else {
            bytes.to_vec()
        };
        let parsed = CertificateList::from_der(&der).map_err(|_| malformed())?;
        let list = &parsed.tbs_cert_list;
        if list.version != x509_cert::Version::V2 || list.signature != parsed.signature_algorithm {
            return Err(malformed());
        }
        understood(list.crl_extensions.as_deref().unwrap_or_default())?;
        for entry in list.revoked_certificates.as_deref().unwrap_or_default() {
            understood(entry.crl_entry_extensions.as_deref().unwrap_or_default())?;
        }
        Ok(Self { der, parsed })
    }

    /// Whether it is by the authority of this name.
    fn is_of(&self, issuer: &Certificate) -> bool {
        self.parsed.tbs_cert_list.issuer == *issuer.subject_name()
    }

    /// Since when a certificate is revoked, if it is on the list.
    fn since(&self, certificate: &Certificate) -> Option<Timestamp> {
        let entries = self.parsed.tbs_cert_list.revoked_certificates.as_deref().unwrap_or_default();
        let serial = certificate.serial();
        entries
            .iter()
            .find(|entry| entry.serial_number.as_bytes() == serial)
            .map(|entry| stamp(entry.revocation_date))
    }

    /// Whether the authority signed it, and it is current.
    fn check(&self, issuer: &Certificate, now: Timestamp) -> Result<(), String> {
        let list = &self.parsed.tbs_cert_list;
        if issuer.uses().key_usage.as_ref().is_some_and(|usage| !usage.crl_sign()) {
            return Err(format!("`{}` may not sign revocation lists", issuer.subject()));
        }
        let holds = tlv::signed(&self.der)
            .is_some_and(|(message, alg, signature)| issuer.signed(alg, message, signature));
        if !holds {
            return Err(format!("the list of `{}` is not signed by it", issuer.subject()));
        }
        if stamp(list.this_update) > now.plus_millis(SKEW_MILLIS) {
            return Err(format!("the list of `{}` is not of this time", issuer.subject()));
        }
        match list.next_update.map(stamp) {
            Some(next) if now <= next => Ok(()),
            Some(next) => Err(format!("the list of `{}` was to be replaced by {next}", issuer.subject())),
            None => Err(format!("the list of `{}` does not say how long it is current", issuer.subject())),
        }
    }
}

impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crl({})", self.parsed.tbs_cert_list.issuer)
    }
}

fn understood(extensions: &[Extension]) -> Result<(), CertificateError> {
    let odd =
        extensions.iter().find(|e| e.critical || e.extn_id == DELTA_INDICATOR || e.extn_id == ISSUING_POINT);
    odd.map_or(Ok(()), |e| Err(CertificateError::Critical { oid: e.extn_id.to_string() }))
}

/// Whether lists must say of every certificate that it is not revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coverage {
    /// Each authority of the path has a list that is current.
    Whole,
    /// Only what is listed is revoked.
    Listed,
}

/// Checks a path (leaf first, root last) against every list. Without a list nothing is checked.
///
/// # Errors
/// [`CertificateError::Revoked`], [`CertificateError::RevocationUnknown`].
pub(crate) fn check(
    path: &[&Certificate],
    lists: &[Crl],
    coverage: Coverage,
    now: Timestamp,
) -> Result<(), CertificateError> {
    if lists.is_empty() {
        return Ok(());
    }
    for (certificate, issuer) in path.iter().zip(path.iter().skip(1)) {
        let subject = || certificate.subject();
        let mut known = false;
        let mut unknown = None;
        for list in lists.iter().filter(|list| list.is_of(issuer)) {
            let checked = list.check(issuer, now);
            // A list that is too old to say that a certificate is good still says that it is bad.
            if let Some(since) = list.since(certificate) {
                return Err(CertificateError::Revoked { subject: subject(), since });
            }
            // One that does not count is beside one that does where an authority changes its key.
            match checked {
                Ok(()) => known = true,
                Err(why) => unknown = Some(why),
            }
        }
        let none = || format!("there is no list of `{}`", issuer.subject());
        let unknown = unknown.or_else(|| (coverage == Coverage::Whole).then(none));
        if let Some(why) = unknown.filter(|_| !known) {
            return Err(CertificateError::RevocationUnknown { subject: subject(), why });
        }
    }
    Ok(())
}
