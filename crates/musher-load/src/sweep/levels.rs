//! Which level is run next.
//!
//! First doubling, until throughput rises by less than 2 % twice, errors come, or the limit of response times is passed; then
//! levels around the crossing; then all of them again in a random order, for as many rounds as were asked for.

use serde::{Deserialize, Serialize};

use super::Run;
use crate::random::Random;

/// A rise that is none.
const RISE: f64 = 1.02;
/// How many times in a row.
const FLAT: u32 = 2;
/// Errors that end the search.
const ERRORS: f64 = 0.01;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweepLimits {
    /// The most users.
    pub most: u32,
    /// Rounds, three at least to have an interval.
    pub rounds: u32,
    /// Mean pause of a user, in seconds.
    pub think: f64,
    /// The most that the 99th percentile may be, in seconds.
    pub slo: Option<f64>,
    /// Levels of one's own instead of those that are found.
    pub levels: Vec<u32>,
}

/// A sweep in progress.
#[derive(Clone, Debug)]
pub struct Sweep {
    pub(super) limits: SweepLimits,
    pub(super) seed: u64,
    pub(super) runs: Vec<Run>,
    random: Random,
    /// What is left of a round.
    queue: Vec<u32>,
    rounds_done: u32,
    searching: bool,
    flat: u32,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Run so many users; the round it belongs to.
    Run(u32, u32),
    /// Nothing more.
    Done,
}

impl Sweep {
    /// Before the first run.
    #[must_use]
    pub fn new(limits: SweepLimits, seed: u64) -> Sweep {
        let searching = limits.levels.is_empty();
        let mut levels = limits.levels.clone();
        if !searching {
            levels.push(1);
            levels.sort_unstable();
            levels.dedup();
        }
        let random = Random::new(seed);
        let mut sweep =
            Sweep { limits, seed, runs: Vec::new(), random, queue: levels, rounds_done: 0, searching, flat: 0 };
        sweep.random.shuffle(&mut sweep.queue);
        sweep
    }

    /// All runs so far.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The limits that it was given.
    #[must_use]
    pub fn limits(&self) -> &SweepLimits {
        &self.limits
    }

    /// The levels that were run, sorted.
    #[must_use]
    pub fn levels(&self) -> Vec<u32> {
        let mut levels: Vec<u32> = self.runs.iter().map(|run| run.users).collect();
        levels.sort_unstable();
        levels.dedup();
        levels
    }

    /// What to do next.
    pub fn next_run(&mut self) -> Next {
        if self.searching {
            let next = self.runs.last().map_or(1, |run| run.users.saturating_mul(2));
            if next <= self.limits.most && !self.is_found() {
                return Next::Run(next, 1);
            }
            self.searching = false;
            let known = self.levels();
            self.queue = refinement(&self.runs, self.limits.most, self.limits.think);
            self.queue.retain(|level| !known.contains(level));
            self.random.shuffle(&mut self.queue);
        }
        if self.queue.is_empty() {
            self.rounds_done += 1;
            if self.rounds_done >= self.limits.rounds.max(1) {
                return Next::Done;
            }
            self.queue = self.levels();
            self.random.shuffle(&mut self.queue);
        }
        match self.queue.pop() {
            Some(level) => Next::Run(level, self.rounds_done + 1),
            None => Next::Done,
        }
    }

    /// Takes what a run came to.
    pub fn take(&mut self, run: Run) {
        if self.searching {
            let before = self.runs.iter().map(|run| run.rate).fold(0.0, f64::max);
            self.flat = if run.rate < before * RISE { self.flat + 1 } else { 0 };
        }
        self.runs.push(run);
    }

    /// Whether doubling has shown enough.
    fn is_found(&self) -> bool {
        let Some(last) = self.runs.last() else { return false };
        self.flat >= FLAT || last.errors > ERRORS || self.limits.slo.is_some_and(|slo| last.p99 > slo)
    }

    /// The most users for whom the limit of response times holds in every believed run; none: for nobody.
    #[must_use]
    pub fn within_slo(&self) -> Option<(u32, f64)> {
        let slo = self.limits.slo?;
        let holds = |level: u32| {
            let runs: Vec<&Run> = self.runs.iter().filter(|run| run.users == level).collect();
            let good = runs.iter().all(|run| run.p99 <= slo && run.errors <= ERRORS);
            let rate = runs.iter().map(|run| run.rate).sum::<f64>() / super::estimate::float(runs.len()).max(1.0);
            good.then_some((level, rate))
        };
        // Beyond the first level that fails, one that holds is luck.
        self.levels().into_iter().map_while(holds).last()
    }
}

/// Eight levels around the crossing that the search suggests, from half of it to twice.
#[must_use]
pub fn refinement(runs: &[Run], most: u32, think: f64) -> Vec<u32> {
    let best = runs.iter().filter(|run| run.is_believed(think)).map(|run| run.rate).fold(0.0, f64::max);
    let one = runs.iter().find(|run| run.users == 1).map_or(0.0, |run| run.rate);
    if best <= 0.0 || one <= 0.0 {
        return Vec::new();
    }
    let crossing = best / one;
    let mut levels: Vec<u32> = (0..8)
        .map(|step| {
            let level = (crossing * 2f64.powf(f64::from(step) * 2.0 / 7.0 - 1.0)).round();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
            let level = level.clamp(1.0, f64::from(most)) as u32;
            level
        })
        .collect();
    levels.dedup();
    levels
}
