//! A request and the decision on it.

use base::Digest;

use crate::Role;

/// Who asks, as authentication found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Principal<'a> {
    /// The operator of the node.
    Operator,
    /// The holder of a management key.
    Key {
        /// Its id.
        id: &'a str,
        /// Its role.
        role: Role,
        /// Its tenant.
        tenant: &'a str,
    },
    /// A service with a certificate of its own.
    Service {
        /// Its tenant and name: `acme/ci`.
        id: &'a str,
        /// Its role.
        role: Role,
        /// Its tenant.
        tenant: &'a str,
    },
}

impl<'a> Principal<'a> {
    /// Somebody of this role: the operator, or a key of this tenant.
    pub const fn example(role: Role, tenant: &'a str) -> Self {
        match role {
            Role::PlatformOperator => Self::Operator,
            role => Self::Key { id: "example", role, tenant },
        }
    }
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// Who asks.
    pub principal: Principal<'a>,
    /// The operation, by its name in the table of the API.
    pub operation: &'a str,
    /// The tenant in which the thing lies; what is the node's lies in none, whatever this says.
    pub tenant: Option<&'a str>,
    /// Which thing: its name or id, empty where none is named.
    pub resource: &'a str,
}

/// The decision on a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may be done.
    pub allowed: bool,
    /// Digest of schema and rules.
    pub policy_version: Digest,
    /// Names of the rules that decided, sorted: those that permit, or those that forbid, or none where nothing permits.
    pub reasons: Vec<String>,
    /// The same for people.
    pub why: String,
}
