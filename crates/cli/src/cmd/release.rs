//! `strongroom release`: made, signed and checked without a node; staged and activated on one.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use api::{ReleaseActivate, ReleaseStage, Releases};
use audit::Signer;
use base::release::{
    MANIFEST, MANIFEST_MAX, Manifest, PROGRAM_BYTES_MAX, PROGRAMS, Program, ReleaseError, SIGNATURES, Signed,
    Version, parse_signatures, signers, write_signatures,
};
use serde_json::json;

use super::model::write_new;
use super::sign::read_bounded;
use crate::args::{ChangeArgs, ReleaseCommand};
use crate::client::{Client, route};
use crate::clock::Stopwatch;
use crate::context::write_whole;
use crate::error::{CliError, Failure};
use crate::exit::Exit;
use crate::output::{Answer, Column, Kind, View};
use crate::progress::Progress;
use crate::session::Session;

/// Longest private key in PEM.
const PEM_MAX: u64 = 4096;
/// Longest file of signatures.
const SIGNATURES_MAX: u64 = 4096;
/// What is read at once.
const PIECE: usize = 1 << 17;
/// How long a node may take until it serves from a release or has gone back.
const CHANGE: Duration = Duration::from_secs(180);

const COLUMNS: &[Column] = &[
    Column::new("version", "VERSION", Kind::Plain),
    Column::new("state", "STATE", Kind::State),
    Column::new("floor", "FLOOR", Kind::Plain),
    Column::new("manifest", "MANIFEST", Kind::Digest),
];

const MADE: &[Column] = &[
    Column::new("version", "VERSION", Kind::Plain),
    Column::new("floor", "FLOOR", Kind::Plain),
    Column::new("manifest", "MANIFEST", Kind::Digest),
    Column::new("signers", "SIGNERS", Kind::Plain),
    Column::new("key", "KEY", Kind::Plain),
];

/// Runs it.
pub(crate) fn run(session: &Session, command: ReleaseCommand) -> Result<Answer, Failure> {
    match command {
        ReleaseCommand::Make { dir, version, floor } => make(&dir, version, floor),
        ReleaseCommand::Key { private_key } => {
            let key = base::digest::hex(signer(&private_key)?.verifier().public());
            let json = json!({ "schema": "strongroom.release.key/1", "key": key });
            Ok(Answer::text(json, format!("{key}\n")))
        }
        ReleaseCommand::Sign { dir, private_key } => sign(&dir, &private_key),
        ReleaseCommand::Verify { dir, keys, threshold } => verify(&dir, &keys, threshold),
        ReleaseCommand::Stage { dir } => stage(session, &dir),
        ReleaseCommand::List => {
            let found: Releases = session.client()?.get("/releases")?;
            Ok(Answer::of(api::to_json(&found), view(&found)))
        }
        ReleaseCommand::Activate { version, change } => {
            let path = route(&["releases", &version.to_string(), "activate"]);
            let (client, _) = order(session, &path, change)?;
            let done = |found: &Releases| found.current == Some(version.to_string());
            let back =
                |found: &Releases| found.pending.is_none() && found.returned == Some(version.to_string());
            settled(&client, done, back)
        }
        ReleaseCommand::Back { change } => {
            let (client, before) = order(session, "/release/back", change)?;
            settled(&client, |found| found.current == before.before && found.before.is_none(), |_| false)
        }
    }
}

/// A release on the disk: exactly its files.
struct OnDisk {
    manifest: Manifest,
    text: Vec<u8>,
    signatures: Vec<Signed>,
}

fn refused(error: &ReleaseError) -> Failure {
    Failure::explain(error, Exit::No)
}

/// A part that does not belong there, or is missing.
fn parts(dir: &Path, signed: bool) -> Result<(), Failure> {
    let entries = std::fs::read_dir(dir).map_err(CliError::file("read", dir))?;
    let mut found = BTreeSet::new();
    for entry in entries {
        let entry = entry.map_err(CliError::file("read", dir))?;
        let kind = entry.file_type().map_err(CliError::file("read", dir))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !kind.is_file() {
            return Err(part(dir, &format!("`{}` is no regular file", crate::output::printable(&name))));
        }
        found.insert(name);
    }
    let mut expected: BTreeSet<String> = PROGRAMS.map(str::to_owned).into();
    expected.insert(MANIFEST.to_owned());
    if signed || found.contains(SIGNATURES) {
        expected.insert(SIGNATURES.to_owned());
    }
    if let Some(name) = found.symmetric_difference(&expected).next() {
        let what = if expected.contains(name) { "is missing" } else { "is no part of a release" };
        return Err(part(dir, &format!("`{}` {what}", crate::output::printable(name))));
    }
    Ok(())
}

fn part(dir: &Path, why: &str) -> Failure {
    refused(&ReleaseError::Parts(format!("in `{}` {why}", dir.display())))
}

/// Opens a file that is no link.
fn open(path: &Path) -> Result<File, Failure> {
    let no_link = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(no_link).open(path);
    Ok(file.map_err(CliError::file("open", path))?)
}

/// Size and digest of a program.
fn program(path: &Path) -> Result<Program, Failure> {
    let mut file = open(path)?.take(PROGRAM_BYTES_MAX.saturating_add(1));
    let (mut hasher, mut piece, mut bytes) = (base::Hasher::new(), vec![0; PIECE], 0u64);
    loop {
        let got = file.read(&mut piece).map_err(CliError::file("read", path))?;
        match piece.get(..got) {
            None | Some([]) => break,
            Some(read) => hasher.update(read),
        }
        bytes = bytes.saturating_add(u64::try_from(got).unwrap_or(u64::MAX));
    }
    if bytes == 0 || bytes > PROGRAM_BYTES_MAX {
        return Err(refused(&ReleaseError::Form("a program is empty or too large")));
    }
    Ok(Program { bytes, digest: hasher.finish() })
}

/// Reads a release and compares its programs with its manifest.
fn read(dir: &Path, signed: bool) -> Result<OnDisk, Failure> {
    parts(dir, signed)?;
    let most = u64::try_from(MANIFEST_MAX).unwrap_or(u64::MAX);
    let text = read_bounded(&dir.join(MANIFEST), most)?;
    let manifest = Manifest::parse(&text).map_err(|e| refused(&e))?;
    let file = dir.join(SIGNATURES);
    let signatures = if signed || file.exists() {
        parse_signatures(&read_bounded(&file, SIGNATURES_MAX)?).map_err(|e| refused(&e))?
    } else {
        Vec::new()
    };
    for (name, expected) in PROGRAMS.into_iter().zip(&manifest.programs) {
        if program(&dir.join(name))? != *expected {
            return Err(refused(&ReleaseError::Program(name)));
        }
    }
    Ok(OnDisk { manifest, text, signatures })
}

fn made(release: &OnDisk, key: Option<&str>) -> Answer {
    let json = json!({
        "schema": "strongroom.release.manifest/1",
        "version": release.manifest.version.to_string(),
        "floor": release.manifest.floor.to_string(),
        "manifest": base::sha256(&release.text).hex(),
        "signers": release.signatures.len(),
        "key": key,
    });
    Answer::of(json, View::Record { columns: MADE })
}

fn make(dir: &Path, version: Version, floor: Version) -> Result<Answer, Failure> {
    let mut programs = [Program { bytes: 0, digest: base::sha256(b"") }; 4];
    for (name, entry) in PROGRAMS.into_iter().zip(&mut programs) {
        *entry = program(&dir.join(name))?;
    }
    let text = Manifest { version, floor, programs }.to_string();
    // What is written is what is read again, so a floor above the version is found here.
    Manifest::parse(text.as_bytes()).map_err(|e| refused(&e))?;
    write_new(&dir.join(MANIFEST), text.as_bytes())?;
    let release = read(dir, false)?;
    let hint = format!("let it be signed: strongroom release sign {} --private-key FILE", dir.display());
    Ok(made(&release, None).hint(hint))
}

fn signer(path: &Path) -> Result<Signer, Failure> {
    let mut pem = read_bounded(path, PEM_MAX)?;
    let signer = Signer::from_pem("release", &pem);
    pem.fill(0);
    signer.map_err(|e| Failure::explain(&e, Exit::Failed))
}

fn sign(dir: &Path, private_key: &Path) -> Result<Answer, Failure> {
    let signer = signer(private_key)?;
    let mut release = read(dir, false)?;
    let key = *signer.verifier().public();
    if release.signatures.iter().any(|(known, _)| *known == key) {
        return Err(refused(&ReleaseError::Twice));
    }
    release.signatures.push((key, signer.sign_raw(&release.text)));
    let text = write_signatures(&release.signatures);
    parse_signatures(text.as_bytes()).map_err(|e| refused(&e))?;
    write_whole(&dir.join(SIGNATURES), text.as_bytes(), 0o644)?;
    Ok(made(&release, Some(&base::digest::hex(&key))))
}

fn verify(dir: &Path, keys: &[String], threshold: u8) -> Result<Answer, Failure> {
    let trust = base::config::Release { keys: keys.to_vec(), threshold };
    let trusted = trust.trusted().map_err(CliError::Usage)?;
    let release = read(dir, true)?;
    let check =
        |key: &[u8; 32], text: &[u8], signature: &[u8; 64]| audit::note::verify_raw(key, text, signature);
    signers(&release.text, &release.signatures, (&trusted, usize::from(threshold)), check)
        .map_err(|e| refused(&e))?;
    Ok(made(&release, None))
}

fn stage(session: &Session, dir: &Path) -> Result<Answer, Failure> {
    // What is wrong on this side is said before anything is sent; the node believes none of it.
    let release = read(dir, true)?;
    let client = session.client()?;
    let total = release.manifest.programs.iter().map(|p| p.bytes).sum();
    let progress = Progress::new(session.progress, "stage", total);
    for (name, program) in PROGRAMS.into_iter().zip(&release.manifest.programs) {
        let path = dir.join(name);
        client.upload(&route(&["release", "files", name]), open(&path)?, &path, program.bytes, &progress)?;
    }
    let body = ReleaseStage {
        manifest: String::from_utf8_lossy(&release.text).into_owned(),
        signatures: write_signatures(&release.signatures),
    };
    let found: Releases = client.post("/releases", &body)?;
    let version = release.manifest.version;
    let hint = format!("activate it with `strongroom release activate {version} --reason TEXT`");
    Ok(Answer::of(api::to_json(&found), view(&found)).hint(hint))
}

/// Gives the order; what there was before comes back.
fn order(session: &Session, path: &str, change: ChangeArgs) -> Result<(Client, Releases), Failure> {
    let client = session.client()?;
    let body = ReleaseActivate { reason: change.reason, stop_jobs: change.stop_jobs };
    let before = client.post(path, &body)?;
    Ok((client, before))
}

/// Waits until the node serves again, from one release or the other.
fn settled(
    client: &Client,
    done: impl Fn(&Releases) -> bool,
    back: impl Fn(&Releases) -> bool,
) -> Result<Answer, Failure> {
    let watch = Stopwatch::start();
    loop {
        std::thread::sleep(Duration::from_millis(300));
        let found = client.get_within::<Releases>("/releases", 5);
        match found {
            Ok(found) if done(&found) => return Ok(Answer::of(api::to_json(&found), view(&found))),
            Ok(found) if back(&found) => {
                return Err(refused(&ReleaseError::NotUp(found.returned.unwrap_or_default())));
            }
            // The node is down in between.
            _ if watch.elapsed() < CHANGE => {}
            Ok(_) => return Err(CliError::Start("the release is not settled in time".to_owned()).into()),
            Err(failure) => return Err(failure),
        }
    }
}

fn view(found: &Releases) -> View {
    let or = |version: &Option<String>, none: &str| version.clone().unwrap_or_else(|| none.to_owned());
    let mut text = format!("active    {}\n", or(&found.current, "the programs that are installed"));
    if let Some(version) = &found.before {
        text.push_str(&format!("before    {version}\n"));
    }
    if let Some(version) = &found.pending {
        text.push_str(&format!("pending   {version}\n"));
    }
    if let Some(version) = &found.returned {
        text.push_str(&format!("returned  {version} did not come up\n"));
    }
    text.push_str(&format!("floor     {}\n", found.floor));
    for release in &found.items {
        text.push_str(&format!("release   {} {}, floor {}\n", release.version, release.state, release.floor));
    }
    View::Text { text, rows: "items", columns: COLUMNS }
}
