//! What the driver knows for the metrics: from memory, so that nobody waits. What has to be measured is measured beside
//! it ([`crate::metrics`]).
//!
//! While somebody asks for metrics, Node workers tell every few seconds how they are; a while after the last question
//! they stop.

use std::time::Duration;

use musher_api::SlotStatus;
use musher_core::lifecycle;
use musher_core::vitals::Pulse;
use musher_core::{AppId, SlotId, Time};
use musher_process::Pid;
use musher_process::net::tcp::{self, ListenState};

use super::app::ManagedApp;
use super::tally::Tally;
use super::views::status;
use super::{Driver, World, now};

/// How long after a question the workers tell how they are.
const ASKED: Duration = Duration::from_secs(150);

/// What is known of all apps.
#[derive(Debug)]
pub struct Figures {
    /// The apps, by id.
    pub(crate) apps: Vec<AppFigures>,
    /// musher's own processes.
    pub(crate) own: Vec<(&'static str, Pid)>,
    /// Whether there are workers that were just asked how they are and have not said.
    pub(crate) incomplete: bool,
}

/// What is known of an app.
#[derive(Debug)]
pub(crate) struct AppFigures {
    pub(crate) name: String,
    pub(crate) id: u32,
    pub(crate) namespace: String,
    pub(crate) mode: &'static str,
    pub(crate) wanted: bool,
    pub(crate) generation: u32,
    pub(crate) draining: usize,
    pub(crate) slots: Vec<SlotFigures>,
    /// The queues of its sockets, with the slot that has it.
    pub(crate) queues: Vec<(Option<u32>, ListenState)>,
    pub(crate) tally: Tally,
}

/// What is known of a slot.
#[derive(Debug)]
pub(crate) struct SlotFigures {
    pub(crate) slot: u32,
    pub(crate) status: SlotStatus,
    pub(crate) restarts: u32,
    /// The worker that the list shows.
    pub(crate) worker: Option<WorkerFigures>,
    /// The first processes of others that are in the slot meanwhile.
    pub(crate) others: Vec<Pid>,
}

/// What is known of a worker.
#[derive(Debug)]
pub(crate) struct WorkerFigures {
    pub(crate) pid: Pid,
    pub(crate) started_ms: u64,
    pub(crate) pulse: Option<Pulse>,
}

impl Driver {
    /// What is known now; the workers are asked how they are from now on.
    pub(super) fn figures(&mut self) -> Figures {
        let begins = self.world.measured_until.replace(now() + ASKED).is_none();
        if begins {
            self.watch_everybody();
        }
        let Driver { world, apps, .. } = self;
        let own = [("supervisor", Some(Pid::own())), ("keeper", world.link.keeper_pid())];
        let apps: Vec<AppFigures> = apps.values().map(|app| world.app_figures(app)).collect();
        Figures {
            incomplete: begins
                && self.apps.values().any(|app| app.runs.values().any(|run| run.watched.pulses.is_some())),
            own: own.into_iter().filter_map(|(role, pid)| Some((role, pid?))).collect(),
            apps,
        }
    }

    /// Nobody has asked for a while.
    pub(super) fn forget_figures(&mut self, now: Time) {
        if self.world.measured_until.is_some_and(|until| until <= now) {
            self.world.measured_until = None;
            self.watch_everybody();
        }
    }

    fn watch_everybody(&mut self) {
        let Driver { world, apps, .. } = self;
        apps.values_mut().for_each(|app| world.watch_all(app));
    }
}

impl World {
    fn app_figures(&self, app: &ManagedApp) -> AppFigures {
        let spec = app.target_spec();
        let of_driver = app.sockets.queues().into_iter().map(|(slot, state)| (slot.map(|slot| slot.0), state));
        let slots = (0..).map(SlotId).zip(app.machine.slots()).filter(|(_, slot)| !slot.is_removed());
        AppFigures {
            name: app.name.clone(),
            id: app.id.0,
            namespace: spec.map(|spec| spec.namespace.clone()).unwrap_or_default(),
            mode: spec.map_or("fork", |spec| musher_api::Mode::from(spec.exec.runtime).word()),
            wanted: app.machine.is_wanted(),
            generation: app.machine.target().0,
            draining: app.machine.runs().filter(|(_, run)| run.is_draining()).count(),
            slots: slots.map(|(id, slot)| slot_figures(app, id, slot)).collect(),
            queues: of_driver.chain(self.queues_by_slot(app.id)).collect(),
            tally: app.tally.clone(),
        }
    }

    /// The queues of the sockets that the cluster thread has, by the keeper's copies.
    fn queues_by_slot(&self, app: AppId) -> impl Iterator<Item = (Option<u32>, ListenState)> {
        let prefix = format!("listen/{app}/");
        let place = |name: &str| Some(name.strip_prefix(&prefix)?.split_once('/')?.1.to_owned());
        let is_listener = |name: &str| place(name).is_some_and(|place| place == "all" || place.parse::<u32>().is_ok());
        let sockets = self.link.copies(is_listener).unwrap_or_default();
        let state = |(name, socket): (String, _)| {
            Some((place(&name)?.parse().ok(), tcp::listen_state(socket).ok().filter(|state| state.listening)?))
        };
        sockets.into_iter().filter_map(state).collect::<Vec<_>>().into_iter()
    }
}

fn slot_figures(app: &ManagedApp, id: SlotId, slot: &lifecycle::Slot) -> SlotFigures {
    let runs = || app.machine.runs().filter(|(_, run)| run.slot == id);
    let shown = app.machine.occupant(id).map(|(run, _)| run).or_else(|| runs().map(|(run, _)| run).next());
    let state = shown.and_then(|shown| runs().find(|(run, _)| *run == shown)).map(|(_, run)| run.state);
    let status = status(state, &slot.state);
    let worker = shown.and_then(|run| app.runs.get(&run)).and_then(|run| {
        Some(WorkerFigures { pid: run.pid()?, started_ms: run.record.started_ms, pulse: run.pulse.clone() })
    });
    let others = runs().filter(|(run, _)| Some(*run) != shown).filter_map(|(run, _)| app.runs.get(&run)?.pid());
    SlotFigures { slot: id.0, status, restarts: slot.restarts, worker, others: others.collect() }
}
