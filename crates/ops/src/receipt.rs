//! The keeper's receipt: proof to the warden that its order stands in the audit log.

use base::Digest;
use base::wire::Writer;

record! {
    /// Given by the keeper once the intent is durable; good for one order, in this boot of the keeper.
    pub struct Receipt {
        /// Where the intent stands in the log.
        index: u64,
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
    pub fn signed_bytes(index: u64, operation: &Digest, boot_id: &[u8; 16]) -> Vec<u8> {
        let mut w = Writer::new();
        w.raw(b"strongroom receipt 1").u64(index).digest(operation).raw(boot_id);
        w.finish()
    }
}
