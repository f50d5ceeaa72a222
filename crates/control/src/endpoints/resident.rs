//! What stands by a served model, from its start to its end.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ops::event::{Event, EventKind, Outcome, Phase};
use store::records::{Endpoint, EndpointState};

use super::{push_now, set_state};
use crate::Fail;
use crate::clock::now;
use crate::node::Node;
use crate::run::{Run, RunEvent};

/// How long the end of a runtime waits for the word that the node ends.
const LEAVE_GRACE: Duration = Duration::from_millis(300);

/// Starts the thread that stands by what is served; the record says already that it is.
pub(super) fn stand_by(node: &Arc<Node>, record: &Endpoint, run: Run) -> Result<(), Fail> {
    let (stop, stopped) = sync_channel(1);
    node.endpoints.running.lock().unwrap_or_else(PoisonError::into_inner).insert(record.id, stop);
    let (watcher, endpoint) = (Arc::clone(node), record.clone());
    std::thread::Builder::new()
        .name(format!("endpoint-{}", record.name))
        .spawn(move || watch(&watcher, &endpoint, run, &stopped))
        .map(drop)
        .map_err(|e| Fail::internal("no thread for the endpoint", e))
}

/// Stands by a served model until it is stopped or ends by itself.
fn watch(node: &Arc<Node>, endpoint: &Endpoint, mut run: Run, stopped: &Receiver<()>) {
    let ended = loop {
        if stopped.try_recv().is_ok() {
            break None;
        }
        match run.next(Duration::from_millis(50)) {
            Some(RunEvent::Exited(exit)) => {
                break Some(format!("the runtime ended: {} {}", exit.cause, exit.code));
            }
            Some(RunEvent::PorterGone) => break Some("the porter of the endpoint ended".to_owned()),
            Some(RunEvent::Told(_)) | None => {}
        }
    };
    if ended.is_some() {
        // The warden ends runs right after it told this process to leave. What ended with the node did not fail, and is
        // served again at the next start.
        std::thread::sleep(LEAVE_GRACE);
        if node.leaving.load(Ordering::Acquire) {
            return;
        }
    }
    node.endpoints.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&endpoint.id);
    let state = if ended.is_some() { EndpointState::Failed } else { EndpointState::Stopped };
    if let Err(fail) =
        set_state(node, endpoint, state, ended.clone(), Vec::new()).and_then(|_| push_now(node))
    {
        crate::log::line("endpoint", &fail.line());
    }
    if let Err(fail) = run.destroy() {
        crate::log::line("endpoint", &fail.line());
    }
    let outcome = if ended.is_some() { Outcome::Failure } else { Outcome::Success };
    let event = Event::new(EventKind::ModelUnload, Phase::Observed, outcome, now().as_millis(), 0)
        .tenant(endpoint.tenant.as_str())
        .asset("endpoint", endpoint.name.as_str(), Some(endpoint.model_digest))
        .because(ended.as_deref().unwrap_or("stopped on request"));
    if let Err(fail) = node.keeper.append(event) {
        crate::log::line("endpoint", &fail.line());
    }
}
