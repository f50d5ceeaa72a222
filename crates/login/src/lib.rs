//! **What.** How people prove who they are: by an OpenID provider (OpenID Connect Core 1.0, RFC 8252, RFC 8628) or by a
//! passkey of their own (Web Authentication Level 2).
//!
//! **Why.** No password of the platform's own exists, so none can be guessed, leaked or reused; and what a provider or a
//! browser sends is hostile until it has verified.
//!
//! **Where.** Used by `control`, which keeps people, sessions and attempts. An adapter: calls over the network are made
//! by a function that its caller gives.
//!
//! **Invariants.** A proof is of one attempt, of one person, and good once. Nothing that a provider or browser says
//! widens what is accepted.

pub mod loopback;
pub mod oidc;
pub mod passkey;
