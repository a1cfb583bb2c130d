//! What it costs to have a manager: memory and CPU at rest.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use musher_bench::wait;

use super::{Bench, side};
use crate::arena::{Arena, Contender, Team, cpu_of, free_port, rss_of};
use crate::report::{Goal, PM2, Unit};

pub(super) fn two_workers(bench: &mut Bench<'_>, contender: Contender) -> Result<()> {
    let arena = Arena::new(contender, bench.tools)?;
    arena.start(&Team { name: "hello", instances: 2, port: free_port()?, blocking: false })?;
    let managers = arena.managers()?;
    rest(Duration::from_secs(if bench.quick { 1 } else { 5 }));
    bench.figures.add(
        "memory of the manager, 2 workers",
        Unit::Mebibytes,
        Goal::AtMostOf(PM2, 1.0 / 6.0),
        "VmRSS of keeper and supervisor together (PM2: of the daemon) 5 s after the start of `hello.cjs -i 2` (1 s in a quick round)",
        side(contender),
        rss_of(&managers)?,
    );
    Ok(())
}

pub(super) fn hundred_workers(bench: &mut Bench<'_>, contender: Contender) -> Result<()> {
    let arena = Arena::new(contender, bench.tools)?;
    arena.start(&Team { name: "hello", instances: 100, port: free_port()?, blocking: false })?;
    let managers = arena.managers()?;
    // What is left of starting is not rest.
    rest(Duration::from_secs(if bench.quick { 5 } else { 15 }));
    bench.figures.add(
        "memory of the manager, 100 workers",
        Unit::Mebibytes,
        Goal::AtMost(12e6),
        "VmRSS of keeper and supervisor together (PM2: of the daemon) at rest with `hello.cjs -i 100`",
        side(contender),
        rss_of(&managers)?,
    );

    let (started, before) = (Instant::now(), cpu_of(&managers)?);
    rest(Duration::from_secs(if bench.quick { 10 } else { 40 }));
    let (after, took) = (cpu_of(&managers)?, started.elapsed());
    ensure!(managers == arena.managers()?, "a manager was replaced while it was measured");
    bench.figures.add(
        "CPU of the manager at rest, 100 workers",
        Unit::Percent,
        Goal::AtMost(0.1),
        "CPU time (schedstat of all threads) over 40 s of rest (10 s in a quick round) with 100 Node workers, in percent of one core",
        side(contender),
        (after - before).as_secs_f64() / took.as_secs_f64() * 100.0,
    );
    Ok(())
}

/// Lets time pass in which nothing is asked.
pub(super) fn rest(time: Duration) {
    let _: Option<()> = wait::until(time, || None);
}
