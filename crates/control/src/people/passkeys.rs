//! Passkeys of local accounts: what stands behind the pages `/login` and `/enrol`.
//!
//! A login by passkey is held by two: the command line has the secret of the login, the browser the ticket of its link.
//! The ticket alone leads to a proof and a code, the secret alone to nothing; the session is for who has secret and code.
//! So a link that was sent to somebody else, or read on its way, gives nobody a session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use api::{
    EnrolAnswer, EnrolBegin, LoginBegin, PasskeyAnswer, PasskeyCreation, PasskeyProof, PasskeyRequest,
    PasskeyTicket,
};
use base::digest::ct_eq;
use base::id::crockford;
use base::names::Name;
use base::{Digest, Timestamp};
use login::loopback::Redirect;
use login::passkey::{self, Assertion, Handle, Login, PASSKEYS_MAX, PasskeyError, Registration, Site};
use net::token::{Token, Use};
use ops::event::{EventKind, Severity};
use serde_json::Value;
use store::records::{Passkey as Record, User};
use store::{PageRequest, StoreError};

use super::login::{Asks, LASTS_MS, Method, Progress};
use super::sessions::Proof;
use super::{By, Fail, Node, Principal, at, event, find, sessions, users};
use crate::clock::{now, random};
use crate::node::{store_fail, time};

/// Between two questions of a command line whether the browser is done.
const ASK_AGAIN_S: u64 = 2;
/// Characters of a code that a person may have to type: 50 random bits, of which one guess is free.
const CODE_LEN: usize = 10;
/// Registrations under way: one of a person, and so many in all.
const REGISTRATIONS_MAX: usize = 256;

/// Ceremonies under way.
#[derive(Debug, Default)]
pub(crate) struct Ceremonies {
    /// By the hash of the ticket; each lives as long as its login.
    logins: Mutex<HashMap<Digest, Weak<Ceremony>>>,
    registrations: Mutex<HashMap<Name, (Registration, Timestamp)>>,
}

/// A login by passkey.
#[derive(Debug)]
struct Ceremony {
    expires: Timestamp,
    redirect: Option<Redirect>,
    stage: Mutex<Stage>,
}

#[derive(Debug)]
enum Stage {
    /// The browser is asked for a proof; only its newest challenge is good, once.
    Asked(Option<Login>),
    /// Somebody proved who they are.
    Proved { user: Name, at: Timestamp, code: String, state: String },
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The site of this node.
pub(super) fn site(node: &Node) -> Result<&Site, Fail> {
    let none = |why: &str| Fail::conflict("this node has no passkeys").because(why);
    match &node.plane {
        Some(plane) => plane.site.as_ref().map_err(|why| none(why)),
        None => Err(none(node.config.passkey_host().err().unwrap_or("the management plane does not listen"))),
    }
}

// ---- The command line's side ----

#[derive(Debug)]
pub(super) struct ByPasskey {
    url: String,
    ceremony: Arc<Ceremony>,
}

/// Begins a login by passkey.
pub(super) fn begin(node: &Node, request: &LoginBegin) -> Result<Box<dyn Method>, Fail> {
    let site = site(node)?;
    let redirect = request.redirect.as_deref().map(|text| {
        Redirect::parse(text).ok_or_else(|| {
            Fail::invalid("the redirect is not `http://127.0.0.1:PORT/PATH` or `http://[::1]:PORT/PATH`")
        })
    });
    let now = now();
    let ceremony = Arc::new(Ceremony {
        expires: now.plus_millis(LASTS_MS),
        redirect: redirect.transpose()?,
        stage: Mutex::new(Stage::Asked(None)),
    });
    let ticket = base::digest::hex(&random::<32>()?);
    let mut logins = locked(&node.ceremonies.logins);
    logins.retain(|_, ceremony| ceremony.strong_count() > 0);
    logins.insert(base::sha256(ticket.as_bytes()), Arc::downgrade(&ceremony));
    Ok(Box::new(ByPasskey { url: format!("{}/login#{ticket}", site.origin()), ceremony }))
}

impl Method for ByPasskey {
    fn asks(&self) -> Asks {
        Asks { method: "passkey", url: self.url.clone(), interval: None, ..Asks::default() }
    }

    fn finish(&mut self, _: &Arc<Node>, code: Option<&str>, state: Option<&str>) -> Result<Progress, Fail> {
        self.ceremony.finish(code, state)
    }
}

impl Ceremony {
    /// Whether the browser is done, and the caller has what it handed over.
    fn finish(&self, code: Option<&str>, state: Option<&str>) -> Result<Progress, Fail> {
        let wrong = || {
            Fail::unauthenticated("the code is not that of this login")
                .help("begin again with `strongroom login`")
        };
        match (&*locked(&self.stage), code) {
            (_, None) => Ok(Progress::Pending(ASK_AGAIN_S)),
            (Stage::Asked(_), Some(_)) => Err(wrong()),
            (Stage::Proved { user, at, code, state: sent }, Some(given)) => {
                let handed_over = self.redirect.is_none() || state == Some(sent.as_str());
                if !handed_over || !ct_eq(plain(given).as_bytes(), code.as_bytes()) {
                    return Err(wrong());
                }
                Ok(Progress::Done(Proof {
                    user: user.clone(),
                    method: "passkey",
                    proved: *at,
                    groups: Vec::new(),
                }))
            }
        }
    }
}

/// A code as it was made, from one that somebody typed: without what only divides it, and with letters that look like
/// digits read as these.
fn plain(typed: &str) -> String {
    let read = |c: char| match c.to_ascii_lowercase() {
        'o' => '0',
        'i' | 'l' => '1',
        other => other,
    };
    typed.chars().filter(|c| !matches!(c, '-' | ' ')).map(read).take(CODE_LEN + 1).collect()
}

/// A code as people read it: in two halves.
fn shown(code: &str) -> String {
    let (first, second) = code.split_at_checked(CODE_LEN / 2).unwrap_or((code, ""));
    format!("{first}-{second}").to_ascii_uppercase()
}

fn new_code() -> Result<String, Fail> {
    let bits = u128::from(u64::from_be_bytes(random::<8>()?));
    let all = crockford(bits);
    Ok(all.get(all.len().saturating_sub(CODE_LEN)..).unwrap_or_default().to_owned())
}

// ---- The browser's side ----

fn ceremony(node: &Node, ticket: &str) -> Result<Arc<Ceremony>, Fail> {
    let found = locked(&node.ceremonies.logins).get(&base::sha256(ticket.as_bytes())).and_then(Weak::upgrade);
    found.filter(|ceremony| now() < ceremony.expires).ok_or_else(|| {
        Fail::link_over("no login is under way by this link")
            .help("begin again with `strongroom login`; a link is good for ten minutes")
    })
}

/// What the browser is to ask an authenticator for.
pub(crate) fn request(node: &Node, asked: &PasskeyTicket) -> Result<PasskeyRequest, Fail> {
    let ceremony = ceremony(node, &asked.ticket)?;
    let (options, login) = site(node)?.begin_login(now()).map_err(|e| refused(&e))?;
    match &mut *locked(&ceremony.stage) {
        Stage::Asked(current) => *current = Some(login),
        Stage::Proved { .. } => return Err(used()),
    }
    Ok(PasskeyRequest { options })
}

fn used() -> Fail {
    Fail::link_over("somebody proved who they are by this link already")
        .help("give the code to the command line, or begin again with `strongroom login`")
}

/// Takes the browser's proof.
pub(crate) fn prove(node: &Arc<Node>, answer: &PasskeyAnswer) -> Result<PasskeyProof, Fail> {
    let ceremony = ceremony(node, &answer.ticket)?;
    let login = match &mut *locked(&ceremony.stage) {
        Stage::Asked(current) => current.take().ok_or_else(|| refused(&PasskeyError::Challenge))?,
        Stage::Proved { .. } => return Err(used()),
    };
    let assertion = Assertion::read(&bytes(&answer.credential)).map_err(|e| refused(&e))?;
    let user = verify(node, login, &assertion)?;
    let (code, state) = (new_code()?, base::digest::hex(&random::<16>()?));
    let mut stage = locked(&ceremony.stage);
    if matches!(&*stage, Stage::Proved { .. }) {
        return Err(used());
    }
    let redirect = ceremony.redirect.as_ref().map(|to| to.with(&code, &state));
    let typed = redirect.is_none().then(|| shown(&code));
    *stage = Stage::Proved { user: user.clone(), at: now(), code, state };
    Ok(PasskeyProof { user: user.to_string(), code: typed, redirect })
}

/// Whose passkey it is, if it is. What fails counts against whoever it named.
fn verify(node: &Arc<Node>, login: Login, assertion: &Assertion) -> Result<Name, Fail> {
    let stranger = || refused(&PasskeyError::Person);
    let stored = node.meta.read(|tx| tx.find::<Record>(&assertion.passkey())).map_err(store_fail)?;
    let stored = stored.ok_or_else(stranger)?;
    let name = stored.record.user.clone();
    let user = find(node, &name)?;
    users::may_try(&user, now())?;
    if user.disabled {
        return Err(stranger());
    }
    let kept = read(&stored.record)?;
    match site(node)?.finish_login(login, assertion, &kept, now()) {
        Err(error) => {
            users::failed(node, &name)?;
            Err(refused(&error).because(format!("it was to prove `{name}`")))
        }
        Ok(used) => {
            // A use of the same passkey that came between changed the record: this one is refused then.
            let mut stored = stored;
            stored.record.passkey = written(&used)?;
            node.meta.transaction(|tx| tx.of(&name).update(&stored)).map_err(store_fail)?;
            users::proved(node, &name)?;
            Ok(name)
        }
    }
}

fn bytes(credential: &Value) -> Vec<u8> {
    credential.to_string().into_bytes()
}

fn refused(error: &PasskeyError) -> Fail {
    Fail::explained(422, error)
}

fn read(record: &Record) -> Result<passkey::Passkey, Fail> {
    serde_json::from_str(&record.passkey).map_err(|e| Fail::internal("a passkey's record cannot be read", e))
}

fn written(kept: &passkey::Passkey) -> Result<String, Fail> {
    serde_json::to_string(kept).map_err(|e| Fail::internal("a passkey cannot be written", e))
}

// ---- Enrolment ----

/// What stands in a person's link after the #: their name, which is no secret, and a token.
pub(super) fn link(node: &Node, user: &Name, token: &str) -> String {
    match site(node) {
        Ok(site) => format!("{}/enrol#{user}.{token}", site.origin()),
        Err(_) => format!("{user}.{token}"),
    }
}

/// Whose link it is, if it is good.
fn account(node: &Node, secret: &str) -> Result<User, Fail> {
    let over = || {
        Fail::link_over("the link was used, has ended, or another took its place")
            .help("ask the operator of the node for a new one: `strongroom access user enrol NAME`")
    };
    let (name, token) = secret.rsplit_once('.').ok_or_else(over)?;
    let name: Name = name.parse().map_err(|_| over())?;
    let token = Token::parse(Use::Enrolment, token).map_err(|_| over())?;
    let stored = node.meta.read(|tx| tx.platform().get::<User>(&name)).map_err(store_fail)?;
    let user = stored.ok_or_else(over)?.record;
    if is_good(&user, &token.mac(&node.key_mac_key.0), now()) { Ok(user) } else { Err(over()) }
}

/// Whether what is kept of a token is that of the person's link, and the link is still good.
fn is_good(user: &User, mac: &[u8; 32], now: Timestamp) -> bool {
    let enrolment = user.enrolment.as_ref().filter(|_| !user.disabled);
    enrolment.is_some_and(|link| ct_eq(link.mac.as_bytes(), mac) && now < at(link.ends_ms))
}

/// The passkeys of a person, the oldest first.
pub(super) fn of(node: &Node, user: &Name) -> Result<Vec<passkey::Passkey>, Fail> {
    let all = PageRequest::default();
    let page = node.meta.read(|tx| tx.of(user).list::<Record>(&all)).map_err(store_fail)?;
    let mut found = page.items.iter().map(|s| read(&s.record)).collect::<Result<Vec<_>, Fail>>()?;
    found.sort_by_key(|passkey| (passkey.created_ms, passkey.id));
    Ok(found)
}

/// What the browser is to ask an authenticator to make.
pub(crate) fn creation(node: &Node, asked: &EnrolBegin) -> Result<PasskeyCreation, Fail> {
    let user = account(node, &asked.secret)?;
    let existing = of(node, &user.name)?;
    if existing.len() >= PASSKEYS_MAX {
        return Err(Fail::conflict(format!("`{}` has {PASSKEYS_MAX} passkeys already", user.name)));
    }
    let holder = match existing.first() {
        Some(first) => first.holder,
        None => Handle::from_bytes(random::<16>()?),
    };
    let now = now();
    let (options, registration) = site(node)?
        .begin_registration(holder, user.name.as_str(), &existing, now)
        .map_err(|e| refused(&e))?;
    let until = now.plus_millis(passkey::CHALLENGE_MS);
    let mut all = locked(&node.ceremonies.registrations);
    all.retain(|_, (_, until)| now <= *until);
    if all.len() >= REGISTRATIONS_MAX {
        return Err(Fail::too_many("too many people register a passkey at this time", passkey::CHALLENGE_MS));
    }
    all.insert(user.name.clone(), (registration, until));
    Ok(PasskeyCreation { user: user.name.to_string(), options })
}

/// Takes the passkey that an authenticator made; the link is used up by it.
pub(crate) fn register(node: &Arc<Node>, answer: &EnrolAnswer) -> Result<api::Passkey, Fail> {
    let user = account(node, &answer.secret)?;
    let registration = locked(&node.ceremonies.registrations).remove(&user.name);
    let (registration, _) = registration.ok_or_else(|| refused(&PasskeyError::Challenge))?;
    let label = answer.label.as_deref().unwrap_or_default();
    let made = site(node)?
        .finish_registration(registration, &bytes(&answer.credential), label, now())
        .map_err(|e| refused(&e))?;
    let record = Record { user: user.name.clone(), id: made.id, passkey: written(&made)? };
    let told = event(EventKind::PasskeyAdd, &user.name)?
        .actor(&format!("user:{}", user.name))
        .severity(Severity::Low)
        .detail("passkey", &made.id.short())
        .detail("label", &made.label);
    node.keeper.audited(told, || {
        let inserted = node.meta.transaction(|tx| {
            let rows = tx.platform();
            let Some(mut stored) = rows.get::<User>(&user.name)? else { return Ok::<_, StoreError>(false) };
            // Two may have come with the same link: it is good for the first.
            if stored.record.enrolment != user.enrolment || stored.record.disabled {
                return Ok(false);
            }
            stored.record.enrolment = None;
            rows.update(&stored)?;
            tx.of(&user.name).insert(&record)?;
            Ok(true)
        });
        match inserted {
            Ok(true) => Ok(()),
            Ok(false) => Err(Fail::link_over("the link was used, has ended, or another took its place")),
            Err(StoreError::Exists { .. }) => Err(refused(&PasskeyError::Registered)),
            Err(error) => Err(store_fail(error)),
        }
    })?;
    Ok(wire(&user.name, &made))
}

/// Takes a passkey away, as of a device that is lost. Whoever has the device may be in a session: all of them end.
pub(crate) fn revoke(
    node: &Arc<Node>,
    principal: &Principal,
    user: &Name,
    id: &str,
) -> Result<api::Passkey, Fail> {
    find(node, user)?;
    let absent = || Fail::not_found("passkey", id);
    let id: Digest = id.parse().map_err(|_| absent())?;
    let known =
        node.meta.read(|tx| tx.of(user).get::<Record>(&id)).map_err(store_fail)?.ok_or_else(absent)?;
    let passkey = read(&known.record)?;
    let told = event(EventKind::PasskeyRevoke, user)?
        .by(principal)
        .detail("passkey", &id.short())
        .detail("label", &passkey.label);
    node.keeper.audited(told, || {
        let gone = node.meta.transaction(|tx| {
            let rows = tx.of(user);
            match rows.get::<Record>(&id)? {
                Some(stored) => rows.delete::<Record>(&id, stored.rev).map(|()| true),
                None => Ok::<_, StoreError>(false),
            }
        });
        match gone.map_err(store_fail)? {
            true => sessions::end_all(node, user),
            false => Err(absent()),
        }
    })?;
    Ok(wire(user, &passkey))
}

pub(super) fn wire(user: &Name, passkey: &passkey::Passkey) -> api::Passkey {
    api::Passkey {
        user: user.to_string(),
        id: passkey.id.to_string(),
        label: passkey.label.clone(),
        created: time(passkey.created_ms),
        last_used: passkey.last_used_ms.map(time),
    }
}

#[cfg(test)]
mod tests {
    use store::records::Enrolment;

    use super::*;

    fn proved(redirect: Option<&str>) -> Ceremony {
        let stage = Stage::Proved {
            user: "ann".parse().unwrap(),
            at: Timestamp::from_millis(5),
            code: "0123456789".to_owned(),
            state: "s".to_owned(),
        };
        Ceremony {
            expires: Timestamp::from_millis(10),
            redirect: redirect.map(|text| Redirect::parse(text).unwrap()),
            stage: Mutex::new(stage),
        }
    }

    #[test]
    fn a_login_is_done_for_who_has_the_code() {
        let typed = proved(None);
        let Ok(Progress::Done(proof)) = typed.finish(Some("01234-56789"), None) else { panic!("not done") };
        assert_eq!((proof.user.as_str(), proof.method, proof.proved.as_millis()), ("ann", "passkey", 5));
        assert!(
            matches!(typed.finish(None, None), Ok(Progress::Pending(_))),
            "who has no code learns nothing"
        );
        for wrong in ["", "-", "0123456780", "01234567890", "012345678"] {
            assert_eq!(typed.finish(Some(wrong), None).unwrap_err().status, 401, "{wrong}");
        }
    }

    #[test]
    fn what_a_browser_hands_over_comes_with_its_state() {
        let handed = proved(Some("http://127.0.0.1:1024/callback"));
        assert!(matches!(handed.finish(Some("0123456789"), Some("s")), Ok(Progress::Done(_))));
        for state in [None, Some(""), Some("t")] {
            assert_eq!(handed.finish(Some("0123456789"), state).unwrap_err().status, 401, "{state:?}");
        }
    }

    #[test]
    fn nothing_is_done_before_somebody_proved_who_they_are() {
        let stage = Mutex::new(Stage::Asked(None));
        let asked = Ceremony { expires: Timestamp::from_millis(10), redirect: None, stage };
        assert!(matches!(asked.finish(None, None), Ok(Progress::Pending(_))));
        assert_eq!(asked.finish(Some(""), None).unwrap_err().status, 401, "no code is not an empty one");
    }

    #[test]
    fn a_link_is_good_until_it_ends_and_for_its_token_alone() {
        let mut user = User {
            name: "ann".parse().unwrap(),
            display: None,
            subject: None,
            created_ms: 0,
            disabled: false,
            failures: 0,
            locked_until_ms: None,
            enrolment: Some(Enrolment { mac: Digest::from_bytes([1; 32]), ends_ms: 100 }),
        };
        assert!(is_good(&user, &[1; 32], at(99)));
        assert!(!is_good(&user, &[1; 32], at(100)), "it has ended");
        assert!(!is_good(&user, &[2; 32], at(99)), "another token");
        user.disabled = true;
        assert!(!is_good(&user, &[1; 32], at(99)), "whoever may not log in enrols nothing");
        (user.disabled, user.enrolment) = (false, None);
        assert!(!is_good(&user, &[1; 32], at(99)), "it was used");
    }

    #[test]
    fn a_code_is_read_as_people_type_it() {
        assert_eq!(shown("0123456789"), "01234-56789");
        for typed in ["0123456789", "01234-56789", " o1234 56789 ", "OL234-56789", "oI234-56789"] {
            assert_eq!(plain(typed), "0123456789", "{typed}");
        }
        let code = new_code().unwrap();
        assert_eq!((code.len(), plain(&shown(&code))), (CODE_LEN, code));
    }
}
