//! The policy snapshot that control pushes to the gateway: which keys there are, what each may reach, and what
//! answers. The gateway keeps it in memory only; without one it refuses everything.
//!
//! Pushed over the gateway's stream socket as one frame (`u32` length, little-endian, and [`crate::lease::Push`] in the
//! encoding of this crate), answered by one frame with an [`Ack`]. A later snapshot replaces the earlier one
//! whole; a snapshot whose generation is not above the last one of the same control process is refused.

use base::Digest;
use base::wire::{Reader, WireError, Writer};

use crate::{Codec, List, Text};

/// Most keys in a snapshot.
pub const KEYS_MAX: usize = 4096;
/// Most endpoints in a snapshot.
pub const ENDPOINTS_MAX: usize = 1024;
/// Longest snapshot: 4096 keys of at most 256 bytes and 1024 endpoints of at most 1 KiB are below 8 MiB.
pub const SNAPSHOT_MAX: usize = 8 * 1024 * 1024;
/// Longest certificate of an authority, in PEM.
pub const AUTHORITY_MAX: usize = 4096;
/// Longest acknowledgement.
pub const ACK_MAX: usize = 4096;

/// The per-node key under which the secrets of API keys are MACed. Whoever has it and the snapshot can test
/// guesses of a key, so it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct MacKey(pub [u8; 32]);

impl std::fmt::Debug for MacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MacKey(..)")
    }
}

impl Codec for MacKey {
    fn encode(&self, w: &mut Writer) {
        w.raw(&self.0);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        r.array().map(Self)
    }
}

record! {
    /// An API key, without what proves its possession.
    pub struct Key {
        /// [`base::id::KeyId`] bits.
        id: u128,
        /// HMAC of the key's secret under the snapshot's `key_mac_key` (see `net::apikey`).
        mac: [u8; 32],
        /// The tenant that holds it.
        tenant: Text<63>,
        /// The service of the tenant whose certificate it is good with alone; empty: it is good with none.
        service: Text<63>,
        /// The one endpoint that it opens ([`base::id::EndpointId`] bits).
        endpoint: u128,
        /// When it ends, Unix milliseconds; 0: never.
        expires_ms: u64,
        /// Whether it was revoked.
        revoked: bool,
        /// Sustained quota: requests a minute.
        requests_per_minute: u32,
        /// Requests that may be under way at once.
        concurrency: u32,
    }
}

record! {
    /// A model being served.
    pub struct Endpoint {
        /// [`base::id::EndpointId`] bits.
        id: u128,
        /// The tenant that it belongs to.
        tenant: Text<63>,
        /// Its name: the `{model}` of the Open Inference Protocol's paths.
        name: Text<63>,
        /// Name of its socket in the directory of endpoint sockets: a plain file name.
        socket: Text<96>,
        /// Digest of the model's manifest.
        model_digest: Digest,
        /// Digest of its Model BoM.
        bom_digest: Digest,
        /// The model's name.
        model: Text<63>,
        /// The model's version: the `{version}` of the paths.
        version: Text<32>,
        /// Longest request body, in bytes; never above the gateway's own limit.
        body_max: u32,
    }
}

record! {
    /// Everything that the gateway decides by.
    pub struct Snapshot {
        /// Rises with every push.
        generation: u64,
        /// When it stops being valid, Unix milliseconds; from then on the gateway refuses everything.
        expires_ms: u64,
        /// Per-node key under which the keys' secrets are MACed.
        key_mac_key: MacKey,
        /// Certificate of the authority of services, in PEM; empty: there is none.
        services: Text<AUTHORITY_MAX>,
        /// The API keys.
        keys: List<Key, KEYS_MAX>,
        /// The endpoints.
        endpoints: List<Endpoint, ENDPOINTS_MAX>,
    }
}

record! {
    /// The gateway's answer to a push.
    pub struct Ack {
        /// The generation that is in force now; 0: none.
        generation: u64,
        /// Why the pushed one was not taken; empty: it was.
        refused: Text<512>,
        /// Answered inferences since the gateway started.
        answered: u64,
        /// Refused requests since the gateway started.
        refusals: u64,
        /// Inference records that were lost since the gateway started.
        records_lost: u64,
    }
}

impl Ack {
    /// The frame to answer with.
    pub fn to_frame(&self) -> Vec<u8> {
        frame(&crate::to_bytes(self))
    }
}

/// A body after its length.
pub(crate) fn frame(body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(body.len().saturating_add(4));
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{from_bytes, to_bytes};

    fn snapshot() -> Snapshot {
        Snapshot {
            generation: 3,
            expires_ms: 9,
            key_mac_key: MacKey([7; 32]),
            services: Text::clip("pem"),
            keys: List::clip(vec![Key {
                id: 1,
                mac: [2; 32],
                tenant: Text::clip("acme"),
                service: Text::clip("ci"),
                endpoint: 5,
                expires_ms: 0,
                revoked: false,
                requests_per_minute: 600,
                concurrency: 8,
            }]),
            endpoints: List::clip(vec![Endpoint {
                id: 5,
                tenant: Text::clip("acme"),
                name: Text::clip("m"),
                socket: Text::clip("end_5.sock"),
                model_digest: base::sha256(b"m"),
                bom_digest: base::sha256(b"b"),
                model: Text::clip("m"),
                version: Text::clip("1"),
                body_max: 1 << 20,
            }]),
        }
    }

    #[test]
    fn a_snapshot_round_trips_and_truncations_are_refused() {
        let bytes = to_bytes(&snapshot());
        assert_eq!(from_bytes::<Snapshot>(&bytes).unwrap(), snapshot());
        for end in 0..bytes.len() {
            assert!(from_bytes::<Snapshot>(&bytes[..end]).is_err());
        }
    }

    #[test]
    fn the_largest_snapshot_fits_its_limit() {
        let full = |n: usize| "x".repeat(n);
        let mut snapshot = snapshot();
        let mut key = snapshot.keys[0].clone();
        key.tenant = Text::clip(&full(63));
        key.service = Text::clip(&full(63));
        snapshot.services = Text::clip(&full(AUTHORITY_MAX));
        let mut endpoint = snapshot.endpoints[0].clone();
        endpoint.name = Text::clip(&full(63));
        endpoint.socket = Text::clip(&full(96));
        snapshot.keys = List::clip(vec![key; KEYS_MAX]);
        snapshot.endpoints = List::clip(vec![endpoint; ENDPOINTS_MAX]);
        assert!(crate::lease::Push::Policy { snapshot }.to_frame().len() <= SNAPSHOT_MAX);
    }
}
