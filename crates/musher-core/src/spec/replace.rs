//! How workers are stopped and replaced.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::compare::Bounds;

use super::{AppSpec, Runtime, is_no, is_yes, millis, one, yes};

/// How a worker is stopped: stop signal, grace, kill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// The stop signal's number (signal(7)).
    #[serde(default = "default_stop_signal")]
    pub signal: i32,
    /// Whether a Node worker is sent the message `'shutdown'` in place of the stop signal.
    #[serde(default, skip_serializing_if = "is_no")]
    pub message: bool,
    /// Whether the stop signal goes to all processes of a worker, not only to the first. What is left when that has ended
    /// is ended in any case.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub tree: bool,
    /// From the stop signal to SIGKILL.
    #[serde(with = "millis", default = "default_grace", rename = "grace_ms")]
    #[schemars(with = "u64")]
    pub grace: Duration,
    /// How long a draining Node worker may take to finish what it has, before it gets the stop signal. Programs of
    /// other kinds drain on the stop signal itself; those that have a socket for each slot get it later when a slot is
    /// scaled away: they have this time to accept what waits there.
    #[serde(with = "millis", default = "default_drain", rename = "drain_ms")]
    #[schemars(with = "u64")]
    pub drain: Duration,
    /// How long a worker that reported an uncaught exception may take to finish what it has, before it gets the stop
    /// signal.
    #[serde(with = "millis", default = "default_uncaught", rename = "uncaught_ms")]
    #[schemars(with = "u64")]
    pub uncaught: Duration,
}

/// What becomes of a Node worker when an exception is thrown that nobody catches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnUncaught {
    /// It takes nothing new, finishes what it has, and ends. Its replacement is started at once.
    Drain,
    /// It ends at once, as without musher.
    Exit,
}

impl AppSpec {
    /// What becomes of a worker that throws an exception which nobody catches. A worker of a cluster has siblings that
    /// take its connections, and requests of others that can be finished; a program by itself has a state that nobody
    /// can trust any more, and nobody who takes over while it lives.
    pub fn effective_on_uncaught(&self) -> OnUncaught {
        match (self.on_uncaught, self.exec.runtime) {
            _ if !self.preload => OnUncaught::Exit,
            (Some(asked), Runtime::NodeCluster) => asked,
            (None, Runtime::NodeCluster) => OnUncaught::Drain,
            (_, Runtime::NodeFork | Runtime::Plain) => OnUncaught::Exit,
        }
    }
}

/// How workers are replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// How many slots have a new worker beside the old one at a time, 0 to 1000.
    #[serde(default = "one")]
    pub max_surge: u32,
    /// How many slots may be without a ready worker because their old one ends before the new one starts, 0 to 1000.
    #[serde(default)]
    pub max_unavailable: u32,
    /// Whether a reload tries the new version on a few slots first.
    #[serde(default)]
    pub canary: Option<Canary>,
}

/// How a reload tries the new version first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// How many slots get it first, 1 to 1000.
    #[serde(default = "one")]
    pub slots: u32,
    /// How long they are watched.
    #[serde(with = "millis", default = "default_wait", rename = "wait_ms")]
    #[schemars(with = "u64")]
    pub wait: Duration,
    /// How many more of a thousand answers than the old version's may be errors, 0 to 1000.
    #[serde(default = "default_max_errors")]
    pub max_errors_permille: u32,
    /// How long answers may take, in percent of the old version's, 100 to 10000.
    #[serde(default = "default_max_latency")]
    pub max_latency_percent: u32,
}

impl Default for Canary {
    fn default() -> Self {
        Canary {
            slots: 1,
            wait: default_wait(),
            max_errors_permille: default_max_errors(),
            max_latency_percent: default_max_latency(),
        }
    }
}

impl Canary {
    /// How much worse the new version may be.
    pub fn bounds(&self) -> Bounds {
        Bounds { max_errors_permille: self.max_errors_permille, max_latency_percent: self.max_latency_percent }
    }
}

impl Default for Stop {
    fn default() -> Self {
        Stop {
            signal: default_stop_signal(),
            message: false,
            tree: true,
            grace: default_grace(),
            drain: default_drain(),
            uncaught: default_uncaught(),
        }
    }
}

impl Default for Reload {
    fn default() -> Self {
        Reload { max_surge: 1, max_unavailable: 0, canary: None }
    }
}

fn default_wait() -> Duration {
    Duration::from_secs(30)
}

fn default_max_errors() -> u32 {
    10
}

fn default_max_latency() -> u32 {
    200
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

fn default_uncaught() -> Duration {
    Duration::from_secs(5)
}
