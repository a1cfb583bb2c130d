//! What has to be true when the faults are over: the team is whole, once, and nothing is left when it ends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use musher_bench::wait;
use serde_json::Value;

use crate::apps::{APPS, App};
use crate::lines::{self, Full, Gone, Lines};
use crate::schedule::Kind;
use crate::team::PATIENCE;
use crate::world::{AFTERMATH, World};

/// Waits until every app has its workers, each slot one, and nothing starts or drains.
pub(crate) fn settled(world: &World) {
    for (app, App { name, .. }) in APPS.iter().enumerate() {
        let wanted = world.wanted(app).workers;
        let mut last = String::new();
        let settled = wait::until_every(Duration::from_millis(200), PATIENCE, || {
            last = unsettled(world, app, wanted)?;
            last.is_empty().then_some(())
        });
        if settled.is_none() {
            world.found(format!("{name} does not come to rest in {PATIENCE:?}: {last}"));
        }
    }
    if let Some(foreground) = &world.team.foreground
        && wait::until(PATIENCE, || foreground.unready().is_none().then_some(())).is_none()
    {
        world.found(format!("all apps are at rest, but the team is not ready: {:?}", foreground.unready()));
    }
}

/// What is not as it should be with an app; empty when all is.
fn unsettled(world: &World, app: usize, wanted: usize) -> Option<String> {
    let rows = world.team.rows(app).ok()?;
    let not_online: Vec<&Value> = rows.iter().filter(|row| row["status"] != "online").collect();
    // A scale that visibly failed leaves either number.
    let refused = world.refusals().iter().any(|r| r.what.contains(&format!("scale {} ", APPS[app].name)));
    if !not_online.is_empty() || (rows.len() != wanted && !refused) {
        return Some(format!("{wanted} workers wanted, list says {rows:?}"));
    }
    let mut by_slot: BTreeMap<String, Vec<Vec<u32>>> = BTreeMap::new();
    for run in world.team.runs(app).into_values() {
        by_slot.entry(run.slot).or_default().push(run.processes);
    }
    let twice: Vec<_> = by_slot.iter().filter(|(_, runs)| runs.len() != 1).collect();
    if !twice.is_empty() {
        return Some(format!("more than one run in a slot: {twice:?}; list says {rows:?}"));
    }
    let listed = |processes: &Vec<u32>| rows.iter().any(|row| row["pid"] == processes[0]);
    match by_slot.values().flatten().find(|processes| !listed(processes)) {
        Some(unknown) => Some(format!("processes {unknown:?} are in no row of the list: {rows:?}")),
        None if by_slot.len() != rows.len() => Some(format!("{} slots run, list says {rows:?}", by_slot.len())),
        None => Some(String::new()),
    }
}

/// A command that failed although nothing was done to the daemon or the workers meanwhile.
pub(crate) fn unprovoked(world: &World) {
    let episodes = world.episodes().clone();
    for refusal in world.refusals() {
        let touching = episodes.iter().filter(|e| e.touches(refusal.from, refusal.to) && e.begin < refusal.to);
        // The command's own episode is one of them.
        if touching.count() <= 1 {
            world.found(format!("failed although nothing else happened: {}", refusal.what));
        }
    }
}

/// Ends the daemon; nothing of it may be left.
pub(crate) fn nothing_left(world: &World) {
    let wrong = match &world.team.foreground {
        Some(foreground) => foreground.end(),
        None => Some(world.team.run(["kill"])).filter(|said| said.code != Some(0)).map(|said| said.to_string()),
    };
    if let Some(wrong) = wrong {
        world.found(format!("it does not end well: {wrong}"));
    }
    let mut left = Vec::new();
    let gone = wait::until(PATIENCE.min(5 * AFTERMATH), || {
        left = world.team.processes().into_iter().collect();
        left.is_empty().then_some(())
    });
    if gone.is_none() {
        let told: Vec<String> =
            left.iter().map(|pid| format!("{pid} {}", musher_bench::proc_fs::command_line(*pid))).collect();
        world.found(format!("left after `musher kill`: {}", told.join(", ")));
    }
}

/// The workers' lines.
pub(crate) fn lines(world: &World) -> Lines {
    match lines::read(&world.team, &Gone { full: full(world), dark: dark(world) }) {
        Ok(lines) => {
            for gap in &lines.gaps {
                world.found(format!("the log has a gap: {gap}"));
            }
            lines
        }
        Err(error) => {
            world.found(format!("the logs cannot be read: {error:#}"));
            Lines::default()
        }
    }
}

/// When nothing of the daemon lived.
fn dark(world: &World) -> Vec<(u64, u64)> {
    let dark = world.dark().into_iter();
    dark.map(|(from, to)| (since_1970(from), since_1970(to.unwrap_or_else(Instant::now)))).collect()
}

fn since_1970(instant: Instant) -> u64 {
    let then = SystemTime::now() - instant.elapsed();
    u64::try_from(then.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// When the disk was full.
fn full(world: &World) -> Vec<Full> {
    let episodes = world.episodes();
    let kills = |kind| {
        use Kind::{KillBoth, KillKeeper, KillSupervisor, PauseKeeper, PauseSupervisor, Upgrade};
        matches!(kind, KillBoth | KillKeeper | KillSupervisor | PauseKeeper | PauseSupervisor | Upgrade)
    };
    let full = episodes.iter().filter(|episode| episode.kind == Kind::FullDisk);
    full.map(|full| {
        let end = full.end.unwrap_or_else(Instant::now);
        let killed = episodes.iter().any(|other| kills(other.kind) && other.touches(full.begin, end));
        Full { from: since_1970(full.begin), to: since_1970(end + AFTERMATH), killed }
    })
    .collect()
}
