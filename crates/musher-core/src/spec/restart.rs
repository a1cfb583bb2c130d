//! When an exited worker is started again, and after what wait.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::millis;

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
