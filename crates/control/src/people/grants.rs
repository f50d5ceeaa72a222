//! Roles that people have for a time. Every grant has a reason and an end, and one person has no two duties in one
//! tenant (NIST SP 800-53 AC-5): static separation of duty, as in NIST RBAC (ANSI INCITS 359).

use api::GrantCreate;
use store::StoreError;
use store::records::Grant as Record;

use super::{
    Arc, By, EventKind, Fail, Name, Node, PageRequest, Principal, asked_role, at, event, find, now,
    of_record, reason,
};
use crate::node::{store_fail, time};

/// How long a grant lasts unless said otherwise: a working day.
const HOURS_DEFAULT: u32 = 8;
/// Grants of one person, those that have ended included; beyond them the oldest that ended are forgotten.
const GRANTS_MAX: u64 = 256;

/// Whether a grant gives its role at this time.
pub(super) fn is_live(record: &Record, now: base::Timestamp) -> bool {
    !record.revoked && now < at(record.ends_ms)
}

/// Every grant of a person, the oldest first.
pub(super) fn of(node: &Node, user: &Name) -> Result<Vec<Record>, Fail> {
    let all = PageRequest::default();
    let page = node.meta.read(|tx| tx.of(user).list::<Record>(&all)).map_err(store_fail)?;
    Ok(page.items.into_iter().map(|stored| stored.record).collect())
}

/// The grant of this number, if it gives its role now.
pub(super) fn live(node: &Node, user: &Name, number: u64) -> Result<Option<Record>, Fail> {
    let stored = node.meta.read(|tx| tx.of(user).get::<Record>(&number)).map_err(store_fail)?;
    Ok(stored.map(|stored| stored.record).filter(|record| is_live(record, now())))
}

/// The roles that grants give a person now, in this tenant or, without one, in the whole node.
pub(crate) fn roles_now(node: &Node, user: &Name, tenant: Option<&Name>) -> Result<Vec<access::Role>, Fail> {
    let known = node.meta.read(|tx| tx.platform().get::<store::records::User>(user)).map_err(store_fail)?;
    if known.is_none_or(|known| known.record.disabled) {
        return Ok(Vec::new());
    }
    let live = of(node, user)?.into_iter().filter(|grant| is_live(grant, now()));
    Ok(live.filter(|grant| grant.tenant.as_ref() == tenant).map(|grant| of_record(grant.role)).collect())
}

pub(crate) fn create(
    node: &Arc<Node>,
    principal: &Principal,
    user: &Name,
    request: &GrantCreate,
) -> Result<api::Grant, Fail> {
    let role = asked_role(&request.role)?;
    let hours = request.hours.unwrap_or(HOURS_DEFAULT);
    if hours == 0 || hours > api::shape::GRANT_HOURS_MAX {
        return Err(Fail::invalid(format!(
            "a role is granted for 1 to {} hours",
            api::shape::GRANT_HOURS_MAX
        )));
    }
    let reason = reason(&request.reason)?.to_owned();
    let tenant: Option<Name> = match (&request.tenant, of_record(role).is_a_tenants()) {
        (Some(name), true) => Some(name.parse().map_err(|_| Fail::not_found("tenant", name))?),
        (None, false) => None,
        (Some(_), false) => {
            return Err(Fail::invalid(format!(
                "the role `{}` is of the whole node, and of no tenant",
                role.as_str()
            )));
        }
        (None, true) => {
            return Err(Fail::invalid(format!("the role `{}` is of one tenant: name it", role.as_str())));
        }
    };
    if let Some(tenant) = &tenant {
        node.tenant(tenant)?;
    }
    if find(node, user)?.disabled {
        return Err(Fail::conflict(format!("`{user}` may not log in any more")));
    }
    let at = now();
    let mut record = Record {
        user: user.clone(),
        number: 0,
        tenant,
        role,
        reason,
        by: principal.actor(),
        created_ms: at.as_millis(),
        ends_ms: at.plus_millis(u64::from(hours).saturating_mul(3_600_000)).as_millis(),
        revoked: false,
    };
    let told = event(EventKind::GrantCreate, user)?
        .tenant(record.tenant.as_ref().map_or("", Name::as_str))
        .by(principal)
        .because(&record.reason)
        .detail("role", role.as_str())
        .detail("ends", &time(record.ends_ms));
    let record = node.keeper.audited(told, || {
        let inserted = node.meta.transaction(|tx| {
            let rows = tx.of(user);
            let all = rows.list::<Record>(&PageRequest::default())?.items;
            let live: Vec<&Record> = all.iter().map(|s| &s.record).filter(|r| is_live(r, at)).collect();
            if let Some(other) = conflict(&live, &record) {
                return Ok::<_, StoreError>(Err(other));
            }
            if rows.count::<Record>()? >= GRANTS_MAX {
                match all.iter().find(|s| !is_live(&s.record, at)) {
                    Some(ended) => rows.delete::<Record>(&ended.record.number, ended.rev)?,
                    None => return Ok(Err(format!("`{user}` has {GRANTS_MAX} grants already"))),
                }
            }
            record.number = all.iter().map(|s| s.record.number).max().unwrap_or(0).saturating_add(1);
            rows.insert(&record)?;
            Ok(Ok(record.clone()))
        });
        inserted.map_err(store_fail)?.map_err(Fail::conflict)
    })?;
    Ok(wire(&record))
}

/// What a person has that does not go with another role in the same tenant.
fn conflict(live: &[&Record], new: &Record) -> Option<String> {
    let role = of_record(new.role);
    let other = live.iter().find(|r| r.tenant == new.tenant && of_record(r.role).conflicts_with(role))?;
    Some(format!(
        "`{}` is {} there until {}: one person has one duty in a tenant, so take that grant back first, or grant `{role}` to another",
        new.user,
        other.role.as_str(),
        time(other.ends_ms)
    ))
}

pub(crate) fn revoke(
    node: &Arc<Node>,
    principal: &Principal,
    user: &Name,
    number: &str,
) -> Result<api::Grant, Fail> {
    let absent = || Fail::not_found("grant", number);
    let number: u64 = number.parse().map_err(|_| absent())?;
    find(node, user)?;
    let known = of(node, user)?.into_iter().find(|r| r.number == number).ok_or_else(absent)?;
    let told = event(EventKind::GrantRevoke, user)?
        .tenant(known.tenant.as_ref().map_or("", Name::as_str))
        .by(principal)
        .detail("role", known.role.as_str())
        .detail("grant", &number.to_string());
    let record = node.keeper.audited(told, || {
        let revoked = node.meta.transaction(|tx| {
            let rows = tx.of(user);
            let Some(mut stored) = rows.get::<Record>(&number)? else { return Ok::<_, StoreError>(None) };
            stored.record.revoked = true;
            rows.update(&stored)?;
            Ok(Some(stored.record))
        });
        revoked.map_err(store_fail)?.ok_or_else(absent)
    })?;
    Ok(wire(&record))
}

pub(super) fn wire(record: &Record) -> api::Grant {
    let state = match (record.revoked, is_live(record, now())) {
        (true, _) => "revoked",
        (false, true) => "live",
        (false, false) => "ended",
    };
    api::Grant {
        user: record.user.to_string(),
        number: record.number,
        tenant: record.tenant.as_ref().map(Name::to_string),
        role: record.role.as_str().to_owned(),
        reason: record.reason.clone(),
        by: record.by.clone(),
        created: time(record.created_ms),
        ends: time(record.ends_ms),
        state: state.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use store::records::UserRole;

    use super::*;

    fn grant(role: UserRole, tenant: Option<&str>) -> Record {
        Record {
            user: "ann".parse().unwrap(),
            number: 1,
            tenant: tenant.map(|t| t.parse().unwrap()),
            role,
            reason: "a test".to_owned(),
            by: "operator".to_owned(),
            created_ms: 0,
            ends_ms: 1000,
            revoked: false,
        }
    }

    #[test]
    fn a_grant_ends_by_itself_and_when_it_is_taken_back() {
        let one = grant(UserRole::Auditor, Some("acme"));
        assert!(is_live(&one, at(999)) && !is_live(&one, at(1000)));
        assert!(!is_live(&Record { revoked: true, ..one }, at(1)));
    }

    #[test]
    fn one_person_has_one_duty_in_a_tenant() {
        use UserRole::{Auditor, Deployer, MlEngineer, Security, TenantAdmin};
        let has = grant(MlEngineer, Some("acme"));
        for (role, tenant, refused) in [
            (Deployer, Some("acme"), true),
            (Auditor, Some("acme"), true),
            (TenantAdmin, Some("acme"), true),
            (MlEngineer, Some("acme"), false),
            (Deployer, Some("globex"), false),
            (Security, None, false),
        ] {
            assert_eq!(conflict(&[&has], &grant(role, tenant)).is_some(), refused, "{role:?} {tenant:?}");
        }
    }
}
