//! Finds the endpoint of a request in the table, and reads path and query parameters strictly.

use std::collections::BTreeMap;

use api::{Method, Route, TABLE};

use crate::Fail;

/// Longest path, in bytes: nine segments and a file path of 1,024 bytes, percent-encoded.
const PATH_MAX: usize = 4096;

/// Decoded path parameters, by name.
#[derive(Debug, Default)]
pub(crate) struct Params(BTreeMap<&'static str, String>);

impl Params {
    /// A parameter, if the path has it.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A parameter that the endpoint's path has.
    pub(crate) fn need(&self, name: &str) -> Result<&str, Fail> {
        self.get(name).ok_or_else(|| Fail::invalid(format!("the path has no `{name}`")))
    }

    /// What a path names within its tenant, in the order of the path; empty where it names nothing.
    pub(crate) fn thing(&self, route: &Route) -> String {
        let names = route.path.split(['{', '}', '*']).filter(|name| *name != "tenant");
        names.filter_map(|name| self.get(name)).collect::<Vec<_>>().join("/")
    }
}

/// The endpoint for this method and path.
pub(crate) fn find(method: &axum::http::Method, path: &str) -> Option<(&'static Route, Params)> {
    if path.len() > PATH_MAX {
        return None;
    }
    let rest = path.strip_prefix(api::PREFIX)?;
    TABLE.iter().find_map(|route| {
        let wanted = match route.method {
            Method::Get => axum::http::Method::GET,
            Method::Post => axum::http::Method::POST,
            Method::Put => axum::http::Method::PUT,
        };
        if *method != wanted {
            return None;
        }
        matches(route.path, rest).map(|params| (route, params))
    })
}

fn matches(pattern: &'static str, path: &str) -> Option<Params> {
    let mut params = BTreeMap::new();
    let mut segments = path.split('/');
    for part in pattern.split('/') {
        if let Some(name) = part.strip_prefix("{*").and_then(|p| p.strip_suffix('}')) {
            let rest: Option<Vec<String>> = segments.by_ref().map(decode).collect();
            params.insert(name, rest.filter(|r| !r.is_empty())?.join("/"));
            return Some(Params(params));
        }
        let segment = segments.next()?;
        if let Some(name) = part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            params.insert(name, decode(segment).filter(|s| !s.is_empty() && !s.contains('/'))?);
        } else if part != segment {
            return None;
        }
    }
    if segments.next().is_some() { None } else { Some(Params(params)) }
}

/// Percent-decoding (RFC 3986 section 2.1) to UTF-8; anything malformed is no match.
fn decode(segment: &str) -> Option<String> {
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// Query parameters; a repeated one is refused, as it means two things.
pub(crate) fn query(text: &str) -> Result<BTreeMap<String, String>, Fail> {
    let mut map = BTreeMap::new();
    for pair in text.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(key), Some(value)) = (decode(key), decode(&value.replace('+', " "))) else {
            return Err(Fail::invalid("the query is not percent-encoded UTF-8"));
        };
        if map.insert(key.clone(), value).is_some() {
            return Err(Fail::invalid(format!("the query names `{}` twice", crate::fail::printable(&key))));
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Option<(&'static str, Params)> {
        find(&axum::http::Method::GET, path).map(|(r, p)| (r.operation, p))
    }

    #[test]
    fn paths_find_their_endpoint() {
        assert_eq!(get("/v1/status").unwrap().0, "status");
        let (operation, params) = get("/v1/tenants/acme/models/m/3/files/a/b%20c").unwrap();
        assert_eq!(operation, "model.export");
        assert_eq!(params.get("path"), Some("a/b c"));
        assert_eq!(params.get("version"), Some("3"));
    }

    #[test]
    fn path_tricks_find_nothing() {
        for path in [
            "",
            "/v1",
            "/v1/",
            "/v1/status/",
            "/v2/status",
            "/v1//status",
            "/v1/tenants/%2e%2e%2fx",
            "/v1/tenants/%ff",
            "/v1/tenants/%4",
        ] {
            assert!(get(path).is_none(), "{path}");
        }
        assert!(get(&format!("/v1/tenants/{}", "a".repeat(5000))).is_none());
    }

    #[test]
    fn every_endpoint_is_found_by_its_own_path() {
        for route in TABLE {
            let path: String = route
                .path
                .split('/')
                .skip(1)
                .map(|p| {
                    if p.starts_with('{') { "/x" } else { "" }.to_owned()
                        + &if p.starts_with('{') { String::new() } else { format!("/{p}") }
                })
                .collect();
            let method = match route.method {
                Method::Get => axum::http::Method::GET,
                Method::Post => axum::http::Method::POST,
                Method::Put => axum::http::Method::PUT,
            };
            let (found, params) = find(&method, &format!("/v1{path}")).unwrap();
            assert_eq!(found.operation, route.operation);
            let named = route.path.matches('{').count() - usize::from(route.path.contains("{tenant}"));
            assert_eq!(params.thing(route), vec!["x"; named].join("/"));
        }
    }
}
