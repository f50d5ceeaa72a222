//! Questions about access: what the rules in force say to somebody of a role, or to one key, service or person that the
//! node knows. Nothing is done.

use std::collections::BTreeMap;

use access::{Circumstances, Principal as Asking, Request, Role, UnknownRole};
use api::AccessAnswer;
use base::names::Name;

use crate::auth::Principal;
use crate::clock::now;
use crate::node::Node;
use crate::{Fail, people, services};

/// Somebody whom a question is about.
struct Asker {
    kind: Kind,
    id: String,
    role: Role,
    tenant: Option<Name>,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Anybody of the role.
    Role,
    Key,
    Service,
    User,
}

impl Asker {
    fn principal(&self) -> Asking<'_> {
        let (id, role, tenant) = (self.id.as_str(), self.role, self.tenant.as_ref().map(Name::as_str));
        match self.kind {
            Kind::Role => Asking::example(role, tenant.unwrap_or("")),
            Kind::Key => Asking::Key { id, role, tenant: tenant.unwrap_or("") },
            Kind::Service => Asking::Service { id, role, tenant: tenant.unwrap_or("") },
            Kind::User => Asking::User { id, role, tenant },
        }
    }
}

/// What the rules in force say to a question. Who is confined to a tenant asks about its own.
pub(crate) fn check(
    node: &Node,
    principal: &Principal,
    query: &BTreeMap<String, String>,
) -> Result<AccessAnswer, Fail> {
    let given = |name: &str| query.get(name).map(String::as_str);
    let name = |name: &str| match query.get(name) {
        Some(text) => text.parse::<Name>().map(Some).map_err(|_| Fail::not_found("tenant", text)),
        None => Ok(None),
    };
    let operation = given("operation").ok_or_else(|| Fail::invalid("say `operation` in the query"))?;
    let (mut tenant, within) = (name("tenant")?, name("within")?);
    if let Some(own) = principal.confined_to() {
        for named in [&tenant, &within].into_iter().flatten() {
            if named.as_str() != own {
                return Err(Fail::not_found("tenant", named.as_str()));
            }
        }
        tenant = own.parse().ok();
    }
    let askers = match (given("role"), given("as")) {
        (Some(role), None) => vec![of_role(principal, role, tenant.clone())?],
        (None, Some(who)) => known(node, principal, who, tenant.as_ref())?,
        _ => return Err(Fail::invalid("say in the query who asks: `role` or `as`, one of them")),
    };
    let rules = node.policies.get();
    let Some(asked) = rules.policies.operations().get(operation) else {
        let title = format!("there is no operation `{}`", crate::fail::printable(operation));
        return Err(Fail::invalid(title).help("see every operation with `strongroom policy show --table`"));
    };
    let lies_in = within.as_ref().or(tenant.as_ref()).map(Name::as_str);
    let resource = given("resource");
    let decide = |asker: &Asker| {
        rules.policies.decide(&Request {
            principal: asker.principal(),
            operation,
            tenant: lies_in,
            resource: resource.unwrap_or(""),
            given: Circumstances::ALL,
        })
    };
    // A person acts in one role at a time, and may what one of theirs allows.
    let mut decided = askers.iter().map(|asker| (asker.role, decide(asker))).collect::<Vec<_>>();
    let at = decided.iter().position(|(_, decision)| decision.allowed).unwrap_or(0);
    let mut answer = AccessAnswer {
        allowed: false,
        who: given("as").map(str::to_owned),
        role: None,
        tenant: tenant.as_ref().map(Name::to_string),
        within: lies_in.map(str::to_owned),
        operation: operation.to_owned(),
        resource: resource.map(str::to_owned),
        rules: Vec::new(),
        why: "it has no role there now: nothing is granted to it, or it has ended or was taken back"
            .to_owned(),
        needs: Vec::new(),
        policy_version: rules.policies.version().hex(),
    };
    if at < decided.len() {
        let (role, decision) = decided.swap_remove(at);
        answer.allowed = decision.allowed;
        answer.role = Some(role.to_string());
        answer.rules = decision.reasons;
        answer.why = decision.why;
        let needs = asked.needs().words().into_iter().filter(|_| answer.allowed);
        answer.needs = needs.map(str::to_owned).collect();
    }
    Ok(answer)
}

fn of_role(principal: &Principal, role: &str, tenant: Option<Name>) -> Result<Asker, Fail> {
    let role: Role = role.parse().map_err(|e: UnknownRole| Fail::invalid(e.to_string()))?;
    match (&tenant, role.is_a_tenants()) {
        (_, false) if principal.confined_to().is_some() => {
            Err(Fail::invalid("ask about a role of a tenant: other rights are no tenant's"))
        }
        (None, true) => Err(Fail::invalid("who has this role has a tenant: say `tenant`")),
        (Some(_), false) => Err(Fail::invalid("who has this role has no tenant: say `within`")),
        _ => Ok(Asker { kind: Kind::Role, id: String::new(), role, tenant }),
    }
}

/// Every role in which somebody whom the node knows could ask now, in this tenant or, without one, in the whole node.
/// What is of another tenant is as if it were not there.
fn known(node: &Node, principal: &Principal, who: &str, tenant: Option<&Name>) -> Result<Vec<Asker>, Fail> {
    let (kind, id) = who.split_once(':').unwrap_or((who, ""));
    let of_one = || tenant.ok_or_else(|| Fail::invalid("keys and services are of a tenant: say `tenant`"));
    let (kind, roles): (Kind, Vec<Role>) = match kind {
        "key" => {
            let of = of_one()?;
            let absent = || Fail::not_found("key", &crate::fail::printable(id));
            let found = node.api_key(id.parse().map_err(|_| absent())?)?;
            let found = found.filter(|found| found.tenant == of.as_str()).ok_or_else(absent)?;
            (Kind::Key, found.is_good(now()).then_some(found.role).into_iter().collect())
        }
        "service" => {
            let (of, absent) = (of_one()?, || Fail::not_found("service", &crate::fail::printable(id)));
            let name: Name = id.parse().map_err(|_| absent())?;
            let role = services::role_of(node, of, &name)?.ok_or_else(absent)?;
            let good = services::is_known(node, of.as_str(), name.as_str());
            (Kind::Service, good.then_some(role).into_iter().collect())
        }
        "user" => {
            let name: Name =
                id.parse().map_err(|_| Fail::not_found("person", &crate::fail::printable(id)))?;
            // Who is confined to a tenant learns of people no more than their roles there.
            if principal.confined_to().is_none() {
                people::show(node, &name)?;
            }
            (Kind::User, people::roles_now(node, &name, tenant)?)
        }
        _ => return Err(Fail::invalid("who asks is `key:ID`, `service:NAME` or `user:NAME`")),
    };
    let id = match (kind, tenant) {
        (Kind::Service, Some(tenant)) => format!("{tenant}/{id}"),
        _ => id.to_owned(),
    };
    let asker = |role| Asker { kind, id: id.clone(), role, tenant: tenant.cloned() };
    Ok(roles.into_iter().map(asker).collect())
}
