//! The state of musher itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `GET /v1/status` gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Version of the supervisor's executable.
    pub version: String,
    /// Version of this API.
    pub api_version: u32,
    /// The home directory that this supervisor serves.
    pub home: String,
    /// The supervisor's process.
    pub supervisor: ProcessStatus,
    /// The keeper's process.
    pub keeper: ProcessStatus,
    /// Number of apps.
    pub apps: u32,
    /// Number of worker processes that run now (without their own children).
    pub workers: u32,
}

/// A process of musher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessStatus {
    /// Process id.
    pub pid: u32,
    /// Time since its start, in milliseconds.
    pub uptime_ms: u64,
    /// Resident memory, in bytes.
    pub memory_bytes: u64,
    /// Version of its executable; empty if it has not said.
    #[serde(default)]
    pub version: String,
}
