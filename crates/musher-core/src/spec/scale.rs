//! Between which numbers of slots load may move an app.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::millis;

/// The bounds of an app whose number of slots follows its load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AutoScale {
    /// The least number, 1 to 1000.
    pub min: u32,
    /// The largest number, `min` to 1000.
    pub max: u32,
    /// At least this long after any change before it grows.
    #[serde(with = "millis", default = "default_up_after", rename = "up_after_ms")]
    #[schemars(with = "u64")]
    pub up_after: Duration,
    /// At least this long after any change, and so long without much load, before it shrinks by one.
    #[serde(with = "millis", default = "default_down_after", rename = "down_after_ms")]
    #[schemars(with = "u64")]
    pub down_after: Duration,
}

impl AutoScale {
    /// These bounds, with the usual times.
    pub fn between(min: u32, max: u32) -> AutoScale {
        AutoScale { min, max, up_after: default_up_after(), down_after: default_down_after() }
    }
}

fn default_up_after() -> Duration {
    Duration::from_secs(10)
}

fn default_down_after() -> Duration {
    Duration::from_secs(60)
}
