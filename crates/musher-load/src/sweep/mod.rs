//! The best concurrency, honestly: which levels to run, which to believe, what they say.
//!
//! Everything here is a function of what was measured; [`crate::sweep::Sweep`] asks for one level after the other and a
//! driver runs them. The headline is where the two bounds of a closed loop cross: `N* = Xmax · Rmin`. Below it the server has
//! idle capacity, above it requests only wait. docs/design/best-concurrency.md says why this and no other estimator.

mod estimate;
mod levels;
mod simulated;
mod usl;

pub use estimate::{Estimate, Interval, Peak, estimate};
pub use levels::{Next, Sweep, SweepLimits, refinement};
pub use usl::Usl;

use serde::{Deserialize, Serialize};

/// What one run at one level came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Users.
    pub users: u32,
    /// Answers a second.
    pub rate: f64,
    /// Mean seconds of an answer.
    pub response: f64,
    /// Seconds.
    pub p50: f64,
    /// Seconds.
    pub p95: f64,
    /// Seconds.
    pub p99: f64,
    /// Share of failures, 4xx and 5xx.
    pub errors: f64,
    /// Share of its cores that the generator used.
    pub client_busy: f64,
    /// Connections that were open.
    pub open: u32,
    /// Answers a second in the first and in the second half.
    pub halves: (f64, f64),
}

/// Why a run says nothing about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doubt {
    /// The generator used more than 80 % of its cores.
    ClientLimited,
    /// Rate times response time is not the number of users, by more than 5 %.
    Little,
    /// The halves differ by more than 5 %, and by more than chance.
    Unsteady,
    /// Not all connections were open.
    Connections,
    /// More than 1 % errors.
    Errors,
}

impl Doubt {
    /// For people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Doubt::ClientLimited => "the generator was the limit",
            Doubt::Little => "rate x response time is not the number of users",
            Doubt::Unsteady => "its halves differ by more than 5 %",
            Doubt::Connections => "not all connections were open",
            Doubt::Errors => "more than 1 % errors",
        }
    }

    /// Whether the run is left out. An unsteady one is told, and kept: leaving out what varies would make what is left look
    /// better than it is.
    #[must_use]
    pub fn excludes(self) -> bool {
        self != Doubt::Unsteady
    }
}

impl Run {
    /// What speaks against it; `think` is the mean pause of a user in seconds.
    #[must_use]
    pub fn doubts(&self, think: f64) -> Vec<Doubt> {
        let users = f64::from(self.users);
        let mut doubts = Vec::new();
        if self.client_busy > 0.8 {
            doubts.push(Doubt::ClientLimited);
        }
        if (self.rate * (self.response + think) - users).abs() > 0.05 * users {
            doubts.push(Doubt::Little);
        }
        let (first, second) = self.halves;
        if (first - second).abs() > 0.05 * first.max(second) {
            doubts.push(Doubt::Unsteady);
        }
        if self.open < self.users {
            doubts.push(Doubt::Connections);
        }
        if self.errors > 0.01 {
            doubts.push(Doubt::Errors);
        }
        doubts
    }

    /// Whether it is believed.
    #[must_use]
    pub fn is_believed(&self, think: f64) -> bool {
        !self.doubts(think).into_iter().any(Doubt::excludes)
    }
}

#[cfg(test)]
mod tests {
    use super::{Doubt, Run};

    fn good() -> Run {
        Run { users: 10, rate: 1000.0, response: 0.01, open: 10, halves: (1000.0, 1010.0), ..Run::default() }
    }

    #[test]
    fn a_run_is_believed_when_its_figures_agree() {
        assert_eq!(good().doubts(0.0), []);
        for (run, doubt) in [
            (Run { client_busy: 0.9, ..good() }, Doubt::ClientLimited),
            (Run { response: 0.02, ..good() }, Doubt::Little),
            (Run { halves: (1000.0, 900.0), ..good() }, Doubt::Unsteady),
            (Run { open: 9, ..good() }, Doubt::Connections),
            (Run { errors: 0.02, ..good() }, Doubt::Errors),
        ] {
            assert_eq!(run.doubts(0.0), [doubt]);
            assert_eq!(run.is_believed(0.0), doubt == Doubt::Unsteady);
        }
        assert!(Run { rate: 500.0, halves: (500.0, 500.0), ..good() }.is_believed(0.01), "a pause is part of the loop");
    }
}
