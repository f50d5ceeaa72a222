//! Why the gateway cannot run.

use std::path::PathBuf;

/// The gateway cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// A file or socket of its own.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The listener.
    #[error(transparent)]
    Listen(#[from] net::listener::ListenError),
    /// The certificate authority.
    #[error("cannot make the listener's certificate")]
    Ca(#[from] net::ca::CaError),
    /// What it gives up could not be given up.
    #[error(transparent)]
    Host(#[from] host::HostError),
    /// The operating system.
    #[error("the runtime of the process cannot be set up")]
    System(#[source] std::io::Error),
}

impl base::Explain for GatewayError {
    fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "SR-GWY-0001",
            Self::Listen(inner) => inner.code(),
            Self::Ca(inner) => inner.code(),
            Self::Host(inner) => inner.code(),
            Self::System(_) => "SR-GWY-0003",
        }
    }
    fn fault(&self) -> base::Fault {
        base::Fault::Operator
    }
    fn help(&self) -> Option<base::Help> {
        Some("see what the machine lacks with `strongroom doctor`")
    }
}
