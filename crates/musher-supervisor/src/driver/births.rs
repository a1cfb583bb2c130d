//! Runs whose processes are still to be made.
//!
//! A thousand of them at once would keep everybody waiting who asks something meanwhile. So a turn of the driver makes
//! only some processes, and puts the others off; the decisions know them as runs that are not spawned yet. They are in
//! the app's record, as what was decided is always written first: a supervisor that takes over makes them anew.

use std::collections::VecDeque;

use musher_core::lifecycle::{Input, Run};
use musher_core::{AppId, Generation, RunId, SlotId};

use super::Driver;

/// How many processes are made in a turn.
pub(super) const AT_ONCE: usize = 32;

/// A run that waits for its process.
#[derive(Debug)]
pub(super) struct Birth {
    pub(super) app: AppId,
    pub(super) slot: SlotId,
    pub(super) run: RunId,
    pub(super) generation: Generation,
}

/// Those that wait, in the order of the decisions.
#[derive(Debug, Default)]
pub(super) struct Births {
    waiting: VecDeque<Birth>,
    /// How many processes were made in this turn.
    made: usize,
}

impl Births {
    /// Whether a process may be made at once. It counts as made then.
    pub(super) fn is_next(&mut self) -> bool {
        let next = self.waiting.is_empty() && self.made < AT_ONCE;
        self.made += usize::from(next);
        next
    }

    pub(super) fn put_off(&mut self, birth: Birth) {
        self.waiting.push_back(birth);
    }

    pub(super) fn are_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl Driver {
    /// What was counted and looked at in the turn before does not hold any more.
    pub(super) fn begin_turn(&mut self) {
        self.world.births.made = 0;
        self.world.look = musher_process::Look::default();
    }

    /// Makes the processes of some runs that wait for them.
    pub(super) fn spawn_waiting(&mut self) {
        self.begin_turn();
        while self.world.births.made < AT_ONCE
            && let Some(app) = self.world.births.waiting.front().map(|birth| birth.app)
        {
            let inputs = self.spawn_waiting_of(app);
            // All at once, so that the record is written once for them.
            self.step_all(app, inputs);
        }
    }

    /// The next that wait, as long as they are of this app.
    fn spawn_waiting_of(&mut self, app: AppId) -> Vec<Input> {
        let world = &mut self.world;
        let mut inputs = Vec::new();
        while world.births.made < AT_ONCE
            && let Some(birth) = world.births.waiting.pop_front_if(|birth| birth.app == app)
        {
            let Birth { slot, run, generation, .. } = birth;
            let Some(managed) = self.apps.get_mut(&app) else { continue };
            // Stopped before its turn came: there is nothing to stop then.
            if managed.machine.run(run).is_none_or(Run::is_draining) {
                inputs.push(Input::NotSpawned { run });
                continue;
            }
            world.births.made += 1;
            inputs.push(world.spawn(managed, slot, run, generation));
        }
        inputs
    }
}
