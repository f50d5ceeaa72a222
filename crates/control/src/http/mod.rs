//! The API, over the local socket and the management plane alike: every request goes through the table of endpoints, authentication and
//! authorisation here, before any handler sees it.

mod gate;
mod handlers;
mod route;
mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::serve::IncomingStream;
use base::id::EventId;
use http_body_util::{BodyExt, Limited};
use net::listener::Client;
use tokio::net::UnixListener;

pub(crate) use gate::{Gate, Pass};
pub(crate) use stream::{BodyReader, LineSender};

use crate::Fail;
use crate::auth::{Identity, Principal, Refusal, authenticate, authorise};
use crate::clock::{now, random};
use crate::node::Node;

/// Longest JSON request: a job file is at most 256 KiB.
const JSON_MAX: usize = 1024 * 1024;
/// How long requests under way may go on when the process is told to end; the warden waits 5 s.
pub(crate) const LEAVE_WAIT: std::time::Duration = std::time::Duration::from_secs(2);
/// Of the body of a request that is refused, at most this much is still taken.
const DRAIN_MAX: usize = 64 * 1024;
/// And for at most this long.
const DRAIN_WAIT: std::time::Duration = std::time::Duration::from_secs(1);
/// Longest wait for a whole JSON request.
const BODY_WAIT: std::time::Duration = std::time::Duration::from_secs(30);

/// What is at the other end of a connection.
#[derive(Debug, Clone)]
pub(crate) enum Peer {
    /// A process of this machine, on the local socket.
    Local {
        /// Its user, as the kernel says.
        uid: Option<u32>,
    },
    /// A client of the management plane.
    Remote(Arc<Client>),
}

impl Peer {
    /// Who it is to the log, before it is known.
    fn label(&self) -> String {
        match self {
            Self::Local { uid: Some(uid) } => format!("uid:{uid}"),
            Self::Local { uid: None } => "uid:unknown".to_owned(),
            Self::Remote(client) => format!("addr:{}", client.address.to_canonical()),
        }
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self::Local { uid: stream.io().peer_cred().ok().map(|cred| cred.uid()) }
    }
}

/// What a handler answers.
pub(crate) enum Reply {
    /// A document.
    Json(serde_json::Value),
    /// Bytes of a stated type.
    Bytes(&'static str, Vec<u8>),
    /// A body that is made while it is sent.
    Stream(&'static str, Body),
}

/// Serves until `shutdown` resolves; requests under way may finish within [`LEAVE_WAIT`]. A watch of a job that runs for
/// days is such a request, and does not hold up the end.
pub(crate) async fn serve(
    node: Arc<Node>,
    listener: UnixListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let app = Router::new().fallback(dispatch).with_state(node);
    let (told, leaving) = tokio::sync::oneshot::channel();
    let server = axum::serve(listener, app.into_make_service_with_connect_info::<Peer>())
        .with_graceful_shutdown(async move {
            shutdown.await;
            // The other end waits below for as long as this one may send.
            told.send(()).unwrap_or_default();
        });
    let late = async {
        if leaving.await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(LEAVE_WAIT).await;
    };
    tokio::select! {
        ended = server => ended,
        () = late => Ok(()),
    }
}

async fn dispatch(
    State(node): State<Arc<Node>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
) -> Response {
    respond(node, peer, request).await
}

/// Answers one request, whichever way it came.
pub(crate) async fn respond(node: Arc<Node>, peer: Peer, request: Request) -> Response {
    let id = random::<10>().map(|r| EventId::new(now(), r).to_string()).unwrap_or_default();
    let (parts, body) = request.into_parts();
    let answer = match admit(&node, peer, &parts).await {
        Ok(admitted) => handle(node, admitted, body).await,
        Err(fail) => {
            drain(body).await;
            Err(fail)
        }
    };
    match answer {
        Ok(reply) => success(reply, &id),
        Err(fail) => problem(&fail, &id),
    }
}

/// A request that may be handled.
struct Admitted {
    route: &'static api::Route,
    params: route::Params,
    query: BTreeMap<String, String>,
    principal: Principal,
    pass: Pass,
}

/// Decides by its head alone whether a request is handled.
async fn admit(node: &Arc<Node>, peer: Peer, parts: &Parts) -> Result<Admitted, Fail> {
    let path = parts.uri.path().to_owned();
    let (route, params) = route::find(&parts.method, &path)
        .ok_or_else(|| Fail::not_found("endpoint", &format!("{} {path}", parts.method)))?;
    let bearer = bearer(&parts.headers)?;
    let (checker, found) = (Arc::clone(node), params.get("tenant").map(str::to_owned));
    let thing = params.thing(route);
    let principal = blocking(move || {
        let identity = authenticate(&checker, &peer, bearer.as_deref());
        let who = identity.as_ref().map_or_else(|_| peer.label(), Identity::actor);
        let own = identity.as_ref().ok().and_then(Identity::confined_to).map(str::to_owned);
        let result = identity
            .map_err(Refusal::from)
            .and_then(|identity| authorise(&checker.policies, identity, route, found.as_deref(), &thing));
        result.map_err(|refusal| {
            let by = (who.as_str(), own.as_deref());
            checker.refusals.record(&checker, by, route.operation, &path, &refusal);
            refusal.fail
        })
    })
    .await?;
    let pass = node.gate.enter(principal.confined_to())?;
    let query = route::query(parts.uri.query().unwrap_or(""))?;
    Ok(Admitted { route, params, query, principal, pass })
}

async fn handle(node: Arc<Node>, admitted: Admitted, body: Body) -> Result<Reply, Fail> {
    let Admitted { route, params, query, principal, pass } = admitted;
    let input = match route.operation {
        "import.file" => handlers::Input::Upload(BodyReader::spawn(body)),
        _ => {
            let limited = tokio::time::timeout(BODY_WAIT, Limited::new(body, JSON_MAX).collect()).await;
            let bytes = limited
                .map_err(|_| Fail::invalid("the request body did not come in time"))?
                .map_err(|e| Fail::too_large(format!("the request body was not taken: {e}")))?;
            handlers::Input::Body(bytes.to_bytes().to_vec())
        }
    };
    blocking(move || {
        let call = handlers::Call {
            node: &node,
            principal: &principal,
            params: &params,
            query: &query,
            pass: &pass,
        };
        handlers::handle(route.operation, &call, input)
    })
    .await
}

/// Takes some of the body of a request that is refused, so that a client that is still sending reads the refusal instead
/// of a reset; beyond that it is cut.
async fn drain(body: Body) {
    // Not ended in time, or longer: the refusal is sent all the same.
    drop(tokio::time::timeout(DRAIN_WAIT, Limited::new(body, DRAIN_MAX).collect()).await);
}

/// Handlers wait for disks and other processes, so they run on threads that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fail> + Send + 'static,
) -> Result<T, Fail> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Fail::internal("the request ended within the platform", error)),
    }
}

fn bearer(headers: &HeaderMap) -> Result<Option<String>, Fail> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let malformed = || Fail::unauthenticated("the Authorization header is not one `Bearer` key");
    if values.next().is_some() {
        return Err(malformed());
    }
    let text = value.to_str().map_err(|_| malformed())?;
    text.strip_prefix("Bearer ").map(|key| Some(key.to_owned())).ok_or_else(malformed)
}

fn success(reply: Reply, id: &str) -> Response {
    let (kind, body) = match reply {
        Reply::Json(value) => ("application/json", Body::from(value.to_string())),
        Reply::Bytes(kind, bytes) => (kind, Body::from(bytes)),
        Reply::Stream(kind, body) => (kind, body),
    };
    build(StatusCode::OK, kind, body, id)
}

fn problem(fail: &Fail, id: &str) -> Response {
    let status = StatusCode::from_u16(fail.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status.is_server_error() {
        crate::log::line("http", &format!("{id} {} {}", fail.code, fail.line()));
    }
    let problem = api::Problem {
        status: fail.status,
        code: fail.code.clone(),
        title: fail.title.clone(),
        detail: fail.detail.clone(),
        help: fail.help.clone(),
        request_id: Some(id.to_owned()),
    };
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    build(status, "application/problem+json", Body::from(body), id)
}

fn build(status: StatusCode, kind: &'static str, body: Body, id: &str) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    if let Ok(value) = header::HeaderValue::from_str(id) {
        headers.insert("x-request-id", value);
    }
    response
}
