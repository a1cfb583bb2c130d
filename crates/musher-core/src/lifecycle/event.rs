//! What happened, for people and programs that watch. All faces render these.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run::{Death, ExitOutcome};
use crate::ids::{Generation, RunId, SlotId};

/// Something that happened to an app. The driver adds the app and the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "slot, run and generation mean the same in every variant; the rest is documented")]
pub enum Event {
    /// A run is being started.
    Starting { slot: SlotId, run: RunId, generation: Generation },
    /// A run proved ready.
    Online {
        slot: SlotId,
        run: RunId,
        generation: Generation,
        /// From its start, in milliseconds.
        after_ms: u64,
    },
    /// A run could not be started.
    SpawnFailed { slot: SlotId, run: RunId, generation: Generation, reason: String },
    /// A run did not prove ready in time; it is stopped.
    NotReady {
        slot: SlotId,
        run: RunId,
        generation: Generation,
        /// The time it had, in milliseconds.
        timeout_ms: u64,
    },
    /// A run takes nothing new and finishes what it has.
    Draining { slot: SlotId, run: RunId, generation: Generation },
    /// A run gets the stop signal.
    Stopping { slot: SlotId, run: RunId, generation: Generation },
    /// A run outlived its grace and gets SIGKILL.
    Killing { slot: SlotId, run: RunId, generation: Generation },
    /// A run's process is gone.
    Exited {
        slot: SlotId,
        run: RunId,
        generation: Generation,
        outcome: ExitOutcome,
        /// From its start, in milliseconds.
        uptime_ms: u64,
        /// Whether it had been told to end.
        expected: bool,
    },
    /// A run serves, but is to be replaced.
    Unfit {
        slot: SlotId,
        run: RunId,
        generation: Generation,
        /// Why.
        reason: String,
        /// How long until its replacement begins, in milliseconds; none: no restart is allowed.
        wait_ms: Option<u64>,
    },
    /// The successor of an unfit run failed; the unfit one goes on serving.
    Kept {
        slot: SlotId,
        run: RunId,
        generation: Generation,
        /// The successor.
        new: RunId,
        death: Death,
        /// How long until the next try, in milliseconds; none: no restart is allowed.
        wait_ms: Option<u64>,
    },
    /// A run reported an exception that nothing caught. It finishes what it has and ends.
    Failing { slot: SlotId, run: RunId, generation: Generation },
    /// A slot is left empty, as its restart policy says.
    Ended { slot: SlotId, death: Death },
    /// A slot waits before it is restarted.
    Backoff {
        slot: SlotId,
        /// How long, in milliseconds.
        delay_ms: u64,
        /// Failures in a row.
        attempt: u32,
    },
    /// The time of a job came while it still ran: it is not started once more.
    Skipped {
        /// Runs that have not ended.
        runs: u32,
    },
    /// A slot is given up: it was restarted too often.
    Giveup {
        slot: SlotId,
        /// Restarts within the window.
        restarts: u32,
        /// The window, in milliseconds.
        window_ms: u64,
        death: Death,
    },
    /// Every slot that was to be filled is online.
    Started {
        /// Runs that are online.
        ready: u32,
    },
    /// A reload begins.
    ReloadStarted {
        generation: Generation,
        /// Slots to replace.
        slots: u32,
    },
    /// A reload has replaced every slot.
    ReloadFinished { generation: Generation },
    /// A reload was aborted because this run failed; the old runs are kept.
    ReloadAborted {
        generation: Generation,
        slot: SlotId,
        run: RunId,
        death: Death,
        /// Slots that had been replaced before; they stay.
        replaced: u32,
    },
    /// The new runs of a reload's first slots are ready and watched.
    CanaryWatched {
        generation: Generation,
        slots: u32,
        /// For so long, in milliseconds.
        wait_ms: u64,
    },
    /// They did well: the reload goes on.
    CanaryPassed { generation: Generation, slots: u32 },
    /// They did not: the old version is brought back.
    CanaryFailed {
        generation: Generation,
        /// The slot of the run that failed, if it is one that did.
        slot: Option<SlotId>,
        /// That run.
        run: Option<RunId>,
        reason: String,
    },
    /// The old version serves in every slot again.
    WentBack {
        generation: Generation,
        /// The version that failed.
        from: Generation,
    },
    /// The number of slots changed.
    Scaled { from: u32, to: u32 },
    /// Every run is gone because a user stopped the app.
    Stopped,
    /// The app is gone.
    Deleted,
    /// A new supervisor took the app over.
    Recovered {
        /// Runs that it found alive.
        alive: u32,
        /// Runs that ended in between.
        lost: u32,
    },
}
