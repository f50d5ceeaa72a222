//! From a request to its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::Timestamp;
use base::id::{CorrelationId, EndpointId, EventId, ReceiptId};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, TRANSFER_ENCODING,
};
use hyper::{HeaderMap, Method, Request, Response};
use net::identity::SpiffeId;
use net::lease::NotSpent;
use net::listener::Client;
use ops::event::{Event, EventKind, Outcome, Phase};

use crate::clock;
use crate::limits::{BODY_COST, BODY_GRACE, BODY_MAX, BODY_RATE_MIN, BODY_TIMEOUT, DRAIN_GRACE, DRAIN_MAX};
use crate::oip;
use crate::policy::{Holder, Policy, Served, actor};
use crate::problem::Refusal;
use crate::refused::Denied;
use crate::server::Shared;

type Answer = Response<Full<Bytes>>;

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
enum Route<'a> {
    Server,
    Live,
    Ready,
    Model { name: &'a str, version: Option<&'a str> },
    ModelReady { name: &'a str, version: Option<&'a str> },
    Infer { name: &'a str, version: Option<&'a str> },
}

/// The allow-list of paths. No percent-encoding is decoded: names have no character that needs it.
fn route(path: &str) -> Option<Route<'_>> {
    let mut parts = path.strip_prefix("/v2")?.split('/');
    if parts.next() != Some("") {
        return None;
    }
    let parts: Vec<&str> = parts.take(6).collect();
    match parts.as_slice() {
        [] => Some(Route::Server),
        ["health", "live"] => Some(Route::Live),
        ["health", "ready"] => Some(Route::Ready),
        ["models", name] => Some(Route::Model { name, version: None }),
        ["models", name, "ready"] => Some(Route::ModelReady { name, version: None }),
        ["models", name, "infer"] => Some(Route::Infer { name, version: None }),
        ["models", name, "versions", version] => Some(Route::Model { name, version: Some(version) }),
        ["models", name, "versions", version, "ready"] => {
            Some(Route::ModelReady { name, version: Some(version) })
        }
        ["models", name, "versions", version, "infer"] => Some(Route::Infer { name, version: Some(version) }),
        _ => None,
    }
}

/// Answers a request. Cancelled when the client goes: the model's connection is then dropped with it.
pub(crate) async fn answer(shared: Arc<Shared>, client: Arc<Client>, request: Request<Incoming>) -> Answer {
    let request_id = EventId::new(clock::now(), clock::random());
    match dispatch(&shared, &client, request_id, request).await {
        Ok(response) => response,
        Err(refusal) => {
            shared.refusals.fetch_add(1, Ordering::Relaxed);
            refusal.response(request_id)
        }
    }
}

/// Spends bytes of an answer, before the first of them is sent.
async fn spend(shared: &Shared, holder: &Holder, bytes: u64) -> Result<(), Refusal> {
    shared.leases.spend(&holder.lease, bytes).await.map_err(|why| match why {
        NotSpent::Refused => Refusal::Egress,
        NotSpent::NoGrant => Refusal::NoGrant,
    })
}

/// Spends the bytes of what a model said, or refuses to send it. The head of an answer is the gateway's own.
async fn paid(shared: &Shared, holder: &Holder, answer: Answer) -> Result<Answer, Refusal> {
    let bytes = answer.body().size_hint().exact().unwrap_or(u64::MAX);
    spend(shared, holder, bytes).await.map(|()| answer)
}

/// A refusal that quotes the model leaves as an answer does.
async fn paid_if_quoted(
    shared: &Shared,
    holder: &Holder,
    request_id: EventId,
    refusal: Refusal,
) -> Result<Answer, Refusal> {
    if !refusal.quotes_the_model() {
        return Err(refusal);
    }
    let bytes = refusal.response(request_id).body().size_hint().exact().unwrap_or(u64::MAX);
    spend(shared, holder, bytes).await?;
    Err(refusal)
}

async fn dispatch(
    shared: &Shared,
    client: &Client,
    request_id: EventId,
    request: Request<Incoming>,
) -> Result<Answer, Refusal> {
    let (head, body) = request.into_parts();
    let now = clock::now();
    let route = route(head.uri.path()).ok_or(Refusal::NotFound)?;
    let wanted = if matches!(route, Route::Infer { .. }) { Method::POST } else { Method::GET };
    if head.method != wanted {
        return Err(Refusal::Method);
    }
    let policy = match route {
        Route::Live => return Ok(json(&serde_json::json!({"live": true}))),
        _ => shared.policies.current(now)?,
    };
    if !shared.recorder.is_healthy() {
        return Err(Refusal::NoAudit);
    }
    let entitled = |name, version| {
        let by = || client.certificate.as_ref().and_then(|leaf| shared.services.identify(leaf, now));
        entitled(&policy, &head.headers, by, (name, version), now).inspect_err(|denied| {
            if let Some(event) = shared.refused.note(denied, client.address, now) {
                shared.recorder.soon(event);
            }
        })
    };
    match route {
        Route::Live | Route::Ready => Ok(json(&serde_json::json!({"ready": true}))),
        Route::Server => Ok(json(&serde_json::json!({
            "name": "strongroom", "version": env!("CARGO_PKG_VERSION"), "extensions": [],
        }))),
        Route::Model { name, version } => {
            let (holder, served) = entitled(name, version)?;
            let described = json(&oip::metadata(&served.endpoint, served.upstream.described().await?));
            paid(shared, &holder, described).await
        }
        Route::ModelReady { name, version } => {
            let (_, served) = entitled(name, version)?;
            if served.upstream.is_ready().await {
                Ok(json(&serde_json::json!({"name": name, "ready": true})))
            } else {
                Err(Refusal::Upstream)
            }
        }
        Route::Infer { name, version } => {
            let (holder, served) = entitled(name, version)?;
            match infer(shared, &holder, &served, &head.headers, body).await {
                Ok(answer) => Ok(answer),
                Err(refusal) => paid_if_quoted(shared, &holder, request_id, refusal).await,
            }
        }
    }
}

/// The key, and the endpoint that it opens.
fn entitled(
    policy: &Policy,
    headers: &HeaderMap,
    by: impl FnOnce() -> Option<SpiffeId>,
    (name, version): (&str, Option<&str>),
    now: Timestamp,
) -> Result<(Arc<Holder>, Arc<Served>), Denied> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Denied::NoKey);
    };
    let presented = value.to_str().ok().and_then(|v| v.strip_prefix("Bearer ")).ok_or(Denied::NoKey)?;
    let holder = policy.holder(presented, by, now)?;
    let served = policy.served(&holder, name, version)?;
    Ok((holder, served))
}

async fn infer(
    shared: &Shared,
    holder: &Holder,
    served: &Served,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Answer, Refusal> {
    let started = clock::tick();
    holder.usage.take(holder.key.requests_per_minute, started)?;
    let _under_way = holder.usage.enter(holder.key.concurrency)?;
    let limit = usize::try_from(served.endpoint.body_max).unwrap_or(BODY_MAX).min(BODY_MAX);
    let length = match announced(headers, limit) {
        Ok(length) => length,
        Err(refusal) => {
            drain(body).await;
            return Err(refusal);
        }
    };
    let cost =
        u32::try_from(length.saturating_mul(BODY_COST).div_ceil(1024)).map_err(|_| Refusal::Overload)?;
    let _memory = shared.memory.try_acquire_many(cost).map_err(|_| Refusal::Overload)?;
    let body = collect(body, length).await?;
    let model = served.upstream.described().await?;
    let mut inference = oip::parse(&body, model)?;
    let input = base::sha256(&body);
    drop(body);

    let receipt = ReceiptId::new(clock::now(), clock::random());
    if !shared.policies.is_admitted(holder.key.id, served) {
        let admission =
            event(EventKind::InferenceAdmit, Phase::Intent, Outcome::Success, holder, served, receipt);
        if !shared.recorder.now(admission).await {
            return Err(Refusal::NoAudit);
        }
        shared.policies.admit(holder.key.id, served);
    }
    let record = |outcome, detail: &str| {
        let micros = clock::tick().saturating_duration_since(started).as_micros();
        event(EventKind::Inference, Phase::Observed, outcome, holder, served, receipt)
            .because(detail)
            .detail("input_sha256", &input.hex())
            .detail("micros", &micros.to_string())
    };
    let tensors = std::mem::take(&mut inference.tensors);
    let rendered = match served.upstream.infer(tensors).await {
        Ok(outputs) => oip::render(&served.endpoint, model, &inference, &outputs),
        Err(refusal) => Err(refusal),
    };
    let answer = match rendered {
        Ok(rendered) => paid(shared, holder, with_receipt(rendered, receipt, served)).await,
        Err(refusal) => Err(refusal),
    };
    let answer = answer.inspect_err(|refusal| {
        shared.recorder.soon(record(Outcome::Failure, &refusal.to_string()));
    })?;
    shared.recorder.soon(record(Outcome::Success, ""));
    shared.answered.fetch_add(1, Ordering::Relaxed);
    Ok(answer)
}

fn with_receipt(body: Vec<u8>, receipt: ReceiptId, served: &Served) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in [
        ("strongroom-receipt", receipt.to_string()),
        ("strongroom-model-digest", served.endpoint.model_digest.hex()),
        ("strongroom-bom-digest", served.endpoint.bom_digest.hex()),
    ] {
        // Ids and hex are always valid header values.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    response
}

/// An event about this key and endpoint; the receipt's number joins them.
fn event(
    kind: EventKind,
    phase: Phase,
    outcome: Outcome,
    holder: &Holder,
    served: &Served,
    receipt: ReceiptId,
) -> Event {
    let endpoint = &served.endpoint;
    let correlation = CorrelationId::from_bits(receipt.bits());
    Event::new(kind, phase, outcome, clock::now().as_millis(), correlation.bits())
        .tenant(&endpoint.tenant)
        .actor(&format!("key:{}", actor(holder)))
        .asset("model", &format!("{}/{}", endpoint.model, endpoint.version), Some(endpoint.model_digest))
        .bom(endpoint.bom_digest)
        .detail("endpoint", &EndpointId::from_bits(endpoint.id).to_string())
        .detail("receipt", &receipt.to_string())
}

/// The length of the body. Chunked bodies are refused: with them goes every doubt about where a request ends.
fn announced(headers: &HeaderMap, limit: usize) -> Result<usize, Refusal> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return Err(Refusal::LengthRequired);
    }
    let json = headers.get(CONTENT_TYPE).is_some_and(|value| {
        value
            .to_str()
            .is_ok_and(|v| v.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/json"))
    });
    if !json || headers.contains_key(CONTENT_ENCODING) {
        return Err(Refusal::MediaType);
    }
    let length =
        headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<usize>().ok());
    match length {
        None => Err(Refusal::LengthRequired),
        Some(length) if length > limit => Err(Refusal::TooLarge(limit)),
        Some(length) => Ok(length),
    }
}

/// Takes some of a body that is refused, so that a client that is still sending reads the refusal instead of a
/// reset; beyond that it is cut.
async fn drain(mut body: Incoming) {
    let some = async {
        let mut left = DRAIN_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let len = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(len) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Not ended in time: the refusal is sent all the same.
    tokio::time::timeout(DRAIN_GRACE, some).await.unwrap_or_default();
}

/// Takes the body within its time and at its least rate.
async fn collect(mut body: Incoming, length: usize) -> Result<Vec<u8>, Refusal> {
    let started = clock::tick();
    let mut all = Vec::new();
    loop {
        let elapsed = clock::tick().saturating_duration_since(started);
        // What has come allows this much time in all.
        let earned = u64::try_from(all.len()).unwrap_or(u64::MAX) / BODY_RATE_MIN;
        let allowed = BODY_GRACE.saturating_add(std::time::Duration::from_secs(earned)).min(BODY_TIMEOUT);
        let left = allowed.checked_sub(elapsed).ok_or(Refusal::Slow)?;
        match tokio::time::timeout(left, body.frame()).await.map_err(|_| Refusal::Slow)? {
            None => break,
            Some(Err(_)) => return Err(Refusal::Invalid("the body ended early".to_owned())),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    all.extend_from_slice(&data);
                }
            }
        }
        if all.len() > length {
            return Err(Refusal::TooLarge(length));
        }
    }
    if all.len() == length { Ok(all) } else { Err(Refusal::Invalid("the body ended early".to_owned())) }
}

fn json(value: &serde_json::Value) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_paths_have_a_route() {
        assert_eq!(route("/v2"), Some(Route::Server));
        assert_eq!(route("/v2/models/m/infer"), Some(Route::Infer { name: "m", version: None }));
        assert_eq!(
            route("/v2/models/m/versions/1/ready"),
            Some(Route::ModelReady { name: "m", version: Some("1") })
        );
        for bad in [
            "/",
            "/v2x",
            "/v2/",
            "/v2/models",
            "/v2/repository/index",
            "/v2/models/m/infer/",
            "/v2/a/b/c/d/e/f/g",
        ] {
            assert_eq!(route(bad), None, "{bad}");
        }
    }
}
