//! The best concurrency, honestly: which levels to run, which to believe, what they say.
//!
//! Everything here is a function of what was measured; [`crate::sweep::Sweep`] asks for one level after the other and a
//! driver runs them. The headline is where the two bounds of a closed loop cross: `N* = Xmax · Rmin`. Below it the server has
//! idle capacity, above it requests only wait. docs/design/best-concurrency.md says why this and no other estimator.

mod estimate;
mod levels;
mod simulated;
mod told;
mod usl;

pub use estimate::{Estimate, Interval, Peak, estimate};
pub use levels::{Next, Sweep, SweepLimits, refinement};
pub use told::{Confirmation, SweepReport};
pub use usl::Usl;

use serde::{Deserialize, Serialize};

use crate::engine::{Outcome, Slice};
use crate::plan::Plan;
use crate::tally::count;

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

/// What a run of the engine says of its level: whole intervals after the warm-up, by when answers came.
#[must_use]
pub fn measured(outcome: &Outcome, users: u32, plan: &Plan) -> Run {
    let interval = outcome.interval.as_secs_f64();
    let begin = plan.warm_up.as_secs_f64();
    let end = begin + plan.duration.map_or(f64::INFINITY, |time| time.as_secs_f64());
    let within = |slice: &&Slice| {
        let from = f64::from(slice.index) * interval;
        from >= begin - 1e-6 && from + interval <= end + 1e-6
    };
    let slices: Vec<&Slice> = outcome.series.iter().filter(within).collect();
    let rate = |slices: &[&Slice]| {
        let answers: u64 = slices.iter().map(|slice| slice.latency.len()).sum();
        count(answers) / (interval * count(slices.len() as u64)).max(1e-9)
    };
    let half = slices.len() / 2;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = f64::from(outcome.threads).min(count(cores as u64)).max(1.0);
    let cpu: f64 = slices.iter().map(|slice| slice.cpu.as_secs_f64()).sum();
    let total = outcome.total();
    let seconds = |share: f64| count(total.quantile(share)) / 1e6;
    Run {
        users,
        rate: rate(&slices),
        response: total.busy_sum.as_secs_f64() / count(total.transactions).max(1.0),
        p50: seconds(0.5),
        p95: seconds(0.95),
        p99: seconds(0.99),
        errors: total.error_share(),
        client_busy: cpu / (interval * count(slices.len() as u64)).max(1e-9) / threads,
        open: slices.iter().map(|slice| slice.open).max().unwrap_or(0),
        halves: (rate(&slices[..half]), rate(&slices[half..])),
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
