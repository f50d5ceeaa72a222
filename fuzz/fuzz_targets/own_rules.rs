//! A node's own rules and their tests: any text. Nothing may panic; what is taken leaves the operator able to take it
//! back, and lifts nothing that ships as forbidden.
//! `cargo +nightly fuzz run own_rules`
#![no_main]

use std::sync::LazyLock;

use access::{Circumstances, Policies, Principal, Request, Role, Suite};
use libfuzzer_sys::fuzz_target;

static SHIPPED: LazyLock<Policies> = LazyLock::new(|| Policies::shipped().unwrap());

fn ask(policies: &Policies, principal: Principal<'_>, operation: &str) -> access::Decision {
    let given = Circumstances::ALL;
    policies.decide(&Request { principal, operation, tenant: Some("acme"), resource: "x", given })
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(policies) = Policies::with_own(text) else { return };
    assert!(ask(&policies, Principal::Operator, "policy.withdraw").allowed);
    for role in Role::ALL {
        for operation in SHIPPED.operations().keys() {
            let principal = Principal::example(role, "acme");
            let before = ask(&SHIPPED, principal, operation);
            // Without a reason nothing forbade it: an own rule may permit that.
            if !before.allowed && !before.reasons.is_empty() {
                assert!(!ask(&policies, principal, operation).allowed, "{role} {operation}");
            }
        }
    }
    if let Ok(suite) = Suite::parse("tests", text) {
        suite.run(&policies);
    }
});
