//! Who somebody is, by a provider's word.

use base::Timestamp;

/// Who somebody is. Issuer and subject together name one person for ever (OpenID Connect Core 1.0 section 5.7); nothing else
/// here does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The provider.
    pub issuer: String,
    /// The person at that provider: visible ASCII.
    pub subject: String,
    /// What to call them. Chosen by them, perhaps: never for decisions.
    pub name: Option<String>,
    /// The groups that the provider lists.
    pub groups: Vec<String>,
    /// When they proved who they are.
    pub auth_time: Timestamp,
    /// By which methods (RFC 8176), as the provider says.
    pub amr: Vec<String>,
    /// By which context class, as the provider says.
    pub acr: Option<String>,
}
