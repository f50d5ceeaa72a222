//! Who may ask for what: one table for operations, one for reported events.

use base::config::Users;
use ops::event::EventKind;
use ops::keeper::{Request, Role};

use crate::error::KeeperError;

/// Whether every process has a user of its own, so that the kernel can tell them apart.
pub(crate) fn separated(users: &Users, own_uid: u32) -> bool {
    let Users { keeper, control, gateway, relay, operator: _ } = users;
    let all = std::collections::BTreeSet::from([keeper, control, gateway, relay]);
    // The warden is root; whoever shares its user could claim to be it.
    all.len() == 4 && own_uid == *keeper && !all.contains(&0)
}

/// The role of a peer: what its user id says, which must be what it claims. Where all run under one user, the claim
/// is all there is, and the status says that separation failed.
///
/// # Errors
/// It may not speak in this role.
pub(crate) fn role_of(
    peer_uid: u32,
    claimed: Role,
    users: &Users,
    own_uid: u32,
) -> Result<Role, KeeperError> {
    let allowed = if separated(users, own_uid) {
        match claimed {
            Role::Control => peer_uid == users.control,
            Role::Gateway => peer_uid == users.gateway,
            Role::Warden => peer_uid == 0,
            Role::Relay => peer_uid == users.relay,
        }
    } else {
        peer_uid == own_uid || [users.control, users.gateway, users.relay, 0].contains(&peer_uid)
    };
    if allowed { Ok(claimed) } else { Err(KeeperError::Peer { role: claimed }) }
}

/// Whether a user has a role at all. Whoever has none takes no connection from those who have.
pub(crate) fn may_connect(peer_uid: u32, users: &Users, own_uid: u32) -> bool {
    Role::ALL.iter().copied().any(|role| role_of(peer_uid, role, users, own_uid).is_ok())
}

/// The operation's name and who may ask for it.
const fn operation(request: &Request) -> (&'static str, &'static [Role]) {
    use Role::{Control, Gateway, Relay, Warden};
    match request {
        Request::Hello { .. } => ("hello", &[Control, Gateway, Warden, Relay]),
        Request::Status {} => ("status", &[Control, Gateway, Warden, Relay]),
        Request::Append { .. } => ("append", &[Control, Gateway, Warden, Relay]),
        Request::CreateScope { .. } => ("create scope", &[Control]),
        Request::Wrap { .. } => ("wrap", &[Control]),
        Request::Unwrap { .. } => ("unwrap", &[Control]),
        Request::Sign { .. } => ("sign", &[Control]),
        Request::Authorise { .. } => ("authorise", &[Control]),
        Request::ObjectName { .. } => ("object name", &[Control]),
        Request::AppendBound { .. } => ("append with a generation", &[Control]),
        Request::Bound {} => ("generation", &[Control]),
        Request::Recovery {} => ("recovery", &[Control, Gateway, Warden]),
        Request::EnterSafe { .. } => ("enter safe mode", &[Control, Warden]),
        Request::Recover { .. } => ("recover", &[Control]),
        Request::CloseWindow { .. } => ("close break-glass", &[Control]),
    }
}

/// Refuses an operation that is not the role's.
///
/// # Errors
/// [`KeeperError::Role`].
pub(crate) fn may_ask(role: Role, request: &Request) -> Result<(), KeeperError> {
    let (operation, roles) = operation(request);
    if roles.contains(&role) { Ok(()) } else { Err(KeeperError::Role { role, operation }) }
}

/// Refuses an event that the role cannot have seen. What the keeper itself does, only the keeper reports: nobody
/// can write a release or a signature into the log that did not happen.
///
/// # Errors
/// [`KeeperError::EventKind`].
pub(crate) fn may_report(role: Role, kind: EventKind) -> Result<(), KeeperError> {
    use EventKind as K;
    let own = matches!(
        kind,
        K::ScopeCreate
            | K::KeyWrap
            | K::KeyRelease
            | K::Sign
            | K::BudgetExhausted
            | K::LogTailDropped
            | K::SafeModeEnter
            | K::SafeModeLeave
            | K::BreakGlassSeal
            | K::BreakGlassOpen
            | K::BreakGlassClose
            | K::RecoveryRefuse
    );
    let relays = matches!(kind, K::EgressOpen | K::EgressClose);
    let allowed = match role {
        Role::Control => !own && !relays,
        Role::Relay => relays || kind == K::EgressRefuse || kind == K::AccessRefuse,
        Role::Gateway => matches!(
            kind,
            K::Inference
                | K::InferenceAdmit
                | K::InferenceGap
                | K::AccessRefuse
                | K::ComponentStart
                | K::ComponentStop
        ),
        Role::Warden => matches!(
            kind,
            K::WardenOrder
                | K::ReleaseReturn
                | K::SandboxCreate
                | K::SandboxEnd
                | K::AccessRefuse
                | K::NodeStart
                | K::NodeStop
                | K::ComponentStart
                | K::ComponentStop
        ),
    };
    if allowed { Ok(()) } else { Err(KeeperError::EventKind { role, event: kind.name() }) }
}

#[cfg(test)]
mod tests;
