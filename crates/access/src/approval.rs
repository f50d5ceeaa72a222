//! What two people must agree on: one asks, another approves, and then the first may do just that, for a while.
//!
//! NIST SP 800-53 Rev. 5, AC-3(2) dual authorisation.

use base::Timestamp;

/// How long a request waits for somebody to decide.
pub const WAITS_MS: u64 = 24 * 3_600_000;
/// How long what was approved may be done.
pub const GOOD_MS: u64 = 3_600_000;

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Act<'a> {
    /// Who, as in events.
    pub by: &'a str,
    /// The operation.
    pub operation: &'a str,
    /// The tenant in which the thing lies; none for what is the node's.
    pub tenant: Option<&'a str>,
    /// The thing, as in a path of the API.
    pub resource: &'a str,
}

/// What was decided on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided<'a> {
    /// By whom, as in events.
    pub by: &'a str,
    /// When.
    pub at: Timestamp,
    /// Whether they approve.
    pub approved: bool,
}

/// A request for the word of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Approval<'a> {
    /// For what.
    pub act: Act<'a>,
    /// When it was asked for.
    pub asked: Timestamp,
    /// What was decided, once it was.
    pub decided: Option<Decided<'a>>,
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nobody decided yet.
    Waiting,
    /// Nobody decided in time.
    Lapsed,
    /// Approved: it may be done.
    Approved,
    /// Approved, and the time to do it is over.
    Over,
    /// Somebody said no.
    Refused,
}

impl State {
    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Lapsed => "lapsed",
            Self::Approved => "approved",
            Self::Over => "over",
            Self::Refused => "refused",
        }
    }
}

/// A decision is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotDecided {
    /// The first person is not the second.
    #[error("who asks does not approve: it takes another person")]
    SamePerson,
    /// It was decided, or has lapsed.
    #[error("the request is {} already", .0.as_str())]
    Not(State),
}

impl Approval<'_> {
    /// Where it stands at a time.
    pub fn state(&self, at: Timestamp) -> State {
        let within = |from: Timestamp, for_ms: u64| at < from.plus_millis(for_ms);
        match self.decided {
            None if within(self.asked, WAITS_MS) => State::Waiting,
            None => State::Lapsed,
            Some(Decided { approved: false, .. }) => State::Refused,
            Some(decided) if within(decided.at, GOOD_MS) => State::Approved,
            Some(_) => State::Over,
        }
    }

    /// Whether this one may decide on it at this time.
    ///
    /// # Errors
    /// Who asked may not, and what is not waiting is not decided again.
    pub fn may_be_decided(&self, by: &str, at: Timestamp) -> Result<(), NotDecided> {
        if by == self.act.by {
            return Err(NotDecided::SamePerson);
        }
        match self.state(at) {
            State::Waiting => Ok(()),
            state => Err(NotDecided::Not(state)),
        }
    }

    /// Whether it lets this be done at this time. The thing is the one that was named, or lies below it: the files of a
    /// version of a model.
    pub fn covers(&self, act: &Act<'_>, at: Timestamp) -> bool {
        let below = |rest: &str| rest.is_empty() || rest.starts_with('/');
        self.state(at) == State::Approved
            && act.by == self.act.by
            && act.operation == self.act.operation
            && act.tenant == self.act.tenant
            && act.resource.strip_prefix(self.act.resource).is_some_and(below)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ACT: Act<'_> =
        Act { by: "user:ann", operation: "model.export", tenant: Some("acme"), resource: "m/1" };

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn approval(approved: Option<bool>) -> Approval<'static> {
        let decided = approved.map(|approved| Decided { by: "user:ben", at: at(1000), approved });
        Approval { act: ACT, asked: at(0), decided }
    }

    #[test]
    fn it_waits_for_another_and_is_decided_once() {
        let waiting = approval(None);
        assert_eq!(waiting.may_be_decided("user:ann", at(1)), Err(NotDecided::SamePerson));
        assert_eq!(waiting.may_be_decided("user:ben", at(1)), Ok(()));
        assert_eq!(waiting.may_be_decided("user:ben", at(WAITS_MS)), Err(NotDecided::Not(State::Lapsed)));
        for (decided, state) in [(true, State::Approved), (false, State::Refused)] {
            let decided = approval(Some(decided));
            assert_eq!(decided.may_be_decided("user:cid", at(1001)), Err(NotDecided::Not(state)));
        }
        assert_eq!(approval(Some(true)).state(at(1000 + GOOD_MS)), State::Over);
    }

    #[test]
    fn it_covers_what_was_named_and_nothing_else() {
        let approved = approval(Some(true));
        let covers = |act: Act<'_>| approved.covers(&act, at(1001));
        assert!(covers(ACT));
        assert!(covers(Act { resource: "m/1/weights/a.bin", ..ACT }));
        for other in [
            Act { by: "user:ben", ..ACT },
            Act { operation: "endpoint.deploy", ..ACT },
            Act { tenant: Some("globex"), ..ACT },
            Act { tenant: None, ..ACT },
            Act { resource: "m/10", ..ACT },
            Act { resource: "m/1x/a", ..ACT },
            Act { resource: "m", ..ACT },
            Act { resource: "", ..ACT },
        ] {
            assert!(!covers(other), "{other:?}");
        }
        assert!(!approved.covers(&ACT, at(1000 + GOOD_MS)));
        assert!(!approval(None).covers(&ACT, at(1)));
        assert!(!approval(Some(false)).covers(&ACT, at(1001)));
    }

    proptest! {
        #[test]
        fn nothing_is_covered_that_one_person_alone_wanted(by in "[ab]", decider in "[ab]", now in 0u64..1 << 40) {
            let act = Act { by: &by, ..ACT };
            let waiting = Approval { act, asked: at(0), decided: None };
            let may = waiting.may_be_decided(&decider, at(now)).is_ok();
            let decided = may.then_some(Decided { by: &decider, at: at(now), approved: true });
            let covered = Approval { decided, ..waiting }.covers(&act, at(now));
            prop_assert!(!covered || by != decider);
        }
    }
}
