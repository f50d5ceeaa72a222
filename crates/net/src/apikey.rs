//! API keys of applications: `srk_<id>_<secret>`, a [`Token`] with the id of its record.

use base::id::KeyId;

use crate::token::{Token, Use};

/// What every key starts with, so that secret scanners find leaked ones.
pub const PREFIX: &str = Use::ApiKey.prefix();
pub use crate::token::TEXT_LEN;

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
pub struct ApiKey(Token);

impl ApiKey {
    /// The key of this id with these 256 random bits.
    pub fn new(id: KeyId, random: [u8; 32]) -> Self {
        Self(Token::new(Use::ApiKey, id.bits(), random))
    }

    /// Reads a presented key. Every key has exactly one text.
    ///
    /// # Errors
    /// Another form.
    pub fn parse(text: &str) -> Result<Self, ApiKeyError> {
        Token::parse(Use::ApiKey, text).map(Self).map_err(|_| ApiKeyError)
    }

    /// Its public half.
    pub fn id(&self) -> KeyId {
        KeyId::from_bits(self.0.id())
    }

    /// The text to hand to its holder, once.
    pub fn text(&self) -> String {
        self.0.text()
    }

    /// What is kept of the key, under the node's key.
    pub fn mac(&self, node_key: &[u8; 32]) -> [u8; 32] {
        self.0.mac(node_key)
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
