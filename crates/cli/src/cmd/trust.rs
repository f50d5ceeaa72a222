//! `strongroom trust`: policies on plain files, without a node, and those of a node.

use std::path::Path;

use base::Explain;
use integrity::trust::{Credential, EXAMPLE, Policy, Principal, Rule};
use serde_json::{Value, json};

use super::sign::read_bounded;
use crate::args::{TrustCommand, TrustPolicyCommand};
use crate::error::{CliError, Failure};
use crate::exit::Exit;
use crate::output::{Answer, Column, Kind, printable};
use crate::session::Session;

const VERSION: &[Column] = &[
    Column::new("version", "VERSION", Kind::Plain),
    Column::new("verified", "VERIFIED", Kind::Plain),
    Column::new("digest", "DIGEST", Kind::Digest),
    Column::new("by", "BY", Kind::Plain),
    Column::new("applied", "APPLIED", Kind::Time),
    Column::new("reason", "REASON", Kind::Plain),
];

/// Largest policy that is read: the bound of `integrity`.
const POLICY_MAX: u64 = 16 << 20;

/// Runs it.
pub(crate) fn run(session: &Session, command: TrustCommand) -> Result<Answer, Failure> {
    let TrustCommand::Policy(command) = command;
    match command {
        TrustPolicyCommand::Check { file, against: Some(_), tenant, .. } => {
            let scope = session.scope(&tenant)?;
            let body = api::TrustCheck { text: text_of(&file)? };
            let opinions: api::TrustOpinions = scope.client.post(&scope.route(&["trust-opinions"]), &body)?;
            Ok(opinions_of(&opinions))
        }
        TrustPolicyCommand::Check { file, model, .. } => check(&file, model.as_deref()),
        TrustPolicyCommand::Apply { file, reason, tenant } => {
            let scope = session.scope(&tenant)?;
            let body = api::TrustApply { text: text_of(&file)?, reason };
            let applied: api::TrustPolicy = scope.client.post(&scope.route(&["trust"]), &body)?;
            let hint = match applied.withdrawn.as_slice() {
                [] => "everything that is served is still admitted".to_owned(),
                names => format!("no longer served: {}", names.join(", ")),
            };
            Ok(Answer::record(&applied, VERSION).hint(hint))
        }
        TrustPolicyCommand::List { tenant } => {
            let scope = session.scope(&tenant)?;
            let items: Vec<api::TrustPolicy> = scope.client.list(&scope.route(&["trust"]))?;
            let empty =
                "no trust policy: the node's own signature counts; see `strongroom trust policy example`";
            Ok(Answer::list("strongroom.trust-policy.list/1", &items, VERSION, empty))
        }
        TrustPolicyCommand::Show { version, tenant } => {
            let scope = session.scope(&tenant)?;
            let which = version.map_or_else(|| "latest".to_owned(), |version| version.to_string());
            let shown: api::TrustPolicy = scope.client.get(&scope.route(&["trust", &which]))?;
            let text = shown.text.clone().unwrap_or_default();
            Ok(Answer::text(api::to_json(&shown), text))
        }
        TrustPolicyCommand::Example => {
            let json = json!({"schema": "strongroom.trust.example/1", "text": EXAMPLE});
            Ok(Answer::text(json, EXAMPLE.to_owned()))
        }
    }
}

pub(super) fn text_of(file: &Path) -> Result<String, Failure> {
    let bytes = read_bounded(file, POLICY_MAX)?;
    let reason = "it is not UTF-8".to_owned();
    Ok(String::from_utf8(bytes).map_err(|_| CliError::Content { path: file.to_owned(), reason })?)
}

/// What a policy would say of each model. Exit 3 where it would end what is served.
fn opinions_of(opinions: &api::TrustOpinions) -> Answer {
    let mut text = format!("{} models under policy {}\n", opinions.items.len(), opinions.digest);
    for opinion in &opinions.items {
        let mark = if opinion.admitted { "✓ admitted" } else { "✗ refused " };
        let served = if opinion.served { ", served now" } else { "" };
        text.push_str(&format!("  {mark}  {}{served}\n", printable(&opinion.model)));
        for reason in &opinion.reasons {
            text.push_str(&format!("              {}\n", printable(reason)));
        }
    }
    let ends = opinions.items.iter().any(|opinion| opinion.served && !opinion.admitted);
    let answer = Answer::text(api::to_json(opinions), text);
    if ends {
        answer.exit(Exit::No).hint("it would take out of service what is served now".to_owned())
    } else {
        answer
    }
}

fn check(file: &Path, model: Option<&str>) -> Result<Answer, Failure> {
    let subject = file.display().to_string();
    let policy = match Policy::parse(&read_bounded(file, POLICY_MAX)?) {
        Ok(policy) => policy,
        Err(error) => {
            let json = json!({
                "schema": "strongroom.trust.check/1",
                "subject": subject,
                "valid": false,
                "code": error.code(),
                "reason": error.to_string(),
            });
            let text = format!("✗ {subject}: {error} [{}]\n", error.code());
            let answer = Answer::text(json, text).exit(Exit::No);
            return Ok(match error.help() {
                Some(help) => answer.hint(format!("help: {help}")),
                None => answer,
            });
        }
    };
    let mut text = format!(
        "✓ {subject}: trust policy {} of {}, {} signers, {} rules\n  digest       {}\n",
        policy.version(),
        printable(policy.tenant()),
        policy.principals().len(),
        policy.rules().len(),
        policy.digest()
    );
    text.push_str(match policy.revocation_key() {
        Some(_) => "  revocations  a signed list must be there\n",
        None => "  revocations  no list is asked for\n",
    });
    let (instance, believed) = instance(&policy);
    text.push_str(&format!("  sigstore     {instance}\n"));
    for signer in policy.principals() {
        text.push_str(&format!("  signer       {}\n", printable(&described(signer))));
    }
    let asked = model.map(|model| of_model(&policy, model, &mut text));
    let json = json!({
        "schema": "strongroom.trust.check/1",
        "subject": subject,
        "valid": true,
        "tenant": policy.tenant(),
        "version": policy.version(),
        "digest": policy.digest().hex(),
        "revocations": policy.revocation_key().is_some(),
        "sigstore": instance,
        "signers": policy.principals().iter().map(|p| p.name.as_str()).collect::<Vec<_>>(),
        "rules": policy.rules().iter().map(rule).collect::<Vec<_>>(),
        "model": asked,
    });
    let unmet = asked.as_ref().is_some_and(|asked| asked.get("rule").is_none_or(Value::is_null));
    Ok(Answer::text(json, text).exit(if unmet || !believed { Exit::No } else { Exit::Done }))
}

/// What is said of the instance of Sigstore, and whether everybody who signs by Sigstore could be believed.
fn instance(policy: &Policy) -> (String, bool) {
    let named = policy.principals().iter().flat_map(|signer| &signer.credentials);
    let named = named.filter(|credential| matches!(credential, Credential::Sigstore { .. })).count();
    match policy.sigstore_root() {
        None if named == 0 => ("nobody signs by it".to_owned(), true),
        None => (
            "✗ identities are named, and `[sigstore]` pins no `trusted_root`: no node takes it".to_owned(),
            false,
        ),
        Some(root) => match sigstore::Instance::parse(root.as_bytes()) {
            Ok(_) => (format!("pinned, for {named} identities"), true),
            Err(error) => {
                (format!("✗ `trusted_root` is none: {}", printable(&base::error::chain(&error))), false)
            }
        },
    }
}

/// What the policy says of one model.
fn of_model(policy: &Policy, model: &str, text: &mut String) -> Value {
    let now = crate::clock::now();
    let current =
        |p: &&Principal| p.not_before.is_none_or(|t| t <= now) && p.not_after.is_none_or(|t| now <= t);
    let named = policy.principals().iter().filter(|p| p.models.iter().any(|m| m.matches(model)));
    let signers: Vec<&str> = named.filter(current).map(|p| p.name.as_str()).collect();
    let found = policy.rule(model);
    match found {
        None => text.push_str(&format!("  ✗ no rule is for {}: it is refused\n", printable(model))),
        Some(rule) => text.push_str(&format!(
            "  {} needs {} of: {}\n",
            printable(model),
            rule.signatures,
            printable(&signers.join(", "))
        )),
    }
    json!({"name": model, "rule": found.map(rule), "signers": signers})
}

fn rule(rule: &Rule) -> Value {
    json!({
        "models": rule.models.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "signatures": rule.signatures,
        "floor": rule.floor,
        "bom": rule.bom,
        "upstream_signed": rule.upstream_signed,
        "accept_risks": rule.accept_risks,
    })
}

fn described(signer: &Principal) -> String {
    let models: Vec<&str> = signer.models.iter().map(integrity::trust::Pattern::as_str).collect();
    let ways: Vec<String> = signer
        .credentials
        .iter()
        .map(|credential| match credential {
            Credential::Key(key) => {
                let name = key.fingerprint().map(|k| k.short()).unwrap_or_default();
                format!("{} key {name}", key.curve())
            }
            Credential::Certificate { identity, trust } => {
                let lists = match trust.lists() {
                    0 => "no revocation list is asked".to_owned(),
                    n => format!("{n} revocation lists"),
                };
                let dated = if trust.is_dated() { ", timestamps" } else { "" };
                format!("certificate of {identity} ({lists}{dated})")
            }
            Credential::Sigstore { identity, issuer } => format!("{identity} by {issuer}"),
        })
        .collect();
    format!("{} for {}: {}", signer.name, models.join(", "), ways.join("; "))
}
