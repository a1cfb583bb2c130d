//! What watches a run while it is online: liveness, the watchdog, limits of memory and CPU. A run that fails is unfit,
//! and the decisions replace it without a gap.

use std::sync::Arc;
use std::time::Duration;

use musher_cluster::limits::{LastSeen, Pressure};
use musher_core::lifecycle::RunState;
use musher_core::spec::AppSpec;
use musher_core::{AppId, RunId, Time};

use tokio::sync::mpsc;

use super::app::ManagedApp;
use super::liveness::Liveness;
use super::readiness::Watch;
use super::{Driver, Wake, World, now};

/// A deadline that is seen so much later was missed by us: this process did not run, and may have missed what came.
const LATE: Duration = Duration::from_millis(500);
/// New supervisors and workers are not all asked in the same instant: the first probe is spread over this part of the
/// interval, by the number of the run.
const SPREAD: u64 = 16;

/// What watches a run. All of it ends when this is dropped.
#[derive(Default)]
pub(super) struct Checks {
    _liveness: Option<Watch>,
    _limits: Option<Watch>,
    watchdog: Option<Watchdog>,
}

/// Expects a sign of life, again and again.
#[derive(Clone, Copy, Debug)]
struct Watchdog {
    every: Duration,
    due: Time,
}

impl Watchdog {
    fn new(every: Duration) -> Watchdog {
        Watchdog { every, due: now() + every }
    }
}

impl World {
    /// Begins to watch runs that have become online, and leaves those that are not any more.
    pub(super) fn tend(&self, app: &mut ManagedApp) {
        for (id, run) in app.machine.runs() {
            let Some(managed) = app.runs.get(&id) else { continue };
            let online = match run.state {
                RunState::Online { since } => Some(since),
                RunState::Starting { .. } | RunState::Draining { .. } => None,
            };
            let checks = match (online, &managed.checks) {
                (Some(since), None) => app.specs.get(&run.generation).map(|spec| self.checks(app, id, spec, since)),
                (None, Some(_)) => None,
                (Some(_), Some(_)) | (None, None) => continue,
            };
            if let Some(managed) = app.runs.get_mut(&id) {
                managed.checks = checks;
            }
        }
    }

    fn checks(&self, app: &ManagedApp, run: RunId, spec: &Arc<AppSpec>, since: Time) -> Checks {
        let Some((managed, pid)) = app.runs.get(&run).and_then(|managed| Some((managed, managed.pid()?))) else {
            return Checks::default();
        };
        let health = &spec.health;
        // A supervisor that takes over need not wait again.
        let delay = health.delay.saturating_sub(now().since(since));
        let spread = health.interval / u32::try_from(SPREAD).unwrap_or(1) * u32::try_from(run.0 % SPREAD).unwrap_or(0);
        let liveness = Liveness {
            run,
            slot: managed.record.slot,
            pid,
            spec: Arc::clone(spec),
            cluster: self.cluster.clone(),
            commands: self.commands.clone(),
        };
        let group = self.cgroups.as_ref().map(|cgroups| cgroups.path(&run.to_string()));
        let seen = Arc::clone(&managed.memory_seen);
        Checks {
            _liveness: liveness.watch(delay + spread, self.wakes.clone()),
            _limits: Pressure::new((pid, group), &spec.limits, seen, now).map(|pressure| {
                let wakes = self.wakes.clone();
                Watch::spawn(tell_what_is_too_much(run, pressure, wakes))
            }),
            watchdog: health.watchdog.map(|watchdog| Watchdog::new(Duration::from_millis(watchdog))),
        }
    }
}

/// Tells whenever a run needs more than it may.
async fn tell_what_is_too_much(run: RunId, mut pressure: Pressure, wakes: mpsc::Sender<Wake>) {
    loop {
        let reason = pressure.exceeded().await;
        if wakes.send(Wake::Unfit(run, reason)).await.is_err() {
            return;
        }
    }
}

impl Driver {
    /// When the next sign of life is due.
    pub(super) fn next_watchdog(&self) -> Option<Time> {
        let runs = self.apps.values().flat_map(|app| app.runs.values());
        runs.filter_map(|run| Some(run.checks.as_ref()?.watchdog?.due)).min()
    }

    /// Runs whose sign of life did not come are unfit.
    pub(super) fn check_watchdogs(&mut self) {
        if self.next_watchdog().is_none_or(|due| due > now()) {
            return;
        }
        // It may wait to be read.
        self.notified();
        let mut missed = Vec::new();
        let now = now();
        for (id, run) in self.apps.values_mut().flat_map(|app| app.runs.iter_mut()) {
            let Some(watchdog) = run.checks.as_mut().and_then(|checks| checks.watchdog.as_mut()) else { continue };
            if watchdog.due > now {
                continue;
            }
            if now.since(watchdog.due) < LATE {
                missed.push((*id, watchdog.every));
            }
            watchdog.due = now + watchdog.every;
        }
        for (run, every) in missed {
            self.unfit(run, &format!("watchdog: no WATCHDOG=1 for {} ms", every.as_millis()));
        }
    }

    /// The run gave a sign of life.
    pub(super) fn lives(&mut self, run: RunId) {
        if let Some(watchdog) = self.watchdog(run) {
            watchdog.due = now() + watchdog.every;
        }
    }

    /// The run wants its next sign of life to be waited for so long.
    pub(super) fn extend_watchdog(&mut self, run: RunId, by: Duration) {
        if let Some(watchdog) = self.watchdog(run) {
            watchdog.due = watchdog.due.max(now() + by);
        }
    }

    /// The run wants another watchdog than its spec says. One that has none gets none: nobody asked for it.
    pub(super) fn change_watchdog(&mut self, run: RunId, every: Duration) {
        if let Some(watchdog) = self.watchdog(run) {
            *watchdog = Watchdog::new(every);
        }
    }

    /// The run is about to end by itself: nothing more is expected of it.
    pub(super) fn watch_no_more(&mut self, run: RunId) {
        if let Some(managed) = self.managed(run) {
            managed.checks = Some(Checks::default());
        }
    }

    fn watchdog(&mut self, run: RunId) -> Option<&mut Watchdog> {
        self.managed(run)?.checks.as_mut()?.watchdog.as_mut()
    }

    pub(super) fn managed(&mut self, run: RunId) -> Option<&mut super::app::ManagedRun> {
        let app: AppId = run.app();
        self.apps.get_mut(&app)?.runs.get_mut(&run)
    }
}

/// The memory of a run when it was last looked at.
pub(super) fn last_memory(seen: &LastSeen, now: Time) -> Option<musher_api::LastMemory> {
    let (bytes, at) = seen.get()?;
    Some(musher_api::LastMemory { bytes, age_ms: super::millis(now.since(at)) })
}
