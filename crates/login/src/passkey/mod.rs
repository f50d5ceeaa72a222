//! Passkeys of local accounts: registration and login (Web Authentication Level 2, sections 7.1 and 7.2).
//!
//! Every passkey is discoverable, so that nobody types a name and no answer says which names exist, and its
//! authenticator verifies its user on every use, which makes it two factors. What a browser sends is taken apart here
//! into the few members that count, before the library reads it.

mod error;
mod record;
mod wire;

use base::Timestamp;
use serde_json::Value;
use webauthn_rs::WebauthnBuilder;
use webauthn_rs::prelude::{
    CreationChallengeResponse, DiscoverableAuthentication, PasskeyRegistration, Url, Uuid, Webauthn,
};

pub use error::PasskeyError;
pub use record::{Handle, LABEL_MAX, PASSKEYS_MAX, Passkey, label};
pub use wire::{ANSWER_MAX, Assertion};

/// How long a challenge is good for: the time that browsers are told to wait, 300 s.
pub const CHALLENGE_MS: u64 = 300_000;

/// The site that passkeys are made for: host name and origin of the pages.
#[derive(Debug, Clone)]
pub struct Site {
    host: String,
    origin: String,
    webauthn: Webauthn,
}

/// A registration that has begun. It is used up by [`Site::finish_registration`], so its challenge is good once.
#[derive(Debug)]
pub struct Registration {
    state: PasskeyRegistration,
    holder: Handle,
    existing: Vec<base::Digest>,
    until: Timestamp,
}

/// A login that has begun. It is used up by [`Site::finish_login`], so its challenge is good once.
#[derive(Debug)]
pub struct Login {
    state: DiscoverableAuthentication,
    until: Timestamp,
}

impl Site {
    /// The site `https://host:port`, called `name` where browsers show it.
    ///
    /// # Errors
    /// [`PasskeyError::Host`]: an address, or nothing that a certificate can vouch for as a name.
    pub fn new(name: &str, host: &str, port: u16) -> Result<Self, PasskeyError> {
        let refuse = || PasskeyError::Host(host.to_owned());
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        // RFC 1035, section 2.3.1, and digits first as RFC 1123 allows.
        let part = |part: &str| (1..=63).contains(&part.len()) && part.chars().all(plain);
        if host.len() > 253 || !host.split('.').all(part) {
            return Err(refuse());
        }
        let url = Url::parse(&format!("https://{host}:{port}")).map_err(|_| refuse())?;
        // Names are as browsers write them: what the parser turns into an address or another name is none.
        if url.domain() != Some(host) {
            return Err(refuse());
        }
        let webauthn = WebauthnBuilder::new(host, &url)
            .and_then(|builder| builder.rp_name(name).build())
            .map_err(|_| refuse())?;
        Ok(Self { host: host.to_owned(), origin: url.origin().ascii_serialization(), webauthn })
    }

    /// The host name: the relying party id.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The only origin whose pages may use the passkeys: `https://node.example:9443`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Begins the registration of a passkey for `holder`, who is called `name`; authenticators that have one of
    /// `existing` are asked not to make another. Gives what the browser is told, and what stays here.
    ///
    /// # Errors
    /// [`PasskeyError::Other`]: the library made no challenge.
    pub fn begin_registration(
        &self,
        holder: Handle,
        name: &str,
        existing: &[Passkey],
        now: Timestamp,
    ) -> Result<(Value, Registration), PasskeyError> {
        let exclude = existing.iter().map(|known| known.credential.cred_id().clone()).collect();
        let person = Uuid::from_bytes(*holder.as_bytes());
        let (options, state) = self
            .webauthn
            .start_passkey_registration(person, name, name, Some(exclude))
            .map_err(|e| PasskeyError::of(&e))?;
        let registration = Registration {
            state,
            holder,
            existing: existing.iter().map(|known| known.id).collect(),
            until: now.plus_millis(CHALLENGE_MS),
        };
        Ok((discoverable(&options)?, registration))
    }

    /// Verifies what the browser answered to [`Site::begin_registration`]. That no other person has the same passkey is
    /// for the caller to see, by its id.
    ///
    /// # Errors
    /// [`PasskeyError`], a variant for each reason.
    pub fn finish_registration(
        &self,
        registration: Registration,
        answer: &[u8],
        label: &str,
        now: Timestamp,
    ) -> Result<Passkey, PasskeyError> {
        let Registration { state, holder, existing, until } = registration;
        if now > until {
            return Err(PasskeyError::Late);
        }
        let answer = wire::registration(answer)?;
        let known = |id: &[u8]| existing.contains(&base::sha256(id));
        let credential = self.webauthn.finish_passkey_registration(&answer, &state).map_err(|error| {
            // The library has one refusal for both; what the browser says of the id only chooses the words.
            match PasskeyError::of(&error) {
                PasskeyError::Algorithm if known(&answer.raw_id) => PasskeyError::Registered,
                refusal => refusal,
            }
        })?;
        let passkey = Passkey::new(holder, record::label(label), credential, now);
        if existing.contains(&passkey.id) {
            return Err(PasskeyError::Registered);
        }
        if wire::attestation(&passkey.credential).as_deref() != Some("none") {
            return Err(PasskeyError::Attested);
        }
        Ok(passkey)
    }

    /// Begins a login of whoever has a passkey of this site.
    ///
    /// # Errors
    /// [`PasskeyError::Other`]: the library made no challenge.
    pub fn begin_login(&self, now: Timestamp) -> Result<(Value, Login), PasskeyError> {
        let (mut options, state) =
            self.webauthn.start_discoverable_authentication().map_err(|e| PasskeyError::of(&e))?;
        // The page asks when its button is pressed, not while somebody types into a field.
        options.mediation = None;
        Ok((wire::options(&options)?, Login { state, until: now.plus_millis(CHALLENGE_MS) }))
    }

    /// Verifies what the browser answered to [`Site::begin_login`] against the passkey that it names
    /// ([`Assertion::passkey`]), and gives that passkey as it is to be kept from now on.
    ///
    /// # Errors
    /// [`PasskeyError`], a variant for each reason.
    pub fn finish_login(
        &self,
        login: Login,
        assertion: &Assertion,
        passkey: &Passkey,
        now: Timestamp,
    ) -> Result<Passkey, PasskeyError> {
        if now > login.until {
            return Err(PasskeyError::Late);
        }
        if assertion.passkey() != passkey.id || assertion.holder() != passkey.holder {
            return Err(PasskeyError::Person);
        }
        if assertion.framed() {
            return Err(PasskeyError::Framed);
        }
        let result = self
            .webauthn
            .finish_discoverable_authentication_v2(assertion.answer(), login.state, &passkey.credential)
            .map_err(|e| PasskeyError::of(&e))?;
        if !result.user_verified() {
            return Err(PasskeyError::Unverified);
        }
        let mut used = passkey.clone();
        used.last_used_ms = Some(now.as_millis());
        // Nothing to do where nothing changed; another id was refused above.
        let _changed = used.credential.update_credential(&result);
        Ok(used)
    }
}

/// The library asks authenticators to make no discoverable passkey; here only such are of use.
fn discoverable(options: &CreationChallengeResponse) -> Result<Value, PasskeyError> {
    let mut options = wire::options(options)?;
    let selection = options.pointer_mut("/publicKey/authenticatorSelection").and_then(Value::as_object_mut);
    let Some(selection) = selection else {
        return Err(PasskeyError::Other("no authenticatorSelection was made".to_owned()));
    };
    selection.insert("residentKey".to_owned(), Value::from("required"));
    selection.insert("requireResidentKey".to_owned(), Value::from(true));
    Ok(options)
}

#[cfg(test)]
mod soft;
#[cfg(test)]
mod tests;
