//! What the driver writes to the keeper, so that a later supervisor can go on: the records of the home and of each app.
//!
//! Each record is one JSON document under one name. Fields may be added; unknown ones are ignored and missing ones have
//! defaults, and a word that is not known takes along no more than it must ([`musher_core::tolerant`]), so that versions
//! next to each other understand each other. A record says which version is the oldest that
//! can read it (`readable_from`); it is not touched by one that is older.

use std::collections::{BTreeMap, VecDeque};

use crate::files::Loaded;

use super::gate::Gate;
use super::hooks::HookRecord;
use super::tally::Tally;
use super::timetable::TimesRecord;
use musher_api::{CustomAction, Death, Operation, OperationRef, PlanStep};
use musher_core::lifecycle::{App, OpError};
use musher_core::spec::{AppSpec, ListenAddress};
use musher_core::tolerant::{self, Understood};
use musher_core::{AppId, Generation, OpId, RunId, SlotId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The version of the records that this supervisor writes.
pub(super) const VERSION: u32 = if cfg!(feature = "next") { 2 } else { 1 };
/// The oldest version that can read them. It follows [`VERSION`] by one at least, so that a downgrade by one is possible.
pub(super) const READABLE_FROM: u32 = 1;
/// How many operations that are done are remembered.
pub(super) const REMEMBERED_OPERATIONS: usize = 64;
/// How many requests are recognised when they come again.
pub(super) const REMEMBERED_REQUESTS: usize = 128;
/// How many steps the answers to all of them have together.
pub(super) const REMEMBERED_ANSWERS: usize = 2048;

/// What belongs to no app: counters, operations, requests.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct HomeRecord {
    pub(super) version: u32,
    pub(super) readable_from: u32,
    /// Marks the workers of this home in their environment.
    pub(super) home_id: String,
    pub(super) next_app: u32,
    pub(super) next_operation: u64,
    pub(super) operations: Vec<Operation>,
    pub(super) requests: VecDeque<AnsweredRequest>,
    /// Set when everything is to be stopped and the daemon to end.
    pub(super) shutting_down: bool,
    /// Whether the list on the disk stays then, for the next daemon.
    pub(super) keeps_list: bool,
    /// Set when what was on the disk has been taken up, or there was nothing.
    pub(super) taken_up: bool,
    /// The address that workers notify.
    pub(super) notify: String,
    /// Set while supervisor and keeper become another executable.
    pub(super) upgrade: Option<UpgradeRecord>,
    /// A field that only the version after this one knows.
    #[cfg(feature = "next")]
    pub(super) of_the_next_version: Option<String>,
}

/// An upgrade that was begun.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct UpgradeRecord {
    /// The operation that waits for its end.
    pub(super) operation: u64,
    /// The versions before and after.
    pub(super) from: String,
    pub(super) to: String,
    /// The path that was given.
    pub(super) path: String,
}

/// A request that was answered, to be answered the same when it comes again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct AnsweredRequest {
    pub(super) request_id: String,
    pub(super) plan: Vec<PlanStep>,
    pub(super) operations: Vec<OperationRef>,
}

/// One app, but for its specs, which have names of their own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AppRecord {
    pub(super) version: u32,
    #[serde(default)]
    pub(super) readable_from: u32,
    pub(super) id: AppId,
    pub(super) name: String,
    /// When it was added, in milliseconds since 1970.
    pub(super) added_ms: u64,
    /// The decisions.
    pub(super) machine: App,
    /// What is known of each run beyond the decisions.
    #[serde(default)]
    pub(super) runs: BTreeMap<RunId, RunRecord>,
    /// The last death in each slot.
    #[serde(default)]
    pub(super) deaths: BTreeMap<SlotId, Death>,
    /// The worker id that the next worker of a Node cluster gets.
    #[serde(default)]
    pub(super) next_worker: u32,
    /// Whether a Node program proved ready by listening before, so that it has to again.
    #[serde(default)]
    pub(super) listens: bool,
    /// Where the sockets listen that the driver opened, by their numbers.
    #[serde(default)]
    pub(super) sockets: BTreeMap<usize, ListenAddress>,
    /// The slots of each that has one socket for each slot, in the order of the kernel's array, where that is known.
    #[serde(default)]
    pub(super) orders: BTreeMap<usize, Vec<SlotId>>,
    /// The newest generation.
    pub(super) newest: Generation,
    /// What is counted for its metrics.
    #[serde(default)]
    pub(super) tally: Tally,
    /// Hooks that have not ended.
    #[serde(default)]
    pub(super) hooks: Vec<HookRecord>,
    /// A command that waits.
    #[serde(default)]
    pub(super) gate: Option<Gate>,
    /// What is remembered of its schedule.
    #[serde(default)]
    pub(super) times: TimesRecord,
    /// What its programs have loaded.
    #[serde(default, skip_serializing_if = "Loaded::is_empty")]
    pub(super) loaded: Loaded,
    /// Operations that have ended and whose end was not told yet.
    #[serde(default)]
    pub(super) held: Vec<HeldRecord>,
}

/// The end of an operation that was not told yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct HeldRecord {
    pub(super) op: OpId,
    pub(super) result: Result<(), OpError>,
}

/// What is known of a run beyond the decisions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RunRecord {
    pub(super) slot: SlotId,
    pub(super) generation: Generation,
    /// None until it was spawned.
    pub(super) pid: Option<i32>,
    /// When it was spawned, in milliseconds since 1970.
    pub(super) started_ms: u64,
    /// Whether it proved ready.
    #[serde(default)]
    pub(super) was_ready: bool,
    /// Whether musher told it to end.
    #[serde(default)]
    pub(super) asked: bool,
    /// How it broke the rules of its channel, for which it was killed.
    #[serde(default)]
    pub(super) violation: Option<String>,
    /// The beginning of what it threw that nobody caught.
    #[serde(default)]
    pub(super) uncaught: Option<String>,
    /// How many connections it closed because the limit of its drain was reached.
    #[serde(default)]
    pub(super) cut: u32,
    /// What it last said of itself with STATUS=.
    #[serde(default)]
    pub(super) said: Option<String>,
    /// Why it was found unfit.
    #[serde(default)]
    pub(super) unfit: Option<String>,
    /// How many processes beside ours the kernel had killed for want of memory when this one was spawned.
    #[serde(default)]
    pub(super) kills_before: Option<u64>,
    /// What its program does when it is asked to by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) custom_actions: Vec<CustomAction>,
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error("it cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("it is not what this version writes: {0}")]
    Form(#[from] serde_json::Error),
    #[error("it has version {0}, this supervisor knows {VERSION}")]
    Version(u32),
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
    /// Not said by the first version, which everybody can read.
    #[serde(default)]
    readable_from: Option<u32>,
}

/// Reads a record.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RecordError> {
    let Versioned { version, readable_from } = serde_json::from_slice(bytes)?;
    if readable_from.unwrap_or(version) > VERSION {
        return Err(RecordError::Version(version));
    }
    Ok(understand(bytes)?)
}

/// Reads a spec.
pub(super) fn decode_spec(bytes: &[u8]) -> Result<AppSpec, serde_json::Error> {
    understand(bytes)
}

/// Reads what is understood, and tells what is not.
fn understand<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    let Understood { value, left_out } = tolerant::read(bytes)?;
    if let Some(first) = left_out.first() {
        tracing::warn!(first, more = left_out.len() - 1, "a record of another version: something is left out");
    }
    Ok(value)
}

/// Whether what the keeper holds under this name could be gone on with. Names that are no records are none of our matter.
pub(crate) fn can_read(name: &str, bytes: &[u8]) -> Result<(), String> {
    let told = |error: RecordError| error.to_string();
    match name.split_once('/') {
        None if name == names::HOME => decode::<HomeRecord>(bytes).map(drop).map_err(told),
        Some(("app", _)) => decode::<AppRecord>(bytes).map(drop).map_err(told),
        Some(("spec", _)) => decode_spec(bytes).map(drop).map_err(|error| error.to_string()),
        Some(("cluster", _)) => musher_cluster::can_read(bytes).map_err(Into::into),
        None | Some(_) => Ok(()),
    }
}

/// Names of things in the keeper.
pub(super) mod names {
    use musher_core::{AppId, Generation, RunId};

    pub(in crate::driver) const HOME: &str = "home";
    pub(in crate::driver) const NOTIFY: &str = "notify";
    pub(in crate::driver) const RUN_PIDFD: &str = "pidfd";
    pub(in crate::driver) const RUN_CHANNEL: &str = "channel";
    pub(in crate::driver) const RUN_OUT: &str = "out";
    pub(in crate::driver) const RUN_ERR: &str = "err";

    pub(in crate::driver) fn app(app: AppId) -> String {
        format!("app/{app}")
    }

    pub(in crate::driver) fn spec(app: AppId, generation: Generation) -> String {
        format!("spec/{app}/{generation}")
    }

    pub(in crate::driver) fn run(run: RunId, part: &str) -> String {
        format!("run/{run}/{part}")
    }

    /// A listening socket that the driver itself opened for the app's `listen` entry `n`.
    pub(in crate::driver) fn socket(app: AppId, n: usize, slot: &str) -> String {
        format!("socket/{app}/{n}/{slot}")
    }
}
