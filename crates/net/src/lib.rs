//! **What.** TLS listeners, the node's certificate authorities, API keys, and small HTTP clients over unix sockets
//! and TLS, to servers of ours and to others.
//!
//! **Why.** Every listener speaks TLS 1.3 and nothing older, offers a post-quantum key exchange first, and
//! presents a certificate that lives for an hour (controls DP-1, AC-3).
//!
//! **Where.** Used by the gateway (server side), by the relay (bytes that may leave), by the command line and the tour (clients) and by control
//! (API keys, pushing the gateway's policy). It must never import a shell or a store.
//!
//! **Invariants.** Every TLS configuration names its cryptographic provider, so that no process default can
//! change it. Private keys leave this crate only towards files with mode 0600. Every wait on a peer has a time
//! limit, every read a size limit.

pub mod apikey;
pub mod ca;
pub mod client;
mod der;
pub mod https;
pub mod identity;
pub mod lease;
pub mod limits;
pub mod listener;
pub mod outgoing;
pub mod push;
mod timed;
pub mod tls;
pub mod token;
pub mod unix_http;
pub mod workload;

pub use client::{Body, Call, ClientError, Reply};

/// Runs a future to its end on a runtime of its own: for callers without one, such as the command line.
///
/// # Errors
/// The operating system offers no event queue.
pub fn block_on<F: Future>(future: F) -> std::io::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let output = runtime.block_on(future);
    // A reader thread of `Body::reader` may be blocked in its source; it is not waited for.
    runtime.shutdown_background();
    Ok(output)
}
