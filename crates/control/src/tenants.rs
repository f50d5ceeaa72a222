//! Tenants.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{Page, TenantCreate};
use base::names::Name;
use ops::event::{Event, EventKind, Outcome, Phase};
use store::PageRequest;
use store::records::{Dataset, Endpoint, Job, Model, Tenant};
use vault::KeyScope;

use crate::Fail;
use crate::auth::{By, Principal};
use crate::clock::now;
use crate::keeper::keeper_scope;
use crate::node::{Node, correlation, store_fail, time};

/// Most tenants of a node: each has keys in the keeper's memory and a uid range of its own when it runs.
const TENANTS_MAX: u64 = 1000;

pub(crate) fn create(
    node: &Arc<Node>,
    principal: &Principal,
    request: &TenantCreate,
) -> Result<api::Tenant, Fail> {
    let name: Name =
        request.name.parse().map_err(|e: base::names::NameError| Fail::invalid(e.to_string()))?;
    if name.as_str() == vault::scope::NODE {
        return Err(Fail::invalid(format!("`{name}` is the name of the node's own keys")));
    }
    let (at, cor) = (now().as_millis(), correlation()?);
    let event = Event::new(EventKind::TenantCreate, Phase::Intent, Outcome::Unknown, at, cor)
        .tenant(name.as_str())
        .by(principal)
        .asset("tenant", name.as_str(), None);
    node.keeper.audited(event, || {
        if node.tenant(&name).is_ok() {
            return Err(Fail::conflict(format!("there is a tenant `{name}` already")));
        }
        let count = node.meta.read(|tx| tx.count_all::<Tenant>()).map_err(store_fail)?;
        if count >= TENANTS_MAX {
            return Err(Fail::conflict(format!("this node has its {TENANTS_MAX} tenants")));
        }
        node.keeper.create_scope(keeper_scope(&KeyScope::Tenant(name.clone())), cor)?;
        let record = Tenant { name: name.clone(), created_ms: at, kek_version: Some(1) };
        let insert = node.meta.transaction(|tx| {
            tx.platform().insert(&record)?;
            principal.made(tx, name.as_str())
        });
        insert.map_err(store_fail)
    })?;
    show(node, &name)
}

pub(crate) fn show(node: &Arc<Node>, name: &Name) -> Result<api::Tenant, Fail> {
    let record = node.tenant(name)?;
    wire(node, &record)
}

/// Those that the caller may know: all, or its own.
pub(crate) fn list(
    node: &Node,
    principal: &Principal,
    page: &PageRequest,
) -> Result<Page<api::Tenant>, Fail> {
    let (records, next) = match principal.confined_to() {
        Some(own) => (own.parse().ok().and_then(|own| node.tenant(&own).ok()).into_iter().collect(), None),
        None => {
            let page = node.meta.read(|tx| tx.platform().list::<Tenant>(page)).map_err(store_fail)?;
            (page.items.into_iter().map(|stored| stored.record).collect::<Vec<_>>(), page.next)
        }
    };
    let items: Result<Vec<_>, Fail> = records.iter().map(|tenant| wire(node, tenant)).collect();
    Ok(Page { items: items?, next })
}

fn wire(node: &Node, record: &Tenant) -> Result<api::Tenant, Fail> {
    let counts = node
        .meta
        .read(|tx| {
            let rows = tx.of(&record.name);
            Ok(BTreeMap::from([
                ("datasets".to_owned(), rows.count::<Dataset>()?),
                ("jobs".to_owned(), rows.count::<Job>()?),
                ("models".to_owned(), rows.count::<Model>()?),
                ("endpoints".to_owned(), rows.count::<Endpoint>()?),
            ]))
        })
        .map_err(store_fail)?;
    Ok(api::Tenant { name: record.name.to_string(), created: time(record.created_ms), counts })
}
