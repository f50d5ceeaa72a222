//! API keys of applications: `srk_<id>_<secret>`.
//!
//! The id (26 characters) finds the key, the secret (256 random bits, 52 characters of Crockford base-32) proves
//! its possession. Only `HMAC(node key, id ‖ secret)` is kept: 256 random bits cannot be guessed, so no slow
//! hash is needed, and a stolen database without the node key does not even allow testing a key.

use base::id::{KeyId, crockford};
use base::wire::lp;
use base::{Secret, hmac_sha256};

/// Separates this MAC from every other use of the node key.
const CONTEXT: &[u8] = b"strongroom api key 1";
/// What every key starts with, so that secret scanners find leaked ones.
pub const PREFIX: &str = "srk_";
/// Characters of each half (128 bits) of the secret and of the id: ceil(128 / 5).
const HALF: usize = 26;
/// Length of a key: prefix, id, underscore, both halves.
pub const TEXT_LEN: usize = PREFIX.len() + HALF + 1 + 2 * HALF;

/// The text is not an API key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an API key is `srk_`, 26 characters, `_` and 52 characters")]
pub struct ApiKeyError;

impl base::Explain for ApiKeyError {
    fn code(&self) -> &'static str {
        "SR-NET-0001"
    }
    fn help(&self) -> Option<base::Help> {
        Some("make a key with `strongroom key create`; it is shown once")
    }
}

/// A key as its holder presents it.
#[derive(Debug)]
pub struct ApiKey {
    id: KeyId,
    secret: Secret<[u8; 32]>,
}

impl ApiKey {
    /// The key of this id with these 256 random bits.
    pub fn new(id: KeyId, random: [u8; 32]) -> Self {
        Self { id, secret: Secret::new(random) }
    }

    /// Reads a presented key. Every key has exactly one text.
    ///
    /// # Errors
    /// Another form.
    pub fn parse(text: &str) -> Result<Self, ApiKeyError> {
        let rest = text.strip_prefix(PREFIX).filter(|_| text.len() == TEXT_LEN).ok_or(ApiKeyError)?;
        let (id, secret) = rest.split_once('_').ok_or(ApiKeyError)?;
        let (high, low) = secret.split_at_checked(HALF).ok_or(ApiKeyError)?;
        // `KeyId` has the only parser of these characters; its halves are 128 bits each.
        let bits =
            |half: &str| format!("key_{half}").parse::<KeyId>().map(KeyId::bits).map_err(|_| ApiKeyError);
        let mut bytes = [0u8; 32];
        for (to, from) in
            bytes.iter_mut().zip(bits(high)?.to_be_bytes().iter().chain(&bits(low)?.to_be_bytes()))
        {
            *to = *from;
        }
        Ok(Self { id: KeyId::from_bits(bits(id)?), secret: Secret::new(bytes) })
    }

    /// Its public half.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The text to hand to its holder, once.
    pub fn text(&self) -> String {
        let (high, low) = self.secret.expose(|bytes| {
            let half = |from: usize| {
                bytes.iter().skip(from).take(16).fold(0u128, |acc, byte| (acc << 8) | u128::from(*byte))
            };
            (half(0), half(16))
        });
        format!("{PREFIX}{}_{}{}", crockford(self.id.bits()), crockford(high), crockford(low))
    }

    /// What is kept of the key, under the node's key.
    pub fn mac(&self, node_key: &[u8; 32]) -> [u8; 32] {
        let id = self.id.bits().to_be_bytes();
        self.secret.expose(|secret| *hmac_sha256(node_key, &[&lp(CONTEXT), &id, secret]).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use base::Timestamp;

    use super::*;

    fn key() -> ApiKey {
        let id = KeyId::new(Timestamp::from_millis(1_700_000_000_000), [9; 10]);
        ApiKey::new(id, std::array::from_fn(|i| u8::try_from(i * 7).unwrap()))
    }

    #[test]
    fn text_round_trips_and_proves_possession() {
        let text = key().text();
        assert_eq!(text.len(), TEXT_LEN);
        let read = ApiKey::parse(&text).unwrap();
        assert_eq!(read.id(), key().id());
        assert_eq!(read.mac(&[1; 32]), key().mac(&[1; 32]));
        assert_ne!(read.mac(&[1; 32]), key().mac(&[2; 32]));
        assert!(!format!("{read:?}").contains("secret: ["));
    }

    #[test]
    fn every_changed_character_is_another_key_or_none() {
        let text = key().text();
        for at in PREFIX.len()..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] = if other[at] == b'0' { b'1' } else { b'0' };
            let other = String::from_utf8(other).unwrap();
            if let Ok(read) = ApiKey::parse(&other) {
                assert_ne!((read.id(), read.mac(&[1; 32])), (key().id(), key().mac(&[1; 32])), "{other}");
            }
        }
        for bad in [
            "",
            "srk_",
            &text.to_uppercase(),
            text.trim_start_matches('s'),
            &format!("{text}0"),
            &text.replace("srk_", "key_"),
        ] {
            assert_eq!(ApiKey::parse(bad).unwrap_err(), ApiKeyError, "{bad}");
        }
    }
}
