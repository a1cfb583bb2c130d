//! A reload that tries the new version on a few slots first, and goes back by itself when it is not good.
//!
//! The trial begins with the reload and ends when the new runs of its slots have served for the whole wait. When one of
//! them dies, is unfit, or is said to do worse than the old ones before that, the same slots are replaced once more, by
//! runs of the old version, and the reload fails. Ready workers are never fewer for it: either way a new run is ready
//! before the one it replaces drains.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::app::{App, Turn, count};
use super::event::Event;
use super::operation::{Operation, Reloading};
use super::restart::millis;
use super::run::{Death, Life};
use super::slot::{Slot, SlotState, Vacancy};
use super::unfit::Unfit;
use crate::ids::{Generation, RunId, SlotId};
use crate::time::Time;

/// A trial that a reload begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// How many slots get the new version first.
    pub slots: u32,
    /// How long they have to serve well.
    pub wait: Duration,
}

/// How far the trial of a reload is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trial {
    pub(super) slots: BTreeSet<SlotId>,
    pub(super) wait: Duration,
    /// Until when its runs are watched; none while they are being started.
    #[serde(default)]
    pub(super) until: Option<Time>,
}

/// That a reload takes back what its trial did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Back {
    /// The version that failed.
    pub(super) from: Generation,
    /// Why it did.
    pub(super) reason: String,
    /// The run that did, if it is one.
    #[serde(default)]
    pub(super) culprit: Option<(SlotId, RunId)>,
    /// How many slots go back.
    pub(super) slots: u32,
}

/// What is known of a trial that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialView {
    /// The version that is tried.
    pub generation: Generation,
    /// Its slots.
    pub slots: BTreeSet<SlotId>,
    /// Until when they are watched; none while they are being started.
    pub until: Option<Time>,
}

impl App {
    /// The trial that goes on.
    pub fn trial(&self) -> Option<TrialView> {
        let reload = self.reloading()?;
        let trial = reload.trial.as_ref()?;
        Some(TrialView { generation: reload.generation, slots: trial.slots.clone(), until: trial.until })
    }

    /// Whether a reload takes back what its trial did; the reason.
    pub fn goes_back(&self) -> Option<&str> {
        Some(&self.reloading()?.back.as_ref()?.reason)
    }

    /// The new version does worse than the old one, as somebody found who compared them.
    pub(super) fn canary_worse(&mut self, turn: &mut Turn<'_>, reason: &str) {
        self.canary_failed(turn, reason, None);
    }

    /// Begins to watch the new runs when all are there, and ends the trial when its time is over.
    pub(super) fn advance_trial(&mut self, turn: &mut Turn<'_>) {
        let Some(reload) = self.reloading() else { return };
        let Some(trial) = &reload.trial else { return };
        let generation = reload.generation;
        let slots = count(&trial.slots);
        match trial.until {
            None => {
                let under_way = |slot: &SlotId| {
                    let state = self.slots.get(super::app::index(*slot));
                    reload.queue.contains(slot) || state.is_some_and(|slot| slot.state.is_reloading())
                };
                if trial.slots.iter().any(under_way) {
                    return;
                }
                let wait = trial.wait;
                turn.event(Event::CanaryWatched { generation, slots, wait_ms: millis(wait) });
                self.with_trial(|trial| trial.until = Some(turn.now + wait));
            }
            Some(until) if until <= turn.now => {
                turn.event(Event::CanaryPassed { generation, slots });
                if let Some(Operation::Reloading(reload)) = &mut self.operation {
                    reload.trial = None;
                }
            }
            Some(_) => {}
        }
    }

    /// When time alone ends the trial.
    pub(super) fn trial_deadline(&self) -> Option<Time> {
        self.reloading()?.trial.as_ref()?.until
    }

    /// Whether the new version is on trial in this slot.
    pub(super) fn is_on_trial(&self, slot: SlotId) -> bool {
        self.reloading().is_some_and(|reload| reload.trial.is_some() && reload.replaced.contains(&slot))
    }

    /// Ends the trial and begins to go back. Nothing happens without a trial.
    pub(super) fn canary_failed(&mut self, turn: &mut Turn<'_>, reason: &str, culprit: Option<(SlotId, RunId)>) {
        let Some(reload) = self.reloading().filter(|reload| reload.trial.is_some()).cloned() else { return };
        let Reloading { op, generation, previous, replaced, .. } = reload;
        self.target = previous;
        let (slot, run) = culprit.unzip();
        turn.event(Event::CanaryFailed { generation, slot, run, reason: reason.to_owned() });
        for slot in self.slot_ids() {
            self.put_back(turn, slot);
        }
        for slot in &replaced {
            // Should going back fail too, the slot is filled with what worked, and nothing of the trial counts.
            if let Some(slot) = self.slot_mut(*slot)
                && matches!(slot.state, SlotState::Vacant(_))
            {
                slot.refill(previous, Vacancy::Clearing { restart: false });
            }
        }
        let back = Back { from: generation, reason: reason.to_owned(), culprit, slots: count(&replaced) };
        self.operation = Some(Operation::Reloading(Reloading {
            op,
            generation: previous,
            previous,
            queue: replaced,
            replaced: BTreeSet::new(),
            trial: None,
            back: Some(back),
            only: None,
        }));
    }

    /// Going back has failed: this run of the old version, too, died of this. The runs of the version that failed its trial
    /// serve on, as unfit ones do, and are replaced when the backoff is over.
    pub(super) fn go_back_later(&mut self, turn: &mut Turn<'_>, back: &Back, new: RunId, death: &Death) {
        let generation = self.target;
        for slot in self.slot_ids() {
            let left = |state: &&mut Slot| state.generation == back.from && back.from != generation;
            let Some(state) = self.slot_mut(slot).filter(left) else { continue };
            state.generation = generation;
            if let SlotState::Vacant(Vacancy::Backoff { .. }) = state.state {
                // It died meanwhile: what the failed version may do again says nothing of the old one.
                state.refill(generation, Vacancy::Clearing { restart: false });
            }
            let SlotState::Filled { run } = state.state else { continue };
            let due = self.next_try(turn, slot, generation, Life::Starting);
            let wait_ms = due.wait_ms(turn.now);
            turn.event(Event::Kept { slot, run, generation: back.from, new, death: death.clone(), wait_ms });
            if let Some(state) = self.slot_mut(slot) {
                let reason = format!("the canary failed: {}", back.reason);
                state.unfit = Some(Unfit { run, reason, due, to: Some(generation) });
            }
        }
    }

    pub(super) fn reloading(&self) -> Option<&Reloading> {
        match &self.operation {
            Some(Operation::Reloading(reload)) => Some(reload),
            Some(Operation::Filling { .. } | Operation::Stopping { .. }) | None => None,
        }
    }

    fn with_trial(&mut self, change: impl FnOnce(&mut Trial)) {
        if let Some(Operation::Reloading(reload)) = &mut self.operation
            && let Some(trial) = &mut reload.trial
        {
            change(trial);
        }
    }
}

impl Reloading {
    /// The slots whose replacement may begin: those of the trial first.
    pub(super) fn open(&self) -> Vec<SlotId> {
        let open = |slot: &&SlotId| self.trial.as_ref().is_none_or(|trial| trial.slots.contains(*slot));
        self.queue.iter().filter(open).copied().collect()
    }
}

impl Trial {
    /// The trial of a reload of these slots.
    pub(super) fn of(canary: Canary, queue: &BTreeSet<SlotId>) -> Option<Trial> {
        let most = usize::try_from(canary.slots).unwrap_or(usize::MAX);
        let slots: BTreeSet<SlotId> = queue.iter().copied().take(most).collect();
        (!slots.is_empty()).then_some(Trial { slots, wait: canary.wait, until: None })
    }
}
