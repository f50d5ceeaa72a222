//! What is open: egresses of runs, connections through them, and the bytes that these may send.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use net::lease::{Held, Lease, Leases};
use net::workload::Identity;
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
    /// In whose name, where the relay speaks in somebody's.
    pub(crate) identity: Option<Arc<Identity>>,
}

/// A run and what is open to it.
#[derive(Debug)]
pub(crate) struct Run {
    /// The connection over which it was ordered.
    pub(crate) by: u64,
    pub(crate) tenant: String,
    pub(crate) actor: String,
    pub(crate) egresses: Vec<Egress>,
    /// Who it is where the relay speaks in its name. Its keys end with the run.
    pub(crate) identity: Arc<Identity>,
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
        let identity = egress.authority.is_some().then(|| Arc::clone(&found.identity));
        let (tenant, actor) = (found.tenant.clone(), found.actor.clone());
        Some(Who { run: Some(run), tenant, actor, egress, identity })
    }

    /// Who a run is, where the relay speaks in its name.
    pub(crate) fn identity(&self, run: u128) -> Option<Arc<Identity>> {
        let open = self.lock();
        let found = open.runs.get(&run)?;
        let named = found.egresses.iter().any(|egress| egress.authority.is_some());
        named.then(|| Arc::clone(&found.identity))
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

#[cfg(test)]
mod tests {
    use ops::Text;
    use ops::relay::{Destination, Reach};

    use super::*;
    use crate::clock;

    fn egress(key: u128) -> Egress {
        let to = Destination { host: Text::clip("Hub.example"), port: 443, reach: Reach::Public };
        Egress { key, name: Text::clip("hub"), to, authority: None }
    }

    fn own(key: u128, tenant: &str) -> Who {
        let (tenant, actor) = (tenant.to_owned(), "platform:test".to_owned());
        Who { run: None, tenant, actor, egress: egress(key), identity: None }
    }

    /// A table with a run of each of these, each with egresses of these keys.
    fn with_runs(runs: &[(u128, u64, &str, &[u128])]) -> (Table, tokio::runtime::Runtime) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let leases = Leases::new(1, clock::tick);
        let table = Table::new(&leases);
        for (id, by, tenant, keys) in runs {
            let egresses: Vec<Egress> = keys.iter().map(|key| egress(*key)).collect();
            let listening = runtime.spawn(std::future::pending::<()>()).abort_handle();
            let run = Run {
                by: *by,
                tenant: (*tenant).to_owned(),
                actor: "job:x".to_owned(),
                egresses: egresses.clone(),
                identity: Arc::default(),
                listening,
            };
            table.add(*id, &leases, &egresses, || Ok(run)).unwrap();
        }
        (table, runtime)
    }

    #[test]
    fn a_run_has_what_was_opened_to_it_until_it_ends() {
        let (table, _runtime) = with_runs(&[(1, 10, "acme", &[7, 8]), (2, 11, "globex", &[9])]);
        let who = table.find(1, "hub.EXAMPLE", 443).unwrap();
        assert_eq!((who.tenant.as_str(), who.egress.key), ("acme", 7));
        for (run, host, port) in [(1, "hub.example", 80), (1, "example", 443), (3, "hub.example", 443)] {
            assert!(table.find(run, host, port).is_none());
        }
        let (one, other) =
            (table.enter(&who).unwrap(), table.enter(&table.find(2, "hub.example", 443).unwrap()));
        table.revoke(7);
        assert!(matches!(table.enter(&who), Err(RelayError::NotOpen(_))), "it is revoked");
        assert_eq!(table.find(1, "hub.example", 443).unwrap().egress.key, 8, "the other stays");
        assert_eq!(table.open(), 2, "places are free when what has them has ended");
        drop((one, other));
        assert_eq!(table.open(), 0);
        table.close_of(11);
        assert!(
            table.named(2).is_none() && table.named(1).is_some(),
            "what one connection opened ends with it"
        );
        table.close(1);
        assert!(table.named(1).is_none());
        let leases = Leases::new(2, clock::tick);
        let twice = with_runs(&[(5, 1, "acme", &[7])]).0;
        assert!(twice.add(5, &leases, &[], || Err(RelayError::Log)).is_err());
    }

    #[test]
    fn a_run_has_an_identity_only_where_the_relay_speaks_in_its_name() {
        let (table, _runtime) = with_runs(&[(1, 10, "acme", &[7]), (2, 10, "acme", &[8])]);
        let named = |run| table.find(run, "hub.example", 443).unwrap().identity.is_some();
        table.lock().runs.get_mut(&1).unwrap().egresses[0].authority = Some(Text::clip("PEM"));
        assert!(named(1) && table.identity(1).is_some());
        assert!(!named(2) && table.identity(2).is_none() && table.identity(3).is_none());
        let held = Arc::downgrade(&table.identity(1).unwrap());
        table.close(1);
        assert!(held.upgrade().is_none(), "its keys end with the run");
    }

    #[test]
    fn connections_are_bounded_for_an_egress_a_tenant_and_all() {
        let (table, _runtime) = with_runs(&[(1, 1, "x", &[3, 4, 5, 6, 7, 8, 9, 10, 11])]);
        let mut places = Vec::new();
        let full = |table: &Table, who: &Who, why: &str| match table.enter(who) {
            Err(RelayError::TooMany(which)) => assert_eq!(which, why),
            other => panic!("{other:?}"),
        };
        for _ in 0..FLOWS_OF_EGRESS_MAX {
            places.push(table.enter(&own(3, "acme")).unwrap());
        }
        full(&table, &own(3, "acme"), "of the egress");
        for _ in FLOWS_OF_EGRESS_MAX..FLOWS_OF_TENANT_MAX {
            places.push(table.enter(&own(4, "acme")).unwrap());
        }
        full(&table, &own(5, "acme"), "of the tenant");
        for n in FLOWS_OF_TENANT_MAX..FLOWS_MAX {
            let key = 5 + u128::try_from(n % 7).unwrap();
            places.push(table.enter(&own(key, &format!("t{}", n / 32))).unwrap());
        }
        full(&table, &own(11, "new"), "of the node");
        places.clear();
        assert!(table.enter(&own(3, "acme")).is_ok());
    }

    #[test]
    fn what_ends_is_told_even_before_it_listens() {
        let (table, runtime) = with_runs(&[(1, 1, "acme", &[7])]);
        let place = table.enter(&table.find(1, "hub.example", 443).unwrap()).unwrap();
        table.close(1);
        runtime.block_on(place.stop.notified());
        let place = table.enter(&own(LOGIN_KEY, "")).unwrap();
        table.end_all();
        runtime.block_on(place.stop.notified());
    }
}
