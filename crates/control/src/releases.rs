//! Releases of the platform: programs are taken in, handed to the warden by descriptor, and judged there. Control looks
//! into none of them, and its own word on a signature counts for nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::{Release, ReleaseActivate, ReleaseFile, ReleaseStage, Releases};
use base::release::{Manifest, PROGRAM_BYTES_MAX, PROGRAMS, Version, parse_signatures};
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use ops::release::{ReleaseSignature, Releases as Told, SignedManifest};
use ops::warden::{Operation, Response};
use ops::{Blob, List};

use crate::Fail;
use crate::auth::{By, Principal};
use crate::clock::now;
use crate::endpoints;
use crate::fail::reason;
use crate::http::BodyReader;
use crate::machine::helped;
use crate::node::{Node, correlation};

/// What is read at once.
const PIECE: usize = 1 << 17;
/// Pause before the warden is told again that this release has come up.
const CONFIRM_PAUSE: Duration = Duration::from_secs(1);

/// Programs of the next release: one file each, which has no name and ends with this process.
#[derive(Debug, Default)]
pub(crate) struct Uploads(Mutex<BTreeMap<&'static str, File>>);

impl Uploads {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, File>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes in one program.
pub(crate) fn file(node: &Arc<Node>, name: &str, mut body: BodyReader) -> Result<ReleaseFile, Fail> {
    let known = PROGRAMS.into_iter().find(|program| *program == name);
    let name = known.ok_or_else(|| Fail::not_found("program of a release", name))?;
    let failed = |e| Fail::storage("a program of a release could not be kept", e);
    let unnamed = i32::try_from(rustix::fs::OFlags::TMPFILE.bits()).unwrap_or(0);
    let options = File::options().read(true).write(true).mode(0o600).custom_flags(unnamed).clone();
    let mut to = options.open(node.config.control_dir()).map_err(failed)?;
    let (mut hasher, mut piece, mut length) = (base::Hasher::new(), vec![0; PIECE], 0u64);
    loop {
        let got = body.read(&mut piece).map_err(|e| Fail::invalid(format!("the upload broke off: {e}")))?;
        let bytes = piece.get(..got).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        length = length.saturating_add(u64::try_from(got).unwrap_or(u64::MAX));
        if length > PROGRAM_BYTES_MAX {
            let most = base::ByteSize::from_bytes(PROGRAM_BYTES_MAX);
            return Err(Fail::too_large(format!("a program of a release has at most {most}")));
        }
        hasher.update(bytes);
        to.write_all(bytes).map_err(failed)?;
    }
    if length == 0 {
        return Err(Fail::invalid("a program of a release has bytes, and none came"));
    }
    node.uploads.lock().insert(name, to);
    Ok(ReleaseFile { program: name.to_owned(), bytes: length, digest: hasher.finish().hex() })
}

/// Has the warden stage the programs that were taken in.
pub(crate) fn stage(
    node: &Arc<Node>,
    principal: &Principal,
    request: &ReleaseStage,
) -> Result<Releases, Fail> {
    let correlation = correlation()?;
    let files = std::mem::take(&mut *node.uploads.lock());
    let manifest = request.manifest.as_bytes().to_vec();
    let digest = base::sha256(&manifest);
    // What it says of itself, for the log; the warden judges it.
    let claimed = Manifest::parse(&manifest).map_or_else(|_| String::new(), |m| m.version.to_string());
    let event =
        Event::new(EventKind::ReleaseStage, Phase::Intent, Outcome::Unknown, now().as_millis(), correlation)
            .by(principal)
            .asset("release", &claimed, Some(digest));
    node.keeper.audited(event, || {
        let signatures = parse_signatures(request.signatures.as_bytes());
        let signatures = signatures.map_err(|e| Fail::explained(422, &e))?;
        let signatures = signatures.into_iter().map(|(key, signature)| ReleaseSignature { key, signature });
        let too_long = || Fail::invalid("a manifest or its signatures are too long");
        let signed = SignedManifest {
            manifest: Blob::new(manifest).map_err(|_| too_long())?,
            signatures: List::new(signatures.collect()).map_err(|_| too_long())?,
        };
        let files: Vec<&File> = PROGRAMS.iter().filter_map(|name| files.get(name)).collect();
        let files: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
        let order = Operation::StageRelease { signed };
        node.warden.order_with(&node.keeper, order, &files, correlation, ("", &principal.actor())).map(drop)
    })?;
    list(node)
}

/// Which releases there are.
pub(crate) fn list(node: &Node) -> Result<Releases, Fail> {
    let Told { state, staged } = told(node)?;
    let text = |version: &Option<Version>| version.as_ref().map(Version::to_string);
    let of = |version: Version| match Some(version) {
        is if is == state.pending => "pending",
        is if is == state.current => "active",
        is if is == state.before => "before",
        _ => "staged",
    };
    let items = staged.iter().map(|facts| Release {
        version: facts.version.to_string(),
        state: of(facts.version).to_owned(),
        floor: facts.floor.to_string(),
        manifest: facts.manifest.hex(),
    });
    Ok(Releases {
        items: items.collect(),
        current: text(&state.current),
        before: text(&state.before),
        pending: text(&state.pending),
        returned: text(&state.returned),
        floor: state.floor.to_string(),
    })
}

fn told(node: &Node) -> Result<Told, Fail> {
    match node.warden.order(&node.keeper, Operation::ListReleases {}, correlation()?, "", "platform")?.0 {
        Response::Releases { releases } => Ok(releases),
        _ => Err(Fail::internal("the warden gave an answer of another kind", "list_releases")),
    }
}

/// Ends the node for a staged release.
pub(crate) fn activate(
    node: &Arc<Node>,
    principal: &Principal,
    version: &str,
    request: &ReleaseActivate,
) -> Result<Releases, Fail> {
    let version: Version = version.parse().map_err(|_| Fail::not_found("release", version))?;
    let order = Operation::ActivateRelease { version, stop_runs: request.stop_jobs };
    change(node, principal, (EventKind::ReleaseActivate, &version.to_string()), request, order)
}

/// Ends the node for the release before.
pub(crate) fn back(
    node: &Arc<Node>,
    principal: &Principal,
    request: &ReleaseActivate,
) -> Result<Releases, Fail> {
    let order = Operation::ReturnRelease { stop_runs: request.stop_jobs };
    change(node, principal, (EventKind::ReleaseReturn, "before"), request, order)
}

fn change(
    node: &Arc<Node>,
    principal: &Principal,
    (kind, what): (EventKind, &str),
    request: &ReleaseActivate,
    order: Operation,
) -> Result<Releases, Fail> {
    let reason = reason(&request.reason)?;
    let correlation = correlation()?;
    // What there was is answered: after the order this process ends.
    let before = list(node)?;
    let event = Event::new(kind, Phase::Intent, Outcome::Unknown, now().as_millis(), correlation)
        .by(principal)
        .because(reason)
        .asset("release", what, None)
        .severity(Severity::High)
        .detail("stop_jobs", &request.stop_jobs.to_string());
    node.keeper.audited(event, || {
        let given = node.warden.order(&node.keeper, order, correlation, "", &principal.actor());
        given.map(drop).map_err(helped)
    })?;
    Ok(before)
}

/// Tells the warden that the release which is being activated has come up: the keeper gives receipts, control serves,
/// and the gateway takes its policy. Until then the warden takes the release back if it does not hear of it.
pub(crate) fn confirm(node: &Arc<Node>) {
    loop {
        match try_confirm(node) {
            Ok(()) => return,
            Err(fail) => crate::log::line("release", &fail.line()),
        }
        std::thread::sleep(CONFIRM_PAUSE);
    }
}

fn try_confirm(node: &Arc<Node>) -> Result<(), Fail> {
    let Some(version) = told(node)?.state.pending else { return Ok(()) };
    // Over this process's own socket, as everybody else would ask.
    std::os::unix::net::UnixStream::connect(node.config.control_socket())
        .map_err(|e| Fail::unavailable("the API does not serve yet", e))?;
    endpoints::push_now(node)?;
    let correlation = correlation()?;
    let event = Event::new(
        EventKind::ReleaseActivate,
        Phase::Intent,
        Outcome::Unknown,
        now().as_millis(),
        correlation,
    )
    .asset("release", &version.to_string(), None)
    .severity(Severity::High)
    .because("it has come up");
    node.keeper.audited(event, || {
        let order = Operation::ConfirmRelease { version };
        node.warden.order(&node.keeper, order, correlation, "", "platform").map(drop)
    })
}
