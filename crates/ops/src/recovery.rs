//! Safe mode and break-glass, as keeper, warden and control speak of them.
//!
//! In safe mode no tenant's key is in use and nothing of a tenant runs. Whoever sits at the machine enters it by one
//! operation; two of the holders of recovery codes leave it. Break-glass is a window of declared length within safe
//! mode, opened by one holder, in which a few operations more are allowed to the operator at the machine.
//!
//! A recovery code is the seed of an Ed25519 key that the keeper knows the public half of. What a holder signs is one
//! act, under a challenge that is good once: whoever carries it between them can neither repeat nor change it.

use base::wire::Writer;

use crate::{Codec, List, Text};

/// Fewest holders of recovery codes: leaving safe mode takes two of them.
pub const HOLDERS_MIN: usize = 2;
/// Most holders: an on-call rota, with room.
pub const HOLDERS_MAX: usize = 16;
/// Holders who leave safe mode, or replace the codes, together.
pub const TOGETHER: usize = 2;
/// Shortest window of break-glass, in seconds.
pub const WINDOW_MIN_S: u32 = 60;
/// Longest window, in seconds: four hours. Who needs longer opens it again.
pub const WINDOW_MAX_S: u32 = 4 * 3600;

record! {
    /// Somebody who holds a recovery code.
    pub struct Holder {
        /// Their name.
        name: Text<63>,
        /// The Ed25519 key whose seed is their code.
        key: [u8; 32],
    }
}

record! {
    /// A holder's signature under [`signed_bytes`] of an act.
    pub struct Proof {
        /// Who signs.
        holder: Text<63>,
        /// Ed25519.
        signature: [u8; 64],
    }
}

choice! {
    /// What holders of recovery codes do.
    pub enum Act {
        /// Makes these the holders. The first time nobody signs; later two of those before. Not in safe mode.
        1 Seal { /// The new holders, at least [`HOLDERS_MIN`], each name and each key once.
            holders: List<Holder, HOLDERS_MAX> },
        /// Opens break-glass: enters safe mode, if the node is not in it, and begins a window. One holder signs.
        2 Open { /// Why, for the log.
            reason: Text<1024>,
            /// How long, [`WINDOW_MIN_S`] to [`WINDOW_MAX_S`] seconds.
            seconds: u32 },
        /// Leaves safe mode, and ends a window. Two holders sign.
        3 Leave { /// Why, for the log.
            reason: Text<1024> },
    }
}

impl Act {
    /// How many holders must sign; `sealed` is whether there are any yet.
    pub const fn signers(&self, sealed: bool) -> usize {
        match self {
            Self::Seal { .. } if !sealed => 0,
            Self::Open { .. } => 1,
            Self::Seal { .. } | Self::Leave { .. } => TOGETHER,
        }
    }
}

/// What a holder signs: this act, under this challenge of the keeper, and nothing else.
pub fn signed_bytes(act: &Act, challenge: &[u8; 32]) -> Vec<u8> {
    let mut w = Writer::new();
    w.raw(b"strongroom recovery 1").raw(challenge);
    act.encode(&mut w);
    w.finish()
}

record! {
    /// Safe mode, since it was entered.
    pub struct Safe {
        /// When, Unix milliseconds.
        since_ms: u64,
        /// Who entered it, as in events.
        by: Text<128>,
        /// Why.
        reason: Text<1024>,
    }
}

record! {
    /// An open window of break-glass.
    pub struct Window {
        /// Who opened it.
        holder: Text<63>,
        /// Why.
        reason: Text<1024>,
        /// When, Unix milliseconds.
        since_ms: u64,
        /// When it ends by itself, Unix milliseconds.
        ends_ms: u64,
    }
}

record! {
    /// Where a node stands.
    pub struct State {
        /// Safe mode, if the node is in it.
        safe: Option<Safe>,
        /// The open window of break-glass; none outside safe mode.
        window: Option<Window>,
        /// Who holds recovery codes; empty before they are made.
        holders: List<Text<63>, HOLDERS_MAX>,
        /// What the next act is signed under.
        challenge: [u8; 32],
    }
}

record! {
    /// What the keeper keeps of it on its disk.
    pub struct Kept {
        /// Who holds recovery codes.
        holders: List<Holder, HOLDERS_MAX>,
        /// Safe mode, if the node is in it.
        safe: Option<Safe>,
        /// Whether it was left by whoever has the machine, with the node down; told to the log at the next start.
        left_offline: bool,
    }
}
