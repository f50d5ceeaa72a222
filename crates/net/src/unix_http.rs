//! HTTP/1.1 over a unix socket: how the command line speaks to control on its own machine.

use std::path::Path;

use tokio::net::UnixStream;

use crate::client::{Call, ClientError, Connection, Reply};
use crate::limits::CONNECT_TIMEOUT;

/// What stands in `Host`: the socket's file permissions decide who may connect, not a name.
const HOST: &str = "localhost";

/// One call on a connection of its own.
///
/// # Errors
/// [`ClientError`].
pub async fn request(socket: &Path, call: Call<'_>) -> Result<Reply, ClientError> {
    connect(socket).await?.last_call(call).await
}

/// A connection for several calls.
///
/// # Errors
/// [`ClientError::Connect`] or [`ClientError::Timeout`].
pub async fn connect(socket: &Path) -> Result<Connection, ClientError> {
    let late = |_| ClientError::Timeout { what: "connection", seconds: CONNECT_TIMEOUT.as_secs() };
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, UnixStream::connect(socket))
        .await
        .map_err(late)?
        .map_err(|source| ClientError::Connect { to: socket.display().to_string(), source })?;
    Connection::over(stream, HOST).await
}
