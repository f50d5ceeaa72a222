//! One HTTP exchange with the provider, done by whoever uses this crate.

use openidconnect::url::Url;

use super::error::{OidcError, Step, shown};
use super::limits::SAID_MAX;

/// A request, to be sent as it is.
#[derive(Debug)]
pub struct Ask<'a> {
    /// Over TLS; otherwise plain, which settings allow on loopback alone.
    pub tls: bool,
    /// The host: a name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// For the `Host` header.
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// For the `Authorization` header.
    pub authorization: Option<&'a str>,
    /// An `application/x-www-form-urlencoded` body to be sent by `POST`; none: a `GET`.
    pub form: Option<Vec<u8>>,
    /// Longest body of the answer that may be read.
    pub limit: usize,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code; a redirect is an answer like another.
    pub status: u16,
    /// The body, not longer than [`Ask::limit`].
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    /// Nobody was reached, or not in time, or their certificate does not verify.
    Unreachable(String),
    /// The body is longer than [`Ask::limit`].
    TooLong,
}

/// Sends requests. It follows no redirect, keeps no cookie, verifies certificates, and ends each exchange in a bounded
/// time, the body included.
pub trait Exchange {
    /// One exchange.
    ///
    /// # Errors
    /// [`NoAnswer`].
    fn exchange(&self, ask: &Ask<'_>) -> Result<Answer, NoAnswer>;
}

/// Asks, and gives status and JSON of the answer, whatever the status; redirects are refused.
pub(super) fn json(
    net: &dyn Exchange,
    step: Step,
    url: &Url,
    limit: usize,
    post: Option<(Vec<u8>, Option<&str>)>,
) -> Result<(u16, serde_json::Value), OidcError> {
    let unusable = |reason: String| OidcError::Answer { step, reason };
    let (form, authorization) =
        post.map_or((None, None), |(form, authorization)| (Some(form), authorization));
    let host = match url.host() {
        Some(openidconnect::url::Host::Ipv6(address)) => address.to_string(),
        Some(host) => host.to_string(),
        None => return Err(unusable("a URL without a host".to_owned())),
    };
    let ask = Ask {
        tls: url.scheme() == "https",
        host,
        port: url.port_or_known_default().unwrap_or(443),
        authority: url.authority().to_owned(),
        path: url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path())),
        authorization,
        form,
        limit,
    };
    let answer = net.exchange(&ask).map_err(|no| match no {
        NoAnswer::Unreachable(reason) => {
            OidcError::Unreachable { step, reason: shown(&reason, 2 * SAID_MAX) }
        }
        NoAnswer::TooLong => unusable(format!("it is longer than {limit} bytes")),
    })?;
    match answer.status {
        300..=399 => return Err(unusable(format!("status {}: redirects are not followed", answer.status))),
        500..=599 => {
            return Err(OidcError::Unreachable { step, reason: format!("status {}", answer.status) });
        }
        _ => {}
    }
    // Whoever exchanges may have read more than it was told to.
    if answer.body.len() > limit {
        return Err(unusable(format!("it is longer than {limit} bytes")));
    }
    let value = serde_json::from_slice(&answer.body)
        .map_err(|_| unusable(format!("status {}, and not JSON", answer.status)))?;
    Ok((answer.status, value))
}
