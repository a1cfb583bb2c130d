//! Commands that are run when something happens.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::health::check_command;
use super::{AppSpec, millis};

/// The longest time that a hook may be given: it is run once more after each death of the supervisor until it ends.
const LONGEST: Duration = Duration::from_secs(3600);

/// Commands that are run when something happens to the app. Each gets the event as JSON on standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hooks {
    /// When a slot is given up: the program, absolute, and its arguments.
    #[serde(default)]
    pub giveup: Option<Vec<String>>,
    /// How long a hook may take, before it is killed.
    #[serde(with = "millis", default = "default_timeout", rename = "timeout_ms")]
    #[schemars(with = "u64")]
    pub timeout: Duration,
}

impl Default for Hooks {
    fn default() -> Hooks {
        Hooks { giveup: None, timeout: default_timeout() }
    }
}

impl AppSpec {
    pub(super) fn check_hooks(&self, fault: &mut impl FnMut(&'static str, String)) {
        for (field, command) in [("hooks.giveup", &self.hooks.giveup)] {
            if let Some(Err(message)) = command.as_deref().map(check_command) {
                fault(field, message);
            }
        }
        if self.hooks.timeout.is_zero() || self.hooks.timeout > LONGEST {
            fault("hooks.timeout", "out of range: 1ms to 1h".into());
        }
    }
}

fn default_timeout() -> Duration {
    Duration::from_secs(30)
}
