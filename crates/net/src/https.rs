//! HTTPS over TLS 1.3 with a given trust anchor: the client of the tour, of tests and of benchmarks.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, NamedGroup};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::{Call, ClientError, Connection, Reply};
use crate::limits::CONNECT_TIMEOUT;
use crate::tls::{client_config, client_config_as};

/// Where to call, and whom to trust there.
#[derive(Debug, Clone)]
pub struct Target {
    /// Address and port.
    pub address: SocketAddr,
    /// The name or address that the certificate must carry.
    pub name: String,
    tls: Arc<ClientConfig>,
}

impl Target {
    /// A server at `address`, known as `name` to the certificate authority in `ca_pem`.
    ///
    /// # Errors
    /// The PEM holds no usable certificate.
    pub fn new(address: SocketAddr, name: &str, ca_pem: &str) -> Result<Self, ClientError> {
        Ok(Self { address, name: name.to_owned(), tls: client_config(ca_pem)? })
    }

    /// As [`Target::new`], called with this certificate chain and its key, both PEM.
    ///
    /// # Errors
    /// As [`Target::new`]; or chain and key cannot be used.
    pub fn with_identity(
        address: SocketAddr,
        name: &str,
        ca_pem: &str,
        chain_pem: &str,
        key_pem: &str,
    ) -> Result<Self, ClientError> {
        let tls = client_config_as(ca_pem, chain_pem, key_pem)?;
        Ok(Self { address, name: name.to_owned(), tls })
    }

    fn known_as(&self) -> Result<ServerName<'static>, ClientError> {
        ServerName::try_from(self.name.clone()).map_err(|error| ClientError::Connect {
            to: self.address.to_string(),
            source: io::Error::new(io::ErrorKind::InvalidInput, error),
        })
    }
}

/// A `POST` on a connection of its own.
///
/// # Errors
/// [`ClientError`].
pub async fn post(
    target: &Target,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<Reply, ClientError> {
    request(target, Call::post(path, headers, body)).await
}

/// One call on a connection of its own.
///
/// # Errors
/// [`ClientError`].
pub async fn request(target: &Target, call: Call<'_>) -> Result<Reply, ClientError> {
    connect(target).await?.0.last_call(call).await
}

/// One call over a stream that leads to the target.
///
/// # Errors
/// [`ClientError`].
pub async fn request_over<S>(stream: S, target: &Target, call: Call<'_>) -> Result<Reply, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let refuse = |source| ClientError::Connect { to: target.address.to_string(), source };
    let late = |_| ClientError::Timeout { what: "TLS connection", seconds: CONNECT_TIMEOUT.as_secs() };
    let handshake = TlsConnector::from(Arc::clone(&target.tls)).connect(target.known_as()?, stream);
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, handshake).await.map_err(late)?.map_err(refuse)?;
    Connection::over(stream, &target.name).await?.last_call(call).await
}

/// A connection for several calls, and the key exchange group that was agreed on.
///
/// # Errors
/// [`ClientError::Connect`] (a certificate that does not verify is one) or [`ClientError::Timeout`].
pub async fn connect(target: &Target) -> Result<(Connection, Option<NamedGroup>), ClientError> {
    let refuse = |source| ClientError::Connect { to: target.address.to_string(), source };
    let name = target.known_as()?;
    let late = |_| ClientError::Timeout { what: "TLS connection", seconds: CONNECT_TIMEOUT.as_secs() };
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, async {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(Arc::clone(&target.tls)).connect(name, stream).await
    })
    .await
    .map_err(late)?
    .map_err(refuse)?;
    let group = stream.get_ref().1.negotiated_key_exchange_group().map(|group| group.name());
    Ok((Connection::over(stream, &target.name).await?, group))
}
