//! Wire types of named egresses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Document, shape};

wire! {
    /// A place outside that jobs of a tenant may reach.
    "strongroom.named-egress/1" pub struct NamedEgress {
        /// Tenant.
        tenant: String,
        /// Name.
        name: String,
        /// A host's name, or an address.
        host: String,
        /// The port.
        port: u16,
        /// How near its addresses may be: `public`, `private` or `node`.
        reach: String,
        /// Bytes that may leave by it within 24 hours.
        cap: u64,
        /// Whether the platform speaks mutual TLS there, in the name of the job.
        as_job: bool,
        /// SHA-256 of the authority by which the server is verified then.
        authority: Option<String>,
        /// The authority by which the server knows jobs then, in PEM.
        client_authority: Option<String>,
        /// When it was made.
        created: String,
    }
}

request! {
    /// Makes a place outside that jobs of a tenant may reach.
    pub struct EgressCreate {
        /// Its name, by which job files use it.
        #[schemars(with = "shape::Name")]
        name: String,
        /// A host's name, or an address without brackets.
        host: String,
        /// The port.
        port: u16,
        /// How near its addresses may be: `public` (default), `private` for private networks too, `node` for this node too.
        #[serde(default)]
        reach: Option<String>,
        /// Bytes that may leave by it within 24 hours, `"1GiB"`; default: as of every principal.
        #[serde(default)]
        cap: Option<String>,
        /// Whether the platform speaks mutual TLS 1.3 there in the name of the job, which sends plain bytes. The server has
        /// to ask for a certificate.
        #[serde(default)]
        as_job: bool,
        /// With `as_job`: the authority by which the server is verified, and no other, in PEM.
        #[serde(default)]
        authority: Option<String>,
    }
}
