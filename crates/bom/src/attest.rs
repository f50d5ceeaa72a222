//! The in-toto statement that binds a record to the model it tells of. The DSSE envelope around it is made and
//! verified by `integrity`; what is read here was verified there.

use base::jcs::{self, JcsError};
use base::{Digest, sha256};
use serde_json::{Map, Value, json};

/// Predicate type of a CycloneDX document.
pub const PREDICATE_TYPE: &str = "https://cyclonedx.org/bom";
/// The in-toto statement type.
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// The statement does not carry a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttestError {
    /// A member is missing or has another type, or another one stands beside it.
    #[error("the statement is malformed: `{0}`")]
    Malformed(&'static str),
    /// A statement of something else.
    #[error("the statement is not a Model BoM: its {what} is `{found}`")]
    WrongType {
        /// Which type.
        what: &'static str,
        /// What it says.
        found: String,
    },
    /// It holds a number that has no canonical form.
    #[error("the record has no canonical form")]
    NotCanonical(#[from] JcsError),
}

impl base::Explain for AttestError {
    fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "SR-BOM-0011",
            Self::WrongType { .. } => "SR-BOM-0012",
            Self::NotCanonical(_) => "SR-BOM-0013",
        }
    }
    fn fault(&self) -> base::Fault {
        base::Fault::Peer
    }
    fn help(&self) -> Option<base::Help> {
        Some("get the record again with `strongroom bom export`")
    }
}

/// A record with what binds it.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedBom {
    /// The record.
    pub bom: Value,
    /// SHA-256 of its canonical form.
    pub bom_digest: Digest,
    /// What the statement calls the model.
    pub model_name: String,
    /// OMS root digest of the model.
    pub root_digest: Digest,
}

/// SHA-256 of the canonical form (RFC 8785) of a record: its identity.
///
/// # Errors
/// The record holds a fraction or an integer beyond 2^53, which this platform never writes.
pub fn bom_digest(bom: &Value) -> Result<Digest, AttestError> {
    Ok(sha256(&jcs::to_vec(bom)?))
}

/// The payload to sign for a record.
///
/// # Errors
/// As [`bom_digest`].
pub fn statement(bom: &Value, model_name: &str, root_digest: &Digest) -> Result<Vec<u8>, AttestError> {
    let statement = json!({
        "_type": STATEMENT_TYPE,
        "subject": [{"name": model_name, "digest": {"sha256": root_digest.hex()}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": bom,
    });
    Ok(jcs::to_vec(&statement)?)
}

/// Reads a statement that `integrity::dsse::open_statement` returned. Takes a value and not bytes, so that it
/// cannot be read before it is verified and strictly parsed. The record's own contents are for [`crate::check`].
///
/// # Errors
/// [`AttestError`].
pub fn parse_statement(statement: &Value) -> Result<VerifiedBom, AttestError> {
    let members = only(statement, "statement", &["_type", "subject", "predicateType", "predicate"])?;
    is_type(members, "_type", STATEMENT_TYPE)?;
    is_type(members, "predicateType", PREDICATE_TYPE)?;
    let [subject] = members.get("subject").and_then(Value::as_array).map_or(&[][..], Vec::as_slice) else {
        return Err(AttestError::Malformed("subject"));
    };
    let subject = only(subject, "subject", &["name", "digest"])?;
    let digest = only(subject.get("digest").unwrap_or(&Value::Null), "digest", &["sha256"])?;
    let root: Option<[u8; 32]> =
        base::digest::unhex(text(digest, "sha256")?).and_then(|bytes| bytes.try_into().ok());
    let bom =
        members.get("predicate").filter(|p| p.is_object()).ok_or(AttestError::Malformed("predicate"))?;
    Ok(VerifiedBom {
        bom_digest: bom_digest(bom)?,
        bom: bom.clone(),
        model_name: text(subject, "name")?.to_owned(),
        root_digest: Digest::from_bytes(root.ok_or(AttestError::Malformed("sha256"))?),
    })
}

fn only<'v>(
    value: &'v Value,
    what: &'static str,
    allowed: &[&str],
) -> Result<&'v Map<String, Value>, AttestError> {
    value
        .as_object()
        .filter(|members| members.keys().all(|name| allowed.contains(&name.as_str())))
        .ok_or(AttestError::Malformed(what))
}

fn text<'v>(members: &'v Map<String, Value>, name: &'static str) -> Result<&'v str, AttestError> {
    members.get(name).and_then(Value::as_str).ok_or(AttestError::Malformed(name))
}

fn is_type(members: &Map<String, Value>, what: &'static str, wanted: &str) -> Result<(), AttestError> {
    let found = text(members, what)?;
    if found == wanted {
        return Ok(());
    }
    Err(AttestError::WrongType {
        what,
        found: found.chars().take(100).flat_map(char::escape_debug).collect(),
    })
}
