//! What can be asked of the supervisor, and how it goes.

use musher_core::spec::AppSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ApiError, Death};

/// `POST /v1/apps`: make these apps run as described. It is a difference: what already runs so is left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartRequest {
    /// Chosen by the client, at random. A second request with the same id gets the first one's answer and has no
    /// further effect, also when the supervisor died in between.
    pub request_id: String,
    /// At most 1000 specs, with different names.
    pub specs: Vec<AppSpec>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// Replace the workers even when nothing changed.
    #[serde(default)]
    pub force: bool,
}

/// What a start request does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StartResponse {
    /// One step for each spec, in their order.
    pub plan: Vec<PlanStep>,
    /// The operations that were begun; none for steps that change nothing, none at all in a dry run.
    pub operations: Vec<OperationRef>,
}

/// What a start request does to one app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanStep {
    /// Name of the app.
    pub app: String,
    /// What is done.
    pub action: PlanAction,
    /// The keys that differ from what runs, as in a process file.
    pub changed: Vec<String>,
    /// Number of slots before; 0 for a new app.
    pub instances_before: u32,
    /// Number of slots after.
    pub instances_after: u32,
}

/// The kinds of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlanAction {
    /// A new app, or one that was stopped: its workers are started.
    Start,
    /// A new app that is not to be started yet.
    Add,
    /// Its workers are replaced one after the other.
    Reload,
    /// Its workers are stopped, then started.
    Restart,
    /// Its number of slots changes.
    Scale,
    /// Settings that concern no process change at once.
    Update,
    /// It already runs so.
    None,
}

/// `POST /v1/actions`: do something to apps that exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionRequest {
    /// As in a start request.
    pub request_id: String,
    /// What to do.
    pub action: Action,
    /// Names or ids of apps, or `all`; for start, stop, restart, reload, delete and signal also one slot, as `web/2`. At most
    /// 1000. One unknown target refuses the whole request.
    pub targets: Vec<String>,
}

/// What to do to an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Start its workers if it is stopped; start slots that gave up anew.
    Start,
    /// Stop its workers and keep it.
    Stop,
    /// Stop its workers, then start them.
    Restart,
    /// Replace its workers without refusing a connection.
    Reload,
    /// The same, with the new version on trial in a few slots first; when it is not good, the old one is brought back and
    /// the operation fails.
    Canary {
        /// How many slots; 0: none, whatever the spec says.
        slots: u32,
        /// How long they are watched, in milliseconds. Without it: what the spec says, else 30 seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wait_ms: Option<u64>,
    },
    /// Stop its workers, close its ports, forget it.
    Delete,
    /// Change the number of slots.
    Scale {
        /// The new number, 1 to 1000.
        to: u32,
    },
    /// Send a signal to each worker's process, not to its descendants.
    Signal {
        /// The signal's number, 1 to 64.
        signal: i32,
        /// Only to the worker of this slot.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slot: Option<u32>,
    },
    /// Set the counts of restarts to 0, and forget the restarts that backoff and giving up go by.
    Reset,
    /// Delete what is in the log files, the rotated ones included.
    Flush,
    /// Open the log files again by their names, after another program has moved them.
    ReopenLogs,
}

/// What an action request began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActionResponse {
    /// One operation for each app.
    pub operations: Vec<OperationRef>,
}

/// An operation that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperationRef {
    /// Id of the operation.
    pub id: u64,
    /// Name of the app.
    pub app: String,
}

/// One thing being done to one app. Operations that are done are remembered for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Operation {
    /// Id.
    pub id: u64,
    /// Name of the app.
    pub app: String,
    /// Id of the app.
    pub app_id: u32,
    /// The slot, if it is for one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// What is being done.
    pub kind: OperationKind,
    /// Grows with every change of this operation.
    pub revision: u64,
    /// Whether it has ended.
    pub done: bool,
    /// Whether it ended well; `false` until it is done.
    pub ok: bool,
    /// Why it ended badly.
    #[serde(default)]
    pub error: Option<ApiError>,
    /// The death that made it end badly.
    #[serde(default)]
    pub death: Option<Death>,
    /// How far it is.
    pub progress: Progress,
}

impl Operation {
    /// What it is for: `web`, or `web/2`.
    pub fn subject(&self) -> String {
        match self.slot {
            Some(slot) => format!("{}/{slot}", self.app),
            None => self.app.clone(),
        }
    }
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// Starts workers.
    Start,
    /// Stops workers.
    Stop,
    /// Stops, then starts.
    Restart,
    /// Replaces workers.
    Reload,
    /// Stops and forgets.
    Delete,
    /// Changes the number of slots.
    Scale,
    /// Sends a signal.
    Signal,
    /// Replaces supervisor and keeper by another executable.
    Upgrade,
    /// Sets counts to 0.
    Reset,
    /// Empties log files.
    Flush,
    /// Opens log files again.
    ReopenLogs,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

/// How far an operation is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Slots that are where they shall be.
    pub ready: u32,
    /// Slots that the operation concerns.
    pub total: u32,
    /// What it waits for, in words: `slot 3: waiting for it to listen`.
    #[serde(default)]
    pub text: String,
}

/// What `GET /v1/operations/{id}` can be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperationQuery {
    /// Answer when the revision is greater than this, or the operation is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Answer after this time in any case, in milliseconds; at most 30000. Without it: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// `POST /v1/messages`: send a message to Node workers; they get it as `process.on('message')`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SendRequest {
    /// As in a start request.
    pub request_id: String,
    /// Name or id of an app.
    pub target: String,
    /// Only to this slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// Any JSON value.
    pub message: serde_json::Value,
}

/// To whom a message was sent. One that is longer than a channel takes, or for which no worker has room, is refused
/// ([`ErrorCode::Busy`](crate::ErrorCode::Busy)): a worker that does not read its channel has 4 MiB of messages waiting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SendResponse {
    /// Number of workers.
    pub workers: u32,
}

/// `POST /v1/save`: keep the list of apps as it is now, for a later resurrection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaveRequest {
    /// As in a start request.
    pub request_id: String,
}

/// The list is on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SaveResponse {
    /// Number of apps.
    pub apps: u32,
    /// The file.
    pub path: String,
}

/// `POST /v1/resurrect`: start the apps that were saved and do not run. It is answered as a start is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResurrectRequest {
    /// As in a start request.
    pub request_id: String,
}

/// `POST /v1/shutdown`: stop all apps, then end supervisor and keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShutdownRequest {
    /// As in a start request.
    pub request_id: String,
    /// The apps are to come back with the next daemon, as at the end of the system; else they are forgotten.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_list: bool,
}

/// `POST /v1/upgrade`: replace supervisor and keeper by another executable; workers are not touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpgradeRequest {
    /// As in a start request.
    pub request_id: String,
    /// Absolute path of the executable.
    pub path: String,
}

/// The upgrade has begun, or is not needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpgradeResponse {
    /// To be followed to its end; none: supervisor and keeper are this executable already.
    pub operation: Option<OperationRef>,
    /// The version that runs now.
    pub from: String,
}

/// The shutdown has begun. It is over when the socket refuses connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShutdownResponse {
    /// Names of the apps that are being stopped.
    pub apps: Vec<String>,
    /// Process id of the supervisor.
    pub supervisor_pid: u32,
    /// Process id of the keeper.
    pub keeper_pid: u32,
}

impl OperationKind {
    /// The word for it in messages and JSON.
    pub fn word(self) -> &'static str {
        match self {
            OperationKind::Start => "start",
            OperationKind::Stop => "stop",
            OperationKind::Restart => "restart",
            OperationKind::Reload => "reload",
            OperationKind::Delete => "delete",
            OperationKind::Scale => "scale",
            OperationKind::Signal => "signal",
            OperationKind::Upgrade => "upgrade",
            OperationKind::Reset => "reset",
            OperationKind::Flush => "flush",
            OperationKind::ReopenLogs => "reopening the logs",
            OperationKind::Other => "operation",
        }
    }
}

impl From<Action> for OperationKind {
    fn from(action: Action) -> OperationKind {
        match action {
            Action::Start => OperationKind::Start,
            Action::Stop => OperationKind::Stop,
            Action::Restart => OperationKind::Restart,
            Action::Reload | Action::Canary { .. } => OperationKind::Reload,
            Action::Delete => OperationKind::Delete,
            Action::Scale { .. } => OperationKind::Scale,
            Action::Signal { .. } => OperationKind::Signal,
            Action::Reset => OperationKind::Reset,
            Action::Flush => OperationKind::Flush,
            Action::ReopenLogs => OperationKind::ReopenLogs,
        }
    }
}
