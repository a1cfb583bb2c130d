//! What /proc tells about a process: memory, CPU time, state, listening sockets.

use std::io;
use std::time::Duration;

use crate::pid::Pid;

/// One reading of /proc/PID/stat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessStat {
    /// The process.
    pub pid: Pid,
    /// Its parent; `None` if that is outside of our pid namespace.
    pub parent: Option<Pid>,
    /// Process group.
    pub group: i32,
    /// Session.
    pub session: i32,
    /// `R`unning, `S`leeping, `D` (uninterruptible), `Z`ombie, ...; see proc_pid_stat(5).
    pub state: char,
    /// The first 15 bytes of the program's name (what it says itself).
    pub command: String,
    /// Threads.
    pub threads: u32,
    /// User and system time of all threads so far.
    pub cpu_time: Duration,
    /// When it started, as time since boot. The same pid with another value is another process.
    pub started: Duration,
    /// Resident memory in bytes, shared pages included.
    pub rss_bytes: u64,
}

impl ProcessStat {
    /// Reads it. `NotFound` if there is no such process.
    pub fn read(pid: Pid) -> io::Result<ProcessStat> {
        let _ = pid;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The memory of a process, exactly. Costs a walk of its page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Resident, shared pages included.
    pub rss_bytes: u64,
    /// Resident, shared pages divided by the number of processes that share them.
    pub pss_bytes: u64,
}

impl Memory {
    /// Reads /proc/PID/smaps_rollup. Our own processes or root only.
    pub fn read(pid: Pid) -> io::Result<Memory> {
        let _ = pid;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Time since boot, the clock of [`ProcessStat::started`].
#[must_use]
pub fn since_boot() -> Duration {
    Duration::ZERO
}

/// Whether one of the processes has a listening TCP or unix stream socket.
#[must_use]
pub fn tree_listens(pids: &[Pid]) -> bool {
    let _ = pids;
    false
}
