//! What an app does at certain times.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AppSpec, Runtime};
use crate::schedule::Calendar;
use crate::spec::RestartPolicy;

/// What is done when, by a pattern of cron.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Five fields (minute, hour, day, month, weekday), or six with seconds first; or `@daily` and the like.
    pub cron: String,
    /// The time zone of the pattern, such as `Europe/Berlin`.
    pub timezone: String,
    /// What is done then.
    #[serde(default)]
    pub action: OnTime,
    /// What becomes of times at which no supervisor was there.
    #[serde(default)]
    pub missed: Missed,
}

/// What is done when the time comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnTime {
    /// The app is a job: its workers are started then, and end by themselves.
    #[default]
    Start,
    /// The app that runs is restarted: without a gap where its workers share their port, else by stop and start.
    Restart,
    /// The app that runs is reloaded.
    Reload,
}

/// What becomes of times at which no supervisor was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Missed {
    /// They are left out.
    #[default]
    Skip,
    /// They are made up for, once, however many they were.
    Once,
}

impl AppSpec {
    /// Whether its workers are started at certain times only, and end by themselves.
    pub fn is_job(&self) -> bool {
        self.schedule.as_ref().is_some_and(|schedule| schedule.action == OnTime::Start)
    }

    /// Whether new workers can take over from old ones that still serve: they share a port that musher holds.
    pub fn shares_its_port(&self) -> bool {
        self.exec.runtime == Runtime::NodeCluster || !self.listen.is_empty()
    }

    pub(super) fn check_schedule(&self, fault: &mut impl FnMut(&'static str, String)) {
        let Some(schedule) = &self.schedule else { return };
        if !crate::schedule::is_zone(&schedule.timezone) {
            let zone = &schedule.timezone;
            let example = "write for example \"Europe/Berlin\" or \"UTC\"";
            fault("schedule.timezone", format!("there is no time zone {zone:?}; {example}"));
        } else if let Err(message) = Calendar::new(&schedule.cron, &schedule.timezone) {
            fault("schedule.cron", message);
        }
        if self.is_job() && self.restart.policy == RestartPolicy::Always {
            let message = "a job ends by itself and is started by its schedule: \"never\" or \"on-failure\"";
            fault("restart.policy", message.into());
        }
        if self.is_job() && self.scale.is_some() {
            fault("instances", "a job has as many workers each time: a number".into());
        }
    }
}
