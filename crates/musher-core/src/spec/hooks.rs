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
    /// When a worker ends that nobody had asked to, and not well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash: Option<Vec<String>>,
    /// Before the app is started or restarted; a failure cancels that. The same for the other two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_start: Option<Vec<String>>,
    /// When all its workers are ready after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_start: Option<Vec<String>>,
    /// Before its workers are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_reload: Option<Vec<String>>,
    /// When all of them are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_reload: Option<Vec<String>>,
    /// Before the app is stopped or deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_stop: Option<Vec<String>>,
    /// When all its workers have ended after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_stop: Option<Vec<String>>,
    /// How long a hook may take, before it is killed.
    #[serde(with = "millis", default = "default_timeout", rename = "timeout_ms")]
    #[schemars(with = "u64")]
    pub timeout: Duration,
}

impl Default for Hooks {
    fn default() -> Hooks {
        Hooks {
            giveup: None,
            crash: None,
            pre_start: None,
            post_start: None,
            pre_reload: None,
            post_reload: None,
            pre_stop: None,
            post_stop: None,
            timeout: default_timeout(),
        }
    }
}

impl AppSpec {
    pub(super) fn check_hooks(&self, fault: &mut impl FnMut(&'static str, String)) {
        let hooks = &self.hooks;
        for (field, command) in [
            ("hooks.giveup", &hooks.giveup),
            ("hooks.crash", &hooks.crash),
            ("hooks.pre_start", &hooks.pre_start),
            ("hooks.post_start", &hooks.post_start),
            ("hooks.pre_reload", &hooks.pre_reload),
            ("hooks.post_reload", &hooks.post_reload),
            ("hooks.pre_stop", &hooks.pre_stop),
            ("hooks.post_stop", &hooks.post_stop),
        ] {
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
