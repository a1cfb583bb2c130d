//! How workers are stopped and replaced.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{millis, one};

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
