//! How workers are: what they tell by themselves, and whether their event loops turn.
//!
//! A worker whose loop turns reads its channel. So it is sent something, and looked at a few times: one that has read
//! nothing at any of these looks is stuck. Looks are counted rather than time, so that a machine that was suspended, or a
//! supervisor that was, finds nobody stuck who was not.

use std::time::Duration;

use musher_core::ids::RunId;
use musher_core::vitals::Pulse;

use super::Primary;
use super::commands::millis;
use crate::cluster::Watching;
use crate::event::ClusterEvent;
use crate::message;
use crate::reactor::Timer;

/// Looks at a worker that is stuck until it is told of.
const LOOKS: u32 = 4;
/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_millis(10);

impl Primary {
    pub(super) fn watch(&mut self, run: RunId, watching: Watching) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        let before = std::mem::replace(&mut worker.vitals.watching, watching);
        if before.pulses != watching.pulses {
            self.ask_for_pulses(run);
        }
        self.look_at_vitals_later(run);
    }

    /// Tells the preload how often it is to tell how the worker is.
    pub(super) fn ask_for_pulses(&mut self, run: RunId) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        if !worker.preload || worker.ended {
            return;
        }
        let every = worker.vitals.watching.pulses.map_or(0, millis);
        if let Err(error) = worker.channel.queue_internal(&message::watch(every), None) {
            return self.violation(run, &error);
        }
        self.to_flush.insert(run);
    }

    fn look_at_vitals_later(&mut self, run: RunId) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        let Some(stuck_after) = worker.vitals.watching.stuck_after else { return };
        if !std::mem::replace(&mut worker.vitals.timed, true) {
            self.reactor.at(self.now + (stuck_after / LOOKS).max(SHORTEST), Timer::Vitals { run });
        }
    }

    /// Whether the worker's event loop has turned.
    pub(super) fn look_at_vitals(&mut self, run: RunId) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(&run) else { return };
        worker.vitals.timed = false;
        let Some(after) = worker.vitals.watching.stuck_after else { return };
        if worker.ended {
            return;
        }
        let looks = worker.looks_idle(now);
        if looks >= LOOKS && looks.is_multiple_of(LOOKS) {
            self.outbox.push(ClusterEvent::Stuck { run, after });
        }
        self.probe(run);
        self.look_at_vitals_later(run);
    }

    /// An exception ends the worker. One that finishes what it has gets nothing new, as if it had been asked to drain.
    pub(super) fn uncaught(&mut self, run: RunId, stack: String, drains: bool) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        if std::mem::replace(&mut worker.failed, true) {
            return;
        }
        let app = worker.app;
        worker.draining |= drains;
        self.outbox.push(ClusterEvent::Uncaught { run, stack, drains });
        self.mark_dirty(app);
        self.refresh_all(app);
    }

    pub(super) fn pulse(&mut self, run: RunId, pulse: Box<Pulse>) {
        // One that was on its way when it was called off.
        if self.workers.get(&run).is_some_and(|worker| worker.vitals.watching.pulses.is_some()) {
            self.outbox.push(ClusterEvent::Pulse { run, pulse });
        }
    }

    pub(super) fn cut(&mut self, run: RunId, count: u32) {
        if count > 0 && self.workers.get(&run).is_some_and(|worker| worker.draining) {
            self.outbox.push(ClusterEvent::Cut { run, count });
        }
    }
}
