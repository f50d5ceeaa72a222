//! Login by an OpenID provider: authorisation code with PKCE and a loopback redirect, or a device code.

mod discovery;
mod error;
mod exchange;
pub mod limits;
mod proven;
mod settings;
mod token;
mod verify;

use std::sync::{Arc, Mutex, PoisonError};

use base::config::{Oidc, SecondFactor};
use base::{Secret, Timestamp};
use openidconnect::{PkceCodeChallenge, PkceCodeVerifier};
use serde::Deserialize;

pub use error::{OidcError, Step};
pub use exchange::{Answer, Ask, Exchange, NoAnswer};
pub use proven::Proven;

use crate::loopback::Redirect;
use discovery::{Keys, Metadata};
use limits::{
    CODE_MAX, DEVICE_LIFE_S, DEVICE_MAX, KEYS_AGAIN_MS, KEYS_LIFE_MS, METADATA_LIFE_MS, POLL_MAX_S, POLL_S,
    SAID_MAX, SLOW_DOWN_S, TOKEN_MAX, USER_CODE_MAX,
};
use settings::Settings;
use token::{Asked, Tokens};
use verify::Expected;

/// A provider, and what it said of itself lately.
#[derive(Debug)]
pub struct Provider {
    settings: Settings,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    metadata: Option<(Timestamp, Arc<Metadata>)>,
    keys: Option<(Timestamp, Arc<Keys>)>,
}

/// What was kept, if it is not older than `life_ms`. A clock that was set back makes it old.
fn kept<T>(kept: Option<&(Timestamp, Arc<T>)>, now: Timestamp, life_ms: u64) -> Option<Arc<T>> {
    kept.filter(|(at, _)| *at <= now && now.millis_since(*at) < life_ms).map(|(_, value)| Arc::clone(value))
}

/// An attempt by authorisation code. It is used up by [`Provider::finish_code`].
#[derive(Debug)]
pub struct CodeAttempt {
    begun: Timestamp,
    redirect: String,
    state: String,
    nonce: String,
    verifier: Secret<String>,
}

/// An attempt by device code.
#[derive(Debug)]
pub struct DeviceAttempt {
    begun: Timestamp,
    ends: Timestamp,
    next: Timestamp,
    pause_s: u64,
    code: Secret<String>,
}

/// What a person does to log in by a device code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceShown {
    /// The page to open.
    pub url: String,
    /// The same with the code in it, where the provider gives one.
    pub url_with_code: Option<String>,
    /// The code to type there.
    pub user_code: String,
    /// Seconds until it is too late.
    pub expires_s: u64,
    /// Seconds between two questions whether it is done.
    pub pause_s: u64,
}

/// Whether a device login is done.
#[derive(Debug)]
pub enum Polled {
    /// Not yet; ask again after so many seconds.
    Pending {
        /// The attempt.
        attempt: DeviceAttempt,
        /// Seconds.
        pause_s: u64,
    },
    /// It is.
    Done(Box<Proven>),
}

/// `max_age` of a login by code: any proof from before is too old.
const FRESH_CODE: &str = "0";
/// And of one by device code, which has no `prompt`: to zero some providers say no more than `prompt=login`, which is then
/// lost with it.
const FRESH_DEVICE: &str = "1";

/// Random bytes of an attempt: state, nonce and PKCE verifier, 256 bits each.
pub type AttemptRandom = [[u8; 32]; 3];

#[derive(Deserialize)]
struct DeviceAnswer {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: u64,
    interval: Option<u64>,
}

impl Provider {
    /// A provider as configured; nothing is asked of it yet. `secret` is the content of `client_secret_file`.
    ///
    /// # Errors
    /// [`OidcError::Settings`].
    pub fn new(config: &Oidc, secret: Option<&str>) -> Result<Self, OidcError> {
        Ok(Self { settings: Settings::new(config, secret)?, known: Mutex::default() })
    }

    /// The issuer.
    pub fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    /// Begins a login by authorisation code (RFC 6749 section 4.1, RFC 7636, RFC 8252). Gives the URL that the person opens
    /// in a browser; the answer comes to `redirect` on their machine.
    ///
    /// # Errors
    /// [`OidcError::Redirect`], or the provider cannot be used.
    pub fn begin_code(
        &self,
        net: &dyn Exchange,
        now: Timestamp,
        random: &AttemptRandom,
        redirect: &str,
    ) -> Result<(CodeAttempt, String), OidcError> {
        if Redirect::parse(redirect).is_none() {
            return Err(OidcError::Redirect);
        }
        let metadata = self.metadata(net, now)?;
        let [state, nonce, verifier] = random.each_ref().map(|bytes| base::digest::hex(bytes));
        let verifier = PkceCodeVerifier::new(verifier);
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        let mut url = metadata.authorization.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", redirect)
            .append_pair("state", &state)
            .append_pair("nonce", &nonce)
            .append_pair("code_challenge", challenge.as_str())
            .append_pair("code_challenge_method", "S256")
            .extend_pairs(self.wanted(FRESH_CODE));
        let attempt = CodeAttempt {
            begun: now,
            redirect: redirect.to_owned(),
            state,
            nonce,
            verifier: Secret::new(verifier.into_secret()),
        };
        Ok((attempt, url.into()))
    }

    /// Finishes a login by authorisation code.
    ///
    /// # Errors
    /// [`OidcError`]; the attempt is used up all the same.
    #[expect(clippy::needless_pass_by_value, reason = "an attempt is good for one code")]
    pub fn finish_code(
        &self,
        net: &dyn Exchange,
        now: Timestamp,
        attempt: CodeAttempt,
        code: &str,
        state: &str,
    ) -> Result<Proven, OidcError> {
        if !base::digest::ct_eq(attempt.state.as_bytes(), state.as_bytes()) {
            return Err(OidcError::Attempt("state"));
        }
        if code.is_empty() || code.len() > CODE_MAX {
            return Err(OidcError::Expired);
        }
        let metadata = self.metadata(net, now)?;
        let asked = attempt.verifier.expose(|verifier| {
            let fields = [
                ("grant_type", "authorization_code"),
                ("code", code),
                ("redirect_uri", attempt.redirect.as_str()),
                ("code_verifier", verifier.as_str()),
            ];
            token::post(&self.settings, net, Step::Token, (&metadata.token, TOKEN_MAX), &fields)
        });
        let Asked::Given(tokens) = asked? else {
            return Err(OidcError::Reported("authorization_pending".to_owned()));
        };
        let expected = Expected { nonce: Some(&attempt.nonce), begun: attempt.begun, now };
        self.verified(net, &metadata, &tokens, expected)
    }

    /// Why the provider sent the browser back without a code: the `error` of RFC 6749 section 4.1.2.1.
    ///
    /// # Errors
    /// Always.
    pub fn refuse_code(attempt: &CodeAttempt, error: &str, state: &str) -> Result<Proven, OidcError> {
        if !base::digest::ct_eq(attempt.state.as_bytes(), state.as_bytes()) {
            return Err(OidcError::Attempt("state"));
        }
        Err(token::reported(error, error::shown(error, SAID_MAX)))
    }

    /// Begins a login by device code (RFC 8628).
    ///
    /// # Errors
    /// The provider cannot be used, or has no such flow.
    pub fn begin_device(
        &self,
        net: &dyn Exchange,
        now: Timestamp,
    ) -> Result<(DeviceAttempt, DeviceShown), OidcError> {
        let unusable = |reason: &str| OidcError::Answer { step: Step::Device, reason: reason.to_owned() };
        let metadata = self.metadata(net, now)?;
        let url = metadata.device.as_ref().ok_or(OidcError::NoSuchFlow("device authorisation endpoint"))?;
        let asked =
            token::post(&self.settings, net, Step::Device, (url, DEVICE_MAX), &self.wanted(FRESH_DEVICE));
        let Asked::Given(answer) = asked? else { return Err(unusable("it is pending")) };
        let DeviceAnswer { device_code, user_code, .. } = &answer;
        let typed = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        if user_code.is_empty() || user_code.len() > USER_CODE_MAX || !typed(user_code) {
            return Err(unusable("its code cannot be typed"));
        }
        if device_code.is_empty() || device_code.len() > CODE_MAX {
            return Err(unusable("its device code is empty or too long"));
        }
        let shown = |text: &str| settings::endpoint(text, self.settings.plain).map(String::from);
        let url =
            shown(&answer.verification_uri).ok_or_else(|| unusable("its page is not a URL by https"))?;
        let expires_s = answer.expires_in.min(DEVICE_LIFE_S);
        let pause_s = answer.interval.unwrap_or(POLL_S).clamp(1, POLL_MAX_S);
        let attempt = DeviceAttempt {
            begun: now,
            ends: now.plus_millis(expires_s.saturating_mul(1000)),
            next: now.plus_millis(pause_s.saturating_mul(1000)),
            pause_s,
            code: Secret::new(answer.device_code),
        };
        // A second URL that cannot be shown is left out: the first one does.
        let url_with_code = answer.verification_uri_complete.as_deref().and_then(shown);
        Ok((attempt, DeviceShown { url, url_with_code, user_code: answer.user_code, expires_s, pause_s }))
    }

    /// Asks whether a device login is done, but not more often than the provider wants to be asked: then it is pending.
    ///
    /// # Errors
    /// [`OidcError`]; the attempt is used up.
    pub fn poll_device(
        &self,
        net: &dyn Exchange,
        now: Timestamp,
        mut attempt: DeviceAttempt,
    ) -> Result<Polled, OidcError> {
        if now >= attempt.ends {
            return Err(OidcError::Expired);
        }
        if now < attempt.next {
            let pause_s = attempt.next.millis_since(now).div_ceil(1000);
            return Ok(Polled::Pending { attempt, pause_s });
        }
        let metadata = self.metadata(net, now)?;
        let asked = attempt.code.expose(|code| {
            let fields = [
                ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
                ("device_code", code.as_str()),
            ];
            token::post::<Tokens, _>(&self.settings, net, Step::Token, (&metadata.token, TOKEN_MAX), &fields)
        });
        match asked? {
            Asked::Given(tokens) => {
                let expected = Expected { nonce: None, begun: attempt.begun, now };
                let proven = self.verified(net, &metadata, &tokens, expected)?;
                return Ok(Polled::Done(Box::new(proven)));
            }
            Asked::Pending => {}
            Asked::SlowDown => attempt.pause_s = attempt.pause_s.saturating_add(SLOW_DOWN_S).min(POLL_MAX_S),
        }
        let pause_s = attempt.pause_s;
        attempt.next = now.plus_millis(pause_s.saturating_mul(1000));
        Ok(Polled::Pending { attempt, pause_s })
    }

    /// What both flows ask for: who it is, proved anew (OpenID Connect Core 1.0 section 3.1.2.1).
    fn wanted(&self, max_age: &str) -> Vec<(&'static str, String)> {
        let mut wanted = vec![
            ("scope", self.settings.scope.clone()),
            ("prompt", "login".to_owned()),
            ("max_age", max_age.to_owned()),
        ];
        if let SecondFactor::Acr(classes) = &self.settings.second_factor {
            wanted.push(("acr_values", classes.join(" ")));
        }
        wanted
    }

    /// Verifies; once more with fresh keys where the key is not known, for the provider may have changed keys.
    fn verified(
        &self,
        net: &dyn Exchange,
        metadata: &Metadata,
        tokens: &Tokens,
        expected: Expected<'_>,
    ) -> Result<Proven, OidcError> {
        let keys = self.keys(net, metadata, expected.now, KEYS_LIFE_MS)?;
        match verify::verify(&self.settings, &keys, tokens, expected) {
            Err(OidcError::UnknownKey) => {
                let again = self.keys(net, metadata, expected.now, KEYS_AGAIN_MS)?;
                verify::verify(&self.settings, &again, tokens, expected)
            }
            other => other,
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn metadata(&self, net: &dyn Exchange, now: Timestamp) -> Result<Arc<Metadata>, OidcError> {
        if let Some(metadata) = kept(self.known().metadata.as_ref(), now, METADATA_LIFE_MS) {
            return Ok(metadata);
        }
        // Not under the lock: the provider may be slow.
        let fresh = Arc::new(discovery::discover(&self.settings, net)?);
        *self.known() = Known { metadata: Some((now, Arc::clone(&fresh))), keys: None };
        Ok(fresh)
    }

    fn keys(
        &self,
        net: &dyn Exchange,
        metadata: &Metadata,
        now: Timestamp,
        life_ms: u64,
    ) -> Result<Arc<Keys>, OidcError> {
        if let Some(keys) = kept(self.known().keys.as_ref(), now, life_ms) {
            return Ok(keys);
        }
        let fresh = Arc::new(discovery::keys(metadata, net)?);
        self.known().keys = Some((now, Arc::clone(&fresh)));
        Ok(fresh)
    }
}
