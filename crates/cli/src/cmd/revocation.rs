//! `strongroom revocation`.

use crate::args::RevocationCommand;
use crate::error::Failure;
use crate::output::{Answer, Column, Kind};
use crate::session::Session;

const COLUMNS: &[Column] = &[
    Column::new("kind", "KIND", Kind::Plain),
    Column::new("subject", "SUBJECT", Kind::Plain),
    Column::new("digest", "DIGEST", Kind::Digest),
    Column::new("reason", "REASON", Kind::Plain),
    Column::new("by", "BY", Kind::Plain),
    Column::new("since", "SINCE", Kind::Time),
];

/// Runs it.
pub(crate) fn run(session: &Session, command: RevocationCommand) -> Result<Answer, Failure> {
    match command {
        RevocationCommand::Create { what, reason, tenant } => {
            let scope = session.scope(&tenant)?;
            let body = api::RevocationCreate {
                model: what.model.map(|thing| thing.to_string()),
                dataset: what.dataset.map(|thing| thing.to_string()),
                file: what.file,
                reason,
            };
            let made: api::Revocation = scope.client.post(&scope.route(&["revocations"]), &body)?;
            let hint = match made.withdrawn.as_slice() {
                [] => "nothing of it was served".to_owned(),
                names => format!("no longer served: {}", names.join(", ")),
            };
            Ok(Answer::record(&made, COLUMNS).hint(hint))
        }
        RevocationCommand::List { tenant } => {
            let scope = session.scope(&tenant)?;
            let items: Vec<api::Revocation> = scope.client.list(&scope.route(&["revocations"]))?;
            let empty = "nothing is revoked; take something out of use with `strongroom revocation create`";
            Ok(Answer::list("strongroom.revocation.list/1", &items, COLUMNS, empty))
        }
        RevocationCommand::Lift { digest, reason, tenant } => {
            let scope = session.scope(&tenant)?;
            let path = scope.route(&["revocations", &digest, "lift"]);
            let lifted: api::Revocation = scope.client.post(&path, &api::RevocationLift { reason })?;
            let hint = "it may be used again; what served it is started with `strongroom endpoint deploy`";
            Ok(Answer::record(&lifted, COLUMNS).hint(hint.to_owned()))
        }
    }
}
