//! The receipt of an inspection: an in-toto statement in a DSSE envelope, signed with the caller's P-256 key.
//!
//! It binds verdict and findings to the digests of the files, and to the version, rules and limits that found them: a
//! verdict of other rules is another verdict.

use std::path::Path;

use base::sha256;
use inspect::Limits;
use integrity::{PrivateKey, dsse};
use serde_json::{Value, json};

use super::{Inspected, unusable};
use crate::clock::now;
use crate::cmd::sign::read_bounded;
use crate::error::CliError;

/// What the statement says.
pub(super) const PREDICATE_TYPE: &str = "urn:strongroom:inspection:1";
const PEM_MAX: u64 = 64 << 10;

/// Reads the key before the files, so that a wrong one costs no time.
pub(super) fn key(path: &Path) -> Result<PrivateKey, CliError> {
    let pem = read_bounded(path, PEM_MAX)?;
    PrivateKey::from_pem(&pem).map_err(|error| unusable(path, error.to_string()))
}

/// The signed receipt.
pub(super) fn receipt(
    key: &PrivateKey,
    path: &Path,
    document: &Value,
    files: &[Inspected],
    numbers: bool,
) -> Result<Vec<u8>, CliError> {
    let whole = files.iter().all(|file| !file.said.digest.is_empty());
    if !whole {
        return Err(unusable(
            path,
            "a file could not be read to its end, and is bound by nothing".to_owned(),
        ));
    }
    let subject: Vec<Value> = files
        .iter()
        .map(|file| json!({ "name": file.entry.name, "digest": { "sha256": file.said.digest } }))
        .collect();
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject,
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "inspector": { "name": "strongroom", "version": env!("CARGO_PKG_VERSION") },
            "rule_set": inspect::RULE_SET,
            "rules_digest": sha256(rules().to_string().as_bytes()).hex(),
            "limits_digest": sha256(format!("{:?}", limits(numbers)).as_bytes()).hex(),
            "time": now().to_string(),
            "inspection": document,
        },
    });
    let payload = statement.to_string().into_bytes();
    let envelope = dsse::Envelope::sign(dsse::IN_TOTO, payload, key)
        .map_err(|error| unusable(path, error.to_string()))?;
    Ok(envelope.to_bytes())
}

fn limits(numbers: bool) -> Limits {
    Limits { measure: numbers, ..Limits::default() }
}

fn rules() -> Value {
    let rule = |rule: &&inspect::Rule| json!([rule.code, rule.severity.as_str(), rule.title]);
    inspect::RULES.iter().map(rule).collect()
}
