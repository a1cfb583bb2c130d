//! What is written to the standard input of a worker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `POST /v1/input`: write to the standard input of one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputRequest {
    /// As in a start request, but not remembered: when the supervisor is killed in the very moment of writing, the worker
    /// may get the text twice.
    pub request_id: String,
    /// Name or id of an app.
    pub target: String,
    /// Of this slot; may be left out when the app has one worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// The text, at most 64 KiB, as it is: with the ends of its lines.
    pub text: String,
}

/// How much of it was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InputResponse {
    /// Bytes from the beginning of the text. Fewer than all, or none: the worker does not read as fast; the rest is to be
    /// sent again.
    pub bytes: usize,
    /// Process id of the worker.
    pub pid: u32,
}
