//! From a certificate to a root of the caller.
//!
//! `webpki` builds the path and checks signatures, validity, CA bits, path lengths, name constraints and extended
//! key usage. What it leaves to its callers is checked on every path that it finds: the root's own validity, CA bit
//! and path length, and key usage.

use std::cell::RefCell;

use pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage, VerifiedPath, anchor_from_trusted_cert};

use base::Timestamp;

use super::algorithms;
use super::certificate::{CODE_SIGNING, Certificate, TIME_STAMPING};
use super::error::CertificateError;

/// What the leaf is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Signing models.
    CodeSigning,
    /// Signing timestamps (RFC 3161).
    TimeStamping,
}

/// `codeSigning` and `timeStamping`, as content of an object identifier.
const CODE_SIGNING_OID: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3];
const TIME_STAMPING_OID: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 8];

/// The certificates above `leaf`, a root last. Every one of them, the leaf and the root included, is within its
/// validity at `at`.
///
/// # Errors
/// [`CertificateError`].
pub(crate) fn build(
    leaf: &Certificate,
    between: &[Certificate],
    roots: &[Certificate],
    purpose: Purpose,
    at: Timestamp,
) -> Result<Vec<Certificate>, CertificateError> {
    // The leaf first, so that what it is told is about itself.
    leaf.check_validity(at)?;
    check_leaf(leaf, purpose)?;
    let no_path = |why: &str| CertificateError::NoPath { subject: leaf.subject(), why: why.to_owned() };
    let root_ders: Vec<CertificateDer<'_>> = roots.iter().map(|c| CertificateDer::from(c.der())).collect();
    let anchors: Vec<TrustAnchor<'_>> = root_ders
        .iter()
        .map(anchor_from_trusted_cert)
        .collect::<Result<_, _>>()
        .map_err(|_| CertificateError::Malformed { what: "a root certificate" })?;
    let between_ders: Vec<CertificateDer<'_>> =
        between.iter().map(|c| CertificateDer::from(c.der())).collect();
    let leaf_der = CertificateDer::from(leaf.der());
    let entity = EndEntityCert::try_from(&leaf_der).map_err(|e| translated(leaf, at, &e))?;
    let issuers = |path: &VerifiedPath<'_>| -> Option<Vec<Certificate>> {
        let root = anchors.iter().position(|anchor| std::ptr::eq(anchor, path.anchor()))?;
        let middle = path.intermediate_certificates().map(|cert| Certificate::from_der(&cert.der()).ok());
        middle.chain([roots.get(root).cloned()]).collect()
    };
    let refused = RefCell::new(None);
    let strict = |path: &VerifiedPath<'_>| {
        let checked = issuers(path)
            .ok_or_else(|| no_path("a certificate on it cannot be read"))
            .and_then(|above| check_issuers(&above, at));
        checked.map_err(|error| {
            refused.replace(Some(error));
            Error::UnknownIssuer
        })
    };
    let usage = KeyUsage::required_if_present(match purpose {
        Purpose::CodeSigning => CODE_SIGNING_OID,
        Purpose::TimeStamping => TIME_STAMPING_OID,
    });
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_millis(at.as_millis()));
    let built =
        entity.verify_for_usage(algorithms::ALL, &anchors, &between_ders, time, usage, None, Some(&strict));
    match built {
        Ok(path) => issuers(&path).ok_or_else(|| no_path("a certificate on it cannot be read")),
        Err(error) => {
            // An expired authority is found before the path is; which one it is says more than that one is.
            let stale = between.iter().chain(roots).find_map(|c| match error {
                Error::CertExpired { .. } | Error::CertNotValidYet { .. } => c.check_validity(at).err(),
                _ => None,
            });
            Err(refused.take().or(stale).unwrap_or_else(|| translated(leaf, at, &error)))
        }
    }
}

fn check_leaf(leaf: &Certificate, purpose: Purpose) -> Result<(), CertificateError> {
    let uses = leaf.uses();
    if uses.ca {
        return Err(leaf.wrong_use("it is of an authority, which signs certificates only"));
    }
    let extended = uses.extended.as_deref();
    match purpose {
        Purpose::CodeSigning => {
            if uses.key_usage.as_ref().is_some_and(|usage| !usage.digital_signature()) {
                return Err(leaf.wrong_use("its key usage has no digitalSignature"));
            }
            if extended.is_some_and(|uses| !uses.contains(&CODE_SIGNING)) {
                return Err(leaf.wrong_use("its extended key usage has no codeSigning"));
            }
            if uses.key_usage.is_none() && extended.is_none() {
                return Err(leaf.wrong_use("it says neither digitalSignature nor codeSigning"));
            }
        }
        Purpose::TimeStamping => {
            let meant =
                |usage: &x509_cert::ext::pkix::KeyUsage| usage.digital_signature() || usage.non_repudiation();
            // RFC 3161 section 2.3: this purpose alone, and critical.
            if extended != Some(&[TIME_STAMPING]) || !uses.extended_is_critical {
                return Err(leaf.wrong_use("its only, critical extended key usage must be timeStamping"));
            }
            if !uses.key_usage.as_ref().is_none_or(meant) {
                return Err(leaf.wrong_use("its key usage has no digitalSignature"));
            }
        }
    }
    Ok(())
}

/// The certificates above a leaf, in order.
fn check_issuers(above: &[Certificate], at: Timestamp) -> Result<(), CertificateError> {
    // Authorities between this one and the leaf that count (RFC 5280 section 4.2.1.9: not self-issued ones).
    let mut below = 0usize;
    for issuer in above {
        issuer.check_validity(at)?;
        let uses = issuer.uses();
        if !uses.ca {
            return Err(issuer.wrong_use("it issued another, and is not of an authority"));
        }
        if uses.key_usage.as_ref().is_some_and(|usage| !usage.key_cert_sign()) {
            return Err(issuer.wrong_use("its key usage has no keyCertSign"));
        }
        if uses.path_len.is_some_and(|most| below > usize::from(most)) {
            return Err(issuer.wrong_use("more authorities are below it than its path length allows"));
        }
        below = below.saturating_add(usize::from(!issuer.is_self_issued()));
    }
    Ok(())
}

fn translated(leaf: &Certificate, at: Timestamp, error: &Error) -> CertificateError {
    let used = |why| leaf.wrong_use(why);
    match error {
        Error::CertExpired { not_after, .. } => CertificateError::Expired {
            subject: format!("an authority above {}", leaf.subject()),
            until: Timestamp::from_millis(not_after.as_secs().saturating_mul(1000)),
            at,
        },
        Error::RequiredEkuNotFoundContext(_) => {
            used("an authority above it may not issue certificates for this purpose")
        }
        Error::CaUsedAsEndEntity => used("it is of an authority, which signs certificates only"),
        Error::EndEntityUsedAsCa => used("it was issued by one that is not of an authority"),
        Error::PathLenConstraintViolated => {
            used("more authorities are between it and the root than one of them allows")
        }
        Error::NameConstraintViolation => used("its name is not one that its authority may certify"),
        Error::UnknownIssuer => CertificateError::NoPath {
            subject: leaf.subject(),
            why: "nobody who is trusted issued it".to_owned(),
        },
        other => CertificateError::NoPath { subject: leaf.subject(), why: format!("{other:?}") },
    }
}
