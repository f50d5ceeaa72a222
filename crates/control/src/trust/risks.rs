//! Risks that the inspection of a model names, and whether the tenant's policy accepts them.

use std::collections::BTreeSet;

use base::names::Name;
use integrity::trust::{Inspection, Verdict, against_content};

use super::in_force;
use crate::Fail;
use crate::node::Node;

/// Risks that are named in one line; how many more there are is said.
const SHOWN_MAX: usize = 16;

/// What an inspection said, as a policy takes it.
pub(super) fn inspection(verdict: &str, risks: &BTreeSet<String>) -> Inspection {
    let verdict = match verdict {
        "load" => Verdict::Load,
        "load-with-policy" => Verdict::LoadWithPolicy,
        _ => Verdict::Refuse,
    };
    Inspection { verdict, risks: risks.clone() }
}

/// Whether what was found in a model's files may be loaded: by itself, or because the policy in force accepts every risk
/// of it; then the policy and the risks are given.
pub(crate) fn accepted(
    node: &Node,
    tenant: &Name,
    model: &Name,
    verdict: &str,
    risks: &BTreeSet<String>,
) -> Result<Option<String>, Fail> {
    let found = inspection(verdict, risks);
    if found.verdict == Verdict::Load && risks.is_empty() {
        return Ok(None);
    }
    let no = |why: String| {
        let told =
            format!("the inspection of model `{model}` named risks that are not accepted: {}", listed(risks));
        Fail::refused("SR-CTL-0070", told).because(why).help(format!(
            "convert the model, or list exactly these under `accept_risks` of the rule for it, then `strongroom trust policy apply FILE --reason TEXT --tenant {tenant}`"
        ))
    };
    let Some(policy) = in_force(node, tenant)? else {
        return Err(no("the tenant has no trust policy, and without one no risk is accepted".to_owned()));
    };
    let against = against_content(&policy, model.as_str(), &found);
    if !against.is_empty() {
        let why: Vec<String> =
            against.iter().take(SHOWN_MAX).map(|r| format!("{}: {}", r.code, r.what)).collect();
        return Err(no(format!("trust policy {}: {}", policy.version(), why.join("; "))));
    }
    Ok(Some(format!(
        "{} accepted by trust policy {}, sha256 {}",
        listed(risks),
        policy.version(),
        policy.digest()
    )))
}

/// Their names, for people.
pub(crate) fn listed(risks: &BTreeSet<String>) -> String {
    let shown: Vec<String> =
        risks.iter().take(SHOWN_MAX).map(|risk| risk.escape_debug().to_string()).collect();
    let more = risks.len().saturating_sub(shown.len());
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", shown.join(", "))
}
