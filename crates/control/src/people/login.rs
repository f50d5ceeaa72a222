//! Logins under way: begun by somebody whom nobody knows yet, ended by who began them, once.
//!
//! A login lives in memory: after a restart it is begun again. Who ends it must hold the secret that its beginning
//! answered, so a code that is overheard, guessed or drawn from somebody by a lure gives nobody a session.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use api::{Login, LoginBegin, LoginFinish, LoginMethods, LoginResult};
use base::Timestamp;
use net::token::{Token, Use};

use super::sessions::{self, Proof, Wanted};
use super::{Arc, Fail, Node, now, passkeys};
use crate::clock::random;

/// Logins under way at once, and of one address or user.
const ATTEMPTS_MAX: usize = 256;
const OF_ONE_MAX: usize = 16;
/// How long one may take.
pub(super) const LASTS_MS: u64 = 10 * 60_000;

/// A way to prove who one is, begun.
pub(crate) trait Method: Send + std::fmt::Debug {
    /// What the person does in a browser.
    fn asks(&self) -> Asks;

    /// Ends it, or says that it is not done yet. One that fails is over.
    fn finish(&mut self, node: &Arc<Node>, code: Option<&str>, state: Option<&str>)
    -> Result<Progress, Fail>;
}

/// What the person does in a browser.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asks {
    pub(crate) method: &'static str,
    pub(crate) url: String,
    pub(crate) user_code: Option<String>,
    /// Seconds between two questions whether it is done.
    pub(crate) interval: Option<u64>,
    /// When it ends undone, if that is before the end of every login.
    pub(crate) expires: Option<Timestamp>,
}

/// How far a login is.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Ask again after so many seconds.
    Pending(u64),
    /// Done.
    Done(Proof),
}

/// One login under way.
#[derive(Debug)]
struct Attempt {
    mac: [u8; 32],
    source: String,
    expires: Timestamp,
    wanted: Wanted,
    method: Box<dyn Method>,
}

/// All of them, by the id in their secret.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<HashMap<u128, Attempt>>);

impl Attempts {
    fn add(&self, id: u128, attempt: Attempt, now: Timestamp) -> Result<(), Fail> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Self::room(&mut all, &attempt.source, now)?;
        all.insert(id, attempt);
        Ok(())
    }

    /// Whether one more of this source may begin: asked before anybody else is asked for anything.
    fn has_room(&self, source: &str, now: Timestamp) -> Result<(), Fail> {
        Self::room(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), source, now)
    }

    fn room(all: &mut HashMap<u128, Attempt>, source: &str, now: Timestamp) -> Result<(), Fail> {
        all.retain(|_, attempt| now < attempt.expires);
        let own = all.values().filter(|other| other.source == source).count();
        if all.len() >= ATTEMPTS_MAX || own >= OF_ONE_MAX {
            return Err(Fail::too_many("too many logins are under way", LASTS_MS / 10));
        }
        Ok(())
    }

    /// Takes one out: while it is being ended nobody else ends it.
    fn take(&self, token: &Token, key: &[u8; 32], now: Timestamp) -> Option<Attempt> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_its =
            |attempt: &Attempt| base::digest::ct_eq(&attempt.mac, &token.mac(key)) && now < attempt.expires;
        if !all.get(&token.id()).is_some_and(is_its) {
            return None;
        }
        all.remove(&token.id())
    }

    fn put_back(&self, id: u128, attempt: Attempt) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, attempt);
    }
}

/// How one may log in to this node.
pub(crate) fn methods(node: &Node) -> LoginMethods {
    let mut methods = Vec::new();
    if passkeys::site(node).is_ok() {
        methods.push("passkey".to_owned());
    }
    if node.oidc.is_some() {
        methods.extend(["oidc-code", "oidc-device"].map(str::to_owned));
    }
    LoginMethods { methods, issuer: node.oidc.as_ref().map(|oidc| oidc.issuer().to_owned()) }
}

/// The method that a request names, begun.
fn offered(node: &Arc<Node>, request: &LoginBegin) -> Result<Box<dyn Method>, Fail> {
    match (request.method.as_str(), &node.oidc) {
        ("passkey", _) => passkeys::begin(node, request),
        ("oidc-code", Some(oidc)) => oidc.begin(false, request.redirect.as_deref()),
        ("oidc-device", Some(oidc)) => oidc.begin(true, None),
        (other, _) => Err(Fail::conflict(format!(
            "this node does not offer logins by `{}`",
            crate::fail::printable(other)
        ))),
    }
}

pub(crate) fn begin(node: &Arc<Node>, source: &str, request: &LoginBegin) -> Result<Login, Fail> {
    node.logins.has_room(source, now())?;
    let method = offered(node, request)?;
    let asks = method.asks();
    let now = now();
    let latest = now.plus_millis(LASTS_MS);
    let expires = asks.expires.map_or(latest, |own| own.min(latest));
    let id = u128::from_be_bytes(random::<16>()?);
    let token = Token::new(Use::Login, id, random::<32>()?);
    let attempt = Attempt {
        mac: token.mac(&node.key_mac_key.0),
        source: source.to_owned(),
        expires,
        wanted: Wanted { tenant: request.tenant.clone(), role: request.role.clone() },
        method,
    };
    node.logins.add(id, attempt, now)?;
    Ok(Login {
        login: token.text(),
        method: asks.method.to_owned(),
        url: asks.url,
        user_code: asks.user_code,
        interval: asks.interval,
        expires: expires.to_string(),
    })
}

pub(crate) fn finish(node: &Arc<Node>, source: &str, request: &LoginFinish) -> Result<LoginResult, Fail> {
    let absent = || {
        Fail::unauthenticated("there is no such login under way, or its time is over")
            .help("begin again with `strongroom login`")
    };
    let token = Token::parse(Use::Login, &request.login).map_err(|_| absent())?;
    let mut attempt = node.logins.take(&token, &node.key_mac_key.0, now()).ok_or_else(absent)?;
    match attempt.method.finish(node, request.code.as_deref(), request.state.as_deref())? {
        Progress::Pending(interval) => {
            node.logins.put_back(token.id(), attempt);
            Ok(LoginResult { state: "pending".to_owned(), interval: Some(interval), session: None })
        }
        Progress::Done(proof) => {
            let session = sessions::open(node, &proof, &attempt.wanted, source)?;
            Ok(LoginResult { state: "done".to_owned(), interval: None, session: Some(session) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    #[derive(Debug)]
    struct Nothing;

    impl Method for Nothing {
        fn asks(&self) -> Asks {
            Asks::default()
        }
        fn finish(&mut self, _: &Arc<Node>, _: Option<&str>, _: Option<&str>) -> Result<Progress, Fail> {
            Ok(Progress::Pending(1))
        }
    }

    fn token(id: u128, secret: u8) -> Token {
        Token::new(Use::Login, id, [secret; 32])
    }

    fn attempt(token: &Token, source: &str, expires: u64) -> Attempt {
        Attempt {
            mac: token.mac(&KEY),
            source: source.to_owned(),
            expires: Timestamp::from_millis(expires),
            wanted: Wanted::default(),
            method: Box::new(Nothing),
        }
    }

    #[test]
    fn only_who_began_it_ends_it_once_and_in_time() {
        let (all, at) = (Attempts::default(), Timestamp::from_millis);
        all.add(1, attempt(&token(1, 1), "a", 100), at(0)).unwrap();
        assert!(all.take(&token(1, 2), &KEY, at(1)).is_none(), "another secret");
        assert!(all.take(&token(2, 1), &KEY, at(1)).is_none(), "another login");
        assert!(all.take(&token(1, 1), &KEY, at(100)).is_none(), "too late");
        assert!(all.take(&token(1, 1), &KEY, at(99)).is_some());
        assert!(all.take(&token(1, 1), &KEY, at(99)).is_none(), "it is used up");
    }

    #[test]
    fn logins_under_way_are_bounded_in_all_and_for_each() {
        let (all, at) = (Attempts::default(), Timestamp::from_millis);
        let add = |id: usize, source: String, now: u64| {
            let id = u128::try_from(id).unwrap();
            all.add(id, attempt(&token(id, 1), &source, now + 100), at(now)).map_err(|fail| fail.status)
        };
        for n in 0..OF_ONE_MAX {
            add(n, "one".to_owned(), 0).unwrap();
        }
        assert_eq!(add(1000, "one".to_owned(), 0), Err(429));
        for n in OF_ONE_MAX..ATTEMPTS_MAX {
            add(n, n.to_string(), 0).unwrap();
        }
        assert_eq!(add(1000, "late".to_owned(), 0), Err(429));
        assert_eq!(add(1000, "late".to_owned(), 100), Ok(()), "those that are over make room");
    }
}
