//! The clients of the figures about events, and what became of their requests.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use musher_bench::load::{Load, Plan, Report, Sample, Shape};

use super::{Bench, side};
use crate::arena::{Arena, float};
use crate::report::{Goal, Unit};

/// New connections and kept ones.
pub(super) struct Clients {
    fresh: Load,
    kept: Load,
}

impl Clients {
    pub(super) fn on(port: u16) -> Clients {
        Clients::at(port, 200)
    }

    /// With so many new connections a second.
    pub(super) fn at(port: u16, per_second: u32) -> Clients {
        let kept = Shape::KeepAlive { connections: 32, think: Duration::from_millis(100) };
        Clients {
            fresh: Load::start(Plan::new(port, Shape::Fresh { per_second })),
            kept: Load::start(Plan::new(port, kept)),
        }
    }

    pub(super) fn answered(&self, more: u64) {
        // When nobody answers any more, that is the result.
        let _ = self.fresh.wait_answered(more, Duration::from_secs(5));
    }

    pub(super) fn finish(self) -> [Report; 2] {
        [self.fresh.finish(), self.kept.finish()]
    }
}

/// Counts what was lost beyond what killed workers had accepted.
pub(super) fn count(
    bench: &mut Bench<'_>,
    arena: &Arena<'_>,
    names: [&'static str; 2],
    how: &str,
    reports: &[Report; 2],
    held: &HashSet<u16>,
) {
    for (name, report) in names.into_iter().zip(reports) {
        let lost = report.lost();
        let beyond = lost.iter().filter(|s| !s.local_port.is_some_and(|port| held.contains(&port))).count();
        let side = side(arena.contender);
        eprintln!("{side}: {name}: {} lost, {beyond} of them held by nobody who was killed; {report}", lost.len());
        bench.figures.add(name, Unit::Count, Goal::Never, how, side, float(beyond as u64));
    }
}

/// The requests that were planned in one of these times.
pub(super) fn within(report: &Report, times: &[(Instant, Instant)]) -> Report {
    let inside = |sample: &&Sample| times.iter().any(|(from, to)| *from <= sample.planned && sample.planned <= *to);
    Report { samples: report.samples.iter().filter(inside).cloned().collect(), ..report.clone() }
}

/// The longest time from `from` to `to` in which no request was answered, whatever was asked.
pub(super) fn longest_gap(reports: &[Report], from: Instant, to: Instant) -> Duration {
    let answered = |report: &Report| {
        let lost: HashSet<u64> = report.lost().iter().map(|sample| sample.id).collect();
        let good = report.samples.iter().filter(move |sample| !lost.contains(&sample.id));
        good.map(|sample| sample.planned + sample.latency).collect::<Vec<_>>()
    };
    let mut answers: Vec<Instant> = reports.iter().flat_map(answered).filter(|at| (from..=to).contains(at)).collect();
    answers.extend([from, to]);
    answers.sort_unstable();
    answers.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use musher_bench::load::Outcome;

    use super::*;

    #[test]
    fn a_gap_is_the_time_without_answers() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let sample = |at, outcome| Sample {
            id: at,
            planned: start + ms(at),
            latency: ms(1),
            local_port: None,
            opened: None,
            outcome,
        };
        let ok = || Outcome::Ok { pid: None, version: None };
        let samples = vec![sample(9, ok()), sample(19, ok()), sample(60, Outcome::Refused), sample(89, ok())];
        let report = Report { samples, idle_closed: 0, took: ms(100) };
        assert_eq!(longest_gap(std::slice::from_ref(&report), start, start + ms(100)), ms(70));
        assert_eq!(longest_gap(std::slice::from_ref(&report), start + ms(95), start + ms(100)), ms(5));
        assert_eq!(within(&report, &[(start, start + ms(30))]).samples.len(), 2);
    }
}
