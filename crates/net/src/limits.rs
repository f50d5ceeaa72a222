//! Bounds of this crate.

use std::time::Duration;

/// Life of a listener's certificate: one hour (trust base, TLS).
pub const LEAF_LIFE: Duration = Duration::from_secs(3600);
/// A certificate is replaced when two thirds of its life are gone, so 20 minutes are left for a retry.
pub const LEAF_RENEW_AFTER: Duration = Duration::from_secs(2400);
/// Certificates are valid from this long before they are made, for clients whose clock is behind.
pub const BACKDATE: Duration = Duration::from_secs(300);
/// Life of a node's certificate authority in service: five years of 365 days.
pub const CA_LIFE: Duration = Duration::from_secs(5 * 365 * 86_400);
/// Life of the certificate authority of a development node.
pub const CA_LIFE_DEV: Duration = Duration::from_secs(30 * 86_400);
/// Life of a service's certificate: one hour. Revocation does not wait for its end.
pub const SERVICE_LIFE: Duration = Duration::from_secs(3600);
/// Longest request for a certificate, in PEM: one of P-256 has 400 bytes, names and attributes may add to it.
pub const REQUEST_PEM_MAX: usize = 8 * 1024;
/// Longest PEM file that is read.
pub const PEM_MAX: u64 = 64 * 1024;

/// A client waits this long for a connection, the TLS handshake included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A client waits this long for the head of an answer unless its caller says otherwise.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest line of a streamed answer.
pub const LINE_MAX: usize = 1024 * 1024;
/// Chunk in which a request's body is read from its source.
pub const CHUNK: usize = 64 * 1024;
/// Chunks read ahead of the socket: 8 x 64 KiB = 512 KiB.
pub const CHUNKS_AHEAD: usize = 8;

/// How often a listener looks at the age of its certificate.
pub const RENEW_CHECK: Duration = Duration::from_secs(60);
/// A listener that cannot accept (no descriptor is free, most likely) tries again after this time.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A peer that takes less than [`WRITE_MIN`] of its answer in this time is cut.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes that a blocked answer must move within [`WRITE_TIMEOUT`]: 1 KiB a second.
pub const WRITE_MIN: usize = 30 * 1024;
/// What is to be sent waits this long for bytes that control has to grant.
pub const LEASE_TIMEOUT: Duration = Duration::from_secs(5);
/// Control hears of the use of keys at least this often, and at once where a key lacks bytes.
pub const LEASE_EVERY: Duration = Duration::from_secs(5);
/// Bytes that a key did not touch for this long are given back.
pub const LEASE_IDLE: Duration = Duration::from_secs(60);
/// How long a refusal of control stands before it is asked again.
pub const LEASE_REFUSED: Duration = Duration::from_secs(5);
