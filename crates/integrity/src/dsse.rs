//! DSSE v1 envelopes with one ECDSA signature: the form of Model BoMs and of other in-toto attestations.
//!
//! Signing is in two steps, so that the process which holds the key sees a digest and no document:
//! [`to_sign`] → signature elsewhere → [`Envelope::new`]. [`Envelope::sign`] does both with a key at hand.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use base::{Digest, sha256};

use crate::error::{SignError, VerifyError, quote};
use crate::json;
use crate::key::{PrivateKey, PublicKey};

/// The payload type of in-toto statements.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// The bytes that a DSSE signature covers: `DSSEv1 SP len(type) SP type SP len(payload) SP payload`.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

/// What a P-256 key signs, as a prehash: SHA-256 of [`pae`].
pub fn to_sign(payload_type: &str, payload: &[u8]) -> Digest {
    sha256(&pae(payload_type, payload))
}

/// A payload with its type and its one signature; nothing in it is verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signature_der: Vec<u8>,
    key_id: Option<String>,
}

impl Envelope {
    /// Puts a signature to a payload. The signature is checked with `key`, so that no envelope leaves that
    /// does not verify.
    ///
    /// # Errors
    /// [`SignError::Signature`]: it does not verify.
    pub fn new(
        payload_type: &str,
        payload: Vec<u8>,
        signature_der: Vec<u8>,
        key: &PublicKey,
    ) -> Result<Self, SignError> {
        if !key.verifies(&pae(payload_type, &payload), &signature_der) {
            return Err(SignError::Signature);
        }
        Ok(Self {
            payload_type: payload_type.to_owned(),
            payload,
            signature_der,
            key_id: Some(String::new()),
        })
    }

    /// Signs a payload with a key at hand.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign(payload_type: &str, payload: Vec<u8>, key: &PrivateKey) -> Result<Self, SignError> {
        let signature_der = key.sign(&pae(payload_type, &payload))?;
        Self::new(payload_type, payload, signature_der, &key.public_key())
    }

    /// Reads an envelope: exactly `payload`, `payloadType` and one signature, strict JSON and base64, at most
    /// 64 MiB.
    ///
    /// # Errors
    /// [`VerifyError::Json`], [`VerifyError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, VerifyError> {
        Self::from_value(&json::parse(bytes)?)
    }

    /// The envelope in a JSON value.
    pub(crate) fn from_value(value: &Value) -> Result<Self, VerifyError> {
        let members = object(value, "envelope", &["payload", "payloadType", "signatures"])?;
        let [signature] = members.get("signatures").and_then(Value::as_array).map_or(&[][..], Vec::as_slice)
        else {
            return Err(malformed("`signatures` must hold exactly one signature"));
        };
        let signature = object(signature, "signature", &["sig", "keyid"])?;
        let key_id = match signature.get("keyid") {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err(malformed("`keyid` must be text")),
        };
        Ok(Self {
            payload_type: text(members, "payloadType")?.to_owned(),
            payload: bytes(members, "payload")?,
            signature_der: bytes(signature, "sig")?,
            key_id,
        })
    }

    /// The envelope as JSON.
    pub fn to_value(&self) -> Value {
        let Self { payload_type, payload, signature_der, key_id } = self;
        let mut signature = Map::from_iter([("sig".to_owned(), Value::from(STANDARD.encode(signature_der)))]);
        if let Some(id) = key_id {
            signature.insert("keyid".to_owned(), id.as_str().into());
        }
        json!({"payload": STANDARD.encode(payload), "payloadType": payload_type, "signatures": [signature]})
    }

    /// The envelope as a file, with a line feed at its end.
    pub fn to_bytes(&self) -> Vec<u8> {
        format!("{}\n", self.to_value()).into_bytes()
    }

    /// What the signer is said to have called the key. It chooses nothing.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The signature, for what dates it. Nothing says yet that it is one.
    pub(crate) fn signature_der(&self) -> &[u8] {
        &self.signature_der
    }

    /// The payload, once its type is `payload_type` and the signature verifies with `key`.
    ///
    /// # Errors
    /// [`VerifyError::WrongType`], [`VerifyError::Signature`].
    pub fn verify(&self, payload_type: &str, key: &PublicKey) -> Result<&[u8], VerifyError> {
        if self.payload_type != payload_type {
            return Err(VerifyError::WrongType { what: "payloadType", found: quote(&self.payload_type) });
        }
        if !key.verifies(&pae(&self.payload_type, &self.payload), &self.signature_der) {
            return Err(VerifyError::Signature);
        }
        Ok(&self.payload)
    }
}

/// Reads an envelope around an in-toto statement, verifies it with a PEM key, and returns the statement read as
/// strict JSON.
///
/// # Errors
/// [`VerifyError`].
pub fn open_statement(envelope: &[u8], public_key_pem: &[u8]) -> Result<Value, VerifyError> {
    let key = PublicKey::from_pem(public_key_pem)?;
    let envelope = Envelope::parse(envelope)?;
    Ok(json::parse(envelope.verify(IN_TOTO, &key)?)?)
}

/// The payload of the envelope in a bundle, unverified: for what must know what a signature claims to be about before
/// it can verify it.
///
/// # Errors
/// [`VerifyError::Json`], [`VerifyError::Malformed`].
pub fn payload_of_bundle(bundle: &[u8]) -> Result<Vec<u8>, VerifyError> {
    let value = json::parse(bundle)?;
    let envelope = value.get("dsseEnvelope").ok_or_else(|| malformed("it has no `dsseEnvelope`"))?;
    Ok(Envelope::from_value(envelope)?.payload)
}

/// The members of an object that has none but `allowed`.
pub(crate) fn object<'v>(
    value: &'v Value,
    what: &'static str,
    allowed: &[&str],
) -> Result<&'v Map<String, Value>, VerifyError> {
    let members = value.as_object().ok_or_else(|| malformed(&format!("`{what}` must be an object")))?;
    match members.keys().find(|name| !allowed.contains(&name.as_str())) {
        Some(name) => Err(malformed(&format!("`{what}` has an unknown member `{}`", quote(name)))),
        None => Ok(members),
    }
}

/// A text member.
pub(crate) fn text<'v>(members: &'v Map<String, Value>, name: &'static str) -> Result<&'v str, VerifyError> {
    members.get(name).and_then(Value::as_str).ok_or_else(|| malformed(&format!("`{name}` must be text")))
}

/// A base64 member (RFC 4648 section 4: padded, no stray bits, no white space).
pub(crate) fn bytes(members: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, VerifyError> {
    STANDARD.decode(text(members, name)?).map_err(|_| malformed(&format!("`{name}` is not base64")))
}

pub(crate) fn malformed(what: &str) -> VerifyError {
    VerifyError::Malformed(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pae_is_that_of_the_dsse_protocol() {
        // The example of the DSSE protocol document.
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn signing_in_two_steps_equals_signing_in_one() {
        let key = PrivateKey::from_p256_scalar(&[7; 32]).unwrap();
        let der = key.sign_digest(&to_sign(IN_TOTO, b"{}")).unwrap();
        let two = Envelope::new(IN_TOTO, b"{}".to_vec(), der, &key.public_key()).unwrap();
        assert_eq!(two, Envelope::sign(IN_TOTO, b"{}".to_vec(), &key).unwrap());
        assert_eq!(Envelope::parse(&two.to_bytes()).unwrap(), two);
        assert_eq!(two.verify(IN_TOTO, &key.public_key()).unwrap(), b"{}");
    }

    #[test]
    fn the_payload_type_is_under_the_signature() {
        let key = PrivateKey::from_p256_scalar(&[7; 32]).unwrap();
        let mut envelope = Envelope::sign("a", b"{}".to_vec(), &key).unwrap();
        assert_eq!(
            envelope.verify(IN_TOTO, &key.public_key()),
            Err(VerifyError::WrongType { what: "payloadType", found: "a".into() })
        );
        envelope.payload_type = IN_TOTO.into();
        assert_eq!(envelope.verify(IN_TOTO, &key.public_key()), Err(VerifyError::Signature));
    }

    #[test]
    fn a_signature_that_does_not_verify_makes_no_envelope() {
        let key = PrivateKey::from_p256_scalar(&[7; 32]).unwrap();
        let other = PrivateKey::from_p256_scalar(&[8; 32]).unwrap();
        let der = other.sign_digest(&to_sign(IN_TOTO, b"{}")).unwrap();
        assert_eq!(Envelope::new(IN_TOTO, b"{}".to_vec(), der, &key.public_key()), Err(SignError::Signature));
    }

    #[test]
    fn a_statement_opens_with_its_key_and_with_no_other_bit() {
        let key = PrivateKey::from_p256_scalar(&[7; 32]).unwrap();
        let pem = key.public_key().to_pem().unwrap();
        let good = Envelope::sign(IN_TOTO, br#"{"predicate":{}}"#.to_vec(), &key).unwrap();
        assert_eq!(open_statement(&good.to_bytes(), pem.as_bytes()).unwrap(), json!({"predicate": {}}));
        let other = PrivateKey::from_p256_scalar(&[8; 32]).unwrap().public_key().to_pem().unwrap();
        assert_eq!(open_statement(&good.to_bytes(), other.as_bytes()), Err(VerifyError::Signature));
        for bit in 0..good.payload.len() * 8 {
            let mut bad = good.clone();
            bad.payload[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open_statement(&bad.to_bytes(), pem.as_bytes()), Err(VerifyError::Signature), "{bit}");
        }
        // Signed, and read two ways by two readers: refused.
        let doubled = Envelope::sign(IN_TOTO, br#"{"a":1,"a":2}"#.to_vec(), &key).unwrap();
        assert!(matches!(open_statement(&doubled.to_bytes(), pem.as_bytes()), Err(VerifyError::Json(_))));
    }
}
