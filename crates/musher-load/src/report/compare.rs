//! What changed between two runs, and whether it is noise.
//!
//! Throughput is compared by the means of intervals, with an interval from their spread (Welch); latencies by percentiles with
//! their order statistics' bounds. Intervals of one run are not independent of each other, so the bounds are widened: what is
//! called a change here is one, what is called noise may still be a small one.

use std::fmt::Write;

use super::Report;
use crate::tally::{Tally, count};

/// Neighbouring intervals resemble each other: their spread counts for more.
const WIDER: f64 = 1.5;
/// Changes below this are none, whatever the statistics say.
const LEAST: f64 = 0.01;

/// What became of one figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// Before.
    pub before: f64,
    /// After.
    pub after: f64,
    /// Relative change, from and to (95 %).
    pub between: (f64, f64),
    /// Whether higher is better.
    pub higher_is_better: bool,
}

/// What can be said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It may be chance.
    Noise,
    /// It is better.
    Better,
    /// It is worse.
    Worse,
}

impl Change {
    /// Whether it is a change.
    #[must_use]
    pub fn said(&self) -> Said {
        let (low, high) = self.between;
        match self.higher_is_better {
            _ if low <= LEAST && high >= -LEAST => Said::Noise,
            true if low > 0.0 => Said::Better,
            false if high < 0.0 => Said::Better,
            _ => Said::Worse,
        }
    }
}

/// All figures of two runs.
#[must_use]
pub fn compare(before: &Report, after: &Report) -> Vec<Change> {
    let mut changes = Vec::new();
    let rates = (rate(before), rate(after));
    changes.push(change("answers a second", rates.0, rates.1, true));
    for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999)] {
        let of = |tally: &Tally| quantile(tally, share);
        if let (Some(before), Some(after)) = (of(&before.total), of(&after.total)) {
            changes.push(change(&format!("{name}, ms"), before, after, false));
        }
    }
    let errors = |report: &Report| {
        let (share, all) = (report.total.error_share(), count(report.total.ended()).max(1.0));
        (share * 100.0, (share * (1.0 - share) / all).sqrt().max(0.5 / all) * 196.0)
    };
    let (old, new) = (errors(before), errors(after));
    let width = old.1.hypot(new.1);
    // A share is compared by its difference: nothing can be relative to 0.
    let difference = new.0 - old.0;
    let base = old.0.max(1.0);
    changes.push(Change {
        name: "errors, %".into(),
        before: old.0,
        after: new.0,
        between: ((difference - width) / base, (difference + width) / base),
        higher_is_better: false,
    });
    changes
}

/// A value and half its interval.
type Bounded = (f64, f64);

fn change(name: &str, before: Bounded, after: Bounded, higher_is_better: bool) -> Change {
    let base = before.0.abs().max(1e-9);
    let width = before.1.hypot(after.1) / base;
    let relative = (after.0 - before.0) / base;
    let between = (relative - width, relative + width);
    Change { name: name.into(), before: before.0, after: after.0, between, higher_is_better }
}

fn rate(report: &Report) -> Bounded {
    let mean = report.siege.transaction_rate;
    // The last interval is not whole, the first is the begin.
    let whole: Vec<f64> = report.outcome.as_ref().map_or(Vec::new(), |outcome| {
        let end = outcome.series.len().saturating_sub(1);
        outcome
            .series
            .get(1..end)
            .unwrap_or_default()
            .iter()
            .map(|slice| count(slice.latency.len()) / outcome.interval.as_secs_f64())
            .collect()
    });
    let n = count(whole.len() as u64);
    if n < 4.0 {
        // Without intervals: what independent requests would vary by, generously.
        return (mean, mean * 0.05_f64.max(3.0 / count(report.total.transactions).max(1.0).sqrt()));
    }
    let middle = whole.iter().sum::<f64>() / n;
    let spread = (whole.iter().map(|value| (value - middle).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    (mean, 1.96 * WIDER * spread / n.sqrt())
}

/// A percentile in milliseconds, with the bounds that order statistics give.
fn quantile(tally: &Tally, share: f64) -> Option<Bounded> {
    let n = count(tally.transactions);
    if n * (1.0 - share) < 5.0 {
        return None;
    }
    let width = 1.96 * WIDER * (share * (1.0 - share) / n).sqrt();
    let at = |share: f64| count(tally.quantile(share.clamp(0.0, 1.0))) / 1e3;
    let half = (at(share + width) - at(share - width)) / 2.0;
    // The histogram itself is exact to a thousandth.
    Some((at(share), half.max(at(share) * 0.002)))
}

/// As a table.
#[must_use]
pub fn compare_text(changes: &[Change]) -> String {
    let mut out = format!("{:<18} {:>12} {:>12} {:>9}  {:<20} \n", "", "before", "after", "change", "95 % of it");
    out = out.trim_end().to_owned() + "\n";
    for one in changes {
        let (low, high) = one.between;
        let percent = f64::midpoint(low, high) * 100.0;
        let said = match one.said() {
            Said::Noise => "noise",
            Said::Better => "better",
            Said::Worse => "worse",
        };
        let between = format!("{:+.1}..{:+.1} %", low * 100.0, high * 100.0);
        let _ = writeln!(
            out,
            "{:<18} {:>12.3} {:>12.3} {:>+8.1}%  {between:<20} {said}",
            one.name, one.before, one.after, percent
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Said, compare, compare_text};
    use crate::random::Random;
    use crate::report::{About, Report};
    use crate::tally::Tally;

    fn report(seed: u64, mean: f64, bad: u64) -> Report {
        let mut random = Random::new(seed);
        let mut tally = Tally::default();
        for number in 0..5000 {
            let time = Duration::from_secs_f64(mean * (0.5 + random.exponential()));
            tally.answered(if number < bad { 500 } else { 200 }, time, time);
        }
        Report::of_tally(tally, Duration::from_secs_f64(5000.0 * mean), About::default())
    }

    #[test]
    fn the_same_again_is_noise_and_a_change_is_told() {
        for seed in 0..20 {
            let changes = compare(&report(seed, 0.01, 10), &report(seed + 100, 0.01, 10));
            let told = changes.iter().filter(|change| change.said() != Said::Noise).count();
            assert_eq!(told, 0, "{}", compare_text(&changes));
        }
        let slower = compare(&report(1, 0.01, 10), &report(2, 0.013, 400));
        let told: Vec<_> =
            slower.iter().filter(|change| change.said() == Said::Worse).map(|c| c.name.as_str()).collect();
        assert_eq!(told[..3], ["answers a second", "p50, ms", "p90, ms"], "{}", compare_text(&slower));
        assert!(told.contains(&"errors, %"), "{}", compare_text(&slower));
        assert_eq!(compare(&report(1, 0.01, 10), &report(2, 0.007, 10))[1].said(), Said::Better);
    }
}
