//! What both HTTP clients share: a call, its body, the reply and its stream.

use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, HOST};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::limits::{CHUNK, CHUNKS_AHEAD, LINE_MAX, REPLY_TIMEOUT};

/// A call did not get its answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there, or it may not be entered.
    #[error("cannot connect to {to}")]
    Connect {
        /// Where to.
        to: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The other side did not answer in time.
    #[error("no {what} within {seconds} s")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        seconds: u64,
    },
    /// The conversation broke.
    #[error("the connection failed")]
    Http(#[from] hyper::Error),
    /// Method, path or header that cannot be sent.
    #[error("the request cannot be sent")]
    Request(#[from] hyper::http::Error),
    /// The trust anchor or the name of the other side.
    #[error("the TLS configuration cannot be used")]
    Tls(#[from] crate::tls::TlsError),
    /// The reply is longer than its caller takes.
    #[error("the reply is longer than {limit} bytes")]
    TooLong {
        /// What the caller takes.
        limit: usize,
    },
    /// A line of the reply is not UTF-8.
    #[error("the reply is not UTF-8 text")]
    Text,
}

impl base::Explain for ClientError {
    fn code(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "SR-NET-0030",
            Self::Timeout { .. } => "SR-NET-0031",
            Self::Http(_) => "SR-NET-0032",
            Self::Request(_) => "SR-NET-0033",
            Self::Tls(_) => "SR-NET-0034",
            Self::TooLong { .. } => "SR-NET-0035",
            Self::Text => "SR-NET-0036",
        }
    }
    fn fault(&self) -> base::Fault {
        match self {
            Self::Request(_) => base::Fault::Caller,
            Self::Connect { .. } | Self::Tls(_) => base::Fault::Operator,
            Self::Timeout { .. } | Self::Http(_) | Self::TooLong { .. } | Self::Text => base::Fault::Peer,
        }
    }
    fn retry(&self) -> base::Retry {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::Http(_) => {
                base::Retry::After(Duration::from_secs(1))
            }
            Self::Request(_) | Self::Tls(_) | Self::TooLong { .. } | Self::Text => base::Retry::Never,
        }
    }
    fn help(&self) -> Option<base::Help> {
        match self {
            Self::Request(_) | Self::TooLong { .. } | Self::Text => {
                Some("see what it takes with `strongroom help`")
            }
            _ => Some("see whether the node is up with `strongroom status`"),
        }
    }
}

/// Which side refused the other in TLS, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsRefusal {
    /// The server's certificate does not verify.
    Server(String),
    /// The server refuses this client: its certificate, most likely.
    Client(String),
}

impl ClientError {
    /// Whether TLS is what failed. A server says only after the handshake that it does not take a certificate
    /// (RFC 8446 section 4.4.2.4), so this may come from a connection that stood.
    pub fn tls_refusal(&self) -> Option<TlsRefusal> {
        let mut error: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(at) = error {
            let inner = at.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(rustls::Error::InvalidCertificate(why)) => {
                    return Some(TlsRefusal::Server(why.to_string()));
                }
                Some(rustls::Error::AlertReceived(alert)) => {
                    return Some(TlsRefusal::Client(format!("alert {alert:?}")));
                }
                _ => error = at.source(),
            }
        }
        None
    }
}

/// A request's body.
pub enum Body {
    /// Nothing.
    Empty,
    /// These bytes.
    Bytes(Bytes),
    /// Read while it is sent; see [`Body::reader`].
    Stream {
        /// Its length, where it is known: then it is announced and must be met.
        length: Option<u64>,
        /// The chunks, or why there are no more.
        chunks: mpsc::Receiver<io::Result<Bytes>>,
    },
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("Body::Empty"),
            Self::Bytes(bytes) => write!(f, "Body::Bytes({})", bytes.len()),
            Self::Stream { length, .. } => write!(f, "Body::Stream({length:?})"),
        }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl Body {
    /// Reads `source` on a thread of its own, at most [`CHUNKS_AHEAD`] chunks ahead of the socket, so that memory
    /// stays bounded whatever the length.
    pub fn reader(mut source: impl Read + Send + 'static, length: Option<u64>) -> Self {
        let (to, chunks) = mpsc::channel(CHUNKS_AHEAD);
        // Ends with the source or when the receiver is dropped with the request.
        drop(tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0u8; CHUNK];
            loop {
                let chunk = match source.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(len) => Ok(Bytes::copy_from_slice(buffer.get(..len).unwrap_or(&[]))),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let ends = chunk.is_err();
                if to.blocking_send(chunk).is_err() || ends {
                    return;
                }
            }
        }));
        Self::Stream { length, chunks }
    }

    fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Bytes(bytes) => u64::try_from(bytes.len()).ok(),
            Self::Stream { length, .. } => *length,
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Stream { chunks, .. } => {
                chunks.poll_recv(cx).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A request.
#[derive(Debug)]
pub struct Call<'a> {
    /// `GET`, `POST`, `DELETE`.
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// Headers beside `Host` and `Content-Length`.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: Body,
    /// How long to wait for the head of the reply.
    pub timeout: Duration,
}

impl<'a> Call<'a> {
    /// A call without a body.
    pub fn get(path: &'a str) -> Self {
        Self { method: "GET", path, headers: &[], body: Body::Empty, timeout: REPLY_TIMEOUT }
    }

    /// A call with a body.
    pub fn post(path: &'a str, headers: &'a [(&'a str, &'a str)], body: impl Into<Body>) -> Self {
        Self { method: "POST", path, headers, body: body.into(), timeout: REPLY_TIMEOUT }
    }
}

/// The head of a reply, and its body to be read.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case; values that are not text are left out.
    pub headers: Vec<(String, String)>,
    body: Incoming,
    rest: Vec<u8>,
    /// Keeps the connection moving while the reply is read.
    _driver: Option<Driver>,
}

impl Reply {
    /// The first header of this name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The next piece of the body; `None` at its end. No time limit: a stream may be quiet for long.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The next line of the body without its end; `None` after the last.
    ///
    /// # Errors
    /// The connection broke, a line is above [`LINE_MAX`] or not UTF-8.
    pub async fn line(&mut self) -> Result<Option<String>, ClientError> {
        let mut seen = 0;
        loop {
            let ahead = self.rest.get(seen..).unwrap_or(&[]);
            if let Some(at) = ahead.iter().position(|b| *b == b'\n') {
                let tail = self.rest.split_off(seen.saturating_add(at).saturating_add(1));
                let mut line = std::mem::replace(&mut self.rest, tail);
                line.pop();
                return String::from_utf8(line).map(Some).map_err(|_| ClientError::Text);
            }
            seen = self.rest.len();
            if seen > LINE_MAX {
                return Err(ClientError::TooLong { limit: LINE_MAX });
            }
            match self.chunk().await? {
                Some(chunk) => self.rest.extend_from_slice(&chunk),
                None if self.rest.is_empty() => return Ok(None),
                None => {
                    let line = std::mem::take(&mut self.rest);
                    return String::from_utf8(line).map(Some).map_err(|_| ClientError::Text);
                }
            }
        }
    }

    /// The whole rest of the body, at most `limit` bytes.
    ///
    /// # Errors
    /// The connection broke, or the body is longer.
    pub async fn bytes(mut self, limit: usize) -> Result<Vec<u8>, ClientError> {
        let mut all = std::mem::take(&mut self.rest);
        while let Some(chunk) = self.chunk().await? {
            if all.len().saturating_add(chunk.len()) > limit {
                return Err(ClientError::TooLong { limit });
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }
}

/// Runs a connection; dropped with its owner.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection that carries one call after another.
pub struct Connection {
    sender: http1::SendRequest<Body>,
    host: String,
    driver: Driver,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", self.host)
    }
}

impl Connection {
    /// Speaks HTTP/1.1 over a stream that stands.
    pub(crate) async fn over<S>(stream: S, host: &str) -> Result<Self, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // The result of a call tells of a broken connection; the driver has nothing to add.
        let driver = Driver(tokio::spawn(async move { drop(connection.await) }));
        Ok(Self { sender, host: host.to_owned(), driver })
    }

    /// One call. The reply must be read to its end before the next one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn call(&mut self, call: Call<'_>) -> Result<Reply, ClientError> {
        let Call { method, path, headers, body, timeout } = call;
        let mut request = hyper::Request::builder().method(method).uri(path).header(HOST, &self.host);
        if let Some(length) = body.length() {
            request = request.header(CONTENT_LENGTH, length);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body)?;
        let late = |_| ClientError::Timeout { what: "reply", seconds: timeout.as_secs() };
        let exchange = async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        };
        let reply = tokio::time::timeout(timeout, exchange).await.map_err(late)??;
        let (head, body) = reply.into_parts();
        let headers = head
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
            .collect();
        Ok(Reply { status: head.status.as_u16(), headers, body, rest: Vec::new(), _driver: None })
    }

    /// One call, after which the connection ends with its reply.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn last_call(mut self, call: Call<'_>) -> Result<Reply, ClientError> {
        let reply = self.call(call).await?;
        Ok(Reply { _driver: Some(self.driver), ..reply })
    }
}
