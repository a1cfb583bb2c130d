//! The validated description of an app.
//!
//! An [`AppSpec`] is complete: every path is absolute, every default filled in, the interpreter found. Files and flags
//! are turned into it by the command line; the control API carries it; the supervisor keeps it with the app's state.
//! [`AppSpec::check`] is the one place that says what is valid, and it reports every fault at once.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The largest number of slots an app may have.
pub const MAX_INSTANCES: u32 = 1000;
/// The longest name of an app, in bytes.
pub const MAX_NAME: usize = 64;
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
    /// Number of slots, 1 to 1000.
    #[serde(default = "one")]
    pub instances: u32,
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
    /// How workers are replaced.
    #[serde(default)]
    pub reload: Reload,
    /// Limits of each worker process.
    #[serde(default)]
    pub limits: Limits,
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

/// A socket that musher opens for the workers of a socket-activated program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Where to listen.
    pub address: ListenAddress,
    /// Its name in LISTEN_FDNAMES.
    #[serde(default)]
    pub name: Option<String>,
    /// Length of the accept queue, 1 to 65535; the kernel caps it at net.core.somaxconn.
    #[serde(default = "default_backlog")]
    pub backlog: u32,
}

/// Where to listen. Written `tcp://127.0.0.1:8080`, `tcp://[::1]:80`, `udp://0.0.0.0:53`, `unix:///run/app.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenAddress {
    /// TCP; `[::]` takes IPv4 too (dual stack).
    Tcp(SocketAddr),
    /// UDP.
    Udp(SocketAddr),
    /// A unix stream socket at an absolute path.
    Unix(PathBuf),
}

/// When a worker counts as ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// What proves it.
    #[serde(default)]
    pub when: ReadyWhen,
    /// How long a new worker may take. One that takes longer has failed to start.
    #[serde(with = "millis", default = "default_ready_timeout", rename = "timeout_ms")]
    #[schemars(with = "u64")]
    pub timeout: Duration,
}

/// What proves that a worker is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum ReadyWhen {
    /// The first proof that comes: it listens (Node clusters), sends `'ready'`, notifies READY=1. Without any, it is
    /// ready when it has lived for the settle time: 3 s for Node programs, 1 s for others. A Node program that once
    /// proved ready by listening has to prove it so again in later runs.
    #[default]
    Auto,
    /// It listens: the cluster's `listening` message, or its process tree owns a listening socket.
    Listening,
    /// It sends the message `'ready'` (`process.send('ready')`).
    Message,
    /// It notifies READY=1 to NOTIFY_SOCKET (sd_notify(3)).
    Notify,
    /// A TCP connection to this address succeeds.
    Tcp {
        /// `host:port` with a literal IP.
        address: SocketAddr,
    },
    /// `GET` answers with a status from 200 to 399.
    Http {
        /// `host:port` with a literal IP.
        address: SocketAddr,
        /// Path and query, from `/`.
        path: String,
    },
    /// It has lived this long.
    Alive {
        /// Milliseconds.
        after_ms: u64,
    },
}

/// When an exited worker is started again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// After which exits.
    #[serde(default)]
    pub policy: RestartPolicy,
    /// Exit codes after which it stays down, whatever the policy.
    #[serde(default)]
    pub stop_exit_codes: Vec<i32>,
    /// A run that was online for at least this long is stable: it resets the backoff.
    #[serde(with = "millis", default = "default_min_uptime", rename = "min_uptime_ms")]
    #[schemars(with = "u64")]
    pub min_uptime: Duration,
    /// How long to wait before a restart.
    #[serde(default)]
    pub backoff: Backoff,
    /// At most this many restarts in any window; then the slot gives up. 0: never restart.
    #[serde(default = "default_max_restarts")]
    pub max_restarts: u32,
    /// The window of `max_restarts`.
    #[serde(with = "millis", default = "default_restart_window", rename = "window_ms")]
    #[schemars(with = "u64")]
    pub window: Duration,
}

/// After which exits a worker is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// After every exit.
    #[default]
    Always,
    /// After an exit by a signal or with a code other than 0.
    OnFailure,
    /// Never.
    Never,
}

/// How long to wait before the n-th restart in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// The first wait. 0: restart at once.
    #[serde(with = "millis", default = "default_backoff_initial", rename = "initial_ms")]
    #[schemars(with = "u64")]
    pub initial: Duration,
    /// Each wait is this many percent of the one before: 100 is a fixed delay, 200 doubles. 100 to 1000.
    #[serde(default = "default_backoff_factor")]
    pub factor_percent: u32,
    /// The longest wait.
    #[serde(with = "millis", default = "default_backoff_max", rename = "max_ms")]
    #[schemars(with = "u64")]
    pub max: Duration,
    /// Up to this many percent of the wait are taken off by chance, so that a team does not restart in step. 0 to 100.
    #[serde(default = "default_backoff_jitter")]
    pub jitter_percent: u32,
}

/// How a worker is stopped: stop signal, grace, kill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// The stop signal's number (signal(7)).
    #[serde(default = "default_stop_signal")]
    pub signal: i32,
    /// From the stop signal to SIGKILL.
    #[serde(with = "millis", default = "default_grace", rename = "grace_ms")]
    #[schemars(with = "u64")]
    pub grace: Duration,
    /// How long a draining Node worker may take to finish what it has, before it gets the stop signal. Programs of
    /// other kinds drain on the stop signal itself.
    #[serde(with = "millis", default = "default_drain", rename = "drain_ms")]
    #[schemars(with = "u64")]
    pub drain: Duration,
}

/// How workers are replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// How many slots are replaced at a time, 1 to 1000.
    #[serde(default = "one")]
    pub max_surge: u32,
}

/// Limits of each worker process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// RLIMIT_NOFILE: open files.
    #[serde(default)]
    pub open_files: Option<u64>,
    /// RLIMIT_AS: address space in bytes. Node reserves gigabytes that it never uses: not for Node.
    #[serde(default)]
    pub address_space_bytes: Option<u64>,
    /// RLIMIT_CORE: size of a core file in bytes; 0 for none.
    #[serde(default)]
    pub core_bytes: Option<u64>,
    /// RLIMIT_CPU: CPU time of a worker in seconds.
    #[serde(default)]
    pub cpu_seconds: Option<u64>,
    /// RLIMIT_NPROC: processes of the worker's user.
    #[serde(default)]
    pub processes: Option<u64>,
    /// nice(2), -20 to 19.
    #[serde(default)]
    pub nice: Option<i32>,
}

/// Where the workers' output goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// File of standard output; none: `logs/<app>/out.log` in the home.
    #[serde(default)]
    pub out: Option<PathBuf>,
    /// File of standard error; none: `logs/<app>/err.log` in the home.
    #[serde(default)]
    pub err: Option<PathBuf>,
    /// Form of a line.
    #[serde(default)]
    pub format: LogFormat,
    /// Rotate when a file is larger, in bytes; 0: never.
    #[serde(default = "default_log_size")]
    pub max_bytes: u64,
    /// How many rotated files are kept, 0 to 1000.
    #[serde(default = "default_log_keep")]
    pub keep: u32,
}

/// Form of a line in a log file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// As the worker wrote it.
    #[default]
    Raw,
    /// RFC 3339 time in UTC with milliseconds, a space, the line.
    Timestamp,
    /// One JSON object a line: time, app, slot, pid, stream, message.
    Json,
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

/// One thing that is wrong with a spec.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct SpecFault {
    /// The key as in a process file, for example `restart.window`.
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
}

impl AppSpec {
    /// A spec with every default, for `exec` under `name`.
    pub fn new(name: impl Into<String>, exec: Exec, cwd: impl Into<PathBuf>) -> AppSpec {
        AppSpec {
            name: name.into(),
            exec,
            cwd: cwd.into(),
            env: BTreeMap::new(),
            base_env: BTreeMap::new(),
            instances: 1,
            balance: Balance::default(),
            listen: Vec::new(),
            ready: Ready::default(),
            restart: Restart::default(),
            stop: Stop::default(),
            reload: Reload::default(),
            limits: Limits::default(),
            logs: Logs::default(),
            user: None,
        }
    }

    /// Everything that is wrong with this spec, all at once.
    ///
    /// # Errors
    ///
    /// The faults, in the order of the fields; never empty.
    pub fn check(&self) -> Result<(), Vec<SpecFault>> {
        let mut faults = Vec::new();
        let mut fault = |field, message: String| faults.push(SpecFault { field, message });

        if let Err(message) = check_name(&self.name) {
            fault("name", message);
        }
        if !self.exec.program.is_absolute() {
            fault("command", format!("{} is not an absolute path", self.exec.program.display()));
        }
        if !self.cwd.is_absolute() {
            fault("cwd", format!("{} is not an absolute path", self.cwd.display()));
        }
        let mut size = 0;
        for arg in &self.exec.args {
            size += arg.len();
            if arg.contains('\0') {
                fault("args", "an argument contains a NUL byte, which no program can be given".into());
            }
        }
        for (field, env) in [("env", &self.env), ("base_env", &self.base_env)] {
            for (key, value) in env {
                size += key.len() + value.len();
                if key.is_empty() || key.contains(['=', '\0']) {
                    fault(field, format!("{key:?} is not a variable name: it is empty or contains '=' or NUL"));
                }
                if value.contains('\0') {
                    fault(field, format!("the value of {key} contains a NUL byte"));
                }
            }
        }
        if size > MAX_ARGS_AND_ENV {
            fault(
                "env",
                format!("arguments and environment take {size} bytes; at most {MAX_ARGS_AND_ENV} are possible"),
            );
        }
        if self.instances == 0 || self.instances > MAX_INSTANCES {
            fault("instances", format!("{} is out of range: 1 to {MAX_INSTANCES}", self.instances));
        }
        if self.balance == Balance::RoundRobin && self.exec.runtime != Runtime::NodeCluster {
            fault(
                "balance",
                "round-robin hands connections over Node's channel, so it needs a Node program in cluster mode; \
                 use \"shared\" or \"kernel\""
                    .into(),
            );
        }
        self.check_listen(&mut fault);
        self.check_times(&mut fault);
        if self.restart.backoff.factor_percent < 100 || self.restart.backoff.factor_percent > 1000 {
            fault("restart.factor", "out of range: 1 to 10 (a wait never gets shorter than the one before)".into());
        }
        if self.restart.backoff.jitter_percent > 100 {
            fault("restart.jitter", "out of range: 0 to 1 (the part of the wait that is left to chance)".into());
        }
        if self.restart.max_restarts > 10_000 {
            fault("restart.max_restarts", format!("{} is out of range: 0 to 10000", self.restart.max_restarts));
        }
        if self.restart.stop_exit_codes.iter().any(|code| !(0..=255).contains(code)) {
            fault("restart.stop_exit_codes", "an exit code is a number from 0 to 255".into());
        }
        if !(1..=64).contains(&self.stop.signal) || self.stop.signal == 19 {
            fault("stop.signal", format!("{} is not a signal that stops a program", self.stop.signal));
        }
        if self.reload.max_surge == 0 || self.reload.max_surge > MAX_INSTANCES {
            fault("reload.max_surge", format!("{} is out of range: 1 to {MAX_INSTANCES}", self.reload.max_surge));
        }
        if self.limits.nice.is_some_and(|nice| !(-20..=19).contains(&nice)) {
            fault("limits.nice", "out of range: -20 to 19".into());
        }
        for (field, path) in [("logs.out", &self.logs.out), ("logs.err", &self.logs.err)] {
            if path.as_ref().is_some_and(|path| !path.is_absolute()) {
                fault(field, "not an absolute path".into());
            }
        }
        if self.logs.keep > 1000 {
            fault("logs.keep", format!("{} is out of range: 0 to 1000", self.logs.keep));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn check_listen(&self, fault: &mut impl FnMut(&'static str, String)) {
        if self.listen.len() > MAX_LISTEN {
            fault("listen", format!("{} sockets; at most {MAX_LISTEN} are possible", self.listen.len()));
        }
        for (n, listen) in self.listen.iter().enumerate() {
            if self.listen[..n].iter().any(|other| other.address == listen.address) {
                fault("listen", format!("{} is named twice", listen.address));
            }
            if listen.backlog == 0 || listen.backlog > 65_535 {
                fault("listen.backlog", format!("{} is out of range: 1 to 65535", listen.backlog));
            }
            if let Some(name) = &listen.name
                && (name.is_empty() || name.len() > 255 || name.chars().any(|c| c == ':' || c.is_control()))
            {
                // sd_listen_fds_with_names(3)
                fault("listen.name", format!("{name:?} is not a name: 1 to 255 characters without ':' and controls"));
            }
            if let ListenAddress::Unix(path) = &listen.address {
                if !path.is_absolute() {
                    fault("listen", format!("{} is not an absolute path", path.display()));
                }
                // unix(7): sun_path is 108 bytes with its final NUL.
                if path.as_os_str().len() > 107 {
                    fault("listen", format!("{} is longer than the 107 bytes a socket path may have", path.display()));
                }
            }
        }
    }

    fn check_times(&self, fault: &mut impl FnMut(&'static str, String)) {
        let times = [
            ("ready.timeout", self.ready.timeout),
            ("restart.min_uptime", self.restart.min_uptime),
            ("restart.window", self.restart.window),
            ("restart.delay", self.restart.backoff.initial),
            ("restart.max_delay", self.restart.backoff.max),
            ("stop.grace", self.stop.grace),
            ("stop.drain", self.stop.drain),
        ];
        for (field, time) in times {
            if time > MAX_DURATION {
                fault(field, "longer than a year".into());
            }
        }
        for (field, time) in [("ready.timeout", self.ready.timeout), ("restart.window", self.restart.window)] {
            if time.is_zero() {
                fault(field, "must be longer than 0".into());
            }
        }
        if let ReadyWhen::Alive { after_ms } = self.ready.when
            && Duration::from_millis(after_ms) >= self.ready.timeout
        {
            fault("ready.after", "not shorter than ready.timeout, so that no worker would ever be ready".into());
        }
        if let ReadyWhen::Http { path, .. } = &self.ready.when
            && (!path.starts_with('/') || path.contains(|c: char| c.is_control() || c == ' '))
        {
            fault("ready.http", format!("{path:?} is not a path: it starts with '/' and has no spaces"));
        }
        if self.ready.when == ReadyWhen::Message && self.exec.runtime == Runtime::Plain {
            fault("ready", "a message needs Node's channel; this program has none".into());
        }
    }

    /// Whether a running app of this spec has to be replaced to become `other`. What does not concern the processes
    /// (the number of slots) or is not the user's word (the inherited environment) does not count.
    pub fn differs_in_process(&self, other: &AppSpec) -> bool {
        let strip = |spec: &AppSpec| AppSpec { instances: 1, base_env: BTreeMap::new(), ..spec.clone() };
        strip(self) != strip(other)
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

/// Whether `name` can be the name of an app.
///
/// # Errors
///
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a name is at least one character long".into());
    }
    if name.len() > MAX_NAME {
        return Err(format!("the name has {} bytes; at most {MAX_NAME} are possible", name.len()));
    }
    if let Some(bad) = name.chars().find(|c| !(c.is_alphanumeric() || " ._-@:".contains(*c))) {
        return Err(format!("{bad:?} cannot be in a name: use letters, digits, '.', '_', '-', '@', ':' and spaces"));
    }
    if name.starts_with([' ', '.', '-']) || name.ends_with(' ') {
        return Err("a name does not start with a space, '.' or '-', nor end with a space".into());
    }
    if name == "all" {
        return Err("\"all\" stands for every app and cannot be the name of one".into());
    }
    if name.chars().all(|c| c.is_ascii_digit()) {
        return Err(format!("{name} would be taken for an id: a name has something other than digits"));
    }
    Ok(())
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => write!(f, "tcp://{address}"),
            ListenAddress::Udp(address) => write!(f, "udp://{address}"),
            ListenAddress::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl std::str::FromStr for ListenAddress {
    type Err = String;

    /// `tcp://IP:PORT` (also `tcp://:PORT`, all addresses, and plain `IP:PORT` or `PORT`), `udp://IP:PORT`,
    /// `unix:///absolute/path` (also plain `/absolute/path`).
    fn from_str(text: &str) -> Result<Self, String> {
        let socket = |rest: &str| -> Result<SocketAddr, String> {
            let bare_port = rest.strip_prefix(':').unwrap_or(rest);
            if let Ok(port) = bare_port.parse::<u16>() {
                return Ok(SocketAddr::from(([0u16; 8], port)));
            }
            let rest = rest.replace("localhost:", "127.0.0.1:");
            rest.parse().map_err(|_| {
                format!(
                    "{text:?} is not an address: use tcp://IP:PORT, udp://IP:PORT or unix:///path, with a literal IP"
                )
            })
        };
        if let Some(rest) = text.strip_prefix("udp://") {
            Ok(ListenAddress::Udp(socket(rest)?))
        } else if let Some(path) = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")) {
            Ok(ListenAddress::Unix(PathBuf::from(path)))
        } else if text.starts_with('/') {
            Ok(ListenAddress::Unix(PathBuf::from(text)))
        } else {
            Ok(ListenAddress::Tcp(socket(text.strip_prefix("tcp://").unwrap_or(text))?))
        }
    }
}

impl Serialize for ListenAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for ListenAddress {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ListenAddress".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        String::json_schema(generator)
    }
}

impl Default for Ready {
    fn default() -> Self {
        Ready { when: ReadyWhen::Auto, timeout: default_ready_timeout() }
    }
}

impl Default for Restart {
    fn default() -> Self {
        Restart {
            policy: RestartPolicy::Always,
            stop_exit_codes: Vec::new(),
            min_uptime: default_min_uptime(),
            backoff: Backoff::default(),
            max_restarts: default_max_restarts(),
            window: default_restart_window(),
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            initial: default_backoff_initial(),
            factor_percent: default_backoff_factor(),
            max: default_backoff_max(),
            jitter_percent: default_backoff_jitter(),
        }
    }
}

impl Default for Stop {
    fn default() -> Self {
        Stop { signal: default_stop_signal(), grace: default_grace(), drain: default_drain() }
    }
}

impl Default for Reload {
    fn default() -> Self {
        Reload { max_surge: 1 }
    }
}

impl Default for Logs {
    fn default() -> Self {
        Logs { out: None, err: None, format: LogFormat::Raw, max_bytes: default_log_size(), keep: default_log_keep() }
    }
}

fn one() -> u32 {
    1
}

fn default_backlog() -> u32 {
    511
}

fn default_ready_timeout() -> Duration {
    Duration::from_secs(30)
}

fn default_min_uptime() -> Duration {
    Duration::from_secs(1)
}

fn default_max_restarts() -> u32 {
    10
}

fn default_restart_window() -> Duration {
    Duration::from_secs(60)
}

/// The first restart of a stable worker is immediate; see `lifecycle`.
fn default_backoff_initial() -> Duration {
    Duration::from_millis(100)
}

fn default_backoff_factor() -> u32 {
    200
}

/// Short enough that a program which always fails reaches `max_restarts` within `window`, and is given up.
fn default_backoff_max() -> Duration {
    Duration::from_secs(5)
}

fn default_backoff_jitter() -> u32 {
    20
}

/// SIGTERM.
fn default_stop_signal() -> i32 {
    15
}

fn default_grace() -> Duration {
    Duration::from_secs(5)
}

fn default_drain() -> Duration {
    Duration::from_secs(30)
}

fn default_log_size() -> u64 {
    10 << 20
}

fn default_log_keep() -> u32 {
    5
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
