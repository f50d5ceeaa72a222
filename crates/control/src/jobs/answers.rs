//! Who answers for what a job reaches outside: who submitted it, or let it go on last. Asked again before each run of it,
//! since a right can be withdrawn while a job waits, restarts or rests.

use base::id::KeyId;
use base::names::Name;
use serde::{Deserialize, Serialize};
use store::records::Job;
use training::JobSpec;

use super::Accepted;
use crate::auth::{Identity, is_still_known};
use crate::node::Node;
use crate::people::Basis;
use crate::{Fail, egresses, services};

/// Somebody who can be asked for again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Answers {
    /// The operator of the node.
    Operator,
    /// Who has this key.
    Key {
        /// Its id.
        id: KeyId,
    },
    /// A service.
    Service {
        /// Of this tenant.
        tenant: Name,
        /// Its name.
        name: Name,
    },
    /// A person, with a role that something gives them.
    Person {
        /// Who, and why.
        basis: Basis,
    },
}

impl Answers {
    /// Who calls, in a form that outlives the call.
    pub(super) fn of(node: &Node, identity: &Identity) -> Result<Self, Fail> {
        let odd = |e: &dyn std::fmt::Display| Fail::internal("who calls cannot be written down", e);
        Ok(match identity {
            Identity::Operator { .. } => Self::Operator,
            Identity::Key { id, .. } => Self::Key { id: id.parse().map_err(|e| odd(&e))? },
            Identity::Service { .. } => {
                let (tenant, name) = identity.service().ok_or_else(|| odd(&"service"))?;
                let tenant = tenant.parse().map_err(|e| odd(&e))?;
                Self::Service { tenant, name: name.parse().map_err(|e| odd(&e))? }
            }
            Identity::Person { session, .. } => Self::Person { basis: Basis::of(node, *session)? },
            Identity::Workload { .. } | Identity::Node { .. } => {
                return Err(Fail::forbidden("only people, keys and services answer for a job"));
            }
        })
    }

    /// Who it is now, if their credential, and what gives them their role, still stand.
    fn now(&self, node: &Node) -> Result<Identity, Fail> {
        let identity = match self {
            Self::Operator => Some(Identity::Operator { login: None }),
            Self::Person { basis } => return basis.stands(node),
            Self::Key { id } => node.api_key(*id)?.map(|known| Identity::Key {
                tenant: known.tenant,
                id: id.to_string(),
                role: known.role,
            }),
            Self::Service { tenant, name } => services::role_of(node, tenant, name)?.map(|role| {
                Identity::Service { tenant: tenant.to_string(), id: format!("{tenant}/{name}"), role }
            }),
        };
        let good = identity.filter(|identity| is_still_known(node, identity));
        good.ok_or_else(|| Fail::forbidden(format!("{self} has ended or was revoked")))
    }
}

impl std::fmt::Display for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Operator => f.write_str("the operator"),
            Self::Key { id } => write!(f, "key {id}"),
            Self::Service { tenant, name } => write!(f, "service {tenant}/{name}"),
            Self::Person { .. } => f.write_str("the person"),
        }
    }
}

/// Whether a job may be opened what its file names: whether who answers for it may still use each.
pub(super) fn may_reach(node: &Node, job: &Job, accepted: &Accepted, spec: &JobSpec) -> Result<(), Fail> {
    if spec.egress.is_empty() {
        return Ok(());
    }
    let withdrawn = |fail: Fail| {
        let title = format!("`{}` may not use the egresses of this job now", accepted.submitted_by);
        let detail =
            fail.detail.as_ref().map_or_else(|| fail.title.clone(), |why| format!("{}: {why}", fail.title));
        Fail { code: "SR-CTL-0050".to_owned(), ..Fail::forbidden(title) }.because(detail).help(
            "whoever may use them lets it go on with `strongroom job resume NAME --reason TEXT --tenant T`, and answers for it then",
        )
    };
    // One of before this was written down: nobody answers for it.
    let answers = accepted.answers.as_ref().ok_or_else(|| {
        withdrawn(Fail::forbidden(
            "who submitted it is not written down in a form that can be asked for again",
        ))
    })?;
    let identity = answers.now(node).map_err(withdrawn)?;
    egresses::may_use(node, &identity, &job.tenant, &spec.egress).map_err(withdrawn)
}
