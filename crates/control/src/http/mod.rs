//! The API, over the local socket and the management plane alike: every request goes through the table of endpoints,
//! authentication and authorisation here, before any handler sees it.

mod answer;
mod gate;
mod handlers;
mod once;
mod page;
mod pages;
mod rate;
mod route;
mod stream;

use std::os::fd::AsFd;
use std::sync::Arc;

use api::{Route, Who};
use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use axum::serve::IncomingStream;
use base::id::EventId;
use http_body_util::{BodyExt, Limited};
use net::listener::Client;
use tokio::net::UnixListener;

pub(crate) use gate::{Gate, Pass};
pub(crate) use once::{Repeat, Repeats};
pub(crate) use page::limit;
pub(crate) use rate::Rates;
pub(crate) use stream::{BodyReader, LineSender, STILL_EVERY};

use crate::Fail;
use crate::auth::{Principal, Refusal, authenticate, authorise, circumstances};
use crate::clock::{now, random};
use crate::node::Node;

/// Whose requests under way those of strangers count as: no tenant has a name without a letter.
const STRANGERS: &str = "";
/// Longest JSON request: a job file is at most 256 KiB.
const JSON_MAX: usize = 1024 * 1024;
/// How long requests under way may go on when the process is told to end; the warden waits 5 s.
pub(crate) const LEAVE_WAIT: std::time::Duration = std::time::Duration::from_secs(2);
/// Of the body of a request that is refused, at most this much is still taken from who is nobody. Of one that is too
/// large, as much again as is ever read.
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
        /// The user that logged in, whoever they became since; none where the host keeps no logins.
        login: Option<u32>,
    },
    /// A client of the management plane.
    Remote(Arc<Client>),
}

impl Peer {
    /// Who it is to the log, before it is known.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Local { uid: Some(uid), .. } => format!("uid:{uid}"),
            Self::Local { uid: None, .. } => "uid:unknown".to_owned(),
            Self::Remote(client) => format!("addr:{}", client.address.to_canonical()),
        }
    }

    /// Whether this is a process of the node's operator: on the local socket its requests need no key. Root is the
    /// operator too: it can read the operator's files anyway.
    pub(crate) fn is_operators(&self, node: &Node) -> bool {
        matches!(self, Self::Local { uid: Some(uid), .. } if *uid == node.config.users.operator || *uid == 0)
    }

    /// Whose guesses of credentials count together.
    fn source(&self) -> String {
        match self {
            Self::Local { .. } => self.label(),
            Self::Remote(client) => format!("addr:{}", net::listener::one(client.address)),
        }
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let socket = stream.io();
        let uid = socket.peer_cred().ok().map(|cred| cred.uid());
        Self::Local { uid, login: host::peer::login_uid(socket.as_fd()) }
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
    if let Some(page) = page(&node, &peer, &parts) {
        return page;
    }
    let asked = Arc::new(parts);
    match answer(node, peer, Arc::clone(&asked), body).await {
        Ok((reply, route)) => answer::success(reply, route.validates(), &asked.headers, &id),
        Err(fail) => answer::problem(&fail, &id),
    }
}

/// A page for a browser: on the network, where the node has a name that passkeys can be bound to.
fn page(node: &Node, peer: &Peer, asked: &Parts) -> Option<Response> {
    let on = matches!(peer, Peer::Remote(_)) && node.plane.as_ref().is_some_and(|plane| plane.site.is_ok());
    on.then(|| pages::find(&asked.method, &asked.uri)).flatten()
}

/// Who calls, and what: both are found before anything of the request is acted on.
enum Admitted {
    /// Somebody who is known.
    Known(Box<Principal>, &'static Route, route::Params),
    /// Somebody who asks how to become known, by where they are.
    Stranger(String, &'static Route),
}

async fn answer(
    node: Arc<Node>,
    peer: Peer,
    asked: Arc<Parts>,
    body: Body,
) -> Result<(Reply, &'static Route), Fail> {
    let (gatekeeper, request) = (Arc::clone(&node), Arc::clone(&asked));
    let admitted = blocking(move || admit(&gatekeeper, &peer, &request)).await;
    let (principal, route, params) = match admitted {
        Ok(Admitted::Known(principal, route, params)) => (*principal, route, params),
        Ok(Admitted::Stranger(source, route)) => {
            let _pass = node.gate.enter(Some(STRANGERS))?;
            route::query(asked.uri.query().unwrap_or(""), route)?;
            let input = input(route, &asked.headers, body).await?;
            let reply = blocking(move || handlers::stranger(&node, &source, route, input));
            return Ok((reply.await?, route));
        }
        Err(fail) => {
            drain(body, DRAIN_MAX).await;
            return Err(fail);
        }
    };
    let pass = node.gate.enter(principal.share())?;
    let query = route::query(asked.uri.query().unwrap_or(""), route)?;
    let input = input(route, &asked.headers, body).await?;
    let reply = blocking(move || {
        let mut principal = principal;
        if route.creates {
            principal.repeat = once::asked(&asked.headers, route, asked.uri.path(), &input, &principal)?;
        }
        let call = handlers::Call {
            node: &node,
            principal: &principal,
            route,
            params: &params,
            query: &query,
            pass: &pass,
        };
        once::run(&call, input)
    });
    Ok((reply.await?, route))
}

/// Authenticates first: who is nobody learns nothing, not even which paths there are.
fn admit(node: &Node, peer: &Peer, asked: &Parts) -> Result<Admitted, Fail> {
    let path = asked.uri.path();
    let found = route::find(asked.method.as_str(), path);
    let operation = match &found {
        route::Found::Endpoint(route, _) => route.operation,
        route::Found::Methods(_) | route::Found::Nothing => "none",
    };
    let source = (!peer.is_operators(node)).then(|| peer.source());
    if let Some(source) = &source {
        node.rates.looks_at(source, now())?;
    }
    if let route::Found::Endpoint(route @ Route { who: Who::Stranger, .. }, _) = &found {
        let source = peer.source();
        // Each counts as one of nobody known, whatever comes of it.
        node.rates.stranger(source.clone(), now());
        return Ok(Admitted::Stranger(source, route));
    }
    let identity = bearer(&asked.headers).and_then(|key| authenticate(node, peer, key.as_deref()));
    let identity = identity.map_err(|fail| {
        if let Some(source) = source.filter(|_| fail.status == 401) {
            node.rates.stranger(source, now());
        }
        let refusal = Refusal::from(fail);
        node.refusals.record(node, (&peer.label(), None), operation, path, &refusal);
        refusal.fail
    })?;
    let (route, params) = match found {
        route::Found::Endpoint(route, params) => (route, params),
        route::Found::Methods(allow) => return Err(Fail::no_such_method(asked.method.as_str(), allow)),
        route::Found::Nothing => {
            return Err(Fail::not_found("endpoint", &format!("{} {path}", asked.method)));
        }
    };
    let (who, own) = (identity.actor(), identity.confined_to().map(str::to_owned));
    // Files of an import are many and small; how many come at once is bounded by the gate.
    if !identity.is_operator() && !matches!(route.input, api::Input::Bytes) {
        node.rates.caller(who.clone(), now())?;
    }
    let (tenant, thing) = (params.get("tenant"), params.thing(route));
    let rules = node.policies.get();
    let given = circumstances(node, &rules.policies, &identity, route, (tenant, &thing))?;
    let principal = authorise(&rules.policies, identity, route, (tenant, &thing), given);
    let principal = principal.map_err(|refusal| {
        node.refusals.record(node, (&who, own.as_deref()), operation, path, &refusal);
        refusal.fail
    })?;
    Ok(Admitted::Known(Box::new(principal), route, params))
}

/// Whether there is an endpoint, or another method for one, at this path.
pub(crate) fn is_known(method: &str, path: &str) -> bool {
    !matches!(route::find(method, path), route::Found::Nothing)
}

/// The body, as the endpoint takes it.
async fn input(route: &Route, headers: &HeaderMap, mut body: Body) -> Result<handlers::Input, Fail> {
    match route.input {
        api::Input::Bytes => {
            media(headers, "application/octet-stream", true)?;
            return Ok(handlers::Input::Upload(BodyReader::spawn(body)));
        }
        api::Input::Json(_) => media(headers, "application/json", false)?,
        api::Input::Empty => {}
    }
    let limited = tokio::time::timeout(BODY_WAIT, Limited::new(&mut body, JSON_MAX).collect()).await;
    match limited.map_err(|_| Fail::invalid("the request body did not come in time"))? {
        Ok(bytes) => Ok(handlers::Input::Body(bytes.to_bytes().to_vec())),
        Err(error) => {
            drain(body, JSON_MAX).await;
            Err(Fail::too_large(format!("the request body was not taken: {error}")))
        }
    }
}

/// The body must be said to be of the type that it is read as. A form of a foreign web page cannot say so.
fn media(headers: &HeaderMap, wanted: &'static str, or_nothing: bool) -> Result<(), Fail> {
    let mut said = headers.get_all(header::CONTENT_TYPE).iter();
    let first = said.next().map(|value| value.to_str().unwrap_or(""));
    let is = |text: &str| text.split(';').next().is_some_and(|t| t.trim().eq_ignore_ascii_case(wanted));
    match (first, said.next()) {
        (None, _) if or_nothing => Ok(()),
        (Some(text), None) if is(text) => Ok(()),
        _ => Err(Fail::unsupported_type(wanted)),
    }
}

/// Takes some of the body of a request that is refused, so that a client that is still sending reads the refusal instead
/// of a reset; beyond that it is cut.
async fn drain(body: Body, most: usize) {
    // Not ended in time, or longer: the refusal is sent all the same.
    drop(tokio::time::timeout(DRAIN_WAIT, Limited::new(body, most).collect()).await);
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
    // A scheme is compared without case (RFC 9110 section 11.1).
    let (scheme, key) = text.split_once(' ').ok_or_else(malformed)?;
    if scheme.eq_ignore_ascii_case("Bearer") { Ok(Some(key.to_owned())) } else { Err(malformed()) }
}
