//! Runs that have to go although nobody asked for it: one that serves but is unfit is replaced without a gap, and kept
//! for as long as it cannot be; one that reported an uncaught exception ends, and its slot goes on as after a death.

use serde::{Deserialize, Serialize};

use super::Effect;
use super::app::{App, Turn, count, index};
use super::backoff;
use super::event::Event;
use super::operation::Operation;
use super::restart::millis;
use super::run::{Death, Life, Run, RunState, Stage};
use super::slot::{Before, SlotState, Why};
use crate::ids::{Generation, RunId, SlotId};
use crate::time::Time;

/// That the run which serves as a slot is to be replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfit {
    /// The run.
    pub run: RunId,
    /// Why, for people.
    pub reason: String,
    /// When its replacement begins.
    pub due: Due,
    /// The version of its replacement; none: its own.
    #[serde(default)]
    pub to: Option<Generation>,
}

/// When a replacement begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Due {
    /// Then: there were failures before, or too many restarts.
    At(Time),
    /// As soon as fewer slots are replaced, or what was stopped in this one is gone.
    Now,
    /// Never: no restart is allowed at all.
    Never,
}

impl App {
    /// A run is not fit to serve any more. Said again of one that waits for its successor, it changes nothing.
    pub(super) fn unfit(&mut self, turn: &mut Turn<'_>, id: RunId, reason: String) {
        let Some(run) = self.runs.get(&id) else { return };
        let (slot, generation) = (run.slot, run.generation);
        let life = self.life(run, turn.now);
        let Some(state) = self.slots.get(index(slot)) else { return };
        if life == Life::Starting || state.state.serving() != Some(id) || state.unfit.is_some() {
            return;
        }
        if self.is_on_trial(slot) {
            let reason = format!("the new worker in slot {slot} is unfit: {reason}");
            return self.canary_failed(turn, &reason, Some((slot, id)));
        }
        let due = self.next_try(turn, slot, generation, life);
        turn.event(Event::Unfit { slot, run: id, generation, reason: reason.clone(), wait_ms: due.wait_ms(turn.now) });
        if let Some(state) = self.slot_mut(slot) {
            state.unfit = Some(Unfit { run: id, reason, due, to: None });
        }
    }

    /// A run told that an exception was not caught: it takes nothing new, finishes what it has, and ends by itself, or
    /// is stopped when its time is over. For its slot it has died.
    pub(super) fn failing(&mut self, turn: &mut Turn<'_>, id: RunId) {
        let Some(run) = self.runs.get(&id).filter(|run| !run.is_draining()) else { return };
        let before = run.clone();
        let Run { slot, generation, .. } = before;
        let deadline = turn.now + self.policy(generation).uncaught;
        if let Some(run) = self.runs.get_mut(&id) {
            run.failing = true;
            run.state = RunState::Draining { stage: Stage::Drain, deadline, spawned: true, blocks: false };
        }
        turn.effects.push(Effect::Drain { run: id });
        turn.event(Event::Failing { slot, run: id, generation });
        self.died(turn, id, &before, &Death::Uncaught);
    }

    /// Begins with the replacement of as many unfit runs as may be replaced now. Those that a reload is going to replace
    /// are left to it.
    pub(super) fn replace_unfit(&mut self, turn: &mut Turn<'_>) {
        if self.slots.iter().all(|slot| slot.unfit.is_none()) {
            return;
        }
        let blocked = self.blocked_slots();
        let mut free = self.policy(self.target).max_surge.max(1).saturating_sub(self.surge());
        for slot in (0..count(&self.slots)).map(SlotId) {
            let Some((run, generation)) = self.due_unfit(slot, turn.now) else { continue };
            if free == 0 || blocked.contains(&slot) || self.is_queued(slot) {
                continue;
            }
            free -= 1;
            let policy = self.policy(generation);
            if let Some(state) = self.slot_mut(slot) {
                state.restarts = state.restarts.saturating_add(1);
                state.history.restarted(turn.now, &policy);
            }
            let new = self.spawn(turn, slot, generation);
            if let Some(state) = self.slot_mut(slot) {
                state.state = SlotState::Replacing { before: Before::Online { run }, new, why: Why::Unfit };
            }
        }
    }

    /// The run that was to take the place of an unfit one failed: that one goes on, and another is tried later.
    pub(super) fn successor_failed(&mut self, turn: &mut Turn<'_>, old: RunId, new: RunId, death: &Death) {
        let Some(run) = self.runs.get(&old) else { return };
        let (slot, generation) = (run.slot, run.generation);
        let unfit = self.slots.get(index(slot)).and_then(|slot| slot.unfit.as_ref());
        let of_successor = unfit.and_then(|unfit| unfit.to).unwrap_or(generation);
        let due = self.next_try(turn, slot, of_successor, Life::Starting);
        let Some(state) = self.slot_mut(slot) else { return };
        state.state = SlotState::Filled { run: old };
        if let Some(unfit) = &mut state.unfit {
            unfit.due = due;
        }
        let wait_ms = due.wait_ms(turn.now);
        turn.event(Event::Kept { slot, run: old, generation, new, death: death.clone(), wait_ms });
    }

    /// An unfit run died before its successor was ready, which has the slot from now on. Of a run that has done its work
    /// no successor is needed.
    pub(super) fn unfit_died(&mut self, turn: &mut Turn<'_>, old: &Run, new: RunId, death: &Death) {
        let slot = old.slot;
        let mut unfit = None;
        if let Some(state) = self.slot_mut(slot) {
            unfit = state.unfit.take();
            state.state = SlotState::Filled { run: new };
        }
        // One of another version has its own work to do.
        if unfit.is_some_and(|unfit| unfit.to.is_some()) {
            return;
        }
        if self.policy(old.generation).ended_well(death) {
            self.stop(turn, new, true);
            let vacancy = self.verdict(turn, slot, old.generation, death, Life::Stable);
            self.vacate(slot, vacancy);
        }
    }

    /// How many slots have a run that serves and another that is to take its place.
    pub(super) fn surge(&self) -> u32 {
        count(self.slots.iter().filter(|slot| slot.state.has_two_runs()))
    }

    /// The unfit run of a slot, if its replacement may begin; what was due by now is marked so.
    fn due_unfit(&mut self, slot: SlotId, now: Time) -> Option<(RunId, Generation)> {
        let state = self.slot_mut(slot)?;
        let unfit = state.unfit.as_mut()?;
        match unfit.due {
            Due::At(at) if at <= now => unfit.due = Due::Now,
            Due::Now => {}
            Due::At(_) | Due::Never => return None,
        }
        match state.state {
            SlotState::Filled { run } if run == unfit.run => {
                let to = unfit.to;
                let state = self.runs.get(&run).filter(|run| run.is_online())?;
                Some((run, to.unwrap_or(state.generation)))
            }
            SlotState::Filled { .. } | SlotState::Replacing { .. } | SlotState::Vacant(_) => None,
        }
    }

    /// When a replacement may be tried, after a run that lived so: when the backoff is over and a
    /// window that ends then has room for a restart.
    pub(super) fn next_try(&mut self, turn: &mut Turn<'_>, slot: SlotId, generation: Generation, life: Life) -> Due {
        let policy = self.policy(generation);
        let Some(state) = self.slot_mut(slot) else { return Due::Never };
        let after = turn.now + backoff::delay(&policy, state.history.died(life), turn.chance);
        state.history.room_from(after, &policy).map_or(Due::Never, Due::At)
    }

    fn is_queued(&self, slot: SlotId) -> bool {
        match &self.operation {
            Some(Operation::Reloading(reload)) => reload.queue.contains(&slot),
            Some(Operation::Filling { .. } | Operation::Stopping { .. }) | None => false,
        }
    }
}

impl Unfit {
    /// When time alone changes something about it.
    pub(super) fn deadline(&self) -> Option<Time> {
        match self.due {
            Due::At(at) => Some(at),
            Due::Now | Due::Never => None,
        }
    }
}

impl Due {
    /// How long until then, in milliseconds; none: for ever.
    pub(super) fn wait_ms(self, now: Time) -> Option<u64> {
        match self {
            Due::At(at) => Some(millis(at.since(now))),
            Due::Now => Some(0),
            Due::Never => None,
        }
    }
}
