//! What people want of one slot alone: stop, start, restart, reload, delete it, while its siblings go on.
//!
//! | running \ new | start, restart, reload | stop, delete |
//! |---|---|---|
//! | start, restart of the app | beside it (reload: busy) | beside it: the app is started without the slot |
//! | stop of the app | busy | joins |
//! | reload, of the app or of one slot | busy | busy |
//! | scale | beside it | beside it |
//! | delete of the app | refused | refused |
//! | start, restart of the slot | joins | supersedes |
//! | stop, delete of the slot | supersedes | joins |
//!
//! A command for the app is for all of its slots: a start, restart or reload fills those that were stopped alone, and
//! supersedes what would have kept them empty. Nothing else fills them. When the last slot that is not stopped is stopped,
//! or deleted, the app is stopped; with the last slot the app is deleted. So an app that is wanted always has a slot that is.

use std::collections::BTreeSet;

use super::app::{App, Turn, Wanted, index};
use super::command::Manner;
use super::event::Event;
use super::operation::{OpError, Operation, Progress, Reloading, Single};
use super::slot::{SlotState, Vacancy};
use super::{Effect, SlotAction};
use crate::ids::{OpId, SlotId};

impl App {
    pub(super) fn one(
        &mut self,
        turn: &mut Turn<'_>,
        op: OpId,
        slot: SlotId,
        action: SlotAction,
    ) -> Result<(), OpError> {
        self.refuse_deleted()?;
        if !self.has_slot(slot) {
            return Err(OpError::NoSlot { slot });
        }
        if let Some(with) = self.is_in_the_way(action) {
            return Err(OpError::Busy { with });
        }
        match action {
            SlotAction::Stop => self.stop_one(turn, op, slot, Vacancy::Stopped),
            SlotAction::Delete => self.stop_one(turn, op, slot, Vacancy::Removed),
            SlotAction::Restart => {
                self.supersede_singles(turn, op, |single| single.slot == slot);
                self.stop_slots(turn, |other| other == slot);
                self.fill_one(op, slot, self.first_vacancy());
                Ok(())
            }
            SlotAction::Reload if self.is_replaceable(slot) => {
                let (generation, queue) = (self.target, BTreeSet::from([slot]));
                turn.event(Event::ReloadStarted { generation, slots: 1 });
                self.operation = Some(Operation::Reloading(Reloading {
                    op,
                    generation,
                    previous: generation,
                    queue,
                    replaced: BTreeSet::new(),
                    trial: None,
                    back: None,
                    only: Some(slot),
                }));
                Ok(())
            }
            SlotAction::Start | SlotAction::Reload => {
                self.supersede_singles(turn, op, |single| single.slot == slot && !single.fills);
                self.start_one(op, slot);
                Ok(())
            }
        }
    }

    /// The operation of the app that has to end before this.
    fn is_in_the_way(&self, action: SlotAction) -> Option<OpId> {
        match (&self.operation, action) {
            (Some(Operation::Reloading(reload)), _) => Some(reload.op),
            (Some(Operation::Stopping { ops, .. }), SlotAction::Start | SlotAction::Restart | SlotAction::Reload)
            | (Some(Operation::Filling { ops }), SlotAction::Reload) => ops.first().copied(),
            (Some(Operation::Stopping { .. }), SlotAction::Stop | SlotAction::Delete)
            | (
                Some(Operation::Filling { .. }),
                SlotAction::Start | SlotAction::Restart | SlotAction::Stop | SlotAction::Delete,
            )
            | (None, _) => None,
        }
    }

    /// Whether a reload has something to replace in it.
    fn is_replaceable(&self, slot: SlotId) -> bool {
        let vacant = self.slots.get(index(slot)).is_none_or(|slot| matches!(slot.state, SlotState::Vacant(_)));
        !vacant && !self.policy(self.target).job
    }

    /// Fills a slot that has no run; of a job, when its time comes.
    fn start_one(&mut self, op: OpId, slot: SlotId) {
        let job = self.policy(self.target).job;
        let is_busy = self.slots.get(index(slot)).is_some_and(|slot| match slot.state {
            SlotState::Vacant(Vacancy::Backoff { .. } | Vacancy::Clearing { .. } | Vacancy::Waiting) => job,
            SlotState::Vacant(_) => false,
            SlotState::Filled { .. } | SlotState::Replacing { .. } => true,
        });
        if is_busy {
            self.singles.push(Single { op, slot, fills: true });
        } else {
            self.fill_one(op, slot, if job { Vacancy::Scheduled } else { self.first_vacancy() });
        }
    }

    /// Has a slot filled from this vacancy on.
    fn fill_one(&mut self, op: OpId, slot: SlotId, vacancy: Vacancy) {
        self.wanted = Wanted::Up;
        let generation = self.target;
        if let Some(state) = self.slot_mut(slot) {
            state.refill(generation, vacancy);
        }
        self.singles.push(Single { op, slot, fills: true });
    }

    /// Lets go of what fills a slot, which is empty from now on.
    fn stop_one(&mut self, turn: &mut Turn<'_>, op: OpId, slot: SlotId, vacancy: Vacancy) -> Result<(), OpError> {
        let deletes = vacancy == Vacancy::Removed;
        let others = || self.slots.iter().zip(0..).filter(|(_, id)| SlotId(*id) != slot).map(|(other, _)| other);
        let last = others().all(|other| other.is_removed());
        if last || self.is_wanted() && others().all(super::slot::Slot::is_left_out) && !self.is_held(slot) {
            // As the app is: nobody takes over.
            if deletes && !last {
                turn.effects.push(Effect::RetireSlot { slot });
                self.remove_one(turn, slot);
            }
            return self.stop_all(turn, op, deletes && last, Manner::AtOnce);
        }
        self.supersede_singles(turn, op, |single| single.slot == slot && single.fills);
        // Before its worker is told: what comes from now on goes to the others.
        turn.effects.push(Effect::RetireSlot { slot });
        self.let_go_of_slot(turn, slot);
        for run in self.runs.values_mut().filter(|run| run.slot == slot) {
            run.block_unless_draining();
        }
        if let Some(state) = self.slot_mut(slot) {
            state.unfit = None;
            state.state = SlotState::Vacant(Vacancy::Stopped);
        }
        if deletes {
            self.remove_one(turn, slot);
        }
        self.singles.push(Single { op, slot, fills: false });
        Ok(())
    }

    fn remove_one(&mut self, turn: &mut Turn<'_>, slot: SlotId) {
        let from = self.size();
        self.leave_gap(slot);
        turn.event(Event::Scaled { from, to: self.size() });
    }

    /// Ends what is wanted of single slots, where something else is wanted now.
    pub(super) fn supersede_singles(&mut self, turn: &mut Turn<'_>, by: OpId, of: impl Fn(&Single) -> bool) {
        let ops: Vec<OpId> = self.singles.extract_if(.., |single| of(single)).map(|single| single.op).collect();
        turn.finish(ops, &Err(OpError::Superseded { by }));
    }

    /// A run of this slot ended before it was ready.
    pub(super) fn fail_singles(&mut self, turn: &mut Turn<'_>, slot: SlotId, error: &OpError) {
        let concerns = |single: &mut Single| single.fills && single.slot == slot;
        let ops: Vec<OpId> = self.singles.extract_if(.., concerns).map(|single| single.op).collect();
        turn.finish(ops, &Err(error.clone()));
    }

    /// What waits for other apps waits on, and who wanted it is told.
    pub(super) fn hold_singles_up(&mut self, turn: &mut Turn<'_>, result: &Result<(), OpError>) {
        let waits = |slot: SlotId| {
            let slot = self.slots.get(index(slot));
            slot.is_some_and(|slot| slot.state == SlotState::Vacant(Vacancy::Waiting))
        };
        let (held, others) =
            std::mem::take(&mut self.singles).into_iter().partition(|one| one.fills && waits(one.slot));
        self.singles = others;
        let held: Vec<Single> = held;
        turn.finish(held.into_iter().map(|single| single.op), result);
    }

    /// Ends what has come about, or cannot.
    pub(super) fn finish_singles(&mut self, turn: &mut Turn<'_>) {
        for single in std::mem::take(&mut self.singles) {
            let result = if single.fills {
                self.filled(|slot| slot == single.slot)
            } else {
                (!self.is_leaving(single.slot)).then_some(Ok(()))
            };
            match result {
                Some(result) => turn.finish([single.op], &result),
                None => self.singles.push(single),
            }
        }
    }

    pub(super) fn progress_of_one(&self, single: &Single) -> Progress {
        let leaving = self.runs.values().filter(|run| run.slot == single.slot && run.is_draining());
        let leaving = super::app::count(leaving);
        let done = if single.fills { self.is_settled(single.slot) } else { leaving == 0 };
        Progress { ready: u32::from(done), total: 1, leaving }
    }

    /// Whether a run of this slot is on its way out.
    fn is_leaving(&self, slot: SlotId) -> bool {
        self.runs.values().any(|run| run.slot == slot && run.is_draining())
    }
}
