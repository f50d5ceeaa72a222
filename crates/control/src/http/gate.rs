//! How much the tenants may have under way at once. Requests wait on a bounded number of threads, so without this one
//! tenant that uploads slowly, or watches and never reads, would take the API from everybody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Fail;

/// Requests, uploads, watches and exports of one tenant at once.
const OF_ONE: usize = 12;
/// Of all tenants: a quarter of the threads for requests stays for the operator.
const OF_ALL: usize = 48;

const _: () = assert!(OF_ONE < OF_ALL && OF_ALL < crate::REQUEST_THREADS);

/// What the tenants have under way.
#[derive(Debug, Default)]
pub(crate) struct Gate(Arc<Mutex<BTreeMap<String, usize>>>);

/// One request under way; it ends when the last copy is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Pass {
    _held: Option<Arc<Held>>,
}

#[derive(Debug)]
struct Held {
    of: String,
    counts: Arc<Mutex<BTreeMap<String, usize>>>,
}

fn locked(counts: &Mutex<BTreeMap<String, usize>>) -> MutexGuard<'_, BTreeMap<String, usize>> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gate {
    /// Lets a request of a tenant, or of the operator, in, or says that its tenant, or all of them, have enough under
    /// way.
    pub(crate) fn enter(&self, tenant: Option<&str>) -> Result<Pass, Fail> {
        let Some(tenant) = tenant else { return Ok(Pass { _held: None }) };
        let mut counts = locked(&self.0);
        let (own, all) = (counts.get(tenant).copied().unwrap_or(0), counts.values().sum::<usize>());
        if own >= OF_ONE || all >= OF_ALL {
            return Err(Fail::busy(if own >= OF_ONE {
                format!("this tenant has {OF_ONE} requests under way already")
            } else {
                "the node has all the requests under way that it takes from tenants".to_owned()
            }));
        }
        counts.insert(tenant.to_owned(), own.saturating_add(1));
        let held = Held { of: tenant.to_owned(), counts: Arc::clone(&self.0) };
        Ok(Pass { _held: Some(Arc::new(held)) })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut counts = locked(&self.counts);
        match counts.get_mut(&self.of) {
            Some(count) if *count > 1 => *count = count.saturating_sub(1),
            _ => drop(counts.remove(&self.of)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_cannot_take_the_room_of_others() {
        let gate = Gate::default();
        let passes: Vec<Pass> = (0..OF_ONE).map(|_| gate.enter(Some("acme")).unwrap()).collect();
        assert_eq!(gate.enter(Some("acme")).unwrap_err().status, 429);
        let other = gate.enter(Some("globex")).unwrap();
        // A stream keeps its pass after the handler returned.
        let stream = passes.first().unwrap().clone();
        drop(passes);
        assert_eq!(gate.0.lock().unwrap().get("acme"), Some(&1));
        drop((stream, other));
        assert!(gate.0.lock().unwrap().is_empty(), "nothing is kept of who is gone");
    }

    #[test]
    fn all_tenants_together_leave_room_for_the_operator() {
        let gate = Gate::default();
        let passes: Vec<Pass> =
            (0..OF_ALL).map(|n| gate.enter(Some(&format!("t{}", n / OF_ONE))).unwrap()).collect();
        assert_eq!(gate.enter(Some("late")).unwrap_err().status, 429);
        assert!(gate.enter(None).is_ok());
        drop(passes);
        assert!(gate.enter(Some("late")).is_ok());
    }
}
