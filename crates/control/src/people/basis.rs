//! What a person's right rests on beyond the session in which they used it: what they began goes on without them, and is
//! asked for again when nobody is logged in.

use base::id::SessionId;
use base::names::Name;
use serde::{Deserialize, Serialize};
use store::records::{Session, UserRole};

use super::{at, find, grants, now, of_record};
use crate::Fail;
use crate::auth::Identity;
use crate::node::{Node, store_fail};

/// A person, a role, and why they have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Basis {
    user: Name,
    tenant: Option<Name>,
    role: UserRole,
    session: SessionId,
    /// The grant that gave the role; none: groups of the provider gave it to that login.
    grant: Option<u64>,
    /// When that login ends at the latest.
    ends_ms: u64,
}

impl Basis {
    /// What a session rests on.
    pub(crate) fn of(node: &Node, session: SessionId) -> Result<Self, Fail> {
        let found = record(node, session)?.ok_or_else(|| Fail::not_found("session", &session.to_string()))?;
        let Session { user, tenant, role, grant, ends_ms, .. } = found;
        Ok(Self { user, tenant, role, session, grant, ends_ms })
    }

    /// Who it is, if they still have that role: a grant until it ends or is taken back, whatever became of the session;
    /// groups, which nobody can ask for again, for as long as that login could last.
    pub(crate) fn stands(&self, node: &Node) -> Result<Identity, Fail> {
        let over = |why: String| Err(Fail::forbidden(why));
        let Self { user, tenant, role, session, grant, ends_ms } = self;
        if find(node, user)?.disabled {
            return over(format!("`{user}` may not log in any more"));
        }
        match grant {
            Some(number) if grants::live(node, user, *number)?.is_none() => {
                return over(format!("the grant of `{user}` has ended"));
            }
            Some(_) => {}
            None => {
                let revoked = record(node, *session)?.is_none_or(|record| record.revoked_ms.is_some());
                if revoked || now() >= at(*ends_ms) {
                    return over(format!("the login that gave `{user}` the role has ended"));
                }
            }
        }
        Ok(Identity::Person {
            user: user.to_string(),
            session: *session,
            tenant: tenant.as_ref().map(Name::to_string),
            role: of_record(*role),
            fresh: false,
        })
    }
}

fn record(node: &Node, id: SessionId) -> Result<Option<Session>, Fail> {
    let stored = node.meta.read(|tx| tx.find::<Session>(&id)).map_err(store_fail)?;
    Ok(stored.map(|stored| stored.record))
}
