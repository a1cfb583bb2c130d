//! From the change of a file to the new worker's answer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use musher_bench::wait;
use serde_json::json;

use super::commands::pid_of_answer;
use super::idle::rest;
use super::{Bench, side};
use crate::arena::{Arena, Contender, free_port};
use crate::report::{Goal, PM2, Unit};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn reaction(bench: &mut Bench<'_>, contender: Contender) -> Result<()> {
    let arena = Arena::new(contender, bench.tools)?;
    let directory = arena.path().join("watched");
    std::fs::create_dir(&directory)?;
    let script = directory.join("hello.cjs");
    let text = std::fs::read_to_string(&bench.tools.hello)?;
    std::fs::write(&script, &text)?;
    let port = free_port()?;
    let (list, file) = if contender == Contender::Musher { ("app", "musher.json") } else { ("apps", "apps.json") };
    let app = json!({ "name": "hello", "script": script, "cwd": directory, "args": [port.to_string()], "watch": true });
    let file = arena.path().join(file);
    std::fs::write(&file, json!({ list: [app] }).to_string())?;
    arena.run(["start", &file.display().to_string()])?;
    let mut before = answer(port, None)?;
    for change in 0..if bench.quick { 2 } else { 5 } {
        // A change in the first moments of a worker is a case of its own.
        rest(Duration::from_secs(2));
        let started = Instant::now();
        std::fs::write(&script, format!("{text}// {change}\n"))?;
        before = answer(port, Some(before))?;
        let how = "`watch: true`, nothing else configured (musher waits until nothing has changed for 100 ms); the file is written, then the port asked every millisecond, each time on a new \
                   connection, until another pid answers; 5 changes in each round";
        let took = started.elapsed().as_secs_f64() * 1e3;
        let name = "from a changed file to the new worker's answer";
        bench.figures.add(name, Unit::Milliseconds, Goal::AtMostOf(PM2, 1.0), how, side(contender), took);
    }
    Ok(())
}

/// The pid of a worker that answers and is another one than before.
fn answer(port: u16, before: Option<u32>) -> Result<u32> {
    let other = wait::until_every(Duration::from_millis(1), PATIENCE, || {
        pid_of_answer(port, Duration::from_secs(2)).ok().filter(|pid| Some(*pid) != before)
    });
    other.with_context(|| format!("no other worker answers on port {port} in {PATIENCE:?}"))
}
