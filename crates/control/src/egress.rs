//! What leaves the node: bytes of models and of answers are taken into account before the first of them is sent, for
//! their principal, for its tenant and for all, refused beyond a cap, and an alarm before it.

mod answers;

use access::egress::{Account, Admission};
use api::Page;
use base::ByteSize;
use base::config::Egress as Caps;
use base::names::Name;
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use store::meta::{Rows, Tx};
use store::records::Egress as Record;
use store::{PageRequest, StoreError};

use crate::auth::{By, Principal};
use crate::clock::now;
use crate::node::{Node, store_fail};
use crate::{Fail, egresses};

pub(crate) use answers::{Granting, Sender, keep_granting};

/// The account of all principals together; no principal is called so.
const ALL: &str = "all";
/// The account of all keys and services of a tenant is called so, before its name.
const TENANT: &str = "tenant:";

/// The account of a named egress is called so, before its name.
const EGRESS: &str = "egress:";

/// Bytes that are taken into account. What is not settled, because the process ended, stays taken: an account never
/// says less than what left.
#[derive(Debug)]
pub(crate) struct Taken {
    accounts: Vec<Whose>,
    hour: u64,
    bytes: u64,
}

/// Whose account, and its cap.
#[derive(Debug, Clone)]
struct Whose {
    name: String,
    tenant: Option<Name>,
    cap: ByteSize,
}

impl Whose {
    /// Every account that bytes of this principal count in.
    fn all(caps: &Caps, principal: &str, tenant: Option<&Name>) -> Vec<Self> {
        let own = Self { name: principal.to_owned(), tenant: tenant.cloned(), cap: caps.per_principal };
        let together = tenant.map(|name| Self {
            name: format!("{TENANT}{name}"),
            tenant: Some(name.clone()),
            cap: caps.per_tenant(),
        });
        let all = Self { name: ALL.to_owned(), tenant: None, cap: caps.total };
        std::iter::once(own).chain(together).chain([all]).collect()
    }

    fn account(&self, tx: &Tx<'_>) -> Result<Account, StoreError> {
        let stored = self.rows(tx).get::<Record>(&self.name)?;
        Ok(stored.map_or_else(Account::default, |s| account(&s.record)))
    }

    fn rows<'t>(&'t self, tx: &'t Tx<'_>) -> Rows<'t> {
        match &self.tenant {
            Some(tenant) => tx.of(tenant),
            None => tx.platform(),
        }
    }

    /// Changes the account and keeps it.
    fn change(&self, tx: &Tx<'_>, change: impl FnOnce(&mut Account)) -> Result<(), StoreError> {
        let rows = self.rows(tx);
        let stored = rows.get::<Record>(&self.name)?;
        let mut account = stored.as_ref().map_or_else(Account::default, |s| account(&s.record));
        change(&mut account);
        let hours = account.hours().to_vec();
        match stored {
            Some(mut stored) => {
                stored.record.hours = hours;
                rows.update(&stored)
            }
            None => rows.insert(&Record { tenant: self.tenant.clone(), account: self.name.clone(), hours }),
        }
    }
}

fn account(record: &Record) -> Account {
    Account::of(record.hours.clone())
}

/// The cap on an account.
fn cap(caps: &Caps, record: &Record) -> ByteSize {
    match &record.tenant {
        None if record.account == ALL => caps.total,
        Some(tenant) if record.account.strip_prefix(TENANT) == Some(tenant.as_str()) => caps.per_tenant(),
        _ => caps.per_principal,
    }
}

/// The cap on the account of a named egress that has one of its own.
fn of_egress(node: &Node, record: &Record) -> Option<ByteSize> {
    egresses::cap(node, record.tenant.as_ref()?, record.account.strip_prefix(EGRESS)?)
}

/// Hours since 1970.
fn hour() -> u64 {
    now().as_millis() / 3_600_000
}

/// Why nothing was taken.
enum Refused {
    Over(Whose, u64),
    Store(StoreError),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Takes so many bytes of `subject` into account, or refuses them: durable when this returns. The log tells of a
/// refusal, and of an account that stands above four fifths of its cap, or nothing leaves.
pub(crate) fn take(
    node: &Node,
    principal: &Principal,
    subject: &str,
    bytes: u64,
    correlation: u128,
) -> Result<Taken, Fail> {
    let tenant = principal.confined_to().map(str::parse::<Name>).transpose();
    let tenant = tenant.map_err(|e| Fail::internal("a key's tenant is not a name", e))?;
    take_as(node, (&principal.actor(), tenant.as_ref()), subject, bytes, correlation, |e| e.by(principal))
}

/// As [`take`], for who is called so in events; `by` says in them by which decision.
pub(crate) fn take_as(
    node: &Node,
    (actor, tenant): (&str, Option<&Name>),
    subject: &str,
    bytes: u64,
    correlation: u128,
    by: impl Fn(Event) -> Event,
) -> Result<Taken, Fail> {
    let accounts = Whose::all(&node.config.egress, actor, tenant);
    let hour = hour();
    let taken = node.meta.transaction(|tx| {
        let mut near = Vec::new();
        for whose in &accounts {
            match whose.account(tx)?.admit(bytes, whose.cap.bytes(), hour) {
                Admission::Within => {}
                Admission::Alarm => near.push(whose.clone()),
                Admission::Over { room } => return Err(Refused::Over(whose.clone(), room)),
            }
        }
        for whose in &accounts {
            whose.change(tx, |account| account.add(bytes, hour))?;
        }
        Ok(near)
    });
    let event = |kind, outcome, whose: &Whose| {
        by(Event::new(kind, Phase::Observed, outcome, now().as_millis(), correlation).actor(actor))
            .tenant(tenant.map_or("", Name::as_str))
            .asset("model", subject, None)
            .severity(Severity::High)
            .detail("account", &whose.name)
            .detail("bytes", &bytes.to_string())
            .detail("cap", &whose.cap.bytes().to_string())
    };
    match taken {
        Ok(near) => {
            let taken = Taken { accounts, hour, bytes };
            let alarms = near.iter().map(|whose| event(EventKind::EgressAlarm, Outcome::Success, whose));
            for alarm in alarms {
                if let Err(fail) = node.keeper.append(alarm) {
                    taken.settle(node, 0);
                    return Err(fail);
                }
            }
            Ok(taken)
        }
        Err(Refused::Over(whose, room)) => {
            let fail = over(&whose, bytes, room);
            node.keeper
                .append(event(EventKind::EgressRefuse, Outcome::Refused, &whose).because(&fail.line()))?;
            Err(fail)
        }
        Err(Refused::Store(error)) => Err(store_fail(error)),
    }
}

fn over(whose: &Whose, bytes: u64, room: u64) -> Fail {
    let (who, key) = match whose.name.strip_prefix(TENANT) {
        Some(tenant) => (format!("tenant `{tenant}`"), "per_tenant"),
        None if whose.name == ALL => ("all principals together".to_owned(), "total"),
        None if whose.name.starts_with(EGRESS) => {
            let name = whose.name.strip_prefix(EGRESS).unwrap_or("");
            (format!("the egress `{name}`"), "per_principal")
        }
        None => (format!("`{}`", whose.name), "per_principal"),
    };
    Fail::over_cap(format!("{} more would leave than {who} may take out within a day", ByteSize::from_bytes(bytes.saturating_sub(room))))
        .because(format!("the cap is {}, of which {} is left", whose.cap, ByteSize::from_bytes(room)))
        .help(format!("see what left with `strongroom access egress`; the operator sets the cap with `{key}` below `[egress]` in the node's configuration"))
}

/// How many bytes a principal that is of no tenant took out within the last day.
pub(crate) fn used(node: &Node, actor: &str) -> Result<u64, Fail> {
    let whose = Whose::all(&node.config.egress, actor, None);
    let used = node.meta.read(|tx| whose.first().map_or(Ok(0), |w| w.account(tx).map(|a| a.used(hour()))));
    used.map_err(store_fail)
}

impl Taken {
    /// Gives back what did not leave. If that cannot be kept the account stays as it is, which is on the safe side.
    pub(crate) fn settle(self, node: &Node, left: u64) {
        let back = self.bytes.saturating_sub(left);
        if back == 0 {
            return;
        }
        let given = node.meta.transaction(|tx| {
            for whose in &self.accounts {
                whose.change(tx, |account| account.give_back(back, self.hour))?;
            }
            Ok::<_, StoreError>(())
        });
        if let Err(error) = given {
            crate::log::line("egress", &format!("bytes that did not leave still count: {error}"));
        }
    }
}

/// The accounts that the caller may see: the operator all, a tenant those of its keys.
pub(crate) fn list(
    node: &Node,
    principal: &Principal,
    page: &PageRequest,
) -> Result<Page<api::Egress>, Fail> {
    let page = match principal.confined_to() {
        None => node.meta.read(|tx| tx.list_all::<Record>(page)).map_err(store_fail)?,
        Some(tenant) => {
            let tenant: Name =
                tenant.parse().map_err(|e| Fail::internal("a key's tenant is not a name", e))?;
            node.meta.read(|tx| tx.of(&tenant).list::<Record>(page)).map_err(store_fail)?
        }
    };
    let (hour, caps) = (hour(), &node.config.egress);
    let items = page.items.iter().map(|stored| {
        let record = &stored.record;
        api::Egress {
            account: record.account.clone(),
            tenant: record.tenant.as_ref().map(Name::to_string),
            bytes: account(record).used(hour),
            cap: of_egress(node, record).unwrap_or_else(|| cap(caps, record)).bytes(),
        }
    });
    Ok(Page { items: items.collect(), next: page.next })
}
