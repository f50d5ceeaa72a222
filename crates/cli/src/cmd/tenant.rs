//! `strongroom tenant`.

use crate::args::TenantCommand;
use crate::client::route;
use crate::error::Failure;
use crate::output::{Answer, Column, Kind};
use crate::session::Session;

const COLUMNS: &[Column] = &[
    Column::new("name", "NAME", Kind::Plain),
    Column::new("counts.datasets", "DATASETS", Kind::Plain),
    Column::new("counts.jobs", "JOBS", Kind::Plain),
    Column::new("counts.models", "MODELS", Kind::Plain),
    Column::new("counts.endpoints", "ENDPOINTS", Kind::Plain),
    Column::new("created", "CREATED", Kind::Time),
];

/// Runs it.
pub(crate) fn run(session: &Session, command: TenantCommand) -> Result<Answer, Failure> {
    let client = session.client()?;
    Ok(match command {
        TenantCommand::Create { name } => {
            let body = api::TenantCreate { name: name.to_string() };
            let tenant: api::Tenant = client.create("/tenants", &body)?;
            Answer::record(&tenant, COLUMNS)
                .hint(format!(
                    "tenant `{name}` has its own key now; see it with `strongroom tenant show {name}`"
                ))
                .hint(format!("next: strongroom dataset import NAME PATH --tenant {name}"))
        }
        TenantCommand::List => {
            let items: Vec<api::Tenant> = client.list("/tenants")?;
            let empty = "no tenant yet; make one with `strongroom tenant create NAME`";
            Answer::list("strongroom.tenant.list/1", &items, COLUMNS, empty)
        }
        TenantCommand::Show { name } => {
            let tenant: api::Tenant = client.get(&route(&["tenants", name.as_str()]))?;
            Answer::record(&tenant, COLUMNS)
        }
    })
}
