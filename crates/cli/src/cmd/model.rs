//! `strongroom model`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Component, Path};

use super::dataset::verification;
use super::{inspect, intake, sign};
use crate::args::{ModelCommand, VerifyArgs};
use crate::error::{CliError, Failure};
use crate::exit::Exit;
use crate::names::Versioned;
use crate::output::{Answer, Column, Kind};
use crate::session::{Scope, Session};

const LIST: &[Column] = &[
    Column::new("name", "NAME", Kind::Plain),
    Column::new("version", "VERSION", Kind::Plain),
    Column::new("state", "STATE", Kind::State),
    Column::new("digest", "DIGEST", Kind::Digest),
    Column::new("verdict", "VERDICT", Kind::State),
    Column::new("job", "JOB", Kind::Plain),
    Column::new("created", "CREATED", Kind::Time),
];

const SHOW: &[Column] = &[
    Column::new("tenant", "TENANT", Kind::Plain),
    Column::new("name", "NAME", Kind::Plain),
    Column::new("version", "VERSION", Kind::Plain),
    Column::new("state", "STATE", Kind::State),
    Column::new("reason", "REASON", Kind::Plain),
    Column::new("digest", "ROOT DIGEST", Kind::Digest),
    Column::new("bom_digest", "BOM DIGEST", Kind::Digest),
    Column::new("signer", "SIGNER", Kind::Plain),
    Column::new("verdict", "VERDICT", Kind::State),
    Column::new("findings", "FINDINGS", Kind::Count),
    Column::new("risks", "RISKS", Kind::Plain),
    Column::new("job", "JOB", Kind::Plain),
    Column::new("created", "CREATED", Kind::Time),
    Column::new("files", "FILES", Kind::Count),
];

/// Runs it.
pub(crate) fn run(session: &Session, command: ModelCommand) -> Result<Answer, Failure> {
    match command {
        ModelCommand::Import(args) => intake::bring(session, *args),
        ModelCommand::Intake(command) => intake::run(session, command),
        ModelCommand::List { tenant } => {
            let scope = session.scope(&tenant)?;
            let items: Vec<api::Model> = scope.client.list(&scope.route(&["models"]))?;
            let empty = "no model yet; a finished job makes one, `strongroom model import NAME PATH --source TEXT` begins to bring one in";
            Ok(Answer::list("strongroom.model.list/1", &items, LIST, empty))
        }
        ModelCommand::Show(thing) => {
            let scope = session.scope(&thing.tenant)?;
            Ok(Answer::record(&show(&scope, &thing.thing)?, SHOW))
        }
        ModelCommand::Inspect(args) => inspect::run(session, &args),
        ModelCommand::Sign(args) => sign::sign(session, &args),
        ModelCommand::Verify(args) => {
            if let Some(signature) = &args.signature {
                return sign::verify(session, &args, signature);
            }
            let VerifyArgs { subject, tenant, .. } = *args;
            let thing: Versioned = subject.parse().map_err(|why| {
                CliError::Usage(format!("{why}; to verify a directory add `--signature` and whom to trust"))
            })?;
            let scope = session.scope(&tenant)?;
            let path = scope.thing("models", &thing.name, thing.version, &["verify"]);
            Ok(verification(&scope.client.act(&path)?))
        }
        ModelCommand::Countersign { thing, signature, tenant } => {
            let scope = session.scope(&tenant)?;
            let body = api::ModelCountersign { bundle: super::trust::text_of(&signature)? };
            let path = scope.thing("models", &thing.name, thing.version, &["signatures"]);
            let model: api::Model = scope.client.post(&path, &body)?;
            Ok(Answer::record(&model, SHOW))
        }
        ModelCommand::Export { thing, directory, tenant } => {
            let scope = session.scope(&tenant)?;
            export(session, &scope, &thing, &directory)
        }
    }
}

fn show(scope: &Scope, thing: &Versioned) -> Result<api::Model, Failure> {
    scope.client.get(&scope.thing("models", &thing.name, thing.version, &[]))
}

/// Writes files, signature and key, and verifies what was written, so that what leaves is what was signed.
fn export(session: &Session, scope: &Scope, thing: &Versioned, directory: &Path) -> Result<Answer, Failure> {
    let model = show(scope, thing)?;
    let status: api::Status = scope.client.get("/status")?;
    let made = !directory.exists();
    new_directory(directory)?;
    let written = write_model(session, scope, (thing, &model), &status.model_public_key, directory);
    if written.is_err() {
        // A part of a model is of no use, and looks like one.
        std::fs::remove_dir_all(directory.join("model")).ok();
        std::fs::remove_file(directory.join("model.sig")).ok();
        if made {
            std::fs::remove_dir(directory).ok();
        }
    }
    written
}

/// Writes files, signature and public key, and verifies what was written.
fn write_model(
    session: &Session,
    scope: &Scope,
    (thing, model): (&Versioned, &api::Model),
    public_key: &str,
    directory: &Path,
) -> Result<Answer, Failure> {
    let files = directory.join("model");
    let version = Some(model.version);
    let signed: BTreeMap<&str, &str> =
        model.files.iter().map(|f| (f.path.as_str(), f.digest.as_str())).collect();
    for name in signed.keys() {
        let to = below(&files, name)?;
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).map_err(CliError::file("create", parent))?;
        }
        let mut segments = vec!["files"];
        segments.extend(name.split('/'));
        let mut file = std::fs::File::create_new(&to).map_err(CliError::file("create", &to))?;
        scope.client.download(&scope.thing("models", &thing.name, version, &segments), &mut file, &to)?;
        file.sync_all().map_err(CliError::file("write", &to))?;
    }
    let signature = directory.join("model.sig");
    write_new(
        &signature,
        &scope.client.bytes(&scope.thing("models", &thing.name, version, &["signature"]))?,
    )?;
    let key = directory.join("model.pub.pem");
    write_new(&key, public_key.as_bytes())?;
    let checked = sign::verify_with_key(session, &files, &signature, &key)?;
    let agrees = checked.json.get("digest").and_then(|d| d.as_str()) == Some(model.digest.as_str());
    if checked.exit != Exit::Done || !agrees {
        return Ok(checked
            .exit(Exit::No)
            .hint("what the node sent is not what it signed; do not use these files"));
    }
    let hint = format!(
        "verified after writing; check it yourself: strongroom model verify {} --signature {} --method key --public-key {}",
        files.display(),
        signature.display(),
        key.display()
    );
    Ok(Answer::record(model, SHOW).hint(hint))
}

/// A directory that is new or empty.
pub(super) fn new_directory(directory: &Path) -> Result<(), CliError> {
    std::fs::create_dir_all(directory).map_err(CliError::file("create", directory))?;
    let mut entries = std::fs::read_dir(directory).map_err(CliError::file("read", directory))?;
    match entries.next() {
        Some(_) => Err(CliError::Exists(directory.to_owned())),
        None => Ok(()),
    }
}

/// A path that the node names, below a directory of ours: relative, without `..`.
pub(super) fn below(directory: &Path, name: &str) -> Result<std::path::PathBuf, CliError> {
    let path = Path::new(name);
    if !name.is_empty() && path.components().all(|c| matches!(c, Component::Normal(_))) {
        return Ok(directory.join(path));
    }
    let reason = format!("the file name {name:?} leaves the directory");
    Err(CliError::Answer { what: "model.export".to_owned(), reason })
}

/// A file that was not there.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let mut file = std::fs::File::create_new(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => CliError::Exists(path.to_owned()),
        _ => CliError::file("create", path)(e),
    })?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(CliError::file("write", path))
}
