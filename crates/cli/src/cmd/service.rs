//! `strongroom access service`.

use crate::args::ServiceCommand;
use crate::error::{CliError, Failure};
use crate::identity::{Fresh, Identity};
use crate::output::{Answer, Column, Kind};
use crate::session::Session;

const COLUMNS: &[Column] = &[
    Column::new("id", "ID", Kind::Plain),
    Column::new("tenant", "TENANT", Kind::Plain),
    Column::new("name", "NAME", Kind::Plain),
    Column::new("role", "ROLE", Kind::Plain),
    Column::new("revoked", "REVOKED", Kind::Plain),
    Column::new("created", "CREATED", Kind::Time),
    Column::new("ends", "ENDS", Kind::Time),
];

const RENEWED: &[Column] =
    &[Column::new("id", "ID", Kind::Plain), Column::new("expires", "CERTIFICATE ENDS", Kind::Time)];

/// Runs it.
pub(crate) fn run(session: &Session, command: ServiceCommand) -> Result<Answer, Failure> {
    match command {
        ServiceCommand::Create { name, role, days, out, tenant } => {
            let scope = session.scope(&tenant)?;
            // The key is made first: a certificate that cannot be kept is not asked for.
            let fresh = Fresh::make(&out)?;
            let body = api::ServiceCreate {
                name: name.to_string(),
                role: role.to_string(),
                days,
                request: fresh.request.clone(),
            };
            let mut made: api::Service = scope.client.post(&scope.route(&["services"]), &body)?;
            let certificate = made.certificate.take().ok_or_else(|| CliError::Answer {
                what: "/services".to_owned(),
                reason: "it holds no certificate".to_owned(),
            })?;
            fresh.complete(&certificate)?;
            let hint = format!(
                "the identity is in {}; use it with `--server https://HOST:PORT --identity {0}`, which renews it",
                out.display()
            );
            Ok(Answer::record(&made, COLUMNS).hint(hint))
        }
        ServiceCommand::List { tenant } => {
            let scope = session.scope(&tenant)?;
            let items: Vec<api::Service> = scope.client.list(&scope.route(&["services"]))?;
            let empty = "no service yet; make one with `strongroom access service create`";
            Ok(Answer::list("strongroom.service.list/1", &items, COLUMNS, empty))
        }
        ServiceCommand::Revoke { name, tenant } => {
            let scope = session.scope(&tenant)?;
            let path = scope.route(&["services", name.as_str(), "revoke"]);
            let service: api::Service = scope.client.act(&path)?;
            Ok(Answer::record(&service, COLUMNS).hint(format!("service `{name}` may do nothing from now on")))
        }
        ServiceCommand::Renew => {
            let Some(dir) = session.identity_flag() else {
                let what = "say whose certificate with `--server https://HOST:PORT --identity DIR`";
                return Err(CliError::Usage(what.to_owned()).into());
            };
            let client = session.client_as_it_is()?;
            let fresh = Identity::read(dir)?.renew(&client)?;
            Ok(Answer::record(&fresh, RENEWED))
        }
    }
}
