//! What outlives a process: its place in the team, and the history of that place.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::run::Death;
use super::unfit::Unfit;
use crate::ids::{Generation, RunId};
use crate::time::Time;

/// A place in the team. Its number is its index in [`App::slots`](super::App::slots).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The spec that the slot is filled with next time: the one that was last online here, or what a user started.
    pub generation: Generation,
    /// What fills it.
    #[serde(default)]
    pub state: SlotState,
    /// How often it was restarted without anybody asking for it, since the app exists.
    #[serde(default)]
    pub restarts: u32,
    /// How its last run ended that was not asked to.
    #[serde(default)]
    pub last_exit: Option<LastExit>,
    /// That the run which serves is to be replaced.
    #[serde(default)]
    pub unfit: Option<Unfit>,
    /// What backoff and giving up remember.
    #[serde(default)]
    pub(super) history: History,
}

/// What fills a slot. Runs that drain are not here: they only linger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlotState {
    /// No run.
    Vacant(Vacancy),
    /// One run, starting or online.
    Filled {
        /// The run.
        run: RunId,
    },
    /// A new run is starting and takes the slot when it is ready.
    Replacing {
        /// What the slot goes back to when the new run fails.
        before: Before,
        /// The new run, starting.
        new: RunId,
        /// On whose behalf.
        #[serde(default)]
        why: Why,
    },
}

/// Why a slot gets a new run while the old one serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// A reload.
    #[default]
    Reload,
    /// The old run is unfit.
    Unfit,
}

/// Why a slot has no run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vacancy {
    /// Stopped by a user, or never started. In an app that is wanted: this slot alone was stopped.
    Stopped,
    /// Deleted by a user, while slots with higher numbers stay: a gap, until the app is scaled up.
    Removed,
    /// Of a job: filled when its time comes.
    Scheduled,
    /// Filled when other apps are as this one needs them.
    Waiting,
    /// Its run ended by itself, and the restart policy leaves it at that.
    Ended {
        /// How it ended.
        death: Death,
    },
    /// Waits before the next restart.
    Backoff {
        /// When it is restarted.
        until: Time,
        /// Failures in a row, 0 after a stable run.
        attempt: u32,
    },
    /// Is filled as soon as the runs that were stopped here are gone.
    Clearing {
        /// Whether filling it is a restart that counts.
        restart: bool,
    },
    /// Restarted too often.
    GaveUp {
        /// The restarts within the window.
        restarts: u32,
        /// How the last run ended.
        death: Death,
    },
}

/// What a slot that is being replaced had before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Before {
    /// A run that is online until the new one is ready.
    Online {
        /// The old run.
        run: RunId,
    },
    /// A run that died after the new one was started.
    Died {
        /// How it ended.
        death: Death,
        /// Whether it had been online for the minimal time.
        stable: bool,
    },
    /// No run.
    Vacant(Vacancy),
}

/// How a run ended that nobody had asked to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastExit {
    /// The run.
    pub run: RunId,
    /// Its spec.
    pub generation: Generation,
    /// When its end was seen.
    pub at: Time,
    /// How long it had lived, in milliseconds.
    pub uptime_ms: u64,
    /// How it ended.
    pub death: Death,
}

/// What backoff and giving up remember of a slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct History {
    /// Failures in a row, but for those in `at_once`.
    pub(super) failures: u32,
    /// Of the deaths since the last stable run, those of runs that had been ready and were replaced at once.
    #[serde(default)]
    pub(super) at_once: u32,
    /// When it was restarted, oldest first, as far back as the window goes.
    pub(super) restarts: VecDeque<Time>,
}

impl Slot {
    /// Whether nothing runs in it, and nothing will by itself: stopped, ended, given up, or a job between its times.
    pub fn is_at_rest(&self) -> bool {
        match &self.state {
            SlotState::Vacant(
                Vacancy::Stopped
                | Vacancy::Removed
                | Vacancy::Scheduled
                | Vacancy::Ended { .. }
                | Vacancy::GaveUp { .. },
            ) => true,
            SlotState::Vacant(Vacancy::Backoff { .. } | Vacancy::Clearing { .. } | Vacancy::Waiting)
            | SlotState::Filled { .. }
            | SlotState::Replacing { .. } => false,
        }
    }

    /// Whether it is a gap: it was deleted, and those with higher numbers stay.
    pub fn is_removed(&self) -> bool {
        self.state == SlotState::Vacant(Vacancy::Removed)
    }

    /// Whether it is left out of what its app does: stopped, or deleted.
    pub(super) fn is_left_out(&self) -> bool {
        matches!(self.state, SlotState::Vacant(Vacancy::Stopped | Vacancy::Removed))
    }

    pub(super) fn new(generation: Generation, vacancy: Vacancy) -> Slot {
        Slot {
            generation,
            state: SlotState::Vacant(vacancy),
            restarts: 0,
            last_exit: None,
            unfit: None,
            history: History::default(),
        }
    }
}

impl Default for SlotState {
    /// Of a record that does not tell it in words that we know; [`App::recover`](super::App::recover) fills it with what
    /// runs there.
    fn default() -> SlotState {
        SlotState::Vacant(Vacancy::Stopped)
    }
}

impl SlotState {
    /// The runs that it names.
    pub(super) fn runs(&self) -> impl Iterator<Item = RunId> {
        let new = match self {
            SlotState::Filled { run } | SlotState::Replacing { new: run, .. } => Some(*run),
            SlotState::Vacant(_) => None,
        };
        new.into_iter().chain(self.serving().filter(|run| new != Some(*run)))
    }

    /// The run that serves as the slot, if one is meant to.
    pub(super) fn serving(&self) -> Option<RunId> {
        match self {
            SlotState::Filled { run } => Some(*run),
            SlotState::Replacing { before, .. } => before.online(),
            SlotState::Vacant(_) => None,
        }
    }

    /// Whether this run is to take the place of an unfit one.
    pub(super) fn is_for_unfit(&self, run: RunId) -> bool {
        match self {
            SlotState::Replacing { new, why: Why::Unfit, .. } => *new == run,
            SlotState::Replacing { why: Why::Reload, .. } | SlotState::Filled { .. } | SlotState::Vacant(_) => false,
        }
    }

    /// Whether the slot counts for the limit of slots that are replaced at a time.
    pub(super) fn has_two_runs(&self) -> bool {
        match self {
            SlotState::Replacing { before: Before::Online { .. } | Before::Died { .. }, .. } => true,
            SlotState::Replacing { before: Before::Vacant(_), .. } | SlotState::Filled { .. } => false,
            SlotState::Vacant(
                Vacancy::Stopped
                | Vacancy::Removed
                | Vacancy::Scheduled
                | Vacancy::Waiting
                | Vacancy::Ended { .. }
                | Vacancy::Backoff { .. }
                | Vacancy::Clearing { .. }
                | Vacancy::GaveUp { .. },
            ) => false,
        }
    }
}

impl Before {
    /// The old run, while it is online.
    pub(super) fn online(&self) -> Option<RunId> {
        match self {
            Before::Online { run } => Some(*run),
            Before::Died { .. } | Before::Vacant(_) => None,
        }
    }
}
