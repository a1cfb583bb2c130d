//! Limits of each worker.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AppSpec, MAX_DURATION, millis};

/// Less memory than any program needs.
const LEAST_MEMORY: u64 = 1 << 20;

/// Limits of each worker process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// A worker whose processes together have more memory than this is replaced, in bytes. Shared pages are counted in
    /// parts (PSS) where that can be seen.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// A worker whose processes together use more CPU than this for `cpu_for` is replaced, in percent of one core.
    #[serde(default)]
    pub cpu_percent: Option<u32>,
    /// How long `cpu_percent` has to be exceeded.
    #[serde(with = "millis", default = "default_cpu_for", rename = "cpu_for_ms")]
    #[schemars(with = "u64")]
    pub cpu_for: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            open_files: None,
            address_space_bytes: None,
            core_bytes: None,
            cpu_seconds: None,
            processes: None,
            nice: None,
            memory_bytes: None,
            cpu_percent: None,
            cpu_for: default_cpu_for(),
        }
    }
}

impl AppSpec {
    pub(super) fn check_limits(&self, fault: &mut impl FnMut(&'static str, String)) {
        let limits = &self.limits;
        if limits.nice.is_some_and(|nice| !(-20..=19).contains(&nice)) {
            fault("limits.nice", "out of range: -20 to 19".into());
        }
        if limits.memory_bytes.is_some_and(|bytes| bytes < LEAST_MEMORY) {
            fault("limits.memory", "less than 1MiB, which no program can do with".into());
        }
        if limits.cpu_percent.is_some_and(|percent| percent == 0 || percent > 100_000) {
            fault("limits.cpu_percent", "out of range: 1 to 100000 percent of one core".into());
        }
        if !(Duration::from_secs(1)..=MAX_DURATION).contains(&limits.cpu_for) {
            fault("limits.cpu_for", "out of range: 1s to a year".into());
        }
    }
}

fn default_cpu_for() -> Duration {
    Duration::from_secs(30)
}
