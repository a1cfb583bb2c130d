//! Ending runs: drain, stop signal, kill.

use std::time::Duration;

use super::Effect;
use super::app::{App, Turn};
use super::event::Event;
use super::recover::LEAST;
use super::run::{RunState, Stage};
use crate::ids::{RunId, SlotId};

/// How often SIGKILL is repeated while the exit is not seen: a fork may have escaped the first one.
const KILL_AGAIN: Duration = Duration::from_secs(1);

impl App {
    /// Lets an online run finish what it has; its slot need not wait for its exit.
    pub(super) fn drain(&mut self, turn: &mut Turn<'_>, id: RunId) {
        let Some(run) = self.runs.get(&id) else { return };
        let policy = self.policy(run.generation);
        if !policy.drains {
            return self.stop(turn, id, false);
        }
        let Some(run) = self.runs.get_mut(&id) else { return };
        match run.state {
            RunState::Starting { .. } | RunState::Draining { .. } => self.stop(turn, id, false),
            RunState::Online { .. } => {
                let deadline = turn.now + policy.drain;
                run.state = RunState::Draining { stage: Stage::Drain, deadline, spawned: true, blocks: false };
                turn.effects.push(Effect::Drain { run: id });
                turn.event(Event::Draining { slot: run.slot, run: id, generation: run.generation });
            }
        }
    }

    /// Sends the stop signal, unless that was done before. With `blocks`, the slot waits for the exit.
    pub(super) fn stop(&mut self, turn: &mut Turn<'_>, id: RunId, blocks: bool) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        match &mut run.state {
            RunState::Starting { spawned, .. } => {
                let spawned = *spawned;
                self.enter_signal(turn, id, spawned, blocks);
            }
            RunState::Online { .. } => self.enter_signal(turn, id, true, blocks),
            RunState::Draining { stage: Stage::Drain, spawned, blocks: before, .. } => {
                let (spawned, blocks) = (*spawned, *before || blocks);
                self.enter_signal(turn, id, spawned, blocks);
            }
            RunState::Draining { stage: Stage::Signal | Stage::Kill, blocks: before, .. } => *before |= blocks,
        }
    }

    /// Stops every run that fills or filled one of these slots.
    pub(super) fn stop_slots(&mut self, turn: &mut Turn<'_>, slots: impl Fn(SlotId) -> bool) {
        let ids: Vec<RunId> = self.runs.iter().filter(|(_, run)| slots(run.slot)).map(|(id, _)| *id).collect();
        for id in ids {
            self.stop(turn, id, true);
        }
    }

    /// The process of a run that was told to end before it existed exists now.
    pub(super) fn spawned_too_late(&mut self, turn: &mut Turn<'_>, id: RunId, blocks: bool) {
        self.enter_signal(turn, id, true, blocks);
    }

    /// The next stage of a draining run whose deadline has passed.
    pub(super) fn escalate(&mut self, turn: &mut Turn<'_>, id: RunId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        match &mut run.state {
            RunState::Starting { .. } | RunState::Online { .. } => {}
            RunState::Draining { stage: Stage::Drain, spawned, blocks, .. } => {
                let (spawned, blocks) = (*spawned, *blocks);
                self.enter_signal(turn, id, spawned, blocks);
            }
            RunState::Draining { stage: stage @ (Stage::Signal | Stage::Kill), deadline, .. } => {
                let first = *stage == Stage::Signal;
                *stage = Stage::Kill;
                *deadline = turn.now + KILL_AGAIN;
                turn.effects.push(Effect::Kill { run: id });
                if first {
                    turn.event(Event::Killing { slot: run.slot, run: id, generation: run.generation });
                }
            }
        }
    }

    /// Says again what a draining run was told. It has what is left of its time.
    pub(super) fn repeat_stage(&mut self, turn: &mut Turn<'_>, id: RunId) {
        let Some(run) = self.runs.get(&id) else { return };
        let policy = self.policy(run.generation);
        let Some(run) = self.runs.get_mut(&id) else { return };
        let RunState::Draining { stage, deadline, .. } = &mut run.state else { return };
        let (effect, time) = match stage {
            Stage::Drain if run.failing => (Effect::Drain { run: id }, policy.uncaught),
            Stage::Drain => (Effect::Drain { run: id }, policy.drain),
            Stage::Signal => (Effect::Signal { run: id, signal: policy.stop_signal }, policy.grace),
            Stage::Kill => (Effect::Kill { run: id }, KILL_AGAIN),
        };
        *deadline = (*deadline).max(turn.now + time.min(LEAST));
        turn.effects.push(effect);
    }

    fn enter_signal(&mut self, turn: &mut Turn<'_>, id: RunId, spawned: bool, blocks: bool) {
        let Some(run) = self.runs.get(&id) else { return };
        let policy = self.policy(run.generation);
        let Some(run) = self.runs.get_mut(&id) else { return };
        let deadline = turn.now + policy.grace;
        run.state = RunState::Draining { stage: Stage::Signal, deadline, spawned, blocks };
        if spawned {
            turn.effects.push(Effect::Signal { run: id, signal: policy.stop_signal });
            turn.event(Event::Stopping { slot: run.slot, run: id, generation: run.generation });
        }
    }
}
