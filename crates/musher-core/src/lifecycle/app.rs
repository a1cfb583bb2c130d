//! The state of an app, and what can be asked of it. What changes it is in the modules beside this one.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::operation::{Operation, Progress, Scaling, Single};
use super::policy::Policy;
use super::run::{Run, RunState};
use super::slot::{History, Slot, SlotState, Vacancy, Why};
use super::{Chance, Effect, Input, Target};
use crate::ids::{AppId, Generation, OpId, RunId, SlotId};
use crate::time::Time;

/// An app: its slots, its runs, and what is going on with them.
///
/// Change it with [`step`](App::step), [`recover`](App::recover) and [`carried_out`](App::carried_out), in the order
/// that the [module](super) tells. Ask [`next_deadline`](App::next_deadline) after each change. The rest only looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    pub(super) id: AppId,
    /// The number of the last run.
    pub(super) last_run: u64,
    #[serde(default)]
    pub(super) wanted: Wanted,
    /// What slots are filled with when a user starts them.
    pub(super) target: Generation,
    pub(super) policies: BTreeMap<Generation, Policy>,
    pub(super) slots: Vec<Slot>,
    /// Every run whose exit was not seen, also those of removed slots.
    pub(super) runs: BTreeMap<RunId, Run>,
    #[serde(default)]
    pub(super) operation: Option<Operation>,
    #[serde(default)]
    pub(super) scaling: Option<Scaling>,
    /// What users want of one slot each, that has not come about.
    #[serde(default)]
    pub(super) singles: Vec<Single>,
    /// Whether a run was started since the listeners were closed.
    #[serde(default)]
    pub(super) may_listen: bool,
    /// Effects that cannot be told from the state, and may not have been carried out.
    #[serde(default)]
    pub(super) unsaid: Vec<Effect>,
}

/// What the user wants of the app as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Wanted {
    #[default]
    Up,
    Down,
    Deleted,
}

/// What every decision is made with.
pub(super) struct Turn<'a> {
    pub(super) now: Time,
    pub(super) chance: Chance<'a>,
    pub(super) effects: &'a mut Vec<Effect>,
}

/// The most effects that are kept for repetition when the driver does not call [`App::carried_out`].
const UNSAID_MAX: usize = 4096;

impl App {
    /// A stopped app with so many slots.
    pub fn new(id: AppId, slots: u32, target: Target) -> App {
        let slot = Slot::new(target.generation, Vacancy::Stopped);
        App {
            id,
            last_run: 0,
            wanted: Wanted::Down,
            target: target.generation,
            policies: BTreeMap::from([(target.generation, target.policy)]),
            slots: (0..slots).map(|_| slot.clone()).collect(),
            runs: BTreeMap::new(),
            operation: None,
            scaling: None,
            singles: Vec::new(),
            may_listen: false,
            unsaid: Vec::new(),
        }
    }

    /// Takes in what happened and appends what is to be done to `effects`. Deadlines that have passed by `now` are
    /// handled too.
    pub fn step(&mut self, now: Time, chance: Chance<'_>, input: Input, effects: &mut Vec<Effect>) {
        let first = effects.len();
        let mut turn = Turn { now, chance, effects };
        match input {
            Input::Command { op, command } => self.command(&mut turn, op, command),
            Input::Spawned { run } => self.spawned(&mut turn, run),
            Input::SpawnFailed { run, reason } => self.spawn_failed(&mut turn, run, reason),
            Input::NotSpawned { run } => self.not_spawned(run),
            Input::Ready { run } => self.ready(&mut turn, run),
            Input::Drained { run } => self.drained(&mut turn, run),
            Input::Exited { run, outcome } => self.exited(&mut turn, run, outcome),
            Input::Unfit { run, reason } => self.unfit(&mut turn, run, reason),
            Input::Failing { run } => self.failing(&mut turn, run),
            Input::Extend { run, by } => self.extend(&turn, run, by),
            Input::CanaryWorse { reason } => self.canary_worse(&mut turn, &reason),
            Input::Due => self.due(&mut turn),
            Input::Released => self.released(),
            Input::HeldUp { reason } => self.held_up(&mut turn, &reason),
            Input::Tick => {}
        }
        self.settle(&mut turn);
        self.remember(&effects[first..]);
    }

    /// Every effect so far has been carried out: [`recover`](App::recover) need not repeat them.
    pub fn carried_out(&mut self) {
        self.unsaid.clear();
    }

    /// When [`Input::Tick`] is due, if nothing else happens before.
    pub fn next_deadline(&self) -> Option<Time> {
        let runs = self.runs.values().filter_map(Run::deadline);
        let backoffs = self.slots.iter().filter_map(|slot| match &slot.state {
            SlotState::Vacant(Vacancy::Backoff { until, .. }) => Some(*until),
            SlotState::Vacant(
                Vacancy::Stopped
                | Vacancy::Removed
                | Vacancy::Scheduled
                | Vacancy::Waiting
                | Vacancy::Ended { .. }
                | Vacancy::Clearing { .. }
                | Vacancy::GaveUp { .. },
            )
            | SlotState::Filled { .. }
            | SlotState::Replacing { .. } => None,
        });
        let unfit = self.slots.iter().filter_map(|slot| slot.unfit.as_ref()?.deadline());
        runs.chain(backoffs).chain(unfit).chain(self.trial_deadline()).min()
    }

    /// The app's id.
    pub fn id(&self) -> AppId {
        self.id
    }

    /// The generation that a start fills slots with. A reload that aborts sets it back.
    pub fn target(&self) -> Generation {
        self.target
    }

    /// The rules of a generation in use.
    pub fn policy(&self, generation: Generation) -> Policy {
        self.policies.get(&generation).cloned().unwrap_or_default()
    }

    /// The slots, each at the index that is its number, and the gaps that deleted ones left.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// How many slots it has, also those that are stopped.
    pub fn size(&self) -> u32 {
        count(self.slots.iter().filter(|slot| !slot.is_removed()))
    }

    /// How many slots are to have a worker: those that no user stopped.
    pub fn wanted_size(&self) -> u32 {
        count(self.slots.iter().filter(|slot| !slot.is_left_out()))
    }

    /// The slots that were stopped alone: the app is wanted, and they are not.
    pub fn held_slots(&self) -> Vec<SlotId> {
        self.slot_ids().into_iter().filter(|slot| self.is_held(*slot)).collect()
    }

    /// The numbers of its slots.
    pub fn slot_ids(&self) -> Vec<SlotId> {
        let numbered = (0..).map(SlotId).zip(&self.slots);
        numbered.filter(|(_, slot)| !slot.is_removed()).map(|(id, _)| id).collect()
    }

    /// Whether there is such a slot.
    pub fn has_slot(&self, slot: SlotId) -> bool {
        self.slots.get(index(slot)).is_some_and(|slot| !slot.is_removed())
    }

    /// Whether this slot alone was stopped by a user: the app is wanted, and it is not.
    pub fn is_held(&self, slot: SlotId) -> bool {
        let stopped = |slot: &Slot| slot.state == SlotState::Vacant(Vacancy::Stopped);
        self.is_wanted() && self.slots.get(index(slot)).is_some_and(stopped)
    }

    /// Whether nothing is to come to this slot any more: it was scaled away, deleted, or stopped while others serve.
    pub fn is_retired(&self, slot: SlotId) -> bool {
        !self.has_slot(slot) || self.is_held(slot)
    }

    /// Every run whose exit was not seen, also draining ones and those of removed slots.
    pub fn runs(&self) -> impl Iterator<Item = (RunId, &Run)> {
        self.runs.iter().map(|(id, run)| (*id, run))
    }

    /// A run whose exit was not seen.
    pub fn run(&self, run: RunId) -> Option<&Run> {
        self.runs.get(&run)
    }

    /// The run that serves as this slot, or is to: the old one while a reload replaces it.
    pub fn occupant(&self, slot: SlotId) -> Option<(RunId, &Run)> {
        let run = match &self.slots.get(index(slot))?.state {
            SlotState::Filled { run } => *run,
            SlotState::Replacing { before, new, .. } => before.online().unwrap_or(*new),
            SlotState::Vacant(_) => return None,
        };
        self.runs.get(&run).map(|state| (run, state))
    }

    /// How many slots have a run that is online.
    pub fn ready_slots(&self) -> u32 {
        count(self.runs.values().filter(|run| run.is_online()))
    }

    /// Sets the counts of restarts to 0 and forgets what backoff and giving up remember. What waits goes on waiting.
    pub fn reset_restarts(&mut self) {
        for slot in &mut self.slots {
            slot.restarts = 0;
            slot.history = History::default();
        }
    }

    /// Counts a restart of every slot that is filled: the clock or a change of files began it, which nobody asked for just now.
    pub fn count_restart(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| !matches!(slot.state, SlotState::Vacant(_))) {
            slot.restarts = slot.restarts.saturating_add(1);
        }
    }

    /// Whether the user wants the app to run.
    pub fn is_wanted(&self) -> bool {
        self.wanted == Wanted::Up
    }

    /// Whether a delete has finished; the app does nothing any more.
    pub fn is_deleted(&self) -> bool {
        self.wanted == Wanted::Deleted
    }

    /// The specs that are still needed, in order. The driver may forget all others.
    pub fn generations_in_use(&self) -> BTreeSet<Generation> {
        let slots = self.slots.iter().filter(|slot| !slot.is_removed());
        let mut used: BTreeSet<Generation> = slots.map(|slot| slot.generation).collect();
        used.extend(self.runs.values().map(|run| run.generation));
        used.insert(self.target);
        if let Some(Operation::Reloading(reload)) = &self.operation {
            used.insert(reload.previous);
        }
        used
    }

    /// The operations that have not finished.
    pub fn operations(&self) -> Vec<OpId> {
        let mut ops = match &self.operation {
            Some(Operation::Filling { ops } | Operation::Stopping { ops, .. }) => ops.clone(),
            Some(Operation::Reloading(reload)) => vec![reload.op],
            None => Vec::new(),
        };
        ops.extend(self.scaling.as_ref().map(|scaling| scaling.op));
        ops.extend(self.singles.iter().map(|single| single.op));
        ops
    }

    /// How far an operation is; none when it has finished.
    pub fn progress(&self, op: OpId) -> Option<Progress> {
        let leaving = count(self.runs.values().filter(|run| run.is_draining()));
        let settled = |slots: &[SlotId]| count(slots.iter().filter(|slot| self.is_settled(**slot)));
        let all = self.slot_ids();
        if let Some(scaling) = self.scaling.as_ref().filter(|scaling| scaling.op == op) {
            let added: Vec<SlotId> = all.into_iter().filter(|slot| scaling.adds(*slot)).collect();
            return Some(Progress { ready: settled(&added), total: count(&added), leaving });
        }
        if let Some(single) = self.singles.iter().find(|single| single.op == op) {
            return Some(self.progress_of_one(single));
        }
        let total = count(&all);
        let (ready, total) = match &self.operation {
            Some(Operation::Filling { ops }) if ops.contains(&op) => (settled(&all), total),
            Some(Operation::Stopping { ops, .. }) if ops.contains(&op) => {
                let busy: BTreeSet<SlotId> = self.runs.values().map(|run| run.slot).collect();
                (count(all.iter().filter(|slot| !busy.contains(slot))), total)
            }
            Some(Operation::Reloading(reload)) if reload.op == op => {
                (count(&reload.replaced), if reload.only.is_some() { 1 } else { total })
            }
            Some(Operation::Filling { .. } | Operation::Stopping { .. } | Operation::Reloading(_)) | None => {
                return None;
            }
        };
        Some(Progress { ready, total, leaving })
    }

    /// Whether a start has nothing more to do for this slot: online, or ended as it should.
    pub(super) fn is_settled(&self, slot: SlotId) -> bool {
        let Some(slot) = self.slots.get(index(slot)) else { return true };
        match &slot.state {
            SlotState::Filled { run } => self.runs.get(run).is_some_and(Run::is_online),
            // It is served meanwhile, and a restart goes its own way.
            SlotState::Replacing { why: Why::Unfit, .. } => true,
            SlotState::Vacant(Vacancy::Ended { death }) => self.policy(slot.generation).ended_well(death),
            SlotState::Vacant(Vacancy::Scheduled | Vacancy::Removed) => true,
            // By hand: the others are what was to be started.
            SlotState::Vacant(Vacancy::Stopped) => self.is_wanted(),
            SlotState::Vacant(
                Vacancy::Waiting | Vacancy::Backoff { .. } | Vacancy::Clearing { .. } | Vacancy::GaveUp { .. },
            )
            | SlotState::Replacing { why: Why::Reload, .. } => false,
        }
    }

    /// Whether nothing runs and nothing will, unless a user starts it: every slot was stopped, has ended or was given
    /// up, and no trial is waited for before the others are replaced.
    pub(super) fn is_at_rest(&self) -> bool {
        self.runs.is_empty() && self.reloading().is_none() && self.slots.iter().all(Slot::is_at_rest)
    }

    /// Slots that have to wait for the exit of a run that was stopped in them.
    pub(super) fn blocked_slots(&self) -> BTreeSet<SlotId> {
        let blocks = |run: &Run| match run.state {
            RunState::Draining { blocks, .. } => blocks,
            RunState::Starting { .. } | RunState::Online { .. } => false,
        };
        self.runs.values().filter(|run| blocks(run)).map(|run| run.slot).collect()
    }

    /// Keeps what [`recover`](App::recover) may have to say again.
    pub(super) fn remember(&mut self, effects: &[Effect]) {
        let lasting = effects.iter().filter(|effect| match effect {
            Effect::RetireSlot { .. } | Effect::CloseListeners | Effect::Finished { .. } => true,
            Effect::Spawn { .. }
            | Effect::Drain { .. }
            | Effect::Signal { .. }
            | Effect::Kill { .. }
            | Effect::Event(_) => false,
        });
        self.unsaid.extend(lasting.cloned());
        let excess = self.unsaid.len().saturating_sub(UNSAID_MAX);
        self.unsaid.drain(..excess);
    }

    pub(super) fn slot_mut(&mut self, slot: SlotId) -> Option<&mut Slot> {
        self.slots.get_mut(index(slot))
    }

    /// Drops the rules that nothing needs any more.
    pub(super) fn forget_policies(&mut self) {
        if self.policies.len() > 1 {
            let used = self.generations_in_use();
            self.policies.retain(|generation, _| used.contains(generation));
        }
    }
}

/// The number of a slot as an index.
pub(super) fn index(slot: SlotId) -> usize {
    usize::try_from(slot.0).unwrap_or(usize::MAX)
}

/// How many there are, as slots are counted.
pub(super) fn count<T>(things: impl IntoIterator<Item = T>) -> u32 {
    u32::try_from(things.into_iter().count()).unwrap_or(u32::MAX)
}
