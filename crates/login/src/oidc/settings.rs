//! The configuration, checked once.

use base::Secret;
use base::config::{Oidc, SecondFactor};
use openidconnect::url::{Host, Url};

use super::error::OidcError;
use super::limits::URL_MAX;

/// What a provider is asked by, and what is expected of it.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) issuer: String,
    /// Plain HTTP may be spoken, on loopback alone.
    pub(super) plain: bool,
    pub(super) discovery: Url,
    pub(super) client_id: String,
    pub(super) secret: Option<Secret<String>>,
    pub(super) scope: String,
    pub(super) groups_claim: String,
    pub(super) second_factor: SecondFactor,
}

impl Settings {
    /// `secret` is the content of the client's secret file. The configuration itself has been checked for its mode.
    pub(super) fn new(config: &Oidc, secret: Option<&str>) -> Result<Self, OidcError> {
        let refuse = |why: &str| OidcError::Settings(why.to_owned());
        let plain = config.issuer.starts_with("http://");
        // OpenID Connect Discovery 1.0 section 4.1: a terminating `/` is removed first.
        let document = format!("{}/.well-known/openid-configuration", config.issuer.trim_end_matches('/'));
        let discovery =
            endpoint(&document, plain).ok_or_else(|| refuse("`issuer` is not a URL that can be asked"))?;
        let secret = secret.map(str::trim);
        if config.client_secret_file.is_some() != secret.is_some() {
            return Err(refuse("`client_secret_file` was not read"));
        }
        if secret.is_some_and(|text| text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(refuse("`client_secret_file` holds no secret: printable ASCII on one line"));
        }
        Ok(Self {
            issuer: config.issuer.clone(),
            plain,
            discovery,
            client_id: config.client_id.clone(),
            secret: secret.map(|text| Secret::new(text.to_owned())),
            scope: config.scopes.join(" "),
            groups_claim: config.groups_claim.clone(),
            second_factor: config.second_factor.clone(),
        })
    }
}

/// A URL that may be asked, or that people may be sent to: `https`, or with `plain` also `http` on loopback; no user, no
/// password, no fragment.
pub(super) fn endpoint(text: &str, plain: bool) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|_| text.len() <= URL_MAX && text.is_ascii())?;
    let named = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    let safe = match url.scheme() {
        "https" => url.host().is_some(),
        "http" => plain && is_loopback(&url),
        _ => false,
    };
    (named && safe).then_some(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_that_may_be_asked_are_endpoints() {
        for (url, plain, fits) in [
            ("https://id.example.org/token", false, true),
            ("https://id.example.org:8443/token?a=b", false, true),
            ("http://127.0.0.1:9000/token", true, true),
            ("http://[::1]:9000/token", true, true),
            ("http://localhost/token", true, true),
            ("http://127.0.0.1:9000/token", false, false),
            ("http://id.example.org/token", true, false),
            ("http://127.0.0.1.example.org/", true, false),
            ("http://169.254.169.254/latest", true, false),
            ("https://user@id.example.org/", false, false),
            ("https://:pw@id.example.org/", false, false),
            ("https://id.example.org/#a", false, false),
            ("https://id.exämple.org/", false, false),
            ("file:///etc/passwd", true, false),
            ("unix:/run/x.sock", true, false),
            ("javascript:alert(1)", true, false),
            ("//id.example.org/", true, false),
            ("", true, false),
        ] {
            assert_eq!(endpoint(url, plain).is_some(), fits, "{url}");
        }
        assert!(endpoint(&format!("https://id.example.org/{}", "a".repeat(URL_MAX)), false).is_none());
    }

    #[test]
    fn a_secret_is_one_line_and_there_if_it_is_named() {
        let text = "issuer = \"https://id.example.org\"\nclient_id = \"c\"\nsecond_factor = \"provider\"\n";
        let parse = |more: &str| base::config::parse_toml::<Oidc>("f", &format!("{text}{more}")).unwrap();
        let (without, with) = (parse(""), parse("client_secret_file = \"/s\"\n"));
        assert!(Settings::new(&without, None).is_ok());
        assert!(Settings::new(&without, Some("s")).is_err());
        assert!(Settings::new(&with, None).is_err());
        assert!(Settings::new(&with, Some(" s3cret/+%:\n")).is_ok());
        for bad in ["", "\n", "two\nlines", "two words", "ä", "nul\0"] {
            assert!(Settings::new(&with, Some(bad)).is_err(), "{bad:?}");
        }
    }
}
