//! How workers are: what their programs threw, connections that were cut, event loops that do not turn.

use std::time::Duration;

use musher_api::EventKind;
use musher_cluster::Watching;
use musher_core::RunId;
use musher_core::lifecycle::RunState;
use musher_core::vitals::Pulse;

use super::app::ManagedApp;
use super::{Driver, World};

/// What is kept of a stack, in bytes: the whole of it is on standard error.
const KEPT: usize = 4096;
/// How often workers tell how they are while that decides about something.
const PULSE: Duration = Duration::from_secs(1);
/// How long after somebody looked they go on.
const SHOWN_FOR: Duration = Duration::from_secs(5);
/// How often while somebody asks for metrics.
const MEASURED: Duration = Duration::from_secs(5);
/// Lines of a stack that an event has.
const TOLD: usize = 4;

impl Driver {
    /// A worker's program threw something that nobody caught. What a worker says is its own word, and may come when it
    /// has ended.
    pub(super) fn uncaught(&mut self, run: RunId, stack: &str, drains: bool) {
        let known = self.apps.get(&run.app()).and_then(|app| app.runs.get(&run)).map(|run| &run.record);
        if stack.is_empty() && known.is_some_and(|record| record.uncaught.is_some()) {
            // Told again to a supervisor that has taken over.
            return if drains {
                self.failing(run)
            };
        }
        let stack = if stack.is_empty() { "an exception of which no more is known" } else { stack };
        let told: Vec<&str> = stack.lines().map(str::trim).take(TOLD).collect();
        let what = if drains { "finishes what it has, and ends" } else { "ends" };
        let detail = format!("{}; it {what}", told.join(", "));
        let kept = stack[..stack.floor_char_boundary(KEPT)].to_owned();
        if let Some(app) = self.apps.get_mut(&run.app()) {
            if let Some(managed) = app.runs.get_mut(&run) {
                managed.record.uncaught = Some(kept);
            } else if let Some(death) = app.deaths.values_mut().find(|death| death.run == run.0) {
                death.uncaught = Some(kept);
            }
            self.world.write_app(app);
        }
        self.publish_of_run(run, EventKind::Uncaught, detail);
        if drains {
            self.failing(run);
        }
    }

    /// A draining worker has closed connections that were not done in time.
    pub(super) fn cut(&mut self, run: RunId, count: u32) {
        if let Some(app) = self.apps.get_mut(&run.app()) {
            app.tally.cut = app.tally.cut.saturating_add(count.into());
            if let Some(managed) = app.runs.get_mut(&run) {
                managed.record.cut = managed.record.cut.saturating_add(count);
            } else if let Some(death) = app.deaths.values_mut().find(|death| death.run == run.0) {
                death.cut = death.cut.saturating_add(count);
            }
        }
        let connections = if count == 1 { "connection was" } else { "connections were" };
        self.publish_of_run(
            run,
            EventKind::Cut,
            format!("{count} {connections} closed: the drain's limit was reached"),
        );
    }

    /// A worker tells how it is.
    pub(super) fn pulse(&mut self, run: RunId, pulse: Pulse) {
        if let Some(managed) = self.apps.get_mut(&run.app()).and_then(|app| app.runs.get_mut(&run)) {
            managed.pulse = Some(pulse);
            self.judge_canary(run.app());
        }
    }

    /// Nobody looks at these apps any more.
    pub(super) fn end_pulses(&mut self) {
        let now = super::now();
        for app in self.apps.values_mut().filter(|app| app.pulses_until.is_some_and(|until| until <= now)) {
            app.pulses_until = None;
            self.world.watch_all(app);
        }
    }

    /// A worker's event loop does not turn.
    pub(super) fn stuck(&mut self, run: RunId, after: Duration) {
        self.unfit(run, &format!("its event loop has not turned for {after:?}"));
    }
}

impl World {
    /// Has all runs watched anew when what is wanted of them has changed with the last decisions.
    pub(super) fn watch_all(&self, app: &mut ManagedApp) {
        let wanted = app.wants_pulses(self.measured_until.is_some());
        if std::mem::replace(&mut app.pulses, wanted) == wanted {
            return;
        }
        for run in app.runs.keys().copied().collect::<Vec<RunId>>() {
            self.watch_vitals(app, run);
        }
    }

    /// Somebody looks at the app: for a while its workers tell how they are.
    pub(super) fn ask_for_pulses(&self, app: &mut ManagedApp) {
        app.pulses_until = Some(super::now() + SHOWN_FOR);
        self.watch_all(app);
    }

    /// Has the cluster thread watch over a run as it is wanted now. To be called whenever that may have changed.
    pub(super) fn watch_vitals(&self, app: &mut ManagedApp, run: RunId) {
        let wanted = watching(app, run);
        let Some(managed) = app.runs.get_mut(&run).filter(|run| run.has_channel) else { return };
        if std::mem::replace(&mut managed.watched, wanted) != wanted {
            self.cluster.watch(run, wanted);
        }
        if wanted.pulses.is_none() {
            managed.pulse = None;
        }
    }
}

impl ManagedApp {
    /// How often workers have to tell how they are, for what is decided by it, or for the metrics.
    fn wants_pulses(&self, measured: bool) -> Option<Duration> {
        let follows_load = self.looks.is_some();
        let decides = follows_load || self.machine.trial().is_some();
        if decides || self.pulses_until.is_some() { Some(PULSE) } else { measured.then_some(MEASURED) }
    }

    /// What the worker with this process id told last.
    pub(super) fn pulse_of(&self, pid: Option<u32>) -> Option<Pulse> {
        let pid = i32::try_from(pid?).ok()?;
        self.runs.values().find(|run| run.record.pid == Some(pid))?.pulse.clone()
    }
}

/// What is wanted to be known of a run: here everybody who decides by it says so. Only runs that serve are watched.
fn watching(app: &ManagedApp, run: RunId) -> Watching {
    let Some(state) = app.machine.run(run) else { return Watching::default() };
    match state.state {
        RunState::Online { .. } => {}
        RunState::Starting { .. } | RunState::Draining { .. } => return Watching::default(),
    }
    let health = app.spec(state.generation).map(|spec| &spec.health);
    let stuck_after = health.and_then(|health| health.event_loop).map(Duration::from_millis);
    Watching { pulses: app.pulses, stuck_after }
}
