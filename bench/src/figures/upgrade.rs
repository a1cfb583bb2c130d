//! How long an upgrade of musher itself takes, and what it costs those who are being served.

use std::collections::HashSet;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::clients::{Clients, count, longest_gap};
use super::{Bench, side};
use crate::arena::{Arena, Contender, Team, free_port};
use crate::report::{Goal, Unit};

/// How many upgrades there are in a round.
const UPGRADES: usize = 6;

pub(super) fn upgrade(bench: &mut Bench<'_>, contender: Contender) -> Result<()> {
    let arena = Arena::new(contender, bench.tools)?;
    let team = Team { name: "hello", instances: 2, port: free_port()?, blocking: false };
    arena.start(&team)?;
    let workers = arena.workers(team.name)?;
    // The same build as another file: what is in it makes no difference to how it takes over.
    let copy = arena.path().join("musher-copy");
    std::fs::copy(&bench.tools.musher, &copy)?;
    let clients = Clients::on(team.port);
    clients.answered(60);
    let start = Instant::now();
    for n in 0..UPGRADES {
        let to = if n % 2 == 0 { copy.as_path() } else { bench.tools.musher.as_path() };
        let begun = Instant::now();
        arena.run(["upgrade".as_ref(), to.as_os_str()])?;
        let took = begun.elapsed().as_secs_f64() * 1e3;
        let how = "`musher upgrade` with 2 workers under load, from the command line to the last word: examine, supervisor, \
                   keeper";
        bench.figures.add("upgrade", Unit::Milliseconds, Goal::AtMost(500.0), how, side(contender), took);
        clients.answered(60);
    }
    let end = Instant::now();
    let reports = clients.finish();
    ensure!(arena.workers(team.name)? == workers, "an upgrade replaced workers");
    let names = ["lost in 6 upgrades: new connections", "lost in 6 upgrades: kept connections"];
    count(bench, &arena, names, "the same clients as for reloads, 2 workers, 6 upgrades", &reports, &HashSet::new());
    let longest = longest_gap(&reports, start, end).as_secs_f64() * 1e3;
    let how = "from one answer to the next, at about 500 requests a second, during 6 upgrades";
    let name = "longest time without an answer during upgrades";
    bench.figures.add(name, Unit::Milliseconds, Goal::AtMost(100.0), how, side(contender), longest);
    Ok(())
}
