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
    /// A person in a session.
    User {
        /// The person's name.
        id: &'a str,
        /// The role that the session is of.
        role: Role,
        /// The tenant that the session is of; none for a role of the whole node.
        tenant: Option<&'a str>,
    },
    /// What runs for a tenant, with a certificate of its own: an application.
    Workload {
        /// Its tenant, kind and name: `acme/job/train`.
        id: &'a str,
        /// Its tenant.
        tenant: &'a str,
    },
    /// A node of the platform.
    Node {
        /// Its name.
        id: &'a str,
    },
}

impl<'a> Principal<'a> {
    /// Somebody of this role: the operator, a node, the holder of a key, or a person, of this tenant unless the role is
    /// of the whole node.
    pub const fn example(role: Role, tenant: &'a str) -> Self {
        match role {
            Role::PlatformOperator => Self::Operator,
            Role::Node => Self::Node { id: "example" },
            Role::Application => Self::Key { id: "example", role, tenant },
            role if role.is_a_tenants() => Self::User { id: "example", role, tenant: Some(tenant) },
            role => Self::User { id: "example", role, tenant: None },
        }
    }

    pub(crate) const fn role(&self) -> Role {
        match self {
            Self::Operator => Role::PlatformOperator,
            Self::Key { role, .. } | Self::Service { role, .. } | Self::User { role, .. } => *role,
            Self::Workload { .. } => Role::Application,
            Self::Node { .. } => Role::Node,
        }
    }
}

/// What a request comes with beside who asks: some operations need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Circumstances {
    /// The person who asks proved who they are a few minutes ago.
    pub fresh: bool,
    /// Another person approved it.
    pub approved: bool,
    /// Where the node stands.
    pub mode: Mode,
}

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// It works.
    #[default]
    Normal,
    /// Nothing of a tenant is used or changed.
    Safe,
    /// As in safe mode, with more for the operator at the machine, for a while.
    BreakGlass,
}

impl Circumstances {
    /// Everything that an operation may need.
    pub const ALL: Self = Self { fresh: true, approved: true, mode: Mode::Normal };

    /// As needs, for people.
    pub fn words(self) -> Vec<&'static str> {
        let all = [
            (self.fresh, "a person needs a fresh proof of who they are"),
            (self.approved, "another person must approve it"),
        ];
        all.into_iter().filter_map(|(is, what)| is.then_some(what)).collect()
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
    /// What else is known.
    pub given: Circumstances,
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
