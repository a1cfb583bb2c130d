//! What is done to the daemon: its processes are killed and stopped, and replaced by another version.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::time::Instant;

use anyhow::{Result, bail};
use musher_bench::{proc_fs, wait};
use rustix::process::Signal;

use crate::apps::APPS;
use crate::faults::succeeded;
use crate::frozen::Frozen;
use crate::schedule::{Event, Kind};
use crate::team::{PATIENCE, wait_replaced};
use crate::world::{World, lock};

/// Keeper and supervisor, once the supervisor answers.
fn daemon(world: &World) -> Result<(u32, u32)> {
    let Some(both) = wait::until(PATIENCE, || world.team.daemon()) else {
        world.found(format!("no supervisor answers for {PATIENCE:?}"));
        bail!("no supervisor answers");
    };
    Ok(both)
}

/// The daemon's process that the event is about.
fn process(world: &World, event: &Event) -> Result<u32> {
    let (keeper, supervisor) = daemon(world)?;
    Ok(if matches!(event.kind, Kind::KillKeeper | Kind::PauseKeeper) { keeper } else { supervisor })
}

pub(crate) fn kill(world: &World, event: &Event, number: usize) -> Result<String> {
    let _alone = lock(&world.daemon);
    let pid = process(world, event)?;
    world.begins_now(number);
    proc_fs::kill9(pid)?;
    Ok(back(world, &[pid]))
}

/// Keeper and supervisor in the same instant. What they had accepted themselves died with them, as with a killed worker.
pub(crate) fn kill_both(world: &World, event: &Event, number: usize) -> Result<String> {
    let _alone = lock(&world.daemon);
    let (keeper, supervisor) = daemon(world)?;
    world.begins_now(number);
    let frozen = Frozen::stop(&[keeper, supervisor])?;
    let mut count = 0;
    for app in 0..APPS.len() {
        let held = frozen.held(world.team.port(app));
        count += held.len();
        world.deaths().add(world.team.port(app), held, frozen.since);
    }
    let closing: Vec<u16> =
        (0..APPS.len()).filter(|app| APPS[*app].needs_daemon()).map(|app| world.team.port(app)).collect();
    closing.iter().for_each(|port| world.deaths().close(*port));
    world.dark_from();
    frozen.kill_all()?;
    std::thread::sleep(event.lasts);
    let after = back(world, &[keeper, supervisor]);
    // The next workers have to ask for the socket first.
    let open = |port: &u16| TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok();
    if wait::until(PATIENCE, || closing.iter().all(open).then_some(())).is_none() {
        world.found(format!("after all of the daemon was dead, the ports {closing:?} stay closed for {PATIENCE:?}"));
    }
    world.deaths().open();
    world.dark_to();
    Ok(format!("{count} connections; {after}"))
}

/// Waits until the daemon is whole again.
fn back(world: &World, dead: &[u32]) -> String {
    match wait_replaced(&world.team, dead) {
        Some(after) => format!("pids {dead:?}, another one answers after {} ms", after.as_millis()),
        None => {
            world.found(format!("{dead:?} killed, and nobody answers instead for {PATIENCE:?}"));
            format!("pids {dead:?}, never replaced")
        }
    }
}

pub(crate) fn pause(world: &World, event: &Event, number: usize) -> Result<String> {
    let _paused = lock(&world.paused);
    let pid = {
        let _whole = lock(&world.daemon);
        process(world, event)?
    };
    world.begins_now(number);
    let frozen = Frozen::stop(&[pid])?;
    std::thread::sleep(event.lasts);
    let stands_for_all = world.team.foreground.is_some() && event.kind == Kind::PauseKeeper;
    if !event.kill || stands_for_all {
        return Ok(format!("pid {pid}"));
    }
    // The other one may be dead just now and wait for this one to go on; killing this one then would be killing both.
    let Ok(_alone) = world.daemon.try_lock() else {
        return Ok(format!("pid {pid}, not killed: the other one is dead"));
    };
    frozen.end_first(Signal::KILL)?;
    Ok(back(world, &[pid]))
}

pub(crate) fn upgrade(world: &World, number: usize) -> Result<String> {
    let _alone = lock(&world.daemon);
    world.begins_now(number);
    let copy = world.team.path().join(format!("musher-{number}"));
    fs::copy(world.team.musher(), &copy)?;
    let from = Instant::now();
    let said = world.team.run([OsStr::new("upgrade"), copy.as_os_str()]);
    // The files of earlier ones are not needed any more; the running one is kept.
    let mut copies = lock(&world.copies);
    if succeeded(world, from, &said) {
        // Keeper and supervisor may keep their pids: they execute it in their own place.
        let runs = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == copy);
        match world.team.daemon() {
            Some((keeper, supervisor)) if runs(keeper) && runs(supervisor) => {}
            other => world.found(format!("`musher upgrade` said it was done, but {other:?} do not run it")),
        }
        for old in copies.drain(..) {
            let _ = fs::remove_file(old);
        }
    }
    copies.push(copy);
    Ok(format!("exit code {:?} in {} ms", said.code, from.elapsed().as_millis()))
}
