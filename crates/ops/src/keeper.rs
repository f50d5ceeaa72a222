//! Operations of the keeper: the audit log, keys and signatures.

use std::fmt;

use base::Digest;
use base::id::JobId;

use crate::event::Event;
use crate::receipt::Receipt;
use crate::recovery::{Act, HOLDERS_MAX, Proof, State};
use crate::{Key32, List, Text};

/// Most events in one `Append`.
pub const BATCH_MAX: usize = 32;

names! {
    /// Who speaks to the keeper. Told by the peer's user id; where all run under one user (no root), by what the
    /// peer says, and then separation is reported as failed.
    pub enum Role {
        /// `strongroom serve`.
        1 Control = "control",
        /// `strongroom gateway`.
        2 Gateway = "gateway",
        /// `strongroom-warden`.
        3 Warden = "warden",
        /// `strongroom relay`.
        4 Relay = "relay",
    }
}

record! {
    /// A key scope: a tenant, or one job of a tenant (for its checkpoints).
    pub struct Scope {
        /// The tenant's name.
        tenant: Text<63>,
        /// The job, if the scope is a job's.
        job: Option<u128>,
    }
}

impl Scope {
    /// A tenant's own scope.
    pub fn tenant(name: &base::names::Name) -> Self {
        Self { tenant: Text::clip(name.as_str()), job: None }
    }
    /// The scope of one job.
    pub fn job(name: &base::names::Name, job: JobId) -> Self {
        Self { tenant: Text::clip(name.as_str()), job: Some(job.bits()) }
    }
}

impl fmt::Display for Scope {
    /// The key scope as it stands under MACs: `acme` or `acme/job_...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.job {
            None => f.write_str(&self.tenant),
            Some(bits) => write!(f, "{}/{}", self.tenant, JobId::from_bits(bits)),
        }
    }
}

names! {
    /// What a signature is for; each has its own key.
    pub enum SignKind {
        /// OMS model signature: ECDSA P-256 over the SHA-256 of the DSSE pre-authentication encoding; DER.
        1 Model = "model",
        /// Model BoM envelope: ECDSA P-256 as above, with the BoM key.
        2 Bom = "bom",
        /// Checkpoint manifest: Ed25519 over `strongroom checkpoint 1` and the digest.
        3 Checkpoint = "checkpoint",
        /// Version of a node's own rules: ECDSA P-256 as above, with the policy key.
        4 Policy = "policy",
    }
}

/// Prefix under an Ed25519 signature of a checkpoint manifest's digest.
pub const CHECKPOINT_CONTEXT: &[u8] = b"strongroom checkpoint 1";

record! {
    /// The generation of the metadata database, as control tells it with its events.
    pub struct Generation {
        /// How many changes there were.
        g: u64,
        /// Differs between two histories of one length.
        hash: Digest,
    }
}

choice! {
    /// What may be asked of the keeper, and by whom.
    pub enum Request {
        /// First message of a connection.
        1 Hello { /// Who speaks.
            role: Role },
        /// State of the keeper. All.
        2 Status {},
        /// Appends events; answered when they are durable. All.
        3 Append { /// The events, in order.
            events: List<Event, BATCH_MAX> },
        /// Makes the keys of a scope; idempotent. Control.
        4 CreateScope { /// The scope.
            scope: Scope,
            /// Joins it to what caused it.
            correlation: u128 },
        /// Wraps a data key that sealed an object. Control.
        5 Wrap { /// Scope of the object.
            scope: Scope,
            /// The data key, used for one sealing attempt.
            dek: Key32,
            /// SHA-256 of the plaintext.
            digest: Digest },
        /// Releases a data key, logged before it is returned and within the tenant's budget. Control.
        6 Unwrap { /// Scope of the object.
            scope: Scope,
            /// Name of the object in the store.
            name: Digest,
            /// The wrapped key.
            blob: [u8; 60],
            /// Version of the scope's key that wrapped it.
            kek_version: u64,
            /// Who causes it, as in events.
            actor: Text<128>,
            /// What for.
            purpose: Text<192>,
            /// Joins it to what caused it.
            correlation: u128 },
        /// Signs a digest, logged before it is returned. Control.
        7 Sign { /// What for.
            kind: SignKind,
            /// What.
            digest: Digest,
            /// The tenant, empty for the platform.
            tenant: Text<63>,
            /// The asset, for the log.
            subject: Text<192>,
            /// Joins it to what caused it.
            correlation: u128 },
        /// Logs the intent of an order to the warden and gives a receipt for it. Control.
        8 Authorise { /// SHA-256 of the encoded operation.
            operation: Digest,
            /// The intent.
            event: Event },
        /// The name that an object of this digest has in this scope. Control.
        9 ObjectName { /// The scope.
            scope: Scope,
            /// SHA-256 of the plaintext.
            digest: Digest },
        /// As `Append`, with the generation that the metadata database has by now: every change up to it is durable.
        /// Control.
        10 AppendBound { /// The events, in order.
            events: List<Event, BATCH_MAX>,
            /// The generation.
            generation: Generation },
        /// The newest generation in the log. Control.
        11 Bound {},
        /// Safe mode and break-glass: where the node stands. All.
        12 Recovery {},
        /// Enters safe mode: acts first and is logged after; whoever is in it already stays in it. Control, warden.
        13 EnterSafe { /// Why, for the log.
            reason: Text<1024>,
            /// Who causes it, as in events.
            actor: Text<128>,
            /// Joins it to what caused it.
            correlation: u128 },
        /// An act of holders of recovery codes. Control.
        14 Recover { /// What.
            act: Act,
            /// Their signatures.
            proofs: List<Proof, HOLDERS_MAX>,
            /// Who brings it, as in events.
            actor: Text<128>,
            /// Joins it to what caused it.
            correlation: u128 },
        /// Ends the window of break-glass; the node stays in safe mode. Control.
        15 CloseWindow { /// Who ends it, as in events.
            actor: Text<128>,
            /// Joins it to what caused it.
            correlation: u128 },
    }
}

choice! {
    /// The keeper's answer.
    pub enum Response {
        /// To `Hello`.
        1 Welcome {},
        /// To `Status`.
        2 Status { /// Entries in the log.
            log_size: u64,
            /// Root of the log.
            log_root: Digest,
            /// This boot of the keeper.
            boot_id: [u8; 16],
            /// Ed25519 key that signs receipts.
            receipt_key: [u8; 32],
            /// The log's verifier key.
            log_key: Text<256>,
            /// Where the root key comes from, and whether that is simulated.
            key_provider: Text<128>,
            /// Whether the peers run under users of their own.
            separated: bool },
        /// To `Append`: index of the first event; they are consecutive and durable.
        3 Appended { /// Index of the first.
            first: u64 },
        /// To `CreateScope`.
        4 ScopeReady { /// Version of the scope's key.
            kek_version: u64 },
        /// To `Wrap`.
        5 Wrapped { /// Name of the object in the store.
            name: Digest,
            /// Version of the scope's key.
            kek_version: u64,
            /// The wrapped key.
            blob: [u8; 60] },
        /// To `Unwrap`.
        6 Unwrapped { /// The data key.
            dek: Key32,
            /// Log entry of the release.
            index: u64 },
        /// To `Sign`.
        7 Signed { /// DER ECDSA, or 64 bytes of Ed25519.
            signature: crate::Blob<80>,
            /// Log entry of the signature.
            index: u64 },
        /// To `Authorise`.
        8 Authorised { /// The receipt.
            receipt: Receipt },
        /// To `ObjectName`.
        9 Named { /// The name.
            name: Digest },
        /// To `Bound`.
        11 Bound { /// None where the log has none yet.
            generation: Option<Generation> },
        /// To `Recovery`, `EnterSafe`, `Recover` and `CloseWindow`: where the node stands by then.
        12 Recovery { /// Where.
            state: State },
        /// The operation was not done.
        10 Refused { /// Stable code, `SR-KEY-0001`.
            code: Text<16>,
            /// Why.
            detail: Text<1024> },
    }
}
