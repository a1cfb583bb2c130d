//! Apps, slots and runs as they are shown.

use std::collections::BTreeMap;

use musher_core::spec::{AppSpec, Balance, Runtime};
use musher_core::vitals::Pulse;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Death, Operation};

/// What stands in place of the value of an environment variable that is not shown.
pub const REDACTED: &str = "[redacted]";

/// One slot of an app: a row of `musher list`.
///
/// While a slot has several runs (in a reload), the row tells of the one that serves; `draining` of those before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SlotRow {
    /// Name of the app.
    pub app: String,
    /// Id of the app.
    pub id: u32,
    /// Number of the slot, from 0.
    pub slot: u32,
    /// Process id of the worker; null when none runs.
    pub pid: Option<u32>,
    /// State of the slot.
    pub status: SlotStatus,
    /// How many times a worker of this slot was started again, for whatever reason, since the app was added.
    pub restarts: u32,
    /// Time since the worker was spawned, in milliseconds; 0 when none runs.
    pub uptime_ms: u64,
    /// Resident memory of the worker and its descendants, in bytes; 0 when none runs.
    pub memory_bytes: u64,
    /// CPU time of the worker and its descendants since the last sample, in percent of one core.
    pub cpu_percent: f64,
    /// How the workers share ports.
    pub mode: Mode,
    /// Which reload the worker comes from: grows by one at each.
    pub generation: u64,
    /// Workers of this slot that were replaced, and finish what they have before they end.
    #[serde(default)]
    pub draining: Vec<RunDetail>,
    /// Process id of the worker that is to replace this one, during a reload or a replacement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor_pid: Option<u32>,
    /// Time until the next start, in milliseconds, when the status is `backoff`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_in_ms: Option<u64>,
    /// How the worker is, by its own word of a moment ago: only of Node cluster workers, and only when asked for. The first
    /// one comes a second after somebody began to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulse: Option<Pulse>,
    /// Time until a job is started again by its schedule, in milliseconds, while it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_in_ms: Option<u64>,
}

/// State of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SlotStatus {
    /// A worker runs and has not proved ready yet.
    Starting,
    /// A worker serves.
    Online,
    /// The worker takes nothing new and is about to end.
    Draining,
    /// No worker: the app was stopped.
    Stopped,
    /// No worker: it ended, and its restart policy leaves it so.
    Exited,
    /// No worker: it ended and waits to be started again.
    Backoff,
    /// No worker: the app is a job, whose time has not come yet.
    Scheduled,
    /// No worker: other apps, which this one needs, are not as it needs them.
    Waiting,
    /// No worker: it was restarted too often.
    GaveUp,
    /// A state that this version does not know.
    #[serde(other)]
    Unknown,
}

/// State of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Spawned, not ready yet.
    Starting,
    /// Serving.
    Online,
    /// Finishing what it has.
    Draining,
    /// Ended.
    Exited,
    /// A state that this version does not know.
    #[serde(other)]
    Unknown,
}

/// What a worker notified that it is about (sd_notify(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunPhase {
    /// RELOADING=1: it reads its configuration again.
    Reloading,
    /// STOPPING=1: it ends by itself.
    Stopping,
    /// A phase that this version does not know.
    #[serde(other)]
    Unknown,
}

/// How the workers of an app share ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Workers of a Node cluster: musher answers their `listen` calls.
    Cluster,
    /// Programs on their own: each opens its ports or inherits those of the file's `listen`.
    Fork,
}

/// One app in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AppSummary {
    /// Name.
    pub app: String,
    /// Id.
    pub id: u32,
    /// The word by which several apps can be named together.
    #[serde(default)]
    pub namespace: String,
    /// How its workers share ports.
    pub mode: Mode,
    /// Whether it is wanted to run (`false` after a stop).
    pub running: bool,
    /// Number of slots.
    pub instances: u32,
    /// Number of slots with a worker that is ready.
    pub online: u32,
    /// Restarts of all slots together.
    pub restarts: u32,
    /// Resident memory of all workers, in bytes.
    pub memory_bytes: u64,
    /// CPU of all workers, in percent of one core.
    pub cpu_percent: f64,
    /// Grows by one at each reload.
    pub generation: u64,
    /// What people call the program: its script, or its executable.
    pub program: String,
}

/// One app in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AppDetail {
    /// Name.
    pub app: String,
    /// Id.
    pub id: u32,
    /// The validated spec. Values of `env` and `base_env` are `[redacted]` unless asked for.
    pub spec: AppSpec,
    /// How its workers share ports.
    pub mode: Mode,
    /// The policy in effect.
    pub balance: Balance,
    /// Whether it is wanted to run (`false` after a stop).
    pub running: bool,
    /// Grows by one at each reload.
    pub generation: u64,
    /// When it was added, in milliseconds since 1970.
    pub added_ms: u64,
    /// Its slots, by number.
    pub slots: Vec<SlotDetail>,
    /// Its listening sockets.
    pub listeners: Vec<Listener>,
    /// The trial of a new version that goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryDetail>,
    /// What its schedule does next, while it is wanted to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleDetail>,
    /// What it waits for before it starts: `db to be ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
    /// Its log files.
    pub log_files: LogFiles,
    /// The operation that runs now, or the last one.
    #[serde(default)]
    pub operation: Option<Operation>,
}

/// How far an app's schedule is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleDetail {
    /// When it does something next, in milliseconds since 1970; null: never again.
    pub next_ms: Option<u64>,
    /// When it last did.
    pub last_ms: Option<u64>,
    /// How often a job was not started because it still ran.
    pub skipped: u64,
}

/// The trial of a new version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CanaryDetail {
    /// The generation that is tried.
    pub generation: u64,
    /// The slots that have it first.
    pub slots: Vec<u32>,
    /// How long they are watched still, in milliseconds; without it they are being started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
    /// What their workers did since they are watched, as far as they count it.
    pub new: Traffic,
    /// What the workers of the old version did meanwhile.
    pub old: Traffic,
}

/// What workers answered in some time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Traffic {
    /// Requests.
    pub requests: u64,
    /// Answers with a status of 500 or more.
    pub errors: u64,
    /// The 95th percentile of the time to answer, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
}

/// One slot in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SlotDetail {
    /// What the list shows.
    #[serde(flatten)]
    pub row: SlotRow,
    /// Its runs that have not ended, oldest first: at most the one that drains, the one online and the one starting.
    pub runs: Vec<RunDetail>,
    /// Why the worker that serves is to be replaced, when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfit: Option<String>,
    /// How the last run that ended did so.
    #[serde(default)]
    pub last_death: Option<Death>,
}

/// One process that fills a slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunDetail {
    /// Id of the run, unique in this home for ever.
    pub run: u64,
    /// Process id.
    pub pid: u32,
    /// State.
    pub state: RunState,
    /// When it was spawned, in milliseconds since 1970.
    pub started_ms: u64,
    /// Time since then, in milliseconds.
    pub uptime_ms: u64,
    /// Resident memory of it and its descendants, in bytes.
    pub memory_bytes: u64,
    /// CPU of it and its descendants, in percent of one core.
    pub cpu_percent: f64,
    /// Which reload it comes from.
    pub generation: u64,
    /// How it is, by its own word of a moment ago: only of Node cluster workers, while something is decided by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulse: Option<Pulse>,
    /// What it said of itself with STATUS= (sd_notify(3)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// What it notified that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RunPhase>,
    /// The custom actions that its program registered (`io.action` of @pm2/io, tx2): `musher trigger` calls them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub custom_actions: Vec<CustomAction>,
    /// What its program measures by itself (`io.metric` of @pm2/io, tx2), as it told last; at most 64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_metrics: BTreeMap<String, CustomMetric>,
}

/// Something that a program does when it is asked to by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CustomAction {
    /// Name.
    pub name: String,
    /// What kind of action its library says that it is: `custom`, `internal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// How many arguments its function has: with 2 it takes a parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arity: Option<u32>,
}

/// A number, or a word, that a program tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CustomMetric {
    /// The value: a number or a text.
    pub value: serde_json::Value,
    /// Its unit, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Its kind, as its library names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// A listening socket of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listener {
    /// `tcp://127.0.0.1:8080`, `udp://...`, `unix:///path`.
    pub address: String,
    /// The policy by which its connections reach the workers.
    pub balance: Balance,
    /// The slot that owns it; null when all share it.
    #[serde(default)]
    pub slot: Option<u32>,
    /// Connections that wait to be accepted, where it is known.
    #[serde(default)]
    pub queue: Option<u32>,
}

/// The log files of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogFiles {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// A file that gets both as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combined: Option<String>,
    /// Each slot has files of its own: `-<slot>` stands before the extension.
    #[serde(default)]
    pub per_worker: bool,
    /// How much was logged since the supervisor began.
    #[serde(default)]
    pub figures: LogFigures,
}

/// How much an app has logged since the supervisor began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogFigures {
    /// Lines that were written.
    pub lines: u64,
    /// Their bytes, as they stand in the file.
    pub bytes: u64,
    /// Lines that could not be written: the disk was full, say.
    pub lost: u64,
    /// Lines that were dropped because of `logs.limit`.
    pub dropped: u64,
    /// Lines that were deleted before they were exported, or that the receiver refused.
    pub not_exported: u64,
}

/// What `GET /v1/slots` can be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlotsQuery {
    /// Only the slots of these apps: names or ids with commas between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Whether Node cluster workers are to tell how they are. They go on for some seconds after each such request.
    #[serde(default)]
    pub pulse: bool,
}

/// What `GET /v1/apps/{target}` can be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppQuery {
    /// Whether to show the values of environment variables.
    #[serde(default)]
    pub env: bool,
}

impl SlotStatus {
    /// All that this version knows, in the order of a slot's life.
    pub const KNOWN: [SlotStatus; 9] = [
        SlotStatus::Starting,
        SlotStatus::Online,
        SlotStatus::Draining,
        SlotStatus::Stopped,
        SlotStatus::Exited,
        SlotStatus::Backoff,
        SlotStatus::Scheduled,
        SlotStatus::Waiting,
        SlotStatus::GaveUp,
    ];

    /// The word for it in tables, events and JSON.
    pub fn word(self) -> &'static str {
        match self {
            SlotStatus::Starting => "starting",
            SlotStatus::Online => "online",
            SlotStatus::Draining => "draining",
            SlotStatus::Stopped => "stopped",
            SlotStatus::Exited => "exited",
            SlotStatus::Backoff => "backoff",
            SlotStatus::Scheduled => "scheduled",
            SlotStatus::Waiting => "waiting",
            SlotStatus::GaveUp => "gave_up",
            SlotStatus::Unknown => "unknown",
        }
    }
}

impl CustomMetric {
    /// The value with its unit.
    pub fn text(&self) -> String {
        let value = self.value.as_str().map_or_else(|| self.value.to_string(), str::to_owned);
        self.unit.as_ref().map_or_else(|| value.clone(), |unit| format!("{value} {unit}"))
    }
}

impl RunState {
    /// The word for it in tables, events and JSON.
    pub fn word(self) -> &'static str {
        match self {
            RunState::Starting => "starting",
            RunState::Online => "online",
            RunState::Draining => "draining",
            RunState::Exited => "exited",
            RunState::Unknown => "unknown",
        }
    }
}

impl Mode {
    /// The word for it in tables and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Cluster => "cluster",
            Mode::Fork => "fork",
        }
    }
}

impl From<Runtime> for Mode {
    fn from(runtime: Runtime) -> Mode {
        match runtime {
            Runtime::NodeCluster => Mode::Cluster,
            Runtime::NodeFork | Runtime::Plain => Mode::Fork,
        }
    }
}

impl AppDetail {
    /// Hides the value of every environment variable.
    pub fn redact(&mut self) {
        for value in self.spec.env.values_mut().chain(self.spec.base_env.values_mut()) {
            REDACTED.clone_into(value);
        }
    }
}
