use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::{Decision, Mode, Role};

static SHIPPED_RULES: LazyLock<Policies> = LazyLock::new(|| Policies::shipped().unwrap());

fn ask(policies: &Policies, principal: Principal<'_>, operation: &str, tenant: Option<&str>) -> Decision {
    policies.decide(&Request { principal, operation, tenant, resource: "x", given: Circumstances::ALL })
}

const FREEZE: &str = "@id(\"freeze\") @because(\"no new models this week\")
forbid (principal, action in Action::\"release\", resource in Tenant::\"acme\");
@id(\"deployers-look\")
permit (principal in Role::\"deployer\", action == Action::\"dataset.list\", resource);";

#[test]
fn own_rules_are_added_to_those_that_ship() {
    let own = Policies::with_own(FREEZE).unwrap();
    let admin = Principal::example(Role::TenantAdmin, "acme");
    let decision = ask(&own, admin, "endpoint.deploy", Some("acme"));
    assert!(!decision.allowed);
    assert_eq!(decision.why, "rule `freeze` forbids it: no new models this week");
    assert_eq!(decision.policy_version, own.version());
    let other = Principal::example(Role::TenantAdmin, "globex");
    assert!(ask(&own, other, "endpoint.deploy", Some("globex")).allowed);
    let deployer = Principal::example(Role::Deployer, "acme");
    assert!(ask(&own, deployer, "dataset.list", Some("acme")).allowed);
    assert!(!ask(&SHIPPED_RULES, deployer, "dataset.list", Some("acme")).allowed);
    assert_eq!(own.len(), SHIPPED_RULES.len() + 2);
}

#[test]
fn the_version_is_of_both_and_without_own_rules_that_of_those_that_ship() {
    let own = Policies::with_own(FREEZE).unwrap().version();
    assert_ne!(own, SHIPPED_RULES.version());
    assert_ne!(own, Policies::with_own(&format!("{FREEZE}\n")).unwrap().version());
    for nothing in ["", "  \n", "// a note\n"] {
        assert_eq!(Policies::with_own(nothing).unwrap().version(), SHIPPED_RULES.version());
    }
    assert_ne!(Policies::locked().unwrap().version(), SHIPPED_RULES.version());
}

#[test]
fn rules_that_cannot_be_added_are_refused() {
    let big = "// x\n".repeat(OWN_MAX / 5 + 1);
    let many: String =
        (0..100_000).map(|n| format!("@id(\"r{n}\") permit (principal, action, resource);")).collect();
    for (text, code) in [
        // As those that ship are called, or those of a locked node.
        ("\n@id(\"tenant-boundary\") permit (principal, action, resource);", "SR-POL-0004"),
        ("@id(\"policy-does-not-verify\") permit (principal, action, resource);", "SR-POL-0004"),
        // Alike to the eye: a Cyrillic a, a full-width letter, a joiner, capitals.
        ("@id(\"ten\u{430}nt-boundary\") permit (principal, action, resource);", "SR-POL-0004"),
        ("@id(\"\u{ff54}enant-boundary\") permit (principal, action, resource);", "SR-POL-0004"),
        ("@id(\"tenant\u{200b}-boundary\") permit (principal, action, resource);", "SR-POL-0004"),
        ("@id(\"Tenant-boundary\") permit (principal, action, resource);", "SR-POL-0004"),
        ("@id(\"x\") permit (principal, action == Action::\"root.shell\", resource);", "SR-POL-0003"),
        ("@id(\"x\") permit (principal, action, resource", "SR-POL-0002"),
        (&big, "SR-POL-0001"),
        (&many, "SR-POL-0001"),
        // Nobody could take them back.
        ("@id(\"x\") forbid (principal, action, resource);", "SR-POL-0006"),
        ("@id(\"x\") forbid (principal, action in Action::\"operate\", resource);", "SR-POL-0006"),
        ("@id(\"x\") forbid (principal, action == Action::\"policy.withdraw\", resource);", "SR-POL-0006"),
        ("@id(\"x\") forbid (principal in Role::\"platform-operator\", action, resource);", "SR-POL-0006"),
        // But for one thing of this name, which is none that is asked for.
        ("@id(\"x\") forbid (principal, action, resource) unless { resource == Node::\"\" };", "SR-POL-0006"),
        // Cannot be evaluated, and so denies: no number is larger.
        (
            "@id(\"x\") permit (principal, action, resource) when { 9223372036854775807 + 1 == 0 };",
            "SR-POL-0006",
        ),
    ] {
        let shown: String = text.chars().take(90).collect();
        let Err(error) = Policies::with_own(text) else { panic!("taken: {shown}") };
        assert_eq!(base::Explain::code(&error), code, "{shown}: {error}");
    }
    // The control: the same things said about others.
    for text in [
        "@id(\"x\") forbid (principal, action == Action::\"policy.apply\", resource) unless { context.approved };",
        "@id(\"x\") forbid (principal, action, resource) unless { principal is Operator };",
        "@id(\"tenant-boundary-2\") permit (principal, action in Action::\"self\", resource);",
        "@id(\"x\") forbid (principal in Role::\"platform-operator\", action == Action::\"model.export\", resource);",
    ] {
        Policies::with_own(text).unwrap();
    }
}

#[test]
fn a_locked_node_lets_the_operator_look_and_mend_and_nobody_do_anything() {
    let locked = Policies::locked().unwrap();
    let mut may = Vec::new();
    for operation in locked.operations().keys() {
        for role in Role::ALL.into_iter().filter(|role| role.is_a_tenants()) {
            let decision = ask(&locked, Principal::example(role, "acme"), operation, Some("acme"));
            assert!(!decision.allowed, "{role} {operation}");
            assert!(decision.reasons.contains(&"policy-does-not-verify".to_owned()), "{role} {operation}");
        }
        if ask(&locked, Principal::Operator, operation, Some("acme")).allowed {
            may.push(operation.as_str());
        }
    }
    assert_eq!(
        may,
        [
            "api.openapi",
            "approval.list",
            "approval.request",
            "audit.file",
            "audit.files",
            "audit.search",
            "break_glass.close",
            "break_glass.open",
            "break_glass.seal",
            "node.diagnostics",
            "policy.apply",
            "policy.list",
            "policy.show",
            "policy.withdraw",
            "posture.show",
            "safe_mode.enter",
            "safe_mode.leave",
            "safe_mode.show",
            "status",
            "whoami"
        ]
    );
}

/// An operator who may hardly anything makes the node safe all the same, and break-glass mends what locked everybody out.
#[test]
fn own_rules_have_no_say_on_safe_mode_and_break_glass() {
    let ask = |policies: &Policies, operation, mode, approved| {
        let given = Circumstances { fresh: true, approved, mode };
        let principal = Principal::Operator;
        policies.decide(&Request { principal, operation, tenant: None, resource: "node", given }).allowed
    };
    let hard = Policies::with_own(
        "@id(\"nothing\") forbid (principal, action, resource) unless { context.approved };
         @id(\"not-safe\") forbid (principal, action in [Action::\"recovery\", Action::\"in-safe-mode\", Action::\"break-glass\"], resource)
         unless { context.approved && action == Action::\"policy.withdraw\" };",
    )
    .unwrap();
    assert!(!ask(&hard, "tenant.create", Mode::Normal, false), "the control");
    for operation in ["safe_mode.show", "safe_mode.enter", "break_glass.seal", "break_glass.open"] {
        assert!(ask(&hard, operation, Mode::Normal, false), "{operation}");
    }
    assert!(ask(&hard, "safe_mode.leave", Mode::Safe, false));
    for operation in ["policy.withdraw", "user.create", "user.enrol", "grant.create", "break_glass.close"] {
        assert!(ask(&hard, operation, Mode::BreakGlass, false), "{operation}");
    }
    // And they give nobody a say on it.
    let soft = Policies::with_own("@id(\"all\") permit (principal, action, resource);").unwrap();
    for role in Role::ALL.into_iter().filter(|role| *role != Role::PlatformOperator) {
        for operation in ["safe_mode.leave", "break_glass.open", "break_glass.seal"] {
            let (principal, given) = (Principal::example(role, "acme"), Circumstances::ALL);
            let request = Request { principal, operation, tenant: None, resource: "node", given };
            assert!(!soft.decide(&request).allowed, "{role} {operation}");
        }
    }
}

fn any_own() -> impl Strategy<Value = String> {
    let effect = prop::sample::select(vec!["permit", "permit", "permit", "forbid"]);
    let who = prop::sample::select(vec![
        "principal",
        "principal in Role::\"auditor\"",
        "principal in Role::\"tenant-admin\"",
        "principal in Role::\"ml-engineer\"",
        "principal is User in Role::\"deployer\"",
        "principal is Service",
        "principal == User::\"example\"",
        "principal == Service::\"acme/ci\"",
    ]);
    let what = prop::sample::select(vec![
        "action",
        "action in Action::\"operate\"",
        "action in Action::\"change\"",
        "action in [Action::\"read\", Action::\"history\"]",
        "action == Action::\"policy.apply\"",
        "action == Action::\"tenant.create\"",
        "action == Action::\"key.create\"",
        "action == Action::\"model.export\"",
    ]);
    let whose = prop::sample::select(vec![
        "resource",
        "resource",
        "resource in Tenant::\"acme\"",
        "resource in Tenant::\"globex\"",
    ]);
    let when = prop::sample::select(vec![
        "",
        " when { true }",
        " when { !(principal is Operator) }",
        " unless { principal is Operator }",
        " when { resource is Model || resource is Node || resource is Endpoint }",
    ]);
    (effect, who, what, whose, when)
        .prop_map(|(effect, who, what, whose, when)| format!("{effect} ({who}, {what}, {whose}){when};\n"))
}

fn any_principal() -> impl Strategy<Value = Principal<'static>> {
    let role = prop::sample::select(Role::ALL.to_vec());
    (role, any::<bool>()).prop_map(|(role, service)| match (role.is_a_tenants(), service) {
        (true, true) => Principal::Service { id: "acme/ci", role, tenant: "acme" },
        _ => Principal::example(role, "acme"),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever is added: what a rule that ships forbids stays forbidden, for everybody, everywhere.
    #[test]
    fn no_own_rule_lifts_what_ships_as_forbidden(
        rules in prop::collection::vec(any_own(), 1..8),
        principal in any_principal(),
        tenant in prop::sample::select(vec![None, Some("acme"), Some("globex"), Some("")]),
    ) {
        let text: String = rules.iter().enumerate().map(|(n, rule)| format!("@id(\"r{n}\") {rule}")).collect();
        // Some of these can never apply, or lock the operator out, and are refused as such.
        let Ok(own) = Policies::with_own(&text) else { return Ok(()) };
        for operation in own.operations().keys() {
            let shipped = ask(&SHIPPED_RULES, principal, operation, tenant);
            let decision = ask(&own, principal, operation, tenant);
            if !shipped.reasons.is_empty() && !shipped.allowed {
                prop_assert!(!decision.allowed, "{operation}: {}", decision.why);
                prop_assert!(shipped.reasons.iter().all(|rule| decision.reasons.contains(rule)));
            }
        }
        // And nobody of a tenant gets what is the node's, or what is another tenant's.
        if principal != Principal::Operator {
            for operation in ["policy.apply", "policy.withdraw", "tenant.create"] {
                prop_assert!(!ask(&own, principal, operation, Some("acme")).allowed);
            }
            // Who oversees the node sees every tenant.
            if principal.role() != Role::Security {
                prop_assert!(!ask(&own, principal, "audit.files", Some("acme")).allowed);
                prop_assert!(!ask(&own, principal, "model.show", Some("globex")).allowed);
            }
        }
    }

    #[test]
    fn no_text_breaks_the_reader(text in "\\PC{0,200}|(@id\\(\"[a-z]{1,3}\"\\)|permit|forbid|\\(|\\)|principal|action|resource|,|;|\\{|\\}|when| ){0,40}") {
        // Taken or refused, and no panic.
        let _answer = Policies::with_own(&text);
    }
}
