//! What becomes of a worker's output: how fast it gets into the file, what that costs, and whether a rotation loses lines.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use musher_bench::wait;
use serde_json::json;
use tempfile::TempDir;

use super::{Bench, side};
use crate::arena::{Arena, Contender, cpu_of, float};
use crate::report::{Goal, PLAIN, PM2, Unit};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Of a line of `lines.cjs`.
const LINE: u64 = 100;

pub(super) fn throughput(bench: &mut Bench<'_>, contender: Contender) -> Result<()> {
    let lines: u64 = if bench.quick { 500_000 } else { 2_000_000 };
    let arena = Arena::new(contender, bench.tools)?;
    let directory = arena.path().join("logs-of-it");
    fs::create_dir(&directory)?;
    start(bench, &arena, &directory, lines, None)?;
    let managers = arena.managers()?;
    let (before, started) = (cpu_of(&managers)?, Instant::now());
    fs::write(directory.join("go"), "")?;
    let whole = wait::until(PATIENCE, || (size(&directory).ok()? >= lines * LINE).then(Instant::now));
    let took = whole.context("the file does not get all lines")? - started;
    let cpu = cpu_of(&managers)? - before;
    let worker = told(&directory)?;

    let megabytes = float(lines * LINE) / 1e6;
    let how = "200 MB in lines of 100 bytes as fast as Node writes them (50 MB in a quick round), until all are in the file; \
               no rotation";
    let rate = megabytes / took.as_secs_f64();
    bench.figures.add(
        "log, megabytes a second",
        Unit::PerSecond,
        Goal::AtLeastTimes(PM2, 1.0),
        how,
        side(contender),
        rate,
    );
    let how = "CPU time of the manager's processes meanwhile, for each gigabyte";
    let name = "log, CPU of the manager for 1 GB";
    let cpu = cpu.as_secs_f64() / megabytes * 1e3;
    bench.figures.add(name, Unit::Seconds, Goal::AtMostOf(PM2, 1.0), how, side(contender), cpu);
    let how = "how long the worker took to write it, by its own clock, for 200 MB; alone: into a file, `node lines.cjs > FILE`";
    let name = "log, time of the worker for 200 MB";
    let seconds = |time: Duration| time.as_secs_f64() * 200.0 / megabytes;
    let goal = Goal::AtMostOf(PM2, 1.0);
    bench.figures.add(name, Unit::Seconds, goal, how, side(contender), seconds(worker));
    if contender == Contender::Musher {
        bench.figures.add(name, Unit::Seconds, goal, how, PLAIN, seconds(alone(bench, lines)?));
    }
    Ok(())
}

pub(super) fn rotation(bench: &mut Bench<'_>, contender: Contender) -> Result<()> {
    let lines: u64 = if bench.quick { 200_000 } else { 500_000 };
    let arena = Arena::new(contender, bench.tools)?;
    let directory = arena.path().join("logs-of-it");
    fs::create_dir(&directory)?;
    if contender == Contender::Pm2 {
        arena.run(["install", "pm2-logrotate"])?;
        for (key, value) in [("max_size", "1M"), ("workerInterval", "1"), ("retain", "1000")] {
            arena.run(["set", &format!("pm2-logrotate:{key}"), value])?;
        }
    }
    start(bench, &arena, &directory, lines, Some(50_000))?;
    fs::write(directory.join("go"), "")?;
    let done = wait::until(PATIENCE, || directory.join("done").exists().then_some(()));
    ensure!(done.is_some(), "the worker is not done");
    // What is on its way gets there, or never.
    let (mut last, mut seen) = ((0, 0), 0);
    let _: Option<()> = wait::until_every(Duration::from_millis(500), Duration::from_secs(10), || {
        let now = count(&directory, lines).ok()?;
        seen = if now == last { seen + 1 } else { 0 };
        last = now;
        (now.0 == lines || seen == 6).then_some(())
    });
    let (found, files) = last;
    let how = "5 MB a second in numbered lines of 100 bytes for 10 s (4 s in a quick round), rotated at 1 MB (PM2: \
               pm2-logrotate, which looks every second); numbers that are in none of the files";
    bench.figures.add(
        "log lines lost by rotation",
        Unit::Count,
        Goal::Never,
        how,
        side(contender),
        float(lines - found),
    );
    let how = "files that there were at the end";
    bench.figures.add("log files of that", Unit::Count, Goal::None, how, side(contender), float(files));
    Ok(())
}

/// Starts the worker that writes so many lines, into `out.log` of the directory; with a rate it is rotated.
fn start(bench: &Bench<'_>, arena: &Arena<'_>, directory: &Path, lines: u64, rate: Option<u64>) -> Result<()> {
    let script = bench.tools.hello.with_file_name("lines.cjs");
    let mut args = vec![directory.display().to_string(), lines.to_string()];
    args.extend(rate.map(|rate| rate.to_string()));
    let out = directory.join("out.log");
    let mut app = json!({ "name": "lines", "script": script, "args": args });
    match arena.contender {
        Contender::Musher => {
            let max_size = if rate.is_some() { "1MB" } else { "0" };
            app["logs"] = json!({ "out": out, "max_size": max_size, "keep": 1000 });
            app["cluster"] = json!(false);
        }
        _ => {
            app["out_file"] = json!(out);
            app["merge_logs"] = json!(true);
        }
    }
    let name = if arena.contender == Contender::Musher { "musher.json" } else { "apps.json" };
    let file = arena.path().join(name);
    let list = if arena.contender == Contender::Musher { "app" } else { "apps" };
    fs::write(&file, json!({ list: [app] }).to_string())?;
    arena.run(["start", &file.display().to_string()])?;
    Ok(())
}

/// Bytes in all files of the log.
fn size(directory: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("out") {
            sum += entry.metadata()?.len();
        }
    }
    Ok(sum)
}

/// How many of the numbers are in the files, and how many files there are.
fn count(directory: &Path, lines: u64) -> Result<(u64, u64)> {
    let mut seen = vec![false; usize::try_from(lines)?];
    let mut files = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with("out") {
            continue;
        }
        files += 1;
        for line in BufReader::new(File::open(entry.path())?).split(b'\n') {
            let line = line?;
            let number = line.get(..9).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
            // A line is there when all of it is.
            if let Some(seen) = number.and_then(|number| seen.get_mut(number)) {
                *seen |= line.len() == 99;
            }
        }
    }
    Ok((u64::try_from(seen.iter().filter(|seen| **seen).count())?, files))
}

/// How long the worker says that it took.
fn told(directory: &Path) -> Result<Duration> {
    let text = wait::until(PATIENCE, || fs::read_to_string(directory.join("done")).ok());
    Ok(Duration::from_millis(text.context("the worker is not done")?.trim().parse()?))
}

/// The same program with its output in a file.
fn alone(bench: &Bench<'_>, lines: u64) -> Result<Duration> {
    let directory: TempDir = tempfile::Builder::new().prefix("bench-").tempdir_in("/tmp")?;
    let mut command = Command::new(&bench.tools.node);
    command.arg(bench.tools.hello.with_file_name("lines.cjs")).arg(directory.path()).arg(lines.to_string());
    command.stdin(Stdio::null()).stdout(File::create(directory.path().join("out.log"))?);
    let mut child = command.spawn()?;
    fs::write(directory.path().join("go"), "")?;
    let took = told(directory.path());
    child.kill()?;
    child.wait()?;
    took
}
