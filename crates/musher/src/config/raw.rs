//! An app as it was written: typed, but nothing looked up and no default filled in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use musher_core::spec::{
    Balance, Condition, ListenAddress, LogFormat, Missed, OnChange, OnTime, OnUncaught, RestartPolicy,
};

use super::fault::Origin;

/// What one entry of `app` says. `None`: it says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RawApp {
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) script: Option<String>,
    pub(super) command: Option<Vec<String>>,
    pub(super) args: Vec<String>,
    pub(super) cwd: Option<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) env_file: Vec<String>,
    pub(super) filter_env: Option<Filter>,
    pub(super) instance_var: Option<String>,
    pub(super) increment_var: Option<String>,
    pub(super) autostart: Option<bool>,
    pub(super) interpreter: Option<String>,
    pub(super) interpreter_args: Vec<String>,
    pub(super) cluster: Option<bool>,
    pub(super) instances: Option<Instances>,
    pub(super) watch: Option<RawWatch>,
    pub(super) schedule: Option<RawSchedule>,
    pub(super) depends_on: BTreeMap<String, Condition>,
    pub(super) depends_timeout: Option<Duration>,
    pub(super) balance: Option<Balance>,
    pub(super) listen: Vec<RawListen>,
    pub(super) ready: RawReady,
    pub(super) restart: RawRestart,
    pub(super) stop: RawStop,
    pub(super) on_uncaught: Option<OnUncaught>,
    pub(super) preload: Option<bool>,
    pub(super) pid_file: Option<String>,
    pub(super) reload: RawReload,
    pub(super) limits: RawLimits,
    pub(super) health: RawHealth,
    pub(super) hooks: RawHooks,
    pub(super) logs: RawLogs,
    pub(super) user: Option<Account>,
    pub(super) group: Option<Account>,
    /// Where each key stands, by its path.
    pub(super) places: BTreeMap<String, Origin>,
    /// Where the app stands.
    pub(super) at: Origin,
}

impl RawApp {
    /// Where `path` stands, or the table that it would stand in.
    pub(super) fn place(&self, path: &str) -> Origin {
        let mut path = path;
        loop {
            if let Some(at) = self.places.get(path) {
                return *at;
            }
            match path.rfind('.') {
                Some(dot) => path = &path[..dot],
                None => return self.at,
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instances {
    /// As many as the load needs, between these.
    Between(RawScale),
    Exactly(u32),
    Max,
}

/// Which files are watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RawWatch {
    pub(super) paths: Option<Vec<String>>,
    pub(super) ignore: Vec<String>,
    pub(super) extensions: Vec<String>,
    pub(super) loaded: Option<bool>,
    pub(super) gitignore: Option<bool>,
    pub(super) delay: Option<Duration>,
    pub(super) on_change: Option<OnChange>,
}

/// What is done at certain times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RawSchedule {
    pub(super) cron: Option<String>,
    pub(super) timezone: Option<String>,
    pub(super) action: Option<OnTime>,
    pub(super) missed: Option<Missed>,
}

/// What is kept from the workers of the caller's environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    All,
    /// Variables whose name contains one of these.
    Containing(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Account {
    Name(String),
    Id(u32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawListen {
    pub(super) address: ListenAddress,
    pub(super) name: Option<String>,
    pub(super) backlog: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RawReady {
    pub(super) proof: Option<Proof>,
    pub(super) timeout: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    Auto,
    Listening,
    Message,
    Notify,
    Tcp(SocketAddr),
    Http(SocketAddr, String),
    After(Duration),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RawRestart {
    pub(super) policy: Option<RestartPolicy>,
    pub(super) stop_exit_codes: Vec<i32>,
    pub(super) min_uptime: Option<Duration>,
    pub(super) delay: Option<Duration>,
    pub(super) factor: Option<f64>,
    pub(super) max_delay: Option<Duration>,
    pub(super) jitter: Option<f64>,
    pub(super) max_restarts: Option<u32>,
    pub(super) window: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RawScale {
    pub(super) min: Option<u32>,
    pub(super) max: Option<u32>,
    pub(super) up_after: Option<Duration>,
    pub(super) down_after: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RawReload {
    pub(super) max_surge: Option<u32>,
    pub(super) max_unavailable: Option<u32>,
    pub(super) canary: Option<RawCanary>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RawCanary {
    pub(super) slots: Option<u32>,
    pub(super) wait: Option<Duration>,
    pub(super) max_errors: Option<f64>,
    pub(super) max_latency: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RawStop {
    pub(super) signal: Option<i32>,
    pub(super) message: Option<bool>,
    pub(super) tree: Option<bool>,
    pub(super) grace: Option<Duration>,
    pub(super) drain: Option<Duration>,
    pub(super) uncaught: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RawLimits {
    pub(super) open_files: Option<u64>,
    pub(super) address_space: Option<u64>,
    pub(super) core: Option<u64>,
    pub(super) cpu: Option<Duration>,
    pub(super) processes: Option<u64>,
    pub(super) nice: Option<i32>,
    pub(super) memory: Option<u64>,
    pub(super) cpu_percent: Option<u32>,
    pub(super) cpu_for: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RawHealth {
    pub(super) liveness: Option<RawProbe>,
    pub(super) interval: Option<Duration>,
    pub(super) timeout: Option<Duration>,
    pub(super) failures: Option<u32>,
    pub(super) delay: Option<Duration>,
    pub(super) event_loop: Option<Duration>,
    pub(super) watchdog: Option<Duration>,
}

/// Without an address: the worker itself, wherever it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RawProbe {
    Http(Option<SocketAddr>, String),
    Tcp(Option<SocketAddr>),
    Exec(Vec<String>),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RawHooks {
    /// By their names.
    pub(super) commands: BTreeMap<&'static str, RawCommand>,
    pub(super) timeout: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RawCommand {
    /// For the shell.
    Line(String),
    Words(Vec<String>),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RawLogs {
    pub(super) out: Option<String>,
    pub(super) err: Option<String>,
    pub(super) combined: Option<String>,
    pub(super) per_worker: Option<bool>,
    pub(super) format: Option<LogFormat>,
    pub(super) date_format: Option<String>,
    pub(super) max_size: Option<u64>,
    pub(super) max_age: Option<Duration>,
    pub(super) keep: Option<u32>,
    pub(super) keep_for: Option<Duration>,
    pub(super) max_total: Option<u64>,
    pub(super) compress: Option<bool>,
    pub(super) limit: Option<u32>,
    pub(super) journald: Option<String>,
    pub(super) otlp: Option<String>,
}
