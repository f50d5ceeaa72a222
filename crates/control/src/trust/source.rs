//! Where a model comes from, as the tenant's policy sees it: by whom it was signed before it came.

use std::collections::BTreeSet;

use base::names::Name;
use base::{Digest, Timestamp};
use integrity::trust::Policy;
use store::records::{File, Intake, TrustPolicy};

use super::signed::Opener;
use super::{in_force, is_of};
use crate::Fail;
use crate::clock::now;
use crate::node::{Node, store_fail};

/// What the policy in force says of where a model comes from.
#[derive(Debug, Default)]
pub(crate) struct Vouched {
    /// Key and names of who signed it, where somebody did.
    pub(crate) by: Option<(Digest, BTreeSet<String>)>,
    /// In a sentence; nothing where the tenant has no policy.
    pub(crate) said: Option<String>,
}

/// Whether the tenant says whose signatures count.
pub(crate) fn has_policy(node: &Node, tenant: &Name) -> Result<bool, Fail> {
    let last = node.meta.read(|tx| tx.of(tenant).last::<TrustPolicy>()).map_err(store_fail)?;
    Ok(last.is_some())
}

/// Asks the policy in force about the signature that came with a model, or that none did.
pub(crate) fn vouched(node: &Node, intake: &Intake) -> Result<Vouched, Fail> {
    let Some(policy) = in_force(node, &intake.tenant)? else { return Ok(Vouched::default()) };
    let bundle = intake.upstream.as_ref().map(|upstream| upstream.bundle.as_str());
    judge(&policy, intake.name.as_str(), &intake.files, bundle, now()).map_err(|why| {
        let told = format!("model `{}` does not come from whom the tenant trusts", intake.name);
        Fail::refused("SR-CTL-0071", told).because(format!("trust policy {}: {why}", policy.version())).help(format!(
            "see who may sign with `strongroom trust policy show --tenant {}`; bring the model with a signature of one of them: `strongroom model import {} PATH --source TEXT --signature FILE`",
            intake.tenant, intake.name
        ))
    })
}

fn judge(
    policy: &Policy,
    model: &str,
    files: &[File],
    bundle: Option<&str>,
    at: Timestamp,
) -> Result<Vouched, String> {
    let rule = policy.rule(model).ok_or_else(|| format!("no rule is for `{model}`"))?;
    let version = policy.version();
    let Some(bundle) = bundle else {
        if rule.upstream_signed {
            return Err("it must come with a signature, and none came".to_owned());
        }
        let said = format!("trust policy {version} asks for no signature from there");
        return Ok(Vouched { by: None, said: Some(said) });
    };
    let signed =
        Opener::new(policy).open(model, bundle.as_bytes(), at).map_err(|e| base::error::chain(&e))?;
    is_of(&signed, files).map_err(|why| format!("the signature is over other files: {why}"))?;
    let known = policy.attribute(model, signed.signer(), at);
    let names: BTreeSet<String> = known.iter().map(|principal| principal.name.clone()).collect();
    if names.is_empty() {
        return Err(
            "the signature counts for nobody now: its signer's time has not come, or is over".to_owned()
        );
    }
    let listed: Vec<&str> = names.iter().map(String::as_str).collect();
    let said = format!("signed by `{}` of trust policy {version}", listed.join("` or `"));
    Ok(Vouched { by: Some((signed.signer().key(), names)), said: Some(said) })
}
