//! What a caller trusts for signatures by certificate.

use base::{Digest, Timestamp};

use super::certificate::Certificate;
use super::crl::{self, Coverage, Crl};
use super::error::CertificateError;
use super::path::{self, Purpose};
use super::timestamp::{self, Authorities};
use crate::error::quote;
use crate::limits::{CERTIFICATES_MAX, CRLS_MAX, TIMESTAMPS_MAX};
use crate::oms::CertificateSigner;

/// Roots, what helps to reach them, and what takes trust away again.
///
/// Certificates that sign themselves are roots; others given beside them only help to find a path, so that a file
/// with a whole chain trusts no more than its root.
#[derive(Debug, Clone, Default)]
pub struct CertificateTrust {
    roots: Vec<Certificate>,
    between: Vec<Certificate>,
    tsa_roots: Vec<Certificate>,
    tsa_between: Vec<Certificate>,
    crls: Vec<Crl>,
    identity: Option<String>,
}

impl CertificateTrust {
    /// Trusts the self-signed certificates among these.
    ///
    /// # Errors
    /// [`CertificateError::NoPath`]: there is none, so that nothing could ever be verified.
    pub fn new(certificates: Vec<Certificate>) -> Result<Self, CertificateError> {
        let (roots, between) = split(certificates, "the roots")?;
        Ok(Self { roots, between, ..Self::default() })
    }

    /// Believes timestamps of authorities below the self-signed certificates among these.
    ///
    /// # Errors
    /// As [`CertificateTrust::new`].
    pub fn with_tsa(mut self, certificates: Vec<Certificate>) -> Result<Self, CertificateError> {
        (self.tsa_roots, self.tsa_between) = split(certificates, "the roots of timestamps")?;
        Ok(self)
    }

    /// Asks for revocation: every authority of a path must then have a current list among these.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`]: more than 64.
    pub fn with_crls(mut self, crls: Vec<Crl>) -> Result<Self, CertificateError> {
        if crls.len() > CRLS_MAX {
            return Err(CertificateError::Malformed { what: "a number of revocation lists" });
        }
        self.crls = crls;
        Ok(self)
    }

    /// Accepts only a certificate with exactly this e-mail address, URI or DNS name, or after `subject:` with this
    /// distinguished name (RFC 4514).
    #[must_use]
    pub fn with_identity(mut self, identity: &str) -> Self {
        self.identity = Some(identity.to_owned());
        self
    }

    /// How many revocation lists are asked.
    pub const fn lists(&self) -> usize {
        self.crls.len()
    }

    /// Whether timestamps may say when a signature was made.
    pub const fn is_dated(&self) -> bool {
        !self.tsa_roots.is_empty()
    }

    /// SHA-256 of each root.
    pub fn roots(&self) -> impl Iterator<Item = Digest> {
        self.roots.iter().map(Certificate::fingerprint)
    }

    /// Checks the certificate of a bundle, whose signature (`sig`) may be dated by timestamps.
    pub(crate) fn check(
        &self,
        chain: &[Certificate],
        (sig, timestamps): (&[u8], &[Vec<u8>]),
        now: Timestamp,
    ) -> Result<CertificateSigner, CertificateError> {
        let (leaf, given) =
            chain.split_first().ok_or(CertificateError::Malformed { what: "a chain of certificates" })?;
        let dated = self.dated(sig, timestamps, now)?;
        let at = dated.unwrap_or(now);
        let key = leaf.public_key()?;
        let between: Vec<Certificate> = given.iter().chain(&self.between).cloned().collect();
        let above = path::build(leaf, &between, &self.roots, Purpose::CodeSigning, at)?;
        let whole: Vec<&Certificate> = [leaf].into_iter().chain(&above).collect();
        // Revocation is asked about now, also where the time of signing is proved: a key that was lost may have
        // signed before anybody knew.
        crl::check(&whole, &self.crls, Coverage::Whole, now)?;
        self.check_identity(leaf)?;
        Ok(CertificateSigner {
            key: key.fingerprint().map_err(|_| leaf.wrong_use("its key cannot be written"))?,
            certificate: leaf.fingerprint(),
            issuers: above.iter().map(Certificate::fingerprint).collect(),
            subject: leaf.subject(),
            names: leaf.names().to_vec(),
            at,
            timestamped: dated.is_some(),
        })
    }

    /// The time of the first timestamp that is believed. Without roots for them none is looked at; with roots, a
    /// bundle that has timestamps must have one that holds.
    fn dated(
        &self,
        sig: &[u8],
        timestamps: &[Vec<u8>],
        now: Timestamp,
    ) -> Result<Option<Timestamp>, CertificateError> {
        if self.tsa_roots.is_empty() || timestamps.is_empty() {
            return Ok(None);
        }
        if timestamps.len() > TIMESTAMPS_MAX {
            return Err(CertificateError::Timestamp { why: "there are too many".to_owned() });
        }
        let authorities =
            Authorities { roots: &self.tsa_roots, between: &self.tsa_between, crls: &self.crls, now };
        let mut refused = None;
        for response in timestamps {
            match timestamp::verify(response, sig, &authorities) {
                Ok(at) => return Ok(Some(at)),
                Err(error) => refused = Some((timestamp::name(response), error)),
            }
        }
        refused.map_or(Ok(None), |(name, error)| match error {
            CertificateError::Timestamp { why } => Err(CertificateError::Timestamp { why }),
            other => Err(CertificateError::Timestamp { why: format!("timestamp {name}: {other}") }),
        })
    }

    fn check_identity(&self, leaf: &Certificate) -> Result<(), CertificateError> {
        let Some(wanted) = &self.identity else { return Ok(()) };
        let subject = leaf.subject();
        let matches = match wanted.strip_prefix("subject:") {
            Some(name) => name == subject,
            None => leaf.names().iter().any(|name| name == wanted),
        };
        if matches {
            return Ok(());
        }
        let found = leaf.names().first().map_or_else(|| format!("subject:{subject}"), Clone::clone);
        Err(CertificateError::Identity { found: quote(&found), wanted: quote(wanted) })
    }
}

type Split = (Vec<Certificate>, Vec<Certificate>);

fn split(certificates: Vec<Certificate>, whose: &'static str) -> Result<Split, CertificateError> {
    if certificates.len() > CERTIFICATES_MAX {
        return Err(CertificateError::Malformed { what: "a number of certificates" });
    }
    let (roots, between): Split = certificates.into_iter().partition(Certificate::is_self_signed);
    if roots.is_empty() {
        let why = "none of the certificates that were passed signs itself".to_owned();
        return Err(CertificateError::NoPath { subject: whose.to_owned(), why });
    }
    Ok((roots, between))
}
