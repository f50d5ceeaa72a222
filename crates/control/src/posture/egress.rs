//! The probe of AC-10: it takes bytes out of the live accounts, within a cap and beyond it, asks how the gateway's answers
//! are counted, and looks for ways around both.

use std::sync::Arc;

use base::ByteSize;
use posture::{Outcome, Status};
use store::records::{Model, ModelState};

use super::outgoing::{Ways, ways};
use super::planes::{Networks, networks};
use super::probes::Seen;
use crate::Fail;
use crate::clock::now;
use crate::egress;
use crate::node::{Node, correlation};

/// The principal that the probe takes bytes out as. Its account shows in `access egress`, with nothing in it.
const PROBE: &str = "probe:AC-10";
/// Gateway and relay tell every few seconds what left; what they told longer ago says nothing of now.
const TOLD_WITHIN_MS: u64 = 30_000;

/// Takes out more than the cap.
pub(super) fn capped(node: &Arc<Node>) -> Result<Seen, Fail> {
    let caps = &node.config.egress;
    let take = |bytes| egress::take_as(node, (PROBE, None), "probe@0", bytes, correlation()?, |event| event);
    let taken = match take(1) {
        Ok(taken) => taken,
        Err(fail) => {
            return Ok(Seen::Unknown(format!(
                "not even one byte may leave, so a refusal says nothing: {}",
                fail.line()
            )));
        }
    };
    let counted = egress::used(node, PROBE)?;
    taken.settle(node, 0);
    if counted == 0 {
        return Ok(Seen::Broken("a byte that may leave is not in the account".to_owned(), Vec::new()));
    }
    let beyond = caps.per_principal.bytes().saturating_add(1);
    match take(beyond) {
        Ok(taken) => {
            taken.settle(node, 0);
            return Ok(Seen::Broken(format!("{beyond} bytes may leave at once"), Vec::new()));
        }
        Err(fail) if fail.code == "SR-EGR-0001" => {}
        Err(fail) => return Err(fail),
    }
    let mut evidence = vec![
        format!("one byte taken out: counted; {beyond} bytes taken out: refused, and the log tells of it"),
        format!(
            "caps within a day: {} for a principal, {} for a tenant, {} in all",
            caps.per_principal,
            caps.per_tenant(),
            caps.total
        ),
    ];
    for (of, who, what) in [(&node.granting, "gateway", "answers"), (&node.relaying, "relay", "connections")]
    {
        let Some(told) = of.last().filter(|told| now().millis_since(told.at) < TOLD_WITHIN_MS) else {
            return Ok(unknown(&format!("the {who} does not tell what leaves"), evidence));
        };
        evidence.push(format!(
            "{what}: the {who} spends bytes that were counted before; {} keys may send {} more without asking",
            told.keys,
            ByteSize::from_bytes(told.left)
        ));
    }
    let (all, running) = match networks(node)? {
        Networks::None { all, running } => (all, running),
        Networks::Of(name) => {
            return Ok(Seen::Broken(
                format!("the sandbox of {name} has a network, which nothing counts"),
                evidence,
            ));
        }
    };
    evidence.push(format!(
        "{all} sandboxes, of which {running} run: none has a network to send DNS, ICMP or anything by"
    ));
    evidence.push(unalarmed(node)?);
    match ways(node)? {
        Ways::None(seen) => evidence.push(seen),
        Ways::Unknown(reason) => return Ok(unknown(&reason, evidence)),
        Ways::This(way) => return Ok(Seen::Broken(way, evidence)),
    }
    Ok(Seen::Holds(
        "what leaves is counted, refused beyond a cap, and has no other way out".to_owned(),
        evidence,
    ))
}

fn unknown(reason: &str, evidence: Vec<String>) -> Seen {
    Seen::Judged(Outcome { status: Status::Unknown, reason: reason.to_owned(), evidence })
}

/// Models that fit below the line of the alarm: a whole copy of one is an entry in the log, and no alarm.
fn unalarmed(node: &Arc<Node>) -> Result<String, Fail> {
    let line = node.config.egress.per_principal.bytes() / 5 * 4;
    let models = node.every::<Model>(|model| model.state == ModelState::Registered)?;
    let sizes = models.iter().map(|model| model.files.iter().map(|f| f.size).fold(0, u64::saturating_add));
    let below = sizes.filter(|size| *size <= line).count();
    Ok(format!(
        "{below} of {} models are smaller than what one principal may take out before an alarm ({}): of those a copy is \
         logged, and the caps hold only many",
        models.len(),
        ByteSize::from_bytes(line)
    ))
}
