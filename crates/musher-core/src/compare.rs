//! Whether a new version does worse than the old one, from what both did in the same time. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::ids::{Generation, RunId};
use crate::lifecycle::{App, Run, TrialView};
use crate::vitals::Pulse;

/// With fewer answers on either side nothing is said about errors.
const FEWEST: u64 = 30;
/// With fewer answers on either side nothing is said about latency: its 95th percentile would be a single answer's.
const FEWEST_FOR_LATENCY: u64 = 100;
/// Fewer errors than this prove nothing, whatever their share.
const FEWEST_ERRORS: u64 = 3;
/// The part of the answers that are faster than the latency that is compared.
const QUANTILE: f64 = 0.95;
/// So much slower is not worth a word, whatever the factor: a busy machine does that.
const NOISE: Duration = Duration::from_millis(5);

/// How much worse the new version may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How many more of a thousand answers may be errors.
    pub max_errors_permille: u32,
    /// How large the latency may be, in percent of the old one's.
    pub max_latency_percent: u32,
}

/// In what the new version is worse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Worse {
    /// More of its answers are errors.
    Errors {
        /// The share of the new version.
        new: f64,
        /// That of the old one.
        old: f64,
    },
    /// Its answers take longer.
    Latency {
        /// The 95th percentile of the new version.
        new: Duration,
        /// That of the old one.
        old: Duration,
    },
}

/// The counts at the beginning of a trial: what a worker tells first after it is online, while the trial goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    generation: Generation,
    first: BTreeMap<RunId, Pulse>,
}

/// What both sides of a trial did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sides {
    /// The old version's workers.
    pub old: Pulse,
    /// The new version's.
    pub new: Pulse,
}

impl Comparison {
    /// Notes workers that are heard of for the first time in this trial.
    pub fn note<'a>(&mut self, app: &App, trial: &TrialView, pulses: impl Iterator<Item = (RunId, &'a Pulse)>) {
        if self.generation != trial.generation {
            *self = Comparison { generation: trial.generation, first: BTreeMap::new() };
        }
        for (run, pulse) in pulses.filter(|(run, _)| app.run(*run).is_some_and(Run::is_online)) {
            self.first.entry(run).or_insert_with(|| pulse.clone());
        }
    }

    /// What both sides did since then.
    pub fn sides<'a>(&self, app: &App, trial: &TrialView, pulse: impl Fn(RunId) -> Option<&'a Pulse>) -> Sides {
        let mut sides = Sides::default();
        for (id, first) in &self.first {
            let (Some(run), Some(pulse)) = (app.run(*id), pulse(*id)) else { continue };
            let did = pulse.since(first);
            let side = if run.generation == trial.generation { &mut sides.new } else { &mut sides.old };
            side.requests += did.requests;
            side.errors += did.errors;
            side.latencies.merge(&did.latencies);
        }
        sides
    }
}

/// Compares what new and old workers did in the same time. Nothing is found with too few answers on either side.
pub fn compare(old: &Pulse, new: &Pulse, bounds: Bounds) -> Option<Worse> {
    errors(old, new, bounds).or_else(|| latency(old, new, bounds))
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests within a minute or so")]
fn errors(old: &Pulse, new: &Pulse, bounds: Bounds) -> Option<Worse> {
    if old.requests < FEWEST || new.requests < FEWEST || new.errors < FEWEST_ERRORS {
        return None;
    }
    let share = |pulse: &Pulse| pulse.errors as f64 / pulse.requests as f64;
    let allowed = (share(old) + f64::from(bounds.max_errors_permille) / 1000.0) * new.requests as f64;
    // What chance adds to a number of rare events seldom is more than twice its root.
    let surely = allowed + 2.0 * allowed.sqrt();
    (new.errors as f64 > surely).then(|| Worse::Errors { new: share(new), old: share(old) })
}

fn latency(old: &Pulse, new: &Pulse, bounds: Bounds) -> Option<Worse> {
    if old.latencies.count() < FEWEST_FOR_LATENCY || new.latencies.count() < FEWEST_FOR_LATENCY {
        return None;
    }
    let (old, new) = (old.latencies.quantile(QUANTILE)?, new.latencies.quantile(QUANTILE)?);
    let allowed = old.mul_f64(f64::from(bounds.max_latency_percent) / 100.0);
    (new > allowed && new > old + NOISE).then_some(Worse::Latency { new, old })
}

impl fmt::Display for Worse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Worse::Errors { new, old } => write!(
                f,
                "{:.1} % of the new version's answers are errors, {:.1} % of the old one's",
                new * 100.0,
                old * 100.0
            ),
            Worse::Latency { new, old } => write!(
                f,
                "95 % of the new version's answers take up to {} ms, of the old one's {} ms",
                new.as_millis(),
                old.as_millis()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::{prop_assert_eq, proptest};

    use super::{Bounds, Worse, compare};
    use crate::vitals::{Latencies, Pulse};

    const BOUNDS: Bounds = Bounds { max_errors_permille: 10, max_latency_percent: 200 };

    fn did(requests: u64, errors: u64, each_ms: u64) -> Pulse {
        let mut latencies = Latencies::default();
        for _ in 0..requests {
            latencies.record(Duration::from_millis(each_ms));
        }
        Pulse { requests, errors, latencies, ..Pulse::default() }
    }

    #[test]
    fn only_what_is_surely_worse_is_worse() {
        // Old: requests, errors, ms. New: the same. Whether it is worse in errors, in latency.
        let cases = [
            ((1000, 0, 10), (1000, 0, 10), ""),
            ((1000, 0, 10), (100, 100, 10), "errors"),
            ((1000, 0, 10), (100, 3, 10), ""),
            ((1000, 0, 10), (1000, 17, 10), "errors"),
            ((1000, 0, 10), (1000, 16, 10), ""),
            ((1000, 100, 10), (1000, 110, 10), ""),
            ((1000, 100, 10), (1000, 150, 10), "errors"),
            ((1000, 500, 10), (1000, 0, 10), ""),
            // Too few on either side.
            ((1000, 0, 10), (29, 29, 10), ""),
            ((29, 0, 10), (1000, 1000, 10), ""),
            ((0, 0, 10), (1000, 1000, 10), ""),
            ((1000, 0, 10), (0, 0, 10), ""),
            ((30, 0, 10), (30, 2, 10), ""),
            ((30, 0, 10), (30, 3, 10), "errors"),
            // Latency.
            ((1000, 0, 10), (1000, 0, 15), ""),
            ((1000, 0, 10), (1000, 0, 40), "latency"),
            ((1000, 0, 10), (99, 0, 4000), ""),
            ((99, 0, 10), (1000, 0, 4000), ""),
            ((1000, 0, 40), (1000, 0, 10), ""),
            // Many times as slow, and still nothing that anybody notices.
            ((1000, 0, 0), (1000, 0, 3), ""),
        ];
        for ((requests, errors, ms), new, expected) in cases {
            let found = compare(&did(requests, errors, ms), &did(new.0, new.1, new.2), BOUNDS);
            let kind = match found {
                None => "",
                Some(Worse::Errors { .. }) => "errors",
                Some(Worse::Latency { .. }) => "latency",
            };
            assert_eq!(kind, expected, "old {:?}, new {new:?}: {found:?}", (requests, errors, ms));
        }
    }

    #[test]
    fn what_is_worse_is_said_in_words() {
        let worse = compare(&did(1000, 2, 10), &did(200, 13, 10), BOUNDS).unwrap();
        assert_eq!(worse.to_string(), "6.5 % of the new version's answers are errors, 0.2 % of the old one's");
    }

    proptest! {
        #[test]
        fn nothing_is_worse_than_itself(requests in 0..2000_u64, part in 0..1001_u64, ms in 0..5000_u64) {
            let same = did(requests, requests * part / 1000, ms);
            prop_assert_eq!(compare(&same, &same, BOUNDS), None);
        }
    }
}
