//! What the keeper does about safe mode and break-glass, and what it says of it in the log.

use ops::Text;
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use ops::keeper::{Response, SignKind};
use ops::recovery::{Act, Proof, Safe, Window};

use crate::clock::boot_ms;
use crate::error::KeeperError;
use crate::keys::KeySet;
use crate::service::{Service, locked};

impl Service {
    /// Refuses signatures in safe mode: nothing is vouched for. Rules may be taken back while break-glass is open.
    pub(crate) fn may_sign(&self, kind: SignKind) -> Result<(), KeeperError> {
        let recovery = locked(&self.recovery);
        let may = !recovery.is_safe() || (kind == SignKind::Policy && recovery.is_open(boot_ms()));
        if may { Ok(()) } else { Err(KeeperError::SafeMode) }
    }

    /// Where the node stands; a window whose time is over ends here.
    pub(crate) fn recovery(&self) -> Result<Response, KeeperError> {
        let (ended, state) = {
            let mut recovery = locked(&self.recovery);
            (recovery.expire(boot_ms()), recovery.state())
        };
        if let Some(window) = ended {
            self.record(self.closed(&window, "platform", 0).because("its time is over"))?;
        }
        Ok(Response::Recovery { state })
    }

    /// Enters safe mode: the keys first, the log after.
    pub(crate) fn enter_safe(
        &self,
        reason: &str,
        actor: &str,
        correlation: u128,
    ) -> Result<Response, KeeperError> {
        let event = self
            .event(EventKind::SafeModeEnter, Outcome::Success, correlation)
            .actor(actor)
            .asset("node", &self.config().node, None)
            .severity(Severity::Critical)
            .because(reason);
        let safe = Safe { since_ms: event.time_ms, by: Text::clip(actor), reason: Text::clip(reason) };
        let entered = locked(&self.recovery).enter(safe);
        locked(&self.keys).forget_tenants();
        if !matches!(entered, Ok(false)) {
            self.record(event)?;
        }
        entered?;
        self.recovery()
    }

    /// An act of holders of recovery codes.
    pub(crate) fn recover(
        &self,
        act: Act,
        proofs: &[Proof],
        actor: &str,
        correlation: u128,
    ) -> Result<Response, KeeperError> {
        let (kind, reason) = match &act {
            Act::Seal { holders } => {
                let names: Vec<&str> = holders.iter().map(|holder| holder.name.as_str()).collect();
                (EventKind::BreakGlassSeal, format!("held by {}", names.join(", ")))
            }
            Act::Open { reason, .. } => (EventKind::BreakGlassOpen, reason.to_string()),
            Act::Leave { reason } => (EventKind::SafeModeLeave, reason.to_string()),
        };
        let event = |kind, outcome| {
            self.event(kind, outcome, correlation).actor(actor).asset("node", &self.config().node, None)
        };
        let checked = locked(&self.recovery).check(&act, proofs);
        let signers = match checked {
            Ok(signers) => signers.join(", "),
            Err(error) => {
                let refused = event(EventKind::RecoveryRefuse, Outcome::Refused)
                    .severity(Severity::High)
                    .detail("act", kind.name())
                    .because(&error.to_string());
                self.record(refused)?;
                return Err(error);
            }
        };
        let event = |phase, outcome| {
            let event =
                event(kind, outcome).severity(severity(kind)).detail("holders", &signers).because(&reason);
            Event { phase, ..event }
        };
        // The alarm is durable before anything opens.
        self.record(event(Phase::Intent, Outcome::Unknown))?;
        let done = self.act(act, &signers, actor, correlation);
        self.record(match &done {
            Ok(()) => event(Phase::Outcome, Outcome::Success),
            Err(error) => event(Phase::Outcome, Outcome::Failure).because(&base::error::chain(error)),
        })?;
        done?;
        self.recovery()
    }

    fn act(&self, act: Act, signers: &str, actor: &str, correlation: u128) -> Result<(), KeeperError> {
        match act {
            Act::Seal { holders } => locked(&self.recovery).seal(holders),
            Act::Open { reason, seconds } => {
                self.enter_safe(&format!("break-glass: {reason}"), actor, correlation)?;
                let (since_ms, lasts_ms) = (self.now_ms(), u64::from(seconds).saturating_mul(1000));
                let ends_ms = since_ms.saturating_add(lasts_ms);
                let window = Window { holder: Text::clip(signers), reason, since_ms, ends_ms };
                locked(&self.recovery).open_window(window, boot_ms().saturating_add(lasts_ms));
                Ok(())
            }
            Act::Leave { .. } => {
                // Read anew, so that what was changed on the disk in between is found now.
                let keys = KeySet::open(self.state())?;
                locked(&self.recovery).leave()?;
                *locked(&self.keys) = keys;
                Ok(())
            }
        }
    }

    /// Ends the window of break-glass.
    pub(crate) fn close_window(&self, actor: &str, correlation: u128) -> Result<Response, KeeperError> {
        let ended = locked(&self.recovery).close();
        let window = ended.ok_or(KeeperError::Recovery("no window of break-glass is open"))?;
        self.record(self.closed(&window, actor, correlation))?;
        self.recovery()
    }

    fn closed(&self, window: &Window, actor: &str, correlation: u128) -> Event {
        self.event(EventKind::BreakGlassClose, Outcome::Success, correlation)
            .actor(actor)
            .asset("node", &self.config().node, None)
            .severity(Severity::High)
            .detail("holders", &window.holder)
            .detail("opened_ms", &window.since_ms.to_string())
    }

    /// What was done with the node down is told before anything else.
    ///
    /// # Errors
    /// The log does not take it.
    pub(crate) fn tell_offline(&self) -> Result<(), KeeperError> {
        let mut recovery = locked(&self.recovery);
        if !recovery.left_offline() {
            return Ok(());
        }
        let event = self
            .event(EventKind::SafeModeLeave, Outcome::Success, 0)
            .asset("node", &self.config().node, None)
            .severity(Severity::Critical)
            .because("with the node down, by whoever has the machine; the recovery codes are void");
        self.record(event)?;
        recovery.told_offline()
    }
}

const fn severity(kind: EventKind) -> Severity {
    match kind {
        EventKind::BreakGlassOpen => Severity::Critical,
        _ => Severity::High,
    }
}
