//! Why the relay did not do what was asked.

use base::{Explain, Fault, Help};

/// A connection, an order, or the process itself failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// A system call failed.
    #[error("the relay cannot {doing}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its socket.
    #[error("the socket of the relay failed")]
    Link(#[from] link::LinkError),
    /// What it gives up could not be given up.
    #[error("the relay cannot be confined")]
    Host(#[from] host::HostError),
    /// It is not open.
    #[error("no egress leads to {0}")]
    NotOpen(String),
    /// An address that the egress may not lead to.
    #[error("{0}")]
    Reach(String),
    /// Nobody was reached.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable {
        /// Whom.
        host: String,
        /// Why.
        reason: String,
    },
    /// As many as there may be.
    #[error("as many connections are open as there may be: {0}")]
    TooMany(&'static str),
    /// The log does not take what is to happen.
    #[error("the audit log takes no entries, so nothing leaves")]
    Log,
    /// The relay speaks in the name of a run that has no good certificate now.
    #[error("the job has no certificate that is good now, so nobody would know it there")]
    NoIdentity,
    /// A certificate, or a request for one.
    #[error("the job cannot be given a certificate")]
    Identity(#[from] net::identity::IdentityError),
    /// An order that makes no sense now.
    #[error("{0}")]
    Order(&'static str),
}

impl RelayError {
    /// For `map_err` at a system call.
    pub(crate) fn at(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { doing, source }
    }
}

impl Explain for RelayError {
    fn code(&self) -> &'static str {
        match self {
            Self::System { .. } => "SR-RLY-0001",
            Self::Link(inner) => inner.code(),
            Self::Host(inner) => inner.code(),
            Self::NotOpen(_) => "SR-RLY-0002",
            Self::Reach(_) => "SR-RLY-0003",
            Self::Unreachable { .. } => "SR-RLY-0004",
            Self::TooMany(_) => "SR-RLY-0005",
            Self::Log => "SR-RLY-0006",
            Self::Order(_) => "SR-RLY-0007",
            Self::NoIdentity => "SR-RLY-0008",
            Self::Identity(inner) => inner.code(),
        }
    }
    fn fault(&self) -> Fault {
        match self {
            Self::System { .. } | Self::Link(_) | Self::Host(_) | Self::Log => Fault::Operator,
            Self::NotOpen(_) | Self::Reach(_) | Self::TooMany(_) => Fault::Caller,
            Self::Unreachable { .. } => Fault::Peer,
            Self::Order(_) | Self::NoIdentity | Self::Identity(_) => Fault::Platform,
        }
    }
    fn help(&self) -> Option<Help> {
        Some(match self {
            Self::NotOpen(_) | Self::Reach(_) => {
                "see what was refused with `strongroom audit search --kind egress.refuse`"
            }
            Self::TooMany(_) => "see what is open with `strongroom audit search --kind egress.open`",
            _ => {
                "see what the node says with `strongroom status`, and `logs/relay.log` in its state directory"
            }
        })
    }
}
