//! Orders to the relay, the only process of the platform that connects to the network: which connections control may
//! have made, which egresses of a run are open, and bytes that may leave.
//!
//! Spoken over the relay's `SOCK_SEQPACKET` socket, one order and one answer at a time. What was opened over a connection
//! ends with it, so that nothing outlives the control that opened it.

use crate::lease::{Grants, Uses};
use crate::{List, Text};

/// Most egresses of a run.
pub const EGRESSES_MAX: usize = 8;
/// Most egresses of which the relay counts bytes: one use has 56 bytes, so that a report fits a message.
pub const LEASES_MAX: usize = 1024;
/// Longest name of a host (RFC 1035 section 2.3.4, without the last dot).
pub const HOST_MAX: usize = 253;
/// Longest text by which the server of an egress is verified: some certificates in PEM. Eight egresses of a run with as much
/// each fit a message.
pub const AUTHORITY_MAX: usize = 6 * 1024;
/// Longest request for a certificate, and longest certificate, in PEM: those of P-256 have 400 and 900 bytes.
pub const CERTIFICATE_MAX: usize = 4096;
/// Port of the loopback of a sandbox on which it asks for its egresses.
pub const PORT: u16 = 18_000;

/// What connections for logins count as.
pub const LOGIN_KEY: u128 = 1;
/// What connections of probes to the node's own listeners count as.
pub const PROBE_KEY: u128 = 2;

names! {
    /// How near an address may be, after its name was resolved. Addresses of the link (where clouds keep the secrets of
    /// machines), of groups, and none at all are never reached.
    pub enum Reach {
        /// What the whole Internet can reach.
        1 Public = "public",
        /// Also addresses of private networks.
        2 Private = "private",
        /// Also the node itself: its loopback and its own addresses.
        3 Node = "node",
    }
}

names! {
    /// What control itself may have connected. The relay checks each against the configuration of the node.
    pub enum Purpose {
        /// The OpenID provider, and hosts that the configuration names beside it.
        1 Login = "login",
        /// A listener of the node's own planes, for the probe of AC-5.
        2 Probe = "probe",
    }
}

record! {
    /// Where an egress leads.
    pub struct Destination {
        /// A host's name, or an address without brackets.
        host: Text<HOST_MAX>,
        /// The port.
        port: u16,
        /// How near it may be.
        reach: Reach,
    }
}

record! {
    /// An egress that a run may use.
    pub struct Egress {
        /// What its bytes count as.
        key: u128,
        /// Its name.
        name: Text<63>,
        /// Where it leads.
        to: Destination,
        /// Where the relay speaks mutual TLS in the name of the run: what the server is verified by, in PEM.
        authority: Option<Text<AUTHORITY_MAX>>,
    }
}

choice! {
    /// What may be asked of the relay.
    pub enum Order {
        /// Connects for control itself. One descriptor back: a stream, whose bytes it passes on.
        1 Connect {
            /// What for.
            purpose: Purpose,
            /// A host's name, or an address without brackets.
            host: Text<HOST_MAX>,
            /// The port.
            port: u16,
        },
        /// Opens egresses to a run. Comes with one descriptor: a socket of its sandbox that listens, on which the run asks for
        /// them by `CONNECT` (RFC 9110 section 9.3.6). Once for each run.
        2 Open {
            /// The run.
            run: u128,
            /// Its tenant.
            tenant: Text<63>,
            /// Who it is in events, `job:<id>`.
            actor: Text<128>,
            /// What it may reach.
            egresses: List<Egress, EGRESSES_MAX>,
        },
        /// Ends everything of a run. Legal always.
        3 Close {
            /// The run.
            run: u128,
        },
        /// Ends an egress for every run. Legal always.
        4 Revoke {
            /// Its key.
            key: u128,
        },
        /// Bytes for egresses; answered as soon as one lacks bytes, or after a while.
        5 Lease {
            /// What is granted.
            grants: Grants,
        },
        /// Makes a key for a run with egresses at which the relay speaks in its name, and asks for its certificate. The
        /// key stays here; the certificate before it is presented until `Certify`.
        6 Identify {
            /// The run.
            run: u128,
        },
        /// The certificate of the key that `Identify` made last.
        7 Certify {
            /// The run.
            run: u128,
            /// In PEM.
            certificate: Text<CERTIFICATE_MAX>,
        },
    }
}

choice! {
    /// The relay's answer.
    pub enum Answer {
        /// Done; descriptors as the order says.
        1 Done {},
        /// Not done.
        2 Refused {
            /// Stable code, `SR-RLY-0001`.
            code: Text<16>,
            /// Why.
            detail: Text<1024>,
        },
        /// To `Lease`.
        3 Uses {
            /// What became of the bytes.
            uses: Uses,
        },
        /// To `Identify`.
        4 Asked {
            /// A request for a certificate (PKCS #10), in PEM.
            request: Text<CERTIFICATE_MAX>,
        },
    }
}
