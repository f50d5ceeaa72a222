//! The probe of AC-8: break-glass is local, sealed, alarmed, ends by itself, and opens no plaintext.
//!
//! All of it is seen where it is used: within a window the probe tries to open what a tenant sealed. It never opens one
//! itself, so outside a window it says what it sees there, and passes by the newest drill.

use std::sync::Arc;

use access::{Circumstances, Mode, Principal, Request, Role};
use api::{TABLE, Who};
use ops::event::{Event, EventKind, Outcome, Phase};
use ops::keeper::Request as Ask;
use ops::recovery::{Act, Proof, WINDOW_MIN_S};
use ops::{List, Text};
use store::PageRequest;
use store::records::Object;

use super::probes::Seen;
use crate::clock::now;
use crate::keeper::{Wrapped, keeper_scope};
use crate::node::{Node, correlation, store_fail, time};
use crate::{Fail, auditlog};

/// How long a drill says that break-glass is as it should be: 90 days.
const DRILL_GOOD_MS: u64 = 90 * 86_400_000;
/// The keeper's answer to whoever asks for a tenant's key in safe mode.
const SAFE_MODE: &str = "SR-KPR-0024";

pub(super) fn break_glass(node: &Arc<Node>) -> Result<Seen, Fail> {
    let standing = crate::recovery::show(node)?;
    if standing.holders.is_empty() {
        let why = "nobody holds recovery codes, so there is no break-glass: make them with `strongroom break-glass seal --holder NAME --holder NAME`";
        return Ok(match node.config.mode {
            base::config::Mode::Production => Seen::Broken(why.to_owned(), Vec::new()),
            base::config::Mode::Dev => Seen::Unknown(why.to_owned()),
        });
    }
    if let Some(way) = from_elsewhere(node) {
        return Ok(Seen::Broken(format!("break-glass is not local: {way}"), Vec::new()));
    }
    let mut evidence = vec![
        format!("recovery codes are held by {}", standing.holders.join(", ")),
        "its operations exist for the operator on the local socket alone".to_owned(),
    ];
    match &standing.break_glass {
        Some(window) => drill(node, window, evidence),
        None => {
            if forged(node)? {
                return Ok(Seen::Broken("a forged signature opened break-glass".to_owned(), evidence));
            }
            evidence.push("an opening with a forged signature was refused, and is in the log".to_owned());
            last_drill(node, evidence)
        }
    }
}

/// Somebody beside the operator who may do something of it.
fn from_elsewhere(node: &Node) -> Option<String> {
    let rules = node.policies.get();
    let of_it = TABLE
        .iter()
        .filter(|route| route.operation.starts_with("break_glass.") || route.operation == "safe_mode.leave");
    for route in of_it {
        if route.who != Who::Operator {
            return Some(format!("`{}` is for others than the operator", route.operation));
        }
        for role in Role::ALL.into_iter().filter(|role| *role != Role::PlatformOperator) {
            for mode in [Mode::Normal, Mode::Safe, Mode::BreakGlass] {
                let (principal, given) =
                    (Principal::example(role, "probe"), Circumstances { mode, ..Circumstances::ALL });
                let (operation, tenant) = (route.operation, Some("probe"));
                let request = Request { principal, operation, tenant, resource: "probe", given };
                if rules.policies.decide(&request).allowed {
                    return Some(format!("{role} may `{operation}`"));
                }
            }
        }
    }
    None
}

/// Tries to open it with a signature of nobody; whether it opened.
fn forged(node: &Node) -> Result<bool, Fail> {
    let holder = crate::recovery::show(node)?.holders.into_iter().next().unwrap_or_default();
    let proof = Proof { holder: Text::clip(&holder), signature: [0; 64] };
    let asked = node.keeper.call(&Ask::Recover {
        act: Act::Open { reason: Text::clip("probe AC-8: a forged signature"), seconds: WINDOW_MIN_S },
        proofs: List::clip(vec![proof]),
        actor: Text::clip("platform"),
        correlation: correlation()?,
    });
    match asked {
        Ok(_) => Ok(true),
        Err(fail) if fail.code == "SR-KPR-0027" => Ok(false),
        Err(fail) => Err(fail),
    }
}

/// Within a window: what a tenant sealed does not open, and the alarm is in the log.
fn drill(node: &Arc<Node>, window: &api::BreakGlass, mut evidence: Vec<String>) -> Result<Seen, Fail> {
    let objects = node.meta.read(|tx| tx.list_all::<Object>(&PageRequest::default())).map_err(store_fail)?;
    let of_tenant = |object: &&Object| object.scope.tenant().as_str() != vault::scope::NODE;
    let object = objects.items.iter().map(|stored| &stored.record).find(of_tenant);
    let Some(object) = object else {
        let why = "break-glass is open, and no tenant has sealed anything that could be tried";
        return Ok(Seen::Unknown(why.to_owned()));
    };
    let (scope, wrapped) = (keeper_scope(&object.scope), Wrapped::of(object));
    match node.keeper.unwrap(scope, &wrapped, "platform", "probe AC-8", correlation()?) {
        Err(fail) if fail.code == SAFE_MODE => {
            evidence.push(format!(
                "the key of object {} was asked for within the window: {}",
                object.name,
                fail.line()
            ));
        }
        Err(fail) => return Err(fail),
        Ok(_) => {
            let why = format!("the key of object {} was released within the window", object.name);
            return Ok(Seen::Broken(why, evidence));
        }
    }
    let alarm = auditlog::newest(node, "break_glass.open", |entry| {
        detail(entry, "phase") == Some("intent")
            && entry.get("severity_id").and_then(serde_json::Value::as_u64) == Some(5)
    })?;
    let Some((index, alarm)) = alarm else {
        return Ok(Seen::Broken("the opening is no critical entry of the log".to_owned(), evidence));
    };
    let logged = alarm.get("time").and_then(serde_json::Value::as_u64).map(time).unwrap_or_default();
    evidence.push(format!(
        "alarm: entry {index} of {logged}, durable before the window began at {}",
        window.since
    ));
    evidence.push(format!("it ends by itself at {}", window.ends));
    let event = Event::new(
        EventKind::BreakGlassDrill,
        Phase::Observed,
        Outcome::Success,
        now().as_millis(),
        correlation()?,
    )
    .asset("node", &node.config.node, None)
    .detail("holder", &window.holder);
    node.keeper.append(event)?;
    Ok(Seen::Holds(
        "break-glass is sealed, local and alarmed, ends by itself, and opens no plaintext".to_owned(),
        evidence,
    ))
}

fn detail<'e>(entry: &'e serde_json::Value, name: &str) -> Option<&'e str> {
    entry.get("unmapped")?.get("strongroom")?.get(name)?.as_str()
}

/// Outside a window: by what was seen within the newest.
fn last_drill(node: &Arc<Node>, mut evidence: Vec<String>) -> Result<Seen, Fail> {
    let newest = auditlog::newest(node, "break_glass.drill", |_| true)?;
    let at = |entry: &serde_json::Value| entry.get("time").and_then(serde_json::Value::as_u64);
    let newest = newest.and_then(|(index, entry)| at(&entry).map(|at| (index, at)));
    match newest.filter(|(_, at)| now().as_millis().saturating_sub(*at) < DRILL_GOOD_MS) {
        Some((index, at)) => {
            evidence.push(format!("drill: entry {index} of {}", time(at)));
            let why = "break-glass is sealed and local; the newest drill saw its alarm, and no plaintext";
            Ok(Seen::Holds(why.to_owned(), evidence))
        }
        None => Ok(Seen::Unknown(
            "break-glass is sealed and local, and nobody has drilled it for 90 days: open it, run `strongroom posture run`, and leave safe mode".to_owned(),
        )),
    }
}
