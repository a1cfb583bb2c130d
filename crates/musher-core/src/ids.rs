//! Names of things, as numbers that cannot be mistaken for each other.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($number:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
        )]
        #[serde(transparent)]
        pub struct $name(pub $number);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map($name)
            }
        }
    };
}

id! {
    /// An app. Never used again within one home, not even after the app was deleted.
    AppId(u32)
}

id! {
    /// A slot of an app, counted from 0. It is also the number of the instance in the worker's environment.
    SlotId(u32)
}

id! {
    /// A run: one process filling a slot. Unique within one home for ever.
    RunId(u64)
}

id! {
    /// An operation: one command of a user to one app, from its acceptance to its end.
    OpId(u64)
}

id! {
    /// A version of an app's spec. A later spec has a higher generation.
    Generation(u32)
}

/// Runs of one app; more than one a millisecond for eleven days.
const RUNS_PER_APP: u64 = 1_000_000_000;

impl RunId {
    /// The run with this number of that app, counted from 1. As apps have different ids, so have their runs, and no
    /// counter has to be shared.
    pub fn of(app: AppId, number: u64) -> RunId {
        RunId(u64::from(app.0) * RUNS_PER_APP + number % RUNS_PER_APP)
    }

    /// The app that the run belongs to.
    pub fn app(self) -> AppId {
        AppId(u32::try_from(self.0 / RUNS_PER_APP).unwrap_or(u32::MAX))
    }

    /// The run's number within its app.
    pub fn number(self) -> u64 {
        self.0 % RUNS_PER_APP
    }
}

impl Generation {
    /// The generation of the next spec.
    pub fn next(self) -> Generation {
        Generation(self.0.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::{AppId, RunId};

    #[test]
    fn a_run_knows_its_app() {
        let run = RunId::of(AppId(7), 42);
        assert_eq!(run.to_string(), "7000000042");
        assert_eq!(run.app(), AppId(7));
        assert_eq!(run.number(), 42);
        assert_eq!("7000000042".parse(), Ok(run));
        assert_eq!(serde_json::to_string(&run).unwrap(), "7000000042");
        assert_eq!(RunId::of(AppId(u32::MAX), 5).app(), AppId(u32::MAX));
    }
}
