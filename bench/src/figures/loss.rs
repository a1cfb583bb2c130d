//! What is lost when workers and managers are killed and when workers are replaced.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use musher_bench::load::{Load, Plan, Report, Shape};
use musher_bench::{proc_fs, wait};

use super::commands::pid_of_answer;
use super::{Bench, side};
use crate::arena::{Arena, Contender, Team, float, free_port};
use crate::report::{Goal, Unit};

/// New connections, kept connections and long answers at a time.
struct Clients {
    fresh: Load,
    kept: Load,
}

impl Clients {
    fn on(port: u16) -> Clients {
        let kept = Shape::KeepAlive { connections: 32, think: Duration::from_millis(100) };
        Clients {
            fresh: Load::start(Plan::new(port, Shape::Fresh { per_second: 200 })),
            kept: Load::start(Plan::new(port, kept)),
        }
    }

    fn answered(&self, more: u64) {
        // When nobody answers any more, that is the result.
        let _ = self.fresh.wait_answered(more, Duration::from_secs(5));
    }

    fn finish(self) -> [Report; 2] {
        [self.fresh.finish(), self.kept.finish()]
    }
}

/// Counts what was lost beyond what killed workers had accepted.
fn count(
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
        bench.figures.add(name, Unit::Count, Goal::AtMost(0.0), how, side, float(beyond as u64));
    }
}

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
            Goal::AtMostOfPm2(1.0),
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
        arena.run(["reload", team.name])?;
        clients.answered(60);
    }
    let names = ["lost in 3 reloads: new connections", "lost in 3 reloads: kept connections"];
    count(bench, &arena, names, "the same clients, 2 workers, 3 reloads", &clients.finish(), &HashSet::new());
    Ok(())
}

pub(super) fn killed_manager(bench: &mut Bench<'_>, contender: Contender) -> Result<()> {
    let arena = Arena::new(contender, bench.tools)?;
    let team = Team { name: "hello", instances: 2, port: free_port()?, blocking: false };
    arena.start(&team)?;
    let clients = Clients::on(team.port);
    clients.answered(60);
    let decider = arena.decider()?;
    proc_fs::kill9(decider)?;
    let _: Option<()> = wait::until(Duration::from_secs(3), || None);
    let names = [
        "lost in the 3 s after kill -9 of the manager: new connections",
        "lost in the 3 s after kill -9 of the manager: kept connections",
    ];
    let how = "the same clients, 2 workers; kill -9 of musher's supervisor, of PM2's daemon";
    count(bench, &arena, names, how, &clients.finish(), &HashSet::new());

    if contender == Contender::Musher {
        let clients = Clients::on(team.port);
        clients.answered(60);
        let keeper = arena.managers()?[0];
        proc_fs::kill9(keeper)?;
        let _: Option<()> = wait::until(Duration::from_secs(3), || None);
        let names = [
            "lost in the 3 s after kill -9 of the keeper: new connections",
            "lost in the 3 s after kill -9 of the keeper: kept connections",
        ];
        count(bench, &arena, names, "the same, kill -9 of musher's keeper", &clients.finish(), &HashSet::new());
    }
    Ok(())
}
