//! Going on after a crash of the supervisor, from the state that was written last.

use std::collections::BTreeMap;

use super::app::{App, Turn, count};
use super::event::Event;
use super::run::{ExitOutcome, RunState};
use super::slot::SlotState;
use super::{Chance, Effect};
use crate::ids::RunId;
use crate::time::Time;

/// What a new supervisor found out about a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// Its process exists.
    Alive,
    /// Its process existed and has ended.
    Exited(ExitOutcome),
}

impl App {
    /// Takes the app over. `seen` tells what became of [`App::runs`]; a run that is not in it has no process: it ended
    /// in an unknown way, or its spawn was never carried out. In the second case the slot gets a new run, which is not
    /// counted as a restart.
    ///
    /// Everything else that may not have been carried out is said again. A starting run gets its whole time anew, as
    /// its proof may have come while nobody listened.
    pub fn recover(
        &mut self,
        now: Time,
        chance: Chance<'_>,
        seen: &BTreeMap<RunId, Observation>,
        effects: &mut Vec<Effect>,
    ) {
        let first = effects.len();
        let unsaid = std::mem::take(&mut self.unsaid);
        effects.extend(unsaid.into_iter().filter(|effect| self.still_holds(effect)));
        let mut turn = Turn { now, chance, effects };
        let runs: Vec<RunId> = self.runs.keys().copied().collect();
        let alive = runs.iter().filter(|run| seen.get(run) == Some(&Observation::Alive));
        let alive = count(alive);
        turn.event(Event::Recovered { alive, lost: count(&runs) - alive });
        for run in runs {
            match seen.get(&run) {
                Some(Observation::Alive) => self.found_alive(&mut turn, run),
                Some(Observation::Exited(outcome)) => self.exited(&mut turn, run, *outcome),
                None => self.not_found(&mut turn, run),
            }
        }
        self.settle(&mut turn);
        self.remember(&effects[first..]);
    }

    fn still_holds(&self, effect: &Effect) -> bool {
        match effect {
            Effect::CloseListeners => !self.is_wanted() && self.runs.is_empty(),
            Effect::RetireSlot { slot } => slot.0 >= count(&self.slots),
            Effect::Spawn { .. }
            | Effect::Drain { .. }
            | Effect::Signal { .. }
            | Effect::Kill { .. }
            | Effect::Finished { .. }
            | Effect::Event(_) => true,
        }
    }

    fn found_alive(&mut self, turn: &mut Turn<'_>, id: RunId) {
        let Some(run) = self.runs.get(&id) else { return };
        let fresh = turn.now + self.policy(run.generation).ready_timeout;
        let Some(run) = self.runs.get_mut(&id) else { return };
        match &mut run.state {
            RunState::Starting { deadline, spawned } => {
                *spawned = true;
                *deadline = fresh;
            }
            RunState::Online { .. } => {}
            RunState::Draining { spawned: false, blocks, .. } => {
                let blocks = *blocks;
                self.spawned_too_late(turn, id, blocks);
            }
            RunState::Draining { spawned: true, .. } => self.repeat_stage(turn, id),
        }
    }

    fn not_found(&mut self, turn: &mut Turn<'_>, id: RunId) {
        let Some(run) = self.runs.get(&id) else { return };
        match run.state {
            RunState::Starting { spawned: false, .. } => {
                let (slot, generation) = (run.slot, run.generation);
                self.runs.remove(&id);
                let again = self.spawn(turn, slot, generation);
                self.rename(slot, id, again);
            }
            RunState::Draining { spawned: false, .. } => {
                self.runs.remove(&id);
            }
            RunState::Starting { spawned: true, .. }
            | RunState::Online { .. }
            | RunState::Draining { spawned: true, .. } => self.exited(turn, id, ExitOutcome::Unknown),
        }
    }

    /// Puts a run in the place of one that never was.
    fn rename(&mut self, slot: crate::ids::SlotId, from: RunId, to: RunId) {
        let Some(slot) = self.slot_mut(slot) else { return };
        match &mut slot.state {
            SlotState::Filled { run } if *run == from => *run = to,
            SlotState::Replacing { new, .. } if *new == from => *new = to,
            SlotState::Filled { .. } | SlotState::Replacing { .. } | SlotState::Vacant(_) => {}
        }
    }
}
