//! What people cause: start, stop, restart, reload, scale, delete, and what each does to one that is going on.
//!
//! | running \ new | start | stop | restart | reload | scale | delete |
//! |---|---|---|---|---|---|---|
//! | start, restart | joins (with another spec: busy) | supersedes | supersedes | busy | beside it | supersedes |
//! | reload | busy | supersedes | supersedes | busy | beside it | supersedes |
//! | stop | supersedes | joins | supersedes | supersedes | beside it | takes over, both finish |
//! | scale | beside it | supersedes | supersedes | beside it | supersedes | supersedes |
//! | delete | refused | joins | refused | refused | refused | joins |
//!
//! What is wanted of one slot goes beside what its app is busy with, as `single` tells.
//!
//! A reload of a stopped app is a start. A superseded reload leaves its spec the app's target: the later command did
//! not take that wish back; an aborted one does not.

use std::collections::BTreeSet;

use super::app::{App, Turn, Wanted, count, index};
use super::canary::{Canary, Trial};
use super::event::Event;
use super::operation::{OpError, Operation, Reloading, Scaling};
use super::run::RunState;
use super::slot::{Before, History, Slot, SlotState, Vacancy};
use super::{Chance, Command, Effect, Target};
use crate::ids::{Generation, OpId, RunId, SlotId};
use crate::spec::MAX_INSTANCES;
use crate::time::Time;

/// How runs end when all of an app does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// With the stop signal.
    AtOnce,
    /// Those that serve drain first.
    Draining,
}

impl App {
    pub(super) fn command(&mut self, turn: &mut Turn<'_>, op: OpId, command: Command) {
        let result = match command {
            Command::Start { target } => self.start(turn, op, target),
            Command::Stop => self.stop_all(turn, op, false, Manner::AtOnce),
            Command::Delete => self.stop_all(turn, op, true, Manner::AtOnce),
            Command::Restart { target } => self.restart(turn, op, target),
            Command::Reload { target, canary } => self.reload(turn, op, target, canary),
            Command::Scale { to } => self.scale(turn, op, to),
            Command::One { slot, action } => self.one(turn, op, slot, action),
        };
        if let Err(error) = result {
            turn.finish([op], &Err(error));
        }
    }

    fn start(&mut self, turn: &mut Turn<'_>, op: OpId, target: Option<Target>) -> Result<(), OpError> {
        self.refuse_deleted()?;
        let mut ops = Vec::new();
        match &mut self.operation {
            Some(Operation::Filling { ops: running }) => {
                if let Some(with) = running.first().filter(|_| target.is_some()) {
                    return Err(OpError::Busy { with: *with });
                }
                ops.append(running);
            }
            Some(Operation::Reloading(reload)) => return Err(OpError::Busy { with: reload.op }),
            Some(Operation::Stopping { .. }) => self.supersede_operation(turn, op),
            None => {}
        }
        ops.push(op);
        self.supersede_singles(turn, op, |single| !single.fills);
        self.operation = Some(Operation::Filling { ops });
        self.aim(target);
        self.wanted = Wanted::Up;
        let generation = self.target;
        // A job is wanted from now on, and started when its time comes.
        let job = self.policy(generation).job;
        let vacancy = if job { Vacancy::Scheduled } else { self.first_vacancy() };
        for slot in self.slots.iter_mut().filter(|slot| !slot.is_removed()) {
            match slot.state {
                // A run of a job that is under way goes on, also with its restarts.
                SlotState::Vacant(Vacancy::Backoff { .. } | Vacancy::Clearing { .. } | Vacancy::Waiting) if job => {}
                SlotState::Vacant(_) => slot.refill(generation, vacancy.clone()),
                SlotState::Filled { .. } | SlotState::Replacing { .. } => {}
            }
        }
        Ok(())
    }

    fn restart(&mut self, turn: &mut Turn<'_>, op: OpId, target: Option<Target>) -> Result<(), OpError> {
        self.restart_as(turn, op, target, None)
    }

    /// A restart after which the slots are in this vacancy; none: filled as soon as they can be.
    fn restart_as(
        &mut self,
        turn: &mut Turn<'_>,
        op: OpId,
        target: Option<Target>,
        vacancy: Option<Vacancy>,
    ) -> Result<(), OpError> {
        self.refuse_deleted()?;
        self.supersede_operation(turn, op);
        self.supersede_scaling(turn, op);
        self.supersede_singles(turn, op, |_| true);
        self.aim(target);
        self.wanted = Wanted::Up;
        let slots = count(&self.slots);
        self.stop_slots(turn, |slot| slot.0 < slots);
        let (generation, vacancy) = (self.target, vacancy.unwrap_or_else(|| self.first_vacancy()));
        for slot in self.slots.iter_mut().filter(|slot| !slot.is_removed()) {
            slot.refill(generation, vacancy.clone());
        }
        self.operation = Some(Operation::Filling { ops: vec![op] });
        Ok(())
    }

    fn reload(
        &mut self,
        turn: &mut Turn<'_>,
        op: OpId,
        target: Option<Target>,
        canary: Option<Canary>,
    ) -> Result<(), OpError> {
        self.refuse_deleted()?;
        if !self.is_wanted() || self.has_nothing_to_replace(target.as_ref()) {
            return self.start(turn, op, target);
        }
        if self.becomes_job(target.as_ref()) {
            return self.restart_as(turn, op, target, Some(Vacancy::Scheduled));
        }
        match &self.operation {
            Some(Operation::Filling { ops } | Operation::Stopping { ops, .. }) => {
                return Err(OpError::Busy { with: ops.first().copied().unwrap_or(op) });
            }
            Some(Operation::Reloading(reload)) => return Err(OpError::Busy { with: reload.op }),
            None => {}
        }
        self.supersede_singles(turn, op, |single| !single.fills);
        let previous = self.target;
        self.aim(target);
        let queue: BTreeSet<SlotId> = self.slot_ids().into_iter().collect();
        let trial = canary.and_then(|canary| Trial::of(canary, &queue));
        let generation = self.target;
        turn.event(Event::ReloadStarted { generation, slots: count(&queue) });
        let replaced = BTreeSet::new();
        self.operation = Some(Operation::Reloading(Reloading {
            op,
            generation,
            previous,
            queue,
            replaced,
            trial,
            back: None,
            only: None,
        }));
        Ok(())
    }

    /// As [`Command::Delete`], but runs that serve drain before they get the stop signal: the end of a whole team, after
    /// which nobody takes over.
    pub fn leave(&mut self, now: Time, chance: Chance<'_>, op: OpId, effects: &mut Vec<Effect>) {
        let first = effects.len();
        let mut turn = Turn { now, chance, effects };
        if let Err(error) = self.stop_all(&mut turn, op, true, Manner::Draining) {
            turn.finish([op], &Err(error));
        }
        self.settle(&mut turn);
        self.remember(&effects[first..]);
    }

    pub(super) fn stop_all(
        &mut self,
        turn: &mut Turn<'_>,
        op: OpId,
        delete: bool,
        manner: Manner,
    ) -> Result<(), OpError> {
        if self.is_deleted() {
            return Err(OpError::Deleted);
        }
        if let Some(Operation::Stopping { ops, delete: deletes }) = &mut self.operation {
            ops.push(op);
            *deletes |= delete;
        } else {
            self.supersede_operation(turn, op);
            self.operation = Some(Operation::Stopping { ops: vec![op], delete });
        }
        self.supersede_scaling(turn, op);
        self.supersede_singles(turn, op, |single| single.fills);
        self.wanted = Wanted::Down;
        match manner {
            Manner::AtOnce => self.stop_slots(turn, |_| true),
            Manner::Draining => {
                let runs: Vec<(RunId, bool)> = self.runs.iter().map(|(id, run)| (*id, run.is_draining())).collect();
                for (run, _) in runs.into_iter().filter(|(_, drains)| !drains) {
                    self.let_go(turn, run);
                }
            }
        }
        for slot in self.slots.iter_mut().filter(|slot| !slot.is_removed()) {
            slot.state = SlotState::Vacant(Vacancy::Stopped);
            slot.unfit = None;
        }
        Ok(())
    }

    pub(super) fn finish_stopping(&mut self, turn: &mut Turn<'_>) {
        if !self.runs.is_empty() {
            return;
        }
        let Some(Operation::Stopping { ops, delete }) = self.operation.take() else { return };
        self.may_listen = false;
        turn.effects.push(Effect::CloseListeners);
        turn.event(Event::Stopped);
        if delete {
            self.wanted = Wanted::Deleted;
            turn.event(Event::Deleted);
        }
        turn.finish(ops, &Ok(()));
    }

    fn scale(&mut self, turn: &mut Turn<'_>, op: OpId, to: u32) -> Result<(), OpError> {
        self.refuse_deleted()?;
        if to == 0 || to > MAX_INSTANCES {
            return Err(OpError::OutOfRange { to });
        }
        self.supersede_scaling(turn, op);
        let from = self.size();
        if from != to {
            turn.event(Event::Scaled { from, to });
        }
        for _ in to..from {
            self.remove_any_slot(turn, op);
        }
        let added_from = count(&self.slots);
        let gaps = (0..).map(SlotId).zip(&self.slots).filter(|(_, slot)| slot.is_removed()).map(|(id, _)| id);
        let added: BTreeSet<SlotId> = gaps.take(usize::try_from(to.saturating_sub(from)).unwrap_or(0)).collect();
        for slot in &added {
            self.add_slot(*slot);
        }
        for slot in (added_from..).take(usize::try_from(to - self.size()).unwrap_or(0)) {
            self.add_slot(SlotId(slot));
        }
        self.scaling = Some(Scaling { op, added_from, added, removes: to < from });
        Ok(())
    }

    /// A slot that is added during a reload is part of it. When the reload aborts, it is filled with the old spec.
    fn add_slot(&mut self, id: SlotId) {
        let vacancy = if !self.is_wanted() {
            Vacancy::Stopped
        } else if self.is_waiting() {
            // For what the others wait for.
            Vacancy::Waiting
        } else if self.policy(self.target).job {
            Vacancy::Scheduled
        } else {
            Vacancy::Clearing { restart: false }
        };
        let generation = match &mut self.operation {
            Some(Operation::Reloading(reload)) if reload.only.is_none() => {
                reload.queue.insert(id);
                reload.previous
            }
            Some(Operation::Filling { .. } | Operation::Stopping { .. } | Operation::Reloading(_)) | None => {
                self.target
            }
        };
        let slot = Slot::new(generation, vacancy);
        match self.slot_mut(id) {
            Some(gap) => *gap = slot,
            None => self.slots.push(slot),
        }
    }

    /// Removes the slot with the highest number; if some were stopped alone, of those, so that one is left that was not: also
    /// of those that a reload fills, and leaves stopped when it aborts.
    fn remove_any_slot(&mut self, turn: &mut Turn<'_>, op: OpId) {
        let slots = self.slot_ids();
        let held = |slot: &&SlotId| {
            let state = self.slots.get(index(**slot)).map(|slot| &slot.state);
            let is_replaced =
                matches!(state, Some(SlotState::Replacing { before: Before::Vacant(Vacancy::Stopped), .. }));
            is_replaced || self.is_held(**slot)
        };
        let held = slots.iter().rev().find(held);
        let Some(id) = held.or(slots.last()).copied() else { return };
        self.supersede_singles(turn, op, |single| single.fills && single.slot == id);
        if let Some(Operation::Reloading(reload)) = &mut self.operation {
            reload.queue.remove(&id);
            reload.replaced.remove(&id);
        }
        turn.effects.push(Effect::RetireSlot { slot: id });
        self.let_go_of_slot(turn, id);
        self.leave_gap(id);
    }

    /// Ends the runs that fill a slot.
    pub(super) fn let_go_of_slot(&mut self, turn: &mut Turn<'_>, slot: SlotId) {
        let Some(slot) = self.slots.get(index(slot)) else { return };
        match slot.state.clone() {
            SlotState::Vacant(_) => {}
            SlotState::Filled { run } => self.let_go(turn, run),
            SlotState::Replacing { before, new, .. } => {
                self.let_go(turn, new);
                if let Some(old) = before.online() {
                    self.let_go(turn, old);
                }
            }
        }
    }

    /// Takes a slot away. A gap is left only where slots come after it.
    pub(super) fn leave_gap(&mut self, slot: SlotId) {
        if let Some(slot) = self.slot_mut(slot) {
            slot.state = SlotState::Vacant(Vacancy::Removed);
            slot.unfit = None;
        }
        while self.slots.last().is_some_and(Slot::is_removed) {
            self.slots.pop();
        }
    }

    /// Whether a reload turns what serves into a job: that is stopped, and waits for its time.
    fn becomes_job(&self, target: Option<&Target>) -> bool {
        self.operation.is_none() && !self.policy(self.target).job && target.is_some_and(|target| target.policy.job)
    }

    /// Whether a reload is but a start: of what waits for other apps, and of a job, whose next run has the new version.
    fn has_nothing_to_replace(&self, target: Option<&Target>) -> bool {
        let is_job = self.policy(self.target).job;
        let stays_job = is_job && target.is_none_or(|target| target.policy.job);
        // What ran before it waited may still be ending.
        let waits = self.is_waiting() && self.runs.values().all(|run| matches!(run.state, RunState::Draining { .. }));
        self.operation.is_none() && (stays_job || waits)
    }

    /// Ends a run that is not needed any more: one that serves drains first.
    fn let_go(&mut self, turn: &mut Turn<'_>, run: RunId) {
        if self.runs.get(&run).is_some_and(|run| run.is_online()) {
            self.drain(turn, run);
        } else {
            self.stop(turn, run, true);
        }
    }

    /// Makes this what slots are filled with from now on.
    fn aim(&mut self, target: Option<Target>) {
        if let Some(Target { generation, policy }) = target {
            self.policies.insert(generation, policy);
            self.target = generation;
        }
    }

    pub(super) fn refuse_deleted(&self) -> Result<(), OpError> {
        match self.operation {
            Some(Operation::Stopping { delete: true, .. }) => Err(OpError::Deleted),
            Some(Operation::Stopping { delete: false, .. } | Operation::Filling { .. } | Operation::Reloading(_))
            | None => {
                if self.is_deleted() {
                    Err(OpError::Deleted)
                } else {
                    Ok(())
                }
            }
        }
    }

    fn supersede_operation(&mut self, turn: &mut Turn<'_>, by: OpId) {
        let ops = match self.operation.take() {
            Some(Operation::Filling { ops } | Operation::Stopping { ops, .. }) => ops,
            Some(Operation::Reloading(reload)) => vec![reload.op],
            None => return,
        };
        turn.finish(ops, &Err(OpError::Superseded { by }));
    }

    fn supersede_scaling(&mut self, turn: &mut Turn<'_>, by: OpId) {
        if let Some(scaling) = self.scaling.take() {
            turn.finish([scaling.op], &Err(OpError::Superseded { by }));
        }
    }
}

impl Slot {
    /// Has the slot filled from this vacancy on because a user wants it, with nothing remembered.
    pub(super) fn refill(&mut self, generation: Generation, vacancy: Vacancy) {
        self.generation = generation;
        self.history = History::default();
        self.unfit = None;
        self.state = SlotState::Vacant(vacancy);
    }
}
