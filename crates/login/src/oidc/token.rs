//! The token endpoint (RFC 6749 section 3.2, RFC 8628 section 3.4) and the device authorisation endpoint.

use base::Secret;
use openidconnect::url::{Url, form_urlencoded};
use serde::Deserialize;
use serde_json::Value;

use super::error::{OidcError, Step, shown};
use super::exchange::{Exchange, json};
use super::limits::SAID_MAX;
use super::settings::Settings;

/// What the token endpoint gives. Of the access token nothing is wanted but that it is the one that the ID token names;
/// other tokens are not read.
#[derive(Deserialize)]
pub(super) struct Tokens {
    pub(super) access_token: String,
    pub(super) id_token: Option<String>,
}

/// What it refuses.
#[derive(Debug, Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    error_description: String,
}

/// An answer to the question whether a device login is done.
pub(super) enum Asked<T> {
    Given(T),
    Pending,
    SlowDown,
}

/// Posts a form as this client.
pub(super) fn post<T: serde::de::DeserializeOwned, V: AsRef<str>>(
    settings: &Settings,
    net: &dyn Exchange,
    step: Step,
    (url, limit): (&Url, usize),
    fields: &[(&str, V)],
) -> Result<Asked<T>, OidcError> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields);
    let authorization =
        settings.secret.as_ref().map(|secret| secret.expose(|text| basic(&settings.client_id, text)));
    if authorization.is_none() {
        form.append_pair("client_id", &settings.client_id);
    }
    let body = form.finish().into_bytes();
    let post = |header: Option<&str>| json(net, step, url, limit, Some((body, header)));
    let (status, value) = match &authorization {
        Some(header) => header.expose(|text| post(Some(text))),
        None => post(None),
    }?;
    if status == 200 {
        let given = serde_json::from_value(value);
        // What serde would say of it could hold a token.
        return given
            .map(Asked::Given)
            .map_err(|_| OidcError::Answer { step, reason: "it lacks what it must hold".to_owned() });
    }
    refusal(step, status, value)
}

/// RFC 6749 section 2.3.1: both are encoded as in a form, then joined.
fn basic(id: &str, secret: &str) -> Secret<String> {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = Secret::new(format!("{}:{}", encode(id), encode(secret)));
    Secret::new(format!("Basic {}", pair.expose(|pair| base64(pair.as_bytes()))))
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn refusal<T>(step: Step, status: u16, value: Value) -> Result<Asked<T>, OidcError> {
    let refusal: Refusal = serde_json::from_value(value)
        .map_err(|_| OidcError::Answer { step, reason: format!("status {status} without an error code") })?;
    let said = shown(&format!("{} {}", refusal.error, refusal.error_description), SAID_MAX);
    match refusal.error.as_str() {
        "authorization_pending" => Ok(Asked::Pending),
        "slow_down" => Ok(Asked::SlowDown),
        error => Err(reported(error, said)),
    }
}

/// An error code of RFC 6749 sections 4.1.2.1 and 5.2, RFC 8628 section 3.5 or OpenID Connect Core 1.0 section 3.1.2.6.
pub(super) fn reported(error: &str, said: String) -> OidcError {
    match error {
        "access_denied" => OidcError::Denied(String::new()),
        "login_required" | "interaction_required" | "consent_required" | "account_selection_required" => {
            OidcError::Denied(format!(": `{error}`"))
        }
        "invalid_grant" | "expired_token" => OidcError::Expired,
        "unmet_authentication_requirements" => OidcError::SecondFactor(said),
        "invalid_client" | "unauthorized_client" | "unsupported_grant_type" | "invalid_scope" => {
            OidcError::Client(said)
        }
        _ => OidcError::Reported(said),
    }
}
