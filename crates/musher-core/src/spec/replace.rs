//! How workers are stopped and replaced.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AppSpec, Runtime, millis, one};

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
    /// How many slots are replaced at a time, 1 to 1000.
    #[serde(default = "one")]
    pub max_surge: u32,
}

impl Default for Stop {
    fn default() -> Self {
        Stop {
            signal: default_stop_signal(),
            grace: default_grace(),
            drain: default_drain(),
            uncaught: default_uncaught(),
        }
    }
}

impl Default for Reload {
    fn default() -> Self {
        Reload { max_surge: 1 }
    }
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
