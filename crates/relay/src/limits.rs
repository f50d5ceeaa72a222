//! Bounds of the relay.

use std::time::Duration;

/// Connections that control and its threads hold to the relay at once: each has a thread.
pub(crate) const ORDERERS_MAX: usize = 24;
/// Connections that leave the node at once, in all.
pub(crate) const FLOWS_MAX: usize = 256;
/// Of them, for one tenant, or for control itself.
pub(crate) const FLOWS_OF_TENANT_MAX: usize = 64;
/// Of them, through one egress.
pub(crate) const FLOWS_OF_EGRESS_MAX: usize = 32;
/// Connections of sandboxes that were accepted and have not said yet where they want to: for each run.
pub(crate) const ASKING_MAX: usize = 16;
/// Resolving a name may take so long, and connecting as long again.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses of one name that are looked at; a name that has more is refused.
pub(crate) const ADDRESSES_MAX: usize = 16;
/// Addresses that are tried.
pub(crate) const TRIED_MAX: usize = 4;
/// Names that are asked for at once: each holds a thread for as long as the resolver takes.
pub(crate) const RESOLVING_MAX: usize = 16;
/// A connection that moves nothing either way for so long is ended.
pub(crate) const IDLE: Duration = Duration::from_secs(300);
/// A run says within this time where it wants to.
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest request of a run for a connection, in bytes.
pub(crate) const ASK_MAX: usize = 4096;
/// Bytes that are read before they are counted and sent on.
pub(crate) const CHUNK: usize = 16 * 1024;
/// A connection in the name of a run that has no certificate yet looks for one after this time.
pub(crate) const CERTIFICATE_PAUSE: Duration = Duration::from_millis(20);
/// What a far end that takes no more had said is passed on for so long.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(1);
/// Bytes of TLS that wait to be counted and sent on, or to be read: two records each way.
pub(crate) const SPOKEN_MAX: usize = 32 * 1024;
/// One run asks for so many connections in a minute; for more it waits, so that what it does to the log is bounded.
pub(crate) const ASKS_A_MINUTE: u32 = 600;
/// Events that wait for the keeper.
pub(crate) const EVENTS_MAX: usize = 1024;
/// The keeper answers within this time.
pub(crate) const KEEPER_TIMEOUT: Duration = Duration::from_secs(5);
/// Flows that are ended have this long to be logged when the relay ends.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
