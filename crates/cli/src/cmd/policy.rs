//! `strongroom policy`: the rules that ship, read and checked without a node, and a node's own beside them.

use std::path::Path;

use access::{OWN_MAX, Policies, PolicyError, SHIPPED, TESTS_TEXT_MAX, own_rules};
use base::Explain;
use serde_json::json;

use super::sign::read_bounded;
use crate::args::{PolicyCommand, RulesOf};
use crate::client::{Client, encode};
use crate::error::{CliError, Failure};
use crate::exit::Exit;
use crate::output::{Answer, Column, Kind};
use crate::session::Session;

const COLUMNS: &[Column] = &[
    Column::new("version", "VERSION", Kind::Plain),
    Column::new("in_force", "IN FORCE", Kind::Plain),
    Column::new("applied", "APPLIED", Kind::Time),
    Column::new("author", "BY", Kind::Plain),
    Column::new("reason", "REASON", Kind::Plain),
    Column::new("digest", "RULES", Kind::Digest),
];

/// Runs it.
pub(crate) fn run(session: &Session, command: PolicyCommand) -> Result<Answer, Failure> {
    match command {
        PolicyCommand::Check { file } => check(&file),
        PolicyCommand::Apply { file, reason, tests, expect } => {
            let text = read(&file, OWN_MAX)?;
            // What cannot be is told with its line before the node is asked.
            Policies::with_own(&text).map_err(|e| refused(&e))?;
            let tests = tests.map(|file| read(&file, TESTS_TEXT_MAX)).transpose()?;
            let path = format!("/policy/apply/{}", base::sha256(text.as_bytes()).hex());
            let body = api::PolicyApply { text, tests, reason, expect };
            let made: api::PolicyVersion = session.client()?.create(&path, &body)?;
            Ok(Answer::record(&made, COLUMNS).hint("it decides from the next request on"))
        }
        PolicyCommand::Withdraw { reason } => {
            let body = api::PolicyWithdraw { reason };
            let client = session.client()?;
            let versions: Vec<api::PolicyVersion> = client.list("/policy/versions")?;
            let newest = versions.last().map_or_else(|| "latest".to_owned(), |v| v.version.to_string());
            let made: api::PolicyVersion = client.create(&format!("{}/withdraw", path_of(&newest)), &body)?;
            Ok(Answer::record(&made, COLUMNS)
                .hint("the rules that ship decide alone, from the next request on"))
        }
        PolicyCommand::List => {
            let items: Vec<api::PolicyVersion> = session.client()?.list("/policy/versions")?;
            let empty = "no own rules yet: those that ship decide alone";
            Ok(Answer::list("strongroom.policy.version.list/1", &items, COLUMNS, empty))
        }
        PolicyCommand::Show { of, schema, table } => show(session, of.as_ref(), schema, table),
        PolicyCommand::Diff { before, after } => super::policy_test::diff(session, &before, &after),
        PolicyCommand::Test { file, policy, against } => {
            let of = policy.map(RulesOf::File).or(against);
            super::policy_test::test(session, &file, of)
        }
    }
}

fn check(file: &Path) -> Result<Answer, Failure> {
    let text = read(file, OWN_MAX)?;
    let policies = Policies::with_own(&text).map_err(|e| refused(&e))?;
    let rules = own_rules(&text).map_err(|e| refused(&e))?.len();
    let version = policies.version().hex();
    let json = json!({
        "schema": "strongroom.policy.check/1",
        "valid": true,
        "rules": rules,
        "policy_version": version,
    });
    let text = format!("the rules fit: {rules} beside those that ship, together version {version}\n");
    Ok(Answer::text(json, text))
}

fn show(session: &Session, of: Option<&RulesOf>, schema: bool, table: bool) -> Result<Answer, Failure> {
    let of = of.unwrap_or(&RulesOf::Shipped);
    if let (false, false, RulesOf::Version(version)) = (schema, table, of) {
        let found: api::PolicyVersion = session.client()?.get(&path_of(version))?;
        let text = found.text.clone().ok_or_else(|| unread(version, found.reason.clone()))?;
        return Ok(Answer::text(api::to_json(&found), text));
    }
    let (own, policies) = rules_of(session, of)?;
    let text = match (schema, table, of) {
        (true, ..) => Policies::schema().to_owned(),
        (_, true, _) => policies.table(),
        (.., RulesOf::Shipped) => SHIPPED.to_owned(),
        _ => own,
    };
    let json = json!({
        "schema": "strongroom.policy/1",
        "policy_version": policies.version().hex(),
        "text": text,
    });
    Ok(Answer::text(json, text))
}

/// A text of rules or tests.
pub(super) fn read(path: &Path, limit: usize) -> Result<String, Failure> {
    let bytes = read_bounded(path, u64::try_from(limit).unwrap_or(u64::MAX))?;
    String::from_utf8(bytes)
        .map_err(|e| CliError::Content { path: path.to_owned(), reason: format!("not UTF-8: {e}") }.into())
}

/// A text of own rules, and what it comes to with those that ship. Rules that do not fit are the answer no.
pub(super) fn rules_of(session: &Session, of: &RulesOf) -> Result<(String, Policies), Failure> {
    let text = match of {
        RulesOf::Shipped => String::new(),
        RulesOf::File(path) => read(path, OWN_MAX)?,
        RulesOf::Version(version) => return version_of(&session.client()?, version),
    };
    let policies = Policies::with_own(&text).map_err(|e| refused(&e))?;
    Ok((text, policies))
}

/// A version of the node, which must come to the same here as there.
pub(super) fn version_of(client: &Client, version: &str) -> Result<(String, Policies), Failure> {
    let found: api::PolicyVersion = client.get(&path_of(version))?;
    let text = found.text.ok_or_else(|| unread(version, found.reason))?;
    let policies = Policies::with_own(&text).map_err(|e| refused(&e))?;
    if found.policy_version.as_deref() != Some(policies.version().hex().as_str()) {
        let reason = "the rules that ship with this program are not those of the node".to_owned();
        return Err(unread(version, reason));
    }
    Ok((text, policies))
}

fn path_of(version: &str) -> String {
    format!("/policy/versions/{}", encode(version))
}

/// A version whose text cannot be used here.
fn unread(version: &str, reason: String) -> Failure {
    CliError::Answer { what: path_of(version), reason }.into()
}

/// Rules that cannot be used, as a failure.
pub(super) fn refused(error: &PolicyError) -> Failure {
    let exit = if error.fault() == base::Fault::Platform { Exit::Failed } else { Exit::No };
    Failure::explain(error, exit)
}
