//! A node's own rules: added to those that ship, never in their place.

use std::collections::BTreeSet;

use base::sha256;
use cedar_policy::Policy;

use crate::rules::{SCHEMA, built_in, place, rules};
use crate::{Circumstances, Policies, PolicyError, Principal, Request, SHIPPED};

/// Longest text of own rules, in bytes: 2,000 rules of 128 bytes.
pub const OWN_MAX: usize = 256 * 1024;
/// What stands beside the rules that ship while the own ones do not verify.
const LOCKED: &str = include_str!("../../../policies/locked.cedar");
/// What the operator must be able to do under any rules, so that they can be taken back.
const MENDING: [&str; 2] = ["policy.apply", "policy.withdraw"];

impl Policies {
    /// The rules that ship and, beside them, these. A `forbid` of either outweighs every `permit` of both, so what
    /// ships as forbidden stays forbidden. On safe mode and break-glass the rules that ship decide alone.
    ///
    /// # Errors
    /// The text is no set of rules as [`Policies::parse`] says, is longer than [`OWN_MAX`], has a rule of a name that
    /// ships, or would keep the operator from taking it back.
    pub fn with_own(text: &str) -> Result<Self, PolicyError> {
        let own = own_rules(text)?;
        if own.is_empty() {
            return Self::shipped();
        }
        let names: BTreeSet<String> = own.iter().map(|rule| rule.id().to_string()).collect();
        let mut policies = Self::of(&[SCHEMA, SHIPPED, text], rules(SHIPPED)?)?;
        policies.add_own(own)?;
        // The thing is what a text of rules is called. No rule can except it: none has its own digest in it.
        let resource = sha256(text.as_bytes()).hex();
        for operation in MENDING {
            let request = Request {
                principal: Principal::Operator,
                operation,
                tenant: None,
                resource: &resource,
                given: Circumstances::ALL,
            };
            let decision = policies.decide(&request);
            let by_own = decision.reasons.is_empty() || decision.reasons.iter().any(|r| names.contains(r));
            if !decision.allowed && by_own {
                return Err(PolicyError::LockedOut { operation, why: decision.why });
            }
        }
        Ok(policies)
    }

    /// The rules of a node whose own ones do not verify: the operator may look, and mend them.
    ///
    /// # Errors
    /// This program was built with rules that do not fit its schema; a test keeps that from happening.
    pub fn locked() -> Result<Self, PolicyError> {
        let mut all = rules(SHIPPED)?;
        all.extend(rules(LOCKED)?);
        Self::of(&[SCHEMA, SHIPPED, LOCKED], all)
    }
}

/// The rules of a text of own rules, each with its name as id.
///
/// # Errors
/// As [`Policies::with_own`].
pub fn own_rules(text: &str) -> Result<Vec<Policy>, PolicyError> {
    if text.len() > OWN_MAX {
        let reason = format!("{} bytes of own rules, at most {OWN_MAX}", text.len());
        return Err(PolicyError::Limit { line: 0, reason });
    }
    let own = rules(text)?;
    let reserved = [SHIPPED, LOCKED].map(rules);
    for shipped in reserved {
        for name in shipped.map_err(built_in)?.iter().map(|rule| rule.id().to_string()) {
            if own.iter().any(|rule| AsRef::<str>::as_ref(rule.id()) == name) {
                let reason =
                    format!("the `@id` `{name}` is that of a rule that ships, which no other replaces");
                return Err(PolicyError::Name { line: place(text, &format!("\"{name}\"")), reason });
            }
        }
    }
    Ok(own)
}

#[cfg(test)]
mod tests;
