//! Certificates of jobs, by which far ends of their egresses know them: issued for keys that the relay makes and keeps, short,
//! and renewed for as long as the job runs and no longer.

use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use base::id::JobId;
use base::names::Name;
use net::identity::{Holder, ProvenKey};
use ops::event::{Event, EventKind, Outcome, Phase};

use crate::Fail;
use crate::clock::now;
use crate::node::{Node, correlation};

/// How often it is looked for certificates that are due, and for runs that a relay which started anew has none for.
const LOOK: Duration = Duration::from_millis(250);

/// A certificate for a run, as it is opened egresses and again before the one that it has ends.
pub(crate) fn certify(node: &Node, run: u128, tenant: &str, actor: &str) -> Result<(), Fail> {
    let odd = |e: &dyn std::fmt::Display| Fail::internal("a run is of no job", e);
    let job = actor.strip_prefix("job:").ok_or_else(|| odd(&actor))?;
    let job: JobId = job.parse().map_err(|e| odd(&e))?;
    let tenant: Name = tenant.parse().map_err(|e| odd(&e))?;
    node.relay.certify(run, |request| issue(node, &tenant, job, request))
}

/// A certificate for the key of this request, and when it was made. The log knows of it before it can be used.
fn issue(node: &Node, tenant: &Name, job: JobId, request: &str) -> Result<(String, Timestamp), Fail> {
    let key = ProvenKey::from_request(request).map_err(|e| Fail::explained(500, &e))?;
    let id = node.services.id_of(Holder::Job { tenant: tenant.clone(), job });
    let at = now();
    let life = u64::from(node.config.egress.certificate_seconds).saturating_mul(1000);
    let issued = node.services.issue(&key, &id, at, at.plus_millis(life));
    let (pem, ends) = issued.map_err(|e| Fail::explained(500, &e))?;
    let digest = net::workload::digest(&pem).map_err(|e| Fail::explained(500, &e))?;
    let event = Event::new(
        EventKind::EgressCertify,
        Phase::Outcome,
        Outcome::Success,
        at.as_millis(),
        correlation()?,
    )
    .tenant(tenant.as_str())
    .asset("job", &job.to_string(), None)
    .detail("id", &id.to_string())
    .detail("certificate", &digest.hex())
    .detail("ends", &ends.to_string());
    node.keeper.append(event)?;
    Ok((pem, at))
}

/// Renews certificates when half of their life is over, for as long as this process lives.
pub(crate) fn keep_certified(node: &Arc<Node>) {
    let half = u64::from(node.config.egress.certificate_seconds).saturating_mul(500);
    let mut failing = false;
    loop {
        // One of a time to come was made before the clock was set back.
        let at = now();
        let since = Timestamp::from_millis(at.as_millis().saturating_sub(half));
        let mut failed = false;
        for (run, tenant, actor) in node.relay.uncertified((since, at)) {
            if let Err(fail) = certify(node, run, &tenant, &actor) {
                failed = true;
                // Once, until it goes well again: without a certificate the relay speaks for nobody.
                if !failing {
                    crate::log::line(
                        "workloads",
                        &format!("{actor} is given no certificate: {}", fail.line()),
                    );
                }
            }
        }
        failing = failed;
        std::thread::sleep(LOOK);
    }
}
