//! `[login.oidc]`: the OpenID provider that people log in with.

use std::path::PathBuf;

use serde::Deserialize;

use super::Mode;
use crate::names::Name;

/// Longest issuer, in bytes.
const ISSUER_MAX: usize = 512;
/// Longest client id, scope, claim name, group, or value of a second factor, in bytes.
const WORD_MAX: usize = 256;
/// Most values in one list, and most groups with rights.
const LIST_MAX: usize = 256;

/// The OpenID provider. No key has a default that trusts anything.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// The provider, as it names itself, byte for byte: `https://id.example.org`. Plain `http` only with `mode = "dev"` and
    /// on loopback.
    pub issuer: String,
    /// As whom the node is known there.
    pub client_id: String,
    /// A file with the client's secret; none: a public client.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// The certificate authorities that may speak for the provider, in PEM; none: those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Hosts beside the issuer's where the provider has endpoints or keys, with a port where it is not 443:
    /// `oauth2.example.org`, `keys.example.org:8443`. The node connects to no other.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// What is asked for; `openid` among it.
    #[serde(default = "scopes")]
    pub scopes: Vec<String>,
    /// The claim of the ID token that lists a person's groups.
    #[serde(default = "groups_claim")]
    pub groups_claim: String,
    /// How the node knows that a second factor was used.
    pub second_factor: SecondFactor,
    /// What members of a group may do, for one session at a time.
    #[serde(default)]
    pub grants: Vec<GroupGrant>,
}

/// How the node knows that a second factor was used. One of these must be chosen.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecondFactor {
    /// The ID token lists one of these authentication methods (RFC 8176), as in `amr = ["mfa"]`.
    Amr(Vec<String>),
    /// The ID token is of one of these authentication context classes, which are also asked for.
    Acr(Vec<String>),
    /// The provider demands it of everybody who logs in to this client. The node cannot see that, and says so.
    Provider,
}

/// A role for the members of a group.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupGrant {
    /// The group, as the provider writes it.
    pub group: String,
    /// In which tenant; none: on the node.
    #[serde(default)]
    pub tenant: Option<Name>,
    /// The role.
    pub role: String,
}

fn scopes() -> Vec<String> {
    ["openid", "profile", "email"].map(str::to_owned).to_vec()
}

fn groups_claim() -> String {
    "groups".to_owned()
}

impl Oidc {
    /// Host and port of the issuer and of all other hosts; hosts are in lower case and without brackets.
    pub fn destinations(&self) -> Vec<(String, u16)> {
        let (scheme, rest) = self.issuer.split_once("://").unwrap_or(("https", &self.issuer));
        let own = rest.split('/').next().unwrap_or("");
        let port = if scheme == "http" { 80 } else { 443 };
        let named = self.hosts.iter().map(|host| (host.as_str(), 443));
        std::iter::once((own, port)).chain(named).filter_map(|(host, port)| destination(host, port)).collect()
    }

    /// What cannot be, said before anything is asked of the provider.
    pub(super) fn check(&self, mode: Mode) -> Result<(), String> {
        issuer(&self.issuer, mode).map_err(|why| format!("`login.oidc.issuer`: {why}"))?;
        word("client_id", &self.client_id)?;
        word("groups_claim", &self.groups_claim)?;
        list("scopes", &self.scopes)?;
        if self.scopes.iter().any(|scope| scope.contains(' ')) {
            return Err("`login.oidc.scopes`: one scope is one word".to_owned());
        }
        if !self.scopes.iter().any(|scope| scope == "openid") {
            return Err(
                "`login.oidc.scopes`: without `openid` there is no proof of who somebody is".to_owned()
            );
        }
        if self.hosts.len() > LIST_MAX {
            return Err(format!("`login.oidc.hosts`: more than {LIST_MAX}"));
        }
        if let Some(bad) = self.hosts.iter().find(|host| destination(host, 443).is_none()) {
            return Err(format!("`login.oidc.hosts`: `{bad}` is not a host, as in `keys.example.org:8443`"));
        }
        for (name, file) in [("client_secret_file", &self.client_secret_file), ("ca_file", &self.ca_file)] {
            if file.as_ref().is_some_and(|path| !path.is_absolute()) {
                return Err(format!("`login.oidc.{name}` must be an absolute path"));
            }
        }
        match &self.second_factor {
            SecondFactor::Amr(values) => list("second_factor.amr", values)?,
            SecondFactor::Acr(values) => list("second_factor.acr", values)?,
            SecondFactor::Provider => {}
        }
        if self.grants.len() > LIST_MAX {
            return Err(format!("`login.oidc.grants`: more than {LIST_MAX}"));
        }
        self.grants
            .iter()
            .try_for_each(|grant| word("grants.group", &grant.group).and(word("grants.role", &grant.role)))
    }
}

/// Host and port of `host`, `host:port` or `[address]:port`.
fn destination(text: &str, port: u16) -> Option<(String, u16)> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => {
            let (host, rest) = inner.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, rest)
        }
        None => {
            let end = text.find(':').unwrap_or(text.len());
            let (host, rest) = (text.get(..end)?, text.get(end..)?);
            let fits = !host.is_empty() && host.len() <= WORD_MAX && host.chars().all(plain);
            fits.then_some((host, rest))?
        }
    };
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => port,
        None => return None,
        Some(digits) => digits.parse().ok().filter(|port| *port != 0)?,
    };
    Some((host.to_ascii_lowercase(), port))
}

fn list(name: &str, values: &[String]) -> Result<(), String> {
    if values.is_empty() || values.len() > LIST_MAX {
        return Err(format!("`login.oidc.{name}` lists 1 to {LIST_MAX} values"));
    }
    values.iter().try_for_each(|value| word(name, value))
}

fn word(name: &str, value: &str) -> Result<(), String> {
    if value.is_empty() || value.len() > WORD_MAX || value.chars().any(char::is_control) {
        return Err(format!("`login.oidc.{name}`: a value has 1 to {WORD_MAX} printable characters"));
    }
    Ok(())
}

/// `https`, a host, perhaps a port and a path (OpenID Connect Discovery 1.0 section 3), and nothing that two readers could
/// take for two hosts.
fn issuer(text: &str, mode: Mode) -> Result<(), String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | '/' | ':' | '[' | ']');
    if authority.is_empty()
        || text.len() > ISSUER_MAX
        || !authority.chars().chain(path.chars()).all(plain)
        || format!("/{path}/").contains("/../")
    {
        return Err("give it as the provider names itself, as in `https://id.example.org`".to_owned());
    }
    // The port, if any, is behind the last `:` that is not within the brackets of an IPv6 address.
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    match scheme {
        "https" => Ok(()),
        "http" if mode == Mode::Dev && matches!(host, "127.0.0.1" | "[::1]" | "localhost") => Ok(()),
        "http" => {
            Err("plain `http` is taken with `mode = \"dev\"` and on loopback only; use `https`".to_owned())
        }
        _ => Err("it begins with `https://`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "issuer = \"https://id.example.org\"\nclient_id = \"strongroom\"\nsecond_factor = { amr = [\"mfa\"] }\n";

    fn parse(text: &str, mode: Mode) -> Result<Oidc, String> {
        let oidc: Oidc = super::super::parse_toml("f", text).map_err(|e| e.to_string())?;
        oidc.check(mode).map(|()| oidc)
    }

    #[test]
    fn what_has_a_default_trusts_nothing() {
        let oidc = parse(GOOD, Mode::Production).unwrap();
        assert_eq!(
            (oidc.scopes.join(" ").as_str(), oidc.groups_claim.as_str()),
            ("openid profile email", "groups")
        );
        assert!(oidc.grants.is_empty());
        let without = GOOD.replace("second_factor = { amr = [\"mfa\"] }\n", "");
        assert!(parse(&without, Mode::Production).unwrap_err().contains("second_factor"));
    }

    #[test]
    fn a_second_factor_is_one_of_three() {
        let with = |value: &str| {
            parse(&GOOD.replace("{ amr = [\"mfa\"] }", value), Mode::Production).map(|o| o.second_factor)
        };
        assert_eq!(with("\"provider\"").unwrap(), SecondFactor::Provider);
        assert_eq!(with("{ acr = [\"gold\"] }").unwrap(), SecondFactor::Acr(vec!["gold".to_owned()]));
        for bad in
            ["\"none\"", "{ amr = [] }", "{ amr = [\"\"] }", "{ amr = [\"a\"], acr = [\"b\"] }", "{}", "true"]
        {
            assert!(with(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn groups_give_roles() {
        let text = format!(
            "{GOOD}[[grants]]\ngroup = \"ml\"\ntenant = \"acme\"\nrole = \"ml-engineer\"\n[[grants]]\ngroup = \"sec\"\nrole = \"security\"\n"
        );
        let grants = parse(&text, Mode::Production).unwrap().grants;
        let tenants: Vec<_> = grants.iter().map(|g| g.tenant.as_ref().map(Name::as_str)).collect();
        assert_eq!(tenants, [Some("acme"), None]);
        assert!(parse(&text.replace("acme", "../acme"), Mode::Production).is_err());
    }

    #[test]
    fn an_issuer_is_https_and_one_host() {
        for good in
            ["https://id.example.org", "https://id.example.org:8443/realms/acme", "https://[2001:db8::1]/x/"]
        {
            assert!(parse(&GOOD.replace("https://id.example.org", good), Mode::Production).is_ok(), "{good}");
        }
        for loopback in ["http://127.0.0.1:9000", "http://[::1]:9000", "http://localhost/x"] {
            let text = GOOD.replace("https://id.example.org", loopback);
            assert!(parse(&text, Mode::Dev).is_ok(), "{loopback}");
            assert!(parse(&text, Mode::Production).is_err(), "{loopback} in service");
        }
        for bad in [
            "http://id.example.org",
            "http://127.0.0.1@id.example.org",
            "http://127.0.0.1.example.org",
            "http://localhost:80.example.org",
            "https://",
            "https://a@b",
            "https://a?b",
            "https://a#b",
            "https://a/../b",
            "https://a\\\\b",
            "https://é.example",
            "ftp://a",
            "id.example.org",
            "",
        ] {
            assert!(parse(&GOOD.replace("https://id.example.org", bad), Mode::Dev).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_node_asks_the_issuer_and_the_hosts_that_are_named() {
        let of = |issuer: &str, more: &str, mode| {
            let text = GOOD.replace("https://id.example.org", issuer);
            parse(&format!("{text}{more}\n"), mode).map(|oidc| oidc.destinations())
        };
        let host = |host: &str, port| (host.to_owned(), port);
        assert_eq!(
            of("https://ID.example.org/x", "", Mode::Production).unwrap(),
            [host("id.example.org", 443)]
        );
        assert_eq!(
            of("https://[2001:db8::1]:8443/", "", Mode::Production).unwrap(),
            [host("2001:db8::1", 8443)]
        );
        assert_eq!(of("http://127.0.0.1/x", "", Mode::Dev).unwrap(), [host("127.0.0.1", 80)]);
        let more = "hosts = [\"keys.example.org\", \"[::1]:9\", \"a.example:8443\"]";
        let all = of("https://id.example.org", more, Mode::Production).unwrap();
        assert_eq!(all[1..], [host("keys.example.org", 443), host("::1", 9), host("a.example", 8443)]);
        for bad in
            ["", "https://a", "a/b", "a:0", "a:65536", "a:", "::1", "[::1", "[a]", "a:1:2", "a b", "*.a/"]
        {
            let more = format!("hosts = [\"{bad}\"]");
            assert!(of("https://id.example.org", &more, Mode::Production).is_err(), "{bad}");
        }
    }

    #[test]
    fn impossible_values_are_refused() {
        for more in [
            "scopes = [\"profile\"]",
            "scopes = [\"openid profile\"]",
            "scopes = []",
            "ca_file = \"ca.pem\"",
            "client_secret_file = \"secret\"",
            "groups_claim = \"\"",
            "client_secret = \"x\"",
        ] {
            assert!(parse(&format!("{GOOD}{more}\n"), Mode::Production).is_err(), "{more}");
        }
    }
}
