//! How long one decision takes, with the rules that ship alone and with more of them.
//!
//! Two sets of more: grants spread over tenants, roles and operations, as they come; and the worst that there can be,
//! every rule of one role, operation and tenant, so that each has to be looked at.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "it reads the clock and prints what it measured"
)]

use std::error::Error;
use std::time::Instant;

use strongroom_access::{Circumstances, Policies, Principal, Request, Role, SHIPPED};

/// Decisions measured for each set.
const ROUNDS: usize = 20_000;
/// The goal, in microseconds, for the 99th percentile at 1,000 rules.
const GOAL_US: u128 = 50;

fn main() -> Result<(), Box<dyn Error>> {
    println!("{:<8} {:>7} {:>9} {:>9} {:>9}", "set", "rules", "p50 us", "p99 us", "load ms");
    for (set, wanted) in
        [("one", 1), ("spread", 100), ("spread", 1_000), ("spread", 10_000), ("worst", 100), ("worst", 1_000)]
    {
        let text = rules(set, wanted)?;
        let before = Instant::now();
        let policies = Policies::parse(&text)?;
        let load = before.elapsed().as_millis();
        let names: Vec<&str> = policies.operations().keys().map(String::as_str).collect();
        let mut times = Vec::with_capacity(ROUNDS);
        for round in 0..ROUNDS {
            let operation = if set == "spread" { names.get(round % names.len()).copied() } else { None };
            let role = if set == "spread" { Role::ALL.get(round % Role::ALL.len()).copied() } else { None };
            let request = Request {
                principal: Principal::example(role.unwrap_or(Role::Auditor), "t7"),
                operation: operation.unwrap_or("model.show"),
                tenant: Some("t7"),
                resource: "classifier/1",
                given: Circumstances::ALL,
            };
            let before = Instant::now();
            std::hint::black_box(policies.decide(&request));
            times.push(before.elapsed().as_nanos());
        }
        times.sort_unstable();
        let at = |percent: usize| times.get(ROUNDS * percent / 100).copied().unwrap_or(0);
        let tenth = |nanos: u128| format!("{}.{}", nanos / 1000, nanos % 1000 / 100);
        println!("{set:<8} {:>7} {:>9} {:>9} {load:>9}", policies.len(), tenth(at(50)), tenth(at(99)));
        if set == "spread" && wanted == 1_000 && at(99) > GOAL_US * 1000 {
            return Err(format!("p99 above {GOAL_US} us at 1,000 rules").into());
        }
    }
    Ok(())
}

/// So many rules: those that ship, and grants beside them.
fn rules(set: &str, wanted: usize) -> Result<String, Box<dyn Error>> {
    if set == "one" {
        return Ok("@id(\"one\") permit (principal in Role::\"auditor\", action, resource);".to_owned());
    }
    let shipped = Policies::shipped()?;
    let names: Vec<&str> = shipped.operations().keys().map(String::as_str).collect();
    let mut text = SHIPPED.to_owned();
    for number in 0..wanted.saturating_sub(shipped.len()) {
        let (role, action, tenant) = match set {
            "worst" => (Role::Auditor, "model.show", 7),
            _ => (
                Role::ALL.get(number % Role::ALL.len()).copied().unwrap_or(Role::Auditor),
                names.get(number / Role::ALL.len() % names.len()).copied().unwrap_or("status"),
                number % 50,
            ),
        };
        // What is the node's lies in no tenant: such a grant could never apply, and would be refused.
        let within = shipped.operations().get(action).is_some_and(|operation| operation.is_within_tenants());
        let whose = if within { format!(" in Tenant::\"t{tenant}\"") } else { String::new() };
        text.push_str(&format!(
            "@id(\"g{number}\") permit (principal in Role::\"{role}\", action == Action::\"{action}\", resource{whose}) \
             unless {{ principal is Operator }};\n"
        ));
    }
    Ok(text)
}
