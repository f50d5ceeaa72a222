//! **What.** Evidence of Sigstore for model signatures (method `sigstore`): certificate, transparency log and timestamps
//! of a bundle, against a trusted root that the caller has as a file.
//!
//! **Why.** A model that was signed by an identity and not by a key of its own is verified before use (control "AI
//! models must be verified before use"). It stops a certificate of another authority, an entry that is in no log or
//! is of another signature, and another identity or provider.
//!
//! **Where.** Called by the command line on plain files, and by control where a tenant's trust policy pins an instance.
//! It must never open a connection: the trusted root comes with
//! the call, and neither a newer one nor a log is asked. Its libraries are linked by nothing that holds keys.
//!
//! **Invariants.** No identity is believed that the caller did not name, together with its provider. The signature
//! over the statement and every rule of the statement are checked by `integrity`, whatever is found here.

use std::fmt;

use base::Timestamp;
use integrity::oms::{Accept, Signed, SigstoreSigner, open_sigstore};
use integrity::{Certificate, CertificateError, VerifyError, json};
use sigstore_verify::trust_root::TrustedRoot;
use sigstore_verify::types::{Bundle, Sha256Hash};
use sigstore_verify::{VerificationPolicy, Verifier};

/// Largest file of a trusted root, in bytes. That of the public instance is about 7 KiB.
pub const TRUSTED_ROOT_MAX: usize = 1 << 20;

/// The authorities and logs of a Sigstore instance.
pub struct Instance(Verifier);

impl Instance {
    /// Reads a trusted root (`application/vnd.dev.sigstore.trustedroot+json;version=0.1`), or a client trust
    /// configuration, which holds one under `trustedRoot`.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`], [`CertificateError::Sigstore`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CertificateError> {
        let malformed = CertificateError::Malformed { what: "a trusted root of Sigstore" };
        if bytes.len() > TRUSTED_ROOT_MAX {
            return Err(malformed);
        }
        let Ok(value) = json::parse(bytes) else { return Err(malformed) };
        let root = value.get("trustedRoot").unwrap_or(&value).to_string();
        let root = TrustedRoot::from_json(&root).map_err(|_| malformed)?;
        // An instance without authorities or logs could vouch for nothing; that is no trusted root.
        if root.certificate_authorities.is_empty() || root.tlogs.is_empty() || root.ctlogs.is_empty() {
            return Err(refuse("the trusted root has no authority or no log"));
        }
        Verifier::new(&root).map(Self).map_err(refuse)
    }

    /// Verifies a bundle up to its statement, signed by `identity` as `provider` vouches for it.
    ///
    /// # Errors
    /// [`VerifyError`], but for its variants on files.
    pub fn open(
        &self,
        bundle: &[u8],
        (identity, provider): (&str, &str),
        accept: Accept,
    ) -> Result<Signed, VerifyError> {
        open_sigstore(bundle, accept, |leaf| self.vouch(bundle, leaf, identity, provider))
    }

    fn vouch(
        &self,
        bundle: &[u8],
        leaf: &Certificate,
        identity: &str,
        provider: &str,
    ) -> Result<SigstoreSigner, CertificateError> {
        let text = std::str::from_utf8(bundle).map_err(refuse)?;
        let read = Bundle::from_json(text).map_err(refuse)?;
        // What is read here and what `integrity` read are of one certificate.
        if read.signing_certificate().is_none_or(|found| found.as_bytes() != leaf.der()) {
            return Err(refuse("it is read in two ways"));
        }
        let policy = VerificationPolicy::new(identity, provider);
        let found = self.0.verify(subject(bundle)?, &read, &policy).map_err(|error| match error {
            sigstore_verify::Error::IdentityMismatch { actual, .. } => CertificateError::Identity {
                found: actual.map_or_else(String::new, |name| name.to_string()),
                wanted: identity.to_owned(),
            },
            sigstore_verify::Error::IssuerMismatch { actual, .. } => CertificateError::Identity {
                found: format!("somebody known to {}", actual.unwrap_or_default()),
                wanted: format!("{identity}, known to {provider}"),
            },
            other => refuse(other),
        })?;
        let whole = found.certificate_verified()
            && found.sct_verified()
            && found.tlog_verified()
            && found.identity_policy_checked();
        let at = found.verified_timestamps().iter().map(|t| t.as_millisecond()).min();
        let at = at.and_then(|at| u64::try_from(at).ok()).filter(|_| whole);
        let at = at.ok_or_else(|| refuse("a part of the evidence is missing"))?;
        let key = leaf.public_key()?.fingerprint().map_err(refuse)?;
        Ok(SigstoreSigner {
            key,
            certificate: leaf.fingerprint(),
            identity: identity.to_owned(),
            issuer: provider.to_owned(),
            at: Timestamp::from_millis(at),
        })
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Instance(..)")
    }
}

/// The digest of the subject of the statement, which the log's entry must be about. That it is the digest of the model
/// is checked by `integrity`.
fn subject(bundle: &[u8]) -> Result<Sha256Hash, CertificateError> {
    let payload = integrity::dsse::payload_of_bundle(bundle).map_err(refuse)?;
    let value = json::parse(&payload).map_err(refuse)?;
    let digest = value.pointer("/subject/0/digest/sha256").and_then(|digest| digest.as_str());
    Sha256Hash::from_hex(digest.ok_or_else(|| refuse("its subject has no SHA-256"))?).map_err(refuse)
}

fn refuse(why: impl fmt::Display) -> CertificateError {
    let why: String = why.to_string().chars().take(300).flat_map(char::escape_debug).collect();
    CertificateError::Sigstore { why }
}
