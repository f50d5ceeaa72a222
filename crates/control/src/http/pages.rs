//! The pages on which people use their passkeys. They are the only answers to browsers, say nothing about the node, and
//! do what they do by the API like any other client.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Uri, header};
use axum::response::Response;

/// Everything that browsers may load, by its exact path.
const FILES: &[(&str, &str, &str)] = &[
    ("/login", "text/html; charset=utf-8", include_str!("pages/login.html")),
    ("/enrol", "text/html; charset=utf-8", include_str!("pages/enrol.html")),
    ("/passkey.css", "text/css; charset=utf-8", include_str!("pages/passkey.css")),
    ("/passkey.js", "text/javascript; charset=utf-8", include_str!("pages/passkey.js")),
];

/// What a page may do: run the one script, ask its own origin. Nobody frames it, and no text becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
     trusted-types 'none'";

/// And what goes with each: the links hold secrets, so nothing is kept and nobody is told where they were.
const HEADERS: &[(&str, &str)] = &[
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "publickey-credentials-get=(self), publickey-credentials-create=(self)"),
];

/// The page at this path, if there is one and it is asked for as browsers do.
pub(super) fn find(method: &Method, uri: &Uri) -> Option<Response> {
    let (_, kind, text) = FILES.iter().find(|(path, ..)| *path == uri.path())?;
    if method != Method::GET || uri.query().is_some() {
        return None;
    }
    let mut response = Response::new(Body::from(*text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(target: &str) -> Option<Response> {
        find(&Method::GET, &target.parse().unwrap())
    }

    #[test]
    fn a_page_has_one_path_and_one_method() {
        for (path, kind, _) in FILES {
            let page = get(path).unwrap();
            assert_eq!(page.headers()[header::CONTENT_TYPE], kind);
            for (name, value) in HEADERS {
                assert_eq!(page.headers()[*name], value);
            }
            for other in ["/", "?", "?x=1", ".html", "%20"] {
                assert!(get(&format!("{path}{other}")).is_none(), "{path}{other}");
            }
            for method in [Method::POST, Method::HEAD, Method::OPTIONS, Method::PUT] {
                assert!(find(&method, &path.parse().unwrap()).is_none(), "{method} {path}");
            }
        }
        for absent in
            ["/", "/LOGIN", "//login", "/pages/login.html", "/login/../enrol", "/%6cogin", "/favicon.ico"]
        {
            assert!(get(absent).is_none(), "{absent}");
        }
    }

    #[test]
    fn pages_need_nothing_that_their_policy_forbids() {
        for (path, kind, text) in FILES {
            assert!(text.len() < 16 * 1024, "{path} is small");
            if kind.starts_with("text/html") {
                for inline in [" style=", "<style", "javascript:", "http:", "https:", "//"] {
                    assert!(!text.contains(inline), "{path} has `{inline}`");
                }
                let handler = |word: &str| word.starts_with("on") && word.contains('=');
                assert!(!text.split_whitespace().any(handler), "{path} has a handler");
                assert_eq!(text.matches("<script").count(), 1, "{path}");
                assert!(text.contains("<script type=\"module\" src=\"/passkey.js\"></script>"), "{path}");
                for loaded in text.split("src=\"").chain(text.split("href=\"")).skip(1) {
                    let target = loaded.split('"').next().unwrap();
                    assert!(!target.starts_with('/') || get(target).is_some(), "{path} loads {target}");
                }
            }
            for sink in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function("] {
                assert!(!text.contains(sink), "{path} has `{sink}`");
            }
        }
    }
}
