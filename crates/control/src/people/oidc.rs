//! Logins by the OpenID provider of `[login.oidc]`: what connects the adapter to the network, to people and to roles.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base::config::{Config, SecondFactor};
use base::{Explain, Secret};
use login::oidc::{
    Answer, Ask, CodeAttempt, DeviceAttempt, Exchange, NoAnswer, OidcError, Polled, Proven, Provider,
};
use net::ClientError;
use net::outgoing::{Outcall, Outgoing};
use ops::relay::Purpose;
use store::records::{Subject, UserRole};

use super::login::{Asks, Method, Progress};
use super::sessions::Proof;
use super::users::of_subject;
use super::{Arc, Fail, Name, Node, asked_role, grants, now, of_record};
use crate::clock::random;
use crate::node::store_fail;
use crate::relay::Relay;

/// The authorities that a system trusts, where the configuration names no others.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Longest file of authorities: a system's has a quarter of this.
const CA_MAX: u64 = 1024 * 1024;
/// Longest file of a client's secret.
const SECRET_MAX: u64 = 4096;
/// One question to the provider, from its name to the last byte of the answer. A login asks three.
const EXCHANGE_WAIT: Duration = Duration::from_secs(10);
/// Logins that ask the provider at once: each holds one of the threads for requests while a slow provider thinks.
const AT_ONCE: usize = 8;
/// Seconds until a login that found no place asks again.
const BUSY_WAIT_S: u64 = 2;

const _: () = assert!(AT_ONCE * 4 <= crate::REQUEST_THREADS);

/// The provider, and what its groups give.
#[derive(Debug)]
pub(crate) struct Oidc {
    provider: Provider,
    net: Net,
    grants: Vec<(String, Option<Name>, UserRole)>,
    second_factor: SecondFactor,
    asking: Arc<AtomicUsize>,
}

impl Oidc {
    /// As configured; nothing is asked of the provider yet, so that it may be down when the node starts.
    pub(crate) fn open(config: &Config, relay: &Arc<Relay>) -> Result<Option<Self>, Fail> {
        let Some(settings) = &config.login.oidc else { return Ok(None) };
        let refuse = |why: String| Fail::explained(500, &OidcError::Settings(why));
        let ca = settings.ca_file.as_deref().unwrap_or(Path::new(SYSTEM_CA));
        let ca = read(ca, CA_MAX, 0).map_err(|e| refuse(format!("`ca_file` {}: {e}", ca.display())))?;
        let outgoing = ca.expose(|pem| Outgoing::new(pem)).map_err(|e| refuse(format!("`ca_file`: {e}")))?;
        let secret = settings.client_secret_file.as_deref().map(|path| {
            // Whoever has it is this client to the provider.
            read(path, SECRET_MAX, 0o007)
                .map_err(|e| refuse(format!("`client_secret_file` {}: {e}", path.display())))
        });
        let provider = match secret.transpose()? {
            Some(secret) => secret.expose(|text| Provider::new(settings, Some(text))),
            None => Provider::new(settings, None),
        };
        let given = settings.grants.iter().map(|given| {
            let role = asked_role(&given.role).map_err(|fail| refuse(format!("`grants`: {}", fail.title)))?;
            if of_record(role).is_a_tenants() != given.tenant.is_some() {
                return Err(refuse(format!(
                    "`grants`: the role `{}` is of {}",
                    role.as_str(),
                    if given.tenant.is_some() {
                        "the whole node, so name no tenant"
                    } else {
                        "a tenant: name it"
                    }
                )));
            }
            Ok((given.group.clone(), given.tenant.clone(), role))
        });
        Ok(Some(Self {
            provider: provider.map_err(|e| Fail::explained(500, &e))?,
            net: Net { outgoing, relay: Arc::clone(relay) },
            grants: given.collect::<Result<_, Fail>>()?,
            second_factor: settings.second_factor.clone(),
            asking: Arc::default(),
        }))
    }

    /// The issuer.
    pub(crate) fn issuer(&self) -> &str {
        self.provider.issuer()
    }

    /// Whether the node sees that a second factor was used, or goes by the provider's word for all of its logins.
    pub(crate) fn sees_second_factor(&self) -> bool {
        self.second_factor != SecondFactor::Provider
    }

    /// Begins a login.
    pub(super) fn begin(&self, device: bool, redirect: Option<&str>) -> Result<Box<dyn Method>, Fail> {
        let busy = || Fail::too_many("too many logins wait for the OpenID provider", BUSY_WAIT_S * 1000);
        let _place = self.place().ok_or_else(busy)?;
        if device {
            let (attempt, shown) = self.provider.begin_device(&self.net, now()).map_err(refused)?;
            return Ok(Box::new(ByOidc {
                asks: Asks {
                    method: "oidc-device",
                    url: shown.url,
                    user_code: Some(shown.user_code),
                    interval: Some(shown.pause_s),
                    expires: Some(now().plus_millis(shown.expires_s.saturating_mul(1000))),
                },
                flow: Some(Flow::Device(attempt)),
            }));
        }
        let redirect = redirect.ok_or_else(|| {
            Fail::invalid("a login by `oidc-code` comes back to a browser on the machine of the command line")
                .help("where there is none, log in with `strongroom login --by device`")
        })?;
        let bytes = [random::<32>()?, random::<32>()?, random::<32>()?];
        let begun = self.provider.begin_code(&self.net, now(), &bytes, redirect);
        let (attempt, url) = begun.map_err(refused)?;
        Ok(Box::new(ByOidc {
            asks: Asks { method: "oidc-code", url, ..Asks::default() },
            flow: Some(Flow::Code(attempt)),
        }))
    }

    fn place(&self) -> Option<Place> {
        let place = Place(Arc::clone(&self.asking));
        (self.asking.fetch_add(1, Ordering::AcqRel) < AT_ONCE).then_some(place)
    }

    /// The roles that these groups give this person for a session: static separation of duty holds for them as for
    /// grants.
    fn roles(
        &self,
        node: &Node,
        user: &Name,
        groups: &[String],
    ) -> Result<Vec<(Option<Name>, UserRole)>, Fail> {
        let mut roles: Vec<(Option<Name>, UserRole)> = self
            .grants
            .iter()
            .filter(|(group, tenant, _)| {
                groups.contains(group) && tenant.as_ref().is_none_or(|tenant| node.tenant(tenant).is_ok())
            })
            .map(|(_, tenant, role)| (tenant.clone(), *role))
            .collect();
        roles.dedup();
        let at = now();
        let granted = grants::of(node, user)?.into_iter().filter(|grant| grants::is_live(grant, at));
        let held: Vec<_> = granted.map(|grant| (grant.tenant, grant.role)).collect();
        let conflict = roles.iter().enumerate().find_map(|(n, (tenant, role))| {
            let others = roles.iter().skip(n.saturating_add(1)).chain(&held);
            let other = others
                .into_iter()
                .find(|(of, other)| of == tenant && of_record(*role).conflicts_with(of_record(*other)));
            other.map(|(_, other)| (role, other, tenant))
        });
        match conflict {
            None => Ok(roles),
            Some((one, other, tenant)) => Err(Fail::forbidden(format!(
                "groups of the OpenID provider make `{user}` {} and {} in {}, and nobody has both duties",
                one.as_str(),
                other.as_str(),
                tenant.as_ref().map_or("the node", Name::as_str)
            ))
            .help("take the person out of one of the groups, or take back a grant that `strongroom access user show NAME` lists")),
        }
    }

    fn proof(&self, node: &Node, proven: &Proven, method: &'static str) -> Result<Proof, Fail> {
        let user = known(node, proven)?;
        let groups = self.roles(node, &user, &proven.groups)?;
        Ok(Proof { user, method, proved: proven.auth_time, groups })
    }
}

/// A place among those that ask the provider.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The person of this issuer and subject. Nobody is made known by logging in.
fn known(node: &Node, proven: &Proven) -> Result<Name, Fail> {
    let subject = Subject { issuer: proven.issuer.clone(), subject: proven.subject.clone() };
    if let Some(name) = node.meta.read(|tx| of_subject(tx, &subject)).map_err(store_fail)? {
        return Ok(name);
    }
    let name = proven.name.as_deref().map_or(String::new(), |name| format!(", called `{name}` there"));
    Err(Fail::forbidden(format!(
        "the OpenID provider says that this is `{}`{name}, whom this node does not know",
        proven.subject
    ))
    .help(format!(
        "the operator makes a person known with `strongroom access user create NAME --issuer {} --subject {}`",
        proven.issuer, proven.subject
    )))
}

#[derive(Debug)]
enum Flow {
    Code(CodeAttempt),
    Device(DeviceAttempt),
}

/// A login under way.
#[derive(Debug)]
struct ByOidc {
    asks: Asks,
    flow: Option<Flow>,
}

impl Method for ByOidc {
    fn asks(&self) -> Asks {
        self.asks.clone()
    }

    fn finish(
        &mut self,
        node: &Arc<Node>,
        code: Option<&str>,
        state: Option<&str>,
    ) -> Result<Progress, Fail> {
        let oidc = node.oidc.as_ref().ok_or_else(|| Fail::internal("a login without a provider", "oidc"))?;
        let Some(_place) = oidc.place() else { return Ok(Progress::Pending(BUSY_WAIT_S)) };
        let proven = match self.flow.take() {
            Some(Flow::Code(attempt)) => {
                let (code, state) = (code.unwrap_or(""), state.unwrap_or(""));
                oidc.provider.finish_code(&oidc.net, now(), attempt, code, state).map_err(refused)?
            }
            Some(Flow::Device(attempt)) => {
                match oidc.provider.poll_device(&oidc.net, now(), attempt).map_err(refused)? {
                    Polled::Done(proven) => *proven,
                    Polled::Pending { attempt, pause_s } => {
                        self.flow = Some(Flow::Device(attempt));
                        return Ok(Progress::Pending(pause_s));
                    }
                }
            }
            None => return Err(refused(OidcError::Expired)),
        };
        oidc.proof(node, &proven, self.asks.method).map(Progress::Done)
    }
}

/// Who is at fault says which status: the caller's own are refusals, the provider's and the configuration's are ours to
/// mend.
#[expect(clippy::needless_pass_by_value, reason = "the form that `map_err` takes")]
fn refused(error: OidcError) -> Fail {
    let status = match (&error, error.fault()) {
        (OidcError::Redirect, _) => 400,
        (_, base::Fault::Caller) => 403,
        _ => 503,
    };
    Fail::explained(status, &error)
}

/// What exchanges with the provider.
#[derive(Debug)]
struct Net {
    outgoing: Outgoing,
    relay: Arc<Relay>,
}

impl Exchange for Net {
    fn exchange(&self, ask: &Ask<'_>) -> Result<Answer, NoAnswer> {
        let mut headers = vec![("accept", "application/json"), ("user-agent", "strongroom")];
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
            within: EXCHANGE_WAIT,
            limit: ask.limit,
        };
        // Handlers run on threads that may wait.
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| NoAnswer::Unreachable("no runtime to ask it on".to_owned()))?;
        let unreachable = |e: std::io::Error| NoAnswer::Unreachable(e.to_string());
        let stream = self
            .relay
            .connect(Purpose::Login, &ask.host, ask.port)
            .map_err(|fail| NoAnswer::Unreachable(fail.line()))?;
        let stream = std::os::unix::net::UnixStream::from(stream);
        stream.set_nonblocking(true).map_err(unreachable)?;
        let answer = runtime.block_on(async {
            let stream = tokio::net::UnixStream::from_std(stream).map_err(unreachable)?;
            Ok(self.outgoing.call(stream, call).await)
        });
        match answer? {
            Ok((status, body)) => Ok(Answer { status, body }),
            Err(ClientError::TooLong { .. }) => Err(NoAnswer::TooLong),
            Err(error) => Err(NoAnswer::Unreachable(base::error::chain(&error))),
        }
    }
}

/// A small file that nobody of `not_for` may use.
fn read(path: &Path, max: u64, not_for: u32) -> Result<Secret<String>, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let about = file.metadata().map_err(|e| e.to_string())?;
    if !about.is_file() || about.len() > max {
        return Err(format!("not a file of at most {max} bytes"));
    }
    if about.mode() & not_for != 0 {
        return Err(format!("everybody may use it: its mode is {:o}", about.mode() & 0o777));
    }
    let mut text = String::new();
    file.take(max).read_to_string(&mut text).map_err(|e| e.to_string())?;
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_that_everybody_may_read_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "s3cret").unwrap();
        let with = |mode: u32, not_for: u32| {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            read(&path, 10, not_for).is_ok()
        };
        assert!(with(0o600, 0o007) && with(0o640, 0o007) && with(0o644, 0));
        assert!(!with(0o604, 0o007) && !with(0o602, 0o007) && !with(0o644, 0o007));
        std::fs::write(&path, "more than ten bytes").unwrap();
        assert!(!with(0o600, 0o007));
        assert!(read(dir.path(), 10, 0).is_err() && read(&dir.path().join("none"), 10, 0).is_err());
    }
}
