//! What stands by a served model, from its start to its end: the model is verified again while it serves, over the bytes
//! that its runtime uses.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use api::{Check, Verification};
use base::names::Name;
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use ops::warden::Operation;
use store::records::{Endpoint, EndpointState, Model};

use super::{find, push_now, set_state};
use crate::auth::{By, Principal};
use crate::clock::now;
use crate::node::{Node, correlation};
use crate::run::{Run, RunEvent};
use crate::{Fail, models};

/// A runtime that cannot load its model ends within this time; then the deployment failed.
const SETTLE: Duration = Duration::from_millis(400);
/// How long the end of a runtime waits for the word that the node ends.
const LEAVE_GRACE: Duration = Duration::from_millis(300);
/// How often it is looked whether something is asked or due.
const TICK: Duration = Duration::from_millis(50);
/// Questions that wait for who stands by a model.
const ASKED_MAX: usize = 4;
/// Longest wait for an answer: the hash of a model runs at about 1.5 GB/s, and one may be under way.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(240);
/// After so many checks in a row that could not be made, what is not verified is not served any more.
const NOT_MADE_MAX: u32 = 3;

/// What is asked of who stands by a served model.
#[derive(Debug)]
pub(super) enum Ask {
    /// It is served no more, as somebody wished.
    Stop,
    /// It may not be served any more, as the record says already.
    Withdraw(String),
    /// Whether the bytes that are used are still those that were verified.
    Check(SyncSender<Result<(), Fail>>),
}

/// Why it is not served any more.
enum End {
    Asked,
    Refused(String),
    Failed(String),
}

/// Waits whether a runtime that was started can use the model.
pub(super) fn settled(run: &mut Run, model: &Model) -> Result<(), Fail> {
    let since = now();
    while let Some(left) = SETTLE.checked_sub(Duration::from_millis(now().millis_since(since))) {
        let ended = match run.next(left) {
            Some(RunEvent::Exited(exit)) => format!("{} {} {}", exit.cause, exit.code, exit.detail),
            Some(RunEvent::PorterGone) => "its porter ended".to_owned(),
            Some(RunEvent::Told(_)) => continue,
            None => break,
        };
        let fail = Fail::internal("the runtime ended while it loaded the model", ended + &cannot(model));
        return Err(fail.help(
            "the runtime of a node loads one ONNX file of operators that ONNX itself has; use it elsewhere with `strongroom model export`",
        ));
    }
    Ok(())
}

/// What a runtime of a node does not have, where the inspection of a model named it.
fn cannot(model: &Model) -> String {
    if model.risks.is_empty() {
        return String::new();
    }
    format!(
        "; it knows the operators of ONNX by their names and brings no code besides, and the inspection named {}",
        crate::trust::listed(&model.risks)
    )
}

/// Starts the thread that stands by what is served; the record says already that it is.
pub(super) fn stand_by(node: &Arc<Node>, record: &Endpoint, run: Run) -> Result<(), Fail> {
    let (asks, asked) = sync_channel(ASKED_MAX);
    node.endpoints.running.lock().unwrap_or_else(PoisonError::into_inner).insert(record.id, asks);
    let (watcher, endpoint) = (Arc::clone(node), record.clone());
    std::thread::Builder::new()
        .name(format!("endpoint-{}", record.name))
        .spawn(move || watch(&watcher, &endpoint, run, &asked))
        .map(drop)
        .map_err(|e| Fail::internal("no thread for the endpoint", e))
}

/// Stands by a served model until it is stopped or ends by itself.
fn watch(node: &Arc<Node>, endpoint: &Endpoint, mut run: Run, asked: &Receiver<Ask>) {
    let end = until_its_end(node, endpoint, &mut run, asked);
    if matches!(end, End::Failed(_)) {
        // The warden ends runs right after it told this process to leave. What ended with the node did not fail, and is
        // served again at the next start.
        std::thread::sleep(LEAVE_GRACE);
        if node.leaving.load(Ordering::Acquire) {
            return;
        }
    }
    node.endpoints.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&endpoint.id);
    let (state, outcome, why) = match end {
        End::Asked => (EndpointState::Stopped, Outcome::Success, None),
        End::Refused(why) => (EndpointState::Refused, Outcome::Refused, Some(why)),
        End::Failed(why) => (EndpointState::Failed, Outcome::Failure, Some(why)),
    };
    if let Err(fail) = set_state(node, endpoint, state, why.clone(), Vec::new()).and_then(|_| push_now(node))
    {
        crate::log::line("endpoint", &fail.line());
    }
    if let Err(fail) = run.destroy() {
        crate::log::line("endpoint", &fail.line());
    }
    let event = Event::new(EventKind::ModelUnload, Phase::Observed, outcome, now().as_millis(), 0)
        .tenant(endpoint.tenant.as_str())
        .asset("endpoint", endpoint.name.as_str(), Some(endpoint.model_digest))
        .because(why.as_deref().unwrap_or("stopped on request"));
    if let Err(fail) = node.keeper.append(event) {
        crate::log::line("endpoint", &fail.line());
    }
}

fn until_its_end(node: &Arc<Node>, endpoint: &Endpoint, run: &mut Run, asked: &Receiver<Ask>) -> End {
    let every = u64::from(node.config.models.recheck_seconds).saturating_mul(1000);
    let (mut verified, mut not_made) = (now(), 0u32);
    loop {
        let ask = match asked.try_recv() {
            Ok(ask) => Some(ask),
            Err(TryRecvError::Empty) => None,
            // Nobody can ask any more: it is not among those that are served.
            Err(TryRecvError::Disconnected) => return End::Asked,
        };
        let is_due = now().millis_since(verified) >= every;
        let waits = match ask {
            Some(Ask::Stop) => return End::Asked,
            Some(Ask::Withdraw(why)) => return End::Refused(why),
            Some(Ask::Check(waits)) => Some(waits),
            None => None,
        };
        if waits.is_some() || is_due {
            // Time alone ends what admitted it: that of a signer, of a certificate, of a list.
            let made = still_admitted(node, endpoint).and_then(|()| recheck(node, endpoint, run));
            verified = now();
            if let Some(waits) = waits {
                // Who asked may have gone.
                waits.try_send(made.clone()).ok();
            }
            match made {
                Ok(()) => not_made = 0,
                Err(fail) if fail.is_about_bytes() => {
                    return End::Failed(format!("what is served is not what was verified: {}", fail.line()));
                }
                Err(fail) if fail.code == models::NOT_ADMITTED => return End::Refused(fail.line()),
                Err(fail) => {
                    not_made = not_made.saturating_add(1);
                    crate::log::line("endpoint", &format!("not verified again: {}", fail.line()));
                    if not_made >= NOT_MADE_MAX {
                        return End::Failed(format!("it could not be verified again: {}", fail.line()));
                    }
                }
            }
        }
        match run.next(TICK) {
            Some(RunEvent::Exited(exit)) => {
                let model = models::find(node, &endpoint.tenant, &endpoint.model, endpoint.model_version);
                let cannot = model.map(|model| cannot(&model)).unwrap_or_default();
                return End::Failed(format!("the runtime ended: {} {}{cannot}", exit.cause, exit.code));
            }
            Some(RunEvent::PorterGone) => return End::Failed("the porter of the endpoint ended".to_owned()),
            Some(RunEvent::Told(_)) | None => {}
        }
    }
}

fn still_admitted(node: &Node, endpoint: &Endpoint) -> Result<(), Fail> {
    let model = models::find(node, &endpoint.tenant, &endpoint.model, endpoint.model_version)?;
    models::admit(node, &model)
}

/// Has the warden hash what the runtime uses, through its mount, and writes down what it found.
fn recheck(node: &Arc<Node>, endpoint: &Endpoint, run: &Run) -> Result<(), Fail> {
    let made = run.order(Operation::HashMount { run: run.id.bits(), input: 0 }).map(drop);
    let (outcome, severity, why) = match &made {
        Ok(()) => (Outcome::Success, Severity::Informational, String::new()),
        Err(fail) if fail.is_about_bytes() => (Outcome::Failure, Severity::Critical, fail.line()),
        Err(fail) => (Outcome::Unknown, Severity::High, fail.line()),
    };
    let kind = match severity {
        Severity::Critical => EventKind::ModelTampered,
        _ => EventKind::ModelVerify,
    };
    let event = Event::new(kind, Phase::Observed, outcome, now().as_millis(), correlation()?)
        .tenant(endpoint.tenant.as_str())
        .actor("platform")
        .asset("endpoint", endpoint.name.as_str(), Some(endpoint.model_digest))
        .severity(severity)
        .detail("resident", "hashed through the mount that the runtime uses")
        .because(&why);
    node.keeper.append(event)?;
    made
}

/// Has what an endpoint uses hashed, and waits for the answer.
pub(crate) fn hash_in_use(node: &Node, endpoint: &Endpoint) -> Result<(), Fail> {
    let running = node.endpoints.running.lock().unwrap_or_else(PoisonError::into_inner);
    let asks = running.get(&endpoint.id).cloned();
    drop(running);
    let asks = asks.ok_or_else(|| Fail::conflict(format!("endpoint `{}` does not serve", endpoint.name)))?;
    let (answer, answered) = sync_channel(1);
    asks.try_send(Ask::Check(answer))
        .map_err(|_| Fail::conflict("it is being verified already; try again"))?;
    answered
        .recv_timeout(ANSWER_TIMEOUT)
        .unwrap_or_else(|_| Err(Fail::unavailable("who stands by the model does not answer", "timeout")))
}

/// Verifies a model that is served: what admits it, and the bytes that are used.
pub(crate) fn verify(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    name: &Name,
) -> Result<Verification, Fail> {
    let endpoint = find(node, tenant, name)?.record;
    let model = models::find(node, tenant, &endpoint.model, endpoint.model_version)?;
    let mut checks = models::admission(node, &model);
    let made = hash_in_use(node, &endpoint);
    checks.push(Check {
        name: "bytes in use".to_owned(),
        ok: made.is_ok(),
        detail: match &made {
            Ok(()) => "hashed through the mount that the runtime uses".to_owned(),
            Err(fail) => fail.line(),
        },
    });
    let verified = checks.iter().all(|check| check.ok);
    let outcome = if verified { Outcome::Success } else { Outcome::Failure };
    let event =
        Event::new(EventKind::ModelVerify, Phase::Outcome, outcome, now().as_millis(), correlation()?)
            .tenant(tenant.as_str())
            .by(principal)
            .asset("endpoint", name.as_str(), Some(endpoint.model_digest));
    node.keeper.append(event)?;
    Ok(Verification { subject: name.to_string(), verified, checks })
}

/// Takes what may not be served any more out of service: of one tenant, or of all. The gateway knows it when this
/// returns. Which endpoints were.
pub(crate) fn reconsider(node: &Arc<Node>, tenant: Option<&Name>) -> Result<Vec<String>, Fail> {
    let served = node.every::<Endpoint>(|endpoint| {
        endpoint.state == EndpointState::Serving && tenant.is_none_or(|of| *of == endpoint.tenant)
    })?;
    let mut withdrawn = Vec::new();
    for endpoint in served {
        let model = models::find(node, &endpoint.tenant, &endpoint.model, endpoint.model_version)?;
        let Err(fail) = models::admit(node, &model) else { continue };
        let why = fail.line();
        set_state(node, &endpoint, EndpointState::Refused, Some(why.clone()), Vec::new())?;
        let asks = node.endpoints.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&endpoint.id);
        if let Some(asks) = asks {
            // Where too much is asked already, dropping it is what ends the run.
            asks.try_send(Ask::Withdraw(why)).ok();
        }
        withdrawn.push(endpoint.name.to_string());
    }
    if !withdrawn.is_empty() {
        push_now(node)?;
    }
    Ok(withdrawn)
}
