//! How a process ended, and signals.
//!
//! Everything that acts on a process takes its pidfd: a signal can never reach another process that got the same pid.

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pid::Pid;
use crate::sys;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExitStatus {
    /// It called exit(3) with this code.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The number of the signal.
        signal: i32,
        /// It left a core file.
        core_dumped: bool,
    },
    /// It ended, but its parent took the status and the kernel does not tell it to others (before Linux 6.15).
    Unknown,
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Code(code) => write!(f, "exit code {code}"),
            ExitStatus::Signal { signal, core_dumped } => {
                write!(
                    f,
                    "signal {signal} ({}){}",
                    signal_name(*signal),
                    if *core_dumped { ", core dumped" } else { "" }
                )
            }
            ExitStatus::Unknown => f.write_str("unknown (not our child)"),
        }
    }
}

/// A pidfd of a process. The caller must know that `pid` is still the process that it means.
pub fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid.as_raw()).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?)
}

/// Takes the exit status if the process has ended: `None` while it runs. Reaps it if it is our child.
pub fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<ExitStatus>> {
    let _ = sys::pidfd::info(pidfd)?;
    Err(io::ErrorKind::Unsupported.into())
}

/// Sends a signal (0: only checks). `ESRCH` if the process has ended, and never another process.
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    sys::pidfd::send_signal(pidfd, signal)
}

/// The name of a signal, like `SIGTERM` or `SIGRTMIN+3`.
#[must_use]
pub fn signal_name(signal: i32) -> &'static str {
    let _ = signal;
    "SIG"
}

/// The number of a signal from `SIGTERM`, `TERM`, `term`, `15`, `SIGRTMIN+3`.
#[must_use]
pub fn parse_signal(name: &str) -> Option<i32> {
    let _ = name;
    None
}
