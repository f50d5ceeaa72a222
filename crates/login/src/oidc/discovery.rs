//! What a provider says of itself (OpenID Connect Discovery 1.0), and its keys (RFC 7517).

use openidconnect::JsonWebKeySet;
use openidconnect::core::CoreJsonWebKey;
use openidconnect::url::Url;
use serde::Deserialize;
use serde_json::Value;

use super::error::{OidcError, Step, shown};
use super::exchange::{Exchange, json};
use super::limits::{KEYS_BYTES_MAX, KEYS_MAX, METADATA_MAX, RSA_BITS_MIN, SAID_MAX};
use super::settings::{Settings, endpoint};

/// Keys that verify signatures.
pub(super) type Keys = JsonWebKeySet<CoreJsonWebKey>;

/// The endpoints of a provider. What it says of algorithms is not read: it could only widen what is accepted.
#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) authorization: Url,
    pub(super) token: Url,
    pub(super) keys: Url,
    pub(super) device: Option<Url>,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    device_authorization_endpoint: Option<String>,
    code_challenge_methods_supported: Option<Vec<String>>,
}

/// Asks a provider who it is.
pub(super) fn discover(settings: &Settings, net: &dyn Exchange) -> Result<Metadata, OidcError> {
    let refuse = |reason: String| OidcError::Answer { step: Step::Discovery, reason };
    let (status, value) = json(net, Step::Discovery, &settings.discovery, METADATA_MAX, None)?;
    if status != 200 {
        return Err(refuse(format!("status {status}")));
    }
    let document: Document =
        serde_json::from_value(value).map_err(|e| refuse(shown(&e.to_string(), SAID_MAX)))?;
    if document.issuer != settings.issuer {
        return Err(OidcError::Issuer { found: shown(&document.issuer, SAID_MAX) });
    }
    // RFC 7636: without S256 a stolen code would be enough. Who does not say so may have it all the same.
    if document.code_challenge_methods_supported.is_some_and(|methods| !methods.iter().any(|m| m == "S256")) {
        return Err(OidcError::NoSuchFlow("proof key for codes by S256"));
    }
    let url = |name: &str, text: &str| {
        endpoint(text, settings.plain).ok_or_else(|| refuse(format!("its `{name}` is not a URL by https")))
    };
    Ok(Metadata {
        authorization: url("authorization_endpoint", &document.authorization_endpoint)?,
        token: url("token_endpoint", &document.token_endpoint)?,
        keys: url("jwks_uri", &document.jwks_uri)?,
        device: document
            .device_authorization_endpoint
            .map(|text| url("device_authorization_endpoint", &text))
            .transpose()?,
    })
}

/// Asks a provider for its keys, and keeps those that may verify something.
pub(super) fn keys(metadata: &Metadata, net: &dyn Exchange) -> Result<Keys, OidcError> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let refuse = |reason: String| OidcError::Answer { step: Step::Keys, reason };
    let (status, value) = json(net, Step::Keys, &metadata.keys, KEYS_BYTES_MAX, None)?;
    if status != 200 {
        return Err(refuse(format!("status {status}")));
    }
    let set: Set = serde_json::from_value(value).map_err(|_| refuse("it is not a key set".to_owned()))?;
    if set.keys.len() > KEYS_MAX {
        return Err(refuse(format!("it lists {} keys, and {KEYS_MAX} are the most", set.keys.len())));
    }
    // A key of a kind that is not known is another client's business (RFC 7517 section 5).
    let usable = set.keys.into_iter().filter(may_verify).filter_map(|key| serde_json::from_value(key).ok());
    Ok(JsonWebKeySet::new(usable.collect()))
}

/// Whether this is a public key of enough strength.
fn may_verify(key: &Value) -> bool {
    match key.get("kty").and_then(Value::as_str) {
        Some("EC" | "OKP") => true,
        Some("RSA") => {
            // base64url has six bits a character; leading zeros do not count.
            let modulus = key.get("n").and_then(Value::as_str).unwrap_or("").trim_start_matches('A');
            modulus.len().saturating_mul(6) >= RSA_BITS_MIN
        }
        _ => false,
    }
}
