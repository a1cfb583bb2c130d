//! One process filling a slot: `starting -> online -> draining -> exited`.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{Generation, SlotId};
use crate::time::Time;

/// A run that has not exited. An exited run is no longer in the [`App`](super::App).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The slot it fills, or filled before it began to drain.
    pub slot: SlotId,
    /// The spec it was started with.
    pub generation: Generation,
    /// When it was started.
    pub since: Time,
    /// Where in its life it is.
    #[serde(default)]
    pub state: RunState,
    /// Whether it drains because it reported an uncaught exception.
    #[serde(default)]
    pub failing: bool,
}

/// Where in its life a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Not yet ready.
    Starting {
        /// Later than this it has failed to start. Counts from when its process exists.
        deadline: Time,
        /// Whether its process is known to exist.
        spawned: bool,
    },
    /// Ready, and serving.
    Online {
        /// When it proved ready.
        since: Time,
    },
    /// On its way out. It does not fill its slot any more.
    Draining {
        /// How far the escalation went.
        stage: Stage,
        /// When the next stage begins.
        deadline: Time,
        /// Whether its process is known to exist. Until then nothing is sent to it.
        spawned: bool,
        /// Whether its slot has to wait for its exit before a new run starts: true when it was stopped, false when
        /// it was replaced.
        blocks: bool,
    },
}

impl Default for RunState {
    /// Of a record that does not tell it in words that we know: nothing is done to it.
    fn default() -> RunState {
        RunState::Online { since: Time::default() }
    }
}

/// The steps of ending a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// It takes nothing new and finishes what it has.
    Drain,
    /// It got the stop signal; this is the grace.
    Signal,
    /// It got SIGKILL, and gets it every second until its exit is seen.
    Kill,
}

/// How far in its life a run got before it died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It never was ready.
    Starting,
    /// It was ready, for less than the minimal time.
    Ready,
    /// It was ready for the minimal time.
    Stable,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExitOutcome {
    /// It exited with this code.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The signal's number.
        signal: i32,
        /// Whether a core file was written.
        #[serde(default)]
        core_dumped: bool,
    },
    /// Nobody saw how.
    Unknown,
}

/// Why a slot lost its run without anybody asking for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Death {
    /// The process exited.
    Exited(ExitOutcome),
    /// The process could not be made.
    SpawnFailed {
        /// Why, for people.
        reason: String,
    },
    /// The process did not prove ready in time and was stopped for it.
    NotReady {
        /// The time it had, in milliseconds.
        timeout_ms: u64,
    },
    /// The process reported an exception that nothing caught. It finishes what it has, and ends.
    Uncaught,
}

impl Run {
    /// Whether its process is known to exist.
    pub fn is_spawned(&self) -> bool {
        match self.state {
            RunState::Starting { spawned, .. } | RunState::Draining { spawned, .. } => spawned,
            RunState::Online { .. } => true,
        }
    }

    /// Whether the run is on its way out.
    pub fn is_draining(&self) -> bool {
        match self.state {
            RunState::Draining { .. } => true,
            RunState::Starting { .. } | RunState::Online { .. } => false,
        }
    }

    /// Whether the run is ready and fills its slot.
    pub fn is_online(&self) -> bool {
        match self.state {
            RunState::Online { .. } => true,
            RunState::Starting { .. } | RunState::Draining { .. } => false,
        }
    }

    /// Gives it so much time from `now` on, if it has less, to become ready or to finish and end. A kill is not put off.
    pub(super) fn extend(&mut self, now: Time, by: Duration) {
        match &mut self.state {
            RunState::Starting { deadline, .. }
            | RunState::Draining { stage: Stage::Drain | Stage::Signal, deadline, .. } => {
                *deadline = (*deadline).max(now + by);
            }
            RunState::Online { .. } | RunState::Draining { stage: Stage::Kill, .. } => {}
        }
    }

    /// Has its slot wait for its exit, if it got the stop signal: it may hold what the next run needs.
    pub(super) fn block_unless_draining(&mut self) {
        if let RunState::Draining { stage: Stage::Signal | Stage::Kill, blocks, .. } = &mut self.state {
            *blocks = true;
        }
    }

    /// When time alone changes its state.
    pub(super) fn deadline(&self) -> Option<Time> {
        match self.state {
            RunState::Starting { deadline, spawned: true } | RunState::Draining { deadline, spawned: true, .. } => {
                Some(deadline)
            }
            // The driver's turn, however long it takes.
            RunState::Starting { spawned: false, .. }
            | RunState::Online { .. }
            | RunState::Draining { spawned: false, .. } => None,
        }
    }
}

impl Death {
    /// Whether the process ended as a program that did its work ends: code 0.
    pub fn is_success(&self) -> bool {
        match self {
            Death::Exited(outcome) => *outcome == ExitOutcome::Code(0),
            Death::SpawnFailed { .. } | Death::NotReady { .. } | Death::Uncaught => false,
        }
    }
}

impl fmt::Display for ExitOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitOutcome::Code(code) => write!(f, "exit code {code}"),
            ExitOutcome::Signal { signal, core_dumped: false } => write!(f, "signal {signal}"),
            ExitOutcome::Signal { signal, core_dumped: true } => write!(f, "signal {signal}, core dumped"),
            ExitOutcome::Unknown => f.write_str("an unknown exit status"),
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Death::Exited(outcome) => write!(f, "ended with {outcome}"),
            Death::SpawnFailed { reason } => write!(f, "could not be started: {reason}"),
            Death::NotReady { timeout_ms } if timeout_ms % 1000 == 0 => {
                write!(f, "was not ready within {} s", timeout_ms / 1000)
            }
            Death::NotReady { timeout_ms } => write!(f, "was not ready within {timeout_ms} ms"),
            Death::Uncaught => f.write_str("threw an exception that nothing caught"),
        }
    }
}
