//! Replacing runs: the new one proves ready before the old one drains, a few slots at a time; when a new one fails,
//! everything is put back as far as it was not replaced yet.

use super::app::{App, Turn, count, index};
use super::event::Event;
use super::operation::{OpError, Operation, Reloading};
use super::run::{Death, Run};
use super::slot::{Before, History, SlotState, Why};
use crate::ids::{Generation, RunId, SlotId};

impl App {
    /// Begins with as many slots as may be replaced now. A slot without a run takes nothing from anybody and does not
    /// count; one whose run is still starting waits until it is ready or dead, and one where a run is being stopped waits
    /// until that is gone.
    pub(super) fn advance_reload(&mut self, turn: &mut Turn<'_>) {
        let Some(Operation::Reloading(reload)) = &self.operation else { return };
        if reload.queue.is_empty() {
            return;
        }
        let generation = reload.generation;
        let mut free = self.policy(generation).max_surge.max(1).saturating_sub(self.surge());
        let blocked = self.blocked_slots();
        for slot in reload.queue.clone() {
            let Some(state) = self.slots.get(index(slot)).filter(|_| !blocked.contains(&slot)) else { continue };
            let before = match &state.state {
                SlotState::Filled { run } if free > 0 && self.runs.get(run).is_some_and(Run::is_online) => {
                    free -= 1;
                    Before::Online { run: *run }
                }
                SlotState::Vacant(vacancy) => Before::Vacant(vacancy.clone()),
                SlotState::Filled { .. } | SlotState::Replacing { .. } => continue,
            };
            self.dequeue(slot);
            let new = self.spawn(turn, slot, generation);
            if let Some(state) = self.slot_mut(slot) {
                state.state = SlotState::Replacing { before, new, why: Why::Reload };
            }
        }
    }

    /// A run that is online now takes its slot; the one that it replaces drains.
    pub(super) fn take_over(&mut self, turn: &mut Turn<'_>, slot: SlotId, run: RunId, generation: Generation) {
        let Some(state) = self.slot_mut(slot) else { return };
        let (old, why) = match &state.state {
            SlotState::Replacing { before, new, why } if *new == run => (before.online(), *why),
            SlotState::Replacing { .. } | SlotState::Filled { .. } | SlotState::Vacant(_) => return,
        };
        state.state = SlotState::Filled { run };
        state.unfit = None;
        match why {
            Why::Reload => {
                state.generation = generation;
                state.history = History::default();
                self.note_replaced(slot);
            }
            // What the slot has gone through counts on: it is a restart.
            Why::Unfit => {}
        }
        if let Some(old) = old {
            self.drain(turn, old);
        }
    }

    /// The new run of a slot that had none has done its work and ended: that slot is as wanted.
    pub(super) fn replaced_by_an_end(
        &mut self,
        turn: &mut Turn<'_>,
        slot: SlotId,
        generation: Generation,
        death: &Death,
    ) {
        if let Some(state) = self.slot_mut(slot) {
            state.generation = generation;
            state.history = History::default();
        }
        let vacancy = self.verdict(turn, slot, generation, death, true);
        self.vacate(slot, vacancy);
        self.note_replaced(slot);
    }

    /// A run died after it had taken its slot. When a reload had put it there and it was not stable, the new spec is
    /// not to be trusted with the slots that are left.
    pub(super) fn new_run_died(&mut self, turn: &mut Turn<'_>, slot: SlotId, run: RunId, death: &Death, stable: bool) {
        let Some(Operation::Reloading(reload)) = &self.operation else { return };
        if !stable && reload.replaced.contains(&slot) {
            self.abort_reload(turn, slot, run, death);
        }
    }

    /// Ends a reload because this new run failed.
    pub(super) fn abort_reload(&mut self, turn: &mut Turn<'_>, slot: SlotId, run: RunId, death: &Death) {
        let Some(Operation::Reloading(reload)) = self.operation.take_if(|operation| match operation {
            Operation::Reloading(_) => true,
            Operation::Filling { .. } | Operation::Stopping { .. } => false,
        }) else {
            return;
        };
        self.target = reload.previous;
        let Reloading { op, generation, replaced, .. } = reload;
        let (replaced, total) = (count(&replaced), count(&self.slots));
        let death = death.clone();
        turn.event(Event::ReloadAborted { generation, slot, run, death: death.clone(), replaced });
        turn.finish([op], &Err(OpError::ReloadAborted { slot, run, death, replaced, total }));
        for slot in (0..total).map(SlotId) {
            self.put_back(turn, slot);
        }
    }

    pub(super) fn finish_reload(&mut self, turn: &mut Turn<'_>) {
        let Some(Operation::Reloading(reload)) = &self.operation else { return };
        let busy = self.slots.iter().any(|slot| slot.state.is_reloading());
        if !busy && reload.queue.is_empty() {
            let (op, generation) = (reload.op, reload.generation);
            self.operation = None;
            turn.event(Event::ReloadFinished { generation });
            turn.finish([op], &Ok(()));
        }
    }

    /// Gives a slot back what it had before its replacement began.
    fn put_back(&mut self, turn: &mut Turn<'_>, slot: SlotId) {
        let Some(state) = self.slot_mut(slot) else { return };
        let generation = state.generation;
        let SlotState::Replacing { before, new, why: Why::Reload } = &state.state else { return };
        let (before, new) = (before.clone(), *new);
        self.stop(turn, new, true);
        let state = match before {
            Before::Online { run } => SlotState::Filled { run },
            Before::Vacant(vacancy) => SlotState::Vacant(vacancy),
            Before::Died { death, stable } => SlotState::Vacant(self.verdict(turn, slot, generation, &death, stable)),
        };
        if let Some(slot) = self.slot_mut(slot) {
            slot.state = state;
        }
    }

    fn dequeue(&mut self, slot: SlotId) {
        if let Some(Operation::Reloading(reload)) = &mut self.operation {
            reload.queue.remove(&slot);
        }
    }

    fn note_replaced(&mut self, slot: SlotId) {
        if let Some(Operation::Reloading(reload)) = &mut self.operation {
            reload.replaced.insert(slot);
        }
    }
}

impl SlotState {
    /// Whether a reload has begun with the slot.
    fn is_reloading(&self) -> bool {
        match self {
            SlotState::Replacing { why, .. } => *why == Why::Reload,
            SlotState::Filled { .. } | SlotState::Vacant(_) => false,
        }
    }
}
