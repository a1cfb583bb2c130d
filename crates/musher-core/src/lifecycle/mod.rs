//! The life of an app: which of its slots is filled by which run, and what happens next.
//!
//! [`App`] is a state machine without a clock, without chance and without hands. The supervisor tells it what happened
//! with [`App::step`], wakes it at [`App::next_deadline`], and carries out the [`Effect`]s it gets back. A serialized
//! `App` is the state that outlives the supervisor.
//!
//! # The driver's part
//!
//! 1. Give an [`Input`] to [`App::step`] and collect the effects.
//! 2. Write the serialized `App` where it survives (write, then act). Enter [`Effect::Finished`] and [`Effect::Event`]
//!    in the driver's own records, best in the same write.
//! 3. Carry out the effects in order; then call [`App::carried_out`].
//! 4. Wait for the next input or for [`App::next_deadline`], which is answered with [`Input::Tick`].
//!
//! After a crash between any two of these, [`App::recover`] on the last written state says again what may not have been
//! done. So every effect may come twice: `Drain`, `Signal`, `Kill`, `RetireSlot` and `CloseListeners` are harmless when
//! repeated, and a second `Finished` of one operation is to be ignored. A `Spawn` never comes twice with one [`RunId`].
//!
//! # Where things are
//!
//! [`run`](Run): states of one process. [`slot`](Slot): what fills a slot. `step`: inputs that the world causes.
//! `command`: inputs that people cause; `single`: those for one slot. `unfit`: runs that serve and have to go. `reload`: replacing runs. `canary`: trying a few first. `restart`: what follows a death. `waiting`: what is not filled yet. `recover`: after a
//! crash of the supervisor. [`Policy`]: the rules, taken from a spec.

mod app;
mod backoff;
mod canary;
mod command;
mod event;
mod operation;
mod policy;
mod recover;
mod reload;
mod restart;
mod run;
mod single;
mod slot;
mod step;
mod unfit;
mod vacate;
mod waiting;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{Generation, OpId, RunId, SlotId};

pub use app::App;
pub use canary::{Canary, TrialView};
pub use event::Event;
pub use operation::{OpError, Progress};
pub use policy::Policy;
pub use recover::Observation;
pub use run::{Death, ExitOutcome, Run, RunState, Stage};
pub use slot::{Before, LastExit, Slot, SlotState, Vacancy, Why};
pub use unfit::{Due, Unfit};
pub use waiting::Standing;

/// Chance as a parameter: each call gives a number that is uniform over all of `u32`.
pub type Chance<'a> = &'a mut dyn FnMut() -> u32;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A user wants something. It ends with exactly one [`Effect::Finished`].
    Command {
        /// Unique within the app's life; chosen by the driver.
        op: OpId,
        /// What is wanted.
        command: Command,
    },
    /// The process of this run exists.
    Spawned {
        /// The run of an [`Effect::Spawn`].
        run: RunId,
    },
    /// The process of this run could not be made; nothing of it is left.
    SpawnFailed {
        /// The run of an [`Effect::Spawn`].
        run: RunId,
        /// Why, for people.
        reason: String,
    },
    /// No process was made for this run, as it was let go of before its turn came: see [`App::run`].
    NotSpawned {
        /// The run of an [`Effect::Spawn`].
        run: RunId,
    },
    /// The run proved that it serves.
    Ready {
        /// The run.
        run: RunId,
    },
    /// The run finished draining: it has nothing left in flight.
    Drained {
        /// The run of an [`Effect::Drain`].
        run: RunId,
    },
    /// The run's process is gone and reaped.
    Exited {
        /// The run.
        run: RunId,
        /// How it ended.
        outcome: ExitOutcome,
    },
    /// The run serves, but is not fit to: it is to be replaced without a gap. It serves until its successor is ready,
    /// however long that takes. Ignored of a run that does not serve, or is to be replaced already.
    Unfit {
        /// The run.
        run: RunId,
        /// Why, for people.
        reason: String,
    },
    /// The run told that an exception was not caught, and that it takes nothing new and finishes what it has.
    Failing {
        /// The run.
        run: RunId,
    },
    /// The run asks for so much time from now on, to become ready or to stop.
    Extend {
        /// The run.
        run: RunId,
        /// How much.
        by: Duration,
    },
    /// Who compares the new runs of a reload's first slots with the old ones found that they do worse. Ignored when none
    /// are on trial.
    CanaryWorse {
        /// In what, for people.
        reason: String,
    },
    /// The time of a job has come. Ignored of another app, and of one that is stopped.
    Due,
    /// The apps that this one needs are as it needs them. Ignored when nothing waits for that.
    Released,
    /// One of them failed, or it took too long: who waits for the start is told, and the slots go on waiting.
    HeldUp {
        /// Which, and why, for people.
        reason: String,
    },
    /// Nothing but time passed.
    Tick,
}

/// What a user wants of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Fill every slot. Finished when all are online, or ended well and stay down by their policy.
    Start {
        /// The spec to use from now on; none: the same as before.
        target: Option<Target>,
    },
    /// Stop signal, grace, kill, for every run. Finished when every process is gone and the listeners are closed.
    Stop,
    /// Stop, then start, each slot for itself, all together. Finished like a start.
    Restart {
        /// The spec to use from now on; none: the same as before.
        target: Option<Target>,
    },
    /// Replace every run by a new one that proves ready before the old one drains. Finished when all slots are
    /// replaced; old runs may still drain then.
    Reload {
        /// The spec to use from now on; none: the same as before. It is withdrawn when the reload aborts.
        target: Option<Target>,
        /// Try it on a few slots first.
        canary: Option<Canary>,
    },
    /// Change the number of slots. Finished when added slots are online and the runs of removed slots are gone.
    Scale {
        /// The new number of slots, 1 to [`crate::spec::MAX_INSTANCES`].
        to: u32,
    },
    /// Something for one slot alone; its siblings go on as they are.
    One {
        /// The slot.
        slot: SlotId,
        /// What.
        action: SlotAction,
    },
    /// Stop for good. Afterwards [`App::is_deleted`] is true and the app can be dropped.
    Delete,
}

/// What a user wants of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlotAction {
    /// Fill it, if it has no run. Finished when that is online. Of a stopped app the other slots stay stopped.
    Start,
    /// Let go of its run: one that serves drains first. It stays stopped until a user starts, restarts or reloads it or
    /// the app. Finished when its processes are gone. The last one that is not stopped is stopped with the app.
    Stop,
    /// Stop, then start. Finished like a start.
    Restart,
    /// Replace its run by a new one that proves ready before the old one drains. Finished when it is replaced. Without
    /// a run: a start.
    Reload,
    /// Stop it for good: the app has one slot less, and the others keep their numbers. The last one is deleted with the
    /// app.
    Delete,
}

/// A spec to run from now on, as far as decisions need it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The spec's generation; specs themselves stay with the driver.
    pub generation: Generation,
    /// The spec's rules.
    pub policy: Policy,
}

/// What the driver has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[must_use]
pub enum Effect {
    /// Make the process of this run; answer with [`Input::Spawned`] or [`Input::SpawnFailed`].
    Spawn {
        /// The slot to fill.
        slot: SlotId,
        /// The new run.
        run: RunId,
        /// The spec to use.
        generation: Generation,
    },
    /// Tell the run to take nothing new and finish what it has; answer with [`Input::Drained`].
    Drain {
        /// The run.
        run: RunId,
    },
    /// Send the stop signal to the run's process tree.
    Signal {
        /// The run.
        run: RunId,
        /// The signal's number.
        signal: i32,
    },
    /// Send SIGKILL to the run's process tree. Repeated every second until the exit is seen.
    Kill {
        /// The run.
        run: RunId,
    },
    /// The slot is no longer part of the app, or was stopped alone: steer new connections away from it, hand on what waits in its queue.
    RetireSlot {
        /// The slot.
        slot: SlotId,
    },
    /// Nothing of the app runs or will run by itself: it was stopped, has ended, or was given up. Close its listening
    /// sockets.
    CloseListeners,
    /// The operation has ended. Comes once for each command, except that [`App::recover`] may repeat it.
    Finished {
        /// The operation.
        op: OpId,
        /// How it ended.
        result: Result<(), OpError>,
    },
    /// Something that people and programs may want to know.
    Event(Event),
}
