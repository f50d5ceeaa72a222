//! The audit log on disk: one committing thread assigns places, signs, makes durable and only then acknowledges.

mod committer;
mod publish;
mod recover;
mod writer;

use std::path::{Path, PathBuf};

use audit::{Signer, VerifierKey};
use base::config::{Config, Mode};
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use ops::keeper::Generation;

pub(crate) use committer::Log;

use crate::clock::Clock;
use crate::error::KeeperError;

/// An event on its way into the log.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    /// What a process reported.
    pub(crate) event: Event,
    /// Which process.
    pub(crate) sender: &'static str,
    /// Its user id.
    pub(crate) sender_uid: u32,
    /// Generation of the metadata database that control told with it.
    pub(crate) generation: Option<Generation>,
}

/// The newer of two generations: what control's threads tell may come out of order.
pub(crate) fn newest(a: Option<Generation>, b: Option<Generation>) -> Option<Generation> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.g > a.g { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// What does not change while the keeper runs.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The log's directory.
    pub(crate) dir: PathBuf,
    /// The keeper's own copy of the last head that was published, which only the keeper can write.
    pub(crate) kept_head: PathBuf,
    /// The log's name.
    pub(crate) origin: String,
    /// The node.
    pub(crate) node: String,
    /// This boot of the keeper.
    pub(crate) boot_id: [u8; 16],
    /// User id of the keeper.
    pub(crate) uid: u32,
    /// The clocks.
    pub(crate) clock: Clock,
    /// Verifies what `signer` signs.
    pub(crate) key: VerifierKey,
}

/// Opens the log, mends what a crash left, and starts its threads.
///
/// # Errors
/// [`KeeperError::Tamper`] if acknowledged entries are not what they were.
pub(crate) fn open(
    config: &Config,
    identity: Identity,
    signer: Signer,
    provider: &str,
) -> Result<Log, KeeperError> {
    let opened = recover::open(&identity, signer)?;
    let (dropped, intents) = (opened.dropped, opened.intents);
    let fresh = opened.writer.size() == 0;
    let log = Log::start(identity, opened.writer, opened.generation)?;
    let mut events = vec![started(config, &log, fresh, provider)];
    let now = log.identity().clock.wall().as_millis();
    if let Some(tail) = dropped {
        let event = Event::new(EventKind::LogTailDropped, Phase::Observed, Outcome::Success, now, 0)
            .severity(Severity::Medium)
            .because("entries that a crash cut short before they were acknowledged")
            .detail("entries", &tail.entries.to_string())
            .detail("bytes", &tail.len.to_string())
            .detail("digest", &tail.digest.hex());
        events.push(event);
    }
    for intent in intents {
        let event = Event::new(intent.kind, Phase::Outcome, Outcome::Unknown, now, intent.correlation)
            .tenant(&intent.tenant)
            .severity(Severity::Low)
            .because("the platform stopped before the outcome was known");
        events.push(event);
    }
    for group in events.chunks(ops::keeper::BATCH_MAX) {
        log.append_own(group.to_vec())?;
    }
    Ok(log)
}

/// Entry 0 of a log records the node's mode for ever; each later start of the keeper is a start of a component.
fn started(config: &Config, log: &Log, fresh: bool, provider: &str) -> Event {
    let kind = if fresh { EventKind::NodeStart } else { EventKind::ComponentStart };
    let (mode, asset) = match config.mode {
        Mode::Dev => ("dev", "keeper"),
        Mode::Production => ("production", "keeper"),
    };
    let now = log.identity().clock.wall().as_millis();
    Event::new(kind, Phase::Observed, Outcome::Success, now, 0)
        .asset(if fresh { "node" } else { "component" }, if fresh { &config.node } else { asset }, None)
        .detail("mode", mode)
        .detail("key_provider", provider)
        .detail("version", env!("CARGO_PKG_VERSION"))
}

/// Writes a file of the log whole or not at all.
///
/// # Errors
/// The disk does not take it.
pub(crate) fn replace(dir: &Path, path: &str, bytes: &[u8]) -> Result<(), KeeperError> {
    use std::io::Write;
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let target = dir.join(path);
    if let Some(parent) = target.parent() {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o750).create(parent).map_err(KeeperError::file("making", parent))?;
    }
    // The publisher and the start may write at the same time, never the same file.
    let temporary = dir.join(format!(".{}.new", path.replace('/', "_")));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(&temporary)
        .map_err(KeeperError::file("making", &temporary))?;
    file.write_all(bytes).map_err(KeeperError::file("writing", &temporary))?;
    std::fs::rename(&temporary, &target).map_err(KeeperError::file("placing", &target))
}
