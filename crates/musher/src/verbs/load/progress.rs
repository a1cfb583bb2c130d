//! Lines while it runs, for those who do not look at a terminal.

use std::io::Write;
use std::time::Duration;

use musher_load::engine::{MOST_SAID, Observer, Said, Slice};
use musher_load::plan::Plan;
use musher_load::report::time_words;

use super::planning::Planned;
use crate::output::{note, sanitize};

/// How often there is a line.
const EVERY: Duration = Duration::from_secs(5);

/// Sums up what was seen since the last line.
pub(super) struct Lines {
    plan: Plan,
    quiet: bool,
    verbose: bool,
    sum: Option<Slice>,
    since: Duration,
}

impl Lines {
    pub(super) fn new(planned: &Planned) -> Lines {
        Lines {
            plan: planned.plan.clone(),
            quiet: planned.quiet,
            verbose: planned.verbose && !planned.quiet,
            sum: None,
            since: Duration::ZERO,
        }
    }

    /// As siege tells a request.
    fn tell(&self, said: &[Said]) {
        let mut out = std::io::stderr().lock();
        for one in said {
            let request = self.plan.requests.get(one.request as usize);
            let (method, path) =
                request.map_or(("", ""), |request| (request.method.as_str(), request.url.path.as_str()));
            let status = if one.status == 0 { "failed".to_owned() } else { format!("HTTP/1.1 {}", one.status) };
            let seconds = one.latency.as_secs_f64();
            // A closed stderr must not end the run.
            let _ = writeln!(
                out,
                "{status} {seconds:>10.6} secs: {:>7} bytes ==> {method:<4} {}",
                one.bytes,
                sanitize(path)
            );
        }
        if said.len() >= MOST_SAID {
            let _ = writeln!(out, "... and more than are told: {MOST_SAID} at most in an interval");
        }
    }
}

impl Observer for Lines {
    fn slices(&mut self, done: &[Slice], interval: Duration, elapsed: Duration) {
        for slice in done {
            if self.verbose {
                self.tell(&slice.said);
            }
            let slice = Slice { said: Vec::new(), ..slice.clone() };
            match &mut self.sum {
                Some(sum) => {
                    let (in_flight, open) = (slice.in_flight, slice.open);
                    sum.add(&slice);
                    (sum.in_flight, sum.open) = (in_flight, open);
                }
                None => self.sum = Some(slice),
            }
        }
        if self.quiet || self.verbose || elapsed < self.since + EVERY {
            return;
        }
        let Some(sum) = self.sum.take() else { return };
        let seconds = elapsed.saturating_sub(self.since).max(interval).as_secs_f64();
        let quantile = |share: f64| match sum.latency.is_empty() {
            true => "-".to_owned(),
            false => time_words(Duration::from_micros(sum.latency.value_at_quantile(share))),
        };
        let (answers, bad) = (sum.latency.len(), sum.bad);
        let rate = musher_load::tally::count(answers) / seconds;
        self.since = elapsed;
        note(&format!(
            "{:>6.0} s  {rate:>9.1}/s  p50 {:>8}  p99 {:>8}  max {:>8}  errors {bad}  connections {}",
            elapsed.as_secs_f64(),
            quantile(0.5),
            quantile(0.99),
            quantile(1.0),
            sum.open
        ));
    }
}
