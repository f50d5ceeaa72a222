//! The probe of AC-9: whether what runs for tenants can reach a plane of the platform. It goes by what was read back from
//! each sandbox after its start, not by what it was started with.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use ops::relay::Reach;
use store::records::{Endpoint, EndpointState, Job, JobState, NamedEgress};

use super::probes::Seen;
use crate::Fail;
use crate::endpoints;
use crate::node::Node;

/// What the warden reads back: no interface but the loopback of its own, and no route.
const NO_NETWORK: &str = "network.none";
/// Permission bits of others than the owner.
const OTHERS: u32 = 0o077;

/// Looks at the network of every sandbox that runs or ran, at the listeners, and at the storage.
pub(super) fn apart(node: &Arc<Node>) -> Result<Seen, Fail> {
    let (all, running) = match networks(node)? {
        Networks::None { all, running } => (all, running),
        Networks::Of(name) => {
            return Ok(Seen::Broken(format!("the sandbox of {name} has a network"), Vec::new()));
        }
    };
    let gateway = endpoints::address(node);
    let management = node.plane.as_ref().map(|plane| plane.url.clone());
    if gateway.is_some() && gateway.as_ref().map(|address| format!("https://{address}")) == management {
        return Ok(Seen::Broken("management and inference share a listener".to_owned(), Vec::new()));
    }
    let storage = node.config.control_dir();
    let mode = std::fs::metadata(&storage)
        .map_err(|e| Fail::storage("the directory of the storage cannot be looked at", e))?
        .mode();
    if mode & OTHERS != 0 {
        return Ok(Seen::Broken(
            format!("others may enter the storage: mode {:o}", mode & 0o777),
            Vec::new(),
        ));
    }
    let named = node.every::<NamedEgress>(|_| true)?;
    let near: Vec<String> = named
        .iter()
        .filter(|egress| egress.reach == Reach::Node.name())
        .map(|egress| format!("{}/{}", egress.tenant, egress.name))
        .collect();
    if all == 0 {
        return Ok(Seen::Unknown("nothing has run yet whose network could be looked at".to_owned()));
    }
    Ok(Seen::Holds(
        "planes have listeners of their own, storage is files of control alone, and no sandbox reaches any but by a named egress"
            .to_owned(),
        vec![
            format!(
                "{all} sandboxes, of which {running} run: none has an interface but its own loopback, or a route"
            ),
            format!(
                "inference {}, management {}",
                gateway.as_deref().unwrap_or("off"),
                management.as_deref().unwrap_or("on the local socket alone")
            ),
            format!("storage: {} with mode {:o}", storage.display(), mode & 0o777),
            format!(
                "{} named egresses, by which jobs that name them reach one place each through the relay; those that may \
                 lead to this node: {}",
                named.len(),
                if near.is_empty() { "none".to_owned() } else { near.join(", ") }
            ),
        ],
    ))
}

/// Networks of sandboxes, as they were read back from each after its start.
pub(super) enum Networks {
    /// None of these has one.
    None {
        /// That ran.
        all: u32,
        /// Of them, those that run.
        running: u32,
    },
    /// This one has.
    Of(String),
}

/// Looks at the network of every sandbox that runs or ran.
pub(super) fn networks(node: &Arc<Node>) -> Result<Networks, Fail> {
    let jobs = node.every::<Job>(|job| !job.isolation.is_empty())?;
    let served = node.every::<Endpoint>(|endpoint| !endpoint.isolation.is_empty())?;
    let jobs = jobs.iter().map(|j| (format!("job {}", j.id), j.state == JobState::Running, &j.isolation));
    let served = served
        .iter()
        .map(|e| (format!("endpoint {}", e.id), e.state == EndpointState::Serving, &e.isolation));
    let (mut all, mut running) = (0u32, 0u32);
    for (name, runs, isolation) in jobs.chain(served) {
        let none = isolation.iter().any(|(name, state, _)| name == NO_NETWORK && state == "enforced");
        if !none {
            return Ok(Networks::Of(name));
        }
        all = all.saturating_add(1);
        running = running.saturating_add(u32::from(runs));
    }
    Ok(Networks::None { all, running })
}
