//! Answers on the wire: their headers, validators, and problem details.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::Reply;
use crate::Fail;

/// Hex digits of a validator: 128 bits of the SHA-256 of the body.
const TAG_LEN: usize = 32;

/// What a success answers. What can be read again carries a strong validator, and is not sent to who has it.
pub(super) fn success(reply: Reply, validates: bool, asked: &HeaderMap, id: &str) -> Response {
    let (kind, bytes) = match reply {
        Reply::Json(value) => ("application/json", value.to_string().into_bytes()),
        Reply::Bytes(kind, bytes) => (kind, bytes),
        Reply::Stream(kind, body) => return build(StatusCode::OK, Some(kind), body, id),
    };
    if !validates {
        return build(StatusCode::OK, Some(kind), Body::from(bytes), id);
    }
    let digest: String = base::sha256(&bytes).hex().chars().take(TAG_LEN).collect();
    let tag = format!("\"{digest}\"");
    let mut response = if matches(asked, &tag) {
        build(StatusCode::NOT_MODIFIED, None, Body::empty(), id)
    } else {
        build(StatusCode::OK, Some(kind), Body::from(bytes), id)
    };
    insert(&mut response, header::ETAG, &tag);
    response
}

/// Whether one of the validators that the caller has is this one: RFC 9110 section 13.1.2, by weak comparison. No tag
/// of ours has a comma in it, so no list can be taken apart wrongly and match.
fn matches(asked: &HeaderMap, tag: &str) -> bool {
    asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|list| {
        list.trim() == "*" || list.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)
    })
}

pub(super) fn problem(fail: &Fail, id: &str) -> Response {
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
    let mut response = build(status, Some("application/problem+json"), Body::from(body), id);
    if status == StatusCode::UNAUTHORIZED {
        insert(&mut response, header::WWW_AUTHENTICATE, "Bearer");
    }
    // A failure that says more than its status takes the place of what the status says.
    if let Some((name, value)) = fail.header.as_deref() {
        insert(&mut response, HeaderName::from_static(name), value);
    }
    response
}

fn build(status: StatusCode, kind: Option<&'static str>, body: Body, id: &str) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if let Some(kind) = kind {
        insert(&mut response, header::CONTENT_TYPE, kind);
    }
    insert(&mut response, header::CACHE_CONTROL, "no-store");
    insert(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    insert(&mut response, HeaderName::from_static("x-request-id"), id);
    response
}

fn insert(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(values: &[&str]) -> HeaderMap {
        values.iter().map(|v| (header::IF_NONE_MATCH, HeaderValue::from_str(v).unwrap())).collect()
    }

    #[test]
    fn what_the_caller_has_is_not_sent_again() {
        let tag = success(Reply::Bytes("text/plain", b"x".to_vec()), true, &asking(&[]), "evt_1");
        let tag = tag.headers()[header::ETAG].to_str().unwrap().to_owned();
        let told = |values: &[&str]| {
            success(Reply::Bytes("text/plain", b"x".to_vec()), true, &asking(values), "evt_1")
                .status()
                .as_u16()
        };
        for same in [&*tag, "*", &format!("W/{tag}"), &format!("\"a,b\", {tag}")] {
            assert_eq!(told(&[same]), 304, "{same}");
        }
        assert_eq!(told(&["\"other\"", &tag]), 304);
        for other in ["", "\"other\"", tag.trim_matches('"'), "**", &tag.to_uppercase()] {
            assert_eq!(told(&[other]), if other == tag { 304 } else { 200 }, "{other}");
        }
    }

    #[test]
    fn no_answer_may_be_cached_and_a_refusal_carries_its_header() {
        let refused = problem(&Fail::no_such_method("PATCH", "GET, POST".to_owned()), "evt_1");
        assert_eq!(refused.status(), 405);
        let headers = refused.headers();
        assert_eq!(headers[header::ALLOW], "GET, POST");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(headers["x-request-id"], "evt_1");
    }
}
