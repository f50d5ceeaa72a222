//! Key scopes: the unit that keys, object names and deduplication never cross.

use std::fmt;
use std::str::FromStr;

use base::id::JobId;
use base::names::Name;

/// The scope of the node's own keys (its database, its TLS keys): a tenant's name that no tenant may have. Control
/// refuses to create a tenant of this name.
pub const NODE: &str = "strongroom.node";

/// Whose keys seal an object: a tenant's, or one job's for its checkpoints (`trust.md` section 6.2).
///
/// The text form stands under MACs and AADs: `TENANT`, or `TENANT/JOB-ID`. A [`Name`] has no `/`, so no tenant
/// can be named like another tenant's job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyScope {
    /// Data sets, models and code of a tenant.
    Tenant(Name),
    /// Checkpoints of one job of a tenant.
    Job(Name, JobId),
}

/// The text is not a key scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a key scope is a tenant's name, or a tenant's name, `/` and a job id")]
pub struct ScopeError;

impl KeyScope {
    /// The tenant that the scope belongs to.
    pub fn tenant(&self) -> &Name {
        match self {
            Self::Tenant(tenant) | Self::Job(tenant, _) => tenant,
        }
    }

    /// The scope as it stands under a MAC or AAD: `lp(text)`.
    pub(crate) fn lp(&self) -> Vec<u8> {
        base::wire::lp(self.to_string().as_bytes())
    }
}

impl fmt::Display for KeyScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(tenant) => write!(f, "{tenant}"),
            Self::Job(tenant, job) => write!(f, "{tenant}/{job}"),
        }
    }
}

impl FromStr for KeyScope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            None => Ok(Self::Tenant(text.parse().map_err(|_| ScopeError)?)),
            Some((tenant, job)) => {
                Ok(Self::Job(tenant.parse().map_err(|_| ScopeError)?, job.parse().map_err(|_| ScopeError)?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_nothing_else_parses() {
        let job = JobId::from_bits(7);
        let tenant: Name = "acme".parse().unwrap();
        for scope in [KeyScope::Tenant(tenant.clone()), KeyScope::Job(tenant, job)] {
            assert_eq!(scope.to_string().parse::<KeyScope>().unwrap(), scope);
        }
        for bad in ["", "/", "acme/", "acme/x", "Acme", &format!("acme/{job}/"), &format!("/{job}")] {
            assert!(bad.parse::<KeyScope>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_nodes_own_scope_is_one() {
        assert_eq!(NODE.parse::<KeyScope>().unwrap().to_string(), NODE);
    }

    #[test]
    fn a_tenant_named_like_a_job_does_not_share_its_scope() {
        let job = JobId::from_bits(7);
        let imposter: KeyScope = job.to_string().parse().unwrap();
        assert_ne!(imposter.lp(), KeyScope::Job("acme".parse().unwrap(), job).lp());
    }
}
