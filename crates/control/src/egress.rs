//! What leaves the node: bytes of models are taken into account before the first of them is sent, for their principal
//! and for all, refused beyond a cap, and an alarm before it.

use access::egress::{Account, Admission};
use api::Page;
use base::ByteSize;
use base::names::Name;
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use store::meta::{Rows, Tx};
use store::records::Egress as Record;
use store::{PageRequest, StoreError};

use crate::Fail;
use crate::auth::{By, Principal};
use crate::clock::now;
use crate::node::{Node, store_fail};

/// The account of all principals together; no principal is called so.
const ALL: &str = "all";

/// Bytes that are taken into account. What is not settled, because the process ended, stays taken: an account never
/// says less than what left.
#[derive(Debug)]
pub(crate) struct Taken {
    accounts: [Whose; 2],
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
    let caps = &node.config.egress;
    let accounts = [
        Whose { name: principal.actor(), tenant, cap: caps.per_principal },
        Whose { name: ALL.to_owned(), tenant: None, cap: caps.total },
    ];
    let hour = hour();
    let taken = node.meta.transaction(|tx| {
        let mut near = Vec::new();
        for whose in &accounts {
            let stored = whose.rows(tx).get::<Record>(&whose.name)?;
            let account = stored.map_or_else(Account::default, |s| account(&s.record));
            match account.admit(bytes, whose.cap.bytes(), hour) {
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
        Event::new(kind, Phase::Observed, outcome, now().as_millis(), correlation)
            .tenant(principal.confined_to().unwrap_or(""))
            .by(principal)
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
    let (who, key) = if whose.name == ALL {
        ("all principals together".to_owned(), "total")
    } else {
        (format!("`{}`", whose.name), "per_principal")
    };
    Fail::over_cap(format!("{} more would leave than {who} may take out within a day", ByteSize::from_bytes(bytes.saturating_sub(room))))
        .because(format!("the cap is {}, of which {} is left", whose.cap, ByteSize::from_bytes(room)))
        .help(format!("see what left with `strongroom access egress`; the operator sets the cap with `{key}` below `[egress]` in the node's configuration"))
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
        let whole = record.account == ALL && record.tenant.is_none();
        api::Egress {
            account: record.account.clone(),
            tenant: record.tenant.as_ref().map(Name::to_string),
            bytes: account(record).used(hour),
            cap: if whole { caps.total } else { caps.per_principal }.bytes(),
        }
    });
    Ok(Page { items: items.collect(), next: page.next })
}
