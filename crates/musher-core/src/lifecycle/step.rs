//! What the world causes: processes appear, prove ready, die, and time passes.

use std::time::Duration;

use super::Effect;
use super::app::{App, Turn};
use super::event::Event;
use super::operation::{OpError, Operation};
use super::restart::millis;
use super::run::{Death, ExitOutcome, Life, Run, RunState, Stage};
use super::slot::{Before, LastExit, SlotState, Vacancy, Why};
use crate::ids::{Generation, RunId, SlotId};
use crate::time::Time;

impl App {
    pub(super) fn spawned(&mut self, turn: &mut Turn<'_>, id: RunId) {
        let Some(run) = self.runs.get(&id) else { return };
        let ready_timeout = self.policy(run.generation).ready_timeout;
        let Some(run) = self.runs.get_mut(&id) else { return };
        match &mut run.state {
            // Its life begins now: among many, its turn to be spawned may have come late.
            RunState::Starting { spawned: spawned @ false, deadline } => {
                *spawned = true;
                *deadline = turn.now + ready_timeout;
                run.since = turn.now;
            }
            RunState::Starting { spawned: true, .. } => {}
            RunState::Draining { spawned: false, blocks, .. } => {
                let blocks = *blocks;
                self.spawned_too_late(turn, id, blocks);
            }
            RunState::Online { .. } | RunState::Draining { spawned: true, .. } => {}
        }
    }

    pub(super) fn spawn_failed(&mut self, turn: &mut Turn<'_>, id: RunId, reason: String) {
        let Some(run) = self.runs.remove(&id) else { return };
        let event = Event::SpawnFailed { slot: run.slot, run: id, generation: run.generation, reason: reason.clone() };
        turn.event(event);
        if !run.is_draining() {
            self.died(turn, id, &run, &Death::SpawnFailed { reason });
        }
    }

    pub(super) fn not_spawned(&mut self, id: RunId) {
        if self.runs.get(&id).is_some_and(Run::is_draining) {
            self.runs.remove(&id);
        }
    }

    pub(super) fn ready(&mut self, turn: &mut Turn<'_>, id: RunId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        match run.state {
            RunState::Online { .. } | RunState::Draining { .. } => return,
            RunState::Starting { .. } => run.state = RunState::Online { since: turn.now },
        }
        let after_ms = millis(turn.now.since(run.since));
        let (slot, generation) = (run.slot, run.generation);
        turn.event(Event::Online { slot, run: id, generation, after_ms });
        self.take_over(turn, slot, id, generation);
    }

    pub(super) fn drained(&mut self, turn: &mut Turn<'_>, id: RunId) {
        let Some(run) = self.runs.get(&id) else { return };
        match run.state {
            RunState::Draining { stage: Stage::Drain, .. } => self.escalate(turn, id),
            RunState::Starting { .. }
            | RunState::Online { .. }
            | RunState::Draining { stage: Stage::Signal | Stage::Kill, .. } => {}
        }
    }

    pub(super) fn exited(&mut self, turn: &mut Turn<'_>, id: RunId, outcome: ExitOutcome) {
        let Some(run) = self.runs.remove(&id) else { return };
        let expected = run.is_draining();
        let uptime_ms = millis(turn.now.since(run.since));
        let (slot, generation) = (run.slot, run.generation);
        turn.event(Event::Exited { slot, run: id, generation, outcome, uptime_ms, expected });
        if !expected {
            self.died(turn, id, &run, &Death::Exited(outcome));
        }
    }

    /// A run asks for more time.
    pub(super) fn extend(&mut self, turn: &Turn<'_>, run: RunId, by: Duration) {
        if let Some(run) = self.runs.get_mut(&run) {
            run.extend(turn.now, by);
        }
    }

    /// Handles what is due, and goes on with what waits.
    pub(super) fn settle(&mut self, turn: &mut Turn<'_>) {
        self.expire(turn);
        // A reload takes vacant slots before they are filled with the old spec once more.
        self.advance_trial(turn);
        self.advance_reload(turn);
        self.replace_unfit(turn);
        self.fill(turn);
        self.finish(turn);
        self.rest(turn);
        self.forget_policies();
    }

    /// Clients of an app that will not come back by itself are refused, rather than kept waiting for it.
    fn rest(&mut self, turn: &mut Turn<'_>) {
        if self.may_listen && self.is_at_rest() {
            self.may_listen = false;
            turn.effects.push(Effect::CloseListeners);
        }
    }

    /// Starts a new run in a slot.
    pub(super) fn spawn(&mut self, turn: &mut Turn<'_>, slot: SlotId, generation: Generation) -> RunId {
        self.last_run += 1;
        self.may_listen = true;
        let id = RunId::of(self.id, self.last_run);
        let deadline = turn.now + self.policy(generation).ready_timeout;
        let state = RunState::Starting { deadline, spawned: false };
        self.runs.insert(id, Run { slot, generation, since: turn.now, state, failing: false });
        turn.effects.push(Effect::Spawn { slot, run: id, generation });
        turn.event(Event::Starting { slot, run: id, generation });
        id
    }

    /// A run ended that nobody had asked to end. It is no longer among the runs, or draining.
    pub(super) fn died(&mut self, turn: &mut Turn<'_>, id: RunId, run: &Run, death: &Death) {
        let slot = run.slot;
        let life = self.life(run, turn.now);
        let (was_ready, stable) = (life != Life::Starting, life == Life::Stable);
        let ended_well = self.policy(run.generation).ended_well(death);
        let Some(state) = self.slot_mut(slot) else { return };
        state.last_exit = Some(LastExit {
            run: id,
            generation: run.generation,
            at: turn.now,
            uptime_ms: millis(turn.now.since(run.since)),
            death: death.clone(),
        });
        if !was_ready && !ended_well && !state.state.is_for_unfit(id) {
            self.fail_start(turn, slot, id, death);
        }
        let Some(state) = self.slot_mut(slot) else { return };
        match &mut state.state {
            SlotState::Filled { run: filled } if *filled == id => {
                // One that was to give way to another version does so now.
                if let Some(to) = state.unfit.take().and_then(|unfit| unfit.to) {
                    return state.refill(to, Vacancy::Clearing { restart: false });
                }
                let vacancy = self.verdict(turn, slot, run.generation, death, life);
                self.vacate(slot, vacancy);
                self.new_run_died(turn, slot, id, death, stable);
            }
            SlotState::Replacing { before: Before::Online { run: old }, new, why: Why::Unfit } => {
                let (old, new) = (*old, *new);
                if new == id {
                    self.successor_failed(turn, old, new, death);
                } else if old == id {
                    self.unfit_died(turn, run, new, death);
                }
            }
            SlotState::Replacing { before: before @ Before::Online { .. }, new, .. } if *new != id => {
                *before = Before::Died { death: death.clone(), stable };
                state.unfit = None;
            }
            SlotState::Replacing { before: Before::Died { .. } | Before::Vacant(_), new, .. }
                if *new == id && ended_well =>
            {
                self.replaced_by_an_end(turn, slot, run.generation, death);
            }
            SlotState::Replacing { new, .. } if *new == id => self.abort_reload(turn, slot, id, death),
            SlotState::Filled { .. } | SlotState::Replacing { .. } | SlotState::Vacant(_) => {}
        }
    }

    /// How far a run got by now.
    pub(super) fn life(&self, run: &Run, now: Time) -> Life {
        match run.state {
            RunState::Online { since } if now.since(since) >= self.policy(run.generation).min_uptime => Life::Stable,
            RunState::Online { .. } => Life::Ready,
            RunState::Starting { .. } | RunState::Draining { .. } => Life::Starting,
        }
    }

    pub(super) fn vacate(&mut self, slot: SlotId, vacancy: Vacancy) {
        if let Some(state) = self.slot_mut(slot) {
            state.state = SlotState::Vacant(vacancy);
        }
    }

    /// Handles every deadline that has passed.
    fn expire(&mut self, turn: &mut Turn<'_>) {
        let is_due = |run: &Run| run.deadline().is_some_and(|deadline| deadline <= turn.now);
        let due: Vec<RunId> = self.runs.iter().filter(|(_, run)| is_due(run)).map(|(id, _)| *id).collect();
        for id in due {
            // An earlier one may have changed it, by aborting a reload.
            let Some(run) = self.runs.get(&id).filter(|run| run.deadline().is_some_and(|at| at <= turn.now)) else {
                continue;
            };
            match run.state {
                RunState::Starting { .. } => self.not_ready_in_time(turn, id, run.clone()),
                RunState::Draining { .. } => self.escalate(turn, id),
                RunState::Online { .. } => {}
            }
        }
    }

    fn not_ready_in_time(&mut self, turn: &mut Turn<'_>, id: RunId, run: Run) {
        let timeout_ms = millis(self.policy(run.generation).ready_timeout);
        turn.event(Event::NotReady { slot: run.slot, run: id, generation: run.generation, timeout_ms });
        self.stop(turn, id, true);
        self.died(turn, id, &run, &Death::NotReady { timeout_ms });
    }

    /// Fills slots whose wait is over.
    fn fill(&mut self, turn: &mut Turn<'_>) {
        let due: Vec<(SlotId, bool)> = (0..)
            .map(SlotId)
            .zip(&self.slots)
            .filter_map(|(id, slot)| restart_due(&slot.state, turn.now).map(|restart| (id, restart)))
            .collect();
        if due.is_empty() {
            return;
        }
        let blocked = self.blocked_slots();
        for (slot, restart) in due {
            if blocked.contains(&slot) {
                self.vacate(slot, Vacancy::Clearing { restart });
                continue;
            }
            let Some(state) = self.slot_mut(slot) else { continue };
            let generation = state.generation;
            if restart {
                let policy = self.policy(generation);
                let Some(state) = self.slot_mut(slot) else { continue };
                state.restarts = state.restarts.saturating_add(1);
                state.history.restarted(turn.now, &policy);
            }
            let run = self.spawn(turn, slot, generation);
            if let Some(state) = self.slot_mut(slot) {
                state.state = SlotState::Filled { run };
            }
        }
    }

    /// Fails the operations that wait for this slot to get online.
    fn fail_start(&mut self, turn: &mut Turn<'_>, slot: SlotId, run: RunId, death: &Death) {
        let error = || OpError::Died { slot, run, death: death.clone() };
        if let Some(Operation::Filling { ops }) = &mut self.operation {
            let ops = std::mem::take(ops);
            self.operation = None;
            turn.finish(ops, &Err(error()));
        }
        if let Some(scaling) = self.scaling.take_if(|scaling| scaling.adds(slot)) {
            turn.finish([scaling.op], &Err(error()));
        }
        self.fail_singles(turn, slot, &error());
    }

    /// Ends the operations that have got what they wanted, or cannot get it any more.
    fn finish(&mut self, turn: &mut Turn<'_>) {
        match &self.operation {
            Some(Operation::Filling { .. }) => self.finish_filling(turn),
            Some(Operation::Stopping { .. }) => self.finish_stopping(turn),
            Some(Operation::Reloading(_)) => self.finish_reload(turn),
            None => {}
        }
        self.finish_scaling(turn);
        self.finish_singles(turn);
    }

    fn finish_filling(&mut self, turn: &mut Turn<'_>) {
        let Some(result) = self.filled(|_| true) else { return };
        if result.is_ok() {
            turn.event(Event::Started { ready: self.ready_slots() });
        }
        if let Some(Operation::Filling { ops }) = self.operation.take() {
            turn.finish(ops, &result);
        }
    }

    fn finish_scaling(&mut self, turn: &mut Turn<'_>) {
        let Some(scaling) = &self.scaling else { return };
        let op = scaling.op;
        let result = if self.is_wanted() { self.filled(|slot| scaling.adds(slot)) } else { Some(Ok(())) };
        let removed_are_gone = !scaling.removes || self.runs.values().all(|run| self.has_slot(run.slot));
        match result {
            Some(Ok(())) if removed_are_gone => {
                self.scaling = None;
                turn.finish([op], &Ok(()));
            }
            Some(Err(error)) => {
                self.scaling = None;
                turn.finish([op], &Err(error));
            }
            Some(Ok(())) | None => {}
        }
    }

    /// Whether all of these slots are as a start wants them; an error when one never will be.
    pub(super) fn filled(&self, of: impl Fn(SlotId) -> bool) -> Option<Result<(), OpError>> {
        let mut all = true;
        for slot in self.slot_ids().into_iter().filter(|slot| of(*slot)) {
            if self.is_settled(slot) {
                continue;
            }
            all = false;
            match &self.slots[super::app::index(slot)].state {
                SlotState::Vacant(Vacancy::GaveUp { restarts, death }) => {
                    return Some(Err(OpError::GaveUp { slot, restarts: *restarts, death: death.clone() }));
                }
                SlotState::Vacant(Vacancy::Ended { death }) => {
                    return Some(Err(OpError::Ended { slot, death: death.clone() }));
                }
                SlotState::Vacant(
                    Vacancy::Stopped
                    | Vacancy::Removed
                    | Vacancy::Scheduled
                    | Vacancy::Waiting
                    | Vacancy::Backoff { .. }
                    | Vacancy::Clearing { .. },
                )
                | SlotState::Filled { .. }
                | SlotState::Replacing { .. } => {}
            }
        }
        all.then_some(Ok(()))
    }
}

impl Turn<'_> {
    pub(super) fn finish(&mut self, ops: impl IntoIterator<Item = crate::ids::OpId>, result: &Result<(), OpError>) {
        for op in ops {
            self.effects.push(Effect::Finished { op, result: result.clone() });
        }
    }
}

/// Whether a slot is to be filled now, and whether that is a restart that counts.
fn restart_due(state: &SlotState, now: Time) -> Option<bool> {
    match state {
        SlotState::Vacant(Vacancy::Backoff { until, .. }) => (*until <= now).then_some(true),
        SlotState::Vacant(Vacancy::Clearing { restart }) => Some(*restart),
        SlotState::Vacant(
            Vacancy::Stopped
            | Vacancy::Removed
            | Vacancy::Scheduled
            | Vacancy::Waiting
            | Vacancy::Ended { .. }
            | Vacancy::GaveUp { .. },
        )
        | SlotState::Filled { .. }
        | SlotState::Replacing { .. } => None,
    }
}
