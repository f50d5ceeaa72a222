//! What is open: egresses of runs, connections through them, and the bytes that these may send.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use net::lease::{Held, Lease, Leases};
use ops::relay::{Egress, LEASES_MAX, LOGIN_KEY, PROBE_KEY};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::error::RelayError;
use crate::limits::{FLOWS_MAX, FLOWS_OF_EGRESS_MAX, FLOWS_OF_TENANT_MAX};

/// For whom a connection is.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    /// The run; none for control itself.
    pub(crate) run: Option<u128>,
    /// Its tenant; empty for control itself.
    pub(crate) tenant: String,
    /// Who it is in events.
    pub(crate) actor: String,
    /// Through which egress.
    pub(crate) egress: Egress,
}

/// A run and what is open to it.
#[derive(Debug)]
pub(crate) struct Run {
    /// The connection over which it was ordered.
    pub(crate) by: u64,
    pub(crate) tenant: String,
    pub(crate) actor: String,
    pub(crate) egresses: Vec<Egress>,
    /// What accepts for it.
    pub(crate) listening: AbortHandle,
}

#[derive(Debug)]
struct Flow {
    run: Option<u128>,
    tenant: String,
    key: u128,
    stop: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Open {
    leases: BTreeMap<u128, Arc<Lease>>,
    runs: BTreeMap<u128, Run>,
    flows: BTreeMap<u64, Flow>,
    next: u64,
}

/// All that is open.
#[derive(Debug, Clone)]
pub(crate) struct Table(Arc<Mutex<Open>>);

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    table: Table,
    id: u64,
    /// Its bytes.
    pub(crate) lease: Arc<Lease>,
    /// Told when it has to end.
    pub(crate) stop: Arc<Notify>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.lock().flows.remove(&self.id);
    }
}

impl Table {
    /// Nothing is open but what control itself may have connected.
    pub(crate) fn new(leases: &Leases) -> Self {
        let own = [LOGIN_KEY, PROBE_KEY].map(|key| (key, leases.lease()));
        Self(Arc::new(Mutex::new(Open { leases: own.into(), ..Open::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        self.lock().flows.len()
    }

    /// A place for a connection, if there is one and its egress is still open.
    ///
    /// # Errors
    /// [`RelayError::TooMany`] or [`RelayError::NotOpen`].
    pub(crate) fn enter(&self, who: &Who) -> Result<Place, RelayError> {
        let mut open = self.lock();
        let key = who.egress.key;
        let closed = || RelayError::NotOpen(format!("{}:{}", who.egress.to.host, who.egress.to.port));
        if let Some(run) = who.run {
            let run = open.runs.get(&run).ok_or_else(closed)?;
            if !run.egresses.iter().any(|egress| egress.key == key) {
                return Err(closed());
            }
        }
        let count = |of: &dyn Fn(&Flow) -> bool| open.flows.values().filter(|flow| of(flow)).count();
        if open.flows.len() >= FLOWS_MAX {
            return Err(RelayError::TooMany("of the node"));
        }
        if count(&|flow| flow.tenant == who.tenant) >= FLOWS_OF_TENANT_MAX {
            return Err(RelayError::TooMany("of the tenant"));
        }
        if count(&|flow| flow.key == key) >= FLOWS_OF_EGRESS_MAX {
            return Err(RelayError::TooMany("of the egress"));
        }
        let lease = open.leases.get(&key).map(Arc::clone).ok_or_else(closed)?;
        let (id, stop) = (open.next, Arc::new(Notify::new()));
        open.next = id.saturating_add(1);
        let flow = Flow { run: who.run, tenant: who.tenant.clone(), key, stop: Arc::clone(&stop) };
        open.flows.insert(id, flow);
        Ok(Place { table: self.clone(), id, lease, stop })
    }

    /// Opens egresses to a run. `listen` begins to accept for it, when nothing is in the way.
    ///
    /// # Errors
    /// It has some already, or there are too many.
    pub(crate) fn add(
        &self,
        id: u128,
        leases: &Leases,
        egresses: &[Egress],
        run: impl FnOnce() -> Result<Run, RelayError>,
    ) -> Result<(), RelayError> {
        let mut open = self.lock();
        if open.runs.contains_key(&id) {
            return Err(RelayError::Order("the run has its egresses"));
        }
        // What lies idle reports nothing any more; its next lease is another.
        if open.leases.len().saturating_add(egresses.len()) > LEASES_MAX {
            let named = |key: &u128| {
                open.runs.values().any(|run| run.egresses.iter().any(|egress| egress.key == *key))
            };
            let kept: Vec<u128> = open
                .leases
                .iter()
                .filter(|(key, lease)| Arc::strong_count(lease) > 1 || **key <= PROBE_KEY || named(key))
                .map(|(key, _)| *key)
                .collect();
            open.leases.retain(|key, _| kept.contains(key));
        }
        if open.leases.len().saturating_add(egresses.len()) > LEASES_MAX {
            return Err(RelayError::TooMany("egresses of the node"));
        }
        let run = run()?;
        for egress in egresses {
            open.leases.entry(egress.key).or_insert_with(|| leases.lease());
        }
        open.runs.insert(id, run);
        Ok(())
    }

    /// Tenant and actor of a run, and which of its egresses leads to this host and port.
    pub(crate) fn find(&self, run: u128, host: &str, port: u16) -> Option<Who> {
        let open = self.lock();
        let found = open.runs.get(&run)?;
        let leads = |egress: &&Egress| egress.to.host.eq_ignore_ascii_case(host) && egress.to.port == port;
        let egress = found.egresses.iter().find(leads)?.clone();
        Some(Who { run: Some(run), tenant: found.tenant.clone(), actor: found.actor.clone(), egress })
    }

    /// Who a run is, to say that it was refused.
    pub(crate) fn named(&self, run: u128) -> Option<(String, String)> {
        self.lock().runs.get(&run).map(|run| (run.tenant.clone(), run.actor.clone()))
    }

    /// Ends everything of a run.
    pub(crate) fn close(&self, run: u128) {
        let mut open = self.lock();
        if let Some(run) = open.runs.remove(&run) {
            run.listening.abort();
        }
        open.stop(|flow| flow.run == Some(run));
    }

    /// Ends everything of the runs that were ordered over this connection.
    pub(crate) fn close_of(&self, by: u64) {
        let of: Vec<u128> =
            self.lock().runs.iter().filter(|(_, run)| run.by == by).map(|(id, _)| *id).collect();
        for run in of {
            self.close(run);
        }
    }

    /// Ends an egress for every run.
    pub(crate) fn revoke(&self, key: u128) {
        let mut open = self.lock();
        for run in open.runs.values_mut() {
            run.egresses.retain(|egress| egress.key != key);
        }
        open.stop(|flow| flow.key == key);
    }

    /// Ends all of it.
    pub(crate) fn end_all(&self) {
        let mut open = self.lock();
        for run in std::mem::take(&mut open.runs).into_values() {
            run.listening.abort();
        }
        open.stop(|_| true);
    }
}

impl Open {
    fn stop(&self, of: impl Fn(&Flow) -> bool) {
        for flow in self.flows.values().filter(|flow| of(flow)) {
            flow.stop.notify_one();
        }
    }
}

impl Held for Table {
    fn leases(&self) -> Vec<(u128, Arc<Lease>)> {
        self.lock().leases.iter().map(|(key, lease)| (*key, Arc::clone(lease))).collect()
    }
}
