//! **What.** The local sockets between the platform's processes: `SOCK_SEQPACKET` connections that carry
//! whole messages, descriptors (`SCM_RIGHTS`) and the peer's credentials (`SO_PEERCRED`).
//!
//! **Why.** Keeper and warden decide by who the kernel says is speaking, never by what a message claims, and
//! a job's bytes are handed over as descriptors, never as paths (controls AC-4, IS-2). One small crate does
//! it for all processes, so that it is read once.
//!
//! **Where.** Used by keeper, warden, porter, control, gateway and the runtime. It must never import the
//! message types' meaning, a network stack or an async runtime.
//!
//! **Invariants.** A message arrives whole or not at all: one that was cut by the kernel is an error. More
//! descriptors than the receiver allowed is an error, and those received are closed. Every descriptor is
//! close-on-exec. A client that ran into its timeout never speaks again on that connection, so that a late
//! answer cannot be taken for another question's.

mod client;
mod conn;
mod keeper;
mod listener;

pub use client::Client;
pub use conn::{Conn, PeerCred};
pub use keeper::{KeeperClient, KeeperError};
pub use listener::Listener;

/// Largest message in bytes: 64 KiB, well below Linux's default socket buffer of 212,992 bytes.
pub const PACKET_MAX: usize = ops::MESSAGE_MAX;
/// Most descriptors in one message (the kernel's own limit is 253).
pub const FDS_MAX: usize = ops::FDS_MAX;
/// Connections that wait to be accepted.
pub const BACKLOG: i32 = 128;

/// A local socket failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The other side closed the connection.
    #[error("the other process closed the connection")]
    Closed,
    /// Nothing came, or nothing could be sent, in the time allowed.
    #[error("the other process did not answer in time")]
    TimedOut,
    /// A message larger than its limit, or an empty one.
    #[error("message of {len} bytes, allowed are 1 to {limit}")]
    Size {
        /// Its length; for a received one, what arrived of it.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// More descriptors than allowed.
    #[error("message with more than {limit} descriptors")]
    Descriptors {
        /// The limit.
        limit: usize,
    },
    /// An earlier call on this connection failed, so its answers can no longer be told apart.
    #[error("the connection failed before; connect again")]
    Poisoned,
    /// Something else than a stale socket stands where the socket should be, or another process listens there.
    #[error("`{path}` is in use")]
    InUse {
        /// The path.
        path: String,
    },
    /// The other side sent what is not a message of the expected kind.
    #[error("the other process sent a message that cannot be read")]
    Message(#[from] base::wire::WireError),
    /// The system call failed.
    #[error("local socket: {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

impl LinkError {
    /// Wraps a failed call; a timeout of the socket becomes [`LinkError::TimedOut`], a vanished peer
    /// [`LinkError::Closed`].
    pub(crate) fn io(doing: &'static str, errno: rustix::io::Errno) -> Self {
        use rustix::io::Errno;
        match errno {
            Errno::AGAIN | Errno::TIMEDOUT => Self::TimedOut,
            Errno::PIPE | Errno::CONNRESET => Self::Closed,
            other => Self::Io { doing, source: other.into() },
        }
    }
}

impl base::Explain for LinkError {
    fn code(&self) -> &'static str {
        match self {
            Self::Closed => "SR-LNK-0001",
            Self::TimedOut => "SR-LNK-0002",
            Self::Size { .. } => "SR-LNK-0003",
            Self::Descriptors { .. } => "SR-LNK-0004",
            Self::Poisoned => "SR-LNK-0005",
            Self::InUse { .. } => "SR-LNK-0006",
            Self::Io { .. } => "SR-LNK-0007",
            Self::Message(_) => "SR-LNK-0008",
        }
    }
    fn fault(&self) -> base::Fault {
        match self {
            Self::Closed
            | Self::TimedOut
            | Self::Size { .. }
            | Self::Descriptors { .. }
            | Self::Message(_) => base::Fault::Peer,
            Self::Poisoned => base::Fault::Platform,
            Self::InUse { .. } | Self::Io { .. } => base::Fault::Operator,
        }
    }
    fn retry(&self) -> base::Retry {
        match self {
            Self::Closed | Self::TimedOut | Self::Poisoned => {
                base::Retry::After(std::time::Duration::from_secs(1))
            }
            _ => base::Retry::Never,
        }
    }
    fn help(&self) -> Option<base::Help> {
        Some("see which process of the node is down with `strongroom status`")
    }
}

#[cfg(test)]
mod tests;
