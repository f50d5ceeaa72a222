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
    }
}
