//! `strongroom egress`.

use super::policy;
use crate::args::EgressCommand;
use crate::context::write_whole;
use crate::error::{CliError, Failure};
use crate::output::{Answer, Column, Kind};
use crate::session::Session;

const COLUMNS: &[Column] = &[
    Column::new("name", "NAME", Kind::Plain),
    Column::new("tenant", "TENANT", Kind::Plain),
    Column::new("host", "HOST", Kind::Plain),
    Column::new("port", "PORT", Kind::Plain),
    Column::new("reach", "REACH", Kind::Plain),
    Column::new("cap", "CAP IN 24 H", Kind::Bytes),
    Column::new("as_job", "AS THE JOB", Kind::Plain),
    Column::new("created", "CREATED", Kind::Time),
];

/// Longest file of the authority of a server: what the node takes.
const PEM_MAX: usize = ops::relay::AUTHORITY_MAX;

/// Runs it.
pub(crate) fn run(session: &Session, command: EgressCommand) -> Result<Answer, Failure> {
    Ok(match command {
        EgressCommand::Create { name, host, port, reach, cap, as_job, server_ca, tenant } => {
            let authority = server_ca.map(|file| policy::read(&file, PEM_MAX)).transpose()?;
            let scope = session.scope(&tenant)?;
            let body = api::EgressCreate {
                name: name.to_string(),
                host,
                port,
                reach: Some(reach.as_str().to_owned()),
                cap: cap.map(|cap| cap.to_string()),
                as_job,
                authority,
            };
            let made: api::NamedEgress = scope.client.create(&scope.route(&["egresses"]), &body)?;
            let used = format!("a job uses it with `egress = [\"{name}\"]` below `[job]` in its file");
            let answer = Answer::record(&made, COLUMNS).hint(used);
            match as_job {
                true => answer.hint(format!(
                    "its server demands certificates of the authority that `strongroom egress show {name} --client-ca FILE` writes"
                )),
                false => answer,
            }
        }
        EgressCommand::List { tenant } => {
            let scope = session.scope(&tenant)?;
            let items: Vec<api::NamedEgress> = scope.client.list(&scope.route(&["egresses"]))?;
            let empty =
                "no egress: jobs of this tenant reach nothing; make one with `strongroom egress create`";
            Answer::list("strongroom.named-egress.list/1", &items, COLUMNS, empty)
        }
        EgressCommand::Show { name, client_ca, tenant } => {
            let scope = session.scope(&tenant)?;
            let egress: api::NamedEgress = scope.client.get(&scope.route(&["egresses", name.as_str()]))?;
            if let Some(file) = client_ca {
                let pem = egress.client_authority.as_ref().ok_or_else(|| {
                    Failure::from(CliError::Usage(format!(
                        "jobs speak for themselves at `{name}`: only one made with `--as-job` has an authority of jobs"
                    )))
                })?;
                write_whole(&file, pem.as_bytes(), 0o644)?;
            }
            Answer::record(&egress, COLUMNS)
        }
        EgressCommand::Delete { name, tenant } => {
            let scope = session.scope(&tenant)?;
            let gone: api::NamedEgress =
                scope.client.act(&scope.route(&["egresses", name.as_str(), "delete"]))?;
            Answer::record(&gone, COLUMNS)
        }
    })
}
