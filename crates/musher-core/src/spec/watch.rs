//! Files whose change replaces the workers.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{is_yes, millis, yes};

/// The most directories and files that may be named, and the most patterns.
pub const MAX_WATCHED: usize = 64;

/// Which files are watched, and when a change counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WatchFiles {
    /// Directories, with everything below them, and files; absolute.
    pub paths: Vec<PathBuf>,
    /// Patterns of `.gitignore` for what does not count. Names that begin with a dot and `node_modules` never do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// Endings of names, without the dot: only such files count. Empty: all do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// Whether only files count that the program has loaded, as Node tells. Files that `paths` names count always.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub loaded: bool,
    /// Whether what `.gitignore` files name does not count either.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub gitignore: bool,
    /// How long nothing may change before the workers are replaced: what changes together is one change.
    #[serde(with = "millis", default = "default_delay", rename = "delay_ms")]
    #[schemars(with = "u64")]
    pub delay: Duration,
    /// Whether workers are stopped before their successors start.
    #[serde(default)]
    pub on_change: OnChange,
}

/// What a change does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnChange {
    /// A reload: a version that does not start leaves the old one serving.
    #[default]
    Reload,
    /// A restart: the old workers end first.
    Restart,
}

impl WatchFiles {
    /// These, with the usual rules.
    pub fn of(paths: Vec<PathBuf>) -> WatchFiles {
        WatchFiles {
            paths,
            ignore: Vec::new(),
            extensions: Vec::new(),
            loaded: false,
            gitignore: true,
            delay: default_delay(),
            on_change: OnChange::default(),
        }
    }
}

fn default_delay() -> Duration {
    Duration::from_millis(100)
}
