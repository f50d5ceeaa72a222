//! Safe mode and break-glass. The keeper decides and remembers; what is here asks it, and says where the node stands.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use access::Mode;
use api::{BreakGlassOpen, BreakGlassSeal, SafeMode, SafeModeEnter, SafeModeLeave};
use base::Timestamp;
use ops::keeper::{Request, Response};
use ops::recovery::{Act, Holder, Proof, State};
use ops::{List, Text};

use crate::Fail;
use crate::auth::Principal;
use crate::clock::now;
use crate::fail::reason;
use crate::keeper::Keeper;
use crate::node::{Node, correlation, time};

/// How long the word that the node is not in safe mode is good for: what is asked in this time meets a keeper that
/// holds no keys. In safe mode it is asked each time, since a window may have ended.
const GOOD_FOR: Duration = Duration::from_millis(200);

/// Where the node stood when control started, and where it stands.
#[derive(Debug)]
pub(crate) struct Recovery {
    /// Whether control started in safe mode: the warden starts it anew at each change.
    pub(crate) began_safe: bool,
    normal_at: Mutex<Option<Timestamp>>,
}

impl Recovery {
    /// What the keeper says at the start.
    pub(crate) fn open(keeper: &Keeper) -> Result<Self, Fail> {
        let began_safe = state(keeper)?.safe.is_some();
        if began_safe {
            crate::log::line("recovery", "the node is in safe mode");
        }
        Ok(Self { began_safe, normal_at: Mutex::new(None) })
    }

    /// Where the node stands now.
    pub(crate) fn mode(&self, keeper: &Keeper) -> Result<Mode, Fail> {
        let at = now();
        let normal = *self.normal_at.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh =
            |then: &Timestamp| u128::from(at.millis_since(*then)) < GOOD_FOR.as_millis() && *then <= at;
        if normal.as_ref().is_some_and(fresh) {
            return Ok(Mode::Normal);
        }
        let mode = match state(keeper)? {
            State { safe: None, .. } => Mode::Normal,
            State { window: None, .. } => Mode::Safe,
            State { window: Some(_), .. } => Mode::BreakGlass,
        };
        *self.normal_at.lock().unwrap_or_else(PoisonError::into_inner) = (mode == Mode::Normal).then_some(at);
        Ok(mode)
    }

    fn forget(&self) {
        *self.normal_at.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn state(keeper: &Keeper) -> Result<State, Fail> {
    ask(keeper, &Request::Recovery {})
}

fn ask(keeper: &Keeper, request: &Request) -> Result<State, Fail> {
    match keeper.call(request)? {
        Response::Recovery { state } => Ok(state),
        _ => Err(Fail::internal("the keeper gave an answer of another kind", "recovery")),
    }
}

pub(crate) fn show(node: &Node) -> Result<SafeMode, Fail> {
    Ok(wire(node, state(&node.keeper)?))
}

/// Enters safe mode. Where nobody holds recovery codes it is asked for twice, since nobody could leave it.
pub(crate) fn enter(
    node: &Node,
    principal: &Principal,
    name: &str,
    request: &SafeModeEnter,
) -> Result<SafeMode, Fail> {
    is_this(node, name)?;
    let because = text(reason(&request.reason)?)?;
    if !request.even_unsealed && state(&node.keeper)?.holders.is_empty() {
        return Err(Fail::conflict("nobody holds recovery codes, so nobody could leave safe mode")
            .help("make them with `strongroom break-glass seal --holder NAME --holder NAME`, or say `--even-unsealed`"));
    }
    let actor = Text::clip(&principal.named());
    let entered =
        ask(&node.keeper, &Request::EnterSafe { reason: because, actor, correlation: correlation()? });
    node.recovery.forget();
    Ok(wire(node, entered?))
}

/// Leaves safe mode.
pub(crate) fn leave(
    node: &Node,
    principal: &Principal,
    name: &str,
    request: &SafeModeLeave,
) -> Result<SafeMode, Fail> {
    is_this(node, name)?;
    let act = Act::Leave { reason: text(reason(&request.reason)?)? };
    recover(node, principal, act, &request.proofs)
}

/// Makes recovery codes.
pub(crate) fn seal(node: &Node, principal: &Principal, request: &BreakGlassSeal) -> Result<SafeMode, Fail> {
    let holder = |holder: &api::Holder| {
        Ok::<_, Fail>(Holder {
            name: text(&holder.name)?,
            key: bytes(&holder.key, "a key has 64 hex digits")?,
        })
    };
    let holders = request.holders.iter().map(holder).collect::<Result<_, _>>()?;
    let holders = List::new(holders).map_err(|e| Fail::invalid(format!("holders: {e}")))?;
    recover(node, principal, Act::Seal { holders }, &request.proofs)
}

/// Opens break-glass.
pub(crate) fn open(node: &Node, principal: &Principal, request: &BreakGlassOpen) -> Result<SafeMode, Fail> {
    let act = Act::Open { reason: text(reason(&request.reason)?)?, seconds: request.seconds };
    recover(node, principal, act, &request.proofs)
}

/// Closes break-glass.
pub(crate) fn close(node: &Node, principal: &Principal) -> Result<SafeMode, Fail> {
    let actor = Text::clip(&principal.named());
    let closed = ask(&node.keeper, &Request::CloseWindow { actor, correlation: correlation()? });
    closed.map(|state| wire(node, state)).map_err(conflict)
}

fn recover(node: &Node, principal: &Principal, act: Act, proofs: &[api::Proof]) -> Result<SafeMode, Fail> {
    let proof = |proof: &api::Proof| {
        let signature = bytes(&proof.signature, "a signature has 128 hex digits")?;
        Ok::<_, Fail>(Proof { holder: text(&proof.holder)?, signature })
    };
    let proofs = proofs.iter().map(proof).collect::<Result<_, _>>()?;
    let proofs = List::new(proofs).map_err(|e| Fail::invalid(format!("proofs: {e}")))?;
    let actor = Text::clip(&principal.named());
    let done = ask(&node.keeper, &Request::Recover { act, proofs, actor, correlation: correlation()? });
    node.recovery.forget();
    done.map(|state| wire(node, state)).map_err(conflict)
}

/// What the keeper does not let happen is a matter of where the node stands, and of who signs.
fn conflict(fail: Fail) -> Fail {
    let help = "see where the node stands, and who holds recovery codes, with `strongroom safe-mode status`";
    let status = match fail.code.as_str() {
        "SR-KPR-0025" => 409,
        "SR-KPR-0027" => 403,
        _ => return fail,
    };
    Fail { status, ..fail }.help(help)
}

fn is_this(node: &Node, name: &str) -> Result<(), Fail> {
    if name == node.config.node { Ok(()) } else { Err(Fail::not_found("node", name)) }
}

fn text<const MAX: usize>(value: &str) -> Result<Text<MAX>, Fail> {
    crate::run::text(value)
}

fn bytes<const N: usize>(hex: &str, wanted: &'static str) -> Result<[u8; N], Fail> {
    let bytes = base::digest::unhex(hex).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| Fail::invalid(wanted))
}

fn wire(node: &Node, state: State) -> SafeMode {
    let safe = state.safe.as_ref();
    SafeMode {
        node: node.config.node.clone(),
        safe: safe.is_some(),
        settled: safe.is_some() == node.recovery.began_safe,
        since: safe.map(|s| time(s.since_ms)),
        by: safe.map(|s| s.by.to_string()),
        reason: safe.map(|s| s.reason.to_string()),
        break_glass: state.window.map(|w| api::BreakGlass {
            holder: w.holder.to_string(),
            reason: w.reason.to_string(),
            since: time(w.since_ms),
            ends: time(w.ends_ms),
        }),
        holders: state.holders.iter().map(ToString::to_string).collect(),
        challenge: base::digest::hex(&state.challenge),
    }
}
