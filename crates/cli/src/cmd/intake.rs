//! `strongroom model import` and `strongroom model intake`.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;

use super::incoming::{self, Part};
use super::sign::read_bounded;
use super::{import, job};
use crate::args::{FactArgs, ImportArgs, IntakeCommand, Method, Thing};
use crate::error::{CliError, Failure};
use crate::exit::Exit;
use crate::names::Versioned;
use crate::output::{Answer, Column, Kind};
use crate::progress::Progress;
use crate::session::{Scope, Session};

const LIST: &[Column] = &[
    Column::new("name", "NAME", Kind::Plain),
    Column::new("version", "NUMBER", Kind::Plain),
    Column::new("state", "STATE", Kind::State),
    Column::new("next", "NEXT", Kind::Plain),
    Column::new("source", "SOURCE", Kind::Plain),
    Column::new("model", "MODEL", Kind::Plain),
    Column::new("created", "CREATED", Kind::Time),
];

const SHOW: &[Column] = &[
    Column::new("tenant", "TENANT", Kind::Plain),
    Column::new("name", "NAME", Kind::Plain),
    Column::new("version", "NUMBER", Kind::Plain),
    Column::new("state", "STATE", Kind::State),
    Column::new("reason", "REASON", Kind::Plain),
    Column::new("required", "STEPS", Kind::Plain),
    Column::new("next", "NEXT", Kind::Plain),
    Column::new("by", "BROUGHT BY", Kind::Plain),
    Column::new("source", "SOURCE", Kind::Plain),
    Column::new("signed_by", "SIGNED BY KEY", Kind::Digest),
    Column::new("digest", "DIGEST", Kind::Digest),
    Column::new("files", "FILES", Kind::Count),
    Column::new("based_on", "BASED ON", Kind::Plain),
    Column::new("hashed_bytes", "HASHED", Kind::Bytes),
    Column::new("reused_bytes", "TAKEN OVER", Kind::Bytes),
    Column::new("verdict", "VERDICT", Kind::State),
    Column::new("findings", "FINDINGS", Kind::Count),
    Column::new("risks", "RISKS", Kind::Plain),
    Column::new("declared", "DECLARED", Kind::Plain),
    Column::new("bom_digest", "BOM DIGEST", Kind::Digest),
    Column::new("evaluations", "EVALUATIONS", Kind::Count),
    Column::new("steps", "DONE", Kind::Count),
    Column::new("model", "MODEL", Kind::Plain),
    Column::new("created", "CREATED", Kind::Time),
];

/// Most bytes of a signature that comes with a model; the node takes no longer one.
const SIGNATURE_MAX: u64 = 512 * 1024;
/// Likewise of its public key.
const KEY_MAX: u64 = 4096;

/// Runs `model intake`.
pub(super) fn run(session: &Session, command: IntakeCommand) -> Result<Answer, Failure> {
    match command {
        IntakeCommand::List { tenant } => {
            let scope = session.scope(&tenant)?;
            let items: Vec<api::Intake> = scope.client.list(&scope.route(&["intakes"]))?;
            let empty = "nothing was brought in yet; `strongroom model import NAME PATH --source TEXT` does";
            Ok(Answer::list("strongroom.intake.list/1", &items, LIST, empty))
        }
        IntakeCommand::Show(thing) => {
            let scope = session.scope(&thing.tenant)?;
            Ok(shown(&scope, &scope.client.get(&path(&scope, &thing.thing, &[]))?))
        }
        IntakeCommand::Describe { thing, facts } => {
            let scope = session.scope(&thing.tenant)?;
            let said = api::IntakeFacts::from(facts);
            Ok(shown(&scope, &scope.client.post(&path(&scope, &thing.thing, &["describe"]), &said)?))
        }
        IntakeCommand::Evaluate { thing, file, metric, at_least, at_most, tenant } => {
            let (scope, run) = job::prepare(session, &file, &tenant)?;
            let asked = api::IntakeEvaluate { metric, at_least, at_most, job: run };
            let made: api::Intake = scope.client.post(&path(&scope, &thing, &["evaluate"]), &asked)?;
            let job = made.evaluations.last().map(|e| e.job.clone()).unwrap_or_default();
            let t = &scope.tenant;
            Ok(Answer::record(&made, SHOW)
                .hint(format!("next: strongroom job watch {job} --tenant {t}"))
                .hint(format!("then: strongroom model intake show {} --tenant {t}", called(&made))))
        }
        IntakeCommand::Approve { thing, reason } => decide(session, &thing, "approve", reason),
        IntakeCommand::Refuse { thing, reason } => decide(session, &thing, "refuse", reason),
        IntakeCommand::Admit(thing) => {
            let scope = session.scope(&thing.tenant)?;
            Ok(shown(&scope, &scope.client.act(&path(&scope, &thing.thing, &["admit"]))?))
        }
    }
}

fn decide(session: &Session, thing: &Thing, verb: &str, reason: String) -> Result<Answer, Failure> {
    let scope = session.scope(&thing.tenant)?;
    let said = api::IntakeDecide { reason };
    Ok(shown(&scope, &scope.client.post(&path(&scope, &thing.thing, &[verb]), &said)?))
}

fn path(scope: &Scope, thing: &Versioned, rest: &[&str]) -> String {
    scope.thing("intakes", &thing.name, thing.version, rest)
}

fn called(intake: &api::Intake) -> String {
    format!("{}@{}", intake.name, intake.version)
}

/// The intake, and the command that takes it one step further.
fn shown(scope: &Scope, intake: &api::Intake) -> Answer {
    let answer = Answer::record(intake, SHOW);
    let (called, t) = (called(intake), &scope.tenant);
    let verb = |rest: &str| format!("next: strongroom model intake {rest} --tenant {t}");
    let waits = intake.next.as_deref().unwrap_or_default();
    match (intake.state.as_str(), &intake.model) {
        ("admitted", Some(model)) => answer.hint(format!(
            "next: strongroom endpoint deploy {} {model} --tenant {t}",
            intake.name
        )),
        ("inspected", _) => {
            let say: Vec<String> = ["license", "producer", "purpose", "accountable"]
                .into_iter()
                .filter(|name| !intake.declared.contains_key(*name))
                .map(|name| format!("--{name} TEXT"))
                .collect();
            answer.hint(verb(&format!("describe {called} {}", say.join(" "))))
        }
        ("described", _) if waits.contains("left out") => {
            answer.hint(verb(&format!("approve {called} --reason TEXT"))).hint(
                "or have it measured before: strongroom model intake evaluate NAME JOB.toml --metric NAME --at-least NUMBER",
            )
        }
        ("described", _) => {
            answer.hint(verb(&format!("evaluate {called} JOB.toml --metric NAME --at-least NUMBER")))
        }
        ("accepted", _) => answer.hint(verb(&format!("approve {called} --reason TEXT"))),
        ("approved", _) => answer.hint(verb(&format!("admit {called}"))),
        ("refused", _) => answer.exit(Exit::No),
        ("quarantined" | "sourced", _) => answer.hint(verb(&format!("describe {called}"))),
        _ => answer,
    }
}

impl From<FactArgs> for api::IntakeFacts {
    fn from(args: FactArgs) -> Self {
        let FactArgs { license, producer, purpose, accountable, upstream_version, limitations } = args;
        Self { license, producer, purpose, accountable, upstream_version, limitations }
    }
}

/// Brings a model in.
pub(super) fn bring(session: &Session, args: ImportArgs) -> Result<Answer, Failure> {
    let ImportArgs { name, path, source, facts, signature, method, public_key, based_on, without, tenant } =
        args;
    if method != Method::Key && public_key.is_some() {
        return Err(CliError::Usage("`--public-key` goes with `--method key`".to_owned()).into());
    }
    let text = |path: &Path, max: u64| -> Result<String, Failure> {
        String::from_utf8(read_bounded(path, max)?).map_err(|_| {
            let reason = "it is not text".to_owned();
            CliError::Content { path: path.to_owned(), reason }.into()
        })
    };
    let said = api::IntakeBegin {
        source,
        facts: facts.into(),
        signature: signature.map(|path| text(&path, SIGNATURE_MAX)).transpose()?,
        public_key: public_key.map(|path| text(&path, KEY_MAX)).transpose()?,
        based_on: based_on.map(|thing| thing.to_string()),
        without,
    };
    let parts = incoming::parts(&path)?;
    let scope = session.scope(&tenant)?;
    let made = upload(session, &scope, name.as_str(), &parts, said)?;
    Ok(shown(&scope, &made))
}

fn upload(
    session: &Session,
    scope: &Scope,
    name: &str,
    parts: &[Part],
    said: api::IntakeBegin,
) -> Result<api::Intake, Failure> {
    let total = parts.iter().map(|p| p.size).fold(0u64, u64::saturating_add);
    let begin = api::ImportBegin {
        kind: "model".to_owned(),
        name: name.to_owned(),
        digest: None,
        intake: Some(said),
    };
    let import: api::Import = scope.client.create(&scope.route(&["imports"]), &begin)?;
    let progress = Progress::new(session.progress, &format!("model {name}"), total);
    for part in parts {
        let mut file: File = part.open()?;
        file.seek(SeekFrom::Start(part.from)).map_err(CliError::file("read", &part.path))?;
        let mut segments = vec!["imports", import.id.as_str(), "files"];
        segments.extend(part.name.split('/'));
        let answer = scope.client.upload(&scope.route(&segments), file, &part.path, part.size, &progress)?;
        part.arrived(&answer)?;
    }
    progress.finish();
    match import::commit(scope, &import.id)? {
        api::Imported::Intake(intake) => Ok(*intake),
        _ => {
            let reason = "the commit did not begin an intake".to_owned();
            Err(CliError::Answer { what: "import.commit".into(), reason }.into())
        }
    }
}
