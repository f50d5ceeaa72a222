//! The keeper's receipt: proof to the warden that its order stands in the audit log.

use base::Digest;
use base::wire::Writer;

/// How long a receipt is good: a lane of control's to the warden may wait for orders before it, of at most two minutes
/// each.
pub const LIFETIME_MS: u64 = 10 * 60_000;

record! {
    /// Given by the keeper once the intent is durable; good for one order, once, in this boot of the keeper and for
    /// [`LIFETIME_MS`].
    pub struct Receipt {
        /// Where the intent stands in the log.
        index: u64,
        /// When it ends, in milliseconds of the machine's clock since its start (`CLOCK_BOOTTIME`), which keeper and
        /// warden share and nobody sets.
        expires_ms: u64,
        /// SHA-256 of the encoded operation (`to_bytes(&operation)`).
        operation: Digest,
        /// The keeper's boot, so that an old receipt is worth nothing.
        boot_id: [u8; 16],
        /// Ed25519 over [`Receipt::signed_bytes`].
        signature: [u8; 64],
    }
}

impl Receipt {
    /// What the keeper signs.
    pub fn signed_bytes(index: u64, expires_ms: u64, operation: &Digest, boot_id: &[u8; 16]) -> Vec<u8> {
        let mut w = Writer::new();
        w.raw(b"strongroom receipt 2").u64(index).u64(expires_ms).digest(operation).raw(boot_id);
        w.finish()
    }
}
