//! Safe mode, break-glass and the holders of recovery codes: what is kept on the disk, and which acts are legal when.

use std::collections::BTreeSet;
use std::path::PathBuf;

use base::names::Name;
use ops::recovery::{
    Act, HOLDERS_MIN, Holder, Kept, Proof, Safe, State, TOGETHER, WINDOW_MAX_S, WINDOW_MIN_S, Window,
    signed_bytes,
};
use ops::{List, Text};

use crate::clock;
use crate::error::KeeperError;
use crate::state;

/// Longest record: 16 holders of 100 bytes, who entered safe mode, and a reason of 1,024.
const KEPT_MAX: u64 = 4096;
/// Its name in the keeper's directory.
const FILE: &str = "recovery";

/// Where the node stands.
#[derive(Debug)]
pub(crate) struct Recovery {
    dir: PathBuf,
    kept: Kept,
    /// The window, and when it ends by a clock that nobody sets. A restart of the keeper ends it.
    window: Option<(Window, u64)>,
    challenge: [u8; 32],
}

impl Recovery {
    /// Reads what is kept in the keeper's directory; a node that never had any is in normal mode.
    ///
    /// # Errors
    /// It cannot be read: whether the node is in safe mode is not known, so it does not start.
    pub(crate) fn open(dir: PathBuf) -> Result<Self, KeeperError> {
        let path = dir.join(FILE);
        let kept = match state::read_private(&path, KEPT_MAX)? {
            None => Kept { holders: List::default(), safe: None, left_offline: false },
            Some(bytes) => ops::from_bytes(&bytes).map_err(|_| KeeperError::RecoveryFile(path))?,
        };
        Ok(Self { dir, kept, window: None, challenge: clock::random()? })
    }

    /// Whether the node is in safe mode.
    pub(crate) const fn is_safe(&self) -> bool {
        self.kept.safe.is_some()
    }

    /// Whether a window of break-glass is open.
    pub(crate) fn is_open(&self, boot_ms: u64) -> bool {
        self.window.as_ref().is_some_and(|(_, ends)| boot_ms < *ends)
    }

    /// Ends a window whose time is over; says which it was.
    pub(crate) fn expire(&mut self, boot_ms: u64) -> Option<Window> {
        let over = self.window.as_ref().is_some_and(|(_, ends)| boot_ms >= *ends);
        if over { self.close() } else { None }
    }

    /// Ends the window; says which it was.
    pub(crate) fn close(&mut self) -> Option<Window> {
        self.window.take().map(|(window, _)| window)
    }

    /// As others are told.
    pub(crate) fn state(&self) -> State {
        State {
            safe: self.kept.safe.clone(),
            window: self.window.as_ref().map(|(window, _)| window.clone()),
            holders: List::clip(self.kept.holders.iter().map(|holder| holder.name.clone()).collect()),
            challenge: self.challenge,
        }
    }

    /// Enters safe mode; false if the node is in it. It holds from here on even if the disk does not take it.
    ///
    /// # Errors
    /// The disk does not take it: a restart of the keeper would forget it.
    pub(crate) fn enter(&mut self, safe: Safe) -> Result<bool, KeeperError> {
        if self.is_safe() {
            return Ok(false);
        }
        self.kept.safe = Some(safe);
        self.keep(&self.kept).map(|()| true)
    }

    /// Checks that an act is legal here and that enough holders want just it. The challenge is used up either way.
    ///
    /// # Errors
    /// [`KeeperError::Recovery`] where the node does not stand so, [`KeeperError::Codes`] where too few want it.
    pub(crate) fn check(&mut self, act: &Act, proofs: &[Proof]) -> Result<Vec<String>, KeeperError> {
        let challenge = std::mem::replace(&mut self.challenge, clock::random()?);
        self.legal(act)?;
        let signed = signed_bytes(act, &challenge);
        let mut signers = BTreeSet::new();
        for proof in proofs {
            let holder = self.kept.holders.iter().find(|holder| holder.name == proof.holder);
            let holder = holder.filter(|h| audit::note::verify_raw(&h.key, &signed, &proof.signature));
            // Which of the two it was is nobody's to know.
            let holder = holder.ok_or(KeeperError::Codes("a recovery code or its holder is wrong"))?;
            signers.insert(holder.name.as_str().to_owned());
        }
        let sealed = !self.kept.holders.is_empty();
        if !sealed && !matches!(act, Act::Seal { .. }) {
            return Err(KeeperError::Recovery("there are no recovery codes yet"));
        }
        if signers.len() < act.signers(sealed) {
            let one = act.signers(sealed) < TOGETHER;
            return Err(KeeperError::Codes(match one {
                true => "it takes a holder of a recovery code",
                false => "it takes two holders of recovery codes",
            }));
        }
        Ok(signers.into_iter().collect())
    }

    fn legal(&self, act: &Act) -> Result<(), KeeperError> {
        let refuse = |why| Err(KeeperError::Recovery(why));
        match act {
            Act::Seal { .. } if self.is_safe() => refuse("recovery codes are not made in safe mode"),
            Act::Seal { holders } => distinct(holders),
            Act::Open { seconds, .. } if !(WINDOW_MIN_S..=WINDOW_MAX_S).contains(seconds) => {
                refuse("a window lasts from one minute to four hours")
            }
            Act::Open { .. } if self.window.is_some() => refuse("a window of break-glass is open already"),
            Act::Leave { .. } if !self.is_safe() => refuse("the node is not in safe mode"),
            Act::Open { .. } | Act::Leave { .. } => Ok(()),
        }
    }

    /// Replaces the holders.
    ///
    /// # Errors
    /// The disk does not take it; nothing has changed then.
    pub(crate) fn seal(
        &mut self,
        holders: List<Holder, { ops::recovery::HOLDERS_MAX }>,
    ) -> Result<(), KeeperError> {
        let kept = Kept { holders, ..self.kept.clone() };
        self.keep(&kept)?;
        self.kept = kept;
        Ok(())
    }

    /// Begins a window. The node must be in safe mode by now.
    pub(crate) fn open_window(&mut self, window: Window, ends_boot_ms: u64) {
        self.window = Some((window, ends_boot_ms));
    }

    /// Leaves safe mode, and ends a window.
    ///
    /// # Errors
    /// The disk does not take it; the node stays in safe mode.
    pub(crate) fn leave(&mut self) -> Result<(), KeeperError> {
        let kept = Kept { safe: None, ..self.kept.clone() };
        self.keep(&kept)?;
        self.kept = kept;
        self.window = None;
        Ok(())
    }

    /// Leaves safe mode with the node down, by whoever has the machine. The holders' codes are void.
    ///
    /// # Errors
    /// The node is not in safe mode, or the disk does not take it.
    pub(crate) fn leave_offline(&mut self) -> Result<(), KeeperError> {
        if !self.is_safe() {
            return Err(KeeperError::Recovery("the node is not in safe mode"));
        }
        self.kept = Kept { holders: List::default(), safe: None, left_offline: true };
        self.keep(&self.kept)
    }

    /// Whether it was left with the node down.
    pub(crate) const fn left_offline(&self) -> bool {
        self.kept.left_offline
    }

    /// That is in the log now.
    ///
    /// # Errors
    /// The disk does not take it; the next start tells it again.
    pub(crate) fn told_offline(&mut self) -> Result<(), KeeperError> {
        self.kept.left_offline = false;
        self.keep(&self.kept)
    }

    fn keep(&self, kept: &Kept) -> Result<(), KeeperError> {
        state::replace_private(&self.dir, FILE, &ops::to_bytes(kept))
    }
}

/// At least two, each name and each key once.
fn distinct(holders: &[Holder]) -> Result<(), KeeperError> {
    let names: BTreeSet<&Text<63>> = holders.iter().map(|holder| &holder.name).collect();
    let keys: BTreeSet<&[u8; 32]> = holders.iter().map(|holder| &holder.key).collect();
    if holders.len() < HOLDERS_MIN || names.len() < holders.len() || keys.len() < holders.len() {
        return Err(KeeperError::Recovery(
            "two people or more hold recovery codes, each a name and a code of their own",
        ));
    }
    if holders.iter().any(|holder| holder.name.parse::<Name>().is_err()) {
        return Err(KeeperError::Recovery("a holder has a name of lower-case letters, digits and hyphens"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
