//! Limits of each worker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
