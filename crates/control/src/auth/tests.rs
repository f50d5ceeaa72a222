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

fn person(role: Role) -> Identity {
    let tenant = role.is_a_tenants().then(|| "acme".to_owned());
    Identity::Person { user: "ann".to_owned(), session: SessionId::from_bits(1), tenant, role, fresh: true }
}

fn ask(role: Role, operation: &str, tenant: Option<&str>) -> Result<Principal, Refusal> {
    let policies = Policies::shipped().unwrap();
    let of = |who| authorise(&policies, who, route(operation), (tenant, "x"), Circumstances::ALL);
    let answer = of(key(role));
    // A service may what a key of its role may, and a person too, and each is told the same; but only people approve.
    for other in [service(role), person(role)] {
        let same = answer.as_ref().err() == of(other.clone()).as_ref().err();
        assert!(same || operation == "approval.decide", "{role} {operation}");
    }
    answer
}

/// The endpoints that are decided on: strangers may call the others.
fn decided() -> impl Iterator<Item = &'static Route> {
    TABLE.iter().filter(|route| route.who != Who::Stranger)
}

#[test]
fn every_operation_has_an_action_and_every_action_an_operation() {
    let policies = Policies::shipped().unwrap();
    // The gateway performs one, for whom control let: it has a plane of its own. Another is a part of submitting a job.
    let others = ["endpoint.infer", "egress.use"];
    let table: BTreeSet<&str> = decided().map(|r| r.operation).chain(others).collect();
    let actions: BTreeSet<&str> = policies.operations().keys().map(String::as_str).collect();
    assert_eq!(table, actions);
    for route in TABLE.iter().filter(|r| r.who == Who::Tenant) {
        let kind = policies.operations()[route.operation].kind();
        assert_ne!(kind, "Node", "{} lies in a tenant", route.operation);
    }
}

#[test]
fn what_the_table_says_of_an_endpoint_holds_for_every_role() {
    let policies = Policies::shipped().unwrap();
    for route in decided() {
        let of = |who| authorise(&policies, who, route, (Some("acme"), "x"), Circumstances::ALL);
        let by_people = route.operation == "approval.decide";
        assert_eq!(
            of(Identity::Operator { login: None }).is_ok(),
            !by_people,
            "the operator and {}",
            route.operation
        );
        for role in Role::ALL.into_iter().filter(|role| role.is_a_tenants()) {
            let tenant = (route.who == Who::Tenant).then_some("acme");
            let answer = ask(role, route.operation, tenant);
            assert!(route.who != Who::Operator || answer.is_err(), "{role} may {}", route.operation);
            // What changes nothing but the caller's own sessions and wishes.
            let own = matches!(route.operation, "session.end" | "session.revoke" | "approval.request");
            assert!(
                role != Role::Auditor || route.effect == Effect::Read || answer.is_err() || own,
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
    assert!(refusal.fail.help.unwrap().starts_with("role tenant-admin or deployer may"));
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

#[test]
fn who_oversees_the_node_sees_every_tenant_and_changes_none() {
    let policies = Policies::shipped().unwrap();
    let ask = |operation: &str, tenant| {
        authorise(&policies, person(Role::Security), route(operation), (tenant, "x"), Circumstances::ALL)
    };
    for operation in ["model.show", "key.revoke", "tenant.show"] {
        assert!(ask(operation, Some("acme")).is_ok(), "{operation}");
    }
    for operation in ["audit.files", "posture.run", "user.disable", "session.revoke", "approval.decide"] {
        assert!(ask(operation, None).is_ok(), "{operation}");
    }
    for operation in ["model.export", "job.run", "endpoint.deploy", "key.create"] {
        // That the tenant is there is no secret to them.
        assert_eq!(ask(operation, Some("acme")).unwrap_err().fail.status, 403, "{operation}");
    }
    assert_eq!(ask("user.create", None).unwrap_err().fail.status, 403);
}

#[test]
fn what_a_request_lacks_beside_the_role_is_said_with_the_next_step() {
    let policies = Policies::shipped().unwrap();
    let ask = |who: Identity, operation: &str, thing: &str, fresh, approved| {
        let given = Circumstances { fresh, approved, ..Circumstances::ALL };
        authorise(&policies, who, route(operation), (Some("acme"), thing), given).map_err(|r| r.fail)
    };
    let admin = || person(Role::TenantAdmin);
    let stale = ask(admin(), "endpoint.deploy", "", false, false).unwrap_err();
    assert_eq!((stale.status, stale.code.as_str()), (401, "SR-ACC-0001"));
    assert!(stale.header.is_some_and(|h| h.1.contains("insufficient_user_authentication")));
    assert!(ask(admin(), "endpoint.deploy", "", true, false).is_ok());
    let alone = ask(admin(), "model.export", "m/1/weights/a.bin", true, false).unwrap_err();
    assert_eq!((alone.status, alone.code.as_str()), (403, "SR-ACC-0002"));
    let help = "strongroom access approval request model.export m/1 --tenant acme --reason TEXT";
    assert!(alone.help.is_some_and(|text| text.contains(help)));
    // Both: the proof first, since without it nobody asks for approval either.
    assert_eq!(ask(admin(), "model.export", "m/1", false, false).unwrap_err().code, "SR-ACC-0001");
    // Who may not anyhow is told that, and nothing of approvals.
    let auditor = ask(person(Role::Auditor), "model.export", "m/1", false, false).unwrap_err();
    assert_eq!((auditor.status, auditor.code.as_str()), (403, "SR-CTL-0005"));
    assert!(ask(key(Role::TenantAdmin), "model.export", "m/1", false, true).is_ok());
}
