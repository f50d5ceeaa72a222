//! Why the porter refuses or fails.

use base::{Explain, Fault};

use crate::tree::printable;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PorterError {
    /// Wrong arguments.
    #[error("{0}")]
    Usage(&'static str),
    /// Control said something that makes no sense now.
    #[error("request is not possible now: {0}")]
    Order(&'static str),
    /// A path that is not relative, plain and short.
    #[error("`{}` is not a path that may be opened", printable(.0))]
    Path(String),
    /// Something else than a directory or a plain file with one name.
    #[error("`{}` is {what}", printable(.path))]
    Kind {
        /// The path.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// Too much of something.
    #[error("`{}`: {what} above the limit of {limit}", printable(.path))]
    Limit {
        /// The path.
        path: String,
        /// Of what.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// A sealed file does not open, or cannot be sealed.
    #[error("`{}`: sealed file", printable(.path))]
    Sealed {
        /// The path.
        path: String,
        /// Why.
        #[source]
        source: vault::SefError,
    },
    /// A sealed file is not as long as was said.
    #[error("`{}` has {found} bytes, {expected} were announced", printable(.path))]
    Length {
        /// The path.
        path: String,
        /// Bytes found.
        found: u64,
        /// Bytes announced.
        expected: u64,
    },
    /// Inspection refused a file of the result.
    #[error("`{}` is not accepted: {findings}", printable(.path))]
    Inspection {
        /// The path.
        path: String,
        /// What was found.
        findings: String,
    },
    /// A system call failed.
    #[error("{doing} `{}`", printable(.path))]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// An image that is not as an image must be.
    #[error("image")]
    Image(#[from] image::ImageError),
    /// A layer cannot be read: cut, or not compressed as was said.
    #[error("layer `{}` cannot be read", printable(.path))]
    Layer {
        /// The layer.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The socket to control failed.
    #[error("socket to control")]
    Link(#[from] link::LinkError),
    /// No stage came.
    #[error("control gave no stage to seal into")]
    NoStage,
    /// No random bytes.
    #[error("no random bytes")]
    Random,
}

impl PorterError {
    /// Wraps a failed call.
    pub(crate) fn io(doing: &'static str, path: &str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::Io { doing, path: path.to_owned(), source: errno.into() }
    }

    /// Whether this process can do nothing more.
    pub(crate) const fn is_fatal(&self) -> bool {
        matches!(self, Self::Link(_))
    }
}

impl Explain for PorterError {
    fn code(&self) -> &'static str {
        match self {
            Self::Usage(_) => "SR-PRT-0001",
            Self::Order(_) => "SR-PRT-0002",
            Self::Path(_) => "SR-PRT-0003",
            Self::Kind { .. } => "SR-PRT-0004",
            Self::Limit { .. } => "SR-PRT-0005",
            Self::Sealed { .. } => "SR-PRT-0006",
            Self::Length { .. } => "SR-PRT-0007",
            Self::Inspection { .. } => "SR-PRT-0008",
            Self::Io { .. } => "SR-PRT-0009",
            Self::Link(_) => "SR-PRT-0010",
            Self::NoStage => "SR-PRT-0011",
            Self::Random => "SR-PRT-0012",
            Self::Image(error) => error.code(),
            Self::Layer { .. } => "SR-PRT-0013",
        }
    }
    fn fault(&self) -> Fault {
        match self {
            Self::Path(_)
            | Self::Kind { .. }
            | Self::Limit { .. }
            | Self::Inspection { .. }
            | Self::Image(_)
            | Self::Layer { .. } => Fault::Caller,
            Self::Usage(_) | Self::Order(_) | Self::Link(_) | Self::NoStage => Fault::Platform,
            Self::Sealed { .. } | Self::Length { .. } => Fault::Peer,
            Self::Io { .. } | Self::Random => Fault::Operator,
        }
    }
    fn help(&self) -> Option<base::Help> {
        Some(match self {
            Self::Image(error) => return error.help(),
            Self::Layer { .. } => "the image is damaged; build or pull it again",
            Self::Kind { .. } | Self::Path(_) => {
                "write plain files with one name each; then resume with `strongroom job resume JOB`"
            }
            Self::Limit { .. } => {
                "raise `memory` or `scratch` in the job file, and see `strongroom job show JOB`"
            }
            Self::Inspection { .. } => "look at the file with `strongroom model inspect PATH`",
            Self::Sealed { .. } | Self::Length { .. } => {
                "the stored object was altered; see `strongroom audit search` for what happened to it"
            }
            _ => "see `strongroom doctor` for what the node lacks",
        })
    }
}
