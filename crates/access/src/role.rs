//! The roles.

/// What somebody is to a node: roles are few and fixed, rules say what they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The operator of the node, on its local socket. No key, service or session has this role.
    PlatformOperator,
    /// Watches over the node: reads what is recorded of every tenant, takes credentials away, approves. People only.
    Security,
    /// Reads what a tenant has and what happened to it, and changes nothing.
    Auditor,
    /// Everything of one tenant.
    TenantAdmin,
    /// Makes models: data, images, jobs.
    MlEngineer,
    /// Lets models answer: endpoints and their keys.
    Deployer,
    /// A program that asks models: the key of an endpoint, a service that such keys are bound to, or a workload.
    Application,
    /// A node of the platform, which proves what it is and reaches nothing of a tenant.
    Node,
}

/// No role has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no role has this name; there are platform-operator, security, auditor, tenant-admin, ml-engineer, deployer, application, node"
)]
pub struct UnknownRole;

impl Role {
    /// Every role, in the order of the table.
    pub const ALL: [Self; 8] = [
        Self::PlatformOperator,
        Self::Security,
        Self::Auditor,
        Self::TenantAdmin,
        Self::MlEngineer,
        Self::Deployer,
        Self::Application,
        Self::Node,
    ];

    /// Its name in rules, records and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PlatformOperator => "platform-operator",
            Self::Security => "security",
            Self::Auditor => "auditor",
            Self::TenantAdmin => "tenant-admin",
            Self::MlEngineer => "ml-engineer",
            Self::Deployer => "deployer",
            Self::Application => "application",
            Self::Node => "node",
        }
    }

    /// Whether it is a role within one tenant: such a role services may have, and keys and people, but for programs'.
    pub const fn is_a_tenants(self) -> bool {
        !matches!(self, Self::PlatformOperator | Self::Security | Self::Node)
    }

    /// Whether a person may be granted it.
    pub const fn is_a_persons(self) -> bool {
        !matches!(self, Self::PlatformOperator | Self::Application | Self::Node)
    }

    /// Whether one person may not have both in one tenant: who makes models does not release them, and who audits
    /// changes nothing. An administrator of the tenant has every duty, and so no other role beside it.
    pub fn conflicts_with(self, other: Self) -> bool {
        let both = self.is_a_persons() && other.is_a_persons();
        self != other && both && self.is_a_tenants() && other.is_a_tenants()
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}
