//! Who may log in.

use access::session::Lockout;
use api::{Page, UserCreate};
use base::names::NameError;
use base::{Digest, Timestamp};
use net::token::{Token, Use};
use ops::event::Severity;
use store::records::{Enrolment, Subject, User as Record};
use store::{StoreError, Tx};

use super::{
    Arc, By, EventKind, Fail, Name, Node, PageRequest, Principal, at, event, find, grants, now, passkeys,
    sessions,
};
use crate::clock::random;
use crate::node::{store_fail, time};

/// People of one node, those that were disabled included: their names are not given again.
const USERS_MAX: u64 = 10_000;
/// How long the link is good by which a person enrols.
const ENROLMENT_MS: u64 = 24 * 3_600_000;
/// Longest name of a provider, and of a person in its words (OpenID Connect Core 1.0 section 2).
const ISSUER_MAX: usize = 512;
const SUBJECT_MAX: usize = 255;

pub(crate) fn create(
    node: &Arc<Node>,
    principal: &Principal,
    request: &UserCreate,
) -> Result<api::User, Fail> {
    let name: Name = request.name.parse().map_err(|e: NameError| Fail::invalid(e.to_string()))?;
    let display = request.display.as_deref().map(shown).transpose()?;
    let subject = request.subject.as_ref().map(provided).transpose()?;
    let (enrolment, secret) = match &subject {
        Some(_) => (None, None),
        None => link(node).map(|(enrolment, secret)| (Some(enrolment), Some(secret)))?,
    };
    let record = Record {
        name,
        display,
        subject,
        created_ms: now().as_millis(),
        disabled: false,
        failures: 0,
        locked_until_ms: None,
        enrolment,
    };
    let mut told = event(EventKind::UserCreate, &record.name)?.by(principal);
    if let Some(subject) = &record.subject {
        told = told.detail("issuer", &subject.issuer).detail("subject", &subject.subject);
    }
    node.keeper.audited(told, || {
        let inserted = node.meta.transaction(|tx| {
            let rows = tx.platform();
            if rows.count::<Record>()? >= USERS_MAX {
                let full = format!("this node knows its {USERS_MAX} people");
                return Ok::<_, StoreError>(Err(Fail::conflict(full)));
            }
            if let Some(subject) = &record.subject
                && let Some(other) = of_subject(tx, subject)?
            {
                let taken = format!("`{other}` is that person of the OpenID provider already");
                return Ok(Err(Fail::conflict(taken)));
            }
            rows.insert(&record)?;
            principal.made(tx, record.name.as_str())?;
            Ok(Ok(()))
        });
        match inserted {
            Ok(answer) => answer,
            Err(StoreError::Exists { .. }) => Err(Fail::conflict(format!(
                "this node knows, or knew, a person `{}`; a name is not given twice",
                record.name
            ))),
            Err(error) => Err(store_fail(error)),
        }
    })?;
    let mut wire = wire(node, &record)?;
    wire.enrolment = secret.map(|token| passkeys::link(node, &record.name, &token));
    Ok(wire)
}

/// The person who is this to an OpenID provider; one at most.
pub(super) fn of_subject(tx: &Tx<'_>, subject: &Subject) -> Result<Option<Name>, StoreError> {
    let mut page = PageRequest::default();
    loop {
        let found = tx.platform().list::<Record>(&page)?;
        if let Some(stored) = found.items.into_iter().find(|s| s.record.subject.as_ref() == Some(subject)) {
            return Ok(Some(stored.record.name));
        }
        match found.next {
            Some(next) => page.after = Some(next),
            None => return Ok(None),
        }
    }
}

/// What people call somebody: one line, and nothing that changes how other text is read.
fn shown(text: &str) -> Result<String, Fail> {
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let text = text.trim();
    if text.is_empty() || text.chars().count() > api::shape::DISPLAY_MAX || text.chars().any(odd) {
        return Err(Fail::invalid(format!(
            "what people call somebody is one line of 1 to {} characters that can be seen",
            api::shape::DISPLAY_MAX
        )));
    }
    Ok(text.to_owned())
}

fn provided(subject: &api::Subject) -> Result<Subject, Fail> {
    let plain = |text: &str, max: usize| {
        (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
    };
    if !plain(&subject.issuer, ISSUER_MAX) || !plain(&subject.subject, SUBJECT_MAX) {
        return Err(Fail::invalid(format!(
            "an issuer has at most {ISSUER_MAX} and a subject at most {SUBJECT_MAX} visible ASCII characters"
        )));
    }
    Ok(Subject { issuer: subject.issuer.clone(), subject: subject.subject.clone() })
}

fn link(node: &Node) -> Result<(Enrolment, String), Fail> {
    let id = u128::from_be_bytes(random::<16>()?);
    let token = Token::new(Use::Enrolment, id, random::<32>()?);
    let mac = Digest::from_bytes(token.mac(&node.key_mac_key.0));
    Ok((Enrolment { mac, ends_ms: now().plus_millis(ENROLMENT_MS).as_millis() }, token.text()))
}

pub(crate) fn show(node: &Node, name: &Name) -> Result<api::User, Fail> {
    wire(node, &find(node, name)?)
}

pub(crate) fn list(node: &Node, page: &PageRequest) -> Result<Page<api::User>, Fail> {
    let page = node.meta.read(|tx| tx.platform().list::<Record>(page)).map_err(store_fail)?;
    let items: Result<Vec<_>, Fail> = page.items.iter().map(|stored| wire(node, &stored.record)).collect();
    Ok(Page { items: items?, next: page.next })
}

/// Changes a person's record.
pub(super) fn change(
    node: &Node,
    name: &Name,
    change: impl Fn(&mut Record) -> Result<(), Fail>,
) -> Result<Record, Fail> {
    enum Not {
        Store(StoreError),
        Fail(Fail),
    }
    impl From<StoreError> for Not {
        fn from(error: StoreError) -> Self {
            Self::Store(error)
        }
    }
    let changed = node.meta.transaction(|tx| {
        let rows = tx.platform();
        let none = || Not::Fail(Fail::not_found("person", name.as_str()));
        let mut stored = rows.get::<Record>(name)?.ok_or_else(none)?;
        change(&mut stored.record).map_err(Not::Fail)?;
        rows.update(&stored)?;
        Ok(stored.record)
    });
    changed.map_err(|error| match error {
        Not::Store(error) => store_fail(error),
        Not::Fail(fail) => fail,
    })
}

/// Whether somebody may try now to prove that they are this person.
pub(super) fn may_try(user: &Record, now: Timestamp) -> Result<(), Fail> {
    let lockout = lockout(user);
    match lockout.until.filter(|_| lockout.is_locked(now)) {
        Some(until) => Err(Fail::locked_out(user.name.as_str(), until.millis_since(now))),
        None => Ok(()),
    }
}

fn lockout(user: &Record) -> Lockout {
    Lockout { failures: user.failures, until: user.locked_until_ms.map(at) }
}

/// Counts a failure to prove that one is this person; after some nobody may try for a while.
pub(super) fn failed(node: &Arc<Node>, name: &Name) -> Result<(), Fail> {
    let at = now();
    let user = change(node, name, |user| {
        let after = lockout(user).failed(at);
        user.failures = after.failures;
        user.locked_until_ms = after.until.map(Timestamp::as_millis);
        Ok(())
    })?;
    let Some(until) = lockout(&user).until.filter(|until| at < *until) else { return Ok(()) };
    let told = event(EventKind::UserLock, name)?
        .actor("platform")
        .severity(Severity::High)
        .detail("failures", &user.failures.to_string())
        .detail("until", &time(until.as_millis()));
    node.keeper.audited(told, || Ok(()))
}

/// Forgets failures: the person proved who they are.
pub(super) fn proved(node: &Node, name: &Name) -> Result<(), Fail> {
    let clear = |user: &Record| user.failures == 0 && user.locked_until_ms.is_none();
    if clear(&find(node, name)?) {
        return Ok(());
    }
    change(node, name, |user| {
        (user.failures, user.locked_until_ms) = (0, None);
        Ok(())
    })
    .map(drop)
}

/// A new link, the only one from now on.
pub(crate) fn enrol(node: &Arc<Node>, principal: &Principal, name: &Name) -> Result<api::User, Fail> {
    let known = find(node, name)?;
    if known.subject.is_some() {
        return Err(Fail::conflict(format!(
            "`{name}` logs in by the OpenID provider, and has no passkeys here"
        )));
    }
    let (enrolment, secret) = link(node)?;
    let told = event(EventKind::UserEnrol, name)?.by(principal).detail("ends", &time(enrolment.ends_ms));
    let record = node.keeper.audited(told, || {
        change(node, name, |record| {
            if record.disabled {
                return Err(Fail::conflict(format!("`{name}` may not log in any more")));
            }
            record.enrolment = Some(enrolment.clone());
            Ok(())
        })
    })?;
    let mut wire = wire(node, &record)?;
    wire.enrolment = Some(passkeys::link(node, name, &secret));
    Ok(wire)
}

/// From now on the person may do nothing; what was recorded of them stays.
pub(crate) fn disable(node: &Arc<Node>, principal: &Principal, name: &Name) -> Result<api::User, Fail> {
    find(node, name)?;
    let told = event(EventKind::UserDisable, name)?.by(principal);
    let record = node.keeper.audited(told, || {
        let record = change(node, name, |record| {
            record.disabled = true;
            record.enrolment = None;
            Ok(())
        })?;
        sessions::end_all(node, name)?;
        Ok(record)
    })?;
    wire(node, &record)
}

fn wire(node: &Node, record: &Record) -> Result<api::User, Fail> {
    let now = now();
    let after = |millis: &u64| at(*millis) > now;
    Ok(api::User {
        name: record.name.to_string(),
        display: record.display.clone(),
        subject: record
            .subject
            .as_ref()
            .map(|s| api::Subject { issuer: s.issuer.clone(), subject: s.subject.clone() }),
        created: time(record.created_ms),
        disabled: record.disabled,
        locked_until: record.locked_until_ms.filter(after).map(time),
        grants: grants::of(node, &record.name)?.iter().map(grants::wire).collect(),
        passkeys: passkeys::of(node, &record.name)?
            .iter()
            .map(|passkey| passkeys::wire(&record.name, passkey))
            .collect(),
        enrolment_ends: record.enrolment.as_ref().map(|e| e.ends_ms).filter(after).map(time),
        enrolment: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_are_called_is_one_visible_line() {
        assert_eq!(shown("  Zoë O'Hara ").unwrap(), "Zoë O'Hara");
        let long = "x".repeat(api::shape::DISPLAY_MAX + 1);
        for bad in ["", " ", "a\nb", "a\u{1b}[2J", "a\u{202e}b", "a\u{200b}b", &long] {
            assert_eq!(shown(bad).unwrap_err().status, 400, "{bad:?}");
        }
    }

    #[test]
    fn a_subject_is_bounded_and_plain() {
        let of = |issuer: &str, subject: &str| {
            provided(&api::Subject { issuer: issuer.to_owned(), subject: subject.to_owned() })
        };
        assert!(of("https://id.example", "248289761001").is_ok());
        for (issuer, subject) in [
            ("", "1"),
            ("https://id.example", ""),
            ("https://id.example", "a b"),
            ("https://id.example", "\u{430}nn"),
            ("https://id.example", &"1".repeat(SUBJECT_MAX + 1)),
        ] {
            assert!(of(issuer, subject).is_err(), "{issuer} {subject}");
        }
    }
}
