//! `strongroom access`: who may do what, answered from the rules alone; the services that may call; what left the node.

use access::{Circumstances, Policies, Principal, Request};
use base::names::Name;
use serde_json::json;

use super::policy::{load, refused};
use super::{people, service};
use crate::args::AccessCommand;
use crate::error::{CliError, Failure};
use crate::exit::Exit;
use crate::output::{Answer, Column, Kind, View};
use crate::session::Session;

const COLUMNS: &[Column] = &[
    Column::new("allowed", "ALLOWED", Kind::Plain),
    Column::new("role", "ROLE", Kind::Plain),
    Column::new("operation", "OPERATION", Kind::Plain),
    Column::new("rules", "RULES", Kind::Plain),
    Column::new("why", "WHY", Kind::Plain),
    Column::new("policy_version", "POLICY", Kind::Digest),
];

const EGRESS: &[Column] = &[
    Column::new("account", "PRINCIPAL", Kind::Plain),
    Column::new("tenant", "TENANT", Kind::Plain),
    Column::new("bytes", "LEFT IN 24 H", Kind::Bytes),
    Column::new("cap", "CAP", Kind::Bytes),
];

/// Runs it. A denial is the answer no.
pub(crate) fn run(session: &Session, command: AccessCommand) -> Result<Answer, Failure> {
    let (role, tenant, within, operation, resource, why, policy) = match command {
        AccessCommand::Check { role, tenant, within, operation, resource, why, policy } => {
            (role, tenant, within, operation, resource, why, policy)
        }
        AccessCommand::Service(command) => return service::run(session, command),
        AccessCommand::User(command) => return people::user(session, command),
        AccessCommand::Grant(args) => return people::grant(session, args),
        AccessCommand::Revoke { name, number } => return people::revoke(session, &name, number),
        AccessCommand::Session(command) => return people::session(session, command),
        AccessCommand::Approval(command) => return people::approval(session, command),
        AccessCommand::Egress => {
            let items: Vec<api::Egress> = session.client()?.list("/egress")?;
            let empty = "nothing left the node yet";
            return Ok(Answer::list("strongroom.egress.list/1", &items, EGRESS, empty));
        }
    };
    let policies = match policy {
        Some(file) => load(&file)?,
        None => Policies::shipped().map_err(|e| refused(&e))?,
    };
    if !policies.operations().contains_key(&operation) {
        let mut failure = Failure::from(CliError::Usage(format!("there is no operation `{operation}`")));
        let near = base::names::nearest(&operation, policies.operations().keys().map(String::as_str));
        failure.because.extend(near.map(|near| format!("did you mean `{near}`?")));
        failure.help = Some("see every operation with `strongroom policy show --table`".to_owned());
        return Err(failure);
    }
    let (own, within) = (tenant.as_ref().map(Name::as_str), within.as_ref().map(Name::as_str));
    let principal = match (own, role.is_a_tenants()) {
        (Some(own), true) => Principal::example(role, own),
        (_, false) => Principal::example(role, ""),
        (None, true) => {
            let what = "who has this role has a tenant: say which with `--tenant NAME`".to_owned();
            return Err(CliError::Usage(what).into());
        }
    };
    let decision = policies.decide(&Request {
        principal,
        operation: &operation,
        tenant: within.or(own),
        resource: resource.as_deref().unwrap_or(""),
        given: Circumstances::ALL,
    });
    let verdict = if decision.allowed { "yes" } else { "no" };
    let because = if why { format!(": {}", decision.why) } else { String::new() };
    let needs = policies.operations().get(&operation).map(|operation| operation.needs()).unwrap_or_default();
    let needs: Vec<&str> = [
        (needs.fresh, "a person needs a fresh proof of who they are"),
        (needs.approved, "another person must approve it"),
    ]
    .into_iter()
    .filter_map(|(is, what)| (is && decision.allowed).then_some(what))
    .collect();
    let also: String = needs.iter().map(|what| format!("  {what}\n")).collect();
    let text = format!("{verdict}{because}\n{also}");
    let json = json!({
        "schema": "strongroom.access.check/1",
        "allowed": decision.allowed,
        "role": role.as_str(),
        "tenant": own,
        "within": within.or(own),
        "operation": operation,
        "resource": resource,
        "rules": decision.reasons,
        "why": decision.why,
        "needs": needs,
        "policy_version": decision.policy_version.hex(),
    });
    let exit = if decision.allowed { Exit::Done } else { Exit::No };
    Ok(Answer::of(json, View::Text { text, rows: "", columns: COLUMNS }).exit(exit))
}
