//! Calls to servers that are not ours: over TLS 1.3 with verified certificates, one connection for each call.
//!
//! No redirect is followed, no cookie kept. Whoever calls has the connection made; handshake, head and body together have
//! one time limit, and the body a size limit.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::client::{Body, Call, ClientError, Connection};
use crate::tls::{TlsError, client_config_of_bundle};

/// Whom calls trust: a bundle of certificate authorities.
#[derive(Debug, Clone)]
pub struct Outgoing {
    tls: Arc<ClientConfig>,
}

/// A call to a server elsewhere.
#[derive(Debug)]
pub struct Outcall<'a> {
    /// Over TLS. Whoever calls without sees to it that the host is this machine.
    pub tls: bool,
    /// A name, or an address without brackets: what the certificate must carry.
    pub host: &'a str,
    /// The `Host` header.
    pub authority: &'a str,
    /// `GET`, `POST`.
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// Headers beside `Host` and `Content-Length`.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: Vec<u8>,
    /// How long all of it may take.
    pub within: Duration,
    /// Longest body of the answer.
    pub limit: usize,
}

impl Outgoing {
    /// Trusts the authorities in a PEM text, of which those that cannot be trust anchors are passed over: a system's bundle
    /// may hold such.
    ///
    /// # Errors
    /// None of them can.
    pub fn new(bundle_pem: &str) -> Result<Self, TlsError> {
        Ok(Self { tls: client_config_of_bundle(bundle_pem)? })
    }

    /// Status and body of the answer, over a stream that leads to the server.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn call<S>(&self, stream: S, call: Outcall<'_>) -> Result<(u16, Vec<u8>), ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let seconds = call.within.as_secs();
        tokio::time::timeout(call.within, self.exchange(stream, call))
            .await
            .map_err(|_| ClientError::Timeout { what: "whole answer", seconds })?
    }

    async fn exchange<S>(&self, stream: S, call: Outcall<'_>) -> Result<(u16, Vec<u8>), ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let refuse = |source| ClientError::Connect { to: call.authority.to_owned(), source };
        let connection = if call.tls {
            let name = ServerName::try_from(call.host.to_owned())
                .map_err(|error| refuse(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
            let stream =
                TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await.map_err(refuse)?;
            Connection::over(stream, call.authority).await?
        } else {
            Connection::over(stream, call.authority).await?
        };
        let Outcall { method, path, headers, within, limit, .. } = call;
        let body = if call.body.is_empty() { Body::Empty } else { call.body.into() };
        let reply = connection.last_call(Call { method, path, headers, body, timeout: within }).await?;
        Ok((reply.status, reply.bytes(limit).await?))
    }
}
