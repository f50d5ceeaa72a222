//! `strongroom key`.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::args::KeyCommand;
use crate::error::{CliError, Failure};
use crate::output::{Answer, Column, Kind};
use crate::session::Session;

const COLUMNS: &[Column] = &[
    Column::new("id", "ID", Kind::Plain),
    Column::new("tenant", "TENANT", Kind::Plain),
    Column::new("endpoint", "ENDPOINT", Kind::Plain),
    Column::new("role", "ROLE", Kind::Plain),
    Column::new("service", "SERVICE", Kind::Plain),
    Column::new("revoked", "REVOKED", Kind::Plain),
    Column::new("created", "CREATED", Kind::Time),
    Column::new("expires", "EXPIRES", Kind::Time),
];

const MADE: &[Column] = &[
    Column::new("id", "ID", Kind::Plain),
    Column::new("tenant", "TENANT", Kind::Plain),
    Column::new("endpoint", "ENDPOINT", Kind::Plain),
    Column::new("role", "ROLE", Kind::Plain),
    Column::new("service", "SERVICE", Kind::Plain),
    Column::new("expires", "EXPIRES", Kind::Time),
    Column::new("secret", "SECRET", Kind::Plain),
];

/// Runs it.
pub(crate) fn run(session: &Session, command: KeyCommand) -> Result<Answer, Failure> {
    match command {
        KeyCommand::Create { endpoint, role, days, service, out, tenant } => {
            let scope = session.scope(&tenant)?;
            // The file is made first: a key that cannot be kept is not asked for.
            let file = out.as_deref().map(create_private).transpose()?;
            let body = api::KeyCreate {
                endpoint: endpoint.map(|e| e.to_string()),
                role: role.map(|role| role.to_string()),
                days,
                service: service.map(|service| service.to_string()),
            };
            let made: Result<api::Key, Failure> = scope.client.create(&scope.route(&["keys"]), &body);
            match (made, file, out) {
                // The connection was lost once, and a secret is told once.
                (Ok(key), _, out) if key.secret.is_none() => {
                    if let Some(path) = out {
                        drop(std::fs::remove_file(path));
                    }
                    Err(CliError::SecretLost(key.id).into())
                }
                (Ok(mut key), Some(mut file), Some(path)) => {
                    let secret = key.secret.take().unwrap_or_default();
                    writeln!(file, "{secret}")
                        .and_then(|()| file.sync_all())
                        .map_err(CliError::file("write", &path))?;
                    let hint = format!(
                        "the key is in {}, readable by you alone; it is shown nowhere else",
                        path.display()
                    );
                    Ok(Answer::record(&key, COLUMNS).hint(hint))
                }
                (Ok(key), ..) => {
                    Ok(Answer::record(&key, MADE).hint("the secret is shown this once; keep it"))
                }
                (Err(failure), _, out) => {
                    if let Some(path) = out {
                        // The file is empty and ours; if it stays, it holds nothing.
                        drop(std::fs::remove_file(path));
                    }
                    Err(failure)
                }
            }
        }
        KeyCommand::List { tenant } => {
            let scope = session.scope(&tenant)?;
            let items: Vec<api::Key> = scope.client.list(&scope.route(&["keys"]))?;
            let empty = "no key yet; make one with `strongroom key create`";
            Ok(Answer::list("strongroom.key.list/1", &items, COLUMNS, empty))
        }
        KeyCommand::Revoke { id, tenant } => {
            let scope = session.scope(&tenant)?;
            let key: api::Key = scope.client.act(&scope.route(&["keys", &id, "revoke"]))?;
            Ok(Answer::record(&key, COLUMNS).hint(format!("key `{id}` opens nothing from now on")))
        }
    }
}

/// A new file that only its owner can read.
fn create_private(path: &Path) -> Result<std::fs::File, CliError> {
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|e| {
        match e.kind() {
            std::io::ErrorKind::AlreadyExists => CliError::Exists(path.to_owned()),
            _ => CliError::file("create", path)(e),
        }
    })
}
