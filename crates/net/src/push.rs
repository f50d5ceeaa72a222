//! Control's side of the gateway's policy socket: one frame there, one frame back.

use std::io;
use std::path::Path;
use std::time::Duration;

use ops::Codec;
use ops::lease::{Grants, Push, USES_MAX, Uses};
use ops::snapshot::{ACK_MAX, Ack, Snapshot};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// The gateway answers a push within this time.
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// The policy did not reach the gateway.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The socket.
    #[error("the gateway's policy socket failed")]
    Io(#[from] io::Error),
    /// No answer in time.
    #[error("the gateway did not acknowledge its policy within {} s", PUSH_TIMEOUT.as_secs())]
    Timeout,
    /// An answer that is none.
    #[error("the gateway's acknowledgement is not readable")]
    Wire(#[from] base::wire::WireError),
    /// The gateway keeps what it had.
    #[error("the gateway refused the policy: {0}")]
    Refused(String),
}

impl base::Explain for PushError {
    fn code(&self) -> &'static str {
        match self {
            Self::Io(_) => "SR-NET-0040",
            Self::Timeout => "SR-NET-0041",
            Self::Wire(_) => "SR-NET-0042",
            Self::Refused(_) => "SR-NET-0043",
        }
    }
    fn fault(&self) -> base::Fault {
        base::Fault::Platform
    }
    fn retry(&self) -> base::Retry {
        base::Retry::After(Duration::from_secs(1))
    }
    fn help(&self) -> Option<base::Help> {
        Some("see whether the gateway runs with `strongroom status`")
    }
}

/// Pushes a snapshot and waits until it is in force.
///
/// # Errors
/// [`PushError`]; then the gateway goes by what it had before, or refuses everything if it had nothing.
pub async fn push(socket: &Path, snapshot: Snapshot) -> Result<Ack, PushError> {
    let ack: Ack = exchange(socket, &Push::Policy { snapshot }, ACK_MAX).await?;
    if ack.refused.is_empty() { Ok(ack) } else { Err(PushError::Refused(ack.refused.to_string())) }
}

/// Grants bytes to keys, and waits until one lacks some or the gateway has waited long enough.
///
/// # Errors
/// [`PushError`]; then it is not known whether the grants arrived.
pub async fn lease(socket: &Path, grants: Grants) -> Result<Uses, PushError> {
    let seq = grants.seq;
    let uses: Uses = exchange(socket, &Push::Lease { grants }, USES_MAX).await?;
    if uses.seq == seq {
        Ok(uses)
    } else {
        Err(PushError::Refused("the grants of a later exchange came before".to_owned()))
    }
}

async fn exchange<T: Codec>(socket: &Path, said: &Push, longest: usize) -> Result<T, PushError> {
    tokio::time::timeout(PUSH_TIMEOUT, converse(socket, said, longest))
        .await
        .map_err(|_| PushError::Timeout)?
}

async fn converse<T: Codec>(socket: &Path, said: &Push, longest: usize) -> Result<T, PushError> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(&said.to_frame()).await?;
    let len = usize::try_from(stream.read_u32_le().await?).unwrap_or(usize::MAX);
    if len > longest {
        return Err(base::wire::WireError::TooMany { what: "bytes", count: len, limit: longest }.into());
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await?;
    Ok(ops::from_bytes(&body)?)
}
