//! The roles.

/// What somebody is to a node: roles are few and fixed, rules say what they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The operator of the node, on its local socket. No key has this role.
    PlatformOperator,
    /// Reads what a tenant has and what happened to it, and changes nothing.
    Auditor,
    /// Everything of one tenant.
    TenantAdmin,
    /// Makes models: data, images, jobs.
    MlEngineer,
    /// Lets models answer: endpoints and their keys.
    Deployer,
}

/// No role has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no role has this name; there are platform-operator, auditor, tenant-admin, ml-engineer, deployer")]
pub struct UnknownRole;

impl Role {
    /// Every role, in the order of the table.
    pub const ALL: [Self; 5] =
        [Self::PlatformOperator, Self::Auditor, Self::TenantAdmin, Self::MlEngineer, Self::Deployer];

    /// Its name in rules, records and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PlatformOperator => "platform-operator",
            Self::Auditor => "auditor",
            Self::TenantAdmin => "tenant-admin",
            Self::MlEngineer => "ml-engineer",
            Self::Deployer => "deployer",
        }
    }

    /// Whether a tenant's management key may have it.
    pub const fn is_a_keys(self) -> bool {
        !matches!(self, Self::PlatformOperator)
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
