//! Many small apps: memory, lists, idle CPU, also while somebody looks on; start, reload and stop of fifty.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use musher_bench::{proc_fs, wait};
use serde_json::{Value, json};

use super::idle::rest;
use super::{Bench, side};
use crate::arena::{Arena, Contender, cpu_of, float, rss_of};
use crate::report::{Goal, PM2, Unit};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// Names of the figures with so many apps.
struct Names {
    apps: usize,
    memory: &'static str,
    list: &'static str,
    jlist: &'static str,
}

const NAMES: [Names; 3] = [
    Names { apps: 2, memory: "memory of the manager, 2 apps", list: "list, 2 apps", jlist: "jlist, 2 apps" },
    Names { apps: 50, memory: "memory of the manager, 50 apps", list: "list, 50 apps", jlist: "jlist, 50 apps" },
    Names { apps: 500, memory: "memory of the manager, 500 apps", list: "list, 500 apps", jlist: "jlist, 500 apps" },
];

pub(super) fn many(bench: &mut Bench<'_>, contender: Contender) -> Result<()> {
    let arena = Arena::new(contender, bench.tools)?;
    let mut running = 0;
    for names in &NAMES {
        arena.run(["start", &file(&arena, running, names.apps)?])?;
        running = names.apps;
        let online = wait::until(PATIENCE, || (online(&arena).ok()? == running).then_some(()));
        ensure!(online.is_some(), "{contender:?}: {running} apps are not online in {PATIENCE:?}");
        let managers = arena.managers()?;
        rest(Duration::from_secs(if bench.quick { 3 } else { 8 }));
        let how = "VmRSS of keeper and supervisor together (PM2: of the daemon), 8 s after the start of so many apps, \
                   each one `sleep` (3 s in a quick round)";
        let rss = rss_of(&managers)?;
        bench.figures.add(names.memory, Unit::Mebibytes, Goal::AtMostOf(PM2, 1.0), how, side(contender), rss);
        if running == 500 {
            let how =
                "CPU time of the manager's processes over 20 s of rest (5 s in a quick round), in percent of one core";
            let cpu = cpu_at_rest(bench, &managers)?;
            let name = "CPU of the manager at rest, 500 apps";
            bench.figures.add(name, Unit::Percent, Goal::AtMostOf(PM2, 1.0), how, side(contender), cpu);
        }
        let lists: [(&str, &[&str]); 2] = match contender {
            Contender::Musher => [(names.list, &["list"]), (names.jlist, &["pm2", "jlist"])],
            _ => [(names.list, &["ls"]), (names.jlist, &["jlist"])],
        };
        for (name, words) in lists {
            for _ in 0..if bench.quick { 2 } else { 5 } {
                let how = "wall time of `musher list` and `musher pm2 jlist`, `pm2 ls` and `pm2 jlist`, 5 runs";
                let took = timed(&arena, words)?;
                bench.figures.add(name, Unit::Milliseconds, Goal::AtMostOf(PM2, 1.0), how, side(contender), took);
            }
        }
    }
    Ok(())
}

pub(super) fn fifty(bench: &mut Bench<'_>, contender: Contender) -> Result<()> {
    let arena = Arena::new(contender, bench.tools)?;
    // The daemon runs already: this is about the apps.
    arena.run(["start", &file(&arena, 50, 51)?])?;
    let apps = file(&arena, 0, 50)?;
    let steps: [(&str, &[&str]); 5] = [
        ("start of 50 apps", &["start", &apps]),
        ("restart of 50 apps", &["restart", "all"]),
        ("reload of 50 apps", &["reload", "all"]),
        ("stop of 50 apps", &["stop", "all"]),
        ("deletion of 50 apps", &["delete", "all"]),
    ];
    for (name, words) in steps {
        let took = timed(&arena, words)?;
        let how = "wall time of the command, which returns when all is done; each app is one `sleep`, which musher calls \
                   ready when it has lived for a second";
        bench.figures.add(name, Unit::Milliseconds, Goal::AtMostOf(PM2, 1.0), how, side(contender), took);
    }
    Ok(())
}

pub(super) fn watched(bench: &mut Bench<'_>, contender: Contender) -> Result<()> {
    let arena = Arena::new(contender, bench.tools)?;
    arena.run(["start", &file(&arena, 0, 50)?])?;
    let managers = arena.managers()?;
    rest(Duration::from_secs(3));
    let cpu = cpu_at_rest(bench, &managers)?;
    let how = "CPU time of the manager's processes over 20 s (5 s in a quick round), in percent of one core";
    let goal = Goal::AtMostOf(PM2, 1.0);
    bench.figures.add("CPU of the manager at rest, 50 apps", Unit::Percent, goal, how, side(contender), cpu);

    let monit = arena.command(["monit"]);
    let words = std::iter::once(monit.get_program()).chain(monit.get_args()).map(|word| word.to_string_lossy());
    let words = words.map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let mut terminal = arena.command([""; 0]);
    let mut command = Command::new("script");
    command.args(["-q", "-c", &format!("stty rows 24 cols 80; exec {words}"), "/dev/null"]);
    for (name, value) in terminal.env("TERM", "xterm-256color").get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.current_dir(arena.path()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let viewer = Viewer(command.spawn().context("script(1) is missing")?);
    rest(Duration::from_secs(3));
    let shows = viewer.processes();
    ensure!(!shows.is_empty(), "{contender:?}: monit ended");
    let (before, started) = (cpu_of(&shows)?, Instant::now());
    let cpu = cpu_at_rest(bench, &managers)?;
    let own = (cpu_of(&shows)? - before).as_secs_f64() / started.elapsed().as_secs_f64() * 100.0;
    let how = "the same with `monit` open in a terminal of 80 by 24 (script(1))";
    bench.figures.add("CPU of the manager, 50 apps, monit open", Unit::Percent, goal, how, side(contender), cpu);
    bench.figures.add("CPU of monit, 50 apps", Unit::Percent, goal, how, side(contender), own);
    Ok(())
}

/// Whoever looks on, in a terminal of its own.
struct Viewer(Child);

impl Viewer {
    /// The processes in the terminal.
    fn processes(&self) -> Vec<u32> {
        proc_fs::children(self.0.id())
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        for pid in self.processes() {
            let _ = proc_fs::kill9(pid);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// In percent of one core.
fn cpu_at_rest(bench: &Bench<'_>, managers: &[u32]) -> Result<f64> {
    let (started, before) = (Instant::now(), cpu_of(managers)?);
    rest(Duration::from_secs(if bench.quick { 5 } else { 20 }));
    Ok((cpu_of(managers)? - before).as_secs_f64() / started.elapsed().as_secs_f64() * 100.0)
}

/// A process file of PM2, which both read, with the apps of these numbers: the smallest program that stays.
fn file(arena: &Arena<'_>, from: usize, to: usize) -> Result<String> {
    let app = |number: usize| {
        json!({ "name": format!("app-{number}"), "script": "/bin/sleep", "args": ["100000"], "interpreter": "none",
                "exec_mode": "fork" })
    };
    let path: PathBuf = arena.path().join(format!("apps-{from}-{to}.json"));
    let text = json!({ "apps": (from..to).map(app).collect::<Vec<Value>>() }).to_string();
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}

fn online(arena: &Arena<'_>) -> Result<usize> {
    let online = |row: &&Value| match arena.contender {
        Contender::Musher => row["status"] == "online",
        _ => row["pm2_env"]["status"] == "online",
    };
    Ok(arena.list()?.iter().filter(online).count())
}

/// Milliseconds that a command takes.
fn timed(arena: &Arena<'_>, words: &[&str]) -> Result<f64> {
    let started = Instant::now();
    arena.run(words)?;
    let micros = u64::try_from(started.elapsed().as_micros())?;
    Ok(float(micros) / 1e3)
}
