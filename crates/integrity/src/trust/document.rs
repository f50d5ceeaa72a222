//! The documents as they are written: TOML or JSON, strict, with no member that is not known.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use base::{Digest, Timestamp, sha256};

use super::error::TrustError;
use crate::error::quote;
use crate::json;
use crate::limits::TRUST_MAX;

/// `schema` of a policy.
pub(crate) const POLICY_SCHEMA: &str = "strongroom.trust-policy/1";

/// A policy.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyDocument {
    pub(crate) schema: String,
    pub(crate) tenant: String,
    pub(crate) version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) revocations: Option<RevocationsDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sigstore: Option<InstanceDocument>,
    #[serde(default, rename = "signer")]
    pub(crate) signers: Vec<SignerDocument>,
    #[serde(default, rename = "rule")]
    pub(crate) rules: Vec<RuleDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) datasets: Option<DatasetsDocument>,
}

/// What data sets may carry.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DatasetsDocument {
    #[serde(default)]
    pub(crate) accept_pickle: Vec<String>,
    #[serde(default)]
    pub(crate) accept_code: Vec<String>,
}

/// How revocation lists are to be had.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevocationsDocument {
    /// Key that signs them, PEM.
    pub(crate) key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) grace_hours: Option<u64>,
}

/// The Sigstore instance whose certificates and logs are believed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InstanceDocument {
    /// Its trusted root, JSON.
    pub(crate) trusted_root: String,
}

/// Somebody who may sign.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignerDocument {
    pub(crate) principal: String,
    pub(crate) models: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) not_before: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) not_after: Option<String>,
    /// Public keys, PEM.
    #[serde(default)]
    pub(crate) keys: Vec<String>,
    #[serde(default, rename = "certificate")]
    pub(crate) certificates: Vec<CertificateDocument>,
    #[serde(default)]
    pub(crate) sigstore: Vec<SigstoreDocument>,
}

/// Whoever holds a certificate below these roots, with this name.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateDocument {
    /// Roots, PEM.
    pub(crate) roots: String,
    pub(crate) identity: String,
    /// Revocation lists, each PEM. With one, every authority of a path must have one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) crls: Vec<String>,
    /// Roots of authorities whose timestamps are believed, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timestamp_roots: Option<String>,
}

/// An identity of Sigstore.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SigstoreDocument {
    pub(crate) identity: String,
    pub(crate) issuer: String,
}

/// What must hold of models.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleDocument {
    pub(crate) models: Vec<String>,
    pub(crate) signatures: u64,
    #[serde(default)]
    pub(crate) floor: u64,
    #[serde(default = "yes")]
    pub(crate) bom: bool,
    #[serde(default, skip_serializing_if = "is_no")]
    pub(crate) upstream_signed: bool,
    #[serde(default)]
    pub(crate) accept_risks: Vec<String>,
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
const fn is_no(value: &bool) -> bool {
    !*value
}

/// Reads a document, and the SHA-256 of its canonical form: the same for TOML and JSON that say the same.
pub(crate) fn read<T: Serialize + for<'de> Deserialize<'de>>(
    bytes: &[u8],
) -> Result<(T, Digest), TrustError> {
    if bytes.len() > TRUST_MAX {
        return Err(TrustError::TooLong { len: bytes.len(), limit: TRUST_MAX });
    }
    let form = |e: &dyn std::fmt::Display| TrustError::Form(quote(&e.to_string()));
    let json = bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
    let document: T = if json {
        serde_json::from_value(json::parse(bytes)?).map_err(|e| form(&e))?
    } else {
        let text = std::str::from_utf8(bytes).map_err(|e| form(&e))?;
        toml::from_str(text).map_err(|e| form(&e.message()))?
    };
    let value: Value = serde_json::to_value(&document).map_err(|e| form(&e))?;
    let canonical = base::jcs::to_vec(&value).map_err(|e| form(&e))?;
    Ok((document, sha256(&canonical)))
}

/// A time as `2026-01-31T00:00:00Z`.
pub(crate) fn time(place: &str, text: &str) -> Result<Timestamp, TrustError> {
    let time: Option<x509_cert::der::DateTime> = text.parse().ok();
    let millis = time.and_then(|t| t.unix_duration().as_secs().checked_mul(1000));
    millis.map(Timestamp::from_millis).ok_or_else(|| {
        TrustError::value(place, format!("`{}` is not a time such as 2026-01-31T00:00:00Z", quote(text)))
    })
}

/// A word of outside text: not empty, at most 256 bytes, nothing that is not seen.
pub(crate) fn word(place: &str, text: &str) -> Result<String, TrustError> {
    let plain = !text.is_empty() && text.len() <= 256 && !text.chars().any(char::is_control);
    if plain {
        Ok(text.to_owned())
    } else {
        Err(TrustError::value(place, format!("`{}` is no name", quote(text))))
    }
}
