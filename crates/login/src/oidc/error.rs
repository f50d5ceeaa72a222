//! Why a login by an OpenID provider failed.

use std::time::Duration;

use base::{Explain, Fault, Help, Retry};

/// What was asked of the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The discovery document.
    Discovery,
    /// The keys.
    Keys,
    /// A token.
    Token,
    /// A device code.
    Device,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Discovery => "its discovery document",
            Self::Keys => "its keys",
            Self::Token => "a token",
            Self::Device => "a device code",
        })
    }
}

/// Why a login by an OpenID provider failed. What a provider said is cleaned and clipped before it stands in here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OidcError {
    /// The configuration cannot be used.
    #[error("`[login.oidc]` cannot be used: {0}")]
    Settings(String),
    /// The provider does not answer.
    #[error("the OpenID provider does not answer when asked for {step}: {reason}")]
    Unreachable {
        /// What was asked.
        step: Step,
        /// Why.
        reason: String,
    },
    /// It answers something that no provider may.
    #[error("the OpenID provider's answer when asked for {step} cannot be used: {reason}")]
    Answer {
        /// What was asked.
        step: Step,
        /// What is wrong.
        reason: String,
    },
    /// It names itself otherwise.
    #[error("the provider calls itself `{found}`, and the configuration names another")]
    Issuer {
        /// How.
        found: String,
    },
    /// It lacks what this way to log in needs.
    #[error("the OpenID provider has no {0}")]
    NoSuchFlow(&'static str),
    /// The signature.
    #[error("the ID token does not verify: {0}")]
    Signature(String),
    /// Signed by a key that the provider does not publish.
    #[error("the ID token is signed by no key that the provider publishes for this")]
    UnknownKey,
    /// For somebody else.
    #[error("the ID token is not for this node alone: {0}")]
    Audience(String),
    /// Not valid at this time.
    #[error("the ID token is not valid now: {0}")]
    Time(String),
    /// Of another attempt.
    #[error("the answer is of another attempt to log in: its {0} is not the one that was sent")]
    Attempt(&'static str),
    /// The person was not asked for this login.
    #[error("the provider did not ask the person again for this login: {0}")]
    NotFresh(String),
    /// No second factor.
    #[error("no second factor was used: {0}")]
    SecondFactor(String),
    /// The person, or the provider for them, said no.
    #[error("the login was denied{0}")]
    Denied(String),
    /// Too late, or used.
    #[error("the code is expired, used or of another client")]
    Expired,
    /// The provider does not take this client.
    #[error("the OpenID provider does not take this node as its client: {0}")]
    Client(String),
    /// What it says of the person cannot be used.
    #[error("what the provider says of the person cannot be used: {0}")]
    Claims(String),
    /// Where the browser is to be sent.
    #[error(
        "a login comes back to this machine alone: `http://127.0.0.1:PORT/PATH` or `http://[::1]:PORT/PATH`"
    )]
    Redirect,
    /// The provider reports an error of its own.
    #[error("the OpenID provider reports `{0}`")]
    Reported(String),
}

impl Explain for OidcError {
    fn code(&self) -> &'static str {
        match self {
            Self::Settings(_) => "SR-OID-0001",
            Self::Unreachable { .. } => "SR-OID-0002",
            Self::Answer { .. } => "SR-OID-0003",
            Self::Issuer { .. } => "SR-OID-0004",
            Self::NoSuchFlow(_) => "SR-OID-0005",
            Self::Signature(_) => "SR-OID-0006",
            Self::UnknownKey => "SR-OID-0007",
            Self::Audience(_) => "SR-OID-0008",
            Self::Time(_) => "SR-OID-0009",
            Self::Attempt(_) => "SR-OID-0010",
            Self::NotFresh(_) => "SR-OID-0011",
            Self::SecondFactor(_) => "SR-OID-0012",
            Self::Denied(_) => "SR-OID-0013",
            Self::Expired => "SR-OID-0014",
            Self::Client(_) => "SR-OID-0015",
            Self::Claims(_) => "SR-OID-0016",
            Self::Redirect => "SR-OID-0017",
            Self::Reported(_) => "SR-OID-0018",
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Settings(_) | Self::NoSuchFlow(_) | Self::Client(_) => Fault::Operator,
            Self::Unreachable { .. }
            | Self::Answer { .. }
            | Self::Issuer { .. }
            | Self::Signature(_)
            | Self::UnknownKey
            | Self::Audience(_)
            | Self::Time(_)
            | Self::NotFresh(_)
            | Self::Claims(_)
            | Self::Reported(_) => Fault::Peer,
            Self::Attempt(_) | Self::SecondFactor(_) | Self::Denied(_) | Self::Expired | Self::Redirect => {
                Fault::Caller
            }
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Unreachable { .. } | Self::Answer { .. } | Self::UnknownKey | Self::Reported(_) => {
                Retry::After(Duration::from_secs(30))
            }
            Self::Attempt(_)
            | Self::SecondFactor(_)
            | Self::Denied(_)
            | Self::Expired
            | Self::NotFresh(_) => Retry::Immediately,
            _ => Retry::Never,
        }
    }

    fn help(&self) -> Option<Help> {
        Some(match self {
            Self::Settings(_) | Self::Issuer { .. } => {
                "mend `[login.oidc]` in the node's configuration, then start it again"
            }
            Self::Unreachable { .. } => {
                "see whether the provider is up and the node can reach it; sessions that there are go on until they end"
            }
            Self::Answer { .. } | Self::Signature(_) | Self::Reported(_) => {
                "ask whoever runs the provider; nobody is logged in on such an answer"
            }
            Self::NoSuchFlow(_) => "log in the other way: with or without `--device`",
            Self::UnknownKey => "try again in 30 s; if it stays, ask whoever runs the provider",
            Self::Audience(_) => "compare `client_id` of `[login.oidc]` with what the provider knows",
            Self::Time(_) => "compare the clocks of node and provider; they may differ by 60 s",
            Self::Attempt(_) | Self::Expired => "begin a new login",
            Self::NotFresh(_) => {
                "have the provider honour `prompt=login` and `max_age=0` for this client, and say `auth_time` in the ID token"
            }
            Self::SecondFactor(_) => {
                "log in with a second factor; which values count stands in `second_factor` of `[login.oidc]`"
            }
            Self::Denied(_) => "begin a new login, and agree to it at the provider",
            Self::Client(_) => {
                "compare client, secret, grant types and redirects at the provider with `[login.oidc]`"
            }
            Self::Claims(_) => "have the provider mend what it says of this person in the ID token",
            Self::Redirect => "log in with this release's command line",
        })
    }
}

/// What somebody else said, to be shown: no control characters, nothing that turns the direction of writing, no longer
/// than `most` characters.
pub(super) fn shown(text: &str, most: usize) -> String {
    text.chars().filter(|c| !is_hidden(*c)).take(most).collect::<String>().trim().to_owned()
}

/// Controls, and what is not seen or makes other characters be seen elsewhere (Unicode, general category Cf).
pub(super) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{AD}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}'
            | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}
