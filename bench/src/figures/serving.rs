//! How much a team serves: kept connections, new connections, and with a worker that computes.

use std::time::Duration;

use anyhow::Result;
use musher_bench::load::{Load, Outcome, Plan, Shape};
use musher_bench::{proc_fs, wait};

use super::commands::pid_of_answer;
use super::{Bench, side, wrk};
use crate::arena::{Arena, Contender, Team, cpu_of, float, free_port};
use crate::report::{Goal, PM2, Unit};

pub(super) fn keep_alive(bench: &mut Bench<'_>, contender: Contender) -> Result<()> {
    let arena = Arena::new(contender, bench.tools)?;
    let team = Team { name: "hello", instances: 2, port: free_port()?, blocking: false };
    arena.start(&team)?;
    warm(bench, &team)?;
    let workers = arena.workers(team.name)?;
    let mut shares = Vec::new();
    let measured = wrk::run(bench.tools, team.port, 4, &[], || {
        let _: Option<()> = wait::until(Duration::from_secs(2), || None);
        shares = workers.iter().map(|pid| proc_fs::accepted(*pid, team.port).len()).collect();
        Ok(())
    })?;
    let (figures, side) = (&mut bench.figures, side(contender));
    let how = "`wrk -t1 -c64 -d4s` on 2 workers, after 1 s of warming up";
    figures.add(
        "requests on kept connections",
        Unit::PerSecond,
        Goal::AtLeastTimes(PM2, 1.0),
        how,
        side,
        measured.per_second,
    );
    let most = shares.iter().max().copied().unwrap_or(0);
    figures.add(
        "most of the 64 kept connections on one of 2 workers",
        Unit::Percent,
        Goal::AtMost(55.0),
        "connections of each worker (/proc/net/tcp) in the middle of that run",
        side,
        float(most as u64) / float(shares.iter().sum::<usize>().max(1) as u64) * 100.0,
    );
    if let Some(errors) = measured.errors {
        eprintln!("{side}: {errors}");
    }
    Ok(())
}

pub(super) fn new_connections(bench: &mut Bench<'_>, contender: Contender) -> Result<()> {
    let arena = Arena::new(contender, bench.tools)?;
    let team = Team { name: "hello", instances: 2, port: free_port()?, blocking: false };
    arena.start(&team)?;
    warm(bench, &team)?;
    let managers = arena.managers()?;
    let before = cpu_of(&managers)?;
    let measured = wrk::run(bench.tools, team.port, 4, &["-H", "Connection: close"], || Ok(()))?;
    let used = cpu_of(&managers)? - before;
    let (figures, side) = (&mut bench.figures, side(contender));
    figures.add(
        "new connections",
        Unit::PerSecond,
        Goal::AtLeastTimes(PM2, 1.8),
        "`wrk -t1 -c64 -d4s -H 'Connection: close'` on 2 workers",
        side,
        measured.per_second,
    );
    figures.add(
        "CPU of the manager for a new connection",
        Unit::Microseconds,
        Goal::AtMost(1.0),
        "CPU time of the manager in that run, divided by its requests",
        side,
        used.as_secs_f64() * 1e6 / measured.requests,
    );
    if let Some(errors) = measured.errors {
        eprintln!("{side}: {errors}");
    }
    Ok(())
}

pub(super) fn blocked(bench: &mut Bench<'_>, contender: Contender) -> Result<()> {
    let arena = Arena::new(contender, bench.tools)?;
    let team = Team { name: "hello", instances: 4, port: free_port()?, blocking: true };
    arena.start(&team)?;
    let load = Load::start(Plan::new(team.port, Shape::Fresh { per_second: 500 }));
    let _: Option<()> = wait::until(Duration::from_millis(9500), || None);
    let report = load.finish();
    eprintln!("{}: {report}", side(contender));
    let (figures, side) = (&mut bench.figures, side(contender));
    let how = "500 new connections/s for 9.5 s on 4 workers, slot 0 blocked for 2 s of every 3 s; from the planned instant \
               to the end of the answer";
    let longest = report.longest().as_secs_f64() * 1e3;
    figures.add("longest wait, one of 4 workers blocked", Unit::Milliseconds, Goal::None, how, side, longest);
    let late = || report.samples.iter().filter(|s| s.latency > Duration::from_millis(25));
    let held = late()
        .filter(|s| matches!(&s.outcome, Outcome::Ok { version: Some(version), .. } if version == "held"))
        .count();
    let name = "requests that waited longer than 25 ms, of 4750";
    let all = late().count();
    figures.add(name, Unit::Count, Goal::None, "in that run", side, float(all as u64));
    let name = "of those, not accepted by the worker itself before it blocked";
    let how_held = "the worker notes when it accepts a connection; what it has accepted nobody can take from it";
    figures.add(name, Unit::Count, Goal::Never, how_held, side, float((all - held) as u64));
    let lost = report.samples.iter().filter(|s| !matches!(s.outcome, Outcome::Ok { .. })).count();
    figures.add("lost requests, one of 4 workers blocked", Unit::Count, Goal::Never, how, side, float(lost as u64));
    Ok(())
}

/// Until every worker has answered, then a second of load, so that Node has compiled what it runs.
fn warm(bench: &Bench<'_>, team: &Team) -> Result<()> {
    let answered = wait::until(Duration::from_secs(10), || pid_of_answer(team.port, Duration::from_secs(2)).ok());
    anyhow::ensure!(answered.is_some(), "no answer on port {}", team.port);
    wrk::run(bench.tools, team.port, 1, &[], || Ok(()))?;
    Ok(())
}
