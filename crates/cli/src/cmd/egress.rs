//! `strongroom egress`.

use crate::args::EgressCommand;
use crate::error::Failure;
use crate::output::{Answer, Column, Kind};
use crate::session::Session;

const COLUMNS: &[Column] = &[
    Column::new("name", "NAME", Kind::Plain),
    Column::new("tenant", "TENANT", Kind::Plain),
    Column::new("host", "HOST", Kind::Plain),
    Column::new("port", "PORT", Kind::Plain),
    Column::new("reach", "REACH", Kind::Plain),
    Column::new("cap", "CAP IN 24 H", Kind::Bytes),
    Column::new("created", "CREATED", Kind::Time),
];

/// Runs it.
pub(crate) fn run(session: &Session, command: EgressCommand) -> Result<Answer, Failure> {
    Ok(match command {
        EgressCommand::Create { name, host, port, reach, cap, tenant } => {
            let scope = session.scope(&tenant)?;
            let body = api::EgressCreate {
                name: name.to_string(),
                host,
                port,
                reach: Some(reach.as_str().to_owned()),
                cap: cap.map(|cap| cap.to_string()),
            };
            let made: api::NamedEgress = scope.client.create(&scope.route(&["egresses"]), &body)?;
            Answer::record(&made, COLUMNS)
                .hint(format!("a job uses it with `egress = [\"{name}\"]` below `[job]` in its file"))
        }
        EgressCommand::List { tenant } => {
            let scope = session.scope(&tenant)?;
            let items: Vec<api::NamedEgress> = scope.client.list(&scope.route(&["egresses"]))?;
            let empty =
                "no egress: jobs of this tenant reach nothing; make one with `strongroom egress create`";
            Answer::list("strongroom.named-egress.list/1", &items, COLUMNS, empty)
        }
        EgressCommand::Show { name, tenant } => {
            let scope = session.scope(&tenant)?;
            let egress: api::NamedEgress = scope.client.get(&scope.route(&["egresses", name.as_str()]))?;
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
