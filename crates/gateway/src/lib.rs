//! **What.** The data path of inference: TLS 1.3, API keys, quotas, the Open Inference Protocol v2 over REST, and
//! a record of every answer.
//!
//! **Why.** What faces the network holds no keys of data, no state and no privilege; it decides by a policy that
//! control pushes, and refuses everything without one (controls IA-1, IA-8, AC-3, AU-1).
//!
//! **Where.** Run by `strongroom gateway`. It talks to control (which pushes), the keeper (append only) and the
//! endpoints' sockets. It must never import the store, the warden's client or a model parser.
//!
//! **Invariants.** No policy, no answer. Bytes of a client never reach a model: tensors are parsed, checked and
//! encoded anew. A key learns nothing about what it may not reach: that is 404. The first use of a key on an
//! endpoint is durable in the audit log before it is answered. No byte of an answer leaves that control has not taken
//! into account. Every wait, queue and length is bounded.

mod clock;
mod error;
pub mod limits;
mod oip;
mod policy;
mod problem;
mod push;
mod quota;
mod record;
mod refused;
mod routes;
mod server;
mod upstream;

pub use error::GatewayError;
pub use server::{Process, run};
