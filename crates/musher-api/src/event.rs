//! What happens, told as it happens.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Death, OperationKind};

/// One thing that happened. Sent as server-sent events; `seq` is the event's id there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Grows from event to event, also over a restart of the supervisor. It is not dense: gaps mean nothing.
    pub seq: u64,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// The same as RFC 3339 in UTC.
    pub time: String,
    /// What kind of thing.
    pub kind: EventKind,
    /// Name of the app that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Id of that app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_id: Option<u32>,
    /// Slot of that app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// Run of that slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
    /// Process id of that run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// In words.
    #[serde(default)]
    pub detail: String,
    /// How a worker ended, when the event is about that. Complete with its last words in `died`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub death: Option<Box<Death>>,
    /// What kind of operation ended, when the event is about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationKind>,
    /// Whether that operation ended well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
}

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// An app was added.
    Added,
    /// An app's spec was changed.
    Changed,
    /// An app is gone.
    Deleted,
    /// An app was scaled.
    Scaled,
    /// Files of an app have changed, or cannot be watched.
    Files,
    /// A worker was spawned.
    Spawned,
    /// A worker could not be executed.
    SpawnFailed,
    /// A worker listens on an address.
    Listening,
    /// A worker is ready and serves.
    Online,
    /// A worker takes nothing new.
    Draining,
    /// A worker was sent a signal: the stop signal, or one that was asked for.
    Signalled,
    /// A worker did not end in its grace and was killed.
    Killed,
    /// A worker ended.
    Exited,
    /// The story of a worker that ended without having been asked to is complete: `death` tells all that is known.
    Died,
    /// A worker serves and is to be replaced without a gap: it does not answer, or uses too much.
    Unfit,
    /// A worker that is to be replaced goes on, because its successor failed.
    Kept,
    /// A worker reported an exception that nothing caught, and finishes what it has.
    Failing,
    /// A slot waits before it starts its worker again.
    Backoff,
    /// A slot restarted too often.
    Giveup,
    /// A hook has ended, or was left out.
    Hook,
    /// A slot is stopped.
    Stopped,
    /// A worker did not prove ready in time.
    NotReady,
    /// A worker's program threw an exception that nobody caught.
    Uncaught,
    /// A draining worker closed connections because the limit of its drain was reached; or connections that waited at a
    /// slot that was scaled away were reset.
    Cut,
    /// An address could not be bound.
    BindFailed,
    /// A worker broke the rules of its channel and was killed.
    Violation,
    /// A worker was found again after the supervisor had died.
    Adopted,
    /// A worker sent a message.
    Message,
    /// A new version is on trial: its workers are watched, do well, or do not.
    Canary,
    /// An operation began.
    OperationStarted,
    /// An operation ended.
    OperationDone,
    /// A new supervisor took over.
    SupervisorStarted,
    /// A new keeper took over.
    KeeperStarted,
    /// Supervisor and keeper became another executable, or went back.
    Upgrade,
    /// Logs cannot be written, or can be again.
    Logs,
    /// musher is about to end.
    Shutdown,
    /// This reader was too slow, or came back too late: events are missing here.
    Lagged,
    /// A kind that this version does not know.
    #[serde(other)]
    Other,
}
