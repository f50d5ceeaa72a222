//! The signature file: a Sigstore bundle v0.3 around a DSSE envelope.

use serde_json::{Map, Value, json};

use super::statement::Statement;
use super::verify::Signed;
use super::{MEDIA_TYPE, MEDIA_TYPE_OTHER, Resource, statement};
use crate::dsse::{Envelope, IN_TOTO, malformed, object, text};
use crate::error::{SignError, VerifyError, quote};
use crate::json;
use crate::key::{PrivateKey, PublicKey};

/// The signature file for a `payload` of [`statement`] and the DER signature over its
/// [`crate::dsse::to_sign`] (P-256) or PAE (any curve).
///
/// # Errors
/// The key cannot be used, or the signature does not verify with it.
pub fn bundle(payload: Vec<u8>, signature_der: Vec<u8>, public_key_pem: &[u8]) -> Result<Vec<u8>, SignError> {
    let key = PublicKey::from_pem(public_key_pem)?;
    write(&Envelope::new(IN_TOTO, payload, signature_der, &key)?, &key)
}

/// Signs these files with a private key file and returns the signature file.
///
/// # Errors
/// [`SignError`].
pub fn sign_with_pem(
    private_key_pem: &[u8],
    model_name: &str,
    files: &[Resource],
    ignore_paths: &[String],
) -> Result<Vec<u8>, SignError> {
    let key = PrivateKey::from_pem(private_key_pem)?;
    let payload = statement(model_name, files, ignore_paths)?;
    write(&Envelope::sign(IN_TOTO, payload, &key)?, &key.public_key())
}

fn write(envelope: &Envelope, key: &PublicKey) -> Result<Vec<u8>, SignError> {
    let value = json!({
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": key.fingerprint()?.hex()}, "tlogEntries": []},
        "dsseEnvelope": envelope.to_value(),
    });
    Ok(format!("{value}\n").into_bytes())
}

/// Verifies a signature file up to its statement: strict JSON, form, key, signature over the exact payload, and
/// every rule of the statement. Files are not looked at yet.
///
/// # Errors
/// [`VerifyError`], but for its variants on files.
pub fn open(bundle: &[u8], public_key_pem: &[u8]) -> Result<Signed, VerifyError> {
    let key = PublicKey::from_pem(public_key_pem)?;
    let value = json::parse(bundle)?;
    let members = object(&value, "bundle", &["mediaType", "verificationMaterial", "dsseEnvelope"])?;
    let media_type = text(members, "mediaType")?;
    if media_type != MEDIA_TYPE && media_type != MEDIA_TYPE_OTHER {
        return Err(VerifyError::WrongType { what: "mediaType", found: quote(media_type) });
    }
    material(members.get("verificationMaterial").unwrap_or(&Value::Null), &key)?;
    let envelope = Envelope::from_value(members.get("dsseEnvelope").unwrap_or(&Value::Null))?;
    if envelope.key_id().is_some_and(|id| !id.is_empty()) {
        return Err(malformed("`keyid` must be empty in a model signature"));
    }
    let payload = envelope.verify(IN_TOTO, &key)?;
    Ok(Signed::new(Statement::from_value(&json::parse(payload)?)?))
}

/// Exactly one of the three forms, and of them the key, named as ours if it is named in a form that we know.
fn material(value: &Value, key: &PublicKey) -> Result<(), VerifyError> {
    let members = value.as_object().ok_or_else(|| malformed("`verificationMaterial` must be an object"))?;
    let forms: Vec<&str> = ["publicKey", "x509CertificateChain", "certificate"]
        .into_iter()
        .filter(|form| members.contains_key(*form))
        .collect();
    match forms.as_slice() {
        ["publicKey"] => {}
        ["x509CertificateChain"] => {
            return Err(VerifyError::NotSupported("a model signature by certificate".to_owned()));
        }
        ["certificate"] => return Err(VerifyError::NotSupported("a Sigstore model signature".to_owned())),
        _ => return Err(malformed("`verificationMaterial` must hold exactly one kind of key")),
    }
    match members.get("tlogEntries") {
        None => {}
        Some(Value::Array(entries)) if entries.is_empty() => {}
        // Not verified here, so not accepted as if it were.
        Some(_) => return Err(VerifyError::NotSupported("a transparency log entry beside a key".to_owned())),
    }
    let named: &Map<String, Value> = object(
        members.get("publicKey").unwrap_or(&Value::Null),
        "publicKey",
        // The last two were written before version 1.1.0. They choose nothing.
        &["hint", "rawBytes", "keyDetails"],
    )?;
    let Some(hint) = named.get("hint") else { return Ok(()) };
    let hint = hint.as_str().ok_or_else(|| malformed("`hint` must be text"))?;
    let yours = key.fingerprint()?.hex();
    let known_form = hint.len() == yours.len() && base::digest::unhex(hint).is_some();
    if known_form && hint != yours {
        return Err(VerifyError::OtherKey { named: hint.to_owned(), yours });
    }
    Ok(())
}
