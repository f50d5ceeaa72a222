//! Posture: probes of the controls, run on the live platform. A control passes only if its probe ran and saw it.

mod data;
mod egress;
mod formats;
mod host;
mod identities;
mod intake;
mod models;
mod operations;
mod outgoing;
mod people;
mod planes;
mod probes;
mod recovery;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use api::{ControlState, Posture};
use base::Timestamp;
use ops::event::{Event, EventKind, Outcome, Phase};
use posture::{Catalogue, Posture as Report};

use crate::Fail;
use crate::auth::{By, Principal};
use crate::clock::now;
use crate::node::{Node, correlation};

/// The last run, for `posture show`.
#[derive(Debug, Default)]
pub(crate) struct LastRun(Mutex<Option<(Timestamp, Posture)>>);

impl LastRun {
    /// When it was, and what it found.
    pub(crate) fn last(&self) -> Option<(Timestamp, Posture)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Runs every probe that there is.
pub(crate) fn run(node: &Arc<Node>, principal: &Principal) -> Result<Posture, Fail> {
    let event =
        Event::new(EventKind::PostureRun, Phase::Intent, Outcome::Unknown, now().as_millis(), correlation()?)
            .by(principal);
    let found = node.keeper.audited_with(
        event,
        || {
            let mut results = BTreeMap::new();
            for (id, probe) in probes::ALL {
                results.insert((*id).to_owned(), probes::outcome(probe(node)));
            }
            let ran = now();
            wire(results, Some(ran.to_string())).map(|found| (ran, found))
        },
        |event, (_, found)| {
            found.totals.iter().fold(event, |e, (status, count)| e.detail(status, &count.to_string()))
        },
    )?;
    *node.posture.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
    Ok(found.1)
}

/// The last run; before the first, every control is unknown.
pub(crate) fn show(node: &Arc<Node>) -> Result<Posture, Fail> {
    match node.posture.last() {
        Some((_, last)) => Ok(last),
        None => wire(BTreeMap::new(), None),
    }
}

fn wire(results: BTreeMap<String, posture::Outcome>, ran: Option<String>) -> Result<Posture, Fail> {
    let catalogue = Catalogue::load().map_err(|e| Fail::explained(500, &e))?;
    let report = Report::from_results(&catalogue, results).map_err(|e| Fail::explained(500, &e))?;
    let mut totals = BTreeMap::new();
    let controls = report
        .rows()
        .iter()
        .map(|row| {
            let status = row.outcome.status.as_str().to_owned();
            *totals.entry(status.clone()).or_insert(0u64) += 1;
            ControlState {
                id: row.id.clone(),
                status,
                reason: row.outcome.reason.clone(),
                evidence: row.outcome.evidence.clone(),
            }
        })
        .collect();
    Ok(Posture { ran, controls, totals })
}
