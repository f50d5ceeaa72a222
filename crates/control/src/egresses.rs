//! Named egresses: the places outside that jobs of a tenant may reach, by the relay and by nothing else. The operator makes
//! them; a job uses those that its file names and that its submitter may use.

use std::net::IpAddr;
use std::sync::Arc;

use access::{Mode, Request};
use api::{EgressCreate, NamedEgress, Page};
use base::ByteSize;
use base::id::EgressId;
use base::names::Name;
use ops::event::{Event, EventKind, Outcome, Phase};
use ops::relay::{AUTHORITY_MAX, Destination, EGRESSES_MAX, Egress, HOST_MAX, Reach};
use store::records::NamedEgress as Record;
use store::{PageRequest, StoreError};

use crate::Fail;
use crate::auth::{By, Identity, Principal};
use crate::clock::{now, random};
use crate::node::{Node, correlation, store_fail, time};
use crate::run::text;

/// Egresses of one tenant.
const NAMED_MAX: u64 = 64;

// What a job file may name, the relay opens.
const _: () = assert!(training::limits::EGRESSES_MAX == EGRESSES_MAX);

pub(crate) fn create(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    request: &EgressCreate,
) -> Result<NamedEgress, Fail> {
    node.tenant(tenant)?;
    let name: Name =
        request.name.parse().map_err(|e: base::names::NameError| Fail::invalid(e.to_string()))?;
    let reach = match request.reach.as_deref() {
        None => Reach::Public,
        Some(asked) => Reach::from_name(asked)
            .ok_or_else(|| Fail::invalid("an egress reaches what is `public`, `private` or `node`"))?,
    };
    if request.port == 0 {
        return Err(Fail::invalid("a port is from 1 to 65535"));
    }
    let cap = request.cap.as_deref().map(str::parse::<ByteSize>).transpose();
    let at = now();
    let record = Record {
        tenant: tenant.clone(),
        name,
        id: EgressId::new(at, random::<10>()?),
        host: host(&request.host)?,
        port: request.port,
        reach: reach.name().to_owned(),
        cap: cap.map_err(|e| Fail::invalid(format!("`cap`: {e}")))?.map(|cap| cap.bytes()),
        authority: authority(request)?,
        created_ms: at.as_millis(),
    };
    let event = event(EventKind::EgressCreate, &record, principal)?;
    node.keeper.audited(event, || {
        let inserted = node.meta.transaction(|tx| {
            if tx.of(tenant).count::<Record>()? >= NAMED_MAX {
                return Ok::<_, StoreError>(false);
            }
            tx.of(tenant).insert(&record)?;
            principal.made(tx, record.name.as_str())?;
            Ok(true)
        });
        match inserted {
            Ok(true) => Ok(()),
            Ok(false) => Err(Fail::conflict(format!("this tenant has its {NAMED_MAX} egresses"))),
            Err(StoreError::Exists { .. }) => {
                Err(Fail::conflict(format!("this tenant has an egress `{}`", record.name))
                    .help("delete it first with `strongroom egress delete NAME --tenant T`"))
            }
            Err(error) => Err(store_fail(error)),
        }
    })?;
    Ok(wire(node, &record))
}

/// A host's name as the relay resolves it: one spelling, and nothing that a resolver could take for an address written in
/// another way.
fn host(text: &str) -> Result<String, Fail> {
    let refuse = || {
        Fail::invalid(
            "a host is a name, as in `hub.example.org`, or an address, as in `203.0.113.7` or `2001:db8::1`",
        )
    };
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    let lower = text.to_ascii_lowercase();
    let plain = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let last = lower.rsplit('.').next().unwrap_or("");
    // `127.1`, `0x7f000001` and `2130706433` are addresses to some resolvers.
    let number = last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x");
    if lower.len() > HOST_MAX || number || !lower.split('.').all(plain) {
        return Err(refuse());
    }
    Ok(lower)
}

/// What the server is verified by where the relay speaks in the name of jobs. Given with it and never without: who is told
/// who calls has to be known, and none of the authorities of the web is trusted for that unless it is named here.
fn authority(request: &EgressCreate) -> Result<Option<String>, Fail> {
    let Some(pem) = &request.authority else {
        return match request.as_job {
            false => Ok(None),
            true => Err(Fail::invalid("where the platform speaks for a job, the authority of the server has to be given")
                .help("name its certificate, in PEM, with `strongroom egress create NAME --as-job --server-ca FILE`")),
        };
    };
    if !request.as_job {
        return Err(Fail::invalid(
            "an authority is given for a server at which the platform speaks in the name of jobs",
        )
        .help("add `--as-job`; without it the job speaks TLS itself, and its program knows whom it trusts"));
    }
    if pem.len() > AUTHORITY_MAX {
        return Err(Fail::invalid(format!(
            "the authority of a server has at most {AUTHORITY_MAX} bytes of PEM"
        )));
    }
    if pem.contains("PRIVATE KEY") {
        return Err(Fail::invalid(
            "the file holds a private key; give the certificate of the authority alone",
        ));
    }
    net::workload::check(&host(&request.host)?, pem).map_err(|e| Fail::explained(400, &e))?;
    Ok(Some(pem.clone()))
}

pub(crate) fn list(node: &Node, tenant: &Name, page: &PageRequest) -> Result<Page<NamedEgress>, Fail> {
    node.tenant(tenant)?;
    let page = node.meta.read(|tx| tx.of(tenant).list::<Record>(page)).map_err(store_fail)?;
    Ok(Page { items: page.items.iter().map(|s| wire(node, &s.record)).collect(), next: page.next })
}

pub(crate) fn show(node: &Node, tenant: &Name, name: &Name) -> Result<NamedEgress, Fail> {
    find(node, tenant, name).map(|record| wire(node, &record))
}

/// Deletes it, and ends what goes through it: when this returns nothing does.
pub(crate) fn delete(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    name: &Name,
) -> Result<NamedEgress, Fail> {
    let record = find(node, tenant, name)?;
    let event = event(EventKind::EgressDelete, &record, principal)?;
    node.keeper.audited(event, || {
        let deleted = node.meta.transaction(|tx| {
            let rows = tx.of(tenant);
            match rows.get::<Record>(name)? {
                Some(stored) => rows.delete::<Record>(name, stored.rev),
                None => Ok(()),
            }
        });
        deleted.map_err(store_fail)?;
        node.relay.revoke(record.id.bits())
    })?;
    Ok(wire(node, &record))
}

fn find(node: &Node, tenant: &Name, name: &Name) -> Result<Record, Fail> {
    let stored = node.meta.read(|tx| tx.of(tenant).get::<Record>(name)).map_err(store_fail)?;
    stored.map(|stored| stored.record).ok_or_else(|| Fail::not_found("egress", name.as_str()))
}

/// The cap on an egress; none: that of every principal.
pub(crate) fn cap(node: &Node, tenant: &Name, name: &str) -> Option<ByteSize> {
    let record = find(node, tenant, &name.parse().ok()?).ok()?;
    record.cap.map(ByteSize::from_bytes)
}

/// Whether who answers for a job may use each of these.
pub(crate) fn may_use(node: &Node, who: &Identity, tenant: &Name, names: &[Name]) -> Result<(), Fail> {
    let rules = node.policies.get();
    for name in names {
        find(node, tenant, name)?;
        let given = access::Circumstances { mode: Mode::Normal, ..access::Circumstances::default() };
        let decision = rules.policies.decide(&Request {
            principal: who.as_principal(),
            operation: "egress.use",
            tenant: Some(tenant.as_str()),
            resource: name.as_str(),
            given,
        });
        if !decision.allowed {
            return Err(Fail::forbidden(format!("the egress `{name}` may not be used"))
                .because(decision.why)
                .help("see which rules decide with `strongroom access check --as ml-engineer --tenant acme egress.use --why`"));
        }
    }
    Ok(())
}

/// What a run of a job is opened, with the cap of each: as it stands now, so that what was deleted since is not.
pub(crate) fn of_run(
    node: &Node,
    tenant: &Name,
    names: &[Name],
) -> Result<Vec<(Egress, Option<ByteSize>)>, Fail> {
    let opened = names.iter().map(|name| {
        let record = find(node, tenant, name)?;
        let reach = Reach::from_name(&record.reach)
            .ok_or_else(|| Fail::internal("an egress reaches what is not known", &record.reach))?;
        let to = Destination { host: text(&record.host)?, port: record.port, reach };
        let authority = record.authority.as_deref().map(text).transpose()?;
        let egress = Egress { key: record.id.bits(), name: text(name.as_str())?, to, authority };
        Ok((egress, record.cap.map(ByteSize::from_bytes)))
    });
    opened.collect()
}

fn event(kind: EventKind, record: &Record, principal: &Principal) -> Result<Event, Fail> {
    let event = Event::new(kind, Phase::Intent, Outcome::Unknown, now().as_millis(), correlation()?)
        .tenant(record.tenant.as_str())
        .by(principal)
        .asset("egress", record.name.as_str(), None)
        .detail("host", &record.host)
        .detail("port", &record.port.to_string())
        .detail("reach", &record.reach);
    Ok(match &record.authority {
        Some(pem) => event.detail("authority", &base::digest::sha256(pem.as_bytes()).hex()),
        None => event,
    })
}

fn wire(node: &Node, record: &Record) -> NamedEgress {
    NamedEgress {
        tenant: record.tenant.to_string(),
        name: record.name.to_string(),
        host: record.host.clone(),
        port: record.port,
        reach: record.reach.clone(),
        cap: record.cap.unwrap_or(node.config.egress.per_principal.bytes()),
        as_job: record.authority.is_some(),
        authority: record.authority.as_ref().map(|pem| base::digest::sha256(pem.as_bytes()).hex()),
        client_authority: record.authority.is_some().then(|| node.services.pem().to_owned()),
        created: time(record.created_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn a_host_has_one_spelling_and_no_hidden_address() {
        for (given, kept) in [
            ("Hub.Example.ORG", "hub.example.org"),
            ("203.0.113.7", "203.0.113.7"),
            ("2001:DB8::0:1", "2001:db8::1"),
            ("localhost", "localhost"),
            ("a-b_c.x1", "a-b_c.x1"),
        ] {
            assert_eq!(host(given).unwrap(), kept);
        }
        let long = "a.".repeat(130);
        for bad in [
            "",
            ".",
            "a..b",
            "hub.example.",
            "127.1",
            "0x7f000001",
            "2130706433",
            "0177.0.0.1",
            "1.2.3.0x4",
            "a b",
            "a/b",
            "a:1",
            "[::1]",
            "user@a",
            "-a",
            "a-",
            "é.example",
            "a\u{0}",
            long.as_str(),
        ] {
            assert!(host(bad).is_err(), "{bad:?}");
        }
    }
}
