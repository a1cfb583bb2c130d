//! `--sweep`: runs the levels that the sweep asks for, and confirms what it found by an open-loop run.

use std::io::Write;
use std::time::Duration;

use musher_load::engine::Outcome;
use musher_load::pace::Rate;
use musher_load::plan::{Plan, Think};
use musher_load::report::{About, sweep_page, sweep_svg, time_words};
use musher_load::sweep::{Confirmation, Next, Run, Sweep, SweepLimits, SweepReport, measured};

use super::planning::Planned;
use super::signals::Signals;
use super::{engine, files};
use crate::args::LoadArgs;
use crate::exit_codes;
use crate::failure::Failure;
use crate::output::note;

/// The part of the best throughput that the confirming run asks for.
const CONFIRMED: f64 = 0.8;
/// So many response times are waited for before measuring, and measured.
const RESPONSES: u32 = 20;
/// The longest level, however slow the server is.
const LONGEST: Duration = Duration::from_secs(120);

/// Runs it and tells what it came to.
pub(super) fn run(args: &LoadArgs, planned: &Planned, signals: &Signals) -> Result<(), Failure> {
    let plan = &planned.plan;
    if plan.rate.is_some() || plan.count.is_some() || args.judge.during.is_some() || plan.duration.is_some() {
        return Err(Failure::new(
            exit_codes::USAGE,
            "--sweep sets users and times itself: leave out -r, -t, --rate and --during",
        )
        .with_hint("--level-time, --rounds, --sweep-max and --levels say how long it takes"));
    }
    let options = &args.sweep;
    let think = match plan.think {
        None => 0.0,
        Some(Think::Fixed(time)) => time.as_secs_f64(),
        Some(Think::UpTo(time)) => time.as_secs_f64() / 2.0,
    };
    let most = options.sweep_max.min(musher_load::plan::MOST_USERS);
    let slo = options.slo;
    let levels = options.levels.clone();
    let limits = SweepLimits { most, rounds: options.rounds, think, slo, levels };
    let mut sweep = Sweep::new(limits, plan.seed);
    let mut ended_by = None;
    let mut slowest = Duration::ZERO;
    while let Next::Run(users, round) = sweep.next_run() {
        let run = level(plan, users, options.level_time, slowest, signals)?;
        let Some(run) = run else {
            ended_by = Some("interrupted".to_owned());
            break;
        };
        slowest = slowest.max(Duration::try_from_secs_f64(run.response).unwrap_or_default()).min(LONGEST);
        if !planned.quiet {
            note(&line(round, options.rounds, &run, think));
        }
        sweep.take(run);
    }
    let target = plan.requests.first().map_or(String::new(), |one| one.url.to_string());
    let mut report = SweepReport::new(&target, sweep.runs().to_vec(), think, slo, plan.seed);
    report.started_at = About::plan(plan, None, None).started_at;
    report.level_seconds = options.level_time.as_secs_f64();
    report.rounds = options.rounds;
    report.within_slo = sweep.within_slo();
    report.ended_by = ended_by;
    if let (Some(found), None, false) = (&report.estimate, &report.ended_by, options.no_confirm) {
        let rate = found.plateau * CONFIRMED;
        report.confirmed = confirm(plan, rate, options.level_time, signals)?;
    }
    told(args, planned, &report)
}

/// One level in one round; none when somebody ended it.
fn level(
    plan: &Plan,
    users: u32,
    time: Duration,
    response: Duration,
    signals: &Signals,
) -> Result<Option<Run>, Failure> {
    let by_response = (response * RESPONSES).min(LONGEST);
    // Whole intervals, so that what is measured is not cut.
    let whole =
        |time: Duration| Duration::from_millis(u64::try_from(time.as_millis().div_ceil(200)).unwrap_or(1) * 200);
    let plan = Plan {
        users,
        threads: plan.threads.min(users),
        processes: plan.processes.min(users),
        warm_up: whole(by_response.max(time.min(Duration::from_secs(1)))),
        duration: Some(whole(by_response.max(time))),
        ..plan.clone()
    };
    let engine = engine(&plan)?;
    signals.direct(&engine.control());
    let outcome = engine.run(&mut ())?;
    refuse_silence(&outcome)?;
    Ok(if signals.came() { None } else { Some(measured(&outcome, users, &plan)) })
}

fn refuse_silence(outcome: &Outcome) -> Result<(), Failure> {
    match outcome.ended_by.as_deref() {
        Some(why @ "nothing was answered") => {
            let total = outcome.total();
            let first = total.faults.values().next().map_or(why, |fault| fault.first.as_str());
            Err(Failure::new(
                exit_codes::FAILED,
                format!("no request was answered: {}", crate::output::sanitize(first)),
            ))
        }
        _ => Ok(()),
    }
}

fn confirm(plan: &Plan, rate: f64, time: Duration, signals: &Signals) -> Result<Option<Confirmation>, Failure> {
    if !(0.001..=1e7).contains(&rate) {
        return Ok(None);
    }
    let plan = Plan {
        users: 1000,
        rate: Some(Rate::constant(rate)),
        think: None,
        duration: Some(time * 2),
        warm_up: time.min(Duration::from_secs(1)),
        finish: Duration::from_secs(1),
        ..plan.clone()
    };
    let engine = engine(&plan)?;
    signals.direct(&engine.control());
    let outcome = engine.run(&mut ())?;
    let total = outcome.total();
    let seconds = |share: f64| Duration::from_micros(total.quantile(share)).as_secs_f64();
    Ok(Some(Confirmation {
        rate,
        answered: musher_load::tally::count(total.transactions) / (time * 2).as_secs_f64(),
        p50: seconds(0.5),
        p99: seconds(0.99),
        errors: total.error_share(),
        unsent: total.unsent,
    }))
}

fn line(round: u32, rounds: u32, run: &Run, think: f64) -> String {
    let time = |seconds: f64| time_words(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    let doubts: Vec<&str> = run.doubts(think).into_iter().map(musher_load::sweep::Doubt::words).collect();
    let line = format!(
        "round {round} of {rounds}: {:>6} users {:>10.1}/s  p50 {:>8}  p99 {:>8}  {}",
        run.users,
        run.rate,
        time(run.p50),
        time(run.p99),
        doubts.join("; ")
    );
    line.trim_end().to_owned()
}

fn told(args: &LoadArgs, planned: &Planned, report: &SweepReport) -> Result<(), Failure> {
    let json = || serde_json::to_string_pretty(report).map_err(std::io::Error::from);
    let mut out = std::io::stdout().lock();
    match planned.json {
        true => writeln!(out, "{}", json()?)?,
        false => write!(out, "{}", report.text())?,
    }
    out.flush()?;
    drop(out);
    for path in &args.judge.report {
        let content = match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => json()?,
            Some("html") => sweep_page(report),
            Some("svg") => sweep_svg(report),
            Some("csv") => report.csv(),
            Some("txt") => report.text(),
            _ => {
                return Err(Failure::new(exit_codes::USAGE, format!("{}: not a form of a sweep", path.display()))
                    .with_hint("FILE.json, .html, .svg, .csv or .txt"));
            }
        };
        files::put(path, &content)?;
    }
    Ok(())
}
