//! The rules of one generation of an app, taken from its spec.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::spec::{AppSpec, Backoff, Balance, Exec, RestartPolicy, Runtime};

/// What decisions need of a spec, and no more. Kept for each generation that still has a slot or a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// After which exits a slot is filled again.
    pub restart: RestartPolicy,
    /// Exit codes after which it is not, whatever the policy.
    pub stop_exit_codes: Vec<i32>,
    /// A run that was online for this long is stable.
    pub min_uptime: Duration,
    /// How long to wait before the restart after the first failure.
    pub backoff_initial: Duration,
    /// Each wait is this many percent of the one before.
    pub backoff_factor_percent: u32,
    /// The longest wait.
    pub backoff_max: Duration,
    /// Up to this many percent of a wait are taken off by chance.
    pub backoff_jitter_percent: u32,
    /// At most this many restarts in any window.
    pub max_restarts: u32,
    /// The window.
    pub window: Duration,
    /// How long a run may take to be ready.
    pub ready_timeout: Duration,
    /// The stop signal's number.
    pub stop_signal: i32,
    /// From the stop signal to SIGKILL.
    pub grace: Duration,
    /// How long a run may drain before it gets the stop signal: a little longer than the spec allows.
    pub drain: Duration,
    /// How long a run that reported an uncaught exception may drain before it gets the stop signal.
    pub uncaught: Duration,
    /// Whether a run can drain apart from the stop signal.
    pub drains: bool,
    /// How many slots a reload replaces at a time.
    pub max_surge: u32,
    /// How many slots a reload may leave without a worker that is ready.
    pub max_unavailable: u32,
    /// Whether it is a job: a start has it wait for its time.
    pub job: bool,
    /// Whether it needs other apps: a start has it wait for them.
    pub waits: bool,
}

/// When its time to drain is over, a Node worker cuts what is left by itself, and tells how much that was. It gets the stop
/// signal only if that does not happen.
const CUTTING: Duration = Duration::from_secs(1);

impl From<&AppSpec> for Policy {
    fn from(spec: &AppSpec) -> Policy {
        let of_cluster = spec.exec.runtime == Runtime::NodeCluster;
        // Others cannot be told, but when they are scaled away the driver can wait until they have accepted what waits.
        let drains = of_cluster || spec.effective_balance() == Balance::Kernel && !spec.listen.is_empty();
        let Backoff { initial, factor_percent, max, jitter_percent } = spec.restart.backoff;
        let policy = Policy {
            restart: spec.restart.policy,
            stop_exit_codes: spec.restart.stop_exit_codes.clone(),
            min_uptime: spec.restart.min_uptime,
            backoff_initial: initial,
            backoff_factor_percent: factor_percent,
            backoff_max: max,
            backoff_jitter_percent: jitter_percent,
            max_restarts: spec.restart.max_restarts,
            window: spec.restart.window,
            ready_timeout: spec.ready.timeout,
            stop_signal: spec.stop.signal,
            grace: spec.stop.grace,
            drain: spec.stop.drain,
            uncaught: spec.stop.uncaught,
            drains,
            max_surge: spec.reload.max_surge,
            max_unavailable: spec.reload.max_unavailable,
            job: spec.is_job(),
            waits: !spec.depends_on.is_empty(),
        };
        if of_cluster && spec.preload { policy.cut_by_workers() } else { policy }
    }
}

impl Policy {
    /// The same for workers that cut what is left of their drain by themselves, as Node's with the preload do.
    #[must_use]
    pub fn cut_by_workers(self) -> Policy {
        Policy { drain: self.drain + CUTTING, uncaught: self.uncaught + CUTTING, ..self }
    }
}

impl Default for Policy {
    /// The rules of a spec that says nothing.
    fn default() -> Policy {
        let exec = Exec { program: "/".into(), args: Vec::new(), script: None, runtime: Runtime::Plain };
        Policy::from(&AppSpec::new("", exec, "/"))
    }
}
