//! People: who may log in, what they are granted for a time, their sessions, and what two of them agree on.
//!
//! Nobody is here by default. The operator of the node makes a person known and grants roles; the person proves who
//! they are by a passkey or by the OpenID provider; a session is of one role, and of one tenant.

mod approvals;
mod basis;
mod grants;
mod login;
mod oidc;
mod passkeys;
mod sessions;
mod users;

use std::sync::Arc;

use access::Role;
use base::Timestamp;
use base::names::Name;
use ops::event::{Event, EventKind, Outcome, Phase};
use store::PageRequest;
use store::records::UserRole;

pub(crate) use approvals::{decide, is_approved, list as approvals, request, show as approval};
pub(crate) use basis::Basis;
pub(crate) use grants::{create as grant, revoke as revoke_grant, roles_now};
pub(crate) use login::{Attempts, begin, finish, methods};
pub(crate) use oidc::Oidc;
pub(crate) use passkeys::{
    Ceremonies, creation, prove, register, request as passkey, revoke as revoke_passkey,
};
pub(crate) use sessions::{
    Seen, authenticate, end, is_known, limits, list as sessions, revoke as revoke_session, show as session,
    standings,
};
pub(crate) use users::{create, disable, enrol, list, show};

use crate::Fail;
use crate::auth::{By, Principal};
use crate::clock::now;
use crate::fail::reason;
use crate::node::{Node, correlation, store_fail};

/// The role of a record.
pub(crate) const fn of_record(role: UserRole) -> Role {
    match role {
        UserRole::Security => Role::Security,
        UserRole::Auditor => Role::Auditor,
        UserRole::TenantAdmin => Role::TenantAdmin,
        UserRole::MlEngineer => Role::MlEngineer,
        UserRole::Deployer => Role::Deployer,
    }
}

/// The role of a person that a request names; the operator's is nobody's, as that is a place and not a person.
fn asked_role(name: &str) -> Result<UserRole, Fail> {
    match name.parse::<Role>() {
        Ok(Role::Security) => Ok(UserRole::Security),
        Ok(Role::Auditor) => Ok(UserRole::Auditor),
        Ok(Role::TenantAdmin) => Ok(UserRole::TenantAdmin),
        Ok(Role::MlEngineer) => Ok(UserRole::MlEngineer),
        Ok(Role::Deployer) => Ok(UserRole::Deployer),
        Ok(Role::PlatformOperator) => Err(Fail::invalid(
            "the role `platform-operator` is that of the node's local socket, and is granted to nobody",
        )),
        Ok(role @ (Role::Application | Role::Node)) => {
            Err(Fail::invalid(format!("the role `{role}` is that of programs, and is granted to nobody")))
        }
        Err(error) => Err(Fail::invalid(error.to_string())),
    }
}

/// How the person of a session proved who they are, and who they are to the provider that vouched for it.
pub(crate) fn origin(
    node: &Node,
    session: &api::Session,
) -> Result<(&'static str, Option<api::Subject>), Fail> {
    if !session.method.starts_with("oidc-") {
        return Ok(("a login", None));
    }
    let name = session.user.parse().map_err(|e| Fail::internal("a person's name is none", e))?;
    let subject = find(node, &name)?.subject;
    let subject = subject.map(|s| api::Subject { issuer: s.issuer, subject: s.subject });
    let source = match &node.oidc {
        Some(oidc) if oidc.sees_second_factor() => {
            "a login by the OpenID provider, which named a second factor"
        }
        _ => "a login by the OpenID provider, which vouches for a second factor unseen",
    };
    Ok((source, subject))
}

/// An event about a person.
fn event(kind: EventKind, user: &Name) -> Result<Event, Fail> {
    Ok(Event::new(kind, Phase::Intent, Outcome::Unknown, now().as_millis(), correlation()?).asset(
        "user",
        user.as_str(),
        None,
    ))
}

/// A person's record.
fn find(node: &Node, name: &Name) -> Result<store::records::User, Fail> {
    let stored = node.meta.read(|tx| tx.platform().get::<store::records::User>(name)).map_err(store_fail)?;
    Ok(stored.ok_or_else(|| Fail::not_found("person", name.as_str()))?.record)
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}
