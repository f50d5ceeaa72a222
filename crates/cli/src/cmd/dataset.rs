//! `strongroom dataset`.

use super::import::{What, import};
use crate::args::DatasetCommand;
use crate::error::{CliError, Failure};
use crate::exit::Exit;
use crate::output::{Answer, Column, Kind, View, bytes};
use crate::session::Session;

const LIST: &[Column] = &[
    Column::new("name", "NAME", Kind::Plain),
    Column::new("version", "VERSION", Kind::Plain),
    Column::new("digest", "DIGEST", Kind::Digest),
    Column::new("file_count", "FILES", Kind::Plain),
    Column::new("bytes", "SIZE", Kind::Bytes),
    Column::new("created", "CREATED", Kind::Time),
];

const SHOW: &[Column] = &[
    Column::new("tenant", "TENANT", Kind::Plain),
    Column::new("name", "NAME", Kind::Plain),
    Column::new("version", "VERSION", Kind::Plain),
    Column::new("digest", "DIGEST", Kind::Digest),
    Column::new("bytes", "SIZE", Kind::Bytes),
    Column::new("created", "CREATED", Kind::Time),
    Column::new("files", "FILES", Kind::Count),
];

/// Runs it.
pub(crate) fn run(session: &Session, command: DatasetCommand) -> Result<Answer, Failure> {
    match command {
        DatasetCommand::Import { name, path, tenant } => {
            let scope = session.scope(&tenant)?;
            let (_, made) = import(session, &scope, What::Dataset, name.as_str(), &path)?;
            let api::Imported::Dataset(set) = made else {
                let reason = "the commit did not make a data set".to_owned();
                return Err(CliError::Answer { what: "import.commit".into(), reason }.into());
            };
            let hint = format!(
                "{}@{} holds {} files, {}, sealed; see it with `strongroom dataset show {}@{} --tenant {}`",
                set.name,
                set.version,
                set.files.len(),
                bytes(set.bytes),
                set.name,
                set.version,
                set.tenant
            );
            Ok(Answer::record(&set, SHOW).hint(hint))
        }
        DatasetCommand::List { tenant } => {
            let scope = session.scope(&tenant)?;
            let items: Vec<api::Dataset> = scope.client.list(&scope.route(&["datasets"]))?;
            let empty = "no data set yet; import one with `strongroom dataset import NAME PATH`";
            Ok(Answer::list("strongroom.dataset.list/1", &items, LIST, empty))
        }
        DatasetCommand::Show(thing) => {
            let scope = session.scope(&thing.tenant)?;
            let path = scope.thing("datasets", &thing.thing.name, thing.thing.version, &[]);
            let set: api::Dataset = scope.client.get(&path)?;
            Ok(Answer::record(&set, SHOW))
        }
        DatasetCommand::Verify(thing) => {
            let scope = session.scope(&thing.tenant)?;
            let path = scope.thing("datasets", &thing.thing.name, thing.thing.version, &["verify"]);
            Ok(verification(&scope.client.act(&path)?))
        }
    }
}

/// A verification: verdict first, then each check; exit 3 unless everything agreed.
pub(super) fn verification(result: &api::Verification) -> Answer {
    const COLUMNS: &[Column] = &[
        Column::new("name", "CHECK", Kind::Plain),
        Column::new("ok", "OK", Kind::Plain),
        Column::new("detail", "SEEN", Kind::Plain),
    ];
    let api::Verification { subject, verified, checks } = result;
    let mut text = format!("{} {subject}\n", if *verified { "✓ verified" } else { "✗ not verified" });
    for check in checks {
        let mark = if check.ok { "✓ ok  " } else { "✗ fail" };
        text.push_str(&format!("  {mark}  {}: {}\n", check.name, check.detail));
    }
    let view = View::Text { text, rows: "checks", columns: COLUMNS };
    Answer::of(api::to_json(result), view).exit(if *verified { Exit::Done } else { Exit::No })
}
