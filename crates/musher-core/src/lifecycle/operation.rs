//! A command of a user, from its acceptance to its end.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::canary::{Back, Trial};
use super::run::Death;
use crate::ids::{Generation, OpId, RunId, SlotId};

/// What an app is busy with on behalf of a user, apart from scaling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Operation {
    /// A start, or the second half of a restart: every slot is to get online.
    Filling { ops: Vec<OpId> },
    /// A stop or a delete: every run is to be gone.
    Stopping { ops: Vec<OpId>, delete: bool },
    /// A reload.
    Reloading(Reloading),
}

/// How far a reload is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reloading {
    pub(super) op: OpId,
    /// What the new runs are started with.
    pub(super) generation: Generation,
    /// The app's target before, to which it returns when the reload aborts.
    pub(super) previous: Generation,
    /// Slots whose replacement has not begun.
    pub(super) queue: BTreeSet<SlotId>,
    /// Slots that have been replaced.
    pub(super) replaced: BTreeSet<SlotId>,
    /// The trial that it begins with, until that has ended.
    #[serde(default)]
    pub(super) trial: Option<Trial>,
    /// That it takes back what its trial did.
    #[serde(default)]
    pub(super) back: Option<Back>,
    /// The slot, if it is of one alone.
    #[serde(default)]
    pub(super) only: Option<SlotId>,
}

/// A change of the number of slots that is going on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scaling {
    pub(super) op: OpId,
    /// Slots from this number on have been added and are to get online.
    pub(super) added_from: u32,
    /// And these, where deleted ones had left gaps.
    #[serde(default)]
    pub(super) added: BTreeSet<SlotId>,
    /// Whether slots were removed, whose runs are to be gone.
    pub(super) removes: bool,
}

/// What a user wants of one slot, until it is so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Single {
    pub(super) op: OpId,
    pub(super) slot: SlotId,
    /// Whether it is to get online; else its runs are to be gone.
    pub(super) fills: bool,
}

impl Scaling {
    /// Whether it adds this slot.
    pub(super) fn adds(&self, slot: SlotId) -> bool {
        slot.0 >= self.added_from || self.added.contains(&slot)
    }
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Slots that are as wanted.
    pub ready: u32,
    /// Slots that are to be so.
    pub total: u32,
    /// Runs that are on their way out.
    pub leaving: u32,
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub enum OpError {
    /// A later command wanted something else.
    #[error("a later command (operation {by}) took its place")]
    Superseded {
        /// The later operation.
        by: OpId,
    },
    /// Another operation has to end first.
    #[error("the app is busy with operation {with}")]
    Busy {
        /// The running operation.
        with: OpId,
    },
    /// The app is being deleted or is deleted.
    #[error("the app is being deleted")]
    Deleted,
    /// There is no such slot.
    #[error("there is no slot {slot}")]
    NoSlot {
        /// The slot.
        slot: SlotId,
    },
    /// Not a possible number of slots.
    #[error("{to} slots are not possible: an app has 1 to {max}", max = crate::spec::MAX_INSTANCES)]
    OutOfRange {
        /// The number asked for.
        to: u32,
    },
    /// A run ended before it was ready. The slot goes on by its restart policy.
    #[error("the worker in slot {slot} {death}{}", before_ready(.death))]
    Died {
        /// The slot.
        slot: SlotId,
        /// The run.
        run: RunId,
        /// How it ended.
        death: Death,
    },
    /// A slot ended after it had been ready, and is not restarted.
    #[error("the worker in slot {slot} {death} and is not restarted")]
    Ended {
        /// The slot.
        slot: SlotId,
        /// How it ended.
        death: Death,
    },
    /// A slot was restarted too often.
    #[error("slot {slot} was given up after {restarts} restarts: its worker {death}")]
    GaveUp {
        /// The slot.
        slot: SlotId,
        /// Restarts within the window.
        restarts: u32,
        /// How the last run ended.
        death: Death,
    },
    /// Another app, which this one needs, is not as it has to be. The slots go on waiting for it.
    #[error("it waits for another app: {reason}")]
    Dependency {
        /// Which, and why it is not.
        reason: String,
    },
    /// A new run failed; the old runs are kept.
    #[error(
        "the reload was aborted: the new worker in slot {slot} {death}; {replaced} of {total} slots were replaced before"
    )]
    ReloadAborted {
        /// The slot.
        slot: SlotId,
        /// The new run.
        run: RunId,
        /// How it ended.
        death: Death,
        /// Slots that were replaced before; they stay.
        replaced: u32,
        /// Slots in all.
        total: u32,
    },
    /// The new version failed its trial.
    #[error("the canary failed: {reason}; {}", went_back(*.left))]
    CanaryFailed {
        /// Why.
        reason: String,
        /// The slot of the run that failed, if it is one that did.
        slot: Option<SlotId>,
        /// That run.
        run: Option<RunId>,
        /// Slots that could not go back to the old version.
        left: u32,
    },
}

/// How going back went.
fn went_back(left: u32) -> String {
    match left {
        0 => "the old version serves again".to_owned(),
        1 => "going back failed too and is tried again: 1 slot has the new version still".to_owned(),
        left => format!("going back failed too and is tried again: {left} slots have the new version still"),
    }
}

/// The rest of the sentence, where the death does not say it itself.
fn before_ready(death: &Death) -> &'static str {
    match death {
        Death::Exited(_) | Death::Uncaught => " before it was ready",
        Death::SpawnFailed { .. } | Death::NotReady { .. } => "",
    }
}

impl OpError {
    /// Whether the same command may succeed later without any change by the user.
    pub fn is_transient(&self) -> bool {
        match self {
            OpError::Busy { .. } => true,
            OpError::Superseded { .. }
            | OpError::Deleted
            | OpError::NoSlot { .. }
            | OpError::Dependency { .. }
            | OpError::OutOfRange { .. }
            | OpError::Died { .. }
            | OpError::Ended { .. }
            | OpError::GaveUp { .. }
            | OpError::CanaryFailed { .. }
            | OpError::ReloadAborted { .. } => false,
        }
    }
}
