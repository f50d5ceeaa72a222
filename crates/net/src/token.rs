//! Tokens that prove by 256 random bits who holds them: `<prefix>_<id>_<secret>`.
//!
//! The id (26 characters) finds the record, the secret (52 characters of Crockford base-32) proves possession. Only
//! `HMAC(node key, use ‖ id ‖ secret)` is kept: 256 random bits cannot be guessed, so no slow hash is needed, and a
//! stolen database without the node key does not even allow testing a token.

use base::id::{KeyId, crockford};
use base::wire::lp;
use base::{Secret, hmac_sha256};

/// Characters of each half (128 bits) of the secret and of the id: ceil(128 / 5).
const HALF: usize = 26;
/// Length of every token: prefix, id, underscore, both halves.
pub const TEXT_LEN: usize = 4 + HALF + 1 + 2 * HALF;

/// What a token is for. One of another use is none: the use is part of what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// An application's or a manager's key, `srk_`.
    ApiKey,
    /// A person's session, `srs_`.
    Session,
    /// A link by which a person enrols, `sre_`.
    Enrolment,
    /// A login under way, `srl_`: who began it holds it.
    Login,
}

impl Use {
    /// What every such token starts with, so that secret scanners find leaked ones.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::ApiKey => "srk_",
            Self::Session => "srs_",
            Self::Enrolment => "sre_",
            Self::Login => "srl_",
        }
    }

    /// Separates its MAC from every other use of the node key.
    const fn context(self) -> &'static [u8] {
        match self {
            Self::ApiKey => b"strongroom api key 1",
            Self::Session => b"strongroom session 1",
            Self::Enrolment => b"strongroom enrolment 1",
            Self::Login => b"strongroom login 1",
        }
    }
}

/// The text is not a token of this use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not `{}`, 26 characters, `_` and 52 characters", .0.prefix())]
pub struct NotAToken(pub Use);

/// A token as its holder presents it.
#[derive(Debug)]
pub struct Token {
    of: Use,
    id: u128,
    secret: Secret<[u8; 32]>,
}

impl Token {
    /// The token of this id with these 256 random bits.
    pub fn new(of: Use, id: u128, random: [u8; 32]) -> Self {
        Self { of, id, secret: Secret::new(random) }
    }

    /// Reads a presented token. Every token has exactly one text.
    ///
    /// # Errors
    /// Another form, or a token of another use.
    pub fn parse(of: Use, text: &str) -> Result<Self, NotAToken> {
        let not = || NotAToken(of);
        let rest = text.strip_prefix(of.prefix()).filter(|_| text.len() == TEXT_LEN).ok_or_else(not)?;
        let (id, secret) = rest.split_once('_').ok_or_else(not)?;
        let (high, low) = secret.split_at_checked(HALF).ok_or_else(not)?;
        // `KeyId` has the only parser of these characters; the halves are 128 bits each.
        let bits = |half: &str| format!("key_{half}").parse::<KeyId>().map(KeyId::bits).map_err(|_| not());
        let mut bytes = [0u8; 32];
        for (to, from) in
            bytes.iter_mut().zip(bits(high)?.to_be_bytes().iter().chain(&bits(low)?.to_be_bytes()))
        {
            *to = *from;
        }
        Ok(Self { of, id: bits(id)?, secret: Secret::new(bytes) })
    }

    /// Its public half: the bits of the id that finds the record.
    pub const fn id(&self) -> u128 {
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
        format!("{}{}_{}{}", self.of.prefix(), crockford(self.id), crockford(high), crockford(low))
    }

    /// What is kept of it, under the node's key.
    pub fn mac(&self, node_key: &[u8; 32]) -> [u8; 32] {
        let id = self.id.to_be_bytes();
        let context = lp(self.of.context());
        self.secret.expose(|secret| *hmac_sha256(node_key, &[&context, &id, secret]).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USES: [Use; 4] = [Use::ApiKey, Use::Session, Use::Enrolment, Use::Login];

    fn token(of: Use) -> Token {
        Token::new(of, 77, std::array::from_fn(|i| u8::try_from(i * 7).unwrap()))
    }

    #[test]
    fn text_round_trips_and_proves_possession() {
        for of in USES {
            let text = token(of).text();
            assert_eq!(text.len(), TEXT_LEN);
            let read = Token::parse(of, &text).unwrap();
            assert_eq!(read.id(), 77);
            assert_eq!(read.mac(&[1; 32]), token(of).mac(&[1; 32]));
            assert_ne!(read.mac(&[1; 32]), token(of).mac(&[2; 32]));
            assert!(!format!("{read:?}").contains("secret: ["));
        }
    }

    #[test]
    fn a_token_of_one_use_is_none_of_another() {
        for (one, other) in USES.into_iter().flat_map(|one| USES.map(|other| (one, other))) {
            let text = token(one).text();
            assert_eq!(Token::parse(other, &text).is_ok(), one == other);
            // Not even under the other's prefix.
            let moved = text.replace(one.prefix(), other.prefix());
            let same = Token::parse(other, &moved).unwrap().mac(&[1; 32]) == token(one).mac(&[1; 32]);
            assert_eq!(same, one == other);
        }
    }
}
