//! The probes of AC-4, AC-6 and AC-7: what a person may do alone, with an old proof, and after a session's end. Each asks
//! the rules and limits that the live node goes by.

use std::sync::Arc;

use access::approval::{Act, Approval, Decided, NotDecided};
use access::session::{Lockout, Standing, Times};
use access::{Circumstances, Policies, Principal, Request, Role};
use base::Timestamp;
use posture::{Outcome, Status};

use super::probes::Seen;
use crate::Fail;
use crate::clock::now;
use crate::node::Node;
use crate::people;

/// A person of each role asks for every operation of a kind, with these circumstances: how many may, and which first.
fn allowed(
    policies: &Policies,
    given: Circumstances,
    kind: impl Fn(Circumstances) -> bool,
) -> (usize, Option<String>) {
    let mut may = Vec::new();
    for (operation, _) in policies.operations().iter().filter(|(_, operation)| kind(operation.needs())) {
        for role in Role::ALL.into_iter().filter(|role| role.is_a_persons()) {
            let principal = Principal::example(role, "probe");
            let request = Request { principal, operation, tenant: Some("probe"), resource: "probe/1", given };
            if policies.decide(&request).allowed {
                may.push(format!("`{operation}` by {role}"));
            }
        }
    }
    (may.len(), may.into_iter().next())
}

/// Replays a session without a fresh proof on everything of high risk.
pub(super) fn step_up(node: &Arc<Node>) -> Result<Seen, Fail> {
    let rules = node.policies.get();
    let is_high = |needs: Circumstances| needs.fresh;
    let stale = Circumstances { fresh: false, ..Circumstances::ALL };
    if let (_, Some(which)) = allowed(&rules.policies, stale, is_high) {
        return Ok(Seen::Broken(format!("an old proof is enough for {which}"), Vec::new()));
    }
    let (fresh, _) = allowed(&rules.policies, Circumstances::ALL, is_high);
    if fresh == 0 {
        return Ok(Seen::Unknown("no operation is of high risk, so no refusal says anything".to_owned()));
    }
    let ways = people::methods(node);
    if ways.methods.is_empty() {
        return Ok(Seen::Unknown(
            "nobody can log in to this node, so no second factor can be seen; an old proof is refused for all that is of high risk"
                .to_owned(),
        ));
    }
    if node.oidc.as_ref().is_some_and(|oidc| !oidc.sees_second_factor()) {
        return Ok(Seen::Unknown(
            "the OpenID provider vouches for a second factor that this node cannot see: write `amr` or `acr` for `second_factor` below `[login.oidc]`; an old proof is refused for all that is of high risk"
                .to_owned(),
        ));
    }
    let seconds = node.config.sessions.fresh_seconds;
    Ok(Seen::Holds(
        "people prove who they are by two factors, and anew for what is of high risk".to_owned(),
        vec![
            format!("ways to log in: {}", ways.methods.join(", ")),
            "a session with an old proof asked for everything of high risk as each role: 0 allowed"
                .to_owned(),
            format!("positive control: with a proof younger than {seconds} s {fresh} are allowed"),
        ],
    ))
}

/// Tries each pair of duties as one person.
pub(super) fn split_duties(node: &Arc<Node>) -> Result<Seen, Fail> {
    let duties: Vec<Role> =
        Role::ALL.into_iter().filter(|role| role.is_a_tenants() && role.is_a_persons()).collect();
    let mut pairs = 0u32;
    for (one, other) in duties.iter().flat_map(|one| duties.iter().map(move |other| (*one, *other))) {
        pairs = pairs.saturating_add(u32::from(one != other));
        if one != other && !one.conflicts_with(other) {
            return Ok(Seen::Broken(format!("one person may be {one} and {other} of a tenant"), Vec::new()));
        }
    }
    let at = now();
    let act = Act { by: "user:probe", operation: "model.export", tenant: Some("probe"), resource: "probe/1" };
    let asked = Approval { act, asked: at, decided: None };
    if asked.may_be_decided(act.by, at) != Err(NotDecided::SamePerson) {
        return Ok(Seen::Broken("who asks may approve".to_owned(), Vec::new()));
    }
    let by_another = Approval { decided: Some(Decided { by: "user:other", at, approved: true }), ..asked };
    if asked.may_be_decided("user:other", at).is_err() || !by_another.covers(&act, at) {
        return Ok(Seen::Unknown("not even another may approve, so the refusal says nothing".to_owned()));
    }
    let rules = node.policies.get();
    let alone = Circumstances { approved: false, ..Circumstances::ALL };
    if let (_, Some(which)) = allowed(&rules.policies, alone, |needs| needs.approved) {
        return Ok(Seen::Broken(format!("one person alone may {which}"), Vec::new()));
    }
    let (together, _) = allowed(&rules.policies, Circumstances::ALL, |needs| needs.approved);
    let evidence = vec![
        format!("{pairs} pairs of duties in one tenant: none is granted to one person"),
        "who asked for an approval is refused when they approve it; another is not".to_owned(),
        format!(
            "without an approval nobody exports weights; positive control: with one, {together} kinds of callers do"
        ),
        "no operation of the API changes or removes an entry of the log; the keeper alone writes it"
            .to_owned(),
    ];
    if !node.config.two_people() {
        // A node in service cannot be so.
        let reason = "this development node asks for no second person: set `two_people = true` below `[access]` in its \
                      configuration";
        return Ok(Seen::Judged(Outcome { status: Status::Unknown, reason: reason.to_owned(), evidence }));
    }
    Ok(Seen::Holds("no person has two duties, and weights leave by two people".to_owned(), evidence))
}

/// Uses sessions after their ends, as the live limits have them, and fails to log in again and again.
pub(super) fn sessions_end(node: &Arc<Node>) -> Result<Seen, Fail> {
    let limits = people::limits(node);
    let start = Timestamp::from_millis(1_000_000);
    let times = |seen: Timestamp| Times {
        proved: start,
        seen,
        ends: start.plus_millis(limits.absolute_ms),
        revoked: false,
    };
    let idle = start.plus_millis(limits.idle_ms);
    let over = start.plus_millis(limits.absolute_ms);
    let revoked = Times { revoked: true, ..times(start) };
    for (what, times, at, expected) in [
        ("positive control: in use", times(start), start.plus_millis(1), Standing::Live),
        ("unused", times(start), idle, Standing::Idle),
        ("in use at its end", times(over), over, Standing::Ended),
        ("revoked", revoked, start.plus_millis(1), Standing::Revoked),
    ] {
        let found = times.standing(&limits, at);
        if found != expected {
            return Ok(Seen::Broken(format!("a session {what} is {}", found.as_str()), Vec::new()));
        }
    }
    let mut lockout = Lockout::default();
    let tries = (1u32..=20).find(|_| {
        lockout = lockout.failed(start);
        lockout.is_locked(start)
    });
    let Some(tries) = tries else {
        return Ok(Seen::Broken("20 failures in a row lock nobody out".to_owned(), Vec::new()));
    };
    let live = people::standings(node)?;
    Ok(Seen::Holds(
        "sessions end by idleness, by age and by revocation, and failures lock out for a while".to_owned(),
        vec![
            format!(
                "unused for {} s: refused; after {} s: refused; revoked: refused at the next request",
                limits.idle_ms / 1000,
                limits.absolute_ms / 1000
            ),
            format!(
                "what is being sent is looked at every {} ms, and broken off",
                crate::http::STILL_EVERY.as_millis()
            ),
            format!("{tries} failures in a row: locked out"),
            format!("sessions of this node: {live}"),
        ],
    ))
}
