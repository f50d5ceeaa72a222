//! Bytes of answers that control grants to the gateway, key by key. Control takes them into account before it grants
//! them, so what leaves never exceeds what is counted; the gateway spends a grant without asking.
//!
//! Spoken over the gateway's stream socket, one exchange at a time: control gives [`Grants`], the gateway answers with
//! [`Uses`] as soon as a key lacks bytes, or after a while. What was granted and is neither used nor left in an answer
//! can never be sent any more, and control takes it out of the account again.

use crate::List;
use crate::snapshot::{KEYS_MAX, Snapshot};

/// Longest answer: 4096 uses of 48 bytes are below 256 KiB.
pub const USES_MAX: usize = 256 * 1024;

record! {
    /// Bytes for one key.
    pub struct Grant {
        /// [`base::id::KeyId`] bits.
        key: u128,
        /// So many more may leave.
        bytes: u64,
        /// When fewer than this are left, more are asked for at once; 0: only when an answer lacks them.
        low: u64,
        /// What was asked for cannot be had now.
        refused: bool,
    }
}

record! {
    /// Control's side of an exchange.
    pub struct Grants {
        /// Rises with every exchange, over restarts of control too. One that does not is refused: it came late.
        seq: u64,
        /// The gateway process that they are for, as [`Uses::boot`] names it; another takes none, and answers at once.
        boot: u128,
        /// The grants.
        grants: List<Grant, KEYS_MAX>,
    }
}

record! {
    /// What became of the bytes of one key.
    pub struct Use {
        /// [`base::id::KeyId`] bits.
        key: u128,
        /// Changes whenever the gateway begins to count this key anew.
        epoch: u64,
        /// Bytes that left.
        used: u64,
        /// Bytes that may still leave.
        left: u64,
        /// An answer that waits needs this many; 0: none waits.
        asked: u64,
    }
}

record! {
    /// The gateway's side of an exchange.
    pub struct Uses {
        /// This gateway process.
        boot: u128,
        /// The exchange that it answers; 0 where the grants were refused.
        seq: u64,
        /// Every key that was ever granted bytes, or lacks them.
        uses: List<Use, KEYS_MAX>,
    }
}

choice! {
    /// What control says to the gateway.
    pub enum Push {
        /// The policy from now on; answered by [`crate::snapshot::Ack`].
        1 Policy {
            /// All of it.
            snapshot: Snapshot,
        },
        /// Bytes for keys; answered by [`Uses`].
        2 Lease {
            /// What is granted.
            grants: Grants,
        },
    }
}

impl Push {
    /// The frame to send.
    pub fn to_frame(&self) -> Vec<u8> {
        crate::snapshot::frame(&crate::to_bytes(self))
    }
}

impl Uses {
    /// The frame to answer with.
    pub fn to_frame(&self) -> Vec<u8> {
        crate::snapshot::frame(&crate::to_bytes(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::SNAPSHOT_MAX;
    use crate::{from_bytes, to_bytes};

    #[test]
    fn the_largest_exchange_fits_its_limits_and_truncations_are_refused() {
        let grant = Grant { key: u128::MAX, bytes: u64::MAX, low: u64::MAX, refused: true };
        let grants = List::clip(vec![grant; KEYS_MAX]);
        let push = Push::Lease { grants: Grants { seq: 1, boot: 2, grants } };
        assert!(push.to_frame().len() <= SNAPSHOT_MAX);
        assert_eq!(from_bytes::<Push>(&to_bytes(&push)).unwrap(), push);
        let one = Use { key: u128::MAX, epoch: 1, used: u64::MAX, left: 3, asked: 4 };
        let uses = Uses { boot: 2, seq: 1, uses: List::clip(vec![one.clone(); KEYS_MAX]) };
        assert!(uses.to_frame().len() <= USES_MAX);
        let bytes = to_bytes(&Uses { uses: List::clip(vec![one]), ..uses });
        for end in 0..bytes.len() {
            assert!(from_bytes::<Uses>(&bytes[..end]).is_err());
        }
    }
}
