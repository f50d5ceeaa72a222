//! `strongroom access`: who may do what, answered by the node or from rules alone; the services that may call; what left
//! the node.

use access::{Circumstances, Policies, Principal, Request};
use base::names::Name;

use super::policy::{refused, rules_of};
use super::{people, service};
use crate::args::{AccessCommand, Asker, RulesOf};
use crate::client::encode;
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
    let (who, tenant, within, operation, resource, why, policy) = match command {
        AccessCommand::Check { who, tenant, within, operation, resource, why, policy } => {
            (who, tenant, within, operation, resource, why, policy)
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
    let ask_node = policy.is_none() && session.place().is_ok();
    let policies = match policy {
        Some(file) => rules_of(session, &RulesOf::File(file))?.1,
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
    if own.is_none() && matches!(&who, Asker::Role(role) if role.is_a_tenants()) {
        let what = "who has this role has a tenant: say which with `--tenant NAME`".to_owned();
        return Err(CliError::Usage(what).into());
    }
    let asked = Asked { who: &who, own, within, operation: &operation, resource: resource.as_deref() };
    let answer = if ask_node { asked.of_node(session)? } else { asked.of_rules(&policies)? };
    let verdict = if answer.allowed { "yes" } else { "no" };
    let because = if why { format!(": {}", answer.why) } else { String::new() };
    let also: String = answer.needs.iter().map(|what| format!("  {what}\n")).collect();
    let text = format!("{verdict}{because}\n{also}");
    let exit = if answer.allowed { Exit::Done } else { Exit::No };
    Ok(Answer::of(api::to_json(&answer), View::Text { text, rows: "", columns: COLUMNS }).exit(exit))
}

/// A question.
struct Asked<'a> {
    who: &'a Asker,
    own: Option<&'a str>,
    within: Option<&'a str>,
    operation: &'a str,
    resource: Option<&'a str>,
}

impl Asked<'_> {
    /// What the rules in force on the node say.
    fn of_node(&self, session: &Session) -> Result<api::AccessAnswer, Failure> {
        // A role of the whole node is of no tenant: what is said is where the thing lies.
        let (who, of_node) = match self.who {
            Asker::Role(role) => (("role", Some(role.as_str())), !role.is_a_tenants()),
            Asker::Known(who) => (("as", Some(who.as_str())), false),
        };
        let given = [
            who,
            ("tenant", self.own.filter(|_| !of_node)),
            ("within", self.within.or(self.own.filter(|_| of_node))),
            ("operation", Some(self.operation)),
            ("resource", self.resource),
        ];
        let query = given.iter().filter_map(|(name, value)| Some(format!("{name}={}", encode((*value)?))));
        session.client()?.get(&format!("/access/check?{}", query.collect::<Vec<_>>().join("&")))
    }

    /// What these rules say.
    fn of_rules(&self, policies: &Policies) -> Result<api::AccessAnswer, CliError> {
        let Self { who, own, within, operation, resource } = *self;
        let role = match who {
            Asker::Role(role) => *role,
            Asker::Known(who) => {
                let what = format!("only a node knows which roles `{who}` has: ask it, without `--policy`");
                return Err(CliError::Usage(what));
            }
        };
        let principal = Principal::example(role, own.filter(|_| role.is_a_tenants()).unwrap_or(""));
        let tenant = within.or(own);
        let resource_or = resource.unwrap_or("");
        let given = Circumstances::ALL;
        let decision =
            policies.decide(&Request { principal, operation, tenant, resource: resource_or, given });
        let needs = policies.operations().get(operation).map(access::Operation::needs).unwrap_or_default();
        Ok(api::AccessAnswer {
            allowed: decision.allowed,
            who: None,
            role: Some(role.to_string()),
            tenant: own.map(str::to_owned),
            within: tenant.map(str::to_owned),
            operation: operation.to_owned(),
            resource: resource.map(str::to_owned),
            rules: decision.reasons,
            why: decision.why,
            needs: needs.words().into_iter().filter(|_| decision.allowed).map(str::to_owned).collect(),
            policy_version: decision.policy_version.hex(),
        })
    }
}
