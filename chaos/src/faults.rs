//! Carries out the events of the schedule, each in a thread of its own, so that one comes in the middle of another.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use musher_bench::proc_fs;
use rustix::process::Signal;

use crate::apps::APPS;
use crate::daemon;
use crate::frozen::Frozen;
use crate::schedule::{Broken, Event, Kind};
use crate::team::{PATIENCE, Run, Said};
use crate::world::{World, lock};

/// Exit codes that a command may end with when something is done to the daemon or to the workers meanwhile: it failed,
/// nobody answered, its time ran out, the surroundings (a full disk).
const HONEST_FAILURES: [i32; 4] = [1, 5, 6, 7];

/// Carries out one event.
pub(crate) fn carry_out(world: &World, event: &Event) {
    let number = world.begin(event);
    let result = match event.kind {
        Kind::KillWorker => end_worker(world, event, Signal::KILL),
        Kind::CrashWorker => end_worker(world, event, event.crash().0),
        Kind::Planted => planted(world, event),
        Kind::PauseWorker => pause_worker(world, event),
        Kind::KillSupervisor | Kind::KillKeeper => daemon::kill(world, event, number),
        Kind::KillBoth => daemon::kill_both(world, event, number),
        Kind::PauseSupervisor | Kind::PauseKeeper => daemon::pause(world, event, number),
        Kind::Reload => reload(world, event, number),
        Kind::BrokenReload => broken_reload(world, event, number),
        Kind::Canary if event.kill => bad_canary(world, event, number),
        Kind::Canary => reload(world, event, number),
        Kind::Scale => scale(world, event, number),
        Kind::Config => config(world, event, number),
        Kind::FullDisk => full_disk(world, event, number),
        Kind::LogFlood | Kind::Block | Kind::Leak | Kind::Uncaught => order(world, event),
        Kind::Upgrade => daemon::upgrade(world, number),
    };
    if matches!(event.kind, Kind::Reload | Kind::Scale | Kind::Config | Kind::Canary) {
        drained(world, event.app);
    }
    let came_to = match result {
        Ok(what) => what,
        // There was nobody to do it to in that instant, which is part of the game.
        Err(error) => format!("not done: {error:#}"),
    };
    world.end(number, &came_to);
}

/// Waits until no old worker drains any more: until then the command is not over for its clients.
fn drained(world: &World, app: usize) {
    musher_bench::wait::until_every(Duration::from_millis(200), PATIENCE, || {
        let rows = world.team.rows(app).ok()?.len();
        (world.team.runs(app).len() <= rows).then_some(())
    });
}

/// One of the app's runs, whatever it is doing.
fn pick(world: &World, event: &Event) -> Result<Run> {
    let runs: Vec<Run> = world.team.runs(event.app).into_values().collect();
    let count = u64::try_from(runs.len())?;
    let index = usize::try_from(event.pick.checked_rem(count).context("it has no worker")?)?;
    Ok(runs[index].clone())
}

fn end_worker(world: &World, event: &Event, signal: Signal) -> Result<String> {
    let run = pick(world, event)?;
    end_frozen(world, event.app, Frozen::stop(&run.processes)?, signal)
}

/// Notes what a stopped worker holds, then ends it.
fn end_frozen(world: &World, app: usize, frozen: Frozen, signal: Signal) -> Result<String> {
    let port = world.team.port(app);
    let held = frozen.held(port);
    let count = held.len();
    world.deaths().add(port, held, frozen.since);
    let pid = frozen.end_first(signal)?;
    Ok(format!("pid {pid} with {count} connections"))
}

/// Kills a worker that holds connections, and says nothing of it to those who judge.
fn planted(world: &World, event: &Event) -> Result<String> {
    let port = world.team.port(event.app);
    let holds = |run: &Run| run.processes.iter().any(|pid| !proc_fs::accepted(*pid, port).is_empty());
    let run = world.team.runs(event.app).into_values().find(holds).context("no worker holds a connection")?;
    Ok(format!("pid {}", Frozen::stop(&run.processes)?.end_first(Signal::KILL)?))
}

fn pause_worker(world: &World, event: &Event) -> Result<String> {
    let run = pick(world, event)?;
    let frozen = Frozen::stop(&run.processes)?;
    std::thread::sleep(event.lasts);
    if event.kill {
        return end_frozen(world, event.app, frozen, Signal::KILL);
    }
    Ok(format!("pid {}", run.processes[0]))
}

/// Judges a command that had to succeed if nothing else happened meanwhile; whether it did.
pub(crate) fn succeeded(world: &World, from: Instant, said: &Said) -> bool {
    match said.code {
        Some(0) => return true,
        Some(code)
            if HONEST_FAILURES.contains(&code) && !said.err.trim().is_empty() && !said.err.contains("panicked") =>
        {
            world.refused(from, said.to_string());
        }
        _ => world.found(format!("a command is neither done nor visibly not: {said}")),
    }
    false
}

/// Pids of the app's workers that are online, by `musher list`.
fn online(world: &World, app: usize) -> Result<Vec<u32>> {
    let rows = world.team.rows(app)?;
    let online = rows.iter().filter(|row| row["status"] == "online");
    Ok(online.filter_map(|row| u32::try_from(row["pid"].as_u64()?).ok()).collect())
}

fn reload(world: &World, event: &Event, number: usize) -> Result<String> {
    let _wanted = world.wanted(event.app);
    world.begins_now(number);
    world.team.version(event.app, &format!("{}", number + 2))?;
    let before: Vec<u32> = world.team.runs(event.app).into_values().flat_map(|run| run.processes).collect();
    let from = Instant::now();
    let mut words = vec!["reload", APPS[event.app].name];
    if event.kind == Kind::Canary {
        words.extend(["--canary", "1", "--canary-wait", "2s"]);
    }
    let said = world.team.run(words);
    if !succeeded(world, from, &said) {
        return Ok(said.to_string());
    }
    let old: Vec<u32> = online(world, event.app)?.into_iter().filter(|pid| before.contains(pid)).collect();
    if !old.is_empty() {
        world
            .found(format!("`musher reload {}` said it was done, but {old:?} were there before", APPS[event.app].name));
    }
    Ok(format!("done in {} ms", from.elapsed().as_millis()))
}

fn broken_reload(world: &World, event: &Event, number: usize) -> Result<String> {
    let wanted = world.wanted(event.app);
    world.begins_now(number);
    let (team, name) = (&world.team, APPS[event.app].name);
    let from = Instant::now();
    let version = fs::read_to_string(team.file(event.app).with_file_name("version"))?;
    let said = match event.broken {
        Broken::Config => {
            team.write_file(event.app, *wanted, Some("throw"))?;
            team.run([OsStr::new("start"), team.file(event.app).as_os_str()])
        }
        Broken::Throws | Broken::Silent => {
            team.version(event.app, if event.broken == Broken::Throws { "throw" } else { "silent" })?;
            team.run(["reload", name])
        }
    };
    team.version(event.app, &version)?;
    team.write_file(event.app, *wanted, None)?;
    refused(world, &said, &format!("{:?}", event.broken));
    Ok(format!("{said}, after {} ms", from.elapsed().as_millis()))
}

/// A bad version must not be taken.
fn refused(world: &World, said: &Said, how: &str) {
    if said.code == Some(0) {
        world.found(format!("a bad version ({how}) was taken for good: {said}"));
    } else if said.code.is_none() || said.err.trim().is_empty() {
        world.found(format!("a command is neither done nor visibly not: {said}"));
    }
}

/// A version that becomes ready and throws soon after. The old one is in the description, so it has to come back.
fn bad_canary(world: &World, event: &Event, number: usize) -> Result<String> {
    let wanted = world.wanted(event.app);
    world.begins_now(number);
    let file = world.team.file(event.app);
    world.team.write_file(event.app, *wanted, Some("late"))?;
    let from = Instant::now();
    let said = world.team.run([OsStr::new("start"), file.as_os_str()]);
    world.team.write_file(event.app, *wanted, None)?;
    refused(world, &said, "throws later");
    Ok(format!("{said}, after {} ms", from.elapsed().as_millis()))
}

fn scale(world: &World, event: &Event, number: usize) -> Result<String> {
    let mut wanted = world.wanted(event.app);
    world.begins_now(number);
    let (name, to) = (APPS[event.app].name, event.workers.to_string());
    let from = Instant::now();
    let said = world.team.run(["scale", name, &to]);
    if !succeeded(world, from, &said) {
        return Ok(said.to_string());
    }
    wanted.workers = event.workers;
    world.team.write_file(event.app, *wanted, None)?;
    let rows = world.team.rows(event.app)?.len();
    if rows != event.workers {
        world.found(format!("`musher scale {name} {to}` said it was done, but there are {rows} slots"));
    }
    Ok(format!("done in {} ms", from.elapsed().as_millis()))
}

fn config(world: &World, event: &Event, number: usize) -> Result<String> {
    let mut wanted = world.wanted(event.app);
    world.begins_now(number);
    let mut next = *wanted;
    next.build += 1;
    world.team.write_file(event.app, next, None)?;
    let from = Instant::now();
    let said = world.team.run([OsStr::new("start"), world.team.file(event.app).as_os_str()]);
    // Done or not, this is what the file says from now on.
    *wanted = next;
    if !succeeded(world, from, &said) {
        return Ok(said.to_string());
    }
    let build = format!("BUILD={}", next.build);
    let workers = online(world, event.app)?;
    let old = |pid: &&u32| proc_fs::is_alive(**pid) && !proc_fs::environ(**pid).contains(&build);
    let old: Vec<&u32> = workers.iter().filter(old).collect();
    if !old.is_empty() {
        let name = APPS[event.app].name;
        world.found(format!("`musher start FILE` of {name} said it was done, but {old:?} run without its {build}"));
    }
    Ok(format!("done in {} ms", from.elapsed().as_millis()))
}

fn full_disk(world: &World, event: &Event, number: usize) -> Result<String> {
    let _disk = lock(&world.disk);
    world.begins_now(number);
    let path = world.team.home().join("filler");
    let mut file = fs::File::create(&path)?;
    let block = vec![0_u8; 1 << 16];
    // Until the last byte: what others free meanwhile is taken, too.
    while file.write_all(&block).is_ok() {}
    while file.write_all(&[0]).is_ok() {}
    std::thread::sleep(event.lasts);
    fs::remove_file(&path)?;
    Ok(String::new())
}

/// Gives an order to a worker that obeys.
fn order(world: &World, event: &Event) -> Result<String> {
    let obedient = world.team.obedient();
    let mut pids: Vec<u32> = world.team.runs(event.app).into_values().map(|run| run.processes[0]).collect();
    pids.retain(|pid| obedient.contains(pid));
    let count = u64::try_from(pids.len())?;
    let pid = pids[usize::try_from(event.pick.checked_rem(count).context("it has no worker that obeys")?)?];
    let order = match event.kind {
        Kind::LogFlood => "flood 5000".to_owned(),
        Kind::Leak => "leak 800".to_owned(),
        Kind::Uncaught => "throw 0".to_owned(),
        _ => format!("block {}", event.lasts.as_millis()),
    };
    world.team.order(pid, &order)?;
    match event.kind {
        Kind::Leak | Kind::Uncaught => Ok(gone(world, pid, event.kind)),
        Kind::LogFlood => {
            std::thread::sleep(Duration::from_secs(1));
            Ok(format!("pid {pid}"))
        }
        _ => {
            std::thread::sleep(event.lasts);
            Ok(format!("pid {pid}"))
        }
    }
}

/// Waits until a worker that has to be replaced is gone.
fn gone(world: &World, pid: u32, kind: Kind) -> String {
    let from = Instant::now();
    match musher_bench::wait::until_every(Duration::from_millis(50), PATIENCE, || {
        (!proc_fs::is_alive(pid)).then(|| from.elapsed())
    }) {
        Some(after) => format!("pid {pid}, gone after {} ms", after.as_millis()),
        None => {
            world.found(format!("{}: worker {pid} is still there after {PATIENCE:?}", kind.word()));
            format!("pid {pid}, never replaced")
        }
    }
}
