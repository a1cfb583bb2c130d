//! Where the workers' output goes.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// The app and the slot, a bar, the line: for several apps in one place (`musher run`).
    Named,
}

impl Default for Logs {
    fn default() -> Self {
        Logs { out: None, err: None, format: LogFormat::Raw, max_bytes: default_log_size(), keep: default_log_keep() }
    }
}

fn default_log_size() -> u64 {
    10 << 20
}

fn default_log_keep() -> u32 {
    5
}
