//! Slots that are wanted and stay empty for now: those of a job until its time comes, and those of an app that needs
//! others until those are as it needs them. When that is, the driver says.

use super::app::{App, Turn, count};
use super::event::Event;
use super::operation::{OpError, Operation};
use super::slot::{Slot, SlotState, Vacancy};

/// How an app stands, for those that need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether the user wants it to run.
    pub wanted: bool,
    /// Whether each slot has a process, or had one that ended as it should.
    pub started: bool,
    /// Whether each slot is online, or had a run that ended as it should.
    pub ready: bool,
    /// Whether each slot's run has ended as it should.
    pub ended_well: bool,
    /// Why it will not get any better by itself, for people.
    pub failed: Option<String>,
}

impl App {
    /// Whether slots wait for other apps.
    pub fn is_waiting(&self) -> bool {
        self.slots.iter().any(Slot::is_waiting)
    }

    /// Whether a job runs now, or is about to: it is not started once more.
    pub fn is_busy(&self) -> bool {
        !self.runs.is_empty() || !self.slots.iter().all(Slot::is_at_rest)
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        let ended_well = |slot: &Slot| match &slot.state {
            SlotState::Vacant(Vacancy::Ended { death }) => self.policy(slot.generation).ended_well(death),
            SlotState::Vacant(_) | SlotState::Filled { .. } | SlotState::Replacing { .. } => false,
        };
        let spawned =
            |slot: &Slot| slot.state.runs().any(|run| self.runs.get(&run).is_some_and(super::Run::is_spawned));
        let failed = self.slots.iter().zip(0..).find_map(|(slot, id): (&Slot, u32)| match &slot.state {
            SlotState::Vacant(Vacancy::GaveUp { restarts, death }) => {
                Some(format!("was given up after {restarts} restarts: its worker in slot {id} {death}"))
            }
            SlotState::Vacant(Vacancy::Ended { death }) if !ended_well(slot) => {
                Some(format!("failed: its worker in slot {id} {death}"))
            }
            SlotState::Vacant(_) | SlotState::Filled { .. } | SlotState::Replacing { .. } => None,
        });
        // One that was stopped by hand is nothing that others wait for.
        let counted = self.slots.iter().filter(|slot| !(slot.is_removed() || self.is_wanted() && slot.is_left_out()));
        let operating = matches!(self.operation, Some(Operation::Filling { .. } | Operation::Stopping { .. }));
        Standing {
            wanted: self.is_wanted(),
            started: counted.clone().all(|slot| spawned(slot) || ended_well(slot)),
            ready: !operating
                && self.is_wanted()
                && self.slot_ids().into_iter().all(|slot| self.is_settled(slot))
                && !self.slots.iter().any(|slot| slot.state == SlotState::Vacant(Vacancy::Scheduled)),
            ended_well: self.runs.is_empty() && counted.clone().all(ended_well),
            failed: failed.filter(|_| !operating),
        }
    }

    /// The apps that this one needs are as it needs them.
    pub(super) fn released(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| slot.is_waiting()) {
            slot.state = SlotState::Vacant(Vacancy::Clearing { restart: false });
        }
    }

    /// An app that this one needs failed, or took too long: whoever waits for the start is told. The slots go on waiting.
    pub(super) fn held_up(&mut self, turn: &mut Turn<'_>, reason: &str) {
        if !self.is_waiting() {
            return;
        }
        let error = || Err(OpError::Dependency { reason: reason.to_owned() });
        if let Some(Operation::Filling { ops }) = &mut self.operation {
            let ops = std::mem::take(ops);
            self.operation = None;
            turn.finish(ops, &error());
        }
        if let Some(scaling) = self.scaling.take() {
            turn.finish([scaling.op], &error());
        }
        self.hold_singles_up(turn, &error());
    }

    /// The time of a job has come.
    pub(super) fn due(&mut self, turn: &mut Turn<'_>) {
        if !self.is_wanted() || !self.policy(self.target).job {
            return;
        }
        if self.is_busy() {
            return turn.event(Event::Skipped { runs: count(&self.runs) });
        }
        let (generation, vacancy) = (self.target, self.first_vacancy());
        for slot in self.slots.iter_mut().filter(|slot| !slot.is_left_out()) {
            slot.refill(generation, vacancy.clone());
        }
    }

    /// What a slot is in that a user wants to be filled: whatever the time.
    pub(super) fn first_vacancy(&self) -> Vacancy {
        if self.policy(self.target).waits { Vacancy::Waiting } else { Vacancy::Clearing { restart: false } }
    }
}

impl Slot {
    fn is_waiting(&self) -> bool {
        self.state == SlotState::Vacant(Vacancy::Waiting)
    }
}
