//! The probe of IN-5: a model that was made elsewhere takes every step of its intake before its first use.

use std::sync::Arc;

use store::PageRequest;
use store::records::Tenant;

use super::probes::{Seen, operator};
use crate::node::{Node, store_fail};
use crate::{Fail, intake};

pub(super) fn in_order(node: &Arc<Node>) -> Result<Seen, Fail> {
    let page = PageRequest { limit: 1, ..PageRequest::default() };
    let tenants = node.meta.read(|tx| tx.platform().list::<Tenant>(&page)).map_err(store_fail)?;
    let Some(tenant) = tenants.items.first() else {
        return Ok(Seen::Unknown("there is no tenant into which a model could be brought".to_owned()));
    };
    let route = api::TABLE.iter().find(|route| route.operation == "intake.admit");
    let route = route.ok_or_else(|| Fail::internal("no endpoint admits models", "intake.admit"))?;
    let principal = operator(node, route)?;
    let walked = intake::walk(node, &principal, &tenant.record.name)?;
    let mut evidence = walked.evidence;
    if let Some(broken) = walked.broken {
        return Ok(Seen::Broken(broken, evidence));
    }
    match intake::admitted(node)? {
        Some(whole) => {
            evidence.push(format!("positive control, the whole way: {whole}, and verifies now"));
            Ok(Seen::Holds(
                "no step of an intake can be left out, done twice or done for other files, and a refusal is final"
                    .to_owned(),
                evidence,
            ))
        }
        None => Ok(Seen::Unknown(format!(
            "no model took the whole way on this node yet, so only refusals were seen ({}): bring one with `strongroom model import NAME PATH --source TEXT`",
            evidence.join("; ")
        ))),
    }
}
