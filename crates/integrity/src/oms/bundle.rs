//! The signature file: a Sigstore bundle v0.3 around a DSSE envelope.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use base::Timestamp;

use super::draft::{Draft, statement};
use super::signer::{Signer, SigstoreSigner};
use super::statement::{Resource, Statement};
use super::verify::Signed;
use super::{Accept, MEDIA_TYPE, MEDIA_TYPE_OTHER};
use crate::dsse::{Envelope, IN_TOTO, malformed, object, text};
use crate::error::{SignError, VerifyError, quote};
use crate::json;
use crate::key::{PrivateKey, PublicKey};
use crate::limits::{CERTIFICATES_MAX, TIMESTAMPS_MAX};
use crate::x509::{Certificate, CertificateError, CertificateTrust};

/// The signature file for a `payload` of [`statement`] and the DER signature over its
/// [`crate::dsse::to_sign`] (P-256) or PAE (any curve).
///
/// # Errors
/// The key cannot be used, or the signature does not verify with it.
pub fn bundle(payload: Vec<u8>, signature_der: Vec<u8>, public_key_pem: &[u8]) -> Result<Vec<u8>, SignError> {
    let key = PublicKey::from_pem(public_key_pem)?;
    write_key(&Envelope::new(IN_TOTO, payload, signature_der, &key)?, &key)
}

/// Signs these whole files, by their SHA-256, with a private key file and returns the signature file.
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
    write_key(&Envelope::sign(IN_TOTO, payload, &key)?, &key.public_key())
}

/// Signs a model with a key (method `key`).
///
/// # Errors
/// [`SignError`].
pub fn sign_with_key(key: &PrivateKey, draft: &Draft<'_>) -> Result<Vec<u8>, SignError> {
    write_key(&Envelope::sign(IN_TOTO, draft.statement()?, key)?, &key.public_key())
}

/// Signs a model with a key and the certificate of it (method `certificate`). `above` are the authorities between
/// it and the root, in any order; verifiers that have them need none here.
///
/// # Errors
/// [`SignError`]; the certificate is of another key.
pub fn sign_with_certificate(
    key: &PrivateKey,
    certificate: &Certificate,
    above: &[Certificate],
    draft: &Draft<'_>,
) -> Result<Vec<u8>, SignError> {
    if certificate.public_key()? != key.public_key() {
        return Err(SignError::OtherKey { subject: certificate.subject() });
    }
    let envelope = Envelope::sign(IN_TOTO, draft.statement()?, key)?;
    let chain: Vec<Value> = [certificate]
        .into_iter()
        .chain(above)
        .map(|c| json!({"rawBytes": STANDARD.encode(c.der())}))
        .collect();
    if chain.len() > CERTIFICATES_MAX {
        return Err(SignError::TooMany(chain.len()));
    }
    Ok(write(&envelope, &json!({"x509CertificateChain": {"certificates": chain}, "tlogEntries": []})))
}

fn write_key(envelope: &Envelope, key: &PublicKey) -> Result<Vec<u8>, SignError> {
    let hint = key.fingerprint()?.hex();
    Ok(write(envelope, &json!({"publicKey": {"hint": hint}, "tlogEntries": []})))
}

fn write(envelope: &Envelope, material: &Value) -> Vec<u8> {
    let value = json!({
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": material,
        "dsseEnvelope": envelope.to_value(),
    });
    format!("{value}\n").into_bytes()
}

/// Whom a caller trusts.
#[derive(Debug, Clone)]
pub enum Trust {
    /// The holder of this key (method `key`).
    Key(PublicKey),
    /// Whoever holds a certificate below these roots (method `certificate`).
    Certificates(CertificateTrust),
}

/// Verifies a signature file up to its statement: strict JSON, form, signer, signature over the exact payload, and
/// every rule of the statement. Files are not looked at yet. Certificates are judged at `now`, or at the time of a
/// trusted timestamp.
///
/// # Errors
/// [`VerifyError`], but for its variants on files.
pub fn open_with(
    bundle: &[u8],
    trust: &Trust,
    accept: Accept,
    now: Timestamp,
) -> Result<Signed, VerifyError> {
    let read = Bundle::parse(bundle)?;
    match (trust, &read.material) {
        (Trust::Key(key), Material::Key { hint }) => {
            let signer = Signer::Key { key: key.fingerprint()? };
            named(hint.as_deref(), &signer)?;
            read.statement(key, signer, accept)
        }
        (Trust::Certificates(trust), Material::Chain(chain)) => {
            let key = chain.first().map(Certificate::public_key).transpose()?;
            let key = key.ok_or_else(|| malformed("`certificates` is empty"))?;
            // The signature first, so that a timestamp is only ever asked about one that holds.
            read.envelope.verify(IN_TOTO, &key)?;
            let dated = (read.envelope.signature_der(), read.timestamps.as_slice());
            let signer = Signer::Certificate(trust.check(chain, dated, now)?);
            read.statement(&key, signer, accept)
        }
        (Trust::Key(_), _) => Err(read.other_method("key")),
        (Trust::Certificates(_), _) => Err(read.other_method("certificate")),
    }
}

/// [`open_with`] for a key file in PEM, and what every policy accepts.
///
/// # Errors
/// As [`open_with`].
pub fn open(bundle: &[u8], public_key_pem: &[u8]) -> Result<Signed, VerifyError> {
    let key = PublicKey::from_pem(public_key_pem)?;
    open_with(bundle, &Trust::Key(key), Accept::default(), Timestamp::from_millis(0))
}

/// Verifies a bundle of method `sigstore` up to its statement. `vouch` decides on the evidence: it is given the leaf
/// certificate and says who that is, after it verified certificate, log and timestamps of exactly this bundle
/// against a trusted root. The signature over the payload is verified here as well.
///
/// # Errors
/// [`VerifyError`], but for its variants on files.
pub fn open_sigstore(
    bundle: &[u8],
    accept: Accept,
    vouch: impl FnOnce(&Certificate) -> Result<SigstoreSigner, CertificateError>,
) -> Result<Signed, VerifyError> {
    let read = Bundle::parse(bundle)?;
    let Material::Sigstore(leaf) = &read.material else { return Err(read.other_method("sigstore")) };
    let key = leaf.public_key()?;
    read.envelope.verify(IN_TOTO, &key)?;
    let signer = Signer::Sigstore(vouch(leaf)?);
    read.statement(&key, signer, accept)
}

/// A bundle of the right form; nothing in it is verified.
#[derive(Debug)]
struct Bundle {
    material: Material,
    timestamps: Vec<Vec<u8>>,
    envelope: Envelope,
}

#[derive(Debug)]
enum Material {
    Key { hint: Option<String> },
    Chain(Vec<Certificate>),
    Sigstore(Box<Certificate>),
}

impl Bundle {
    fn parse(bytes: &[u8]) -> Result<Self, VerifyError> {
        let value = json::parse(bytes)?;
        let members = object(&value, "bundle", &["mediaType", "verificationMaterial", "dsseEnvelope"])?;
        let media_type = text(members, "mediaType")?;
        if media_type != MEDIA_TYPE && media_type != MEDIA_TYPE_OTHER {
            return Err(VerifyError::WrongType { what: "mediaType", found: quote(media_type) });
        }
        let (material, timestamps) = material(members.get("verificationMaterial").unwrap_or(&Value::Null))?;
        let envelope = Envelope::from_value(members.get("dsseEnvelope").unwrap_or(&Value::Null))?;
        if envelope.key_id().is_some_and(|id| !id.is_empty()) {
            return Err(malformed("`keyid` must be empty in a model signature"));
        }
        Ok(Self { material, timestamps, envelope })
    }

    fn statement(&self, key: &PublicKey, signer: Signer, accept: Accept) -> Result<Signed, VerifyError> {
        let payload = self.envelope.verify(IN_TOTO, key)?;
        Ok(Signed::new(Statement::from_value(&json::parse(payload)?, accept)?, signer))
    }

    fn other_method(&self, asked: &'static str) -> VerifyError {
        let found = match self.material {
            Material::Key { .. } => "key",
            Material::Chain(_) => "certificate",
            Material::Sigstore(_) => "sigstore",
        };
        VerifyError::OtherMethod { found, asked }
    }
}

/// Refuses a hint that names another key, if it is in a form that we know.
fn named(hint: Option<&str>, signer: &Signer) -> Result<(), VerifyError> {
    let (Some(hint), yours) = (hint, signer.key().hex()) else { return Ok(()) };
    let known_form = hint.len() == yours.len() && base::digest::unhex(hint).is_some();
    if known_form && hint != yours {
        return Err(VerifyError::OtherKey { named: hint.to_owned(), yours });
    }
    Ok(())
}

/// Exactly one of the three forms, with the timestamps beside it.
fn material(value: &Value) -> Result<(Material, Vec<Vec<u8>>), VerifyError> {
    let members = value.as_object().ok_or_else(|| malformed("`verificationMaterial` must be an object"))?;
    let forms: Vec<(&str, &Value)> = ["publicKey", "x509CertificateChain", "certificate"]
        .into_iter()
        .filter_map(|form| members.get(form).map(|value| (form, value)))
        .collect();
    let entries = match members.get("tlogEntries") {
        None => 0,
        Some(entries) => entries.as_array().ok_or_else(|| malformed("`tlogEntries` must be a list"))?.len(),
    };
    let material = match forms.as_slice() {
        [("certificate", leaf)] if entries > 0 => Material::Sigstore(Box::new(certificate(leaf)?)),
        [("certificate", _)] => return Err(malformed("a Sigstore signature has no log entry")),
        // Not verified here, so not accepted as if it were.
        [_] if entries > 0 => {
            return Err(VerifyError::NotSupported("a transparency log entry beside a key".to_owned()));
        }
        [("publicKey", key)] => {
            // The last two were written before version 1.1.0. They choose nothing.
            let members = object(key, "publicKey", &["hint", "rawBytes", "keyDetails"])?;
            let hint =
                members.get("hint").map(|hint| hint.as_str().ok_or_else(|| malformed("`hint` must be text")));
            Material::Key { hint: hint.transpose()?.map(str::to_owned) }
        }
        [(_, chain)] => {
            let members = object(chain, "x509CertificateChain", &["certificates"])?;
            let list = list(members, "certificates", CERTIFICATES_MAX)?;
            Material::Chain(list.iter().map(certificate).collect::<Result<_, _>>()?)
        }
        _ => return Err(malformed("`verificationMaterial` must hold exactly one kind of key")),
    };
    Ok((material, timestamps(members)?))
}

fn certificate(value: &Value) -> Result<Certificate, VerifyError> {
    let members = object(value, "certificate", &["rawBytes"])?;
    Ok(Certificate::from_der(&crate::dsse::bytes(members, "rawBytes")?)?)
}

fn timestamps(members: &Map<String, Value>) -> Result<Vec<Vec<u8>>, VerifyError> {
    let Some(data) = members.get("timestampVerificationData").filter(|data| !data.is_null()) else {
        return Ok(Vec::new());
    };
    let data = object(data, "timestampVerificationData", &["rfc3161Timestamps"])?;
    if !data.contains_key("rfc3161Timestamps") {
        return Ok(Vec::new());
    }
    let list = list(data, "rfc3161Timestamps", TIMESTAMPS_MAX)?;
    list.iter()
        .map(|item| crate::dsse::bytes(object(item, "timestamp", &["signedTimestamp"])?, "signedTimestamp"))
        .collect()
}

fn list<'v>(
    members: &'v Map<String, Value>,
    name: &'static str,
    most: usize,
) -> Result<&'v [Value], VerifyError> {
    let list = members.get(name).and_then(Value::as_array).map(Vec::as_slice);
    list.filter(|list| list.len() <= most)
        .ok_or_else(|| malformed(&format!("`{name}` must be a list of at most {most}")))
}
