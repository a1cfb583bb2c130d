//! What is lost, and how long one waits, when workers and managers are killed and when workers are replaced.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use musher_bench::{proc_fs, wait};

use super::clients::{Clients, count, longest_gap, within};
use super::commands::pid_of_answer;
use super::{Bench, side};
use crate::arena::{Arena, Contender, Team, free_port};
use crate::report::{Goal, PM2, Unit};

/// How long a worker is up before it is killed.
const STABLE: Duration = Duration::from_millis(1500);

pub(super) fn killed_worker(bench: &mut Bench<'_>, contender: Contender) -> Result<()> {
    let arena = Arena::new(contender, bench.tools)?;
    let team = Team { name: "hello", instances: 2, port: free_port()?, blocking: false };
    arena.start(&team)?;
    let mut known: HashSet<u32> = arena.workers(team.name)?.into_iter().collect();
    let mut held = HashSet::new();
    for _ in 0..4 {
        let workers = arena.workers(team.name)?;
        ensure!(workers.len() == 2, "{} workers instead of 2", workers.len());
        // Both tools wait before they restart a worker that was not up for a second.
        std::thread::sleep(STABLE);
        proc_fs::kill9(workers[0])?;
        let started = Instant::now();
        let replacement = wait::until_every(Duration::from_millis(2), Duration::from_secs(30), || {
            pid_of_answer(team.port, Duration::from_millis(50)).ok().filter(|pid| !known.contains(pid))
        });
        let took = started.elapsed();
        ensure!(replacement.is_some(), "no replacement answers");
        known.extend(replacement);
        bench.figures.add(
            "kill -9 of a worker to an answer of its replacement",
            Unit::Milliseconds,
            Goal::AtMostOf(PM2, 1.0),
            "2 workers that have been up for more than a second, asked every 2 ms on a new connection; 4 kills in each round",
            side(contender),
            took.as_secs_f64() * 1e3,
        );
        arena.wait_online(&team)?;
    }

    let clients = Clients::on(team.port);
    for _ in 0..4 {
        clients.answered(60);
        let workers = arena.workers(team.name)?;
        ensure!(!workers.is_empty(), "no workers");
        held.extend(proc_fs::kill9_holding(workers[0], team.port)?);
        clients.answered(60);
        arena.wait_online(&team)?;
    }
    clients.answered(60);
    let names = ["lost beyond what 4 killed workers held: new connections", "the same: kept connections"];
    let how = "200 new connections/s, and 32 kept ones with pauses of 100 ms, while 4 of 2 workers are killed one by \
               one; a loss is held when the worker had accepted the connection and not closed it";
    count(bench, &arena, names, how, &clients.finish(), &held);
    Ok(())
}

pub(super) fn reload(bench: &mut Bench<'_>, contender: Contender) -> Result<()> {
    let arena = Arena::new(contender, bench.tools)?;
    let team = Team { name: "hello", instances: 2, port: free_port()?, blocking: false };
    arena.start(&team)?;
    let clients = Clients::on(team.port);
    for _ in 0..3 {
        clients.answered(60);
        arena.reload(&team)?;
        clients.answered(60);
    }
    let names = ["lost in 3 reloads: new connections", "lost in 3 reloads: kept connections"];
    count(bench, &arena, names, "the same clients, 2 workers, 3 reloads", &clients.finish(), &HashSet::new());
    Ok(())
}

/// New connections a second while latencies are measured.
const RATE: u32 = 400;
/// What a reload leaves behind belongs to it.
const AFTER: Duration = Duration::from_secs(1);

pub(super) fn latency(bench: &mut Bench<'_>, contender: Contender) -> Result<()> {
    let arena = Arena::new(contender, bench.tools)?;
    let team = Team { name: "hello", instances: 2, port: free_port()?, blocking: false };
    arena.start(&team)?;
    let clients = Clients::at(team.port, RATE);
    clients.answered(u64::from(RATE));
    let (mut quiet, mut busy) = (Vec::new(), Vec::new());
    // In turn, so that what drifts drifts for both.
    for _ in 0..if bench.quick { 2 } else { 6 } {
        let start = Instant::now();
        let _: Option<()> = wait::until(Duration::from_secs(2), || None);
        quiet.push((start, Instant::now()));
        let start = Instant::now();
        arena.reload(&team)?;
        let _: Option<()> = wait::until(AFTER, || None);
        busy.push((start, Instant::now()));
    }
    let reports = clients.finish();
    let side = side(contender);
    let names = [
        ["p99 of new connections in a reload, to quiet", "p99.9 of new connections in a reload, to quiet"],
        ["p99 on kept connections in a reload, to quiet", "p99.9 on kept connections in a reload, to quiet"],
    ];
    let absolute = ["p99 of new connections in a reload", "p99 on kept connections in a reload"];
    let how = "400 new connections/s and 32 kept ones, 2 workers; from the planned instant to the end of the answer, of \
               requests planned from the start of a reload to one second after its end, against 2 s of quiet before \
               each; 6 reloads in each round (2 in a quick one)";
    for ((names, absolute), report) in names.into_iter().zip(absolute).zip(&reports) {
        let (quiet, busy) = (within(report, &quiet), within(report, &busy));
        for (name, part) in names.into_iter().zip([0.99, 0.999]) {
            let (before, during) = (quiet.quantile(part), busy.quantile(part));
            eprintln!(
                "{side}: {name}: {before:.1?} of {}, {during:.1?} of {}",
                quiet.samples.len(),
                busy.samples.len()
            );
            let times = during.as_secs_f64() / before.as_secs_f64().max(1e-6);
            bench.figures.add(name, Unit::Times, Goal::AtMost(2.0), how, side, times);
        }
        let p99 = busy.quantile(0.99).as_secs_f64() * 1e3;
        bench.figures.add(absolute, Unit::Milliseconds, Goal::AtMostOf(PM2, 1.0), how, side, p99);
    }
    Ok(())
}

pub(super) fn scale(bench: &mut Bench<'_>, contender: Contender) -> Result<()> {
    let arena = Arena::new(contender, bench.tools)?;
    let mut team = Team { name: "hello", instances: 2, port: free_port()?, blocking: false };
    arena.start(&team)?;
    let clients = Clients::on(team.port);
    for instances in [4, 1, 3, 2] {
        clients.answered(60);
        arena.scale(&mut team, instances)?;
    }
    clients.answered(60);
    let names = ["lost in 2 scales up and 2 down: new connections", "lost in 2 scales up and 2 down: kept connections"];
    count(bench, &arena, names, "the same clients; from 2 workers to 4, 1, 3, 2", &clients.finish(), &HashSet::new());
    Ok(())
}

/// How long one looks at what a killed manager leaves.
const LOOK: Duration = Duration::from_secs(3);

pub(super) fn killed_manager(bench: &mut Bench<'_>, contender: Contender) -> Result<()> {
    let arena = Arena::new(contender, bench.tools)?;
    let team = Team { name: "hello", instances: 2, port: free_port()?, blocking: false };
    arena.start(&team)?;
    let names = [
        "lost in the 3 s after kill -9 of the manager: new connections",
        "lost in the 3 s after kill -9 of the manager: kept connections",
    ];
    let how = "the same clients, 2 workers; kill -9 of musher's supervisor, of PM2's daemon, of the primary, of gunicorn's \
               master";
    let gap = "longest time without an answer in the 3 s after kill -9 of the manager";
    killed(bench, &arena, &team, arena.decider()?, names, gap, how)?;
    if contender == Contender::Musher {
        let names = [
            "lost in the 3 s after kill -9 of the keeper: new connections",
            "lost in the 3 s after kill -9 of the keeper: kept connections",
        ];
        let gap = "longest time without an answer in the 3 s after kill -9 of the keeper";
        killed(bench, &arena, &team, arena.managers()?[0], names, gap, "the same, kill -9 of musher's keeper")?;
    }
    Ok(())
}

fn killed(
    bench: &mut Bench<'_>,
    arena: &Arena<'_>,
    team: &Team,
    manager: u32,
    names: [&'static str; 2],
    gap: &'static str,
    how: &str,
) -> Result<()> {
    let clients = Clients::on(team.port);
    clients.answered(60);
    let start = Instant::now();
    proc_fs::kill9(manager)?;
    let _: Option<()> = wait::until(LOOK, || None);
    let end = Instant::now();
    let reports = clients.finish();
    count(bench, arena, names, how, &reports, &HashSet::new());
    let longest = longest_gap(&reports, start, end).as_secs_f64() * 1e3;
    let how = format!("{how}; from one answer to the next, at about 500 requests a second");
    bench.figures.add(gap, Unit::Milliseconds, Goal::AtMost(100.0), &how, side(arena.contender), longest);
    Ok(())
}
