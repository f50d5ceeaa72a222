//! The one place where an order's receipt is checked: signed by the keeper, for exactly these bytes, of this
//! boot of the keeper, not ended, and never seen before.

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

    /// Checks and uses up the receipt of an order that needs one. `now_ms` is the time since the machine started.
    ///
    /// # Errors
    /// [`WardenError::Receipt`]; the receipt is not used up then.
    pub(crate) fn admit(&mut self, call: &Call, now_ms: u64) -> Result<(), WardenError> {
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
        let Receipt { index, expires_ms, operation, boot_id, .. } = receipt;
        let signed = Receipt::signed_bytes(*index, *expires_ms, operation, boot_id);
        let key = UnparsedPublicKey::new(&ED25519, keeper.receipt_key);
        if key.verify(&signed, &receipt.signature).is_err() {
            return refuse("its signature is wrong");
        }
        if now_ms >= receipt.expires_ms {
            return refuse("its time is over");
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

    /// When the receipts of these tests end, and a moment before.
    const ENDS: u64 = 70_000;
    const NOW: u64 = ENDS - 1;

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
            let signed = Receipt::signed_bytes(index, ENDS, &digest, &self.boot_id);
            let signature = self.key.sign(&signed).as_ref().try_into().unwrap();
            let receipt =
                Receipt { index, expires_ms: ENDS, operation: digest, boot_id: self.boot_id, signature };
            Call { correlation: 1, receipt: Some(receipt), operation }
        }
    }

    #[test]
    fn a_receipt_is_good_once_and_for_its_order_alone() {
        let (keeper, mut receipts) = keeper(1);
        let good = keeper.call(5, Operation::Thaw { run: 1 });
        receipts.admit(&good, NOW).unwrap();
        assert!(receipts.admit(&good, NOW).is_err(), "replayed");
        let mut other = keeper.call(6, Operation::Thaw { run: 1 });
        other.operation = Operation::Thaw { run: 2 };
        assert!(receipts.admit(&other, NOW).is_err(), "another order");
        let mut none = keeper.call(7, Operation::Destroy { run: 1 });
        none.receipt = None;
        assert!(receipts.admit(&none, NOW).is_err(), "no receipt");
    }

    #[test]
    fn altered_receipts_and_other_boots_are_refused_and_not_used_up() {
        let (keeper, mut receipts) = keeper(1);
        let good = keeper.call(9, Operation::Thaw { run: 1 });
        for alter in [
            |r: &mut Receipt| r.index = 10,
            |r: &mut Receipt| r.expires_ms += 1,
            |r: &mut Receipt| r.boot_id = [2; 16],
            |r: &mut Receipt| r.signature[3] ^= 1,
            |r: &mut Receipt| r.operation = base::sha256(b"x"),
        ] {
            let mut call = good.clone();
            alter(call.receipt.as_mut().unwrap());
            assert!(receipts.admit(&call, NOW).is_err());
        }
        receipts.admit(&good, NOW).unwrap();
        let (_, mut later) = super::tests::keeper(3);
        assert!(later.admit(&keeper.call(1, Operation::Thaw { run: 1 }), NOW).is_err(), "another boot");
        assert!(Receipts::default().admit(&good, NOW).is_err(), "no keeper yet");
    }

    /// One of each operation; a new one does not pass the tests below before it stands here.
    fn operations() -> Vec<Operation> {
        use ops::warden::{Image, Limits, Profile, Program, RunKind, Signal};
        use ops::{List, Text};
        let limits = Limits { memory_bytes: 1, image_bytes: 0, cpu_milli: 1, pids: 1, scratch_bytes: 0 };
        let all = vec![
            Operation::Probe {},
            Operation::StartPorter {
                run: 1,
                tenant: Text::clip("acme"),
                kind: RunKind::Training,
                limits,
                inputs: List::default(),
            },
            Operation::FreezeMount { run: 1, input: 0 },
            Operation::Start {
                run: 1,
                image: Image::Host {},
                program: Program::Command { argv: List::default() },
                env: List::default(),
                cwd: Text::default(),
                profile: Profile::Training,
                wall_time_s: 1,
                egress: false,
            },
            Operation::Signal { run: 1, signal: Signal::Term },
            Operation::Freeze { run: 1 },
            Operation::Thaw { run: 1 },
            Operation::Kill { run: 1 },
            Operation::Destroy { run: 1 },
            Operation::Report { run: 1 },
            Operation::Counters { run: 1 },
            Operation::Sockets { pids: List::default() },
            Operation::CollectDiagnostics {},
            Operation::Reboot { stop_runs: false },
            Operation::StageRelease {
                signed: ops::release::SignedManifest {
                    manifest: ops::Blob::new(Vec::new()).unwrap(),
                    signatures: List::default(),
                },
            },
            Operation::ActivateRelease { version: base::release::Version::default(), stop_runs: false },
            Operation::ReturnRelease { stop_runs: false },
            Operation::ConfirmRelease { version: base::release::Version::default() },
            Operation::ListReleases {},
            Operation::HashMount { run: 1, input: 0 },
        ];
        assert_eq!(all.iter().map(Operation::tag).collect::<Vec<_>>(), Operation::TAGS);
        all
    }

    /// What stops a workload acts first, and what only reads changes nothing; a new operation must be put here to be
    /// one of them.
    #[test]
    fn what_acts_first_or_reads_needs_none() {
        let mut receipts = Receipts::default();
        let free = [
            "probe",
            "freeze",
            "kill",
            "report",
            "counters",
            "sockets",
            "collect_diagnostics",
            "list_releases",
            "hash_mount",
        ];
        for operation in operations() {
            let name = operation.name();
            let admitted = receipts.admit(&Call { correlation: 1, receipt: None, operation }, NOW);
            assert_eq!(admitted.is_ok(), free.contains(&name), "{name}");
        }
    }

    /// In safe mode nothing of a tenant starts or goes on; a new operation must be put here to be one of those that
    /// stop, remove or look.
    #[test]
    fn in_safe_mode_orders_stop_remove_and_look() {
        let goes = ["start_porter", "freeze_mount", "start", "signal", "thaw"];
        for operation in operations() {
            assert_eq!(
                crate::runs::makes_go(&operation),
                goes.contains(&operation.name()),
                "{}",
                operation.name()
            );
        }
    }

    /// Each order that needs one, with every receipt that is not its own.
    #[test]
    fn no_order_is_admitted_by_another_receipt_than_its_own() {
        let all = operations();
        let mut index = 1;
        for operation in all.iter().filter(|o| o.needs_receipt()) {
            let (keeper, mut receipts) = keeper(1);
            let name = operation.name();
            let refused = |receipts: &mut Receipts, call: &Call, what: &str| {
                let error = receipts.admit(call, NOW).unwrap_err();
                assert!(matches!(error, WardenError::Receipt(_)), "{name}, {what}: {error}");
            };
            let good = keeper.call(index, operation.clone());
            refused(&mut receipts, &Call { receipt: None, ..good.clone() }, "none");
            for other in all.iter().filter(|other| *other != operation) {
                let receipt = keeper.call(index, other.clone()).receipt;
                refused(&mut receipts, &Call { receipt, ..good.clone() }, other.name());
            }
            let key = |seed| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
            let stranger = Keeper { key: key(8), boot_id: keeper.boot_id };
            refused(&mut receipts, &stranger.call(index, operation.clone()), "another keeper's key");
            let earlier = Keeper { key: key(7), boot_id: [9; 16] };
            refused(&mut receipts, &earlier.call(index, operation.clone()), "another boot");
            for late in [ENDS, ENDS + 1, u64::MAX] {
                assert!(
                    matches!(receipts.admit(&good, late), Err(WardenError::Receipt("its time is over"))),
                    "{name}"
                );
            }
            receipts.admit(&good, NOW).unwrap();
            refused(&mut receipts, &good, "used before");
            // It ends with the keeper that gave it.
            let unused = keeper.call(index + 1, operation.clone());
            let receipt_key = keeper.key.public_key().as_ref().try_into().unwrap();
            receipts.keeper(KeeperIdentity { boot_id: [2; 16], receipt_key });
            refused(&mut receipts, &unused, "the keeper started again");
            index += 2;
        }
    }

    #[test]
    fn forgotten_indexes_stay_refused() {
        let (keeper, mut receipts) = keeper(1);
        let first = keeper.call(1, Operation::Thaw { run: 1 });
        receipts.admit(&first, NOW).unwrap();
        let last = u64::try_from(RECEIPTS_KEPT).unwrap() + 1;
        for index in 2..=last {
            receipts.used.insert(index);
        }
        receipts.admit(&keeper.call(last + 1, Operation::Thaw { run: 1 }), NOW).unwrap();
        assert!(!receipts.used.contains(&1));
        assert!(receipts.admit(&first, NOW).is_err());
    }
}
