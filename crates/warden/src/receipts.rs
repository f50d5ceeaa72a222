//! The one place where an order's receipt is checked: signed by the keeper, for exactly these bytes, of this
//! boot of the keeper, and never seen before.

use std::collections::BTreeSet;

use base::digest::ct_eq;
use ops::receipt::Receipt;
use ops::warden::{Call, Operation};
use ring::signature::{ED25519, UnparsedPublicKey};

use crate::error::WardenError;
use crate::limits::RECEIPTS_KEPT;

/// What the keeper said of itself when it came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeeperIdentity {
    /// Its boot.
    pub(crate) boot_id: [u8; 16],
    /// Ed25519 key of its receipts.
    pub(crate) receipt_key: [u8; 32],
}

/// Receipts that were used.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    keeper: Option<KeeperIdentity>,
    used: BTreeSet<u64>,
    /// Indexes up to this one are refused: they may have been used and forgotten.
    floor: u64,
}

impl Receipts {
    /// A keeper came up. Receipts of an earlier boot are worth nothing from now on.
    pub(crate) fn keeper(&mut self, identity: KeeperIdentity) {
        if self.keeper != Some(identity) {
            self.keeper = Some(identity);
            self.used.clear();
            self.floor = 0;
        }
    }

    /// Checks and uses up the receipt of an order that needs one.
    ///
    /// # Errors
    /// [`WardenError::Receipt`]; the receipt is not used up then.
    pub(crate) fn admit(&mut self, call: &Call) -> Result<(), WardenError> {
        if !call.operation.needs_receipt() {
            return Ok(());
        }
        let refuse = |why| Err(WardenError::Receipt(why));
        let Some(receipt) = &call.receipt else { return refuse("there is none") };
        let Some(keeper) = &self.keeper else { return refuse("the keeper is not up") };
        if !ct_eq(&receipt.boot_id, &keeper.boot_id) {
            return refuse("it is of another boot");
        }
        if receipt.operation != digest(&call.operation) {
            return refuse("it is for another order");
        }
        let signed = Receipt::signed_bytes(receipt.index, &receipt.operation, &receipt.boot_id);
        let key = UnparsedPublicKey::new(&ED25519, keeper.receipt_key);
        if key.verify(&signed, &receipt.signature).is_err() {
            return refuse("its signature is wrong");
        }
        if receipt.index < self.floor || !self.used.insert(receipt.index) {
            return refuse("it was used before");
        }
        while self.used.len() > RECEIPTS_KEPT {
            if let Some(oldest) = self.used.pop_first() {
                self.floor = oldest.saturating_add(1);
            }
        }
        Ok(())
    }
}

/// What a receipt is for.
fn digest(operation: &Operation) -> base::Digest {
    base::sha256(&ops::to_bytes(operation))
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    struct Keeper {
        key: Ed25519KeyPair,
        boot_id: [u8; 16],
    }

    fn keeper(boot: u8) -> (Keeper, Receipts) {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let mut receipts = Receipts::default();
        let receipt_key = key.public_key().as_ref().try_into().unwrap();
        receipts.keeper(KeeperIdentity { boot_id: [boot; 16], receipt_key });
        (Keeper { key, boot_id: [boot; 16] }, receipts)
    }

    impl Keeper {
        fn call(&self, index: u64, operation: Operation) -> Call {
            let digest = digest(&operation);
            let signed = Receipt::signed_bytes(index, &digest, &self.boot_id);
            let signature = self.key.sign(&signed).as_ref().try_into().unwrap();
            let receipt = Receipt { index, operation: digest, boot_id: self.boot_id, signature };
            Call { correlation: 1, receipt: Some(receipt), operation }
        }
    }

    #[test]
    fn a_receipt_is_good_once_and_for_its_order_alone() {
        let (keeper, mut receipts) = keeper(1);
        let good = keeper.call(5, Operation::Thaw { run: 1 });
        receipts.admit(&good).unwrap();
        assert!(receipts.admit(&good).is_err(), "replayed");
        let mut other = keeper.call(6, Operation::Thaw { run: 1 });
        other.operation = Operation::Thaw { run: 2 };
        assert!(receipts.admit(&other).is_err(), "another order");
        let mut none = keeper.call(7, Operation::Destroy { run: 1 });
        none.receipt = None;
        assert!(receipts.admit(&none).is_err(), "no receipt");
    }

    #[test]
    fn altered_receipts_and_other_boots_are_refused_and_not_used_up() {
        let (keeper, mut receipts) = keeper(1);
        let good = keeper.call(9, Operation::Thaw { run: 1 });
        for alter in [
            |r: &mut Receipt| r.index = 10,
            |r: &mut Receipt| r.boot_id = [2; 16],
            |r: &mut Receipt| r.signature[3] ^= 1,
            |r: &mut Receipt| r.operation = base::sha256(b"x"),
        ] {
            let mut call = good.clone();
            alter(call.receipt.as_mut().unwrap());
            assert!(receipts.admit(&call).is_err());
        }
        receipts.admit(&good).unwrap();
        let (_, mut later) = super::tests::keeper(3);
        assert!(later.admit(&keeper.call(1, Operation::Thaw { run: 1 })).is_err(), "another boot");
        assert!(Receipts::default().admit(&good).is_err(), "no keeper yet");
    }

    #[test]
    fn what_acts_first_needs_none() {
        let mut receipts = Receipts::default();
        for operation in [Operation::Kill { run: 1 }, Operation::Freeze { run: 1 }, Operation::Probe {}] {
            receipts.admit(&Call { correlation: 1, receipt: None, operation }).unwrap();
        }
    }

    #[test]
    fn forgotten_indexes_stay_refused() {
        let (keeper, mut receipts) = keeper(1);
        let first = keeper.call(1, Operation::Thaw { run: 1 });
        receipts.admit(&first).unwrap();
        let last = u64::try_from(RECEIPTS_KEPT).unwrap() + 1;
        for index in 2..=last {
            receipts.used.insert(index);
        }
        receipts.admit(&keeper.call(last + 1, Operation::Thaw { run: 1 })).unwrap();
        assert!(!receipts.used.contains(&1));
        assert!(receipts.admit(&first).is_err());
    }
}
