//! **What.** The API of a node: its wire types and the one table of endpoints.
//!
//! **Why.** Command line, console and tests reach the platform only through these types, so whatever one can
//! show, all can show; and an endpoint without effect, action and audit kind cannot be written down
//! (controls AC-2, AC-3, AU-1).
//!
//! **Where.** Served by `control` as HTTP/1.1 over a unix socket, called by `cli`. It knows no core.
//!
//! **Invariants.** Answers carry `schema`; fields are only ever added. Requests refuse unknown members. Digests
//! are 64 lower-case hex characters, times RFC 3339 in UTC with milliseconds, sizes bytes.

mod openapi;
mod problem;
pub mod shape;
mod table;
mod types;

pub use openapi::openapi;
pub use problem::Problem;
pub use table::{Effect, Input, Method, Output, Query, Route, TABLE, Who};
pub use types::*;

/// Prefix of every route.
pub const PREFIX: &str = "/v1";

/// An answer that names its schema.
pub trait Document: serde::Serialize {
    /// `strongroom.<what>/<version>`.
    const SCHEMA: &'static str;
}

/// The JSON of a document, with `schema` as a member.
pub fn to_json<T: Document>(document: &T) -> serde_json::Value {
    let mut value = serde_json::to_value(document).unwrap_or(serde_json::Value::Null);
    if let serde_json::Value::Object(map) = &mut value {
        map.insert("schema".to_owned(), T::SCHEMA.into());
    }
    value
}
