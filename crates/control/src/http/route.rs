//! Finds the endpoint of a request in the table, and reads path and query parameters strictly.

use std::collections::BTreeMap;

use api::{Route, TABLE};

use crate::Fail;

/// Longest path, in bytes: nine segments and a file path of 1,024 bytes, percent-encoded.
const PATH_MAX: usize = 4096;
/// Longest query, in bytes: seven parameters of 256 characters, percent-encoded.
const QUERY_MAX: usize = 4096;

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

/// What the table has at a path.
#[derive(Debug)]
pub(crate) enum Found {
    /// An endpoint.
    Endpoint(&'static Route, Params),
    /// Endpoints of other methods only, as `Allow` lists them.
    Methods(String),
    /// Nothing.
    Nothing,
}

/// The endpoint for this method and path.
pub(crate) fn find(method: &str, path: &str) -> Found {
    let rest = path.strip_prefix(api::PREFIX).filter(|_| path.len() <= PATH_MAX);
    let Some(rest) = rest else { return Found::Nothing };
    let mut others = Vec::new();
    for route in TABLE {
        let Some(params) = matches(route.path, rest) else { continue };
        if route.method.as_str() == method {
            return Found::Endpoint(route, params);
        }
        others.push(route.method.as_str());
    }
    if others.is_empty() { Found::Nothing } else { Found::Methods(others.join(", ")) }
}

fn matches(pattern: &'static str, path: &str) -> Option<Params> {
    let mut params = BTreeMap::new();
    let mut segments = path.split('/');
    for part in pattern.split('/') {
        if let Some(name) = part.strip_prefix("{*").and_then(|p| p.strip_suffix('}')) {
            let rest: Option<Vec<String>> = segments.by_ref().map(component).collect();
            params.insert(name, rest.filter(|r| !r.is_empty())?.join("/"));
            return Some(Params(params));
        }
        let segment = segments.next()?;
        if let Some(name) = part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            params.insert(name, component(segment)?);
        } else if part != segment {
            return None;
        }
    }
    if segments.next().is_some() { None } else { Some(Params(params)) }
}

/// One segment of a path as what it names: nothing that another program could read as several segments, as another
/// directory, or as the end of a text. A character that needs no encoding must have none, so that whoever compares
/// paths as text, a log or a proxy, sees the same names as a handler.
fn component(segment: &str) -> Option<String> {
    let text = decode(segment, true)?;
    let plain = !text.is_empty()
        && text != "."
        && text != ".."
        && !text.chars().any(|c| c.is_control() || matches!(c, '/' | '\\'));
    plain.then_some(text)
}

/// Percent-decoding (RFC 3986 section 2.1) to UTF-8; anything malformed is no match. Strictly, only what may stand in a
/// segment is taken raw, and only what may not be confused with that encoded.
fn decode(segment: &str, strict: bool) -> Option<String> {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            let byte = u8::try_from(high * 16 + low).ok()?;
            if strict && unreserved(byte) {
                return None;
            }
            out.push(byte);
        } else if strict && !unreserved(byte) && !b"!$&'()*+,;=:@".contains(&byte) {
            return None;
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// Query parameters of an endpoint. One that it does not have is refused, and a repeated one, as it means two things.
pub(crate) fn query(text: &str, route: &Route) -> Result<BTreeMap<String, String>, Fail> {
    if text.len() > QUERY_MAX {
        return Err(Fail::invalid(format!("the query has more than {QUERY_MAX} bytes")));
    }
    let mut map = BTreeMap::new();
    for pair in text.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(key), Some(value)) = (decode(key, false), decode(&value.replace('+', " "), false)) else {
            return Err(Fail::invalid("the query is not percent-encoded UTF-8"));
        };
        if !route.query.iter().any(|known| known.name == key) {
            let known: Vec<&str> = route.query.iter().map(|known| known.name).collect();
            let known = if known.is_empty() { "it has none".to_owned() } else { known.join(", ") };
            return Err(Fail::invalid(format!(
                "the query has no `{}` here: {known}",
                crate::fail::printable(&key)
            )));
        }
        if map.insert(key.clone(), value).is_some() {
            return Err(Fail::invalid(format!("the query names `{}` twice", crate::fail::printable(&key))));
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get(path: &str) -> Option<(&'static str, Params)> {
        match find("GET", path) {
            Found::Endpoint(route, params) => Some((route.operation, params)),
            Found::Methods(_) | Found::Nothing => None,
        }
    }

    /// As a client writes a name into a path.
    fn encoded(text: &str) -> String {
        text.bytes().fold(String::new(), |out, byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out + &char::from(byte).to_string()
            }
            _ => format!("{out}%{byte:02X}"),
        })
    }

    #[test]
    fn paths_find_their_endpoint() {
        assert_eq!(get("/v1/status").unwrap().0, "status");
        let (operation, params) = get("/v1/tenants/acme/models/m/3/files/a/b%20c").unwrap();
        assert_eq!(operation, "model.export");
        assert_eq!(params.get("path"), Some("a/b c"));
        assert_eq!(params.get("version"), Some("3"));
        assert_eq!(get("/v1/tenants/acme/images/sha256:00").unwrap().1.get("digest"), Some("sha256:00"));
    }

    #[test]
    fn path_tricks_find_nothing() {
        for path in [
            "",
            "/",
            "*",
            "/v1",
            "/v1/",
            "/V1/status",
            "/v1/status/",
            "/v1/status;x",
            "/v1/%73tatus",
            "/v1/./status",
            "/v1/x/../status",
            "/v2/status",
            "//v1/status",
            "/v1//status",
            "/v1/tenants/",
            "/v1/tenants//",
            "/v1/tenants/..",
            "/v1/tenants/.",
            "/v1/tenants/%2e%2e",
            "/v1/tenants/%2e%2e%2fx",
            "/v1/tenants/a%2fb",
            "/v1/tenants/a%5cb",
            "/v1/tenants/a\\b",
            "/v1/tenants/%61cme",
            "/v1/tenants/acme%00",
            "/v1/tenants/acme%0a",
            "/v1/tenants/acme%7f",
            "/v1/tenants/acme%C2%85",
            "/v1/tenants/%ff",
            "/v1/tenants/%c0%af",
            "/v1/tenants/%4",
            "/v1/tenants/%",
            "/v1/tenants/%zz",
            "/v1/tenants/a b",
            "/v1/tenants/\u{430}cme",
            "/v1/tenants/acme/models/m/1/files/",
            "/v1/tenants/acme/models/m/1/files/a//b",
            "/v1/tenants/acme/models/m/1/files/../b",
            "/v1/tenants/acme/models/m/1/files/a%2fb",
            "/v1/tenants/acme/models/m/1/files/%2e%2e/b",
            "/v1/audit/files/%2e%2e/%2e%2e/keeper",
        ] {
            assert!(get(path).is_none(), "{path}");
        }
        assert!(get(&format!("/v1/tenants/{}", "a".repeat(PATH_MAX))).is_none());
    }

    #[test]
    fn another_method_is_told_from_another_path() {
        assert!(matches!(find("DELETE", "/v1/tenants"), Found::Methods(m) if m == "POST, GET"));
        assert!(matches!(find("HEAD", "/v1/status"), Found::Methods(m) if m == "GET"));
        assert!(matches!(find("get", "/v1/status"), Found::Methods(_)), "methods are as they are written");
        assert!(matches!(find("DELETE", "/v1/nothing"), Found::Nothing));
    }

    #[test]
    fn every_endpoint_is_found_by_its_own_path_and_by_no_other() {
        for route in TABLE {
            let path: Vec<&str> =
                route.path.split('/').map(|p| if p.starts_with('{') { "x" } else { p }).collect();
            let Found::Endpoint(found, params) =
                find(route.method.as_str(), &format!("/v1{}", path.join("/")))
            else {
                panic!("{} is not found", route.operation)
            };
            assert_eq!(found.operation, route.operation);
            let named = route.path.matches('{').count() - usize::from(route.path.contains("{tenant}"));
            assert_eq!(params.thing(route), vec!["x"; named].join("/"));
            assert_eq!(route.path_params().count(), route.path.matches('{').count());
        }
    }

    #[test]
    fn a_query_has_known_names_once() {
        let search = TABLE.iter().find(|r| r.operation == "audit.search").unwrap();
        assert_eq!(query("text=a%20b+c&limit=5", search).unwrap()["text"], "a b c");
        for wrong in
            ["limit=1&limit=1", "limi=1", "%6cimit=1&limit=2", "text=%ff", "text=%", &"a".repeat(5000)]
        {
            assert_eq!(query(wrong, search).unwrap_err().status, 400, "{wrong}");
        }
        let status = TABLE.iter().find(|r| r.operation == "status").unwrap();
        assert_eq!(query("", status).unwrap().len(), 0);
        assert!(query("x", status).is_err());
    }

    proptest! {
        #[test]
        fn a_name_reaches_the_handler_as_it_was_meant_or_not_at_all(name in "\\PC{0,24}|[./%;\\\\a-c\u{0}\u{430}-\u{433}]{0,8}") {
            let path = format!("/v1/tenants/acme/models/{}/1/files/{}/x", encoded(&name), encoded(&name));
            if let Some((operation, params)) = get(&path) {
                prop_assert_eq!(operation, "model.export");
                prop_assert_eq!(params.get("tenant"), Some("acme"));
                prop_assert_eq!(params.get("name"), Some(&*name));
                prop_assert_eq!(params.get("version"), Some("1"));
                let file = format!("{name}/x");
                prop_assert_eq!(params.get("path"), Some(&*file));
                prop_assert!(!name.contains(['/', '\\', '\0']) && name != ".." && name != "." && !name.is_empty());
            }
        }

        #[test]
        fn no_two_paths_that_differ_in_more_than_reserved_characters_name_the_same(
            path in "/v1/tenants/([a-c./;%]|%2[EeFfBb5]|%6[1-3]|%00|%c3%a4){1,8}(/datasets)?"
        ) {
            if let Some((_, params)) = get(&path) {
                let again = path.replace("%3B", ";").replace("%3b", ";").replace("%2B", "+").replace("%2b", "+");
                let name = params.get("tenant").unwrap();
                let written = format!("/v1/tenants/{}", encoded(name)).replace("%3B", ";").replace("%2B", "+");
                let end = if path.ends_with("/datasets") { "/datasets" } else { "" };
                prop_assert_eq!(again.to_ascii_lowercase(), format!("{written}{end}").to_ascii_lowercase());
            }
        }

        #[test]
        fn nothing_that_is_asked_for_breaks_the_router(method in "\\PC{0,8}", path in "\\PC{0,64}", text in "\\PC{0,64}") {
            let _found = find(&method, &format!("/v1{path}"));
            let search = TABLE.iter().find(|r| r.operation == "audit.search").unwrap();
            query(&text, search).unwrap_or_default();
        }
    }
}
