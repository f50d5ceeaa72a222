//! What keys are good for, and what can be revoked.

use base::id::EndpointId;
use base::names::Name;
use serde::{Deserialize, Serialize};

/// What can be revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RevokedKind {
    /// A version of a model.
    Model,
    /// A version of a data set.
    Dataset,
    /// A file, wherever it is a part of something.
    File,
}

impl RevokedKind {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
            Self::File => "file",
        }
    }
}

/// Role of a management key; `access` says what each may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyRole {
    /// Everything of the tenant.
    #[default]
    TenantAdmin,
    /// Reads what the tenant has and what happened to it.
    Auditor,
    /// Makes models.
    MlEngineer,
    /// Lets models answer.
    Deployer,
    /// Asks models: of services alone.
    Application,
}

/// What an API key is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum KeyUse {
    /// It asks one endpoint.
    Endpoint {
        /// Tenant.
        tenant: Name,
        /// The endpoint.
        endpoint: EndpointId,
    },
    /// It manages a tenant's own things, as far as its role goes.
    Tenant {
        /// Tenant.
        tenant: Name,
        /// Role; keys that were made before there were roles have the whole tenant.
        #[serde(default)]
        role: KeyRole,
    },
    /// It operates the platform.
    Operator,
}

impl KeyUse {
    /// Whose it is; none for the platform's.
    pub const fn tenant(&self) -> Option<&Name> {
        match self {
            Self::Endpoint { tenant, .. } | Self::Tenant { tenant, .. } => Some(tenant),
            Self::Operator => None,
        }
    }
}
