//! Verification of an ID token (OpenID Connect Core 1.0 section 3.1.3.7): signature and form by the library, then what the
//! library leaves to its user.

use std::collections::BTreeMap;
use std::str::FromStr;

use base::Timestamp;
use base::config::SecondFactor;
use chrono::{DateTime, Utc};
use openidconnect::core::{
    CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm as Algorithm,
};
use openidconnect::{
    AccessToken, AccessTokenHash, AdditionalClaims, ClaimsVerificationError, ClientId, IdToken,
    IdTokenClaims, IdTokenVerifier, IssuerUrl, Nonce, SignatureVerificationError,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::discovery::Keys;
use super::error::{OidcError, is_hidden, shown};
use super::limits::{GROUPS_MAX, METHODS_MAX, NAME_MAX, SAID_MAX, SKEW_S, SUBJECT_MAX, WORD_MAX};
use super::proven::Proven;
use super::settings::Settings;
use super::token::Tokens;

/// What signs an ID token: signatures that only the provider can make. Never `none`, and never a MAC, whose key both sides
/// have.
const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::RsaSsaPkcs1V15Sha256,
    Algorithm::RsaSsaPssSha256,
    Algorithm::EcdsaP256Sha256,
    Algorithm::EcdsaP384Sha384,
    Algorithm::EdDsa,
];

/// Claims that the library does not know by name.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
struct More(BTreeMap<String, Value>);

impl AdditionalClaims for More {}

type Token = IdToken<More, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, Algorithm>;
type Claims = IdTokenClaims<More, CoreGenderClaim>;

/// The attempt that a token must belong to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    /// What was sent; none in the device flow, which has no such thing.
    pub(super) nonce: Option<&'a str>,
    pub(super) begun: Timestamp,
    pub(super) now: Timestamp,
}

/// Who the tokens prove somebody to be.
pub(super) fn verify(
    settings: &Settings,
    keys: &Keys,
    tokens: &Tokens,
    expected: Expected<'_>,
) -> Result<Proven, OidcError> {
    let refuse = |reason: &str| OidcError::Signature(reason.to_owned());
    let text = tokens.id_token.as_deref().ok_or_else(|| refuse("there is none"))?;
    let token =
        Token::from_str(text).map_err(|_| refuse("it is not a token with the claims that it must have"))?;
    let issuer = IssuerUrl::new(settings.issuer.clone())
        .map_err(|_| OidcError::Settings("`issuer` is not a URL".to_owned()))?;
    // As of a public client: with the client's secret as a key the library would take MACs.
    let verifier =
        IdTokenVerifier::new_public_client(ClientId::new(settings.client_id.clone()), issuer, keys.clone())
            .set_allowed_algs(ALGORITHMS)
            .set_other_audience_verifier_fn(|_| false)
            .set_time_fn(|| as_of(expected.now, SKEW_S));
    let nonce = |found: Option<&Nonce>| match (expected.nonce, found) {
        (None, _) => Ok(()),
        (Some(sent), Some(found)) if base::digest::ct_eq(sent.as_bytes(), found.secret().as_bytes()) => {
            Ok(())
        }
        (Some(_), _) => Err(String::new()),
    };
    let claims = token.claims(&verifier, nonce).map_err(|error| refused(error, expected))?;
    if let Some(hash) = claims.access_token_hash() {
        let access = AccessToken::new(tokens.access_token.clone());
        let own = token
            .signing_alg()
            .and_then(|alg| Ok((alg, token.signing_key(&verifier)?)))
            .ok()
            .and_then(|(alg, key)| AccessTokenHash::from_token(&access, alg, key).ok());
        if own.as_ref() != Some(hash) {
            return Err(refuse("`at_hash` is of another access token"));
        }
    }
    ours(settings, claims)?;
    let auth_time = times(claims, expected)?;
    let (amr, acr) = second_factor(settings, claims)?;
    Ok(Proven {
        issuer: settings.issuer.clone(),
        subject: subject(claims)?,
        name: name(claims),
        groups: groups(settings, claims)?,
        auth_time,
        amr,
        acr,
    })
}

/// This node's time less so many seconds, in the library's type.
fn as_of(now: Timestamp, less_s: u64) -> DateTime<Utc> {
    let millis = now.as_millis().saturating_sub(less_s.saturating_mul(1000));
    // A time that chrono cannot tell is after every expiry.
    i64::try_from(millis).ok().and_then(DateTime::from_timestamp_millis).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// What the library found, in our words.
fn refused(error: ClaimsVerificationError, expected: Expected<'_>) -> OidcError {
    use ClaimsVerificationError as E;
    match error {
        E::SignatureVerification(SignatureVerificationError::NoMatchingKey) => OidcError::UnknownKey,
        E::SignatureVerification(error) => OidcError::Signature(shown(&error.to_string(), SAID_MAX)),
        E::Expired(_) => OidcError::Time(format!("it is expired at {}", expected.now)),
        E::InvalidAudience(why) => OidcError::Audience(shown(&why, SAID_MAX)),
        E::InvalidIssuer(why) => OidcError::Issuer { found: shown(&why, SAID_MAX) },
        E::InvalidNonce(_) => OidcError::Attempt("nonce"),
        other => OidcError::Signature(shown(&other.to_string(), SAID_MAX)),
    }
}

/// Issued by exactly this issuer for exactly this client. The library compares URLs; issuers are compared as text.
fn ours(settings: &Settings, claims: &Claims) -> Result<(), OidcError> {
    if claims.issuer().as_str() != settings.issuer {
        return Err(OidcError::Issuer { found: shown(claims.issuer().as_str(), SAID_MAX) });
    }
    let audiences = claims.audiences();
    if audiences.is_empty() || audiences.iter().any(|audience| audience.as_str() != settings.client_id) {
        return Err(OidcError::Audience("it names others as well".to_owned()));
    }
    match claims.authorized_party() {
        Some(party) if party.as_str() != settings.client_id => {
            Err(OidcError::Audience(format!("`azp` is `{}`", shown(party, SAID_MAX))))
        }
        _ => Ok(()),
    }
}

/// Token and proof are of this attempt: neither before it began nor after now, but for the skew. Gives when the person
/// proved who they are.
fn times(claims: &Claims, expected: Expected<'_>) -> Result<Timestamp, OidcError> {
    let skew = SKEW_S.saturating_mul(1000);
    let millis = |time: DateTime<Utc>| u64::try_from(time.timestamp_millis()).map(Timestamp::from_millis);
    let (first, last) = (expected.begun.as_millis().saturating_sub(skew), expected.now.plus_millis(skew));
    let first = Timestamp::from_millis(first);
    let issued =
        millis(claims.issue_time()).map_err(|_| OidcError::Time("`iat` is before 1970".to_owned()))?;
    if issued > last {
        let ahead = issued.millis_since(expected.now) / 1000;
        return Err(OidcError::Time(format!("it was issued {ahead} s in the future")));
    }
    if issued < first {
        let behind = expected.begun.millis_since(issued) / 1000;
        return Err(OidcError::Time(format!("it was issued {behind} s before this login began")));
    }
    let proved =
        claims.auth_time().ok_or_else(|| OidcError::NotFresh("there is no `auth_time`".to_owned()))?;
    let proved = millis(proved).map_err(|_| OidcError::NotFresh("`auth_time` is before 1970".to_owned()))?;
    if proved > last {
        let ahead = proved.millis_since(expected.now) / 1000;
        return Err(OidcError::Time(format!("`auth_time` is {ahead} s in the future")));
    }
    if proved < first {
        let behind = expected.begun.millis_since(proved) / 1000;
        return Err(OidcError::NotFresh(format!("`auth_time` is {behind} s before this login began")));
    }
    // Never later than now: freshness counts from it.
    Ok(proved.min(expected.now))
}

/// The methods and the context class, of which one must be as configured.
fn second_factor(settings: &Settings, claims: &Claims) -> Result<(Vec<String>, Option<String>), OidcError> {
    let amr: Vec<String> =
        claims.auth_method_refs().map(|all| all.iter().map(|m| (**m).clone()).collect()).unwrap_or_default();
    let acr = claims.auth_context_ref().map(|class| (**class).clone());
    if amr.len() > METHODS_MAX || amr.iter().chain(&acr).any(|word| !is_word(word)) {
        return Err(OidcError::Claims("`amr` or `acr` is too long, or not printable".to_owned()));
    }
    match &settings.second_factor {
        SecondFactor::Amr(any) if !any.iter().any(|method| amr.contains(method)) => {
            let said = if amr.is_empty() { "nothing".to_owned() } else { amr.join(" ") };
            Err(OidcError::SecondFactor(format!("`amr` says {}", shown(&said, SAID_MAX))))
        }
        SecondFactor::Acr(any) if !acr.as_ref().is_some_and(|class| any.contains(class)) => {
            let said = acr.as_deref().unwrap_or("nothing");
            Err(OidcError::SecondFactor(format!("`acr` says {}", shown(said, SAID_MAX))))
        }
        _ => Ok((amr, acr)),
    }
}

fn subject(claims: &Claims) -> Result<String, OidcError> {
    let subject = claims.subject().as_str();
    let printable = subject.bytes().all(|b| b.is_ascii_graphic());
    if subject.is_empty() || subject.len() > SUBJECT_MAX || !printable {
        return Err(OidcError::Claims(format!("`sub` is not 1 to {SUBJECT_MAX} visible ASCII characters")));
    }
    Ok(subject.to_owned())
}

/// What to call them: the first of these that leaves anything.
fn name(claims: &Claims) -> Option<String> {
    let user = claims.preferred_username().map(|name| name.as_str());
    let full = claims.name().and_then(|name| name.get(None)).map(|name| name.as_str());
    let mail = claims.email().map(|mail| mail.as_str());
    [user, full, mail].into_iter().flatten().map(|name| shown(name, NAME_MAX)).find(|name| !name.is_empty())
}

/// The groups: absent is none. A list that is too long is refused and not cut: a right would come and go.
fn groups(settings: &Settings, claims: &Claims) -> Result<Vec<String>, OidcError> {
    let claim = &settings.groups_claim;
    let refuse = |why: &str| OidcError::Claims(format!("`{}` {why}", shown(claim, SAID_MAX)));
    let all = match claims.additional_claims().0.get(claim) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(all)) => all,
        Some(_) => return Err(refuse("is not a list")),
    };
    if all.len() > GROUPS_MAX {
        return Err(refuse(&format!("lists more than {GROUPS_MAX} groups")));
    }
    all.iter()
        .map(|group| group.as_str().filter(|group| is_word(group)).map(str::to_owned))
        .collect::<Option<_>>()
        .ok_or_else(|| refuse("holds what is not a name of a group"))
}

/// Text without anything hidden in it. Not cleaned: what is compared must be what was sent.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= WORD_MAX && !text.chars().any(is_hidden)
}
