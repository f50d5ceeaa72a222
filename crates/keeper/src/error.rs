//! Why the keeper does not start, or refuses an operation.

use std::io;
use std::path::PathBuf;

use audit::segment::SegmentError;
use audit::{CheckpointError, NoteError, TreeSize};
use base::config::{ConfigError, Mode};
use base::{Explain, Fault, Help, Retry};
use link::LinkError;
use ops::keeper::Role;
use vault::keys::KeyError;

/// Everything that can go wrong in the keeper.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeeperError {
    #[error("usage: strongroom-keeper --config FILE [--init | --leave-safe-mode]")]
    Usage,
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{doing} `{}`", path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another keeper runs on `{}`", .0.display())]
    Running(PathBuf),
    #[error("the state in `{}` is of mode {found}, the configuration says {}", path.display(), mode_name(*wanted))]
    Mode { path: PathBuf, found: String, wanted: Mode },
    #[error("`{}` is open to other users (mode {mode:o}); keys must not be", path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("there is no root key in `{}`", .0.display())]
    NoRootKey(PathBuf),
    #[error("`{}` has keys already, so no new root key is made", .0.display())]
    Initialised(PathBuf),
    #[error("production needs a user of its own for each process; `users` has the same id twice")]
    NotSeparated,
    #[error("key material cannot be used")]
    Key(#[from] KeyError),
    #[error("the key set `{}` is damaged at byte {at}", path.display())]
    KeySet { path: PathBuf, at: usize },
    #[error("a note cannot be signed")]
    Note(#[from] NoteError),
    #[error("tamper alarm: {0}")]
    Tamper(#[from] Tamper),
    #[error("the kernel gives no random bytes")]
    Random,
    #[error("the keeper's socket cannot be used")]
    Link(#[from] LinkError),
    #[error("the log cannot be written, so nothing was done")]
    Append(#[from] AppendError),
    #[error("{role} may not ask for `{operation}`")]
    Role { role: Role, operation: &'static str },
    #[error("{role} may not report `{event}`")]
    EventKind { role: Role, event: &'static str },
    #[error("this process may not speak to the keeper as {role}")]
    Peer { role: Role },
    #[error("the first message of a connection is `hello`, and only the first")]
    Hello,
    #[error("the message cannot be read")]
    Message(#[from] base::wire::WireError),
    #[error("`{0}` is not a key scope")]
    Scope(String),
    #[error("there are no keys for `{0}`")]
    NoScope(String),
    #[error("there are as many key scopes as one node may have")]
    ScopesFull,
    #[error("the key release budget of tenant `{0}` is used up for this hour")]
    Budget(String),
    #[error("an order to the warden is authorised by an intent")]
    NotIntent,
    #[error("the node is in safe mode: no key of a tenant is used")]
    SafeMode,
    #[error("{0}")]
    Recovery(&'static str),
    #[error("{0}")]
    Codes(&'static str),
    #[error("`{}` is damaged, so whether the node is in safe mode is not known", .0.display())]
    RecoveryFile(PathBuf),
    #[error("the blob says key version {0}, which this scope does not have")]
    KeyVersion(u64),
}

/// The log on disk is not what was acknowledged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Tamper {
    #[error("the log's segments contradict their signatures")]
    Segment(#[from] SegmentError),
    #[error("a segment is missing or has another name: after entry {after} comes `{found}`")]
    Sequence { after: TreeSize, found: String },
    #[error("acknowledged entries after {size} are damaged")]
    Damaged { size: TreeSize },
    #[error("the log has {found} entries, its own signed head says {wanted}")]
    Shorter { found: TreeSize, wanted: TreeSize },
    #[error("the log of {0} entries is another one than its own signed head says")]
    Fork(TreeSize),
    #[error("the kept head of the log is not signed by its key")]
    Head(#[from] CheckpointError),
}

/// Entries could not be made durable.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum AppendError {
    #[error("the disk did not take the entries: {0}")]
    Disk(String),
    #[error("the disk failed to make entries durable; the keeper must be restarted to read them back")]
    Broken,
    #[error("the keeper is stopping")]
    Stopped,
}

const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Dev => "dev",
        Mode::Production => "production",
    }
}

impl KeeperError {
    /// Wraps a failed file operation.
    pub(crate) fn file(doing: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { doing, path, source }
    }
}

impl Explain for KeeperError {
    fn code(&self) -> &'static str {
        match self {
            Self::Usage => "SR-KPR-0001",
            Self::Config(inner) => inner.code(),
            Self::File { .. } => "SR-KPR-0002",
            Self::Running(_) => "SR-KPR-0003",
            Self::Mode { .. } => "SR-KPR-0004",
            Self::Open { .. } => "SR-KPR-0005",
            Self::NoRootKey(_) => "SR-KPR-0006",
            Self::Initialised(_) => "SR-KPR-0007",
            Self::NotSeparated => "SR-KPR-0008",
            Self::Key(inner) => inner.code(),
            Self::KeySet { .. } => "SR-KPR-0009",
            Self::Note(inner) => inner.code(),
            Self::Tamper(_) => "SR-KPR-0010",
            Self::Random => "SR-KPR-0011",
            Self::Link(inner) => inner.code(),
            Self::Append(_) => "SR-KPR-0012",
            Self::Role { .. } => "SR-KPR-0013",
            Self::EventKind { .. } => "SR-KPR-0014",
            Self::Peer { .. } => "SR-KPR-0015",
            Self::Hello => "SR-KPR-0016",
            Self::Message(_) => "SR-KPR-0017",
            Self::Scope(_) => "SR-KPR-0018",
            Self::NoScope(_) => "SR-KPR-0019",
            Self::ScopesFull => "SR-KPR-0020",
            Self::Budget(_) => "SR-KPR-0021",
            Self::NotIntent => "SR-KPR-0022",
            Self::KeyVersion(_) => "SR-KPR-0023",
            Self::SafeMode => "SR-KPR-0024",
            Self::Recovery(_) => "SR-KPR-0025",
            Self::RecoveryFile(_) => "SR-KPR-0026",
            Self::Codes(_) => "SR-KPR-0027",
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Key(inner) => inner.fault(),
            Self::Link(inner) => inner.fault(),
            Self::Role { .. }
            | Self::EventKind { .. }
            | Self::Peer { .. }
            | Self::Hello
            | Self::Message(_)
            | Self::Scope(_)
            | Self::NoScope(_)
            | Self::Budget(_)
            | Self::NotIntent
            | Self::SafeMode
            | Self::Recovery(_)
            | Self::Codes(_)
            | Self::KeyVersion(_) => Fault::Caller,
            Self::Note(_) => Fault::Platform,
            _ => Fault::Operator,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Append(AppendError::Disk(_)) => Retry::After(std::time::Duration::from_secs(5)),
            Self::Budget(_) => Retry::After(std::time::Duration::from_secs(3600)),
            _ => Retry::Never,
        }
    }

    fn help(&self) -> Option<Help> {
        Some(match self {
            Self::Tamper(_) => {
                "keep the disk as evidence and run `strongroom audit verify` on a copy of the log"
            }
            Self::Append(_) => "free space on the disk of the log, then see `strongroom status`",
            Self::Mode { .. } => "use another state directory: dev and production never share one",
            Self::NoRootKey(_) => "restore the root key from its backup, or make a new node's with --init",
            Self::SafeMode | Self::Recovery(_) | Self::Codes(_) => {
                "see where the node stands with `strongroom safe-mode status`"
            }
            Self::RecoveryFile(_) => "restore the file from a backup of the keeper's directory",
            Self::Budget(_) => "see what was released with `strongroom audit search key.release`",
            _ => "see the state of the node with `strongroom status`",
        })
    }
}
