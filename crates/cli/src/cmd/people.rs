//! `strongroom access user|grant|revoke|session|approval`.

use access::Role;
use base::names::Name;

use crate::args::{ApprovalCommand, GrantArgs, SessionCommand, UserCommand};
use crate::client::route;
use crate::error::Failure;
use crate::output::{Answer, Column, Kind};
use crate::session::Session;

const USERS: &[Column] = &[
    Column::new("name", "NAME", Kind::Plain),
    Column::new("display", "CALLED", Kind::Plain),
    Column::new("roles", "GRANTED NOW", Kind::Plain),
    Column::new("disabled", "DISABLED", Kind::Plain),
    Column::new("locked_until", "LOCKED UNTIL", Kind::Time),
    Column::new("enrolment_ends", "LINK ENDS", Kind::Time),
    Column::new("created", "CREATED", Kind::Time),
];

const PASSKEYS: &[Column] = &[
    Column::new("user", "PERSON", Kind::Plain),
    Column::new("id", "ID", Kind::Plain),
    Column::new("label", "CALLED", Kind::Plain),
    Column::new("created", "REGISTERED", Kind::Time),
    Column::new("last_used", "LAST USED", Kind::Time),
];

const GRANTS: &[Column] = &[
    Column::new("user", "PERSON", Kind::Plain),
    Column::new("number", "NUMBER", Kind::Plain),
    Column::new("role", "ROLE", Kind::Plain),
    Column::new("tenant", "TENANT", Kind::Plain),
    Column::new("state", "STATE", Kind::State),
    Column::new("ends", "ENDS", Kind::Time),
    Column::new("by", "BY", Kind::Plain),
    Column::new("reason", "REASON", Kind::Plain),
];

const SESSIONS: &[Column] = &[
    Column::new("id", "ID", Kind::Plain),
    Column::new("user", "PERSON", Kind::Plain),
    Column::new("role", "ROLE", Kind::Plain),
    Column::new("tenant", "TENANT", Kind::Plain),
    Column::new("state", "STATE", Kind::State),
    Column::new("method", "BY", Kind::Plain),
    Column::new("from", "FROM", Kind::Plain),
    Column::new("proved", "PROVED", Kind::Time),
    Column::new("seen", "LAST USED", Kind::Time),
    Column::new("ends", "ENDS", Kind::Time),
];

const APPROVALS: &[Column] = &[
    Column::new("id", "ID", Kind::Plain),
    Column::new("operation", "OPERATION", Kind::Plain),
    Column::new("resource", "OF", Kind::Plain),
    Column::new("tenant", "TENANT", Kind::Plain),
    Column::new("by", "ASKED BY", Kind::Plain),
    Column::new("state", "STATE", Kind::State),
    Column::new("decided_by", "DECIDED BY", Kind::Plain),
    Column::new("until", "UNTIL", Kind::Time),
    Column::new("reason", "REASON", Kind::Plain),
];

/// `access user`.
pub(crate) fn user(session: &Session, command: UserCommand) -> Result<Answer, Failure> {
    let client = session.client()?;
    match command {
        UserCommand::Create { name, display, issuer, subject } => {
            let subject = issuer.zip(subject).map(|(issuer, subject)| api::Subject { issuer, subject });
            let body = api::UserCreate { name: name.to_string(), display, subject };
            let made: api::User = client.create("/users", &body)?;
            let next =
                format!("grant a role with `strongroom access grant {name} ROLE --tenant T --reason TEXT`");
            Ok(shown(&made).hint(next))
        }
        UserCommand::List => {
            let users: Vec<api::User> = client.list("/users")?;
            let items: Vec<serde_json::Value> = users.iter().map(json).collect();
            let empty = "nobody may log in yet; make a person known with `strongroom access user create`";
            Ok(Answer::list("strongroom.user.list/1", &items, USERS, empty))
        }
        UserCommand::Show { name } => {
            let user: api::User = client.get(&route(&["users", name.as_str()]))?;
            Ok(shown(&user))
        }
        UserCommand::Enrol { name } => {
            let user: api::User = client.act(&route(&["users", name.as_str(), "enrol"]))?;
            Ok(shown(&user))
        }
        UserCommand::RevokePasskey { name, id } => {
            let gone: api::Passkey =
                client.act(&route(&["users", name.as_str(), "passkeys", &id, "revoke"]))?;
            let next = format!("a link for another: `strongroom access user enrol {name}`");
            Ok(Answer::record(&gone, PASSKEYS).hint(next))
        }
        UserCommand::Disable { name } => {
            let user: api::User = client.act(&route(&["users", name.as_str(), "disable"]))?;
            Ok(shown(&user).hint(format!("`{name}` may do nothing from now on")))
        }
    }
}

/// A person with what they are granted now in words.
fn json(user: &api::User) -> serde_json::Value {
    let mut json = api::to_json(user);
    let live = user.grants.iter().filter(|grant| grant.state == "live");
    let roles: Vec<String> = live
        .map(|grant| match &grant.tenant {
            Some(tenant) => format!("{} in {tenant}", grant.role),
            None => grant.role.clone(),
        })
        .collect();
    if let serde_json::Value::Object(map) = &mut json {
        map.insert("roles".to_owned(), roles.join(", ").into());
    }
    json
}

fn shown(user: &api::User) -> Answer {
    let mut answer = Answer::of(json(user), crate::output::View::Record { columns: USERS });
    for grant in user.grants.iter().filter(|grant| grant.state == "live") {
        let place = grant.tenant.as_ref().map(|tenant| format!(" in {tenant}")).unwrap_or_default();
        answer = answer.hint(format!(
            "grant {}: {}{place} until {}: {}",
            grant.number, grant.role, grant.ends, grant.reason
        ));
    }
    match &user.enrolment {
        Some(link) => answer.hint(format!(
            "hand this to {} and nobody else; it works once, until {}:\n{link}",
            user.name,
            user.enrolment_ends.as_deref().unwrap_or("it was used")
        )),
        None => answer,
    }
}

/// `access grant`.
pub(crate) fn grant(session: &Session, args: GrantArgs) -> Result<Answer, Failure> {
    let GrantArgs { name, role, tenant, hours, reason } = args;
    let body = api::GrantCreate {
        role: role.to_string(),
        tenant: tenant.as_ref().map(Name::to_string),
        hours: Some(hours),
        reason,
    };
    let made: api::Grant = session.client()?.post(&route(&["users", name.as_str(), "grants"]), &body)?;
    Ok(Answer::record(&made, GRANTS))
}

/// `access revoke`: one grant by its number.
pub(crate) fn revoke(session: &Session, name: &Name, number: u64) -> Result<Answer, Failure> {
    let path = route(&["users", name.as_str(), "grants", &number.to_string(), "revoke"]);
    let grant: api::Grant = session.client()?.act(&path)?;
    Ok(Answer::record(&grant, GRANTS).hint("sessions that rest on it are over".to_owned()))
}

/// `access session`.
pub(crate) fn session(session: &Session, command: SessionCommand) -> Result<Answer, Failure> {
    let client = session.client()?;
    match command {
        SessionCommand::List => {
            let items: Vec<api::Session> = client.list("/sessions")?;
            let empty = "nobody has logged in; log in with `strongroom login`";
            Ok(Answer::list("strongroom.session.list/1", &items, SESSIONS, empty))
        }
        SessionCommand::Revoke { id } => {
            let ended: api::Session = client.act(&route(&["sessions", &id, "revoke"]))?;
            Ok(Answer::record(&ended, SESSIONS))
        }
    }
}

/// `access approval`.
pub(crate) fn approval(session: &Session, command: ApprovalCommand) -> Result<Answer, Failure> {
    let client = session.client()?;
    let decide = |id: &str, approve: bool, reason: Option<String>| {
        let body = api::ApprovalDecide { approve, reason };
        client.post::<_, api::Approval>(&route(&["approvals", id, "decide"]), &body)
    };
    let decided = match command {
        ApprovalCommand::Request { operation, resource, reason, tenant } => {
            let tenant = tenant.as_ref().map(Name::to_string);
            let body = api::ApprovalRequest { operation, tenant, resource, reason };
            let made: api::Approval = client.create("/approvals", &body)?;
            let next =
                format!("another person approves it with `strongroom access approval approve {}`", made.id);
            return Ok(Answer::record(&made, APPROVALS).hint(next));
        }
        ApprovalCommand::List => {
            let items: Vec<api::Approval> = client.list("/approvals")?;
            let empty = "nothing was asked for; ask with `strongroom access approval request`";
            return Ok(Answer::list("strongroom.approval.list/1", &items, APPROVALS, empty));
        }
        ApprovalCommand::Approve { id, reason } => decide(&id, true, reason)?,
        ApprovalCommand::Refuse { id, reason } => decide(&id, false, reason)?,
    };
    Ok(Answer::record(&decided, APPROVALS))
}

/// The columns of a session, for `login` and `logout`.
pub(crate) const fn session_columns() -> &'static [Column] {
    SESSIONS
}

/// The name of a role, as requests say it.
pub(crate) fn role_name(role: Option<Role>) -> Option<String> {
    role.map(|role| role.to_string())
}
