//! Refusals, as RFC 9457 problem documents.

use std::time::Duration;

use base::id::EventId;
use base::{Explain, Fault, Help, Retry};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};

use crate::limits::EGRESS_RETRY;

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// No policy, or an expired one.
    #[error("the gateway has no valid policy from control")]
    NoPolicy,
    /// The audit log does not take records.
    #[error("the audit log cannot be written, so nothing is served")]
    NoAudit,
    /// No key, a wrong one, an expired or a revoked one.
    #[error("a valid API key is required in `Authorization: Bearer`")]
    Unauthorised,
    /// Not there, or not for this key.
    #[error("there is nothing here for this key")]
    NotFound,
    /// Another method.
    #[error("this path does not take that method")]
    Method,
    /// No length.
    #[error("a body must announce its length in `Content-Length`")]
    LengthRequired,
    /// Too long.
    #[error("the body is longer than {0} bytes")]
    TooLarge(usize),
    /// The body came too slowly.
    #[error("the body did not arrive in time")]
    Slow,
    /// Not an inference request that this model takes.
    #[error("{0}")]
    Invalid(String),
    /// Another content type or encoding.
    #[error("the body must be `application/json` without content encoding")]
    MediaType,
    /// Above the key's quota.
    #[error("the key's quota is used up")]
    Quota(Duration),
    /// Too many requests of this key are under way.
    #[error("too many requests of this key are under way")]
    Concurrency,
    /// Too much is under way altogether.
    #[error("the gateway is at its limit")]
    Overload,
    /// A cap on what leaves within a day is reached.
    #[error("more would leave in answers than a cap on this key, its tenant or the node allows within a day")]
    Egress,
    /// Control granted no bytes in time.
    #[error("control does not say whether this answer may leave")]
    NoGrant,
    /// The model does not answer.
    #[error("the model does not answer")]
    Upstream,
    /// The model did not answer in time.
    #[error("the model did not answer in time")]
    UpstreamTimeout,
    /// The model answered with what cannot be passed on.
    #[error("the model failed: {0}")]
    Model(String),
}

impl Explain for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NoPolicy => "SR-GWY-0100",
            Self::NoAudit => "SR-GWY-0101",
            Self::Unauthorised => "SR-GWY-0102",
            Self::NotFound => "SR-GWY-0103",
            Self::Method => "SR-GWY-0104",
            Self::LengthRequired => "SR-GWY-0105",
            Self::TooLarge(_) => "SR-GWY-0106",
            Self::Slow => "SR-GWY-0107",
            Self::Invalid(_) => "SR-GWY-0108",
            Self::MediaType => "SR-GWY-0109",
            Self::Quota(_) => "SR-GWY-0110",
            Self::Concurrency => "SR-GWY-0111",
            Self::Overload => "SR-GWY-0112",
            Self::Upstream => "SR-GWY-0113",
            Self::UpstreamTimeout => "SR-GWY-0114",
            Self::Model(_) => "SR-GWY-0115",
            Self::Egress => "SR-GWY-0116",
            Self::NoGrant => "SR-GWY-0117",
        }
    }
    fn fault(&self) -> Fault {
        match self {
            Self::NoPolicy | Self::NoAudit | Self::NoGrant | Self::Overload => Fault::Operator,
            Self::Upstream | Self::UpstreamTimeout | Self::Model(_) => Fault::Peer,
            _ => Fault::Caller,
        }
    }
    fn retry(&self) -> Retry {
        match self {
            Self::Quota(wait) => Retry::After(*wait),
            Self::Egress => Retry::After(EGRESS_RETRY),
            Self::NoPolicy
            | Self::NoAudit
            | Self::NoGrant
            | Self::Concurrency
            | Self::Overload
            | Self::Upstream => Retry::After(Duration::from_secs(1)),
            _ => Retry::Never,
        }
    }
    fn help(&self) -> Option<Help> {
        Some(match self {
            Self::Egress => "see what left, and the caps, with `strongroom access egress`",
            Self::NoPolicy | Self::NoAudit | Self::NoGrant | Self::Overload => {
                "see the node's state with `strongroom status`"
            }
            Self::Unauthorised => {
                "make a key with `strongroom key create`, or see them with `strongroom key list`"
            }
            Self::NotFound | Self::Upstream | Self::UpstreamTimeout | Self::Model(_) => {
                "see what is served with `strongroom endpoint list`"
            }
            Self::Method => "see the Open Inference Protocol v2: `POST /v2/models/{name}/infer`",
            Self::Invalid(_) => "see what the model takes: `GET /v2/models/{name}`",
            Self::Quota(_) | Self::Concurrency => "wait as `Retry-After` says",
            Self::LengthRequired | Self::TooLarge(_) | Self::Slow | Self::MediaType => {
                "send one JSON document with its length, in smaller batches if need be"
            }
        })
    }
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoPolicy | Self::NoAudit | Self::NoGrant | Self::Overload => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Unauthorised => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::LengthRequired => StatusCode::LENGTH_REQUIRED,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Quota(_) | Self::Concurrency | Self::Egress => StatusCode::TOO_MANY_REQUESTS,
            Self::Upstream | Self::Model(_) => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Whether it says something in words that a model may have chosen; those are counted as an answer is.
    pub(crate) fn quotes_the_model(&self) -> bool {
        matches!(self, Self::Model(_) | Self::Invalid(_))
    }

    /// Whether the request's body may stand unread on the connection, which then cannot be used again.
    fn ends_connection(&self) -> bool {
        matches!(self, Self::LengthRequired | Self::TooLarge(_) | Self::Slow | Self::Overload)
    }

    /// The document.
    pub(crate) fn response(&self, request_id: EventId) -> Response<Full<Bytes>> {
        let body = serde_json::json!({
            "type": "about:blank",
            "title": self.status().canonical_reason().unwrap_or("refused"),
            "status": self.status().as_u16(),
            "code": self.code(),
            "detail": self.to_string(),
            "help": self.help(),
            "request_id": request_id.to_string(),
        });
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/problem+json"));
        if let Retry::After(wait) = self.retry() {
            let whole = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
            headers.insert(RETRY_AFTER, whole.max(1).into());
        }
        if *self == Self::Unauthorised {
            headers.insert(WWW_AUTHENTICATE, hyper::header::HeaderValue::from_static("Bearer"));
        }
        if self.ends_connection() {
            headers.insert(CONNECTION, hyper::header::HeaderValue::from_static("close"));
        }
        response
    }
}
