//! The validated description of an app.
//!
//! An [`AppSpec`] is complete: every path is absolute, every default filled in, the interpreter found. Files and flags
//! are turned into it by the command line; the control API carries it; the supervisor keeps it with the app's state.
//! [`AppSpec::check`] is the one place that says what is valid, and it reports every fault at once.

mod check;
mod date;
mod depend;
mod health;
mod hooks;
mod limits;
mod listen;
mod logs;
mod ready;
mod replace;
mod restart;
mod scale;
mod schedule;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::SlotId;

pub use check::{SpecFault, check_name, is_mushers_own};
pub use date::DatePattern;
pub use depend::{Condition, MAX_DEPENDENCIES};
pub use health::{Health, MAX_COMMAND, Probe};
pub use hooks::Hooks;
pub use limits::Limits;
pub use listen::{Listen, ListenAddress};
pub use logs::{LogFormat, Logs};
pub use ready::{Ready, ReadyWhen};
pub use replace::{Canary, OnUncaught, Reload, Stop};
pub use restart::{Backoff, Restart, RestartPolicy};
pub use scale::AutoScale;
pub use schedule::{Missed, OnTime, Schedule};
pub use watch::{MAX_WATCHED, OnChange, WatchFiles};

/// The largest number of slots an app may have.
pub const MAX_INSTANCES: u32 = 1000;
/// The longest name of an app, in bytes.
pub const MAX_NAME: usize = 64;
/// The namespace of apps that name none.
pub const DEFAULT_NAMESPACE: &str = "default";
/// The largest number of `listen` entries of an app.
pub const MAX_LISTEN: usize = 32;
/// The largest size of arguments and environment together, in bytes (Linux refuses much more at execve(2)).
pub const MAX_ARGS_AND_ENV: usize = 1 << 20;
/// The longest duration that a spec may contain: a year.
pub const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

/// A program that musher runs as a team of workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppSpec {
    /// Unique within one home. Letters, digits, `.`, `_`, `-`, `@`, `:` and spaces inside; at most 64 bytes.
    pub name: String,
    /// A word that several apps share, by which they can be named together.
    #[serde(default = "default_namespace", skip_serializing_if = "is_default_namespace")]
    pub namespace: String,
    /// What to execute.
    pub exec: Exec,
    /// Working directory of the workers.
    pub cwd: PathBuf,
    /// Environment that the user declared for this app. A change of it is a change of the app.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Environment inherited from where the app was started. `env` wins over it. A change of it is not a change of
    /// the app: two shells differ in many variables that mean nothing to a program.
    #[serde(default)]
    pub base_env: BTreeMap<String, String>,
    /// Variables that differ from slot to slot.
    #[serde(default, skip_serializing_if = "SlotVariables::is_usual")]
    pub slot_variables: SlotVariables,
    /// Whether a start of the app's description starts its workers, too; if not, it is added as stopped.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub autostart: bool,
    /// Number of slots, 1 to 1000.
    #[serde(default = "one")]
    pub instances: u32,
    /// Between which numbers load may move it.
    #[serde(default)]
    pub scale: Option<AutoScale>,
    /// Files whose change replaces the workers; none: no change does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<WatchFiles>,
    /// What is done at certain times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// What has to be true of other apps, by name, before this one is started.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub depends_on: BTreeMap<String, Condition>,
    /// How long a start waits for those.
    #[serde(
        with = "millis",
        default = "depend::default_timeout",
        rename = "depends_timeout_ms",
        skip_serializing_if = "depend::is_default_timeout"
    )]
    #[schemars(with = "u64")]
    pub depends_timeout: Duration,
    /// How connections reach the workers.
    #[serde(default)]
    pub balance: Balance,
    /// Sockets that musher opens for a program that takes them by socket activation (sd_listen_fds(3)).
    #[serde(default)]
    pub listen: Vec<Listen>,
    /// When a worker counts as ready.
    #[serde(default)]
    pub ready: Ready,
    /// When an exited worker is started again.
    #[serde(default)]
    pub restart: Restart,
    /// How a worker is stopped.
    #[serde(default)]
    pub stop: Stop,
    /// What becomes of a Node worker when an exception is thrown that nobody catches; none: `drain` for workers of a
    /// cluster, `exit` for others.
    #[serde(default)]
    pub on_uncaught: Option<OnUncaught>,
    /// Whether Node programs load musher's script, which lets workers of a cluster drain without cutting off anybody.
    #[serde(default = "yes")]
    pub preload: bool,
    /// Where the pid of each worker stands, `-` and the number of the slot before the extension; none: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_file: Option<PathBuf>,
    /// How workers are replaced.
    #[serde(default)]
    pub reload: Reload,
    /// Limits of each worker process.
    #[serde(default)]
    pub limits: Limits,
    /// What proves that a worker which serves still does.
    #[serde(default)]
    pub health: Health,
    /// Commands that are run when something happens.
    #[serde(default)]
    pub hooks: Hooks,
    /// Where the workers' output goes.
    #[serde(default)]
    pub logs: Logs,
    /// The account that workers run as; none: the supervisor's own.
    #[serde(default)]
    pub user: Option<User>,
}

/// What to execute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// Absolute path of the executable: an interpreter or the program itself.
    pub program: PathBuf,
    /// Everything after `argv[0]`: interpreter arguments, script, the script's arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// The script among `args`, when there is one: what people call the program.
    #[serde(default)]
    pub script: Option<PathBuf>,
    /// How the program is spoken to.
    #[serde(default)]
    pub runtime: Runtime,
}

/// Variables of the environment that differ from slot to slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlotVariables {
    /// What the variable with the number of the slot is called; none: `NODE_APP_INSTANCE`.
    #[serde(default)]
    pub number: Option<String>,
    /// A variable of `env` that is larger by one in each further slot.
    #[serde(default)]
    pub increment: Option<String>,
}

impl SlotVariables {
    /// The usual name of the variable with the number of the slot.
    pub const NUMBER: &str = "NODE_APP_INSTANCE";

    fn is_usual(&self) -> bool {
        *self == SlotVariables::default()
    }
}

/// How musher speaks to a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Runtime {
    /// Any program: stop signals, sd_notify, LISTEN_FDS, PORT.
    #[default]
    Plain,
    /// A Node program with an IPC channel (`process.send`) that binds its own ports.
    NodeFork,
    /// A Node program that is a worker of a cluster: its `listen` calls are answered by musher.
    NodeCluster,
}

impl Runtime {
    /// Whether a program of this file name is Node: `node`, `nodejs` as Debian calls it, or one of several as `node22`.
    pub fn is_node(name: &str) -> bool {
        let version = |rest: &str| rest.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        name.strip_prefix("node").is_some_and(|rest| rest == "js" || version(rest))
    }
}

/// How connections reach the workers. See the architecture page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// `kernel` for TCP of Node clusters; `shared` for everything else.
    #[default]
    Auto,
    /// One SO_REUSEPORT socket for each slot.
    Kernel,
    /// One listening socket for all slots.
    Shared,
    /// The supervisor accepts and hands connections to the workers in turn (Node clusters only).
    RoundRobin,
}

/// The account that workers run as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids; replaces the supervisor's.
    #[serde(default)]
    pub groups: Vec<u32>,
}

impl AppSpec {
    /// A spec with every default, for `exec` under `name`.
    pub fn new(name: impl Into<String>, exec: Exec, cwd: impl Into<PathBuf>) -> AppSpec {
        AppSpec {
            name: name.into(),
            namespace: default_namespace(),
            exec,
            cwd: cwd.into(),
            env: BTreeMap::new(),
            base_env: BTreeMap::new(),
            slot_variables: SlotVariables::default(),
            autostart: true,
            instances: 1,
            scale: None,
            watch: None,
            schedule: None,
            depends_on: BTreeMap::new(),
            depends_timeout: depend::default_timeout(),
            balance: Balance::default(),
            listen: Vec::new(),
            ready: Ready::default(),
            restart: Restart::default(),
            stop: Stop::default(),
            on_uncaught: None,
            preload: true,
            pid_file: None,
            reload: Reload::default(),
            limits: Limits::default(),
            health: Health::default(),
            hooks: Hooks::default(),
            logs: Logs::default(),
            user: None,
        }
    }

    /// Whether a running app of this spec has to be replaced to become `other`. What does not concern the processes
    /// (the number of slots, the namespace) or is not the user's word (the inherited environment) does not count.
    pub fn differs_in_process(&self, other: &AppSpec) -> bool {
        let strip = |spec: &AppSpec| AppSpec {
            namespace: String::new(),
            autostart: true,
            instances: 1,
            base_env: BTreeMap::new(),
            pid_file: None,
            ..spec.clone()
        };
        strip(self) != strip(other)
    }

    /// Where the pid of the worker in this slot stands.
    pub fn pid_file_of(&self, slot: SlotId) -> Option<PathBuf> {
        let path = self.pid_file.as_ref()?;
        let mut name = path.file_stem()?.to_owned();
        name.push(format!("-{slot}"));
        if let Some(extension) = path.extension() {
            name.push(".");
            name.push(extension);
        }
        Some(path.with_file_name(name))
    }

    /// The policy that `Balance::Auto` stands for here.
    pub fn effective_balance(&self) -> Balance {
        match (self.balance, self.exec.runtime) {
            (Balance::Auto, Runtime::NodeCluster) => Balance::Kernel,
            (Balance::Auto, _) => Balance::Shared,
            (asked, _) => asked,
        }
    }
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_yes(value: &bool) -> bool {
    *value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_no(value: &bool) -> bool {
    !*value
}

fn default_namespace() -> String {
    DEFAULT_NAMESPACE.to_owned()
}

fn is_default_namespace(namespace: &str) -> bool {
    namespace == DEFAULT_NAMESPACE
}

/// Durations as whole milliseconds.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// The same, where there may be none.
mod millis_or_none {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde gives references")]
    pub(super) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        millis.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
    }
}
