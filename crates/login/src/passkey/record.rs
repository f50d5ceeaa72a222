//! What is kept of a passkey. Nothing of it is secret: who reads it can prove nothing with it.

use base::digest::{hex, unhex};
use base::{Digest, Timestamp};
use serde::{Deserialize, Serialize};
use webauthn_rs::prelude::Passkey as Credential;

/// Longest label, in characters.
pub const LABEL_MAX: usize = 64;
/// Most passkeys of one person: a laptop, a telephone and security keys, and some more.
pub const PASSKEYS_MAX: usize = 16;

/// What an authenticator keeps with a passkey and says in a login, so that nobody types a name: 16 random bytes that
/// stand for a person and say nothing about one (Web Authentication Level 2, section 14.6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle([u8; 16]);

impl Handle {
    /// The handle made of these 16 random bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl Serialize for Handle {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Handle {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let bytes = unhex(&text).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| serde::de::Error::custom("a handle is 32 hex characters"))
    }
}

/// A registered passkey, as control keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passkey {
    /// SHA-256 of the credential id: how it is found and named.
    pub id: Digest,
    /// Whose it is.
    pub holder: Handle,
    /// What its holder calls it; cleaned by [`label`].
    pub label: String,
    /// When it was registered, in Unix milliseconds.
    pub created_ms: u64,
    /// When it last proved its holder, in Unix milliseconds; none: never yet.
    pub last_used_ms: Option<u64>,
    /// Credential id, public key, counter and what the authenticator said of itself.
    pub(super) credential: Credential,
}

impl Passkey {
    pub(super) fn new(holder: Handle, label: String, credential: Credential, now: Timestamp) -> Self {
        let id = base::sha256(credential.cred_id().as_ref());
        Self { id, holder, label, created_ms: now.as_millis(), last_used_ms: None, credential }
    }
}

/// What a person may call a passkey: without what does not print or turns text around, and cut to [`LABEL_MAX`].
pub fn label(text: &str) -> String {
    let kept = |c: &char| {
        !(c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'))
    };
    let text: String = text.chars().filter(kept).take(LABEL_MAX).collect();
    text.trim().to_owned()
}
