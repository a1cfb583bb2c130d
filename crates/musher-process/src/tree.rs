//! Every process of a run, also those that left its process group.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use crate::pid::Pid;

/// The variable in the environment of a run's processes that marks them: `<run id>@<home id>`.
pub const MARKER: &str = "MUSHER_RUN";

/// Where to look for the processes of one run. Made for one use, from what the caller knows.
#[derive(Clone, Copy, Debug)]
pub struct Tree<'a> {
    /// The process that was spawned. It may have ended.
    pub root: Pid,
    /// Its pidfd: tells whether `root` is still that process.
    pub pidfd: BorrowedFd<'a>,
    /// The value of `MUSHER_RUN` in its environment.
    pub marker: &'a str,
    /// The directory of the run's cgroup, if it has one.
    pub cgroup: Option<&'a Path>,
    /// The processes to which orphans fall: supervisor and keeper (and 1 if that is neither).
    pub reapers: &'a [Pid],
    /// The first processes of other runs: never taken for orphans of this one.
    pub others: &'a BTreeSet<Pid>,
}

impl Tree<'_> {
    /// The living processes of the run (no zombies).
    pub fn members(&self) -> io::Result<Vec<Pid>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sends a signal to every process of the run, the root first. Returns to how many.
    pub fn signal_all(&self, signal: i32) -> io::Result<usize> {
        let _ = signal;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Kills every process of the run, repeatedly until no new one appears, then waits up to `patience` for their ends.
    /// Returns those that still live (with zero patience most of them: death takes a moment).
    pub fn kill_all(&self, patience: Duration) -> io::Result<Vec<Pid>> {
        let _ = patience;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Every process whose environment has `MUSHER_RUN=<marker>`. Reads all of /proc: for recovery only.
pub fn find_by_marker(marker: &str) -> io::Result<Vec<Pid>> {
    let _ = marker;
    Err(io::ErrorKind::Unsupported.into())
}
