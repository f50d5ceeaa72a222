//! `strongroom bom`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base::{Digest, Explain};
use bom::VerifiedBom;
use integrity::dsse::open_statement;
use serde_json::{Value, json};

use super::model::write_new;
use super::sign::{digests, member, read_bounded};
use crate::args::BomCommand;
use crate::error::Failure;
use crate::exit::Exit;
use crate::output::{Answer, Column, Kind, View};
use crate::session::{Scope, Session};

/// Largest envelope that is read: the bound of `integrity`.
const ENVELOPE_MAX: u64 = 64 << 20;
/// Largest PEM file that is read.
const PEM_MAX: u64 = 64 << 10;

const COLUMNS: &[Column] = &[
    Column::new("subject", "MODEL", Kind::Plain),
    Column::new("verified", "VERIFIED", Kind::Plain),
    Column::new("model_digest", "MODEL DIGEST", Kind::Digest),
    Column::new("bom_digest", "BOM DIGEST", Kind::Digest),
    Column::new("code", "CODE", Kind::Plain),
    Column::new("reason", "REASON", Kind::Plain),
    Column::new("problems", "PROBLEMS", Kind::Count),
];

/// Runs it.
pub(crate) fn run(session: &Session, command: BomCommand) -> Result<Answer, Failure> {
    match command {
        BomCommand::Show(thing) => {
            let scope = session.scope(&thing.tenant)?;
            let path = scope.thing("models", &thing.thing.name, thing.thing.version, &["bom"]);
            let (_, record, _) = fetch(&scope, &path)?;
            let text = bom::summary(&record.bom);
            let mut json = record.bom;
            if let Value::Object(map) = &mut json {
                map.insert("schema".to_owned(), "strongroom.bom/1".into());
            }
            Ok(Answer::text(json, text))
        }
        BomCommand::Export { thing, file, tenant } => {
            let scope = session.scope(&tenant)?;
            let path = scope.thing("models", &thing.name, thing.version, &["bom"]);
            let (envelope, record, key) = fetch(&scope, &path)?;
            let (document, pem) = (beside(&file, ".cdx.json"), beside(&file, ".pub.pem"));
            let pretty = serde_json::to_vec_pretty(&record.bom).unwrap_or_default();
            write_new(&file, &envelope)?;
            write_new(&document, &pretty)?;
            write_new(&pem, key.as_bytes())?;
            let hint = format!(
                "check it yourself: strongroom bom verify {} --public-key {}",
                file.display(),
                pem.display()
            );
            let json = json!({
                "schema": "strongroom.bom.export/1",
                "subject": record.model_name,
                "verified": true,
                "model_digest": record.root_digest.hex(),
                "bom_digest": record.bom_digest.hex(),
                "envelope": file.display().to_string(),
                "document": document.display().to_string(),
                "key": pem.display().to_string(),
                "problems": [],
            });
            Ok(Answer::of(json, View::Record { columns: COLUMNS }).hint(hint))
        }
        BomCommand::Verify { file, public_key, model } => {
            verify(session, &file, &public_key, model.as_deref())
        }
    }
}

/// The envelope of the node, its record once verified with the node's key, and that key.
fn fetch(scope: &Scope, path: &str) -> Result<(Vec<u8>, VerifiedBom, String), Failure> {
    let envelope = scope.client.bytes(path)?;
    let status: api::Status = scope.client.get("/status")?;
    let statement = open_statement(&envelope, status.bom_public_key.as_bytes())
        .map_err(|e| Failure::explain(&e, Exit::No))?;
    let record = bom::parse_statement(&statement).map_err(|e| Failure::explain(&e, Exit::No))?;
    Ok((envelope, record, status.bom_public_key))
}

fn verify(session: &Session, file: &Path, key: &Path, model: Option<&Path>) -> Result<Answer, Failure> {
    let envelope = read_bounded(file, ENVELOPE_MAX)?;
    let pem = read_bounded(key, PEM_MAX)?;
    let shown = file.display().to_string();
    let record = match open_statement(&envelope, &pem) {
        Ok(statement) => bom::parse_statement(&statement).map_err(|e| (e.code(), e.to_string())),
        Err(error) => Err((error.code(), error.to_string())),
    };
    let record = match record {
        Ok(record) => record,
        Err((code, reason)) => {
            let json = json!({
                "schema": "strongroom.bom.verification/1",
                "subject": shown,
                "verified": false,
                "code": code,
                "reason": reason,
                "problems": [],
            });
            let text = format!("✗ not verified {shown}: {reason} [{code}]\n");
            return Ok(Answer::of(json, View::Text { text, rows: "", columns: COLUMNS }).exit(Exit::No));
        }
    };
    let files = match model {
        Some(directory) => digests(session, directory)?,
        None => listed(&record.bom),
    };
    let problems: Vec<String> = bom::check(&record.bom, &record.root_digest, &files)
        .into_iter()
        .map(|p| format!("{}: {}", p.rule, p.what))
        .collect();
    let verified = problems.is_empty();
    let json = json!({
        "schema": "strongroom.bom.verification/1",
        "subject": record.model_name,
        "verified": verified,
        "model_digest": record.root_digest.hex(),
        "bom_digest": record.bom_digest.hex(),
        "files_compared": model.is_some(),
        "problems": problems,
    });
    let mut text = format!(
        "{} {shown}: BoM of `{}`\n  model digest  {}\n  BoM digest    {}\n",
        if verified { "✓ verified" } else { "✗ not verified" },
        record.model_name,
        record.root_digest,
        record.bom_digest
    );
    if model.is_none() {
        text.push_str("  files         not compared; give the model's directory with --model\n");
    }
    for problem in &problems {
        text.push_str(&format!("  ✗ {problem}\n"));
    }
    let exit = if verified { Exit::Done } else { Exit::No };
    Ok(Answer::of(json, View::Text { text, rows: "", columns: COLUMNS }).exit(exit))
}

/// The model's files as the record lists them, where there are no files to compare with.
fn listed(document: &Value) -> BTreeMap<String, Digest> {
    let components = document.get("components").and_then(Value::as_array);
    let model = components.into_iter().flatten().find(|c| member(c, "/type") == "machine-learning-model");
    let files = model.and_then(|m| m.get("components")).and_then(Value::as_array);
    files
        .into_iter()
        .flatten()
        .filter_map(|file| {
            let digest: Digest = member(file, "/hashes/0/content").parse().ok()?;
            Some((member(file, "/name").to_owned(), digest))
        })
        .collect()
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
