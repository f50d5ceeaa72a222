//! What a browser sends, as `PublicKeyCredential.toJSON()` writes it (Web Authentication Level 3, section 5.1): taken
//! apart into the members that count, all within one bound on the whole.

use base::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use webauthn_rs::prelude::{Passkey as Credential, PublicKeyCredential, RegisterPublicKeyCredential};

use super::{Handle, PasskeyError};

/// Longest answer of a browser, in bytes. An honest registration of an RSA key with the longest credential id (1,023
/// bytes) is 6 KiB: three copies of the key and two of the id, in base-64.
pub const ANSWER_MAX: usize = 16 * 1024;

#[derive(Deserialize)]
struct Answer<R> {
    #[serde(rename = "rawId")]
    raw_id: String,
    #[serde(rename = "type")]
    kind: String,
    response: R,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attestation {
    attestation_object: String,
    #[serde(rename = "clientDataJSON")]
    client_data: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Assertive {
    authenticator_data: String,
    #[serde(rename = "clientDataJSON")]
    client_data: String,
    signature: String,
    user_handle: Option<String>,
}

fn read<'a, R: Deserialize<'a>>(bytes: &'a [u8]) -> Result<Answer<R>, PasskeyError> {
    if bytes.len() > ANSWER_MAX {
        return Err(PasskeyError::Long(ANSWER_MAX));
    }
    let answer: Answer<R> = serde_json::from_slice(bytes).map_err(|_| PasskeyError::Unreadable)?;
    if answer.kind != "public-key" {
        return Err(PasskeyError::Unreadable);
    }
    Ok(answer)
}

/// The library's type, of the members that count: no extensions, no transports.
fn typed<T: for<'a> Deserialize<'a>>(raw_id: &str, response: &Value) -> Result<T, PasskeyError> {
    let all = json!({ "id": raw_id, "rawId": raw_id, "type": "public-key", "response": response });
    serde_json::from_value(all).map_err(|_| PasskeyError::Unreadable)
}

/// Reads the answer to a registration.
pub(super) fn registration(bytes: &[u8]) -> Result<RegisterPublicKeyCredential, PasskeyError> {
    let answer: Answer<Attestation> = read(bytes)?;
    let response = json!({
        "attestationObject": answer.response.attestation_object,
        "clientDataJSON": answer.response.client_data,
    });
    typed(&answer.raw_id, &response)
}

/// The answer to a login: whom it claims to prove, to be looked up before it is verified.
#[derive(Debug)]
pub struct Assertion {
    answer: PublicKeyCredential,
    holder: Handle,
    passkey: Digest,
    framed: bool,
}

/// The member of the client data that the library does not look at in a login.
#[derive(Deserialize)]
struct ClientData {
    #[serde(rename = "crossOrigin", default)]
    cross_origin: bool,
}

impl Assertion {
    /// Reads the answer to a login. Nothing of it is verified yet.
    ///
    /// # Errors
    /// [`PasskeyError::Long`], [`PasskeyError::Unreadable`]; [`PasskeyError::Person`] without a handle.
    pub fn read(bytes: &[u8]) -> Result<Self, PasskeyError> {
        let given: Answer<Assertive> = read(bytes)?;
        let response = json!({
            "authenticatorData": given.response.authenticator_data,
            "clientDataJSON": given.response.client_data,
            "signature": given.response.signature,
            "userHandle": given.response.user_handle,
        });
        let answer: PublicKeyCredential = typed(&given.raw_id, &response)?;
        let handle = answer.get_user_unique_id().and_then(|bytes| bytes.try_into().ok());
        let holder = handle.map(Handle::from_bytes).ok_or(PasskeyError::Person)?;
        let client: ClientData = serde_json::from_slice(&answer.response.client_data_json)
            .map_err(|_| PasskeyError::Unreadable)?;
        let passkey = base::sha256(answer.get_credential_id());
        Ok(Self { answer, holder, passkey, framed: client.cross_origin })
    }

    /// Whom it names.
    pub const fn holder(&self) -> Handle {
        self.holder
    }

    /// The id of the passkey that it names.
    pub const fn passkey(&self) -> Digest {
        self.passkey
    }

    pub(super) const fn framed(&self) -> bool {
        self.framed
    }

    pub(super) const fn answer(&self) -> &PublicKeyCredential {
        &self.answer
    }
}

/// What the browser is told, as `parseCreationOptionsFromJSON` and `parseRequestOptionsFromJSON` read it.
pub(super) fn options(options: &impl Serialize) -> Result<Value, PasskeyError> {
    serde_json::to_value(options).map_err(|e| PasskeyError::Other(e.to_string()))
}

/// The form of attestation that a passkey came with. The library shows it in what it stores alone.
pub(super) fn attestation(credential: &Credential) -> Option<String> {
    let stored = serde_json::to_value(credential).ok()?;
    stored.pointer("/cred/attestation_format").and_then(Value::as_str).map(str::to_owned)
}
