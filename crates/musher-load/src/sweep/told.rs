//! What a sweep comes to, in words and as a value.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::{Doubt, Estimate, Run, estimate};
use crate::report::time_words;

use std::time::Duration;

/// The open-loop run that confirms a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confirmation {
    /// Requests a second that were due.
    pub rate: f64,
    /// Answers a second that came.
    pub answered: f64,
    /// Seconds from when they were due.
    pub p50: f64,
    /// Seconds from when they were due.
    pub p99: f64,
    /// Share of failures, 4xx and 5xx.
    pub errors: f64,
    /// Due, and not sent.
    pub unsent: u64,
}

/// All about a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweepReport {
    /// What was asked.
    pub target: String,
    /// In milliseconds since 1970.
    pub started_at: u64,
    /// Of the order of levels.
    pub seed: u64,
    /// Measured seconds of a level in a round.
    pub level_seconds: f64,
    /// Rounds.
    pub rounds: u32,
    /// Mean pause of a user in seconds.
    pub think: f64,
    /// Every run, in the order in which they were made.
    pub runs: Vec<Run>,
    /// What they say; none: too few are believed.
    pub estimate: Option<Estimate>,
    /// The limit of the 99th percentile, in seconds.
    pub slo: Option<f64>,
    /// The most users within it, and their answers a second.
    pub within_slo: Option<(u32, f64)>,
    /// The run that confirms it.
    pub confirmed: Option<Confirmation>,
    /// Why it ended before its time.
    pub ended_by: Option<String>,
}

impl SweepReport {
    /// What runs come to.
    #[must_use]
    pub fn new(target: &str, runs: Vec<Run>, think: f64, slo: Option<f64>, seed: u64) -> SweepReport {
        let estimate = estimate(&runs, think, seed);
        SweepReport {
            target: target.to_owned(),
            started_at: 0,
            seed,
            level_seconds: 0.0,
            rounds: 0,
            think,
            runs,
            estimate,
            slo,
            within_slo: None,
            confirmed: None,
            ended_by: None,
        }
    }

    /// The runs by level.
    #[must_use]
    pub fn levels(&self) -> Vec<(u32, Vec<Run>)> {
        let mut levels: Vec<(u32, Vec<Run>)> = Vec::new();
        for run in &self.runs {
            match levels.iter_mut().find(|(users, _)| *users == run.users) {
                Some((_, runs)) => runs.push(run.clone()),
                None => levels.push((run.users, vec![run.clone()])),
            }
        }
        levels.sort_by_key(|(users, _)| *users);
        levels
    }

    /// The answer in a sentence.
    #[must_use]
    pub fn headline(&self) -> String {
        let Some(found) = &self.estimate else {
            return "no best concurrency: fewer than three levels can be believed".into();
        };
        let near = self.levels().into_iter().min_by(|(a, _), (b, _)| {
            let away = |users: u32| (f64::from(users) / found.crossing).ln().abs();
            away(*a).total_cmp(&away(*b))
        });
        let mut text = format!(
            "best concurrency {:.0} (95 % interval {:.0}..{:.0})",
            found.crossing, found.interval.low, found.interval.high
        );
        if let Some((users, runs)) = near {
            let mean = |of: fn(&Run) -> f64| runs.iter().map(of).sum::<f64>() / super::estimate::float(runs.len());
            let _ = write!(
                text,
                ": with {users} users {:.0} req/s = {:.0} % of the maximum, p50 {}, p99 {}",
                mean(|run| run.rate),
                (mean(|run| run.rate) / found.peak.rate * 100.0).min(100.0),
                words(mean(|run| run.p50)),
                words(mean(|run| run.p99))
            );
        }
        text
    }

    /// The table and everything that is to be said of it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = format!("{}\n\n", self.headline());
        let _ = writeln!(
            out,
            "{:>7} {:>11} {:>8} {:>9} {:>9} {:>9} {:>7} {:>6}",
            "users", "per second", "spread", "p50", "p95", "p99", "errors", "CPU"
        );
        for (users, runs) in self.levels() {
            let mean = |of: fn(&Run) -> f64| runs.iter().map(of).sum::<f64>() / super::estimate::float(runs.len());
            let rate = mean(|run| run.rate);
            let off = runs.iter().map(|run| (run.rate / rate.max(1e-9) - 1.0).abs()).fold(0.0, f64::max);
            let mut doubts: Vec<Doubt> = runs.iter().flat_map(|run| run.doubts(self.think)).collect();
            doubts.sort_by_key(|doubt| doubt.words());
            doubts.dedup();
            let left_out = runs.iter().filter(|run| !run.is_believed(self.think)).count();
            let mut said: Vec<&str> = doubts.into_iter().map(Doubt::words).collect();
            let count = format!("{left_out} of {} left out", runs.len());
            if left_out > 0 {
                said.push(&count);
            }
            let line = format!(
                "{users:>7} {rate:>11.1} {:>8} {:>9} {:>9} {:>9} {:>6.2}% {:>5.0}%  {}",
                format!("±{:.1}%", off * 100.0),
                words(mean(|run| run.p50)),
                words(mean(|run| run.p95)),
                words(mean(|run| run.p99)),
                mean(|run| run.errors) * 100.0,
                mean(|run| run.client_busy) * 100.0,
                said.join("; ")
            );
            let _ = writeln!(out, "{}", line.trim_end());
        }
        self.remarks(&mut out);
        out
    }

    /// One line for each run.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut out =
            String::from("users,per_second,mean_ms,p50_ms,p95_ms,p99_ms,errors_percent,client_cpu_percent,believed\n");
        for run in &self.runs {
            let _ = writeln!(
                out,
                "{},{:.1},{:.3},{:.3},{:.3},{:.3},{:.3},{:.1},{}",
                run.users,
                run.rate,
                run.response * 1e3,
                run.p50 * 1e3,
                run.p95 * 1e3,
                run.p99 * 1e3,
                run.errors * 100.0,
                run.client_busy * 100.0,
                run.is_believed(self.think)
            );
        }
        out
    }

    fn remarks(&self, out: &mut String) {
        let _ = writeln!(out);
        if let Some(found) = &self.estimate {
            let most = self.runs.iter().map(|run| run.users).max().unwrap_or(0);
            let list: Vec<String> = found.peak.levels.iter().map(u32::to_string).collect();
            if found.rises {
                let _ = writeln!(out, "no peak in 1..{most}: throughput still rises at the end");
            } else {
                let _ = writeln!(
                    out,
                    "highest throughput: {:.0} req/s; not to be told apart: {} users",
                    found.peak.rate,
                    list.join(", ")
                );
            }
            if found.peak.falls {
                let last = found.peak.levels.last().copied().unwrap_or(0);
                let _ = writeln!(out, "above {last} users throughput falls");
            }
            let _ = writeln!(out, "a second opinion (power, X/R): {:.0} users", found.power);
            if let Some(usl) = &found.usl {
                let _ = writeln!(
                    out,
                    "universal scalability law: peak at {:.0} users (contention {:.4}, coherency {:.2e})",
                    usl.peak, usl.alpha, usl.beta
                );
            }
            if found.disagrees() {
                let _ = writeln!(
                    out,
                    "contention: below {:.0} users the server has idle capacity; above, each user buys little throughput with latency",
                    found.crossing
                );
            }
        }
        if let Some(slo) = self.slo {
            match self.within_slo {
                Some((users, rate)) => {
                    let _ = writeln!(out, "p99 up to {}: {users} users, {rate:.0} req/s", words(slo));
                }
                None => {
                    let _ = writeln!(out, "p99 up to {}: not even with one user", words(slo));
                }
            }
        }
        if let Some(run) = &self.confirmed {
            let _ = writeln!(
                out,
                "open loop at {:.0} req/s (80 %): {:.0} answered, p50 {}, p99 {} from when they were due, {:.2} % errors{}",
                run.rate,
                run.answered,
                words(run.p50),
                words(run.p99),
                run.errors * 100.0,
                if run.unsent > 0 { format!(", {} not sent", run.unsent) } else { String::new() }
            );
        }
        if let Some(why) = &self.ended_by {
            let _ = writeln!(out, "ended early: {why}");
        }
        let _ = writeln!(out, "seed {}", self.seed);
    }
}

fn words(seconds: f64) -> String {
    time_words(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}
