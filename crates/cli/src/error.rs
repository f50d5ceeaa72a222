//! What can go wrong in the command line itself, and the one form in which every failure is shown.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use base::{Explain, Fault, Help};

use crate::exit::Exit;

/// Failures of the command line itself; those of the node arrive as problem details.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CliError {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// No node is known.
    #[error("no node is known here")]
    NoNode,
    /// Nobody listens where the node is to be.
    #[error("the node at `{place}` does not answer")]
    Unreachable {
        /// Its state directory or address.
        place: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The node was too slow.
    #[error("the node did not answer `{what}` within {seconds} s; outcome unknown")]
    TimedOut {
        /// What was asked.
        what: String,
        /// How long it had.
        seconds: u64,
    },
    /// The answer is not what the API promises.
    #[error("the node's answer to `{what}` is not understood: {reason}")]
    Answer {
        /// What was asked.
        what: String,
        /// Why not.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("cannot {act} `{path}`", path = path.display())]
    File {
        /// What was tried.
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Something in a set of files is not a plain file.
    #[error("`{path}` is {what}; only regular files and directories are taken", path = path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A set of files without a file.
    #[error("`{path}` holds no file", path = .0.display())]
    Empty(PathBuf),
    /// More files, or deeper, than can be taken.
    #[error("`{path}` is too large a set: {reason}", path = path.display())]
    TooMany {
        /// The directory.
        path: PathBuf,
        /// The limit.
        reason: String,
    },
    /// Which tenant is meant is not clear.
    #[error("which tenant? {0}")]
    WhichTenant(String),
    /// A key file that cannot be used.
    #[error("key file `{path}` cannot be used: {reason}", path = path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The development node did not come up.
    #[error("the node did not start: {0}")]
    Start(String),
    /// A program of the release is missing.
    #[error("program `{path}` is missing", path = .0.display())]
    NoProgram(PathBuf),
    /// The code does not exist.
    #[error("`{0}` is not an error code of Strongroom")]
    NoCode(String),
    /// Would overwrite.
    #[error("`{path}` exists already", path = .0.display())]
    Exists(PathBuf),
    /// A key whose secret was in an answer that did not arrive.
    #[error("key `{0}` was made, and the answer with its secret was lost with the connection")]
    SecretLost(String),
    /// The confined inspector ended without a report.
    #[error("the inspector ended without a report on `{path}`: {reason}", path = path.display())]
    Inspector {
        /// The file.
        path: PathBuf,
        /// How it ended.
        reason: String,
    },
    /// The node offers no such login.
    #[error("the node offers {0}")]
    NoLogin(String),
    /// The person, or the provider, said no.
    #[error("the login was refused: {0}")]
    LoginRefused(String),
    /// Nobody finished the login in the browser.
    #[error("nobody finished the login in time")]
    LoginLate,
    /// The server is not who the authority says.
    #[error("the certificate of `{server}` does not verify: {reason}")]
    Untrusted {
        /// The server.
        server: String,
        /// Why not.
        reason: String,
    },
    /// The server refuses the certificate of the caller.
    #[error("`{server}` does not take the client certificate: {reason}")]
    NotTaken {
        /// The server.
        server: String,
        /// Its alert.
        reason: String,
    },
    /// A directory of an identity that cannot be used.
    #[error("identity `{path}` cannot be used: {reason}", path = path.display())]
    Identity {
        /// The directory.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The file changed while it was read.
    #[error("`{path}` changed while it was read", path = .0.display())]
    Changed(PathBuf),
    /// A name of a field that the answer does not have.
    #[error("no field `{field}`: known here are {known}")]
    NoField {
        /// The name.
        field: String,
        /// The fields.
        known: String,
    },
    /// A file that is not what its use needs.
    #[error("`{path}` cannot be used: {reason}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

impl CliError {
    /// For `map_err` at a file operation.
    pub(crate) fn file<E: Into<io::Error>>(act: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self::File { act, path, source: source.into() }
    }

    /// The exit code that it ends with.
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::NoField { .. } => Exit::Usage,
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::NoNode | Self::Untrusted { .. } => {
                Exit::Unreachable
            }
            Self::NoCode(_) => Exit::No,
            Self::Exists(_) => Exit::Conflict,
            Self::KeyFile { .. }
            | Self::NotTaken { .. }
            | Self::Identity { .. }
            | Self::NoLogin(_)
            | Self::LoginRefused(_)
            | Self::LoginLate => Exit::NotAuthenticated,
            _ => Exit::Failed,
        }
    }
}

impl Explain for CliError {
    fn code(&self) -> &'static str {
        match self {
            Self::Usage(_) => "SR-CLI-0001",
            Self::NoNode => "SR-CLI-0002",
            Self::Unreachable { .. } => "SR-CLI-0003",
            Self::TimedOut { .. } => "SR-CLI-0004",
            Self::Answer { .. } => "SR-CLI-0005",
            Self::File { .. } => "SR-CLI-0006",
            Self::NotRegular { .. } => "SR-CLI-0007",
            Self::Empty(_) => "SR-CLI-0008",
            Self::TooMany { .. } => "SR-CLI-0009",
            Self::WhichTenant(_) => "SR-CLI-0010",
            Self::KeyFile { .. } => "SR-CLI-0011",
            Self::Start(_) => "SR-CLI-0012",
            Self::NoProgram(_) => "SR-CLI-0013",
            Self::NoCode(_) => "SR-CLI-0014",
            Self::Exists(_) => "SR-CLI-0015",
            Self::Inspector { .. } => "SR-CLI-0016",
            Self::Changed(_) => "SR-CLI-0017",
            Self::NoField { .. } => "SR-CLI-0018",
            Self::Content { .. } => "SR-CLI-0019",
            Self::Untrusted { .. } => "SR-CLI-0020",
            Self::NotTaken { .. } => "SR-CLI-0021",
            Self::Identity { .. } => "SR-CLI-0022",
            Self::SecretLost(_) => "SR-CLI-0023",
            Self::NoLogin(_) => "SR-CLI-0024",
            Self::LoginRefused(_) => "SR-CLI-0025",
            Self::LoginLate => "SR-CLI-0026",
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Start(_) | Self::NoProgram(_) => {
                Fault::Operator
            }
            Self::Answer { .. } | Self::Inspector { .. } => Fault::Platform,
            _ => Fault::Caller,
        }
    }

    fn help(&self) -> Option<Help> {
        Some(match self {
            Self::Usage(_) => "`strongroom --help` lists the commands",
            Self::NoNode => {
                "start one with `strongroom dev`, or name its directory: `strongroom status --state DIR`"
            }
            Self::Unreachable { .. } => "run `strongroom doctor`, or start a node with `strongroom dev`",
            Self::TimedOut { .. } => "see what became of it with `strongroom audit search`",
            Self::Answer { .. } => {
                "program and node may be of different versions: compare `strongroom status`"
            }
            Self::File { .. } => "check path and permissions, then run the command again",
            Self::NotRegular { .. } => "replace it by the file that it stands for, or leave it out",
            Self::Empty(_) => "name a directory or file with content",
            Self::TooMany { .. } => "pack the files into fewer ones, or import a part at a time",
            Self::WhichTenant(_) => "add `--tenant NAME`; `strongroom tenant list` shows the names",
            Self::KeyFile { .. } => "make one with `strongroom key create --tenant NAME --out FILE`",
            Self::Start(_) => "run `strongroom doctor` to see what this host offers",
            Self::NoProgram(_) => "build all programs of the release, or set `programs` in the configuration",
            Self::NoCode(_) => "`strongroom explain --all` lists every code",
            Self::Exists(_) => "name a place that does not exist yet",
            Self::SecretLost(_) => {
                "end it with `strongroom key revoke ID`, and make another with `strongroom key create`"
            }
            Self::Inspector { .. } => {
                "treat the file as refused; `strongroom doctor` shows the limits of this host"
            }
            Self::Changed(_) => "stop whatever writes to it, then run the command again",
            Self::NoField { .. } => "leave `--fields` out to see all of them",
            Self::Untrusted { .. } => {
                "give the authority of this node with `--ca FILE`; `strongroom status` on the node names it"
            }
            Self::NotTaken { .. } | Self::Identity { .. } => {
                "the operator of the node makes identities with `strongroom access service create`"
            }
            Self::NoLogin(_) => "the operator sets up logins: `strongroom help login`",
            Self::LoginRefused(_) | Self::LoginLate => "begin again with `strongroom login`",
            Self::Content { .. } => "check that this is the file you mean",
        })
    }
}

/// A failure as it is shown: what, because, help, audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Exit code.
    pub(crate) exit: Exit,
    /// Stable code.
    pub(crate) code: Cow<'static, str>,
    /// What went wrong.
    pub(crate) what: String,
    /// Why: one line per cause, outermost first.
    pub(crate) because: Vec<String>,
    /// The next step.
    pub(crate) help: Option<String>,
    /// Where the record is: an event or request id.
    pub(crate) audit: Option<Box<str>>,
    /// Whether it is a defect of the platform itself.
    pub(crate) defect: bool,
}

impl Failure {
    /// From any error that explains itself.
    pub(crate) fn explain(error: &dyn Explain, exit: Exit) -> Self {
        let mut because = Vec::new();
        let mut source = error.source();
        while let Some(inner) = source {
            because.push(inner.to_string());
            source = inner.source();
        }
        Self {
            exit,
            code: Cow::Borrowed(error.code()),
            what: error.to_string(),
            because,
            help: error.help().map(str::to_owned),
            audit: None,
            defect: error.fault() == Fault::Platform,
        }
    }

    /// From the node's refusal.
    pub(crate) fn problem(problem: api::Problem) -> Self {
        let exit = if problem.code.starts_with("SR-RES-") {
            Exit::SafeMode
        } else {
            Exit::from_status(problem.status)
        };
        Self {
            exit,
            defect: problem.status == 500,
            code: Cow::Owned(problem.code),
            what: problem.title,
            because: problem.detail.into_iter().collect(),
            help: problem.help,
            audit: problem.request_id.map(String::into_boxed_str),
        }
    }
}

impl From<CliError> for Failure {
    fn from(error: CliError) -> Self {
        Self::explain(&error, error.exit())
    }
}

impl From<base::config::ConfigError> for Failure {
    fn from(error: base::config::ConfigError) -> Self {
        Self::explain(&error, Exit::Failed)
    }
}
