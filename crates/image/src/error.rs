//! What is wrong with an image.

use base::Explain;

/// Why an image is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// A path that no image may hold.
    #[error("`{}` is no path of an image: {why}", path.escape_debug())]
    Path {
        /// The path, as far as it can be shown.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A header of an archive that is not well-formed, or that readers could take in two ways.
    #[error("archive: {0}")]
    Archive(&'static str),
    /// An entry that an image may not hold.
    #[error("`{}` is {what}", path.escape_debug())]
    Entry {
        /// Its path.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// More than a limit of [`crate::limits`].
    #[error("image has too many {what}: at most {limit}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A manifest or configuration that is not as the image specification says.
    #[error("{document}: {reason}")]
    Document {
        /// Which document.
        document: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// An index of several images, where one manifest must be named.
    #[error("this digest is that of an index of several images; {choices}")]
    Index {
        /// The digests to choose from, with their platforms.
        choices: String,
    },
    /// An image for another kind of machine.
    #[error("the image is for {found}, this platform runs linux/amd64")]
    Platform {
        /// Its operating system and architecture.
        found: String,
    },
}

impl Explain for ImageError {
    fn code(&self) -> &'static str {
        match self {
            Self::Path { .. } => "SR-IMG-0001",
            Self::Archive(_) => "SR-IMG-0002",
            Self::Entry { .. } => "SR-IMG-0003",
            Self::Limit { .. } => "SR-IMG-0004",
            Self::Document { .. } => "SR-IMG-0005",
            Self::Index { .. } => "SR-IMG-0006",
            Self::Platform { .. } => "SR-IMG-0007",
        }
    }

    fn help(&self) -> Option<base::Help> {
        Some(match self {
            Self::Index { .. } => "pin the digest of the manifest for linux/amd64 in the job file",
            Self::Platform { .. } => "build or pull the image for linux/amd64",
            Self::Limit { .. } => "leave out of the image what the job does not need",
            _ => "build the image again, or export its file system to a directory and name that as `dir:`",
        })
    }
}
