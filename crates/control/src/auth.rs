//! Who calls, and whether that is allowed: one place for every endpoint.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use api::{Route, Who};
use base::Timestamp;
use net::apikey::ApiKey;
use ops::event::{Event, EventKind, Outcome, Phase, Severity};

use crate::Fail;
use crate::clock::now;
use crate::node::Node;

/// Refusals logged one by one within a minute; more are counted and logged as one entry.
const REFUSALS_A_MINUTE: usize = 60;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Principal {
    /// The operator of the node: the configured user, on the local socket.
    Operator,
    /// The holder of a tenant's management key.
    Tenant {
        /// The tenant.
        tenant: String,
        /// The key.
        key: String,
    },
}

impl Principal {
    /// As in events.
    pub(crate) fn actor(&self) -> String {
        match self {
            Self::Operator => "operator".to_owned(),
            Self::Tenant { key, .. } => format!("key:{key}"),
        }
    }

    /// The tenant whose things alone it may see; none for the operator, who sees all.
    pub(crate) fn confined_to(&self) -> Option<&str> {
        match self {
            Self::Operator => None,
            Self::Tenant { tenant, .. } => Some(tenant),
        }
    }
}

/// Finds out who calls: a key if one is given, else the user of the peer process.
pub(crate) fn authenticate(node: &Node, peer_uid: u32, bearer: Option<&str>) -> Result<Principal, Fail> {
    let Some(text) = bearer else {
        // Root is the operator too: it can read the operator's files anyway.
        return if peer_uid == node.config.users.operator || peer_uid == 0 {
            Ok(Principal::Operator)
        } else {
            Err(Fail::unauthenticated("no key was given, and this user is not the node's operator"))
        };
    };
    let refuse = || Fail::unauthenticated("the key is not known, has ended or was revoked");
    let key = ApiKey::parse(text).map_err(|_| refuse())?;
    let record = node.api_key(key.id())?.ok_or_else(refuse)?;
    let known = base::digest::ct_eq(&key.mac(&node.key_mac_key.0), &record.mac);
    if !known || record.revoked || now() >= record.expires || record.endpoint.is_some() {
        return Err(refuse());
    }
    Ok(Principal::Tenant { tenant: record.tenant, key: key.id().to_string() })
}

/// Whether the principal may call this endpoint. What a caller may not know exists is not found.
pub(crate) fn authorise(principal: &Principal, route: &Route, tenant: Option<&str>) -> Result<(), Fail> {
    match (principal, route.who) {
        (Principal::Operator, _) | (_, Who::Any) => Ok(()),
        (Principal::Tenant { tenant: own, .. }, Who::Tenant) if tenant == Some(own.as_str()) => Ok(()),
        (Principal::Tenant { .. }, Who::Tenant) => Err(Fail::not_found("tenant", tenant.unwrap_or(""))),
        (Principal::Tenant { .. }, Who::Operator) => {
            Err(Fail::forbidden(format!("`{}` is for the operator of the node", route.operation)))
        }
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
    /// Logs one refusal. It cannot fail the request: that is refused anyway.
    pub(crate) fn record(&self, node: &Node, who: &str, operation: &str, path: &str, fail: &Fail) {
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
        let mut event =
            Event::new(EventKind::AccessRefuse, Phase::Outcome, Outcome::Refused, time.as_millis(), 0)
                .actor(who)
                .asset("operation", operation, None)
                .severity(Severity::Medium)
                .because(&fail.line())
                .detail("path", &crate::fail::printable(path))
                .detail("code", &fail.code);
        if skipped > 0 {
            event = event.detail("refusals_not_logged_singly", &skipped.to_string());
        }
        if let Err(fail) = node.keeper.append(event) {
            crate::log::line("auth", &format!("a refusal could not be logged: {}", fail.line()));
        }
    }
}
