//! Providers for tests, each a process of its own, and the exchange with them over real connections.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use base::Timestamp;
use base::config::Oidc;
use net::ClientError;
use net::outgoing::{Outcall, Outgoing};
use strongroom_login::oidc::{Answer, Ask, Exchange, NoAnswer, Provider};

/// A script below `tests/lib/oidc/` that writes where it listens, and ends when its standard input does.
pub(crate) struct Script {
    child: Child,
    /// What it wrote.
    pub(crate) said: String,
}

impl Script {
    pub(crate) fn start(name: &str, argument: &str) -> Self {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/lib/oidc");
        assert!(
            directory.join("node_modules/oidc-provider").is_dir(),
            "the OpenID provider is not there: run scripts/install-deps.sh"
        );
        let mut child = Command::new("node")
            .arg(directory.join(name))
            .arg(argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said = line.split('"').nth(3).unwrap_or_else(|| panic!("{name} said {line:?}")).to_owned();
        Self { child, said }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// The exchange that control does, with a shorter wait.
pub(crate) struct Net {
    runtime: tokio::runtime::Runtime,
    outgoing: Outgoing,
}

impl Net {
    pub(crate) fn new() -> Self {
        Self::trusting(&std::fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap())
    }

    pub(crate) fn trusting(pem: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, outgoing: Outgoing::new(pem).unwrap() }
    }
}

impl Exchange for Net {
    fn exchange(&self, ask: &Ask<'_>) -> Result<Answer, NoAnswer> {
        let mut headers = vec![("accept", "application/json")];
        headers.extend(ask.authorization.map(|value| ("authorization", value)));
        headers.extend(ask.form.as_ref().map(|_| ("content-type", "application/x-www-form-urlencoded")));
        let call = Outcall {
            tls: ask.tls,
            host: &ask.host,
            authority: &ask.authority,
            method: if ask.form.is_some() { "POST" } else { "GET" },
            path: &ask.path,
            headers: &headers,
            body: ask.form.clone().unwrap_or_default(),
            within: Duration::from_secs(2),
            limit: ask.limit,
        };
        let answer = self.runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect((&*ask.host, ask.port))
                .await
                .map_err(|e| NoAnswer::Unreachable(e.to_string()))?;
            Ok(self.outgoing.call(stream, call).await)
        });
        match answer? {
            Ok((status, body)) => Ok(Answer { status, body }),
            Err(ClientError::TooLong { .. }) => Err(NoAnswer::TooLong),
            Err(error) => Err(NoAnswer::Unreachable(base::error::chain(&error))),
        }
    }
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
}

/// A configuration as in a file, below `[login.oidc]`.
pub(crate) fn config(issuer: &str, client: &str, more: &str) -> Oidc {
    let factor = if more.contains("second_factor") { "" } else { "second_factor = { amr = [\"mfa\"] }\n" };
    let text = format!("issuer = \"{issuer}\"\nclient_id = \"{client}\"\n{factor}{more}\n");
    base::config::parse_toml("test", &text).unwrap()
}

pub(crate) fn provider(issuer: &str, client: &str, more: &str) -> Provider {
    let config = config(issuer, client, more);
    let secret = config.client_secret_file.is_some().then_some("s3cret/+%:");
    Provider::new(&config, secret).unwrap()
}

/// A parameter of a URL, where no percent-encoding is needed.
pub(crate) fn parameter(url: &str, name: &str) -> String {
    let query = url.split_once('?').unwrap().1;
    let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no `{name}` in {url}")).to_owned()
}
