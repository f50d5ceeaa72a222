use std::collections::BTreeSet;

use api::{Effect, TABLE};

use super::*;

fn key(role: Role) -> Identity {
    Identity::Key { tenant: "acme".to_owned(), id: "key_1".to_owned(), role }
}

fn route(operation: &str) -> &'static Route {
    TABLE.iter().find(|r| r.operation == operation).unwrap()
}

fn service(role: Role) -> Identity {
    Identity::Service { tenant: "acme".to_owned(), id: "acme/ci".to_owned(), role }
}

fn ask(role: Role, operation: &str, tenant: Option<&str>) -> Result<Principal, Refusal> {
    let policies = Policies::shipped().unwrap();
    let answer = authorise(&policies, key(role), route(operation), tenant, "x");
    let other = authorise(&policies, service(role), route(operation), tenant, "x");
    // A service may what a key of its role may, and is told the same.
    assert_eq!(answer.as_ref().err(), other.as_ref().err(), "{role} {operation}");
    answer
}

#[test]
fn every_operation_has_an_action_and_every_action_an_operation() {
    let policies = Policies::shipped().unwrap();
    let table: BTreeSet<&str> = TABLE.iter().map(|r| r.operation).collect();
    let actions: BTreeSet<&str> = policies.operations().keys().map(String::as_str).collect();
    assert_eq!(table, actions);
    for route in TABLE.iter().filter(|r| r.who == Who::Tenant) {
        let kind = policies.operations()[route.operation].kind();
        assert_ne!(kind, "Node", "{} lies in a tenant", route.operation);
    }
}

#[test]
fn what_the_table_says_of_an_endpoint_holds_for_every_role() {
    for route in TABLE {
        let operator = authorise(&Policies::shipped().unwrap(), Identity::Operator, route, Some("acme"), "x");
        assert!(operator.is_ok(), "the operator may not {}", route.operation);
        for role in Role::ALL.into_iter().filter(|role| role.is_a_keys()) {
            let tenant = (route.who == Who::Tenant).then_some("acme");
            let answer = ask(role, route.operation, tenant);
            assert!(route.who != Who::Operator || answer.is_err(), "{role} may {}", route.operation);
            assert!(
                role != Role::Auditor || route.effect == Effect::Read || answer.is_err(),
                "an auditor may {}",
                route.operation
            );
            if let Err(refusal) = answer {
                assert_eq!(refusal.fail.status, 403, "{role} {}", route.operation);
            }
            if route.who == Who::Tenant {
                let other = ask(role, route.operation, Some("globex")).unwrap_err();
                assert_eq!(other.fail, Fail::not_found("tenant", "globex"), "{role} {}", route.operation);
            }
        }
    }
}

#[test]
fn a_refusal_says_why_and_who_may() {
    let refusal = ask(Role::MlEngineer, "endpoint.deploy", Some("acme")).unwrap_err();
    assert_eq!(refusal.fail.title, "role `ml-engineer` may not `endpoint.deploy`");
    let why = refusal.fail.detail.unwrap();
    assert_eq!(
        why,
        "rule `who-trains-does-not-release` forbids it: who trains neither deploys nor hands out keys"
    );
    assert!(refusal.fail.help.unwrap().starts_with("a key of role tenant-admin or deployer may"));
    assert_eq!(refusal.decision.unwrap().reasons, ["who-trains-does-not-release"]);
    let node = ask(Role::TenantAdmin, "posture.run", None).unwrap_err();
    assert!(node.fail.help.unwrap().starts_with("this is for the operator"));
}

#[test]
fn an_event_names_the_decision_that_let_it() {
    let principal = ask(Role::Deployer, "endpoint.deploy", Some("acme")).unwrap();
    let event = Event::new(EventKind::EndpointDeploy, Phase::Intent, Outcome::Unknown, 0, 0).by(&principal);
    assert_eq!(event.actor.as_str(), "key:key_1");
    let found: Vec<(String, String)> = event
        .details
        .into_inner()
        .into_iter()
        .map(|d| (d.key.as_str().to_owned(), d.value.as_str().to_owned()))
        .collect();
    let version = Policies::shipped().unwrap().version().hex();
    assert_eq!(
        found,
        [("policy_version".to_owned(), version), ("policy_rules".to_owned(), "deployer-releases".to_owned())]
    );
}
