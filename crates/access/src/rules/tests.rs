use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn shipped() -> Policies {
    Policies::shipped().unwrap()
}

fn ask(policies: &Policies, role: Role, operation: &str, tenant: &str) -> Decision {
    let principal = Principal::example(role, "acme");
    policies.decide(&Request {
        principal,
        operation,
        tenant: Some(tenant),
        resource: "x",
        given: Circumstances::ALL,
    })
}

#[test]
fn each_role_gets_the_expected_decision_for_the_expected_reason() {
    use Role::{Auditor, Deployer, MlEngineer, PlatformOperator, Security, TenantAdmin};
    let policies = shipped();
    for (role, operation, allowed, rule) in [
        (PlatformOperator, "tenant.create", true, "operator-may-everything"),
        (PlatformOperator, "endpoint.deploy", true, "operator-may-everything"),
        (Auditor, "audit.search", true, "auditor-reads"),
        (Auditor, "model.verify", true, "auditor-reads"),
        (Auditor, "model.export", false, "auditors-change-nothing"),
        (Auditor, "job.stop", false, "auditors-change-nothing"),
        (Auditor, "audit.files", false, "oversight-boundary"),
        (PlatformOperator, "approval.decide", false, "approvals-are-by-people"),
        (Security, "audit.files", true, "security-oversees"),
        (Security, "posture.run", true, "security-oversees"),
        (Security, "user.disable", true, "security-oversees"),
        (Security, "key.revoke", true, "security-oversees"),
        (Security, "approval.decide", true, "security-oversees"),
        (Security, "grant.create", false, "node-boundary"),
        (Security, "tenant.create", false, "node-boundary"),
        (Security, "model.export", false, ""),
        (Security, "job.run", false, ""),
        (TenantAdmin, "user.list", false, "oversight-boundary tenant-boundary"),
        (TenantAdmin, "endpoint.deploy", true, "tenant-admin-may-all-of-its-tenant"),
        (TenantAdmin, "key.revoke", true, "tenant-admin-may-all-of-its-tenant"),
        (TenantAdmin, "posture.show", false, "oversight-boundary"),
        (TenantAdmin, "approval.decide", true, "tenant-admin-may-all-of-its-tenant"),
        (TenantAdmin, "tenant.create", false, "node-boundary"),
        (MlEngineer, "job.run", true, "ml-engineer-trains"),
        (MlEngineer, "model.show", true, "ml-engineer-reads"),
        (MlEngineer, "endpoint.deploy", false, "who-trains-does-not-release"),
        (MlEngineer, "key.create", false, "who-trains-does-not-release"),
        (MlEngineer, "key.list", false, ""),
        (MlEngineer, "audit.search", false, ""),
        (Deployer, "endpoint.deploy", true, "deployer-releases"),
        (Deployer, "key.create", true, "deployer-releases"),
        (Deployer, "job.run", false, "who-releases-does-not-train"),
        (Deployer, "model.export", false, "who-releases-does-not-train"),
        (Deployer, "key.revoke", false, ""),
        (Deployer, "dataset.show", false, ""),
    ] {
        let decision = ask(&policies, role, operation, "acme");
        assert_eq!(decision.allowed, allowed, "{role} {operation}: {}", decision.why);
        assert_eq!(decision.reasons.join(" "), rule, "{role} {operation}");
        assert_eq!(decision.policy_version, policies.version());
    }
    let why = ask(&policies, MlEngineer, "key.create", "acme").why;
    assert_eq!(
        why,
        "rule `who-trains-does-not-release` forbids it: who trains neither deploys nor hands out keys"
    );
    assert_eq!(ask(&policies, Deployer, "key.revoke", "acme").why, "no rule permits it");
}

#[test]
fn duties_are_split() {
    let policies = shipped();
    for (operation, known) in policies.operations() {
        let may = |role| ask(&policies, role, operation, "acme").allowed;
        let changes = ["train", "release", "revoke", "operate"].iter().any(|group| {
            let kind: EntityTypeName = "Action".parse().unwrap();
            known.is_one_of(&[uid(&kind, group)])
        });
        assert!(!changes || !may(Role::Auditor), "an auditor may {operation}");
        // Nobody but who has the whole tenant has both.
        assert!(!(changes && may(Role::MlEngineer) && may(Role::Deployer)), "{operation}");
    }
    assert_eq!(
        policies.roles_that_may("endpoint.deploy", Some("acme"), "x"),
        [Role::PlatformOperator, Role::TenantAdmin, Role::Deployer]
    );
}

#[test]
fn roles_of_the_schema_are_those_of_the_program() {
    let listed = SCHEMA.split("entity Role enum [").nth(1).unwrap().split(']').next().unwrap();
    let listed: Vec<&str> = listed.split(", ").map(|name| name.trim_matches('"')).collect();
    assert_eq!(listed, Role::ALL.map(Role::as_str));
    assert_eq!("ML-engineer".parse::<Role>(), Err(crate::UnknownRole));
    assert!(Role::ALL.iter().all(|role| role.as_str().parse() == Ok(*role)));
}

#[test]
fn a_model_is_asked_by_applications_of_its_tenant_alone() {
    let policies = shipped();
    let may = |principal| {
        let request = Request {
            principal,
            operation: "endpoint.infer",
            tenant: Some("acme"),
            resource: "clothes",
            given: Circumstances::default(),
        };
        policies.decide(&request).allowed
    };
    for role in Role::ALL {
        assert_eq!(may(Principal::example(role, "acme")), role == Role::Application, "{role}");
        assert!(!may(Principal::example(role, "globex")), "{role} of another tenant");
        let service = Principal::Service { id: "acme/app", role, tenant: "acme" };
        assert_eq!(may(service), role == Role::Application, "a service that is {role}");
    }
    assert!(may(Principal::Workload { id: "acme/job/1", tenant: "acme" }));
    assert!(!may(Principal::Workload { id: "globex/job/1", tenant: "globex" }));
}

/// What an operation is not for stays out of reach, whatever rules say.
#[test]
fn own_rules_give_workloads_and_nodes_only_what_the_schema_names() {
    let open = Policies::with_own("@id(\"open\") permit (principal, action, resource);").unwrap();
    let may = |principal, operation| {
        let given = Circumstances::ALL;
        open.decide(&Request { principal, operation, tenant: Some("acme"), resource: "x", given }).allowed
    };
    let (workload, node) =
        (Principal::Workload { id: "acme/job/1", tenant: "acme" }, Principal::Node { id: "n" });
    for operation in open.operations().keys() {
        let reads = ["dataset", "job", "model", "bom", "endpoint"].iter().any(|of| operation.starts_with(of))
            && [".list", ".show", ".watch", ".signature", ".export", ".infer"]
                .iter()
                .any(|to| operation.ends_with(to));
        let asks = ["status", "whoami", "tenant.list", "api.openapi"].contains(&operation.as_str());
        let export = operation == "model.export";
        assert!(!may(workload, operation) || ((reads || asks) && !export), "a workload may {operation}");
        let itself = ["whoami", "api.openapi"].contains(&operation.as_str());
        assert_eq!(may(node, operation), itself, "a node and {operation}");
    }
    assert!(may(workload, "model.show") && !may(workload, "job.run"));
}

#[test]
fn what_is_not_known_is_denied() {
    let policies = shipped();
    for operation in ["", "model.delete", "train", "change", "status\0", "Action::\"status\""] {
        let decision = ask(&policies, Role::PlatformOperator, operation, "acme");
        assert!(!decision.allowed, "{operation}");
    }
    let long = "x".repeat(ID_MAX + 1);
    let request = Request {
        principal: Principal::Operator,
        operation: "model.show",
        tenant: Some("acme"),
        resource: &long,
        given: Circumstances::ALL,
    };
    assert!(!policies.decide(&request).allowed);
    assert!(policies.decide(&Request { resource: "x", ..request }).allowed);
    assert!(!ask(&Policies::parse("").unwrap(), Role::PlatformOperator, "status", "acme").allowed);
}

#[test]
fn rules_that_do_not_fit_are_refused_with_their_line() {
    let deep = format!("@id(\"a\") permit (principal, action, resource) when {{ {}true }};", "(".repeat(40));
    let chain =
        format!("@id(\"a\") permit (principal, action, resource) when {{ true{} }};", " && true".repeat(900));
    let long = chain.replace("true ", "true   ");
    let many: String = (0..=RULES_MAX).map(|n| rule(&format!("r{n}"), "principal", "action")).collect();
    for (text, code, line) in [
        ("\n\npermit (principal, action", "SR-POL-0002", 3),
        ("@id(\"a\") permit (principal, action == Action::\"model.delete\", resource);", "SR-POL-0003", 1),
        ("\n@id(\"a\")\npermit (principal in Role::\"root\", action, resource);", "SR-POL-0003", 3),
        (
            "@id(\"a\") permit (principal, action, resource) when { resource.owner == principal };",
            "SR-POL-0003",
            1,
        ),
        ("@id(\"a\") permit (principal is Key, action, resource) when { 1 == true };", "SR-POL-0003", 1),
        // It can never apply.
        (
            "@id(\"a\") permit (principal, action == Action::\"job.run\", resource is Model);",
            "SR-POL-0003",
            1,
        ),
        ("\npermit (principal, action, resource);", "SR-POL-0004", 2),
        ("\n@id(\"A b\") permit (principal, action, resource);", "SR-POL-0004", 2),
        (&(rule("a", "principal", "action") + &rule("a", "principal", "action")), "SR-POL-0004", 1),
        ("\n@id(\"t\") permit (principal == ?principal, action, resource);", "SR-POL-0004", 2),
        ("\n@id(\"t\") @because(\"\\u{1b}[2J\") permit (principal, action, resource);", "SR-POL-0004", 2),
        // Without a place of its own in what the validator says: the rule's.
        ("\n@id(\"t\") permit (principal in Role::\"\\u{1b}\", action, resource);", "SR-POL-0003", 2),
        (&deep, "SR-POL-0001", 1),
        (&long, "SR-POL-0001", 1),
        (&many, "SR-POL-0001", 0),
        (&" ".repeat(5 * 1024 * 1024), "SR-POL-0001", 0),
    ] {
        let shown: String = text.chars().take(90).collect();
        let Err(error) = Policies::parse(text) else { panic!("taken: {shown}") };
        assert_eq!(base::Explain::code(&error), code, "{shown}: {error}");
        let at = match &error {
            PolicyError::Limit { line, .. }
            | PolicyError::Syntax { line, .. }
            | PolicyError::Schema { line, .. }
            | PolicyError::Name { line, .. } => *line,
            PolicyError::BuiltIn(_) | PolicyError::LockedOut { .. } | PolicyError::Tests(_) => 0,
        };
        assert_eq!(at, line, "{shown}: {error}");
    }
    // As deep as a rule may be; brackets in texts and comments do not count.
    Policies::parse(&chain).unwrap();
    Policies::parse(&format!("// {}\n{}", "(".repeat(99), rule("a", "principal", "action"))).unwrap();
}

fn rule(name: &str, principal: &str, action: &str) -> String {
    format!("@id(\"{name}\") permit ({principal}, {action}, resource);")
}

#[test]
fn the_version_is_of_the_text() {
    let other = format!("{SHIPPED}\n");
    assert_eq!(Policies::parse(SHIPPED).unwrap().version(), shipped().version());
    assert_ne!(Policies::parse(&other).unwrap().version(), shipped().version());
}

#[test]
fn the_committed_table_is_what_the_rules_come_to() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/access.md");
    let committed = std::fs::read_to_string(path).unwrap();
    assert_eq!(
        committed,
        shipped().table(),
        "rights changed: write what `strongroom policy show --table` prints to docs/access.md, and say why in the commit"
    );
}

fn any_role() -> impl Strategy<Value = Role> {
    prop::sample::select(Role::ALL.to_vec())
}

fn any_operation() -> impl Strategy<Value = String> {
    prop::sample::select(shipped().operations().keys().cloned().collect::<Vec<_>>())
}

fn any_rule() -> impl Strategy<Value = String> {
    let who = prop::sample::select(vec![
        "principal".to_owned(),
        "principal in Role::\"auditor\"".to_owned(),
        "principal is User in Role::\"deployer\"".to_owned(),
        "principal is Operator".to_owned(),
        "principal is Service".to_owned(),
        "principal is User in Role::\"security\"".to_owned(),
        "principal == User::\"example\"".to_owned(),
    ]);
    let what = prop::sample::select(vec![
        "action",
        "action in Action::\"change\"",
        "action in [Action::\"read\", Action::\"job.run\"]",
        "action == Action::\"model.show\"",
        "action in Action::\"endpoint.stop\"",
    ]);
    let whose = prop::sample::select(vec![
        "resource",
        "resource in Tenant::\"acme\"",
        "resource in Tenant::\"globex\"",
    ]);
    (prop::bool::weighted(0.25), who, what, whose).prop_map(|(forbid, who, what, whose)| {
        format!("{} ({who}, {what}, {whose});\n", if forbid { "forbid" } else { "permit" })
    })
}

#[test]
fn a_service_or_person_may_what_a_key_of_its_role_may() {
    let policies = shipped();
    for operation in policies.operations().keys() {
        for role in Role::ALL.into_iter().filter(|role| role.is_a_tenants() && role.is_a_persons()) {
            for tenant in ["acme", "globex"] {
                let of = |principal| {
                    policies.decide(&Request {
                        principal,
                        operation,
                        tenant: Some(tenant),
                        resource: "x",
                        given: Circumstances::ALL,
                    })
                };
                let service = of(Principal::Service { id: "acme/ci", role, tenant: "acme" });
                let person = of(Principal::User { id: "ann", role, tenant: Some("acme") });
                let key = of(Principal::Key { id: "key_1", role, tenant: "acme" });
                assert_eq!(service, key, "{role} {operation} {tenant}");
                // Only people approve.
                assert!(person == key || operation == "approval.decide", "{role} {operation} {tenant}");
            }
        }
    }
}

#[test]
fn what_is_of_high_risk_needs_a_fresh_proof_and_what_needs_two_people_an_approval() {
    let policies = shipped();
    let person = Principal::User { id: "ann", role: Role::TenantAdmin, tenant: Some("acme") };
    let key = Principal::Key { id: "key_1", role: Role::TenantAdmin, tenant: "acme" };
    let ask = |principal, operation, fresh, approved| {
        let given = Circumstances { fresh, approved, ..Circumstances::ALL };
        let request = Request { principal, operation, tenant: Some("acme"), resource: "x", given };
        policies.decide(&request).reasons.join(" ")
    };
    let may = "tenant-admin-may-all-of-its-tenant";
    for (principal, operation, fresh, approved, rules) in [
        (person, "endpoint.deploy", false, false, "fresh-proof"),
        (person, "endpoint.deploy", true, false, may),
        (person, "key.create", false, true, "fresh-proof"),
        (person, "approval.decide", false, true, "fresh-proof"),
        (person, "approval.decide", true, false, may),
        (person, "job.run", false, false, may),
        (person, "model.export", false, false, "fresh-proof two-people"),
        (person, "model.export", false, true, "fresh-proof"),
        (person, "model.export", true, false, "two-people"),
        (person, "model.export", true, true, may),
        (key, "endpoint.deploy", false, false, may),
        (key, "model.export", true, false, "two-people"),
        (key, "model.export", false, true, may),
        (Principal::Operator, "model.export", true, false, "two-people"),
        (Principal::Operator, "model.export", false, true, "operator-may-everything"),
    ] {
        assert_eq!(ask(principal, operation, fresh, approved), rules, "{principal:?} {operation}");
    }
    let needs = |operation: &str| policies.operations()[operation].needs();
    assert_eq!(needs("model.export"), Circumstances::ALL);
    assert_eq!(needs("endpoint.deploy"), Circumstances { approved: false, ..Circumstances::ALL });
    assert_eq!(needs("job.run"), Circumstances::default());
}

/// Every operation that this principal may do in this mode, with all that it needs.
fn may_in(principal: Principal<'_>, mode: Mode) -> BTreeSet<String> {
    let policies = shipped();
    let given = Circumstances { mode, ..Circumstances::ALL };
    let may = |operation: &&String| {
        policies.decide(&Request { principal, operation, tenant: Some("acme"), resource: "x", given }).allowed
    };
    policies.operations().keys().filter(may).cloned().collect()
}

/// What safe mode leaves only looks, takes rights away, or is about safe mode itself.
#[test]
fn in_safe_mode_nothing_is_used_or_changed() {
    let looks =
        [".list", ".show", ".search", ".files", ".file", ".watch", ".check", ".signature", ".openapi"];
    let others = [
        "bom.export",
        "node.diagnostics",
        "posture.run",
        "status",
        "whoami",
        "key.revoke",
        "service.revoke",
        "revocation.create",
        "egress.named",
        "egress.delete",
        "grant.revoke",
        "passkey.revoke",
        "session.revoke",
        "session.end",
        "user.disable",
        "safe_mode.enter",
        "safe_mode.leave",
        "break_glass.seal",
        "break_glass.open",
        "break_glass.close",
    ];
    for role in Role::ALL {
        let principal = Principal::example(role, "acme");
        let (normal, safe) = (may_in(principal, Mode::Normal), may_in(principal, Mode::Safe));
        assert!(safe.is_subset(&normal), "{role} may more in safe mode");
        for operation in &safe {
            let is_known =
                looks.iter().any(|look| operation.ends_with(look)) || others.contains(&&**operation);
            assert!(is_known, "{role} may `{operation}` in safe mode");
        }
        assert!(safe.contains("whoami"), "{role}");
        // A node asks who it is, and nothing besides.
        assert!(normal.len() > safe.len() || role == Role::Node, "{role}");
    }
}

#[test]
fn break_glass_gives_so_much_and_to_the_operator_alone() {
    let given = |principal| {
        let (safe, open) = (may_in(principal, Mode::Safe), may_in(principal, Mode::BreakGlass));
        open.difference(&safe).cloned().collect::<Vec<_>>()
    };
    let operator = ["grant.create", "node.reboot", "policy.withdraw", "user.create", "user.enrol"];
    assert_eq!(given(Principal::Operator), operator);
    for role in Role::ALL.into_iter().filter(|role| *role != Role::PlatformOperator) {
        assert!(given(Principal::example(role, "acme")).is_empty(), "{role}");
    }
    // It stands for the second person there, and nowhere else.
    let policies = shipped();
    let alone = |operation, mode| {
        let given = Circumstances { fresh: true, approved: false, mode };
        let principal = Principal::Operator;
        policies.decide(&Request { principal, operation, tenant: None, resource: "x", given }).allowed
    };
    assert!(alone("policy.withdraw", Mode::BreakGlass));
    for operation in ["policy.withdraw", "policy.apply", "model.export"] {
        assert!(!alone(operation, Mode::Normal) && !alone(operation, Mode::Safe), "{operation}");
    }
    assert!(!alone("policy.apply", Mode::BreakGlass) && !alone("model.export", Mode::BreakGlass));
}

/// The operator at the machine needs nobody to make it safe; from the network it takes two people.
#[test]
fn safe_mode_is_entered_by_one_at_the_machine_and_by_two_from_elsewhere() {
    let policies = shipped();
    let may = |principal, fresh, approved| {
        let given = Circumstances { fresh, approved, mode: Mode::Normal };
        policies
            .decide(&Request { principal, operation: "safe_mode.enter", tenant: None, resource: "n", given })
            .allowed
    };
    assert!(may(Principal::Operator, false, false));
    let security = Principal::User { id: "ann", role: Role::Security, tenant: None };
    assert!(may(security, true, true));
    assert!(!may(security, true, false) && !may(security, false, true));
    for role in Role::ALL.into_iter().filter(|role| !matches!(role, Role::Security | Role::PlatformOperator))
    {
        assert!(!may(Principal::example(role, "acme"), true, true), "{role}");
    }
    for operation in ["safe_mode.leave", "break_glass.seal", "break_glass.open", "break_glass.close"] {
        for role in Role::ALL.into_iter().filter(|role| *role != Role::PlatformOperator) {
            assert!(
                !may_in(Principal::example(role, "acme"), Mode::Safe).contains(operation),
                "{role} {operation}"
            );
        }
    }
}

proptest! {
    #[test]
    fn nobody_of_a_tenant_reaches_another(who in 0..3, role in any_role(), operation in any_operation(), own in "\\PC{0,12}", other in "\\PC{0,12}", resource in "\\PC{0,30}") {
        prop_assume!(own != other && role.is_a_tenants() && (who != 1 || role.is_a_persons()));
        let policies = shipped();
        prop_assume!(policies.operations()[&operation].is_within_tenants());
        let principal = match who {
            0 => Principal::Service { id: "own/ci", role, tenant: &own },
            1 => Principal::User { id: "ann", role, tenant: Some(&own) },
            _ => Principal::Key { id: "key_1", role, tenant: &own },
        };
        let of = |tenant| policies.decide(&Request { principal, operation: &operation, tenant, resource: &resource, given: Circumstances::ALL });
        for decision in [of(Some(&other)), of(None)] {
            prop_assert!(!decision.allowed && decision.reasons.contains(&"tenant-boundary".to_owned()));
        }
        prop_assert!(!of(Some(&own)).reasons.contains(&"tenant-boundary".to_owned()));
    }

    /// Looking at some rules alone gives what Cedar gives for all of them.
    #[test]
    fn scopes_leave_out_no_rule_that_applies(rules in prop::collection::vec(any_rule(), 0..12), role in any_role(), operation in any_operation(), tenant in prop::sample::select(vec!["acme", "globex"])) {
        let text: String = rules.iter().enumerate().map(|(n, rule)| format!("@id(\"r{n}\") {rule}")).collect();
        // Some of these can never apply, and are refused as such.
        let Ok(policies) = Policies::parse(&text) else { return Ok(()) };
        let principal = Principal::example(role, "acme");
        let request = Request { principal, operation: &operation, tenant: Some(tenant), resource: "x", given: Circumstances::ALL };
        let Some((asked, entities)) = policies.entities(&request, role, &policies.operations[&operation]) else {
            prop_assert!(role == Role::Node && !policies.decide(&request).allowed);
            return Ok(());
        };
        let whole = PolicySet::from_str(&text).unwrap();
        let plain = cedar::Authorizer::new().is_authorized(&asked, &whole, &entities);
        let decision = policies.decide(&request);
        prop_assert_eq!(decision.allowed, plain.decision() == cedar::Decision::Allow);
        prop_assert_eq!(decision.reasons.len(), plain.diagnostics().reason().count());
    }
}
