//! Cases of the lifecycle, each told in a few lines.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail in this way too")]

#[path = "lifecycle/canaries.rs"]
mod canaries;
#[path = "lifecycle/commands.rs"]
mod commands;
#[path = "lifecycle/recoveries.rs"]
mod recoveries;
#[path = "lifecycle/reloads.rs"]
mod reloads;
#[path = "lifecycle/restarts.rs"]
mod restarts;
#[path = "lifecycle/singles.rs"]
mod singles;
#[path = "lifecycle/team.rs"]
mod team;
#[path = "lifecycle/unfit.rs"]
mod unfit;

use musher_core::lifecycle::{Command, ExitOutcome};

const START: Command = Command::Start { target: None };
const RESTART: Command = Command::Restart { target: None };
const RELOAD: Command = Command::Reload { target: None, canary: None };
const SIGKILL: ExitOutcome = ExitOutcome::Signal { signal: 9, core_dumped: false };
const SIGTERM: ExitOutcome = ExitOutcome::Signal { signal: 15, core_dumped: false };

fn code(code: i32) -> ExitOutcome {
    ExitOutcome::Code(code)
}
