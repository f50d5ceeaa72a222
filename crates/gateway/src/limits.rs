//! Bounds of the gateway.

use std::time::Duration;

/// Longest request head: 16 KiB.
pub const HEADER_MAX: usize = 16 * 1024;
/// Most header fields of a request.
pub const HEADERS_MAX: usize = 64;
/// Longest request body: 16 MiB; an endpoint may allow less.
pub const BODY_MAX: usize = 16 * 1024 * 1024;
/// A request's head must be complete within this time; also how long an idle connection is kept.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A TLS handshake must be complete within this time.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A request's body must be complete within this time.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// After this time a body must have kept to [`BODY_RATE_MIN`].
pub const BODY_GRACE: Duration = Duration::from_secs(5);
/// Slowest body, bytes a second: a 4 KiB request then takes at most the grace time.
pub const BODY_RATE_MIN: u64 = 1024;
/// A model must answer within this time.
pub const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections of clients at once.
pub const CONNECTIONS_MAX: usize = 1024;
/// Memory for requests' bodies and what is parsed of them, in KiB: 256 MiB over all connections.
pub const BODY_BUDGET_KIB: usize = 256 * 1024;
/// A body costs this many times its length while it is parsed: the text, at most 8 bytes for each 2 of text in
/// numbers, and the encoded message of at most the same size.
pub const BODY_COST: usize = 9;
/// Idle connections kept to one endpoint; the runtime serves 32.
pub const POOL_MAX: usize = 16;
/// Events that wait for the keeper. At 1 KiB each, 8 MiB.
pub const RECORDS_MAX: usize = 8192;
/// Records are appended at least this often.
pub const RECORD_EVERY: Duration = Duration::from_millis(250);
/// The keeper answers within this time.
pub const KEEPER_TIMEOUT: Duration = Duration::from_secs(5);
/// Refused access of one kind is told once at once and then once in this time, as a count.
pub const REFUSED_WINDOW: Duration = Duration::from_secs(60);
/// Kinds of refused access counted apart, so at most 2 * 64 + 1 events a minute; the rest is counted together.
pub const REFUSED_KINDS_MAX: usize = 64;
/// Pairs of key and endpoint remembered as admitted.
pub const ADMITTED_MAX: usize = 65_536;
/// Requests under way may take this long after the order to end.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
/// A cap is one on a day, counted by hours: then some of it may be free again.
pub const EGRESS_RETRY: Duration = Duration::from_secs(3600);
/// Connections of control at once: one that pushes, one that grants, and one of each that came before.
pub const PUSHES_MAX: usize = 4;
/// A policy push must arrive within this time.
pub const PUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest id that a client gives its request.
pub const REQUEST_ID_MAX: usize = 128;
/// Of a refused body, at most this much is still taken, so that the client reads the refusal: 1 MiB.
pub const DRAIN_MAX: usize = 1024 * 1024;
/// And for at most this long.
pub const DRAIN_GRACE: Duration = Duration::from_secs(1);
