//! The API of the node: HTTP/1.1 over its unix socket, or TLS 1.3 on its management plane; one connection a request.
//!
//! A blocking face over a single-threaded runtime: a command does one thing at a time.

use std::io::{Read, Write};
use std::net::ToSocketAddrs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::Secret;
use net::client::TlsRefusal;
use net::https::Target;
use net::{Body, Call, ClientError, Reply};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::args::ServerUrl;
use crate::context::control_socket;
use crate::error::{CliError, Failure};
use crate::exit::Exit;
use crate::identity::Identity;
use crate::progress::Progress;

/// How long a read may take until its first byte.
const READ_SECONDS: u64 = 60;
/// How long work may take until its first byte: a commit or a verification passes over all bytes.
const WORK_SECONDS: u64 = 3600;
/// How long after a lost connection the same is asked once more: the warden starts control again at once.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Longest JSON answer: a page of entries, at most.
const ANSWER_MAX: usize = 64 << 20;

/// A connection to one node, as one caller.
#[derive(Debug)]
pub(crate) struct Client {
    place: Place,
    key: Option<Secret<String>>,
    runtime: tokio::runtime::Runtime,
}

/// Where the node is.
#[derive(Debug)]
enum Place {
    /// On this machine, with this state directory.
    Local(PathBuf),
    /// Its management plane.
    Remote(ServerUrl, Target),
}

impl Place {
    /// As failures name it.
    fn shown(&self) -> String {
        match self {
            Self::Local(state) => state.display().to_string(),
            Self::Remote(server, _) => server.to_string(),
        }
    }
}

/// Who calls over the network.
#[derive(Debug)]
pub(crate) enum Caller<'a> {
    /// The holder of a key.
    Key(Secret<String>),
    /// A service with its certificate, or the holder of a key that is bound to it.
    Service(&'a Identity, Option<Secret<String>>),
    /// Somebody who is not known yet.
    Stranger,
}

/// One request.
struct Ask<'a> {
    method: &'a str,
    path: &'a str,
    json: bool,
    body: Body,
    seconds: u64,
    /// Idempotency key of a request that makes something.
    key: Option<&'a str>,
}

impl<'a> Ask<'a> {
    fn get(path: &'a str, seconds: u64) -> Self {
        Self { method: "GET", path, json: false, body: Body::Empty, seconds, key: None }
    }
}

impl Client {
    /// A client of the node with this state directory.
    ///
    /// # Errors
    /// The runtime cannot start.
    pub(crate) fn new(state: &Path, key: Option<Secret<String>>) -> Result<Self, Failure> {
        Ok(Self { place: Place::Local(state.to_owned()), key, runtime: runtime()? })
    }

    /// A client of a management plane, whose certificate authority is `authority` in PEM.
    ///
    /// # Errors
    /// The server has no address, or authority or identity cannot be used.
    pub(crate) fn remote(server: &ServerUrl, authority: &str, caller: Caller<'_>) -> Result<Self, Failure> {
        let unreachable = |source| CliError::Unreachable { place: server.to_string(), source };
        let address = (server.host.as_str(), server.port)
            .to_socket_addrs()
            .map_err(unreachable)?
            .next()
            .ok_or_else(|| unreachable(std::io::ErrorKind::NotFound.into()))?;
        let tls = |error| Failure::explain(&error, Exit::Failed);
        let (target, key) = match caller {
            Caller::Key(key) => (Target::new(address, &server.host, authority), Some(key)),
            Caller::Stranger => (Target::new(address, &server.host, authority), None),
            Caller::Service(identity, key) => {
                let target = identity.key.expose(|private| {
                    Target::with_identity(address, &server.host, authority, &identity.certificate, private)
                });
                (target, key)
            }
        };
        let place = Place::Remote(server.clone(), target.map_err(tls)?);
        Ok(Self { place, key, runtime: runtime()? })
    }

    /// Whether the caller is another than the operator on this machine.
    pub(crate) const fn has_credential(&self) -> bool {
        self.key.is_some() || matches!(self.place, Place::Remote(..))
    }

    /// Reads a document.
    ///
    /// # Errors
    /// The node refuses, or does not answer.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.get_within(path, READ_SECONDS)
    }

    /// Reads a document within a given time.
    ///
    /// # Errors
    /// The node refuses, or does not answer.
    pub(crate) fn get_within<T: DeserializeOwned>(&self, path: &str, seconds: u64) -> Result<T, Failure> {
        self.json(Ask::get(path, seconds))
    }

    /// Reads a list to its end.
    ///
    /// # Errors
    /// The node refuses, or does not answer.
    pub(crate) fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Failure> {
        let first = format!("{path}?limit={}", api::shape::PAGE_MAX);
        let mut page: api::Page<T> = self.get(&first)?;
        let mut items = std::mem::take(&mut page.items);
        while let Some(next) = page.next {
            page = self.get(&format!("{first}&after={}", encode(&next)))?;
            items.append(&mut page.items);
        }
        Ok(items)
    }

    /// Makes something. If the connection is lost it is asked for once more, under one key, so that it is made once.
    ///
    /// # Errors
    /// The node refuses, or does not answer.
    pub(crate) fn create<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, Failure> {
        self.once(path, Some(&serde_json::to_vec(body).unwrap_or_default()))
    }

    /// Makes what was begun before, as [`Client::create`] does.
    ///
    /// # Errors
    /// The node refuses, or does not answer.
    pub(crate) fn complete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.once(path, None)
    }

    fn once<T: DeserializeOwned>(&self, path: &str, body: Option<&[u8]>) -> Result<T, Failure> {
        let key = idempotency_key()?;
        let ask = || Ask {
            method: "POST",
            path,
            json: body.is_some(),
            body: body.map_or(Body::Empty, |bytes| bytes.to_vec().into()),
            seconds: WORK_SECONDS,
            key: Some(&key),
        };
        let bytes = self.runtime.block_on(async {
            match self.whole(ask()).await {
                // The answer was lost, and perhaps the request: nobody here knows which.
                Err(failure) if failure.code == LOST && failure.exit == Exit::Unreachable => {
                    tokio::time::sleep(AGAIN_AFTER).await;
                    self.whole(ask()).await
                }
                other => other,
            }
        })?;
        serde_json::from_slice(&bytes).map_err(|e| not_understood(path, &e.to_string()))
    }

    /// Changes something.
    ///
    /// # Errors
    /// The node refuses, or does not answer.
    pub(crate) fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, Failure> {
        let bytes = serde_json::to_vec(body).unwrap_or_default();
        self.json(Ask {
            method: "POST",
            path,
            json: true,
            body: bytes.into(),
            seconds: WORK_SECONDS,
            key: None,
        })
    }

    /// Acts without a body.
    ///
    /// # Errors
    /// The node refuses, or does not answer.
    pub(crate) fn act<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let seconds = WORK_SECONDS;
        self.json(Ask { method: "POST", path, json: false, body: Body::Empty, seconds, key: None })
    }

    /// Uploads exactly `size` bytes, of the file `name` or made from it.
    ///
    /// # Errors
    /// The node refuses, the file changed, or the connection broke.
    pub(crate) fn upload(
        &self,
        path: &str,
        source: impl Read + Send + 'static,
        name: &Path,
        size: u64,
        shown: &Progress,
    ) -> Result<Vec<u8>, Failure> {
        let source = Counted { source: source.take(size), progress: shown.clone() };
        let sent: Result<Vec<u8>, Failure> = self.runtime.block_on(async {
            let body = Body::reader(source, Some(size));
            let seconds = WORK_SECONDS;
            self.whole(Ask { method: "PUT", path, json: false, body, seconds, key: None }).await
        });
        // A body that ends early breaks the connection; then the file is the reason, not the network.
        let now = std::fs::symlink_metadata(name);
        match sent {
            Err(failure)
                if now.is_ok_and(|now| now.is_file() && now.len() != size)
                    && failure.exit == Exit::Unreachable =>
            {
                Err(CliError::Changed(name.to_owned()).into())
            }
            other => other,
        }
    }

    /// Streams a body into a writer; gives the number of bytes.
    ///
    /// # Errors
    /// The node refuses, the connection broke, or the writer failed.
    pub(crate) fn download(&self, path: &str, to: &mut dyn Write, name: &Path) -> Result<u64, Failure> {
        self.runtime.block_on(async {
            let mut reply = self.send(Ask::get(path, WORK_SECONDS)).await?;
            let mut total = 0u64;
            while let Some(data) = reply.chunk().await.map_err(|e| self.failed(path, e))? {
                to.write_all(&data).map_err(CliError::file("write", name))?;
                total = total.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
            }
            Ok(total)
        })
    }

    /// Hands each line of an endless answer to `take`, until it breaks or the node ends it.
    ///
    /// # Errors
    /// The node refuses, or what it sends is no line.
    pub(crate) fn lines(
        &self,
        path: &str,
        take: &mut dyn FnMut(&str) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<(), Failure> {
        self.runtime.block_on(async {
            let mut reply = self.send(Ask::get(path, READ_SECONDS)).await?;
            while let Some(line) = reply.line().await.map_err(|e| self.failed(path, e))? {
                if !line.trim().is_empty() && take(line.trim())?.is_break() {
                    return Ok(());
                }
            }
            Ok(())
        })
    }

    /// An answer as it comes.
    ///
    /// # Errors
    /// The node refuses, or does not answer.
    pub(crate) fn bytes(&self, path: &str) -> Result<Vec<u8>, Failure> {
        self.runtime.block_on(self.whole(Ask::get(path, WORK_SECONDS)))
    }

    fn json<T: DeserializeOwned>(&self, ask: Ask<'_>) -> Result<T, Failure> {
        let path = ask.path;
        let bytes = self.runtime.block_on(self.whole(ask))?;
        serde_json::from_slice(&bytes).map_err(|e| not_understood(path, &e.to_string()))
    }

    async fn whole(&self, ask: Ask<'_>) -> Result<Vec<u8>, Failure> {
        let path = ask.path;
        self.send(ask).await?.bytes(ANSWER_MAX).await.map_err(|e| self.failed(path, e))
    }

    /// Sends, and gives the reply if it is a success, else the node's refusal.
    async fn send(&self, ask: Ask<'_>) -> Result<Reply, Failure> {
        let Ask { method, path, json, body, seconds, key } = ask;
        let target = format!("{}{path}", api::PREFIX);
        let mut headers = vec![("user-agent", concat!("strongroom/", env!("CARGO_PKG_VERSION")))];
        if json {
            headers.push(("content-type", "application/json"));
        }
        if let Some(key) = key {
            headers.push(("idempotency-key", key));
        }
        // The HTTP layer keeps copies of this header while it writes it; the key in custody is wiped.
        let bearer = self.key.as_ref().map(|key| key.expose(|key| format!("Bearer {key}")));
        if let Some(bearer) = &bearer {
            headers.push(("authorization", bearer));
        }
        let reply = self.call(method, &target, &headers, body, seconds).await;
        let reply = reply.map_err(|e| self.failed(path, e))?;
        if (200..300).contains(&reply.status) {
            return Ok(reply);
        }
        let status = reply.status;
        let bytes = reply.bytes(ANSWER_MAX).await.map_err(|e| self.failed(path, e))?;
        Err(serde_json::from_slice::<api::Problem>(&bytes).map_or_else(
            |_| {
                let mut failure = not_understood(path, &format!("status {status} without problem details"));
                failure.exit = Exit::from_status(status);
                failure
            },
            Failure::problem,
        ))
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
        seconds: u64,
    ) -> Result<Reply, ClientError> {
        let timeout = Duration::from_secs(seconds);
        let call = Call { method, path, headers, body, timeout };
        match &self.place {
            Place::Local(state) => net::unix_http::request(&control_socket(state), call).await,
            Place::Remote(_, target) => net::https::request(target, call).await,
        }
    }

    fn failed(&self, path: &str, error: ClientError) -> Failure {
        let server = self.place.shown();
        match error.tls_refusal() {
            Some(TlsRefusal::Server(reason)) => return CliError::Untrusted { server, reason }.into(),
            Some(TlsRefusal::Client(reason)) => return CliError::NotTaken { server, reason }.into(),
            None => {}
        }
        match error {
            ClientError::Connect { source, .. } => CliError::Unreachable { place: server, source }.into(),
            ClientError::Timeout { seconds, .. } => {
                CliError::TimedOut { what: path.to_owned(), seconds }.into()
            }
            ClientError::Http(inner) => {
                let mut failure = not_understood(path, "the connection broke; outcome unknown");
                failure.because.push(base::error::chain(&inner));
                failure.exit = Exit::Unreachable;
                failure.defect = false;
                failure
            }
            other => not_understood(path, &base::error::chain(&other)),
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(built.map_err(CliError::file("start", Path::new("the network runtime")))?)
}

/// Counts what is read.
struct Counted<R> {
    source: R,
    progress: Progress,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.progress.add(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }
}

/// Joins segments to a path, each percent-encoded (RFC 3986), so that no name can become a path.
pub(crate) fn route(segments: &[&str]) -> String {
    segments.iter().fold(String::new(), |mut path, segment| {
        path.push('/');
        match *segment {
            "." | ".." => path.push_str(&segment.replace('.', "%2E")),
            other => path.push_str(&encode(other)),
        }
        path
    })
}

/// A relative file path as the rest of a route: `/` stays, all else is encoded.
pub(crate) fn route_file(segments: &[&str], file: &str) -> String {
    let mut path = route(segments);
    path.push_str(&route(&file.split('/').collect::<Vec<_>>()));
    path
}

/// Percent-encodes everything but unreserved characters.
pub(crate) fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

/// The code of a conversation that broke.
const LOST: &str = "SR-CLI-0005";

/// A new idempotency key: a string of 128 random bits (RFC 9651).
fn idempotency_key() -> Result<String, Failure> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        let source = std::io::Error::other(error.to_string());
        CliError::file("read", Path::new("the random bytes of the kernel"))(source)
    })?;
    Ok(format!("\"{}\"", base::digest::hex(&bytes)))
}

fn not_understood(path: &str, reason: &str) -> Failure {
    CliError::Answer { what: path.to_owned(), reason: reason.to_owned() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_never_become_paths() {
        assert_eq!(route(&["tenants", "a/b", "..", "x y"]), "/tenants/a%2Fb/%2E%2E/x%20y");
        assert_eq!(route_file(&["f"], "a b/ü?#.bin"), "/f/a%20b/%C3%BC%3F%23.bin");
    }
}
