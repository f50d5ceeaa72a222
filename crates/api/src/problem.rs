//! Errors on the wire: RFC 9457 problem details.

use serde::{Deserialize, Serialize};

/// Body of every answer that is not a success; media type `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Stable code, `SR-<AREA>-<NNNN>`.
    pub code: String,
    /// What went wrong, one line.
    pub title: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The next step; commands in back-ticks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Id of the request, for finding it in the logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}
