//! Going on after a crash of the supervisor, from the state that was written last.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::app::{App, Turn, count};
use super::event::Event;
use super::run::{ExitOutcome, RunState, Stage};
use super::slot::{Slot, SlotState, Vacancy};
use super::{Chance, Effect};
use crate::ids::{RunId, SlotId};
use crate::spec::RestartPolicy;
use crate::time::Time;

/// The time that a run has at least for what it is in the middle of, unless the whole time is shorter.
pub(super) const LEAST: Duration = Duration::from_secs(1);

/// What a new supervisor found out about a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// Its process exists.
    Alive,
    /// Its process existed and has ended.
    Exited(ExitOutcome),
    /// Its process is gone, as nobody was there: that is no fault of the program. Where it would be restarted anyway it
    /// is filled at once, and that is not counted as a restart.
    Lost,
}

impl App {
    /// Takes the app over. `seen` tells what became of [`App::runs`]; a run that is not in it has no process: it ended
    /// in an unknown way, or its spawn was never carried out. In the second case the slot gets a new run, which is not
    /// counted as a restart.
    ///
    /// Everything else that may not have been carried out is said again. A run that is starting or draining has what is
    /// left of its time, so that many crashes do not let it take for ever; but at least [`LEAST`], as its proof may have
    /// come while nobody listened, and it may not have been told.
    pub fn recover(
        &mut self,
        now: Time,
        chance: Chance<'_>,
        seen: &BTreeMap<RunId, Observation>,
        effects: &mut Vec<Effect>,
    ) {
        let first = effects.len();
        self.mend(now);
        let unsaid = std::mem::take(&mut self.unsaid);
        effects.extend(unsaid.into_iter().filter(|effect| self.still_holds(effect)));
        let mut turn = Turn { now, chance, effects };
        let runs: Vec<RunId> = self.runs.keys().copied().collect();
        let (alive, gone): (Vec<_>, Vec<_>) =
            runs.into_iter().partition(|run| seen.get(run) == Some(&Observation::Alive));
        turn.event(Event::Recovered { alive: count(&alive), lost: count(&gone) });
        // Deaths first, as they decide what is still wanted of the others.
        let mut never_spawned = Vec::new();
        for run in gone {
            match seen.get(&run) {
                Some(Observation::Exited(outcome)) => self.exited(&mut turn, run, *outcome),
                Some(Observation::Lost) if self.is_missed(run) => never_spawned.push(run),
                Some(_) | None if self.is_unconfirmed(run) => never_spawned.push(run),
                Some(_) | None => self.exited(&mut turn, run, ExitOutcome::Unknown),
            }
        }
        for run in alive {
            self.found_alive(&mut turn, run);
        }
        for run in never_spawned {
            self.spawn_again(&mut turn, run);
        }
        self.settle(&mut turn);
        self.keep_from_the_dead(effects, first);
        self.remember(&effects[first..]);
    }

    /// Makes a state whole of which another version wrote something that we do not know ([`crate::tolerant`]): a slot is
    /// filled with what runs there, and a run that nothing names ends in order. Any other state stays as it is.
    fn mend(&mut self, now: Time) {
        for slot in &mut self.slots {
            if slot.state.runs().any(|run| !self.runs.contains_key(&run)) {
                let run = slot.state.serving().filter(|run| self.runs.contains_key(run));
                let again = SlotState::Vacant(Vacancy::Backoff { until: now, attempt: 0 });
                slot.state = run.map_or(again, |run| SlotState::Filled { run });
            }
        }
        let named: BTreeSet<RunId> = self.slots.iter().flat_map(|slot| slot.state.runs()).collect();
        let loose = self.runs.iter().filter(|(id, run)| !run.is_draining() && !named.contains(id));
        let mut loose: Vec<(bool, RunId)> = loose.map(|(id, run)| (run.is_online(), *id)).collect();
        // Those that serve first, of these the newest.
        loose.sort_unstable_by(|a, b| b.cmp(a));
        for (_, id) in loose {
            let Some(run) = self.runs.get_mut(&id) else { continue };
            let slot = usize::try_from(run.slot.0).ok().and_then(|slot| self.slots.get_mut(slot));
            match slot {
                Some(slot) if matches!(slot.state, SlotState::Vacant(_)) => slot.state = SlotState::Filled { run: id },
                Some(_) | None => {
                    let spawned = !matches!(run.state, RunState::Starting { spawned: false, .. });
                    run.state =
                        RunState::Draining { stage: Stage::Signal, deadline: now + LEAST, spawned, blocks: false };
                }
            }
        }
    }

    /// Withdraws what one death would have done to a run that turned out to be dead too.
    fn keep_from_the_dead(&self, effects: &mut Vec<Effect>, first: usize) {
        let mut position = 0;
        effects.retain(|effect| {
            position += 1;
            position <= first
                || match effect {
                    Effect::Drain { run } | Effect::Signal { run, .. } | Effect::Kill { run } => {
                        self.runs.contains_key(run)
                    }
                    Effect::Spawn { .. }
                    | Effect::RetireSlot { .. }
                    | Effect::CloseListeners
                    | Effect::Finished { .. }
                    | Effect::Event(_) => true,
                }
        });
    }

    fn still_holds(&self, effect: &Effect) -> bool {
        match effect {
            Effect::CloseListeners => self.is_at_rest(),
            Effect::RetireSlot { slot } => self.is_retired(*slot),
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
        let least = turn.now + self.policy(run.generation).ready_timeout.min(LEAST);
        let Some(run) = self.runs.get_mut(&id) else { return };
        match &mut run.state {
            RunState::Starting { deadline, spawned } => {
                *spawned = true;
                *deadline = (*deadline).max(least);
            }
            RunState::Online { .. } => {}
            RunState::Draining { spawned: false, blocks, .. } => {
                let blocks = *blocks;
                self.spawned_too_late(turn, id, blocks);
            }
            RunState::Draining { spawned: true, .. } => self.repeat_stage(turn, id),
        }
    }

    /// Numbers of runs up to this one are taken, whatever the state says: processes of such runs were seen, which it does
    /// not know, because it is older than they are.
    pub fn skip_runs(&mut self, last: RunId) {
        if last.app() == self.id {
            self.last_run = self.last_run.max(last.number());
        }
    }

    /// Whether a run that was lost fills a slot of which the rules say that it is always filled.
    fn is_missed(&self, id: RunId) -> bool {
        let Some(run) = self.runs.get(&id) else { return false };
        let fills = |slot: &Slot| matches!(slot.state, SlotState::Filled { run } if run == id);
        let always = matches!(self.policy(run.generation).restart, RestartPolicy::Always);
        always && usize::try_from(run.slot.0).ok().and_then(|slot| self.slots.get(slot)).is_some_and(fills)
    }

    fn is_unconfirmed(&self, run: RunId) -> bool {
        self.runs.get(&run).is_some_and(|run| match run.state {
            RunState::Starting { spawned, .. } | RunState::Draining { spawned, .. } => !spawned,
            RunState::Online { .. } => false,
        })
    }

    /// The spawn of this run was lost. One that is not wanted any more is forgotten.
    fn spawn_again(&mut self, turn: &mut Turn<'_>, id: RunId) {
        let Some(run) = self.runs.remove(&id) else { return };
        match run.state {
            RunState::Starting { .. } | RunState::Online { .. } => {
                let again = self.spawn(turn, run.slot, run.generation);
                self.rename(run.slot, id, again);
            }
            RunState::Draining { .. } => {}
        }
    }

    /// Puts a run in the place of one that never was.
    fn rename(&mut self, slot: SlotId, from: RunId, to: RunId) {
        let Some(slot) = self.slot_mut(slot) else { return };
        match &mut slot.state {
            SlotState::Filled { run } if *run == from => *run = to,
            SlotState::Replacing { new, .. } if *new == from => *new = to,
            SlotState::Filled { .. } | SlotState::Replacing { .. } | SlotState::Vacant(_) => {}
        }
    }
}
