//! How long commands take: the list, and a start until the app answers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use musher_bench::wait;

use super::{Bench, side};
use crate::arena::{Arena, Contender, Team, free_port};
use crate::report::{Goal, PLAIN, PM2, Unit};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn list(bench: &mut Bench<'_>, contender: Contender) -> Result<()> {
    let arena = Arena::new(contender, bench.tools)?;
    arena.start(&Team { name: "hello", instances: 2, port: free_port()?, blocking: false })?;
    let word = if contender == Contender::Musher { "list" } else { "ls" };
    for run in 0..if bench.quick { 7 } else { 22 } {
        let mut command = arena.command([word]);
        let started = Instant::now();
        let output = command.output()?;
        let took = started.elapsed();
        ensure!(output.status.success(), "{command:?}: {output:?}");
        // The first two warm the page cache.
        if run >= 2 {
            bench.figures.add(
                "the list command",
                Unit::Milliseconds,
                Goal::AtMostOf(PM2, 1.0 / 20.0),
                "wall time of `musher list` and `pm2 ls` with 2 workers, warm, 20 runs in each round",
                side(contender),
                took.as_secs_f64() * 1e3,
            );
        }
    }
    Ok(())
}

pub(super) fn start(bench: &mut Bench<'_>, contender: Contender) -> Result<()> {
    let arena = Arena::new(contender, bench.tools)?;
    // The daemon runs already: this is about the app.
    arena.start(&Team { name: "other", instances: 1, port: free_port()?, blocking: false })?;
    let how = "from the start of the command (`start hello.cjs -i 1` with a running daemon; `node hello.cjs`) to the \
               first answered request, asked for every millisecond; 5 runs in each round";
    for _ in 0..if bench.quick { 2 } else { 5 } {
        let team = Team { name: "first", instances: 1, port: free_port()?, blocking: false };
        let mut command = arena.command(arena.start_words(&team));
        let started = Instant::now();
        let child = command.spawn()?;
        let took = first_answer(team.port, started)?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "{command:?}: {output:?}");
        let goal = Goal::PlainPlus(50.0);
        let name = "start of an app to its first answer";
        bench.figures.add(name, Unit::Milliseconds, goal, how, side(contender), took.as_secs_f64() * 1e3);
        arena.run(["delete", "first"])?;

        if contender == Contender::Musher {
            let port = free_port()?;
            let mut command = Command::new(&bench.tools.node);
            command.arg(&bench.tools.hello).arg(port.to_string());
            command.stdin(Stdio::null());
            let started = Instant::now();
            let node = Ended(command.spawn()?);
            let took = first_answer(port, started)?;
            drop(node);
            bench.figures.add(name, Unit::Milliseconds, goal, how, PLAIN, took.as_secs_f64() * 1e3);
        }
    }
    Ok(())
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks until there is an answer; the time since `started`.
fn first_answer(port: u16, started: Instant) -> Result<Duration> {
    let answered =
        wait::until_every(Duration::from_millis(1), PATIENCE, || pid_of_answer(port, Duration::from_secs(2)).ok());
    ensure!(answered.is_some(), "no answer on port {port} in {PATIENCE:?}");
    Ok(started.elapsed())
}

/// The pid of the worker that answers on a connection of its own.
pub(super) fn pid_of_answer(port: u16, patience: Duration) -> Result<u32> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET /?id=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let pid = answer.split("pid=").nth(1).context("no pid in the answer")?;
    Ok(pid.split_whitespace().next().context("no pid in the answer")?.parse()?)
}
