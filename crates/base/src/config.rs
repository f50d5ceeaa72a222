//! The configuration file: one TOML document, `version = 1`, unknown keys refused with a suggestion.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::ByteSize;

mod oidc;
mod release;

pub use oidc::{GroupGrant, Oidc, SecondFactor};
pub use release::Release;

/// The only version of the format.
pub const VERSION: u32 = 1;
/// Longest configuration file, in bytes.
pub const FILE_MAX: u64 = 1 << 20;

/// How the node is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Written by `strongroom dev`: loopback only, software keys, marked for ever in its state.
    Dev,
    /// A node in service. It refuses state that a development node made.
    Production,
}

/// A valid configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Always 1.
    pub version: u32,
    /// How the node is run.
    pub mode: Mode,
    /// The node's name, part of the audit log's origin.
    pub node: String,
    /// Where the node keeps its state; absolute.
    pub state: PathBuf,
    /// Where the programs of this release are; absolute.
    pub programs: PathBuf,
    /// The accounts that the processes run under.
    pub users: Users,
    /// The inference listener.
    pub gateway: Gateway,
    /// The listener of the management plane; none: the API is on the local socket alone.
    #[serde(default)]
    pub management: Option<Management>,
    /// What jobs may use.
    pub jobs: Jobs,
    /// What one tenant may have at once.
    #[serde(default)]
    pub tenants: Tenants,
    /// How much may leave within a day.
    #[serde(default)]
    pub egress: Egress,
    /// How people prove who they are.
    #[serde(default)]
    pub login: Login,
    /// How long sessions of people last.
    #[serde(default)]
    pub sessions: Sessions,
    /// What the rules of access may leave open.
    #[serde(default)]
    pub access: Access,
    /// What models that were made elsewhere go through.
    #[serde(default)]
    pub intake: Intake,
    /// Whose releases of the platform the node takes; none: it takes none.
    #[serde(default)]
    pub release: Option<Release>,
    /// How models are watched over.
    #[serde(default)]
    pub models: Models,
}

/// Numeric user ids, one per process; equal only where the node was started without root.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Users {
    /// The keeper's user.
    pub keeper: u32,
    /// The user of `strongroom serve`.
    pub control: u32,
    /// The user of `strongroom gateway`.
    pub gateway: u32,
    /// The user of `strongroom relay`.
    pub relay: u32,
    /// Who administers the node on its local socket.
    pub operator: u32,
}

/// The inference listener.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// Address and port, `127.0.0.1:8443`; port 0 lets the kernel choose.
    pub listen: String,
}

/// The listener of the management plane.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Management {
    /// Address and port, `127.0.0.1:9443`; port 0 lets the kernel choose.
    pub listen: String,
}

/// What jobs may use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jobs {
    /// Whether `image = "host"` (the host's programs, read-only) is allowed; not pinned, so off in production
    /// unless set.
    #[serde(default)]
    pub allow_host_image: bool,
}

/// What one tenant may have at once, of the node's places: none can take all of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tenants {
    /// Jobs that run; a node runs 32.
    pub running_jobs: u16,
    /// Endpoints that serve; a node serves 64.
    pub endpoints: u16,
}

impl Default for Tenants {
    /// Half of the node.
    fn default() -> Self {
        Self { running_jobs: 16, endpoints: 32 }
    }
}

/// How models are watched over.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Models {
    /// How often a model that is served is verified again, over the bytes that are used; at most a week.
    pub recheck_seconds: u32,
}

impl Default for Models {
    /// Every hour. A hash runs at 1.5 GB/s: of a model of 50 GB that is 1 % of one core.
    fn default() -> Self {
        Self { recheck_seconds: 3600 }
    }
}

impl Models {
    const RECHECK_MAX: u32 = 7 * 24 * 3600;

    fn check(&self) -> Result<(), String> {
        match self.recheck_seconds {
            1..=Self::RECHECK_MAX => Ok(()),
            _ => Err(format!("`models.recheck_seconds` is from 1 to {}", Self::RECHECK_MAX)),
        }
    }
}

/// Bytes of models that may leave within 24 hours. A cap below the size of the weights keeps whoever steals a key from
/// taking a whole copy in a day.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Egress {
    /// By one principal: the operator, or one key.
    pub per_principal: ByteSize,
    /// By all keys and services of one tenant; none: half of `total`, and no less than `per_principal`.
    pub per_tenant: Option<ByteSize>,
    /// By all of them.
    pub total: ByteSize,
    /// Life of a certificate by which a job is known where an egress speaks in its name; renewed when half of it is over.
    pub certificate_seconds: u32,
}

impl Egress {
    /// Lives of certificates that make sense: time to renew them, and soon over for whoever has one.
    const CERTIFICATE_SECONDS: std::ops::RangeInclusive<u32> = 10..=3600;

    /// How much one tenant may take out.
    pub fn per_tenant(&self) -> ByteSize {
        let half = ByteSize::from_bytes(self.total.bytes() / 2);
        self.per_tenant.unwrap_or(if half < self.per_principal { self.per_principal } else { half })
    }
}

impl Egress {
    fn check(&self) -> Result<(), String> {
        let lives = Self::CERTIFICATE_SECONDS;
        if !lives.contains(&self.certificate_seconds) {
            return Err(format!("`egress.certificate_seconds` is from {} to {}", lives.start(), lives.end()));
        }
        if self.total < self.per_principal {
            return Err(
                "`egress`: `total` is less than `per_principal`; all together take at least what one may"
                    .to_owned(),
            );
        }
        let fits = self.per_principal <= self.per_tenant() && self.per_tenant() <= self.total;
        if fits {
            Ok(())
        } else {
            Err("`egress`: `per_tenant` is from `per_principal` to `total`".to_owned())
        }
    }
}

impl Default for Egress {
    /// One principal takes out a model of 7 billion parameters in 16 bits, all together four.
    fn default() -> Self {
        Self {
            per_principal: ByteSize::from_bytes(16 << 30),
            per_tenant: None,
            total: ByteSize::from_bytes(64 << 30),
            certificate_seconds: 600,
        }
    }
}

/// How people prove who they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Login {
    /// Passkeys of local accounts.
    pub passkeys: Option<Passkeys>,
    /// The OpenID provider; none: nobody logs in by one.
    pub oidc: Option<Oidc>,
}

/// Passkeys of local accounts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passkeys {
    /// The host name under which browsers reach the management plane, `node.example`. Every passkey is bound to it: under
    /// another name none of them works.
    pub host: String,
}

/// How long sessions of people last, in seconds. NIST SP 800-63B-4 section 2.2.3 (AAL2) asks for a new proof after 24
/// hours at most, and after one hour without a request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sessions {
    /// Without a request; at most an hour.
    pub idle_seconds: u32,
    /// In all; at most a day.
    pub absolute_seconds: u32,
    /// How long after the proof operations of high risk may be done; at most a quarter of an hour.
    pub fresh_seconds: u32,
}

impl Default for Sessions {
    /// A quarter of an hour, half a day, and five minutes.
    fn default() -> Self {
        Self { idle_seconds: 15 * 60, absolute_seconds: 12 * 3600, fresh_seconds: 5 * 60 }
    }
}

impl Sessions {
    const IDLE_MAX: u32 = 3600;
    const ABSOLUTE_MAX: u32 = 24 * 3600;
    const FRESH_MAX: u32 = 15 * 60;

    fn check(&self) -> Result<(), String> {
        for (name, value, max) in [
            ("idle_seconds", self.idle_seconds, Self::IDLE_MAX),
            ("absolute_seconds", self.absolute_seconds, Self::ABSOLUTE_MAX),
            ("fresh_seconds", self.fresh_seconds, Self::FRESH_MAX),
        ] {
            if !(1..=max).contains(&value) {
                return Err(format!("`sessions.{name}` is 1 to {max}"));
            }
        }
        Ok(())
    }
}

/// What the rules of access may leave open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// Whether what needs two people does: without it one does it alone. A node in service never leaves it off.
    pub two_people: Option<bool>,
}

/// What models that were made elsewhere go through before their first use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Intake {
    /// Whether their behaviour is measured; unset: in service it is, in development it need not be.
    pub acceptance: Option<Acceptance>,
    /// For a tenant, where models may come from: each the whole text of a source, or, with `/` at its end, its
    /// beginning. A tenant without a list may say anything.
    pub sources: std::collections::BTreeMap<String, Vec<String>>,
}

/// Whether the behaviour of a model that was made elsewhere is measured before its first use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Acceptance {
    /// Always.
    Required,
    /// It may be left out, which the log and the Model BoM say.
    Waived,
}

impl Intake {
    /// Tenants that may have a list, and most entries of one.
    const LISTS_MAX: usize = 1000;
    /// Longest entry, in bytes.
    const SOURCE_MAX: usize = 1024;

    fn check(&self) -> Result<(), String> {
        if self.sources.len() > Self::LISTS_MAX {
            return Err(format!("`intake.sources`: at most {} tenants", Self::LISTS_MAX));
        }
        for (tenant, list) in &self.sources {
            tenant.parse::<crate::names::Name>().map_err(|e| format!("`intake.sources`: {e}"))?;
            let fits = |s: &String| (1..=Self::SOURCE_MAX).contains(&s.len()) && s.trim() == s && s != "/";
            if list.len() > Self::LISTS_MAX || !list.iter().all(fits) {
                return Err(format!(
                    "`intake.sources.{tenant}`: at most {} entries of 1 to {} bytes",
                    Self::LISTS_MAX,
                    Self::SOURCE_MAX
                ));
            }
        }
        Ok(())
    }

    /// Whether a tenant may take in what is from there.
    pub fn is_approved(&self, tenant: &str, source: &str) -> bool {
        let Some(list) = self.sources.get(tenant) else { return true };
        list.iter().any(|entry| match source.strip_prefix(entry.as_str()) {
            Some("") => true,
            // Below an approved place, and not by a way that leads out of it again.
            Some(rest) => {
                entry.ends_with('/')
                    && rest.split(['/', '\\']).all(|part| !part.is_empty() && part != "." && part != "..")
                    && !rest.contains(['%', '?', '#', '@'])
            }
            None => false,
        })
    }
}

/// Where the processes of a node meet, all below [`Config::state`].
impl Config {
    /// The host name that passkeys are bound to, or why there are none.
    ///
    /// # Errors
    /// What is missing, and where to set it.
    pub fn passkey_host(&self) -> Result<&str, &'static str> {
        match (&self.management, &self.login.passkeys, self.mode) {
            (None, _, _) => Err("the management plane is off; `[management]` turns it on"),
            (Some(_), Some(passkeys), _) => Ok(&passkeys.host),
            (Some(_), None, Mode::Dev) => Ok("localhost"),
            (Some(_), None, Mode::Production) => {
                Err("browsers make passkeys for a host name; `[login.passkeys]` names none")
            }
        }
    }
    /// Whether what needs two people does on this node: always in service, and in development where it is asked for.
    pub fn two_people(&self) -> bool {
        self.mode == Mode::Production || self.access.two_people == Some(true)
    }
    /// Whether the behaviour of models that were made elsewhere is measured before their first use.
    pub fn acceptance(&self) -> Acceptance {
        self.intake.acceptance.unwrap_or(match self.mode {
            Mode::Production => Acceptance::Required,
            Mode::Dev => Acceptance::Waived,
        })
    }
    /// The keeper's private directory: keys.
    pub fn keeper_dir(&self) -> PathBuf {
        self.state.join("keeper")
    }
    /// The audit log; written by the keeper alone, readable by control.
    pub fn log_dir(&self) -> PathBuf {
        self.state.join("log")
    }
    /// Control's private directory: metadata and sealed objects.
    pub fn control_dir(&self) -> PathBuf {
        self.state.join("control")
    }
    /// The gateway's private directory: its certificate.
    pub fn gateway_dir(&self) -> PathBuf {
        self.state.join("gateway")
    }
    /// Control's directory for clients of the management plane: address and certificate authority.
    pub fn management_dir(&self) -> PathBuf {
        self.state.join("management")
    }
    /// Where control says on which address the management plane listens.
    pub fn management_listen_file(&self) -> PathBuf {
        self.management_dir().join("listen")
    }
    /// The certificate authority of the management plane, in PEM, for its clients. The gateway has another.
    pub fn management_ca_file(&self) -> PathBuf {
        self.management_dir().join("ca.pem")
    }
    /// Sockets.
    pub fn run_dir(&self) -> PathBuf {
        self.state.join("run")
    }
    /// Staged releases of the platform; only root writes there.
    pub fn releases_dir(&self) -> PathBuf {
        self.state.join("releases")
    }
    /// The keeper's socket; peers are told apart by their user id.
    pub fn keeper_socket(&self) -> PathBuf {
        self.run_dir().join("keeper.sock")
    }
    /// The warden's socket; only control may speak.
    pub fn warden_socket(&self) -> PathBuf {
        self.run_dir().join("warden.sock")
    }
    /// The API of control: HTTP over a unix socket.
    pub fn control_socket(&self) -> PathBuf {
        self.run_dir().join("control.sock")
    }
    /// Where the gateway takes its policy snapshot from control.
    pub fn gateway_socket(&self) -> PathBuf {
        self.run_dir().join("gateway.sock")
    }
    /// Where the relay takes orders from control.
    pub fn relay_socket(&self) -> PathBuf {
        self.run_dir().join("relay.sock")
    }
    /// The directory of endpoint sockets; only the warden writes it and only the gateway enters it.
    pub fn endpoints_dir(&self) -> PathBuf {
        self.run_dir().join("endpoints")
    }
    /// Where the gateway says which address it listens on.
    pub fn listen_file(&self) -> PathBuf {
        self.gateway_dir().join("listen")
    }
    /// The node's own certificate authority, in PEM, for clients of the gateway.
    pub fn ca_file(&self) -> PathBuf {
        self.gateway_dir().join("ca.pem")
    }
}

/// The configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML, or a key or value that is not allowed.
    #[error("{file}:{line}:{column}: {reason}")]
    Syntax {
        /// Name of the file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong, with a suggestion where one is near.
        reason: String,
    },
    /// A value that is well-formed but cannot be.
    #[error("{file}: {reason}")]
    Value {
        /// Name of the file.
        file: String,
        /// What is wrong.
        reason: String,
    },
}

impl crate::Explain for ConfigError {
    fn code(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "SR-CFG-0001",
            Self::Value { .. } => "SR-CFG-0002",
        }
    }
    fn fault(&self) -> crate::Fault {
        crate::Fault::Operator
    }
    fn help(&self) -> Option<crate::Help> {
        Some("mend the line named above, then start again with `strongroom dev`")
    }
}

/// Parses TOML into any `deny_unknown_fields` structure, with line, column and "did you mean".
///
/// # Errors
/// [`ConfigError::Syntax`].
pub fn parse_toml<T: serde::de::DeserializeOwned>(file: &str, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|e| {
        let at = e.span().map_or(0, |s| s.start).min(text.len());
        let before = text.get(..at).unwrap_or("");
        let line = before.matches('\n').count().saturating_add(1);
        let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()).saturating_add(1);
        ConfigError::Syntax { file: file.to_owned(), line, column, reason: reason(e.message()) }
    })
}

/// Adds a suggestion to serde's "unknown field `x`, expected one of `a`, `b`".
fn reason(message: &str) -> String {
    let message = message.trim().replace('\n', "; ");
    if !message.starts_with("unknown field") && !message.starts_with("unknown variant") {
        return message;
    }
    let mut words = message.split('`').skip(1).step_by(2);
    let found = words.next().unwrap_or("").to_owned();
    let known: Vec<&str> = words.collect();
    match crate::names::nearest(&found, known.iter().copied()) {
        Some(near) => format!("unknown key `{found}`: did you mean `{near}`?"),
        None => format!("unknown key `{found}`: known here are {}", known.join(", ")),
    }
}

impl Config {
    /// Parses and checks a configuration.
    ///
    /// # Errors
    /// [`ConfigError`], with the place of the fault.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let config: Self = parse_toml(file, text)?;
        let value = |reason: String| ConfigError::Value { file: file.to_owned(), reason };
        let refuse = |reason: String| Err(value(reason));
        if config.version != VERSION {
            return refuse(format!("version {} is not known; write `version = {VERSION}`", config.version));
        }
        if !config.state.is_absolute() || !config.programs.is_absolute() {
            return refuse("`state` and `programs` must be absolute paths".to_owned());
        }
        if let Err(error) = config.node.parse::<crate::names::Name>() {
            return refuse(format!("`node`: {error}"));
        }
        if config.tenants.running_jobs == 0 || config.tenants.endpoints == 0 {
            return refuse("`tenants`: a share is at least 1".to_owned());
        }
        config.egress.check().map_err(value)?;
        if let Some(oidc) = &config.login.oidc {
            oidc.check(config.mode).map_err(value)?;
        }
        config.sessions.check().map_err(value)?;
        config.models.check().map_err(value)?;
        config.intake.check().map_err(value)?;
        if let Some(release) = &config.release {
            release.trusted().map_err(value)?;
        }
        if config.mode == Mode::Production && config.access.two_people == Some(false) {
            return refuse(
                "`access.two_people`: only `mode = \"dev\"` lets one person do it alone".to_owned(),
            );
        }
        let gateway = listener(config.mode, "gateway", &config.gateway.listen).map_err(value)?;
        if let Some(management) = &config.management {
            let own = listener(config.mode, "management", &management.listen).map_err(value)?;
            let overlap =
                own.ip() == gateway.ip() || own.ip().is_unspecified() || gateway.ip().is_unspecified();
            if own.port() != 0 && own.port() == gateway.port() && overlap {
                return refuse(
                    "`management.listen` and `gateway.listen` are the same: each plane has a listener of its own"
                        .into(),
                );
            }
        }
        Ok(config)
    }
}

/// The address of a listener.
fn listener(mode: Mode, section: &str, listen: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = listen
        .parse()
        .map_err(|_| format!("`{section}.listen` must be an address and port, as in `127.0.0.1:8443`"))?;
    if mode == Mode::Dev && !address.ip().is_loopback() {
        return Err(format!("`mode = \"dev\"`: `{section}` listens on loopback only; use `127.0.0.1`"));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
version = 1
mode = "dev"
node = "dev"
state = "/s"
programs = "/p"
[users]
keeper = 1
control = 2
gateway = 3
relay = 4
operator = 0
[gateway]
listen = "127.0.0.1:0"
[jobs]
allow_host_image = true
"#;

    #[test]
    fn a_good_file_is_read() {
        assert_eq!(Config::parse("f", GOOD).unwrap().mode, Mode::Dev);
    }

    #[test]
    fn a_typo_is_named_with_its_place_and_a_suggestion() {
        let text = GOOD.replace("keeper = 1", "keper = 1");
        let error = Config::parse("f", &text).unwrap_err().to_string();
        assert_eq!(error, "f:8:1: unknown key `keper`: did you mean `keeper`?");
    }

    #[test]
    fn the_share_of_a_tenant_is_half_unless_said_otherwise() {
        let shares = |more: &str| Config::parse("f", &format!("{GOOD}{more}")).map(|c| c.tenants);
        assert_eq!(shares("").unwrap(), Tenants { running_jobs: 16, endpoints: 32 });
        let set = shares("[tenants]\nrunning_jobs = 4\n").unwrap();
        assert_eq!(set, Tenants { running_jobs: 4, endpoints: 32 });
        assert!(shares("[tenants]\nendpoints = 0\n").is_err());
    }

    #[test]
    fn served_models_are_verified_again_every_hour_unless_said_otherwise() {
        let every =
            |more: &str| Config::parse("f", &format!("{GOOD}{more}")).map(|c| c.models.recheck_seconds);
        assert_eq!(every("").unwrap(), 3600);
        assert_eq!(every("[models]\nrecheck_seconds = 1\n").unwrap(), 1);
        for bad in ["0", "604801"] {
            assert!(every(&format!("[models]\nrecheck_seconds = {bad}\n")).is_err(), "{bad}");
        }
    }

    #[test]
    fn caps_on_what_leaves_are_sizes() {
        let caps = |more: &str| Config::parse("f", &format!("{GOOD}[egress]\n{more}")).map(|c| c.egress);
        assert_eq!(caps("").unwrap(), Egress::default());
        assert_eq!(caps("per_principal = \"1GiB\"").unwrap().per_principal.bytes(), 1 << 30);
        assert!(caps("per_principal = \"1 gig\"").unwrap_err().to_string().contains("`1 gig` is not a size"));
        assert!(caps("total = \"1KiB\"").unwrap_err().to_string().contains("less than `per_principal`"));
        assert_eq!(caps("").unwrap().per_tenant().bytes(), 32 << 30);
        assert_eq!(caps("total = \"20GiB\"").unwrap().per_tenant().bytes(), 16 << 30);
        assert_eq!(caps("per_tenant = \"17GiB\"").unwrap().per_tenant().bytes(), 17 << 30);
        for bad in ["1GiB", "65GiB"] {
            let refused = caps(&format!("per_tenant = \"{bad}\"")).unwrap_err().to_string();
            assert!(refused.contains("from `per_principal` to `total`"), "{refused}");
        }
        for (seconds, good) in [(9, false), (10, true), (3600, true), (3601, false)] {
            let read = caps(&format!("certificate_seconds = {seconds}"));
            assert_eq!(read.is_ok(), good, "{read:?}");
        }
    }

    #[test]
    fn passkeys_are_of_a_host_name() {
        let host = |mode: &str, more: &str| {
            let text = GOOD.replace("\"dev\"\nnode", &format!("\"{mode}\"\nnode"));
            let config = Config::parse("f", &format!("{text}{more}")).unwrap();
            config.passkey_host().map(str::to_owned)
        };
        let plane = "[management]\nlisten = \"127.0.0.1:9443\"\n";
        let named = format!("{plane}[login.passkeys]\nhost = \"node.example\"\n");
        assert_eq!(host("dev", plane).unwrap(), "localhost");
        assert_eq!(host("dev", &named).unwrap(), "node.example");
        assert_eq!(host("production", &named).unwrap(), "node.example");
        assert!(host("production", plane).unwrap_err().contains("names none"));
        for mode in ["dev", "production"] {
            assert!(host(mode, "").unwrap_err().contains("is off"), "{mode}");
        }
    }

    #[test]
    fn sessions_last_no_longer_than_they_may() {
        let with = |more: &str| Config::parse("f", &format!("{GOOD}[sessions]\n{more}")).map(|c| c.sessions);
        assert_eq!(with("").unwrap(), Sessions::default());
        assert_eq!(with("idle_seconds = 2").unwrap().idle_seconds, 2);
        for bad in
            ["idle_seconds = 0", "idle_seconds = 3601", "absolute_seconds = 86401", "fresh_seconds = 901"]
        {
            assert!(with(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sources_are_compared_whole_or_below_a_place() {
        let list = ["https://hub/acme/", "ann"].map(str::to_owned).to_vec();
        let intake = Intake { acceptance: None, sources: [("acme".to_owned(), list)].into() };
        for good in ["https://hub/acme/m", "https://hub/acme/m/resolve/main", "ann"] {
            assert!(intake.is_approved("acme", good), "{good}");
        }
        for bad in [
            "",
            "anna",
            "Ann",
            " ann",
            "https://hub/acme",
            "https://hub/acme-evil/m",
            "https://hub/acme/../evil/m",
            "https://hub/acme/m/..",
            "https://hub/acme//m",
            "https://hub/acme/%2e%2e/evil",
            "https://hub/acme/m?x=/..",
            "https://hub/acme/\\..\\evil",
            "http://hub/acme/m",
        ] {
            assert!(!intake.is_approved("acme", bad), "{bad}");
        }
        assert!(intake.is_approved("globex", "anything"), "no list, no limit");
        let none = Intake { acceptance: None, sources: [("acme".to_owned(), Vec::new())].into() };
        assert!(!none.is_approved("acme", "ann"), "an empty list approves nothing");
    }

    #[test]
    fn a_node_in_service_needs_two_people() {
        let node = |mode: &str, more: &str| {
            let text = GOOD.replace("\"dev\"\nnode", &format!("\"{mode}\"\nnode"));
            Config::parse("f", &format!("{text}{more}")).map(|c| c.two_people())
        };
        assert_eq!(node("production", ""), Ok(true));
        assert_eq!(node("production", "[access]\ntwo_people = true\n"), Ok(true));
        assert!(node("production", "[access]\ntwo_people = false\n").is_err());
        assert_eq!(node("dev", ""), Ok(false));
        assert_eq!(node("dev", "[access]\ntwo_people = true\n"), Ok(true));
    }

    #[test]
    fn the_planes_have_listeners_of_their_own() {
        let with = |gateway: &str, management: &str| {
            let text = GOOD.replace("127.0.0.1:0", gateway);
            Config::parse("f", &format!("{text}[management]\nlisten = \"{management}\"\n"))
        };
        assert_eq!(Config::parse("f", GOOD).unwrap().management, None);
        assert!(with("127.0.0.1:0", "127.0.0.1:0").is_ok(), "the kernel chooses two ports");
        assert!(with("127.0.0.1:8443", "127.0.0.1:9443").unwrap().management.is_some());
        assert!(with("127.0.0.1:8443", "[::1]:8443").is_ok());
        for (gateway, management) in [
            ("127.0.0.1:8443", "127.0.0.1:8443"),
            ("127.0.0.1:8443", "0.0.0.0:9443"),
            ("127.0.0.1:8443", "here"),
        ] {
            assert!(with(gateway, management).is_err(), "{gateway} {management}");
        }
        let production = |gateway: &str, management: &str| {
            let text = GOOD.replace("\"dev\"\nnode", "\"production\"\nnode").replace("127.0.0.1:0", gateway);
            Config::parse("f", &format!("{text}[management]\nlisten = \"{management}\"\n"))
        };
        assert!(production("0.0.0.0:8443", "192.0.2.1:8443").is_err(), "one takes in the other");
        assert!(production("0.0.0.0:8443", "192.0.2.1:9443").is_ok());
    }

    #[test]
    fn impossible_values_are_refused() {
        for (from, to) in [
            ("version = 1", "version = 2"),
            ("\"/s\"", "\"s\""),
            ("127.0.0.1:0", "0.0.0.0:0"),
            ("127.0.0.1:0", "here"),
            ("node = \"dev\"", "node = \"../x\""),
        ] {
            assert!(Config::parse("f", &GOOD.replace(from, to)).is_err(), "{to}");
        }
    }
}
