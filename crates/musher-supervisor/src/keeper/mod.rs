//! The keeper: the small process that holds what must survive the supervisor.
//!
//! It holds file descriptors by name (listening sockets, channels, log pipes, pidfds, and state as memory files), is
//! the subreaper of everything, reaps orphans and remembers how they ended, and starts the supervisor again when that
//! dies, with everything it holds. It decides nothing else, parses no user data, opens no network connection and runs
//! no async runtime, so that there is next to nothing in it that can fail.
//!
//! # Life
//!
//! 1. [`run`] takes over the descriptors that the list behind `--adopt FD` names ([`Adoption`]).
//! 2. It starts `/proc/self/exe supervisor --link FD`, sends hello and the inventory, and obeys `put` and `remove`.
//! 3. The supervisor dies: whatever it had sent is obeyed first, then another one is started (at once, then with
//!    [`backoff`]) and gets everything.
//! 4. The keeper dies: the supervisor sees the end of the link and becomes the keeper itself by execve(2), with the same
//!    kind of list ([`crate::link::KeeperLink::become_keeper`]). Its pid, its children and its descriptors stay; it
//!    starts a new supervisor. The shape of the tree is again keeper, supervisor, workers.
//! 5. An upgrade: the supervisor becomes a new executable by execve(2) and, when that serves, so does the keeper; see
//!    [`upgrade`]. Neither's pid or children change.
//! 6. SIGTERM: the keeper asks the supervisor for the end. The supervisor stops all apps, says `shutdown`, ends; then
//!    the keeper ends.
//!
//! # Failure modes
//!
//! - A packet that `sendmsg` accepted outlives its sender, so a supervisor that is killed right after a `put` has put.
//! - Orphans that a killed keeper had inherited go to init: their exit statuses are then known only where the kernel
//!   tells them to anybody (`PIDFD_GET_INFO`, Linux 6.15).
//! - Names (65536), exits (4096) and packets (512 bytes) are bounded; the keeper never waits for the supervisor to read.
//!
//! The words on the link, and what an old keeper and a newer supervisor may say to each other: [`wire`].

mod adoption;
pub(crate) mod backoff;
pub(crate) mod holdings;
mod supervise;
pub(crate) mod upgrade;
pub(crate) mod wire;

use std::io;
use std::os::fd::{OwnedFd, RawFd};

use musher_process::{inherit, own};
use rustix::process::Signal;

pub use adoption::Adoption;
pub(crate) use adoption::LivingSupervisor;
pub use wire::{MAX_NAME, Versions};

use holdings::Holdings;
use supervise::{Keeper, Supervisor};

/// How a child of the keeper ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitRecord {
    /// Its number on this link; grows.
    pub sequence: u64,
    /// The process that it was. The pid may have a new owner since.
    pub pid: i32,
    /// As waitpid(2) gave it.
    pub wait_status: i32,
    /// When it was reaped, in milliseconds of CLOCK_MONOTONIC.
    pub time_ms: u64,
}

impl ExitRecord {
    /// The status as a typed value.
    pub fn status(&self) -> musher_process::ExitStatus {
        musher_process::ExitStatus::from_wait_status(self.wait_status)
    }
}

/// Why a keeper could not take up its work.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The list of descriptors is missing or unreadable.
    #[error("cannot read the list of descriptors to adopt: {0}")]
    Adoption(io::Error),
    /// A system call that a keeper cannot do without.
    #[error("cannot {step}: {source}")]
    System {
        /// What was tried.
        step: &'static str,
        /// The system's word.
        source: io::Error,
    },
}

/// The keeper's whole life. `adopt` is the number of the descriptor of the list ([`Adoption`]). Returns after an orderly
/// end; the process is to exit then, with the code that is returned.
///
/// # Errors
///
/// Only before it has become responsible for anything, or when not even waiting for events works.
pub fn run(adopt: RawFd) -> Result<u8, KeeperError> {
    let list = inherit::take_inherited(adopt).map_err(KeeperError::Adoption)?;
    let list = Adoption::read(list).map_err(KeeperError::Adoption)?;
    let mut holdings = Holdings::default();
    for (name, number) in &list.fds {
        match inherit::take_inherited(*number) {
            Ok(fd) => {
                if !holdings.put(name, fd) {
                    say(format_args!("{name} is not held: too many names"));
                }
            }
            Err(error) => say(format_args!("{name} (descriptor {number}) is not held: {error}")),
        }
    }
    for exit in &list.exits {
        holdings.mirror_exit(*exit);
    }
    let supervisor = list.supervisor.and_then(|living| match Supervisor::take_over(living) {
        Ok(supervisor) => {
            holdings.number_from(living.next_sequence);
            Some(supervisor)
        }
        Err(error) => {
            say(format_args!("the supervisor {} cannot be gone on with: {error}", living.pid));
            None
        }
    });

    // What people see in ps(1); without it the process would be called "exe".
    let _ = rustix::thread::set_name(c"musher-keeper");
    // Without these two the keeper is still worth having: orphans go to init, and the table of descriptors is small.
    if let Err(error) = own::set_subreaper() {
        say(format_args!("orphans will not be adopted: {error}"));
    }
    if let Err(error) = own::raise_nofile() {
        say(format_args!("the limit of open files stays: {error}"));
    }
    let signals = block_signals().map_err(|source| KeeperError::System { step: "block signals", source })?;
    let mut keeper = Keeper::new(holdings, list.open_files, signals, supervisor);
    keeper.end_requested = list.end_requested;
    keeper.run()
}

/// SIGCHLD and SIGTERM are handled, in the foreground also SIGINT, SIGHUP, SIGUSR1 and SIGUSR2. The others, and all of
/// these in the background, are taken and mean nothing, so that a terminal that closes ends nothing.
fn block_signals() -> io::Result<OwnedFd> {
    inherit::block_signals(&TAKEN.map(Signal::as_raw))
}

/// The signals that a keeper takes.
pub(crate) const TAKEN: [Signal; 8] =
    [Signal::CHILD, Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::PIPE, Signal::USR1, Signal::USR2];

/// The name of what a team in the foreground is started with (`musher run`). A keeper that holds it hands signals on.
pub(crate) const FOREGROUND_NAME: &str = "foreground";

/// A line for musher.log, which is the keeper's stderr. A failure to write it must not matter.
fn say(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    let line = format!("keeper[{}]: {text}\n", std::process::id());
    let _ = io::stderr().write_all(line.as_bytes());
}
