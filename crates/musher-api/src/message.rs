//! What workers say to whoever listens.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A message that a worker sent by `process.send`, in full.
///
/// Messages of one worker come in their order, each at least once: when the supervisor is killed in the very moment of
/// handling one, the next supervisor tells it again. They are kept only while somebody reads, or for the first seconds of a
/// supervisor, in which readers of the one before it come back; and only so many
/// ([`MAX_KEPT_MESSAGES`](crate::MAX_KEPT_MESSAGES), [`MAX_KEPT_MESSAGE_BYTES`](crate::MAX_KEPT_MESSAGE_BYTES)) for one
/// that reads slower than they come: no worker ever waits for a reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerMessage {
    /// Grows from message to message, also over a restart of the supervisor: to go on behind it.
    pub seq: u64,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// Name of the app.
    pub app: String,
    /// Id of that app.
    pub app_id: u32,
    /// Slot of that app.
    pub slot: u32,
    /// Run of that slot.
    pub run: u64,
    /// Process id of that run; none when it has ended since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// What it said.
    pub message: Value,
    /// How many messages this reader has missed right before this one, because it was too slow.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
}

/// What `GET /v1/messages` can be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MessagesQuery {
    /// Only those of this app: its name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Begin with the kept messages after this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this form")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
