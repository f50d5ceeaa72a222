//! Who calls, and whether that is allowed: one place for every endpoint.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use access::approval::Act;
use access::{Circumstances, Decision, Mode, Operation, Policies, Role};
use api::{Route, Who};
use base::Timestamp;
use base::id::{JobId, SessionId};
use base::names::Name;
use net::apikey::ApiKey;
use net::identity::CertificateDer;
use net::token::Use;
use ops::event::{Event, EventKind, Outcome, Phase, Severity};

use crate::clock::now;
use crate::http::{Peer, Repeat};
use crate::node::Node;
use crate::{Fail, people, services};

/// Refusals logged one by one within a minute; more are counted and logged as one entry.
const REFUSALS_A_MINUTE: usize = 60;

/// Whose requests under way those of who oversees the node count as: no tenant has such a name.
const OF_THE_NODE: &str = "(node)";

/// Who calls, as authentication found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The operator of the node: the configured user, on the local socket.
    Operator {
        /// The user that logged in, where the host says so: several people may be the operator.
        login: Option<u32>,
    },
    /// The holder of a tenant's management key.
    Key {
        /// The tenant.
        tenant: String,
        /// The key.
        id: String,
        /// Its role.
        role: Role,
    },
    /// A service of a tenant, by its client certificate.
    Service {
        /// The tenant.
        tenant: String,
        /// Tenant and name: `acme/ci`.
        id: String,
        /// Its role.
        role: Role,
    },
    /// A person in a session.
    Person {
        /// Their name.
        user: String,
        /// The session.
        session: SessionId,
        /// The tenant that it is of; none for a role of the whole node.
        tenant: Option<String>,
        /// The role that it is of.
        role: Role,
        /// Whether they proved who they are a few minutes ago.
        fresh: bool,
    },
    /// What runs for a tenant, by its certificate.
    Workload {
        /// The tenant.
        tenant: String,
        /// Tenant and job: `acme/job/job_…`.
        id: String,
        /// The job.
        job: JobId,
    },
    /// This node, by its certificate.
    Node {
        /// Its name.
        name: String,
    },
}

impl Identity {
    /// As in events.
    pub(crate) fn actor(&self) -> String {
        match self {
            Self::Operator { .. } => "operator".to_owned(),
            Self::Key { id, .. } => format!("key:{id}"),
            Self::Service { id, .. } => format!("service:{id}"),
            Self::Person { user, .. } => format!("user:{user}"),
            Self::Workload { id, .. } => format!("workload:{id}"),
            Self::Node { name } => format!("node:{name}"),
        }
    }

    /// As in events that the keeper writes of it, which have no details of control's: with the login of the operator.
    pub(crate) fn named(&self) -> String {
        match self {
            Self::Operator { login: Some(uid) } => format!("operator, login {uid}"),
            _ => self.actor(),
        }
    }

    /// The tenant whose things alone it may see; none for the operator and for who oversees the node, who see all, and
    /// for a node, to which the rules show none of them.
    pub(crate) fn confined_to(&self) -> Option<&str> {
        match self {
            Self::Operator { .. } | Self::Node { .. } => None,
            Self::Key { tenant, .. } | Self::Service { tenant, .. } | Self::Workload { tenant, .. } => {
                Some(tenant)
            }
            Self::Person { tenant, .. } => tenant.as_deref(),
        }
    }

    /// Whose share of the requests under way its own are: its tenant's; who oversees the node has one together.
    pub(crate) fn share(&self) -> Option<&str> {
        match self {
            Self::Person { tenant: None, .. } | Self::Node { .. } => Some(OF_THE_NODE),
            _ => self.confined_to(),
        }
    }

    /// Whether it is the operator, whose right does not end and who asks as often as they like.
    pub(crate) const fn is_operator(&self) -> bool {
        matches!(self, Self::Operator { .. })
    }

    /// Its role.
    pub(crate) const fn role(&self) -> Role {
        match self {
            Self::Operator { .. } => Role::PlatformOperator,
            Self::Key { role, .. } | Self::Service { role, .. } | Self::Person { role, .. } => *role,
            Self::Workload { .. } => Role::Application,
            Self::Node { .. } => Role::Node,
        }
    }

    /// Tenant and name, if it is a service.
    pub(crate) fn service(&self) -> Option<(&str, &str)> {
        match self {
            Self::Service { id, .. } => id.split_once('/'),
            _ => None,
        }
    }

    pub(crate) fn as_principal(&self) -> access::Principal<'_> {
        match self {
            Self::Operator { .. } => access::Principal::Operator,
            Self::Key { tenant, id, role } => access::Principal::Key { id, role: *role, tenant },
            Self::Service { tenant, id, role } => access::Principal::Service { id, role: *role, tenant },
            Self::Person { user, tenant, role, .. } => {
                access::Principal::User { id: user, role: *role, tenant: tenant.as_deref() }
            }
            Self::Workload { tenant, id, .. } => access::Principal::Workload { id, tenant },
            Self::Node { name } => access::Principal::Node { id: name },
        }
    }
}

/// Who calls, and the decision that lets it: nothing but [`authorise`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    identity: Identity,
    decision: Decision,
    /// How the caller may ask for the same once more without having it done twice.
    pub(crate) repeat: Option<Repeat>,
}

impl std::ops::Deref for Principal {
    type Target = Identity;

    fn deref(&self) -> &Identity {
        &self.identity
    }
}

/// Says in an event who caused it and which decision let it.
pub(crate) trait By {
    /// Caused by this caller.
    #[must_use]
    fn by(self, principal: &Principal) -> Self;
}

impl By for Event {
    fn by(self, principal: &Principal) -> Self {
        let event = decided(self.actor(&principal.actor()), &principal.decision);
        match &**principal {
            Identity::Operator { login: Some(uid) } => event.detail("login_uid", &uid.to_string()),
            _ => event,
        }
    }
}

fn decided(event: Event, decision: &Decision) -> Event {
    event
        .detail("policy_version", &decision.policy_version.hex())
        .detail("policy_rules", &decision.reasons.join(" "))
}

/// A request that is not let in: what the caller is told, and the decision, where it came to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) fail: Fail,
    pub(crate) decision: Option<Box<Decision>>,
}

impl From<Fail> for Refusal {
    fn from(fail: Fail) -> Self {
        Self { fail, decision: None }
    }
}

/// Finds out who calls. On the local socket: a key if one is given, else the user of the peer process. Over the network
/// nobody is the operator: one key or one client certificate says who it is. Both at once say two things, unless the key
/// is bound to the service of the certificate (RFC 8705 section 3).
pub(crate) fn authenticate(node: &Node, peer: &Peer, bearer: Option<&str>) -> Result<Identity, Fail> {
    match (peer, bearer) {
        (Peer::Local { uid: None, .. }, _) => Err(Fail::unauthenticated("the kernel does not say who calls")),
        (Peer::Local { login, .. }, None) if peer.is_operators(node) => {
            Ok(Identity::Operator { login: *login })
        }
        (Peer::Local { .. }, None) => {
            Err(Fail::unauthenticated("no key was given, and this user is not the node's operator"))
        }
        (Peer::Local { .. }, Some(key)) => authenticate_key(node, peer, key, None),
        (Peer::Remote(client), bearer) => match (&client.certificate, bearer) {
            (None, None) => Err(Fail::unauthenticated("neither a key nor a client certificate was given")),
            (certificate, Some(key)) => authenticate_key(node, peer, key, certificate.as_ref()),
            (Some(certificate), None) => services::authenticate(node, certificate),
        },
    }
}

fn authenticate_key(
    node: &Node,
    peer: &Peer,
    text: &str,
    certificate: Option<&CertificateDer<'_>>,
) -> Result<Identity, Fail> {
    let both = || Err(Fail::unauthenticated("a key and a client certificate were given; give one of them"));
    if text.starts_with(Use::Session.prefix()) {
        return if certificate.is_some() { both() } else { people::authenticate(node, text) };
    }
    let refuse = || Fail::unauthenticated("the key is not known, has ended or was revoked");
    let key = ApiKey::parse(text).map_err(|_| refuse())?;
    let record = node.api_key(key.id())?.ok_or_else(refuse)?;
    if !record.opened_by(&key.mac(&node.key_mac_key.0), now()) {
        return Err(refuse());
    }
    match &record.service {
        // Whoever took the key is told no more than of one that does not exist.
        Some(service) if !services::presents(node, certificate, &record.tenant, service) => {
            let why = format!(
                "key {} was presented without the certificate of service `{service}`, which it is bound to",
                key.id()
            );
            let (who, tenant) = (peer.label(), Some(record.tenant.as_str()));
            let taken = Refusal::from(Fail::unauthenticated(why));
            node.refusals.record(node, (&who, tenant), "authenticate", "", &taken);
            return Err(refuse());
        }
        None if certificate.is_some() => return both(),
        _ => {}
    }
    Ok(Identity::Key { tenant: record.tenant, id: key.id().to_string(), role: record.role })
}

/// Whether who was let in would be let in now, as far as its credential goes. What cannot be read is no.
pub(crate) fn is_still_known(node: &Node, identity: &Identity) -> bool {
    match identity {
        // A node is who holds the key of its own authority: its certificate ends by itself.
        Identity::Operator { .. } | Identity::Node { .. } => true,
        Identity::Workload { tenant, job, .. } => services::runs(node, tenant, *job),
        Identity::Key { id, .. } => {
            id.parse().ok().and_then(|id| node.api_key(id).ok().flatten()).is_some_and(|known| {
                let service = known.service.as_ref();
                let bound_to_good = |name: &Name| services::is_known(node, &known.tenant, name.as_str());
                known.is_good(now()) && service.is_none_or(bound_to_good)
            })
        }
        Identity::Person { session, .. } => people::is_known(node, *session),
        Identity::Service { .. } => {
            identity.service().is_some_and(|(tenant, name)| services::is_known(node, tenant, name))
        }
    }
}

/// What the request of a caller comes with beside who it is.
pub(crate) fn circumstances(
    node: &Node,
    policies: &Policies,
    identity: &Identity,
    route: &Route,
    (tenant, thing): (Option<&str>, &str),
) -> Result<Circumstances, Fail> {
    let fresh = matches!(identity, Identity::Person { fresh: true, .. });
    let mode = node.recovery.mode(&node.keeper)?;
    let needs = policies.operations().get(route.operation).map(Operation::needs).unwrap_or_default();
    if !needs.approved {
        return Ok(Circumstances { fresh, approved: false, mode });
    }
    let act = Act { by: &identity.actor(), operation: route.operation, tenant, resource: thing };
    let approved = !node.config.two_people() || people::is_approved(node, &act)?;
    Ok(Circumstances { fresh, approved, mode })
}

/// Whether this caller may call this endpoint for this tenant and thing: the one place where that is decided. What a
/// caller may not know exists is not found.
pub(crate) fn authorise(
    policies: &Policies,
    identity: Identity,
    route: &Route,
    (tenant, thing): (Option<&str>, &str),
    given: Circumstances,
) -> Result<Principal, Refusal> {
    let own = identity.confined_to();
    // What no path puts into a tenant is, for who is of a tenant, that tenant's part.
    let lies_in = tenant.or(own);
    let decision = policies.decide(&access::Request {
        principal: identity.as_principal(),
        operation: route.operation,
        tenant: lies_in,
        resource: thing,
        given,
    });
    if decision.allowed {
        return Ok(Principal { identity, decision, repeat: None });
    }
    let fail = if route.who == Who::Tenant && own.is_some_and(|own| tenant != Some(own)) {
        Fail::not_found("tenant", tenant.unwrap_or(""))
    } else {
        forbidden(policies, &identity, route, (lies_in, thing), (given, &decision))
    };
    Err(Refusal { fail, decision: Some(Box::new(decision)) })
}

/// Known, and not allowed: why, and who could.
fn forbidden(
    policies: &Policies,
    identity: &Identity,
    route: &Route,
    (tenant, thing): (Option<&str>, &str),
    (given, decision): (Circumstances, &Decision),
) -> Fail {
    let allowed = |fresh| {
        let given = Circumstances { fresh, ..Circumstances::ALL };
        let (principal, operation) = (identity.as_principal(), route.operation);
        policies.decide(&access::Request { principal, operation, tenant, resource: thing, given }).allowed
    };
    if given.mode != Mode::Normal {
        let normal = Circumstances { mode: Mode::Normal, ..given };
        let (principal, operation) = (identity.as_principal(), route.operation);
        let request = access::Request { principal, operation, tenant, resource: thing, given: normal };
        if policies.decide(&request).allowed {
            return Fail::in_safe_mode(route.operation);
        }
    }
    if allowed(true) {
        // Only what the request did not come with is missing: the proof first, then the approval.
        return match given.fresh || allowed(false) {
            true => Fail::needs_approval(route.operation, tenant, thing),
            false => Fail::needs_fresh_proof(route.operation),
        };
    }
    let may: Vec<&str> = policies
        .roles_that_may(route.operation, tenant, "")
        .into_iter()
        .filter(|role| role.is_a_persons())
        .map(Role::as_str)
        .collect();
    let fail = Fail::forbidden(format!("role `{}` may not `{}`", identity.role(), route.operation))
        .because(decision.why.clone());
    match may.as_slice() {
        _ if identity.is_operator() => {
            fail.help("see which rules of your own are in force with `strongroom policy show latest`")
        }
        [] | ["security"] => {
            fail.help("this is for the operator of the node; see who you are with `strongroom whoami`")
        }
        may => fail.help(format!("role {} may; see who you are with `strongroom whoami`", may.join(" or "))),
    }
}

/// Logs refusals, so many a minute, and counts the rest.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog(Mutex<RefusalState>);

#[derive(Debug, Default)]
struct RefusalState {
    recent: VecDeque<Timestamp>,
    uncounted: u64,
}

impl RefusalLog {
    /// Logs one refusal, for the tenant whose key was refused to see. It cannot fail the request: that is refused
    /// anyway.
    pub(crate) fn record(
        &self,
        node: &Node,
        (who, tenant): (&str, Option<&str>),
        operation: &str,
        path: &str,
        refusal: &Refusal,
    ) {
        let fail = &refusal.fail;
        let time = now();
        let skipped = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            while state.recent.front().is_some_and(|t| time.millis_since(*t) > 60_000) {
                state.recent.pop_front();
            }
            if state.recent.len() >= REFUSALS_A_MINUTE {
                state.uncounted = state.uncounted.saturating_add(1);
                return;
            }
            state.recent.push_back(time);
            std::mem::take(&mut state.uncounted)
        };
        let (kind, asset) = match operation.starts_with("login.") {
            true => (EventKind::SessionRefuse, ("user", who)),
            false => (EventKind::AccessRefuse, ("operation", operation)),
        };
        let mut event = Event::new(kind, Phase::Outcome, Outcome::Refused, time.as_millis(), 0)
            .tenant(tenant.unwrap_or(""))
            .actor(who)
            .asset(asset.0, asset.1, None)
            .severity(Severity::Medium)
            .because(&fail.line())
            .detail("path", &crate::fail::printable(path))
            .detail("code", &fail.code);
        if let Some(decision) = &refusal.decision {
            event = decided(event, decision);
        }
        if skipped > 0 {
            event = event.detail("refusals_not_logged_singly", &skipped.to_string());
        }
        if let Err(fail) = node.keeper.append(event) {
            crate::log::line("auth", &format!("a refusal could not be logged: {}", fail.line()));
        }
    }
}

#[cfg(test)]
mod tests;
