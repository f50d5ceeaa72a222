//! Why the warden did not do what was asked.

use base::{Explain, Fault, Help, Retry};

/// An order or the start of the node failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum WardenError {
    /// The order came without a receipt that holds for it.
    #[error("the order has no valid receipt of the keeper: {0}")]
    Receipt(&'static str),
    /// The order is not legal in the state that the run is in.
    #[error("`{operation}` is not possible: {why}")]
    State {
        /// The order.
        operation: &'static str,
        /// What stands against it.
        why: &'static str,
    },
    /// A value that no run can have.
    #[error("{0}")]
    Invalid(String),
    /// The bytes in a mount are not those that were ordered.
    #[error("input {input} has manifest digest {found}, ordered was {expected}")]
    Digest {
        /// Index of the input.
        input: u8,
        /// What is there.
        found: String,
        /// What was ordered.
        expected: String,
    },
    /// The helper that hashes an input failed.
    #[error("input {input} could not be hashed: {why}")]
    Hashing {
        /// Index of the input.
        input: u8,
        /// Why.
        why: &'static str,
    },
    /// The host failed.
    #[error("the host refused")]
    Host(#[from] host::HostError),
    /// A local socket failed.
    #[error("a local socket failed")]
    Link(#[from] link::LinkError),
    /// The configuration cannot be used.
    #[error("the configuration cannot be used: {0}")]
    Config(String),
    /// The keeper found its log altered: the node does no more work until a person has looked.
    #[error("the audit log was tampered with; every tenant's work is ended and the node stays down")]
    Tamper,
    /// A release cannot be taken.
    #[error(transparent)]
    Release(#[from] base::release::ReleaseError),
    /// The machine is not this node's to start again.
    #[error("this node does not start the machine again: {0}")]
    NotIts(&'static str),
    /// What would be ended by it is under way.
    #[error("{0} runs are under way, and `stop_runs` does not say to end them")]
    UnderWay(usize),
    /// A process of the node does not stay up.
    #[error("{0} does not stay up")]
    Service(&'static str),
}

impl From<std::io::Error> for WardenError {
    fn from(source: std::io::Error) -> Self {
        Self::Host(host::HostError::at("serve")(source))
    }
}

impl Explain for WardenError {
    fn code(&self) -> &'static str {
        match self {
            Self::Receipt(_) => "SR-WRD-0001",
            Self::State { .. } => "SR-WRD-0002",
            Self::Invalid(_) => "SR-WRD-0003",
            Self::Digest { .. } => "SR-WRD-0004",
            Self::Hashing { .. } => "SR-WRD-0005",
            Self::Host(inner) => inner.code(),
            Self::Link(inner) => inner.code(),
            Self::Config(_) => "SR-WRD-0006",
            Self::Service(_) => "SR-WRD-0007",
            Self::Tamper => "SR-WRD-0008",
            Self::Release(inner) => inner.code(),
            Self::NotIts(_) => "SR-WRD-0020",
            Self::UnderWay(_) => "SR-WRD-0021",
        }
    }
    fn fault(&self) -> Fault {
        match self {
            Self::Receipt(_)
            | Self::State { .. }
            | Self::Invalid(_)
            | Self::NotIts(_)
            | Self::UnderWay(_) => Fault::Caller,
            Self::Digest { .. } | Self::Hashing { .. } => Fault::Peer,
            Self::Release(inner) => inner.fault(),
            Self::Host(inner) => inner.fault(),
            Self::Link(inner) => inner.fault(),
            Self::Config(_) | Self::Service(_) | Self::Tamper => Fault::Operator,
        }
    }
    fn retry(&self) -> Retry {
        match self {
            Self::Host(inner) => inner.retry(),
            _ => Retry::Never,
        }
    }
    fn help(&self) -> Option<Help> {
        Some("run `strongroom doctor`; the node's processes log to `logs` in its state directory")
    }
}
