//! What state the node is in, problems first.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{Status, WhoAmI};
use base::config::Mode;
use ops::warden::{Operation, Response};
use store::records::{Dataset, Endpoint, EndpointState, Job, JobState, Model, ModelState, Tenant};
use store::{PageRequest, StoreError};

use crate::auth::{Identity, Principal};
use crate::node::{Node, store_fail};
use crate::{Fail, endpoints, people, recovery};

pub(crate) fn whoami(node: &Node, principal: &Principal) -> Result<WhoAmI, Fail> {
    let tenant = principal.confined_to().map(str::to_owned);
    let session = match &**principal {
        Identity::Person { session, .. } => Some(people::session(node, *session)?),
        _ => None,
    };
    let (source, subject) = match (&**principal, &session) {
        (Identity::Operator { login: Some(_) }, _) => (
            "the user that runs this command, on the node's local socket, in the session of who logged in",
            None,
        ),
        (Identity::Operator { login: None }, _) => {
            ("the user that runs this command, on the node's local socket; who logged in is not known", None)
        }
        (Identity::Key { .. }, _) => ("an API key", None),
        (Identity::Service { .. }, _) => ("a client certificate of the node's authority of services", None),
        (Identity::Person { .. }, Some(session)) => people::origin(node, session)?,
        (Identity::Person { .. }, None) => ("a login", None),
        (Identity::Workload { .. }, _) => ("the certificate of a running job", None),
        (Identity::Node { .. }, _) => ("the certificate of the node itself", None),
    };
    Ok(WhoAmI {
        principal: principal.actor(),
        tenant,
        role: principal.role().to_string(),
        source: source.to_owned(),
        subject,
        session,
    })
}

pub(crate) fn status(node: &Arc<Node>, principal: &Principal) -> Result<Status, Fail> {
    let keeper = node.keeper.status()?;
    let operator = principal.confined_to().is_none();
    let features = if operator { features(node)? } else { Vec::new() };
    let mut problems = if operator { problems(node)? } else { Vec::new() };
    let safe = recovery::show(node)?;
    let gateway = endpoints::address(node).filter(|_| !safe.safe).map(|a| format!("https://{a}"));
    if safe.safe {
        // Whose reasons they are is not every tenant's to know.
        let why = safe.reason.as_ref().filter(|_| operator).map(|why| format!(": {why}")).unwrap_or_default();
        problems.insert(0, format!("the node is in safe mode{why}"));
        if let Some(open) = safe.break_glass.as_ref().filter(|_| operator) {
            problems.insert(
                0,
                format!("break-glass is open until {}, by {}: {}", open.ends, open.holder, open.reason),
            );
        }
    } else if gateway.is_none() {
        problems.insert(0, "the gateway does not listen".to_owned());
    }
    if !keeper.separated {
        problems.push("the processes run under one user: separation fails (start as root)".to_owned());
    }
    if let Some(fault) = node.policies.get().fault.as_ref().filter(|_| operator) {
        problems.insert(0, format!("the node's own rules do not verify, so nothing is done until the operator applies or withdraws them: {fault}"));
    }
    for feature in features.iter().filter(|f| f.state == "failed") {
        problems.push(format!("{} is not in force: {}", feature.name, feature.detail));
    }
    let counts = if operator { counts(node)? } else { BTreeMap::new() };
    Ok(Status {
        state: match (safe.safe, problems.is_empty()) {
            (true, _) => "safe",
            (_, true) => "normal",
            (_, false) => "degraded",
        }
        .to_owned(),
        problems,
        mode: match node.config.mode {
            Mode::Dev => "dev",
            Mode::Production => "production",
        }
        .to_owned(),
        node: node.config.node.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        simulated: simulated(node, &keeper.key_provider),
        log_size: keeper.log_size,
        log_root: keeper.log_root.hex(),
        log_key: keeper.log_key,
        key_provider: keeper.key_provider,
        gateway,
        gateway_ca: node.config.ca_file().display().to_string(),
        management: node.plane.as_ref().map(|plane| plane.url.clone()),
        management_ca: node.plane.is_some().then(|| node.config.management_ca_file().display().to_string()),
        counts,
        features,
        model_public_key: node.keys.model_pem.clone(),
        bom_public_key: node.keys.bom_pem.clone(),
    })
}

/// What is not the real thing on this node; the command line prints it before anything else.
fn simulated(node: &Node, key_provider: &str) -> Vec<String> {
    let mut lines = vec![
        format!("root key: {key_provider}, not hardware"),
        "measured start: absent; nothing proves which programs run".to_owned(),
        "log witnesses: absent; a split view of the log is not excluded".to_owned(),
    ];
    if node.oidc.as_ref().is_some_and(|oidc| !oidc.sees_second_factor()) {
        lines.push(
            "second factor of logins by OpenID Connect: the provider's word, which the node cannot check"
                .to_owned(),
        );
    }
    if node.config.mode == Mode::Dev {
        lines.push("certificate authority and log origin: marked dev, for this node only".to_owned());
    }
    lines
}

fn features(node: &Node) -> Result<Vec<api::Feature>, Fail> {
    match node.warden.order(&node.keeper, Operation::Probe {}, 0, "", "platform")? {
        (Response::Features { features }, _) => Ok(features
            .iter()
            .map(|f| api::Feature {
                name: f.name.to_string(),
                state: f.state.to_string(),
                detail: f.detail.to_string(),
            })
            .collect()),
        _ => Err(Fail::internal("the warden gave an answer of another kind", "probe")),
    }
}

fn problems(node: &Node) -> Result<Vec<String>, Fail> {
    node.meta
        .read(|tx| {
            let all = PageRequest::default();
            let mut lines = Vec::new();
            for model in tx.list_all::<Model>(&all)?.items.iter().map(|s| &s.record) {
                if model.state == ModelState::Quarantined {
                    let reason = model.reason.as_deref().unwrap_or("");
                    lines.push(format!(
                        "model {}/{}@{} is in quarantine: {reason}",
                        model.tenant, model.name, model.version
                    ));
                }
            }
            for job in tx.list_all::<Job>(&all)?.items.iter().map(|s| &s.record) {
                if job.state == JobState::Held {
                    lines.push(format!(
                        "job {} of {} is held: {}",
                        job.id,
                        job.tenant,
                        job.reason.as_deref().unwrap_or("")
                    ));
                }
            }
            for endpoint in tx.list_all::<Endpoint>(&all)?.items.iter().map(|s| &s.record) {
                if endpoint.state == EndpointState::Failed {
                    lines.push(format!(
                        "endpoint {} of {} failed: {}",
                        endpoint.name,
                        endpoint.tenant,
                        endpoint.reason.as_deref().unwrap_or("")
                    ));
                }
            }
            Ok::<_, StoreError>(lines)
        })
        .map_err(store_fail)
}

fn counts(node: &Node) -> Result<BTreeMap<String, u64>, Fail> {
    node.meta
        .read(|tx| {
            Ok::<_, StoreError>(BTreeMap::from([
                ("tenants".to_owned(), tx.count_all::<Tenant>()?),
                ("datasets".to_owned(), tx.count_all::<Dataset>()?),
                ("jobs".to_owned(), tx.count_all::<Job>()?),
                ("models".to_owned(), tx.count_all::<Model>()?),
                ("endpoints".to_owned(), tx.count_all::<Endpoint>()?),
            ]))
        })
        .map_err(store_fail)
}

/// A stored read-back, as the API shows it.
pub(crate) fn feature(of: &(String, String, String)) -> api::Feature {
    api::Feature { name: of.0.clone(), state: of.1.clone(), detail: of.2.clone() }
}
