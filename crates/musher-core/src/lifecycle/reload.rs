//! Replacing runs: the new one proves ready before the old one drains, a few slots at a time; when a new one fails,
//! everything is put back as far as it was not replaced yet.

use super::app::{App, Turn, count, index};
use super::canary::Back;
use super::event::Event;
use super::operation::{OpError, Operation, Reloading};
use super::run::{Death, Life, Run, RunState};
use super::slot::{Before, History, SlotState, Vacancy, Why};
use crate::ids::{Generation, RunId, SlotId};

impl App {
    /// Begins with as many slots as may be replaced now. A slot without a run takes nothing from anybody and does not
    /// count; one whose run is still starting waits until it is ready or dead, and one where a run is being stopped waits
    /// until that is gone.
    pub(super) fn advance_reload(&mut self, turn: &mut Turn<'_>) {
        let Some(reload) = self.reloading() else { return };
        let (generation, open) = (reload.generation, reload.open());
        if open.is_empty() {
            return;
        }
        let policy = self.policy(generation);
        let most = if policy.max_unavailable == 0 { policy.max_surge.max(1) } else { policy.max_surge };
        let mut surge = most.saturating_sub(self.surge());
        let mut down = policy.max_unavailable.saturating_sub(self.unready_slots());
        let blocked = self.blocked_slots();
        for slot in open {
            let Some(state) = self.slots.get(index(slot)).filter(|_| !blocked.contains(&slot)) else { continue };
            let before = match &state.state {
                SlotState::Filled { run } if !self.runs.get(run).is_some_and(Run::is_online) => continue,
                SlotState::Filled { run } if surge > 0 => {
                    surge -= 1;
                    Before::Online { run: *run }
                }
                SlotState::Filled { run } if down > 0 => {
                    down -= 1;
                    self.take_down(turn, slot, *run);
                    continue;
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

    /// Ends the run of a slot before there is another one. The slot stays in the queue: when the run is gone, the new one
    /// is started.
    fn take_down(&mut self, turn: &mut Turn<'_>, slot: SlotId, run: RunId) {
        self.drain(turn, run);
        if let Some(Run { state: RunState::Draining { blocks, .. }, .. }) = self.runs.get_mut(&run) {
            *blocks = true;
        }
        if let Some(state) = self.slot_mut(slot) {
            state.unfit = None;
            state.state = SlotState::Vacant(Vacancy::Clearing { restart: false });
        }
    }

    /// Slots without a ready worker, but for those that will not get one by themselves.
    fn unready_slots(&self) -> u32 {
        let returns = |vacancy: &Vacancy| match vacancy {
            Vacancy::Stopped
            | Vacancy::Removed
            | Vacancy::Scheduled
            | Vacancy::Ended { .. }
            | Vacancy::GaveUp { .. } => false,
            Vacancy::Backoff { .. } | Vacancy::Clearing { .. } | Vacancy::Waiting => true,
        };
        let unready = |state: &SlotState| match state {
            SlotState::Vacant(vacancy) | SlotState::Replacing { before: Before::Vacant(vacancy), .. } => {
                returns(vacancy)
            }
            SlotState::Filled { .. } | SlotState::Replacing { .. } => {
                !state.serving().and_then(|run| self.runs.get(&run)).is_some_and(Run::is_online)
            }
        };
        count(self.slots.iter().filter(|slot| unready(&slot.state)))
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
        let vacancy = self.verdict(turn, slot, generation, death, Life::Stable);
        self.vacate(slot, vacancy);
        self.note_replaced(slot);
    }

    /// A run died after it had taken its slot. When a reload had put it there and it was not stable, the new spec is
    /// not to be trusted with the slots that are left. In a trial it has to be stable for longer.
    pub(super) fn new_run_died(&mut self, turn: &mut Turn<'_>, slot: SlotId, run: RunId, death: &Death, stable: bool) {
        let Some(Operation::Reloading(reload)) = &self.operation else { return };
        if reload.replaced.contains(&slot) && (!stable || reload.trial.is_some()) {
            self.abort_reload(turn, slot, run, death);
        }
    }

    /// Ends a reload because this new run failed.
    pub(super) fn abort_reload(&mut self, turn: &mut Turn<'_>, slot: SlotId, run: RunId, death: &Death) {
        if self.reloading().is_some_and(|reload| reload.trial.is_some() && !reload.replaced.is_empty()) {
            let reason = format!("the new worker in slot {slot} {death}");
            return self.canary_failed(turn, &reason, Some((slot, run)));
        }
        let Some(Operation::Reloading(reload)) = self.operation.take_if(|operation| match operation {
            Operation::Reloading(_) => true,
            Operation::Filling { .. } | Operation::Stopping { .. } => false,
        }) else {
            return;
        };
        self.target = reload.previous;
        let Reloading { op, generation, replaced, back, only, .. } = reload;
        let (replaced, total) = (count(&replaced), if only.is_some() { 1 } else { self.size() });
        let death = death.clone();
        turn.event(Event::ReloadAborted { generation, slot, run, death: death.clone(), replaced });
        for slot in self.slot_ids() {
            self.put_back(turn, slot);
        }
        let error = match back {
            None => OpError::ReloadAborted { slot, run, death, replaced, total },
            Some(back) => {
                let error = self.canary_error(back.clone());
                self.go_back_later(turn, &back, run, &death);
                error
            }
        };
        turn.finish([op], &Err(error));
    }

    pub(super) fn finish_reload(&mut self, turn: &mut Turn<'_>) {
        let Some(Operation::Reloading(reload)) = &self.operation else { return };
        let busy = self.slots.iter().any(|slot| slot.state.is_reloading());
        if !busy && reload.queue.is_empty() && reload.trial.is_none() {
            let (op, generation, back) = (reload.op, reload.generation, reload.back.clone());
            self.operation = None;
            let result = match back {
                None => {
                    turn.event(Event::ReloadFinished { generation });
                    Ok(())
                }
                Some(back) => {
                    turn.event(Event::WentBack { generation, from: back.from });
                    Err(self.canary_error(back))
                }
            };
            turn.finish([op], &result);
        }
    }

    /// What a reload ends with whose trial failed.
    fn canary_error(&self, back: Back) -> OpError {
        let Back { from, reason, culprit, .. } = back;
        let (slot, run) = culprit.unzip();
        let slots = self.slots.iter().filter(|slot| !slot.is_removed());
        let left = count(slots.filter(|slot| from != self.target && slot.generation == from));
        OpError::CanaryFailed { reason, slot, run, left }
    }

    /// Gives a slot back what it had before its replacement began.
    pub(super) fn put_back(&mut self, turn: &mut Turn<'_>, slot: SlotId) {
        let Some(state) = self.slot_mut(slot) else { return };
        let generation = state.generation;
        let SlotState::Replacing { before, new, why: Why::Reload } = &state.state else { return };
        let (before, new) = (before.clone(), *new);
        self.stop(turn, new, true);
        let state = match before {
            Before::Online { run } => SlotState::Filled { run },
            Before::Vacant(vacancy) => SlotState::Vacant(vacancy),
            Before::Died { death, stable } => {
                let life = if stable { Life::Stable } else { Life::Ready };
                SlotState::Vacant(self.verdict(turn, slot, generation, &death, life))
            }
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
    pub(super) fn is_reloading(&self) -> bool {
        match self {
            SlotState::Replacing { why, .. } => *why == Why::Reload,
            SlotState::Filled { .. } | SlotState::Vacant(_) => false,
        }
    }
}
