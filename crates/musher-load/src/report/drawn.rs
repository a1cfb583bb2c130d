//! The plots of a run and of a sweep.

use super::Report;
use super::plot::{Panel, Scale, short, svg};
use crate::sweep::{Estimate, Run, SweepReport};
use crate::tally::count;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 230.0;

/// What a plot is called: target, date, what was done.
fn title(report: &Report) -> String {
    let about = &report.about;
    let target = about.targets.first().map_or("", String::as_str);
    let how = match &about.rate {
        Some(rate) => format!("open loop, {rate} a second"),
        None => format!("closed loop, {} users", about.users),
    };
    let date = super::csv::date(about.started_at);
    format!("{target} - {date} - {how}, {:.1} s", report.siege.elapsed_time)
}

/// A run: throughput, latency, its histogram over time, errors and CPU.
#[must_use]
pub fn run_svg(report: &Report) -> Option<String> {
    let outcome = report.outcome.as_ref()?;
    let seconds = outcome.interval.as_secs_f64();
    let at = |index: u32| f64::from(index) * seconds + seconds / 2.0;
    let end = outcome.series.last().map_or(1.0, |slice| f64::from(slice.index + 1) * seconds);
    let x = (Scale::Linear, 0.0, end);
    let size = (WIDTH, HEIGHT);

    let rate = |count_of: u64| count(count_of) / seconds;
    let highest = outcome.series.iter().map(|slice| rate(slice.latency.len())).fold(1.0, f64::max) * 1.1;
    let mut through = Panel::new(size, x, (Scale::Linear, 0.0, highest), ["throughput", "seconds", "answers a second"]);
    through.line("c1", "answers", outcome.series.iter().map(|slice| (at(slice.index), rate(slice.latency.len()))));
    through.line("c3", "errors", outcome.series.iter().map(|slice| (at(slice.index), rate(slice.bad))));

    let with: Vec<_> = outcome.series.iter().filter(|slice| !slice.latency.is_empty()).collect();
    let ms = |micros: u64| count(micros) / 1e3;
    let low = with.iter().map(|slice| ms(slice.latency.min())).fold(f64::INFINITY, f64::min).clamp(0.001, 1e6);
    let high = with.iter().map(|slice| ms(slice.latency.max())).fold(low * 10.0, f64::max);
    let y = (Scale::Log10, low, high * 1.1);
    let mut latency = Panel::new(size, x, y, ["latency", "seconds", "ms"]);
    for (class, name, share) in [("c2", "p50", 0.5), ("c1", "p95", 0.95), ("c4", "p99", 0.99), ("c3", "max", 1.0)] {
        latency.line(class, name, with.iter().map(|s| (at(s.index), ms(s.latency.value_at_quantile(share)))));
    }
    let mut heat = Panel::new(size, x, y, ["latency histogram over time", "seconds", "ms"]);
    for slice in &with {
        let from = f64::from(slice.index) * seconds;
        for (low, high, share) in buckets(slice) {
            heat.cell((from, low), (from + seconds, high), share);
        }
    }
    let mut client = Panel::new(
        (WIDTH, 150.0),
        x,
        (Scale::Linear, 0.0, 100.0),
        ["generator's CPU and errors", "seconds", "% of its cores, % of requests"],
    );
    let threads = f64::from(outcome.threads.max(1));
    let cpu = |slice: &crate::engine::Slice| (slice.cpu.as_secs_f64() / seconds / threads * 100.0).min(100.0);
    client.line("c1", "CPU", outcome.series.iter().map(|slice| (at(slice.index), cpu(slice))));
    let errors = |slice: &crate::engine::Slice| crate::tally::ratio(slice.bad, slice.bad + slice.good) * 100.0;
    client.line("c3", "errors", outcome.series.iter().map(|slice| (at(slice.index), errors(slice))));
    let mut panels = [through, latency, heat, client];
    marks(&mut panels, report);
    Some(svg(&title(report), &panels))
}

/// Phases as bands, so that what happened in them is seen.
fn marks(panels: &mut [Panel], report: &Report) {
    for phase in report.phases.iter().filter(|phase| phase.label.starts_with("during")) {
        for (number, panel) in panels.iter_mut().enumerate() {
            let name: String = if number == 0 { phase.label.chars().take(60).collect() } else { String::new() };
            panel.band(phase.begun, phase.begun + phase.seconds, &name);
        }
    }
}

/// Half-octaves of a histogram: their bounds in milliseconds, and how full they are from 0 to 1.
fn buckets(slice: &crate::engine::Slice) -> Vec<(f64, f64, f64)> {
    let mut found: Vec<(f64, f64, u64)> = Vec::new();
    for value in slice.latency.iter_recorded() {
        let step = (count(value.value_iterated_to().max(1)).log2() * 2.0).floor();
        let (low, high) = (2f64.powf(step / 2.0) / 1e3, 2f64.powf((step + 1.0) / 2.0) / 1e3);
        match found.last_mut() {
            Some((last, _, sum)) if (*last - low).abs() < low * 1e-9 => *sum += value.count_since_last_iteration(),
            _ => found.push((low, high, value.count_since_last_iteration())),
        }
    }
    let most = found.iter().map(|(_, _, sum)| *sum).max().unwrap_or(1);
    found
        .into_iter()
        .map(|(low, high, sum)| (low, high, (0.12 + 0.88 * crate::tally::ratio(sum, most)).min(1.0)))
        .collect()
}

/// A sweep: throughput with both bounds and their crossing, response times, errors and CPU, over users.
#[must_use]
pub fn sweep_svg(report: &SweepReport) -> String {
    let runs = &report.runs;
    let most = runs.iter().map(|run| f64::from(run.users)).fold(2.0, f64::max);
    let x = (Scale::Log2, 1.0, most * 1.1);
    let levels = report.levels();
    let estimate = report.estimate.as_ref();
    let panels =
        [throughput(report, estimate, x, &levels), response(report, estimate, x, &levels), health(report, x, &levels)];
    let date = super::csv::date(report.started_at);
    svg(
        &format!(
            "{} - {date} - closed loop, {} s a level, {} rounds",
            report.target,
            short(report.level_seconds),
            report.rounds
        ),
        &panels,
    )
}

type Levels = [(u32, Vec<Run>)];

fn mean(runs: &[Run], of: impl Fn(&Run) -> f64) -> f64 {
    runs.iter().map(of).sum::<f64>() / count(runs.len() as u64).max(1.0)
}

fn throughput(report: &SweepReport, estimate: Option<&Estimate>, x: (Scale, f64, f64), levels: &Levels) -> Panel {
    let high = report.runs.iter().map(|run| run.rate).fold(1.0, f64::max) * 1.2;
    let mut panel =
        Panel::new((WIDTH, 280.0), x, (Scale::Linear, 0.0, high), ["throughput", "users", "answers a second"]);
    if let Some(found) = estimate {
        panel.band(found.interval.low, found.interval.high, "95 % interval");
        let corner = (high * found.light).min(x.2);
        let steps = (0..=60).map(|n| 1.0 + (corner - 1.0) * f64::from(n) / 60.0);
        panel.line("bound", "bounds N/R and Xmax", steps.map(|users| (users, users / found.light)));
        panel.line("bound", "", [(1.0, found.plateau), (x.2, found.plateau)]);
        panel.line(
            "mark",
            &format!("crossing {}", short(found.crossing)),
            [(found.crossing, 0.0), (found.crossing, high)],
        );
        if let Some(usl) = &found.usl {
            let at =
                |users: f64| usl.gamma * users / (1.0 + usl.alpha * (users - 1.0) + usl.beta * users * (users - 1.0));
            let steps = (0..=80).map(|n| x.2.powf(f64::from(n) / 80.0));
            panel.line("c4 bound", "USL", steps.map(|users| (users, at(users))));
        }
    }
    panel.line("c1", "mean", levels.iter().map(|(users, runs)| (f64::from(*users), mean(runs, |run| run.rate))));
    let (good, left_out): (Vec<&Run>, Vec<&Run>) = report.runs.iter().partition(|run| run.is_believed(report.think));
    panel.dots("d1", good.iter().map(|run| (f64::from(run.users), run.rate)));
    panel.dots("d0", left_out.iter().map(|run| (f64::from(run.users), run.rate)));
    panel
}

fn response(report: &SweepReport, estimate: Option<&Estimate>, x: (Scale, f64, f64), levels: &Levels) -> Panel {
    let low = report.runs.iter().map(|run| run.p50 * 1e3).fold(f64::INFINITY, f64::min).clamp(0.001, 1e6) / 1.5;
    let high = report.runs.iter().map(|run| run.p99 * 1e3).fold(low * 10.0, f64::max) * 1.3;
    let mut panel = Panel::new((WIDTH, 280.0), x, (Scale::Log10, low, high), ["response time", "users", "ms"]);
    let line = |of: fn(&Run) -> f64| levels.iter().map(move |(users, runs)| (f64::from(*users), mean(runs, of) * 1e3));
    panel.line("c2", "p50", line(|run| run.p50));
    panel.line("c1", "p95", line(|run| run.p95));
    panel.line("c3", "p99", line(|run| run.p99));
    if let Some(found) = estimate {
        panel.band(found.interval.low, found.interval.high, "95 % interval");
        let steps = (0..=80).map(|n| x.2.powf(f64::from(n) / 80.0));
        panel.line(
            "bound",
            "bound max(R, N/Xmax)",
            steps.map(|users| (users, found.light.max(users / found.plateau) * 1e3)),
        );
    }
    if let Some(slo) = report.slo {
        panel.line("mark", "limit", [(1.0, slo * 1e3), (x.2, slo * 1e3)]);
    }
    panel
}

fn health(report: &SweepReport, x: (Scale, f64, f64), levels: &Levels) -> Panel {
    let y = (Scale::Linear, 0.0, 100.0);
    let names = ["errors and the generator's CPU", "users", "% of requests, % of its cores"];
    let mut panel = Panel::new((WIDTH, 160.0), x, y, names);
    panel.line(
        "c1",
        "CPU",
        levels.iter().map(|(users, runs)| (f64::from(*users), mean(runs, |run| run.client_busy) * 100.0)),
    );
    panel.line(
        "c3",
        "errors",
        levels.iter().map(|(users, runs)| (f64::from(*users), mean(runs, |run| run.errors) * 100.0)),
    );
    panel.line(
        "mark",
        "too busy",
        [(1.0, 80.0), (report.runs.iter().map(|r| f64::from(r.users)).fold(2.0, f64::max), 80.0)],
    );
    panel
}
