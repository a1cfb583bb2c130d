//! What other apps an app needs before it starts.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AppSpec, MAX_DURATION, check_name};

/// The most apps that one may need.
pub const MAX_DEPENDENCIES: usize = 64;

/// What has to be true of an app before one that needs it is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Each of its workers has a process.
    Started,
    /// Each of its workers is ready.
    #[default]
    Ready,
    /// It has ended, and as it should: with exit code 0, or a stop code.
    ExitedOk,
}

impl Condition {
    /// The word of process files.
    pub fn word(self) -> &'static str {
        match self {
            Condition::Started => "started",
            Condition::Ready => "ready",
            Condition::ExitedOk => "exited_ok",
        }
    }
}

impl AppSpec {
    pub(super) fn check_dependencies(&self, fault: &mut impl FnMut(&'static str, String)) {
        if self.depends_on.len() > MAX_DEPENDENCIES {
            fault("depends_on", format!("{} apps; at most {MAX_DEPENDENCIES} are possible", self.depends_on.len()));
        }
        for name in self.depends_on.keys() {
            if let Err(message) = check_name(name) {
                fault("depends_on", format!("{name:?} cannot be an app: {message}"));
            }
        }
        if self.depends_on.contains_key(&self.name) {
            fault("depends_on", format!("{} cannot wait for itself", self.name));
        }
        if self.depends_timeout.is_zero() || self.depends_timeout > MAX_DURATION {
            fault("depends_timeout", "out of range: 1ms to a year".into());
        }
    }
}

pub(super) fn default_timeout() -> Duration {
    Duration::from_secs(300)
}

pub(super) fn is_default_timeout(timeout: &Duration) -> bool {
    *timeout == default_timeout()
}
