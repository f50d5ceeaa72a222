//! `strongroom policy`: the rules, read and checked without a node.

use std::path::Path;

use access::{Policies, PolicyError, SHIPPED};
use base::Explain;
use serde_json::json;

use super::sign::read_bounded;
use crate::args::PolicyCommand;
use crate::error::{CliError, Failure};
use crate::exit::Exit;
use crate::output::Answer;

/// Largest file of rules that is read; `access` takes no larger text.
const FILE_MAX: u64 = 4 << 20;

/// Runs it.
pub(crate) fn run(command: PolicyCommand) -> Result<Answer, Failure> {
    match command {
        PolicyCommand::Check { file } => {
            let policies = load(&file)?;
            let (version, rules) = (policies.version().hex(), policies.len());
            let json = json!({
                "schema": "strongroom.policy.check/1",
                "valid": true,
                "rules": rules,
                "policy_version": version,
            });
            Ok(Answer::text(json, format!("the rules fit: {rules} rules, version {version}\n")))
        }
        PolicyCommand::Show { schema, table } => {
            let shipped = Policies::shipped().map_err(|e| refused(&e))?;
            let text = match (schema, table) {
                (true, _) => Policies::schema().to_owned(),
                (_, true) => shipped.table(),
                _ => SHIPPED.to_owned(),
            };
            let json = json!({
                "schema": "strongroom.policy/1",
                "policy_version": shipped.version().hex(),
                "text": text,
            });
            Ok(Answer::text(json, text))
        }
    }
}

/// Reads rules from a file. Rules that do not fit are the answer no.
pub(super) fn load(path: &Path) -> Result<Policies, Failure> {
    let bytes = read_bounded(path, FILE_MAX)?;
    let text = String::from_utf8(bytes).map_err(|e| {
        Failure::from(CliError::Content { path: path.to_owned(), reason: format!("not UTF-8: {e}") })
    })?;
    Policies::parse(&text).map_err(|e| refused(&e))
}

/// Rules that cannot be used, as a failure.
pub(super) fn refused(error: &PolicyError) -> Failure {
    let exit = if error.fault() == base::Fault::Platform { Exit::Failed } else { Exit::No };
    Failure::explain(error, exit)
}
