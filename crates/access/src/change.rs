//! What changes between two texts of own rules: rules, and what they come to.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::Policy;

use crate::own::own_rules;
use crate::{Circumstances, Policies, PolicyError, Principal, Request, Role};

/// Tenants whose tables are compared: each is 5 roles times some 60 operations, twice, at 20 µs a decision.
const TENANTS_MAX: usize = 100;
/// Stands for every tenant that no rule names: no name of a tenant begins with an underscore.
const ANY_TENANT: &str = "_any";

/// What changes from one set of own rules to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Names of rules that come in.
    pub added: Vec<String>,
    /// Names of rules that go.
    pub removed: Vec<String>,
    /// Names of rules that say something else; another layout or comment is no change.
    pub changed: Vec<String>,
    /// Entries of the table that change.
    pub rights: Vec<Right>,
    /// Tenants that the rules name and that were not compared, being too many.
    pub tenants_left: usize,
}

/// An entry of the table of roles and operations that changes, for a thing without a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// The tenant that asks, within itself; none for every tenant that no rule names.
    pub tenant: Option<String>,
    /// Who asks.
    pub role: Role,
    /// For what.
    pub operation: String,
    /// Whether it is allowed from now on.
    pub allowed: bool,
}

impl Change {
    /// Compares two texts of own rules, each with the rules that ship.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn between(before: &str, after: &str) -> Result<Self, PolicyError> {
        let (old, new) = (named(before)?, named(after)?);
        let of = |rules: &BTreeMap<String, Policy>, others: &BTreeMap<String, Policy>| {
            rules.keys().filter(|name| !others.contains_key(*name)).cloned().collect::<Vec<_>>()
        };
        let mut changed = Vec::new();
        for (name, rule) in &old {
            if let Some(other) = new.get(name)
                && form(rule)? != form(other)?
            {
                changed.push(name.clone());
            }
        }
        let tenants: BTreeSet<String> = old.values().chain(new.values()).flat_map(tenants).collect();
        let tenants_left = tenants.len().saturating_sub(TENANTS_MAX);
        let (old_rules, new_rules) = (Policies::with_own(before)?, Policies::with_own(after)?);
        let mut rights = Vec::new();
        let asking = std::iter::once(None).chain(tenants.into_iter().take(TENANTS_MAX).map(Some));
        for tenant in asking {
            let name = tenant.as_deref().unwrap_or(ANY_TENANT);
            for operation in new_rules.operations().keys() {
                for role in Role::ALL {
                    let principal = Principal::example(role, name);
                    let request = Request {
                        principal,
                        operation,
                        tenant: Some(name),
                        resource: "",
                        given: Circumstances::ALL,
                    };
                    let allowed = new_rules.decide(&request).allowed;
                    if allowed != old_rules.decide(&request).allowed {
                        rights.push(Right {
                            tenant: tenant.clone(),
                            role,
                            operation: operation.clone(),
                            allowed,
                        });
                    }
                }
            }
        }
        Ok(Self { added: of(&new, &old), removed: of(&old, &new), changed, rights, tenants_left })
    }

    /// Whether nothing changes.
    pub const fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty() && self.rights.is_empty()
    }
}

fn named(text: &str) -> Result<BTreeMap<String, Policy>, PolicyError> {
    Ok(own_rules(text)?.into_iter().map(|rule| (rule.id().to_string(), rule)).collect())
}

/// What a rule says, whatever its layout.
fn form(rule: &Policy) -> Result<impl PartialEq, PolicyError> {
    rule.to_json().map_err(crate::rules::built_in)
}

/// Tenants that a rule names.
fn tenants(rule: &Policy) -> Vec<String> {
    let named = rule.entity_literals().into_iter().filter(|uid| uid.type_name().basename() == "Tenant");
    named.map(|uid| AsRef::<str>::as_ref(uid.id()).to_owned()).collect()
}

#[cfg(test)]
mod tests;
